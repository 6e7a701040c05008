"""Signed distances of simple bodies, and smooth noise, on a grid of patient millimetres.

A signed distance is negative inside, positive outside, in mm, approximate away from the surface.
Every function takes a :class:`Space` and gives a float32 array of its shape.
Source of the formulas: Quilez, "Distance functions" (ellipsoid bound, smooth minimum).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from imaging.geometry import Geometry

Point = tuple[float, float, float]


class Axes(Protocol):
    """Three coordinates that broadcast to a grid ``(z, y, x)``, LPS mm, float32."""

    @property
    def x(self) -> np.ndarray:
        """Towards Left."""
        ...

    @property
    def y(self) -> np.ndarray:
        """Towards Posterior."""
        ...

    @property
    def z(self) -> np.ndarray:
        """Towards Superior."""
        ...


@dataclass(frozen=True)
class Space:
    """An axis-aligned grid with 1 mm steps; array order ``(z, y, x)``, coordinates LPS mm.

    Parameters
    ----------
    low : tuple of int
        LPS position ``(x, y, z)`` of the first voxel centre.
    size : tuple of int
        Voxels along ``(x, y, z)``.
    """

    low: tuple[int, int, int]
    size: tuple[int, int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Array shape ``(z, y, x)``."""
        return self.size[2], self.size[1], self.size[0]

    @property
    def x(self) -> np.ndarray:
        """Towards Left, shape (1, 1, nx)."""
        return self._axis(0)[None, None, :]

    @property
    def y(self) -> np.ndarray:
        """Towards Posterior, shape (1, ny, 1)."""
        return self._axis(1)[None, :, None]

    @property
    def z(self) -> np.ndarray:
        """Towards Superior, shape (nz, 1, 1)."""
        return self._axis(2)[:, None, None]

    def _axis(self, axis: int) -> np.ndarray:
        return np.arange(self.low[axis], self.low[axis] + self.size[axis], dtype=np.float32)

    @property
    def geometry(self) -> Geometry:
        """The grid as a :class:`~imaging.geometry.Geometry`."""
        affine = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float)
        affine[:3, 3] = self.low
        return Geometry(self.shape, affine)

    def around(self, points: Sequence[Point], margin: float) -> Space:
        """The part of the grid within a margin of some points, at least one voxel."""
        cloud = np.asarray(points, float)
        low = np.clip(np.floor(cloud.min(0) - margin), self.low, None).astype(int)
        end = np.add(self.low, self.size)
        high = np.clip(np.ceil(cloud.max(0) + margin) + 1, low + 1, end).astype(int)
        size = high - low
        return Space(
            (int(low[0]), int(low[1]), int(low[2])), (int(size[0]), int(size[1]), int(size[2]))
        )

    def slices(self, part: Space) -> tuple[slice, slice, slice]:
        """Where a part lies in an array of this grid."""
        x, y, z = (
            slice(a - b, a - b + n) for a, b, n in zip(part.low, self.low, part.size, strict=True)
        )
        return z, y, x


class Mirrored:
    """A grid seen through ``|x|``, for bodies that are the same on both sides."""

    def __init__(self, space: Space) -> None:
        self.x, self.y, self.z = np.abs(space.x), space.y, space.z


def ellipsoid(space: Axes, centre: Point, radii: Point) -> np.ndarray:
    """An ellipsoid along the axes; a good bound of the distance near its surface."""
    scaled, twice = 0.0, 0.0
    for axis, c, r in zip((space.x, space.y, space.z), centre, radii, strict=True):
        scaled = scaled + np.square((axis - np.float32(c)) / np.float32(r))
        twice = twice + np.square((axis - np.float32(c)) / np.float32(r * r))
    norm = np.sqrt(scaled)
    return norm * (norm - 1) / np.maximum(np.sqrt(twice), np.float32(1e-4))


