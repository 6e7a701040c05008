"""Which way a cell looks, and which pixels its picture has. No Qt, no VTK.

A plane is given by two unit vectors in LPS, towards the right and the bottom of the screen; their
cross product is the normal and points away from the viewer, into the screen. Radiological
convention: axial from below (patient's right on screen left), coronal from the front, sagittal
from the left side (the face looks to screen left).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imaging.geometry import Geometry
from imaging.orientation import ORTHOGONAL_TOLERANCE
from viewer.state.display import Camera, Cell, Plane, Point

#: An array axis this close to a patient axis is shown as it is instead of being resampled.
ARRAY_PLANE_TOLERANCE_DEG = 0.5
_ARRAY_PLANE_COSINE = math.cos(math.radians(ARRAY_PLANE_TOLERANCE_DEG))

#: Screen right and screen down of the patient planes, LPS.
PATIENT_PLANES: dict[Plane, tuple[Point, Point]] = {
    Plane.AXIAL: ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    Plane.CORONAL: ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    Plane.SAGITTAL: ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
}


class Way(NamedTuple):
    """Screen right and screen down as unit vectors in LPS."""

    right: Point
    down: Point

    @property
    def normal(self) -> Point:
        """Unit vector into the screen, away from the viewer."""
        return cross(self.right, self.down)


@dataclass(frozen=True)
class ArrayCut:
    """A plane of the array itself: no resampling.

    Parameters
    ----------
    axis, index : int
        ``array.take(index, axis)`` is the slice.
    column_axis, row_axis : int
        Array axes along screen right and screen down.
    column_step, row_step : int
        ``+1`` where the index grows towards screen right (down), else ``-1``.
    """

    axis: int
    index: int
    column_axis: int
    row_axis: int
    column_step: int
    row_step: int


class PixelGrid(NamedTuple):
    """Where the pixels of a slice picture lie.

    Parameters
    ----------
    origin : Point
        Centre of the top left pixel, LPS mm.
    right, down : Point
        Unit vectors along a row and a column, LPS.
    spacing : tuple of float
        Distance in mm of neighbours along a row and along a column.
    columns, rows : int
        Size.
    """

    origin: Point
    right: Point
    down: Point
    spacing: tuple[float, float]
    columns: int
    rows: int

    def world(self, column: float, row: float) -> np.ndarray:
        """The point under a (fractional) pixel, LPS mm, shape (3,)."""
        u, v = column * self.spacing[0], row * self.spacing[1]
        return (
            np.asarray(self.origin) + u * np.asarray(self.right) + v * np.asarray(self.down)
        )  # fmt: skip

    def pixel(self, world: np.ndarray) -> tuple[float, float]:
        """The (fractional) column and row nearest to a point."""
        offset = np.asarray(world, dtype=float) - self.origin
        return (
            float(offset @ np.asarray(self.right)) / self.spacing[0],
            float(offset @ np.asarray(self.down)) / self.spacing[1],
        )

    def index_map(self, geometry: Geometry) -> np.ndarray:
        """Maps ``(column, row, 1)`` to the array index of a grid; shape (3, 3), rows k, j, i."""
        linear = geometry.inverse[:3, :3]
        return np.column_stack(
            [
                linear @ np.asarray(self.right) * self.spacing[0],
                linear @ np.asarray(self.down) * self.spacing[1],
                geometry.index(self.origin),
            ]
        )


def cross(a: Point, b: Point) -> Point:
    """Cross product of two vectors."""
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )


def dot(a: Point, b: Point) -> float:
    """Dot product of two vectors."""
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def point(values: np.ndarray) -> Point:
    """Three numbers of an array as a tuple."""
    x, y, z = (float(v) for v in values)
    return x, y, z


def way_of(cell: Cell, geometry: Geometry) -> Way:
    """Screen right and down of a cell before its camera flips or turns it."""
    if cell.plane == Plane.ACQUIRED:
        return _acquired_way(geometry)
    if cell.plane == Plane.OBLIQUE:
        return _oblique_way(cell)
    right, down = PATIENT_PLANES.get(cell.plane, PATIENT_PLANES[Plane.AXIAL])
    return _along_array(geometry, Way(right, down))


def turned(way: Way, camera: Camera) -> Way:
    """The screen vectors after the camera: first the flips, then clockwise quarter turns."""
    right, down = way
    if camera.flip_horizontal:
        right = _negative(right)
    if camera.flip_vertical:
        down = _negative(down)
    for _ in range(camera.quarter_turns % 4):
        right, down = _negative(down), right
    return Way(right, down)


def array_cut(geometry: Geometry, way: Way, through: np.ndarray) -> ArrayCut | None:
    """The plane of the array that lies along the screen vectors, or None where none does.

    Parameters
    ----------
    through : ndarray, shape (3,)
        A point in LPS; the index is that of the nearest plane, clamped to the array.
    """
    columns = _axis_along(geometry, way.right)
    rows = _axis_along(geometry, way.down)
    if columns is None or rows is None or columns[0] == rows[0]:
        return None
    if not _perpendicular(geometry, columns[0], rows[0]):
        return None
    axis = 3 - columns[0] - rows[0]
    index = math.floor(float(geometry.index(through)[axis]) + 0.5)
    index = min(max(index, 0), geometry.shape[axis] - 1)
    return ArrayCut(axis, index, columns[0], rows[0], columns[1], rows[1])


def cut_grid(geometry: Geometry, cut: ArrayCut) -> PixelGrid:
    """The pixels of an array plane."""
    start = [0, 0, 0]
    start[cut.axis] = cut.index
    for axis, step in ((cut.column_axis, cut.column_step), (cut.row_axis, cut.row_step)):
        start[axis] = 0 if step > 0 else geometry.shape[axis] - 1
    directions = geometry.directions
    return PixelGrid(
        origin=point(geometry.world(start)),
        right=point(directions[:, cut.column_axis] * cut.column_step),
        down=point(directions[:, cut.row_axis] * cut.row_step),
        spacing=(geometry.spacing[cut.column_axis], geometry.spacing[cut.row_axis]),
        columns=geometry.shape[cut.column_axis],
        rows=geometry.shape[cut.row_axis],
    )


def extent(geometry: Geometry, direction: Point) -> tuple[float, float]:
    """How far the voxels (their outer faces included) reach along a unit vector, in mm.

    Returns
    -------
    low, high : float
        Smallest and largest dot product of a point of the volume with the direction.
    """
    along = np.asarray(direction) @ geometry.affine[:3, :3]
    middle = float(np.asarray(direction) @ geometry.centre)
    half = float(np.abs(along) @ np.asarray(geometry.shape)) / 2.0
    return middle - half, middle + half


def _negative(vector: Point) -> Point:
    return -vector[0], -vector[1], -vector[2]


def _axis_along(geometry: Geometry, direction: Point) -> tuple[int, int] | None:
    cosines = np.asarray(direction) @ geometry.directions
    axis = int(np.abs(cosines).argmax())
    if abs(cosines[axis]) < _ARRAY_PLANE_COSINE:
        return None
    return axis, 1 if cosines[axis] > 0 else -1


def _perpendicular(geometry: Geometry, a: int, b: int) -> bool:
    directions = geometry.directions
    return abs(float(directions[:, a] @ directions[:, b])) < ORTHOGONAL_TOLERANCE


def _along_array(geometry: Geometry, way: Way) -> Way:
    """The exact array directions where they lie within the tolerance, else the way as it is."""
    cut = array_cut(geometry, way, geometry.centre)
    if cut is None:
        return way
    grid = cut_grid(geometry, cut)
    return Way(grid.right, grid.down)


def _acquired_way(geometry: Geometry) -> Way:
    """The in-plane axes of the array, laid out like the nearest patient plane."""
    row, column = geometry.directions[:, 1], geometry.directions[:, 2]
    normal = np.cross(column, row)
    nearest = (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)[int(np.abs(normal).argmax())]
    right, down = (np.asarray(v) for v in PATIENT_PLANES[nearest])
    straight = abs(column @ right) + abs(row @ down)
    across = abs(row @ right) + abs(column @ down)
    to_right, to_down = (column, row) if straight >= across else (row, column)
    to_right = to_right * (1.0 if to_right @ right >= 0 else -1.0)
    to_down = to_down * (1.0 if to_down @ down >= 0 else -1.0)
    if abs(to_right @ to_down) >= ORTHOGONAL_TOLERANCE:
        to_down = to_down - (to_down @ to_right) * to_right
        to_down = to_down / np.linalg.norm(to_down)
    return Way(point(to_right), point(to_down))


def _oblique_way(cell: Cell) -> Way:
    if cell.normal is None or cell.right is None:
        return Way(*PATIENT_PLANES[Plane.AXIAL])
    normal = np.asarray(cell.normal, dtype=float)
    normal = normal / np.linalg.norm(normal)
    right = np.asarray(cell.right, dtype=float)
    right = right - (right @ normal) * normal
    right = right / np.linalg.norm(right)
    return Way(point(right), point(np.cross(normal, right)))
