"""A label image onto the grid of another image, by patient coordinates.

Used for every mask that comes from a file, of whatever format: where one grid is the other turned,
flipped or cut, voxels move one to one; else the nearest voxel is taken, and a note says so.
"""

from __future__ import annotations

import numpy as np

from imaging.geometry import Box, Geometry

#: Axes count as parallel, and voxels as the same, within these parts of a voxel.
_TURN_TOLERANCE = 1e-3
_PLACE_TOLERANCE = 0.05


def onto(
    labels: np.ndarray, grid: Geometry, wanted: Geometry, places: np.ndarray | None = None
) -> tuple[np.ndarray, list[str]]:
    """Labels on another grid, and what should be said about it.

    Parameters
    ----------
    labels : ndarray of uint8, shape (k, j, i)
        On ``grid``.
    grid, wanted : Geometry
    places : ndarray, optional
        For a stack of uneven slices: the centre of the first voxel of each, LPS mm, shape (k, 3).

    Returns
    -------
    labels : ndarray of uint8
        On ``wanted``.
    notes : list of str
        Sentences about voxels outside, resampling and labels that were lost.
    """
    if not labels.any():
        return np.zeros(wanted.shape, np.uint8), []
    if places is not None:
        return _onto_slices(labels, grid, wanted, places)
    if aligned(grid, wanted):
        moved = _turned(labels, grid, wanted)
        return moved, _outside(int(np.count_nonzero(labels)) - int(np.count_nonzero(moved)))
    box = Box.around(labels)
    moved = _nearest(labels[box.slices], grid.cropped(box), wanted)
    there, lost = _seen_inside(labels, box, grid, wanted)
    notes = _outside(lost)
    notes.append("The mask was drawn on another grid and was resampled to this one")
    gone = np.flatnonzero(there & (np.bincount(moved.ravel(), minlength=256) == 0))
    if gone.size:
        which = ", ".join(str(n) for n in gone)
        notes.append(f"Too small for the voxels of this image and lost: label {which}")
    return moved, notes


def _nearest(labels: np.ndarray, grid: Geometry, wanted: Geometry) -> np.ndarray:
    """Labels on a grid in any direction; only the block that can hold them is worked out."""
    from scipy.ndimage import affine_transform

    moved = np.zeros(wanted.shape, np.uint8)
    around = np.abs(wanted.inverse[:3, :3] @ grid.affine[:3, :3]).sum(1) + 1
    corners = wanted.index(grid.corners)
    low = np.floor(corners.min(0) - around).astype(int).tolist()
    high = (np.ceil(corners.max(0) + around).astype(int) + 1).tolist()
    part = Box((low[0], low[1], low[2]), (high[0], high[1], high[2])).clipped(wanted.shape)
    if not part.empty:
        smaller = wanted.cropped(part)
        affine_transform(
            labels, grid.inverse @ smaller.affine, output_shape=smaller.shape,
            output=moved[part.slices], order=0, mode="grid-constant", cval=0,
        )  # fmt: skip
    return moved


def _seen_inside(
    labels: np.ndarray, box: Box, grid: Geometry, wanted: Geometry
) -> tuple[np.ndarray, int]:
    """Which labels have a voxel inside the other grid (bool, 256), and how many lie outside."""
    there, lost = np.zeros(256, bool), 0
    for k in range(box.start[0], box.stop[0]):
        j, i = np.nonzero(labels[k])
        index = np.stack([np.full(len(j), k), j, i], -1)
        nearest = np.rint(wanted.index(grid.world(index)))
        inside = ((nearest >= 0) & (nearest < wanted.shape)).all(1)
        there[labels[k][j[inside], i[inside]]] = True
        lost += int(np.count_nonzero(~inside))
    return there, lost


def aligned(grid: Geometry, wanted: Geometry) -> bool:
    """True where every voxel of one grid is a voxel of the other, up to turns and flips."""
    between = wanted.inverse @ grid.affine
    corners = wanted.index(grid.corners)
    steps = np.abs(between[:3, :3])
    turned = np.abs(steps - np.rint(steps)).max() < _TURN_TOLERANCE and np.rint(steps).sum() == 3
    return bool(turned and np.abs(corners - np.rint(corners)).max() < _PLACE_TOLERANCE)


def _onto_slices(
    labels: np.ndarray, grid: Geometry, wanted: Geometry, places: np.ndarray
) -> tuple[np.ndarray, list[str]]:
    """Labels where the slices of an uneven stack truly lie, by the nearest neighbour."""
    moved = np.zeros(wanted.shape, np.uint8)
    j, i = np.indices(wanted.shape[1:]).reshape(2, -1)
    in_plane = np.stack([j, i], -1) @ wanted.affine[:3, 1:3].T
    for k, place in enumerate(places):
        nearest = np.rint(grid.index(in_plane + place)).astype(int)
        inside = ((nearest >= 0) & (nearest < grid.shape)).all(1)
        moved[k].reshape(-1)[inside] = labels[tuple(nearest[inside].T)]
    return moved, ["The slices of the image are uneven; each shows the mask where it lies"]


def _turned(labels: np.ndarray, grid: Geometry, wanted: Geometry) -> np.ndarray:
    """Voxels of an aligned grid, one to one; those outside are left behind."""
    between = np.rint(wanted.inverse @ grid.affine).astype(int)
    axes = np.abs(between[:3, :3]).argmax(axis=1)
    signs = between[np.arange(3), axes]
    first = np.rint(wanted.index(grid.world((0, 0, 0)))).astype(int)
    turned = labels.transpose(axes)[tuple(slice(None, None, sign) for sign in signs)]
    start = np.where(signs > 0, first, first - (np.array(turned.shape) - 1))
    low, high = np.maximum(start, 0), np.minimum(start + turned.shape, wanted.shape)
    moved = np.zeros(wanted.shape, np.uint8)
    if (low < high).all():
        there = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        here = tuple(slice(a, b) for a, b in zip(low - start, high - start, strict=True))
        moved[there] = turned[here]
    return moved


def _outside(count: int) -> list[str]:
    return [f"{count} marked voxels lie outside the image and are not shown"] if count else []
