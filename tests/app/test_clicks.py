"""What is pointed at becomes a proposal; Enter makes one step of it, Esc nothing."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from panel_cases import GRID, SHAPE, by_hand, draft, probability

from app.controllers.click_engines import CLASSIC, NETWORK
from app.controllers.clicks import ClickController
from app.controllers.tools import ToolController
from app.tasks import Tasks
from app.windows.segments_panel import SegmentsPanel
from app.workspace import Workspace
from imaging.edits.edit import AddItem, RemoveItem
from imaging.errors import EditRefused
from imaging.geometry import Geometry
from imaging.segmentation import (
    BODY_PARTS,
    PROPOSED_ID,
    SEMIAUTOMATIC,
    Code,
    Provenance,
    Segment,
    Segmentation,
)
from imaging.volume import Repeats, Source, Volume
from viewer.state.display import Cell, DisplayState, Plane
from viewer.tools.brush import brush as brush_gesture
from viewer.tools.click import Pointed
from viewer.tools.tool import PointerEvent

MIDDLE, RADIUS = (10, 20, 20), 9.0  # voxel, mm


def thing() -> np.ndarray:
    """A ball."""
    away = GRID.world(np.moveaxis(np.indices(SHAPE), 0, -1)) - GRID.world(MIDDLE)
    return (away**2).sum(-1) < RADIUS**2


def pointed(index=MIDDLE, wanted: bool = True, kind: str = "point", done: bool = True) -> Pointed:
    """A hint at a voxel, or a box of 24 mm around it."""
    at = GRID.world(index)
    reach = np.array([12.0, 12.0, 0.0])
    path = [at] if kind == "point" else [at - reach, at + reach]
    right, down, normal = np.eye(3)
    return Pointed("a", kind, wanted, np.stack(path), right, down, normal, done)


class FakeWorker:
    """Answers when told, as the client would; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked, self.loads, self.busy, self.cancelled = [], [], False, 0
        self.worker_pid = 1
        self.model = SimpleNamespace(card=SimpleNamespace(training={"gate": "passed"}))

    def load(self, _model, on_end) -> None:
        self.loads.append(on_end)

    def click(self, volume, model, view, points, *, box, previous, on_end):
        self.asked.append(SimpleNamespace(**locals()))
        return SimpleNamespace(cancel=self._cancel, ended=False)

    def _cancel(self) -> None:
        self.cancelled += 1

    def ready(self) -> None:
        self.loads[-1](SimpleNamespace(words="CPU"))

    def answer(self, mask: np.ndarray) -> None:
        view = self.asked[-1].view
        said = Provenance("Click network", "1.0.0")
        self.asked[-1].on_end(SimpleNamespace(mask=mask[view.slices], provenance=said))


@pytest.fixture
def desk(qtbot):
    """The controller over one image with a ball, a mask by hand, and a worker that is faked."""
    workspace, tasks, worker = Workspace(), Tasks(), FakeWorker()
    rng = np.random.default_rng(0)
    voxels = (100 + 80 * thing() + rng.normal(0, 4, SHAPE)).astype(np.int16)
    workspace.add_volume(Volume("flair", "FLAIR", voxels, GRID, Source("memory")))
    workspace.show(DisplayState(cells=(Cell("a", Plane.ACQUIRED, "flair"),), active="a"))
    workspace.execute(AddItem(by_hand(), "Add mask"))
    tools = ToolController(workspace, lambda kind: f"{kind}-1")
    accepted, heard, answers, partly = [], [], [(worker, worker.model)], {}
    clicks = ClickController(
        workspace,
        tasks,
        tools,
        lambda: answers[-1],
        lambda: accepted.append(True),
        lambda volume_id: partly.get(volume_id, ""),
    )
    clicks.said.connect(heard.append)
    tools.choose("click")
    made = SimpleNamespace(**locals())
    made.settle = lambda: qtbot.waitUntil(lambda: not clicks.busy, timeout=20000)
    made.labels = lambda: workspace.case.segmentation("hand").labels
    made.shown = lambda: _shown(workspace)
    yield made
    clicks.close()
    tasks.close()


def _shown(workspace: Workspace) -> np.ndarray:
    """The proposal as it is drawn; nothing where there is none."""
    layer = workspace.case.items.get(PROPOSED_ID)
    return layer.labels > 0 if isinstance(layer, Segmentation) else np.zeros(SHAPE, bool)


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2 * np.count_nonzero(a & b) / max(1, np.count_nonzero(a) + np.count_nonzero(b))


