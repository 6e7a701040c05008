"""Write the model folder that ships: card, folded weights, fold weights for the doubters.

``python -m inference.training.lesions.package --runs DIR --figures FILE`` takes the averaged
weights of the runs ``all``, ``07`` and ``19``, stores float16 and writes ``card.toml``. The figures
come from the JSON of `inference.training.lesions.evaluate`, never from here, and decide: new
weights whose mean Dice over the left-out patients is not above the one on the present card are
refused. ``--keep`` writes the card anew around the weights that are there.
"""

from __future__ import annotations

import argparse
import json
import tomllib
from pathlib import Path
from typing import Any

from imaging.errors import BadInput
from inference.plugins.unet import UNet
from inference.training.lesions.evaluate import MIN_VOLUME_MM3, THRESHOLD, load_run
from inference.training.shared.cases import MASK_PATIENTS
from inference.training.shared.package_files import (
    CREDIT,
    LESION,
    MODELS,
    WEIGHTS_NAME,
    as_float16,
    run_facts,
    write_card,
    write_weights,
)

__all__ = ["check_better", "rewrite_card", "write_model"]

FOLDER = MODELS / "flair-wml"
VERSION = "2.0.0"
KEPT_VERSION = "1.0.1"
"""The weights of version 1 with its figures measured anew."""

HEADER = {
    "id": "flair-wml",
    "name": "White-matter lesions on FLAIR",
    "version": VERSION,
    "summary": "Marks bright white-matter lesions, as in multiple sclerosis, on one FLAIR volume.",
    "intended_use": (
        "A first draft of white-matter lesions on a brain FLAIR of an adult with suspected or "
        "known multiple sclerosis, to be checked and corrected voxel by voxel by a reader. "
        "Research and teaching."
    ),
    "not_for": (
        "Diagnosis, treatment decisions or unchecked volumes. Tumours, stroke, haemorrhage, "
        "infection, oedema, children, spine, and any sequence other than FLAIR."
    ),
    "licence": "Apache-2.0 (weights and code); training images CC-BY, attribution required",
    "authors": ["Isocenter contributors"],
    "credit": [
        "Lesions and FLAIR (CC-BY): Lesjak, Ziga, Franjo Pernus, Bostjan Likar, and Ziga Spiclin. "
        "A Novel Public MR Image Dataset of Multiple Sclerosis Patients With Lesion "
        "Segmentations Based on Multi-rater Consensus, Neuroinformatics (2017), "
        "doi 10.1007/s12021-017-9348-7.",
        CREDIT["heads"],
        CREDIT["template"],
    ],
    "limits": [
        "Measured on two patients only, each left out in turn: no confidence interval, no claim "
        "about another scanner or hospital.",
        "The shipped weights were trained on both patients, so they have no figure of their own; "
        "the figures belong to the two fold networks, each trained on one labelled brain.",
        "Lesions below 50 mm³ are nearly always missed at the threshold of 0.9; below it more are "
        "found and more is marked wrongly. High load is under-marked at its dim edges.",
        "Of two marks one may be wrong where few lesions are there: bright cortex (insula, "
        "cingulum, depths of the folds) is taken for lesion.",
        "Brainstem, cerebellar and cortical lesions are rare in the training masks.",
        "Training saw one laboratory's scans; everything else about scanners is simulated.",
        "Raw heads with skull were looked at on two patients whom no reader labelled, and whose "
        "heads also took part in training.",
    ],
}


