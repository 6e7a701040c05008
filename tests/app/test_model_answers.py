"""What the window does with the end of a run: taken in once, dropped, or refused, never stuck."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from panel_cases import MADE, SHAPE, open_workspace
from PySide6.QtCore import QObject, Signal

from app.controllers.models import ModelController
from imaging.case import Case
from imaging.errors import EditRefused
from inference.messages import Cancelled, Failed, Progress, SegmentAnswer
from inference.registry import installed_models


class Panel(QObject):
    run_requested = Signal(str, str, str, bool, object, bool)
    explain_requested = Signal(str, str)
    cancel_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.words = "idle"
        self.series = ""

    def choose_series(self, volume_id) -> None:
        self.series = volume_id

    def set_progress(self, stage, _fraction, _left) -> None:
        self.words = stage

    def set_busy(self, words) -> None:
        self.words = words

    def set_idle(self, words) -> None:
        self.words = words


class Client:
    """Takes a question and lets the test answer it."""

    worker_pid = None

    def __init__(self) -> None:
        self.asked: list[dict] = []
        self.cancelled = 0

    def segment(self, volume, _model, **rest):
        self.asked.append({"volume": volume, **rest})
        return SimpleNamespace(cancel=self._cancel)

    def _cancel(self) -> None:
        self.cancelled += 1

    def close(self) -> None: ...


@pytest.fixture
def desk(qtbot):
    """The controller with everything around it; ``posted`` calls run when the test says so."""
    workspace, client, posted, said = open_workspace(), Client(), [], []

    def run_in_thread(work, then, failed) -> None:
        try:
            made = work(None)
        except BaseException as error:
            caught = error
            posted.append(lambda: failed(caught))
        else:
            posted.append(lambda: then(made))

    tasks = SimpleNamespace(post=posted.append, run=run_in_thread)
    models = ModelController(workspace, tasks, Panel(), Panel(), lambda: (None, None), lambda _: "")
    models.said.connect(said.append)
    models._client = client
    model = installed_models()[0]
    models._installed = {model.card.id: model}

    def end(outcome) -> None:
        client.asked[-1]["on_end"](outcome)
        while posted:
            posted.pop(0)()

    return SimpleNamespace(
        workspace=workspace, models=models, client=client, said=said, posted=posted, end=end,
        run=lambda: models.run(model.card.id, "flair"),
    )  # fmt: skip


def answer() -> SegmentAnswer:
    probability = np.zeros(SHAPE, np.float32)
    probability[4:9, 4:9, 4:9] = 0.9
    return SegmentAnswer("t", probability, (probability > 0.5).astype(np.uint8), None, MADE, ())


def test_an_answer_is_one_step_and_a_draft(desk) -> None:
    desk.run()
    assert desk.models.running
    desk.end(answer())
    assert not desk.models.running
    [mask] = desk.workspace.case.segmentations
    assert mask.draft
    assert desk.workspace.history.steps == 1
    desk.workspace.undo()
    assert desk.workspace.case.segmentations == []
    assert desk.workspace.case.heatmaps == []


def test_one_run_at_a_time(desk) -> None:
    desk.run()
    desk.run()
    assert len(desk.client.asked) == 1
    assert "already running" in desk.said[-1]
    desk.models.cancel()
    assert desk.client.cancelled == 1


@pytest.mark.parametrize("outcome", [Cancelled("t"), Failed("t", "The worker died", "Try again")])
def test_a_run_without_answer_changes_nothing(desk, outcome) -> None:
    desk.run()
    desk.end(outcome)
    assert not desk.models.running
    assert desk.workspace.history.steps == 0
    assert desk.said[-1] != ""


def test_the_answer_for_a_closed_study_is_dropped(desk) -> None:
    desk.run()
    desk.workspace.replace_case(Case(), desk.workspace.display, "close")
    desk.end(answer())
    assert desk.workspace.case.items == {}
    assert not desk.models.running
    assert "dropped" in desk.said[-1]


def test_a_refused_answer_does_not_leave_the_run_going(desk) -> None:
    class Busy:
        def prepare(self, _case) -> None:
            raise EditRefused("This study is being edited in another window")

    desk.workspace.journal = Busy()
    desk.run()
    desk.end(answer())
    assert not desk.models.running
    assert desk.workspace.case.segmentations == []
    assert desk.said[-1] == "This study is being edited in another window."
    desk.run()
    assert desk.models.running


def test_a_mistake_of_ours_ends_the_run_and_is_not_hidden(desk, monkeypatch) -> None:
    def broken(*_) -> None:
        raise KeyError("DOE^JANE")

    monkeypatch.setattr("inference.postprocess.as_items", broken)
    desk.run()
    with pytest.raises(KeyError):
        desk.end(answer())
    assert not desk.models.running
    assert "DOE" not in desk.said[-1]


def test_progress_after_the_end_is_not_shown(desk) -> None:
    desk.run()
    late = desk.client.asked[-1]["on_progress"]
    desk.end(Cancelled("t"))
    late(Progress("t", "Running the model", 0.5, 3.0))
    desk.posted.pop(0)()
    assert desk.models._panel.words == desk.said[-1]


def test_a_model_is_not_asked_about_slices_that_have_to_be_made_even_first(desk) -> None:
    asked: list = []

    def needs_even(volume_id, then) -> bool:
        asked.append((volume_id, then))
        return volume_id == "flair"

    desk.models._needs_even = needs_even
    desk.run()
    assert desk.client.asked == []
    ((volume_id, then),) = asked
    assert volume_id == "flair"
    then("t1")  # the even volume is there
    assert desk.client.asked[0]["volume"].id == "t1"
    assert desk.models._panel.series == "t1"  # what the panel names is what the model looks at


def test_an_answer_remembers_which_image_of_a_series_the_model_has_seen(desk) -> None:
    from test_repeats import echoes

    desk.workspace.volume_whole(echoes())
    desk.workspace.show_repeat("flair", 1)
    desk.run()
    assert desk.client.asked[0]["volume"].voxels[0, 0, 0] == 100
    desk.workspace.show_repeat("flair", 2)  # the reader goes on while the model works
    desk.end(answer())
    [mask] = desk.workspace.case.segmentations
    assert ("image", "TE 20 ms") in mask.provenance.settings


def test_how_a_run_ended_is_forgotten_with_its_study(desk) -> None:
    desk.run()
    desk.end(Failed("t", "The worker died", "Try again"))
    assert "died" in desk.models._panel.words
    desk.workspace.replace_case(Case(), desk.workspace.display, "close")
    assert desk.models._panel.words == ""
    assert desk.models._explain.words == ""
