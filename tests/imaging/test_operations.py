"""What can be done to a mask: each step does what it says and can be taken back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cases import blobs, map_on, mask_on, same_items, straight, turned

from imaging.analysis.lesions import find_lesions
from imaging.analysis.morphology import draft_mask, find_parts
from imaging.case import Case
from imaging.edits.acceptance import accept_lesions
from imaging.edits.edit import Edit, Group, HeaderEdit, VoxelEdit
from imaging.edits.hand_work import pack_mask, unpack_mask
from imaging.edits.operations import (
    ACCEPTED_NAME,
    accept_lesion,
    accepted_segment,
    add_segment,
    code_segment,
    delete_lesion,
    free_number,
    lock_segment,
    min_voxels_of,
    recolour_segment,
    remove_segment,
    rename_segment,
    rename_segmentation,
    set_threshold,
    stroke_edit,
)
from imaging.errors import BadInput, EditRefused
from imaging.geometry import Box
from imaging.segmentation import AUTOMATIC, MANUAL, SEMIAUTOMATIC, Code, Provenance, Segment
from imaging.storage.case_file import snapshot

DRAFT = (Segment(1, "Draft", (230, 159, 0), algorithm_type=AUTOMATIC),)


def draft(threshold: float = 0.5, seed: int = 0, min_voxels: int = 3) -> Case:
    geometry = straight((14, 16, 18))
    heat = map_on(geometry, blobs(geometry, seed, count=5))
    labels = draft_mask(heat.values, threshold, min_voxels).astype(np.uint8)
    mask = mask_on(
        geometry, labels, segments=DRAFT, draft=True, threshold=threshold, probability_id="map",
        provenance=Provenance("Net", settings=(("min_voxels", str(min_voxels)),)),
    )  # fmt: skip
    return Case({"map": heat, "mask": mask})


def do(case: Case, edit: Edit) -> None:
    """Apply, and check on a copy that it can be taken back."""
    before = snapshot(case)
    other = snapshot(case)
    edit.check(other)
    edit.apply(other)
    back = edit.inverse()
    back.check(other)
    back.apply(other)
    assert same_items(other, before)
    edit.check(case)
    edit.apply(case)


def paint(case: Case, box: Box, value: int) -> None:
    mask = case.segmentation("mask")
    before = mask.labels[box.slices]
    do(case, VoxelEdit.between("mask", "Brush", box, before, np.full_like(before, value)))


def move(case: Case, threshold: float) -> None:
    do(case, set_threshold(case.segmentation("mask"), case.heatmap("map"), threshold))


thresholds = st.floats(0.05, 0.95)


@given(st.integers(0, 30), st.lists(thresholds, min_size=1, max_size=4), st.integers(1, 6))
def test_an_untouched_draft_is_always_what_the_pipeline_would_cut(seed, path, min_voxels):
    case = draft(0.5, seed, min_voxels)
    for threshold in path:
        move(case, threshold)
        expected = draft_mask(case.heatmap("map").values, threshold, min_voxels)
        assert np.array_equal(case.segmentation("mask").labels, expected)
        assert case.segmentation("mask").threshold == threshold


corners = st.tuples(*[st.integers(0, 10)] * 3)


@given(
    st.integers(0, 30),
    st.lists(st.tuples(corners, st.sampled_from([0, 1])), min_size=1, max_size=4),
    st.lists(thresholds, min_size=1, max_size=5),
)
def test_work_by_hand_survives_every_way_of_the_slider(seed, strokes, path):
    """Even where a threshold on the way happens to agree with the hand."""
    case = draft(0.5, seed)
    wanted: dict[tuple[int, ...], int] = {}
    for step, threshold in enumerate(path):
        if step < len(strokes):
            corner, value = strokes[step]
            box = Box(corner, tuple(c + 3 for c in corner))
            before = case.segmentation("mask").labels.copy()
            paint(case, box, value)
            for index in np.argwhere(case.segmentation("mask").labels != before).tolist():
                wanted[tuple(index)] = value
        move(case, threshold)
        labels = case.segmentation("mask").labels
        assert all(labels[index] == value for index, value in wanted.items())


def test_a_lesion_erased_stays_erased_when_the_slider_comes_back():
    case = draft(0.3)
    mask = case.segmentation("mask")
    lesion = find_lesions(mask)[0]
    do(case, delete_lesion(mask, lesion))
    move(case, 0.95)
    move(case, 0.3)
    assert not mask.labels[lesion.box.slices][lesion.mask].any()


def test_an_accepted_lesion_stays_when_the_slider_rises():
    case = draft(0.3)
    mask = case.segmentation("mask")
    lesion = find_lesions(mask)[0]
    do(case, accept_lesion(mask, lesion))
    move(case, 0.99)
    assert (mask.labels[lesion.box.slices][lesion.mask] == 2).all()
    assert np.count_nonzero(mask.labels) == lesion.voxels


def test_moving_a_threshold_where_nothing_changes_only_notes_it():
    case = draft(0.5)
    edit = set_threshold(case.segmentation("mask"), case.heatmap("map"), 0.5 + 1e-9)
    assert isinstance(edit, HeaderEdit)
    do(case, edit)


def test_only_a_draft_has_a_threshold():
    case = draft()
    mask, heat = case.segmentation("mask"), case.heatmap("map")
    with pytest.raises(EditRefused, match="between 0 and 1"):
        set_threshold(mask, heat, 1.5)
    with pytest.raises(EditRefused, match="not cut from"):
        set_threshold(mask, map_on(mask.geometry, id="other"), 0.5)
    with pytest.raises(EditRefused, match="not cut from"):
        set_threshold(mask, map_on(turned()), 0.5)
    mask.set_header(mask.header(threshold=None))
    with pytest.raises(EditRefused, match="no threshold"):
        set_threshold(mask, heat, 0.5)


@pytest.mark.parametrize(
    ("settings", "smallest"),
    [
        ((), 1),
        ((("min_voxels", "7"),), 7),
        ((("min_voxels", "x"),), 1),
        ((("min_voxels", "0"),), 1),
    ],
)
def test_the_smallest_part_comes_from_the_provenance(settings, smallest):
    mask = mask_on(straight(), provenance=Provenance("Net", settings=settings))
    assert min_voxels_of(mask) == smallest


@given(st.integers(0, 100), st.floats(0.1, 0.9), st.integers(0, 12))
def test_small_parts_are_left_out_and_no_others(seed, threshold, smallest):
    values = np.random.default_rng(seed).random((5, 6, 7), dtype=np.float32) ** 3
    raw = values > np.float32(threshold)
    cut = draft_mask(values, threshold, smallest)
    parts = find_parts(raw)
    expected = np.zeros(raw.shape, bool)
    keep = parts.sizes[parts.part] >= smallest
    expected.reshape(-1)[parts.positions[keep]] = True
    assert np.array_equal(cut, expected)


@given(st.integers(0, 50), st.floats(0, 0.6))
def test_hand_work_packs_and_unpacks(seed, share):
    shape = (5, 7, 9)
    full = np.random.default_rng(seed).random(shape) < share
    assert np.array_equal(unpack_mask(pack_mask(full, Box.whole(shape), shape), shape), full)
    box = Box((1, 2, 3), (4, 6, 8))
    part = np.zeros(shape, bool)
    part[box.slices] = full[box.slices]
    assert np.array_equal(unpack_mask(pack_mask(full[box.slices], box, shape), shape), part)


def test_hand_work_of_another_grid_or_damaged_is_refused():
    shape = (5, 7, 9)
    data = pack_mask(np.ones(shape, bool), Box.whole(shape), shape)
    for wrong, grid in (
        (data, (9, 7, 5)),
        (data[:10], shape),
        (data[:-3], shape),
        (b"x" * 50, shape),
    ):
        with pytest.raises(BadInput):
            unpack_mask(wrong, grid)


def test_a_stroke_on_a_model_s_label_makes_it_semiautomatic_in_the_same_step():
    case = draft()
    mask = case.segmentation("mask")
    box = Box.around(mask.labels == 1)
    before = mask.labels[box.slices]
    stroke = VoxelEdit.between("mask", "Eraser", box, before, np.zeros_like(before))
    edit = stroke_edit(mask, stroke)
    assert edit.name == "Eraser"
    do(case, edit)
    assert mask.segments[0].algorithm_type == "SEMIAUTOMATIC"
    assert not mask.labels.any()


def test_a_stroke_beside_a_model_s_label_leaves_it_automatic():
    mask = mask_on(straight())
    before = mask.labels[:2, :2, :2]
    stroke = VoxelEdit.between("mask", "x", Box((0, 0, 0), (2, 2, 2)), before, before + 2)
    assert stroke_edit(mask, stroke) is stroke
    painted = VoxelEdit.between("mask", "x", Box((0, 0, 0), (2, 2, 2)), before, before + 1)
    assert isinstance(stroke_edit(mask, painted), Group)


def test_accepting_twice_uses_one_label():
    case = draft(0.3)
    mask = case.segmentation("mask")
    lesions = find_lesions(mask)
    assert len(lesions) >= 2
    do(case, accept_lesion(mask, lesions[0]))
    do(case, accept_lesion(mask, lesions[1]))
    assert [s.name for s in mask.segments] == ["Draft", ACCEPTED_NAME]
    assert mask.segments[1].algorithm_type == "SEMIAUTOMATIC"
    assert np.count_nonzero(mask.labels == 2) == lesions[0].voxels + lesions[1].voxels
    assert accepted_segment(mask) == mask.segments[1]


def test_accepting_into_a_chosen_label():
    case = draft(0.3)
    mask = case.segmentation("mask")
    chosen = Segment(9, "Infarct", (1, 2, 3))
    do(case, accept_lesion(mask, find_lesions(mask)[0], chosen))
    taken = mask.segment(9)
    assert taken is not None
    assert (taken.name, taken.colour, taken.algorithm_type) == ("Infarct", (1, 2, 3), SEMIAUTOMATIC)
    assert taken.tracking_uid
    assert (mask.labels == 9).any()


@pytest.mark.parametrize("what", ["accept", "accept all", "delete"])
def test_whatever_a_person_does_to_a_model_s_label_is_said_of_it(what):
    case = draft(0.3)
    mask = case.segmentation("mask")
    do(case, add_segment(mask, "By hand"))
    lesions = find_lesions(mask)
    edits = {
        "accept": lambda: accept_lesion(mask, lesions[0]),
        "accept all": lambda: accept_lesions(mask, lesions),
        "delete": lambda: delete_lesion(mask, lesions[0]),
    }
    before = mask.header()
    edit = edits[what]()
    assert edit is not None
    do(case, edit)
    assert mask.segments[0].algorithm_type == SEMIAUTOMATIC
    assert mask.segments[0].tracking_uid == before.segments[0].tracking_uid
    assert mask.segments[1].algorithm_type == MANUAL
    assert mask.provenance == before.provenance
    do(case, edit.inverse())
    assert mask.header() == before


def test_a_threshold_moved_by_hand_is_a_person_s_work():
    case = draft(0.3)
    mask, probability = case.segmentation("mask"), case.heatmap("map")
    do(case, set_threshold(mask, probability, 0.3))
    assert mask.segments[0].algorithm_type == AUTOMATIC
    do(case, set_threshold(mask, probability, 0.6))
    assert mask.segments[0].algorithm_type == SEMIAUTOMATIC
    assert mask.threshold == 0.6


def test_every_label_has_a_tracking_uid_of_its_own_that_nothing_changes():
    case = draft(0.3)
    mask = case.segmentation("mask")
    do(case, add_segment(mask, "Vessel"))
    do(case, accept_lesion(mask, find_lesions(mask)[0]))
    uids = [s.tracking_uid for s in mask.segments]
    assert all(uids)
    assert len(set(uids)) == 3
    do(case, rename_segment(mask, 1, "Other"))
    do(case, code_segment(mask, 2, Code("1", "A", "b"), Code("2", "A", "c"), Code("3", "A", "d")))
    do(case, set_threshold(mask, case.heatmap("map"), 0.5))
    assert [s.tracking_uid for s in mask.segments] == uids
    do(case, remove_segment(mask, 2))
    do(case, add_segment(mask, "Another vessel"))
    assert mask.segments[-1].number == 2
    assert mask.segments[-1].tracking_uid not in uids


def test_the_meaning_of_a_label_can_be_said_and_taken_back():
    case = draft()
    mask = case.segmentation("mask")
    before = mask.header()
    side = Code("7771000", "SCT", "Left")
    edit = code_segment(mask, 1, Code("85756007", "SCT", "Tissue"), Code("1", "SCT", "x"), side)
    assert edit.name == "Set meaning"
    do(case, edit)
    assert mask.segments[0].category.meaning == "Tissue"
    assert mask.segments[0].modifier == side
    do(case, edit.inverse())
    assert mask.header() == before
    with pytest.raises(EditRefused, match="meaning"):
        code_segment(mask, 1, Code("", "SCT", "x"), side)


def test_the_label_of_accepted_lesions_keeps_the_code_of_the_draft():
    mask = draft().segmentation("mask")
    assert accepted_segment(mask).type == mask.segments[0].type
    assert accepted_segment(mask_on(straight(), segments=())).number == 1


def test_deleting_a_lesion_leaves_its_neighbours():
    case = draft(0.3)
    mask = case.segmentation("mask")
    lesions = find_lesions(mask)
    do(case, delete_lesion(mask, lesions[1]))
    left = find_lesions(mask)
    assert sum(lesion.voxels for lesion in left) == sum(
        lesion.voxels for lesion in lesions if lesion is not lesions[1]
    )


def test_a_lesion_of_an_old_list_is_refused():
    case = draft(0.3)
    mask = case.segmentation("mask")
    lesion = find_lesions(mask)[0]
    do(case, delete_lesion(mask, lesion))
    for operation in (delete_lesion, accept_lesion):
        with pytest.raises(EditRefused, match="changed"):
            operation(mask, lesion)


def test_locked_labels_are_not_changed():
    case = draft(0.3)
    mask = case.segmentation("mask")
    lesion = find_lesions(mask)[0]
    do(case, lock_segment(mask, 1, True))
    for refused in (
        lambda: delete_lesion(mask, lesion),
        lambda: accept_lesion(mask, lesion),
        lambda: remove_segment(mask, 1),
    ):
        with pytest.raises(EditRefused, match="locked"):
            refused()
    do(case, lock_segment(mask, 1, False))
    do(case, delete_lesion(mask, lesion))


def test_labels_are_added_renamed_recoloured_and_removed():
    case = draft()
    mask = case.segmentation("mask")
    do(case, add_segment(mask, "  New \n lesion "))
    assert (mask.segments[1].number, mask.segments[1].name) == (2, "New lesion")
    assert mask.segments[1].colour != mask.segments[0].colour
    do(case, add_segment(mask, "Third", (1, 2, 3)))
    assert mask.segments[2].colour == (1, 2, 3)
    do(case, rename_segment(mask, 2, "Renamed"))
    do(case, recolour_segment(mask, 2, (9, 8, 7)))
    assert (mask.segment(2).name, mask.segment(2).colour) == ("Renamed", (9, 8, 7))
    paint(case, Box((0, 0, 0), (3, 3, 3)), 2)
    do(case, remove_segment(mask, 2))
    assert mask.segment(2) is None
    assert not (mask.labels == 2).any()
    assert free_number(mask) == 2
    do(case, remove_segment(mask, 3))
    do(case, rename_segmentation(mask, "Reviewed"))
    assert mask.name == "Reviewed"


def test_wrong_names_colours_and_numbers_are_refused():
    mask = mask_on(straight())
    with pytest.raises(EditRefused, match="needs a name"):
        rename_segment(mask, 1, "  ")
    with pytest.raises(EditRefused, match="colour"):
        recolour_segment(mask, 1, (256, 0, 0))
    with pytest.raises(EditRefused, match="no label 3"):
        rename_segment(mask, 3, "x")
    full = tuple(Segment(n, "x", (0, 0, 0)) for n in range(1, 256))
    with pytest.raises(EditRefused, match="255"):
        add_segment(mask_on(straight(), segments=full), "one more")
