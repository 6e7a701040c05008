"""What the writers of NIfTI, NRRD and MetaImage share: types, 4D series, packing, plain words."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np

from imaging.segmentation import Segment, Segmentation
from imaging.volume import Volume

_KINDS = frozenset({"u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"})
#: Level of ISA-L: about the size of zlib's 4 in a tenth of its time or less.
PACKING = 2


class Stored(NamedTuple):
    """Voxels as they go into a file, shape (k, j, i) or (n, k, j, i), and their scale."""

    values: np.ndarray
    slope: float
    intercept: float


def stored(volume: Volume, *, every_image: bool) -> Stored:
    """The stored numbers of a volume, all images of a 4D series where that is wanted.

    Images that are scaled differently become real values, float32, for a file has one scale.
    """
    repeats = volume.repeats
    if repeats is None or not every_image:
        return Stored(storable(volume.voxels), float(volume.slope), float(volume.intercept))
    if len(set(repeats.scales)) == 1:
        slope, intercept = repeats.scales[0]
        return Stored(storable(repeats.voxels), float(slope), float(intercept))
    real = np.empty(repeats.voxels.shape, np.float32)
    for number, (slope, intercept) in enumerate(repeats.scales):
        np.multiply(repeats.voxels[number], np.float32(slope), out=real[number], casting="unsafe")
        real[number] += np.float32(intercept)
    return Stored(real, 1.0, 0.0)


def real(volume: Volume, *, every_image: bool) -> np.ndarray:
    """Real values for formats without a scale; the stored numbers where they are the real ones."""
    made = stored(volume, every_image=every_image)
    if (made.slope, made.intercept) == (1.0, 0.0):
        return made.values
    values = made.values.astype(np.float32)
    values *= np.float32(made.slope)
    values += np.float32(made.intercept)
    return values


def storable(values: np.ndarray) -> np.ndarray:
    """The voxels in a type that every format and reader knows."""
    kind = values.dtype.kind + str(values.dtype.itemsize)
    if kind in _KINDS:
        return values
    return values.astype(np.uint8 if kind == "b1" else np.float32 if kind == "f2" else np.float64)


def little_endian(values: np.ndarray) -> np.ndarray:
    """The same numbers, low byte first, contiguous."""
    return np.ascontiguousarray(values, values.dtype.newbyteorder("<"))


def as_bytes(values: np.ndarray) -> memoryview:
    """The bytes of a contiguous array, without a copy."""
    return values.reshape(-1).view(np.uint8).data


def one_line(text: str) -> str:
    """A text without line breaks and runs of spaces, in letters that UTF-8 can hold."""
    plain = "".join(c if c.isprintable() else " " for c in text)
    return " ".join(plain.encode("utf-8", "replace").decode("utf-8").split())


def with_labels(mask: Segmentation, numbers: Collection[int]) -> Segmentation:
    """A copy of a mask that holds only some of its labels."""
    kept = np.isin(mask.labels, list(numbers))
    labels = np.where(kept, mask.labels, np.uint8(0))
    copy = Segmentation.from_labels(mask.id, mask.name, mask.geometry, mask.volume_id, labels)
    segments = tuple(s for s in mask.segments if s.number in numbers)
    # The draft is the model's own label, the first one; without it nothing of a draft is left.
    draft = mask.draft and bool(segments) and segments[0] is mask.segments[0]
    copy.set_header(mask.header(segments=segments, draft=draft))
    return copy


def distinct_words(segments: Collection[Segment], fallback: str = "label") -> dict[int, str]:
    """A plain word of ASCII letters and digits for each label number, no two alike.

    For file names and entities: ``"White matter (left)"`` gives ``"WhiteMatterLeft"``.
    """
    words: dict[int, str] = {}
    taken: set[str] = set()
    for segment in sorted(segments, key=lambda s: s.number):
        ascii_only = "".join(c if c.isascii() and c.isalnum() else " " for c in segment.name)
        word = "".join(part[:1].upper() + part[1:] for part in ascii_only.split())[:32]
        word = word or f"{fallback}{segment.number}"
        if word.casefold() in taken:
            word = f"{word}{segment.number}"
        while word.casefold() in taken:
            word += "x"
        taken.add(word.casefold())
        words[segment.number] = word
    return words
