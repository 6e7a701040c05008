"""A label gets its meaning by the hand: right click, a word, Return."""

from __future__ import annotations

import pytest
from panel_cases import by_hand, open_workspace
from PySide6.QtCore import QPoint, Qt
from PySide6.QtGui import QContextMenuEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit, QMenu

from app.windows.meaning_dialog import MeaningDialog
from app.windows.segment_tree import NAME
from app.windows.segments_panel import SegmentsPanel
from app.workspace import Workspace
from imaging.dicom.codes import LEFT
from imaging.edits.edit import AddItem
from imaging.edits.operations import code_segment, rename_segment
from imaging.segmentation import Code, Segment


@pytest.fixture
def workspace() -> Workspace:
    workspace = open_workspace()
    workspace.execute(AddItem(by_hand(), "Add mask"))
    return workspace


@pytest.fixture
def panel(qtbot, workspace) -> SegmentsPanel:
    panel = SegmentsPanel(workspace)
    qtbot.addWidget(panel)
    panel.resize(340, 420)
    panel.show()
    qtbot.waitExposed(panel)
    return panel


def label(workspace: Workspace, number: int = 1) -> Segment:
    segment = workspace.case.segmentation("hand").segment(number)
    assert segment is not None
    return segment


def right_click(panel: SegmentsPanel, child: int) -> QMenu:
    top = panel.tree.topLevelItem(0)
    assert top is not None
    spot = panel.tree.visualItemRect(top.child(child)).center()
    view = panel.tree.viewport()
    event = QContextMenuEvent(QContextMenuEvent.Reason.Mouse, spot, view.mapToGlobal(spot))
    QApplication.sendEvent(view, event)
    (menu,) = [m for m in panel.findChildren(QMenu) if m.isVisible()]
    return menu


def choose(menu: QMenu, words: str) -> None:
    (action,) = [a for a in menu.actions() if a.text() == words]
    spot = menu.actionGeometry(action).center()
    QTest.mouseClick(menu, Qt.MouseButton.LeftButton, pos=spot)


def opened(panel: SegmentsPanel, child: int = 0) -> MeaningDialog:
    choose(right_click(panel, child), "Meaning …")
    (dialog,) = panel.findChildren(MeaningDialog)
    assert dialog.isVisible()
    return dialog


def shown(dialog: MeaningDialog) -> list[str]:
    return [dialog.list.item(n).text() for n in range(dialog.list.count())]


def test_right_click_a_word_and_return(qtbot, panel, workspace) -> None:
    dialog = opened(panel)
    assert dialog.windowTitle() == "Meaning of “Ventricle”"
    qtbot.keyClicks(dialog.search, "oede")
    assert shown(dialog) == ["Edema"]
    assert "79654002" in dialog.code.text()
    assert "SNOMED" in dialog.code.text()
    qtbot.keyClick(dialog.search, Qt.Key.Key_Return)
    assert label(workspace).type == Code("79654002", "SCT", "Edema")
    assert label(workspace).category.value == "49755003"
    top = panel.tree.topLevelItem(0)
    assert "Means: Edema" in top.child(0).toolTip(NAME)
    workspace.undo()
    assert label(workspace).type.meaning == "Lesion"


def test_the_name_suggests_a_meaning(qtbot, panel, workspace) -> None:
    dialog = opened(panel)
    assert dialog.current is not None
    assert dialog.current.name == "Brain ventricle"
    assert dialog.list.currentItem().text() == "Brain ventricle"
    qtbot.mouseClick(dialog.take, Qt.MouseButton.LeftButton)
    assert label(workspace).type.value == "35764002"
    assert label(workspace).category.meaning == "Anatomical Structure"


def test_a_side_in_the_name_is_taken_up_and_can_be_changed(qtbot, panel, workspace) -> None:
    mask = workspace.case.segmentation("hand")
    workspace.execute(rename_segment(mask, 1, "Left hippocampus"))
    dialog = opened(panel)
    assert dialog.side.currentText() == "Left"
    qtbot.mouseClick(dialog.take, Qt.MouseButton.LeftButton)
    assert label(workspace).modifier == LEFT
    assert "hippocampus, left" in panel.tree.topLevelItem(0).child(0).toolTip(NAME).lower()
    panel.findChildren(MeaningDialog)[0].deleteLater()
    QApplication.processEvents()
    qtbot.waitUntil(lambda: not panel.findChildren(MeaningDialog))
    again = opened(panel)
    assert again.current.name == "Hippocampus"
    again.side.setFocus()
    qtbot.keyClick(again.side, Qt.Key.Key_Up)
    qtbot.mouseClick(again.take, Qt.MouseButton.LeftButton)
    assert label(workspace).modifier is None


def test_arrows_move_and_a_double_click_chooses(qtbot, panel, workspace) -> None:
    dialog = opened(panel)
    qtbot.keyClicks(dialog.search, "ventricle")
    first = dialog.current
    qtbot.keyClick(dialog.search, Qt.Key.Key_Down)
    second = dialog.current
    assert first != second
    rect = dialog.list.visualItemRect(dialog.list.currentItem())
    spot = rect.center()
    qtbot.mouseClick(dialog.list.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    qtbot.mouseDClick(dialog.list.viewport(), Qt.MouseButton.LeftButton, pos=spot)
    assert label(workspace).type == second.type


def test_nothing_found_and_cancel_change_nothing(qtbot, panel, workspace) -> None:
    before = label(workspace)
    dialog = opened(panel)
    qtbot.keyClicks(dialog.search, "xyzzy")
    assert dialog.nothing.isVisible()
    assert not dialog.take.isEnabled()
    qtbot.keyClick(dialog.search, Qt.Key.Key_Return)
    qtbot.keyClick(dialog, Qt.Key.Key_Escape)
    assert label(workspace) == before


def test_a_meaning_from_a_file_stays_in_the_list(qtbot, panel, workspace) -> None:
    foreign = Code("T-1", "99ELSEWHERE", "Odd thing")
    mask = workspace.case.segmentation("hand")
    workspace.execute(code_segment(mask, 1, foreign, foreign))
    dialog = opened(panel)
    assert shown(dialog)[0] == "Odd thing"
    assert dialog.current.type == foreign


def test_the_menu_renames_and_locks_too(qtbot, panel, workspace) -> None:
    choose(right_click(panel, 1), "Unlock")
    assert not label(workspace, 2).locked
    choose(right_click(panel, 1), "Rename")
    (editor,) = panel.tree.findChildren(QLineEdit)
    qtbot.keyClicks(editor, "Artery")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: label(workspace, 2).name == "Artery")


def test_the_row_of_a_mask_has_no_menu(panel) -> None:
    view = panel.tree.viewport()
    spot = panel.tree.visualItemRect(panel.tree.topLevelItem(0)).center()
    event = QContextMenuEvent(QContextMenuEvent.Reason.Mouse, spot, view.mapToGlobal(QPoint(spot)))
    QApplication.sendEvent(view, event)
    assert not [m for m in panel.findChildren(QMenu) if m.isVisible()]
