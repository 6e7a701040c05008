"""Measure the deviation network.

``python -m inference.training.deviation.evaluate --run DIR --pool DIR --out figures.json`` fits the
threshold on made-up heads of another seed (``--pool``), then measures on patients 07 and 19, which
took no part in anything, and on heads without marked lesions. ``--weights`` writes the weights
for `inference.training.deviation.package`.
"""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from inference.plugins.deviation import SCALE, Restored, asymmetry, brain_or_inside
from inference.plugins.unlike import (
    doubled,
    halved,
    inside,
    measured,
    restored,
    surroundings,
)
from inference.preprocess import normalise, to_model_grid, to_source_grid
from inference.training.deviation.train import load_restorer, plant
from inference.training.lesions.synthesis import lesion_free_brain
from inference.training.shared import cases
from inference.training.shared.lesion_load import lit, thinned
from inference.training.shared.package_files import as_float16, write_weights
from inference.training.shared.whole_heads import LEFT_OUT, STEP_MM, Pool, load_pool

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
ALARM_ML = 0.2
"""So much may be marked, on the average, in a made-up head without lesions."""
RESTORED = 16
"""Heads on which is measured how much of what was planted is taken out."""


def network_of(run: Path) -> tuple[Restored, dict[str, Any]]:
    """The averaged network of a run, as it is applied."""
    unet, facts = load_restorer(run)
    network = Restored(**facts["arguments"])
    network.net.load_state_dict(unet.state_dict())
    network.requires_grad_(False)
    return network.to(memory_format=torch.channels_last_3d).eval(), facts  # type: ignore[call-overload]


def output_of(network: Restored, coarse: Array) -> Array:
    """What the network gives for a 2 mm picture, ``(2, k, j, i)``."""
    image = torch.from_numpy(np.ascontiguousarray(coarse))[None, None]
    with torch.inference_mode():
        return network(image.contiguous(memory_format=torch.channels_last_3d))[0].numpy()


# What is fitted on made-up heads -----------------------------------------------------------------


def fit_threshold(network: Restored, pool: Pool) -> dict[str, float]:
    """Threshold (in spreads) of the best mean Dice for planted lesions on FLAIR heads.

    Only thresholds that mark at most :data:`ALARM_ML` in the same heads without lesions are asked,
    or the highest where none is so quiet. Beside it the mean average precision of the map, of each
    of its two opinions alone, and of the plain z-score: the map was chosen by these.
    """
    rng = np.random.default_rng(5)
    steps = np.arange(2.0, 18.25, 0.25)
    dices: list[list[float]] = []
    alarms: list[list[float]] = []
    areas: dict[str, list[float]] = {}
    for head in (h for h in pool if h.contrast == "FLAIR"):
        share = thinned(rng, head.lesions[0], float(np.exp(rng.uniform(0, np.log(40)))))
        gold = share > 0.4
        if gold.sum() < 20:
            continue
        picture = lit(rng, head, share)
        deviation, output, brain = _asked(network, picture)
        dices.append([_dice(np.abs(deviation) > t, gold) for t in steps])
        scores = {"planted_auprc": deviation, **_opinions(picture, output, brain)}
        for name, score in scores.items():
            areas.setdefault(name, []).append(best_dice_and_auprc(np.maximum(score, 0), gold)[1])
        clean = np.abs(_asked(network, head.image)[0])
        alarms.append([float((clean > t).sum()) * STEP_MM**3 / 1000 for t in steps])
    dice, alarm = np.mean(dices, 0), np.mean(alarms, 0)
    quiet = alarm <= ALARM_ML
    best = int(np.argmax(np.where(quiet, dice, -1))) if quiet.any() else len(steps) - 1
    return {
        "threshold_spreads": float(steps[best]),
        "planted_dice": round(float(dice[best]), 3),
        "without_lesions_marked_ml": round(float(alarm[best]), 2),
        **{name: round(float(np.mean(values)), 3) for name, values in areas.items()},
        "planted_heads": len(dices),
    }


def _asked(network: Restored, picture: Array) -> tuple[Array, Array, Mask]:
    """Deviation of a picture at 2 mm, the network's output, and the brain."""
    output = output_of(network, picture)
    brain = brain_or_inside(picture, output[1])[0]
    return measured(picture, output, brain), output, brain


