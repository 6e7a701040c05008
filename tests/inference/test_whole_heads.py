"""The pool of whole heads: who is in it, and that nothing moves on the way."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage
from small_heads import make_head_at_2mm

from inference.training.shared import whole_heads
from inference.training.shared.fields import smooth_field
from inference.training.shared.whole_heads import (
    BANK,
    LEFT_OUT,
    fitted_to_bank,
    load_pool,
    through_slices,
    warped_points,
    write_pool,
)


def test_the_tested_patients_are_in_no_bank():
    assert LEFT_OUT == ("07", "19")
    assert not set(LEFT_OUT) & set(BANK)
    assert len(BANK) == 18


def test_the_template_is_fitted_to_where_lesions_lie():
    k, j, i = np.indices((60, 70, 60))
    away = np.sqrt(((k - 30) / 20) ** 2 + ((j - 35) / 26) ** 2 + ((i - 30) / 20) ** 2)
    white = (away < 1).astype(np.float32)
    scale, shift = 0.84, np.array([3.0, 1.0, 4.0])
    inner = np.argwhere(away < 0.97)[::37]
    bank = np.zeros(white.shape, bool)
    bank[tuple(np.rint(inner * scale + shift).astype(int).T)] = True
    change = fitted_to_bank(white, [bank] * 11)
    middle = np.array([30.0, 35.0, 30.0])
    assert np.allclose(change[:3, :3] @ middle + change[:3, 3], middle * scale + shift, atol=2.0)


@pytest.mark.parametrize("width", [1.0, 1.7, 2.8])
def test_slices_blur_but_do_not_move(width):
    array = np.zeros((40, 12, 12), np.float32)
    array[18, 5, 6] = 1
    array = ndimage.gaussian_filter(array, 2.5)
    moved = through_slices(array, 0, width)
    assert np.allclose(ndimage.center_of_mass(moved), ndimage.center_of_mass(array), atol=0.35)
    assert moved.shape == array.shape


def test_fields_have_mean_zero_and_spread_one():
    rng = np.random.default_rng(0)
    fields = np.stack([smooth_field(rng, (20, 22, 24), 6) for _ in range(40)])
    assert abs(fields.mean()) < 0.1
    assert 0.6 < fields.std() < 1.4


def test_warped_heads_stay_around_their_centre():
    rng = np.random.default_rng(1)
    centre = np.array([50.0, 60.0, 55.0])
    middles = [warped_points(rng, (20, 20, 20), centre, 2.0).mean((1, 2, 3)) for _ in range(30)]
    assert np.allclose(np.mean(middles, 0), centre, atol=1.5)


def test_a_pool_comes_back_as_it_was_written(tmp_path, monkeypatch):
    heads = [make_head_at_2mm(n, c) for n, c in enumerate(("FLAIR", "T1w"))]
    monkeypatch.setattr(whole_heads, "SHAPE", heads[0].image.shape)

    class Maker:
        def __init__(self):
            self.left = list(heads)

        def head(self):
            return self.left.pop(0)

    write_pool(Maker(), tmp_path, 2)
    pool = load_pool(tmp_path)
    assert pool.contrasts == ["FLAIR", "T1w"]
    for head, back in zip(heads, pool, strict=True):
        assert np.allclose(head.image, back.image, atol=2e-3)
        assert np.array_equal(head.brain, back.brain)
        assert np.allclose(head.lesions[1], back.lesions[1], atol=3e-3)
        assert back.thick == head.thick
