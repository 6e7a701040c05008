"""Outlines enclose exactly the marked pixels, whichever way they are filled."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import label

from imaging.analysis.contours import area, outlines


def crossings(lines: list[np.ndarray], shape: tuple[int, int]) -> np.ndarray:
    """For each line and pixel: how often a ray to the right meets the line, signed and not."""
    j, i = np.mgrid[: shape[0], : shape[1]]
    result = np.zeros((len(lines), 2, *shape), int)
    for number, line in enumerate(lines):
        for (y0, x0), (y1, x1) in zip(line, np.roll(line, -1, 0), strict=True):
            if y0 == y1:
                continue
            meets = (min(y0, y1) < j) & (j < max(y0, y1)) & (i < x0)
            assert x0 == x1
            result[number, 0] += meets
            result[number, 1] += meets * (1 if y1 > y0 else -1)
    return result


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_every_way_of_filling_gives_the_pixels_back(mask):
    lines = outlines(mask)
    counted = crossings(lines, mask.shape)
    inside = counted[:, 0] % 2 == 1
    np.testing.assert_array_equal(inside.any(0), mask)  # each filled even-odd, then united
    np.testing.assert_array_equal(inside.sum(0) % 2 == 1, mask)  # exclusive or
    np.testing.assert_array_equal((counted[:, 1] != 0).any(0), mask)  # winding number
    assert inside.sum(0).max(initial=0) <= 1
    assert sum(area(line) for line in lines) == np.count_nonzero(mask)


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_one_line_for_each_connected_part_and_no_needless_point(mask):
    lines = outlines(mask)
    assert len(lines) == label(mask)[1]
    for line in lines:
        steps = np.sign(np.roll(line, -1, 0) - line)
        assert (np.abs(steps).sum(1) == 1).all()  # along rows and columns only
        assert not (steps == np.roll(steps, 1, 0)).all(1).any()


def test_a_square_has_four_corners_half_a_pixel_outside():
    mask = np.zeros((6, 7), bool)
    mask[2:4, 3:5] = True
    (line,) = outlines(mask)
    assert sorted(map(tuple, line.tolist())) == [(1.5, 2.5), (1.5, 4.5), (3.5, 2.5), (3.5, 4.5)]


def test_nothing_marked_has_no_outline():
    assert outlines(np.zeros((4, 4), bool)) == []


@pytest.mark.parametrize("seed", range(3))
def test_large_porous_images(seed):
    mask = np.random.default_rng(seed).random((60, 70)) < 0.7
    lines = outlines(mask)
    inside = crossings(lines, mask.shape)[:, 0] % 2 == 1
    np.testing.assert_array_equal(inside.sum(0), mask)
