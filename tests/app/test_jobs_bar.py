"""What always stands in the window: mode, jobs, journal, patient, AI badge, active tool."""

from __future__ import annotations

from dataclasses import replace

import pytest
from panel_cases import add_answer, by_hand, open_workspace
from PySide6.QtCore import Qt

from app.controllers.tools import ToolController
from app.windows import jobs_bar
from app.windows.banner import Banner, moment_text, readable_date, readable_name
from app.windows.jobs_bar import (
    BACKED_UP,
    BACKING_UP,
    JOURNAL_TIP,
    NOT_BACKED_UP,
    JobsBar,
    time_left,
)  # fmt: skip
from app.windows.tools_panel import NEW_MASK, ToolsPanel, middle_cut
from app.workspace import Workspace
from imaging.analysis.lesions import find_lesions
from imaging.edits.edit import AddItem, HeaderEdit
from imaging.edits.operations import accept_lesion
from imaging.segmentation import Code, Segment, Segmentation
from viewer.tools.table import TOOLS


@pytest.fixture
def workspace() -> Workspace:
    return open_workspace()


@pytest.fixture
def bar(qtbot, workspace) -> JobsBar:
    bar = JobsBar(workspace)
    qtbot.addWidget(bar)
    bar.resize(1200, 36)
    bar.show()
    return bar


def test_the_badge_follows_the_tool(bar, workspace) -> None:
    assert bar.mode.text() == "READ"
    workspace.show(workspace.display.but(tool="brush", editing=True))
    assert bar.mode.text() == "EDIT"
    workspace.show(workspace.display.but(tool="crosshair"))  # for a moment: still editing
    assert bar.mode.text() == "EDIT"
    workspace.show(workspace.display.but(editing=False))
    assert bar.mode.text() == "READ"


def test_a_job_shows_words_share_and_time(bar) -> None:
    bar.set_job("load", "Loading FLAIR", 0.25, 100)
    job = bar._jobs["load"]
    assert (job.words.text(), job.left.text()) == ("Loading FLAIR", "2 min left")
    assert job.bar.value() == job.bar.maximum() / 4
    bar.set_job("load", "Loading FLAIR")
    assert job.bar.maximum() == 0


def test_a_job_that_comes_and_goes_moves_nothing(qtbot, bar) -> None:
    before = bar.sizeHint().height()
    bar.set_job("load", "Loading FLAIR", 0.25, 100)
    assert bar.sizeHint().height() == before


def test_cancel_names_the_job_and_is_asked_once(qtbot, bar) -> None:
    bar.set_job("a", "First", 0.1)
    bar.set_job("b", "Second", 0.1)
    with qtbot.waitSignal(bar.cancel_requested) as asked:
        qtbot.mouseClick(bar._jobs["b"].cancel, Qt.MouseButton.LeftButton)
    assert asked.args == ["b"]
    assert not bar._jobs["b"].cancel.isEnabled()
    bar.set_job("b", "Second", 0.6)
    assert "Cancelling" in bar._jobs["b"].words.text()


def test_the_end_of_a_job_is_a_sentence_that_stays(bar) -> None:
    bar.set_job("a", "Writing", 0.5)
    bar.end_job("a", "Saved and read back")
    assert bar.jobs == ()
    assert bar.message.text() == "Saved and read back"
    bar.end_job("unknown")
    assert bar.message.text() == "Saved and read back"


def test_a_sentence_fades_and_a_warning_stays(qtbot, bar, monkeypatch) -> None:
    monkeypatch.setattr(jobs_bar, "FADE_MS", 30)
    bar.say("The disk is full", "danger")
    qtbot.wait(80)
    assert bar.message.text() == "The disk is full"
    assert bar.message.property("role") == "danger"
    bar.say("Written and read back")
    qtbot.waitUntil(lambda: not bar.message.text(), timeout=2000)
    assert bar.message.toolTip() == ""


def test_a_failure_goes_with_its_study_and_a_success_stays(bar) -> None:
    bar.say("Slices are missing", "danger")
    bar.forget_failure()
    assert bar.message.text() == ""
    bar.say("Saved")
    bar.forget_failure()
    assert bar.message.text() == "Saved"


