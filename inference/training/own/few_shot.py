"""Adapting an installed model to a few corrected cases, and deciding whether that helped.

What learns: a correction of low rank to every convolution (LoRA, Hu et al. 2021, arXiv 2106.09685;
for convolutions Zhu et al. 2023, arXiv 2303.17051 report that few-shot segmentation does well with
it), all biases, and the whole last layer. The rest stays, and after training the corrections are
added into the weights, so the package has the old form and cost.

What keeps it from forgetting: wherever the old model agreed with the reader, the new one is held
to the old one's probabilities (distillation), and where pieces of the old task can be made up
(`replay`), some are, with the old answers.

What decides: patients that were left out. The rule is fixed here, before any figure is seen, and a
model that is refused is not packaged. A promoted one gets an id and a version of its own; the old
one stays.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from imaging.errors import BadInput
from inference.training.own.bases import Base, fitted, model_base
from inference.training.own.case_list import read_cases
from inference.training.own.choices import Choices, few_shot_folds, keep_choices
from inference.training.own.facts import card_figures, facts_of, limits_of, training_table
from inference.training.own.figures import figures_of
from inference.training.own.folds import make_folds
from inference.training.own.judge import Judged
from inference.training.own.loop import Run, Until
from inference.training.own.losses import make_loss
from inference.training.own.packing import check_free, write_package
from inference.training.own.patches import PatchSource
from inference.training.own.prepared import PreparedCase, anew_where_changed
from inference.training.own.progress import Speaker
from inference.training.own.replay import ASK_THE_OLD, WithReplay, old_task
from inference.training.own.report import Report, write_report
from inference.training.own.training import (
    CHANGED,
    Cases,
    apart_from,
    judged,
    look_at_cases,
    start_torch,
)

if TYPE_CHECKING:
    from inference.training.lesions.synthesis import Synthesiser

__all__ = ["RULE", "Verdict", "adapt", "adapted", "merged", "verdict"]

#: Rank of the corrections, and how strongly agreement with the old model is kept.
RANK, KEEP = 4, 2.0
#: Steps of a run where nobody says how long: minutes on an ordinary computer.
USUAL_STEPS = 120
#: Whether pieces of the old task took part, for the report and the card.
REPLAYED = "replayed: a quarter of the pieces, made up anew and answered by the old model"
NOT_REPLAYED = "not replayed: only the agreement on these cases kept it"


@dataclass(frozen=True)
class Rule:
    """When a new model takes part beside the old one.

    Parameters
    ----------
    patients : int
        At least so many left-out patients.
    gain : float
        The mean Dice must rise by this.
    lesion_loss : float
        The mean lesion F1 may fall by no more than this.
    worst : float
        No patient's Dice may fall by more than this.
    false_ml : float
        Where there is nothing to find, no more than this may be marked in addition.
    """

    patients: int = 2
    gain: float = 0.01
    lesion_loss: float = 0.02
    worst: float = 0.10
    false_ml: float = 0.5


RULE = Rule()


@dataclass(frozen=True)
class Verdict:
    """Whether the new model is better, and why, in one sentence."""

    promoted: bool
    reason: str


# --- corrections ------------------------------------------------------------------------------


class LowRank(nn.Module):
    """A weight with a correction of low rank, which is zero at first.

    Parameters
    ----------
    weight : Tensor, shape (a, b, ...)
    """

    def __init__(self, weight: torch.Tensor, rank: int) -> None:
        super().__init__()
        rows, columns = weight.shape[0], weight[0].numel()
        self.up = nn.Parameter(torch.zeros(rows, rank))
        self.down = nn.Parameter(torch.randn(rank, columns) / columns**0.5)

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """The corrected weight."""
        return weight + (self.up @ self.down).view_as(weight)


def adapted(network: nn.Module, rank: int = RANK) -> nn.Module:
    """Freeze a network and add what may learn; in place."""
    network.requires_grad_(False)
    kinds = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
    layers = [module for module in network.modules() if isinstance(module, kinds)]
    for module in layers:
        if module.bias is not None:
            module.bias.requires_grad_(True)
    last = layers[-1]
    last.weight.requires_grad_(True)
    for module in layers[:-1]:
        if min(module.weight.shape[0], module.weight[0].numel()) > rank:
            parametrize.register_parametrization(module, "weight", LowRank(module.weight, rank))
    return network


def merged(network: nn.Module) -> nn.Module:
    """Add the corrections into the weights, so that the network has its old form; in place."""
    for module in network.modules():
        if parametrize.is_parametrized(module, "weight"):
            parametrize.remove_parametrizations(module, "weight", leave_parametrized=True)
    return network.requires_grad_(False).eval()


def keeping_loss(old: nn.Module, name: str, device: str) -> Callable[..., torch.Tensor]:
    """The chosen loss, and the distance to the old model wherever it agreed with the reader."""
    plain, teacher = make_loss(name), copy.deepcopy(old).to(device).eval().requires_grad_(False)

    def loss(logits: torch.Tensor, label: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            before = torch.sigmoid(teacher(image))
        label = torch.where(label == ASK_THE_OLD, (before > 0.5).float(), label)
        agreed = ((before > 0.5) == (label > 0.5)).float()
        drift = (torch.sigmoid(logits) - before) ** 2 * agreed
        return plain(logits, label) + KEEP * drift.sum() / agreed.sum().clamp(min=1.0)

    return loss


# --- the verdict ------------------------------------------------------------------------------


def verdict(new: Sequence[Judged], old: Sequence[Judged], rule: Rule = RULE) -> Verdict:
    """Compare both on the same left-out cases."""
    patients = len({row.patient for row in new})
    if patients < rule.patients:
        return Verdict(False, f"{_people(patients)} left out: too few to judge by.")
    pairs = {row.case: row for row in old}
    for row in new:
        before, now = pairs[row.case].figures, row.figures
        if "dice" in now and now["dice"] < before["dice"] - rule.worst:
            return Verdict(
                False,
                f"On case {row.case} the Dice falls from {before['dice']:.2f} to "
                f"{now['dice']:.2f}; no single patient may get that much worse.",
            )
        if "dice" not in now and now["false_ml"] > before["false_ml"] + rule.false_ml:
            return Verdict(
                False,
                f"In case {row.case}, where nothing is to be found, {now['false_ml']:.1f} ml are "
                f"marked instead of {before['false_ml']:.1f} ml.",
            )
    before, now = (figures_of(rows).named for rows in (old, new))
    if "dice" not in now:
        return Verdict(False, "No left-out case has a finding, so nothing shows that it is better.")
    a, b = before["dice"].value, now["dice"].value
    if b < a + rule.gain:
        return Verdict(False, f"The mean Dice on left-out patients goes from {a:.3f} to {b:.3f}; "
                       f"it must rise by {rule.gain:g}.")  # fmt: skip
    c, d = before["lesion_f1"].value, now["lesion_f1"].value
    if d < c - rule.lesion_loss:
        return Verdict(False, f"The lesion F1 on left-out patients falls from {c:.3f} to {d:.3f}.")
    return Verdict(
        True,
        f"On {_people(patients)} left out the mean Dice rises from {a:.3f} to {b:.3f} and the "
        f"lesion F1 goes from {c:.3f} to {d:.3f}.",
    )


def _people(count: int) -> str:
    return "1 patient" if count == 1 else f"{count} patients"


# --- the whole ---------------------------------------------------------------------------------


def adapt(choices: Choices, speaker: Speaker, resume: bool = False) -> dict[str, Any]:
    """Adapt, compare, promote or refuse; what ``done`` tells is returned as well.

    Raises
    ------
    BadInput
        Where model, cases or choices do not allow it.
    Stopped
        Where the speaker was asked to stop.
    """
    base = model_base(choices.start_from)
    if base is None:
        raise BadInput("Only a model can be adapted, not a pretraining", choices.start_from)
    choices = _of_base(choices, base)
    check_free(choices.model_id)
    keep_choices(choices, resume)
    device = start_torch(choices)
    cases = look_at_cases(choices, speaker, base)
    replayed = old_task(base, choices)
    patients = len({case.patient for case in cases.prepared})
    folds = make_folds(cases.prepared, few_shot_folds(patients), choices.seed)
    new: list[Judged] = []
    old: list[Judged] = []
    share = 0.87 / (len(folds) + 1)
    for number, left_out in enumerate(folds, 1):
        begin = 0.1 + share * (number - 1)
        speaker.stage(f"Fold {number} of {len(folds)}", begin, share * 0.7)
        folder = choices.folder / f"fold-{number}"
        seen = [case for case in cases.prepared if case.patient not in left_out]
        if not any(case.positive for case in seen):
            continue
        run = (number, len(folds) + 1)
        network = _one_run(choices, base, seen, folder, run, device, speaker, replayed)
        speaker.stage(f"Judging fold {number} of {len(folds)}, old and new", begin + share * 0.7,
                      share * 0.3)  # fmt: skip
        files = cases.files(left_out)
        new += judged(folder, cases, network, files, choices, speaker)
        old += judged(folder / "old", cases, base.folder, files, choices, speaker)
    speaker.stage("Learning from all cases", 0.1 + share * len(folds), share)
    every = choices.folder / "all"
    run = (len(folds) + 1, len(folds) + 1)
    network = _one_run(choices, base, cases.prepared, every, run, device, speaker, replayed)
    if choices.held_out:
        files = apart_from(read_cases(Path(choices.held_out)), cases.summary.usable)
        new += judged(choices.folder / "held-out", cases, network, files, choices, speaker)
        old += judged(choices.folder / "held-out-old", cases, base.folder, files, choices, speaker)
    replay = REPLAYED if replayed is not None else NOT_REPLAYED
    return _finish(choices, base, cases, network, new, old, (len(folds), replay), speaker)


def _of_base(choices: Choices, base: Base) -> Choices:
    """Grid and network of the model that is adapted, and an id that is not its own."""
    id = choices.id or f"{base.card.id}-{choices.model_id.removeprefix('own-')}"
    name = choices.name or f"{base.card.name}, adapted"
    steps = choices.steps or (0 if choices.minutes else USUAL_STEPS)
    return replace(fitted(choices, base), id=id, name=name, steps=steps)


def _one_run(
    choices: Choices,
    base: Base,
    seen: Sequence[PreparedCase],
    folder: Path,
    run: tuple[int, int],
    device: str,
    speaker: Speaker,
    replayed: Synthesiser | None,
) -> nn.Module:
    torch.manual_seed(choices.seed * 1000 + run[0])
    old = base.network().eval()
    network = adapted(copy.deepcopy(old))
    same = copy.deepcopy(network)
    loss = keeping_loss(old, choices.loss, device)
    one = Run(network, choices, folder, *run, device, loss=loss, calm=True)
    if anew_where_changed(folder, seen):
        speaker.note(CHANGED)
    one.resume()
    end = Until(choices.steps, 60.0 * choices.minutes / run[1])
    source = PatchSource(seen, choices, run[0], ahead=4 if device == "cuda" else 0)
    mixed = source if replayed is None else WithReplay(source, replayed, choices.seed, run[0])
    try:
        one.train(mixed, end, speaker)
    finally:
        source.close()
    return merged(one.result(same))


def _finish(
    choices: Choices,
    base: Base,
    cases: Cases,
    network: nn.Module,
    new: list[Judged],
    old: list[Judged],
    how: tuple[int, str],
    speaker: Speaker,
) -> dict[str, Any]:
    speaker.stage("Writing report", 0.97, 0.03)
    folds, replay = how
    decided = verdict(new, old)
    usable = cases.summary.usable
    limits = limits_of(new, usable, folds)
    facts = facts_of(choices, cases.table, usable, folds, base)
    facts["Length"] = facts["Length"].replace("in all", "in all, all runs")
    facts["Old task"] = replay
    said = {"promoted": decided.promoted, "reason": decided.reason}
    title = f"{base.card.name}, adapted to {facts['Cases']}: old and new"
    write_report(Report(title, facts, new, old, limits, said), choices.folder)
    package = ""
    if decided.promoted:
        table = {**cases.table, "version": f"{base.card.version}+adapted"}
        training = training_table(facts, choices) | {
            "method": f"corrections of rank {RANK}, biases and the last layer; agreement with the "
            "old model kept",
            "old_task": replay,
            "verdict": decided.reason,
        }
        figures = card_figures(new, folds)
        where = choices.folder / "package"
        limits = (*limits, *base.card.limits)
        package = str(write_package(table, network, where, training, figures, limits))
    done = {
        "promoted": decided.promoted,
        "reason": decided.reason,
        "package": package,
        "report": str(choices.folder / "report.json"),
    }
    word = "The adapted model is better." if decided.promoted else "The old model stays."
    speaker.done(f"{word} {decided.reason}", **done)
    return done
