"""Network against classic engine under a simulated hand; writes the figures of the card.

``python -m inference.training.clicks.evaluate --checkpoint DIR/checkpoint.pt --out figures.json``
clicks on every lesion of patients 07 and 19, which no training run has seen, and on things made
up from masks kept back. Both engines get the same first click; each next click goes to the
engine's own largest error. ``--made-up`` judges only the made-up things (for use during training).
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from imaging.analysis.click import Hints, classic_mask
from imaging.analysis.proposal import Proposal, window_of
from imaging.geometry import Box
from inference.click_input import CHANNELS
from inference.model import Clicks, ModelCard, SourceImage
from inference.reports import Quiet
from inference.training.clicks.hand import first_click, next_click
from inference.training.shared.cases import components, load_labelled, read_nifti, t1_tissues

__all__ = ["Target", "judged", "lesion_targets", "network_engine", "simulated"]

Mask = npt.NDArray[np.bool_]
Values = npt.NDArray[np.float32]
Find = Callable[[Values, npt.NDArray[np.float64], Hints, Mask | None], Mask]

CLICKS = 5
GOOD = 0.8
SIZES = ((0, 10), (10, 50), (50, 200), (200, 10**9))
"""Classes of lesion volume in mm3."""
BOOTSTRAPS = 2000


class Target(NamedTuple):
    """A thing to click at: image, affine to LPS mm, what is meant and where, how to call it."""

    values: Values
    affine: npt.NDArray[np.float64]
    truth: Mask
    home: Box
    group: str


class Course(NamedTuple):
    """One engine on one target: Dice after each click, and its seconds (clock, processor)."""

    dice: list[float]
    seconds: list[float]
    cpu_seconds: list[float]
    last: Proposal


# --- engines --------------------------------------------------------------------------------


def classic_engine(
    values: Values, affine: npt.NDArray[np.float64], hints: Hints, before: Mask | None
) -> Mask:
    """Growing and random walker."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return classic_mask(values, [float(s) for s in spacing], hints, before)


def network_engine(runner: Any, threshold: float = 0.5) -> Find:
    """An engine that asks a click runner, as the worker does."""

    def find(
        values: Values, affine: npt.NDArray[np.float64], hints: Hints, before: Mask | None
    ) -> Mask:
        points = [(*p, 1) for p in hints.wanted] + [(*p, -1) for p in hints.unwanted]
        clicks = Clicks(SourceImage(values, affine), tuple(points), hints.box, None, before)
        return runner.click(clicks, Quiet()) >= threshold

    return find


def runner_of(checkpoint: Path) -> Any:
    """The averaged network of a run as a runner, folded, on the processor."""
    import torch

    from inference.devices import CPU, choose_device, ladder
    from inference.plugins.click import ClickNet
    from inference.plugins.unet import UNet, fold_batchnorm

    state = torch.load(checkpoint, weights_only=True)
    settings = json.loads(state["settings"])
    network = UNet(CHANNELS, 1, settings["channels"], settings["thin"])
    network.load_state_dict(state["averaged"])
    fold_batchnorm(network).requires_grad_(False)
    runner = ClickNet.__new__(ClickNet)
    runner.network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    runner.device = choose_device(CPU)
    runner._step = ladder(CPU)[0]
    runner.card = _bare_card(network.multiple)
    return runner


def _bare_card(multiple: int) -> ModelCard:
    """As much of a card as a click runner looks at."""
    return ModelCard(
        id="click", name="click", version="", summary="", intended_use="", not_for="", licence="",
        inputs=(), labels=(), threshold=0.5, min_component_voxels=0, spacing_mm=1.0,
        multiple=multiple, architecture="click", arguments={}, weights_file="",
        weights_sha256="", kind="click",
    )  # fmt: skip


# --- targets --------------------------------------------------------------------------------


def lesion_targets(patient: str) -> list[Target]:
    """Every lesion (26-connected) of a labelled patient, with its class of size."""
    case = load_labelled(patient)
    labels, count = components(case.gold)
    volume = abs(float(np.linalg.det(case.affine[:3, :3])))
    found = []
    for number in range(1, count + 1):
        truth = labels == number
        group = size_class(np.count_nonzero(truth) * volume)
        found.append(target_of(case.flair, case.affine, truth, f"{patient} {group}"))
    return found