def test_an_older_sentence_does_not_take_a_warning_with_it(qtbot, bar, monkeypatch) -> None:
    monkeypatch.setattr(jobs_bar, "FADE_MS", 30)
    bar.say("Loaded")
    bar.say("The slices lie at uneven distances", "warning")
    qtbot.wait(80)
    assert bar.message.text() == "The slices lie at uneven distances"


@pytest.mark.parametrize(
    ("state", "words"),
    [("saved", BACKED_UP), ("saving", BACKING_UP), ("NOT SAVED", NOT_BACKED_UP),
     (BACKED_UP, BACKED_UP), (NOT_BACKED_UP, NOT_BACKED_UP)],
)  # fmt: skip
def test_the_journal_speaks_of_a_backup_and_not_of_the_case(bar, state, words) -> None:
    bar.set_journal(state, "why")
    assert bar.journal.isVisible()
    assert bar.journal.text() == f"● {words}"
    assert bar.journal.toolTip().splitlines() == ["why", JOURNAL_TIP]
    assert "not the case file" in JOURNAL_TIP


def test_without_a_study_nothing_is_said_about_a_backup(bar) -> None:
    assert not bar.journal.isVisible()
    bar.set_journal("saved")
    bar.set_journal("")
    assert not bar.journal.isVisible()


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (-1, ""), (0.2, "1 s left"), (12.4, "12 s left"), (150, "2 min left")],
)
def test_times_in_words(seconds, words) -> None:
    assert time_left(seconds) == words


# --- whose images -------------------------------------------------------------------------------
@pytest.fixture
def banner(qtbot, workspace) -> Banner:
    banner = Banner(workspace)
    qtbot.addWidget(banner)
    banner.resize(1400, 36)
    banner.show()
    return banner


def test_the_patient_is_named_in_full(banner) -> None:
    assert banner.name.text() == "DOE, JANE"
    for words in ("ID 4711", "born 1979-04-12", "female", "study 2024-03-11", "Brain"):
        assert words in banner.details.text()


def test_the_notice_stands_until_the_site_says_otherwise(banner) -> None:
    assert banner.notice.text() == "Research use - not for diagnosis"
    banner.set_notice("Validated locally")
    assert banner.notice.text() == "Validated locally"
    banner.set_notice("")
    assert not banner.notice.isVisible()


def test_the_badge_says_what_when_and_whether_reviewed(banner, workspace) -> None:
    assert not banner.ai.isVisible()
    add_answer(workspace)
    assert banner.ai.text() == "AI: Test model 1.0 · 2026-01-02, 03:04 · draft, not reviewed"
    assert "Lesions" in banner.ai.toolTip()
    mask = workspace.case.segmentation("draft")
    workspace.execute(HeaderEdit("draft", "Review", mask.header(), mask.header(draft=False)))
    assert banner.ai.text().endswith("reviewed")
    assert "draft" not in banner.ai.text()
    workspace.undo()
    workspace.undo()
    assert not banner.ai.isVisible()


def test_the_badge_has_a_day_unless_it_is_today() -> None:
    assert moment_text("2021-01-02T15:28:00", today="2024-01-02") == "2021-01-02, 15:28"
    assert moment_text("2021-01-02T15:28:00", today="2021-01-02") == "15:28"
    assert moment_text("") == ""


def test_the_badge_follows_the_mask_that_is_turned_to(banner, workspace) -> None:
    add_answer(workspace)
    mask = workspace.case.segmentation("draft")
    old = replace(mask.provenance, algorithm="Old one", created="2021-05-06T07:08:00")
    workspace.execute(AddItem(Segmentation.from_labels(
        "old", "Old", mask.geometry, mask.volume_id, mask.labels, segments=mask.segments,
        provenance=old), "Open"))  # fmt: skip
    assert banner.ai.text().startswith("AI: Old one 1.0 · 2021-05-06, 07:08")
    brush = replace(workspace.display.brush, segmentation_id="draft")
    workspace.show(workspace.display.but(brush=brush))
    assert banner.ai.text().startswith("AI: Test model 1.0")


