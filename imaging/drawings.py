"""One-bit drawings that files bring along over their slices; values, packed to one bit a pixel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True, eq=False)
class Drawings:
    """Drawings over the slices of an image as they were acquired.

    They mean pixels of single slices and are no masks: there is no patient volume in them, and
    nothing is measured on them.

    Parameters
    ----------
    shape : tuple of int
        Rows and columns of a slice.
    packed : mapping
        ``(name, image of a 4D series, slice k)`` to the bits, as :func:`numpy.packbits` packs them.
    """

    shape: tuple[int, int]
    packed: Mapping[tuple[str, int, int], np.ndarray] = field(repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all drawings, each once."""
        return tuple(sorted({name for name, _, _ in self.packed}))

    def names_on(self, image: int, k: int) -> tuple[str, ...]:
        """The names of those that lie on one slice."""
        return tuple(name for name in self.names if (name, image, k) in self.packed)

    def mask(self, names: Iterable[str], image: int, k: int) -> np.ndarray:
        """Where any of some drawings marks a slice; bool, shape (rows, columns)."""
        rows, columns = self.shape
        marked = np.zeros(rows * columns, bool)
        for name in names:
            bits = self.packed.get((name, image, k))
            if bits is not None:
                marked |= np.unpackbits(bits, count=rows * columns).view(bool)
        return marked.reshape(self.shape)
