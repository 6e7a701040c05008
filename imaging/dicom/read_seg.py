"""DICOM Segmentation objects onto a grid: every frame goes where its position says.

Reads BINARY, FRACTIONAL (at half of the maximum) and LABELMAP. Source: DICOM PS3.3 C.8.20,
C.7.6.16.2.3 (plane position), C.7.6.16.2.4 (plane orientation).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from imaging.analysis.onto_grid import onto
from imaging.dicom.codes import code_from
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.orientation import SLICE_STEP_TOLERANCE_MM
from imaging.segmentation import LESION_CATEGORY, LESION_TYPE, PALETTE, Segment

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_SOP_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


class SegContent(NamedTuple):
    """A mask as read.

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


class _Frame(NamedTuple):
    """One frame: which segment (0 in a label map), and where its first pixel lies, LPS mm."""

    segment: int
    position: np.ndarray


def read_seg(path: Path, geometry: Geometry) -> SegContent:
    """Read a SEG file onto a grid.

    Parameters
    ----------
    geometry : Geometry
        The grid of the volume the mask is shown on; where it is not the file's own, voxels are
        taken by the nearest neighbour and a note says so.

    Raises
    ------
    BadInput
        Where the file is no segmentation, lacks positions, mixes orientations, lies in another
        frame of reference or cannot be decoded.
    """
    ds = _open(path)
    _check_frame_of_reference(ds, geometry, path)
    segments = _segments(ds, path)
    frames = _frames(ds, path)
    grid, places = _own_grid(ds, frames, path)
    labels, overlapping = _assemble(ds, frames, places, grid, path)
    notes = ["Segments overlap; where they do, the first one was kept"] if overlapping else []
    moved, more = onto(labels, grid, geometry)
    return SegContent(moved, segments, (*notes, *more))


def _open(path: Path) -> Dataset:
    from pydicom import dcmread

    try:
        ds = dcmread(path)
        kind = str(ds.SOPClassUID)
    except Exception as error:
        raise BadInput("This is not a readable DICOM file", str(path)) from error
    if kind not in _SOP_CLASSES:
        raise BadInput("This DICOM file is not a segmentation", str(path))
    return ds


def _check_frame_of_reference(ds: Dataset, geometry: Geometry, path: Path) -> None:
    own = str(ds.get("FrameOfReferenceUID") or "")
    if own and geometry.frame_of_reference and own != geometry.frame_of_reference:
        raise BadInput(
            "The mask belongs to another frame of reference than the image",
            str(path),
            "Open it together with the images it was drawn on",
        )


def _segments(ds: Dataset, path: Path) -> tuple[Segment, ...]:
    found = []
    for item in ds.get("SegmentSequence") or []:
        number = int(item.SegmentNumber)
        if number == 0:  # background of a label map
            continue
        if number > 255:
            raise BadInput("The file holds more than 255 segments", str(path))
        found.append(_segment(item, number))
    return tuple(found)


def _segment(item: Dataset, number: int) -> Segment:
    kind = str(item.get("SegmentAlgorithmType") or "MANUAL")
    return Segment(
        number,
        str(item.get("SegmentLabel") or f"Label {number}"),
        _colour(item) or PALETTE[(number - 1) % len(PALETTE)],
        code_from(item.get("SegmentedPropertyCategoryCodeSequence"), LESION_CATEGORY),
        code_from(item.get("SegmentedPropertyTypeCodeSequence"), LESION_TYPE),
        kind,
        tracking_uid=str(item.get("TrackingUID") or ""),
    )


def _colour(item: Dataset) -> tuple[int, int, int] | None:
    from highdicom.color import CIELabColor

    value = item.get("RecommendedDisplayCIELabValue")
    if value is None or len(value) != 3:
        return None
    lab = CIELabColor(value[0] * 100 / 65535, value[1] * 255 / 65535 - 128,
                      value[2] * 255 / 65535 - 128)  # fmt: skip
    red, green, blue = lab.to_rgb()
    return int(red), int(green), int(blue)


def _frames(ds: Dataset, path: Path) -> list[_Frame]:
    shared = (ds.get("SharedFunctionalGroupsSequence") or [None])[0]
    label_map = str(ds.get("SegmentationType")) == "LABELMAP"
    frames = []
    for groups in ds.get("PerFrameFunctionalGroupsSequence") or []:
        place = _group(groups, shared, "PlanePositionSequence")
        named = None if label_map else _group(groups, shared, "SegmentIdentificationSequence")
        if place is None or (named is None and not label_map):
            raise BadInput("A frame of the mask does not say where it lies", str(path))
        position = np.array(place.ImagePositionPatient, float)
        frames.append(_Frame(int(named.ReferencedSegmentNumber) if named else 0, position))
    if not frames:
        raise BadInput("The mask holds no frames", str(path))
    return frames


