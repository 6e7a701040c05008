"""Does the infarct output see infarcts, or how masks were painted? On held-back patients.

``python -m inference.training.planes.infarct_probe --run DIR --out figures.json`` takes every fifth
patient (`data.is_test`, never trained on), spoils the planes in ways that must not matter,
and prints a table. The source painted its masks into the pictures; grey was recovered, and a
network could read the traces instead of the tissue. Three questions:

- Does the score survive mild blur, four grey levels of noise, and both? Traces would not.
- Is anything found when only the fine texture is left (the picture minus its own blur on even
  tissue)? Traces would be.
- On planes without an infarct, is the probability higher inside other patients' masks laid over
  them than around? It should be so only as far as infarcts have their usual places.

The rule, fixed before the first look: the output ships when, spoilt by blur and noise together,
it keeps 90 % of its pooled Dice and its area under the curve stays above 0.85 for pixels, and when
the fine texture alone gives less than a third of that Dice.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from imaging.analysis.probability_metrics import ChanceTable, chance_table
from inference.plugins.planes import _padded
from inference.plugins.unet import UNet
from inference.plugins.whole_head import sigmoid
from inference.preprocess import SMOOTHING
from inference.training.planes.data import AXES, StrokePlanes, tissue_peak, to_units
from inference.training.planes.train import load_run
from inference.training.shared.cases import IMAGE_PATIENTS, load_labelled

__all__ = ["SPOILS", "Row", "may_ship", "plane_chance", "probe"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Spoil = Callable[[Array, np.random.Generator], Array]

THRESHOLD = 0.5
MIN_PIXELS = 10
"""Smaller spots are dropped from the mask, as in the application."""
NOISE = 4.0
"""Grey levels of the stored scale."""


def _as_stored(grey: Array, rng: np.random.Generator) -> Array:
    return grey


def _blur(grey: Array, rng: np.random.Generator) -> Array:
    return np.asarray(ndimage.gaussian_filter(grey, 1.0), np.float32)


def _noise(grey: Array, rng: np.random.Generator) -> Array:
    return (grey + rng.uniform(-NOISE, NOISE, grey.shape) * (grey > 0)).astype(np.float32)


def _both(grey: Array, rng: np.random.Generator) -> Array:
    return _noise(_blur(grey, rng), rng)


def _fine_texture(grey: Array, rng: np.random.Generator) -> Array:
    """What a blur takes away, on even tissue."""
    brain = np.asarray(ndimage.binary_fill_holes(grey > 0), bool)
    fine = grey - ndimage.gaussian_filter(grey, 2.0)
    return np.where(brain, 160 + fine, 0).astype(np.float32)


SPOILS: dict[str, Spoil] = {
    "as stored": _as_stored,
    "blur of 1 pixel": _blur,
    "noise of 4 grey levels": _noise,
    "blur and noise": _both,
    "fine texture only": _fine_texture,
}


@dataclass(frozen=True, eq=False)
class Row:
    """What was counted of one plane."""

    subject: str
    plane: str
    truth: int
    marked: int
    both: int
    highest: float
    table: ChanceTable


def plane_chance(network: UNet, image: Array, output: int = 1) -> Array:
    """Probability of one output on a normalised, unsmoothed plane."""
    smooth = np.asarray(ndimage.gaussian_filter(image, SMOOTHING, truncate=2.5), np.float32)
    padded, inner = _padded(smooth[None], network.multiple)
    with torch.inference_mode():
        logits = network(torch.from_numpy(padded[:, None]))[0, output].numpy()
    return sigmoid(logits)[inner].astype(np.float32)


def probe(
    network: UNet, planes: StrokePlanes, spoil: Spoil, output: int = 1, limit: int | None = None
) -> list[Row]:
    """Count every plane of the held-back patients after it was spoilt."""
    rows = []
    for subject in planes.subjects[:limit]:
        rng = np.random.default_rng([7, *subject.encode()])
        grey = {name: planes.raw(subject, name) for name in AXES}
        spoilt = {name: spoil(picture, rng) for name, (picture, _) in grey.items()}
        level = tissue_peak(list(spoilt.values()))
        for name, picture in spoilt.items():
            infarct = grey[name][1]
            chance = plane_chance(network, to_units(picture, level), output)
            mask = drop_specks(chance > THRESHOLD)
            rows.append(
                Row(
                    subject,
                    name,
                    int(infarct.sum()),
                    int(mask.sum()),
                    int((mask & infarct).sum()),
                    float(ndimage.gaussian_filter(chance, 1.0).max()),
                    chance_table(chance, infarct, grey[name][0] > 0),
                )
            )
    return rows


def drop_specks(mask: Mask) -> Mask:
    """Remove spots of fewer than `MIN_PIXELS` (8-connected)."""
    labelled: Any = ndimage.label(mask, np.ones((3, 3)))
    pieces = labelled[0]
    keep = np.bincount(pieces.ravel()) >= MIN_PIXELS
    keep[0] = False
    return keep[pieces]


def summary(rows: list[Row], seed: int = 0) -> dict[str, Any]:
    """Figures of all planes, with intervals by bootstrap over patients."""
    subjects = sorted({r.subject for r in rows})
    of = {s: [r for r in rows if r.subject == s] for s in subjects}
    counts = np.array(
        [[sum(getattr(r, n) for r in of[s]) for n in ("truth", "marked", "both")] for s in subjects]
    )

    def dice(picks: npt.NDArray[np.int64]) -> float:
        truth, marked, both = counts[picks].sum(0)
        return float(2 * both / max(truth + marked, 1))

    rng = np.random.default_rng(seed)
    draws = [dice(rng.integers(0, len(subjects), len(subjects))) for _ in range(1000)]
    lesion = [r for r in rows if r.truth >= MIN_PIXELS]
    clean = [r for r in rows if r.truth == 0]
    table = sum((r.table for r in rows[1:]), rows[0].table)
    singles = [2 * r.both / max(r.truth + r.marked, 1) for r in lesion]
    return {
        "patients": len(subjects),
        "planes": len(rows),
        "planes_with_infarct": len(lesion),
        "dice_pooled": round(dice(np.arange(len(subjects))), 3),
        "dice_pooled_ci95": [round(float(v), 3) for v in np.percentile(draws, [2.5, 97.5])],
        "dice_median_of_planes": round(float(np.median(singles)), 3),
        "sensitivity": round(sum(r.both for r in rows) / max(sum(r.truth for r in rows), 1), 3),
        "precision": round(sum(r.both for r in rows) / max(sum(r.marked for r in rows), 1), 3),
        "planes_found": round(float(np.mean([r.both > 0 for r in lesion])), 3),
        "clean_planes_marked": round(float(np.mean([r.marked > 0 for r in clean])), 3),
        "auc_pixels": round(float(table.auc or 0), 3),
        "auc_planes": round(_auc([r.highest for r in lesion], [r.highest for r in clean]), 3),
        "dice_by_plane": {
            name: round(_pooled([r for r in rows if r.plane == name]), 3) for name in AXES
        },
        "found_by_size": {
            name: [
                sum(r.both > 0 for r in lesion if low <= r.truth < high),
                sum(low <= r.truth < high for r in lesion),
            ]
            for name, low, high in (
                ("10-50 px", 10, 50),
                ("50-200 px", 50, 200),
                ("200-1000 px", 200, 1000),
                ("over 1000 px", 1000, 10**9),
            )
        },
    }


def _pooled(rows: list[Row]) -> float:
    return 2 * sum(r.both for r in rows) / max(sum(r.truth + r.marked for r in rows), 1)


def _auc(high: list[float], low: list[float]) -> float:
    """Chance that one of the first list is above one of the second."""
    order = np.sort(np.asarray(low))
    below = np.searchsorted(order, high, "left") + np.searchsorted(order, high, "right")
    return float(below.mean() / 2 / max(len(low), 1))


def borrowed_masks(network: UNet, planes: StrokePlanes, output: int = 1) -> dict[str, float]:
    """On planes without infarct: probability inside masks of others, and their mirror images.

    The mirrored mask lies at an equally usual place without any history, so the difference of the
    two is what painting, not place, could explain. On planes without a mask both must agree.
    """
    masks = {
        name: [m for s in planes.subjects if (m := planes.raw(s, name)[1]).sum() > 100]
        for name in AXES
    }
    rng = np.random.default_rng(11)
    inside, mirror = [], []
    for subject in planes.subjects:
        for name in ("axial", "coronal"):
            image, infarct = planes.normalised(subject, name)
            if infarct.any():
                continue
            chance = plane_chance(network, image, output)
            mask = masks[name][int(rng.integers(len(masks[name])))]
            table = chance_table(chance, mask, image > -1)
            inside.append(table.auc or 0.5)
            mirror.append(chance_table(chance, mask[:, ::-1], image > -1).auc or 0.5)
    return {
        "planes": len(inside),
        "auc_borrowed_mask": round(float(np.mean(inside)), 3),
        "auc_mirrored_mask": round(float(np.mean(mirror)), 3),
    }


def without_stroke(network: UNet, output: int = 1) -> dict[str, float]:
    """Volume in ml marked as infarct in patients with multiple sclerosis, where there is none."""
    from inference.training.lesions.behaviour import raw_head
    from inference.training.lesions.evaluate import MIN_VOLUME_MM3, drop_small
    from inference.training.planes.evaluate import predict

    heads = {f"patient {p}": load_labelled(p) for p in IMAGE_PATIENTS}
    images = {name: (case.flair, case.affine) for name, case in heads.items()}
    images |= {f"raw head {p}": raw_head(p, 1)[:2] for p in ("01", "03")}
    result = {}
    for name, (voxels, affine) in images.items():
        mm3 = float(abs(np.linalg.det(affine[:3, :3])))
        chance = predict(network, voxels, affine, output=output)
        mask = drop_small(chance > THRESHOLD, mm3, MIN_VOLUME_MM3)
        result[name] = round(float(mask.sum()) * mm3 / 1000, 2)
    return result


def may_ship(figures: dict[str, dict[str, Any]]) -> bool:
    """The rule of this module's first lines."""
    stored, spoilt = figures["as stored"], figures["blur and noise"]
    texture = figures["fine texture only"]
    return (
        spoilt["dice_pooled"] >= 0.9 * stored["dice_pooled"]
        and spoilt["auc_pixels"] > 0.85
        and texture["dice_pooled"] < stored["dice_pooled"] / 3
    )


