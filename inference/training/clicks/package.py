"""Write the package of the click network from its run and its figures, and the picture.

``python -m inference.training.clicks.package --checkpoint DIR/checkpoint.pt --figures FILE``
writes ``resources/models/click``; ``--picture FILE`` draws clicks and answers on patient 19.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imaging.analysis.proposal import window_of
from imaging.geometry import Box
from inference.click_input import CHANNELS
from inference.plugins.unet import UNet, fold_batchnorm
from inference.training.clicks.synthesis import JUDGES, VALIDATION
from inference.training.shared.package_files import (
    CREDIT,
    MODELS,
    WEIGHTS_NAME,
    as_float16,
    write_card,
    write_weights,
)

FOLDER = MODELS / "click"
VERSION = "1.1.0"


def write_package(checkpoint: Path, figures: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Fold and store the averaged weights as float16, and write the card.

    Parameters
    ----------
    checkpoint : path
        Of `inference.training.clicks.train`.
    figures : dict
        What `inference.training.clicks.evaluate` wrote about this checkpoint.

    Returns
    -------
    path
        The card.
    """
    state = torch.load(checkpoint, weights_only=True)
    settings = json.loads(state["settings"])
    network = UNet(CHANNELS, 1, settings["channels"], settings["thin"])
    network.load_state_dict(state["averaged"])
    fold_batchnorm(network)
    weights = write_weights(as_float16(network.state_dict()), folder / WEIGHTS_NAME)
    return write_card(_table(figures, network) | {"weights": weights}, folder)


def _table(figures: dict[str, Any], network: UNet) -> dict[str, Any]:
    run = figures["run"]
    return {
        "id": "click",
        "kind": "click",
        "name": "Click network",
        "version": VERSION,
        "summary": "Finds the thing that was clicked, scribbled on or boxed, on any MRI.",
        "intended_use": (
            "A proposal for the outline of one thing that a reader points at and corrects with "
            "further clicks, on any MR image. Research and teaching."
        ),
        "not_for": (
            "Deciding what a thing is, or whether there is one. Measurements nobody checked. "
            "Nothing but MRI was seen in training."
        ),
        "licence": "Apache-2.0 (weights and code); training images CC-BY, attribution required",
        "authors": ["Isocenter contributors"],
        "credit": _CREDIT,
        "limits": _limits(figures),
        "inputs": [
            {
                "name": "Image",
                "sequence": "any",
                "required": True,
                "description": "Any MR image, any orientation; slices at even distances.",
            }
        ],
        "outputs": {
            "threshold": 0.5,
            "min_component_voxels": 0,
            "labels": [{"number": 1, "name": "Thing"}],
        },
        "preprocess": {
            "spacing_mm": 1.0,
            "multiple": network.multiple,
            "intensity": "2nd to 98th percentile of the cut-out to -1..1",
        },
        "network": {"architecture": "click", "arguments": network.arguments},
        "training": {
            "gate": figures["gate"],
            "gate_rule": (
                "passed: better mean Dice than the classic engine after 1, 3 and 5 clicks over "
                "all lesions of patients 07 and 19; only then it is the default of the tool"
            ),
            "data": (
                "Shapes: MS masks of 16 patients, 70 SOOP and 58 LESYMAP stroke masks, blobs, "
                "tubes, ventricles of the MNI152 template, a spinal cord. Pictures: MNI152 "
                "tissues in made-up contrasts, raw FLAIR heads of two patients, seven "
                "further images (T1, T2, FLAIR, spine; one a template). Each click after the "
                "first goes to the network's own largest mistake; one in twenty is off."
            ),
            "split": (
                f"Patients {' and '.join(JUDGES)} (image and mask) are in no part of training; "
                f"MS masks {' and '.join(VALIDATION)} and a fifth of the stroke masks (md5 of "
                "the file name) only in the made-up validation. The threshold was 0.5 from the "
                "start. The classic engine's constants were chosen on made-up things."
            ),
            "history": (
                "After step 1202 two input channels (likeness in value to what was clicked) were "
                "added with zero weights and training went on. It was planned for 25 minutes of "
                "one processor and ended, annealed, after those given below."
            ),
            "code": "python -m inference.training.clicks.train --out DIR --minutes 25",
            "steps": run["steps"],
            "cpu_minutes": run["cpu_minutes"],
            "seed": run["settings"]["seed"],
        },
        "figures": _rows(figures),
        "cost": {"cpu_seconds": figures["lesions"]["all"]["network"]["cpu_seconds"]},
    }


_CREDIT = [
    "Lesion masks (CC-BY): Lesjak, Ziga, Franjo Pernus, Bostjan Likar, and Ziga Spiclin. A Novel "
    "Public MR Image Dataset of Multiple Sclerosis Patients With Lesion Segmentations Based on "
    "Multi-rater Consensus, Neuroinformatics (2017), doi 10.1007/s12021-017-9348-7. Raw heads "
    "(CC-BY): Lesjak et al., Neuroinformatics (2016).",
    "Stroke masks: SOOP (Absher et al., Scientific Data 2024, doi 10.1038/s41597-024-03667-5) "
    "and LESYMAP (Pustina et al.).",
    CREDIT["template"],
]


