"""The lesion list: what it shows, what a click does, what the threshold says."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from panel_cases import SHAPE, add_answer, by_hand, open_workspace
from PySide6.QtCore import Qt
from PySide6.QtWidgets import QStyleOptionViewItem

from app.controllers.findings import FindingsController
from app.lesion_table import lesion_row
from app.windows.banner import review_state
from app.windows.findings_model import short_ml, short_place
from app.windows.findings_panel import FindingsPanel, totals
from app.workspace import Workspace
from imaging.analysis.lesions import Lesion, find_lesions
from imaging.analysis.place import HeadFrame
from imaging.edits.edit import AddItem, VoxelEdit
from imaging.geometry import Box
from imaging.segmentation import OPENED_ID, Segmentation


def lesions_of(workspace: Workspace) -> list[Lesion]:
    case = workspace.case
    found = find_lesions(case.segmentation("draft"), case.heatmap("prob"))
    return [replace(lesion, place=f"place {lesion.number}") for lesion in found]


@pytest.fixture
def workspace() -> Workspace:
    return open_workspace()


@pytest.fixture
def panel(qtbot, workspace) -> FindingsPanel:
    panel = FindingsPanel(workspace)
    qtbot.addWidget(panel)
    panel.resize(340, 500)
    panel.show()
    return panel


@pytest.fixture
def filled(panel, workspace) -> FindingsPanel:
    add_answer(workspace)
    panel.set_lesions("draft", lesions_of(workspace), {2})
    return panel


def cell(panel: FindingsPanel, row: int, title: str) -> str:
    titles = [
        panel.sorted.headerData(n, Qt.Orientation.Horizontal)
        for n in range(panel.sorted.columnCount())
    ]
    return panel.sorted.index(row, titles.index(title)).data()


@pytest.mark.parametrize("rows", [1, 40])
def test_no_number_is_cut_at_the_usual_width(qapp, panel, workspace, rows) -> None:
    add_answer(workspace)
    panel.resize(330, 500)
    (lesion, *_) = lesions_of(workspace)
    whole = replace(lesion, number=118, box=Box.whole(SHAPE), mask=np.ones(SHAPE, bool))
    panel.set_lesions("draft", [whole] * rows, {118})
    qapp.processEvents()
    assert (cell(panel, 0, "ml"), cell(panel, 0, "mm")) == ("409.6", "130.0")
    header = panel.view.horizontalHeader()
    for column in range(4):
        assert panel.view.sizeHintForColumn(column) <= header.sectionSize(column)
    assert header.length() <= panel.view.viewport().width()


@pytest.mark.parametrize(
    ("volume", "words"),
    [(0.0128, "0.013"), (0.9949, "0.995"), (0.9951, "1.00"), (6.2, "6.20"), (99.99, "99.99"),
     (99.999, "100.0"), (132.46, "132.5"), (999.94, "999.9"), (999.96, "1000"), (1402.3, "1402")],
)  # fmt: skip
def test_volumes_take_five_characters(volume: float, words: str) -> None:
    assert short_ml(volume) == words


def click_row(qtbot, panel: FindingsPanel, row: int) -> None:
    rect = panel.view.visualRect(panel.sorted.index(row, 1))
    qtbot.mouseClick(panel.view.viewport(), Qt.MouseButton.LeftButton, pos=rect.center())


def test_without_a_mask_it_says_what_to_do(panel) -> None:
    assert panel.empty.isVisible()
    assert "Run a model" in panel.empty.text()
    for control in (panel.next, panel.previous, panel.accept, panel.delete, panel.threshold):
        assert not control.isEnabled()
        assert control.toolTip()


def test_a_model_answer_is_listed_by_itself(qtbot, panel, workspace) -> None:
    with qtbot.waitSignal(panel.mask_chosen) as asked:
        add_answer(workspace)
    assert asked.args == ["draft"]
    assert panel.threshold.isEnabled()
    assert panel.threshold.value == 0.5


def test_each_column_shows_the_number(filled, workspace) -> None:
    first = lesions_of(workspace)[0]
    assert cell(filled, 0, "#") == "1"
    assert float(cell(filled, 0, "ml")) == pytest.approx(first.volume_ml, abs=0.005)
    assert float(cell(filled, 0, "mm")) == pytest.approx(first.longest_diameter_mm, abs=0.05)
    assert float(cell(filled, 0, "p")) == pytest.approx(first.mean_probability, abs=0.005)
    assert cell(filled, 0, "Place") == "place 1"
    assert [cell(filled, row, "✓") for row in range(3)] == ["–", "✓", "–"]


@pytest.mark.parametrize(
    ("words", "short"),
    [("Left, 23 mm from midline · front third · 40 mm below vertex", "L 23 mm · front"),
     ("Right, 8 mm from midline · back third", "R 8 mm · back"), ("Midline", "Midline"),
     ("Midline · 12 mm below vertex", "Midline"), ("Left, 3 mm from midline", "L 3 mm"), ("", "")],
)  # fmt: skip
def test_a_place_has_a_short_form(words, short) -> None:
    assert short_place(words) == short


def test_the_head_frame_speaks_as_the_short_form_expects() -> None:
    head = HeadFrame((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), -90.0, 90.0, 80.0, 1.0)
    assert short_place(head.place((23.0, -80.0, 10.0))) == "L 23 mm · front"
    assert short_place(head.place((-8.0, 80.0, 10.0))) == "R 8 mm · back"
    assert short_place(head.place((0.0, 0.0, 0.0))) == "Midline · middle"


@pytest.mark.parametrize(
    "words",
    ["Right, 23 mm from midline · front third · 40 mm below vertex",
     "Left, 64 mm from midline · middle third", "Midline · middle third", "Midline · front third",
     "Right?, 23 mm from midline · middle third?", "Midline? · middle third?"],
)  # fmt: skip
def test_nothing_is_cut_in_a_narrow_panel(qtbot, filled, workspace, words) -> None:
    long = replace(lesions_of(workspace)[0], number=88, place=words)
    long.__dict__["longest_diameter_mm"] = 115.5
    filled.set_lesions("draft", [long])
    filled.resize(290, 500)
    option = QStyleOptionViewItem()
    for number in range(filled.sorted.columnCount()):
        index = filled.sorted.index(0, number)
        delegate = filled.view.itemDelegateForIndex(index)
        filled.view.initViewItemOption(option)
        option.rect = filled.view.visualRect(index)
        delegate.initStyleOption(option, index)
        room = option.rect.width() - 7 - (13 if number == 0 else 0)
        assert option.fontMetrics.horizontalAdvance(option.text) <= room, option.text
    click_row(qtbot, filled, 0)
    assert words in filled.place.text()


def test_a_lesion_by_hand_has_no_probability(filled, workspace) -> None:
    painted = replace(lesions_of(workspace)[0], mean_probability=0.004)
    filled.set_lesions("draft", [painted])
    assert cell(filled, 0, "p") == "–"
    tip = filled.sorted.index(0, 3).data(Qt.ItemDataRole.ToolTipRole)
    assert "Painted by hand" in tip


def test_the_totals_are_the_sums(filled, workspace) -> None:
    lesions = lesions_of(workspace)
    volume = sum(lesion.volume_ml for lesion in lesions)
    assert filled.totals.text() == f"3 lesions · {volume:.2f} ml · 1 accepted"
    assert totals(lesions[:1], 0).startswith("1 lesion ·")


def test_a_click_selects_and_jumps_once(qtbot, filled, workspace) -> None:
    jumps = []
    filled.jump.connect(jumps.append)
    click_row(qtbot, filled, 1)
    assert workspace.selection.number == 2
    assert [lesion.number for lesion in jumps] == [2]
    click_row(qtbot, filled, 1)
    assert [lesion.number for lesion in jumps] == [2, 2]


def test_the_place_of_the_chosen_lesion_stands_in_full(qtbot, filled) -> None:
    assert not filled.place.isVisible()
    click_row(qtbot, filled, 1)
    assert filled.place.text() == "Lesion 2: place 2"


def test_a_selection_from_elsewhere_marks_the_row_without_a_jump(filled, workspace) -> None:
    jumps = []
    filled.jump.connect(jumps.append)
    workspace.select(lesions_of(workspace)[2])
    assert filled.chosen.number == 3
    assert jumps == []
    workspace.select(None)
    assert filled.chosen is None


def test_next_and_previous_go_round(qtbot, filled, workspace) -> None:
    seen = []
    for _ in range(4):
        qtbot.mouseClick(filled.next, Qt.MouseButton.LeftButton)
        seen.append(workspace.selection.number)
    qtbot.mouseClick(filled.previous, Qt.MouseButton.LeftButton)
    assert seen == [1, 2, 3, 1]
    assert workspace.selection.number == 3


def test_after_a_deletion_next_is_the_one_that_moved_up(filled, workspace) -> None:
    filled.step(1)
    filled.step(1)
    rest = [lesion for lesion in lesions_of(workspace) if lesion.number != 2]
    workspace.select(None)
    filled.set_lesions("draft", rest)
    filled.step(1)
    assert workspace.selection.number == 3


def test_sorting_by_volume_keeps_the_chosen_lesion(qtbot, filled, workspace) -> None:
    workspace.select(lesions_of(workspace)[0])
    header = filled.view.horizontalHeader()
    spot = header.sectionViewportPosition(1) + 8
    for _ in range(2):
        qtbot.mouseClick(
            header.viewport(), Qt.MouseButton.LeftButton, pos=header.viewport().rect().topLeft()
            + type(header.viewport().rect().topLeft())(spot, 8),
        )  # fmt: skip
    volumes = [lesion.volume_ml for lesion in filled.lesions]
    assert volumes in (sorted(volumes), sorted(volumes, reverse=True))
    assert filled.chosen.number == 1


def test_accept_and_delete_name_the_chosen_lesion(qtbot, filled, workspace) -> None:
    accepted, deleted = [], []
    filled.accept_requested.connect(accepted.append)
    filled.delete_requested.connect(deleted.append)
    click_row(qtbot, filled, 0)
    qtbot.mouseClick(filled.accept, Qt.MouseButton.LeftButton)
    qtbot.mouseClick(filled.delete, Qt.MouseButton.LeftButton)
    assert [lesion.number for lesion in (*accepted, *deleted)] == [1, 1]


def test_an_accepted_lesion_cannot_be_accepted_again(qtbot, filled) -> None:
    click_row(qtbot, filled, 1)
    assert not filled.accept.isEnabled()
    assert "already" in filled.accept.toolTip()


def test_the_threshold_is_live_and_then_final(qtbot, filled) -> None:
    told = []
    filled.threshold_changed.connect(lambda *values: told.append(values))
    slider = filled.threshold.slider
    slider.setSliderDown(True)
    slider.setSliderPosition(30)
    qtbot.waitUntil(lambda: len(told) == 1)
    slider.setSliderDown(False)
    assert told == [("draft", 0.3, False), ("draft", 0.3, True)]


def test_a_mask_by_hand_has_no_threshold_and_says_so(filled, workspace) -> None:
    workspace.execute(AddItem(by_hand(), "Add mask"))
    at = filled.mask_choice.findData("hand")
    filled.mask_choice.setCurrentIndex(at)
    filled.mask_choice.activated.emit(at)
    assert not filled.threshold.isEnabled()
    assert "probability map" in filled.threshold.toolTip()


def test_an_empty_answer_says_what_to_do(panel, workspace) -> None:
    add_answer(workspace)
    panel.set_lesions("draft", [])
    assert panel.empty.isVisible()
    assert "threshold" in panel.empty.text()


def test_a_new_mask_takes_the_list_with_its_first_voxel(filled, workspace) -> None:
    """The first click of a tool that paints makes a mask; the draft's lesions stay until then."""
    workspace.execute(AddItem(by_hand(), "New mask"))
    assert filled.segmentation_id == "draft"
    assert filled.table.lesions
    none, one = np.zeros((1, 1, 1), np.uint8), np.ones((1, 1, 1), np.uint8)
    stroke = VoxelEdit.between("hand", "Brush", Box((1, 1, 1), (2, 2, 2)), none, one)
    workspace.execute(stroke)
    assert filled.segmentation_id == "hand"


