"""A mask mended by clicks: the random walker with what is believed beforehand.

"This" and "not this" clicks are seeds; where none is near, grey values and the mask so far are
believed. Only the block around clicks and mask is solved, in larger steps where it is large.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from imaging.analysis.hints import Hints, Point, around, point_of, steps_for, triple, voxels
from imaging.analysis.walker import walk
from imaging.geometry import Box

__all__ = ["mended"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

#: Corrections of things larger than this believe more in grey values and the mask (mm3).
LARGE_MM3 = 300.0
#: How strongly grey value and mask so far are believed, where a free step counts 1: of small
#: things, and of those larger than `LARGE_MM3`.
BELIEF = (0.01, 0.15)
#: How far from a click a grey value alone says something about a small thing (sigma, mm).
TRUST_MM = 6.0
#: So much of the belief a correcting click takes away where it lies.
CLICK_SHARE = 0.97
#: How fast belief changes midway between the levels of the thing and its surroundings.
SHARPNESS = 8.0
#: Part of the belief that the mask so far has against the grey values.
MASK_SHARE = 0.3
#: The walker solves for at most so many voxels; finer grids are walked in larger steps.
MOST_VOXELS = 48_000


def mended(values: Array, spacing: Sequence[float], hints: Hints, previous: Mask | None) -> Mask:
    """Random walker among all hints, with the mask so far as what is believed.

    Parameters
    ----------
    values : ndarray, shape (k, j, i)
        About 0 to 1 over the local range.
    spacing : sequence of float
        mm, ``(k, j, i)``.
    hints : Hints
    previous : ndarray of bool or None
        The mask so far.

    Returns
    -------
    ndarray of bool
    """
    box = _work_box(values.shape, spacing, hints, previous)
    size = 0.0
    if previous is not None:
        size = np.count_nonzero(previous) * float(np.prod(spacing))
    return _walked_wide(values, spacing, hints, previous, box, BELIEF[int(size >= LARGE_MM3)])


def _eroded(mask: Mask) -> Mask:
    """Without its surface; slices alone or in pairs are taken as going on above and below."""
    from scipy import ndimage

    cross = ndimage.generate_binary_structure(3, 1)
    for axis, n in enumerate(mask.shape):
        if n < 3:
            rows: list[int | slice] = [slice(None)] * 3
            for side in (0, 2):
                rows[axis] = side
                cross[tuple(rows)] = False
    return np.asarray(ndimage.binary_erosion(mask, cross), bool)


def _nearness(shape: Sequence[int], spacing: Sequence[float], points: Sequence[Point]) -> Array:
    """1 at a click, falling with the distance from it."""
    result = np.zeros(tuple(shape), np.float32)
    for point in points:
        bells = [
            np.exp(-0.5 * ((np.arange(n) - p) * s / TRUST_MM) ** 2)
            for n, p, s in zip(shape, point, spacing, strict=True)
        ]
        bell = bells[0][:, None, None] * bells[1][None, :, None] * bells[2]
        np.maximum(result, bell, out=result, casting="same_kind")
    return result


def likeness(values: Array, thing: float, background: float) -> Array:
    """Chance that a voxel belongs to the thing by its value alone: a half midway."""
    if abs(thing - background) < 1e-6:
        return np.full(values.shape, 0.5, np.float32)
    place = (values - background) / (thing - background)
    return (1 / (1 + np.exp(-SHARPNESS * np.clip(place - 0.5, -2, 2)))).astype(np.float32)


def _walked_wide(
    values: Array,
    spacing: Sequence[float],
    hints: Hints,
    previous: Mask | None,
    box: Box,
    weight: float,
) -> Mask:
    """The walker in a block, in steps where that is large."""
    inside = hints.moved(box.start, box.shape)
    near = values[box.slices]
    step = steps_for(box.shape, spacing, MOST_VOXELS)
    strides = tuple(slice(None, None, s) for s in step)
    small = near[strides]
    small_spacing = [s * n for s, n in zip(spacing, step, strict=True)]
    coarse = _coarser(inside, step)
    seeds = _seeds(small, coarse)
    if inside.box is not None:
        outside = np.ones(near.shape, bool)
        outside[inside.box.slices] = False
        seeds[outside[strides] & (seeds == 0)] = -1
        if not inside.wanted and previous is None:
            seeds[_likely_core(small, seeds)] = 1
    elif previous is None:
        _faces(seeds)
    before = None if previous is None else previous[box.slices][strides]
    belief = _belief(small, small_spacing, seeds, before)
    if weight == BELIEF[0] and belief is not None:
        trust = _nearness(small.shape, small_spacing, coarse.wanted)
        belief = belief * (trust if before is None else np.maximum(trust, before))
    # Near a click the click counts, and not what was believed before it.
    near_hint = _nearness(small.shape, small_spacing, (*coarse.wanted, *coarse.unwanted))
    weights = weight if previous is None else weight * (1 - CLICK_SHARE * near_hint)
    chance = walk(small, small_spacing, seeds, belief, weights)
    for axis, n in enumerate(step):
        if n > 1:
            chance = _stretched(chance, axis, n, near.shape[axis])
    found = np.zeros(values.shape, bool) if previous is None else previous.copy()
    found[box.slices] = chance > 0.5
    return found


def _belief(
    values: Array, spacing: Sequence[float], seeds: npt.NDArray[np.int8], before: Mask | None
) -> Array | None:
    """Chance by grey value, from what is known to belong and what lies around, and mask so far."""
    from scipy import ndimage

    known = seeds > 0
    core = known if before is None else known | _eroded(before)
    if not core.any():
        return None if before is None else before.astype(np.float32)
    near = np.asarray(ndimage.binary_dilation(known), bool) if before is None else core
    thing = float(np.median(values[near]))
    marked = core if before is None else before | known
    reach = max(1, round(4.0 / min(spacing)))
    inner = np.asarray(ndimage.binary_dilation(marked), bool)
    ring = np.asarray(ndimage.binary_dilation(marked, iterations=reach + 1), bool) & ~inner
    around = ring | ((seeds < 0) & ~_border(seeds.shape))
    if not around.any():
        around = ~marked
    background = float(np.median(values[around])) if around.any() else thing
    by_value = likeness(values, thing, background)
    if before is None:
        return by_value
    return (MASK_SHARE * before + (1 - MASK_SHARE) * by_value).astype(np.float32)


def _work_box(
    shape: Sequence[int], spacing: Sequence[float], hints: Hints, previous: Mask | None
) -> Box:
    """Around the newest hint, as far as the mask so far reaches, within reason."""
    marks = [Box(triple(p), triple(np.add(p, 1))) for p in _rounded(hints)]
    box = hints.box or Box((0, 0, 0), (0, 0, 0))
    for mark in marks:
        box = box.union(mark)
    if previous is not None:
        box = box.union(Box.around(previous))
    margin = np.array([max(2, round(8.0 / s)) for s in spacing])
    start, stop = np.array(box.start) - margin, np.array(box.stop) + margin
    return Box(triple(start), triple(stop)).clipped(shape)


def _rounded(hints: Hints) -> list[np.ndarray]:
    return [np.floor(np.array(p) + 0.5) for p in (*hints.wanted, *hints.unwanted)]


def _likely_core(values: Array, seeds: npt.NDArray[np.int8]) -> Mask:
    """Voxels deep in a drawn box that differ most from what is around the box."""
    inner = seeds == 0
    if not inner.any() or not (~inner).any():
        return np.zeros(values.shape, bool)
    around = float(np.median(values[~inner]))
    middle = Box.around(inner)
    core = np.zeros(values.shape, bool)
    quarter = [max(0, n // 4) for n in middle.shape]
    core[
        tuple(
            slice(a + q, max(a + q + 1, b - q))
            for a, b, q in zip(middle.start, middle.stop, quarter, strict=True)
        )
    ] = True
    unlike = np.abs(values - around)
    return np.asarray(core & (unlike >= np.quantile(unlike[core], 0.7)))


def _coarser(hints: Hints, step: tuple[int, int, int]) -> Hints:
    def scaled(points: tuple[Point, ...]) -> tuple[Point, ...]:
        return tuple(point_of(np.array(p) / step) for p in points)

    return Hints(scaled(hints.wanted), scaled(hints.unwanted))


def _stretched(array: Array, axis: int, step: int, size: int) -> Array:
    """Linear between values that stand every ``step`` voxels, up to ``size`` of them."""
    at = np.minimum(np.arange(size) / step, array.shape[axis] - 1)
    first = np.minimum(at.astype(int), max(array.shape[axis] - 2, 0))
    share = (at - first).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    second = np.minimum(first + 1, array.shape[axis] - 1)
    result = np.take(array, first, axis) * (1 - share) + np.take(array, second, axis) * share
    return np.asarray(result, np.float32)


def _seeds(values: Array, hints: Hints) -> npt.NDArray[np.int8]:
    """+1 and -1 where clicks lie. A "not this" click holds for its neighbours too where these are
    more like it than like what is wanted: alone, noise would fence it in.
    """
    seeds = np.zeros(values.shape, np.int8)
    wanted, unwanted = voxels(hints.wanted, seeds.shape), voxels(hints.unwanted, seeds.shape)
    level = float(np.median(values[tuple(wanted.T)])) if len(wanted) else None
    for point in unwanted:
        near = around(point, (1, 1, 1), seeds.shape).slices
        own = float(np.median(values[near]))
        like = np.ones(values[near].shape, bool)
        if level is not None:
            closest = float(np.abs(wanted - point).max(axis=1).min())
            like = np.abs(values[near] - own) < np.abs(values[near] - level)
            like |= closest > 3
        seeds[near] = np.where(like, -1, seeds[near])
    for points, sign in ((wanted, 1), (unwanted, -1)):
        seeds[tuple(points.T)] = sign
    return seeds


def _faces(seeds: npt.NDArray[np.int8]) -> None:
    """The border of the block is not the thing, but where a hint says so."""
    seeds[_border(seeds.shape) & (seeds == 0)] = -1


def _border(shape: Sequence[int]) -> Mask:
    border = np.ones(tuple(shape), bool)
    border[tuple(slice(1, -1) if n > 2 else slice(None) for n in shape)] = False
    return border
