"""From the frames of one DICOM series to stacks of slices with a known place in the patient.

One series may hold several echoes, time points, b-values, components, planes and matrices; tags
lie about slice distances. So frames are grouped by what must agree, told apart where they repeat a
place, sorted by their position along the normal, and the grid is made from the positions alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from imaging.dicom.frames import MARKS
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.orientation import SLICE_STEP_TOLERANCE_MM
from imaging.series import Frame

#: Two slices this close along the normal lie at the same place.
SAME_PLACE_MM = 0.01
#: Direction cosines and pixel spacings that differ by less are the same.
SAME_AXES = 1e-3
#: A slice may lie this far from its place on an even grid, in any direction.
OFF_GRID_MM = 2 * SLICE_STEP_TOLERANCE_MM
#: A step this close to a whole multiple of the usual one, in steps, is a gap.
GAP_FRACTION = 0.1


@dataclass(frozen=True)
class Stack:
    """Frames in slice order and what is known about their grid.

    Parameters
    ----------
    frames : tuple of Frame
        Sorted along the normal of the rows and columns, one per slice.
    signature : str
        Words that name the group of frames, the same for the same files.
    label : str
        What tells this stack from the others of its series, for people; may be empty.
    geometry : Geometry or None
    regular : bool
    problems : tuple of str
    """

    frames: tuple[Frame, ...]
    signature: str
    label: str
    geometry: Geometry | None
    regular: bool
    problems: tuple[str, ...]


def split(frames: Iterable[Frame], frame_of_reference: str = "") -> list[Stack]:
    """Split the frames of one series into stacks.

    Parameters
    ----------
    frames : iterable of Frame
        All frames of one Series Instance UID whose places passed
        :func:`imaging.dicom.frames.frame_fault`.
    frame_of_reference : str
        Frame of Reference UID for the grids.

    Returns
    -------
    list of Stack
        In a fixed order that does not depend on the order of ``frames``.
    """
    ordered = sorted(
        frames, key=lambda frame: (frame.order, frame.file, frame.number, frame.tile or ())
    )
    groups = _groups(ordered)
    names = _group_names([group[0] for group in groups])
    stacks = []
    for group, name in zip(groups, names, strict=True):
        parts = _separate(group) if group[0].placed else [(group, "")]
        for number, (part, label) in enumerate(parts):
            signature = _signature(group[0]) + (f"#{number}" if number else "")
            geometry, regular, problems = _grid(part, frame_of_reference)
            label = ", ".join(text for text in (name, label) if text)
            sorted_part = tuple(_along_normal(part))
            stacks.append(Stack(sorted_part, signature, label, geometry, regular, problems))
    return stacks


def _groups(frames: list[Frame]) -> list[list[Frame]]:
    """Frames that may share a grid; axes and spacing are compared with a tolerance."""
    groups: dict[tuple, list[list[Frame]]] = {}
    for frame in frames:
        code = frame.encoding
        key = (frame.shape, frame.kind, frame.placed, code.bits_allocated, code.signed,
               code.samples, code.photometric, frame.tile is None)  # fmt: skip
        rivals = groups.setdefault(key, [])
        for group in rivals:
            if _same_axes(group[0], frame):
                group.append(frame)
                break
        else:
            rivals.append([frame])
    return sorted(
        (group for rivals in groups.values() for group in rivals),
        key=lambda group: (group[0].order, _signature(group[0])),
    )


def _same_axes(a: Frame, b: Frame) -> bool:
    if not a.placed:
        return True
    one = (*(a.orientation or ()), *(a.spacing or ()))
    two = (*(b.orientation or ()), *(b.spacing or ()))
    return all(abs(x - y) <= SAME_AXES for x, y in zip(one, two, strict=True))


def _signature(frame: Frame) -> str:
    axes = [round(value, 1) + 0.0 for value in frame.orientation or ()] if frame.placed else []
    mm = [round(value, 2) for value in frame.spacing or ()] if frame.placed else []
    code = frame.encoding
    make = (code.bits_allocated, code.signed, code.samples, code.photometric)
    return repr((frame.shape, frame.kind, axes, mm, make))


def _group_names(firsts: list[Frame]) -> list[str]:
    """What differs between the groups of a series, in words."""
    if len(firsts) == 1:
        return [""]
    aspects: list[Callable[[Frame], str]] = [
        lambda frame: plane_of(frame.orientation),
        lambda frame: _kind_words(frame, firsts),
        lambda frame: f"{frame.shape[1]}×{frame.shape[0]}",
    ]
    telling = [aspect for aspect in aspects if len({aspect(frame) for frame in firsts}) > 1]
    names = [", ".join(filter(None, (aspect(frame) for aspect in telling))) for frame in firsts]
    if len(set(names)) == len(names):
        return names
    return [f"{name} group {number}".strip() for number, name in enumerate(names, 1)]


_COMPONENTS = {"M": "magnitude", "P": "phase", "R": "real", "I": "imaginary",
               "MAGNITUDE": "magnitude", "PHASE": "phase", "REAL": "real",
               "IMAGINARY": "imaginary", "M_FFE": "magnitude", "PHASE MAP": "phase",
               "P_FFE": "phase"}  # fmt: skip


def _kind_words(frame: Frame, firsts: list[Frame]) -> str:
    common = set.intersection(*(set(other.kind) for other in firsts))
    words = (_COMPONENTS.get(word, word.lower()) for word in frame.kind if word not in common)
    return " ".join(dict.fromkeys(words))


def plane_of(orientation: tuple[float, ...] | None) -> str:
    """``axial``, ``sagittal`` or ``coronal``, with ``oblique`` before it where tilted; or empty."""
    if orientation is None or len(orientation) != 6:
        return ""
    normal = np.abs(np.cross(orientation[:3], orientation[3:]))
    name = ("sagittal", "coronal", "axial")[int(normal.argmax())]
    return name if normal.max() > math.cos(math.radians(5)) else f"oblique {name}"


def _normal(frame: Frame) -> tuple[float, float, float]:
    a, b, c, x, y, z = frame.orientation or (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    return b * z - c * y, c * x - a * z, a * y - b * x


def _heights(frames: list[Frame]) -> list[float]:
    """Positions along the normal of the first frame, mm."""
    a, b, c = _normal(frames[0])
    points = (frame.position or (0.0, 0.0, 0.0) for frame in frames)
    return [a * x + b * y + c * z for x, y, z in points]


def _along_normal(frames: list[Frame]) -> list[Frame]:
    if not frames[0].placed:
        return frames
    heights = _heights(frames)
    return [frames[n] for n in sorted(range(len(frames)), key=lambda n: (heights[n], n))]


def _levels(frames: list[Frame]) -> list[list[Frame]]:
    """Frames that lie at the same place, bottom first."""
    levels: list[list[Frame]] = []
    last = -math.inf
    heights = _heights(frames)
    for n in sorted(range(len(frames)), key=lambda n: (heights[n], n)):
        if heights[n] - last > SAME_PLACE_MM:
            levels.append([])
        levels[-1].append(frames[n])
        last = heights[n]
    return levels


def _separate(frames: list[Frame]) -> list[tuple[list[Frame], str]]:
    """Tell repeats of the same places apart; each part comes with its label."""
    levels = _levels(frames)
    repeats = max(map(len, levels))
    if repeats == 1 or len(levels) == 1:
        return [(frames, "")]
    for column, mark in enumerate(MARKS):
        parts = _by_mark(frames, column)
        if not 2 <= len(parts) <= repeats:
            continue
        if max(len(level) for part in parts.values() for level in _levels(part)) >= repeats:
            continue
        return [
            (finer, ", ".join(filter(None, (_mark_text(mark, value), label))))
            for value, part in parts.items()
            for finer, label in _separate(part)
        ]
    if all(len(level) == repeats for level in levels):
        return [([level[n] for level in levels], f"{n + 1} of {repeats}") for n in range(repeats)]
    return [(frames, "")]


def _by_mark(frames: list[Frame], column: int) -> dict[float | None, list[Frame]]:
    parts: dict[float | None, list[Frame]] = {}
    for frame in frames:
        value = frame.marks[column] if column < len(frame.marks) else None
        parts.setdefault(value, []).append(frame)
    return dict(sorted(parts.items(), key=lambda item: (item[0] is not None, item[0] or 0.0)))


def _mark_text(mark: str, value: float | None) -> str:
    if value is None:
        return f"no {mark}"
    if mark == "direction":
        return ""
    unit = {"echo time": " ms", "trigger time": " ms", "inversion time": " ms"}.get(mark, "")
    name = {"echo time": "TE", "inversion time": "TI", "b-value": "b"}.get(mark, mark)
    return f"{name} {value:g}{unit}"


def _grid(
    frames: list[Frame], frame_of_reference: str
) -> tuple[Geometry | None, bool, tuple[str, ...]]:
    """Geometry, whether it is regular, and sentences about it."""
    first = frames[0]
    if not first.placed:
        text = "The header does not say where the images lie; they can only be viewed one by one."
        return None, False, (text,)
    frames = _along_normal(frames)
    points = np.array([frame.position for frame in frames], dtype=float)
    step, regular, problems = _slice_step(points, np.array(_normal(first)), first.thickness)
    affine = np.eye(4)
    row_mm, column_mm = first.spacing or (1.0, 1.0)
    axes = np.asarray(first.orientation, dtype=float)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = step, axes[3:] * row_mm, axes[:3] * column_mm
    affine[:3, 3] = points[0]
    try:
        geometry = Geometry((len(frames), *first.shape), affine, frame_of_reference)
    except BadInput as error:
        return None, False, (*problems, str(error))
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
        return fallback, False, ("All images lie at the same place; they are shown one by one.",)
    mean = (points[-1] - points[0]) / (count - 1)
    if along.min() <= SAME_PLACE_MM:
        where = int(along.argmin()) + 1
        text = f"Several images lie at the same place (first at slice {where}) and nothing in the"
        return mean, False, (f"{text} header tells them apart.",)
    even = points[0] + np.arange(count)[:, None] * mean
    step_error = np.linalg.norm(steps - mean, axis=1).max()
    if step_error <= SLICE_STEP_TOLERANCE_MM and np.abs(points - even).max() <= OFF_GRID_MM:
        return mean, True, ()
    return mean, False, (_uneven_text(along),)


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
            return (
                f"{missing} {noun} missing (after slice {after}{more}); "
                "places and distances across the gap are wrong."
            )
    low, high = float(along.min()), float(along.max())
    if high - low > SLICE_STEP_TOLERANCE_MM:
        return (
            f"The distance between slices varies from {low:.2f} to {high:.2f} mm; "
            "places and distances across slices are only approximate."
        )
    return "The slices do not lie on a straight line; their places are only approximate."
