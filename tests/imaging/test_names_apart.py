"""Names of masks and maps: whoever made them, no two are the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.case import Case, distinct_name
from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import PALETTE, Segment, Segmentation

GRID = Geometry((2, 3, 4), np.eye(4), "1.2")


@pytest.mark.parametrize(
    ("name", "taken", "given"),
    [
        ("My mask", (), "My mask"),
        ("My mask", ("My mask",), "My mask 2"),
        ("my mask", ("My mask", "My mask 2"), "my mask 3"),
        ("My mask 2", ("My mask 2",), "My mask 3"),
        ("Mask 1", ("Mask 1",), "Mask 2"),
        ("Lesions (AI draft)", ("Lesions (AI draft)",), "Lesions (AI draft 2)"),
        ("Lesions (AI draft 2)", ("Lesions (AI draft 2)",), "Lesions (AI draft 3)"),
        ("Follow-up 2019", ("Follow-up 2019",), "Follow-up 2019 2"),
    ],
)
def test_a_second_one_gets_a_number(name, taken, given) -> None:
    assert distinct_name(name, taken) == given


@given(st.text(max_size=12), st.lists(st.text(max_size=6), max_size=5))
def test_a_name_is_never_one_that_is_taken(name, taken) -> None:
    fresh = distinct_name(name, [name, *taken])
    assert fresh.casefold() not in {one.casefold() for one in (name, *taken)}


def test_masks_and_maps_of_a_run_are_named_apart_from_what_is_there() -> None:
    values = np.zeros(GRID.shape, np.float32)
    known = Segmentation("a", "Lesions", GRID, "v")
    case = Case({"a": known})
    mask = Segmentation("b", "Lesions", GRID, "v")
    heat = Heatmap("c", "Lesions", values, "probability", GRID, "v")
    named = case.told_apart([mask, heat])
    assert [item.name for item in named] == ["Lesions 2", "Lesions 3"]
    assert [item.id for item in named] == ["b", "c"]
    assert case.free_name("Lesions") == "Lesions 2"
    assert case.free_name("Lesions", but="a") == "Lesions"


def test_a_new_mask_is_told_from_the_others_by_its_colour() -> None:
    draft = Segmentation("a", "Draft", GRID, "v", (Segment(1, "Lesion", PALETTE[0]),))
    assert Case().free_colour() == PALETTE[0]
    assert Case({"a": draft}).free_colour() == PALETTE[1]
