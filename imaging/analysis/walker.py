"""The random walker (Grady 2006, doi 10.1109/TPAMI.2006.233) on a block of voxels.

The chance that a walker who starts in a voxel reaches a "this" seed before a "not this" seed, when
steps in value are hard to cross; what is believed beforehand pulls as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["walk"]

Array = npt.NDArray[np.float32]

#: How hard a step over the whole local range is to cross (exponent).
STEEPNESS = 600.0
#: When the equations count as solved, and after how many rounds at the latest.
PRECISION, MOST_ROUNDS = 5e-3, 120


def walk(
    values: npt.NDArray[Any],
    spacing: Sequence[float],
    seeds: npt.NDArray[np.int8],
    belief: Array | None = None,
    weight: float | Array = 0.01,
) -> Array:
    """Chance of reaching a "this" seed before a "not this" seed.

    Parameters
    ----------
    values : ndarray, shape (k, j, i)
        About 0 to 1 over the local range.
    spacing : sequence of float
        mm, ``(k, j, i)``: far neighbours are harder to reach.
    seeds : ndarray of int8
        +1 this, -1 not this, 0 not known.
    belief : ndarray, optional
        Chance believed beforehand, 0 to 1.
    weight : float or ndarray
        How strongly it is believed; a step between equal neighbours counts 1.

    Returns
    -------
    ndarray
        float32 in [0, 1]; 0 everywhere where no seed says "this" and nothing is believed.
    """
    from scipy import sparse
    from scipy.sparse.linalg import cg

    if not (seeds > 0).any() and belief is None:
        return np.zeros(values.shape, np.float32)
    edges = _edges(np.asarray(values, np.float32), spacing)
    size = int(np.prod(values.shape))
    total = np.zeros(values.shape, np.float64)
    offsets: list[int] = []
    bands: list[np.ndarray] = []
    for axis, ease in edges.items():
        head, tail = _halves(axis)
        total[head] += ease
        total[tail] += ease
        band = np.zeros(values.shape, np.float64)
        band[head] = -ease
        offsets.append(int(np.prod(values.shape[axis + 1 :])))
        bands.append(band.ravel())
    fixed = 1e3 * (seeds != 0)
    pull = fixed * (seeds > 0)
    if belief is not None:
        total += weight
        pull = pull + weight * belief
    diagonal = (total + fixed + 1e-9).ravel()
    if not bands:
        return (pull / (total + fixed + 1e-9)).astype(np.float32)
    rows = [b[: size - o] for b, o in zip(bands, offsets, strict=True)]
    upper: Any = sparse.diags(rows, np.array(offsets), (size, size))  # type: ignore[arg-type]
    matrix = (upper + upper.T + sparse.diags(diagonal)).tocsr()
    easier = sparse.diags(1 / diagonal).tocsr()
    begin = np.where(seeds != 0, seeds > 0, 0.5 if belief is None else belief).ravel()
    # Solved for what is to be added, so that the tolerance is one of chance and not of seeds.
    rest = pull.ravel() - matrix @ begin
    more, _ = cg(matrix, rest, rtol=PRECISION, maxiter=MOST_ROUNDS, M=easier)
    return np.clip(begin + more, 0, 1).reshape(values.shape).astype(np.float32)


def _edges(values: Array, spacing: Sequence[float]) -> dict[int, np.ndarray]:
    """How easily a walker steps to the next voxel along each axis that has one."""
    finest = min(spacing)
    result = {}
    for axis in range(3):
        if values.shape[axis] == 1:
            continue
        jump = np.diff(values, axis=axis).astype(np.float64)
        result[axis] = np.exp(-STEEPNESS * jump**2) * (finest / spacing[axis]) ** 2 + 1e-5
    return result


def _halves(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    head, tail = [slice(None)] * 3, [slice(None)] * 3
    head[axis], tail[axis] = slice(None, -1), slice(1, None)
    return tuple(head), tuple(tail)
