"""A head may come in any orientation and spacing; it must come back on the very same grid."""

from __future__ import annotations

import time
from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from inference.preprocess import (
    intensity_landmarks,
    normalise,
    resample_to_model,
    to_model_grid,
    to_source_grid,
)

ORIENTATIONS = [(p, s) for p in permutations(range(3)) for s in product((1, -1), repeat=3)]
CENTRE = np.array([3.0, -5.0, 4.0])
BLOB = np.array([12.0, -20.0, 10.0])


def affine_for(orientation, spacing, shape, turn=None):
    """Affine whose volume is centred on ``CENTRE``; axis n runs along +-LPS axis ``p[n]``."""
    order, signs = orientation
    directions = np.zeros((3, 3))
    for axis in range(3):
        directions[order[axis], axis] = signs[axis]
    if turn is not None:
        directions = turn @ directions
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def world(shape, affine):
    index = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"))
    return np.tensordot(affine[:3, :3], index, 1) + affine[:3, 3].reshape(3, 1, 1, 1)


def head(shape, affine):
    """Ellipsoid head with a bright ball at ``BLOB`` (left, anterior and above the middle)."""
    at = world(shape, affine)
    skull = sum(((at[n] - CENTRE[n]) / r) ** 2 for n, r in enumerate((45, 55, 45))) < 1
    distance = np.sqrt(sum((at[n] - BLOB[n]) ** 2 for n in range(3)))
    return 100.0 * skull + 60.0 * np.clip(9.5 - distance, 0, 1), distance < 9


def shape_for(orientation, spacing):
    """Shape that covers the head with some air around."""
    extent = np.array([104.0, 124.0, 104.0])
    return tuple(int(np.ceil(extent[orientation[0][n]] / spacing[n])) for n in range(3))


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


@settings(max_examples=25, deadline=None)
@given(
    orientation=st.sampled_from(ORIENTATIONS),
    spacing=st.tuples(*[st.floats(0.8, 4.0)] * 3),
    dtype=st.sampled_from([np.uint16, np.int16, np.float32]),
)
def test_every_orientation_and_spacing_comes_back_to_its_own_grid(orientation, spacing, dtype):
    shape = shape_for(orientation, spacing)
    affine = affine_for(orientation, spacing, shape)
    voxels, blob = head(shape, affine)
    model, grid = to_model_grid(voxels.astype(dtype), affine, spacing_mm=1.5)
    assert model.dtype == np.float32
    assert all(n % 16 == 0 for n in model.shape)
    back = to_source_grid(model, grid)
    assert back.shape == shape
    assert np.corrcoef(back.ravel(), voxels.ravel())[0, 1] > 0.95
    assert dice(back > 130, blob) > 0.75


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_all_48_orientations_show_the_network_the_same_picture(orientation):
    spacing = (2.0, 2.0, 2.0)
    shape = shape_for(orientation, spacing)
    affine = affine_for(orientation, spacing, shape)
    voxels, blob = head(shape, affine)
    model, grid = to_model_grid(voxels, affine, spacing_mm=2.0)
    middle = np.argwhere(model > 130).mean(axis=0)
    place = grid.affine[:3, :3] @ middle + grid.affine[:3, 3]
    assert place == pytest.approx(BLOB, abs=0.7)
    superior, posterior, left = grid.affine[2, 0], grid.affine[1, 1], grid.affine[0, 2]
    assert min(superior, posterior, left) == pytest.approx(2.0)
    mask = to_source_grid(resample_to_model(blob, grid, order=0, fill=0), grid, order=0)
    assert dice(mask > 0.5, blob) > 0.97


def rotation(*degrees):
    result = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(degrees)):
        a, b = (n for n in range(3) if n != axis)
        step = np.eye(3)
        step[[a, a, b, b], [a, b, a, b]] = [
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        ]
        result = result @ step
    return result


@pytest.mark.parametrize("degrees", [(20, 0, 0), (10, -15, 25), (0, 0, 40)])
def test_tilted_acquisition_comes_back(degrees):
    spacing = (3.0, 1.0, 1.0)
    orientation = ((2, 1, 0), (1, 1, 1))
    shape = (45, 140, 130)
    affine = affine_for(orientation, spacing, shape, rotation(*degrees))
    voxels, blob = head(shape, affine)
    model, grid = to_model_grid(voxels, affine)
    middle = np.argwhere(model > 130).mean(axis=0)
    place = grid.affine[:3, :3] @ middle + grid.affine[:3, 3]
    assert place == pytest.approx(BLOB, abs=0.7)
    assert dice(to_source_grid(model, grid) > 130, blob) > 0.85


