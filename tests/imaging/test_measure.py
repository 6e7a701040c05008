"""Measures, compared with plain definitions."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cases import geometries, mask_on, straight, turned, volume_on

from imaging.analysis.measure import (
    dice,
    distance_mm,
    longest_diameter,
    perpendicular_diameter,
    statistics,
    volume_ml,
)
from imaging.errors import BadInput


def test_distance():
    assert distance_mm((0, 0, 0), (3, 4, 12)) == 13


def test_volume_is_voxels_times_their_size():
    mask = mask_on(straight((4, 5, 6), (3.0, 0.5, 0.5)))
    mask.flip(mask_box := _box((0, 0, 0), (2, 3, 4)), np.full(mask_box.shape, 2, np.uint8))
    assert volume_ml(mask, 2) == pytest.approx(24 * 0.75 / 1000)


def _box(start, stop):
    from imaging.geometry import Box

    return Box(start, stop)


masks = st.integers(0, 10**6).map(lambda s: np.random.default_rng(s).random((3, 4, 5)) < 0.4)


@given(masks, masks)
def test_dice_by_its_definition(one, other):
    expected = 2 * len(_set(one) & _set(other)) / max(1, len(_set(one)) + len(_set(other)))
    assert dice(one, other) == pytest.approx(expected)
    assert dice(one, other) == dice(other, one)


def _set(mask):
    return set(map(tuple, np.argwhere(mask)))


def test_dice_of_nothing_is_no_number():
    assert np.isnan(dice(np.zeros((2, 2, 2)), np.zeros((2, 2, 2))))
    with pytest.raises(BadInput):
        dice(np.zeros((2, 2, 2)), np.zeros((2, 2, 3)))


def test_statistics_are_in_real_values():
    geometry = straight((4, 5, 6))
    volume = volume_on(geometry, slope=0.5, intercept=-7)
    labels = (volume.voxels > 500).astype(np.uint8)
    found = statistics(volume, mask_on(geometry, labels), 1)
    values = volume.voxels[labels == 1] * 0.5 - 7
    assert found == pytest.approx(
        (values.size, values.mean(), values.std(), values.min(), np.median(values), values.max())
    )
    assert statistics(volume, mask_on(geometry, labels), 2) is None
    with pytest.raises(BadInput):
        statistics(volume, mask_on(turned()), 1)


@given(geometries(max_edge=5), st.integers(0, 1000), st.floats(0.05, 0.9))
def test_the_longest_diameter_by_trying_every_pair_of_corners(geometry, seed, share):
    mask = np.random.default_rng(seed).random(geometry.shape) < share
    mask[tuple(n // 2 for n in geometry.shape)] = True
    indices = np.argwhere(mask)
    shifts = np.array(list(product((-0.5, 0.5), repeat=3)))
    corners = geometry.world((indices[:, None] + shifts).reshape(-1, 3))
    expected = np.linalg.norm(corners[:, None] - corners, axis=2).max()
    found = longest_diameter(indices[np.random.default_rng(1).permutation(len(indices))], geometry)
    assert found.length_mm == pytest.approx(expected)
    assert distance_mm(found.start, found.end) == pytest.approx(expected)


def test_a_single_voxel_is_as_long_as_its_diagonal():
    diameter = longest_diameter(np.array([[3, 4, 5]]), straight(spacing=(2.0, 1.0, 2.0)))
    assert diameter.length_mm == pytest.approx(3.0)


def test_a_large_ball_is_as_wide_as_it_is_made():
    geometry = straight((60, 60, 60))
    index = np.indices(geometry.shape) - 30.0
    ball = (index**2).sum(axis=0) <= 25**2
    diameter = longest_diameter(np.argwhere(ball), geometry)
    assert 50 < diameter.length_mm < 52


@given(geometries(max_edge=9), st.integers(0, 99))
def test_the_perpendicular_diameter_runs_across_the_longest_and_is_no_longer(geometry, seed):
    rng = np.random.default_rng(seed)
    indices = np.unique(rng.integers(0, geometry.shape, (12, 3)), axis=0)
    longest = longest_diameter(indices, geometry)
    across = perpendicular_diameter(indices, geometry, longest)
    axis = np.subtract(longest.end, longest.start) / longest.length_mm
    line = np.subtract(across.end, across.start)
    flat = line - axis * (line @ axis)
    assert np.linalg.norm(flat) == pytest.approx(across.length_mm)
    assert 0 < across.length_mm <= longest.length_mm * (1 + 1e-9)
    one_voxel = 2 * float(np.abs(axis @ geometry.affine[:3, :3]).sum())
    assert abs(float(line @ axis)) <= one_voxel + 1e-9  # both ends in one section


@pytest.mark.parametrize("half", [(12.0, 6.0, 4.0), (5.0, 11.0, 9.0)])
def test_the_axes_of_an_ellipsoid(half):
    """Anisotropic voxels, turned in the patient: right to about a voxel."""
    geometry = turned((30, 60, 60), (1.0, 0.5, 0.5))
    index = np.argwhere(np.ones(geometry.shape, bool))
    middle = (np.array(geometry.shape) - 1) / 2
    away = (index - middle) * geometry.spacing / half
    inside = index[(away**2).sum(1) <= 1]
    longest = longest_diameter(inside, geometry)
    across = perpendicular_diameter(inside, geometry, longest)
    wanted = sorted((2 * h for h in half), reverse=True)
    assert longest.length_mm == pytest.approx(wanted[0], abs=1.5)
    assert across.length_mm == pytest.approx(wanted[1], abs=1.5)


def test_a_long_rod_is_about_as_wide_as_its_square_face():
    geometry = straight((1, 1, 60), (2.0, 2.0, 1.0))
    indices = np.c_[np.zeros((60, 2), int), np.arange(60)]
    longest = longest_diameter(indices, geometry)
    across = perpendicular_diameter(indices, geometry, longest)
    assert longest.length_mm == pytest.approx(np.sqrt(60**2 + 8))
    assert across.length_mm == pytest.approx(np.sqrt(8), rel=0.05)
