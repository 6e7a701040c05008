"""Calibrate and measure the thorough ensemble, leave one patient out.

``python -m inference.training.planes.calibration --out figures.json`` takes the fold networks of
volumes stored beside ``flair-wml`` and the plane network (which saw neither patient), and

1. fits the two numbers of the calibration on made-up heads and on the training side of the fold,
   never on the left-out patient;
2. measures the left-out patient at the fixed threshold: members alone, their mean, the calibrated
   mean; expected calibration error near lesions and per finding; whether uncertainty finds the
   mistakes (error retention; false above true findings); the confidence of the whole mask;
3. takes for the card the mean of the numbers of both folds, or no calibration at all where one
   does not help on a made-up head it was not fitted on (`helps`).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import optimize
from scipy.special import expit

from imaging.analysis.probability_metrics import chance_table, doubtful
from inference.model import Report
from inference.plugins.ensemble import calibrated, doubt, logit, soft_dice_confidence
from inference.plugins.planes import DIRECTIONS, plane_probability
from inference.plugins.unet import UNet
from inference.preprocess import normalise, to_model_grid, to_source_grid
from inference.reports import Quiet
from inference.training.lesions.evaluate import (
    MIN_VOLUME_MM3,
    compare,
    drop_small,
    shipped_network,
    voxel_dice,
)
from inference.training.lesions.synthesis import Patch, Synthesiser
from inference.training.planes.data import BANK_PATIENTS, plane_volumes
from inference.training.planes.evaluate import THRESHOLD, shipped_planes
from inference.training.shared import cases
from inference.training.shared.cases import FOLDS, IMAGE_PATIENTS, lesion_bank, load_labelled

__all__ = ["Calibration", "Case", "fit", "made_up", "patient_case"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

HEADS = 5
"""Made-up heads; the last one is not fitted on."""
SHAPE = (80, 112, 96)
DICE_LOSS = 0.05
"""A calibration that costs a made-up head more of its Dice is not used."""
VISIBLE = 0.1
"""Mean brightness of planted lesions, in units above the tissue peak."""
VOXELS = 60_000
"""So many voxels of a case take part in a fit."""
MEMBERS = ("volumes", "volumes mirrored", "planes")


@dataclass(frozen=True, eq=False)
class Case:
    """What the members say about one head, and the truth.

    Attributes
    ----------
    answers : tuple of ndarray
        Probabilities in the order of `MEMBERS`.
    gold : ndarray
        Lesions.
    known : ndarray
        Where the truth is known.
    plane : ndarray or None
        The last answer on the model grid: it is the same for all folds.
    """

    name: str
    answers: tuple[Array, ...]
    gold: Mask
    known: Mask
    plane: Array | None = None


@dataclass(frozen=True)
class Calibration:
    """The calibrated logit is ``slope * logit(mean) + offset``."""

    slope: float = 1.0
    offset: float = 0.0

    def of(self, answers: Sequence[Array]) -> Array:
        """Calibrated mean of some members."""
        return calibrated(answers, self.slope, self.offset)


def answers(
    volumes: UNet, planes: UNet, image: Array, plane: Array | None = None
) -> tuple[Array, ...]:
    """Probabilities of all members on one normalised head.

    Parameters
    ----------
    image : ndarray, shape (inputs, k, j, i)
        FLAIR first; missing channels are zeros.
    plane : ndarray, optional
        The answer of the planes, where it is known already.
    """
    report: Report = Quiet()
    turned = np.ascontiguousarray(image[..., ::-1])
    if plane is None:
        plane = np.asarray(plane_probability(planes, image[0], tuple(DIRECTIONS), report)[0])
    return _volume(volumes, image), _volume(volumes, turned)[..., ::-1], plane


def _volume(network: UNet, image: Array) -> Array:
    batch = torch.from_numpy(image)[None].contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        return torch.sigmoid(network(batch))[0, 0].numpy()


def _channels(network: UNet, flair: Array) -> Array:
    image = np.zeros((network.arguments["inputs"], *flair.shape), np.float32)
    image[0] = flair
    return image


def patient_case(patient: str, volumes: UNet, planes: UNet, plane: Array | None = None) -> Case:
    """A labelled patient, FLAIR alone, on the grid of the image.

    Parameters
    ----------
    plane : ndarray, optional
        What the planes say, where it is known already.
    """
    case = load_labelled(patient)
    model, grid = to_model_grid(case.flair, case.affine, multiple=volumes.multiple)
    found = answers(volumes, planes, _channels(volumes, normalise(model)), plane)
    back = tuple(to_source_grid(np.ascontiguousarray(a), grid) for a in found)
    known = np.ones(case.gold.shape, bool)
    return Case(patient, back, case.gold, known, found[-1])


def made_up(count: int = HEADS, seed: int = 900) -> list[Patch]:
    """Heads of the training generator with another seed than training used.

    Made of the template and of raw heads; the planted lesions are those of 18 patients. Neither
    measured patient is in them, so that all folds may use the same ones. The first has no lesion;
    the others have at least 1 ml of lesions that stand out from the tissue (`VISIBLE`): what
    nobody could see says nothing about probabilities.
    """
    _, volumes = plane_volumes()
    shares = {"template": 0.5, "head": 0.5}
    source = Synthesiser(volumes, lesion_bank(BANK_PATIENTS), seed, shares)
    without: list[Patch] = []
    some: list[Patch] = []
    while len(some) < count - 1 or not without:
        head = source.sample(SHAPE)
        lesions = head.label > 0.5
        if not lesions.any():
            without.append(head)
        elif lesions.sum() > 1000 and float(head.image[lesions].mean()) > VISIBLE:
            some.append(head)
    return [without[0], *some[: count - 1]]


def head_cases(
    heads: Sequence[Patch], volumes: UNet, planes: UNet, before: Sequence[Case] = ()
) -> list[Case]:
    """What the members say about made-up heads; the planes' part is taken from ``before``."""
    result = []
    for number, head in enumerate(heads):
        plane = before[number].plane if before else None
        found = answers(volumes, planes, _channels(volumes, head.image), plane)
        case = Case(f"made up {number}", found, head.label > 0.5, head.weight > 0, found[-1])
        result.append(case)
    return result


