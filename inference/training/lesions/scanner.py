"""What surrounds a brain and what a scanner does to a picture of it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.preprocess import SMOOTHING
from inference.training.shared.fields import smooth_field

__all__ = ["ghosted", "scanned", "surround", "thick_slices"]

Array = npt.NDArray[np.float32]


def surround(
    rng: np.random.Generator, image: Array, soft: Array, distance: Array
) -> tuple[Array, Array]:
    """Put skull and scalp around a stripped brain, or cut the brain badly."""
    shape = (image.shape[0], image.shape[1], image.shape[2])
    choice = rng.random()
    if choice < 0.5:
        return image, soft
    edge = distance + smooth_field(rng, shape, 6) * np.float32(rng.uniform(0.2, 1.2))
    if choice < 0.6:
        keep = edge < -rng.uniform(0.5, 3.5)
        return np.where(keep, image, np.float32(-1)), soft * keep
    ends = np.cumsum([rng.uniform(0.5, 5), rng.uniform(2.5, 8), rng.uniform(3, 14)])
    rough = smooth_field(rng, shape, 11)
    fine = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), 1.0) * 4
    skull = rng.uniform(-0.98, -0.6)
    if rng.random() < 0.5:
        marrow = rng.uniform(-0.5, 0.6)
        middle = np.abs(edge - (ends[0] + ends[1]) / 2) < (ends[1] - ends[0]) / 4
        skull = np.where(middle, np.float32(marrow), np.float32(skull))
    scalp = rng.uniform(-0.4, 1.2) + 0.25 * rough + rng.uniform(0, 0.12) * fine
    shell = np.full(shape, -1, np.float32)
    shell = np.where(edge < ends[2], scalp, shell)
    shell = np.where(edge < ends[1], skull, shell)
    shell = np.where(edge < ends[0], np.float32(rng.uniform(-0.95, -0.5)), shell)
    if rng.random() < 0.35:
        face = 0.5 * rough + 0.2 * fine + rng.uniform(-0.8, 0.3)
        shell = np.where(edge > ends[0] + 2 * rough, np.clip(face, -1, 1.4), shell)
    if rng.random() < 0.3:
        shell = np.where(edge < rng.uniform(0, 8), shell, -1)
    outside = np.clip(distance + 0.5, 0, 1)
    return (image * (1 - outside) + np.maximum(image, shell) * outside).astype(np.float32), soft


def scanned(
    rng: np.random.Generator, image: Array, soft: Array, thick: float
) -> tuple[Array, Array]:
    """What the scanner does to the picture, and to what can be seen of a lesion."""
    shape = (image.shape[0], image.shape[1], image.shape[2])
    light = np.clip(image + 1, 0, 3.5)
    light *= np.exp(smooth_field(rng, shape, 3) * np.float32(rng.uniform(0, 0.06)))
    light = light ** np.float32(rng.uniform(0.85, 1.2)) * np.float32(rng.normal(1, 0.06))
    if rng.random() < 0.4:
        light = ndimage.gaussian_filter(light, rng.uniform(0.2, 0.8, 3))
    if rng.random() < thick:
        axis = int(rng.choice(3, p=[0.7, 0.15, 0.15]))
        width, start = rng.uniform(2, 5), rng.random()
        light = thick_slices(light, axis, width, start)
        soft = thick_slices(soft, axis, width, start)
    if rng.random() < 0.1:
        light = ghosted(rng, light)
    level = max(0.0, rng.normal(0.02, 0.02))
    noise = rng.standard_normal((2, *shape)).astype(np.float32) * np.float32(level)
    light = np.sqrt((light + noise[0]) ** 2 + noise[1] ** 2) - (0.9 * level)
    if rng.random() < 0.08:
        axis = int(rng.integers(3))
        cut = [slice(None)] * 3
        depth = int(rng.integers(4, shape[axis] // 2))
        cut[axis] = slice(0, depth) if rng.random() < 0.5 else slice(-depth, None)
        light[tuple(cut)] = 0
        soft = soft.copy()
        soft[tuple(cut)] = 0
    # What preprocessing does to every picture before the network sees it.
    light = ndimage.gaussian_filter(light, SMOOTHING, truncate=2.5)
    return np.clip(light - 1, -1, 2).astype(np.float32), soft


def thick_slices(array: Array, axis: int, width: float, start: float) -> Array:
    """Average over slices of ``width`` voxels and interpolate back to the fine grid."""
    smooth = ndimage.gaussian_filter1d(array, 0.36 * width, axis)
    size = array.shape[axis]
    slices = np.arange(start * width, size - 1, width)
    along = [-1 if a == axis else 1 for a in range(3)]
    below = np.minimum(slices.astype(int), size - 2)
    share = (slices - below).astype(np.float32).reshape(along)
    coarse = np.take(smooth, below, axis) * (1 - share) + np.take(smooth, below + 1, axis) * share
    at = np.clip((np.arange(size) - slices[0]) / width, 0, len(slices) - 1)
    below = np.minimum(at.astype(int), max(len(slices) - 2, 0))
    above = np.minimum(below + 1, len(slices) - 1)
    share = (at - below).astype(np.float32).reshape(along)
    return np.take(coarse, below, axis) * (1 - share) + np.take(coarse, above, axis) * share


def ghosted(rng: np.random.Generator, light: Array) -> Array:
    """Ghosts of a moving head along one axis, or the stripes of a spike in k-space.

    Both add to the picture without moving what is in it, so labels stay as they are.
    """
    axis = int(rng.integers(3))
    strength = np.float32(rng.uniform(0.02, 0.12))
    if rng.random() < 0.5:
        shift = int(rng.integers(8, max(9, light.shape[axis] // 2)))
        return (light * (1 - strength) + strength * np.roll(light, shift, axis)).astype(np.float32)
    phase = np.zeros((1, 1, 1), np.float32)
    for a, size in enumerate(light.shape):
        along = [-1 if b == a else 1 for b in range(3)]
        turns = rng.uniform(-0.35, 0.35)
        phase = phase + (np.arange(size, dtype=np.float32) * np.float32(turns)).reshape(along)
    wave = np.cos(2 * np.pi * phase + rng.uniform(0, 2 * np.pi))
    return (light + 0.6 * strength * wave).astype(np.float32)
