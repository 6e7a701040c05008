"""A lesion that comes back has the number it had."""

from __future__ import annotations

import numpy as np

from app.controllers.findings import kept_numbers
from imaging.analysis.lesions import Lesion, find_lesions
from imaging.geometry import Geometry
from imaging.segmentation import Segment, Segmentation


def lesions_of(*cubes: tuple[int, int]) -> list[Lesion]:
    labels = np.zeros((8, 8, 60), np.uint8)
    for start, size in cubes:
        labels[2 : 2 + size, 2 : 2 + size, start : start + size] = 1
    segments = (Segment(1, "Lesion", (1, 2, 3)),)
    grid = Geometry(labels.shape, np.eye(4))
    return find_lesions(Segmentation.from_labels("m", "m", grid, "v", labels, segments=segments))


def at(lesions: list[Lesion]) -> dict[int, int]:
    """Number to place along i."""
    return {lesion.number: lesion.box.start[2] for lesion in lesions}


def test_a_lesion_brought_back_by_undo_keeps_its_number():
    known: dict[int, Lesion] = {}
    first = kept_numbers(lesions_of((0, 5), (10, 4), (20, 3)), [], known)
    assert at(first) == {1: 0, 2: 10, 3: 20}
    without = [lesion for lesion in first if lesion.number != 2]
    second = kept_numbers(without, first, known)
    back = lesions_of((0, 5), (10, 4), (20, 3))[1]  # measured anew, under a number of its own
    third = kept_numbers([*second, back], second, known)
    assert at(third) == {1: 0, 2: 10, 3: 20}


def test_a_new_lesion_never_takes_the_number_of_one_that_is_gone():
    known: dict[int, Lesion] = {}
    first = kept_numbers(lesions_of((0, 5), (10, 4)), [], known)
    second = kept_numbers(first[:1], first, known)
    fresh = lesions_of((40, 4))[0]
    third = kept_numbers([*second, fresh], second, known)
    assert at(third) == {1: 0, 3: 40}
