"""Label images of any whole-volume format as masks: whole numbers, placed by patient coordinates.

:func:`find_labels` says whether a file is a mask, :func:`read_layers` reads it onto the grid of an
image by the same rules as :mod:`imaging.dicom.objects.read_seg`. See
:mod:`imaging.storage.label_images` for the same by path.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple, cast

import numpy as np

from imaging.analysis.onto_grid import onto
from imaging.dicom.objects.layers import Layer
from imaging.dicom.objects.read_seg import SegLayers
from imaging.errors import BadInput
from imaging.folders import folder_of
from imaging.geometry import Geometry
from imaging.segmentation import Provenance, Segment
from imaging.series import LABELS, FoundObject
from imaging.storage import nrrd_read
from imaging.storage.grid_file import GridFile, display_name, grid_series
from imaging.storage.grid_load import GridLoading
from imaging.storage.label_names import Names, names_beside, plain_segment, slicer_names
from imaging.storage.packing import RAW, TEXT, open_stream
from imaging.volume import Source, Volume

MAX_LABELS = 255
#: A file that is a mask by its name alone has no more labels than this.
MAX_GUESSED_LABELS = 40
_WHOLE = 1e-3
_CHUNK = 1 << 20
#: Smaller files are read in no time.
_LARGE = 2 << 20
#: Images pack to a half or a tenth, with empty surroundings to a twentieth; masks to hundredths.
_LABELS_PACK = 50
_MASK_NAME = re.compile(
    r"(?<![a-z])(d?seg(mentation)?s?|(brain|lesion|head)?mask(s|e)?|labels?|label ?map|rois?|"
    r"lesions?|gt|ground ?truth|gold ?standard|consensus|(a|a2009s)?parc|aparc|aseg|annotation)"
    r"(?![a-z])"
)
_RENUMBERED = "The labels were numbered anew, because only numbers from 1 to 255 are kept"


class _Scale(NamedTuple):
    """What the numbers of an image mean, and whose they are."""

    path: str
    slope: float
    intercept: float


class _Labelled(NamedTuple):
    """Labels on the file's own grid: one array per layer, and the segments of each."""

    layers: tuple[Layer, ...]
    notes: tuple[str, ...]


def find_labels(grid: GridFile, shown: str = "") -> FoundObject | None:
    """The mask a file is, None where it is an image.

    A file is a mask where its header says so (NIfTI label intent, ``.seg.nrrd``), or where its
    name speaks of a mask and all its voxels are a few whole numbers from 0 to 255. A large file
    of bytes that is packed as only label images can be is not read: how many labels it holds is
    not known then.
    """
    name = display_name(shown or grid.path)
    if grid.says_labels and grid.kind == "nrrd":
        pairs = nrrd_read.read_header(grid.path).pairs
        return _found(grid, shown, len(slicer_names(pairs, grid.images)), "segment")
    words = re.sub(r"[^a-z0-9]+", " ", name.lower())
    if grid.images > 1 or not (grid.says_labels or _MASK_NAME.search(words)):
        return None
    if _too_small_for_an_image(grid):
        return _found(grid, shown)
    try:
        most = MAX_LABELS if grid.says_labels else MAX_GUESSED_LABELS
        labels = _labels_in(_in_file(grid), grid, most)
    except BadInput:
        return None
    if labels and (labels[0] < 0 or labels[-1] > MAX_LABELS) and not grid.says_labels:
        return None
    return _found(grid, shown, len(labels), "label")


def _too_small_for_an_image(grid: GridFile) -> bool:
    """True for bytes that are packed so strongly that they are large areas of the same number."""
    if grid.dtype != np.uint8 or (grid.slope, grid.intercept) != (1.0, 0.0):
        return False
    large = grid.packing not in (RAW, TEXT) and grid.image_bytes >= _LARGE
    return large and grid.image_bytes > _LABELS_PACK * (os.path.getsize(grid.data) - grid.packed_at)


def _found(grid: GridFile, shown: str, count: int = -1, word: str = "") -> FoundObject:
    key = f"{shown or os.path.abspath(grid.path)}|labels".encode(errors="replace")
    title = display_name(shown or grid.path)
    return FoundObject(
        key=hashlib.sha1(key, usedforsecurity=False).hexdigest(),
        kind=LABELS,
        path=grid.path,
        title=title.removesuffix(".seg"),
        details="" if count < 0 else f"{count} {word}" + ("" if count == 1 else "s"),
        source=Source(
            grid.kind,
            files=(grid.path,),
            series_description=title,
            folder=folder_of(shown or os.path.abspath(grid.path)),
        ),
    )


