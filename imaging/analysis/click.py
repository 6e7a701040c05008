"""A click becomes a mask without a network: half-maximum growing and the random walker.

Large, evenly lit things are grown from the click down to half of their contrast; small ones, where
growing leaks, are found by a random walker (Grady 2006, doi 10.1109/TPAMI.2006.233): the chance
that a walker starting in a voxel reaches a "this" click before a "not this" click, when bright
steps are hard to cross. Corrections always go through the walker, with the mask so far as what is
believed where no click is near. Any sequence, bright or dark, any voxel size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from imaging.geometry import Box

__all__ = ["Hints", "classic_mask", "cleaned", "view_box", "walk"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Point = tuple[float, float, float]

#: Edge of the cube around the last click that is looked at (mm).
VIEW_MM = 64.0
#: The walker looks this far around a small thing (mm).
NEAR_MM = 16.0
#: Things larger than this are grown to half their contrast (mm3).
LARGE_MM3 = 300.0
#: How hard a step over the whole local range is to cross (exponent).
STEEPNESS = 600.0
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
#: A region that leaked still counts as large where it is so thick at the click (radius, mm).
THICK_MM = 4.5
#: A region with a smaller part away from its surface has leaked along sheets or threads.
CORE = 0.25
#: When the walker's equations count as solved, and after how many rounds at the latest.
PRECISION, MOST_ROUNDS = 5e-3, 120
#: The walker solves for at most so many voxels; finer grids are walked in larger steps.
MOST_VOXELS = 48_000


@dataclass(frozen=True)
class Hints:
    """What a person has said about the thing meant.

    Parameters
    ----------
    wanted, unwanted : tuple of (k, j, i)
        Voxels that belong to it and that do not, in the order they were given; a scribble is
        many points.
    box : Box or None
        A block that holds the thing.
    """

    wanted: tuple[Point, ...] = ()
    unwanted: tuple[Point, ...] = ()
    box: Box | None = field(default=None)

    def moved(self, start: Sequence[int], shape: Sequence[int]) -> Hints:
        """The same hints in indices of a block that begins at ``start``; what is outside goes."""

        def inside(points: tuple[Point, ...]) -> tuple[Point, ...]:
            shifted = (_point(np.subtract(p, start)) for p in points)
            return tuple(
                p
                for p in shifted
                if all(-0.5 <= x < n - 0.5 for x, n in zip(p, shape, strict=True))
            )

        box = None
        if self.box is not None:
            first, last = (np.subtract(end, start) for end in self.box)
            box = Box(_triple(first), _triple(last)).clipped(shape)
        return Hints(inside(self.wanted), inside(self.unwanted), box)

    @property
    def empty(self) -> bool:
        """True where nothing says what is meant."""
        return not self.wanted and (self.box is None or self.box.empty)


def view_box(
    shape: Sequence[int], spacing: Sequence[float], hints: Hints, last: Point | None = None
) -> Box:
    """The block to look at: a cube of `VIEW_MM` around the last click, and all of a drawn box.

    Parameters
    ----------
    shape, spacing : sequence
        Of the volume, ``(k, j, i)``, mm.
    last : (k, j, i), optional
        The newest click; the middle of the box, or the last "this", where it is not given.
    """
    reach = np.array([VIEW_MM / 2 / s for s in spacing])
    at = last or (hints.wanted[-1] if hints.wanted else None)
    box = hints.box
    if at is None:
        assert box is not None, "nothing says where to look"
        at = _point((np.array(box.start) + np.array(box.stop) - 1) / 2)
    start, stop = np.floor(np.array(at) - reach), np.ceil(np.array(at) + reach) + 1
    view = Box(_triple(start), _triple(stop))
    if box is not None:
        margin = np.array([max(2.0, 6.0 / s) for s in spacing])
        first, past = np.array(box.start) - margin, np.array(box.stop) + margin
        view = view.union(Box(_triple(np.floor(first)), _triple(np.ceil(past))))
    return view.clipped(shape)


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
    if previous is not None and previous.any():
        found = _corrected(values, spacing, hints, previous)
    elif hints.wanted and not hints.unwanted and hints.box is None and len(hints.wanted) == 1:
        found = _from_one_click(values, spacing, hints)
    else:
        found = _corrected(values, spacing, hints, None)
    return cleaned(found, hints)


def cleaned(found: Mask, hints: Hints) -> Mask:
    """Only pieces with a "this" click, and the largest inside a drawn box.

    Clicks have the last word about their own voxel. Cavities are filled where no "not this"
    click lies in them.
    """
    from scipy import ndimage

    result = found.copy()
    wanted, unwanted = _voxels(hints.wanted, found.shape), _voxels(hints.unwanted, found.shape)
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


# --- one click ------------------------------------------------------------------------------


def _from_one_click(values: Array, spacing: Sequence[float], hints: Hints) -> Mask:
    """Small: the walker in a small box. Large: half-maximum growing, or where that leaks the
    walker in the whole block, guided by grey values.
    """
    grown = half_maximum(values, spacing, hints.wanted[0])
    large = np.count_nonzero(grown) * float(np.prod(spacing)) >= LARGE_MM3
    if large and not _leaks(grown, spacing):
        return grown
    if large and _radius(grown, spacing, hints.wanted[0]) >= THICK_MM:
        return _walked_wide(values, spacing, hints, None, Box.whole(values.shape), BELIEF[1])
    return _walked_near(values, spacing, hints)


def _radius(mask: Mask, spacing: Sequence[float], click: Point) -> float:
    """How thick the region is where it was clicked: the largest ball within 2 mm of it, mm."""
    from scipy import ndimage

    at = _voxels((click,), mask.shape)[0]
    box = _around(at, [max(2, round(12.0 / s)) for s in spacing], mask.shape)
    depth = np.asarray(ndimage.distance_transform_edt(mask[box.slices], spacing))
    near = _around(at - box.start, [max(1, round(2.0 / s)) for s in spacing], depth.shape)
    return float(depth[near.slices].max())


def half_maximum(values: Array, spacing: Sequence[float], click: Point) -> Mask:
    """All that is connected with the click and differs from the surroundings by half as much.

    Parameters
    ----------
    values : ndarray, shape (k, j, i)
        Any unit.
    click : (k, j, i)
        Inside the thing; the median of its 27 neighbours is the thing's level.
    """
    at = _voxels((click,), values.shape)[0]
    thing = float(np.median(values[_around(at, (1, 1, 1), values.shape).slices]))
    background = _background(values, spacing, at, thing)
    level = (thing + background) / 2
    above = values > level if thing > background else values < level
    above[tuple(at)] = True
    labels, _ = _labelled(above, diagonal=False)
    return np.asarray(labels == labels[tuple(at)])


def _background(values: Array, spacing: Sequence[float], at: np.ndarray, thing: float) -> float:
    """Level of what is around: the commonest kind of voxel that is not like the thing."""
    reach = [max(2, round(NEAR_MM / s)) for s in spacing]
    near = values[_around(at, reach, values.shape).slices]
    middle = float(np.median(near))
    spread = float(np.median(np.abs(near - middle))) + 1e-6
    if abs(thing - middle) > 2 * spread:
        return middle
    # The thing fills most of what is near: compare with what differs most from it.
    far = near[np.abs(near - thing) > 2 * spread]
    return float(np.median(far)) if far.size > 0.02 * near.size else middle


def _leaks(grown: Mask, spacing: Sequence[float]) -> bool:
    """Whether the region runs out of the block, or is mostly thin threads."""
    faces = sum(
        int(np.count_nonzero(np.take(grown, place, axis)))
        for axis in range(3)
        for place in (0, -1)
        if grown.shape[axis] > 2
    )
    return bool(faces > 0.01 * np.count_nonzero(grown) or _core_share(grown) < CORE)


def _core_share(mask: Mask) -> float:
    """Part of a mask that is not at its surface; little in sheets and threads."""
    return np.count_nonzero(_eroded(mask)) / max(1, np.count_nonzero(mask))


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


def _walked_near(values: Array, spacing: Sequence[float], hints: Hints) -> Mask:
    """Random walker in a small box: the click against the faces and what looks otherwise."""
    at = _voxels(hints.wanted[:1], values.shape)[0]
    reach = [max(2, round(NEAR_MM / s)) for s in spacing]
    box = _around(at, reach, values.shape)
    near = values[box.slices]
    inside = hints.moved(box.start, near.shape)
    thing = float(np.median(near[_around(at - box.start, (1, 1, 1), near.shape).slices]))
    background = _background(near, spacing, at - box.start, thing)
    seeds = _seeds(near.shape, inside)
    _faces(seeds)
    belief = likeness(near, thing, background) * _nearness(near.shape, spacing, inside.wanted)
    found = np.zeros(values.shape, bool)
    found[box.slices] = walk(near, spacing, seeds, belief, BELIEF[0]) > 0.5
    return found


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
    step = _step(box.shape, spacing)
    strides = tuple(slice(None, None, s) for s in step)
    small = near[strides]
    small_spacing = [s * n for s, n in zip(spacing, step, strict=True)]
    coarse = _coarser(inside, step)
    seeds = _seeds(small.shape, coarse)
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
    marks = [Box(_triple(p), _triple(np.add(p, 1))) for p in _rounded(hints)]
    box = hints.box or Box((0, 0, 0), (0, 0, 0))
    for mark in marks:
        box = box.union(mark)
    if previous is not None:
        box = box.union(Box.around(previous))
    margin = np.array([max(2, round(8.0 / s)) for s in spacing])
    start, stop = np.array(box.start) - margin, np.array(box.stop) + margin
    return Box(_triple(start), _triple(stop)).clipped(shape)


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


def _step(shape: Sequence[int], spacing: Sequence[float]) -> tuple[int, int, int]:
    """How many voxels the walker takes at once: the finest axis first."""
    steps = [1, 1, 1]

    def voxels() -> float:
        return float(np.prod([-(-n // s) for n, s in zip(shape, steps, strict=True)]))

    while voxels() > MOST_VOXELS:
        steps[int(np.argmin([s * n for s, n in zip(spacing, steps, strict=True)]))] += 1
    return _triple(steps)


def _coarser(hints: Hints, step: tuple[int, int, int]) -> Hints:
    def scaled(points: tuple[Point, ...]) -> tuple[Point, ...]:
        return tuple(_point(np.array(p) / step) for p in points)

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


def walk(
    values: npt.NDArray[Any],
    spacing: Sequence[float],
    seeds: npt.NDArray[np.int8],
    belief: Array | None = None,
    weight: float | Array = BELIEF[0],
) -> Array:
    """Chance of reaching a "this" seed before a "not this" seed.

    Parameters
    ----------
    values : ndarray, shape (k, j, i)
        About 0 to 1 over the local range.
    spacing : sequence of float
        mm, ``(k, j, i)``: far neighbours are harder to reach.
    seeds : ndarray of int8
        +1 this, -1 not this, 0 not known.
    belief : ndarray, optional
        Chance believed beforehand, 0 to 1.
    weight : float or ndarray
        How strongly it is believed; a step between equal neighbours counts 1.

    Returns
    -------
    ndarray
        float32 in [0, 1]; 0 everywhere where no seed says "this" and nothing is believed.
    """
    from scipy import sparse
    from scipy.sparse.linalg import cg

    if not (seeds > 0).any() and belief is None:
        return np.zeros(values.shape, np.float32)
    edges = _edges(np.asarray(values, np.float32), spacing)
    size = int(np.prod(values.shape))
    total = np.zeros(values.shape, np.float64)
    offsets: list[int] = []
    bands: list[np.ndarray] = []
    for axis, ease in edges.items():
        head, tail = _halves(axis)
        total[head] += ease
        total[tail] += ease
        band = np.zeros(values.shape, np.float64)
        band[head] = -ease
        offsets.append(int(np.prod(values.shape[axis + 1 :])))
        bands.append(band.ravel())
    fixed = 1e3 * (seeds != 0)
    pull = fixed * (seeds > 0)
    if belief is not None:
        total += weight
        pull = pull + weight * belief
    diagonal = (total + fixed + 1e-9).ravel()
    if not bands:
        return (pull / (total + fixed + 1e-9)).astype(np.float32)
    rows = [b[: size - o] for b, o in zip(bands, offsets, strict=True)]
    upper: Any = sparse.diags(rows, np.array(offsets), (size, size))  # type: ignore[arg-type]
    matrix = (upper + upper.T + sparse.diags(diagonal)).tocsr()
    easier = sparse.diags(1 / diagonal).tocsr()
    begin = np.where(seeds != 0, seeds > 0, 0.5 if belief is None else belief).ravel()
    # Solved for what is to be added, so that the tolerance is one of chance and not of seeds.
    rest = pull.ravel() - matrix @ begin
    more, _ = cg(matrix, rest, rtol=PRECISION, maxiter=MOST_ROUNDS, M=easier)
    return np.clip(begin + more, 0, 1).reshape(values.shape).astype(np.float32)


def _edges(values: Array, spacing: Sequence[float]) -> dict[int, np.ndarray]:
    """How easily a walker steps to the next voxel along each axis that has one."""
    finest = min(spacing)
    result = {}
    for axis in range(3):
        if values.shape[axis] == 1:
            continue
        jump = np.diff(values, axis=axis).astype(np.float64)
        result[axis] = np.exp(-STEEPNESS * jump**2) * (finest / spacing[axis]) ** 2 + 1e-5
    return result


def _halves(axis: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    head, tail = [slice(None)] * 3, [slice(None)] * 3
    head[axis], tail[axis] = slice(None, -1), slice(1, None)
    return tuple(head), tuple(tail)


def _seeds(shape: Sequence[int], hints: Hints) -> npt.NDArray[np.int8]:
    seeds = np.zeros(tuple(shape), np.int8)
    for points, sign in ((hints.wanted, 1), (hints.unwanted, -1)):
        at = _voxels(points, shape)
        if len(at):
            seeds[tuple(at.T)] = sign
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


def _voxels(points: Sequence[Point], shape: Sequence[int]) -> npt.NDArray[np.int64]:
    """Nearest voxels, clipped into the array, shape ``(n, 3)``."""
    if not points:
        return np.zeros((0, 3), np.int64)
    nearest = np.floor(np.asarray(points, np.float64) + 0.5).astype(np.int64)
    return np.clip(nearest, 0, np.array(shape) - 1)


def _around(at: npt.ArrayLike, reach: Sequence[int], shape: Sequence[int]) -> Box:
    middle = np.asarray(at)
    box = Box(_triple(middle - reach), _triple(middle + reach + np.array(1)))
    return box.clipped(shape)


def _point(values: npt.ArrayLike) -> Point:
    a, b, c = (float(v) for v in np.asarray(values))
    return a, b, c


def _triple(values: npt.ArrayLike) -> tuple[int, int, int]:
    a, b, c = (int(v) for v in np.asarray(values))
    return a, b, c
