"""DICOM Segmentation objects onto a grid: every frame goes where its position says.

Reads BINARY, FRACTIONAL (the fractions, and a mask at half of the maximum) and LABELMAP. Frames
whose pixels are voxels of the image are copied voxel by voxel, whatever the order of its axes;
others are resampled by the nearest neighbour, and it is said. Source: DICOM PS3.3 C.8.20,
C.7.6.16.2.3 (plane position), C.7.6.16.2.4 (plane orientation), A.51 and A.97 (label map).
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from imaging.analysis.onto_grid import onto
from imaging.dicom.header.vetting import check_volume_bytes
from imaging.dicom.objects.frame_planes import (
    check_one_direction,
    group,
    plane_of_frame,
    stated_step,
)
from imaging.dicom.objects.layers import RENUMBERED, Layer, Layers, Marks
from imaging.dicom.objects.object_file import (
    MAX_MASK_BYTES,
    SEG_CLASSES,
    count_frames,
    first_item,
    iter_frames,
    open_object,
)
from imaging.dicom.objects.placing import Patch, Plane, Target, lay, own_grid, resampled
from imaging.dicom.objects.segment_items import read_provenance, read_segments, unnamed
from imaging.errors import BadInput
from imaging.geometry import Box, Geometry
from imaging.segmentation import Provenance, Segment

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

LABELMAP, FRACTIONAL = "LABELMAP", "FRACTIONAL"
_FIRST_KEPT = "Segments overlap; where they do, the first one was kept"


class SegContent(NamedTuple):
    """A mask as one label map.

    Parameters
    ----------
    labels : ndarray, shape (k, j, i)
        uint8 on the grid asked for.
    segments : tuple of Segment
        All that the file names, empty ones included.
    notes : tuple of str
        Sentences about what could not be kept.
    """

    labels: np.ndarray
    segments: tuple[Segment, ...]
    notes: tuple[str, ...]


class Fraction(NamedTuple):
    """The map of a FRACTIONAL segment.

    Parameters
    ----------
    segment : Segment
    values : ndarray, shape (k, j, i)
        float32, 0 to 1.
    meaning : str
        ``"probability"`` or ``"occupancy"``.
    """

    segment: Segment
    values: np.ndarray
    meaning: str


class SegLayers(NamedTuple):
    """A mask with everything: overlapping segments lie in further label maps.

    Parameters
    ----------
    layers : tuple of Layer
        At least one, on the grid asked for.
    fractions : tuple of Fraction
        For FRACTIONAL: one per segment.
    """

    layers: tuple[Layer, ...]
    fractions: tuple[Fraction, ...]
    provenance: Provenance
    notes: tuple[str, ...]


class _Frame(NamedTuple):
    """One frame: which segment (0 in a label map), and where it lies."""

    segment: int
    plane: Plane


class _Canvas(NamedTuple):
    """Where frames are drawn first: on the target itself, or on the file's own regular grid."""

    geometry: Geometry
    patches: list[Patch]
    own: bool


def read_seg(path: Path, geometry: Geometry, places: np.ndarray | None = None) -> SegContent:
    """Read a SEG file onto a grid as one label map.

    Parameters
    ----------
    geometry : Geometry
        The grid of the volume the mask is shown on; where it is not the file's own, voxels are
        taken by the nearest neighbour and a note says so.
    places : ndarray, optional
        Slices of an uneven stack, see :class:`imaging.volume.Volume`.

    Raises
    ------
    BadInput
        Where the file is no segmentation, lacks positions, mixes orientations, lies in another
        frame of reference or cannot be decoded.
    """
    content = read_seg_layers(path, Target(geometry, places))
    first, *more = content.layers
    if not more:
        return SegContent(first.labels, first.segments, content.notes)
    labels, segments = first.labels.copy(), list(first.segments)
    for layer in more:
        free = labels == 0
        labels[free] = layer.labels[free]
        known = {segment.number for segment in segments}
        segments += [segment for segment in layer.segments if segment.number not in known]
    ordered = tuple(sorted(segments, key=lambda segment: segment.number))
    return SegContent(labels, ordered, (_FIRST_KEPT, *content.notes))


