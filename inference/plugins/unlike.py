"""How unlike normal each place of a head is: two opinions that have to agree.

The first opinion is what the restoring network takes out, the second is how much brighter or darker
a place is than the restored tissue within a few centimetres. Each is counted in its own robust
spreads over the brain of this very image, and the answer is the geometric mean where both have the
same sign, else 0. Bright cortex is known to the network; what the network shuffles about at folds
and edges is no brighter than what lies around.

Fluid is no tissue, and every edge of it is partly fluid. So where a place differs in the direction
of fluid (darker on FLAIR and T1w, brighter on T2w) the second opinion is limited, and a place that
the network itself takes for fluid does not count.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy import ndimage
from torch.nn import functional

__all__ = [
    "Surroundings",
    "agreed",
    "doubled",
    "halved",
    "inside",
    "measured",
    "restored",
    "surroundings",
]

LEAST_CHANGE, LEAST_LIGHT = 0.04, 0.1
"""Smaller spreads (normalised units) of either opinion are those of pictures without noise."""
RIM_MM = 2.0
"""The outermost part of the brain is not judged: cut edges differ always."""
AROUND_MM = 12.0
"""Gaussian over which the restored tissue around a place is averaged."""
TISSUE = 0.35
"""Restored levels so far from the brain's median are fluid (or vessels), not tissue."""
MOST_LIGHT = 0.3
"""Towards fluid a place counts as differing by at most this."""


def halved(array: np.ndarray) -> np.ndarray:
    """A 1 mm array with even edges at 2 mm, averaged."""
    k, j, i = (n // 2 for n in array.shape)
    return np.asarray(array.reshape(k, 2, j, 2, i, 2).mean((1, 3, 5)), np.float32)


def doubled(array: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """A 2 mm array back at 1 mm, linear between the centres."""
    image = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None, None]
    fine = functional.interpolate(image, shape, mode="trilinear", align_corners=False)
    return fine[0, 0].numpy()


def measured(image: np.ndarray, output: np.ndarray, brain: np.ndarray) -> np.ndarray:
    """Deviation in spreads, with its sign: positive where the image is brighter than normal.

    Parameters
    ----------
    image : ndarray
        Normalised head, at 1 mm or at the 2 mm of the network; the answer lies on its grid.
    output : ndarray, shape (2, k, j, i)
        What is to be added to the image at 2 mm, and the logit of brain.
    brain : ndarray of bool, shape (k, j, i)
        At 2 mm; outside it, and at its rim, the answer is 0.
    """
    inner = inside(brain)
    if not inner.any():
        return np.zeros(image.shape, np.float32)
    coarse = image if image.shape == brain.shape else halved(image)
    around = surroundings(coarse, output[0], inner)
    light = image - doubled(around.level, image.shape)
    towards = light * around.fluid_sign > 0
    light = np.where(towards, np.clip(light, -MOST_LIGHT, MOST_LIGHT), light) / around.spread
    deviation = agreed(doubled(restored(output[0], inner), image.shape), light)
    fluid = doubled(around.fluid.astype(np.float32), image.shape) > 0.5
    return np.where(fluid & towards, np.float32(0), deviation)


def restored(change: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """The first opinion: what was taken out, in spreads of all that was taken out."""
    spread = 1.4826 * float(np.median(np.abs(change[inner])))
    return np.where(inner, -change / max(spread, LEAST_CHANGE), 0).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Surroundings:
    """What the second opinion compares with; arrays ``(k, j, i)`` at 2 mm, normalised units.

    Attributes
    ----------
    level : ndarray
        Restored tissue around each place.
    spread : float
        Robust spread of the image's tissue about it.
    fluid : ndarray of bool
        What is fluid in the restored picture.
    fluid_sign : int
        1 where fluid is brighter than tissue, -1 where it is darker.
    """

    level: np.ndarray
    spread: float
    fluid: np.ndarray
    fluid_sign: int


def surroundings(image: np.ndarray, change: np.ndarray, inner: np.ndarray) -> Surroundings:
    """What lies around each place once the head is restored.

    Parameters
    ----------
    image, change : ndarray, shape (k, j, i)
        At 2 mm: the head, and what is to be added to it.
    inner : ndarray of bool, shape (k, j, i)
        The brain without its rim; at least one voxel.
    """
    normal = image + change
    off = normal - np.median(normal[inner])
    tissue = inner & (np.abs(off) < TISSUE)
    width = AROUND_MM / 2
    weight = ndimage.gaussian_filter(tissue.astype(np.float32), width)
    total = ndimage.gaussian_filter(np.where(tissue, normal, 0).astype(np.float32), width)
    level = (total / np.maximum(weight, 1e-3)).astype(np.float32)
    difference = (image - level)[tissue]
    spread = 1.4826 * float(np.median(np.abs(difference - np.median(difference))))
    beyond = inner & ~tissue
    sign = 1 if (off[beyond] > 0).sum() > (off[beyond] < 0).sum() else -1
    return Surroundings(level, max(spread, LEAST_LIGHT), beyond & (off * sign > 0), sign)


def agreed(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Geometric mean with its sign where both have the same sign, else 0."""
    return (np.sign(one) * np.sqrt(np.maximum(one * other, 0))).astype(np.float32)


def inside(brain: np.ndarray) -> np.ndarray:
    """The brain without its rim."""
    return np.asarray(ndimage.binary_erosion(brain, iterations=round(RIM_MM / 2)), bool)
