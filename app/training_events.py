"""What a training says while it goes on: lines of JSON, read into values.

The training is a process of its own (``isocenter train ... --json``). A line that is no JSON, or of
a kind that is not known, is some library's chatter or the word of a newer program: it is passed by.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any


@dataclass(frozen=True)
class CaseCheck:
    """What was found about one case before training.

    Parameters
    ----------
    case : str
        Name of its files; no patient text.
    ok : bool
        Whether it can be used.
    sentence : str
        Why not, or what to know about it; may be empty.
    """

    case: str
    ok: bool
    sentence: str = ""
    patient: str = ""
    subgroup: str = ""


@dataclass(frozen=True)
class Checked:
    """All cases were looked at."""

    cases: tuple[CaseCheck, ...]
    sentence: str = ""

    @property
    def usable(self) -> int:
        """How many cases can be used."""
        return sum(case.ok for case in self.cases)

    @property
    def patients(self) -> int:
        """How many people the usable cases are of."""
        return len({case.patient or case.case for case in self.cases if case.ok})


@dataclass(frozen=True)
class Stage:
    """A new part of the work begins; ``fraction`` is of the whole, below 0 where not known."""

    words: str
    fraction: float = -1.0
    seconds_left: float | None = None


@dataclass(frozen=True)
class Step:
    """How well it goes after so many steps.

    Parameters
    ----------
    step, steps : int
        Of this fold.
    fold, folds : int
        Which fold, from 1, of how many; beyond the last one it learns from all cases. A training
        without folds has 0 of them.
    loss : float
        Mean training loss since the last report.
    validation : float or None
        Dice on the cases held back, 0 to 1, where it was just measured.
    """

    step: int
    steps: int
    loss: float
    fold: int = 1
    folds: int = 0
    validation: float | None = None
    fraction: float = -1.0
    seconds_left: float | None = None

    @property
    def run_words(self) -> str:
        """Which run this belongs to: ``"Fold 1 of 3"`` or ``"All cases"``."""
        return f"Fold {self.fold} of {self.folds}" if self.fold <= self.folds else "All cases"


@dataclass(frozen=True)
class Note:
    """Something the user should know."""

    sentence: str


@dataclass(frozen=True)
class Done:
    """The training has ended by itself.

    Parameters
    ----------
    package, report : str
        Folder of the new model and path of ``report.json``; empty where there is none.
    promoted : bool
        False where the new model is not better than the old one, see ``reason``.
    """

    package: str = ""
    report: str = ""
    promoted: bool = True
    reason: str = ""
    sentence: str = ""


@dataclass(frozen=True)
class Stopped:
    """It was stopped, and can go on from its checkpoint."""

    sentence: str = ""


@dataclass(frozen=True)
class Failed:
    """It could not go on."""

    sentence: str


Event = Checked | Stage | Step | Note | Done | Stopped | Failed
ENDS = (Done, Stopped, Failed)


def read_event(line: str) -> Event | None:
    """The event of a line, or None where it holds none."""
    try:
        table = json.loads(line)
    except ValueError:
        return None
    if not isinstance(table, dict):
        return None
    read = _READERS.get(_text(table, "kind"))
    if read is None:
        return Failed(_text(table, "error")) if _text(table, "error") else None
    return read(table)


def _text(table: Mapping[str, Any], name: str) -> str:
    value = table.get(name)
    return value if isinstance(value, str) else ""


def _number(table: Mapping[str, Any], name: str) -> float | None:
    value = table.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)


def _count(table: Mapping[str, Any], name: str, default: int) -> int:
    value = _number(table, name)
    return default if value is None else round(value)


def _fraction(table: Mapping[str, Any]) -> float:
    value = _number(table, "fraction")
    return -1.0 if value is None else min(1.0, max(0.0, value))


def _checked(table: Mapping[str, Any]) -> Checked:
    rows = table.get("cases")
    cases = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    return Checked(
        tuple(
            CaseCheck(
                case=_text(row, "case"),
                ok=row.get("ok") is True,
                sentence=_text(row, "sentence"),
                patient=_text(row, "patient"),
                subgroup=_text(row, "subgroup"),
            )
            for row in cases
        ),
        _text(table, "sentence"),
    )


def _stage(table: Mapping[str, Any]) -> Stage:
    return Stage(_text(table, "words"), _fraction(table), _number(table, "seconds_left"))


def _step(table: Mapping[str, Any]) -> Step | None:
    loss = _number(table, "loss")
    if loss is None:
        return None
    return Step(
        step=_count(table, "step", 0),
        steps=_count(table, "steps", 0),
        loss=loss,
        fold=_count(table, "fold", 1),
        folds=_count(table, "folds", 0),
        validation=_number(table, "validation"),
        fraction=_fraction(table),
        seconds_left=_number(table, "seconds_left"),
    )


def _done(table: Mapping[str, Any]) -> Done:
    return Done(
        package=_text(table, "package"),
        report=_text(table, "report"),
        promoted=table.get("promoted") is not False,
        reason=_text(table, "reason"),
        sentence=_text(table, "sentence"),
    )


def _failed(table: Mapping[str, Any]) -> Failed:
    what = _text(table, "what") or _text(table, "sentence") or "The training failed"
    advice = _text(table, "advice")
    return Failed(f"{what.rstrip('.')}. {advice}".strip())


_READERS: dict[str, Any] = {
    "cases": _checked,
    "stage": _stage,
    "step": _step,
    "note": lambda table: Note(_text(table, "sentence")),
    "done": _done,
    "stopped": lambda table: Stopped(_text(table, "sentence")),
    "failed": _failed,
}
