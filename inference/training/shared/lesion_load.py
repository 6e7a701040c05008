"""Lesions of a chosen load in a whole head at 2 mm, lit as FLAIR shows them."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.training.shared.fields import smooth_field
from inference.training.shared.whole_heads import STEP_MM, Head, through_slices

__all__ = ["lesion_load", "lit", "thinned"]

Array = npt.NDArray[Any]


def lesion_load(share: Array) -> float:
    """Volume of a lesion share at 2 mm, ml."""
    return float((share > 0.4).sum()) * STEP_MM**3 / 1000


def thinned(rng: np.random.Generator, share: Array, wanted_ml: float) -> Array:
    """Some of the lesions of a share, whole, until about so many ml are reached."""
    found: Any = ndimage.label(share > 0.15, np.ones((3, 3, 3)))
    pieces, count = found
    sizes = np.bincount(pieces.ravel(), (share > 0.4).ravel(), count + 1) * STEP_MM**3 / 1000
    kept = np.zeros(count + 1, bool)
    total = 0.0
    for number in rng.permutation(np.arange(1, count + 1)):
        if total >= wanted_ml:
            break
        if 0 < sizes[number] <= max(1.3 * (wanted_ml - total), 0.02):
            kept[number] = True
            total += float(sizes[number])
    return (share * kept[pieces]).astype(np.float32)


def lit(rng: np.random.Generator, head: Head, share: Array, strength: float | None = None) -> Array:
    """A head with these lesions, as bright as FLAIR shows them."""
    if strength is None:
        strength = float(np.clip(rng.lognormal(np.log(0.32), 0.45), 0.1, 0.9))
    shape = (share.shape[0], share.shape[1], share.shape[2])
    light = (
        share * np.float32(strength) * np.clip(1 + 0.25 * smooth_field(rng, shape, 14), 0.5, 1.6)
    )
    light = ndimage.gaussian_filter(light, rng.uniform(0.2, 0.5))
    for axis, width in enumerate(head.thick):
        light = through_slices(light, axis, width)
    return np.clip(head.image + light, -1, 2).astype(np.float32)
