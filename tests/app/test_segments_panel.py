"""Masks and labels through the hand: eyes, names, colours, locks, what the brush paints."""

from __future__ import annotations

import numpy as np
import pytest
from panel_cases import GRID, add_answer, by_hand, open_workspace
from PySide6.QtCore import Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QColorDialog, QLineEdit, QMenu

from app.lesion_table import made_by
from app.windows.segment_tree import COLOUR, EYE, LOCK, MADE, NAME
from app.windows.segments_panel import PALETTE_NAMES, SegmentsPanel
from app.workspace import Workspace
from imaging.analysis.lesions import find_lesions
from imaging.edits.edit import AddItem, VoxelEdit
from imaging.edits.operations import accept_lesion, delete_lesion, stroke_edit
from imaging.geometry import Box
from imaging.segmentation import SEMIAUTOMATIC, Segmentation
from imaging.storage.codec import read_segment, segment_body


@pytest.fixture
def workspace() -> Workspace:
    return open_workspace()


@pytest.fixture
def panel(qtbot, workspace) -> SegmentsPanel:
    panel = SegmentsPanel(workspace)
    qtbot.addWidget(panel)
    panel.resize(340, 420)
    panel.show()
    return panel


@pytest.fixture
def filled(panel, workspace) -> SegmentsPanel:
    add_answer(workspace)
    workspace.execute(AddItem(by_hand(), "Add mask"))
    return panel


def item(panel: SegmentsPanel, mask: int, label: int | None = None):
    top = panel.tree.topLevelItem(mask)
    return top if label is None else top.child(label)


def click(qtbot, panel: SegmentsPanel, row, column: int) -> None:
    rect = panel.tree.visualItemRect(row)
    x = panel.tree.columnViewportPosition(column) + panel.tree.columnWidth(column) // 2
    spot = rect.center()
    spot.setX(x)
    qtbot.mouseClick(panel.tree.viewport(), Qt.MouseButton.LeftButton, pos=spot)


def hand(workspace: Workspace) -> Segmentation:
    return workspace.case.segmentation("hand")


def test_without_masks_it_says_what_to_do(panel) -> None:
    assert panel.empty.isVisible()
    assert not panel.remove.isEnabled()
    assert "Choose a mask" in panel.remove.toolTip()


def test_without_a_study_no_mask_can_be_added(qtbot) -> None:
    panel = SegmentsPanel(Workspace())
    qtbot.addWidget(panel)
    assert not panel.add_mask.isEnabled()
    assert panel.add_mask.toolTip() == "Open a study first"


def test_rows_say_name_and_origin(filled) -> None:
    assert item(filled, 0).text(NAME) == "Lesions"
    assert item(filled, 0).text(MADE) == "draft"
    assert item(filled, 0, 0).text(MADE) == "AI"
    assert item(filled, 1, 0).text(MADE) == "hand"
    assert "CPU (2 threads)" in item(filled, 0).toolTip(NAME)


def test_the_eye_of_a_label_hides_it_and_shows_it(qtbot, filled, workspace) -> None:
    click(qtbot, filled, item(filled, 1, 0), EYE)
    assert workspace.display.overlay("hand").hidden_segments == {1}
    click(qtbot, filled, item(filled, 1, 0), EYE)
    assert workspace.display.overlay("hand").hidden_segments == frozenset()


def test_the_eye_of_a_mask_hides_the_mask(qtbot, filled, workspace) -> None:
    click(qtbot, filled, item(filled, 1), EYE)
    assert not workspace.display.overlay("hand").visible
    assert workspace.display.overlay("draft").visible


def test_space_works_like_the_eye(qtbot, filled, workspace) -> None:
    filled.tree.setCurrentItem(item(filled, 1, 1))
    qtbot.keyClick(filled.tree, Qt.Key.Key_Space)
    assert workspace.display.overlay("hand").hidden_segments == {2}


def test_a_click_on_a_label_makes_the_brush_paint_it(qtbot, filled, workspace) -> None:
    click(qtbot, filled, item(filled, 1, 1), NAME)
    brush = workspace.display.brush
    assert (brush.segmentation_id, brush.label) == ("hand", 2)
    assert "paints this" in item(filled, 1, 1).toolTip(NAME)