def _opinions(picture: Array, output: Array, brain: Mask) -> dict[str, Array]:
    """What the map is compared with, at 2 mm: restoring, surroundings, plain z-score."""
    inner = inside(brain)
    core = np.asarray(ndimage.binary_erosion(brain, iterations=2), bool)
    if not core.any():
        return {}
    around = surroundings(picture, output[0], inner)
    light = (picture - around.level) / around.spread
    middle = np.median(picture[core])
    width = 1.4826 * max(float(np.median(np.abs(picture[core] - middle))), 1e-3)
    return {
        "planted_auprc_restoring_alone": restored(output[0], inner),
        "planted_auprc_surroundings_alone": np.where(inner, light, 0),
        "planted_auprc_plain_z": np.where(core, (picture - middle) / width, 0),
    }


def restoration_figures(network: Restored, pool: Pool) -> dict[str, float]:
    """How much of what was planted is taken out again, and what is changed elsewhere."""
    rng = np.random.default_rng(6)
    there, back, elsewhere = [], [], []
    for head in itertools.islice(pool, RESTORED):
        image, changed = plant(rng, head)
        normal = image + output_of(network, image)[0]
        planted = (changed > 0.5) & head.brain
        clean = (changed < 0.02) & head.brain & head.known
        if planted.sum() > 30:
            there.append(float(np.abs(image - head.image)[planted].mean()))
            back.append(float(np.abs(normal - head.image)[planted].mean()))
        elsewhere.append(float(np.abs(normal - image)[clean].mean()))
    return {
        "planted_difference": round(float(np.mean(there)), 4),
        "left_after_restoring": round(float(np.mean(back)), 4),
        "changed_elsewhere": round(float(np.mean(elsewhere)), 4),
        "heads": len(elsewhere),
    }


# Real heads -------------------------------------------------------------------------------------


class Answer:
    """What the model says about one image, on its own grid."""

    def __init__(self, network: Restored, voxels: npt.NDArray[Any], affine: npt.ArrayLike) -> None:
        model, grid = to_model_grid(voxels, affine, 1.0, network.multiple)
        fine = normalise(model)
        coarse = halved(fine)
        output = output_of(network, coarse)
        self.brain, self.recognised = brain_or_inside(coarse, output[1])
        self.spreads = measured(coarse, output, self.brain)
        self.mirrored, self.symmetry = asymmetry(coarse, self.brain)
        self.coarse, self.normal = coarse, coarse + np.where(self.brain, output[0], 0)
        self.grid = grid
        inner = inside(self.brain)
        alone = restored(output[0], inner) if inner.any() else np.zeros_like(coarse)
        self.signed = to_source_grid(measured(fine, output, self.brain), grid)
        self.alone = to_source_grid(doubled(alone, fine.shape), grid)
        self.sided = to_source_grid(doubled(self.mirrored, fine.shape), grid)
        self.inner = to_source_grid(doubled(inner, fine.shape), grid) > 0.5
        self.brain_ml = float(self.brain.sum()) * 0.008


def patient_figures(
    network: Restored, patient: str, threshold: float, sequence: str = "FLAIR"
) -> dict[str, Any]:
    """Agreement with the gold mask of a patient nobody trained on, and of the plain z-score."""
    case = cases.load_labelled(patient)
    voxels = case.flair
    if sequence != "FLAIR":
        file = cases.mni_file(patient, sequence)
        voxels = np.asarray(cases.read_nifti(file)[0], np.float32)
    answer = Answer(network, voxels, case.affine)
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(voxels > 3, iterations=2))
    eroded = np.asarray(ndimage.binary_erosion(brain, iterations=4), bool)
    middle = np.median(voxels[eroded])
    spread = 1.4826 * np.median(np.abs(voxels[eroded] - middle))
    plain = np.where(eroded, (voxels - middle) / spread, 0).astype(np.float32)
    soft = np.asarray(ndimage.gaussian_filter(plain, 0.8), np.float32)
    scores = {
        "deviation, both signs": np.abs(answer.signed),
        "deviation, brighter only": np.maximum(answer.signed, 0),
        "restoring alone, brighter only": np.maximum(answer.alone, 0),
        "asymmetry, brighter only": np.maximum(answer.sided, 0),
        "plain z-score": plain if sequence == "FLAIR" else np.abs(plain),
        "plain z-score, smoothed": soft if sequence == "FLAIR" else np.abs(soft),
    }
    result: dict[str, Any] = {
        "case": patient,
        "sequence": sequence,
        "gold_ml": round(float(case.gold.sum()) / 1000, 2),
        "threshold": threshold / SCALE,
        "dice_fixed": round(_dice(scores["deviation, both signs"] > threshold, case.gold), 3),
        "marked_ml": round(float((np.abs(answer.signed) > threshold).sum()) / 1000, 2),
        "dice_fixed_brighter": round(
            _dice(scores["deviation, brighter only"] > threshold, case.gold), 3
        ),
        "brain_recognised": answer.recognised,
        "brain_dice": round(_dice(answer.inner, ndimage.binary_erosion(brain, iterations=2)), 3),
        "mirror_correlation": round(answer.symmetry, 3),
    }
    for name, score in scores.items():
        best, area = best_dice_and_auprc(score, case.gold)
        result[name] = {"best_dice": round(best, 3), "auprc": round(area, 3)}
    return result


