"""What may stay of a free text: the words of a list, small numbers, and nothing else.

A list of allowed words cannot miss a name the way a list of forbidden ones does.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

WORDS = Path(__file__).with_name("words.txt")
_TOKEN = re.compile(r"[^\W_]+(?:\.\d+)?", re.UNICODE)
#: Numbers with a unit, echo and flip numbers, and plain numbers below 100.
_MEASURE = re.compile(
    r"\d{1,2}|\d{1,4}(?:\.\d+)?(?:mm|ms|cm|ml|s|sec|min|hz|khz|deg|t|x|d|dir|dirs|ch|iso)"
    r"|(?:b|te|ti|tr|fa|e|p|x|sl|nd|pat|s|r)\d{1,4}|t[12]w?|[234]d|x+|v\d{1,2}"
)


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """The words of ``words.txt``, in small letters."""
    lines = WORDS.read_text(encoding="utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def is_common(text: str) -> bool:
    """True where every word of a text is on the list."""
    words = tokens(text)
    return bool(words) and all(_allowed(word, ()) for word in words)


def tokens(text: str) -> frozenset[str]:
    """The words of a text, in small letters."""
    return frozenset(_TOKEN.findall(text.casefold()))


def cleaned(text: str, forbidden: Collection[str] = ()) -> str:
    """The words that may stay, joined by single spaces.

    Parameters
    ----------
    text : str
    forbidden : collection of str
        Names of this very patient in small letters: they go, even where they are common words.
    """
    kept = [token for token in _TOKEN.findall(text) if _allowed(token.casefold(), forbidden)]
    return " ".join(kept)


def _allowed(token: str, forbidden: Collection[str]) -> bool:
    if token in forbidden:
        return False
    return token in known_words() or _MEASURE.fullmatch(token) is not None
