"""An even volume from slices at uneven places, or from a sheared stack; on request only.

Slices that lie on the new grid already are taken over as they are; between two slices values are
interpolated along the normal, and slices in a gap are made up and named.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.uneven import (
    GAP_STEPS,
    SAME_PLACE_MM,
    mostly_made_up,
    slice_normal,
    true_frame,
    usual_step,
)
from imaging.volume import Volume

#: More slices than this are not made: a lone slice far away would be the only reason.
MAX_SLICES = 2000
#: A share of a voxel or of a step that is not worth an interpolation.
_NOTHING = 1e-3


class _Mix(NamedTuple):
    """A new slice: two old ones, the share of the second, and whether it lies on one of them."""

    low: int
    high: int
    share: float
    exact: bool


def even_step(volume: Volume) -> float:
    """The step an even volume would have: the usual distance of slices along the normal, mm."""
    return usual_step(_places(volume) @ slice_normal(volume.geometry))


def why_not_even(volume: Volume) -> str:
    """Why no even volume can or need be made; empty where one can."""
    if not volume.placed:
        return "The header does not say where the slices lie, so they make no volume"
    if volume.even and volume.geometry.orthogonal:
        return "The slices of this image lie at even distances already"
    heights = np.sort(_places(volume) @ slice_normal(volume.geometry))
    if np.count_nonzero(np.diff(heights) > SAME_PLACE_MM) < 1:
        return "All slices lie at the same place, so they make no volume"
    return mostly_made_up(heights)


def even_volume(volume: Volume, step_mm: float | None = None) -> Volume:
    """The same image with slices at even distances and perpendicular axes.

    Parameters
    ----------
    volume : Volume
        With uneven places, or with a sheared grid. Of a 4D series the image that is chosen.
    step_mm : float, optional
        Distance of the new slices; the usual one of the old slices by default.

    Returns
    -------
    Volume
        A new item, ``interpolated``, with the number type of the old one. Its notes say what was
        made and which slices lie in a gap. It refers to no single images of its source: its slices
        are none of them.

    Raises
    ------
    BadInput
        Where nobody knows where the slices lie, where there is nothing to even out, where more
        than a third of the slices would be made up, or where the volume would be absurdly long.
    """
    if reason := why_not_even(volume):
        advice = "Read the slices one by one" if "made up" in reason else ""
        raise BadInput(reason, volume.name, advice)
    normal, places = slice_normal(volume.geometry), _places(volume)
    order, left_out = _distinct(places @ normal)
    heights = places[order] @ normal
    step = float(step_mm or usual_step(heights))
    if not step > 0:
        raise BadInput("The distance between slices must be above zero", volume.name)
    if heights[-1] - heights[0] > step * MAX_SLICES:
        raise BadInput(f"An even volume would have more than {MAX_SLICES} slices", volume.name)
    mixes = _mixes(heights, step)
    shifts, geometry = _grid(volume, places[order], heights, step, len(mixes), normal)
    voxels = _filled(volume, order, shifts, geometry, mixes)
    name = f"{volume.title} (even, {step:.1f} mm)"
    return replace(
        volume,
        id=f"{volume.id}-even-{step:.3f}-{volume.repeat}",
        name=name,
        voxels=voxels,
        geometry=geometry,
        source=replace(volume.source, instance_uids=(), frames=()),
        interpolated=True,
        notes=(*_notes(volume, heights, step, mixes, shifts, left_out), *_lossy(volume)),
        repeats=None,
        places=None,
        even_mm=step,
        drawings=None,
        made_slices=_what_each_is(heights, mixes, shifts),
    )


def _places(volume: Volume) -> np.ndarray:
    """Centre of the first voxel of each slice, LPS mm, shape (k, 3)."""
    if volume.places is not None:
        return volume.places
    count = volume.geometry.shape[0]
    return volume.geometry.world([(k, 0, 0) for k in range(count)])


def _distinct(heights: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Slices from the bottom up, the first of those at one place; and the ones left out."""
    order = np.argsort(heights, kind="stable")
    kept, left_out = [int(order[0])], []
    for n in order[1:]:
        if heights[n] - heights[kept[-1]] > SAME_PLACE_MM:
            kept.append(int(n))
        else:
            left_out.append(int(n))
    return np.array(kept), left_out


def _mixes(heights: np.ndarray, step: float) -> list[_Mix]:
    count = int(np.floor((heights[-1] - heights[0]) / step + 0.5)) + 1
    made = []
    for height in heights[0] + step * np.arange(count):
        low = int(np.clip(np.searchsorted(heights, height, "right") - 1, 0, len(heights) - 2))
        share = (height - heights[low]) / (heights[low + 1] - heights[low])
        near = SAME_PLACE_MM / (heights[low + 1] - heights[low])
        # Past the end, by less than half a step, the last slice speaks for its own thickness.
        exact = share < near or abs(share - 1.0) < near
        share = 0.0 if share < near else 1.0 if share > 1.0 - near else float(share)
        made.append(_Mix(low, low + 1, share, exact))
    return made