def tube(space: Space, points: Sequence[Point], radii: Sequence[float]) -> np.ndarray:
    """A chain of round cones through some points."""
    body = None
    for a, b, ra, rb in zip(points, points[1:], radii, radii[1:], strict=False):
        step = np.subtract(b, a)
        along = sum(
            (axis - np.float32(p)) * np.float32(d)
            for axis, p, d in zip((space.x, space.y, space.z), a, step, strict=True)
        ) / np.float32(step @ step)
        along = np.clip(along, 0, 1)
        gap = sum(
            np.square(axis - np.float32(p) - along * np.float32(d))
            for axis, p, d in zip((space.x, space.y, space.z), a, step, strict=True)
        )
        part = np.sqrt(gap) - (np.float32(ra) + along * np.float32(rb - ra))
        body = part if body is None else union(body, part, 2.0)
    assert body is not None
    return body


def rotated_ellipsoid(space: Axes, centre: Point, radii: Point, long_axis: Point) -> np.ndarray:
    """An ellipsoid whose first radius lies along a given direction."""
    first = np.asarray(long_axis, float) / np.linalg.norm(long_axis)
    helper = np.eye(3)[int(np.argmin(np.abs(first)))]
    second = np.cross(first, helper) / np.linalg.norm(np.cross(first, helper))
    offsets = [a - np.float32(c) for a, c in zip((space.x, space.y, space.z), centre, strict=True)]
    scaled, twice = 0.0, 0.0
    for direction, r in zip((first, second, np.cross(first, second)), radii, strict=True):
        along = sum(o * np.float32(d) for o, d in zip(offsets, direction, strict=True))
        scaled = scaled + np.square(along / np.float32(r))
        twice = twice + np.square(along / np.float32(r * r))
    norm = np.sqrt(scaled)
    return norm * (norm - 1) / np.maximum(np.sqrt(twice), np.float32(1e-4))


def union(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    """Both bodies, with a fillet of about ``blend`` mm where they meet."""
    h = np.maximum(blend - np.abs(a - b), 0) / np.float32(blend)
    return np.minimum(a, b) - h * h * np.float32(blend / 4)


def intersection(a: np.ndarray, b: np.ndarray, blend: float) -> np.ndarray:
    """The common part, with edges rounded by about ``blend`` mm."""
    return -union(-a, -b, blend)


def ramp(values: np.ndarray, start: float, stop: float) -> np.ndarray:
    """0 before ``start``, 1 after ``stop``, smooth between."""
    t = np.clip((values - np.float32(start)) / np.float32(stop - start), 0, 1)
    return t * t * (3 - 2 * t)


class Noise:
    """Band-limited noise that fills patient space as a repeating tile, about unit variance.

    Parameters
    ----------
    wavelength_mm : float
        Typical distance from one bump to the next; the tile is eight times as wide.
    """

    def __init__(self, seed: int, wavelength_mm: float) -> None:
        from scipy.ndimage import gaussian_filter

        self._step = wavelength_mm / 8.0
        white = np.random.default_rng(seed).standard_normal((64, 64, 64), dtype=np.float32)
        fine = gaussian_filter(white, 1.6, truncate=3, mode="wrap")
        band = fine - gaussian_filter(white, 2.6, truncate=3, mode="wrap")
        self._values = band / band.std()

    def plus(self, other: Noise, share: float) -> Noise:
        """The sum with a share of another noise of the same wavelength."""
        both = copy(self)
        both._values = self._values + np.float32(share) * other._values
        return both

    def at(self, points: np.ndarray) -> np.ndarray:
        """The noise at points of patient space, float32 of shape (3, ...) as (z, y, x)."""
        from scipy.ndimage import map_coordinates

        places = points * np.float32(1 / self._step)
        return map_coordinates(self._values, places, order=1, mode="grid-wrap", output=np.float32)

    def over(self, space: Space) -> np.ndarray:
        """The noise at every voxel of a grid."""
        from scipy.ndimage import affine_transform

        offset: Any = [low / self._step for low in reversed(space.low)]
        return affine_transform(
            self._values, np.full(3, 1 / self._step), offset, space.shape,
            output=np.float32, order=1, mode="grid-wrap",
        )  # fmt: skip
