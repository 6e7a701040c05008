"""Planar contours become the voxels whose centres they enclose.

A voxel is inside where it lies in an odd number of contours of its plane, so a contour inside
another one cuts a hole. Contours along slices of any axis of the array are filled there; others
in their own plane, and the voxels ask there.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from imaging.analysis.onto_grid import onto
from imaging.dicom.header.vetting import check_volume_bytes
from imaging.dicom.objects.layers import Marks
from imaging.dicom.objects.placing import Patch
from imaging.geometry import Geometry
from imaging.uneven import UnevenGeometry

#: A contour bends out of its plane by at most so much of the distance between slices.
_FLAT = 0.1
#: A plane this near to a slice (in slices) lies in it.
_IN_SLICE = 0.1
_SAME_PLANE_MM = 0.05


@dataclass
class Said:
    """What has to be said about contours, gathered while they are filled."""

    other_types: int = 0
    bent: int = 0
    between: bool = False
    tilted: bool = False
    outside: int = 0
    notes: list[str] = field(default_factory=list)


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


def filled(contours: list[np.ndarray], geometry: Geometry, step: float, said: Said) -> list[Marks]:
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
    indices: list[np.ndarray], axis: int, geometry: Geometry, step: float, said: Said
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
    levels: list[float], geometry: Geometry, axis: int, thick: float, said: Said
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
    contours: list[np.ndarray], geometry: Geometry, step: float, said: Said
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
    for patch, inside in _along_slices([grid.index(p) for p in same], 0, grid, 0.0, Said()):
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