def test_the_classic_engine_proposes_and_enter_is_one_step(desk) -> None:
    desk.clicks.choose_engine(CLASSIC)
    steps = desk.workspace.revision
    desk.clicks.point_out(pointed())
    desk.settle()
    assert desk.clicks.pending
    assert "classic engine, 1 point" in desk.heard[-1]
    assert desk.workspace.revision == steps, "a proposal is no edit"
    assert dice(desk.shown(), thing()) > 0.85, "but it is shown"
    assert not desk.labels().any(), "and in no label before Enter"
    desk.clicks.accept()
    assert not desk.clicks.pending
    assert not desk.shown().any()
    assert desk.workspace.revision == steps + 1
    assert dice(desk.labels() == 1, thing()) > 0.85
    segment = desk.workspace.case.segmentation("hand").segments[0]
    assert segment.algorithm_type == SEMIAUTOMATIC
    assert segment.algorithm == "Classic click engine"
    assert desk.workspace.undo() == "Point at a thing"
    assert not desk.labels().any()


def test_escape_throws_it_away(desk) -> None:
    desk.clicks.choose_engine(CLASSIC)
    desk.clicks.point_out(pointed())
    desk.settle()
    desk.clicks.drop()
    assert not desk.clicks.pending
    assert not desk.shown().any()
    assert not desk.labels().any()
    assert desk.heard[-1] == "The proposal was thrown away"
    desk.clicks.accept()
    assert desk.accepted == [True], "Enter means the chosen lesion again"


def test_more_hints_refine_the_same_proposal(desk) -> None:
    desk.clicks.choose_engine(CLASSIC)
    desk.clicks.point_out(pointed())
    desk.settle()
    desk.clicks.point_out(pointed((2, 3, 3), wanted=False))
    desk.settle()
    hints = desk.clicks.proposal.hints
    assert (len(hints.wanted), len(hints.unwanted)) == (1, 1)
    assert "2 points" in desk.heard[-1]


def test_a_box_is_framed_while_it_opens_and_then_found(desk) -> None:
    frames = []
    desk.tools.show_previews_with(frames.append)
    desk.clicks.choose_engine(CLASSIC)
    desk.clicks.point_out(pointed(kind="box", done=False))
    assert frames[-1].labels.any()
    assert not desk.clicks.pending
    desk.clicks.point_out(pointed(kind="box"))
    desk.settle()
    assert frames[-1] is None
    assert "(classic engine, box)" in desk.heard[-1]
    assert dice(desk.shown(), thing()) > 0.8


def test_the_network_is_asked_once_it_is_loaded(desk) -> None:
    assert desk.clicks.engine == NETWORK, "it beat the classic engine, so it is the default"
    desk.clicks.point_out(pointed())
    desk.settle()
    assert "The network is starting; the classic engine answered" in desk.heard[-1]
    desk.clicks.drop()
    desk.worker.ready()
    desk.qtbot.wait(50)
    desk.clicks.point_out(pointed())
    [asked] = desk.worker.asked
    assert [p[3] for p in asked.points] == [1]
    assert asked.previous is None
    with desk.qtbot.waitSignal(desk.clicks.said):
        desk.worker.answer(thing())
    assert dice(desk.shown(), thing()) == 1
    desk.clicks.point_out(pointed((10, 20, 23), wanted=False))
    assert desk.worker.asked[-1].previous.sum() == thing().sum()
    assert [p[3] for p in desk.worker.asked[-1].points] == [1, -1]
    with desk.qtbot.waitSignal(desk.clicks.said):
        desk.worker.answer(thing())
    desk.clicks.accept()
    segment = desk.workspace.case.segmentation("hand").segments[0]
    assert (segment.algorithm, segment.algorithm_version) == ("Click network", "1.0.0")


def test_an_old_answer_is_dropped_when_the_hand_was_quicker(desk) -> None:
    desk.worker.ready()
    desk.qtbot.wait(50)
    desk.clicks.point_out(pointed())
    first = desk.worker.asked[-1]
    desk.worker.busy = True
    desk.clicks.point_out(pointed((11, 20, 20)))
    assert desk.worker.cancelled == 1
    assert len(desk.worker.asked) == 2, "our own question does not make the worker busy for us"
    first.on_end(SimpleNamespace(mask=np.ones(first.view.shape, bool), provenance=Provenance()))
    desk.qtbot.wait(50)
    assert desk.clicks.proposal.empty