def _limits(figures: dict[str, Any]) -> list[str]:
    lesions = figures["lesions"]["all"]
    ours, classic = lesions["network"], lesions["classic"]
    verdict = (
        "It beats the classic engine after 1, 3 and 5 clicks and is the tool's default."
        if figures["gate"] == "passed"
        else "It does not beat the classic engine after 1, 3 and 5 clicks, so the classic engine "
        "stays the tool's default; this one can be chosen."
    )
    return [
        verdict,
        f"Measured with a simulated hand on {lesions['n']} lesions of two MS patients of one "
        "laboratory (1 mm FLAIR, skull-stripped): no claim about people, scanners or tumours.",
        f"Mean Dice after one click {ours['after_1']['mean']:.2f} (classic "
        f"{classic['after_1']['mean']:.2f}), after five {ours['after_5']['mean']:.2f} (classic "
        f"{classic['after_5']['mean']:.2f}).",
        "Looks at a cube of 64 mm around the last click: larger things need several clicks.",
        "Works in voxels of 1 mm: finer detail than that is not outlined.",
    ]


def _rows(figures: dict[str, Any]) -> list[dict[str, Any]]:
    rows = []
    groups = [*figures["lesions"].items()]
    for name, words in (("ventricles", "ventricles on T1"), ("made_up", "made-up things")):
        if name in figures:
            groups.append((words, figures[name]["all"]))
    for name, group in groups:
        row: dict[str, Any] = {"what": "all lesions" if name == "all" else name, "n": group["n"]}
        for engine in ("network", "classic"):
            for click in (1, 3, 5):
                after = group[engine][f"after_{click}"]
                row[f"{engine}_dice_{click}"] = after["mean"]
                if name == "all":
                    row[f"{engine}_interval_{click}"] = after["interval"]
            row[f"{engine}_clicks_to_0.8"] = group[engine]["clicks_to_0.8"]
        rows.append(row)
    return rows


def draw(checkpoint: Path, path: Path) -> None:
    """Lesions of patient 19 after one and three clicks of both engines, beside what is meant."""
    from PIL import Image

    from inference.training.clicks.evaluate import (
        classic_engine,
        lesion_targets,
        network_engine,
        runner_of,
        simulated,
    )

    targets = lesion_targets("19")
    order = sorted(range(len(targets)), key=lambda n: -np.count_nonzero(targets[n].truth))
    picks = [order[n] for n in (1, 4, 9, 20, 40)]
    engines = (network_engine(runner_of(checkpoint)), classic_engine)
    rows = []
    for pick in picks:
        target = targets[pick]
        inner = int(target.truth.sum((1, 2)).argmax())
        k = inner + target.home.start[0]
        j, i = np.argwhere(target.truth[inner]).mean(0).astype(int) + target.home.start[1:]
        seen = Box((k, j - 24, i - 24), (k + 1, j + 24, i + 24)).clipped(target.values.shape)
        values = target.values[seen.slices][0]
        tiles = [_tile(values, window_of(target.truth, target.home, seen)[0], (80, 220, 120))]
        for find, colour in zip(engines, ((90, 170, 255), (255, 160, 60)), strict=True):
            for clicks in (1, 3):
                found = simulated(target, find, pick, clicks).last
                mask = np.zeros(seen.shape, bool)
                if not found.empty:
                    mask = window_of(found.mask, found.box, seen)
                tiles.append(_tile(values, mask[0], colour))
        rows.append(np.concatenate(tiles, 1))
    Image.fromarray(np.concatenate(rows, 0)).save(path, optimize=True)


def _tile(values: np.ndarray, mask: np.ndarray, colour: tuple[int, int, int]) -> np.ndarray:
    """A plane, three times as large, with the outline of a mask."""
    from scipy import ndimage

    low, high = np.percentile(values, (1, 99.5))
    grey = np.clip((values - low) / max(float(high - low), 1e-6), 0, 1) * 255
    large = np.kron(grey, np.ones((3, 3))).astype(np.uint8)
    inside = np.kron(mask, np.ones((3, 3))) > 0
    rim = inside & ~np.asarray(ndimage.binary_erosion(inside), bool)
    picture = np.repeat(large[::-1, :, None], 3, 2)
    picture[rim[::-1]] = colour
    picture[:2], picture[:, :2] = 20, 20
    return picture


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checkpoint", type=Path, required=True)
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--picture", type=Path)
    given = parser.parse_args()
    figures = json.loads(given.figures.read_text(encoding="utf-8"))
    write_package(given.checkpoint, figures, given.folder)
    if given.picture:
        draw(given.checkpoint, given.picture)


if __name__ == "__main__":
    main()
