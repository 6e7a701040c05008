"""Letters for directions, and which array axis runs along which patient axis."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.orientation import closest_patient_axes, direction_letters, opposite_letters


@pytest.mark.parametrize(
    ("vector", "letters"),
    [
        ((1, 0, 0), "L"),
        ((-1, 0, 0), "R"),
        ((0, 2, 0), "P"),
        ((0, -2, 0), "A"),
        ((0, 0, 0.1), "S"),
        ((0, 0, -9), "I"),
        ((0.9, -0.4, 0.0), "LA"),
        ((0.1, 0.3, -0.9), "IP"),
        ((0, 0, 0), ""),
        ((np.nan, 0, 0), ""),
    ],
)
def test_letters_name_the_strongest_direction_first(vector, letters):
    assert direction_letters(np.array(vector, float)) == letters


def test_no_more_letters_than_asked_for():
    assert direction_letters(np.array([1.0, 1.0, 1.0]), 1) == "L"
    assert direction_letters(np.array([1.0, 1.0, 1.0])) == "LPS"


@given(st.tuples(*[st.floats(-1, 1)] * 3))
def test_the_other_way_has_the_opposite_letters(vector):
    there = direction_letters(np.array(vector))
    assert direction_letters(-np.array(vector)) == opposite_letters(there)


def test_every_permutation_and_mirror_is_recognised():
    for order, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        matrix = np.zeros((3, 3))
        for patient, (array, sign) in enumerate(zip(order, signs, strict=True)):
            matrix[patient, array] = sign
        assert closest_patient_axes(matrix) == (order, signs)


def test_each_array_axis_is_used_once_even_where_two_point_the_same_way():
    tilted = np.array([[0.8, 0.75, 0.0], [0.6, 0.66, 0.0], [0.0, 0.0, 1.0]])
    axes, _ = closest_patient_axes(tilted)
    assert sorted(axes) == [0, 1, 2]
    assert axes[2] == 2
