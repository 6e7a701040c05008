"""A volume in overlapping tiles, and the answers blended back without seams.

Tiling costs five to eight times a whole pass, so it serves only where memory is short. Tile
starts keep to multiples of the network's own grid, so a tile sees the same strides as the whole.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product

import numpy as np

from imaging.geometry import Box

#: Standard deviation of the blending weight, as a share of the tile edge (nnU-Net uses 1/8).
SIGMA_SHARE = 1 / 8
#: Weights never fall below this share of the largest one, so every voxel has a weight.
SMALLEST_WEIGHT = 1e-3


def plan_tiles(
    shape: Sequence[int], edge: int, multiple: int = 1, overlap: float = 0.5
) -> tuple[Box, ...]:
    """Tiles that cover a grid.

    Parameters
    ----------
    shape : sequence of int
        ``(k, j, i)`` of the grid.
    edge : int
        Edge of a tile in voxels, a multiple of ``multiple``; shorter where the grid is shorter.
    multiple : int
        Starts are multiples of this (but for the last one where the grid is no multiple).
    overlap : float
        Share of a tile that its neighbour repeats, 0 up to below 1.
    """
    if edge < 1 or edge % multiple or not 0 <= overlap < 1:
        raise ValueError(f"no tiling with edge {edge}, multiple {multiple}, overlap {overlap}")
    edges = [min(edge, n) for n in shape]
    starts = [_starts(n, e, multiple, overlap) for n, e in zip(shape, edges, strict=True)]
    return tuple(
        Box((k, j, i), (k + edges[0], j + edges[1], i + edges[2])) for k, j, i in product(*starts)
    )


def _starts(size: int, edge: int, multiple: int, overlap: float) -> list[int]:
    step = max(1, int(edge * (1 - overlap)) // multiple) * multiple
    return sorted({min(start, size - edge) for start in range(0, size - edge + step, step)})


def blending_weight(shape: Sequence[int]) -> np.ndarray:
    """Gaussian weight of a tile, 1 in the middle, never 0; float32 ``(k, j, i)``."""
    weight = np.ones((1, 1, 1))
    for axis, n in enumerate(shape):
        offset = np.arange(n) - (n - 1) / 2
        line = np.exp(-0.5 * (offset / max(n * SIGMA_SHARE, 1e-6)) ** 2)
        weight = weight * line.reshape([-1 if a == axis else 1 for a in range(3)])
    return np.maximum(weight / weight.max(), SMALLEST_WEIGHT).astype(np.float32)


def blend(
    shape: Sequence[int], tiles: Sequence[Box], predict: Callable[[Box], np.ndarray]
) -> np.ndarray:
    """Weighted mean of the answers of all tiles; float32, ``(outputs, k, j, i)``.

    Parameters
    ----------
    predict : callable
        Gives the answer for one tile, ``(outputs, k, j, i)`` of the tile, or ``(k, j, i)``.
    """
    total: np.ndarray | None = None
    weights = np.zeros(tuple(shape), np.float32)
    for tile in tiles:
        weight = blending_weight(tile.shape)
        answer = predict(tile)
        if total is None:
            total = np.zeros((*answer.shape[:-3], *shape), np.float32)
        total[(..., *tile.slices)] += weight * answer
        weights[tile.slices] += weight
    if total is None or not weights.all():
        raise ValueError("the tiles do not cover the grid")
    return np.divide(total, weights, out=total)
