"""The answer about a whole study, as lines to read: how many, where, how much, how sure.

Everything said here is counted or measured from masks and maps of the case, or a number a model
gave about the study; words that would be a diagnosis are not here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from app.messages import counted

if TYPE_CHECKING:
    from imaging.analysis.lesion_pattern import LesionPattern
    from imaging.analysis.lesions import Lesion
    from imaging.segmentation import Segmentation

GUESS, WHY = "guess", "why"
#: The two volumes of a brain, in the same words in the window and on the command line.
WITHOUT_FLUID, WITH_FLUID = "Brain without fluid", "Brain with fluid"
#: Facts of models whose name alone does not say enough.
FACT_WORDS = {
    "brain_ml": f"{WITH_FLUID} ml",
    "brain_parenchymal_fraction": "share of the brain without fluid",
}
CUT = "The image cuts the brain: the volumes are those of the part that is seen."
#: Probability below which the words hold.
LIKELY = (
    (0.05, "very unlikely"),
    (0.25, "unlikely"),
    (0.4, "rather unlikely"),
    (0.6, "open"),
    (0.75, "rather likely"),
    (0.95, "likely"),
    (1.01, "very likely"),
)


@dataclass(frozen=True)
class PlaceRow:
    """Lesions of one place.

    Parameters
    ----------
    lesions : tuple of int
        Their numbers in the list.
    told : bool
        False where the image does not show enough to tell.
    """

    name: str
    lesions: tuple[int, ...]
    volume_ml: float
    told: bool = True


@dataclass(frozen=True)
class AnswerLine:
    """One sentence of the answer.

    Parameters
    ----------
    source : str
        What says so, for the tooltip.
    action : str
        ``"guess"`` or ``"why"`` where a button can show more; else empty.
    item : str
        Id of the map that the action is about.
    """

    text: str
    role: str = "text"
    source: str = ""
    action: str = ""
    item: str = ""


@dataclass(frozen=True)
class StudyAnswer:
    """Everything the card shows.

    Parameters
    ----------
    places : tuple of PlaceRow
        Empty where places are not told.
    largest : int or None
        Number of the largest lesion.
    basis : str
        How places were told, and what was not told.
    headline : str
        The number that counts most, short; empty where there is none.
    """

    lines: tuple[AnswerLine, ...] = ()
    places: tuple[PlaceRow, ...] = ()
    largest: int | None = None
    basis: str = ""
    headline: str = ""

    @property
    def empty(self) -> bool:
        """True where there is nothing to say."""
        return not (self.lines or self.places or self.headline)


def pattern_answer(pattern: LesionPattern, mask: Segmentation) -> StudyAnswer:
    """Counts and places of the listed mask."""
    source = mask.provenance.sentence or "Drawn by hand"
    if not pattern.count:
        return StudyAnswer((AnswerLine("No lesion is marked in this mask.", source=source),))
    from imaging.analysis.lesion_pattern import PLACES

    rows = tuple(PlaceRow(p.name, p.lesions, p.volume_ml) for p in pattern.places)
    words = pattern.sentences()
    first, long_enough, rest = words[0], words[1], words[2 + len(rows) :]
    headline, _, largest = first.partition(" in all; the ")
    lines = [AnswerLine(f"The {largest}", source=f"{long_enough} {source}")]
    if rows:  # what is counted is read, how places were told can be looked up
        lines.append(AnswerLine(rest[0], "dim", source))
        rest = rest[1:]
        rows += tuple(PlaceRow(PLACES[place], (), 0.0, told=False) for place in pattern.not_told)
    else:
        lines.append(AnswerLine(" ".join(rest), "dim", source))
        rest = ()
    return StudyAnswer(tuple(lines), rows, pattern.largest, " ".join(rest), headline)


def lesion_headline(lesions: Sequence[Lesion]) -> str:
    """``"3 lesions, 4.50 ml"``, without looking where they lie."""
    total = sum(lesion.volume_ml for lesion in lesions)
    return f"{counted(len(lesions), 'lesion')}, {total:.2f} ml" if lesions else ""


def tissue_volumes(mask: Segmentation) -> tuple[tuple[str, float], ...]:
    """Name and volume (ml) of each label, in the order of the labels."""
    counts = np.bincount(mask.labels.ravel(), minlength=256)
    return tuple((s.name, float(counts[s.number]) * mask.geometry.voxel_ml) for s in mask.segments)


def brain_volumes(volumes: Sequence[tuple[str, float]]) -> tuple[tuple[str, float], ...]:
    """The brain without and with its fluid, in ml; nothing where no part is fluid."""
    fluid = sum(volume for name, volume in volumes if _is_fluid(name))
    whole = sum(volume for _name, volume in volumes)
    if not fluid or not whole:
        return ()
    return (WITHOUT_FLUID, whole - fluid), (WITH_FLUID, whole)


def volume_words(volumes: Sequence[tuple[str, float]]) -> str:
    """The brain, then its parts: ``"Brain without fluid 923 ml, Brain with fluid 1049 ml: …"``."""
    parts = ", ".join(f"{name} {volume:.0f} ml" for name, volume in volumes)
    brain = ", ".join(f"{name} {volume:.0f} ml" for name, volume in brain_volumes(volumes))
    return f"{brain}: {parts}" if brain else parts


def tissue_line(volumes: Sequence[tuple[str, float]], mask: Segmentation) -> AnswerLine:
    """Volumes as one sentence, the brain without and with fluid first."""
    doubt = " A draft: grey and white matter may be exchanged, look first." if mask.draft else ""
    return AnswerLine(f"{volume_words(volumes)}.{doubt}", source=mask.provenance.sentence)


def fact_lines(
    kind: str, facts: Mapping[str, Any], source: str, maps: Mapping[str, str]
) -> tuple[AnswerLine, ...]:
    """What a model said about the study, in words.

    Parameters
    ----------
    maps : mapping
        Meaning of a map of the same run to its id.
    """
    if kind == "presence":
        return _presence(facts, source, maps.get("grad-cam", ""))
    if kind == "deviation":
        return _deviation(facts, source, maps.get("picture", ""))
    if kind == "tissue":
        cut = facts.get("brain_cut") is True
        return (AnswerLine(CUT, "warning", source),) if cut else ()
    return tuple(AnswerLine(words, source=source) for words in _sentences(facts))


def likely_words(probability: float) -> str:
    """A probability in words: ``"rather likely (0.68)"``."""
    words = next(words for limit, words in LIKELY if probability < limit)
    return f"{words} ({probability:.2f})"


def _presence(facts: Mapping[str, Any], source: str, heat: str) -> tuple[AnswerLine, ...]:
    chance = facts.get("probability")
    if not isinstance(chance, int | float) or not 0 <= chance <= 1:
        return ()
    own = f"That there is any lesion is {likely_words(float(chance))}."
    words = " ".join(_sentences(facts)) or own
    return (AnswerLine(words, "text", source, WHY if heat else "", heat),)


def _sentences(facts: Mapping[str, Any]) -> tuple[str, ...]:
    given = facts.get("sentences", ())
    listed = given if isinstance(given, list | tuple) else ()
    return tuple(one for one in listed if isinstance(one, str))


def _deviation(facts: Mapping[str, Any], source: str, picture: str) -> tuple[AnswerLine, ...]:
    values = {name: facts.get(name) for name in ("deviating_ml", "brighter_ml", "darker_ml")}
    if not all(isinstance(value, int | float) for value in values.values()):
        return ()
    words = (
        f"{values['deviating_ml']:.1f} ml of the brain are unlike what the model expects: "
        f"{values['brighter_ml']:.1f} ml brighter, {values['darker_ml']:.1f} ml darker."
    )
    lines = [AnswerLine(words, "text", source, GUESS if picture else "", picture)]
    both = facts.get("deviating_and_unlike_other_side_ml")
    if isinstance(both, int | float):
        lines.append(
            AnswerLine(f"Of these {both:.1f} ml are also unlike the other side.", "dim", source)
        )
    share = facts.get("share_of_brain")
    if isinstance(share, int | float) and share > 0.1:
        odd = "So much of the brain differs that the image as a whole is unusual for the model."
        lines.append(AnswerLine(odd, "warning", source))
    return tuple(lines)


def _is_fluid(name: str) -> bool:
    return "csf" in name.casefold() or "fluid" in name.casefold()
