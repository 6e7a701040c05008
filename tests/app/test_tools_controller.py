"""The hand: tools are chosen, masks are there to paint on, refusals are sentences."""

from __future__ import annotations

import pytest
from panel_cases import add_answer, by_hand, open_workspace

from app.controllers.tools import ToolController
from app.workspace import Workspace
from imaging.edits.edit import AddItem, RemoveItem
from imaging.errors import EditRefused
from viewer.tools.brush import BRUSH_RANGE_MM
from viewer.tools.table import TOOLS


@pytest.fixture
def hand(qtbot):
    """Tools over two images; what was said is kept."""
    made = ToolController(open_workspace(), lambda kind: f"{kind}-1")
    made.heard = []
    made.said.connect(made.heard.append)
    return made


def test_painting_without_a_study_says_so(qtbot) -> None:
    workspace, heard = Workspace(), []
    hand = ToolController(workspace, str)
    hand.said.connect(heard.append)
    hand.choose("brush")
    assert heard == ["Open a study before painting"]
    assert workspace.display.tool == "window"


def test_the_first_stroke_gets_a_mask_on_the_active_image(hand) -> None:
    hand.choose("brush")
    [mask] = hand.case.segmentations
    assert mask.volume_id == "flair"
    assert hand.display.brush.segmentation_id == mask.id
    assert hand.editing
    hand.toggle_mode()
    assert not hand.editing
    hand.swap()
    assert hand.display.tool == "brush"
    assert len(hand.case.segmentations) == 1


def test_a_study_that_is_busy_elsewhere_refuses_in_words(hand) -> None:
    class Busy:
        def prepare(self, _case) -> None:
            raise EditRefused("This study is being edited in another window")

    hand._workspace.journal = Busy()
    hand.choose("brush")
    assert hand.heard == ["This study is being edited in another window."]
    assert hand.display.tool == "window"


def test_tools_have_numbers_and_nonsense_does_nothing(hand) -> None:
    for number, tool in enumerate(TOOLS, 1):
        hand.choose_number(number)
        assert hand.display.tool == tool.id
    before = hand.display
    hand.choose_number(len(TOOLS) + 1)
    hand.choose("no such tool")
    assert hand.display == before


def test_the_brush_stays_within_its_limits(hand) -> None:
    for factor, limit in ((1e-6, BRUSH_RANGE_MM[0]), (1e9, BRUSH_RANGE_MM[1])):
        hand.scale_brush(factor)
        assert hand.display.brush.radius_mm == limit


def test_labels_go_round(hand) -> None:
    hand._workspace.execute(AddItem(by_hand(), "Add mask"))
    hand.choose("brush")
    assert hand.display.brush.label == 1
    hand.step_label(1)
    assert hand.display.brush.label == 2
    hand.step_label(1)
    assert hand.display.brush.label == 1
    hand.step_label(-1)
    assert hand.display.brush.label == 2
    assert hand.heard[-1] == "Label: Vessel"


def test_a_mask_that_is_gone_is_not_painted_on(hand) -> None:
    mask = by_hand()
    hand._workspace.execute(AddItem(mask, "Add mask"))
    hand.choose("brush")
    hand._workspace.execute(RemoveItem(mask, "Delete mask"))
    assert hand.display.brush.segmentation_id == ""
    assert not hand.editing
    hand.undo()
    assert hand.heard[-1] == "Undone: Delete mask"


def test_undo_and_redo_say_what_they_did(hand) -> None:
    hand.undo()
    assert hand.heard[-1] == "Nothing to undo"
    add_answer(hand._workspace)
    hand.undo()
    hand.redo()
    assert hand.heard[-2:] == ["Undone: Run Test model", "Done again: Run Test model"]
