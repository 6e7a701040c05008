"""The words of a header, apart from what an image is: they can be read again in other letters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from imaging.volume import Source, Volume

if TYPE_CHECKING:
    from imaging.series import Series

#: Gives the origin of an image other words.
Wording = Callable[[Source], Source]


def words_of(source: Source) -> Wording:
    """What gives an origin the patient, descriptions and maker of another one."""

    def give(other: Source) -> Source:
        return replace(
            other,
            patient=source.patient,
            study_description=source.study_description,
            series_description=source.series_description,
            manufacturer=source.manufacturer,
        )

    return give


def reworded_series(series: Series, words: Series) -> Series:
    """A series in the words of another reading of the same files."""
    source = words_of(words.source)(series.source)
    return replace(series, source=source, description=words.description, problems=words.problems)


def reworded(volume: Volume, wording: Wording, name: str = "") -> Volume:
    """An image, and all images of its 4D series, in other words; an empty name keeps its own."""
    repeats = volume.repeats
    if repeats is not None:
        repeats = replace(repeats, sources=tuple(map(wording, repeats.sources)))
    return replace(volume, name=name or volume.name, source=wording(volume.source), repeats=repeats)
