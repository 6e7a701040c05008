"""Write the model folders of the plane network, the infarct network and the thorough ensemble.

Each call takes a run or none, and a JSON of figures made by another script; nothing is typed here::

    python -m inference.training.planes.package planes --run DIR --figures planes.json
    python -m inference.training.planes.package infarct --run DIR --figures infarct.json
    python -m inference.training.planes.package thorough --figures calibration.json

``planes`` and ``infarct`` are the two outputs of one network, each stored with its own head.
``infarct`` refuses where its figures say that it may not ship.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inference.card_reading import load_card
from inference.plugins.planes import DIRECTIONS
from inference.training.lesions.evaluate import MIN_VOLUME_MM3
from inference.training.planes.evaluate import THRESHOLD
from inference.training.planes.train import load_run
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

__all__ = ["write_infarct", "write_planes", "write_thorough"]

CREDITS = [
    (
        "Lesion masks (CC-BY): Lesjak, Ziga, Franjo Pernus, Bostjan Likar, and Ziga Spiclin. A "
        "Novel Public MR Image Dataset of Multiple Sclerosis Patients With Lesion Segmentations "
        "Based on Multi-rater Consensus, Neuroinformatics (2017), doi 10.1007/s12021-017-9348-7."
    ),
    CREDIT["heads"],
    (
        "Planes and infarcts (CC0, OpenNeuro ds004889; derived): Absher J, Goncher S, "
        "Newman-Norlund R, et al. The stroke outcome optimization project: Acute ischemic strokes "
        "from a comprehensive stroke center. Scientific Data 2024;11:839, "
        "doi 10.1038/s41597-024-03667-5."
    ),
    CREDIT["template"],
]
LICENCE = "Apache-2.0 (weights and code); training images CC-BY and CC0, attribution required"
FLAIR = {
    "name": "FLAIR",
    "sequence": "FLAIR",
    "required": True,
    "description": "Brain FLAIR, 2-D or 3-D, whole head or stripped, any orientation.",
}
INFARCT = {
    "number": 1,
    "name": "Acute infarct",
    "category": ["49755003", "SCT", "Morphologically Abnormal Structure"],
    "type": ["432504007", "SCT", "Cerebral infarction"],
}
PREPROCESS = {
    "spacing_mm": 1.0,
    "order": "superior, posterior, left",
    "intensity": "background -1, tissue peak 0 (inference.preprocess.normalise)",
}
TRAINING = {
    "data": (
        "FLAIR planes of 782 acute stroke patients (three planes each, brain-extracted, derived "
        "from published pictures), raw heads of patients 01 and 03 of another laboratory without "
        "lesion labels, MNI152 tissue maps; lesions planted from the masks of 18 patients with "
        "multiple sclerosis. Bright spots that nobody labelled take no part; bright cortex does, "
        "as no lesion."
    ),
    "split": (
        "Patients 07 and 19 are in nothing, neither image nor mask, so the shipped weights "
        "themselves have held-out figures. Every fifth stroke patient by md5 of its name "
        "(inference.training.planes.data.is_test) is held back from training: 174 of 956."
    ),
    "code": "python -m inference.training.planes.train --out DIR --cpu-minutes MINUTES",
}


def write_planes(run: Path, figures: Mapping[str, Any], root: Path = MODELS) -> Path:
    """The folder ``flair-planes``: bright lesions by planes of three directions."""
    folder = root / "flair-planes"
    weights, arguments = _stored(run, 0, folder)
    card = {
        "id": "flair-planes",
        "name": "White-matter lesions on FLAIR, plane by plane",
        "version": "1.1.0",
        "kind": "lesions",
        "summary": (
            "Marks bright white-matter lesions on a FLAIR volume by looking at its planes in three "
            "directions; a second opinion beside the network of volumes."
        ),
        "intended_use": (
            "A second draft of white-matter lesions on a brain FLAIR of an adult, to be compared "
            "with the first and corrected by a reader; a member of the thorough choice. Research "
            "and teaching."
        ),
        "not_for": (
            "Diagnosis, treatment decisions or unchecked volumes. Tumours, haemorrhage, "
            "infection, children, spine, and any sequence other than FLAIR."
        ),
        "licence": LICENCE,
        "authors": ["Isocenter contributors"],
        "credit": CREDITS,
        "limits": [
            "Measured on two patients of one laboratory that no training saw: no confidence "
            "interval, no claim about another scanner or hospital.",
            "No real labelled lesion of multiple sclerosis was in its training: lesions were "
            "planted, and only the bright parts of acute infarcts are real.",
            "Low lesion load in a young brain is over-marked: insula, cingulum and caudate are "
            "taken for lesion, since it learnt cortex from old brains.",
            "It sees one plane at a time: a vessel or a fold cut across may look like a lesion.",
            "Bright parts of an infarct are marked too; it does not tell one from the other.",
        ],
        "inputs": [FLAIR],
        "outputs": _outputs(LESION),
        "preprocess": {**PREPROCESS, "multiple": 32},
        "network": {"name": "planes", "architecture": "planes", "arguments": arguments},
        "weights": weights,
        "training": {**TRAINING, **run_facts(run)},
        "figures": [
            _rounded(f) | {"n": 1, "rule": RULE} for f in figures["patients"]
        ] + [{k: v for k, v in figures.items() if k != "patients"}],
    }  # fmt: skip
    return write_card(card, folder)


def write_infarct(run: Path, figures: Mapping[str, Any], root: Path = MODELS) -> Path:
    """The folder ``flair-infarct``.

    Raises
    ------
    ValueError
        Where the probe says that the output may not ship.
    """
    if not figures["ships"]:
        raise ValueError("The probe of painted masks was not passed: this output does not ship")
    folder = root / "flair-infarct"
    weights, arguments = _stored(run, 1, folder)
    rows = [{"planes_as": name, **values} for name, values in figures["spoilt"].items()]
    patients = figures["spoilt"]["as stored"]["patients"]
    card = {
        "id": "flair-infarct",
        "name": "Acute infarct on FLAIR, plane by plane",
        "version": "1.1.0",
        "kind": "lesions",
        "summary": "Marks what looks like an acute or subacute infarct on a brain FLAIR.",
        "intended_use": (
            "A draft of acute ischaemic infarcts that are bright on FLAIR, to be checked against "
            "diffusion and corrected by a reader. Research and teaching."
        ),
        "not_for": (
            "Diagnosis, triage, exclusion of a stroke: an infarct of the first hours is not "
            "bright on FLAIR, and FLAIR is not diffusion. Haemorrhage, tumours, multiple "
            "sclerosis, children, and any other sequence."
        ),
        "licence": LICENCE,
        "authors": ["Isocenter contributors"],
        "credit": CREDITS,
        "limits": [
            f"Measured on the planes of {patients} held-back patients of ONE hospital, in three "
            "fixed planes (z +18, x -39, y -18 mm), warped, brain-extracted and DERIVED from "
            "published pictures. The figures hold for that source only; no volume and no raw "
            "clinical image has a figure.",
            "The truth was drawn on diffusion: bright chronic lesions outside it count as false, "
            "and infarcts that are not bright on FLAIR count as missed.",
            "Infarcts of fewer than 200 pixels are mostly missed; see the figures by size.",
            "One plane in three without an infarct has something marked; confluent old lesions of "
            "white matter are taken for infarct, also in multiple sclerosis.",
            "It was not trained to tell an infarct from other bright lesions that are not planted "
            "ones: large old lesions are often marked.",
        ],
        "inputs": [FLAIR],
        "outputs": _outputs(INFARCT),
        "preprocess": {**PREPROCESS, "multiple": 32},
        "network": {"name": "planes", "architecture": "planes", "arguments": arguments},
        "weights": weights,
        "training": {**TRAINING, **run_facts(run)},
        "figures": [
            *rows,
            {
                "planes_without_infarct": figures["borrowed_masks"],
                "marked_without_stroke_ml": figures["marked_without_stroke_ml"],
            },
        ],
    }
    return write_card(card, folder)


RULE = "26-connected components, found when at least one voxel overlaps"


def write_thorough(figures: Mapping[str, Any], root: Path = MODELS) -> Path:
    """The folder ``flair-wml-thorough``: names its members, holds no weights."""
    folder = root / "flair-wml-thorough"
    members = [load_card(root / id) for id in ("flair-wml", "flair-planes")]
    shipped = figures["shipped"]
    inputs = [
        {
            "name": n.name,
            "sequence": n.sequence,
            "required": n.required,
            "description": n.description,
        }
        for n in members[0].inputs
    ]
    card = {
        "id": "flair-wml-thorough",
        "name": "White-matter lesions on FLAIR, thorough",
        "version": "1.1.0",
        "kind": "lesions",
        "summary": (
            "The network of volumes (also on the mirrored head) and the network of planes "
            "together: mean probability, uncertainty of every voxel, and how sure the whole "
            "mask is. Takes several times as long as the quick choice."
        ),
        "intended_use": (
            "A draft of white-matter lesions with its doubts shown, on a brain FLAIR of an adult "
            "with suspected or known multiple sclerosis, to be corrected by a reader. Research "
            "and teaching."
        ),
        "not_for": members[0].not_for,
        "licence": LICENCE,
        "authors": ["Isocenter contributors"],
        "credit": CREDITS,
        "limits": [
            "Measured on two patients, each left out in turn: no confidence interval.",
            "Small lesions are missed by all members; where few lesions are there more marks are "
            "wrong than right, and the quick choice with its threshold of 0.9 marks less.",
            "The probability near lesions is off by the calibration error of the figures, on "
            "another scanner perhaps by more.",
            "Members that agree may be wrong together: low uncertainty is no proof.",
            "The soft Dice confidence of the whole mask is off where few lesions are there; see "
            "the figures.",
        ],
        "inputs": inputs,
        "outputs": {**_outputs(LESION), "maps": ["uncertainty"]},
        "preprocess": {**PREPROCESS, "multiple": 16},
        "network": {
            "name": "ensemble",
            "architecture": "ensemble",
            "arguments": {
                "slope": round(shipped["slope"], 4),
                "offset": round(shipped["offset"], 4),
                "mirrored": ["flair-wml"],
            },
            "members": [{"id": m.id, "sha256": m.weights_sha256} for m in members],
        },
        "training": {
            "data": "That of its members; see their cards.",
            "split": (
                "Figures: leave one patient out (07, 19) with the network of volumes trained "
                "without the patient and the plane network that saw neither. Threshold 0.5, fixed "
                "beforehand."
            ),
            "calibration": _calibration_words(figures),
            "code": "python -m inference.training.planes.calibration --out FILE",
        },
        "figures": [_fold(f) for f in figures["folds"]],
    }
    return write_card(card, folder)


def _calibration_words(figures: Mapping[str, Any]) -> str:
    tried = "; ".join(
        f"without {f['case']}: slope {f['slope']:.2f}, offset {f['offset']:.2f}"
        for f in figures["folds"]
    )
    if all(f["kept"] for f in figures["folds"]):
        return f"Fitted on made-up heads and the training side ({tried}); the card has the mean."
    return (
        f"Platt scaling was fitted on made-up heads and the training side ({tried}) and refused: "
        "on a made-up head it was not fitted on it cost too much of the mask (a rule written down "
        "after these numbers had been seen). What ships is the plain mean of the members."
    )


def _fold(fold: Mapping[str, Any]) -> dict[str, Any]:
    """One left-out patient: the calibrated mean first, then what it is made of."""
    result = {"case": fold["case"], "n": 1, "rule": RULE, "threshold": fold["threshold"]}
    result |= _rounded(fold["calibrated" if fold["kept"] else "mean"])
    names = ("dice", "lesion_f1", "volume_ratio", "ece_near_lesions", "ece_per_finding")
    ways = ("volumes", "volumes and mirrored", "planes", "mean", "calibrated")
    result["members"] = {way: {n: fold[way][n] for n in names} for way in ways}
    result["uncertainty"] = fold["uncertainty"]
    return result


def _rounded(values: Mapping[str, Any]) -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            result[name] = _rounded(value)
        else:
            result[name] = round(value, 3) if isinstance(value, float) else value
    return result


def _outputs(label: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "threshold": THRESHOLD,
        "min_component_voxels": int(MIN_VOLUME_MM3),
        "min_volume_mm3": MIN_VOLUME_MM3,
        "labels": [dict(label)],
    }


def _stored(run: Path, output: int, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Weights of one output in float16, and the arguments that build its network."""
    network = load_run(run)
    state = dict(network.state_dict())
    for name in ("head.weight", "head.bias"):
        state[name] = state[name][output : output + 1]
    weights = write_weights(as_float16(state), folder / WEIGHTS_NAME)
    arguments = {**network.arguments, "outputs": 1, "directions": list(DIRECTIONS)}
    return weights, arguments


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("::")[0] if __doc__ else None)
    parser.add_argument("which", choices=("planes", "infarct", "thorough"))
    parser.add_argument("--run", type=Path, help="the run of planes")
    parser.add_argument("--figures", type=Path, required=True)
    given = parser.parse_args()
    figures = json.loads(given.figures.read_text(encoding="utf-8"))
    if given.which == "thorough":
        print(write_thorough(figures))
        return
    if given.run is None:
        parser.error("--run is needed")
    write = write_planes if given.which == "planes" else write_infarct
    print(write(given.run, figures))


if __name__ == "__main__":
    main()
