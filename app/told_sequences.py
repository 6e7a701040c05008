"""Which sequence the user says a series is, remembered without any text of a header.

A series is known again by a token: for DICOM a digest of its key, which holds its UIDs, for other
files a digest of the beginning of their content, so that a moved or renamed file is known again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from imaging.series import SEQUENCES, SequenceGuess

if TYPE_CHECKING:
    from imaging.series import Series

#: Stored for a series of which the user says that the sequence is not known.
NOT_SURE = "?"
#: So many series are remembered; the oldest word goes first.
MAX_TOLD = 5000
_HEAD_BYTES = 1 << 16
WHY = "you said so"


def token_of(series: Series) -> str:
    """What a series is known by; the same after a restart. Reads a little of a file."""
    if series.kind in ("dicom", "made") or not series.source.files:
        return "s:" + _digest(series.key.encode())
    try:
        with open(series.source.files[0], "rb") as file:
            return "f:" + _digest(file.read(_HEAD_BYTES))
    except OSError:
        return "s:" + _digest(series.key.encode())


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def with_guess(series: Series, guess: SequenceGuess) -> Series:
    """The series with another opinion on its sequence."""
    source = replace(series.source, sequence=guess.name)
    return replace(series, sequence=guess.name, source=source, guess=guess)


def told_guess(name: str) -> SequenceGuess:
    """What the user says, as a guess that nothing doubts."""
    return SequenceGuess("" if name == NOT_SURE else name, 1.0, WHY)


def corrected(series: Series, told: Mapping[str, str]) -> Series:
    """The series as the user says it is, or as it was found."""
    if not told:
        return series
    name = told.get(token_of(series))
    return series if name is None else with_guess(series, told_guess(name))


def tell(told: Mapping[str, str], token: str, name: str) -> dict[str, str]:
    """What is remembered after the user named a series; an empty name takes the word back."""
    kept = {known: said for known, said in told.items() if known != token}
    if name:
        kept[token] = name
    return dict(list(kept.items())[-MAX_TOLD:])


def is_told(value: str) -> bool:
    """Whether a stored word is one that can be said."""
    return value == NOT_SURE or value in SEQUENCES