def read_seg_layers(path: Path, target: Target) -> SegLayers:
    """Read a SEG file onto a grid; see :func:`read_seg` for what is refused."""
    ds = open_object(path, MAX_MASK_BYTES)
    if str(ds.get("SOPClassUID")) not in SEG_CLASSES:
        raise BadInput("This DICOM file is not a segmentation", str(path))
    _check_frame_of_reference(ds, target.geometry, path)
    kind = str(ds.get("SegmentationType") or "")
    frames = _frames(ds, kind == LABELMAP, path)
    canvas = _canvas(ds, frames, target, path)
    segments = read_segments(ds)
    if kind == LABELMAP:
        content = _label_map(ds, frames, canvas, segments, path)
    elif kind == FRACTIONAL:
        content = _fractional(ds, frames, canvas, segments, path)
    else:
        content = _binary(ds, frames, canvas, segments, path)
    return _onto(content, canvas, target)


def read_seg_at(
    path: str, shape: list[int], affine: list[float], frame: str, places: list[float]
) -> SegLayers:
    """As :func:`read_seg_layers`, with plain arguments for a worker process."""
    return read_seg_layers(Path(path), Target.from_plain(shape, affine, frame, places))


def _check_frame_of_reference(ds: Dataset, geometry: Geometry, path: Path) -> None:
    own = str(ds.get("FrameOfReferenceUID") or "")
    if own and geometry.frame_of_reference and own != geometry.frame_of_reference:
        raise BadInput(
            "The mask belongs to another frame of reference than the image",
            str(path),
            "Open it together with the images it was drawn on",
        )


# --- frames -----------------------------------------------------------------------------------


def _frames(ds: Dataset, label_map: bool, path: Path) -> list[_Frame]:
    count = count_frames(ds, path)
    shared = first_item(ds, "SharedFunctionalGroupsSequence")
    every = ds.get("PerFrameFunctionalGroupsSequence") or []
    if not len(every):
        raise BadInput("The mask holds no frames", str(path))
    if len(every) != count:
        raise BadInput("The mask does not describe each of its frames", str(path))
    rows, columns = int(ds.Rows), int(ds.Columns)
    frames = []
    for own in every:
        plane = plane_of_frame(own, shared, rows, columns, "The mask", path)
        named = None if label_map else group(own, shared, "SegmentIdentificationSequence")
        if named is None and not label_map:
            raise BadInput("A frame of the mask does not say what it shows", str(path))
        number = 0 if named is None else int(named.get("ReferencedSegmentNumber") or 0)
        frames.append(_Frame(number, plane))
    check_one_direction([frame.plane for frame in frames], "The mask", path)
    return frames


def _canvas(ds: Dataset, frames: list[_Frame], target: Target, path: Path) -> _Canvas:
    direct = [lay(frame.plane, target) for frame in frames]
    if all(patch is not None for patch in direct):
        return _Canvas(target.geometry, [p for p in direct if p is not None], own=False)
    geometry, slices = own_grid([f.plane for f in frames], stated_step(ds), str(path))
    whole = slice(0, geometry.shape[1]), slice(0, geometry.shape[2])
    patches = [Patch(0, int(k), whole, False, whole) for k in slices]
    return _Canvas(geometry, patches, own=True)


# --- pixels -----------------------------------------------------------------------------------


def _binary(
    ds: Dataset, frames: list[_Frame], canvas: _Canvas, segments: dict[int, Segment], path: Path
) -> SegLayers:
    marks: dict[int, list[Marks]] = {number: [] for number in segments}
    lost = 0
    for frame, patch, image in zip(frames, canvas.patches, iter_frames(ds, path), strict=True):
        outside = _take(marks.setdefault(frame.segment, []), patch, image > 0)
        lost += outside
    return _layered(ds, marks, canvas, segments, lost, path)


def _take(marks: list[Marks], patch: Patch, marked: np.ndarray) -> int:
    """Note the marked part of a frame, as small as it is; returns how many lie outside."""
    inside = marked[patch.here]
    count = int(np.count_nonzero(marked))
    kept = int(np.count_nonzero(inside)) if inside.shape != marked.shape else count
    if kept:
        box = Box.around(inside[None])
        rows, columns = box.slices[1:]
        first = patch.there[0], patch.there[1]
        there = _within(first[0], rows), _within(first[1], columns)
        small = np.ascontiguousarray(inside[rows, columns])
        marks.append(Marks(patch._replace(there=there, here=(rows, columns)), small))
    return count - kept


def _within(outer: slice, inner: slice) -> slice:
    """The part ``inner`` of what ``outer`` selects; ``outer`` may run backwards."""
    if (outer.step or 1) > 0:
        return slice(outer.start + inner.start, outer.start + inner.stop)
    end = outer.start - inner.stop
    return slice(outer.start - inner.start, end if end >= 0 else None, -1)