def fit(some: Sequence[Case], seed: int = 0) -> Calibration:
    """Platt scaling of the mean by maximum likelihood, every case with equal weight.

    Only voxels that somebody doubts count (near a lesion, or with more than 2 %).
    """
    rng = np.random.default_rng(seed)
    xs, ys, ws = [], [], []
    for case in some:
        mean = np.asarray(np.mean(case.answers, axis=0, dtype=np.float32))
        where = np.flatnonzero(doubtful(mean, case.gold) & case.known)
        if not len(where):
            continue
        picks = rng.choice(where, min(VOXELS, len(where)), replace=False)
        xs.append(logit(mean.ravel()[picks]).astype(np.float64))
        ys.append(case.gold.ravel()[picks].astype(np.float64))
        ws.append(np.full(len(picks), 1 / len(picks)))
    x, y, w = (np.concatenate(parts) for parts in (xs, ys, ws))

    def loss(beta: npt.NDArray[np.float64]) -> tuple[float, npt.NDArray[np.float64]]:
        z = beta[0] * x + beta[1]
        rest = expit(z) - y
        value = float((w * (np.logaddexp(0, z) - y * z)).sum())
        return value, np.array([(w * rest * x).sum(), (w * rest).sum()])

    best = optimize.minimize(loss, np.array([1.0, 0.0]), jac=True, method="L-BFGS-B",
                             bounds=[(0.05, 20), (-20, 20)])  # fmt: skip
    return Calibration(float(best.x[0]), float(best.x[1]))


def measured(chance: Array, case: Case) -> dict[str, Any]:
    """Agreement and calibration of one probability map."""
    mask = drop_small(chance > THRESHOLD, 1.0, MIN_VOLUME_MM3)
    table = chance_table(chance, case.gold, doubtful(chance, case.gold, 2) & case.known)
    figures = {k: round(float(v), 3) for k, v in asdict(compare(mask, case.gold)).items()}
    confidence = soft_dice_confidence(chance, mask)
    return figures | {
        "ece_near_lesions": round(table.reliability().error, 4),
        "ece_per_finding": round(_finding_error(chance, mask, case.gold), 4),
        "soft_dice_confidence": None if confidence is None else round(confidence, 3),
    }


def _finding_error(chance: Array, mask: Mask, gold: Mask) -> float:
    """Calibration error over findings: mean probability of each against whether it is a lesion."""
    said, true = _findings(mask, gold, chance)
    if not len(said):
        return 0.0
    place = np.minimum((said * 5).astype(int), 4)
    gaps = [
        abs(said[place == n].mean() - true[place == n].mean()) * (place == n).sum()
        for n in np.unique(place)
    ]
    return float(np.sum(gaps) / len(said))


