"""Calibrate and measure the presence classifier.

``python -m inference.training.presence.evaluate --run DIR --pool DIR --out figures.json`` fits the
calibration on made-up FLAIR heads of another seed, measures on others of them (dose and response:
from which load on does it see lesions), and on patients 07 and 19, which took no part in anything,
as they are and with their lesions painted out. ``--weights`` writes the weights for the package.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from inference.plugins.unlike import halved
from inference.preprocess import normalise, to_model_grid
from inference.training.lesions.synthesis import lesion_free_brain
from inference.training.presence.train import load_classifier
from inference.training.shared import cases
from inference.training.shared.lesion_load import lesion_load, lit, thinned
from inference.training.shared.whole_heads import LEFT_OUT, Pool, load_pool

Array = npt.NDArray[Any]
DOSES_ML = (0.3, 1.0, 3.0, 10.0)
MULTIPLE = 32


def logit_of(network: nn.Module, coarse: Array) -> float:
    """The network's raw answer for a head at 2 mm."""
    image = torch.from_numpy(np.ascontiguousarray(coarse, np.float32))[None, None]
    with torch.inference_mode():
        answer = network(image.contiguous(memory_format=torch.channels_last_3d))
    return float(answer[0, 0])


def made_up(network: nn.Module, pool: Pool, seed: int) -> list[dict[str, float]]:
    """Answers for heads of a pool without lesions and with each dose."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, head in enumerate(pool):
        if head.contrast != "FLAIR":
            continue
        rows.append({"head": number, "load_ml": 0.0, "logit": logit_of(network, head.image)})
        for dose in DOSES_ML:
            share = thinned(rng, head.lesions[0], dose)
            load = lesion_load(share)
            if 0.5 * dose <= load <= 2 * dose:
                answer = logit_of(network, lit(rng, head, share))
                rows.append({"head": number, "load_ml": load, "dose": dose, "logit": answer})
    return rows


def calibration(rows: list[dict[str, float]]) -> tuple[float, float]:
    """Slope and offset (Platt) that make the answers probabilities, for loads from 0.3 ml on.

    As many heads with as without lesions are assumed.
    """
    chosen = [r for r in rows if r["load_ml"] == 0 or r["load_ml"] >= 0.3]
    logits = torch.tensor([r["logit"] for r in chosen], dtype=torch.float64)
    truth = torch.tensor([float(r["load_ml"] > 0) for r in chosen], dtype=torch.float64)
    weight = torch.where(truth > 0, 0.5 / truth.sum(), 0.5 / (1 - truth).sum())
    values = torch.tensor([1.0, 0.0], dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([values], max_iter=200, line_search_fn="strong_wolfe")
    # Platt's targets: no finite sample makes anyone certain.
    many, few = truth.sum() + 1, (1 - truth).sum() + 1
    soft = torch.where(truth > 0, many / (many + 1), 1 / (few + 1))

    def loss() -> torch.Tensor:
        optimiser.zero_grad()
        entropy = nn.functional.binary_cross_entropy_with_logits(
            values[0] * logits + values[1], soft, weight, reduction="sum"
        )
        entropy.backward()
        return entropy

    optimiser.step(loss)
    return float(values[0].detach()), float(values[1].detach())


def chance_of(logit: float, slope: float, offset: float) -> float:
    """Calibrated probability."""
    return float(1 / (1 + np.exp(-np.clip(slope * logit + offset, -30, 30))))


def dose_response(
    rows: list[dict[str, float]], slope: float, offset: float
) -> list[dict[str, float]]:
    """How often each dose is called present (probability above 0.5), with a 95 % interval."""
    table = []
    for dose in (0.0, *DOSES_ML):
        found = [r for r in rows if r.get("dose", 0.0) == dose]
        if not found:
            continue
        called = np.array([chance_of(r["logit"], slope, offset) > 0.5 for r in found])
        low, high = _interval(int(called.sum()), len(called))
        table.append(
            {
                "dose_ml": dose,
                "heads": len(found),
                "called_present": round(float(called.mean()), 3),
                "low": low,
                "high": high,
            }
        )
    return table


def _interval(hits: int, count: int) -> tuple[float, float]:
    """Wilson's interval of a share."""
    z, share = 1.96, hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * np.sqrt(share * (1 - share) / count + z * z / (4 * count**2)) / (1 + z * z / count)
    return round(max(0.0, middle - half), 3), round(min(1.0, middle + half), 3)