@pytest.mark.parametrize("why", ["No click network is installed", "busy"])
def test_without_the_network_the_classic_engine_answers_at_once(desk, why) -> None:
    desk.worker.ready()
    desk.qtbot.wait(50)
    if why == "busy":
        desk.worker.busy = True
    else:
        desk.answers.append(why)
    desk.clicks.point_out(pointed())
    desk.settle()
    assert not desk.worker.asked
    assert "the classic engine answered" in desk.heard[-1]
    assert dice(desk.shown(), thing()) > 0.85


def test_a_worker_that_fails_leaves_the_classic_engine(desk) -> None:
    desk.worker.ready()
    desk.qtbot.wait(50)
    desk.clicks.point_out(pointed())
    desk.worker.asked[-1].on_end(SimpleNamespace(sentence="Memory ran out."))
    desk.qtbot.waitUntil(lambda: not desk.clicks.proposal.empty, timeout=20000)
    assert desk.heard[-1].startswith("Memory ran out; the classic engine answered")


def test_a_models_answer_that_arrives_meanwhile_leaves_the_proposal(desk) -> None:
    proposed(desk)
    before = desk.shown().copy()
    desk.workspace.execute(AddItem(probability(), "Add map"))
    assert desk.clicks.pending
    desk.qtbot.waitUntil(lambda: desk.shown().any(), timeout=2000)
    np.testing.assert_array_equal(desk.shown(), before)
    desk.clicks.accept()
    np.testing.assert_array_equal(desk.labels() > 0, before > 0)


def test_another_edit_lets_the_proposal_go_and_saving_does_not(desk) -> None:
    desk.clicks.choose_engine(CLASSIC)
    desk.clicks.point_out(pointed())
    desk.settle()
    desk.workspace.rehearse(None)
    assert not desk.shown().any(), "a file that is written now holds no proposal"
    desk.qtbot.waitUntil(lambda: desk.shown().any(), timeout=2000)
    heat = probability()
    desk.workspace.execute(AddItem(heat, "Add map"))
    assert desk.clicks.pending
    desk.workspace.execute(RemoveItem(heat, "Delete map"))
    assert not desk.clicks.pending
    assert not desk.shown().any()
    assert desk.heard[-1] == "The proposal was let go because the case was changed"


def test_what_is_not_the_thing_needs_a_thing_first(desk) -> None:
    desk.clicks.point_out(pointed(wanted=False))
    assert not desk.clicks.pending
    assert desk.heard[-1].startswith("Click the thing first")
    desk.clicks.point_out(pointed((-9, 0, 0)))
    assert desk.heard[-1] == "The place clicked lies outside the image"


def test_a_locked_label_refuses_in_words(desk) -> None:
    desk.clicks.choose_engine(CLASSIC)
    desk.tools.step_label(1)
    desk.clicks.point_out(pointed())
    desk.settle()
    assert desk.heard[-1].startswith("The label is locked")
    assert not desk.clicks.pending


def test_leaving_edit_mode_throws_the_proposal_away(desk) -> None:
    desk.clicks.choose_engine(CLASSIC)
    desk.clicks.point_out(pointed())
    desk.settle()
    desk.tools.toggle_mode()
    assert not desk.clicks.pending
    assert not desk.shown().any()


def proposed(desk) -> None:
    """A proposal of the classic engine, seen beside the masks."""
    desk.clicks.choose_engine(CLASSIC)
    desk.clicks.point_out(pointed())
    desk.settle()
    assert desk.clicks.pending
    assert desk.shown().any()


@pytest.mark.parametrize("tool", ["brush", "eraser", "window"])
def test_another_tool_throws_the_proposal_away(desk, tool) -> None:
    proposed(desk)
    desk.tools.choose(tool)
    assert not desk.clicks.pending
    assert not desk.shown().any()


def test_a_stroke_after_a_proposal_is_taken(desk) -> None:
    proposed(desk)
    desk.tools.choose("brush")
    down = GRID.world(MIDDLE)
    right, below, normal = np.eye(3)
    press, release = (
        PointerEvent(kind, "a", down, (9.0, 9.0), (90.0, 90.0), normal, right, below, 1.0)
        for kind in ("press", "release")
    )
    stroke = brush_gesture(press, desk.tools)
    next(stroke)
    with pytest.raises(StopIteration):
        stroke.send(release)
    assert desk.workspace.history.undo_name == "Brush stroke"
    assert desk.labels()[MIDDLE] == 1