def test_sheared_grid_comes_back():
    shear = np.array([[1, 0, 0.25], [0.1, 1, 0], [0, 0, 1.0]])
    shape = (50, 130, 125)
    affine = affine_for(((2, 1, 0), (1, 1, 1)), (2.5, 1.1, 1.0), shape)
    affine[:3, :3] = shear @ affine[:3, :3]
    affine[:3, 3] = CENTRE - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    voxels, blob = head(shape, affine)
    model, grid = to_model_grid(voxels, affine)
    axes = grid.affine[:3, :3]
    assert axes.T @ axes == pytest.approx(np.eye(3), abs=1e-6)
    assert dice(to_source_grid(model, grid) > 130, blob) > 0.85


def test_grid_of_the_wanted_spacing_is_not_blurred():
    rng = np.random.default_rng(0)
    shape = (60, 70, 66)
    affine = affine_for(((2, 1, 0), (1, -1, 1)), (1.0, 1.0, 1.0), shape)
    voxels = np.zeros(shape, np.float32)
    voxels[10:50, 10:60, 10:55] = rng.uniform(50, 100, (40, 50, 45))
    model, grid = to_model_grid(voxels, affine)
    assert np.array_equal(to_source_grid(model, grid), voxels)


def test_air_around_the_head_is_cropped():
    shape = (200, 240, 240)
    affine = affine_for(((2, 1, 0), (1, 1, 1)), (1.0, 1.0, 1.0), shape)
    voxels, _ = head(shape, affine)
    model, grid = to_model_grid(voxels, affine)
    assert model.size < 0.25 * voxels.size
    assert to_source_grid(model, grid)[voxels > 0].min() > 50


@pytest.mark.parametrize("shape", [(1, 90, 90), (3, 90, 90), (40, 2, 2)])
def test_a_few_slices_are_enough(shape):
    affine = affine_for(((2, 1, 0), (1, 1, 1)), (5.0, 1.0, 1.0), shape)
    voxels = np.full(shape, 7, np.int16)
    model, grid = to_model_grid(voxels, affine)
    assert to_source_grid(model, grid).shape == shape
    assert np.isfinite(normalise(model)).all()


@pytest.mark.parametrize(
    ("voxels", "affine"),
    [
        (np.zeros((4, 4)), np.eye(4)),
        (np.zeros((4, 4, 4)), np.zeros((4, 4))),
        (np.zeros((4, 4, 4)), np.eye(3)),
    ],
)
def test_impossible_input_is_refused(voxels, affine):
    with pytest.raises(ValueError):
        to_model_grid(voxels, affine)


def brain_with(lesion_share, gain=1.0, offset=0.0, shell=False, seed=0):
    """Ball of tissue and fluid; some of it lesion; perhaps with a dark skull and bright scalp."""
    rng = np.random.default_rng(seed)
    at = np.stack(np.meshgrid(*[np.arange(96) - 47.5] * 3, indexing="ij"))
    radius = np.sqrt((at**2).sum(0))
    brain = radius < 36
    fluid = brain & (ndimage.gaussian_filter(rng.standard_normal(radius.shape), 3) > 0.03)
    image = 100.0 * brain - 75.0 * fluid
    off_centre = np.sqrt(((at - 12.0) ** 2).sum(0))
    image[~fluid & (off_centre < 36 * lesion_share ** (1 / 3))] += 40.0
    if shell:
        image[(radius > 41) & (radius < 45)] = 190.0
    image += brain * rng.normal(0, 6, radius.shape)
    return (gain * image + offset).astype(np.float32)


def test_the_scale_forgets_gain_and_offset():
    plain = normalise(brain_with(0.1))
    scaled = normalise(brain_with(0.1, gain=7.3, offset=-250.0))
    assert np.abs(plain - scaled).mean() < 0.01


def test_tissue_is_zero_with_or_without_skull():
    for shell in (False, True):
        image = brain_with(0.05, shell=shell)
        low, peak = intensity_landmarks(image)
        assert low == pytest.approx(0, abs=5)
        assert peak == pytest.approx(100, abs=6)


def test_a_large_lesion_load_does_not_move_the_scale():
    _, small = intensity_landmarks(brain_with(0.0))
    _, large = intensity_landmarks(brain_with(0.15))
    assert large == pytest.approx(small, rel=0.04)


def test_constant_volume_stays_finite():
    assert np.isfinite(normalise(np.full((32, 32, 32), 5.0))).all()


def test_a_whole_head_is_fast():
    shape = (48, 320, 320)
    affine = affine_for(((2, 1, 0), (1, 1, 1)), (3.0, 0.72, 0.72), shape)
    voxels, _ = head(shape, affine)
    voxels = voxels.astype(np.int16)
    started = time.process_time()
    model, grid = to_model_grid(voxels, affine)
    to_source_grid(normalise(model), grid)
    assert time.process_time() - started < 2.0
