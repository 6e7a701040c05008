"""Accepting many lesions at once is accepting each of them, in one step."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cases import mask_on, straight

from imaging.analysis.lesions import find_lesions
from imaging.case import Case
from imaging.edits.acceptance import accept_lesions
from imaging.edits.operations import ACCEPTED_NAME, accept_lesion, lock_segment
from imaging.errors import EditRefused
from imaging.segmentation import AUTOMATIC, Segment

PROPOSAL = (Segment(1, "Lesion", (230, 159, 0), algorithm_type=AUTOMATIC),)


def draft(seed: int = 1, segments=PROPOSAL):
    """A mask with some scattered lesions, some of them inside each other's boxes."""
    geometry = straight()
    rng = np.random.default_rng(seed)
    labels = (rng.random(geometry.shape) > 0.9).astype(np.uint8)
    return mask_on(geometry, labels, segments=segments, draft=True)


def case_of(mask) -> Case:
    return Case({mask.id: mask})


@given(seed=st.integers(0, 50), share=st.floats(0.1, 1.0))
def test_all_at_once_is_one_after_the_other(seed, share) -> None:
    one, other = draft(seed), draft(seed)
    lesions = find_lesions(one)
    chosen = lesions[: max(1, int(len(lesions) * share))]
    case = case_of(one)
    before, header = one.labels.copy(), one.header()
    edit = accept_lesions(one, chosen)
    assert edit is not None
    edit.check(case)
    edit.apply(case)
    for lesion in chosen:
        accept_lesion(other, lesion).apply(case_of(other))
    assert np.array_equal(one.labels, other.labels)
    assert [s.name for s in one.segments] == ["Lesion", ACCEPTED_NAME]
    assert one.segments == other.segments
    edit.inverse().apply(case)
    assert np.array_equal(one.labels, before)
    assert one.header() == header


def test_the_label_of_accepted_lesions_is_used_again() -> None:
    mask = draft()
    lesions = find_lesions(mask)
    for part in (lesions[:1], lesions[1:3]):
        edit = accept_lesions(mask, part)
        assert edit is not None
        edit.apply(case_of(mask))
    assert [s.name for s in mask.segments] == ["Lesion", ACCEPTED_NAME]
    accepted = sum(lesion.voxels for lesion in lesions[:3])
    assert np.count_nonzero(mask.labels == mask.segments[1].number) == accepted


def test_nothing_to_accept_is_no_step() -> None:
    assert accept_lesions(draft(), []) is None


def test_a_lesion_that_has_changed_since_is_refused() -> None:
    mask = draft()
    lesions = find_lesions(mask)
    accept_lesion(mask, lesions[1]).apply(case_of(mask))
    labels = mask.labels.copy()
    with pytest.raises(EditRefused, match="changed"):
        accept_lesions(mask, lesions[:3])
    assert np.array_equal(mask.labels, labels)


def test_a_locked_label_is_refused() -> None:
    mask = draft()
    lesions = find_lesions(mask)
    lock_segment(mask, 1, True).apply(case_of(mask))
    with pytest.raises(EditRefused, match="locked"):
        accept_lesions(mask, lesions)
