"""Tiles cover everything, and blending invents nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inference.tiling import blend, blending_weight, plan_tiles

shapes = st.tuples(*[st.integers(1, 20)] * 3)
plans = st.tuples(shapes, st.integers(2, 4), st.sampled_from([3, 4, 8]), st.floats(0, 0.6))


def tiles_of(plan):
    shape, factor, multiple, overlap = plan
    return shape, plan_tiles(shape, factor * multiple, multiple, overlap)


@settings(deadline=None, max_examples=60)
@given(plans)
def test_every_voxel_is_covered_and_no_tile_leaves_the_grid(plan):
    shape, tiles = tiles_of(plan)
    count = np.zeros(shape, int)
    for tile in tiles:
        assert tile.clipped(shape) == tile
        count[tile.slices] += 1
    assert count.min() >= 1
    assert len(set(tiles)) == len(tiles)


@settings(deadline=None, max_examples=60)
@given(plans, st.floats(-5, 5, width=32))
def test_a_constant_stays_constant(plan, value):
    shape, tiles = tiles_of(plan)
    out = blend(shape, tiles, lambda t: np.full(t.shape, value, np.float32))
    np.testing.assert_allclose(out, value, rtol=1e-5, atol=1e-6)


@settings(deadline=None, max_examples=60)
@given(plans, st.integers(0, 99))
def test_tiles_that_agree_give_the_volume_back(plan, seed):
    shape, tiles = tiles_of(plan)
    volume = np.random.default_rng(seed).random(shape, np.float32)
    out = blend(shape, tiles, lambda t: volume[t.slices])
    np.testing.assert_allclose(out, volume, rtol=1e-4, atol=1e-6)


def test_starts_keep_to_the_lattice_of_the_network():
    for tile in plan_tiles((160, 192, 144), 96, 16):
        assert all(start % 16 == 0 for start in tile.start)
        assert tile.shape == (96, 96, 96)


def test_the_middle_of_a_tile_counts_most():
    weight = blending_weight((16, 16, 16))
    assert weight[8, 8, 8] == weight.max()
    assert weight.min() > 0
    assert weight[0, 0, 0] < 0.01 * weight[8, 8, 8]


def test_gaps_and_impossible_plans_are_refused():
    with pytest.raises(ValueError, match="cover"):
        blend((4, 4, 8), plan_tiles((4, 4, 4), 4), lambda t: np.zeros(t.shape, np.float32))
    with pytest.raises(ValueError):
        plan_tiles((32, 32, 32), 20, 16)
    with pytest.raises(ValueError):
        plan_tiles((32, 32, 32), 16, 16, overlap=1.0)