INPUTS = [
    {
        "name": "FLAIR",
        "sequence": "FLAIR",
        "required": True,
        "description": "Brain FLAIR, 2-D or 3-D, whole head or stripped, any orientation.",
    },
    {
        "name": "T1w",
        "sequence": "T1w",
        "required": False,
        "description": "T1w without contrast agent of the same session, where there is one.",
    },
    {
        "name": "T2w",
        "sequence": "T2w",
        "required": False,
        "description": "T2w of the same session, where there is one.",
    },
]
TRAINING = {
    "data": (
        "FLAIR, T1w, T2w and masks of patients 07 and 19, masks of patients "
        f"{MASK_PATIENTS[0]}-{MASK_PATIENTS[-1]} as shapes and places (ms_open_mni); raw "
        "FLAIR heads of patients 01 and 03 (ms_open_longitudinal), labelled by no reader but where "
        "flair-planes and the version 1 weights of the fold agree; 24 stroke masks as large shapes "
        "(SOOP, LESYMAP); MNI152 tissue maps; the rest is synthesis."
    ),
    "split": (
        "Figures: leave one patient out (07, 19), so each fold saw one labelled brain; the "
        "left-out patient's images and mask are in no prior, no shape bank and no network that "
        "taught. The raw heads were seen by every run. Shipped weights: both patients."
    ),
    "history": (
        "Each run starts from the version 1 weights of the same fold, so the left-out patient "
        "stays left out. The generator of version 1 was improved while looking at the left-out "
        "patients, so the figures are somewhat optimistic; that of version 2 was not, and the new "
        "weights met them once, at the end. T1w and T2w took part as further channels and are left "
        "out of the package: over both patients they did not help."
    ),
    "code": (
        "python -m inference.training.planes.teach --fold all --out taught.npz, then "
        "python -m inference.training.lesions.train --fold all --out DIR --steps 2600 --warm FILE "
        "--taught taught.npz, where FILE are the version 1 weights"
    ),
}


def check_better(results: list[dict[str, Any]], folder: Path = FOLDER) -> None:
    """Refuse figures that are not above those of the card that is there.

    Parameters
    ----------
    results : list of dict
        From `inference.training.lesions.evaluate`, one for each left-out patient.
    folder : path
        The model folder; nothing is refused where it has no card with figures of these patients.

    Raises
    ------
    BadInput
        With both means.
    """
    path = folder / "card.toml"
    if not path.is_file():
        return
    card = tomllib.loads(path.read_text(encoding="utf-8"))
    old = {figure.get("case"): figure.get("dice") for figure in card.get("figures", ())}
    new = {result["case"]: result["dice"] for result in results}
    both = [case for case in new if old.get(case) is not None]
    if not both:
        return
    before = sum(old[case] for case in both) / len(both)
    after = sum(new[case] for case in both) / len(both)
    if after <= before:
        raise BadInput(
            f"The new weights are no better: mean Dice {after:.3f} over the left-out patients, "
            f"{before:.3f} before",
            advice="Train longer, or keep the weights with --keep",
        )


def rewrite_card(folder: Path, figures: Path, attempt: str = "") -> Path:
    """Write the card anew around the weights that are there.

    Parameters
    ----------
    folder : path
        The model folder; its weights, training facts and cost stay.
    figures : path
        Figures of these weights as JSON.
    attempt : str
        What was tried since and refused, for those who go on.
    """
    card = tomllib.loads((folder / "card.toml").read_text(encoding="utf-8"))
    results = json.loads(figures.read_text(encoding="utf-8"))
    card |= {**HEADER, "kind": "lesions", "version": KEPT_VERSION}
    card["inputs"] = INPUTS[: card["network"]["arguments"]["inputs"]]
    card["outputs"]["threshold"] = THRESHOLD
    if attempt:
        card["training"]["refused"] = attempt
    card["figures"] = [_figure(result) for result in results]
    return write_card(card, folder)