def test_renaming_and_deleting_a_label_with_an_open_proposal_is_done(desk) -> None:
    panel = SegmentsPanel(desk.workspace)
    desk.qtbot.addWidget(panel)
    refused = []
    panel.refused.connect(refused.append)
    proposed(desk)
    panel._rename("hand", 1, "Cyst")
    mask = desk.workspace.case.segmentation("hand")
    assert (mask.segments[0].name, refused) == ("Cyst", [])
    assert mask.segments[0].algorithm == "", "nothing of the proposal has stayed"
    assert not desk.clicks.pending
    desk.workspace.undo()
    assert not desk.shown().any()
    proposed(desk)
    row = panel.tree.topLevelItem(0)
    label = row.child(0) if row else None
    assert label is not None
    panel.tree.setCurrentItem(label)
    panel._remove()
    assert refused == []
    assert [s.number for s in mask.segments] == [2]
    assert not desk.labels().any()


def test_a_network_that_was_too_slow_loads_again_before_it_is_asked(desk) -> None:
    desk.worker.ready()
    desk.qtbot.wait(50)
    desk.clicks.point_out(pointed())
    desk.worker.busy = True  # it does not stop at once
    desk.clicks.engines.patience.timeout.emit()
    desk.settle()
    assert desk.heard[-1].startswith("The network took too long; the classic engine answered")
    loads = len(desk.worker.loads)
    desk.worker.busy = False
    desk.worker.asked[-1].on_end(SimpleNamespace())
    desk.qtbot.waitUntil(lambda: len(desk.worker.loads) == loads + 1, timeout=2000)
    desk.clicks.point_out(pointed((11, 20, 20)))
    desk.settle()
    assert len(desk.worker.asked) == 1
    assert desk.heard[-1].startswith("The network is starting; the classic engine answered")
    desk.worker.ready()
    desk.qtbot.wait(50)
    desk.clicks.point_out(pointed((9, 20, 20)))
    assert len(desk.worker.asked) == 2


def test_another_worker_process_loads_before_it_is_asked(desk) -> None:
    desk.worker.ready()
    desk.qtbot.wait(50)
    desk.worker.worker_pid = None
    desk.clicks.point_out(pointed())
    desk.settle()
    assert not desk.worker.asked
    assert len(desk.worker.loads) == 2


def test_undo_takes_the_proposal_first_and_then_the_last_edit(desk) -> None:
    proposed(desk)
    desk.clicks.accept()
    taken = desk.labels().copy()
    desk.clicks.point_out(pointed((3, 5, 5)))
    desk.settle()
    assert desk.clicks.pending
    desk.tools.undo()
    assert not desk.clicks.pending
    np.testing.assert_array_equal(desk.labels(), taken)
    desk.tools.undo()
    assert not desk.labels().any()


def test_an_image_that_is_still_loading_is_not_searched(desk) -> None:
    desk.partly["flair"] = "The series is still loading: try again when it is whole"
    desk.clicks.point_out(pointed())
    assert desk.heard[-1].startswith("The series is still loading: try again")
    assert not desk.clicks.pending
    assert not desk.clicks.busy


def test_voxels_that_come_in_let_the_proposal_go_but_only_under_it(desk) -> None:
    proposed(desk)
    flair = desk.workspace.case.volume("flair")
    desk.workspace.add_volume(Volume("t1", "T1w", flair.voxels, GRID, Source("memory")))
    assert desk.clicks.pending
    desk.workspace.volume_whole(flair)
    assert not desk.clicks.pending
    assert not desk.shown().any()
    assert desk.heard[-1].startswith("The proposal was let go because its image")


def test_another_image_of_the_series_lets_the_proposal_go(desk) -> None:
    rng = np.random.default_rng(1)
    voxels = (100 + 80 * thing() + rng.normal(0, 4, SHAPE)).astype(np.int16)
    flair, images = desk.workspace.case.volume("flair"), np.stack([voxels, voxels])
    scales = ((1.0, 0.0), (1.0, 0.0))
    repeats = Repeats("time point", ("a", "b"), images, (flair.source, flair.source), scales)
    desk.workspace.replace_volume(replace(flair, voxels=images[0], repeats=repeats))
    proposed(desk)
    desk.workspace.show_repeat("flair", 1)
    assert not desk.clicks.pending
    assert not desk.shown().any()


