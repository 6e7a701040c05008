"""Pictures of hits and mistakes: the right colours on the right slices."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("torch")
from inference.training.lesions import pictures
from inference.training.lesions.pictures import HIT, MISSED, SLICES, WRONG, row, save

SHAPE = (60, 40, 30)


@pytest.fixture
def head() -> np.ndarray:
    image = np.full(SHAPE, -1.0, np.float32)
    image[5:55, 5:35, 5:25] = 0.0
    return image


def test_the_fullest_slices_are_shown_with_their_marks(head):
    hit, wrong = np.zeros(SHAPE, bool), np.zeros(SHAPE, bool)
    hit[30, 10:14, 10:14] = True
    wrong[31, 20:22, 20:22] = True
    picture = row(head, {HIT: hit, WRONG: wrong}, hit)
    assert picture.shape == (SHAPE[1], SLICES * SHAPE[2], 3)
    assert (picture == HIT).all(-1).sum() == 16
    assert not (picture == WRONG).all(-1).any()
    assert not (picture == MISSED).all(-1).any()


def test_a_saved_picture_is_small_and_reads_back(head, tmp_path):
    from PIL import Image

    mask = np.zeros(SHAPE, bool)
    mask[20:40, 12:20, 12:20] = True
    lines = row(head, {WRONG: pictures._outline(mask)}, mask)
    save(lines, tmp_path / "row.png")
    with Image.open(tmp_path / "row.png") as image:
        assert image.size == (SLICES * SHAPE[2], SHAPE[1])
        colours = np.asarray(image.convert("RGB"), int).reshape(-1, 3)
    assert (np.abs(colours - WRONG).max(1) < 12).any()
    inner = np.zeros(SHAPE, bool)
    inner[25, 14:18, 14:18] = True
    assert not (pictures._outline(mask) & inner).any()
