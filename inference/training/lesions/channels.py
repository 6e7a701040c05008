"""T1w and T2w beside a FLAIR patch: real ones looked up, others made from tissue shares.

Both are on the scale of `inference.preprocess.normalise_beside`: background -1, the tissue where
FLAIR has its peak 0. A missing image is all zeros, in training as in the application.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.preprocess import SMOOTHING
from inference.training.lesions.scanner import thick_slices
from inference.training.shared.cases import Anatomy
from inference.training.shared.fields import looked_up, smooth_field

__all__ = ["CHANNELS", "dropped", "others_of"]

Array = npt.NDArray[np.float32]

CHANNELS = ("t1", "t2")
"""Order of the optional channels behind FLAIR."""
DROP_ONE = 0.2
"""Where both are there, each is left out this often."""
LEVELS = {
    # csf, grey and white matter, what a lesion adds (range each)
    "t1": ((-0.85, -0.5), (-0.32, -0.1), (0.0, 0.12), (-0.4, -0.05)),
    "t2": ((0.7, 1.6), (0.1, 0.45), (-0.08, 0.03), (0.25, 0.9)),
}


def others_of(
    rng: np.random.Generator,
    anatomy: Anatomy,
    points: Array,
    planted: Array,
    flair: Array,
    distance: Array,
) -> Array | None:
    """T1w and T2w ``(2, k, j, i)`` of a patch, or None where the anatomy has neither.

    Parameters
    ----------
    points : ndarray, shape (3, k, j, i)
        Source positions in the anatomy.
    planted : ndarray
        Share of planted lesion.
    flair : ndarray
        The finished FLAIR before the scanner: what surrounds the brain there does so here.
    distance : ndarray
        Signed distance to the brain's border in mm.
    """
    real = all(name in anatomy.extra for name in CHANNELS)
    if not real and not all(name in anatomy.extra for name in ("csf", "gm", "wm")):
        return None
    shape = (flair.shape[0], flair.shape[1], flair.shape[2])
    result = np.zeros((2, *shape), np.float32)
    for number, name in enumerate(CHANNELS):
        shifted = points + rng.normal(0, 0.25, 3).astype(np.float32)[:, None, None, None]
        if real:
            image = looked_up(anatomy.extra[name], shifted, -1.0)
            image += smooth_field(rng, shape, 5) * np.float32(rng.uniform(0, 0.05)) * (image > -0.9)
        else:
            image = _made_up(rng, anatomy, shifted, name)
        image += planted * np.float32(rng.uniform(*LEVELS[name][3]))
        image = _same_surround(rng, image, flair, distance)
        result[number] = _scanned(rng, image)
    return result


def dropped(rng: np.random.Generator, others: Array) -> Array:
    """A copy with each channel left out now and then."""
    keep = rng.random(len(others)) >= DROP_ONE
    return np.asarray(others * keep[:, None, None, None], np.float32)


def _made_up(rng: np.random.Generator, anatomy: Anatomy, points: Array, name: str) -> Array:
    shares: dict[str, Any] = {t: looked_up(anatomy.extra[t], points) for t in ("csf", "gm", "wm")}
    total = np.clip(sum(shares.values()), 0, 1)
    levels = {t: rng.uniform(*LEVELS[name][n]) for n, t in enumerate(("csf", "gm", "wm"))}
    image = sum(shares[t] * np.float32(levels[t]) for t in shares) - (1 - total)
    shape = (points.shape[1], points.shape[2], points.shape[3])
    rough = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), 0.7)
    return np.asarray(image + rough * np.float32(rng.uniform(0.05, 0.3)) * (total > 0.5))


def _same_surround(rng: np.random.Generator, image: Array, flair: Array, distance: Array) -> Array:
    """Air where FLAIR has air, scalp of another brightness where it has scalp."""
    outside = np.clip(distance, 0, 1)
    shell = np.clip((flair + 1) * np.float32(rng.uniform(0.2, 1.5)) - 1, -1, 1.5)
    mixed = image * (1 - outside) + shell * outside
    return np.where(flair <= -0.999, np.float32(-1), mixed).astype(np.float32)


def _scanned(rng: np.random.Generator, image: Array) -> Array:
    shape = (image.shape[0], image.shape[1], image.shape[2])
    bias = np.exp(smooth_field(rng, shape, 3) * np.float32(rng.uniform(0, 0.05)))
    bright = np.clip(image + 1, 0, 3.5) * bias
    gamma, gain = np.float32(rng.uniform(0.9, 1.12)), np.float32(rng.normal(1, 0.05))
    light = np.asarray(bright**gamma * gain, np.float32)
    if rng.random() < 0.35:
        light = thick_slices(light, int(rng.integers(3)), rng.uniform(1.5, 4), rng.random())
    light += rng.standard_normal(shape).astype(np.float32) * np.float32(rng.uniform(0, 0.04))
    light = np.asarray(ndimage.gaussian_filter(light, SMOOTHING, truncate=2.5))
    return np.clip(light - 1, -1, 2).astype(np.float32)
