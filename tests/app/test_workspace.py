"""One door for change: every edit is checked, journaled, remembered and told."""

from __future__ import annotations

import numpy as np
import pytest
from panel_cases import GRID, SHAPE, add_answer, by_hand, draft, open_workspace, volume

from app.workspace import Workspace
from imaging.case import ADDED, REMOVED, VOXELS, Case
from imaging.drawings import Drawings
from imaging.edits.edit import AddItem, RemoveItem, VoxelEdit
from imaging.edits.operations import set_threshold
from imaging.errors import EditRefused
from imaging.geometry import Box

BOX = Box((2, 3, 4), (4, 6, 8))


class Log:
    """Remembers what a journal would get."""

    def __init__(self, refuse: bool = False) -> None:
        self.refuse, self.got = refuse, []

    def prepare(self, case: Case) -> None:
        if self.refuse:
            raise EditRefused("The study is open elsewhere")

    def append(self, edit, case: Case, how: str) -> None:
        self.got.append((edit.name, how))


@pytest.fixture
def workspace() -> Workspace:
    """Two images and an empty mask, with a journal from here on."""
    made = open_workspace()
    made.execute(AddItem(by_hand(), "Add mask"))
    made.journal = Log()
    return made


def told(workspace: Workspace) -> list:
    """Everything said from here on: parts and origin of each change."""
    heard: list = []
    workspace.case_changed.connect(lambda changes, origin: heard.append((origin, changes)))
    return heard


def stroke(workspace: Workspace, label: int = 1) -> VoxelEdit:
    mask = workspace.case.segmentation("hand")
    before = mask.labels[BOX.slices]
    return VoxelEdit.between("hand", "Stroke", BOX, before, np.full(BOX.shape, label, np.uint8))


def test_an_edit_is_applied_journaled_remembered_and_told(workspace) -> None:
    heard, revision = told(workspace), workspace.revision
    workspace.execute(stroke(workspace))
    assert (workspace.case.segmentation("hand").labels[BOX.slices] == 1).all()
    assert workspace.journal.got == [("Stroke", "do")]
    assert workspace.history.undo_name == "Stroke"
    [(origin, (change,))] = heard
    assert (origin, change.item, change.parts, change.box) == ("edit", "hand", {VOXELS}, BOX)
    assert workspace.revision == revision + 1


def test_undo_and_redo_meet_and_are_journaled(workspace) -> None:
    mask = workspace.case.segmentation("hand")
    empty = mask.labels.copy()
    workspace.execute(stroke(workspace))
    painted = mask.labels.copy()
    assert workspace.undo() == "Stroke"
    assert np.array_equal(mask.labels, empty)
    assert workspace.redo() == "Stroke"
    assert np.array_equal(mask.labels, painted)
    assert [how for _, how in workspace.journal.got] == ["do", "undo", "redo"]
    assert workspace.redo() is None


def test_without_steps_undo_says_so() -> None:
    assert Workspace().undo() is None
    assert Workspace().redo() is None


def test_a_refused_edit_changes_and_tells_nothing(workspace) -> None:
    late = stroke(workspace)
    workspace.execute(stroke(workspace, label=2))
    labels, heard = workspace.case.segmentation("hand").labels.copy(), told(workspace)
    revision = workspace.revision
    with pytest.raises(EditRefused):
        workspace.execute(late)
    assert np.array_equal(workspace.case.segmentation("hand").labels, labels)
    assert heard == []
    assert workspace.history.steps == 2
    assert workspace.revision == revision
    assert len(workspace.journal.got) == 1


def test_a_journal_that_refuses_keeps_the_case_as_it_is(workspace) -> None:
    workspace.journal = Log(refuse=True)
    with pytest.raises(EditRefused):
        workspace.execute(stroke(workspace))
    assert not workspace.case.segmentation("hand").labels.any()
    name = workspace.history.undo_name
    with pytest.raises(EditRefused):
        workspace.undo()
    assert workspace.history.undo_name == name
    assert "hand" in workspace.case.items


def test_a_rehearsal_shows_but_leaves_no_trace() -> None:
    workspace = open_workspace()
    add_answer(workspace)
    workspace.journal = Log()
    mask, heat = workspace.case.segmentation("draft"), workspace.case.heatmap("prob")
    labels, steps, revision = mask.labels.copy(), workspace.history.steps, workspace.revision
    heard = told(workspace)
    workspace.rehearse(set_threshold(mask, heat, 0.8))
    assert workspace.rehearsing
    assert np.count_nonzero(mask.labels) < np.count_nonzero(labels)
    workspace.rehearse(None)
    assert not workspace.rehearsing
    assert np.array_equal(mask.labels, labels)
    assert mask.threshold == 0.5
    assert {origin for origin, _ in heard} == {"rehearsal"}
    assert (workspace.history.steps, workspace.revision) == (steps, revision)
    assert workspace.journal.got == []


def test_the_next_rehearsal_is_made_from_the_true_case_and_told_once() -> None:
    workspace = open_workspace()
    add_answer(workspace)
    mask, heat = workspace.case.segmentation("draft"), workspace.case.heatmap("prob")
    workspace.rehearse(set_threshold(mask, heat, 0.7))
    heard = told(workspace)
    workspace.rehearse(lambda: set_threshold(mask, heat, 0.8))
    assert len(heard) == 1
    assert mask.threshold == pytest.approx(0.8)
    workspace.rehearse(None)
    assert mask.threshold == 0.5

    def refused() -> None:
        raise EditRefused("No")

    workspace.rehearse(set_threshold(mask, heat, 0.8))
    with pytest.raises(EditRefused):
        workspace.rehearse(refused)
    assert mask.threshold == 0.5


