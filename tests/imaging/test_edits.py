"""Edits: checked before, exact after, and every one can be taken back."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cases import boxes, map_on, mask_on, same_items, small_case, straight, volume_on

from imaging.case import ADDED, HEADER, REMOVED, VOXELS, Case
from imaging.edits.edit import AddItem, Group, HeaderEdit, RemoveItem, VoxelEdit
from imaging.errors import EditRefused
from imaging.geometry import Box


def copy_of(case: Case) -> Case:
    from imaging.storage.case_file import snapshot

    return snapshot(case)


def paint(case: Case, box: Box, value: int, name: str = "Paint") -> VoxelEdit:
    mask = case.segmentation("mask")
    before = mask.labels[box.slices]
    return VoxelEdit.between("mask", name, box, before, np.full(box.shape, value, np.uint8))


@given(st.integers(0, 50), boxes(edge=12), st.integers(0, 255))
def test_a_stroke_and_its_inverse_meet(seed, box, value):
    case = small_case(seed)
    box = box.clipped(case.segmentation("mask").geometry.shape)
    before = copy_of(case)
    edit = paint(case, box, value)
    edit.check(case)
    changes = edit.apply(case)
    assert (case.segmentation("mask").labels[box.slices] == value).all()
    assert [(c.item, c.parts, c.box) for c in changes] == [("mask", {VOXELS}, box)]
    edit.inverse().check(case)
    edit.inverse().apply(case)
    assert same_items(case, before)
    assert edit.inverse().inverse() == edit


def test_a_stroke_refuses_a_mask_that_has_changed():
    case = small_case()
    box = Box((0, 0, 0), (4, 4, 4))
    edit = paint(case, box, 1)
    paint(case, Box((3, 3, 3), (5, 5, 5)), 2).apply(case)
    with pytest.raises(EditRefused, match="changed"):
        edit.check(case)


def test_a_change_outside_its_box_does_not_matter_to_a_stroke():
    case = small_case()
    edit = paint(case, Box((0, 0, 0), (4, 4, 4)), 1)
    paint(case, Box((4, 4, 4), (6, 6, 6)), 2).apply(case)
    edit.check(case)


def test_a_stroke_refuses_a_box_outside_and_a_mask_that_is_not_there():
    case = small_case()
    edit = paint(case, Box((0, 0, 0), (2, 2, 2)), 1)
    outside = VoxelEdit("mask", "x", Box((11, 0, 0), (13, 2, 2)), edit.patch, 0, 0)
    with pytest.raises(EditRefused, match="outside"):
        outside.check(case)
    with pytest.raises(EditRefused, match="no segmentation"):
        edit.check(Case())
    with pytest.raises(EditRefused):
        VoxelEdit("map", "x", edit.box, edit.patch, 0, 0).check(case)


def test_the_patch_of_a_stroke_is_small():
    case = Case({"mask": mask_on(straight((100, 100, 100)))})
    edit = paint(case, Box((0, 0, 0), (100, 100, 100)), 1)
    assert edit.nbytes == len(edit.patch) < 1000


def test_a_header_and_its_inverse_meet():
    case = small_case()
    mask = case.segmentation("mask")
    before = mask.header()
    edit = HeaderEdit("mask", "Rename", before, mask.header(name="Other"))
    edit.check(case)
    (change,) = edit.apply(case)
    assert (change.item, change.parts, change.box) == ("mask", {HEADER}, None)
    assert mask.name == "Other"
    with pytest.raises(EditRefused):
        edit.check(case)
    edit.inverse().check(case)
    edit.inverse().apply(case)
    assert mask.header() == before
    assert edit.nbytes > 0


@pytest.mark.parametrize("make", [mask_on, map_on, lambda g: volume_on(g)])
def test_adding_and_its_inverse_meet(make):
    case = Case()
    item = make(straight())
    edit = AddItem(item, "Add")
    edit.check(case)
    (change,) = edit.apply(case)
    assert (change.item, change.parts) == (item.id, {ADDED})
    assert case.items[item.id] is item
    with pytest.raises(EditRefused, match="already"):
        edit.check(case)
    back = edit.inverse()
    back.check(case)
    (change,) = back.apply(case)
    assert change.parts == {REMOVED}
    assert not case.items
    with pytest.raises(EditRefused, match="not in the case"):
        back.check(case)
    back.inverse().apply(case)
    assert case.items[item.id] is item
    assert edit.nbytes == back.nbytes >= item.geometry.shape[0]


def test_removing_refuses_another_item_of_the_same_id():
    case = small_case()
    with pytest.raises(EditRefused):
        RemoveItem(mask_on(straight()), "x").check(case)


def test_a_group_is_one_step():
    case = small_case()
    before = copy_of(case)
    mask = case.segmentation("mask")
    parts = [
        paint(case, Box((0, 0, 0), (3, 3, 3)), 2),
        HeaderEdit("mask", "x", mask.header(), mask.header(draft=True)),
        RemoveItem(case.heatmap("map"), "x"),
    ]
    group = Group.of("All", parts)
    group.check(case)
    assert len(group.apply(case)) == 3
    assert group.nbytes == sum(part.nbytes for part in parts)
    group.inverse().apply(case)
    assert same_items(case, before)


def test_a_group_that_is_refused_half_way_leaves_nothing_behind():
    case = small_case()
    before = copy_of(case)
    first = paint(case, Box((0, 0, 0), (3, 3, 3)), 2)
    group = Group.of("Twice", [first, AddItem(mask_on(straight()), "id taken")])
    group.check(case)
    with pytest.raises(EditRefused):
        group.apply(case)
    assert same_items(case, before)


def test_an_empty_group_does_nothing():
    group = Group.of("Nothing", [])
    group.check(Case())
    assert group.apply(Case()) == []
    assert group.inverse().edits == ()