def test_an_accepted_lesion_makes_the_draft_partly_reviewed(banner, workspace) -> None:
    add_answer(workspace)
    mask = workspace.case.segmentation("draft")
    workspace.execute(accept_lesion(mask, find_lesions(mask)[0]))
    assert banner.ai.text().endswith("draft, partly reviewed")
    workspace.undo()
    assert banner.ai.text().endswith("draft, not reviewed")


def test_without_a_study_it_says_so(qtbot) -> None:
    banner = Banner(Workspace())
    qtbot.addWidget(banner)
    assert banner.name.text() == "No study open"


def test_it_follows_the_active_cell(banner, workspace) -> None:
    source = workspace.case.volume("t1").source
    other = replace(workspace.case.volume("t1"), id="other", source=replace(source, patient=replace(
        source.patient, name="ROE^RICHARD")))  # fmt: skip
    workspace.add_volume(other)
    cell = workspace.display.cells[0]
    workspace.show(workspace.display.with_cell(replace(cell, volume_id="other")))
    assert banner.name.text() == "ROE, RICHARD"


@pytest.mark.parametrize(
    ("raw", "read"), [("DOE^JANE^M", "DOE, JANE M"), ("DOE", "DOE"), ("A^B=X^Y", "A, B"), ("", "")]
)
def test_names_for_people(raw, read) -> None:
    assert readable_name(raw) == read


@pytest.mark.parametrize(("raw", "read"), [("20240311", "2024-03-11"), ("1979", "1979"), ("", "")])
def test_dates_for_people(raw, read) -> None:
    assert readable_date(raw) == read


# --- tools --------------------------------------------------------------------------------------
@pytest.fixture
def tools(qtbot, workspace) -> ToolsPanel:
    panel = ToolsPanel(workspace)
    qtbot.addWidget(panel)
    panel.resize(340, 420)
    panel.show()
    return panel


def test_every_tool_has_its_number_and_its_name(qtbot, tools) -> None:
    for number, tool in enumerate(TOOLS, 1):
        made = tools.buttons[tool.id]
        assert made.text() == str(number)
        assert tool.title in made.toolTip()
        qtbot.mouseClick(made, Qt.MouseButton.LeftButton)
        assert tools.title.text() == tool.title


def test_a_low_panel_shows_every_control_without_scrolling(qtbot, tools, workspace) -> None:
    workspace.execute(AddItem(by_hand(), "Add mask"))
    tools.resize(290, 200)
    qtbot.wait(10)
    for part in (*tools.buttons.values(), tools.radius, tools.disc, tools.ball, tools.only_range,
                 tools.label, tools.state):  # fmt: skip
        seen = part.visibleRegion().boundingRect()
        assert seen.size() == part.size(), part
        assert part.width() >= part.minimumSizeHint().width()


@pytest.mark.parametrize(
    ("words", "cut"),
    [("Lesion", "Lesion"), ("abcdefghij", "abcdefghij"), ("abcdefghijk", "abcde…hijk")],
)
def test_a_long_name_loses_its_middle(words, cut) -> None:
    assert middle_cut(words, 10) == cut


def test_a_tool_button_asks_a_controller_and_else_acts_itself(qtbot, tools, workspace) -> None:
    with qtbot.waitSignal(tools.tool_requested) as asked:
        qtbot.mouseClick(tools.buttons["eraser"], Qt.MouseButton.LeftButton)
    assert asked.args == ["eraser"]
    assert workspace.display.tool == "eraser"
    workspace.show(workspace.display.but(tool="brush", editing=True))
    assert tools.buttons["brush"].isChecked()
    assert not tools.buttons["eraser"].isChecked()


def test_size_shape_and_range_go_to_the_brush(qtbot, tools, workspace) -> None:
    with qtbot.waitSignal(tools.radius.settled):
        tools.radius.spin.setValue(7.5)
    qtbot.mouseClick(tools.ball, Qt.MouseButton.LeftButton)
    spot = tools.only_range.rect().center()
    spot.setX(8)
    qtbot.mouseClick(tools.only_range, Qt.MouseButton.LeftButton, pos=spot)
    brush = workspace.display.brush
    assert (brush.radius_mm, brush.shape, brush.only_range) == (7.5, "ball", True)
    workspace.show(workspace.display.but(brush=replace(brush, radius_mm=2.0, shape="disc")))
    assert tools.radius.value == 2.0
    assert tools.disc.isChecked()


