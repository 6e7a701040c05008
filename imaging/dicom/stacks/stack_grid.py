"""The grid of one stack of frames, made from their positions alone, and what is odd with it."""

from __future__ import annotations

import math

import numpy as np

from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.orientation import SLICE_STEP_TOLERANCE_MM
from imaging.series import Frame
from imaging.uneven import SAME_PLACE_MM, mostly_made_up

#: A slice may lie this far from its place on an even grid, in any direction.
OFF_GRID_MM = 2 * SLICE_STEP_TOLERANCE_MM
#: A step this close to a whole multiple of the usual one, in steps, is a gap.
GAP_FRACTION = 0.1
#: What follows from slices at uneven places.
AS_ACQUIRED = "are shown as acquired; other planes, 3D and models need an even volume first."
ONE_BY_ONE = "they are shown one by one."


def normal_of(frame: Frame) -> tuple[float, float, float]:
    """Unit normal of a frame: along a row, cross along a column; LPS."""
    a, b, c, x, y, z = frame.orientation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    return b * z - c * y, c * x - a * z, a * y - b * x


def heights(frames: list[Frame]) -> list[float]:
    """Positions along the normal of the first frame, mm."""
    a, b, c = normal_of(frames[0])
    points = (frame.position or (0.0, 0.0, 0.0) for frame in frames)
    return [a * x + b * y + c * z for x, y, z in points]


def along_normal(frames: list[Frame]) -> list[Frame]:
    """The frames from the bottom up; those at one place, or without any, as they came."""
    if not frames[0].placed:
        return frames
    places = heights(frames)
    return [frames[n] for n in sorted(range(len(frames)), key=lambda n: (places[n], n))]


def levels(frames: list[Frame]) -> list[list[Frame]]:
    """Frames that lie at the same place, bottom first."""
    found: list[list[Frame]] = []
    last = -math.inf
    places = heights(frames)
    for n in sorted(range(len(frames)), key=lambda n: (places[n], n)):
        if places[n] - last > SAME_PLACE_MM:
            found.append([])
        found[-1].append(frames[n])
        last = places[n]
    return found


def points_of(frames: list[Frame]) -> np.ndarray:
    """Positions of the frames, LPS mm, shape (n, 3)."""
    return np.array([frame.position for frame in frames], dtype=float)


def is_regular(frames: list[Frame]) -> bool:
    """True where frames, sorted along their normal, lie at even distances on a straight line."""
    first = frames[0]
    return _slice_step(points_of(frames), np.array(normal_of(first)), first.thickness)[1]


def grid_of(
    frames: list[Frame], frame_of_reference: str
) -> tuple[Geometry | None, bool, tuple[str, ...]]:
    """Geometry, whether it is regular, and sentences about it.

    Parameters
    ----------
    frames : list of Frame
        One per slice, sorted along the normal.
    """
    first = frames[0]
    if not first.placed:
        text = "The header does not say where the images lie; they can only be viewed one by one."
        return None, False, (text,)
    points = points_of(frames)
    step, regular, problems = _slice_step(points, np.array(normal_of(first)), first.thickness)
    affine = np.eye(4)
    row_mm, column_mm = first.spacing or (1.0, 1.0)
    axes = np.asarray(first.orientation, dtype=float)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = step, axes[3:] * row_mm, axes[:3] * column_mm
    affine[:3, 3] = points[0]
    try:
        geometry = Geometry((len(frames), *first.shape), affine, frame_of_reference)
    except BadInput as error:
        return None, False, (*problems, f"{error.what}.")
    if regular and len(frames) > 1 and not geometry.orthogonal:
        problems += ("The slices are shifted against each other; the grid is kept sheared.",)
    return geometry, regular, problems


def _slice_step(
    points: np.ndarray, normal: np.ndarray, thickness: float
) -> tuple[np.ndarray, bool, tuple[str, ...]]:
    """The vector from slice to slice, from positions (n, 3) sorted along the normal."""
    count = len(points)
    fallback = normal * (thickness or 1.0)
    if count == 1:
        return fallback, True, ()
    steps = np.diff(points, axis=0)
    along = steps @ normal
    if along.sum() <= SAME_PLACE_MM:
        return fallback, False, (f"All images lie at the same place; {ONE_BY_ONE}",)
    mean = (points[-1] - points[0]) / (count - 1)
    if along.min() <= SAME_PLACE_MM:
        where = int(along.argmin()) + 1
        text = f"Several images lie at the same place (first at slice {where}) and nothing in the"
        return mean, False, (f"{text} header tells them apart; {ONE_BY_ONE}",)
    even = points[0] + np.arange(count)[:, None] * mean
    step_error = np.linalg.norm(steps - mean, axis=1).max()
    if step_error <= SLICE_STEP_TOLERANCE_MM and np.abs(points - even).max() <= OFF_GRID_MM:
        return mean, True, ()
    text = _uneven_text(along)
    if made_up := mostly_made_up(np.cumsum([0.0, *along])):
        text = text.replace(AS_ACQUIRED, f"are shown as acquired only: {made_up}.")
    return mean, False, (text,)


def _uneven_text(along: np.ndarray) -> str:
    for usual in (float(np.median(along)), float(along.min())):
        ratio = along / usual
        whole = np.round(ratio)
        if np.abs(ratio - whole).max() <= GAP_FRACTION and whole.min() >= 1 and whole.max() > 1:
            places = np.flatnonzero(whole > 1)
            missing = int((whole - 1).sum())
            after = ", ".join(str(place + 1) for place in places[:5])
            more = " and more" if len(places) > 5 else ""
            noun = "slice is" if missing == 1 else "slices are"
            gap = f"{missing} {noun} missing (after slice {after}{more})"
            return f"{gap}; the others {AS_ACQUIRED}"
    low, high = float(along.min()), float(along.max())
    if high - low > SLICE_STEP_TOLERANCE_MM:
        text = f"The distance between slices varies from {low:.2f} to {high:.2f} mm"
        return f"{text}; the slices {AS_ACQUIRED}"
    return f"The slices do not lie on a straight line; they {AS_ACQUIRED}"