def test_the_row_follows_the_brush(filled, workspace) -> None:
    from dataclasses import replace

    brush = replace(workspace.display.brush, segmentation_id="hand", label=1)
    workspace.show(workspace.display.but(brush=brush))
    assert filled.tree.current() == ("hand", 1)


def test_a_name_typed_in_place_is_one_undoable_step(qtbot, filled, workspace) -> None:
    filled.tree.setCurrentItem(item(filled, 1, 0))
    filled.tree.editItem(item(filled, 1, 0), NAME)
    editor = filled.tree.findChild(QLineEdit)
    editor.selectAll()
    qtbot.keyClicks(editor, "Lateral ventricle")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: hand(workspace).segment(1).name == "Lateral ventricle")
    workspace.undo()
    assert hand(workspace).segment(1).name == "Ventricle"
    assert item(filled, 1, 0).text(NAME) == "Ventricle"


def test_a_mask_can_be_renamed(filled, workspace) -> None:
    item(filled, 1).setText(NAME, "Reader 2")
    assert hand(workspace).name == "Reader 2"


def test_an_empty_name_is_refused_in_words(qtbot, filled, workspace) -> None:
    with qtbot.waitSignal(filled.refused) as said:
        item(filled, 1, 0).setText(NAME, "   ")
    assert "name" in said.args[0]
    assert item(filled, 1, 0).text(NAME) == "Ventricle"


def test_only_names_open_an_editor(filled) -> None:
    row = item(filled, 1, 0)
    index = filled.tree.indexFromItem(row, MADE)
    trigger = filled.tree.EditTrigger.DoubleClicked
    assert filled.tree.edit(index, trigger, None) is False


def test_the_lock_is_an_undoable_step(qtbot, filled, workspace) -> None:
    click(qtbot, filled, item(filled, 1, 0), LOCK)
    assert hand(workspace).segment(1).locked
    workspace.undo()
    assert not hand(workspace).segment(1).locked


def colour_menu(qtbot, panel: SegmentsPanel) -> QMenu:
    click(qtbot, panel, item(panel, 1, 0), COLOUR)
    menu = panel.findChild(QMenu)
    assert menu.isVisible()
    return menu


def choose(qtbot, menu: QMenu, words: str) -> None:
    action = next(one for one in menu.actions() if one.text() == words)
    qtbot.mouseClick(menu, Qt.MouseButton.LeftButton, pos=menu.actionGeometry(action).center())


def test_a_click_on_the_colour_offers_colours_that_can_be_told_apart(
    qtbot, filled, workspace
) -> None:
    menu = colour_menu(qtbot, filled)
    assert [one.text() for one in menu.actions()][:-2] == list(PALETTE_NAMES)
    assert [one.text() for one in menu.actions() if one.isChecked()] == ["Green"]
    choose(qtbot, menu, "Sky blue")
    assert hand(workspace).segment(1).colour == (86, 180, 233)
    workspace.undo()
    assert hand(workspace).segment(1).colour == (0, 158, 115)


def test_behind_more_lies_every_colour(qtbot, filled, workspace) -> None:
    choose(qtbot, colour_menu(qtbot, filled), "More …")
    dialog = filled.findChild(QColorDialog)
    assert dialog.currentColor() == QColor(0, 158, 115)
    dialog.setCurrentColor(QColor(1, 2, 3))
    dialog.accept()
    assert hand(workspace).segment(1).colour == (1, 2, 3)


