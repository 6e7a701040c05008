"""Neighbouring slices across the grain of an array, fetched together. numpy only.

Along the fastest array axis every voxel of a slice lies in another line of the processor's cache,
so fetching one slice costs as much as fetching a few. While someone scrolls that way, a few
slices are copied at once and kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from weakref import ref

import numpy as np

from viewer.rendering.slice_engine import cut_array, oriented
from viewer.state.planes import ArrayCut

#: So many slices are fetched together.
SLAB = 8
#: A step of at most so many slices counts as scrolling.
_NEAR = 2


@dataclass(eq=False)
class _Slab:
    """Slices ``start`` and following side by side: shape (k, j, slices), contiguous."""

    owner: ref
    version: int
    start: int
    slices: np.ndarray


class Slabs:
    """A few slices of each item that one view has shown last."""

    def __init__(self) -> None:
        self._slabs: dict[str, _Slab] = {}
        self._last: dict[str, int] = {}

    def clear(self) -> None:
        """Forget all: voxels have changed."""
        self._slabs.clear()

    def cut(
        self, name: str, owner: object, version: int, array: np.ndarray, cut: ArrayCut
    ) -> np.ndarray:
        """A plane of an array as :func:`~viewer.rendering.slice_engine.cut_array` gives it.

        Parameters
        ----------
        name : str
            Of the item; one slab is kept for each.
        owner, version : object, int
            The slab serves only the same object in the same version.
        """
        if cut.axis != 2:
            return cut_array(array, cut)
        last, self._last[name] = self._last.get(name, -100), cut.index
        slab = self._slabs.get(name)
        fresh = slab is not None and slab.owner() is owner and slab.version == version
        if slab is None or not fresh or not slab.start <= cut.index < slab.start + SLAB:
            if abs(cut.index - last) > _NEAR:
                return cut_array(array, cut)
            start = cut.index - cut.index % SLAB
            block = np.ascontiguousarray(array[:, :, start : start + SLAB])
            slab = _Slab(ref(owner), version, start, block)
            self._slabs[name] = slab
        return oriented(slab.slices[:, :, cut.index - slab.start], cut)