def read_layers(grid: GridFile, geometry: Geometry, places: np.ndarray | None = None) -> SegLayers:
    """Read a mask onto a grid; segments that overlap lie in label maps of their own.

    Raises
    ------
    BadInput
        Where the numbers are no labels, or the file is damaged.
    """
    own = _slicer(grid) if grid.says_labels and grid.kind == "nrrd" else _plain(grid)
    moved, notes = [], list(own.notes)
    for layer in own.layers:
        labels, more = onto(layer.labels, grid.geometry, geometry, places)
        moved.append(Layer(labels, layer.segments))
        notes += [note for note in more if note not in notes]
    return SegLayers(tuple(moved), (), Provenance(), tuple(notes))


def image_layers(image: Volume, geometry: Geometry, places: np.ndarray | None = None) -> SegLayers:
    """An image of whole numbers, taken as a mask because the user says so, on another's grid.

    Raises
    ------
    BadInput
        Where its numbers are no labels, or its slices lie at uneven or unknown places.
    """
    if not image.even:
        raise BadInput(
            "The slices of the mask lie at uneven or unknown places", image.title,
            "Make an even volume of it first",
        )  # fmt: skip
    scale = _Scale(image.title, image.slope, image.intercept)
    numbers, notes = _numbers(_labels_in(_parts(image.voxels), scale))
    labels = _numbered(image.voxels, scale, numbers)
    moved, more = onto(labels, image.geometry, geometry, places)
    layer = Layer(moved, _segments(numbers, Names(), renumbered=bool(notes)))
    return SegLayers((layer,), (), Provenance(), (*image.notes, *notes, *more))


def _number(segment: Segment) -> int:
    return segment.number


# --- labels on the file's own grid ----------------------------------------------------------


def _plain(grid: GridFile) -> _Labelled:
    """A label image without names of its own."""
    if grid.images > 1:
        raise BadInput(f"The file holds {grid.images} images and is no mask", grid.path)
    voxels, problems = _stored(grid)
    numbers, notes = _numbers(_labels_in(_parts(voxels), grid))
    labels = _numbered(voxels, grid, numbers)
    segments = _segments(numbers, names_beside(grid.path), renumbered=bool(notes))
    return _Labelled((Layer(labels, segments),), (*problems, *notes))


def _slicer(grid: GridFile) -> _Labelled:
    """A ``.seg.nrrd``: names in the header, segments that overlap in layers of their own."""
    named = slicer_names(nrrd_read.read_header(grid.path).pairs, grid.images)
    images, problems = _every(grid)
    per_layer = [
        {n.value: n.segment for n in named if n.layer == number} for number in range(len(images))
    ]
    for own, voxels in zip(per_layer, images, strict=True):
        for value in _labels_in(_parts(voxels), grid):
            own.setdefault(value, plain_segment(value))
    wanted = [(number, value) for number, own in enumerate(per_layer) for value in own]
    values = [value for _, value in wanted]
    clash = len(set(values)) < len(values) or not all(1 <= v <= MAX_LABELS for v in values)
    if len(values) > MAX_LABELS:
        raise BadInput(f"The file holds {len(values)} labels; up to 255 are read", grid.path)
    numbers = {key: place if clash else key[1] for place, key in enumerate(wanted, 1)}
    layers: list[Layer] = []
    for number, (own, voxels) in enumerate(zip(per_layer, images, strict=True)):
        table = {value: numbers[number, value] for value in own}
        segments = tuple(replace(own[value], number=table[value]) for value in own)
        _add(layers, Layer(_numbered(voxels, grid, table), segments))
    notes = (_RENUMBERED,) if clash else ()
    return _Labelled(tuple(layers), (*problems, *notes))


def _add(layers: list[Layer], more: Layer) -> None:
    """Put a layer into the first one that it does not overlap, else keep it apart."""
    for number, layer in enumerate(layers):
        if not ((layer.labels > 0) & (more.labels > 0)).any():
            both = (*layer.segments, *more.segments)
            layers[number] = Layer(np.maximum(layer.labels, more.labels), both)
            return
    layers.append(more)


def _segments(numbers: dict[int, int], names: Names, renumbered: bool) -> tuple[Segment, ...]:
    """A segment for each label, and for each that a file made for this mask names besides."""
    known = {named.value: named.segment for named in names.labels}
    table = dict(numbers)
    if names.complete and not renumbered:
        table |= {v: v for v in known if 1 <= v <= MAX_LABELS and v not in table}
    found = [
        replace(known.get(value) or plain_segment(value), number=number)
        for value, number in table.items()
    ]
    return tuple(sorted(found, key=_number))


