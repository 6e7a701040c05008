"""Slices at uneven places: every voxel has its true place, and nothing is made of the gaps."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.storage.codec import geometry_body, read_geometry
from imaging.uneven import (
    UnevenGeometry,
    private_frame,
    slice_normal,
    true_frame,
    true_place,
    uneven_geometry,
    uneven_words,
    usual_step,
)


def rotation(a: float, b: float, c: float) -> np.ndarray:
    made = np.eye(3)
    for axis, angle in enumerate((a, b, c)):
        p, q = (axis + 1) % 3, (axis + 2) % 3
        turn = np.eye(3)
        turn[p, p] = turn[q, q] = np.cos(angle)
        turn[p, q], turn[q, p] = -np.sin(angle), np.sin(angle)
        made = made @ turn
    return made


def stack(heights, axes=None, aside=(0.0, 0.0), shape=(6, 5)) -> tuple[Geometry, np.ndarray]:
    """A mean grid and places at heights (mm), each slice moved ``aside`` in its plane."""
    axes = np.eye(3)[::-1] if axes is None else axes  # rows: k, j, i
    if np.dot(np.cross(axes[2], axes[1]), axes[0]) < 0:
        axes = axes * np.array([[-1.0], [1.0], [1.0]])
    steps = np.asarray(heights, dtype=float)
    count = np.arange(len(steps))[:, None]
    places = np.array([-20.0, -30.0, 7.0]) + steps[:, None] * axes[0]
    places = places + count * (aside[0] * axes[1] + aside[1] * axes[2])
    affine = np.eye(4)
    way = places[-1] - places[0]
    affine[:3, 0] = way / (len(steps) - 1) if way.any() else axes[0]  # as the splitter does
    affine[:3, 1], affine[:3, 2], affine[:3, 3] = 1.5 * axes[1], 0.75 * axes[2], places[0]
    return Geometry((len(steps), *shape), affine, "1.2.3"), places


@settings(max_examples=60, deadline=None)
@given(
    angles=st.tuples(*[st.floats(-np.pi, np.pi)] * 3),
    steps=st.lists(st.floats(0.5, 12.0), min_size=2, max_size=8),
    aside=st.tuples(st.floats(-0.4, 0.4), st.floats(-0.4, 0.4)),
)
def test_every_voxel_is_where_its_slice_is_and_back(angles, steps, aside) -> None:
    mean, places = stack(np.cumsum([0.0, *steps]), rotation(*angles), aside)
    grid = UnevenGeometry(mean, places)
    index = np.stack(np.indices(grid.shape), axis=-1)
    want = places[:, None, None, :] + index[..., 1:] @ mean.affine[:3, 1:3].T
    assert np.abs(grid.world(index) - want).max() < 1e-9
    assert np.abs(grid.index(want) - index).max() < 1e-6
    between = index[:-1] + np.array([0.25, 0.0, 0.0])
    assert np.abs(grid.index(grid.world(between)) - between).max() < 1e-6


def test_a_point_belongs_to_the_nearest_slice_and_to_none_in_a_gap() -> None:
    mean, places = stack([0, 3, 6, 18, 21])
    grid = UnevenGeometry(mean, places)
    normal = slice_normal(mean)

    def slice_at(height: float):
        found = grid.nearest(places[0] + height * normal)
        return None if found is None else found[0]

    assert [slice_at(h) for h in (0, 2, 4.4, 7.5, 17, 21)] == [0, 1, 1, 2, 3, 4]
    assert slice_at(12) is None
    assert slice_at(9) is None
    assert grid.away(places[0] + 12 * normal) == pytest.approx(6.0)


def test_an_uneven_grid_is_no_even_one() -> None:
    mean, places = stack([0, 3, 6, 12])
    grid = UnevenGeometry(mean, places)
    assert not grid.same_grid(mean)
    assert grid.same_grid(UnevenGeometry(mean, places))
    other = places + np.array([[0, 0, 0], [0, 0, 0.5], [0, 0, 0], [0, 0, 0]])
    assert not grid.same_grid(UnevenGeometry(mean, other))


def test_its_middle_is_half_way_between_its_ends() -> None:
    mean, places = stack([0, 1, 2, 20])
    assert UnevenGeometry(mean, places).centre == pytest.approx(mean.centre)


def test_slices_that_share_a_place_are_alone_in_their_frame() -> None:
    mean, places = stack([0, 3, 3, 6])
    grid = uneven_geometry(mean, places, "key")
    assert not isinstance(grid, UnevenGeometry)
    assert not grid.same_frame(mean)
    assert true_frame(grid) == "1.2.3"
    assert true_frame(mean) == "1.2.3"
    seen = grid.world((2, 4, 3))
    want = places[2] + mean.affine[:3, 1:3] @ (4, 3)
    assert true_place(grid, places, seen) == pytest.approx(want)
    assert private_frame("a") != private_frame("b")


@pytest.mark.parametrize(
    ("heights", "aside", "words"),
    [
        ([0, 3, 6, 15], (0, 0), "lie at uneven distances (3.0 to 9.0 mm)"),
        ([0, 3, 3, 6], (0, 0), "partly lie at the same places"),
        ([0, 3, 6, 9], (0, 0.3), "lie at even distances but not on a straight line"),
    ],
)
def test_where_they_lie_in_words(heights, aside, words) -> None:
    mean, places = stack(heights, aside=aside)
    assert uneven_words(mean, places) == words
    assert uneven_words(mean, np.repeat(places[:1], 4, axis=0)) == "all lie at one place"


def test_a_voxel_is_as_thick_as_the_usual_step_and_no_gap_is_counted() -> None:
    mean, places = stack([0, 3, 6, 9, 30])
    assert UnevenGeometry(mean, places).voxel_ml == pytest.approx(3.0 * 1.5 * 0.75 / 1000)


@pytest.mark.parametrize("change", [lambda p: p[:-1], lambda p: p[::-1], lambda p: p * np.nan])
def test_places_must_rise_one_for_each_slice(change) -> None:
    mean, places = stack([0, 3, 6, 12])
    with pytest.raises(BadInput):
        UnevenGeometry(mean, change(places))


def test_an_uneven_grid_survives_a_file() -> None:
    mean, places = stack([0, 3, 6, 12])
    grid = UnevenGeometry(mean, places)
    back = read_geometry(json.loads(json.dumps(geometry_body(grid))))
    assert back.same_grid(grid)
    assert grid.same_grid(back)
    plain = read_geometry(json.loads(json.dumps(geometry_body(mean))))
    assert type(plain) is Geometry


def test_the_usual_step_is_the_one_met_most() -> None:
    assert usual_step([0, 3, 6, 9, 21]) == pytest.approx(3.0)
    assert usual_step([5, 5, 5]) == 1.0
