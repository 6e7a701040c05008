"""The words around a picture: corner texts, places in the patient, the line for the status bar."""

from __future__ import annotations

import numpy as np

from imaging.orientation import direction_letters
from imaging.volume import Patient, Volume, Window
from viewer.state.display import Plane, Point
from viewer.state.slice_plan import CornerTexts, SlicePosition

#: A view narrower or lower than this (logical pixels) leaves out patient, study and series.
COMPACT_WIDTH, COMPACT_HEIGHT = 420, 300


def corner_texts(
    volume: Volume,
    plane: Plane,
    position: SlicePosition,
    window: Window,
    zoom: float,
    resampled: bool,
    size: tuple[int, int],
) -> CornerTexts:
    """Patient and study above, series with slice position and window with zoom below."""
    number_of = f"{position.number}/{position.count}"
    levels = f"W {number(window.width)}  L {number(window.centre)}"
    marks = " · ".join(_marks(volume, resampled))
    scale = f"Zoom {zoom:.1f}×"
    if size[0] < COMPACT_WIDTH or size[1] < COMPACT_HEIGHT:
        return CornerTexts((_capital(plane),), (), (number_of,), (levels,))
    return CornerTexts(
        top_left=_lines(*_patient(volume.source.patient)),
        top_right=_lines(volume.source.study_description, date(volume.source.study_date)),
        bottom_left=_lines(_series(volume), f"{_capital(plane)} {number_of} · {position.place}"),
        bottom_right=_lines(marks, levels, scale),
    )


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
    name = source.series_description or volume.name
    return f"{source.series_number} · {name}" if source.series_number else name


def _marks(volume: Volume, resampled: bool) -> list[str]:
    marks = []
    if resampled or volume.interpolated:
        marks.append("interpolated")
    if any("lossy" in note.lower() for note in volume.notes):
        marks.append("lossy")
    return marks


def _lines(*texts: str) -> tuple[str, ...]:
    return tuple(text for text in texts if text)


def _capital(plane: Plane) -> str:
    return plane.value[:1].upper() + plane.value[1:]
