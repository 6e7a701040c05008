"""The report of a training as the window shows it: one row per figure, old beside new."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.training_events import Done
from app.training_wish import holds_training
from imaging.errors import BadInput
from inference.model import CARD_NAME
from inference.training.own.words import WORDS


@dataclass(frozen=True)
class Figure:
    """A mean over patients with its bootstrap interval; ``low`` and ``high`` may be missing."""

    value: float
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        """``"0.62 (0.48 to 0.75)"``."""
        if self.low is None or self.high is None:
            return f"{self.value:.3g}"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Row:
    """One figure of the old and the new model; None where it was not measured."""

    words: str
    new: Figure | None
    old: Figure | None = None


@dataclass(frozen=True)
class TrainingReport:
    """What a report file says.

    Parameters
    ----------
    n : int
        Patients held back.
    rows : tuple of Row
        Figures of all patients together.
    subgroups : mapping
        Name of a subgroup to its rows.
    picture : Path or None
        A figure beside the report.
    text : Path or None
        The whole report to read.
    warnings : tuple of str
        What the figures do not say.
    """

    n: int
    rows: tuple[Row, ...]
    subgroups: Mapping[str, tuple[Row, ...]]
    picture: Path | None = None
    text: Path | None = None
    warnings: tuple[str, ...] = ()

    def figure(self, words: str) -> Figure | None:
        """The new model's figure of this name; None where it was not measured."""
        return next((one.new for one in self.rows if one.words == words), None)


def read_report(path: Path) -> TrainingReport:
    """Read ``report.json``.

    Raises
    ------
    BadInput
        Where it cannot be read or is no report.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput("The report of the training cannot be read", str(path)) from error
    if not isinstance(table, dict):
        raise BadInput("This file is no report of a training", str(path))
    return TrainingReport(
        n=int(table.get("n", 0)),
        rows=_rows(_table(table, "new"), _table(table, "old")),
        subgroups={
            str(name): _rows(figures, {})
            for name, figures in _table(table, "subgroups").items()
            if isinstance(figures, dict)
        },
        picture=_beside(path, table.get("picture")),
        text=_beside(path, "report.md"),
        warnings=tuple(str(one) for one in table.get("warnings") or ()),
    )


def stored_end(out: Path) -> Done | None:
    """How the training in a folder ended; None where it has not, or nobody can tell."""
    path = out / "report.json"
    if not holds_training(out) or not path.is_file():
        return None
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        said = _table(table, "verdict")
    except (OSError, ValueError, AttributeError):
        return None
    promoted = said.get("promoted") is not False
    package = out / "package"
    if promoted and not (package / CARD_NAME).is_file():
        return None  # it was stopped between report and package
    reason = said.get("reason")
    return Done(
        str(package) if promoted else "",
        str(path),
        promoted,
        reason if isinstance(reason, str) else "",
    )


def _table(table: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = table.get(name)
    return value if isinstance(value, dict) else {}


def _rows(new: Mapping[str, Any], old: Mapping[str, Any]) -> tuple[Row, ...]:
    figures = ((words, new.get(name), old.get(name)) for name, words in WORDS.items())
    rows = (Row(words, _figure(now), _figure(before)) for words, now, before in figures)
    return tuple(row for row in rows if row.new is not None or row.old is not None)


def _figure(value: Any) -> Figure | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Figure(float(value))
    if not isinstance(value, dict):
        return None
    numbers = {key: value.get(key) for key in ("value", "low", "high")}
    real = {k: float(v) for k, v in numbers.items() if isinstance(v, int | float)}
    return Figure(**real) if "value" in real else None


def _beside(path: Path, name: Any) -> Path | None:
    """A file beside the report; a report never points elsewhere."""
    if not isinstance(name, str) or not name or Path(name).name != name:
        return None
    found = path.parent / name
    return found if found.is_file() else None
