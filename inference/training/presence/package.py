"""Write the package of the presence classifier from its figures.

``python -m inference.training.presence.package --weights FILE --figures figures.json`` writes
``resources/models/lesion-presence``; ``--picture FILE`` draws dose and response.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from inference.training.presence.evaluate import MULTIPLE
from inference.training.shared.package_files import (
    CREDIT,
    MODELS,
    WEIGHTS_NAME,
    weights_row,
    write_card,
)
from inference.training.shared.whole_heads import BANK

FOLDER = MODELS / "lesion-presence"
VERSION = "1.1.0"


def write_package(weights: Path, figures: dict[str, Any], folder: Path = FOLDER) -> Path:
    """Copy the weights and write the card.

    Parameters
    ----------
    weights, figures
        What `inference.training.presence.evaluate` wrote.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / WEIGHTS_NAME
    file.write_bytes(weights.read_bytes())
    file.chmod(0o644)
    fitted = figures["calibration"]
    run = figures["run"]
    arguments = {**run["arguments"], "slope": fitted["slope"], "restorer": run["restorer"]}
    card = {
        "id": "lesion-presence",
        "kind": "presence",
        "name": "Are there white-matter lesions?",
        "version": VERSION,
        "summary": "Says with which probability a head FLAIR holds white-matter lesions at all.",
        "intended_use": (
            "Sorting and second look: one calibrated probability for a brain FLAIR of an adult, "
            "with a map of what it looked at. Research and teaching."
        ),
        "not_for": (
            "Ruling lesions out, diagnosis, any other disease, children, and any sequence other "
            "than FLAIR."
        ),
        "licence": "Apache-2.0 (weights and code); training images CC-BY, attribution required",
        "authors": ["Isocenter contributors"],
        "credit": [
            CREDIT["masks and heads"],
            CREDIT["template"],
            "Network: ResNet of MONAI (Apache-2.0), behind the network of the deviation model.",
        ],
        "limits": _limits(figures),
        "inputs": [
            {
                "name": "FLAIR",
                "sequence": "FLAIR",
                "required": True,
                "description": "Brain FLAIR, whole head or stripped, any orientation.",
            }
        ],
        "outputs": {
            "threshold": 0.5,
            "min_component_voxels": 0,
            "labels": [{"number": 1, "name": "White-matter lesions"}],
        },
        "preprocess": {
            "spacing_mm": 1.0,
            "multiple": MULTIPLE,
            "order": "superior, posterior, left",
            "intensity": "inference.preprocess.normalise at 1 mm, then averaged to 2 mm",
        },
        "network": {
            "architecture": "presence",
            "arguments": {**arguments, "offset": fitted["offset"]},
        },
        "weights": weights_row(file),
        "training": {
            "data": (
                "The same head with and without planted lesions: MNI152 tissue maps as FLAIR, raw "
                "FLAIR heads of patients 01 and 03 (ms_open_longitudinal) with possible lesions "
                f"painted out; lesion masks of patients {', '.join(BANK)} (ms_open_mni)."
            ),
            "split": (
                "Patients 07 and 19 took no part (no image, no mask). Calibration and dose-response"
                " come from made-up heads of another seed, one half each. Threshold 0.5 of the "
                "calibrated probability, fixed beforehand."
            ),
            "code": (
                "python -m inference.training.shared.whole_heads, "
                "inference.training.presence.train, inference.training.presence.evaluate, "
                "inference.training.presence.package"
            ),
            "restoring_network": (
                "A copy of the deviation model's network after "
                f"{run['restorer_steps']} steps, not trained further."
            ),
            **{k: run[k] for k in ("steps", "cpu_minutes", "seed")},
        },
        "figures": _card_figures(figures),
    }
    return write_card(card, folder)


def _limits(figures: dict[str, Any]) -> list[str]:
    table = figures["dose_response"]
    none = next(row for row in table if row["dose_ml"] == 0)
    seen = [row["dose_ml"] for row in table if row["dose_ml"] and row["called_present"] >= 0.8]
    least = f"{min(seen):g} ml" if seen else "more than the largest load tried"
    return [
        f"On made-up heads it calls {none['called_present']:.0%} of {none['heads']} heads without "
        f"lesions positive; the smallest planted load seen in at least 80 % is {least}.",
        "Two real patients with known lesions (07, 19), one laboratory: no sensitivity, no "
        "specificity can be claimed. Heads truly without lesions were not available.",
        "It learned from planted lesions: real ones differ, and infarcts, tumours or small-vessel "
        "disease may be called present or not; neither means anything.",
        "Calibrated for as many heads with as without lesions, and for planted ones.",
    ]


def _card_figures(figures: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"case": f"made-up heads, {row['dose_ml']:g} ml planted", "n": row["heads"], **row}
        for row in figures["dose_response"]
    ]
    rows += [{"case": row["head"], "n": 1, **row} for row in figures["real"]]
    fitted = figures["calibration"]
    rows.append(
        {
            "case": "calibration error on made-up heads",
            "before": fitted["error_before"],
            "after": fitted["error_after"],
        }
    )
    return rows


def as_markdown(figures: dict[str, Any]) -> str:
    """The tables of the documentation."""
    lines = ["| planted load | made-up heads | called present (95 % interval) |", "|---|---|---|"]
    lines += [
        f"| {row['dose_ml']:g} ml | {row['heads']} | {row['called_present']:.0%} "
        f"({row['low']:.0%} to {row['high']:.0%}) |"
        for row in figures["dose_response"]
    ]
    lines += ["", "| head | truth | probability | |", "|---|---|---|---|"]
    lines += [
        f"| {row['head']} | {row['truth']} | {row['probability']:.2f} | {row['part']} |"
        for row in figures["real"]
    ]
    return "\n".join(lines) + "\n"


def draw(figures: dict[str, Any], path: Path) -> None:
    """Share of heads called present by planted load."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [row for row in figures["dose_response"] if row["dose_ml"]]
    none = next(row for row in figures["dose_response"] if not row["dose_ml"])
    doses = [row["dose_ml"] for row in rows]
    share = [row["called_present"] for row in rows]
    figure, axis = pyplot.subplots(figsize=(5.2, 3.4))
    axis.fill_between(doses, [r["low"] for r in rows], [r["high"] for r in rows], alpha=0.2)
    axis.plot(doses, share, marker="o", label="planted lesions")
    label = f"no lesion ({none['heads']} heads)"
    axis.axhline(none["called_present"], color="grey", linestyle="--", label=label)
    axis.set_xscale("log")
    axis.set_ylim(-0.03, 1.03)
    axis.set_xlabel("planted load, ml")
    axis.set_ylabel("share called present")
    axis.set_title("Made-up FLAIR heads, 95 % interval", fontsize=9)
    axis.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=90)
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
    figures = json.loads(given.figures.read_text(encoding="utf-8"))
    print(write_package(given.weights, figures, given.folder))
    if given.table:
        given.table.write_text(as_markdown(figures), encoding="utf-8")
    if given.picture:
        draw(figures, given.picture)


if __name__ == "__main__":
    main()
