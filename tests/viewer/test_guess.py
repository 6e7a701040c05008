"""A guess of normal becomes grey values of its image, and both are cut where the patient is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.geometry import Geometry
from imaging.heatmap import PICTURE, Heatmap
from imaging.volume import Volume, Window
from viewer.state.display import Plane
from viewer.state.guess import BRIGHTER, DARKER, GuessPlane, Scale, guess_plane, guess_scale

#: Sagittal slices, 3 mm apart: i runs forward, j down, k to the left.
AFFINE = np.array([[0, 0, 3, -30], [-1, 0, 0, 20], [0, -1, 0, 25], [0, 0, 0, 1]], float)[
    :, [2, 1, 0, 3]
]
SHAPE = (21, 44, 40)


def pair(slope: float = 300.0, intercept: float = 500.0) -> tuple[Volume, Heatmap]:
    """A soft ball with a bright spot; the guess is the ball alone, in units of its own."""
    k, j, i = np.indices(SHAPE)
    ball = np.exp(-(((k - 10) / 6.0) ** 2 + ((j - 22) / 12.0) ** 2 + ((i - 20) / 12.0) ** 2))
    guess = (0.2 + 0.6 * ball).astype(np.float32)
    real = slope * guess + intercept
    real[9:12, 18:22, 24:28] += 0.4 * slope
    grid = Geometry(SHAPE, AFFINE, "1.2")
    volume = Volume("v", "v", np.round(real * 10).astype(np.int16), grid, slope=0.1)
    return volume, Heatmap("g", "guess", guess, PICTURE, grid, "v")


@settings(max_examples=20, deadline=None)
@given(slope=st.floats(50, 900), intercept=st.floats(-400, 1500))
def test_the_units_of_the_model_become_those_of_the_image(slope, intercept) -> None:
    scale = guess_scale(*pair(slope, intercept))
    assert scale.slope == pytest.approx(slope, rel=0.01)
    assert scale.intercept == pytest.approx(intercept, abs=0.01 * slope + 0.1)


def test_a_flat_guess_is_no_reason_to_fail() -> None:
    volume, guess = pair()
    flat = Heatmap("g", "g", np.full(SHAPE, 0.3), PICTURE, guess.geometry, "v")
    assert guess_scale(volume, flat) == Scale(1.0, 0.0)


@pytest.mark.parametrize("plane", [Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL])
def test_each_plane_shows_the_spot_where_the_patient_has_it(plane) -> None:
    volume, guess = pair()
    spot = volume.geometry.world((10, 19.5, 25.5))
    window = Window(650, 400)
    both = guess_plane(volume, guess, guess_scale(volume, guess), window, plane, spot, 120)
    assert both.image.shape == both.guess.shape
    change = both.image - both.guess
    row, column = np.argwhere(change > change.max() / 2).mean(axis=0)
    middle = [n / 2 for n in change.shape]
    centre = volume.geometry.corners.mean(axis=0)
    off = (spot - centre) / both.mm_per_pixel
    right, down = {
        Plane.AXIAL: (off[0], off[1]),
        Plane.CORONAL: (off[0], -off[2]),
        Plane.SAGITTAL: (off[1], -off[2]),
    }[plane]
    assert column - middle[1] == pytest.approx(right, abs=3)
    assert row - middle[0] == pytest.approx(down, abs=3)
    assert np.median(np.abs(change)) < 0.01


def test_a_plane_beside_the_head_is_empty_and_not_an_error() -> None:
    volume, guess = pair()
    far = volume.geometry.corners.max(axis=0) + 500
    both = guess_plane(volume, guess, Scale(1, 0), Window(500, 400), Plane.AXIAL, far)
    assert np.ptp(both.image) == 0


def test_brighter_and_darker_have_their_own_colours() -> None:
    volume, guess = pair()
    spot = volume.geometry.world((10, 20, 26))
    scale = guess_scale(volume, guess)
    both = guess_plane(volume, guess, scale, Window(750, 200), Plane.AXIAL, spot)
    where = np.unravel_index(np.argmax(both.image - both.guess), both.image.shape)
    assert tuple(both.difference()[where]) == BRIGHTER
    turned = type(both)(both.guess, both.image, both.mm_per_pixel)
    assert tuple(turned.difference()[where]) == DARKER


@pytest.mark.parametrize("change", [0.1, -0.1])
def test_a_guess_that_is_nearly_right_tints_nothing(change) -> None:
    image = np.linspace(0.2, 0.8, 12, dtype=np.float32).reshape(3, 4)
    picture = GuessPlane(image, image - np.float32(change), 1.0).difference()
    assert (np.ptp(picture.astype(int), axis=2) == 0).all()
    assert (np.diff(picture[..., 0].astype(int).ravel()) > 0).all()