@pytest.mark.parametrize(
    ("frame", "shift", "refines"),
    [("", 0, True), ("", 5, False), ("1.2.3", 5, True), ("9.9", 0, False)],
)
def test_only_an_image_surely_at_the_same_place_refines(desk, frame, shift, refines) -> None:
    own = Geometry(SHAPE, GRID.affine, frame if frame == "1.2.3" else "")
    moved = GRID.affine.copy()
    moved[:3, 3] += shift
    if frame == "9.9":
        own = GRID
    flair = desk.workspace.case.volume("flair")
    hand = Segmentation("own", "Own", own, "one", (Segment(1, "Lesion", (1, 2, 3)),))
    desk.workspace.add_volume(Volume("one", "One", flair.voxels, own, Source("memory")))
    other = Geometry(SHAPE, moved, frame)
    desk.workspace.add_volume(Volume("two", "Two", flair.voxels, other, Source("memory")))
    desk.workspace.execute(AddItem(hand, "Add mask"))
    cells = (Cell("a", Plane.ACQUIRED, "one"), Cell("b", Plane.ACQUIRED, "two"))
    desk.workspace.show(desk.workspace.display.but(cells=cells))
    desk.clicks.choose_engine(CLASSIC)
    desk.clicks.point_out(pointed())
    desk.settle()
    at = GRID.world(MIDDLE)
    right, down, normal = np.eye(3)
    desk.clicks.point_out(Pointed("b", "point", True, at[None], right, down, normal))
    desk.settle()
    assert len(desk.clicks.proposal.hints.wanted) == 1 + refines
    assert desk.heard[-1].startswith("The proposal lies on another image") != refines


def test_drafts_and_tissues_are_left_alone(desk) -> None:
    part = Code(next(iter(BODY_PARTS)), "SCT", "Body part")
    brain = (Segment(1, "Brain", (1, 2, 3), category=part),)
    desk.workspace.execute(AddItem(draft(), "Add draft"))
    desk.workspace.execute(AddItem(Segmentation("brain", "Brain", GRID, "flair", brain), "Add"))
    display = desk.workspace.display
    nothing = display.but(
        tool="window", editing=False, brush=replace(display.brush, segmentation_id="")
    )
    desk.workspace.show(nothing)
    desk.tools.choose("click")
    assert desk.workspace.display.brush.segmentation_id == "hand"
    desk.workspace.execute(RemoveItem(desk.workspace.case.segmentation("hand"), "Delete"))
    desk.tools.choose("click")
    mask = desk.workspace.case.segmentation(desk.workspace.display.brush.segmentation_id)
    assert mask.name == "My mask"
    assert not mask.draft


def test_a_draft_takes_what_is_found_only_where_somebody_chose_it(desk) -> None:
    desk.workspace.execute(RemoveItem(desk.workspace.case.segmentation("hand"), "Delete"))
    desk.workspace.execute(AddItem(draft(), "Add draft"))
    flair = desk.workspace.case.volume("flair")
    desk.tools.choose("brush")
    assert desk.workspace.display.brush.segmentation_id == "draft", "to be corrected by hand"
    mine = desk.tools.mask_on(flair)
    assert mine.name == "My mask"
    brush = replace(desk.workspace.display.brush, segmentation_id="draft", label=1)
    desk.workspace.show(desk.workspace.display.but(brush=brush))
    assert desk.tools.mask_on(flair).id == "draft"


def test_a_proposal_that_cannot_be_accepted_is_seen_again(desk, monkeypatch) -> None:
    proposed(desk)
    seen = desk.shown().copy()

    def full(_edit) -> None:
        raise EditRefused("The journal cannot be written")

    monkeypatch.setattr(desk.workspace, "execute", full)
    desk.clicks.accept()
    assert desk.clicks.pending
    assert desk.heard[-1].startswith("Not accepted, the proposal still waits. The journal")
    np.testing.assert_array_equal(desk.shown(), seen)
    monkeypatch.undo()
    desk.clicks.accept()
    assert desk.workspace.history.undo_name == "Point at a thing"


def test_a_proposal_that_was_cut_off_is_said_to_have_leaked(desk) -> None:
    desk.worker.ready()
    desk.qtbot.wait(50)
    desk.clicks.point_out(pointed())
    desk.worker.answer(np.ones(SHAPE, bool))
    desk.qtbot.waitUntil(lambda: any("probably leaked" in words for words in desk.heard))
    desk.clicks.drop()
    desk.clicks.point_out(pointed())
    with desk.qtbot.waitSignal(desk.clicks.said):
        desk.worker.answer(thing())
    assert "leaked" not in desk.heard[-1]