def _stored(grid: GridFile) -> tuple[np.ndarray, tuple[str, ...]]:
    """Stored numbers of the first image, and what is odd."""
    images, problems = _every(grid)
    return images[0], problems


def _every(grid: GridFile) -> tuple[np.ndarray, tuple[str, ...]]:
    """Stored numbers of all images, shape (n, k, j, i), and what is odd."""
    loading = GridLoading(grid_series(grid))
    volume = loading.load()
    images = volume.voxels[None] if volume.repeats is None else volume.repeats.voxels
    if len(images) < grid.images:
        raise BadInput("The mask does not fit into memory", grid.path, "Close other programs")
    return images, volume.notes


def _in_file(grid: GridFile) -> Iterator[np.ndarray]:
    """Stored numbers of the first image, some at a time; little memory, and it may stop early."""
    if grid.packing == TEXT or grid.interleaved:
        yield _stored(grid)[0].reshape(-1)
        return
    left = grid.image_bytes // grid.dtype.itemsize
    with open_stream(grid.data, grid.packing, grid.packed_at) as stream:
        stream.go_to(grid.offset)
        while left:
            part = np.empty(min(left, _CHUNK), grid.dtype)
            stream.fill(memoryview(cast(Any, part)).cast("B"))
            yield part
            left -= part.size


def _parts(voxels: np.ndarray) -> Iterator[np.ndarray]:
    flat = voxels.reshape(-1)
    return (flat[start : start + _CHUNK] for start in range(0, flat.size, _CHUNK))


def _labels_in(
    parts: Iterable[np.ndarray], grid: GridFile | _Scale, most: int = MAX_LABELS
) -> list[int]:
    """The labels of an image, ascending: all whole real values but 0.

    Raises
    ------
    BadInput
        Where a value is not whole, or there are more different ones than ``most``.
    """
    found: set[float] = set()
    for part in parts:
        real = _different(part).astype(np.float64) * grid.slope + grid.intercept
        if real.size and np.abs(real - np.rint(real)).max() > _WHOLE:
            raise BadInput(
                "The numbers of the file are not whole, so it is no mask",
                grid.path,
                "Open it as an image",
            )
        found.update(np.rint(real).tolist())
        if len(found - {0.0}) > most:
            raise BadInput(
                f"The file holds more than {most} different numbers, so it is no mask",
                grid.path,
                "Open it as an image",
            )
    return sorted(int(value) for value in found if value)


def _different(part: np.ndarray) -> np.ndarray:
    """The different numbers of a part; what is no finite number counts as 0, as in loading."""
    marked = _not_zero(part)
    if marked.dtype.kind == "f":
        marked = marked[np.isfinite(marked)]
    distinct = np.unique(marked) if marked.size else marked
    return np.append(distinct, distinct.dtype.type(0)) if marked.size < part.size else distinct


def _not_zero(part: np.ndarray) -> np.ndarray:
    """All numbers but 0; most of a mask is 0 and is left out by eight bytes at a time."""
    whole = part.nbytes // 8 * 8 // part.itemsize
    words = np.ascontiguousarray(part[:whole]).view(np.uint64)
    some = np.concatenate((words[words != 0].view(part.dtype), part[whole:]))
    return some[some != 0]


def _numbers(values: list[int]) -> tuple[dict[int, int], tuple[str, ...]]:
    """The number each value gets, and a sentence where it is another one."""
    if all(1 <= value <= MAX_LABELS for value in values):
        return {value: value for value in values}, ()
    return {value: place for place, value in enumerate(sorted(values), 1)}, (_RENUMBERED,)


def _numbered(voxels: np.ndarray, grid: GridFile | _Scale, numbers: dict[int, int]) -> np.ndarray:
    """The label image as uint8."""
    plain = (grid.slope, grid.intercept) == (1.0, 0.0)
    if plain and voxels.dtype == np.uint8 and all(a == b for a, b in numbers.items()):
        return np.array(voxels)
    result = np.zeros(voxels.shape, np.uint8)
    if not numbers:
        return result
    values = np.array(sorted(numbers))
    table = np.array([numbers[value] for value in values.tolist()], np.uint8)
    for source, target in zip(voxels, result, strict=True):  # slice by slice: no large copies
        real = np.rint(source.astype(np.float64) * grid.slope + grid.intercept).astype(np.int64)
        place = np.searchsorted(values, real).clip(max=len(values) - 1)
        target[...] = np.where(values[place] == real, table[place], 0)
    return result