def _findings(
    mask: Mask, gold: Mask, values: Array
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """Mean value of every 26-connected finding, and whether it touches a lesion."""
    pieces, count = cases.components(mask)
    size = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    total = np.bincount(pieces.ravel(), values.ravel(), count + 1)[1:]
    touched = np.bincount(pieces[gold], minlength=count + 1)[1:] > 0
    return total / np.maximum(size, 1), touched


def uncertainty_report(calibration: Calibration, case: Case) -> dict[str, Any]:
    """Whether uncertainty finds the mistakes.

    Returns
    -------
    dict
        For entropy, disagreement and their mean: chance that a false finding is more uncertain
        than a true one (0.5: useless), and the area under the error-retention curve of Dice
        beside that of a random order.
    """
    chance = calibration.of(case.answers)
    apart = np.std(case.answers, axis=0)
    safe = np.clip(chance, 1e-6, 1 - 1e-6)
    entropy = -(safe * np.log2(safe) + (1 - safe) * np.log2(1 - safe))
    maps = {"entropy": entropy, "disagreement": np.clip(2 * apart, 0, 1)}
    maps["both"] = doubt(chance, apart)
    mask = drop_small(chance > THRESHOLD, 1.0, MIN_VOLUME_MM3)
    result: dict[str, Any] = {}
    for name, uncertain in maps.items():
        scores, true = _findings(mask, case.gold, uncertain)
        result[name] = {
            "findings_true": int(true.sum()),
            "findings_false": int((~true).sum()),
            "auroc_false_above_true": _auroc(scores[~true], scores[true]),
            "retention_area": round(_retention(uncertain, mask, case.gold), 4),
        }
    random = np.random.default_rng(0).random(mask.shape).astype(np.float32)
    result["random_retention_area"] = round(_retention(random, mask, case.gold), 4)
    return result


def _auroc(high: npt.NDArray[Any], low: npt.NDArray[Any]) -> float | None:
    if not len(high) or not len(low):
        return None
    wins = (high[:, None] > low).mean() + (high[:, None] == low).mean() / 2
    return round(float(wins), 3)


def _retention(uncertain: Array, mask: Mask, gold: Mask) -> float:
    """Area under 1 - Dice when the most uncertain voxels are corrected, share by share.

    The shares are of the voxels that matter (marked, lesion, or uncertain above 0.05).
    """
    where = mask | gold | (uncertain > 0.05)
    order = np.argsort(-uncertain[where], kind="stable")
    found, truth = mask[where][order].copy(), gold[where][order]
    errors = []
    for share in np.linspace(0, 1, 21):
        corrected = found.copy()
        first = int(share * len(found))
        corrected[:first] = truth[:first]
        errors.append(1 - voxel_dice(corrected, truth))
    return float(np.mean(errors))


def fold_report(left_out: Case, training: Sequence[Case], heads: Sequence[Case]) -> dict[str, Any]:
    """Everything about one left-out patient.

    Parameters
    ----------
    left_out : Case
        With the network of volumes that never saw the patient.
    training : sequence of Case
        The other patients, with the same network.
    heads : sequence of Case
        Made-up heads; the last one is not fitted on.
    """
    calibration = fit([*heads[:-1], *training])
    result: dict[str, Any] = {"case": left_out.name, "threshold": THRESHOLD, **asdict(calibration)}
    for name, answer in zip(MEMBERS, left_out.answers, strict=True):
        result[name] = measured(answer, left_out)
    both = left_out.answers[:2]
    result["volumes and mirrored"] = measured(Calibration().of(both), left_out)
    result["mean"] = measured(Calibration().of(left_out.answers), left_out)
    result["calibrated"] = measured(calibration.of(left_out.answers), left_out)
    result["heads_not_fitted_on"] = [
        {"head": head.name, "before": measured(Calibration().of(head.answers), head)}
        | {"after": measured(calibration.of(head.answers), head)}
        for head in heads[-1:]
    ]
    result["kept"] = helps(result["heads_not_fitted_on"])
    used = calibration if result["kept"] else Calibration()
    result["uncertainty"] = uncertainty_report(used, left_out)
    return result


def helps(heads: Sequence[dict[str, Any]]) -> bool:
    """Whether a calibration may be used, judged on heads it was not fitted on.

    It must lower the calibration error near lesions, and the mask must not lose more than
    `DICE_LOSS`.
    """
    return all(
        head["after"]["ece_near_lesions"] <= head["before"]["ece_near_lesions"]
        and head["after"]["dice"] >= head["before"]["dice"] - DICE_LOSS
        for head in heads
    )


def shipped_numbers(folds: Sequence[dict[str, Any]]) -> Calibration:
    """The numbers of the card: the mean of the folds', or none where one fold may not use its."""
    if not all(fold["kept"] for fold in folds):
        return Calibration()
    slope, offset = (float(np.mean([f[n] for f in folds])) for n in ("slope", "offset"))
    return Calibration(slope, offset)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help="runs of volumes (07, 19, all) instead")
    parser.add_argument("--planes", type=Path, help="run of planes instead")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    from inference.training.lesions.evaluate import load_run as load_volumes
    from inference.training.planes.train import load_run as load_planes

    planes = load_planes(given.planes) if given.planes else shipped_planes()

    def volumes(name: str) -> UNet:
        return load_volumes(given.runs / name) if given.runs else shipped_network(name)

    heads = made_up()
    patients: dict[str, Case] = {}
    made: list[Case] = []
    folds = []
    for fold in IMAGE_PATIENTS:
        network = volumes(fold)
        made = head_cases(heads, network, planes, made)
        for name in IMAGE_PATIENTS:
            before = patients[name].plane if name in patients else None
            patients[name] = patient_case(name, network, planes, before)
        training = [patients[p] for p in FOLDS[fold].images]
        folds.append(fold_report(patients[fold], training, made))
        print(json.dumps(folds[-1], indent=1), flush=True)
    result = {"folds": folds, "shipped": asdict(shipped_numbers(folds))}
    print(json.dumps(result["shipped"]))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
