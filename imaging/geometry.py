"""Where voxels lie in the patient: one value, LPS millimetres, array order ``(k, j, i)``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from imaging.errors import BadInput
from imaging.orientation import (
    GRID_TOLERANCE_MM,
    LPS_TO_RAS,
    ORTHOGONAL_TOLERANCE,
    direction_letters,
)


class Box(NamedTuple):
    """A half-open block of voxels, ``start <= index < stop``, both ``(k, j, i)``."""

    start: tuple[int, int, int]
    stop: tuple[int, int, int]

    @property
    def slices(self) -> tuple[slice, slice, slice]:
        """The block as an index expression for a ``(k, j, i)`` array."""
        a, b = self.start, self.stop
        return slice(a[0], b[0]), slice(a[1], b[1]), slice(a[2], b[2])

    @property
    def shape(self) -> tuple[int, int, int]:
        """Edge lengths ``(k, j, i)``, never negative."""
        a, b = self.start, self.stop
        return max(0, b[0] - a[0]), max(0, b[1] - a[1]), max(0, b[2] - a[2])

    @property
    def empty(self) -> bool:
        """True where the block holds no voxel."""
        return 0 in self.shape

    def clipped(self, shape: Sequence[int]) -> Box:
        """The part of the block inside an array of this shape."""
        start = tuple(min(max(0, a), n) for a, n in zip(self.start, shape, strict=True))
        stop = tuple(min(max(0, b), n) for b, n in zip(self.stop, shape, strict=True))
        return Box(_triple(start), _triple(stop))

    def union(self, other: Box) -> Box:
        """The smallest block that holds both; an empty block adds nothing."""
        if self.empty:
            return other
        if other.empty:
            return self
        return Box(
            _triple([min(a, b) for a, b in zip(self.start, other.start, strict=True)]),
            _triple([max(a, b) for a, b in zip(self.stop, other.stop, strict=True)]),
        )

    @staticmethod
    def whole(shape: Sequence[int]) -> Box:
        """The block of a whole array."""
        return Box((0, 0, 0), _triple(shape))

    @staticmethod
    def around(mask: np.ndarray) -> Box:
        """The tight block around the true voxels of a mask; empty where there are none."""
        if mask.size == 0:
            return Box((0, 0, 0), (0, 0, 0))
        plane = np.asarray(mask.any(axis=0))  # the one pass over the whole array
        j, i = np.flatnonzero(plane.any(axis=1)), np.flatnonzero(plane.any(axis=0))
        if j.size == 0:
            return Box((0, 0, 0), (0, 0, 0))
        column = mask[:, j[0] : j[-1] + 1, i[0] : i[-1] + 1]
        k = np.flatnonzero(column.any(axis=(1, 2)))
        start, stop = (k[0], j[0], i[0]), (k[-1] + 1, j[-1] + 1, i[-1] + 1)
        return Box(_triple(start), _triple(stop))


def _triple(values: Sequence[int] | np.ndarray) -> tuple[int, int, int]:
    a, b, c = (int(v) for v in values)
    return a, b, c


@dataclass(frozen=True, eq=False)
class Geometry:
    """A sampling grid in patient space.

    Parameters
    ----------
    shape : tuple of int
        Voxels along ``(k, j, i)``; i runs fastest in memory.
    affine : array_like, shape (4, 4)
        Maps the homogeneous array index ``(k, j, i, 1)`` of a voxel *centre* to LPS mm.
    frame_of_reference : str
        DICOM Frame of Reference UID; empty where unknown.

    Raises
    ------
    BadInput
        Where the grid is not finite, not invertible or has an empty axis.
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    frame_of_reference: str = ""

    def __init__(
        self, shape: Sequence[int], affine: ArrayLike, frame_of_reference: str = ""
    ) -> None:
        matrix = np.array(affine, dtype=np.float64)
        if matrix.shape != (4, 4) or not np.isfinite(matrix).all():
            raise BadInput("The position of the image in the patient is not a finite 4x4 matrix")
        if len(shape) != 3 or min(shape) < 1:
            raise BadInput(f"An image of {tuple(shape)} voxels is empty")
        if abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
            raise BadInput("The axes of the image do not span a volume")
        matrix.flags.writeable = False
        object.__setattr__(self, "shape", _triple(shape))
        object.__setattr__(self, "affine", matrix)
        object.__setattr__(self, "frame_of_reference", frame_of_reference)

    @cached_property
    def inverse(self) -> np.ndarray:
        """Maps LPS mm to the (fractional) array index."""
        matrix = np.linalg.inv(self.affine)
        matrix.flags.writeable = False
        return matrix

    @cached_property
    def spacing(self) -> tuple[float, float, float]:
        """Distance in mm between neighbouring voxel centres along ``(k, j, i)``."""
        k, j, i = (float(v) for v in np.linalg.norm(self.affine[:3, :3], axis=0))
        return k, j, i

    @cached_property
    def slice_mm(self) -> float:
        """Distance of neighbouring slices along their normal, mm.

        That is how far apart tissue was measured; less than ``spacing[0]`` where slices are shifted
        against each other (a sheared grid).
        """
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / float(
            np.linalg.norm(np.cross(self.affine[:3, 1], self.affine[:3, 2]))
        )

    @cached_property
    def directions(self) -> np.ndarray:
        """Unit directions of the array axes in LPS, as columns ``(k, j, i)``; shape (3, 3)."""
        return self.affine[:3, :3] / np.asarray(self.spacing)

    @property
    def origin(self) -> np.ndarray:
        """Centre of voxel ``(0, 0, 0)`` in LPS mm."""
        return self.affine[:3, 3]

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel in millilitres."""
        return float(abs(np.linalg.det(self.affine[:3, :3]))) / 1000.0

    @property
    def centre(self) -> np.ndarray:
        """Middle of the grid in LPS mm."""
        return self.world((np.asarray(self.shape) - 1) / 2.0)

    @property
    def orthogonal(self) -> bool:
        """False where the axes are sheared (a tilted gantry, say)."""
        gram = self.directions.T @ self.directions
        return bool(np.abs(gram - np.eye(3)).max() < ORTHOGONAL_TOLERANCE)

    @property
    def letters(self) -> str:
        """The strongest direction of each axis ``(k, j, i)``, for example ``"SPL"``."""
        return "".join(direction_letters(self.directions[:, axis], 1) for axis in range(3))

    def world(self, index: ArrayLike) -> np.ndarray:
        """Array indices ``(..., 3)`` in ``(k, j, i)`` order to LPS mm, same shape."""
        points = np.asarray(index, dtype=np.float64)
        return points @ self.affine[:3, :3].T + self.affine[:3, 3]

    def index(self, world: ArrayLike) -> np.ndarray:
        """LPS mm ``(..., 3)`` to fractional array indices ``(k, j, i)``, same shape."""
        points = np.asarray(world, dtype=np.float64)
        return points @ self.inverse[:3, :3].T + self.inverse[:3, 3]

    def nearest(self, world: ArrayLike) -> tuple[int, int, int] | None:
        """The voxel that holds a point, or None outside the grid."""
        index = np.floor(self.index(world) + 0.5).astype(int)
        if (index < 0).any() or (index >= self.shape).any():
            return None
        return _triple(index)

    @cached_property
    def corners(self) -> np.ndarray:
        """The eight outermost voxel centres in LPS mm, shape (8, 3)."""
        k, j, i = (np.array([0, n - 1]) for n in self.shape)
        grid = np.stack(np.meshgrid(k, j, i, indexing="ij"), axis=-1).reshape(-1, 3)
        return self.world(grid)

    def same_grid(self, other: Geometry, tolerance_mm: float = GRID_TOLERANCE_MM) -> bool:
        """True where both grids have the same shape and every corner agrees within a tolerance.

        The frames of reference must agree too, where both are known.
        """
        if self.shape != other.shape or not self.same_frame(other):
            return False
        return bool(np.abs(self.corners - other.corners).max() <= tolerance_mm)

    def same_frame(self, other: Geometry) -> bool:
        """False only where both frames of reference are known and differ."""
        known = self.frame_of_reference and other.frame_of_reference
        return not known or self.frame_of_reference == other.frame_of_reference

    def surely_same_place(self, other: Geometry | None) -> bool:
        """True where a place in one image is sure to be the same place in the other.

        In the same known frame of reference, or on the very same grid; an unknown frame alone
        promises nothing.
        """
        if other is None:
            return False
        if self.frame_of_reference and self.frame_of_reference == other.frame_of_reference:
            return True
        return self.same_grid(other)

    def cropped(self, box: Box) -> Geometry:
        """The grid of a block of this one."""
        affine = self.affine.copy()
        affine[:3, 3] = self.world(box.start)
        return Geometry(box.shape, affine, self.frame_of_reference)

    @classmethod
    def from_nifti(cls, shape_ijk: Sequence[int], affine_ras: ArrayLike) -> Geometry:
        """From a NIfTI shape ``(i, j, k)`` and its RAS affine of ``(i, j, k, 1)``.

        The matching array is ``nifti_array.transpose(2, 1, 0)``.
        """
        lps = LPS_TO_RAS @ np.asarray(affine_ras, dtype=np.float64)
        return cls(tuple(reversed(tuple(shape_ijk))), lps[:, [2, 1, 0, 3]])

    @property
    def nifti_affine(self) -> np.ndarray:
        """The RAS affine of ``(i, j, k, 1)`` for the transposed array; shape (4, 4)."""
        return LPS_TO_RAS @ self.affine[:, [2, 1, 0, 3]]
