"""The words around a picture: corner texts, places in the patient, the line for the status bar."""

from __future__ import annotations

import numpy as np

from imaging.folders import folder_words
from imaging.geometry import Geometry
from imaging.orientation import direction_letters
from imaging.uneven import mostly_made_up, slice_normal, uneven_words
from imaging.volume import Patient, Volume, Window
from viewer.state.display import Plane, Point
from viewer.state.navigation import nearest_plane
from viewer.state.slice_plan import CornerTexts, SlicePosition

#: A view narrower or lower than this (logical pixels) leaves out patient and study.
COMPACT_WIDTH, COMPACT_HEIGHT = 420, 300
#: About the width of a letter, and what each side keeps for the edge and the letter in the middle.
LETTER_WIDTH, KEPT_WIDTH = 7.5, 28.0
#: A plane tilted by more than this is called oblique, as in the list of series.
OBLIQUE_DEG = 5.0
NOT_LINKED = "not linked"
ONE_PLANE = "Only the plane as acquired is shown."
UNSURE_SIDES = "sides may be wrong"


def corner_texts(
    volume: Volume,
    plane: Plane,
    position: SlicePosition,
    window: Window,
    zoom: float,
    resampled: bool,
    size: tuple[int, int],
    follows: bool = True,
    remark: str = "",
    slicewise: bool = False,
) -> CornerTexts:
    """Patient and study above, series with slice position and window with zoom below.

    A small view has no room for the patient: series and slice stand above, the window below, and
    what would be cut is left out; the name of the series goes last.

    Parameters
    ----------
    follows : bool
        False where the volume lies in another frame of reference than the crosshair.
    remark : str
        What is odd with this slice.
    slicewise : bool
        True where the remark says whether this slice was interpolated.
    """
    repeat = repeat_text(volume)
    number_of = f"{position.number}/{position.count}"
    where = f"{_plane_of(volume, plane)} {number_of}"
    unsure = "" if volume.sides_known or not volume.placed else UNSURE_SIDES
    scale = f"Zoom {zoom:.1f}×"
    if size[0] < COMPACT_WIDTH or size[1] < COMPACT_HEIGHT:
        name = _capital(plane)
        if plane == Plane.ACQUIRED and volume.placed:
            name = _capital(nearest_plane(volume.geometry))
        room = size[0] / 2.0 - KEPT_WIDTH
        lines = _fitting(room, where, f"{name} {number_of}")
        lines = lines or _fitting(room, name) + _fitting(room, number_of)
        return CornerTexts(
            top_left=_lines(
                folder_words(volume.source.folder),
                _series(volume),
                *_fitting(room, repeat, repeat_count(volume)),
                *lines,
            ),
            bottom_left=_lines(
                *_fitting(room, unsure, "sides unsure"),
                *_fitting(room, remark, remark.partition(" (")[0]),
                "" if follows else NOT_LINKED,
            ),
            bottom_right=_fitting(room, _levels(window, "  "), _levels(window, " ")),
        )
    marks = " · ".join([*_marks(volume, resampled, slicewise), *([] if follows else [NOT_LINKED])])
    room = size[0] / 2.0 - KEPT_WIDTH
    parts = _lines(where, position.place)
    places = _fitting(room, " · ".join(parts)) or parts  # never cut by the letter
    return CornerTexts(
        top_left=_lines(*_patient(volume.source.patient)),
        top_right=_lines(
            folder_words(volume.source.folder),
            volume.source.study_description,
            date(volume.source.study_date),
        ),
        bottom_left=_lines(_series(volume), repeat, *places, unsure, remark),
        bottom_right=_lines(marks, _levels(window, "  "), scale),
    )


#: What the images of a 4D series are called, by what tells them apart.
REPEAT_NOUNS = {
    "echo time": "Echo", "echo": "Echo", "time point": "Time point", "b-value": "b-value",
}  # fmt: skip


def repeat_count(volume: Volume) -> str:
    """Which image of a 4D series is shown: ``"Echo 2 / 3"``; empty for an ordinary one."""
    if volume.repeats is None:
        return ""
    noun = REPEAT_NOUNS.get(volume.repeats.axis, "Image")
    return f"{noun} {volume.repeat + 1} / {len(volume.repeats)}"