def write_model(
    runs: Path,
    folder: Path = FOLDER,
    figures: Path | None = None,
    cost: dict[str, Any] | None = None,
    flair_only: bool = False,
) -> Path:
    """Write weights and card.

    Parameters
    ----------
    runs : path
        Holds ``all/checkpoint.pt`` and the folds ``07`` and ``19``.
    folder : path
        The model folder, made if missing.
    figures : path, optional
        Figures as JSON.
    cost : dict, optional
        Measured ``cpu_seconds``, ``cpu_threads``, ``peak_bytes`` of a whole head.
    flair_only : bool
        Leave out the channels of T1w and T2w.

    Returns
    -------
    path
        The card.

    Raises
    ------
    BadInput
        Where the figures are not above those of the card that is there.
    """
    results = json.loads(figures.read_text(encoding="utf-8")) if figures else []
    check_better(results, folder)
    (folder / "folds").mkdir(parents=True, exist_ok=True)
    inputs = 1 if flair_only else None
    network = load_run(runs / "all", inputs)
    weights = _stored(network, folder / WEIGHTS_NAME)
    folds = []
    for name in ("07", "19"):
        file = folder / "folds" / f"without-{name}.safetensors"
        folds.append(
            {
                "left_out": name,
                "file": f"folds/{file.name}",
                "sha256": _stored(load_run(runs / name, inputs), file)["sha256"],
                **run_facts(runs / name),
            }
        )
    card: dict[str, Any] = {
        **HEADER,
        "kind": "lesions",
        "inputs": INPUTS[: network.arguments["inputs"]],
        "outputs": {
            "threshold": THRESHOLD,
            "min_component_voxels": int(MIN_VOLUME_MM3),
            "min_volume_mm3": MIN_VOLUME_MM3,
            "labels": [LESION],
        },
        "preprocess": {
            "spacing_mm": 1.0,
            "multiple": network.multiple,
            "order": "superior, posterior, left",
            "intensity": (
                "background -1, tissue peak 0 (inference.preprocess.normalise); T1w and T2w by "
                "the tissue of FLAIR (normalise_beside); a missing image is 0"
            ),
        },
        "network": {"name": "unet", "architecture": "unet", "arguments": network.arguments},
        "weights": weights,
        **({"cost": cost} if cost else {}),
        "training": {**TRAINING, **run_facts(runs / "all"), "folds": folds},
        "figures": [_figure(result) for result in results],
    }
    return write_card(card, folder)


def _stored(network: UNet, file: Path) -> dict[str, Any]:
    return write_weights(as_float16(network.state_dict()), file)


def _figure(result: dict[str, Any]) -> dict[str, Any]:
    names = (
        "dice",
        "lesion_f1",
        "lesion_sensitivity",
        "lesion_ppv",
        "sensitivity",
        "ppv",
        "volume_ratio",
    )
    figure: dict[str, Any] = {
        "case": result["case"],
        "n": 1,
        "images": "FLAIR alone",
        "rule": "26-connected components, found when at least one voxel overlaps",
        "threshold": result["threshold"],
        "lesions": result["lesions"],
        "gold_ml": round(result["gold_ml"], 2),
        **{name: round(result[name], 3) for name in names},
    }
    figure["dice_at_half"] = result.get("dice_by_threshold", {}).get("0.5")
    for name in ("lesion_f1_matched", "hd95_mm"):
        if result.get(name) is not None:
            figure[name] = round(result[name], 3)
    if "found_by_size" in result:
        sizes = ("below 10 mm3", "10 to 50 mm3", "50 to 200 mm3", "above 200 mm3")
        figure["lesions_found_by_size"] = {
            size: f"{found} of {lesions}"
            for size, (lesions, found) in zip(sizes, result["found_by_size"], strict=True)
        }
    for way in ("with_t1_t2", "mirrored", "synthesis_only"):
        if way in result:
            figure[way] = {name: round(result[way][name], 3) for name in names}
    if "thick_slices" in result:
        figure["dice_as_4_mm_slices"] = round(result["thick_slices"]["dice"], 3)
    for key, name in (
        ("healthy", "marked_without_lesions_ml"),
        ("other_sequences_ml", "marked_on_other_sequences_ml"),
        ("demo_by_threshold", "demo_head_dice_by_threshold"),
    ):
        if key in result:
            figure[name] = {k: round(v, 2) for k, v in result[key].items()}
    if "raw_heads" in result:
        figure["marked_outside_the_brain_of_raw_heads_ml"] = {
            k: round(v["marked_outside_ml"], 2) for k, v in result["raw_heads"].items()
        }
    if "baselines" in result:
        figure["baselines"] = {k: round(v["dice"], 3) for k, v in result["baselines"].items()}
    return figure


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help="folder with the runs all, 07 and 19")
    parser.add_argument("--keep", action="store_true", help="keep the weights, write the card")
    parser.add_argument("--attempt", default="", help="with --keep: what was tried and refused")
    parser.add_argument("--figures", type=Path)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--flair-only", action="store_true")
    parser.add_argument("--cost", type=json.loads, help='JSON, as {"cpu_seconds": 2.1}')
    given = parser.parse_args()
    if given.keep and given.figures:
        print(rewrite_card(given.folder, given.figures, given.attempt))
    elif given.runs:
        print(write_model(given.runs, given.folder, given.figures, given.cost, given.flair_only))
    else:
        parser.error("give --runs, or --keep with --figures")


if __name__ == "__main__":
    main()