def test_a_late_list_of_another_mask_is_ignored(filled, workspace) -> None:
    workspace.execute(AddItem(by_hand(), "Add mask"))
    at = filled.mask_choice.findData("hand")
    filled.mask_choice.setCurrentIndex(at)
    filled.mask_choice.activated.emit(at)
    filled.set_lesions("draft", lesions_of(workspace))
    assert filled.lesions == []


def test_undoing_the_answer_empties_the_list(filled, workspace) -> None:
    workspace.undo()
    assert filled.lesions == []
    assert "Run a model" in filled.empty.text()


def test_a_closed_panel_listens_no_more(qtbot, workspace) -> None:
    panel = FindingsPanel(workspace)
    before = len(workspace.case_changed)
    panel.deleteLater()
    qtbot.waitUntil(lambda: len(workspace.case_changed) < before, timeout=2000)
    add_answer(workspace)


def test_five_hundred_lesions_do_not_stall_the_window(filled, workspace) -> None:
    one = lesions_of(workspace)[2]
    many = [replace(one, number=n) for n in range(1, 501)]
    for lesion in many:
        assert lesion.longest_diameter_mm > 0
    filled.set_lesions("draft", many)
    filled.repaint()
    times = []
    for _ in range(5):
        start = time.process_time()
        filled.set_lesions("draft", many)
        filled.repaint()
        times.append(time.process_time() - start)
    assert min(times) < 0.05


def test_a_mask_of_somebody_else_is_opened_and_not_accepted(qtbot, panel, workspace) -> None:
    add_answer(workspace)
    mask = workspace.case.segmentation("draft")
    theirs = Segmentation.from_labels(
        OPENED_ID + "f", "Theirs", mask.geometry, mask.volume_id, mask.labels,
        segments=mask.segments,
    )  # fmt: skip
    workspace.execute(AddItem(theirs, "Open"))
    at = panel.mask_choice.findData(theirs.id)
    panel.mask_choice.setCurrentIndex(at)
    panel._mask_picked(at)
    controller = FindingsController(workspace, None, panel, lambda *_: None)
    found = find_lesions(theirs)
    assert not any(controller.accepted(theirs, lesion) for lesion in found)
    panel.set_lesions(theirs.id, found)
    assert cell(panel, 0, "✓") == "○"
    assert "opened from a file" in panel.totals.text()
    assert "accepted" not in panel.totals.text()
    click_row(qtbot, panel, 0)
    assert not panel.accept.isEnabled()
    assert "finished work" in panel.accept.toolTip()
    assert lesion_row(theirs, found[0], False)["state"] == "opened"
    assert review_state(theirs) == "opened, not reviewed"
