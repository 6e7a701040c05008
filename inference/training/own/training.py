"""A training from the cases to the package: check, leave out, learn, judge, learn from all, report.

Each fold leaves whole patients out and is judged on them alone; the package is then trained on all
cases, so the figures belong to the networks of the folds, and its card says so. Nothing is chosen
by looking at the left-out cases: the threshold is fixed, and the last averaged weights are taken.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from imaging.errors import BadInput
from inference.card_reading import load_card
from inference.training.own.bases import Base, fitted, load_pretrained, model_base
from inference.training.own.case_check import CaseNote, Summary, check_cases, open_case, summary
from inference.training.own.case_list import CaseFiles, read_cases
from inference.training.own.choices import SLICES, Choices, keep_choices
from inference.training.own.facts import card_figures, facts_of, limits_of, training_table, until
from inference.training.own.figures import figures_of
from inference.training.own.files import read_table, write_text
from inference.training.own.folds import make_folds
from inference.training.own.judge import Judged, answer_here, from_plain, judge
from inference.training.own.loop import Run
from inference.training.own.packing import (
    card_of,
    check_free,
    network_of,
    new_card_table,
    write_package,
)
from inference.training.own.patches import PatchSource, cut_block
from inference.training.own.prepared import PreparedCase, Store, anew_where_changed
from inference.training.own.progress import Speaker
from inference.training.own.report import Report, write_report

__all__ = ["Cases", "check_only", "look_at_cases", "train"]

_PREPARE, _END = 0.08, 0.97
JUDGED = "judged.json"
CHANGED = "Cases have changed since it was stopped; what had learned from them begins anew."


@dataclass(frozen=True)
class Cases:
    """All that may be learned from.

    Parameters
    ----------
    table : dict
        The card to be, without weights.
    summary : Summary
    prepared : list of PreparedCase
    """

    table: dict[str, Any]
    summary: Summary
    prepared: list[PreparedCase]

    def files(self, patients: frozenset[str]) -> list[CaseFiles]:
        """Usable cases of some patients."""
        return [n.files for n in self.summary.usable if n.files.patient in patients]


def check_only(choices: Choices, speaker: Speaker) -> None:
    """Say what can be used, and nothing else."""
    cases = read_cases(Path(choices.cases))
    answer = choices.recipe.classifies
    speaker.stage("Looking at the cases", 0.0, 1.0)
    notes = check_cases(
        cases, classify=answer, sequence=choices.sequence, label=choices.label,
        progress=speaker.inside,
    )  # fmt: skip
    _tell(notes, summary(notes, answer, choices.sequence), speaker)


def _tell(notes: Sequence[CaseNote], known: Summary, speaker: Speaker) -> None:
    speaker.cases([note.row() for note in notes], known.sentence)


def look_at_cases(choices: Choices, speaker: Speaker, base: Base | None = None) -> Cases:
    """Check all cases and bring those that can be used onto the network's grid.

    Parameters
    ----------
    base : Base, optional
        The model to start from; its card decides grid and images.

    Raises
    ------
    BadInput
        Where nothing can be learned from them.
    """
    files = read_cases(Path(choices.cases))
    answer = choices.recipe.classifies and base is None
    optional = sorted({name for case in files for name in case.others})
    sequence = choices.sequence or (base.card.required[0].sequence if base else "")
    speaker.stage("Looking at the cases", 0.0, _PREPARE)
    table = new_card_table(choices, sequence or "FLAIR", optional)
    if base is not None:
        table = _from_base(table, base, choices.sequence)
    store = Store(choices.folder, card_of(table), choices.label)
    notes = check_cases(
        files, classify=answer, sequence=sequence, label=choices.label,
        keep=store.keep, progress=speaker.inside,
    )  # fmt: skip
    known = summary(notes, answer, sequence)
    _tell(notes, known, speaker)
    if base is None and not sequence:
        table = new_card_table(choices, known.sequence, optional)
    return Cases(table, known, store.cases(notes))


def _from_base(table: dict[str, Any], base: Base, sequence: str) -> dict[str, Any]:
    """Grid, images, labels and network of the model to start from; a name and id of its own.

    It may be taught another sequence; the card then asks for that one.
    """
    kept = ("inputs", "outputs", "preprocess", "network", "intended_use", "not_for", "licence")
    taken = {key: base.table[key] for key in kept if key in base.table}
    if "credit" in base.table:
        taken["credit"] = base.table["credit"]
    main = base.card.required[0].name
    if sequence and sequence != base.card.required[0].sequence:
        other = {"name": sequence, "sequence": sequence, "description": f"{sequence} of a head."}
        taken["inputs"] = [
            {**one, **other} if one["name"] == main else one for one in taken["inputs"]
        ]
    return {**table, **taken}


def train(choices: Choices, speaker: Speaker, resume: bool = False) -> dict[str, Any]:
    """Do the whole training; what ``done`` tells is returned as well.

    Raises
    ------
    BadInput
        Where choices or cases make no training.
    Stopped
        Where the speaker was asked to stop; ``resume`` goes on.
    """
    check_free(choices.model_id)
    base = model_base(choices.start_from) if choices.start_from else None
    if base is not None:
        choices = fitted(choices, base)
    keep_choices(choices, resume)
    device = start_torch(choices)
    cases = look_at_cases(choices, speaker, base)
    folds = make_folds(cases.prepared, choices.folds, choices.seed) if choices.folds else []
    runs = len(folds) + 1
    share = (_END - _PREPARE) / runs
    rows: list[Judged] = []
    for number, left_out in enumerate(folds, 1):
        begin = _PREPARE + share * (number - 1)
        speaker.stage(f"Fold {number} of {len(folds)}", begin, share * 0.9)
        folder = choices.folder / f"fold-{number}"
        seen = [case for case in cases.prepared if case.patient not in left_out]
        unseen = [case for case in cases.prepared if case.patient in left_out]
        network = _one_run(
            choices, cases, base, seen, unseen, folder, (number, runs), device, speaker
        )
        speaker.stage(f"Judging fold {number} of {len(folds)}", begin + share * 0.9, share * 0.1)
        rows += judged(folder, cases, network, cases.files(left_out), choices, speaker)
    speaker.stage("Learning from all cases", _PREPARE + share * len(folds), share * 0.9)
    folder = choices.folder / "all"
    network = _one_run(
        choices, cases, base, cases.prepared, [], folder, (runs, runs), device, speaker
    )
    rows += _further(choices, cases, network, speaker)
    return _finish(choices, cases, network, rows, len(folds), base, speaker)


def start_torch(choices: Choices) -> str:
    """Threads and determinism; the kind of device that trains."""
    from inference.devices import choose_device, cores

    torch.set_num_threads(choices.threads or max(1, cores() - 1))
    torch.use_deterministic_algorithms(True, warn_only=True)
    return choose_device(choices.device).kind


def first_network(choices: Choices, table: Mapping[str, Any], base: Base | None, run: int
                  ) -> nn.Module:  # fmt: skip
    """What a run begins with: weights from the seed, a pretraining or a model."""
    torch.manual_seed(choices.seed * 1000 + run)
    if base is not None:
        return base.network()
    network = network_of(table)
    if choices.start_from:
        load_pretrained(network, Path(choices.start_from))
    return network


def _one_run(
    choices: Choices,
    cases: Cases,
    base: Base | None,
    seen: Sequence[PreparedCase],
    unseen: Sequence[PreparedCase],
    folder: Path,
    run: tuple[int, int],
    device: str,
    speaker: Speaker,
) -> nn.Module:
    """A trained network, in evaluation mode on the CPU."""
    if not any(case.positive for case in seen):
        raise BadInput("Without the left-out patients nothing is marked; use fewer folds")
    network = first_network(choices, cases.table, base, run[0])
    same = copy.deepcopy(network)
    one = Run(network, choices, folder, *run, device)
    if anew_where_changed(folder, seen):
        speaker.note(CHANGED)
    one.resume()
    source = PatchSource(seen, choices, run[0], ahead=4 if device == "cuda" else 0)
    try:
        check = _looked_at(one, same, unseen, choices)
        one.train(source, until(choices, run[1]), speaker, check)
    finally:
        source.close()
    return one.result(same)


def _looked_at(
    run: Run, same: nn.Module, unseen: Sequence[PreparedCase], choices: Choices
) -> Callable[[], float | None] | None:
    """Dice in a block of the first left-out case with findings; for the log only."""
    cases = [case for case in unseen if case.positive]
    if not cases or choices.recipe.classifies:
        return None
    case, edge = cases[0], choices.recipe.patch * 3 // 2
    edge -= edge % choices.recipe.multiple
    centres, _ = case.centres
    centre = np.median(centres, axis=0).astype(int)
    start = [int(c) - edge // 2 for c in centre]
    planes = choices.dims == "2.5"
    size = (SLICES, edge, edge) if planes else (edge,) * 3
    if planes:
        start[0] = int(centre[0]) - SLICES // 2
    image = cut_block(case.image, start, size, -1.0)
    label = cut_block(case.mask[None], start, size, 0.0)[0] > 0
    if planes:
        image, label = image.reshape(-1, edge, edge), label[SLICES // 2]

    @torch.no_grad()
    def dice() -> float | None:
        network = run.result(same).to("cpu")
        found = network(torch.from_numpy(image)[None])[0, 0].numpy() > 0
        both = float((found & label).sum())
        return round(2 * both / max(float(found.sum() + label.sum()), 1.0), 4)

    return dice


# --- judging ----------------------------------------------------------------------------------


def judged(
    folder: Path,
    cases: Cases,
    network: nn.Module | Path,
    files: Sequence[CaseFiles],
    choices: Choices,
    speaker: Speaker,
) -> list[Judged]:
    """Figures of left-out cases, by a network or a package.

    They are kept for a resume, and hold while weights, images and masks are the same.

    Parameters
    ----------
    folder : Path
        Where the figures and, for a network, its package are written.
    """
    kept = folder / JUDGED
    folder.mkdir(parents=True, exist_ok=True)
    package = network
    if isinstance(network, nn.Module):
        package = write_package(cases.table, network, folder / "package", {}, (), ())
    assert isinstance(package, Path)
    card, weights = card_of(cases.table), load_card(package).weights_sha256
    known = read_table(kept) if kept.exists() else {}
    known = known.get("cases", {}) if known.get("weights") == weights else {}
    rows: list[Judged] = []
    told: dict[str, Any] = {}
    for number, one in enumerate(files):
        speaker.inside(number / len(files))
        case = open_case(one, with_mask=one.answer is None)
        digest = f"{case.digest} {one.patient} {one.subgroup}"  # a row names both
        before = known.get(one.name, {})
        if before.get("digest") == digest:
            found = [from_plain(row) for row in before["rows"]]
        else:
            (answer,) = answer_here(package, [case], choices.device)
            found = judge(card, case, answer, choices.label)
        rows += found
        told[one.name] = {"digest": digest, "rows": [row.plain() for row in found]}
        write_text(kept, json.dumps({"weights": weights, "cases": {**known, **told}}))
    return rows


def _further(choices: Choices, cases: Cases, network: nn.Module, speaker: Speaker) -> list[Judged]:
    """Cases that only judge (``held_out``): none of their patients may have been learned from."""
    if not choices.held_out:
        return []
    files = apart_from(read_cases(Path(choices.held_out)), cases.summary.usable)
    return judged(choices.folder / "held-out", cases, network, files, choices, speaker)


def apart_from(files: Sequence[CaseFiles], learned: Sequence[CaseNote]) -> list[CaseFiles]:
    """The same cases, after a look that no patient is among those that were learned from.

    Raises
    ------
    BadInput
        Where one is.
    """
    known = {note.files.patient for note in learned}
    for one in files:
        if one.patient in known:
            raise BadInput(
                "A case that shall only judge is of a patient that is learned from", one.name,
                "Take it out of one of the two lists",
            )  # fmt: skip
    return list(files)


# --- the end ----------------------------------------------------------------------------------


def _finish(
    choices: Choices,
    cases: Cases,
    network: nn.Module,
    rows: list[Judged],
    folds: int,
    base: Base | None,
    speaker: Speaker,
) -> dict[str, Any]:
    speaker.stage("Writing report and package", _END, 1 - _END)
    usable = cases.summary.usable
    limits = limits_of(rows, usable, folds)
    facts = facts_of(choices, cases.table, usable, folds, base)
    title = f"{cases.table['name']}: figures of cases it had not seen"
    write_report(Report(title, facts, rows, warnings=limits), choices.folder)
    package = write_package(
        cases.table,
        network,
        choices.folder / "package",
        training_table(facts, choices),
        card_figures(rows, folds),
        limits,
    )
    dice = figures_of(rows).named.get("dice")
    sentence = "The model is ready."
    if dice is not None:
        sentence += f" Dice on left-out cases {dice.text}, n = {dice.n}."
    done = {
        "promoted": True,
        "reason": "",
        "package": str(package),
        "report": str(choices.folder / "report.json"),
    }
    speaker.done(sentence, **done)
    return done