def _group(own: Dataset, shared: Dataset | None, name: str) -> Dataset | None:
    for groups in (own, shared):
        sequence = groups.get(name) if groups is not None else None
        if sequence:
            return sequence[0]
    return None


def _own_grid(ds: Dataset, frames: list[_Frame], path: Path) -> tuple[Geometry, np.ndarray]:
    """The regular grid that the frames span, and the slice of each frame in it."""
    rows, columns, spacing, thickness = _plane(ds, path)
    normal = np.cross(rows, columns)
    positions = np.array([f.position for f in frames])
    heights = positions @ normal
    first, last = int(np.argmin(heights)), int(np.argmax(heights))
    step = _step(heights - heights[first], thickness)
    places = np.rint((heights - heights[first]) / step).astype(int)
    if np.abs((heights - heights[first]) - places * step).max() > SLICE_STEP_TOLERANCE_MM * 2:
        raise BadInput("The slices of the mask are not evenly spaced", str(path))
    count = int(places.max()) + 1
    along = (positions[last] - positions[first]) / (count - 1) if count > 1 else normal * step
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = along, columns * spacing[0], rows * spacing[1]
    affine[:3, 3] = positions[first]
    return Geometry((count, int(ds.Rows), int(ds.Columns)), affine), places


def _step(heights: np.ndarray, stated: float) -> float:
    """Distance between slices: as stated where the frames agree with it, else the smallest gap.

    Empty frames may be missing, so the smallest gap can be several slices wide.
    """
    levels = np.unique(np.round(heights, 4))
    gaps = np.diff(levels)
    gaps = gaps[gaps > SLICE_STEP_TOLERANCE_MM]
    if not gaps.size:
        return stated
    counts = np.rint(gaps / stated)
    if counts.min() >= 1 and np.abs(gaps - counts * stated).max() <= SLICE_STEP_TOLERANCE_MM:
        return float(gaps.sum() / counts.sum())
    span = float(gaps.sum())
    return span / max(round(span / float(gaps.min())), 1)


def _plane(ds: Dataset, path: Path) -> tuple[np.ndarray, np.ndarray, tuple[float, float], float]:
    """Row direction, column direction, spacing and slice step shared by all frames."""
    shared = (ds.get("SharedFunctionalGroupsSequence") or [None])[0]
    every = ds.PerFrameFunctionalGroupsSequence
    axes = [_group(g, shared, "PlaneOrientationSequence") for g in every]
    sizes = _group(every[0], shared, "PixelMeasuresSequence")
    if sizes is None or any(a is None for a in axes):
        raise BadInput("The mask does not say how its slices lie", str(path))
    cosines = np.array([a.ImageOrientationPatient for a in axes if a is not None], float)
    if np.abs(cosines - cosines[0]).max() > 1e-3:
        raise BadInput("The slices of the mask lie in different directions", str(path))
    between = float(sizes.get("SpacingBetweenSlices") or sizes.get("SliceThickness") or 1.0)
    row_step, column_step = (float(v) for v in sizes.PixelSpacing)
    return cosines[0][:3], cosines[0][3:], (row_step, column_step), between


def _assemble(
    ds: Dataset, frames: list[_Frame], places: np.ndarray, grid: Geometry, path: Path
) -> tuple[np.ndarray, bool]:
    """Labels on the file's own grid, uint8 (k, j, i), and whether segments overlap."""
    try:
        pixels = ds.pixel_array
    except Exception as error:
        raise BadInput("The pixels of the mask cannot be decoded", str(path)) from error
    pixels = pixels.reshape(len(frames), int(ds.Rows), int(ds.Columns))
    kind = str(ds.get("SegmentationType"))
    half = float(ds.get("MaximumFractionalValue") or 1) / 2 if kind == "FRACTIONAL" else 0.5
    labels, overlapping = np.zeros(grid.shape, np.uint8), False
    for frame, place, image in zip(frames, places, pixels, strict=True):
        if kind == "LABELMAP":
            values = np.where(image < 256, image, 0).astype(np.uint8)
        else:
            values = np.where(image >= half, np.uint8(frame.segment), np.uint8(0))
        target = labels[place]
        free = target == 0
        overlapping |= bool(((values > 0) & ~free).any())
        target[free] = values[free]
    return labels, overlapping
