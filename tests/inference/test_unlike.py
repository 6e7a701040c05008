"""Two opinions about what is unlike normal: each means what it says, and both have to agree."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as numbers
from scipy import ndimage
from small_heads import SHAPE, make_head_at_2mm

from inference.plugins.unlike import (
    LEAST_CHANGE,
    LEAST_LIGHT,
    MOST_LIGHT,
    agreed,
    doubled,
    halved,
    inside,
    measured,
    restored,
    surroundings,
)

BRIGHT, DARK = (32, 44, 18), (32, 44, 30)
"""Places in white matter, far from fluid and rim."""
opinions = numbers.arrays(np.float32, (40,), elements=st.floats(-30, 30, width=32))


def asked(image: np.ndarray, light: dict, taken: dict) -> np.ndarray:
    """Deviation of a head where some places are lit, and the network takes some out."""
    head = make_head_at_2mm()
    output = np.zeros((2, *SHAPE), np.float32)
    output[0] = np.random.default_rng(0).normal(0, 0.02, SHAPE)
    image = image.copy()
    for place, value in light.items():
        image[place] += value
    for place, value in taken.items():
        output[0][place] = -value
    return measured(image, output, head.brain)


@settings(deadline=None)
@given(opinions, opinions)
def test_the_answer_lies_between_two_opinions_that_agree(one, other):
    both = agreed(one, other)
    alike = one * other > 0
    assert not both[~alike].any()
    low, high = np.minimum(np.abs(one), np.abs(other)), np.maximum(np.abs(one), np.abs(other))
    assert (np.abs(both) >= low * 0.999 - 1e-5)[alike].all()
    assert (np.abs(both) <= high * 1.001 + 1e-5)[alike].all()
    assert (both * one >= 0).all()


def test_what_is_lit_and_taken_out_counts_with_its_sign():
    head = make_head_at_2mm()
    things = {BRIGHT: 0.4, DARK: -0.4}
    deviation = asked(head.image, things, things)
    assert deviation[BRIGHT] > 5
    assert deviation[DARK] < -4
    quiet = inside(head.brain) & (head.place > 0)
    assert np.median(np.abs(deviation[quiet])) < 1.5


def test_one_opinion_alone_is_not_enough():
    head = make_head_at_2mm()
    only_lit = asked(head.image, {BRIGHT: 0.4}, {BRIGHT: 0.0})
    only_taken = asked(head.image, {}, {BRIGHT: 0.4})
    both = asked(head.image, {BRIGHT: 0.4}, {BRIGHT: 0.4})[BRIGHT]
    assert abs(only_lit[BRIGHT]) < both / 4
    assert abs(only_taken[BRIGHT]) < both / 2
    assert asked(head.image, {BRIGHT: 0.4}, {BRIGHT: -0.4})[BRIGHT] == 0


def test_what_the_network_takes_for_fluid_may_be_as_dark_as_it_likes():
    head = make_head_at_2mm()
    fluid = np.asarray(ndimage.binary_erosion((head.image < -0.6) & (head.place > 0)), bool)
    assert fluid.any()
    deviation = asked(head.image, {}, dict.fromkeys(map(tuple, np.argwhere(fluid)), -0.2))
    assert not deviation[fluid].any()


def test_an_edge_of_fluid_counts_less_than_a_lesion():
    """Half fluid: very dark, but the network changes little; it may be sulcus or ventricle."""
    head = make_head_at_2mm()
    edge = asked(head.image, {DARK: -0.38}, {DARK: -0.1})[DARK]
    assert -np.sqrt(0.1 / LEAST_CHANGE * MOST_LIGHT / LEAST_LIGHT) * 1.05 < edge < 0
    bright = asked(head.image, {BRIGHT: 0.38}, {BRIGHT: 0.1})[BRIGHT]
    assert bright > 1.04 * -edge


@pytest.mark.parametrize("sign", [-1, 1])
def test_fluid_is_bright_or_dark(sign):
    head = make_head_at_2mm()
    fluid = (head.image < -0.6) & head.brain
    image = np.where(fluid, np.float32(0.9), head.image) if sign > 0 else head.image
    around = surroundings(image, np.zeros(SHAPE, np.float32), inside(head.brain))
    assert around.fluid_sign == sign
    assert (around.fluid == fluid & inside(head.brain)).all()


def test_what_is_taken_out_is_counted_in_spreads_of_this_image():
    head = make_head_at_2mm()
    inner = inside(head.brain)
    change = np.random.default_rng(0).normal(0, 0.05, SHAPE).astype(np.float32)
    change[BRIGHT] = -0.4
    ratio = restored(change, inner)
    assert ratio[BRIGHT] == pytest.approx(8, rel=0.05)
    assert not ratio[~inner].any()
    # An image that is off three times as much everywhere is judged by that.
    assert np.allclose(restored(3 * change, inner), ratio, atol=1e-3)


def test_the_level_around_is_that_of_tissue():
    """Neither fluid nor a lesion that is left in pulls it away."""
    head = make_head_at_2mm()
    inner = inside(head.brain)
    image = head.image.copy()
    image[28:36, 40:48, 14:22] += 1.0
    around = surroundings(image, np.zeros(SHAPE, np.float32), inner)
    white = inner & (head.place > 0)
    assert np.abs(around.level[white]).max() < 0.1
    assert around.spread == LEAST_LIGHT  # this head has hardly any noise
    rough = image + np.random.default_rng(1).normal(0, 0.15, SHAPE).astype(np.float32)
    assert surroundings(rough, image - rough, inner).spread == pytest.approx(0.15, rel=0.1)


def test_a_finer_image_is_answered_on_its_own_grid():
    head = make_head_at_2mm()
    output = np.zeros((2, *SHAPE), np.float32)
    output[0] = np.random.default_rng(0).normal(0, 0.02, SHAPE)
    image = head.image.copy()
    block = np.s_[30:34, 42:46, 16:20]
    image[block] += 0.4
    output[0][block] = -0.4
    fine_shape = tuple(2 * n for n in SHAPE)
    fine = np.kron(image, np.ones((2, 2, 2), np.float32))
    assert np.allclose(halved(fine), image, atol=1e-6)
    deviation = measured(fine, output, head.brain)
    assert deviation.shape == fine_shape
    coarse = measured(image, output, head.brain)
    assert halved(deviation)[31:33, 43:45, 17:19] == pytest.approx(
        coarse[31:33, 43:45, 17:19], rel=0.25
    )
    marked, expected = np.argwhere(deviation > 4), np.argwhere(coarse > 4)
    assert np.allclose((marked.mean(0) + 0.5) / 2, expected.mean(0) + 0.5, atol=0.3)


def test_no_brain_no_deviation():
    image = make_head_at_2mm().image
    output = np.ones((2, *SHAPE), np.float32)
    assert not measured(image, output, np.zeros(SHAPE, bool)).any()


def test_halves_and_doubles_lie_on_the_same_place():
    fine = np.zeros((32, 36, 40), np.float32)
    fine[11, 20, 25] = 1
    fine = ndimage.gaussian_filter(fine, 2)
    back = doubled(halved(fine), fine.shape)
    assert np.allclose(ndimage.center_of_mass(back), ndimage.center_of_mass(fine), atol=0.02)
