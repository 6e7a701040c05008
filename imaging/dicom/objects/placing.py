"""Puts planes of pixels where they lie in the patient: onto an array in any order of its axes.

A plane whose pixels are voxels of the target is copied without resampling, so masks come back
exactly, slices may be missing, and sheared or uneven stacks keep their voxels.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from imaging.dicom.header.vetting import MAX_FRAMES, check_volume_bytes
from imaging.errors import BadInput
from imaging.geometry import Box, Geometry
from imaging.orientation import SLICE_STEP_TOLERANCE_MM
from imaging.volume import Volume

#: A pixel that is off a voxel by at most so much of the voxel's size is that voxel.
ALIGNED = 0.1
#: A plane this near to a slice of an uneven stack (mm) lies in it.
_IN_SLICE_MM = 0.1


class Target(NamedTuple):
    """The grid things are placed on; ``places`` are the slices of an uneven stack, mm, (k, 3)."""

    geometry: Geometry
    places: np.ndarray | None = None

    @classmethod
    def of(cls, volume: Volume) -> Target:
        """The grid of an image."""
        return cls(volume.geometry, volume.places)

    @classmethod
    def from_plain(
        cls, shape: list[int], affine: list[float], frame: str, places: list[float]
    ) -> Target:
        """From plain values, as a worker process gets them."""
        geometry = Geometry(shape, np.reshape(affine, (4, 4)), frame)
        return cls(geometry, np.reshape(places, (-1, 3)) if places else None)


class Plane(NamedTuple):
    """One frame in the patient: centre of the first pixel and the steps to its neighbours.

    Parameters
    ----------
    origin, down, right : ndarray, shape (3,)
        LPS mm; ``down`` leads to the next row, ``right`` to the next column.
    rows, columns : int
    """

    origin: np.ndarray
    down: np.ndarray
    right: np.ndarray
    rows: int
    columns: int

    @property
    def normal(self) -> np.ndarray:
        """Unit vector across the plane: along a row times along a column."""
        across = np.cross(self.right, self.down)
        return across / np.linalg.norm(across)


class Patch(NamedTuple):
    """Where a plane lies in an array: a slice along one axis, and which part of the plane.

    Parameters
    ----------
    axis, number : int
        The slice ``number`` across ``axis`` of the array.
    there : tuple of slice
        Rows and columns inside that slice, in the order of the plane.
    turned : bool
        True where the rows of the plane run along the later axis of the slice.
    here : tuple of slice
        The part of the plane that lies inside the array.
    """

    axis: int
    number: int
    there: tuple[slice, slice]
    turned: bool
    here: tuple[slice, slice]

    def view(self, array: np.ndarray) -> np.ndarray:
        """The voxels of the array that the part ``here`` of the plane covers; writable."""
        at: list[int | slice] = [slice(None)] * 3
        at[self.axis] = self.number
        part = array[tuple(at)]
        return (part.T if self.turned else part)[self.there]


def lay(plane: Plane, target: Target) -> Patch | None:
    """Find the voxels of a plane; None where its pixels are no voxels of the target.

    A plane beside the array gives a patch with an empty part.
    """
    found = _steps(plane, target)
    if found is None:
        return None
    base, down, right = found
    row_axis, column_axis = int(np.abs(down).argmax()), int(np.abs(right).argmax())
    axis = 3 - row_axis - column_axis
    shape = target.geometry.shape
    here_r, there_r = _run(base[row_axis], down[row_axis], plane.rows, shape[row_axis])
    here_c, there_c = _run(base[column_axis], right[column_axis], plane.columns, shape[column_axis])
    index = int(base[axis])
    if not 0 <= index < shape[axis]:
        nothing = slice(0, 0)
        return Patch(axis, 0, (nothing, nothing), row_axis > column_axis, (nothing, nothing))
    return Patch(axis, index, (there_r, there_c), row_axis > column_axis, (here_r, here_c))


def _steps(plane: Plane, target: Target) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """First voxel and the two steps in whole voxels ``(k, j, i)``, None where they are not."""
    if target.places is not None:
        origin, down, right = _uneven_steps(plane, target)
    else:
        matrix = target.geometry.inverse[:3, :3]
        origin = target.geometry.index(plane.origin)
        down, right = matrix @ plane.down, matrix @ plane.right
    last = origin + down * (plane.rows - 1) + right * (plane.columns - 1)
    if not (np.abs(last) < 1e9).all():
        return None
    base, whole_down, whole_right = (np.rint(v).astype(np.int64) for v in (origin, down, right))
    single = np.abs(whole_down).sum() == 1 and np.abs(whole_right).sum() == 1
    if not single or np.abs(whole_down) @ np.abs(whole_right) != 0:
        return None
    meant = base + whole_down * (plane.rows - 1) + whole_right * (plane.columns - 1)
    corner = origin + right * (plane.columns - 1)
    meant_corner = base + whole_right * (plane.columns - 1)
    worst = max(
        np.abs(origin - base).max(), np.abs(last - meant).max(),
        np.abs(corner - meant_corner).max(),
    )  # fmt: skip
    return (base, whole_down, whole_right) if worst <= ALIGNED else None


def _uneven_steps(plane: Plane, target: Target) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """As fractions of voxels, on the slices of an uneven stack; not finite where in none."""
    assert target.places is not None
    nowhere = np.full(3, np.inf), np.zeros(3), np.zeros(3)
    along = target.geometry.affine[:3, 1:3]
    normal = np.cross(along[:, 0], along[:, 1])
    normal /= np.linalg.norm(normal)
    if max(abs(plane.down @ normal), abs(plane.right @ normal)) > 1e-3:
        return nowhere
    away = np.abs((target.places - plane.origin) @ normal)
    k = int(away.argmin())
    if away[k] > _IN_SLICE_MM:
        return nowhere
    solve = np.linalg.pinv(along)
    j, i = solve @ (plane.origin - target.places[k])
    return (
        np.array([k, j, i]),
        np.array([0.0, *(solve @ plane.down)]),
        np.array([0.0, *(solve @ plane.right)]),
    )


def _run(base: int, step: int, count: int, length: int) -> tuple[slice, slice]:
    """Which of ``count`` steps from ``base`` lie in ``0 … length - 1``, and where."""
    if step > 0:
        first, stop = max(0, -base), max(0, min(count, length - base))
        first = min(first, stop)
        return slice(first, stop), slice(base + first, base + stop)
    first, stop = max(0, base - length + 1), max(0, min(count, base + 1))
    first = min(first, stop)
    if first == stop:
        return slice(0, 0), slice(0, 0)
    end = base - stop
    return slice(first, stop), slice(base - first, end if end >= 0 else None, -1)


# --- grids of their own ---------------------------------------------------------------------


def own_grid(planes: list[Plane], stated: float, path: str) -> tuple[Geometry, np.ndarray]:
    """The regular grid that planes span, and the slice of each in it.

    Parameters
    ----------
    stated : float
        Distance between slices as the file says, mm; 0 where it does not.

    Raises
    ------
    BadInput
        Where the planes are not parallel, not evenly spaced or too far apart.
    """
    first_plane = planes[0]
    normal = first_plane.normal
    positions = np.array([plane.origin for plane in planes])
    heights = positions @ normal
    first, last = int(np.argmin(heights)), int(np.argmax(heights))
    step = slice_step(heights - heights[first], stated)
    places = np.rint((heights - heights[first]) / step).astype(np.int64)
    if np.abs((heights - heights[first]) - places * step).max() > SLICE_STEP_TOLERANCE_MM * 2:
        raise BadInput("The slices are not evenly spaced and do not fit the image", path)
    count = int(places.max()) + 1
    shape = (count, first_plane.rows, first_plane.columns)
    if count > MAX_FRAMES:
        raise BadInput("The slices lie too far apart to belong together", path)
    check_volume_bytes(int(np.prod(shape, dtype=np.int64)), path)
    along = (positions[last] - positions[first]) / (count - 1) if count > 1 else normal * step
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = along, first_plane.down, first_plane.right
    affine[:3, 3] = positions[first]
    return Geometry(shape, affine), places


def slice_step(heights: np.ndarray, stated: float) -> float:
    """Distance between slices: as stated where the planes agree with it, else the smallest gap.

    Empty planes may be missing, so the smallest gap can be several slices wide.
    """
    levels = np.unique(np.round(heights, 4))
    gaps = np.diff(levels)
    gaps = gaps[gaps > SLICE_STEP_TOLERANCE_MM]
    if not gaps.size:
        return stated or 1.0
    if stated > 0:
        counts = np.rint(gaps / stated)
        fits = np.abs(gaps - counts * stated).max() <= SLICE_STEP_TOLERANCE_MM
        if counts.min() >= 1 and fits:
            return float(gaps.sum() / counts.sum())
    span = float(gaps.sum())
    return span / max(round(span / float(gaps.min())), 1)


def resampled(values: np.ndarray, grid: Geometry, target: Target) -> np.ndarray:
    """A map on another grid, linear between voxels and 0 outside; float32 ``(k, j, i)``."""
    if target.places is None:
        return _resampled(values, grid, target.geometry)
    slices = []
    for place in target.places:
        affine = target.geometry.affine.copy()
        affine[:3, 3] = place
        slices.append(_resampled(values, grid, Geometry((1, *target.geometry.shape[1:]), affine)))
    return np.concatenate(slices)


def _resampled(values: np.ndarray, grid: Geometry, wanted: Geometry) -> np.ndarray:
    result = np.zeros(wanted.shape, np.float32)
    box = Box.around(values != 0)
    if box.empty:
        return result
    ends = np.array([box.start, np.array(box.stop) - 1])
    corners = np.stack(np.meshgrid(*ends.T, indexing="ij"), -1).reshape(-1, 3)
    around = np.abs(wanted.inverse[:3, :3] @ grid.affine[:3, :3]).sum(1) + 1  # one voxel more
    index = wanted.index(grid.world(corners))
    low, high = np.floor(index.min(0) - around), np.ceil(index.max(0) + around) + 1
    start, stop = (tuple(int(v) for v in ends) for ends in (low, high))
    part = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2])).clipped(wanted.shape)
    if part.empty:
        return result
    from scipy.ndimage import affine_transform

    smaller = wanted.cropped(part)
    affine_transform(
        values, grid.inverse @ smaller.affine, output_shape=smaller.shape,
        output=result[part.slices], order=1, mode="grid-constant", cval=0,
    )  # fmt: skip
    return result
