"""Edits: the only way a case changes. Each can be checked, applied, turned round and stored."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import zstandard

from imaging.case import ADDED, HEADER, REMOVED, VOXELS, Case, Change, Item
from imaging.errors import EditRefused
from imaging.geometry import Box
from imaging.segmentation import Segmentation, SegmentationHeader


class Edit(Protocol):
    """One step the user can undo."""

    @property
    def name(self) -> str:
        """What the undo menu says, for example ``"Brush stroke"``."""
        ...

    @property
    def nbytes(self) -> int:
        """Memory the step keeps."""
        ...

    def check(self, case: Case) -> None:
        """Raise EditRefused where the edit does not fit; change nothing."""
        ...

    def apply(self, case: Case) -> list[Change]:
        """Do it and say what changed."""
        ...

    def inverse(self) -> Edit:
        """The edit that takes this one back."""
        ...


def checksum(block: np.ndarray) -> int:
    """CRC-32 of the bytes of an array."""
    return zlib.crc32(np.ascontiguousarray(block).data)


@dataclass(frozen=True)
class VoxelEdit:
    """A block of labels, as the compressed XOR of before and after.

    Applying it twice is undo. The checksums refuse an edit that meets another state than the one
    it was made for.
    """

    item: str
    name: str
    box: Box
    patch: bytes
    crc_before: int
    crc_after: int

    @classmethod
    def between(
        cls, item: str, name: str, box: Box, before: np.ndarray, after: np.ndarray
    ) -> VoxelEdit:
        """From the labels of a block before and after; uint8 arrays of the box's shape."""
        xor = np.bitwise_xor(before, after)
        patch = zstandard.ZstdCompressor(level=1).compress(np.ascontiguousarray(xor).tobytes())
        return cls(item, name, box, patch, checksum(before), checksum(after))

    @property
    def nbytes(self) -> int:
        """Bytes of the compressed patch."""
        return len(self.patch)

    def xor(self) -> np.ndarray:
        """The patch as a uint8 array of the box's shape."""
        size = int(np.prod(self.box.shape))
        raw = zstandard.ZstdDecompressor().decompress(self.patch, max_output_size=max(1, size))
        return np.frombuffer(raw, np.uint8).reshape(self.box.shape)

    def check(self, case: Case) -> None:
        """Refuse where the labels are not the ones this edit was made on."""
        segmentation = case.segmentation(self.item)
        if self.box.clipped(segmentation.geometry.shape) != self.box:
            raise EditRefused("The stroke lies outside the mask", segmentation.name)
        if checksum(segmentation.labels[self.box.slices]) != self.crc_before:
            raise EditRefused("The mask has changed since this stroke was made", segmentation.name)

    def apply(self, case: Case) -> list[Change]:
        """Flip the labels."""
        case.segmentation(self.item).flip(self.box, self.xor())
        return [Change(self.item, frozenset({VOXELS}), self.box)]

    def inverse(self) -> VoxelEdit:
        """The same patch, the other way round."""
        return VoxelEdit(
            self.item, self.name, self.box, self.patch, self.crc_after, self.crc_before
        )


@dataclass(frozen=True)
class HeaderEdit:
    """Names, colours, segments, threshold: all of a mask but its voxels."""

    item: str
    name: str
    before: SegmentationHeader
    after: SegmentationHeader

    @property
    def nbytes(self) -> int:
        """A rough size."""
        return 1024

    def check(self, case: Case) -> None:
        """Refuse where the header is not the one this edit was made on."""
        if case.segmentation(self.item).header() != self.before:
            raise EditRefused("The labels have changed since this step was made", self.name)

    def apply(self, case: Case) -> list[Change]:
        """Take over the new header."""
        case.segmentation(self.item).set_header(self.after)
        return [Change(self.item, frozenset({HEADER}))]

    def inverse(self) -> HeaderEdit:
        """Back to the old header."""
        return HeaderEdit(self.item, self.name, self.after, self.before)


@dataclass(frozen=True, eq=False)
class AddItem:
    """Put a mask, a map or a volume into the case."""

    item: Item
    name: str

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays it holds."""
        if isinstance(self.item, Segmentation):
            return self.item.labels.nbytes
        return getattr(self.item, "values", getattr(self.item, "voxels", np.empty(0))).nbytes

    def check(self, case: Case) -> None:
        """Refuse where the id is taken."""
        if self.item.id in case.items:
            raise EditRefused("The case already holds an item with this id", self.item.name)

    def apply(self, case: Case) -> list[Change]:
        """Add it."""
        case.items[self.item.id] = self.item
        return [Change(self.item.id, frozenset({ADDED}))]

    def inverse(self) -> RemoveItem:
        """Take it out again."""
        return RemoveItem(self.item, self.name)


@dataclass(frozen=True, eq=False)
class RemoveItem:
    """Take a mask, a map or a volume out of the case; undo brings back the very same object."""

    item: Item
    name: str

    @property
    def nbytes(self) -> int:
        """Bytes of the arrays it keeps for undo."""
        return AddItem(self.item, self.name).nbytes

    def check(self, case: Case) -> None:
        """Refuse where it is not there."""
        if case.items.get(self.item.id) is not self.item:
            raise EditRefused("The item is not in the case", self.item.name)

    def apply(self, case: Case) -> list[Change]:
        """Remove it."""
        del case.items[self.item.id]
        return [Change(self.item.id, frozenset({REMOVED}))]

    def inverse(self) -> AddItem:
        """Put it back."""
        return AddItem(self.item, self.name)


@dataclass(frozen=True, eq=False)
class Group:
    """Several edits under one name, applied in order, undone together."""

    name: str
    edits: tuple[Edit, ...]

    @classmethod
    def of(cls, name: str, edits: Sequence[Edit]) -> Group:
        """From any sequence of edits."""
        return cls(name, tuple(edits))

    @property
    def nbytes(self) -> int:
        """Sum over the parts."""
        return sum(edit.nbytes for edit in self.edits)

    def check(self, case: Case) -> None:
        """Check the first part; the others are checked as they come."""
        if self.edits:
            self.edits[0].check(case)

    def apply(self, case: Case) -> list[Change]:
        """Apply all, or none: where a part refuses, the parts before it are taken back."""
        changes: list[Change] = []
        done: list[Edit] = []
        try:
            for edit in self.edits:
                edit.check(case)
                changes += edit.apply(case)
                done.append(edit)
        except EditRefused:
            for edit in reversed(done):
                edit.inverse().apply(case)
            raise
        return changes

    def inverse(self) -> Group:
        """The inverses in reverse order."""
        return Group(self.name, tuple(edit.inverse() for edit in reversed(self.edits)))
