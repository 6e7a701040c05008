"""What a model says about a case that it has not seen, measured on the grid of the image.

Two ways to the answer, one way to measure it: :func:`answer_here` runs a package in this process
by the very steps of the application (for folds, hundreds of times), :func:`answer_by_worker` asks
the worker process as the window does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from imaging.analysis.probability_metrics import ChanceTable, chance_table, doubtful
from imaging.analysis.segmentation_metrics import agreement
from imaging.errors import WorldFailed
from imaging.geometry import Geometry
from inference.model import PRESENCE, TISSUE, ModelCard
from inference.reports import Quiet
from inference.training.own.case_check import OpenCase

if TYPE_CHECKING:
    from inference.client import WorkerClient
    from inference.registry import InstalledModel

__all__ = ["Answer", "Judged", "answer_by_worker", "answer_here", "judge"]


@dataclass(frozen=True, eq=False)
class Answer:
    """A model's answer on the grid of the image.

    Parameters
    ----------
    probability : ndarray, shape (k, j, i) or (labels, k, j, i)
    mask : ndarray of uint8, shape (k, j, i)
        Numbers of the card's labels.
    present : float or None
        Of a yes-or-no model.
    notes : tuple of str
    """

    probability: npt.NDArray[np.float32]
    mask: npt.NDArray[np.uint8]
    present: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Judged:
    """Figures of one case (and, for several labels, of one label).

    Parameters
    ----------
    figures : dict of str to float
        What can be said; a share that has no meaning (nothing to find) is left out.
    counts : tuple of int
        Lesions, marked pieces, found lesions, true pieces (any overlap).
    by_size : tuple of (int, int)
        Lesions and found ones by size class.
    table : ChanceTable
        Voxels in doubt; of a yes-or-no model the one answer.
    """

    case: str
    patient: str
    subgroup: str
    label: str
    figures: dict[str, float]
    counts: tuple[int, int, int, int]
    by_size: tuple[tuple[int, int], ...]
    table: ChanceTable

    def plain(self) -> dict[str, Any]:
        """As JSON."""
        places = [
            (int(n), int(self.table.true[n]), int(self.table.other[n]))
            for n in np.flatnonzero(self.table.true + self.table.other)
        ]
        return {
            "case": self.case, "patient": self.patient, "subgroup": self.subgroup,
            "label": self.label, "figures": self.figures, "counts": list(self.counts),
            "by_size": [list(pair) for pair in self.by_size], "table": places,
        }  # fmt: skip


def from_plain(values: dict[str, Any]) -> Judged:
    """The inverse of :meth:`Judged.plain`."""
    table = chance_table(np.zeros(0), np.zeros(0))
    for place, true, other in values["table"]:
        table.true[place], table.other[place] = true, other
    a, b, c, d = values["counts"]
    return Judged(
        values["case"], values["patient"], values["subgroup"], values["label"],
        dict(values["figures"]), (a, b, c, d), tuple((m, n) for m, n in values["by_size"]), table,
    )  # fmt: skip


# --- the answer -------------------------------------------------------------------------------


def answer_here(folder: Path, cases: Sequence[OpenCase], device: str = "auto") -> list[Answer]:
    """A package's answers, by the steps of the worker, in this process."""
    from importlib import import_module

    from inference import pipeline
    from inference.card_reading import load_card
    from inference.devices import choose_device
    from inference.registry import plugin_name

    card = load_card(folder)
    module, _, name = plugin_name(card).partition(":")
    runner = getattr(import_module(module), name)(card, folder, choose_device(device))
    answers = []
    for case in cases:
        report = Quiet()
        known = {need.name for need in card.inputs}
        images = case.images(card.required[0].name)
        prepared = runner.prepare({n: i for n, i in images.items() if n in known})
        shape = case.volume.geometry.shape
        stack = (len(card.labels), *shape) if len(card.labels) > 1 else shape
        wanted = pipeline.Wanted(np.zeros(stack, np.float32), np.zeros(shape, np.uint8))
        facts, _ = pipeline.segment(runner, prepared, wanted, "fine", report)
        notes = tuple(report.notes)
        answers.append(Answer(wanted.probability, wanted.mask, _present(card, facts), notes))
    return answers


