"""RT Structure Sets onto a grid: closed planar contours become masks.

A voxel belongs to a structure where its centre lies inside an odd number of the structure's
contours in that plane, so a contour inside another one cuts a hole. Source: DICOM PS3.3 C.8.8.5
(structure set ROI) and C.8.8.6 (ROI contour); contours are LPS mm.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from imaging.analysis.onto_grid import onto
from imaging.dicom.codes import category_of, code_from
from imaging.dicom.layers import RENUMBERED, Layer, Layers, Marks
from imaging.dicom.object_file import (
    MAX_CONTOUR_BYTES,
    STRUCTURE_CLASS,
    clean,
    made_by,
    open_object,
)
from imaging.dicom.placing import Patch, Target
from imaging.dicom.vetting import check_volume_bytes, safe_uid
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.segmentation import (
    AUTOMATIC,
    LESION_CATEGORY,
    LESION_TYPE,
    MANUAL,
    PALETTE,
    SEMIAUTOMATIC,
    Code,
    Provenance,
    Segment,
)
from imaging.uneven import UnevenGeometry

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "INTERPOLATED_PLANAR")
#: A contour bends out of its plane by at most so much of the distance between slices.
_FLAT = 0.1
#: A plane this near to a slice (in slices) lies in it.
_IN_SLICE = 0.1
_SAME_PLANE_MM = 0.05
_FARTHEST_MM = 1e6
_MAX_POINTS = 20_000_000
_ORGAN = Code("91723000", "SCT", "Anatomical Structure")

BETWEEN_SLICES = (
    "The contours were drawn on other slices than those of this image; each slice shows the "
    "nearest contour"
)
TILTED = "Contours lie across the slices of this image; their shape was sampled voxel by voxel"


class StructureContent(NamedTuple):
    """Structures as label maps on the grid asked for; see :class:`read_seg.SegLayers`."""

    layers: tuple[Layer, ...]
    provenance: Provenance
    notes: tuple[str, ...]


@dataclass
class _Said:
    """What has to be said about contours, gathered while they are read."""

    other_types: int = 0
    bent: int = 0
    between: bool = False
    tilted: bool = False
    outside: int = 0
    notes: list[str] = field(default_factory=list)


def read_rtstruct(path: Path, target: Target) -> StructureContent:
    """Read the structures of an RTSTRUCT file as masks.

    Raises
    ------
    BadInput
        Where the file is no structure set, lies in another frame of reference, or holds no
        contour that encloses something.
    """
    ds = open_object(path, MAX_CONTOUR_BYTES)
    if str(ds.get("SOPClassUID")) != STRUCTURE_CLASS:
        raise BadInput("This DICOM file is not a structure set", str(path))
    _check_frame_of_reference(ds, target.geometry, path)
    named = {
        int(item.get("ROINumber") or 0): item for item in ds.get("StructureSetROISequence") or []
    }
    said, layers = _Said(), Layers(target.geometry.shape, True, str(path))
    order = list(_rois(ds, named))
    if len(order) > 255:
        layers = Layers(target.geometry.shape, False, str(path))
        said.notes.append(RENUMBERED)
    drawn = [_contours(item, said) for _, item in order]
    if sum(len(points) for contours in drawn for points in contours) > _MAX_POINTS:
        raise BadInput("The structure set holds too many points", str(path))
    step, observed, grid = contour_step(drawn), _observations(ds), _true_grid(target)
    for at, ((number, item), contours) in enumerate(zip(order, drawn, strict=True), 1):
        segment = _segment(min(at, 255), named.get(number), item, observed.get(number))
        layers.add(segment, filled(contours, grid, step, said))
    _sum_up(said)
    return StructureContent(layers.layers, _provenance(ds), tuple(said.notes))


def read_rtstruct_at(
    path: str, shape: list[int], affine: list[float], frame: str, places: list[float]
) -> StructureContent:
    """As :func:`read_rtstruct`, with plain arguments for a worker process."""
    return read_rtstruct(Path(path), Target.from_plain(shape, affine, frame, places))


def _true_grid(target: Target) -> Geometry:
    """The grid, with the true places of uneven slices."""
    if target.places is None:
        return target.geometry
    return UnevenGeometry(target.geometry, target.places)


def _rois(ds: Dataset, named: dict[int, Dataset]):
    """Contours with the number of their structure, then structures without any."""
    seen = set()
    for item in ds.get("ROIContourSequence") or []:
        number = int(item.get("ReferencedROINumber") or 0)
        seen.add(number)
        yield number, item
    for number in named:
        if number not in seen:
            yield number, None


def _check_frame_of_reference(ds: Dataset, geometry: Geometry, path: Path) -> None:
    known = {
        str(item.get("ReferencedFrameOfReferenceUID") or item.get("FrameOfReferenceUID") or "")
        for name in ("StructureSetROISequence", "ReferencedFrameOfReferenceSequence")
        for item in ds.get(name) or []
    } - {""}
    if known and geometry.frame_of_reference and geometry.frame_of_reference not in known:
        raise BadInput(
            "The contours belong to another frame of reference than the image",
            str(path),
            "Open them together with the images they were drawn on",
        )


def _segment(
    number: int, named: Dataset | None, item: Dataset | None, observed: Dataset | None
) -> Segment:
    name = clean(named.get("ROIName"), 64) if named is not None else ""
    kind = str(named.get("ROIGenerationAlgorithm") or "") if named is not None else ""
    made = {"AUTOMATIC": AUTOMATIC, "SEMIAUTOMATIC": SEMIAUTOMATIC}.get(kind, MANUAL)
    category, type_ = LESION_CATEGORY, LESION_TYPE
    coded = observed.get("RTROIIdentificationCodeSequence") if observed is not None else None
    if coded:
        type_ = Code(*(clean(p, 64) for p in code_from(coded, LESION_TYPE)))
        category = category_of(type_) or _ORGAN
    tracking = _tracking_uid(named) if named is not None else ""
    return Segment(
        number, name or f"Structure {number}", _colour(item) or PALETTE[(number - 1) % 7],
        category, type_, made, tracking_uid=safe_uid(tracking),
    )  # fmt: skip


def _tracking_uid(named: Dataset) -> str:
    """What says that this is the same thing in other objects: its conceptual volume."""
    volumes = named.get("ConceptualVolumeIdentificationSequence")
    conceptual = volumes[0].get("ConceptualVolumeUID") if volumes else ""
    return str(conceptual or named.get("TrackingUID") or "")


def _colour(item: Dataset | None) -> tuple[int, int, int] | None:
    try:
        red, green, blue = (int(v) for v in item.ROIDisplayColor)  # type: ignore[union-attr]
    except (AttributeError, TypeError, ValueError):
        return None
    inside = all(0 <= v <= 255 for v in (red, green, blue))
    return (red, green, blue) if inside else None


def _observations(ds: Dataset) -> dict[int, Dataset]:
    items = ds.get("RTROIObservationsSequence") or []
    return {int(item.get("ReferencedROINumber") or 0): item for item in items}


def _provenance(ds: Dataset) -> Provenance:
    """Made by hand, unless every structure says that an algorithm drew it."""
    kinds = {
        str(item.get("ROIGenerationAlgorithm") or "")
        for item in ds.get("StructureSetROISequence") or []
    }
    automatic = bool(kinds) and kinds <= {"AUTOMATIC", "SEMIAUTOMATIC"}
    maker = clean(ds.get("ManufacturerModelName") or ds.get("Manufacturer"), 64)
    return made_by(ds, [(maker, "")] if automatic and maker else [])


def _contours(item: Dataset | None, said: _Said) -> list[np.ndarray]:
    """The closed contours of a structure, LPS mm, each (n, 3)."""
    found = []
    for contour in (item.get("ContourSequence") if item is not None else None) or []:
        kind = str(contour.get("ContourGeometricType") or "CLOSED_PLANAR")
        try:
            points = np.array(contour.get("ContourData") or [], float)
        except (TypeError, ValueError):
            points = np.empty(0)
        whole = points.size % 3 == 0 and points.size >= 9 and (np.abs(points) < _FARTHEST_MM).all()
        if kind not in _CLOSED or not whole:
            said.other_types += 1
        else:
            found.append(points.reshape(-1, 3))
    return found


def _sum_up(said: _Said) -> None:
    if said.other_types:
        said.notes.append(
            f"{said.other_types} points or open lines enclose nothing and are not shown"
        )
    if said.bent:
        said.notes.append(f"{said.bent} contours do not lie in a plane and are not shown")
    if said.between:
        said.notes.append(BETWEEN_SLICES)
    if said.tilted:
        said.notes.append(TILTED)
    if said.outside:
        said.notes.append(f"{said.outside} contours lie outside the image and are not shown")


def contour_step(drawn: list[list[np.ndarray]]) -> float:
    """Smallest distance between planes of contours, mm; 0 where there are fewer than three.

    It says how thick a contour is meant to be where the image has finer slices.
    """
    everything = [points for contours in drawn for points in contours]
    normals = (plane_normal(points) for points in everything)
    normal = next((n for n in normals if n is not None), None)
    if normal is None:
        return 0.0
    flat = [points for points in everything if np.ptp(points @ normal) < _SAME_PLANE_MM]
    levels = np.unique(np.round([float((points @ normal).mean()) for points in flat], 2))
    gaps = np.diff(levels)
    gaps = gaps[gaps > _SAME_PLANE_MM]
    return float(gaps.min()) if len(gaps) >= 2 else 0.0


# --- filling ----------------------------------------------------------------------------------


def filled(contours: list[np.ndarray], geometry: Geometry, step: float, said: _Said) -> list[Marks]:
    """The voxels inside contours, as marks on slices of the grid.

    Parameters
    ----------
    step : float
        Distance between planes of contours, mm; see :func:`contour_step`.

    Contours that run along slices of any axis of the array are filled there; all others are
    filled in their own plane, and voxels ask there.
    """
    if not contours:
        return []
    indices = [geometry.index(points) for points in contours]
    spread = np.array([index.max(0) - index.min(0) for index in indices])
    axis = int((spread <= _FLAT).all(0).argmax())
    if (spread[:, axis] <= _FLAT).all():
        return _along_slices(indices, axis, geometry, step, said)
    said.tilted = True
    return _across_slices(contours, geometry, step, said)


def _along_slices(
    indices: list[np.ndarray], axis: int, geometry: Geometry, step: float, said: _Said
) -> list[Marks]:
    """Fill contours whose planes are parallel to the slices across ``axis``."""
    heights = np.array([float(index[:, axis].mean()) for index in indices])
    ordered = np.argsort(heights, kind="stable")
    breaks = np.flatnonzero(np.diff(heights[ordered]) > _FLAT) + 1
    groups = np.split(ordered, breaks)
    levels = [float(heights[group].mean()) for group in groups]
    shape = tuple(np.delete(geometry.shape, axis))
    thick = step * float(np.linalg.norm(geometry.inverse[axis, :3]))  # in slices
    marks = []
    shown = _slices_of(levels, geometry, axis, thick, said)
    for group, slices in zip(groups, shown, strict=True):
        polygons = [np.delete(indices[n], axis, 1) for n in group]
        box = _box(polygons, shape)
        if box is None or not slices:
            said.outside += len(polygons)
            continue
        inside = fill_polygons(polygons, *box)
        marks += [Marks(Patch(axis, k, box, False, box), inside) for k in slices]
    return marks


def _slices_of(
    levels: list[float], geometry: Geometry, axis: int, thick: float, said: _Said
) -> list[list[int]]:
    """Which slices show the contours of which plane: their own, or the nearest ones."""
    known, count = np.array(levels), geometry.shape[axis]
    if isinstance(geometry, UnevenGeometry):  # nothing is spread over gaps
        near = np.abs(known - np.rint(known)) <= _IN_SLICE
        return [
            [round(level)] if lies and 0 <= round(level) < count else []
            for level, lies in zip(levels, near, strict=True)
        ]
    whole = bool((np.abs(known - np.rint(known)) <= _IN_SLICE).all())
    if whole and thick <= 1.0 + 2 * _IN_SLICE:
        return [[round(level)] if 0 <= round(level) < count else [] for level in levels]
    said.between = True
    reach = max(thick, 1.0) / 2
    found: list[list[int]] = [[] for _ in levels]
    first, stop = max(0, int(known[0] - reach)), min(count, int(known[-1] + reach) + 2)
    for k in range(first, stop):
        at = int(np.abs(known - k).argmin())
        if -reach - 1e-6 <= known[at] - k < reach - 1e-6:  # a slice half-way counts once
            found[at].append(k)
    return found


def _box(polygons: list[np.ndarray], shape: tuple[int, ...]) -> tuple[slice, slice] | None:
    """Rows and columns around polygons inside an array; None where there are none."""
    points = np.concatenate(polygons)
    low = np.maximum(np.floor(points.min(0)), 0).astype(int)
    high = np.minimum(np.ceil(points.max(0)) + 1, shape).astype(int)
    if (high <= low).any():
        return None
    return slice(int(low[0]), int(high[0])), slice(int(low[1]), int(high[1]))


def fill_polygons(polygons: list[np.ndarray], rows: slice, columns: slice) -> np.ndarray:
    """Which pixel centres of a block lie inside an odd number of closed polygons.

    Parameters
    ----------
    polygons : list of ndarray, shape (n, 2)
        Corners as (row, column); pixel centres are whole numbers.
    rows, columns : slice
        The block.

    Returns
    -------
    ndarray of bool
        One entry per pixel of the block. A centre on a left or upper edge is inside, one on a
        right or lower edge is not, so polygons that touch never share a pixel.
    """
    height, width = rows.stop - rows.start, columns.stop - columns.start
    turns = np.zeros((height, width + 1), np.int32)
    for polygon in polygons:
        row, column = polygon[:, 0] - rows.start, polygon[:, 1] - columns.start
        next_row, next_column = np.roll(row, -1), np.roll(column, -1)
        first = np.clip(np.ceil(np.minimum(row, next_row)), 0, height).astype(np.int64)
        stop = np.clip(np.ceil(np.maximum(row, next_row)), 0, height).astype(np.int64)
        many = stop - first
        edges = np.repeat(np.arange(len(row)), many)
        starts = np.repeat(np.cumsum(many) - many, many)
        at_row = np.arange(len(edges)) - starts + first[edges]
        share = (at_row - row[edges]) / (next_row[edges] - row[edges])
        crossing = column[edges] + share * (next_column[edges] - column[edges])
        at_column = np.clip(np.ceil(crossing), 0, width).astype(np.int64)
        np.add.at(turns, (at_row, at_column), 1)
    return (np.cumsum(turns, axis=1)[:, :width] & 1).astype(bool)


# --- contours that lie across the slices -----------------------------------------------------


def _across_slices(
    contours: list[np.ndarray], geometry: Geometry, step: float, said: _Said
) -> list[Marks]:
    """Fill contours on a fine grid in their own direction and let the voxels ask there."""
    flat = [points for points in contours if plane_normal(points) is not None]
    said.bent += len(contours) - len(flat)
    if not flat:
        return []
    normal = plane_normal(max(flat, key=len))
    assert normal is not None
    same = [points for points in flat if np.ptp(points @ normal) <= _flatness(geometry)]
    said.bent += len(flat) - len(same)
    if not same:
        return []
    grid = _fine_grid(same, normal, geometry, step)
    labels = np.zeros(grid.shape, np.uint8)
    for patch, inside in _along_slices([grid.index(p) for p in same], 0, grid, 0.0, _Said()):
        patch.view(labels)[inside] = 1
    places = geometry.places if isinstance(geometry, UnevenGeometry) else None
    moved, _notes = onto(labels, grid, geometry, places)
    found = []
    for k in np.flatnonzero(moved.any((1, 2))):
        whole = slice(0, geometry.shape[1]), slice(0, geometry.shape[2])
        found.append(Marks(Patch(0, int(k), whole, False, whole), moved[k] > 0))
    return found


def _flatness(geometry: Geometry) -> float:
    return max(0.05, _FLAT * min(geometry.spacing))


def plane_normal(points: np.ndarray) -> np.ndarray | None:
    """Unit vector across a contour (Newell's method), None where it encloses nothing."""
    following = np.roll(points, -1, 0)
    normal = np.cross(points - points[0], following - points[0]).sum(0)
    length = np.linalg.norm(normal)
    return normal / length if length > 1e-6 else None


def _fine_grid(
    contours: list[np.ndarray], normal: np.ndarray, geometry: Geometry, step: float
) -> Geometry:
    """A grid along the planes of contours, half as fine as the image's finest step."""
    helper = np.eye(3)[int(np.abs(normal).argmin())]
    right = np.cross(normal, helper)
    right /= np.linalg.norm(right)
    down = np.cross(normal, right)
    points = np.concatenate(contours)
    levels = [float((p @ normal).mean()) for p in contours]
    step = step or max(geometry.spacing)
    fine = min(geometry.spacing) / 2
    low = np.array([min(levels), (points @ down).min() - fine, (points @ right).min() - fine])
    high = np.array([max(levels), (points @ down).max() + fine, (points @ right).max() + fine])
    steps = np.array([step, fine, fine])
    shape = np.ceil((high - low) / steps).astype(np.int64) + 1
    check_volume_bytes(int(np.prod(shape)), "")
    axes = np.stack([normal, down, right], 1)
    affine = np.eye(4)
    affine[:3, :3] = axes * steps
    affine[:3, 3] = axes @ low
    return Geometry(tuple(int(n) for n in shape), affine)
