"""From the frames of one DICOM series to stacks of slices with a known place in the patient.

One series may hold several echoes, time points, b-values, components, planes and matrices; tags
lie about slice distances. So frames are grouped by what must agree, told apart where they repeat a
place (:mod:`imaging.dicom.stacks.repeats`), sorted by their position along the normal, and the grid
is made from the positions alone (:mod:`imaging.dicom.stacks.stack_grid`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from imaging.dicom.stacks.repeats import Image, axis_of, images_of, joined, labels_of
from imaging.dicom.stacks.stack_grid import grid_of
from imaging.geometry import Geometry
from imaging.series import Frame

#: Direction cosines and pixel spacings that differ by less are the same.
SAME_AXES = 1e-3
#: Up to so many images are named one by one.
_NAMED = 8


@dataclass(frozen=True)
class Stack:
    """Frames in slice order and what is known about their grid.

    Parameters
    ----------
    frames : tuple of Frame
        Sorted along the normal of the rows and columns, one per slice; where there are several
        images on the grid, all slices of the first, then all of the second, and so on.
    signature : str
        Words that name the group of frames, the same for the same files.
    label : str
        What tells this stack from the others of its series, for people; may be empty.
    geometry : Geometry or None
    regular : bool
    problems : tuple of str
    repeat_axis : str
        What tells the images apart; empty where there is only one.
    repeats : tuple of str
        A label for each image; empty where there is only one.
    whole : bool
        False for an image that lacks slices which others of its series have: more may come while
        files are still being read.
    """

    frames: tuple[Frame, ...]
    signature: str
    label: str
    geometry: Geometry | None
    regular: bool
    problems: tuple[str, ...]
    repeat_axis: str = ""
    repeats: tuple[str, ...] = ()
    whole: bool = True


def split(frames: Iterable[Frame], frame_of_reference: str = "") -> list[Stack]:
    """Split the frames of one series into stacks.

    Parameters
    ----------
    frames : iterable of Frame
        All frames of one Series Instance UID whose places passed
        :func:`imaging.dicom.stacks.frames.frame_fault`.
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
    return [
        stack
        for group, name in zip(groups, names, strict=True)
        for stack in _stacks(group, name, frame_of_reference)
    ]


def _stacks(group: list[Frame], name: str, frame_of_reference: str) -> list[Stack]:
    """The 4D series or single stacks that frames with the same axes make."""
    signature = _signature(group[0])
    images = images_of(group) if group[0].placed else [Image(group)]
    clusters = joined(images) if len(images) > 1 else [images]
    most = max(len(cluster[0].frames) for cluster in clusters)
    made: list[Stack] = []
    for cluster in clusters:
        stack = _stack(cluster, most, frame_of_reference)
        own = _label(cluster, images) if len(clusters) > 1 else ""
        label = ", ".join(filter(None, (name, own)))
        # The largest one keeps the plain key: it is the one that grows while files come.
        mark = f"#{own}" if made else ""
        made.append(replace(stack, signature=_unused(signature + mark, made), label=label))
    return _with_a_word_of_the_rest(made)


def _unused(signature: str, made: list[Stack]) -> str:
    taken = sum(stack.signature.split("~")[0] == signature for stack in made)
    return f"{signature}~{taken}" if taken else signature


def _stack(cluster: list[Image], most: int, frame_of_reference: str) -> Stack:
    frames = tuple(frame for image in cluster for frame in image.frames)
    geometry, regular, problems = grid_of(cluster[0].frames, frame_of_reference)
    several = len(cluster) > 1
    count = len(cluster[0].frames)
    if count < most:
        are = "slice" if count == 1 else "slices"
        problems = (
            f"Only {count} {are} of this image are there and others of its series have {most}; "
            "it is listed by itself.",
            *problems,
        )
    return Stack(
        frames, "", "", geometry, regular, problems,
        repeat_axis=axis_of(cluster) if several else "",
        repeats=labels_of(cluster) if several else (),
        whole=count == most,
    )  # fmt: skip


def _label(cluster: list[Image], images: list[Image]) -> str:
    """Which of the images of a series these are: ``"time points 1, 2, 4, 5"``."""
    if len(cluster) == 1:
        return cluster[0].label
    inside = {id(image) for image in cluster}
    places = [n for n, image in enumerate(images) if id(image) in inside]
    if places[-1] - places[0] + 1 == len(places):
        return f"{cluster[0].label} to {cluster[-1].label}"
    if len(cluster) > _NAMED:
        out = [i.label for i in images[places[0] : places[-1]] if id(i) not in inside]
        more = " and more" if len(out) > 3 else ""
        return f"{cluster[0].label} to {cluster[-1].label} without {', '.join(out[:3])}{more}"
    mark = cluster[0].words[0][0] if len(cluster[0].words) == 1 else ""
    labels = [image.label for image in cluster]
    if mark and all(label.startswith(f"{mark} ") for label in labels):
        return f"{mark}s {', '.join(label.removeprefix(f'{mark} ') for label in labels)}"
    return ", ".join(labels)


def _with_a_word_of_the_rest(made: list[Stack]) -> list[Stack]:
    """The first stack says which images are missing from it."""
    apart = [stack.label for stack in made[1:] if not stack.whole and stack.label]
    if not apart:
        return made
    named = "; ".join(apart[:3]) + (" and more" if len(apart) > 3 else "")
    text = f"Images that lack slices are listed by themselves: {named}."
    return [replace(made[0], problems=(*made[0].problems, text)), *made[1:]]


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
    telling = (word for word in frame.kind if word not in common)
    words = (_COMPONENTS.get(word, word.lower().replace("_", " ")) for word in telling)
    return " ".join(dict.fromkeys(" ".join(words).split()))  # "PERFUSION_FFE", "FFE": one FFE


def plane_of(orientation: tuple[float, ...] | None) -> str:
    """``axial``, ``sagittal`` or ``coronal``, with ``oblique`` before it where tilted; or empty."""
    if orientation is None or len(orientation) != 6:
        return ""
    normal = np.abs(np.cross(orientation[:3], orientation[3:]))
    name = ("sagittal", "coronal", "axial")[int(normal.argmax())]
    return name if normal.max() > math.cos(math.radians(5)) else f"oblique {name}"
