"""A hand that corrects a mask: each click goes where the mask is most wrong.

Used for training and for judging. The largest connected error is clicked, near its middle; the
hand trembles, and in training it is sometimes plainly wrong.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = ["Click", "first_click", "next_click"]

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Click:
    """One click: voxel ``(k, j, i)`` and whether it belongs to the thing meant."""

    at: tuple[int, int, int]
    wanted: bool


def first_click(truth: Mask, rng: np.random.Generator, loose: float = 0.4) -> Click:
    """A click on the thing: about its deepest place.

    Parameters
    ----------
    loose : float
        0 is the very middle, 1 anywhere inside: points at least ``1 - loose`` of the greatest
        depth are taken.
    """
    return Click(_inside(truth, rng, loose), True)


def next_click(
    truth: Mask, found: Mask, rng: np.random.Generator, loose: float = 0.4, wrong: float = 0.0
) -> Click | None:
    """A click on the largest connected error, or None where there is none.

    Parameters
    ----------
    truth, found : ndarray of bool
        What is meant, and the mask so far.
    wrong : float
        Chance of a slip: the click lands a few voxels beside the error.
    """
    missing, extra = truth & ~found, found & ~truth
    best, largest, wanted = None, 0, True
    for error, sign in ((missing, True), (extra, False)):
        piece, size = _largest(error)
        if size > largest:
            best, largest, wanted = piece, size, sign
    if best is None:
        return None
    at = _inside(best, rng, loose)
    if wrong and rng.random() < wrong:
        slip = np.asarray(at) + rng.integers(-4, 5, 3)
        at = _triple(np.clip(slip, 0, np.array(truth.shape) - 1))
    return Click(at, wanted)


def _largest(mask: Mask) -> tuple[Mask | None, int]:
    if not mask.any():
        return None, 0
    labels, count = ndimage.label(mask)  # type: ignore[misc]
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    number = int(sizes.argmax())
    return labels == number, int(sizes[number])


def _inside(mask: Mask, rng: np.random.Generator, loose: float) -> tuple[int, int, int]:
    """A voxel of the mask, deep enough."""
    box = ndimage.find_objects(mask.astype(np.uint8))[0]
    depth = np.asarray(ndimage.distance_transform_edt(np.pad(mask[box], 1)))[1:-1, 1:-1, 1:-1]
    spots = np.argwhere(depth >= max(1.0, (1 - loose) * float(depth.max())))
    spot = spots[rng.integers(len(spots))]
    return _triple(spot + [s.start for s in box])


def _triple(values: npt.ArrayLike) -> tuple[int, int, int]:
    a, b, c = (int(v) for v in np.asarray(values))
    return a, b, c
