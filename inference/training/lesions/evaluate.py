"""Leave-one-patient-out figures, through the same steps as in the application.

``python -m inference.training.lesions.evaluate`` loads the fold networks stored beside the shipped
weights (or ``--runs DIR``: the checkpoints of training runs), and prints each left-out
patient's figures, on FLAIR alone and with T1w and T2w, beside classical baselines computed by
`baselines`. Every threshold is fixed beforehand: by the demo head for the network, the other
patient's best threshold for a baseline.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from imaging.analysis.segmentation_metrics import agreement
from inference.plugins.unet import UNet, fold_batchnorm, load_unet
from inference.preprocess import (
    normalise,
    normalise_beside,
    other_to_model,
    to_model_grid,
    to_source_grid,
)
from inference.training.lesions.channels import CHANNELS
from inference.training.shared import cases
from inference.training.shared.cases import FOLDS, load_labelled
from inference.training.shared.package_files import MODELS

__all__ = [
    "Figures",
    "Image",
    "compare",
    "drop_small",
    "load_run",
    "predict",
    "segment",
    "shipped_network",
]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Image = tuple[npt.NDArray[Any], npt.ArrayLike]
"""Voxels ``(k, j, i)`` and affine to LPS mm."""

THRESHOLD = 0.9
"""Kept from version 1. The rule is the demo head (`behaviour.demo_thresholds`), which no training
picture comes from: of the tenths, every network does best there at the largest."""
MIN_VOLUME_MM3 = 5.0
MODEL = MODELS / "flair-wml"


@dataclass(frozen=True)
class Figures:
    """How far a mask agrees with the gold mask.

    Lesions are 26-connected components; a lesion counts as found, and a marked one as true,
    when at least one voxel overlaps.
    """

    dice: float
    lesion_f1: float
    lesion_sensitivity: float
    lesion_ppv: float
    sensitivity: float
    ppv: float
    volume_ratio: float
    lesions: int
    marked: int
    gold_ml: float
    found_ml: float


def compare(found: Mask, gold: Mask, voxel_mm3: float = 1.0) -> Figures:
    """Measure a mask against the gold mask of the same grid."""
    both = float((found & gold).sum())
    gold_pieces, lesions = cases.components(gold)
    found_pieces, marked = cases.components(found)
    hit = len(np.unique(gold_pieces[found & gold]))
    true = len(np.unique(found_pieces[found & gold]))
    recall, precision = hit / max(lesions, 1), true / max(marked, 1)
    return Figures(
        dice=voxel_dice(found, gold),
        lesion_f1=2 * recall * precision / max(recall + precision, 1e-9),
        lesion_sensitivity=recall,
        lesion_ppv=precision,
        sensitivity=both / max(float(gold.sum()), 1.0),
        ppv=both / max(float(found.sum()), 1.0),
        volume_ratio=float(found.sum()) / max(float(gold.sum()), 1.0),
        lesions=lesions,
        marked=marked,
        gold_ml=float(gold.sum()) * voxel_mm3 / 1000,
        found_ml=float(found.sum()) * voxel_mm3 / 1000,
    )


def voxel_dice(found: Mask, gold: Mask) -> float:
    """Voxel Dice alone."""
    return 2 * float((found & gold).sum()) / max(float(found.sum() + gold.sum()), 1.0)


def drop_small(mask: Mask, voxel_mm3: float, minimum_mm3: float = MIN_VOLUME_MM3) -> Mask:
    """Remove 26-connected components below a volume."""
    pieces, _ = cases.components(mask)
    keep = np.bincount(pieces.ravel()) * voxel_mm3 >= minimum_mm3
    keep[0] = False
    return keep[pieces]


def predict(
    network: UNet,
    voxels: npt.NDArray[Any],
    affine: npt.ArrayLike,
    others: Mapping[str, Image] | None = None,
    mirrored: bool = False,
) -> Array:
    """Lesion probability on the source grid: preprocess, one pass, and back.

    Parameters
    ----------
    network : UNet
        With one input (FLAIR) or three (FLAIR, T1w, T2w).
    voxels, affine
        FLAIR ``(k, j, i)`` and its affine to LPS mm.
    others : mapping of str to Image, optional
        ``t1`` and ``t2`` where they are there.
    mirrored : bool
        Mean of the pass and one of the head with left and right exchanged.
    """
    model, grid = to_model_grid(voxels, affine, multiple=network.multiple)
    image = np.zeros((network.arguments["inputs"], *model.shape), np.float32)
    image[0] = normalise(model)
    for number, name in enumerate(CHANNELS, 1):
        if others and name in others and number < len(image):
            other = other_to_model(*others[name], grid)
            image[number] = normalise_beside(other, image[0])
    chance = _one_pass(network, image)
    if mirrored:
        turned = np.ascontiguousarray(image[..., ::-1])
        chance = (chance + _one_pass(network, turned)[..., ::-1]) / 2
    return to_source_grid(np.ascontiguousarray(chance), grid)


def _one_pass(network: UNet, image: Array) -> Array:
    batch = torch.from_numpy(image)[None].contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        return torch.sigmoid(network(batch))[0, 0].numpy()


def segment(
    network: UNet,
    voxels: npt.NDArray[Any],
    affine: npt.ArrayLike,
    others: Mapping[str, Image] | None = None,
) -> Mask:
    """Mask on the source grid at the fixed threshold."""
    volume = float(abs(np.linalg.det(np.asarray(affine)[:3, :3])))
    return drop_small(predict(network, voxels, affine, others) > THRESHOLD, volume)


def load_run(folder: Path, inputs: int | None = None) -> UNet:
    """Averaged network of a training run, folded, in evaluation mode.

    Parameters
    ----------
    folder : path
        Holds ``checkpoint.pt``.
    inputs : int, optional
        1 takes the network without its channels for T1w and T2w: the same answers as with those
        images missing, for less memory. All channels by default.
    """
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    settings = json.loads(state["settings"])
    trained = int(settings["inputs"])
    kept_inputs = trained if inputs is None else inputs
    network = fold_batchnorm(
        UNet(inputs=kept_inputs, channels=settings["channels"], thin=settings["thin"])
    )
    weights = state["averaged"]
    for name in ("stem.0.conv.weight", "full_resolution.conv.weight"):
        kept = weights[name].shape[1] - (trained - kept_inputs)
        weights[name] = weights[name][:, :kept]
    network.load_state_dict(weights)
    network.requires_grad_(False)
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def shipped_network(name: str) -> UNet:
    """Network stored with the product: a fold by patient, or ``all``."""
    import tomllib

    card = tomllib.loads((MODEL / "card.toml").read_text(encoding="utf-8"))
    file = card["weights"]["file"] if name == "all" else f"folds/without-{name}.safetensors"
    return load_unet(MODEL / file, card["network"]["arguments"])


def other_images(patient: str) -> dict[str, Image]:
    """T1w and T2w of a labelled patient as stored."""
    return {name: cases.read_nifti(cases.mni_file(patient, name.upper())) for name in CHANNELS}


def own_figures(name: str, network: UNet) -> dict[str, Any]:
    """The network's own figures on a patient, in every way the application offers."""
    case = load_labelled(name)
    started, cpu = time.perf_counter(), time.process_time()
    chance = predict(network, case.flair, case.affine)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    result: dict[str, Any] = {"case": name, "threshold": THRESHOLD, **_measured(chance, case.gold)}
    result |= {"wall_s": wall, "cpu_s": cpu}
    result["dice_by_threshold"] = {
        f"{t:.1f}": round(voxel_dice(chance > t, case.gold), 3)
        for t in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    }
    mirrored = predict(network, case.flair, case.affine, mirrored=True)
    result["mirrored"] = _measured(mirrored, case.gold)
    if network.arguments["inputs"] > 1:
        others = other_images(name)
        together = predict(network, case.flair, case.affine, others)
        result["with_t1_t2"] = _measured(together, case.gold)
        for channel, image in others.items():
            one = predict(network, case.flair, case.affine, {channel: image})
            result[f"with_{channel}"] = _measured(one, case.gold)
    return result


