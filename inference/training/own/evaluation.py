"""The report of any installed model on cases with masks, through the worker of the window."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path
from typing import Any

from imaging.errors import BadInput, ImagingError
from inference.client import Patience, WorkerClient
from inference.model import CLICK, DEVIATION, PRESENCE
from inference.registry import InstalledModel
from inference.training.own.case_check import check_cases, open_case, summary
from inference.training.own.case_list import read_cases
from inference.training.own.judge import Judged, answer_by_worker, judge
from inference.training.own.progress import Speaker
from inference.training.own.report import Report, write_report

__all__ = ["evaluate"]

#: Nobody sits and waits for a measurement; a busy computer must not spoil it.
PATIENCE = Patience(beat_s=180.0, stall_s=900.0)


def evaluate(
    model: InstalledModel,
    cases: Path,
    out: Path,
    speaker: Speaker,
    *,
    device: str = "auto",
    label: int = 0,
    command: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Measure a model; returns what ``report.json`` holds.

    Parameters
    ----------
    label : int
        Value of the masks that counts; 0: any. Models with several labels compare by number.
    command : sequence of str, optional
        How to start the worker.

    Raises
    ------
    BadInput
        Where model or cases cannot be used.
    Stopped
        Where the speaker was asked to stop; there is no report then.
    """
    card = model.card
    if card.kind in (CLICK, DEVIATION):
        raise BadInput(f"'{card.name}' draws no mask by itself, so there is nothing to compare")
    if not model.available:
        raise BadInput(f"The model '{card.name}' cannot run: {model.reason}")
    yes_or_no = card.kind == PRESENCE
    speaker.stage("Looking at the cases", 0.0, 0.2)
    notes = check_cases(
        read_cases(cases), classify=yes_or_no, sequence=card.required[0].sequence, label=label,
        progress=speaker.inside,
    )  # fmt: skip
    usable = [note for note in notes if note.ok]
    if not usable:
        summary(notes, yes_or_no)  # says why
    speaker.cases([n.row() for n in notes], f"{len(usable)} of {len(notes)} cases can be used.")
    speaker.stage(card.name, 0.2, 0.78)
    rows: list[Judged] = []
    problems: list[str] = []
    with WorkerClient(command, PATIENCE) as client:
        for number, note in enumerate(usable):
            speaker.inside(number / len(usable), f"Case {number + 1} of {len(usable)}")
            case = open_case(note.files, with_mask=note.files.answer is None)
            try:
                answer = answer_by_worker(client, model, case, device, speaker.heed)
                rows += judge(card, case, answer, label)
            except ImagingError as error:
                problems.append(f"Case {note.files.name} was left out: {error.what}.")
                speaker.note(problems[-1])
    if not rows:
        raise BadInput("The model could answer for no case", "", problems[0] if problems else "")
    facts = {
        "Model": f"{card.name} {card.version} ({card.id})",
        "Weights": card.weights_sha256[:16],
        "Threshold": f"{card.threshold:g}, from the card",
        "Date": date.today().isoformat(),
    }
    warnings = (
        *problems,
        "Whether the model was trained on any of these patients is for you to know; figures on "
        "training cases say nothing.",
    )
    title = f"{card.name} {card.version}: evaluation on {len(usable)} cases"
    content = write_report(Report(title, facts, rows, warnings=warnings), out)
    done = {"promoted": True, "reason": "", "package": "", "report": str(out / "report.json")}
    speaker.done(f"The report is {out / 'report.md'}", **done)
    return content