def test_labels_of_one_name_say_their_mask(tools, workspace) -> None:
    workspace.execute(AddItem(by_hand(), "Add mask"))
    other = by_hand()
    other.id, other.name = "other", "Second mask"
    workspace.execute(AddItem(other, "Add mask"))
    assert tools.label.findText("Vessel – Second mask") >= 0
    assert tools.label.findText("Vessel – My mask") >= 0


def test_what_masks_the_brush_is_always_said(tools, workspace) -> None:
    assert tools.state.text() == "The brush paints everywhere."
    workspace.execute(AddItem(by_hand(), "Add mask"))
    brush = replace(workspace.display.brush, segmentation_id="hand", label=2, only_range=True)
    display = workspace.display.with_overlay("hand", hidden_segments=frozenset({2}))
    workspace.show(display.but(brush=brush))
    for words in ("locked", "hidden", "shown window"):
        assert words in tools.state.text()
    workspace.show(workspace.display.but(overlays_shown=False))
    assert "Overlays are off" in tools.state.text()


def test_what_is_masked_stays_visible_in_a_low_window(tools) -> None:
    tools.resize(340, 150)
    assert not tools.state.visibleRegion().isEmpty()
    assert tools.minimumSizeHint().height() <= 150


def test_a_single_label_can_still_be_chosen(tools, workspace) -> None:
    add_answer(workspace)
    assert tools.label.isEnabled()


def test_the_label_that_is_painted_can_be_chosen(tools, workspace) -> None:
    assert tools.label.currentText() == NEW_MASK
    assert not tools.label.isEnabled()
    workspace.execute(AddItem(by_hand(), "Add mask"))
    at = tools.label.findText("Vessel")
    tools.label.setCurrentIndex(at)
    tools.label.activated.emit(at)
    brush = workspace.display.brush
    assert (brush.segmentation_id, brush.label) == ("hand", 2)
    assert tools.label.currentText() == "Vessel"


def test_what_an_export_wrote_stays_until_the_next_sentence(bar) -> None:
    bar.say("22 files saved", stays=True)
    assert not bar._fade.isActive()
    bar.say("Lesion 1 accepted")
    assert bar._fade.isActive()


def test_a_mask_that_comes_back_is_what_the_brush_paints(qtbot, workspace):
    tools = ToolsPanel(workspace)
    qtbot.addWidget(tools)
    mask = by_hand()
    workspace.adopt([mask])  # as a case file does, whose brush had no target
    assert tools.label.currentText() == "Ventricle"
    hidden = replace(workspace.display.overlay(mask.id), visible=False)
    workspace.show(workspace.display.but(overlays={mask.id: hidden}))
    assert tools.state.text() == "This label is hidden: strokes will not be seen."
    hand = ToolController(workspace, lambda kind: f"{kind}-1")
    hand.choose("brush")
    assert workspace.display.brush.segmentation_id == mask.id
    assert workspace.case.segmentations == [mask]


def test_no_stroke_goes_into_tissues_that_nobody_chose(qtbot, workspace):
    tools = ToolsPanel(workspace)
    qtbot.addWidget(tools)
    body = Code("85756007", "SCT", "Tissue")
    fluid = Segment(1, "Cerebrospinal fluid", (0, 0, 200), category=body)
    tissues = replace(by_hand(), id="tissues", segments=(fluid,))
    workspace.execute(AddItem(tissues, "Run Brain and tissue"))
    assert tools.label.currentText() == "New mask at the first stroke"
    workspace.execute(AddItem(by_hand(), "Add mask"))
    assert tools.label.currentText() == "Ventricle"
    brush = replace(workspace.display.brush, segmentation_id="tissues", label=1)
    workspace.show(workspace.display.but(brush=brush))
    assert tools.label.currentText() == "Cerebrospinal fluid"
