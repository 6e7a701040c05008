"""The outline of a thing that was clicked: among many candidates, the one with the sharpest edge.

Candidates are what is connected with the click above (or below) a level, within a distance of it;
levels run from the value at the click to far below it, distances from small to large. Each is
judged by the mean step in value over its whole surface, where a surface that only the distance
has cut counts for nothing (the peripheral contrast of Hojjatoleslami and Kittler 1998,
doi 10.1109/83.701170). So a thing ends where its surroundings begin, and what has leaked into a
neighbour loses, because most of its surface is no edge.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from imaging.analysis.hints import Hints, around, steps_for, voxels
from imaging.geometry import Box

__all__ = ["sharpest"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

#: How far from the clicks a candidate may reach (mm); the last is as far as is looked.
REACH_MM = (3.0, 5.0, 8.0, 12.0, 18.0, 60.0)
#: Levels tried between the value at the click and that of the least alike nearby.
LEVELS = 14
#: Values are smoothed by so much before they are compared (finest voxels).
SMOOTHING = 0.6
#: What an outline is worth beside its edge: round things are likelier than branched ones
#: (exponent of compactness), small ones than large ones (exponent of 1 / volume).
ROUND, SMALL = 2.0, 1 / 6
#: So many of the "this" clicks have to lie in a candidate; the others are taken in anyway.
MOST_CLICKS = 0.8
#: A candidate that fills more than this of a face of the block looked at goes on outside: it is no
#: outline of a thing. Faces nearer to the clicks are where the image ends (mm).
LEAK_SHARE, LEAK_FROM_MM = 0.1, 20.0
#: Blocks of more voxels are judged in larger steps; on the grid itself an outline may be so many
#: times as large.
MOST_VOXELS, MOST_JOINED = 150_000, 3


class _Outline(NamedTuple):
    """A candidate: where, above which level of values times sign, in which steps."""

    box: Box
    reach: float
    level: float
    sign: int
    step: tuple[int, int, int]
    piece: Mask


def sharpest(values: Array, spacing: Sequence[float], hints: Hints) -> Mask | None:
    """The candidate that agrees with the clicks and has the sharpest edge for its form and size.

    Parameters
    ----------
    values : ndarray, shape (k, j, i)
        Any unit.
    spacing : sequence of float
        mm, ``(k, j, i)``.
    hints : Hints
        At least one "this"; distances are counted from the nearest of them.

    Returns
    -------
    ndarray of bool or None
        None where no candidate agrees with what was said.
    """
    smooth = smoothed(values, spacing)
    wanted = voxels(hints.wanted, values.shape)
    unwanted = voxels(hints.unwanted, values.shape)
    found: list[tuple[float, _Outline]] = []
    for reach in REACH_MM:
        box = _box(wanted, reach, spacing, values.shape)
        if hints.box is not None and not hints.box.empty:
            box = _common(box, hints.box)
        if box.empty:
            continue
        for outline, worth in _judged(smooth, spacing, box, reach, wanted, unwanted):
            if worth > 0:
                found.append((worth, outline))
        if box.shape == tuple(values.shape):
            break
    found.sort(key=lambda one: -one[0])
    masks = ((_full(outline, smooth, spacing, wanted), outline) for _worth, outline in found)
    return next((mask for mask, outline in masks if _as_judged(mask, outline)), None)


def _judged(
    smooth: Array,
    spacing: Sequence[float],
    box: Box,
    reach: float,
    wanted: npt.NDArray[np.int64],
    unwanted: npt.NDArray[np.int64],
) -> Iterator[tuple[_Outline, float]]:
    """The candidates of one block that hold no "not this" click, and what they are worth."""
    step = steps_for(box.shape, spacing, MOST_VOXELS)
    near = smooth[box.slices][tuple(slice(None, None, n) for n in step)]
    coarse = [s * n for s, n in zip(spacing, step, strict=True)]
    here = _inside(wanted, box, step, near.shape)
    away = _inside(unwanted, box, step, near.shape)
    if not len(here):
        return
    ball = _within(near.shape, here, reach, coarse)
    cut = _cut_faces(box, smooth.shape)
    for piece, level, sign in _candidates(near, ball, here):
        if len(away) and piece[tuple(away.T)].any():
            continue
        if box.shape == tuple(smooth.shape) and _goes_on(piece, here, coarse):
            continue
        worth = sign * _worth(near, piece, coarse, step, cut)
        yield _Outline(box, reach, level, sign, step, piece), worth


def _full(
    outline: _Outline, smooth: Array, spacing: Sequence[float], wanted: npt.NDArray[np.int64]
) -> Mask:
    """A candidate on the grid of the values."""
    result = np.zeros(smooth.shape, bool)
    box = outline.box
    if max(outline.step) == 1:
        result[box.slices] = outline.piece
        return result
    here = _inside(wanted, box, (1, 1, 1), box.shape)
    ball = _within(box.shape, here, outline.reach, spacing)
    above = (smooth[box.slices] * outline.sign > outline.level) & ball
    result[box.slices] = _with_clicks(above, here)[0]
    return result


def _goes_on(piece: Mask, at: npt.NDArray[np.int64], spacing: Sequence[float]) -> bool:
    """Whether a piece fills a good part of a face of the block, far from the clicks."""
    for axis, (n, size) in enumerate(zip(piece.shape, spacing, strict=True)):
        for place in (0, n - 1):
            far = float(np.abs(at[:, axis] - place).min()) * size >= LEAK_FROM_MM
            if far and float(np.mean(np.take(piece, place, axis))) > LEAK_SHARE:
                return True
    return False


def _as_judged(mask: Mask, outline: _Outline) -> bool:
    """False where the small steps join what was apart in the large ones that were judged."""
    judged = np.count_nonzero(outline.piece) * int(np.prod(outline.step))
    return max(outline.step) == 1 or int(np.count_nonzero(mask)) <= MOST_JOINED * int(judged)


def smoothed(values: Array, spacing: Sequence[float]) -> Array:
    """Slightly smoothed, the same in mm along every axis."""
    from scipy import ndimage

    finest = min(spacing)
    sigma = [
        SMOOTHING * finest / s if n > 1 else 0.0 for s, n in zip(spacing, values.shape, strict=True)
    ]
    return np.asarray(ndimage.gaussian_filter(values, sigma), np.float32)


def _candidates(
    near: Array, ball: Mask, at: npt.NDArray[np.int64]
) -> Iterator[tuple[Mask, float, int]]:
    """Pieces that hold the clicks, the level they lie above, and 1 for bright or -1 for dark."""
    for sign in (1, -1):
        height = near * sign
        top = float(np.quantile(height[tuple(at.T)], 1 - MOST_CLICKS))
        low = float(np.quantile(height[ball], 0.02))
        last = 0
        for level in np.linspace(top, low, LEVELS + 1, endpoint=False)[1:] if top > low else ():
            piece, share = _with_clicks((height > level) & ball, at)
            size = int(np.count_nonzero(piece))
            if share >= MOST_CLICKS and size != last:
                yield piece, float(level), sign
            last = size


def _with_clicks(above: Mask, at: npt.NDArray[np.int64]) -> tuple[Mask, float]:
    """The connected pieces that hold a click, and the share of clicks they hold."""
    from scipy import ndimage

    labels: Any = ndimage.label(above)[0]  # type: ignore[index]
    numbers = labels[tuple(at.T)]
    table = np.zeros(int(labels.max()) + 1, bool)
    table[numbers] = True
    table[0] = False
    return table[labels], float(np.mean(numbers > 0))


def _worth(
    near: Array,
    piece: Mask,
    spacing: Sequence[float],
    step: Sequence[int],
    cut: Sequence[bool],
) -> float:
    """Mean step over the surface (per finest voxel) for its form and size; below 0 for the
    other sign.
    """
    box = Box.around(piece)
    rows = tuple(
        slice(max(0, a - 1), min(n, b + 1))
        for a, b, n in zip(box.start, box.stop, piece.shape, strict=True)
    )
    inside, height = piece[rows], near[rows]
    total = area = 0.0
    for axis in range(3):
        face = float(np.prod(spacing)) / spacing[axis]
        side = np.diff(inside.view(np.int8), axis=axis)
        total += face * float((np.diff(height, axis=axis) * side).sum()) / step[axis]
        area += face * int(np.count_nonzero(side))
        for end, place in ((0, 0), (1, -1)):
            # Where the block ends but not the image, the surface is no edge.
            if cut[2 * axis + end]:
                area += face * int(np.count_nonzero(np.take(piece, place, axis)))
    if not area:
        return 0.0
    volume = np.count_nonzero(piece) * float(np.prod(spacing))
    # The faces of voxels make a smooth surface larger by half.
    compact = 1.5 * (36 * np.pi * volume**2) ** (1 / 3) / area
    return total / area * min(compact, 1.0) ** ROUND / volume**SMALL


def _inside(
    points: npt.NDArray[np.int64], box: Box, step: Sequence[int], shape: Sequence[int]
) -> npt.NDArray[np.int64]:
    """The points that lie in a block, in its steps."""
    start, stop = np.array(box.start), np.array(box.stop)
    kept = points[((points >= start) & (points < stop)).all(axis=1)] - start
    return np.minimum((kept + np.array(step) // 2) // np.array(step), np.array(shape) - 1)


def _box(
    at: npt.NDArray[np.int64], reach: float, spacing: Sequence[float], shape: Sequence[int]
) -> Box:
    whole = Box((0, 0, 0), (0, 0, 0))
    for point in at:
        whole = whole.union(around(point, [max(1, round(reach / s)) + 1 for s in spacing], shape))
    return whole


def _common(a: Box, b: Box) -> Box:
    start = [max(x, y) for x, y in zip(a.start, b.start, strict=True)]
    stop = [max(s, min(x, y)) for s, x, y in zip(start, a.stop, b.stop, strict=True)]
    return Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))


def _within(
    shape: Sequence[int], at: npt.NDArray[np.int64], reach: float, spacing: Sequence[float]
) -> Mask:
    """Voxels within ``reach`` mm of a click, its 27 neighbours in any case."""
    result = np.zeros(tuple(shape), bool)
    for point in at:
        squares = [
            ((np.arange(n) - p) * s) ** 2 for n, p, s in zip(shape, point, spacing, strict=True)
        ]
        far = squares[0][:, None, None] + squares[1][None, :, None] + squares[2]
        result |= far <= reach**2
        result[around(point, (1, 1, 1), shape).slices] = True
    return result


def _cut_faces(box: Box, shape: Sequence[int]) -> list[bool]:
    """For each side of the block, whether the image goes on there."""
    result: list[bool] = []
    for start, stop, n in zip(box.start, box.stop, shape, strict=True):
        result += [start > 0, stop < n]
    return result
