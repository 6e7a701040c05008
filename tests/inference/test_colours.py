"""Tissues and findings are told apart, also by people who see fewer colours."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from imaging.segmentation import PALETTE
from inference.card_reading import load_card

MODELS = Path(__file__).parents[2] / "resources" / "models"
#: Opacities that the window gives to tissues and to findings.
TISSUE, FINDING = 0.3, 0.45
#: Machado, Oliveira and Fernandes 2009, full severity, on linear sRGB.
SEEN_BY = {
    "everybody": np.eye(3),
    "deuteranope": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanope": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "tritanope": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}  # fmt: skip
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour: np.ndarray, seen_by: str) -> np.ndarray:
    """CIE L*a*b* of an sRGB colour (0 to 255) as somebody sees it."""
    share = np.asarray(colour, float) / 255
    linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
    seen = np.clip(np.asarray(SEEN_BY[seen_by]) @ linear, 0, 1)
    xyz = TO_XYZ @ seen / TO_XYZ.sum(axis=1)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def away(one: np.ndarray, other: np.ndarray, seen_by: str) -> float:
    return float(np.linalg.norm(lab(one, seen_by) - lab(other, seen_by)))


def over(colour: tuple[int, int, int], opacity: float, ground: np.ndarray) -> np.ndarray:
    return opacity * np.asarray(colour, float) + (1 - opacity) * ground


@pytest.mark.parametrize("seen_by", SEEN_BY)
@pytest.mark.parametrize("grey", [120, 170, 225])
def test_findings_stand_out_over_tissues_that_differ(seen_by, grey) -> None:
    ground = np.full(3, float(grey))
    labels = load_card(MODELS / "brain-tissue").labels
    tissues = [over(label.colour, TISSUE, ground) for label in labels]
    assert min(away(a, b, seen_by) for a, b in combinations(tissues, 2)) > 11
    found = [away(over(PALETTE[0], FINDING, tissue), tissue, seen_by) for tissue in tissues]
    assert min(found) > 20


def test_no_tissue_has_a_colour_that_labels_are_given() -> None:
    labels = load_card(MODELS / "brain-tissue").labels
    for label in labels:
        for colour in PALETTE:
            assert away(label.colour, colour, "everybody") > 25