def test_accepting_changes_no_voxel_and_says_accepted_until_one_is_changed(filled, workspace):
    mask, heat = workspace.case.segmentation("draft"), workspace.case.heatmap("prob")
    lesion = find_lesions(mask, heat)[0]
    workspace.execute(accept_lesion(mask, lesion))
    assert [s.algorithm_type for s in mask.segments] == [SEMIAUTOMATIC] * 2
    assert item(filled, 0, 0).text(MADE) == "AI"
    assert item(filled, 0, 1).text(MADE) == "AI, accepted"
    assert made_by(mask, mask.segments[1]) == f"{mask.provenance.sentence}, accepted"
    body = segment_body(mask.segments[1])
    assert read_segment(body) == mask.segments[1]
    old = {name: value for name, value in body.items() if name != "unchanged"}
    assert not read_segment(old).unchanged  # nothing is claimed of a file of an early version
    workspace.execute(delete_lesion(mask, find_lesions(mask, labels=[2])[0]))
    assert item(filled, 0, 1).text(MADE) == "AI, edited"
    assert made_by(mask, mask.segments[1]).endswith("checked or edited by hand")


def test_a_corrected_label_says_so_at_once(filled, workspace) -> None:
    mask = workspace.case.segmentation("draft")
    box = Box((0, 0, 0), (1, 1, 2))
    before = mask.labels[box.slices].copy()
    stroke = VoxelEdit.between("draft", "Brush", box, before, np.ones_like(before))
    workspace.execute(stroke_edit(mask, stroke))
    assert item(filled, 0, 0).text(MADE) == "AI, edited"
    workspace.undo()
    assert item(filled, 0, 0).text(MADE) == "AI"


def test_a_new_mask_lies_on_the_image_shown_and_is_painted(qtbot, panel, workspace) -> None:
    qtbot.mouseClick(panel.add_mask, Qt.MouseButton.LeftButton)
    (mask,) = workspace.case.segmentations
    assert mask.volume_id == "flair"
    assert mask.geometry.same_grid(GRID)
    assert workspace.display.brush.segmentation_id == mask.id
    workspace.undo()
    assert workspace.case.segmentations == []
    assert panel.empty.isVisible()


def test_a_new_label_has_a_new_number_and_colour(qtbot, filled, workspace) -> None:
    click(qtbot, filled, item(filled, 1, 0), NAME)
    qtbot.mouseClick(filled.add_label, Qt.MouseButton.LeftButton)
    segments = hand(workspace).segments
    assert [s.number for s in segments] == [1, 2, 3]
    assert len({s.colour for s in segments}) == 3
    assert workspace.display.brush.label == 3


def test_deleting_a_label_clears_its_voxels_and_can_be_undone(qtbot, filled, workspace) -> None:
    box = Box((0, 0, 0), (2, 2, 2))
    ones = np.ones(box.shape, np.uint8)
    workspace.execute(VoxelEdit.between("hand", "Paint", box, ones * 0, ones))
    click(qtbot, filled, item(filled, 1, 0), NAME)
    qtbot.mouseClick(filled.remove, Qt.MouseButton.LeftButton)
    assert hand(workspace).segment(1) is None
    assert not hand(workspace).labels.any()
    workspace.undo()
    assert hand(workspace).segment(1).name == "Ventricle"
    assert int(hand(workspace).labels.sum()) == 8


def test_a_locked_label_cannot_be_deleted_and_says_why(qtbot, filled) -> None:
    click(qtbot, filled, item(filled, 1, 1), NAME)
    assert not filled.remove.isEnabled()
    assert "unlock" in filled.remove.toolTip()


def test_deleting_a_mask_can_be_undone(qtbot, filled, workspace) -> None:
    click(qtbot, filled, item(filled, 1), NAME)
    qtbot.mouseClick(filled.remove, Qt.MouseButton.LeftButton)
    assert "hand" not in workspace.case.items
    assert filled.tree.topLevelItemCount() == 1
    workspace.undo()
    assert filled.tree.topLevelItemCount() == 2


def test_opacity_and_outline_belong_to_the_chosen_mask(qtbot, filled, workspace) -> None:
    click(qtbot, filled, item(filled, 1), NAME)
    spot = filled.outline.rect().center()
    spot.setX(8)
    qtbot.mouseClick(filled.outline, Qt.MouseButton.LeftButton, pos=spot)
    with qtbot.waitSignal(filled.opacity.settled):
        filled.opacity.slider.setValue(4)
    assert workspace.display.overlay("hand").outline
    assert workspace.display.overlay("hand").opacity == pytest.approx(0.2)
    assert workspace.display.overlay("draft").opacity == pytest.approx(0.5)
