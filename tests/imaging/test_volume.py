"""Images: real values, windows, and that nobody writes to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cases import straight, volume_on

from imaging.errors import BadInput
from imaging.volume import Volume, Window, auto_window, filled_padding


def test_the_window_has_two_ends():
    assert (Window(40, 80).low, Window(40, 80).high) == (0, 80)


def test_real_values_follow_slope_and_intercept():
    volume = volume_on(straight(), slope=0.5, intercept=-3.0)
    assert volume.real(volume.voxels)[2, 3, 4] == pytest.approx(volume.voxels[2, 3, 4] * 0.5 - 3)
    assert volume.real(10.0) == pytest.approx(2.0)


def test_the_value_under_the_pointer():
    volume = volume_on(straight(), slope=2.0, intercept=1.0)
    point = volume.geometry.world((2, 3, 4)) + 0.3
    assert volume.value_at(point) == volume.voxels[2, 3, 4] * 2.0 + 1.0
    assert volume.value_at(np.array([-5.0, 0, 0])) is None


def test_voxels_are_read_only_but_the_loader_may_still_fill_them():
    memory = np.zeros((2, 3, 4), np.int16)
    volume = Volume("v", "v", memory, straight((2, 3, 4)))
    with pytest.raises(ValueError):
        volume.voxels[0, 0, 0] = 1
    memory[0, 0, 0] = 7
    assert volume.voxels[0, 0, 0] == 7


@pytest.mark.parametrize("shape", [(2, 3), (2, 3, 5)])
def test_voxels_must_be_on_their_grid(shape):
    with pytest.raises(BadInput):
        Volume("v", "v", np.zeros(shape, np.int16), straight((2, 3, 4)))


@given(st.lists(st.floats(-1e6, 1e6, width=32), max_size=60))
def test_an_automatic_window_always_has_a_width(values):
    window = auto_window(np.array(values, np.float32))
    assert window.width > 0
    assert np.isfinite(window.centre)


def test_an_automatic_window_does_not_follow_the_amount_of_air():
    tissue = np.linspace(100, 200, 1000)
    windows = [
        auto_window(np.concatenate([np.zeros(air), tissue, [np.nan, np.inf]]))
        for air in (100, 1000, 9000)
    ]
    for window in windows:
        assert window.low == pytest.approx(0, abs=1)
        assert 199 < window.high < 220


def test_the_window_of_an_inverted_image_is_that_of_its_mirror_image():
    tissue = np.linspace(100, 200, 1000)
    values = np.concatenate([np.zeros(9000), tissue])
    window, mirrored = auto_window(values), auto_window(4095 - values, inverted=True)
    assert mirrored.width == pytest.approx(window.width)
    assert mirrored.high == pytest.approx(4095 - window.low)


def test_padding_is_no_measured_value():
    stored = np.array([[[-2000, -1999, 5, 900]]], np.int16)
    volume = Volume("v", "v", stored, straight((1, 1, 4)), slope=2.0, padding=(-2000, -1999))
    assert volume.measured(volume.voxels).tolist() == [[[0.0, 0.0, 10.0, 1800.0]]]
    assert filled_padding(stored, volume.padding).ravel().tolist() == [0, 0, 5, 900]
    assert filled_padding(stored, volume.padding, inverted=True).ravel().tolist() == [
        900, 900, 5, 900,
    ]  # fmt: skip
    assert filled_padding(stored, None) is stored
    assert volume.voxels.ravel().tolist() == [-2000, -1999, 5, 900]
