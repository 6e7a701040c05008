"""Images that lie at the same places: told apart, and joined to one 4D series.

Echoes, b-values, directions, time points and unlabelled repeats share a grid and differ in one
mark of the header. An image that is not whole never joins the others.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from imaging.dicom.stacks.frames import MARKS
from imaging.dicom.stacks.stack_grid import along_normal, is_regular, levels, points_of
from imaging.orientation import SLICE_STEP_TOLERANCE_MM
from imaging.series import MIN_VOLUME_SLICES, Frame

#: What images without any telling mark differ in.
UNLABELLED = "image"
_UNITS = {"echo time": " ms", "trigger time": " ms", "inversion time": " ms"}
_NAMES = {"echo time": "TE", "inversion time": "TI", "b-value": "b", "trigger time": "trigger"}


@dataclass(frozen=True)
class Image:
    """The frames of one image of a series and what tells it from the others.

    Parameters
    ----------
    frames : list of Frame
        Sorted along the normal.
    words : tuple of (str, str)
        Mark and value in words, ``("echo time", "TE 9.5 ms")``, outermost first.
    """

    frames: list[Frame]
    words: tuple[tuple[str, str], ...] = ()

    @property
    def label(self) -> str:
        """``"b 1000 · direction 2"``; empty for the only image of a series."""
        return " · ".join(text for _, text in self.words if text)

    def within(self, mark: str, text: str) -> Image:
        """The same image as a part of something that another mark tells apart."""
        return Image(self.frames, ((mark, text), *self.words))


def images_of(frames: list[Frame]) -> list[Image]:
    """Tell the images of a group of placed frames apart.

    Parameters
    ----------
    frames : list of Frame
        With the same axes, in acquisition order.

    Returns
    -------
    list of Image
        At least one; an image in which places are still met twice could not be told apart.
    """
    places = levels(frames)
    repeats = max(map(len, places))
    if len(places) == 1:
        return _at_one_place(frames)
    if repeats == 1:
        return _shifted(frames) or [Image(along_normal(frames))]
    for mark in MARKS:
        parts = _by_mark(frames, mark)
        if not 2 <= len(parts) <= repeats:
            continue
        if max(len(level) for part in parts.values() for level in levels(part)) < repeats:
            return _split(mark, parts)
    return _dealt(places, repeats) or [Image(along_normal(frames))]


def _at_one_place(frames: list[Frame]) -> list[Image]:
    """Echoes or time points of one slice, where the marks tell all of them apart; else a pile."""
    images = _single_slices(frames)
    return images if all(len(image.frames) == 1 for image in images) else [Image(frames)]


def _single_slices(frames: list[Frame]) -> list[Image]:
    for mark in MARKS if len(frames) > 1 else ():
        parts = _by_mark(frames, mark)
        if len(parts) > 1:
            return [
                image.within(mark, _mark_text(mark, value, number))
                for number, (value, part) in enumerate(parts.items(), 1)
                for image in _single_slices(part)
            ]
    return [Image(frames)]


def _split(mark: str, parts: dict[float | None, list[Frame]]) -> list[Image]:
    return [
        image.within(mark, _mark_text(mark, value, number))
        for number, (value, part) in enumerate(parts.items(), 1)
        for image in images_of(part)
    ]


def _by_mark(frames: list[Frame], mark: str) -> dict[float | None, list[Frame]]:
    """Frames by the value of a mark, none first; directions in the order of acquisition."""
    column = MARKS.index(mark)
    parts: dict[float | None, list[Frame]] = {}
    for frame in frames:
        value = frame.marks[column] if column < len(frame.marks) else None
        parts.setdefault(value, []).append(frame)

    def place(item: tuple[float | None, list[Frame]]) -> tuple[bool, float]:
        value = item[0]
        return value is not None, 0.0 if value is None or mark == "direction" else value

    return dict(sorted(parts.items(), key=place))


def _mark_text(mark: str, value: float | None, number: int) -> str:
    if value is None:
        return f"no {mark}"
    if mark == "direction":
        return f"direction {number}"
    return f"{_NAMES.get(mark, mark)} {value:g}{_UNITS.get(mark, '')}"


def _dealt(places: list[list[Frame]], repeats: int) -> list[Image]:
    """Images that nothing tells apart, dealt out in the order of acquisition.

    Where the last one is not whole (a run that was stopped) the order must prove which frames it
    holds; empty where it does not.
    """
    whole = min(map(len, places))
    images = [[level[n] for level in places] for n in range(whole)]
    if whole < repeats:
        rest = [frame for level in places for frame in level[whole:]]
        if repeats != whole + 1 or not _one_after_the_other([*images, rest]):
            return []
        images.append(rest)
    return [Image(image, ((UNLABELLED, f"image {n}"),)) for n, image in enumerate(images, 1)]


def _one_after_the_other(images: list[list[Frame]]) -> bool:
    spans = [(min(f.order for f in image), max(f.order for f in image)) for image in images]
    return all(a[1] < b[0] for a, b in pairwise(spans))


def _shifted(frames: list[Frame]) -> list[Image]:
    """Images that moved a little from one to the next, so that no place is met twice.

    They are told apart only where every one of them is a regular stack of its own and all of them
    together are not.
    """
    ordered = along_normal(frames)
    if len(frames) < 2 * MIN_VOLUME_SLICES or is_regular(ordered):
        return []
    for mark in MARKS:
        parts = {value: along_normal(part) for value, part in _by_mark(frames, mark).items()}
        counts = {len(part) for part in parts.values()}
        if len(parts) < 2 or len(counts) != 1 or min(counts) < MIN_VOLUME_SLICES:
            continue
        if all(is_regular(part) for part in parts.values()) and _overlap(parts.values()):
            return [
                Image(part, ((mark, _mark_text(mark, value, number)),))
                for number, (value, part) in enumerate(parts.items(), 1)
            ]
    return []


def _overlap(parts: Iterable[list[Frame]]) -> bool:
    """True where every part reaches over the middle of the first one."""
    ends = [(part[0].position, part[-1].position) for part in parts]
    low, high = (np.array([end[n] for end in ends], dtype=float) for n in (0, 1))
    way = high[0] - low[0]
    middle = (low[0] + high[0]) / 2.0 @ way
    return bool((low @ way <= middle).all() and (high @ way >= middle).all())


def joined(images: list[Image]) -> list[list[Image]]:
    """Images on the same grid together, the largest group first."""
    groups: list[list[Image]] = []
    for image in images:
        for group in groups:
            if _same_places(group[0].frames, image.frames):
                group.append(image)
                break
        else:
            groups.append([image])
    return sorted(groups, key=lambda group: -len(group) * len(group[0].frames))


def _same_places(one: list[Frame], other: list[Frame]) -> bool:
    if len(one) != len(other):
        return False
    return bool(np.abs(points_of(one) - points_of(other)).max() <= SLICE_STEP_TOLERANCE_MM)


def axis_of(images: list[Image]) -> str:
    """What tells the images apart, in words: ``"b-value and direction"``."""
    names = dict.fromkeys(mark for image in images for mark, _ in image.words)
    telling = [name for name in names if len({dict(image.words).get(name) for image in images}) > 1]
    return " and ".join(telling) or UNLABELLED


def labels_of(images: list[Image]) -> tuple[str, ...]:
    """One label per image, without what all of them share; no two are equal."""
    first = images[0].words
    shared = {word for word in first if all(word in image.words for image in images)}
    labels = [" · ".join(t for w in i.words if w not in shared and (t := w[1])) for i in images]
    seen: dict[str, int] = {}
    for n, label in enumerate(labels):
        seen[label] = seen.get(label, 0) + 1
        if seen[label] > 1 or not label:
            labels[n] = f"{label} ({seen[label]})".strip() if label else f"image {n + 1}"
    return tuple(labels)
