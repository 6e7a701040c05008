"""Measures of masks and images: volume, overlap, diameters, intensities, distances."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.segmentation import Segmentation
from imaging.volume import Volume


class Statistics(NamedTuple):
    """Real values of an image under a mask, in the unit of the image."""

    voxels: int
    mean: float
    sd: float
    minimum: float
    median: float
    maximum: float


class Diameter(NamedTuple):
    """The longest distance in a set of voxels, and its two ends in LPS mm."""

    length_mm: float
    start: tuple[float, float, float]
    end: tuple[float, float, float]


def distance_mm(start: ArrayLike, end: ArrayLike) -> float:
    """Distance of two points in LPS mm."""
    return float(np.linalg.norm(np.asarray(end, float) - np.asarray(start, float)))


def volume_ml(segmentation: Segmentation, label: int) -> float:
    """Volume of all voxels with a label, in millilitres."""
    return int(np.count_nonzero(segmentation.labels == label)) * segmentation.geometry.voxel_ml


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Overlap of two masks, 0 to 1; nan where both are empty (there is nothing to agree on).

    Raises
    ------
    BadInput
        Where the shapes differ.

    Notes
    -----
    Source: L. R. Dice, Ecology 26 (1945) 297-302.
    """
    if one.shape != other.shape:
        raise BadInput(f"Masks of {one.shape} and {other.shape} voxels cannot be compared")
    a, b = one.astype(bool, copy=False), other.astype(bool, copy=False)
    total = int(np.count_nonzero(a)) + int(np.count_nonzero(b))
    return 2.0 * int(np.count_nonzero(a & b)) / total if total else float("nan")


def statistics(volume: Volume, segmentation: Segmentation, label: int) -> Statistics | None:
    """Real values of an image under one label; None where no voxel has it.

    Raises
    ------
    BadInput
        Where image and mask lie on different grids.
    """
    if not volume.geometry.same_grid(segmentation.geometry):
        raise BadInput("The image and the mask lie on different grids", segmentation.name)
    stored = volume.voxels[segmentation.labels == label]
    if stored.size == 0:
        return None
    values = stored.astype(np.float64) * volume.slope + volume.intercept
    return Statistics(
        values.size, float(values.mean()), float(values.std()),
        float(values.min()), float(np.median(values)), float(values.max()),
    )  # fmt: skip


def longest_diameter(indices: np.ndarray, geometry: Geometry) -> Diameter:
    """The longest distance between two corners of some voxels (largest Feret diameter).

    Corners, not centres: a single voxel of 1 mm is 1.73 mm across.

    Parameters
    ----------
    indices : ndarray of int, shape (n, 3)
        Voxels ``(k, j, i)``, at least one.
    geometry : Geometry
        Their grid.
    """
    points = _hull(geometry.world(_extreme_corners(indices) - 0.5))
    first, second = _farthest(points)
    return _between(points[first], points[second], distance_mm(points[first], points[second]))


def perpendicular_diameter(indices: np.ndarray, geometry: Geometry, longest: Diameter) -> Diameter:
    """The longest distance across some voxels at right angles to their longest diameter.

    Both ends lie in one section across that diameter, as thick as a voxel is along it; a section
    is seen along the diameter, from corner to corner like :func:`longest_diameter`.

    Parameters
    ----------
    indices : ndarray of int, shape (n, 3)
        As for :func:`longest_diameter`.
    longest : Diameter
        What that function gave.
    """
    axis = np.subtract(longest.end, longest.start) / longest.length_mm
    along = geometry.world(indices) @ axis
    thick = float(np.abs(axis @ geometry.affine[:3, :3]).sum())
    best = Diameter(0.0, longest.start, longest.start)
    for shift in (0.0, 0.5):  # half a section on, for what a border between two would cut
        section = np.floor((along - along.min()) / thick + shift + 1e-9).astype(int)
        order = np.argsort(section, kind="stable")
        borders = np.flatnonzero(np.diff(section[order])) + 1
        for part in np.split(order, borders):
            points = geometry.world(_extreme_corners(indices[part]) - 0.5)
            flat = points - np.outer(points @ axis, axis)
            first, second = _farthest(flat)
            length = distance_mm(flat[first], flat[second])
            if length > best.length_mm:
                best = _between(points[first], points[second], length)
    return best


def _farthest(points: np.ndarray) -> tuple[int, int]:
    """The two of some points that lie farthest apart."""
    centred = points - points.mean(axis=0)
    squares = (centred * centred).sum(axis=1)
    best, pair = -1.0, (0, 0)
    for start in range(0, len(points), 1024):
        rows = slice(start, start + 1024)
        squared = squares[rows, None] + squares - 2.0 * (centred[rows] @ centred.T)
        where = int(squared.argmax())
        if squared.flat[where] > best:
            best = float(squared.flat[where])
            pair = (start + where // len(points), where % len(points))
    return pair


def _between(a: np.ndarray, b: np.ndarray, length: float) -> Diameter:
    return Diameter(length, (a[0].item(), a[1].item(), a[2].item()),
                    (b[0].item(), b[1].item(), b[2].item()))  # fmt: skip


def _extreme_corners(indices: np.ndarray) -> np.ndarray:
    """Corners of the voxels that can be hull points: both ends of every row; shape (n, 3).

    A corner with index ``n`` lies half a voxel before the centre of voxel ``n``.
    """
    start = indices.min(axis=0)
    k, j, i = (indices - start).T
    size = (int(k.max()) + 1, int(j.max()) + 1)
    row = k * size[1] + j
    order = np.argsort(row, kind="stable")
    breaks = np.flatnonzero(np.diff(row[order], prepend=-1))
    first, last = np.full(size, np.iinfo(np.int64).max), np.full(size, -1)
    first.flat[row[order[breaks]]] = np.minimum.reduceat(i[order], breaks)
    last.flat[row[order[breaks]]] = np.maximum.reduceat(i[order], breaks) + 1
    low = _over_four(first, np.minimum, np.iinfo(np.int64).max)
    high = _over_four(last, np.maximum, -1)
    rows = np.argwhere(high >= 0)
    inside = rows[:, 0], rows[:, 1]
    return np.concatenate([np.c_[rows, low[inside]], np.c_[rows, high[inside]]]) + start


def _over_four(plane: np.ndarray, choose: np.ufunc, empty: int) -> np.ndarray:
    """For every corner of a plane of cells: the chosen value of the four cells around it."""
    wide = np.pad(plane, 1, constant_values=empty)
    return choose(choose(wide[:-1, :-1], wide[1:, :-1]), choose(wide[:-1, 1:], wide[1:, 1:]))


def _hull(points: np.ndarray) -> np.ndarray:
    """Only the corners of the convex hull, where that saves work."""
    if len(points) < 500:
        return points
    from scipy.spatial import ConvexHull

    return points[ConvexHull(points).vertices]
