"""Blocks of a model grid come back to the very source voxels they belong to."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from imaging.geometry import Box
from inference import grids
from inference.grids import into_source, model_box, source_box, sub_grid, target_on_model
from inference.preprocess import to_model_grid, to_source_grid


def pair(shape, spacing, angles=(0, 0, 0), model_mm=2.0):
    """A source of these properties and its model grid."""
    affine = np.eye(4)
    turn = Rotation.from_euler("xyz", angles, degrees=True).as_matrix()
    affine[:3, :3] = turn @ np.eye(3)[[2, 1, 0]] * np.asarray(spacing)
    affine[:3, 3] = (3.0, -7.0, 11.0)
    image = np.random.default_rng(0).normal(100, 10, shape)
    image[tuple(slice(n // 6, -n // 6) for n in shape)] += 300
    return to_model_grid(image, affine, model_mm, 8)


cases = st.builds(
    pair,
    st.tuples(*[st.integers(12, 40)] * 3),
    st.tuples(*[st.floats(0.8, 3.5)] * 3),
    st.sampled_from([(0, 0, 0), (0, 0, 180), (12, -7, 25)]),
)


@settings(deadline=None, max_examples=25)
@given(cases, st.integers(0, 9))
def test_in_blocks_is_the_same_as_at_once(case, seed):
    """Where the source is finer than the model: no smoothing, so blocks are exact."""
    _, grid = case
    if max(np.linalg.norm(grid.source_affine[:3, :3], axis=0)) > 1.9:
        return
    rng = np.random.default_rng(seed)
    array = np.zeros(grid.shape, np.float32)
    start = [int(rng.integers(0, n // 2)) for n in grid.shape]
    box = Box(tuple(start), tuple(s + 4 for s in start))
    array[box.slices] = rng.random((4, 4, 4))
    out = np.zeros(grid.source_shape, np.float32)
    into_source(array, Box.whole(grid.shape), grid, out)
    np.testing.assert_allclose(out, to_source_grid(array, grid), atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(cases)
def test_boxes_cover_each_other(case):
    _, grid = case
    middle = Box(tuple(n // 3 for n in grid.shape), tuple(2 * n // 3 for n in grid.shape))
    source = source_box(grid, middle)
    if source.empty:
        return
    back = model_box(grid, source)
    assert all(a <= b for a, b in zip(back.start, middle.start, strict=True)) or back.empty


def test_many_small_parts_give_what_one_gives(monkeypatch):
    _, grid = pair((30, 40, 36), (1.0, 1.0, 1.0), (12, -7, 25))
    array = np.random.default_rng(1).random(grid.shape, np.float32)
    once, often = (np.zeros(grid.source_shape, np.float32) for _ in range(2))
    into_source(array, Box.whole(grid.shape), grid, once)
    monkeypatch.setattr(grids, "BLOCK_VOXELS", 3 * 40 * 36)
    steps = []
    into_source(array, Box.whole(grid.shape), grid, often, steps.append)
    np.testing.assert_allclose(often, once, atol=1e-4)
    assert len(steps) >= 8
    assert steps == sorted(steps)
    assert steps[-1] == 1.0


def test_a_step_that_raises_ends_the_work():
    _, grid = pair((30, 40, 36), (1.0, 1.0, 1.0))

    def stop(fraction):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        into_source(
            np.ones(grid.shape, np.float32), Box.whole(grid.shape), grid,
            np.zeros(grid.source_shape, np.float32), stop,
        )  # fmt: skip


@pytest.mark.parametrize("spacing", [(0.5, 0.5, 0.5), (1.0, 1.0, 1.0), (3.5, 1.0, 1.0)])
def test_the_smallest_finding_is_never_lost(spacing):
    _, grid = pair((40, 44, 48), spacing, (12, -7, 25))
    lesion = np.ones((1, 1, 1), bool)
    where = (20, 22, 24)
    target = target_on_model(lesion, where, grid)
    assert target.any()
    place = np.argwhere(target).mean(axis=0)
    wanted = (grid.source_affine @ [*where, 1])[:3]
    found = (grid.affine @ [*place, 1])[:3]
    assert np.linalg.norm(wanted - found) <= 2.0 * np.sqrt(3)


def test_nothing_marked_or_outside_is_nothing():
    _, grid = pair((40, 44, 48), (1.0, 1.0, 1.0))
    assert not target_on_model(np.zeros((3, 3, 3), bool), (5, 5, 5), grid).any()
    far = sub_grid(grid, source=Box((0, 0, 0), (2, 2, 2)))
    assert far.source_shape == (2, 2, 2)