def table(figures: dict[str, dict[str, Any]]) -> str:
    """The figures as Markdown."""
    names = ("dice_pooled", "sensitivity", "precision", "planes_found", "clean_planes_marked")
    names += ("auc_pixels", "auc_planes")
    lines = ["| planes | " + " | ".join(n.replace("_", " ") for n in names) + " |"]
    lines.append("|---" * (len(names) + 1) + "|")
    for spoil, values in figures.items():
        lines.append(f"| {spoil} | " + " | ".join(f"{values[n]:.3f}" for n in names) + " |")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--limit", type=int, help="only so many patients")
    given = parser.parse_args()
    torch.set_num_threads(1)
    network, planes = load_run(given.run), StrokePlanes(test=True)
    figures = {
        name: summary(probe(network, planes, spoil, limit=given.limit))
        for name, spoil in SPOILS.items()
    }
    borrowed = borrowed_masks(network, planes)
    print(table(figures))
    elsewhere = without_stroke(network)
    print(json.dumps(borrowed))
    print(json.dumps(elsewhere))
    print("ships" if may_ship(figures) else "does not ship")
    if given.out:
        result = {"spoilt": figures, "borrowed_masks": borrowed}
        result |= {"marked_without_stroke_ml": elsewhere, "ships": may_ship(figures)}
        given.out.write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