def repeat_text(volume: Volume) -> str:
    """The same with its label: ``"Echo 2 / 3 · TE 90 ms"``."""
    if volume.repeats is None:
        return ""
    count, label = repeat_count(volume), volume.repeats.labels[volume.repeat]
    if count.casefold().startswith(f"{label.casefold()} /"):
        return count
    return f"{count} · {label}"


def why_one_plane(volume: Volume) -> str:
    """Why a volume is shown in its plane as acquired only; empty where it is not."""
    if volume.even:
        return ""
    if volume.places is None:
        where = "The header does not say where these slices lie."
    else:
        where = f"The slices {uneven_words(volume.geometry, volume.places)}."
        if made_up := mostly_made_up(np.sort(volume.places @ slice_normal(volume.geometry))):
            where = f"{where} {made_up}."
    return f"{where} {ONE_PLANE}"


def plane_name(plane: Plane, geometry: Geometry) -> str:
    """The plane in words; what was acquired is called by the nearest patient plane.

    Returns
    -------
    str
        Such as ``"Axial"`` or ``"Oblique sagittal, as acquired"``.
    """
    if plane != Plane.ACQUIRED:
        return _capital(plane)
    normal = np.abs(np.cross(geometry.directions[:, 2], geometry.directions[:, 1]))
    tilt = np.degrees(np.arccos(min(1.0, float(normal.max() / np.linalg.norm(normal)))))
    nearest = nearest_plane(geometry).value
    name = f"oblique {nearest}" if tilt > OBLIQUE_DEG else nearest
    return f"{name[:1].upper()}{name[1:]}, {plane.value}"


def _plane_of(volume: Volume, plane: Plane) -> str:
    """The plane in words; an image whose place nobody knows has no name of a patient plane.

    Slices that were made are not called as acquired.
    """
    if not volume.placed:
        return _capital(plane)
    name = plane_name(plane, volume.geometry)
    return name.removesuffix(f", {Plane.ACQUIRED.value}") if volume.even_mm else name


def number(value: float) -> str:
    """A value with as many digits as it deserves."""
    if value == 0 or abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"


def date(text: str) -> str:
    """A DICOM date as ``2024-05-31``; anything else as it is."""
    if len(text) == 8 and text.isdigit():
        return f"{text[:4]}-{text[4:6]}-{text[6:]}"
    return text


def place_along(normal: Point, world: Point) -> str:
    """Position of a plane along its normal, such as ``"S 23.5 mm"``."""
    away = sum(n * w for n, w in zip(normal, world, strict=True))
    direction = np.asarray(normal) * (1.0 if away >= 0 else -1.0)
    return f"{direction_letters(direction)} {abs(away):.1f} mm"


def _patient(patient: Patient) -> tuple[str, ...]:
    name = ", ".join(part for part in patient.name.split("^")[:2] if part)
    facts = "  ".join(part for part in (date(patient.birth_date), patient.sex) if part)
    return name, patient.id, facts


def _series(volume: Volume) -> str:
    source = volume.source
    # What a file says of itself ("FSL5.0") is the same for all; its name is not.
    name = "" if source.folder else source.series_description
    name = name or volume.name
    if volume.even_mm:
        name = f"{name} (even, {volume.even_mm:.1f} mm)"
    return f"{source.series_number} · {name}" if source.series_number else name


def _marks(volume: Volume, resampled: bool, slicewise: bool) -> list[str]:
    marks = []
    if resampled or (volume.interpolated and not slicewise):
        marks.append("interpolated")
    if any("lossy" in note.lower() for note in volume.notes):
        marks.append("lossy")
    return marks


def _levels(window: Window, gap: str) -> str:
    return f"W {number(window.width)}{gap}L {number(window.centre)}"


def _fitting(room: float, *texts: str) -> tuple[str, ...]:
    """The first of some wordings that is not cut in so many pixels, as one line or none."""
    return next(((text,) for text in texts if len(text) * LETTER_WIDTH <= room), ())


def _lines(*texts: str) -> tuple[str, ...]:
    return tuple(text for text in texts if text)


def _capital(plane: Plane) -> str:
    return plane.value[:1].upper() + plane.value[1:]
