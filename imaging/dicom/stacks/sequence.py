"""The sequence finder: which kind of image a series is, how sure that is, and why.

Names, image type words, contrast agent, diffusion and timing each give evidence with a strength
from 0 to 1. Evidence for the same sequence adds up, evidence for another one takes away, and where
too little is left nobody is told anything: an honest "unknown" is worth more than a wrong name.

The reasons given hold numbers and words of our own lists, never free text of a header.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from imaging.analysis.relaxation import Timing, weighting
from imaging.dicom.header.tags import Header
from imaging.dicom.stacks.frames import MARKS, b_value
from imaging.dicom.stacks.sequence_words import OTHER, says_without, spoken
from imaging.series import Frame, SequenceGuess

#: Below this confidence no sequence is named.
LEAST = 0.35
#: What the evidence against a sequence takes away at most.
_DISSENT = 0.65
_NOTHING = ("", "NO", "NONE", "N", "NOT", "0", "NA", "N/A", "UNKNOWN", "NO CONTRAST", "-")
_BY_TYPE = {
    "LOCALIZER": "localiser", "ADC": "ADC", "TRACEW": "DWI", "TRACE": "DWI",
    "SWI": "SWI", "FLUID_ATTENUATED": "FLAIR", "PROTON_DENSITY": "PD",
}  # fmt: skip
#: Sequences that the timing can tell apart; of the others it says nothing.
_WEIGHTINGS = ("T1w", "T1w+C", "T2w", "T2*w", "FLAIR", "PD")
_OTHER_TYPES = {
    "FA": "anisotropy map", "TENSOR": "anisotropy map", "EADC": "diffusion map",
    "PERFUSION": "perfusion", "PERFUSION_FFE": "perfusion", "ASL": "perfusion",
    "CBF": "perfusion", "CBV": "perfusion", "MTT": "perfusion", "FMRI": "functional run",
    "TOF": "angiography", "VELOCITY": "flow image", "FLOW_ENCODED": "flow image",
    "T1 MAP": "relaxation map", "T2 MAP": "relaxation map", "T2_STAR_MAP": "relaxation map",
    "PHASE MAP": "phase image", "B0": "field map", "B1": "field map",
    "FIELD_MAP": "field map", "SPECTROSCOPY": "spectroscopy", "SUBTRACT": "subtraction",
    "SUBTRACTION": "subtraction", "STIR": "short-tau inversion",
}  # fmt: skip
#: Parts of complex images other than the magnitude (PS3.3 C.8.13.3.1.1, and as makers write them):
#: their timing and names are those of the magnitude, their looks are not.
_COMPONENTS = {
    **dict.fromkeys(("P", "PHASE", "P_FFE", "P_SE", "P_IR"), "phase image"),
    **dict.fromkeys(("R", "REAL", "R_FFE", "R_SE", "R_IR"), "real part"),
    **dict.fromkeys(("I", "IMAGINARY", "I_FFE", "I_SE", "I_IR"), "imaginary part"),
}
_WATER_FAT = {"DIXON", "W", "F", "IP", "OP", "WATER", "FAT", "IN_PHASE", "OUT_PHASE"}
#: Acquisition Contrast of enhanced files (PS3.3 C.8.13.3.1.2); makers fill it carelessly.
_BY_CONTRAST = {
    "T1": ("T1w", 0.5), "T2": ("T2w", 0.6), "FLUID_ATTENUATED": ("FLAIR", 0.9),
    "PROTON_DENSITY": ("PD", 0.6), "DIFFUSION": ("DWI", 0.9), "T2_STAR": ("T2*w", 0.6),
    "PERFUSION": (OTHER, 0.9), "TOF": (OTHER, 0.9), "FLOW_ENCODED": (OTHER, 0.9),
    "STIR": (OTHER, 0.8),
}  # fmt: skip


@dataclass(frozen=True)
class SequenceFacts:
    """What a header tells the sequence finder; times in ms, angle in degrees, field in tesla.

    Parameters
    ----------
    names : tuple of str
        Series description, protocol name and the like, most telling first.
    pulse : str
        Name of the pulse sequence, as makers write it (``*tse2d1_15``).
    image_type : tuple of str
        Words of the Image Type, or of the Frame Type of enhanced files.
    contrast : str
        Acquisition Contrast of enhanced files.
    scanning, variant : tuple of str
        PS3.3 C.8.3.1: ``SE``, ``GR``, ``IR``, ``EP``; ``SK``, ``SS``, ``SP``, ``MP``, …
    agent : bool
        A contrast agent is entered.
    pulse_echo : str
        Enhanced files: ``SPIN``, ``GRADIENT`` or ``BOTH``.
    echo_planar : bool
        Enhanced files: read out by echo planar imaging.
    map_of : str
        What the numbers of a map are that this program wrote: ``"probability"``.
    told : str
        The sequence that this program wrote beside the image.
    """

    names: tuple[str, ...] = field(default=(), repr=False)
    pulse: str = ""
    image_type: tuple[str, ...] = ()
    contrast: str = ""
    modality: str = "MR"
    scanning: tuple[str, ...] = ()
    variant: tuple[str, ...] = ()
    agent: bool = False
    pulse_echo: str = ""
    echo_planar: bool = False
    repetition: float | None = None
    echo: float | None = None
    inversion: float | None = None
    flip: float | None = None
    train: float | None = None
    strength: float | None = None
    b_value: float | None = None
    map_of: str = ""
    told: str = ""


class Clue(NamedTuple):
    """One piece of evidence: for which sequence, how strong, and what it is, in words."""

    sequence: str
    strength: float
    why: str


def facts_of(header: Header) -> SequenceFacts:
    """The facts of one file."""
    return SequenceFacts(
        names=tuple(filter(None, (header.human(0x0008103E), header.human(0x00181030)))),
        pulse=header.text(0x00180024) or header.text(0x00189005),
        image_type=header.texts(0x00080008),
        contrast=header.text(0x00089209),
        modality=header.text(0x00080060),
        scanning=header.texts(0x00180020),
        variant=header.texts(0x00180021),
        agent=header.text(0x00180010).upper() not in _NOTHING or 0x00180012 in header.values,
        pulse_echo=header.text(0x00189008),
        echo_planar=header.text(0x00189018) == "YES",
        repetition=_positive(header.number(0x00180080)),
        echo=_positive(header.number(0x00180081)),
        inversion=_positive(header.number(0x00180082)),
        flip=_positive(header.number(0x00181314)),
        train=_positive(header.number(0x00180091)),
        strength=_tesla(header.number(0x00180087)),
        b_value=b_value(header),
    )


def _positive(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) and value > 0 else None


def _tesla(value: float | None) -> float | None:
    """The field; some makers write gauss or millitesla."""
    value = _positive(value)
    if value is None:
        return None
    for unit in (1.0, 1e3, 1e4):
        if 0.01 <= value / unit <= 25.0:
            return value / unit
    return None


def guess_sequence(facts: SequenceFacts) -> SequenceGuess:
    """Name the sequence from the facts of a header.

    Returns
    -------
    SequenceGuess
        With an empty name where nothing, or nothing sure enough, is known; ``why`` then says what
        was seen instead, if anything.
    """
    if facts.modality not in ("MR", ""):
        return SequenceGuess("", 1.0, "not an MR image")
    if facts.map_of:
        return SequenceGuess("", 1.0, f"the file beside it says it is a map: {facts.map_of}")
    if component := _component(facts.image_type):
        return SequenceGuess("", 0.95, f"its image type says {component}")
    clues = [*_told(facts), *_names(facts), *_types(facts), *_diffusion(facts)]
    guess = weigh(clues)
    if guess.name in _WEIGHTINGS or not clues or max(clues, key=_strength).strength < 0.6:
        guess = weigh([*clues, *_contrast(facts), *_timing(facts)])
    return _with_agent(guess, facts)


def guess_stack(facts: SequenceFacts, frames: Sequence[Frame]) -> SequenceGuess:
    """Name the sequence of one stack of a series from the facts of the series and its own frames.

    Echo and inversion time, b-value and frame type may differ between the stacks of a series. Of a
    4D series the first image counts, which is the one that is shown first; only diffusion weighting
    counts wherever it is.
    """

    def first(name: str) -> float | None:
        column = MARKS.index(name)
        return frames[0].marks[column] if len(frames[0].marks) > column else None

    column = MARKS.index("b-value")
    weights = {frame.marks[column] for frame in frames if len(frame.marks) > column}
    known = [b for b in weights if b is not None]
    words = dict.fromkeys((*frames[0].kind, *facts.image_type[:2]))
    return guess_sequence(
        replace(
            facts,
            image_type=tuple(words),
            echo=_positive(first("echo time")) or facts.echo,
            inversion=_positive(first("inversion time")) or facts.inversion,
            b_value=max(known) if known else facts.b_value,
        )
    )


def guess_by_name(text: str) -> SequenceGuess:
    """Name the sequence from a file name or description alone."""
    return weigh(_said(text))


def with_pixels(guess: SequenceGuess, seen: SequenceGuess) -> SequenceGuess:
    """A guess from the header, strengthened or doubted by what the pixels look like.

    Parameters
    ----------
    seen : SequenceGuess
        As :func:`imaging.analysis.contrast.guess_contrast` gives it.
    """
    other = not guess.name and guess.confidence > 0  # known to be something else
    if not seen.name or other or guess.confidence == 1 or guess.name not in ("", *_WEIGHTINGS):
        return guess
    clues = [Clue(one.name, one.confidence, one.why) for one in (guess, seen) if one.name]
    return weigh(clues)


def name_sequence(text: str) -> str:
    """The sequence that a description or file name speaks of; empty where it is silent."""
    return guess_by_name(text).name


def weigh(clues: Iterable[Clue]) -> SequenceGuess:
    """Evidence for the same sequence adds up, evidence for others takes away."""
    clues = list(clues)
    if any(clue.sequence == "T1w+C" for clue in clues):  # then T1w is no other opinion
        clues = [c._replace(sequence="T1w+C") if c.sequence == "T1w" else c for c in clues]
    support: dict[str, float] = {}
    for clue in clues:
        support[clue.sequence] = 1 - (1 - support.get(clue.sequence, 0.0)) * (1 - clue.strength)
    if not support:
        return SequenceGuess()
    best = max(support, key=lambda name: support[name])
    against = max((value for name, value in support.items() if name != best), default=0.0)
    confidence = round(support[best] * (1 - _DISSENT * against), 2)
    why = "; ".join(dict.fromkeys(clue.why for clue in clues if clue.sequence == best))
    other = [clue.why for clue in clues if clue.sequence != best and clue.strength >= 0.3]
    if other:
        why += f"; but {other[0]}"
    if best == OTHER or confidence < LEAST:
        return SequenceGuess("", confidence if best == OTHER else 0.0, why)
    return SequenceGuess(best, min(confidence, 0.99), why)


def _component(image_type: Sequence[str]) -> str:
    """Which part of a complex image other than the magnitude it is; empty where it is none."""
    words = (word.upper() for word in image_type)
    return next((_COMPONENTS[word] for word in words if word in _COMPONENTS), "")


def _told(facts: SequenceFacts) -> list[Clue]:
    return [Clue(facts.told, 0.9, "the file beside it says so")] if facts.told else []


def _strength(clue: Clue) -> float:
    return clue.strength


def _said(text: str, source: str = "called") -> list[Clue]:
    """What a name says, as evidence."""
    return [
        Clue(s.sequence, s.strength, f"{source} “{s.words}”" if s.sequence != OTHER else
             f"its name says {s.words}") for s in spoken(text)
    ]  # fmt: skip


def _names(facts: SequenceFacts) -> list[Clue]:
    """The first name that speaks; the pulse sequence comes last and weighs least."""
    for text in facts.names:
        if said := _said(text):
            return said
    return [
        clue._replace(strength=0.7 * clue.strength)
        for clue in _said(facts.pulse.lstrip("*"), "pulse")
        if clue.sequence != OTHER
    ]


def _types(facts: SequenceFacts) -> list[Clue]:
    clues = []
    words = [word.upper() for word in facts.image_type]
    for word in words:
        if word in _BY_TYPE:
            clues.append(Clue(_BY_TYPE[word], 0.9, f"image type {word}"))
        elif word in _OTHER_TYPES:
            clues.append(Clue(OTHER, 0.93, f"its image type says {_OTHER_TYPES[word]}"))
    if "DIFFUSION" in words and not clues:  # maps made from diffusion bear the word as well
        clues.append(Clue("DWI", 0.7, "image type DIFFUSION"))
    return clues


def _contrast(facts: SequenceFacts) -> list[Clue]:
    """What enhanced files call their contrast: a hint, for makers write T1 on field maps too."""
    if facts.contrast not in _BY_CONTRAST:
        return []
    words = facts.contrast.lower().replace("_", " ")
    return [Clue(*_BY_CONTRAST[facts.contrast], f"acquisition contrast {words}")]


def _diffusion(facts: SequenceFacts) -> list[Clue]:
    if not facts.b_value or "ADC" in map(str.upper, facts.image_type):
        return []
    return [Clue("DWI", 0.85, f"b {facts.b_value:g} s/mm²")]


def _with_agent(guess: SequenceGuess, facts: SequenceFacts) -> SequenceGuess:
    """A contrast agent makes T1w to T1w+C unless the name denies it; others stay what they are."""
    if not facts.agent or guess.name not in ("T1w", "T1w+C"):
        return guess
    why = f"{guess.why}; a contrast agent is entered"
    if any(says_without(name) for name in facts.names):
        doubtful = round(0.7 * guess.confidence, 2)
        return replace(guess, confidence=doubtful, why=f"{why}, but the name says without")
    named = guess.name == "T1w+C"
    return SequenceGuess(
        "T1w+C", guess.confidence if named else round(0.85 * guess.confidence, 2), why
    )


def _timing(facts: SequenceFacts) -> list[Clue]:
    """The order of tissues by the relaxation equations; functional runs are none of ours."""
    if not facts.repetition or not facts.echo:
        return []
    if _echo_planar(facts):
        return [] if facts.b_value else [Clue(OTHER, 0.6, "echo-planar without diffusion")]
    gradient = _gradient_echo(facts)
    balanced = gradient and "SS" in facts.variant and "SP" not in facts.variant
    if balanced or _WATER_FAT & set(facts.image_type[2:]):
        return []
    timing = Timing(facts.repetition, facts.echo, facts.inversion, facts.flip, facts.train,
                    facts.strength, gradient)  # fmt: skip
    name, strength = weighting(timing)
    if not name:
        return []
    words = _timing_words(facts)
    if name == "STIR":
        return [Clue(OTHER, strength, f"a short-tau inversion ({words})")]
    return [Clue(name, strength, f"timing of {name} ({words})")]


def _gradient_echo(facts: SequenceFacts) -> bool:
    """Made by gradient echoes, as far as the header or, where it is silent, the timing says."""
    if facts.pulse_echo:
        return facts.pulse_echo == "GRADIENT"
    if {"GR", "SE"} & set(facts.scanning):
        return "SE" not in facts.scanning
    angle, echo = facts.flip or 90.0, facts.echo or 0.0
    prepared = facts.inversion is not None and echo < 8 and angle < 30  # MPRAGE
    research = "RM" in facts.scanning and (facts.repetition or 0.0) < 60
    return prepared or research or (not facts.scanning and angle < 60 and echo < 30)


def _echo_planar(facts: SequenceFacts) -> bool:
    named = facts.pulse.lower().lstrip("*_").startswith("ep")
    return facts.echo_planar or "EP" in facts.scanning or named


def _timing_words(facts: SequenceFacts) -> str:
    parts = [f"TR {facts.repetition:g} ms", f"TE {facts.echo:g} ms"]
    if facts.inversion:
        parts.append(f"TI {facts.inversion:g} ms")
    return ", ".join(parts)
