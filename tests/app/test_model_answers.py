"""What the window does with the end of a run: taken in once, dropped, or refused, never stuck."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from panel_cases import MADE, SHAPE, add_answer, by_hand, grad_cam, open_workspace
from PySide6.QtCore import QObject, Signal

from app.controllers.model_answers import shown
from app.controllers.models import ModelController
from imaging.case import Case
from imaging.edits.edit import AddItem
from imaging.errors import EditRefused
from imaging.heatmap import DEVIATION
from imaging.segmentation import Code, Segment
from inference.messages import Cancelled, Failed, Progress, SegmentAnswer
from inference.model import InputNeed, OutputLabel
from inference.postprocess import Proposal
from inference.registry import find_model


class Panel(QObject):
    run_requested = Signal(str, str, str, bool, object, bool)
    explain_requested = Signal(str, str)
    cancel_requested = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.words = "idle"
        self.series = ""

    def warn(self, words) -> None:
        self.warned = words

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
        self.explained: list[dict] = []
        self.cancelled = 0

    def segment(self, volume, _model, **rest):
        self.asked.append({"volume": volume, **rest})
        return SimpleNamespace(cancel=self._cancel)

    def explain(self, _volume, _model, _target, **rest):
        self.explained.append(rest)
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
        return SimpleNamespace(cancel=lambda: None)

    tasks = SimpleNamespace(post=posted.append, run=run_in_thread)
    models = ModelController(workspace, tasks, Panel(), Panel(), lambda: (None, None), lambda _: "")
    models.said.connect(said.append)
    models._client = client
    model = find_model("flair-wml")
    models._installed = {model.card.id: model}

    def settle() -> None:
        while posted:
            posted.pop(0)()

    def run() -> None:
        models.run(model.card.id, "flair")
        settle()

    def end(outcome) -> None:
        client.asked[-1]["on_end"](outcome)
        settle()

    asked: list = []
    models.asked.connect(lambda words, choices: asked.append((words, dict(choices))))
    return SimpleNamespace(
        workspace=workspace, models=models, client=client, said=said, posted=posted, end=end,
        run=run, settle=settle, asked=asked, model=model,
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


def test_a_second_run_is_told_apart_and_its_undo_shows_the_first_again(desk) -> None:
    workspace = desk.workspace
    desk.run()
    desk.end(answer())
    [first] = workspace.case.segmentations
    desk.run()
    desk.end(answer())
    _, second = workspace.case.segmentations
    assert second.name == first.name.replace("(AI draft)", "(AI draft 2)")
    assert len({one.name for one in workspace.case.heatmaps}) == 2
    assert not workspace.display.overlay(first.id).visible
    workspace.undo()
    assert workspace.display.overlay(first.id).visible
    workspace.redo()
    assert not workspace.display.overlay(first.id).visible
    assert workspace.display.overlay(second.id).visible


def test_the_number_stands_first_in_what_is_said(desk) -> None:
    desk.run()
    desk.end(answer())
    found = np.count_nonzero(answer().mask) * desk.workspace.case.volumes[-1].geometry.voxel_ml
    assert desk.said[-1].startswith(f"{found:.2f} ml found · ")
    assert desk.model.card.name in desk.said[-1]


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
    then("t1")  # the even volume is there; it is no FLAIR
    desk.settle()
    desk.asked[0][1]["Run anyway"]()
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


def test_another_sequence_is_asked_about_before_the_run(desk) -> None:
    desk.models.run(desk.model.card.id, "t1")
    assert desk.models.running
    desk.settle()
    assert not desk.models.running
    assert desk.client.asked == []
    ((words, choices),) = desk.asked
    assert "T1w" in words
    assert "T1w" in desk.models._panel.warned
    choices["Cancel"]()
    assert desk.client.asked == []
    choices["Run anyway"]()
    assert desk.client.asked[0]["volume"].id == "t1"


def test_who_has_read_the_doubt_is_not_asked_again(desk) -> None:
    desk.models.run(desk.model.card.id, "t1", anyway=True)
    assert len(desk.client.asked) == 1
    assert desk.asked == []


def test_pixels_are_asked_where_the_name_fits(desk, monkeypatch) -> None:
    from imaging.series import SequenceGuess

    seen = SequenceGuess("T2w", 0.6, "in the pixels fluid is bright")
    monkeypatch.setattr("inference.suitability.seen_in_pixels", lambda _volume: seen)
    desk.run()
    assert desk.client.asked == []
    assert "pixels look like T2w" in desk.asked[0][0]


def test_a_look_that_was_cancelled_starts_nothing(desk) -> None:
    desk.models.run(desk.model.card.id, "flair")
    desk.models.cancel()
    desk.settle()
    assert not desk.models.running
    assert desk.client.asked == []
    assert "cancelled" in desk.said[-1]


def test_images_of_the_study_that_help_are_taken_along_and_remembered(desk) -> None:
    card = replace(
        desk.model.card, inputs=(InputNeed("FLAIR", "FLAIR"), InputNeed("T1w", "T1w", False))
    )
    desk.models._installed[card.id] = replace(desk.model, card=card)
    desk.run()
    assert desk.client.asked[0]["others"]["T1w"].id == "t1"
    used = (("FLAIR", "flair"), ("T1w", "t1"))
    made = replace(answer().provenance, digest=card.weights_sha256)
    desk.end(replace(answer(), used=used, facts={"load": 3}, provenance=made))
    [mask] = desk.workspace.case.segmentations
    desk.models._listed = lambda: (mask, None)
    desk.models.explain("finding")
    assert desk.client.explained[-1]["others"]["T1w"].id == "t1"
    desk.models._ended("")
    desk.models.run(card.id, "flair", others={})
    desk.settle()
    assert desk.client.asked[-1]["others"] == {}


def of_kind(desk, kind: str, **changes) -> None:
    card = replace(desk.model.card, kind=kind, **changes)
    desk.models._installed[card.id] = replace(desk.model, card=card)


def test_tissues_are_one_mask_of_several_labels_in_one_step(desk) -> None:
    labels = tuple(
        OutputLabel(n, name, (9, 9, 9), Code("85756007", "SCT", "Tissue"))
        for n, name in enumerate(("CSF", "Grey matter"), 1)
    )
    of_kind(desk, "tissue", labels=labels)
    desk.run()
    desk.end(replace(answer(), probability=np.zeros((2, *SHAPE), np.float32)))
    [mask] = desk.workspace.case.segmentations
    assert desk.workspace.case.heatmaps == []
    assert not mask.draft
    assert mask.anatomical
    assert desk.workspace.history.steps == 1
    assert "CSF 2 ml, Grey matter 0 ml" in desk.said[-1]


def test_a_deviation_is_a_map_with_its_picture_hidden(desk) -> None:
    of_kind(desk, "deviation")
    desk.run()
    desk.end(replace(answer(), picture=np.zeros(SHAPE, np.float32)))
    assert desk.workspace.case.segmentations == []
    shown = {
        h.meaning: desk.workspace.display.overlay(h.id).visible
        for h in desk.workspace.case.heatmaps
    }
    assert shown == {"deviation": True, "picture": False}
    desk.workspace.undo()
    assert desk.workspace.case.heatmaps == []


def test_a_yes_or_no_is_told_in_its_own_words(desk) -> None:
    of_kind(desk, "presence")
    told: list = []
    desk.models.study_told.connect(lambda *what: told.append(what))
    desk.run()
    desk.end(replace(answer(), facts={"sentences": ["Lesions are likely."]}))
    assert desk.workspace.history.steps == 0
    assert desk.said[-1].endswith("Lesions are likely.")
    assert told == [("flair", desk.model.card.id, {"sentences": ["Lesions are likely."]})]


def test_a_deviation_lies_over_outlines_of_findings_and_nothing_else() -> None:
    workspace = open_workspace()
    add_answer(workspace)
    tissue = replace(
        by_hand(),
        id="tissue",
        segments=(Segment(1, "Grey matter", (1, 2, 3), Code("85756007", "SCT", "Tissue")),),
    )
    workspace.execute(AddItem(tissue, "Add"))
    map = replace(grad_cam(), id="deviation", meaning=DEVIATION, about="")
    display = shown(workspace.display, workspace.case, Proposal(deviation=map))
    assert display.overlay("deviation").visible
    assert display.overlay("draft").visible
    assert display.overlay("draft").outline
    assert not any(display.overlay(id).visible for id in ("tissue", "cam", "prob"))
