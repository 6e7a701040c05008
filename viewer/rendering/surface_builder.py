"""Keeps the surfaces of all masks of a case up to date, away from the main thread."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from imaging.geometry import Box, Geometry
from imaging.segmentation import Segmentation
from viewer.rendering.latest_thread import LatestThread
from viewer.rendering.surfaces import Surface, segment_surface

#: A mask with more triangles than this is previewed at half resolution while it is edited.
QUICK_TRIANGLES = 60_000


@dataclass(frozen=True, eq=False)
class _Request:
    owner: Segmentation
    revision: int
    labels: np.ndarray
    geometry: Geometry
    numbers: tuple[int, ...]
    step: int


@dataclass(frozen=True, eq=False)
class Meshes:
    """The surfaces of one mask at one revision.

    Parameters
    ----------
    surfaces : mapping
        Label number to :class:`Surface`.
    step : int
        1 for full resolution, 2 for a preview.
    """

    owner: Segmentation
    revision: int
    step: int
    surfaces: Mapping[int, Surface]


class SurfaceBuilder:
    """Asks for surfaces when a mask changed, and takes the newest ones.

    Parameters
    ----------
    bell : callable
        Called (in the worker thread) when :meth:`collect` has something.
    """

    def __init__(self, bell: Callable[[], None]) -> None:
        self._thread = LatestThread("3D surfaces", _build, bell)
        self._asked: dict[str, _Request] = {}
        self._meshes: dict[str, Meshes] = {}

    def follow(self, segmentations: Iterable[Segmentation]) -> bool:
        """Ask for what changed; True where a preview was asked for and :meth:`refine` is due."""
        wanted = {s.id: s for s in segmentations}
        for id in [id for id in self._asked if wanted.get(id) is not self._asked[id].owner]:
            del self._asked[id]
            self._meshes.pop(id, None)
        preview = False
        for segmentation in wanted.values():
            old = self._asked.get(segmentation.id)
            if old is None:
                self._ask(segmentation, 1)
            elif old.revision != segmentation.revision:
                step = 2 if self._large(segmentation.id) else 1
                self._ask(segmentation, step)
            preview |= self._asked[segmentation.id].step > 1
        return preview

    def refine(self) -> None:
        """The hand rests: full resolution for every preview."""
        for request in list(self._asked.values()):
            if request.step > 1:
                self._ask(request.owner, 1)

    def collect(self) -> bool:
        """Take over finished surfaces; True where something new is to be shown."""
        fresh = False
        for id, meshes, error in self._thread.collect():
            if error is not None:
                raise error
            fresh |= self._accept(str(id), meshes)
        return fresh

    def surfaces(self, segmentation_id: str) -> Mapping[int, Surface]:
        """What is known of a mask: label number to surface; empty while it is being built."""
        meshes = self._meshes.get(segmentation_id)
        return {} if meshes is None else meshes.surfaces

    def wait(self, timeout_s: float) -> bool:
        """Block until all that was asked for is built; False where it took longer."""
        return self._thread.wait_idle(timeout_s)

    def close(self, timeout_s: float = 3.0) -> None:
        """End the worker."""
        self._thread.close(timeout_s)

    def _large(self, id: str) -> bool:
        return sum(len(s.triangles) for s in self.surfaces(id).values()) > QUICK_TRIANGLES

    def _ask(self, segmentation: Segmentation, step: int) -> None:
        request = _Request(
            segmentation,
            segmentation.revision,
            segmentation.labels,
            segmentation.geometry,
            tuple(segment.number for segment in segmentation.segments),
            step,
        )
        self._asked[segmentation.id] = request
        self._thread.ask(segmentation.id, request)

    def _accept(self, id: str, meshes: Meshes) -> bool:
        """Late answers are dropped: of a mask that is gone, or older than what is shown."""
        asked = self._asked.get(id)
        if asked is None or asked.owner is not meshes.owner:
            return False
        shown = self._meshes.get(id)
        if shown is not None and (shown.revision, -shown.step) > (meshes.revision, -meshes.step):
            return False
        self._meshes[id] = meshes
        return True


def _build(request: _Request) -> Meshes:
    """Copy the tight block of all labels, then build from the copy.

    The copy may meet an edit half-way; such a mask has a newer revision and is built again.
    """
    box = Box.around(request.labels)
    surfaces = {}
    if not box.empty:
        block, grid = request.labels[box.slices].copy(), request.geometry.cropped(box)
        for number in request.numbers:
            surface = segment_surface(block, grid, number, step=request.step)
            _ = surface.normals  # computed here rather than where it is drawn
            surfaces[number] = surface
    return Meshes(request.owner, request.revision, request.step, surfaces)