def _grid(
    volume: Volume,
    places: np.ndarray,
    heights: np.ndarray,
    step: float,
    count: int,
    normal: np.ndarray,
) -> tuple[np.ndarray, Geometry]:
    """The new grid, and how many voxels (j, i) each old slice is shifted against it."""
    old = volume.geometry
    axes, spacing = old.directions[:, 1:3], np.asarray(old.spacing[1:])
    aside = (places - heights[:, None] * normal) @ axes / spacing
    first = aside.min(axis=0)
    first = np.where(aside.max(axis=0) - first < _NOTHING, aside[0], first)
    shifts = aside - first
    shifts[np.abs(shifts) < _NOTHING] = 0.0
    extra = np.ceil(shifts.max(axis=0) - _NOTHING).astype(int)
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1:3] = normal * step, axes * spacing
    affine[:3, 3] = heights[0] * normal + axes @ (first * spacing)
    shape = (count, old.shape[1] + int(extra[0]), old.shape[2] + int(extra[1]))
    return shifts, Geometry(shape, affine, true_frame(old))


def _filled(
    volume: Volume,
    order: np.ndarray,
    shifts: np.ndarray,
    geometry: Geometry,
    mixes: list[_Mix],
) -> np.ndarray:
    """The voxels of the new grid; two old slices are held at a time."""
    dtype = volume.voxels.dtype
    made = np.empty(geometry.shape, dtype)
    background = _background(volume)
    known: dict[int, np.ndarray] = {}

    def old(n: int) -> np.ndarray:
        if n not in known:
            for far in [k for k in known if abs(k - n) > 1]:
                del known[far]
            known[n] = _shifted(volume.voxels[order[n]], shifts[n], geometry.shape[1:], background)
        return known[n]

    for k, mix in enumerate(mixes):
        if mix.share in (0.0, 1.0):
            value = old(mix.low if mix.share == 0.0 else mix.high)
        else:
            value = old(mix.low) + np.float32(mix.share) * (
                old(mix.high).astype(np.float32) - old(mix.low)
            )
        made[k] = np.rint(value) if dtype.kind in "iu" and value.dtype.kind == "f" else value
    return made


def _background(volume: Volume) -> float:
    """What stands where a shifted slice does not reach: the lowest value."""
    return float(volume.voxels.min() if volume.slope >= 0 else volume.voxels.max())


def _shifted(
    slice_: np.ndarray, shift: np.ndarray, shape: tuple[int, int], background: float
) -> np.ndarray:
    """A slice on a larger one, moved by a share of voxels along (j, i)."""
    if tuple(slice_.shape) == tuple(shape) and not shift.any():
        return slice_
    from scipy import ndimage

    wide = np.full(shape, background, np.float32)
    wide[: slice_.shape[0], : slice_.shape[1]] = slice_
    if not shift.any():
        return wide
    return ndimage.shift(wide, shift, order=1, mode="constant", cval=background)


def _what_each_is(heights: np.ndarray, mixes: list[_Mix], shifts: np.ndarray) -> tuple[str, ...]:
    """What every new slice is: empty for a copy of an old one."""
    moved = np.abs(shifts - np.rint(shifts)).max(axis=1) > _NOTHING
    wide = GAP_STEPS * usual_step(heights)
    words = []
    for mix in mixes:
        length = float(heights[mix.high] - heights[mix.low])
        if 0.0 < mix.share < 1.0 and length > wide:
            words.append(f"made up (gap of {length:.3g} mm)")
        elif not mix.exact or moved[mix.low + (mix.share == 1.0)]:
            words.append("interpolated")
        else:
            words.append("")
    return tuple(words)


def _notes(
    volume: Volume,
    heights: np.ndarray,
    step: float,
    mixes: list[_Mix],
    shifts: np.ndarray,
    left_out: list[int],
) -> list[str]:
    """What was made from what."""
    was = "sheared" if volume.even else "uneven"
    mixed = sum(bool(words) for words in _what_each_is(heights, mixes, shifts))
    notes = [
        f"Made from the {len(heights)} {was} slices of {volume.title}: {len(mixes)} slices every "
        f"{step:.2f} mm, {mixed} of them interpolated."
    ]
    wide = GAP_STEPS * usual_step(heights)
    gaps: dict[int, list[int]] = {}
    for k, mix in enumerate(mixes):
        if 0.0 < mix.share < 1.0 and heights[mix.high] - heights[mix.low] > wide:
            gaps.setdefault(mix.low, []).append(k)
    for low, made in list(gaps.items())[:5]:
        length = heights[low + 1] - heights[low]
        across = f"made up across a gap of {length:.1f} mm"
        notes.append(f"{_span(made)} {across}: nothing was seen there.")
    if len(gaps) > 5:
        notes.append(f"{len(gaps)} gaps in all were filled like this.")
    if left_out:
        named = ", ".join(str(k + 1) for k in left_out[:5])
        notes.append(f"Slices that lie at the place of another were left out: {named}.")
    return notes


def _span(made: list[int]) -> str:
    if len(made) == 1:
        return f"Slice {made[0] + 1} is"
    return f"Slices {made[0] + 1} to {made[-1] + 1} are"


def _lossy(volume: Volume) -> list[str]:
    """What was said of the pixels themselves still holds."""
    return [note for note in volume.notes if "lossy" in note.lower()]