def test_a_real_edit_takes_the_rehearsal_back_first() -> None:
    workspace = open_workspace()
    add_answer(workspace)
    mask, heat = workspace.case.segmentation("draft"), workspace.case.heatmap("prob")
    labels = mask.labels.copy()
    workspace.rehearse(set_threshold(mask, heat, 0.8))
    workspace.execute(AddItem(by_hand(), "Add mask"))
    assert not workspace.rehearsing
    assert np.array_equal(mask.labels, labels)


def test_another_case_starts_without_history_selection_or_rehearsal(workspace) -> None:
    workspace.execute(stroke(workspace))
    workspace.select("a lesion")
    revision, heard = workspace.revision, told(workspace)
    other = Case({"new": volume("new")})
    workspace.replace_case(other, workspace.display)
    assert workspace.case is other
    assert workspace.history.undo_name is None
    assert workspace.selection is None
    assert workspace.revision > revision
    [(origin, changes)] = heard
    assert origin == "open"
    assert {c.item for c in changes if REMOVED in c.parts} == {"t1", "flair", "hand"}
    assert {c.item for c in changes if ADDED in c.parts} == {"new"}


def test_display_and_selection_tell_only_what_is_new(workspace) -> None:
    shown, chosen = [], []
    workspace.display_changed.connect(lambda old, new: shown.append((old, new)))
    workspace.selection_changed.connect(chosen.append)
    before = workspace.display
    workspace.show(before.but())
    workspace.show(before.but(text_shown=False))
    workspace.select(None)
    workspace.select(3)
    workspace.select(3)
    assert shown == [(before, workspace.display)]
    assert chosen == [3]


def test_the_loader_speaks_only_of_volumes_that_are_still_open(workspace) -> None:
    heard = told(workspace)
    gone = volume("gone")
    workspace.volume_filled("gone", Box.whole(SHAPE))
    workspace.volume_whole(gone)
    assert heard == []
    assert "gone" not in workspace.case.items
    whole = volume()
    workspace.volume_whole(whole)
    assert workspace.case.items["flair"] is whole


def test_drawings_that_came_before_the_last_slice_stay(workspace) -> None:
    drawings = Drawings(SHAPE[1:], {("A", 0, 3): np.zeros(200, np.uint8)})
    heard, steps = told(workspace), workspace.history.steps
    workspace.show_drawings("flair", drawings)
    assert [origin for origin, _ in heard] == ["drawings"]
    workspace.volume_whole(volume())
    assert workspace.case.volume("flair").drawings is drawings
    assert workspace.history.steps == steps
    workspace.show_drawings("gone", drawings)
    assert "gone" not in workspace.case.items


def test_masks_of_a_case_file_are_no_step_of_undo() -> None:
    workspace = open_workspace()
    heard = told(workspace)
    workspace.adopt([draft()])
    assert [origin for origin, _ in heard] == ["open"]
    assert workspace.history.steps == 0
    assert workspace.case.segmentation("draft").geometry is GRID


def test_removing_a_mask_comes_back_as_the_same_object(workspace) -> None:
    mask = workspace.case.segmentation("hand")
    workspace.execute(RemoveItem(mask, "Delete mask"))
    assert "hand" not in workspace.case.items
    workspace.undo()
    assert workspace.case.items["hand"] is mask


# --- what is seen goes with the step ---------------------------------------------------------


def run(workspace: Workspace) -> None:
    """A model's answer, as the program brings it in: what is older steps back."""

    def shown(display):
        display = display.with_overlay("hand", visible=False)
        return display.with_overlay("draft", opacity=0.45).but(overlays_shown=True)

    workspace.execute(AddItem(draft(), "Run"), shown)


def test_undo_brings_back_what_was_seen_before_the_step(workspace) -> None:
    workspace.show(workspace.display.but(overlays_shown=False))
    before = workspace.display
    run(workspace)
    assert not workspace.display.overlay("hand").visible
    workspace.undo()
    assert workspace.display.overlay("hand") == before.overlay("hand")
    assert not workspace.display.overlays_shown
    workspace.redo()
    assert not workspace.display.overlay("hand").visible
    assert workspace.display.overlay("draft").opacity == 0.45
    assert workspace.display.overlays_shown


def test_what_the_user_chose_after_the_step_stays_when_it_is_undone(workspace) -> None:
    run(workspace)
    workspace.show(workspace.display.with_overlay("hand", visible=True, opacity=0.9))
    workspace.undo()
    assert workspace.display.overlay("hand").visible
    assert workspace.display.overlay("hand").opacity == 0.9
    workspace.redo()
    assert not workspace.display.overlay("hand").visible


def test_a_step_before_changes_nothing_about_what_is_seen(workspace) -> None:
    workspace.execute(stroke(workspace))
    run(workspace)
    workspace.undo()
    workspace.show(workspace.display.with_overlay("hand", visible=False))
    workspace.undo()
    assert not workspace.display.overlay("hand").visible
