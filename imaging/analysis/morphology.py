"""Connected parts of masks: the one rule by which a probability becomes a draft mask.

Parts are found over runs (unbroken rows of equal voxels), so the work grows with what is marked
and not with the size of the image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Parts(NamedTuple):
    """The 26-connected parts of a label array, voxel by voxel.

    Parameters
    ----------
    positions : ndarray of int64, shape (n,)
        Flat index (C order) of every marked voxel, ascending.
    part : ndarray of int32, shape (n,)
        Number of the part each belongs to, from 0, in the order of their first voxels.
    sizes : ndarray of int64, shape (parts,)
        Voxels of each part.
    """

    positions: np.ndarray
    part: np.ndarray
    sizes: np.ndarray


def find_parts(labels: np.ndarray) -> Parts:
    """The 26-connected parts of equal, non-zero voxels.

    Parameters
    ----------
    labels : ndarray of uint8 or bool, shape (k, j, i)
        Neighbours with different labels belong to different parts.
    """
    flat = np.ascontiguousarray(labels).reshape(-1)
    positions = np.flatnonzero(flat if flat.dtype == bool else flat != 0)
    if positions.size == 0:
        return Parts(positions, np.zeros(0, np.int32), np.zeros(0, np.int64))
    values = flat[positions]
    run_of, first, last = _runs(positions, values, labels.shape[2])
    groups = _join(first, last, values[np.searchsorted(run_of, np.arange(first.size))], labels)
    part = groups[run_of].astype(np.int32, copy=False)
    return Parts(positions, part, np.bincount(part))


def _runs(
    positions: np.ndarray, values: np.ndarray, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Which run each voxel is in, and the first and last flat index of each run."""
    new = np.ones(positions.size, bool)
    new[1:] = (np.diff(positions) != 1) | (values[1:] != values[:-1])
    new |= positions % width == 0
    starts = np.flatnonzero(new)
    ends = np.append(starts[1:], positions.size) - 1
    return np.cumsum(new) - 1, positions[starts], positions[ends]


def _join(
    first: np.ndarray, last: np.ndarray, values: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """The part of each run: runs of one label that touch by face, edge or corner are joined."""
    _, rows, width = labels.shape
    row, start, stop = first // width, first % width, last % width
    pad = width + 2  # a gap between rows, so that no run reaches round the edge
    k, j = row // rows, row % rows
    line = k * (rows + 2) + j
    begins, ends = line * pad + start, line * pad + stop
    ones, others = [], []
    # The row before in this slice, and the three rows nearby in the slice before.
    for rows_back in (1, rows + 1, rows + 2, rows + 3):
        _collect(begins, ends, rows_back * pad, ones, others)
    a, b = np.concatenate(ones), np.concatenate(others)
    same = values[a] == values[b]
    return _components(a[same], b[same], first.size)


def _collect(
    begins: np.ndarray,
    ends: np.ndarray,
    back: int,
    ones: list[np.ndarray],
    others: list[np.ndarray],
) -> None:
    """Append the pairs (run, earlier run) that touch across rows ``back`` positions apart."""
    low = np.searchsorted(ends, begins - back - 1, "left")
    high = np.searchsorted(begins, ends - back + 1, "right")
    counts = np.maximum(high - low, 0)
    ones.append(np.repeat(np.arange(begins.size), counts))
    offset = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    others.append(np.repeat(low, counts) + offset)


def _components(a: np.ndarray, b: np.ndarray, count: int) -> np.ndarray:
    """Connected components of a graph, numbered in the order of their first nodes."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(a.size, bool), (a, b)), shape=(count, count))
    return connected_components(graph, directed=False)[1]


def draft_mask(probability: np.ndarray, threshold: float, min_voxels: int = 1) -> np.ndarray:
    """Cut a mask from a probability map.

    The pipeline that makes a draft and the slider that moves its threshold both use this rule.

    Parameters
    ----------
    probability : ndarray of float32, shape (k, j, i)
    threshold : float
        A voxel is marked where its probability is greater.
    min_voxels : int
        26-connected parts of fewer voxels are left out.

    Returns
    -------
    ndarray of bool, shape (k, j, i)
    """
    mask = np.ascontiguousarray(probability > np.float32(threshold))
    if min_voxels > 1:
        parts = find_parts(mask)
        small = parts.sizes < min_voxels
        mask.reshape(-1)[parts.positions[small[parts.part]]] = False
    return mask