def target_of(
    values: Values, affine: npt.NDArray[np.float64], truth: npt.NDArray[Any], group: str
) -> Target:
    """A target from a whole mask."""
    home = Box.around(truth)
    return Target(values, affine, np.asarray(truth[home.slices], bool).copy(), home, group)


def size_class(mm3: float) -> str:
    """In words, mm3."""
    low, high = next((a, b) for a, b in SIZES if a <= mm3 < b)
    if not low:
        return f"<{high}"
    return f">{low}" if high >= 10**9 else f"{low}-{high}"


def ventricle_targets(patient: str) -> list[Target]:
    """Ventricles in the T1 of a labelled patient, as three means of the T1 see them (no gold)."""
    case = load_labelled(patient)
    shares = t1_tissues(patient, np.zeros(case.gold.shape, bool)[:, ::-1])
    fluid = shares["csf"][:, ::-1] > 0.5
    brain = np.asarray(case.flair > 0)
    from scipy import ndimage

    deep = np.asarray(ndimage.distance_transform_edt(brain)) > 22
    opened = np.asarray(ndimage.binary_opening(fluid & deep), bool)
    labels, count = components(opened, diagonal=False)
    sizes = np.bincount(labels.ravel(), minlength=count + 1)
    sizes[0] = 0
    t1, affine = read_nifti(_file(patient, "T1"))
    picked = np.argsort(sizes)[::-1][:2]
    return [
        target_of(np.asarray(t1, np.float32), affine, labels == n, "ventricle, T1")
        for n in picked
        if sizes[n] > 300
    ]


def _file(patient: str, start: str) -> Path:
    from inference.training.shared.cases import data_root

    folder = data_root() / "ms_open_mni" / "MNI" / f"patient{patient}"
    return next(iter(sorted(folder.glob(f"{start}_*.nii.gz"))))


def made_up_targets(count: int, seed: int = 77) -> list[Target]:
    """Things on rooms of the training, but from masks that were kept back."""
    from inference.training.clicks.synthesis import Things, banks, rooms

    source = Things(rooms(), banks(validation=True), seed)
    found = []
    for number in range(count):
        thing = source.sample(48 if number % 3 else 64)
        found.append(target_of(thing.image, np.eye(4)[[2, 1, 0, 3]], thing.truth, "made up"))
    return found


# --- the hand -------------------------------------------------------------------------------


def simulated(target: Target, find: Find, seed: int, clicks: int = CLICKS) -> Course:
    """Click on a target until it is good or the clicks are used up."""
    values, affine, truth, home, _ = target
    rng = np.random.default_rng(seed)
    spacing = tuple(float(s) for s in np.linalg.norm(affine[:3, :3], axis=0))
    proposal = Proposal(_shape(values), (spacing[0], spacing[1], spacing[2]))
    click = first_click(truth, rng)
    at: tuple[int, ...] | None = tuple(
        int(a + b) for a, b in zip(click.at, home.start, strict=True)
    )
    wanted = True
    dice, seconds, cpu = [], [], []

    def engine(view: Box, hints: Hints, before: Mask | None) -> Mask:
        moved = affine.copy()
        moved[:3, 3] += affine[:3, :3] @ np.array(view.start)
        return find(values[view.slices], moved, hints, before)

    for _ in range(clicks):
        if at is not None:
            proposal = proposal.pointed([(float(at[0]), float(at[1]), float(at[2]))], wanted)
            clock, used = time.perf_counter(), time.process_time()
            proposal = proposal.refined(engine)
            seconds.append(time.perf_counter() - clock)
            cpu.append(time.process_time() - used)
        area = home if proposal.empty else home.union(proposal.box)
        found = proposal.before(area)
        found = np.zeros(area.shape, bool) if found is None else found
        real = window_of(truth, home, area)
        dice.append(_dice(found, real))
        click = next_click(real, found, rng)
        at = None
        if click is not None:
            at = tuple(int(a + b) for a, b in zip(click.at, area.start, strict=True))
            wanted = click.wanted
    return Course(dice, seconds, cpu, proposal)


def _dice(found: Mask, truth: Mask) -> float:
    total = np.count_nonzero(found) + np.count_nonzero(truth)
    return 2 * np.count_nonzero(found & truth) / max(1, total)