def answer_by_worker(
    client: WorkerClient,
    model: InstalledModel,
    case: OpenCase,
    device: str = "auto",
    heed: Callable[[], None] = lambda: None,
) -> Answer:
    """The answer of the worker process.

    Parameters
    ----------
    heed : callable
        Asked twice a second; what it raises ends the waiting.

    Raises
    ------
    WorldFailed
        Where the run failed.
    """
    from inference.messages import Failed, SegmentAnswer

    optional = {need.name for need in model.card.optional}
    others = {name: volume for name, volume in case.others.items() if name in optional}
    run = client.segment(case.volume, model, others=others, device=device)
    while (outcome := run.wait(0.5)) is None:
        heed()
    if isinstance(outcome, Failed):
        raise WorldFailed(outcome.what, advice=outcome.advice)
    if not isinstance(outcome, SegmentAnswer):
        raise WorldFailed("The run was cancelled")
    present = _present(model.card, dict(outcome.facts))
    return Answer(outcome.probability, outcome.mask, present, outcome.notes)


def _present(card: ModelCard, facts: dict[str, Any]) -> float | None:
    value = facts.get("probability")
    return float(value) if card.kind == PRESENCE and isinstance(value, (int, float)) else None


# --- the figures ------------------------------------------------------------------------------


def judge(card: ModelCard, case: OpenCase, answer: Answer, label: int = 0) -> list[Judged]:
    """Measure an answer: one row, or one for each label of a tissue model.

    Parameters
    ----------
    label : int
        Value of the reference mask that counts; 0: any. Tissue models compare number by number.
    """
    if card.kind == PRESENCE:
        return [_judge_answer(card, case, answer)]
    if card.kind == TISSUE or len(card.labels) > 1:
        stack = answer.probability
        return [
            _judge_mask(case, label.name, answer.mask == label.number, stack[n],
                        case.marked(label.number))
            for n, label in enumerate(card.labels)
        ]  # fmt: skip
    return [_judge_mask(case, "", answer.mask != 0, answer.probability, case.marked(label))]


def _judge_mask(
    case: OpenCase, label: str, found: np.ndarray, probability: np.ndarray, gold: np.ndarray
) -> Judged:
    geometry: Geometry = case.volume.geometry
    measured = agreement(found, gold, geometry.spacing)
    figures: dict[str, float | None] = {
        "dice": measured.dice,
        "sensitivity": measured.sensitivity,
        "ppv": measured.ppv,
        "lesion_f1": measured.touch.f1,
        "lesion_sensitivity": measured.touch.sensitivity,
        "lesion_ppv": measured.touch.ppv if measured.touch.lesions else None,
        "matched_f1": measured.match.f1,
        "hd95_mm": measured.hd95_mm,
        "nsd": measured.nsd,
        "gold_ml": measured.gold_ml,
        "found_ml": measured.found_ml,
        "volume_error_ml": measured.found_ml - measured.gold_ml,
        "false_ml": measured.false_ml,
    }
    head = _head(case)
    everywhere = chance_table(probability, gold, head)
    figures["auc"] = everywhere.auc
    figures["average_precision"] = everywhere.average_precision
    table = chance_table(probability, gold, doubtful(probability, gold))
    touch = measured.touch
    return Judged(
        case.files.name, case.files.patient, case.files.subgroup, label,
        {name: round(value, 6) for name, value in figures.items() if value is not None},
        (touch.lesions, touch.marked, touch.found, touch.true), measured.found_by_size, table,
    )  # fmt: skip


def _judge_answer(card: ModelCard, case: OpenCase, answer: Answer) -> Judged:
    chance = 0.0 if answer.present is None else answer.present
    right = (chance > card.threshold) == case.answer
    figures = {"probability": chance, "answer": float(case.answer), "accuracy": float(right)}
    table = chance_table(np.array([chance]), np.array([case.answer]))
    found = int(case.answer and right)
    counts = (int(case.answer), int(chance > card.threshold), found, found)
    files = case.files
    return Judged(files.name, files.patient, files.subgroup, "", figures, counts, (), table)


def _head(case: OpenCase) -> npt.NDArray[np.bool_]:
    """Brighter than air: background voxels would make every curve look good."""
    voxels = case.volume.voxels
    low, high = (float(v) for v in np.percentile(voxels[::2, ::2, ::2], (1, 99)))
    return np.asarray(voxels > low + 0.12 * (high - low))
