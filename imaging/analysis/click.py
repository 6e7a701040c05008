"""A click becomes a mask without a network: the sharpest outline, mended by a random walker.

What was meant is the outline with the sharpest edge among those that agree with every click
(`imaging.analysis.outlines`), from one voxel up to the whole block. A "not this" click on what has
leaked chooses anew among smaller ones; one that only mends goes through a random walker, with the
mask so far as what is believed where no click is near. Any sequence, bright or dark, any voxel
size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from imaging.analysis.hints import (
    Hints,
    Point,
    around,
    point_of,
    steps_for,
    triple,
    view_box,
    voxels,
)
from imaging.analysis.outlines import sharpest
from imaging.analysis.walker import walk
from imaging.geometry import Box

__all__ = ["Hints", "classic_mask", "cleaned", "view_box", "walk"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

#: A mask has leaked where such a share of it is nearer to "not this" than to what is wanted.
LEAKED = 0.7
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


def classic_mask(
    image: npt.NDArray[Any],
    spacing: Sequence[float],
    hints: Hints,
    previous: Mask | None = None,
) -> Mask:
    """The thing meant, in one block of an image.

    Parameters
    ----------
    image : ndarray, shape (k, j, i)
        Values of the block, see `view_box`; any unit.
    spacing : sequence of float
        mm between voxel centres, ``(k, j, i)``.
    hints : Hints
        In indices of the block; at least one "this" or a box.
    previous : ndarray of bool, optional
        The mask so far, where the hints correct one.

    Returns
    -------
    ndarray of bool
        All false where nothing was found.
    """
    if hints.empty and (previous is None or not previous.any()):
        return np.zeros(image.shape, bool)
    values = _ranged(image)
    if previous is None or not previous.any():
        outline = sharpest(values, spacing, hints) if hints.wanted else None
        found = _corrected(values, spacing, hints, None) if outline is None else outline
    else:
        found = _part_meant(values, spacing, hints, previous)
        if found is None:
            found = _corrected(values, spacing, hints, previous)
    return cleaned(found, hints)


def cleaned(found: Mask, hints: Hints) -> Mask:
    """Only pieces with a "this" click, and the largest inside a drawn box.

    Clicks have the last word about their own voxel. Cavities are filled where no "not this"
    click lies in them.
    """
    from scipy import ndimage

    result = found.copy()
    wanted, unwanted = voxels(hints.wanted, found.shape), voxels(hints.unwanted, found.shape)
    if len(wanted):
        result[tuple(wanted.T)] = True
    if len(unwanted):
        result[tuple(unwanted.T)] = False
    labels, count = _labelled(result)
    if not count:
        return result
    keep = np.unique(labels[tuple(wanted.T)]) if len(wanted) else np.zeros(0, int)
    if not len(wanted) or hints.box is not None:
        inside = labels if hints.box is None else labels[hints.box.slices]
        sizes = np.bincount(inside.ravel(), minlength=count + 1)
        sizes[0] = 0
        keep = np.append(keep, sizes.argmax())
    table = np.zeros(count + 1, bool)
    table[keep[keep > 0]] = True
    result = table[labels]
    box = Box.around(result)
    filled = np.asarray(ndimage.binary_fill_holes(np.pad(result[box.slices], 1)))[1:-1, 1:-1, 1:-1]
    result[box.slices] = filled
    if len(unwanted):
        result[tuple(unwanted.T)] = False
    return result


def _part_meant(
    values: Array, spacing: Sequence[float], hints: Hints, previous: Mask
) -> Mask | None:
    """A smaller outline inside the mask so far, where "not this" clicks say that it leaked.

    It leaked where most of it lies nearer to a "not this" click in it than to what is wanted. None
    where the clicks only mend the mask.
    """
    away = voxels(hints.unwanted, previous.shape)
    away = away[previous[tuple(away.T)]]
    wanted = voxels(hints.wanted, previous.shape)
    if not len(away) or not len(wanted):
        return None
    marked = np.argwhere(previous)
    nearer = _squared(marked, away, spacing) < _squared(marked, wanted, spacing)
    if np.mean(nearer) < LEAKED:
        return None
    outline = sharpest(values, spacing, hints)
    inside = outline is not None and 2 * np.count_nonzero(outline & previous)
    return outline if inside and inside > np.count_nonzero(outline) else None


def _squared(
    voxels_at: npt.NDArray[np.int64], points: npt.NDArray[np.int64], spacing: Sequence[float]
) -> npt.NDArray[np.float64]:
    """Squared distance to the nearest point, mm2."""
    nearest = np.full(len(voxels_at), np.inf)
    for point in points:
        np.minimum(nearest, (((voxels_at - point) * spacing) ** 2).sum(axis=1), out=nearest)
    return nearest


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


# --- corrections ----------------------------------------------------------------------------


def _corrected(
    values: Array, spacing: Sequence[float], hints: Hints, previous: Mask | None
) -> Mask:
    """Walker among all hints, with the mask so far as belief."""
    box = _work_box(values.shape, spacing, hints, previous)
    size = 0.0
    if previous is not None:
        size = np.count_nonzero(previous) * float(np.prod(spacing))
    return _walked_wide(values, spacing, hints, previous, box, BELIEF[int(size >= LARGE_MM3)])


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


# --- the walker -----------------------------------------------------------------------------


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
    for points, sign in ((unwanted, -1), (wanted, 1)):
        if len(points):
            seeds[tuple(points.T)] = sign
    if len(unwanted):
        seeds[tuple(unwanted.T)] = -1
    return seeds


def _faces(seeds: npt.NDArray[np.int8]) -> None:
    """The border of the block is not the thing, but where a hint says so."""
    seeds[_border(seeds.shape) & (seeds == 0)] = -1


def _border(shape: Sequence[int]) -> Mask:
    border = np.ones(tuple(shape), bool)
    border[tuple(slice(1, -1) if n > 2 else slice(None) for n in shape)] = False
    return border


# --- small helpers --------------------------------------------------------------------------


def _ranged(image: npt.NDArray[Any]) -> Array:
    """About 0 to 1 between the 2nd and 98th percentile of the block."""
    values = np.nan_to_num(np.asarray(image, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = (float(v) for v in np.percentile(values[::2, ::2, ::2], (2, 98)))
    if not high > low:
        low, high = float(values.min()), float(values.max())
    return np.clip((values - low) / max(high - low, 1e-9), -0.5, 1.5)


def _labelled(mask: Mask, diagonal: bool = True) -> tuple[npt.NDArray[np.int32], int]:
    from scipy import ndimage

    found: Any = ndimage.label(mask, np.ones((3, 3, 3)) if diagonal else None)
    return found