def _shape(mask: npt.NDArray[Any]) -> tuple[int, int, int]:
    k, j, i = mask.shape
    return k, j, i


# --- figures --------------------------------------------------------------------------------


def judged(targets: Sequence[Target], engines: Mapping[str, Find]) -> dict[str, Any]:
    """Figures of each engine by group, and of network minus classic.

    Returns
    -------
    dict
        By group: ``n``, and for each engine mean and median Dice after 1, 3 and 5 clicks with
        bootstrap intervals (95 %), clicks to a Dice of 0.8 (6 where it is not reached), and the
        difference of the means where there are two engines.
    """
    courses = {
        name: [simulated(t, find, seed) for seed, t in enumerate(targets)]
        for name, find in engines.items()
    }
    groups: dict[str, list[int]] = {}
    for number, target in enumerate(targets):
        groups.setdefault(target.group, []).append(number)
    report: dict[str, Any] = {}
    for group, members in groups.items():
        report[group] = _figures({n: [c[m] for m in members] for n, c in courses.items()})
    report["all"] = _figures(courses)
    return report


def _figures(courses: Mapping[str, Sequence[Course]]) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    n = len(next(iter(courses.values())))
    picks = rng.integers(0, n, (BOOTSTRAPS, n))
    found: dict[str, Any] = {"n": n}
    after: dict[str, np.ndarray] = {}
    for name, course in courses.items():
        dice = np.array([c.dice for c in course])
        after[name] = dice
        reached = np.where((dice >= GOOD).any(1), (dice >= GOOD).argmax(1) + 1, CLICKS + 1)
        figures: dict[str, Any] = {}
        for click in (1, 3, 5):
            column = dice[:, click - 1]
            low, high = np.percentile(column[picks].mean(1), (2.5, 97.5))
            figures[f"after_{click}"] = {
                "mean": _round(column.mean()),
                "interval": [_round(low), _round(high)],
                "median": _round(np.median(column)),
            }
        figures["clicks_to_0.8"] = _round(reached.mean(), 2)
        figures["reached_0.8"] = _round((dice >= GOOD).any(1).mean(), 2)
        figures["seconds"] = _round(np.median(np.concatenate([c.seconds for c in course])))
        figures["cpu_seconds"] = _round(np.median(np.concatenate([c.cpu_seconds for c in course])))
        found[name] = figures
    if set(after) >= {"network", "classic"}:
        gain = after["network"] - after["classic"]
        found["network_minus_classic"] = {
            f"after_{click}": {
                "mean": _round(gain[:, click - 1].mean()),
                "interval": [
                    _round(v) for v in np.percentile(gain[:, click - 1][picks].mean(1), (2.5, 97.5))
                ],
            }
            for click in (1, 3, 5)
        }
    return found


def _round(value: float, digits: int = 3) -> float:
    return round(float(value), digits)


def passed(lesions: Mapping[str, Any]) -> bool:
    """Whether the network beats the classic engine at 1, 3 and 5 clicks over all lesions."""
    gain = lesions["all"]["network_minus_classic"]
    return all(gain[f"after_{click}"]["mean"] > 0 for click in (1, 3, 5))


def about(lesions: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """Figures of the lesions with the verdict and the run they belong to."""
    import torch

    state = torch.load(checkpoint, weights_only=True)
    return {
        "lesions": lesions,
        "gate": "passed" if passed(lesions) else "not passed",
        "run": {
            "steps": state["steps"],
            "cpu_minutes": _round(state["seconds"] / 60, 1),
            "settings": json.loads(state["settings"]),
        },
    }


def main() -> None:
    """Command line."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--made-up", type=int, default=0, help="judge so many, and nothing else")
    parser.add_argument("--lesions-only", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(2)
    engines = {
        "network": network_engine(runner_of(given.checkpoint)),
        "classic": classic_engine,
    }
    if given.made_up:
        print(json.dumps(judged(made_up_targets(given.made_up), engines), indent=1))
        return
    lesions = judged([*lesion_targets("07"), *lesion_targets("19")], engines)
    report = about(lesions, given.checkpoint)
    if not given.lesions_only:
        report["ventricles"] = judged([*ventricle_targets("07"), *ventricle_targets("19")], engines)
        report["made_up"] = judged(made_up_targets(40), engines)
    text = json.dumps(report, indent=1)
    print(text)
    if given.out:
        given.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
