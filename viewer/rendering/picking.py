"""What lies under the pointer in 3D: a ray against triangles, plain numpy."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from imaging.geometry import Geometry
from viewer.rendering.surfaces import Surface

#: A smooth surface may stand this far off the voxels it was made from.
SEARCH_MM, SEARCH_STEP_MM = 6.0, 0.25


def first_hit(
    surfaces: Iterable[Surface], origin: np.ndarray, direction: np.ndarray
) -> tuple[int, np.ndarray] | None:
    """The nearest surface that a ray meets.

    Parameters
    ----------
    surfaces : iterable of Surface
        What can be hit.
    origin, direction : ndarray, shape (3,)
        LPS mm; the direction is of unit length.

    Returns
    -------
    tuple of int and ndarray, or None
        Which surface, and where, LPS mm.
    """
    best: tuple[int, float] | None = None
    for number, surface in enumerate(surfaces):
        distance = _distance(surface, origin, direction)
        if distance is not None and (best is None or distance < best[1]):
            best = number, distance
    if best is None:
        return None
    return best[0], origin + direction * best[1]


def into_label(
    labels: np.ndarray, geometry: Geometry, label: int, start: np.ndarray, direction: np.ndarray
) -> np.ndarray:
    """From a point on a surface along the ray to the first voxel that bears the label.

    Parameters
    ----------
    labels : ndarray, shape (k, j, i)
        The mask.
    start, direction : ndarray, shape (3,)
        LPS mm.

    Returns
    -------
    ndarray, shape (3,)
        Centre of that voxel in LPS mm; ``start`` where there is none within a few mm.
    """
    steps = np.arange(-1.0, SEARCH_MM, SEARCH_STEP_MM)
    index = np.floor(geometry.index(start + steps[:, None] * direction) + 0.5).astype(int)
    inside = ((index >= 0) & (index < geometry.shape)).all(axis=1)
    index = index[inside]
    hits = np.flatnonzero(labels[tuple(index.T)] == label)
    return geometry.world(index[hits[0]]) if hits.size else start


def _distance(surface: Surface, origin: np.ndarray, direction: np.ndarray) -> float | None:
    """Distance along the ray to the nearest triangle, None where none is met.

    Source
    ------
    Möller and Trumbore, "Fast, Minimum Storage Ray/Triangle Intersection", 1997.
    """
    if surface.empty or not _meets_box(surface.bounds, origin, direction):
        return None
    corners = surface.corners
    first, edge_a, edge_b = (
        corners[:, 0],
        corners[:, 1] - corners[:, 0],
        corners[:, 2] - corners[:, 0],
    )
    side = np.cross(direction, edge_b)
    determinant = np.einsum("mi,mi->m", edge_a, side)
    with np.errstate(divide="ignore", invalid="ignore"):
        offset = origin - first
        u = np.einsum("mi,mi->m", offset, side) / determinant
        other = np.cross(offset, edge_a)
        v = other @ direction / determinant
        along = np.einsum("mi,mi->m", edge_b, other) / determinant
        hit = (np.abs(determinant) > 1e-12) & (u >= 0) & (v >= 0) & (u + v <= 1) & (along > 0)
    return float(along[hit].min()) if hit.any() else None


def _meets_box(bounds: np.ndarray, origin: np.ndarray, direction: np.ndarray) -> bool:
    safe = np.where(np.abs(direction) < 1e-12, 1e-12, direction)
    near, far = (bounds[0] - origin) / safe, (bounds[1] - origin) / safe
    enter, leave = np.minimum(near, far).max(), np.maximum(near, far).min()
    return bool(leave >= max(enter, 0.0))
