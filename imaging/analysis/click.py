"""A click becomes a mask without a network: the sharpest outline, mended by a random walker.

What was meant is the outline with the sharpest edge among those that agree with every click
(`imaging.analysis.outlines`), from one voxel up to the whole block. A "not this" click on what has
leaked chooses anew among smaller ones; one that only mends goes through a random walker, with the
mask so far as what is believed where no click is near. Any sequence, bright or dark, any voxel
size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from imaging.analysis.hints import Hints, voxels
from imaging.analysis.mending import mended
from imaging.analysis.outlines import sharpest
from imaging.geometry import Box

__all__ = ["Hints", "classic_mask", "cleaned"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

#: A mask has leaked where such a share of it is nearer to "not this" than to what is wanted.
LEAKED = 0.5


def classic_mask(
    image: npt.NDArray[Any],
    spacing: Sequence[float],
    hints: Hints,
    previous: Mask | None = None,
) -> Mask:
    """The thing meant, in one block of an image.

    Parameters
    ----------
    image : ndarray, shape (k, j, i)
        Values of the block, see `view_box`; any unit.
    spacing : sequence of float
        mm between voxel centres, ``(k, j, i)``.
    hints : Hints
        In indices of the block; at least one "this" or a box.
    previous : ndarray of bool, optional
        The mask so far, where the hints correct one.

    Returns
    -------
    ndarray of bool
        All false where nothing was found.
    """
    if hints.empty and (previous is None or not previous.any()):
        return np.zeros(image.shape, bool)
    values = _ranged(image)
    if previous is None or not previous.any():
        outline = sharpest(values, spacing, hints) if hints.wanted else None
        found = mended(values, spacing, hints, None) if outline is None else outline
    else:
        found = _part_meant(values, spacing, hints, previous)
        if found is None:
            found = mended(values, spacing, hints, previous)
    return cleaned(found, hints)


def cleaned(found: Mask, hints: Hints) -> Mask:
    """Only pieces with a "this" click, and the largest inside a drawn box.

    Clicks have the last word about their own voxel. Cavities are filled where no "not this"
    click lies in them.
    """
    from scipy import ndimage

    result = found.copy()
    wanted, unwanted = voxels(hints.wanted, found.shape), voxels(hints.unwanted, found.shape)
    if len(wanted):
        result[tuple(wanted.T)] = True
    if len(unwanted):
        result[tuple(unwanted.T)] = False
    labels, count = _labelled(result)
    if not count:
        return result
    keep = np.unique(labels[tuple(wanted.T)]) if len(wanted) else np.zeros(0, int)
    if not len(wanted) or hints.box is not None:
        inside = labels if hints.box is None else labels[hints.box.slices]
        sizes = np.bincount(inside.ravel(), minlength=count + 1)
        sizes[0] = 0
        keep = np.append(keep, sizes.argmax())
    table = np.zeros(count + 1, bool)
    table[keep[keep > 0]] = True
    result = table[labels]
    box = Box.around(result)
    filled = np.asarray(ndimage.binary_fill_holes(np.pad(result[box.slices], 1)))[1:-1, 1:-1, 1:-1]
    result[box.slices] = filled
    if len(unwanted):
        result[tuple(unwanted.T)] = False
    return result


def _part_meant(
    values: Array, spacing: Sequence[float], hints: Hints, previous: Mask
) -> Mask | None:
    """A smaller outline inside the mask so far, where "not this" clicks say that it leaked.

    It leaked where most of it lies nearer to a "not this" click in it than to what is wanted. None
    where the clicks only mend the mask.
    """
    away = voxels(hints.unwanted, previous.shape)
    away = away[previous[tuple(away.T)]]
    wanted = voxels(hints.wanted, previous.shape)
    if not len(away) or not len(wanted):
        return None
    marked = np.argwhere(previous)
    nearer = _squared(marked, away, spacing) < _squared(marked, wanted, spacing)
    if np.mean(nearer) < LEAKED:
        return None
    outline = sharpest(values, spacing, hints)
    if outline is None:
        return None
    mostly_inside = 2 * np.count_nonzero(outline & previous) > np.count_nonzero(outline)
    return outline if mostly_inside else None


def _squared(
    voxels_at: npt.NDArray[np.int64], points: npt.NDArray[np.int64], spacing: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Squared distance to the nearest point, mm2."""
    nearest = np.full(len(voxels_at), np.inf)
    for point in points:
        np.minimum(nearest, (((voxels_at - point) * spacing) ** 2).sum(axis=1), out=nearest)
    return nearest


def _ranged(image: npt.NDArray[Any]) -> Array:
    """About 0 to 1 between the 2nd and 98th percentile of the block."""
    values = np.nan_to_num(np.asarray(image, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = (float(v) for v in np.percentile(values[::2, ::2, ::2], (2, 98)))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return np.clip((values - low) / max(high - low, 1e-9), -0.5, 1.5)


def _labelled(mask: Mask, diagonal: bool = True) -> tuple[npt.NDArray[np.int32], int]:
    from scipy import ndimage

    found: Any = ndimage.label(mask, np.ones((3, 3, 3)) if diagonal else None)
    return found
