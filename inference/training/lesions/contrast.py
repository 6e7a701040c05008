"""Made-up FLAIR contrast: tissue, folds, lesions, and bright places that are no lesion."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.training.shared.cases import Anatomy
from inference.training.shared.fields import looked_up, smooth_field

__all__ = [
    "distract",
    "ellipsoids",
    "lesion_light",
    "periventricular",
    "template_image",
    "tight_sulci",
    "uneven_cortex",
]

Array = npt.NDArray[np.float32]


def tight_sulci(
    rng: np.random.Generator, anatomy: Anatomy, points: Array, image: Array, distance: Array
) -> Array:
    """Sometimes fill the outer fluid, as in a young brain whose folds touch."""
    if "ventricles" not in anatomy.extra or rng.random() < 0.6:
        return image
    outer = looked_up(anatomy.extra["ventricles"], points, 45.0) > 5
    fluid = outer & (image < 0) & (distance < -2)
    share = ndimage.gaussian_filter(fluid.astype(np.float32), 0.5) * rng.uniform(0.3, 1.0)
    return (image - share * np.minimum(image, 0)).astype(np.float32)


def periventricular(rng: np.random.Generator, anatomy: Anatomy, points: Array) -> Array:
    """Bands and caps of lesion along the ventricles, of uneven thickness."""
    shape = (points.shape[1], points.shape[2], points.shape[3])
    if "ventricles" not in anatomy.extra:
        return np.zeros(shape, np.float32)
    distance = looked_up(anatomy.extra["ventricles"], points, 45.0)
    thickness = rng.uniform(-1, 4.5) + rng.uniform(0.5, 3.5) * smooth_field(rng, shape, 6)
    return np.clip(np.minimum(thickness, 11) - distance + 0.5, 0, 1).astype(np.float32)


def template_image(
    rng: np.random.Generator, anatomy: Anatomy, points: Array, place: Array, grey: float
) -> Array:
    """FLAIR-like picture of the template; white matter is ``place``."""
    shape = (place.shape[0], place.shape[1], place.shape[2])
    gm = looked_up(anatomy.extra["gm"], points)
    csf = looked_up(anatomy.extra["csf"], points)
    total = np.clip(place + gm + csf, 0, 1)
    wm_level = rng.uniform(-0.15, 0.05)
    gm_level = wm_level + grey
    csf_level = rng.uniform(-0.95, -0.5)
    gm_map = gm_level + smooth_field(rng, shape, 7) * np.float32(rng.uniform(0, 0.1))
    wm_map = wm_level + smooth_field(rng, shape, 6) * np.float32(rng.uniform(0, 0.05))
    image = place * wm_map + gm * gm_map + csf * csf_level - (1 - total)
    if rng.random() < 0.6:
        rim = ndimage.gaussian_filter(csf, 1.2) * place * 4 * rng.uniform(0, 0.3)
        image += np.clip(rim * (0.5 + 0.5 * smooth_field(rng, shape, 4)), 0, 0.35)
    if rng.random() < 0.5:
        choroid = (smooth_field(rng, shape, 9) > 1.2) & (csf > 0.85)
        image += ndimage.gaussian_filter(choroid.astype(np.float32), 0.8) * rng.uniform(0.3, 1.0)
    rough = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), 0.7)
    image += rough * np.float32(rng.uniform(0.01, 0.07) / 0.25) * (total > 0.5)
    return image.astype(np.float32)


def ellipsoids(rng: np.random.Generator, place: Array) -> Array:
    """A few round lesions in white matter."""
    soft = np.zeros(place.shape, np.float32)
    spots = np.argwhere(place > 0.5)
    if not len(spots):
        return soft
    for _ in range(int(rng.integers(1, 6))):
        spot = spots[rng.integers(len(spots))]
        radii = rng.uniform(1.0, 4.0) * rng.uniform(0.6, 1.5, 3)
        low = np.maximum(spot - 8, 0)
        high = np.minimum(spot + 9, place.shape)
        axes = [np.arange(a, b) - s for a, b, s in zip(low, high, spot, strict=True)]
        squares = [(x / r) ** 2 for x, r in zip(axes, radii, strict=True)]
        ball = squares[0][:, None, None] + squares[1][None, :, None] + squares[2] < 1
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        soft[box] = np.maximum(soft[box], ball)
    return soft


def lesion_light(rng: np.random.Generator, soft: Array, grey: float) -> Array:
    """Brightness that planted lesions add: mostly above grey matter (``grey``), some are dimmer."""
    if not soft.any():
        return soft
    shape = (soft.shape[0], soft.shape[1], soft.shape[2])
    below = rng.uniform(0.5, 1.0) if rng.random() < 0.25 else 1.0
    strength = max(0.08, grey * below) + np.clip(rng.lognormal(np.log(0.16), 0.5), 0.03, 0.6)
    varied = np.clip(1 + 0.25 * smooth_field(rng, shape, 8), 0.5, 1.6) * strength
    rough = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), 0.8)
    core = soft * (1 - 0.3 * rng.random() + 0.3 * ndimage.gaussian_filter(soft, 1.5))
    light = core * (varied + rough * np.float32(rng.uniform(0, 0.15)))
    light += ndimage.gaussian_filter(soft, 3) * (strength * rng.uniform(0, 0.25)) * (1 - soft)
    return light.astype(np.float32)


def distract(rng: np.random.Generator, image: Array, distance: Array, place: Array) -> Array:
    """Bright spots that are not lesions: vessels, meninges, cortex, flow."""
    if rng.random() < 0.5:
        return image
    shape = (image.shape[0], image.shape[1], image.shape[2])
    spots = np.zeros(shape, np.float32)
    where = np.argwhere((distance > -7) & (distance < 2) & (place < 0.2))
    if len(where):
        for spot in where[rng.integers(0, len(where), int(rng.integers(1, 12)))]:
            spots[tuple(spot)] = rng.uniform(2, 15)
    spots = ndimage.gaussian_filter(spots, rng.uniform(0.7, 1.4, 3))
    return image + np.clip(spots, 0, rng.uniform(0.2, 0.9)).astype(np.float32)


def uneven_cortex(rng: np.random.Generator, image: Array, grey: Array) -> Array:
    """Short bright stretches of cortex and deep grey matter, as bright as lesions.

    Parameters
    ----------
    image : ndarray
        FLAIR before lesions.
    grey : ndarray
        Share of grey matter.
    """
    if rng.random() < 0.35:
        return image
    shape = (image.shape[0], image.shape[1], image.shape[2])
    stretches = np.maximum(
        smooth_field(rng, shape, int(rng.integers(5, 11))) - rng.uniform(0, 1), 0
    )
    return (image + grey * stretches * np.float32(rng.uniform(0.05, 0.35))).astype(np.float32)
