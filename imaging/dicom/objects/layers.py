"""Segments that may overlap become as few label maps as hold them all: nothing is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from imaging.dicom.header.vetting import check_volume_bytes
from imaging.dicom.objects.placing import Patch
from imaging.errors import BadInput
from imaging.segmentation import Segment

_MOST_LABELS = 255
#: More label maps on top of each other are refused.
MAX_LAYERS = 24
RENUMBERED = "The labels were numbered anew, because numbers above 255 are not kept"


class Layer(NamedTuple):
    """One label map: uint8 ``(k, j, i)`` and its segments, empty ones included."""

    labels: np.ndarray
    segments: tuple[Segment, ...]


class Marks(NamedTuple):
    """Marked pixels of one plane: where it lies, and a bool array of the part inside."""

    patch: Patch
    marked: np.ndarray


class Layers:
    """Collects segments; each goes whole into the first label map where it overlaps nothing.

    Parameters
    ----------
    shape : tuple of int
        Of the label maps, ``(k, j, i)``.
    keep_numbers : bool
        False where numbers of the file do not fit a label map.
    """

    def __init__(self, shape: tuple[int, int, int], keep_numbers: bool, path: str) -> None:
        self._shape, self._keep, self._path = shape, keep_numbers, path
        self._labels: list[np.ndarray] = []
        self._segments: list[list[Segment]] = []

    def add(self, segment: Segment, marks: list[Marks]) -> None:
        """Put a segment into the first label map that has room for it.

        Raises
        ------
        BadInput
            Where so many segments overlap that memory would not hold their label maps.
        """
        for labels, segments in zip(self._labels, self._segments, strict=True):
            taken = {s.number for s in segments}
            room = len(segments) < _MOST_LABELS and not (self._keep and segment.number in taken)
            if room and not any(m.patch.view(labels)[m.marked].any() for m in marks):
                self._write(labels, segments, segment, marks)
                return
        self._write(self._more(), self._segments[-1], segment, marks)

    def _more(self) -> np.ndarray:
        count = len(self._labels) + 1
        if count > MAX_LAYERS:
            raise BadInput(f"More than {MAX_LAYERS} segments lie on top of each other", self._path)
        check_volume_bytes(count * int(np.prod(self._shape, dtype=np.int64)), self._path)
        self._labels.append(np.zeros(self._shape, np.uint8))
        self._segments.append([])
        return self._labels[-1]

    def _write(
        self, labels: np.ndarray, segments: list[Segment], segment: Segment, marks: list[Marks]
    ) -> None:
        number = segment.number if self._keep else len(segments) + 1
        segments.append(replace(segment, number=number))
        for patch, marked in marks:
            patch.view(labels)[marked] = number

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All label maps; one without a label where nothing was added."""
        if not self._labels:
            return (Layer(np.zeros(self._shape, np.uint8), ()),)
        pairs = zip(self._labels, self._segments, strict=True)
        return tuple(Layer(labels, tuple(segments)) for labels, segments in pairs)