def best_dice_and_auprc(score: Array, gold: Mask) -> tuple[float, float]:
    """Best Dice over all thresholds, and average precision, from one sorting."""
    where = score > 0
    order = np.argsort(-score[where], kind="stable")
    hits = np.cumsum(gold[where][order])
    marked = np.arange(1, len(order) + 1)
    total = max(int(gold.sum()), 1)
    dice = 2 * hits / (marked + total)
    precision = hits / marked
    area = float(precision[gold[where][order]].sum() / total)
    return float(dice.max()) if len(dice) else 0.0, area


def false_alarms(network: Restored, threshold: float) -> list[dict[str, Any]]:
    """How much is marked on heads where nothing is known to be wrong."""
    rows = []
    for name, voxels, affine, note in unmarked_heads():
        answer = Answer(network, voxels, affine)
        ml = float(abs(np.linalg.det(np.asarray(affine)[:3, :3]))) / 1000
        marked = (np.abs(answer.signed) > threshold) & answer.inner
        rows.append(
            {
                "head": name,
                "note": note,
                "brain_ml": round(answer.brain_ml),
                "brain_recognised": answer.recognised,
                "marked_ml": round(float(marked.sum()) * ml, 2),
                "brighter_ml": round(float((marked & (answer.signed > 0)).sum()) * ml, 2),
                "share_of_brain": round(float(marked.sum()) * ml / max(answer.brain_ml, 1), 4),
                "mirror_correlation": round(answer.symmetry, 3),
            }
        )
    return rows


def unmarked_heads() -> list[tuple[str, npt.NDArray[Any], npt.NDArray[np.float64], str]]:
    """Heads without a lesion mask: name, voxels, affine, and what is known about them."""
    root = cases.data_root()
    found = []
    for path, name, note in (
        ("normal_t2_fpg/t2.nii.gz", "T2w, one healthy volunteer", "took no part"),
        (
            "normal_templates_mni/icbm152_2009a/mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz",
            "T1w template ICBM152 2009a",
            "an average of 152 brains; took no part",
        ),
    ):
        found.append((name, *cases.read_nifti(root / path), note))
    note = "one adult, not known to be ill; took no part"
    found.append(("T1w, head first prone", *_dicom(root / "dicom_siemens_prone"), note))
    for patient in ("01", "03"):
        folder = root / "ms_open_longitudinal" / "raw" / f"patient{patient}"
        voxels, affine = cases.read_nifti(folder / "study1_FLAIR.nii.gz")
        found.append((f"FLAIR, raw head {patient}", voxels, affine, "has MS lesions; trained on"))
    tissues = cases.template_tissues()
    affine = np.array(cases.MNI_AFFINE) @ np.diag([0.84, 0.84, 0.84, 1.0])
    for seed in (0, 1):
        image = lesion_free_brain(tissues, seed) + 1
        found.append((f"FLAIR made up from the template, {seed}", image, affine, "same anatomy"))
    note = "no head at all: nothing may be marked"
    found.append(("T1w of a grid phantom", *_dicom(root / "dicom_ge_mprage"), note))
    return found


def _dicom(folder: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """The first series of a folder of DICOM slices."""
    from imaging.open import load_series, scan

    with scan([folder / "In"]) as found:
        volume = load_series(found.series[0])
    return volume.voxels, volume.geometry.affine


def _dice(found: npt.NDArray[Any], gold: npt.NDArray[Any]) -> float:
    both = float((found & gold).sum())
    return 2 * both / max(float(found.sum()) + float(gold.sum()), 1.0)


def save_weights(network: Restored, file: Path) -> None:
    """Weights as float16 tensors."""
    write_weights(as_float16(network.net.state_dict()), file)


def evaluate(run: Path, pool: Pool) -> tuple[dict[str, Any], Restored]:
    """Every figure of the card, and the network."""
    network, facts = network_of(run)
    figures: dict[str, Any] = {"run": facts, "made_up": fit_threshold(network, pool)}
    threshold = figures["made_up"]["threshold_spreads"]
    figures["restoration"] = restoration_figures(network, pool)
    figures["patients"] = [
        patient_figures(network, p, threshold, s) for p in LEFT_OUT for s in ("FLAIR", "T1", "T2")
    ]
    figures["unmarked"] = false_alarms(network, threshold)
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
        save_weights(network, given.weights)


if __name__ == "__main__":
    main()
