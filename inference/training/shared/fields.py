"""Smooth random fields and warped positions that patches are looked up at."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.training.shared.cases import Anatomy

__all__ = ["Shape", "grown_ventricles", "looked_up", "smooth_field", "warped_points"]

Array = npt.NDArray[np.float32]
Shape = tuple[int, int, int]


def looked_up(array: npt.NDArray[Any], points: Array, outside: float = 0.0) -> Array:
    """Linear interpolation at index positions ``(3, k, j, i)``."""
    result = ndimage.map_coordinates(
        array, points, np.float32, order=1, mode="constant", cval=outside, prefilter=False
    )
    return np.asarray(result, np.float32)


def smooth_field(rng: np.random.Generator, shape: Shape, cells: int) -> Array:
    """Smooth random field of mean 0 and spread about 1; ``cells`` knots along each axis."""
    result = rng.standard_normal((cells,) * 3).astype(np.float32)
    for axis, size in enumerate(shape):
        at = np.linspace(0, cells - 1, size)
        first = np.minimum(at.astype(int), cells - 2)
        share = at - first
        share = share * share * (3 - 2 * share)
        share = share.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        result = (
            np.take(result, first, axis) * (1 - share) + np.take(result, first + 1, axis) * share
        )
    return result * np.float32(1.6)


def warped_points(
    rng: np.random.Generator, shape: Shape, centre: npt.NDArray[np.float64], size: float = 1.0
) -> Array:
    """Source positions of a rotated, scaled, mirrored and bent patch."""
    angles = np.deg2rad(rng.normal(0, 7, 3))
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        step = np.eye(3)
        step[[a, a, b, b], [a, b, a, b]] = [
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        ]
        turn = turn @ step
    scale = size * rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)
    if rng.random() < 0.5:
        scale[2] *= -1
    matrix = (turn * scale).astype(np.float32)
    axes = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    points = np.tensordot(matrix, grid, 1)
    points += centre.astype(np.float32)[:, None, None, None]
    if rng.random() < 0.7:
        strength = rng.uniform(0.3, 2.2)
        for axis in range(3):
            points[axis] += smooth_field(rng, shape, 5) * np.float32(strength)
    return points.astype(np.float32)


def grown_ventricles(rng: np.random.Generator, anatomy: Anatomy, points: Array) -> Array:
    """Widen or narrow the ventricles, pushing the tissue around them."""
    if "ventricles" not in anatomy.extra or rng.random() < 0.5:
        return points
    distance = looked_up(anatomy.extra["ventricles"], points, 45.0)
    if distance.min() > 25:
        return points
    shift = rng.uniform(-1.5, 4.5) * np.exp(-np.maximum(distance, 0) / 10)
    slopes = np.gradient(distance)
    signs = [np.sign(np.diff(points[axis], axis=axis).mean()) for axis in range(3)]
    steps = [slope * sign * shift for slope, sign in zip(slopes, signs, strict=True)]
    return (points - np.stack(steps)).astype(np.float32)
