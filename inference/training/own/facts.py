"""What a training says about itself: in its report, on its card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from inference.training.own.bases import Base
from inference.training.own.case_check import CaseNote
from inference.training.own.choices import Choices
from inference.training.own.figures import figures_of, plain
from inference.training.own.judge import Judged
from inference.training.own.loop import Until

__all__ = ["card_figures", "facts_of", "limits_of", "training_table", "until"]

#: Where nobody says how long.
USUAL_MINUTES = 30.0
#: With fewer patients the figures say so themselves.
MANY_PATIENTS = 20


def until(choices: Choices, runs: int) -> Until:
    """The end of each of some runs."""
    if choices.steps:
        return Until(steps=choices.steps)
    return Until(seconds=60.0 * (choices.minutes or USUAL_MINUTES) / runs)


def limits_of(rows: Sequence[Judged], usable: Sequence[CaseNote], folds: int) -> tuple[str, ...]:
    """What the figures do not say, in sentences."""
    patients = len({row.patient for row in rows})
    said = []
    if not rows:
        said.append("No case was left out, so nobody knows how good it is.")
    elif patients < MANY_PATIENTS:
        people = "one patient" if patients == 1 else f"{patients} patients"
        said.append(f"Measured on {people} only; another hospital's images may do worse.")
    if rows and folds:
        said.append(
            "The figures belong to networks trained without the patient they were measured on; "
            "the package was trained on all cases and has no figure of its own."
        )
    if len({note.files.subgroup for note in usable}) == 1:
        said.append("All cases are of one group: nothing is known about other scanners.")
    return tuple(said)


def facts_of(
    choices: Choices,
    table: Mapping[str, Any],
    usable: Sequence[CaseNote],
    folds: int,
    base: Base | None,
) -> dict[str, str]:
    """How it was done, for the report."""
    patients = {note.files.patient for note in usable}
    how = f"{folds}-fold cross-validation by patient" if folds else "none"
    start = (
        f"{base.card.name} {base.card.version}" if base else choices.start_from or "random weights"
    )
    length = (
        f"{choices.steps} steps"
        if choices.steps
        else f"{choices.minutes or USUAL_MINUTES:g} minutes"
    )
    return {
        "Cases": f"{_counted(len(usable), 'case')} of {_counted(len(patients), 'patient')}",
        "Left out": how + (", and further cases that only judge" if choices.held_out else ""),
        "Network": f"{choices.network}, {choices.dims}-D"
        if base is None
        else base.card.architecture,
        "Begun from": start,
        "Loss and optimiser": f"{choices.loss}, {choices.optimiser}",
        "Length": f"{length}, seed {choices.seed}",
        "Threshold": f"{table['outputs']['threshold']:g}, fixed before any figure was seen",
        "Date": date.today().isoformat(),
    }


def _counted(count: int, word: str) -> str:
    return f"1 {word}" if count == 1 else f"{count} {word}s"


def training_table(facts: Mapping[str, str], choices: Choices) -> dict[str, Any]:
    """How it was done, for the card; ``facts`` from :func:`facts_of`."""
    return {
        "data": f"Own cases: {facts['Cases']}",
        "split": facts["Left out"],
        "begun_from": facts["Begun from"],
        "loss": choices.loss,
        "optimiser": choices.optimiser,
        "length": facts["Length"],
        "seed": choices.seed,
        "date": facts["Date"],
        "code": "isocenter train",
    }


def card_figures(rows: Sequence[Judged], folds: int) -> list[dict[str, Any]]:
    """Figures for the card: of all left-out cases together."""
    if not rows:
        return []
    known = figures_of(rows)
    named = {name: one["value"] for name, one in plain(known).items()}
    intervals = {
        name: [one["low"], one["high"]]
        for name, one in plain(known).items()
        if one["low"] is not None
    }
    rule = "26-connected components, found when at least one voxel overlaps"
    case = "left-out cases of the cross-validation" if folds else "held-out cases"
    return [{"case": case, "n": known.patients, "cases": known.cases, "rule": rule, **named,
             "intervals_95": intervals}]  # fmt: skip
