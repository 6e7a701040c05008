"""What is pointed at becomes a proposal; Enter makes one step of it, Esc nothing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from panel_cases import GRID, SHAPE, by_hand, probability

from app.controllers.clicks import CLASSIC, NETWORK, ClickController
from app.controllers.tools import ToolController
from app.tasks import Tasks
from app.workspace import Workspace
from imaging.edits.edit import AddItem
from imaging.segmentation import SEMIAUTOMATIC, Provenance
from imaging.volume import Source, Volume
from viewer.state.display import Cell, DisplayState, Plane
from viewer.tools.click import Pointed

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
    accepted, heard, answers = [], [], [(worker, worker.model)]
    clicks = ClickController(
        workspace, tasks, tools, lambda: answers[-1], lambda: accepted.append(True)
    )
    clicks.said.connect(heard.append)
    tools.choose("click")
    made = SimpleNamespace(**locals())
    made.settle = lambda: qtbot.waitUntil(lambda: not clicks.busy, timeout=20000)
    made.labels = lambda: workspace.case.segmentation("hand").labels
    yield made
    clicks.close()
    tasks.close()


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
    assert dice(desk.labels() > 0, thing()) > 0.85, "but it is shown"
    desk.clicks.accept()
    assert not desk.clicks.pending
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
    assert not desk.labels().any()
    assert desk.heard[-1].startswith("The proposal was thrown away")
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
    assert dice(desk.labels() > 0, thing()) > 0.8


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
    assert dice(desk.labels() > 0, thing()) == 1
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
    assert dice(desk.labels() > 0, thing()) > 0.85


def test_a_worker_that_fails_leaves_the_classic_engine(desk) -> None:
    desk.worker.ready()
    desk.qtbot.wait(50)
    desk.clicks.point_out(pointed())
    desk.worker.asked[-1].on_end(SimpleNamespace(sentence="Memory ran out."))
    desk.qtbot.waitUntil(lambda: not desk.clicks.proposal.empty, timeout=20000)
    assert desk.heard[-1].startswith("Memory ran out; the classic engine answered")


def test_another_edit_lets_the_proposal_go_and_saving_does_not(desk) -> None:
    desk.clicks.choose_engine(CLASSIC)
    desk.clicks.point_out(pointed())
    desk.settle()
    desk.workspace.rehearse(None)
    assert not desk.labels().any(), "a file that is written now holds no proposal"
    desk.qtbot.waitUntil(lambda: desk.labels().any(), timeout=2000)
    desk.workspace.execute(AddItem(probability(), "Add map"))
    assert not desk.clicks.pending
    assert not desk.labels().any()
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
    desk.clicks.accept()
    assert any("locked" in words for words in desk.heard)
    assert not desk.labels().any()


def test_leaving_edit_mode_throws_the_proposal_away(desk) -> None:
    desk.clicks.choose_engine(CLASSIC)
    desk.clicks.point_out(pointed())
    desk.settle()
    desk.tools.toggle_mode()
    assert not desk.clicks.pending
    assert not desk.labels().any()
