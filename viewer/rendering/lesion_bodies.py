"""Which surfaces a 3D view draws: the visible segments of all masks, one lesion standing out."""

from __future__ import annotations

from collections.abc import Callable

from imaging.analysis.lesions import Lesion
from imaging.case import Case
from imaging.segmentation import Segmentation
from imaging.volume import Volume
from viewer.rendering.surface_builder import SurfaceBuilder
from viewer.rendering.surfaces import Surface
from viewer.rendering.volume_scene import Body
from viewer.state.display import DisplayState

Key = tuple[str, int]  #: mask id and label number


class LesionBodies:
    """Follows the masks of a case; a body stays the same object while it looks the same.

    Parameters
    ----------
    bell : callable
        Called in a worker thread when :meth:`collect` has something.
    """

    def __init__(self, bell: Callable[[], None]) -> None:
        self.builder = SurfaceBuilder(bell)
        self._masks: list[Segmentation] = []
        self._highlight: tuple[str, Lesion] | None = None
        self._bodies: dict[Key, tuple[tuple, Body]] = {}

    def follow(self, case: Case, volume: Volume | None) -> bool:
        """Ask for what changed; True where a preview was asked for and a refinement is due."""
        self._masks = []
        if volume is not None:
            grid = volume.geometry
            self._masks = [s for s in case.segmentations if s.geometry.same_frame(grid)]
        return self.builder.follow(self._masks)

    def highlight(self, mask_id: str, lesion: Lesion | None) -> None:
        """Make one lesion stand out, or none."""
        self._highlight = None if lesion is None else (mask_id, lesion)

    def shown(self, display: DisplayState) -> tuple[Body, ...]:
        """The bodies to draw now; masks whose surfaces are not ready yet are left out."""
        old, self._bodies = self._bodies, {}
        for mask in self._masks if display.overlays_shown else []:
            overlay = display.overlay(mask.id)
            surfaces = self.builder.surfaces(mask.id) if overlay.visible else {}
            for segment in mask.segments:
                surface = surfaces.get(segment.number)
                if surface is None or surface.empty or segment.number in overlay.hidden_segments:
                    continue
                key = mask.id, segment.number
                look = surface, segment.colour, self._chosen(key)
                kept = old.get(key)
                self._bodies[key] = kept if kept and kept[0] == look else (look, _body(*look))
        return tuple(body for _, body in self._bodies.values())

    def owner(self, body: Body) -> tuple[Segmentation, int]:
        """The mask and label number that a shown body was made from."""
        key = next(key for key, (_, other) in self._bodies.items() if other is body)
        return next(mask for mask in self._masks if mask.id == key[0]), key[1]

    def _chosen(self, key: Key) -> Lesion | None:
        if self._highlight is None:
            return None
        mask_id, lesion = self._highlight
        return lesion if (mask_id, lesion.label) == key else None


def _body(surface: Surface, colour: tuple[int, int, int], lesion: Lesion | None) -> Body:
    red, green, blue = (c / 255.0 for c in colour)
    bright = None
    if lesion is not None:
        bright = surface.touching(lesion.mask, lesion.box, lesion.geometry)
    return Body(surface, (red, green, blue), bright)
