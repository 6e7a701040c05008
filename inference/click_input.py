"""How hints and an image become the channels of the click network; the same in training and use.

Channels, all on one grid of cubic voxels ``(k, j, i)``: the image, what belongs to the thing,
what does not, the mask so far, the box, and how alike each voxel is in value to what belongs to
the thing and to what does not (a small network would need many layers to carry that far).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["CHANNELS", "REACH_MM", "alike", "local_scale", "spots", "stacked"]

Array = npt.NDArray[np.float32]

CHANNELS = 7
#: Width of the bell that a click becomes, in voxels of the network (Gaussian sigma).
REACH_MM = 2.0
#: Values so far apart are little alike (sigma, in units of `local_scale`).
ALIKE = 0.2
_STEEP = -0.5 / REACH_MM**2


def local_scale(image: npt.NDArray[np.generic]) -> Array:
    """Bring a crop to about [-1, 1] by its own 2nd and 98th percentile; ends at +-1.5.

    The crop's own range is used because only contrast inside it tells what a click means; no
    tissue peak is sought, so any sequence and any part of the body will do.

    Parameters
    ----------
    image : ndarray, shape (k, j, i)
        Any unit. Values that are no number count as the lowest.

    Returns
    -------
    ndarray
        float32; zeros where the crop has one value only.
    """
    values = np.asarray(image, np.float32)
    good = np.isfinite(values)
    if not good.all():
        lowest = np.float32(values[good].min()) if good.any() else np.float32(0)
        values = np.where(good, values, lowest)
    sample = values[::2, ::2, ::2] if values.size > 30_000 else values
    low, high = (float(v) for v in np.percentile(sample, (2, 98)))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    if not high > low:
        return np.zeros(values.shape, np.float32)
    scaled = (values - np.float32((high + low) / 2)) * np.float32(2 / (high - low))
    return np.clip(scaled, -1.5, 1.5)


def spots(shape: tuple[int, ...], points: Iterable[npt.ArrayLike]) -> Array:
    """A bell of height 1 at each point; where they overlap the larger counts.

    Parameters
    ----------
    shape : tuple of int
        ``(k, j, i)``.
    points : iterable of (3,)
        Positions in voxels, may lie between voxels or outside.
    """
    result = np.zeros(shape, np.float32)
    reach = int(np.ceil(4 * REACH_MM))
    for point in points:
        at = np.asarray(point, np.float64)
        start = np.clip(np.floor(at).astype(int) - reach, 0, shape)
        stop = np.clip(np.floor(at).astype(int) + reach + 2, 0, shape)
        if np.any(stop <= start):
            continue
        bells = [
            np.exp(_STEEP * (np.arange(a, b) - c) ** 2).astype(np.float32)
            for a, b, c in zip(start, stop, at, strict=True)
        ]
        bell = bells[0][:, None, None] * bells[1][None, :, None] * bells[2]
        block = result[tuple(slice(a, b) for a, b in zip(start, stop, strict=True))]
        np.maximum(block, bell, out=block)
    return result


def alike(image: Array, points: Iterable[npt.ArrayLike]) -> Array:
    """How near each value is to that at the nearest of a few points, 1 to 0; 0 without points.

    The level of a point is the median of its 27 neighbours.
    """
    result = np.zeros(image.shape, np.float32)
    for point in points:
        middle = np.floor(np.asarray(point, np.float64) + 0.5).astype(int)
        block = image[tuple(slice(max(0, m - 1), max(0, m + 2)) for m in middle)]
        if block.size:
            far = (image - np.float32(np.median(block))) * np.float32(1 / ALIKE)
            np.maximum(result, np.exp(np.float32(-0.5) * far * far), out=result)
    return result


def stacked(
    image: Array,
    wanted: Sequence[npt.ArrayLike] | npt.NDArray[np.float64],
    unwanted: Sequence[npt.ArrayLike] | npt.NDArray[np.float64],
    previous: npt.NDArray[np.generic] | None = None,
    box: npt.NDArray[np.generic] | None = None,
) -> Array:
    """All channels of one crop, shape ``(CHANNELS, k, j, i)``.

    Parameters
    ----------
    image : ndarray
        From `local_scale`.
    wanted, unwanted : sequence of (3,)
        Clicks and points of scribbles, in voxels of the crop.
    previous : ndarray, optional
        Mask or probability so far, 0 to 1.
    box : ndarray, optional
        1 inside a box that holds the thing.
    """
    channels = np.zeros((CHANNELS, *image.shape), np.float32)
    channels[0] = image
    channels[1] = spots(image.shape, wanted)
    channels[2] = spots(image.shape, unwanted)
    channels[5] = alike(image, wanted)
    channels[6] = alike(image, unwanted)
    if previous is not None:
        channels[3] = previous
    if box is not None:
        channels[4] = box
    return channels
