"""Series and files that a person has looked at and speaks for, one by one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imaging.errors import BadInput, WorldFailed

MAX_BYTES = 4 << 20


@dataclass(frozen=True)
class Choice:
    """Some files of a source.

    Parameters
    ----------
    series : frozenset of str
        Series Instance UIDs.
    paths : frozenset of str
        Files and folders, absolute; a folder stands for all that is in it.
    names : frozenset of str
        Names as in :attr:`imaging.deidentify.survey.Item.shown`; for members of archives.
    """

    series: frozenset[str] = frozenset()
    paths: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()

    def __contains__(self, one: tuple[str, str, str]) -> bool:
        """True for a file, as its path on disk, its name for people and its series."""
        path, shown, series = one
        if shown in self.names or (series and series in self.series):
            return True
        if not self.paths:
            return False
        whole = Path(os.path.realpath(path))
        return any(str(part) in self.paths for part in (whole, *whole.parents))


NONE = Choice()


def read_choice(words: Iterable[str]) -> Choice:
    """What a user has listed: UIDs, paths, and text files (``.txt``) with one of them a line.

    Raises
    ------
    BadInput
        Where a word is neither a UID nor a path that is there.
    WorldFailed
        Where a list cannot be read.
    """
    series, paths = set(), set()
    for word in _unfolded(words):
        if os.path.exists(word):
            paths.add(os.path.realpath(word))
        elif word and not word.strip("0123456789."):
            series.add(word)
        else:
            raise BadInput("This is neither the UID of a series nor a file or folder", word)
    return Choice(frozenset(series), frozenset(paths))


def _unfolded(words: Iterable[str]) -> list[str]:
    found: list[str] = []
    for word in words:
        if not (word.lower().endswith(".txt") and os.path.isfile(word)):
            found.append(word)
            continue
        try:
            if os.path.getsize(word) > MAX_BYTES:
                raise BadInput("The list is far too long", word)
            lines = Path(word).read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise WorldFailed("The list cannot be read", word) from error
        found += [line.strip() for line in lines if line.strip() and not line.startswith("#")]
    return found