# --- one hint back, and what is hidden ------------------------------------------------------


def test_undo_takes_back_the_last_hint_and_redo_gives_it_again(desk) -> None:
    proposed(desk)
    first = desk.shown().copy()
    desk.clicks.point_out(pointed((10, 20, 26), wanted=False))
    desk.settle()
    second = desk.shown().copy()
    assert not second[10, 20, 26]
    desk.tools.undo()
    assert desk.clicks.pending
    assert desk.clicks.proposal.hints.unwanted == ()
    np.testing.assert_array_equal(desk.shown(), first)
    desk.tools.redo()
    assert len(desk.clicks.proposal.hints.unwanted) == 1
    np.testing.assert_array_equal(desk.shown(), second)
    desk.tools.undo()
    desk.tools.undo()
    assert not desk.clicks.pending
    assert not desk.shown().any()
    desk.tools.undo()
    assert desk.workspace.history.undo_name is None, "after the proposal come the edits"


def test_a_new_hint_ends_what_could_be_given_again(desk) -> None:
    proposed(desk)
    desk.clicks.point_out(pointed((2, 3, 3), wanted=False))
    desk.settle()
    desk.tools.undo()
    assert desk.clicks.redoable
    desk.clicks.point_out(pointed((11, 20, 20)))
    desk.settle()
    assert not desk.clicks.redoable
    assert desk.clicks.proposal.hints.unwanted == ()


def test_a_hint_back_before_its_answer_shows_the_answer_before(desk) -> None:
    proposed(desk)
    first = desk.shown().copy()
    desk.clicks.point_out(pointed((10, 20, 26), wanted=False))
    desk.tools.undo()
    assert not desk.clicks.busy
    np.testing.assert_array_equal(desk.shown(), first)
    desk.tools.redo()
    desk.settle()
    assert not desk.shown()[10, 20, 26], "nobody had answered, so it was asked again"


@pytest.mark.parametrize("how", ["label", "mask", "clear", "all"])
def test_a_hidden_label_is_shown_with_the_first_click(desk, how) -> None:
    hide(desk, how)
    proposed(desk)
    assert seen(desk)
    assert "was hidden and is shown now" in desk.heard[-1]


@pytest.mark.parametrize("how", ["label", "mask", "clear", "all"])
def test_enter_never_paints_into_what_is_hidden(desk, how) -> None:
    proposed(desk)
    hide(desk, how)
    desk.clicks.accept()
    assert not desk.labels().any()
    assert seen(desk)
    assert desk.heard[-1].endswith("press Enter again to accept")
    desk.clicks.accept()
    assert desk.labels().any()


def hide(desk, how: str) -> None:
    """Hide the label, its mask, make it clear as glass, or hide everything."""
    display = desk.workspace.display
    settings = {
        "label": {"hidden_segments": frozenset({1})},
        "mask": {"visible": False},
        "clear": {"opacity": 0.0},
    }
    if how == "all":
        desk.workspace.show(display.but(overlays_shown=False))
    else:
        desk.workspace.show(display.with_overlay("hand", **settings[how]))


def seen(desk) -> bool:
    """Whether label 1 of the mask by hand is drawn."""
    display = desk.workspace.display
    look = display.overlay("hand")
    drawn = display.overlays_shown and look.visible and look.opacity > 0
    return drawn and 1 not in look.hidden_segments


def test_q_and_w_choose_where_a_waiting_proposal_goes(desk) -> None:
    mask = desk.workspace.case.segmentation("hand")
    other = next(s.number for s in mask.segments if s.number != 1)
    proposed(desk)
    brush = replace(desk.workspace.display.brush, label=other)
    desk.workspace.show(desk.workspace.display.but(brush=brush))
    desk.clicks.accept()
    assert not (desk.labels() == 1).any()
    assert "The label is locked" in desk.heard[-1], "the panel's second label is locked"


def test_no_list_counts_a_proposal(desk) -> None:
    panel = SegmentsPanel(desk.workspace)
    desk.qtbot.addWidget(panel)
    proposed(desk)
    panel.refresh()
    assert panel.tree.topLevelItemCount() == 1
    assert [m.id for m in desk.workspace.case.kept_segmentations] == ["hand"]
