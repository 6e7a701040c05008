"""Masks: one writer, headers as values, provenance in words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cases import mask_on, segments, straight

from imaging.errors import BadInput
from imaging.geometry import Box
from imaging.segmentation import PALETTE, Provenance, Segment, Segmentation, next_colour


def test_only_a_flip_writes_and_twice_is_never():
    mask = mask_on(straight())
    before = mask.labels.copy()
    box = Box((1, 2, 3), (3, 5, 7))
    xor = np.full(box.shape, 5, np.uint8)
    with pytest.raises(ValueError):
        mask.labels[0, 0, 0] = 1
    mask.flip(box, xor)
    assert (mask.labels[box.slices] == 5).all()
    assert mask.revision == 1
    mask.flip(box, xor)
    assert np.array_equal(mask.labels, before)
    assert mask.revision == 2


def test_a_mask_copies_what_it_is_made_from():
    labels = np.zeros((2, 3, 4), np.uint8)
    mask = mask_on(straight((2, 3, 4)), labels)
    labels[...] = 1
    assert not mask.labels.any()


def test_a_mask_is_born_empty_on_its_grid():
    mask = Segmentation("m", "m", straight((2, 3, 4)), "v")
    assert mask.labels.shape == (2, 3, 4)
    assert not mask.labels.any()


def test_a_mask_on_another_grid_is_refused():
    with pytest.raises(BadInput):
        mask_on(straight((2, 3, 4)), np.zeros((2, 3, 5), np.uint8))


def test_a_header_is_a_value_that_can_be_changed_and_taken_over():
    mask = mask_on(straight(), threshold=0.5, draft=True)
    header = mask.header(name="Other", threshold=0.7, hand_work=b"x")
    assert mask.header() == mask.header()
    assert header != mask.header()
    mask.set_header(header)
    assert mask.header() == header
    assert (mask.name, mask.threshold, mask.hand_work, mask.revision) == ("Other", 0.7, b"x", 1)


def test_segments_are_found_by_number():
    mask = mask_on(straight())
    assert mask.segment(5) is mask.segments[2]
    assert mask.segment(4) is None


@pytest.mark.parametrize("number", [0, 256, -1])
def test_a_label_number_fits_a_voxel(number):
    with pytest.raises(BadInput):
        Segment(number, "x", (0, 0, 0))


@given(st.integers(0, 20))
def test_colours_differ_as_long_as_there_are_enough(count):
    made: tuple[Segment, ...] = ()
    for number in range(1, count + 1):
        made = (*made, Segment(number, "x", next_colour(made)))
    assert len({s.colour for s in made}) == min(count, len(PALETTE))


def test_provenance_speaks():
    assert Provenance().sentence == "Made by hand"
    full = Provenance("Net", "2", "a" * 64, "CPU (2 threads)", "2026-01-02T03:04:05+00:00")
    assert full.sentence == "Net 2 (weights aaaaaaaaaaaa) · CPU (2 threads) · 2026-01-02 03:04"
    assert segments()[0].algorithm_type == "AUTOMATIC"