def _measured(chance: Array, gold: Mask) -> dict[str, Any]:
    found = drop_small(chance > THRESHOLD, 1.0)
    more = agreement(found, gold, (1.0, 1.0, 1.0))
    matched = more.match.f1
    return {
        **asdict(compare(found, gold)),
        "lesion_f1_matched": matched,
        "hd95_mm": more.hd95_mm,
        "found_by_size": [list(pair) for pair in more.found_by_size],
    }


def report(name: str, network: UNet, quick: bool = False) -> dict[str, Any]:
    """Everything about one left-out patient."""
    from inference.training.lesions.baselines import baselines
    from inference.training.lesions.behaviour import (
        demo_report,
        demo_thresholds,
        healthy_report,
        raw_head_report,
        thick_slices,
        without_flair,
    )

    result = own_figures(name, network)
    if quick:
        return result
    result["thick_slices"] = asdict(thick_slices(network, load_labelled(name)))
    result["baselines"] = baselines(name)
    result["raw_heads"] = {
        f"{patient} study {study}": raw_head_report(network, patient, study)
        for patient in ("01", "03")
        for study in (1, 2)
    }
    result["healthy"] = healthy_report(network, name)
    result["demo_head"] = demo_report(network)
    result["demo_by_threshold"] = demo_thresholds(network)
    result["other_sequences_ml"] = without_flair(network, name)
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help="folder with the runs 07 and 19")
    parser.add_argument(
        "--no-picture", type=Path, help="the run 'none' (no real picture), to compare"
    )
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="only the network's own figures")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results = []
    for name in (n for n in FOLDS if n != "all"):
        network = load_run(given.runs / name) if given.runs else shipped_network(name)
        result = report(name, network, given.quick)
        if given.no_picture:
            case = load_labelled(name)
            chance = predict(load_run(given.no_picture), case.flair, case.affine)
            result["synthesis_only"] = _measured(chance, case.gold)
        results.append(result)
        print(json.dumps(result, indent=1, default=lambda v: round(v, 3)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory of this process {peak:.2f} GB")
    if given.out:
        given.out.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