def _layered(
    ds: Dataset,
    marks: dict[int, list[Marks]],
    canvas: _Canvas,
    segments: dict[int, Segment],
    lost: int,
    path: Path,
) -> SegLayers:
    keep = max(marks, default=0) <= 255 and min(marks, default=1) >= 1
    layers = Layers(canvas.geometry.shape, keep, str(path))
    for number in sorted(marks):
        layers.add(segments.get(number) or unnamed(max(number, 1)), marks[number])
    notes = [] if keep else [RENUMBERED]
    if lost and not canvas.own:
        notes.append(_lost(lost))
    return SegLayers(layers.layers, (), read_provenance(ds), tuple(notes))


def _lost(count: int) -> str:
    return f"{count} marked voxels lie outside the image and are not shown"


def _label_map(
    ds: Dataset, frames: list[_Frame], canvas: _Canvas, segments: dict[int, Segment], path: Path
) -> SegLayers:
    """Labels never overlap here, so they go straight into label maps of 255 labels each."""
    images = list(iter_frames(ds, path))
    background = {0, int(ds.get("PixelPaddingValue") or 0)}
    used = {int(v) for image in images for v in np.unique(image)} - background
    ordered = sorted(used | set(segments))
    keep = not ordered or ordered[-1] <= 255
    groups = [ordered] if keep else [ordered[at : at + 255] for at in range(0, len(ordered), 255)]
    check_volume_bytes(len(groups) * int(np.prod(canvas.geometry.shape, dtype=np.int64)), str(path))
    layers, lost = [], 0
    for numbers_here in groups:
        table = np.zeros(int(max(ordered, default=0)) + 1, np.uint8)
        named = []
        for at, number in enumerate(numbers_here, 1):
            new = number if keep else at
            table[number] = new
            named.append(replace(segments.get(number) or unnamed(number), number=new))
        labels = np.zeros(canvas.geometry.shape, np.uint8)
        for patch, image in zip(canvas.patches, images, strict=True):
            values = table[np.where(image < len(table), image, 0)]
            patch.view(labels)[...] |= values[patch.here]
            lost += int(np.count_nonzero(values)) - int(np.count_nonzero(values[patch.here]))
        layers.append(Layer(labels, tuple(named)))
    notes = [] if keep else [RENUMBERED]
    if lost and not canvas.own:
        notes.append(_lost(lost))
    if not layers:
        layers = [Layer(np.zeros(canvas.geometry.shape, np.uint8), ())]
    return SegLayers(tuple(layers), (), read_provenance(ds), tuple(notes))


def _fractional(
    ds: Dataset, frames: list[_Frame], canvas: _Canvas, segments: dict[int, Segment], path: Path
) -> SegLayers:
    top = float(ds.get("MaximumFractionalValue") or 255)
    kind = str(ds.get("SegmentationFractionalType") or "PROBABILITY").lower()
    meaning = "occupancy" if kind == "occupancy" else "probability"
    shape = canvas.geometry.shape
    wanted = sorted({*segments, *(frame.segment for frame in frames)})
    check_volume_bytes(len(wanted) * 4 * int(np.prod(shape, dtype=np.int64)), str(path))
    maps = {number: np.zeros(shape, np.float32) for number in wanted}
    marks: dict[int, list[Marks]] = {number: [] for number in wanted}
    lost = 0
    for frame, patch, image in zip(frames, canvas.patches, iter_frames(ds, path), strict=True):
        values = np.minimum(image.astype(np.float32) / np.float32(top), np.float32(1))
        patch.view(maps[frame.segment])[...] = values[patch.here]
        lost += _take(marks[frame.segment], patch, image >= top / 2)
    content = _layered(ds, marks, canvas, segments, lost, path)
    fractions = tuple(
        Fraction(segments.get(number) or unnamed(max(number, 1)), maps[number], meaning)
        for number in wanted
    )
    return content._replace(fractions=fractions)


# --- from its own grid to the image's --------------------------------------------------------


def _onto(content: SegLayers, canvas: _Canvas, target: Target) -> SegLayers:
    if not canvas.own:
        return content
    layers, notes = [], list(content.notes)
    for layer in content.layers:
        labels, more = onto(layer.labels, canvas.geometry, target.geometry, target.places)
        layers.append(Layer(labels, layer.segments))
        notes += [note for note in more if note not in notes]
    fractions = tuple(
        fraction._replace(values=resampled(fraction.values, canvas.geometry, target))
        for fraction in content.fractions
    )
    return content._replace(layers=tuple(layers), fractions=fractions, notes=tuple(notes))
