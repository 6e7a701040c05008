"""Which weighting a picture of a head has, from its pixels alone.

For files whose headers say nothing (neutral names, stripped headers). Deep inside the head three
things are looked at, all of them ratios that need no scale: is there much that is brighter than
brain tissue (fluid of T2w), is there something darker (fluid of T1w and FLAIR), and is the large
even tissue, white matter, brighter or darker than the rest. Works with the skull and without, in
any orientation, for slices of 1 to 6.5 mm. Proton density, contrast agent, diffusion and
susceptibility cannot be told this way and are never named; what is no head is not named either.

How good it is: ``benchmarks/bench_sequences.py`` prints the table. On 21 real and synthetic images
of 11 heads (9 people, of whom 4 have MS and one a stroke, a template, a synthetic head) all are
named rightly; on 267 turned, thickened, shaded, noisy and cut copies none is named wrongly and 2 %
are not named; of 138 images and copies of spines, functional runs and a grid none is named. That is
few people, and the limits were chosen with the plain images in sight, two of them after a look at
altered copies: a hospital will see worse, which is why the confidence never passes 0.65.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, cast

import numpy as np

from imaging.geometry import Box, Geometry
from imaging.series import SequenceGuess

#: Voxels that are looked at lie about so far apart, mm: to find the head, and inside it.
_FIRST_MM, _STEP_MM = 4.0, 2.2
#: Coarser images are runs and maps of other kinds; thicker slices show too little.
_COARSE_MM, _THICK_MM = 2.6, 6.5
#: The skin, the skull and the cortex lie above this depth, mm.
_DEPTH_MM = 15.0
#: From the top of the head down, mm: what lies below is neck and face.
_HEIGHT_MM = 100.0
#: A head with or without skull, and the part of it that is looked at, in ml.
_HEAD_ML, _ZONE_ML = (600.0, 5500.0), 180.0
_SHADING_MM = 15.0


class Look(NamedTuple):
    """What is seen deep in a head, as shares of its voxels and as a ratio.

    Parameters
    ----------
    dark, bright : float
        Share of voxels much darker and much brighter than the middle of the tissue.
    white : float
        Brightness of the large even tissue against the uneven rest: above 1 on T1w.
    """

    dark: float
    bright: float
    white: float


def guess_contrast(voxels: np.ndarray, geometry: Geometry | None) -> SequenceGuess:
    """Name the weighting of an image of a head.

    Parameters
    ----------
    voxels : ndarray, shape (k, j, i)
        Stored values; only some of them are looked at.
    geometry : Geometry or None
        Where they lie; None where nobody knows (then 1 mm voxels are assumed).

    Returns
    -------
    SequenceGuess
        ``"T1w"``, ``"T2w"`` or ``"FLAIR"`` with a confidence of at most 0.65, or no name.
    """
    seen = look(voxels, geometry)
    return SequenceGuess() if seen is None else name_of(seen)


def name_of(seen: Look) -> SequenceGuess:
    """The weighting that looks like this, if any does clearly."""
    dark, bright, white = seen
    if bright > 0.07 and bright > 2.0 * dark and white < 0.99:
        clear = min((bright - 0.07) / 0.05, (0.99 - white) / 0.06)
        return _told("T2w", clear, "fluid is bright and white matter dark")
    if bright < 0.04 and 0.025 < dark < 0.32:
        if white > 1.06:
            clear = min((dark - 0.025) / 0.015, (white - 1.06) / 0.04)
            return _told("T1w", clear, "fluid is dark and white matter bright")
        if white < 0.975:
            clear = min((dark - 0.025) / 0.015, (0.975 - white) / 0.04)
            return _told("FLAIR", clear, "fluid is dark and grey matter brighter than white")
    return SequenceGuess()


def _told(name: str, clear: float, words: str) -> SequenceGuess:
    confidence = 0.45 + 0.2 * min(1.0, max(0.0, clear))
    return SequenceGuess(name, round(confidence, 2), f"in the pixels {words}")


def look(voxels: np.ndarray, geometry: Geometry | None) -> Look | None:
    """Measure what :class:`Look` says; None where the image is no head or too coarse."""
    spacing = (1.0, 1.0, 1.0) if geometry is None else geometry.spacing
    if min(voxels.shape) < 5 or sorted(spacing)[1] > _COARSE_MM or max(spacing) > _THICK_MM:
        return None
    up = None if geometry is None else tuple(float(v) for v in geometry.directions[2])
    coarse, apart = _sample(voxels, spacing, _FIRST_MM)
    body = _head(coarse)
    if body is None or _cut_off(body, apart):
        return None
    if not _HEAD_ML[0] < body.sum() * math.prod(apart) / 1000.0 < _HEAD_ML[1]:
        return None
    box = _upper_box(body, apart, up, [round(a / s) for a, s in zip(apart, spacing, strict=True)])
    sample, apart = _sample(voxels[box.clipped(voxels.shape).slices], spacing, _STEP_MM)
    head = _head(sample)
    if head is None:
        return None
    zone = _deep(head, apart, up)
    if zone.sum() * math.prod(apart) / 1000.0 < _ZONE_ML:
        return None
    even = _evened(sample, zone, apart)
    values = even[zone]
    dark, bright = float(np.mean(values < 0.6)), float(np.mean(values > 1.5))
    return Look(dark, bright, _white(even, zone, apart))


def _sample(
    voxels: np.ndarray, spacing: tuple[float, ...], apart_mm: float
) -> tuple[np.ndarray, tuple[float, ...]]:
    """Some of the voxels as float32, not below zero, and their distances in mm."""
    steps = [max(1, round(apart_mm / mm)) for mm in spacing]
    sample = voxels[tuple(slice(None, None, step) for step in steps)].astype(np.float32)
    np.nan_to_num(sample, copy=False, posinf=0.0, neginf=0.0)
    if np.percentile(sample, 25) < 0:
        sample -= sample.min()
    return sample, tuple(mm * step for mm, step in zip(spacing, steps, strict=True))


def _head(sample: np.ndarray) -> np.ndarray | None:
    """The largest thing that is not background, its holes filled."""
    from scipy import ndimage

    inside = sample[sample > 0]
    if inside.size < 2000:
        return None
    lit = ndimage.binary_opening(sample > 0.12 * np.percentile(inside, 99))
    labels, count = cast("tuple[np.ndarray, int]", ndimage.label(lit))
    if not count:
        return None
    sizes: np.ndarray = np.bincount(labels.ravel())
    sizes[0] = 0
    body = np.pad(labels == sizes.argmax(), 3)
    closed = ndimage.binary_closing(body, iterations=3)
    return np.asarray(ndimage.binary_fill_holes(closed | body))[3:-3, 3:-3, 3:-3]


def _upper_box(
    head: np.ndarray, apart: tuple[float, ...], up: tuple[float, ...] | None, steps: Sequence[int]
) -> Box:
    """The block of voxels that holds the upper head, a little too large."""
    box = Box.around(head)
    start, stop = list(box.start), list(box.stop)
    if up is not None:
        axis = max(range(3), key=lambda n: abs(up[n]))
        deep = round((_HEIGHT_MM + 25.0) / (apart[axis] * abs(up[axis])))
        if up[axis] > 0:
            start[axis] = max(start[axis], stop[axis] - deep)
        else:
            stop[axis] = min(stop[axis], start[axis] + deep)
    low = [max(0, (at - 1) * step) for at, step in zip(start, steps, strict=True)]
    high = [(at + 1) * step for at, step in zip(stop, steps, strict=True)]
    return Box((low[0], low[1], low[2]), (high[0], high[1], high[2]))


def _cut_off(head: np.ndarray, spacing: tuple[float, ...]) -> bool:
    """True where the field of view cuts the body on so many sides that it is no whole head."""
    if sum(n * mm > 105.0 for n, mm in zip(head.shape, spacing, strict=True)) < 2:
        return True
    faces: list[np.ndarray] = [
        face for axis in range(3) for face in (head.take(0, axis), head.take(-1, axis))
    ]
    return sum(float(face.mean()) > 0.45 for face in faces) > 2


def _deep(head: np.ndarray, spacing: tuple[float, ...], up: tuple[float, ...] | None) -> np.ndarray:
    """The inside of the upper head; the edge of the image is no surface."""
    from scipy import ndimage

    depth = np.asarray(ndimage.distance_transform_edt(head, sampling=spacing))
    deep = depth >= _DEPTH_MM
    if up is None:
        return deep
    height = np.zeros((1, 1, 1), np.float32)
    for axis, (step, mm) in enumerate(zip(up, spacing, strict=True)):
        line = np.arange(head.shape[axis], dtype=np.float32) * (step * mm)
        height = height + line.reshape([-1 if n == axis else 1 for n in range(3)])
    return deep & (height >= height[head].max() - _HEIGHT_MM)


def _evened(sample: np.ndarray, zone: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """The image without the shading of the coils, the middle of the tissue at 1."""
    from scipy import ndimage

    middle = float(np.median(sample[zone])) or 1.0
    width = [_SHADING_MM / mm for mm in spacing]
    inside = zone.astype(np.float32)
    held = np.clip(sample, 0.5 * middle, 1.6 * middle) * inside
    sums, counts = (ndimage.gaussian_filter(part, width, truncate=2.0) for part in (held, inside))
    even = sample * (counts / np.maximum(sums, 1e-6 * middle))
    return even / (float(np.median(even[zone])) or 1.0)


def _white(even: np.ndarray, zone: np.ndarray, spacing: tuple[float, ...]) -> float:
    """Brightness of tissue where it is even against where it is not, along the fine axes."""
    from scipy import ndimage

    fine = [axis for axis in range(3) if spacing[axis] < 1.7 * min(spacing)]
    change = sum(np.square(ndimage.sobel(even, axis) / spacing[axis]) for axis in fine)
    tissue = zone & (even > 0.65) & (even < 1.45)
    slopes, values = np.asarray(change)[tissue], even[tissue]
    if values.size < 1000:
        return 1.0
    low, middle = np.percentile(slopes, (25, 50))
    counts, edges = np.histogram(values[slopes <= low], np.linspace(0.65, 1.45, 41))
    smooth = np.convolve(counts, (1, 2, 3, 2, 1), "same")
    peak = edges[smooth.argmax()] + 0.01
    return float(peak / np.median(values[slopes >= middle]))
