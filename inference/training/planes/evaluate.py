"""Figures of the plane network as a model of volumes, through the application's own steps.

``python -m inference.training.planes.evaluate --out figures.json`` measures the shipped weights
(``--run DIR``: a run) on patients 07 and 19, which no training ever saw, at the fixed threshold:
each direction alone, all three, the patient as 4 mm slices, and what is marked where there is no
lesion and outside the brain of raw heads.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imaging.analysis.segmentation_metrics import agreement
from inference.plugins.planes import DIRECTIONS, plane_probability
from inference.plugins.unet import UNet, load_unet
from inference.preprocess import normalise, to_model_grid, to_source_grid
from inference.reports import Quiet
from inference.training.lesions.behaviour import raw_head
from inference.training.lesions.evaluate import MIN_VOLUME_MM3, compare, drop_small
from inference.training.lesions.synthesis import lesion_free_brain
from inference.training.planes.train import load_run
from inference.training.shared import cases
from inference.training.shared.cases import IMAGE_PATIENTS, LabelledCase, load_labelled
from inference.training.shared.package_files import MODELS

__all__ = ["as_slices", "measured", "predict", "shipped_planes"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Segment = Callable[[npt.NDArray[Any], npt.ArrayLike], Mask]

THRESHOLD = 0.5
"""Fixed before any training; never chosen on a patient."""


def shipped_planes(id: str = "flair-planes") -> UNet:
    """A plane network that ships."""
    from inference.card_reading import load_card

    card = load_card(MODELS / id)
    arguments = {k: v for k, v in card.arguments.items() if k != "directions"}
    return load_unet(MODELS / id / card.weights_file, arguments)


def predict(
    network: UNet,
    voxels: npt.NDArray[Any],
    affine: npt.ArrayLike,
    directions: Sequence[str] = tuple(DIRECTIONS),
    output: int = 0,
) -> Array:
    """Probability on the source grid: preprocess, planes, and back."""
    model, grid = to_model_grid(voxels, affine, multiple=network.multiple)
    chance = plane_probability(network, normalise(model), tuple(directions), Quiet())
    return to_source_grid(chance[output], grid)


def measured(chance: Array, gold: Mask, voxel_mm3: float = 1.0) -> dict[str, Any]:
    """Agreement at the fixed threshold; both rules of what is a found lesion."""
    found = drop_small(chance > THRESHOLD, voxel_mm3, MIN_VOLUME_MM3)
    more = agreement(found, gold, (1.0, 1.0, 1.0))
    return {
        **{k: round(float(v), 3) for k, v in asdict(compare(found, gold, voxel_mm3)).items()},
        "lesion_f1_matched": more.match.f1,
        "hd95_mm": more.hd95_mm,
    }


def as_slices(case: LabelledCase, slice_mm: int = 4) -> LabelledCase:
    """The same patient as thick axial slices."""
    depth = case.flair.shape[0] // slice_mm
    shape = (depth, slice_mm, *case.flair.shape[1:])
    thick = case.flair[: depth * slice_mm].reshape(shape).mean(1)
    gold = case.gold[: depth * slice_mm].reshape(shape).mean(1) > 0.5
    affine = case.affine @ np.diag([slice_mm, 1.0, 1.0, 1.0])
    affine[:3, 3] += case.affine[:3, 0] * (slice_mm - 1) / 2
    return LabelledCase(case.patient, thick, gold, affine)


def elsewhere(segment: Segment) -> dict[str, Any]:
    """Volume in ml marked where there is no lesion, or on heads nobody labelled."""
    tissues = cases.template_tissues()
    small = np.array(cases.MNI_AFFINE) @ np.diag([0.84, 0.84, 0.84, 1.0])
    healthy = {
        f"template {seed}": segment(lesion_free_brain(tissues, seed) + 1, small).sum() * 0.84**3
        for seed in range(3)
    }
    for patient in IMAGE_PATIENTS:
        clean = cases.mni_anatomy(patient, healthy=True).image
        assert clean is not None
        marked = segment(clean + 1, np.array(cases.MNI_AFFINE)).sum()
        healthy[f"patient {patient} inpainted"] = float(marked)
    raw = {}
    for patient in ("01", "03"):
        voxels, affine, brain = raw_head(patient, 1)
        mask = segment(voxels, affine)
        voxel = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
        raw[f"head {patient} inside"] = round(float((mask & brain).sum()) * voxel, 2)
        raw[f"head {patient} outside"] = round(float((mask & ~brain).sum()) * voxel, 2)
    return {
        "marked_without_lesions_ml": {k: round(float(v) / 1000, 2) for k, v in healthy.items()},
        "marked_on_raw_heads_ml": raw,
    }


def report(network: UNet) -> dict[str, Any]:
    """Everything."""
    results = []
    for patient in IMAGE_PATIENTS:
        case = load_labelled(patient)
        started, cpu = time.perf_counter(), time.process_time()
        chance = predict(network, case.flair, case.affine)
        wall, cpu = time.perf_counter() - started, time.process_time() - cpu
        figures: dict[str, Any] = {"case": patient, "threshold": THRESHOLD}
        figures |= measured(chance, case.gold) | {"wall_s": wall, "cpu_s": cpu}
        for name in DIRECTIONS:
            one = predict(network, case.flair, case.affine, (name,))
            figures[f"{name}_only"] = measured(one, case.gold)
        thick = as_slices(case)
        figures["as_4_mm_slices"] = measured(
            predict(network, thick.flair, thick.affine), thick.gold, 4.0
        )
        results.append(figures)

    def segment(voxels: npt.NDArray[Any], affine: npt.ArrayLike) -> Mask:
        voxel = float(abs(np.linalg.det(np.asarray(affine)[:3, :3])))
        return drop_small(predict(network, voxels, affine) > THRESHOLD, voxel, MIN_VOLUME_MM3)

    return {"patients": results, **elsewhere(segment)}


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    result = report(load_run(given.run) if given.run else shipped_planes())
    print(json.dumps(result, indent=1))
    if given.out:
        given.out.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
