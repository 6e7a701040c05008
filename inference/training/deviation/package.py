"""Write the package of the deviation model from its figures, and the picture of the documentation.

``python -m inference.training.deviation.package --weights FILE --figures figures.json`` writes
``resources/models/deviation``; ``--picture FILE`` draws heads, normal and map side by side.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inference.plugins.deviation import SCALE, Restored
from inference.plugins.unlike import halved
from inference.preprocess import resample_to_model
from inference.training.deviation.evaluate import Answer, unmarked_heads
from inference.training.shared import cases
from inference.training.shared.package_files import (
    CREDIT,
    MODELS,
    WEIGHTS_NAME,
    weights_row,
    write_card,
)
from inference.training.shared.whole_heads import BANK, LEFT_OUT

FOLDER = MODELS / "deviation"
VERSION = "1.1.0"
MAP, SMOOTHED = "deviation, brighter only", "plain z-score, smoothed"


def write_package(weights: Path, figures: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Copy the weights and write the card.

    Parameters
    ----------
    weights, figures
        What `inference.training.deviation.evaluate` wrote.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / WEIGHTS_NAME
    file.write_bytes(weights.read_bytes())
    file.chmod(0o644)
    arguments = figures["run"]["arguments"]
    threshold = figures["made_up"]["threshold_spreads"] / SCALE
    card = {
        "id": "deviation",
        "kind": "deviation",
        "name": "Deviation from normal (second opinion)",
        "version": VERSION,
        "summary": (
            "Paints what a healthy head would look like in this place and maps where the image "
            "differs both from it and from the tissue around, in spreads over twenty."
        ),
        "intended_use": (
            "A second look at a head FLAIR, T1w or T2w of an adult: the picture of normal beside "
            "the image and the map over it point at places to look at again. Research, teaching."
        ),
        "not_for": (
            "Marking, measuring or ruling out anything. It says 'unlike what I learned', not 'ill'."
            " Children, contrast agent, spine, diffusion and susceptibility images."
        ),
        "licence": "Apache-2.0 (weights and code); training images CC-BY, attribution required",
        "authors": ["Isocenter contributors"],
        "credit": [
            CREDIT["masks and heads"],
            CREDIT["template"],
            "Method after Kascenas, Pugeault and O'Neil, MIDL 2022 (denoising for unsupervised "
            "anomaly detection).",
        ],
        "limits": _limits(figures),
        "inputs": [
            {
                "name": "Head",
                "sequence": "FLAIR, T1w or T2w",
                "required": True,
                "description": "Head FLAIR, T1w or T2w, whole or stripped, any orientation.",
            }
        ],
        "outputs": {
            "threshold": round(threshold, 3),
            "min_component_voxels": 20,
            "maps": ["picture"],
            "labels": [
                {
                    "number": 1,
                    "name": "Unlike normal",
                    "colour": [255, 170, 60],
                    "category": ["49755003", "SCT", "Morphologically Abnormal Structure"],
                    "type": ["49755003", "SCT", "Morphologically Abnormal Structure"],
                }
            ],
        },
        "preprocess": {
            "spacing_mm": 1.0,
            "multiple": Restored(**arguments).multiple,
            "order": "superior, posterior, left",
            "intensity": "inference.preprocess.normalise at 1 mm, then averaged to 2 mm",
        },
        "network": {"architecture": "deviation", "arguments": arguments},
        "weights": weights_row(file),
        "training": {
            "data": (
                "MNI152 tissue maps in made-up contrasts; raw FLAIR heads of patients 01 and 03 "
                "(ms_open_longitudinal) with possible lesions painted out; lesion masks of "
                f"patients {', '.join(BANK)} (ms_open_mni) as things planted and to be removed."
            ),
            "split": (
                "Patients 07 and 19 took no part (no image, no mask): their figures are held out "
                "and belong to these very weights. The threshold was fitted on made-up heads of "
                "another seed, those without lesions included."
            ),
            "code": (
                "python -m inference.training.shared.whole_heads, "
                "inference.training.deviation.train, inference.training.deviation.evaluate, "
                "inference.training.deviation.package"
            ),
            **{k: figures["run"][k] for k in ("steps", "cpu_minutes", "seed")},
        },
        "figures": _card_figures(figures),
    }
    return write_card(card, folder)


def _limits(figures: dict[str, Any]) -> list[str]:
    alarms = [row for row in figures["unmarked"] if "took no part" in row["note"]]
    marked = [row["marked_ml"] for row in alarms]
    others = [
        row["deviation, both signs"]["best_dice"]
        for row in figures["patients"]
        if row["sequence"] != "FLAIR"
    ]
    return [
        f"False alarms: on {len(alarms)} heads without known illness that took no part, "
        f"{min(marked, default=0)} to {max(marked, default=0)} ml are marked.",
        "T1w and T2w of the two measured patients: no use for finding their lesions (best Dice "
        f"at most {max(others, default=0):.2f}); the map is then only a picture to look at.",
        _against_brightness(figures),
        "Where the brain is not recognised the map covers the inside of the head, and says so.",
        "Two patients with masks (07, 19): no confidence interval. They are from one laboratory.",
        "The parts of the map were chosen on made-up heads, but the figures of an earlier map on "
        "patients 07 and 19 were known by then: theirs are somewhat optimistic.",
        "The network sees 2 mm: things of a few mm3 are invisible to it.",
        "One template and two real heads taught it anatomy: unusual folds, wide ventricles, old "
        "age and surgery are unlike what it learned.",
        "What it takes for normal is a guess; the true tissue under a lesion is not known.",
    ]


def _against_brightness(figures: dict[str, Any]) -> str:
    """How the map compares with plain brightness on the FLAIRs, in a sentence."""
    pairs = [
        (row[MAP]["best_dice"], row[SMOOTHED]["best_dice"])
        for row in figures["patients"]
        if row["sequence"] == "FLAIR"
    ]
    won = sum(ours > plain for ours, plain in pairs)
    return (
        f"On {won} of {len(pairs)} stripped, evenly lit FLAIRs the map finds lesions better than "
        "the smoothed plain brightness does; see the figures."
    )


def _card_figures(figures: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for row in figures["patients"]:
        flat = {k: v for k, v in row.items() if not isinstance(v, dict)}
        nested = {
            f"{name}: {what}": value
            for name, pair in row.items()
            if isinstance(pair, dict)
            for what, value in pair.items()
        }
        rows.append({**flat, "n": 1, "held_out": "yes", **nested})
    made_up = {"case": "made-up heads of another seed", **figures["made_up"]}
    rows.append(made_up | figures["restoration"])
    rows += [{"case": row["head"], "n": 1, **row} for row in figures["unmarked"]]
    return rows


def as_markdown(figures: dict[str, Any]) -> str:
    """The tables of the documentation."""
    lines = [
        "| left out of everything | lesions | best Dice / AUPRC of the map (brighter) "
        "| restoring alone | plain z-score | smoothed z-score | Dice at the fixed threshold "
        "| marked |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in figures["patients"]:
        if row["sequence"] == "FLAIR":
            pairs = [
                "{best_dice:.2f} / {auprc:.2f}".format(**row[name])
                for name in (MAP, "restoring alone, brighter only", "plain z-score", SMOOTHED)
            ]
            fixed = f"{row['dice_fixed']:.2f}"
            name, gold = f"{row['case']}, FLAIR", f"{row['gold_ml']} ml"
            cells = [name, gold, *pairs, fixed, f"{row['marked_ml']} ml"]
            lines.append("| " + " | ".join(cells) + " |")
    lines += [
        "",
        "| no lesion known | brain | marked | share of brain | |",
        "|---|---|---|---|---|",
    ]
    for row in figures["unmarked"]:
        share = f"{row['share_of_brain']:.1%}"
        cells = [row["head"], f"{row['brain_ml']} ml", f"{row['marked_ml']} ml", share, row["note"]]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(network: Restored, figures: dict[str, Any], path: Path) -> None:
    """Image, picture of normal and map, one column for each head."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    network = network.to(memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]
    threshold = figures["made_up"]["threshold_spreads"]
    heads: list[tuple[str, Any, Any, Any]] = [
        (f"FLAIR, patient {p}\n(gold outlined)", case.flair, case.affine, case.gold)
        for p in LEFT_OUT
        for case in [cases.load_labelled(p)]
    ]
    heads += [(n, v, a, None) for n, v, a, _ in unmarked_heads()[:5]]
    figure, axes = pyplot.subplots(3, len(heads), figsize=(2.2 * len(heads), 7.6))
    for column, (name, voxels, affine, gold) in zip(axes.T, heads, strict=True):
        answer = Answer(network, voxels, affine)
        where = np.argwhere(answer.brain)
        k = int(np.quantile(where[:, 0], 0.62))
        for axis, picture in zip(
            column, (answer.coarse, answer.normal, answer.coarse), strict=True
        ):
            axis.imshow(picture[k], cmap="gray", vmin=-1, vmax=1)
            axis.axis("off")
        if gold is not None:
            coarse = halved(resample_to_model(gold.astype(np.float32), answer.grid, fill=0.0))
            column[0].contour(coarse[k], [0.5], colors="deepskyblue", linewidths=0.6)
        shown = np.ma.masked_less(np.abs(answer.spreads[k]), threshold)
        column[2].imshow(shown, cmap="inferno", vmin=0, vmax=SCALE)
        column[0].set_title(name, fontsize=7)
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=66)
    pyplot.close(figure)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--figures", type=Path, required=True)
    parser.add_argument("--folder", type=Path, default=FOLDER)
    parser.add_argument("--picture", type=Path)
    parser.add_argument("--table", type=Path, help="tables of the documentation, Markdown")
    given = parser.parse_args()
    torch.set_num_threads(1)
    figures = json.loads(given.figures.read_text(encoding="utf-8"))
    print(write_package(given.weights, figures, given.folder))
    if given.table:
        given.table.write_text(as_markdown(figures), encoding="utf-8")
    if given.picture:
        from safetensors.torch import load_file

        network = Restored(**figures["run"]["arguments"])
        state = {k: v.float() for k, v in load_file(str(given.weights)).items()}
        network.net.load_state_dict(state)
        draw(network.requires_grad_(False), figures, given.picture)


if __name__ == "__main__":
    main()
