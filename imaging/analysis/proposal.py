"""The mask of one thing while it is pointed at: hints, the part looked at, what was found so far.

Pure values, the same in the window and where clicks are simulated. An engine (the classic one or
a network) sees only a cut-out; outside it the mask so far stands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from imaging.analysis.click import cleaned
from imaging.analysis.hints import Hints, Point, view_box
from imaging.geometry import Box

__all__ = ["Engine", "Proposal", "window_of"]

Mask = npt.NDArray[np.bool_]

#: Hints in indices of a cut-out, and the mask so far there -> the mask there.
Engine = Callable[[Box, Hints, Mask | None], Mask]

NOWHERE = Box((0, 0, 0), (0, 0, 0))


@dataclass(frozen=True, eq=False)
class Proposal:
    """One thing on one image, not yet part of any mask.

    Parameters
    ----------
    shape, spacing : tuple
        Of the image, ``(k, j, i)``, mm.
    hints : Hints
        In indices of the image.
    box : Box
        Where ``mask`` lies in the image.
    mask : ndarray of bool
        The thing, of the shape of ``box``.
    last : (k, j, i) or None
        The newest point, around which the engine looks.
    """

    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    hints: Hints = Hints()
    box: Box = NOWHERE
    mask: Mask = field(default_factory=lambda: np.zeros((0, 0, 0), bool))
    last: Point | None = None

    def pointed(self, points: Sequence[Point], wanted: bool) -> Proposal:
        """With one more click, or the points of one more scribble."""
        hints = self.hints
        more = tuple(points)
        if wanted:
            hints = replace(hints, wanted=hints.wanted + more)
        else:
            hints = replace(hints, unwanted=hints.unwanted + more)
        return replace(self, hints=hints, last=more[len(more) // 2])

    def boxed(self, box: Box) -> Proposal:
        """With a box drawn around the thing; it takes the place of an earlier box."""
        inside = box.clipped(self.shape)
        return replace(self, hints=replace(self.hints, box=inside), last=None)

    @property
    def empty(self) -> bool:
        """True where nothing was found yet."""
        return not self.mask.any()

    @property
    def view(self) -> Box:
        """The part of the image that an engine has to look at."""
        return view_box(self.shape, self.spacing, self.hints, self.last)

    def before(self, view: Box) -> Mask | None:
        """The mask so far on a part of the image; None where there is none."""
        if self.empty:
            return None
        return window_of(self.mask, self.box, view)

    def found(self, view: Box, mask: Mask) -> Proposal:
        """With what an engine found in the part it looked at.

        Outside that part the earlier mask stays; pieces without a "this" click go.
        """
        box = view.union(self.box if not self.empty else NOWHERE)
        whole = window_of(self.mask, self.box, box) if not self.empty else np.zeros(box.shape, bool)
        inner = Box(_minus(view.start, box.start), _minus(view.stop, box.start))
        whole[inner.slices] = mask
        kept = cleaned(whole, self.hints.moved(box.start, box.shape))
        tight = Box.around(kept)
        if tight.empty:
            return replace(self, box=NOWHERE, mask=np.zeros((0, 0, 0), bool))
        start = _minus(tight.start, tuple(-x for x in box.start))
        stop = _minus(tight.stop, tuple(-x for x in box.start))
        return replace(self, box=Box(start, stop), mask=kept[tight.slices].copy())

    def refined(self, engine: Engine) -> Proposal:
        """Ask an engine at once and take its answer."""
        view = self.view
        before = self.before(view)
        return self.found(view, engine(view, self.hints.moved(view.start, view.shape), before))


def window_of(mask: Mask, box: Box, view: Box) -> Mask:
    """A mask that lies in ``box``, as seen in ``view``."""
    result = np.zeros(view.shape, bool)
    start = [max(a, b) for a, b in zip(box.start, view.start, strict=True)]
    stop = [min(a, b) for a, b in zip(box.stop, view.stop, strict=True)]
    if all(a < b for a, b in zip(start, stop, strict=True)):
        here = tuple(slice(a - o, b - o) for a, b, o in zip(start, stop, view.start, strict=True))
        there = tuple(slice(a - o, b - o) for a, b, o in zip(start, stop, box.start, strict=True))
        result[here] = mask[there]
    return result


def _minus(a: Sequence[int], b: Sequence[int]) -> tuple[int, int, int]:
    k, j, i = (int(x - y) for x, y in zip(a, b, strict=True))
    return k, j, i