def area_under_curve(rows: list[dict[str, float]], dose: float) -> float:
    """Chance that a head with this dose gets a higher answer than one without."""
    without = np.array([r["logit"] for r in rows if r["load_ml"] == 0])
    with_dose = np.array([r["logit"] for r in rows if r.get("dose", 0.0) == dose])
    if not len(without) or not len(with_dose):
        return float("nan")
    higher = (with_dose[:, None] > without).mean() + 0.5 * (with_dose[:, None] == without).mean()
    return round(float(higher), 3)


def calibration_error(rows: list[dict[str, float]], slope: float, offset: float) -> float:
    """Expected calibration error in five bins, both kinds weighing the same."""
    chosen = [r for r in rows if r["load_ml"] == 0 or r["load_ml"] >= 0.3]
    truth = np.array([r["load_ml"] > 0 for r in chosen])
    chance = np.array([chance_of(r["logit"], slope, offset) for r in chosen])
    weight = np.where(truth, 0.5 / max(truth.sum(), 1), 0.5 / max((~truth).sum(), 1))
    bins = np.clip((chance * 5).astype(int), 0, 4)
    error = 0.0
    for number in range(5):
        inside = bins == number
        if inside.any():
            gap = np.average(truth[inside], weights=weight[inside]) - np.average(
                chance[inside], weights=weight[inside]
            )
            error += float(weight[inside].sum() * abs(gap))
    return round(error, 3)


def real_heads() -> list[tuple[str, npt.NDArray[Any], npt.NDArray[np.float64], str, str]]:
    """Heads with name, voxels, affine, the truth as far as known, and what part they took."""
    found: list[tuple[str, npt.NDArray[Any], npt.NDArray[np.float64], str, str]] = []
    for patient in LEFT_OUT:
        case = cases.load_labelled(patient)
        found.append((f"patient {patient}", case.flair, case.affine, "present", "held out"))
        clean = cases.mni_anatomy(patient, healthy=True)
        assert clean.image is not None
        painted = clean.image + 1
        name = f"patient {patient}, lesions painted out"
        found.append((name, painted, np.array(cases.MNI_AFFINE, float), "absent", "held out"))
    root = cases.data_root() / "ms_open_longitudinal" / "raw"
    for patient in ("01", "03"):
        for study in (1, 2):
            voxels, affine = cases.read_nifti(
                root / f"patient{patient}" / f"study{study}_FLAIR.nii.gz"
            )
            name = f"raw head {patient}, study {study}"
            found.append((name, voxels, affine, "present", "trained on with lesions painted out"))
    tissues = cases.template_tissues()
    affine = np.array(cases.MNI_AFFINE) @ np.diag([0.84, 0.84, 0.84, 1.0])
    for seed in range(4):
        image = lesion_free_brain(tissues, seed) + 1
        found.append((f"made up from the template, {seed}", image, affine, "absent", "same maps"))
    return found


def real_figures(network: nn.Module, slope: float, offset: float) -> list[dict[str, Any]]:
    """Probability for each real head."""
    rows = []
    for name, voxels, affine, truth, part in real_heads():
        model, _ = to_model_grid(voxels, affine, 1.0, MULTIPLE)
        chance = chance_of(logit_of(network, halved(normalise(model))), slope, offset)
        rows.append({"head": name, "truth": truth, "part": part, "probability": round(chance, 3)})
    return rows


def evaluate(run: Path, pool: Pool) -> tuple[dict[str, Any], nn.Module]:
    """Every figure of the card, and the network."""
    network, facts = load_classifier(run)
    network.requires_grad_(False)
    rows = made_up(network, pool, 8)
    first = [r for r in rows if r["head"] % 2 == 0]
    second = [r for r in rows if r["head"] % 2 == 1]
    slope, offset = calibration(first)
    figures: dict[str, Any] = {
        "run": facts,
        "calibration": {
            "slope": round(slope, 4),
            "offset": round(offset, 4),
            "heads": len({r["head"] for r in first}),
            "error_before": calibration_error(second, 1.0, 0.0),
            "error_after": calibration_error(second, slope, offset),
        },
        "dose_response": dose_response(second, slope, offset),
        "auc_by_dose": {f"{dose:g} ml": area_under_curve(second, dose) for dose in DOSES_ML},
        "real": real_figures(network, slope, offset),
    }
    return figures, network


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--weights", type=Path, help="write the network for the package")
    given = parser.parse_args()
    torch.set_num_threads(1)
    figures, network = evaluate(given.run, load_pool(given.pool))
    given.out.write_text(json.dumps(figures, indent=1), encoding="utf-8")
    print(json.dumps(figures, indent=1))
    if given.weights:
        from inference.plugins.monai_nets import store

        store(network, given.weights)


if __name__ == "__main__":
    main()
