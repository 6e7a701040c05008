"""Rules of the keys: what each command answers to, and which choices would clash. No Qt.

The user's choices are a mapping of command id to a text: portable key names joined by
:data:`SEPARATOR`, empty for "no key". A command that is not in it has its usual keys. Two commands
clash where they share a key and a moment: the same mode (``any`` meets both), and a place, which
is always so, for over the images the keys of the window hold as well as those of the views.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from imaging.errors import BadInput

SEPARATOR = " | "
_MODIFIERS = ("Meta", "Ctrl", "Alt", "Shift", "Num")
_OTHER_NAMES = {
    "escape": "Esc", "delete": "Del", "insert": "Ins", "pageup": "PgUp", "pagedown": "PgDown",
    "control": "Ctrl",
}  # fmt: skip
#: Keys that mean something without being a command: (key, mode) to what they do.
_TAKEN = {
    ("Esc", "any"): "cancels the current gesture",
    ("Space", "edit"): "hides the masks while it is held",
}
#: Lists and buttons need these, so only commands that work over the images may have them.
_LISTS_NEED = frozenset({"Up", "Down", "Left", "Right", "Home", "End", "PgUp", "PgDown",
                         "Tab", "Shift+Tab", "Space"})  # fmt: skip


class KeyRow(Protocol):
    """What these rules read of a :class:`~app.commands.Command`."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def keys(self) -> tuple[str, ...]: ...
    @property
    def mode(self) -> str: ...
    @property
    def scope(self) -> str: ...


Chosen = Mapping[str, str]


def normal(key: str) -> str:
    """One spelling for a key: ``"shift+ctrl+z"`` becomes ``"Ctrl+Shift+Z"``; empty for nonsense."""
    key = key.strip()
    if key.endswith("++") or key == "+":
        parts, name = key[:-1].split("+"), "+"
    else:
        *parts, name = key.split("+")
    words = [_named(part.strip()) for part in parts if part.strip()]
    name = _named(name.strip())
    if not name or name in _MODIFIERS or any(word not in _MODIFIERS for word in words):
        return ""
    return "+".join([m for m in _MODIFIERS if m in words] + [name])


def _named(word: str) -> str:
    if len(word) == 1:
        return word.upper()
    word = _OTHER_NAMES.get(word.casefold(), word)
    return {"pgup": "PgUp", "pgdown": "PgDown"}.get(word.casefold(), word[:1].upper() + word[1:])


def joined(keys: Iterable[str]) -> str:
    """Several keys as one text for the settings; nonsense and doubles are left out."""
    return SEPARATOR.join(dict.fromkeys(k for k in map(normal, keys) if k))


def keys_of(row: KeyRow, chosen: Chosen) -> tuple[str, ...]:
    """The keys a command answers to now; the first one stands in the menu."""
    if row.id not in chosen:
        return row.keys
    return tuple(k for k in map(normal, chosen[row.id].split(SEPARATOR)) if k)


def words_of(row: KeyRow, chosen: Chosen) -> str:
    """The keys of a command as a reader sees them: ``"Ctrl+Shift+Z, Ctrl+Y"``."""
    return ", ".join(keys_of(row, chosen))


def why_not(rows: Sequence[KeyRow], chosen: Chosen, row: KeyRow, key: str) -> str:
    """Why a command cannot have a key, in one sentence; empty where it can."""
    key = normal(key)
    if not key:
        return "This key cannot be used; press a letter, a digit or a function key."
    for (taken, mode), does in _TAKEN.items():
        if key == taken and _meet(mode, row.mode):
            return f"{key} {does}; choose another key."
    if key in _LISTS_NEED and row.scope != "views":
        return f"{key} moves through lists and buttons; choose another key or add Ctrl or Alt."
    for other in rows:
        if (
            other.id != row.id
            and _meet(other.mode, row.mode)
            and key in _normal_keys(other, chosen)
        ):
            return f"{key} already means “{other.title}”; give that command another key first."
    return ""


def with_keys(
    rows: Sequence[KeyRow], chosen: Chosen, row: KeyRow, keys: Sequence[str]
) -> dict[str, str]:
    """The choices with other keys for one command; its usual keys leave no trace.

    Raises
    ------
    BadInput
        Where a key already means something else at the same time; nothing is changed.
    """
    for key in keys:
        if reason := why_not(rows, chosen, row, key):
            raise BadInput(reason)
    changed = {id: text for id, text in chosen.items() if id != row.id}
    if joined(keys) != joined(row.keys):
        changed[row.id] = joined(keys)
    return changed


def sane(rows: Sequence[KeyRow], chosen: Chosen) -> tuple[dict[str, str], list[str]]:
    """Choices of a file as far as they make sense, and a sentence for each that does not.

    Judged as a whole, so that two commands may swap their keys; where two clash, the later row of
    the table keeps its usual keys.
    """
    known = {row.id: row for row in rows}
    problems = [f"No command is called “{id}”." for id in chosen if id not in known]
    good = {id: text for id, text in chosen.items() if id in known}
    refused = True
    while refused:
        refused = False
        for row in reversed(rows):
            if row.id not in good:
                continue
            keys = keys_of(row, good)
            # A text that holds words, none of them a key, is nonsense; an empty one means no key.
            reasons = [why_not(rows, good, row, key) for key in keys]
            if good[row.id].strip() and not keys:
                reasons = [f"“{good[row.id]}” is no key."]
            if any(reasons):
                refused = True
                reason = next(filter(None, reasons))
                problems.append(f"{row.title} keeps its usual keys: {reason}")
                del good[row.id]
    return {r.id: joined(keys_of(r, good)) for r in rows if _differs(r, good)}, problems


def _differs(row: KeyRow, chosen: Chosen) -> bool:
    return row.id in chosen and joined(keys_of(row, chosen)) != joined(row.keys)


def to_text(rows: Sequence[KeyRow], chosen: Chosen) -> str:
    """All keys as JSON, to carry to another machine; see :func:`from_text`."""
    keys = {row.id: list(keys_of(row, chosen)) for row in rows}
    return json.dumps({"isocenter-keys": 1, "keys": keys}, indent=2, ensure_ascii=False) + "\n"


def from_text(rows: Sequence[KeyRow], text: str) -> tuple[dict[str, str], list[str]]:
    """The choices in an exported or hand-written text, and a sentence for each line left out.

    Keys may be a list or one text; commands that are not named keep their usual keys.

    Raises
    ------
    BadInput
        Where it is no table of keys at all.
    """
    try:
        table: Any = json.loads(text)
    except ValueError:
        raise BadInput("This is no file of keys", advice="Choose one that was exported") from None
    if isinstance(table, dict) and isinstance(table.get("keys"), dict):
        table = table["keys"]
    if not isinstance(table, dict) or not any("." in str(id) for id in table):
        raise BadInput("This file names no keys", advice="Choose one that was exported")
    read, problems = {}, []
    for id, value in table.items():
        words = value.split(SEPARATOR) if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            problems.append(f"The keys of “{id}” are no words.")
            continue
        read[id] = SEPARATOR.join(words)
    good, more = sane(rows, read)
    return good, problems + more


def _normal_keys(row: KeyRow, chosen: Chosen) -> tuple[str, ...]:
    return tuple(normal(key) for key in keys_of(row, chosen))


def _meet(one: str, other: str) -> bool:
    return one == other or "any" in (one, other)
