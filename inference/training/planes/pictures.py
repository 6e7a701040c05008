"""Pictures for the documentation: infarcts of held-back patients, and the ensemble with its doubt.

``python -m inference.training.planes.pictures --out docs/pictures`` draws with the shipped weights
(the left-out patients with the fold networks stored beside them). Found is green, wrongly marked
red, missed blue; doubt is drawn in yellow.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from inference.plugins.ensemble import doubt
from inference.plugins.unet import UNet
from inference.preprocess import normalise
from inference.training.lesions.evaluate import MIN_VOLUME_MM3, drop_small, shipped_network
from inference.training.lesions.pictures import HIT, MISSED, WRONG, row
from inference.training.planes.calibration import Calibration, patient_case
from inference.training.planes.data import StrokePlanes
from inference.training.planes.evaluate import THRESHOLD, shipped_planes
from inference.training.planes.infarct_probe import drop_specks, plane_chance
from inference.training.shared.cases import load_labelled
from inference.training.shared.package_files import MODELS

__all__ = ["draw_infarcts", "draw_thorough"]

Mask = npt.NDArray[np.bool_]
Picture = npt.NDArray[np.uint8]
SHOWN = 6


def draw_infarcts(network: UNet, planes: StrokePlanes) -> Picture:
    """Axial planes of held-back patients: typical ones, the worst misses, the worst mistakes.

    A column is a patient: the plane, and below it the same with what was found and not.
    """
    seen = []
    for subject in planes.subjects:
        image, infarct = planes.normalised(subject, "axial")
        mask = drop_specks(plane_chance(network, image, 0) > THRESHOLD)
        dice = 2 * float((mask & infarct).sum()) / max(float(mask.sum() + infarct.sum()), 1.0)
        seen.append((subject, image, infarct, mask, dice))
    ill = sorted((s for s in seen if s[2].sum() > 50), key=lambda s: s[4])
    middle = ill[len(ill) // 2 - SHOWN // 2 :][:SHOWN]
    missed = sorted(seen, key=lambda s: -int((s[2] & ~s[3]).sum()))[: SHOWN // 2]
    wrong = sorted(seen, key=lambda s: -int((s[3] & ~s[2]).sum()))[: SHOWN // 2]
    return np.concatenate([_columns(middle), _columns([*missed, *wrong])])


def _columns(chosen: list[Any]) -> Picture:
    tiles = []
    for _, image, infarct, mask, _ in chosen:
        plain = _grey(image)
        drawn = plain.copy()
        for colour, part in (
            (HIT, mask & infarct),
            (WRONG, mask & ~infarct),
            (MISSED, infarct & ~mask),
        ):
            drawn[part] = colour
        tiles.append(np.concatenate([plain, drawn]))
    return np.concatenate(tiles, axis=1)


def _grey(image: npt.NDArray[Any]) -> Picture:
    grey = np.clip((image + 1) / 2.0, 0, 1) * 255
    return np.repeat(grey[:, :, None], 3, axis=2).astype(np.uint8)


def draw_thorough(folds: Mapping[str, Calibration]) -> Picture:
    """Two rows per left-out patient: agreement with the truth, and where the ensemble doubts."""
    planes = shipped_planes()
    rows = []
    for patient, calibration in folds.items():
        case = patient_case(patient, shipped_network(patient), planes)
        chance = calibration.of(case.answers)
        unsure = doubt(chance, np.std(case.answers, axis=0))
        found = drop_small(chance > THRESHOLD, 1.0, MIN_VOLUME_MM3)
        image = normalise(load_labelled(patient).flair)[:, ::-1]
        marks = {
            HIT: found & case.gold,
            WRONG: found & ~case.gold,
            MISSED: case.gold & ~found,
        }
        choose = (found | case.gold)[:, ::-1]
        rows.append(row(image, {c: m[:, ::-1] for c, m in marks.items()}, choose))
        shades = {
            (255, int(235 - 90 * n), 60): ((unsure > low) & (unsure <= low + 0.2))[:, ::-1]
            for n, low in enumerate((0.8, 0.6, 0.4))
        }
        rows.append(row(image, shades, choose))
    return np.concatenate(rows)


def save(picture: Picture, path: Path) -> None:
    """A PNG of 26 greys and the colours of the marks, which stay exact."""
    from PIL import Image

    plain = (picture == picture[:, :, :1]).all(axis=2)
    few = picture.copy()
    few[plain] = few[plain] // 10 * 10
    Image.fromarray(few).quantize(64, Image.Quantize.FASTOCTREE).save(path, optimize=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--calibration", type=Path, help="figures of the ensemble, as JSON")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if (MODELS / "flair-infarct" / "card.toml").exists():
        picture = draw_infarcts(shipped_planes("flair-infarct"), StrokePlanes(test=True))
        save(picture, given.out / "flair-infarct.png")
    if given.calibration:
        folds = json.loads(given.calibration.read_text(encoding="utf-8"))["folds"]
        used = {
            f["case"]: Calibration(f["slope"], f["offset"]) if f["kept"] else Calibration()
            for f in folds
        }
        picture = draw_thorough(used)
        save(picture, given.out / "flair-wml-thorough.png")


if __name__ == "__main__":
    main()
