"""Images that help a model: those of the study are loaded for it without taking over a view."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PySide6.QtCore import QObject, Signal
from test_model_panel import HELPED

from app.controllers.cases import CaseController
from app.tasks import Tasks
from app.windows.model_panel import ModelPanel
from app.windows.series_choice import NOT_OPENED
from app.workspace import Workspace
from imaging.demo import demo_study_folder
from imaging.errors import BadInput
from inference.model import InputNeed
from inference.registry import InstalledModel


class Browser(QObject):
    """A study list that nobody sees."""

    series_activated = Signal(str, str)

    def add_series(self, series) -> None: ...
    def clear(self) -> None: ...
    def add_problem(self, *_problem) -> None: ...
    def add_object(self, *_found) -> None: ...
    def set_progress(self, words) -> None: ...
    def set_thumbnail(self, key, picture) -> None: ...
    def set_current(self, key) -> None: ...


@pytest.fixture
def desk(qtbot):
    """The study list and the panel of models, joined as in the program."""
    workspace, tasks = Workspace(), Tasks()
    cases = CaseController(workspace, tasks, Browser())
    panel = ModelPanel(workspace)
    qtbot.addWidget(panel)
    panel.inputs.study = lambda: cases.series.values()
    panel.inputs.why_not_loaded = cases.why_not_loaded
    wanted: list[str] = []
    panel.inputs.load_wanted.connect(wanted.append)
    panel.inputs.load_wanted.connect(cases.load_beside)
    cases.not_loaded.connect(panel.inputs.give_up)
    cases.whole.connect(lambda _key, _volume: panel.inputs.refresh())
    cases.scan_ended.connect(panel.inputs.refresh)
    panel.set_models([InstalledModel(HELPED, Path("helped"))])
    cases.open_paths([demo_study_folder()])
    qtbot.waitUntil(lambda: bool(workspace.case.volumes) and not cases.loading, timeout=20_000)
    qtbot.waitUntil(lambda: not cases.scanning, timeout=20_000)
    flair = next(k for k, s in cases.series.items() if s.sequence == "FLAIR")
    cases.activate(flair)
    qtbot.waitUntil(lambda: not cases.loading and bool(panel.volume_id), timeout=20_000)
    yield SimpleNamespace(workspace=workspace, cases=cases, panel=panel, wanted=wanted)
    cases.close()
    tasks.close()


def sequences(desk) -> set[str]:
    return {volume.source.sequence for volume in desk.workspace.case.volumes}


def test_nothing_is_loaded_before_somebody_looks_at_the_models(desk) -> None:
    assert desk.wanted == []
    assert "T1w" in desk.panel.inputs.boxes["T1w"].text()


def test_what_helps_is_loaded_and_takes_over_no_view(qtbot, desk) -> None:
    shown = [cell.volume_id for cell in desk.workspace.display.cells]
    desk.panel.show()
    assert len(desk.wanted) == 2
    assert "being loaded" in desk.panel.run.toolTip()
    qtbot.waitUntil(lambda: desk.panel.run.isEnabled(), timeout=20_000)
    assert sequences(desk) >= {"FLAIR", "T1w", "T2w"}
    assert [cell.volume_id for cell in desk.workspace.display.cells] == shown
    assert set(desk.panel.inputs.others) == {"T1w", "T2w"}


def test_what_was_left_out_is_not_waited_for(qtbot, desk) -> None:
    desk.panel.inputs._left_out.update({"T1w", "T2w"})
    desk.panel.inputs.refresh()
    desk.panel.show()
    assert desk.wanted == []
    assert desk.panel.run.isEnabled()
    assert "not loaded" in desk.panel.inputs.boxes["T1w"].text()


def test_what_cannot_be_loaded_holds_up_no_run_and_may_be_tried_again(qtbot, desk, monkeypatch):
    def broken(*_, **__):
        raise BadInput("The file has gone")

    monkeypatch.setattr("imaging.open.open_series", broken)
    desk.panel.show()
    qtbot.waitUntil(lambda: desk.panel.run.isEnabled(), timeout=20_000)
    assert len(desk.wanted) == 2
    assert desk.cases._beside == set()
    box = desk.panel.inputs.boxes["T1w"]
    assert not box.isChecked()
    assert box.isEnabled()
    box.click()
    assert len(desk.wanted) == 3


def test_a_study_that_is_opened_again_is_loaded_again(qtbot, desk) -> None:
    desk.panel.show()
    qtbot.waitUntil(lambda: desk.panel.run.isEnabled(), timeout=20_000)
    asked = set(desk.panel.inputs._asked)
    desk.cases.load_beside(next(k for k, s in desk.cases.series.items() if k not in asked))
    desk.cases.close()
    assert desk.cases._beside == set()
    assert desk.panel.inputs._asked == set()


def test_a_series_of_one_of_several_sequences_is_preferred(desk) -> None:
    card = replace(HELPED, inputs=(InputNeed("Head", "T2w or FLAIR"),))
    inputs = desk.panel.inputs
    inputs.set_card(card)
    thick = {v.id: v.source.sequence for v in desk.workspace.case.volumes}
    inputs.fit_of = lambda _id: (False, "thick slices")
    ranks = {said: inputs._rank(id) for id, said in thick.items()}
    assert ranks["FLAIR"] == 1
    assert {rank for said, rank in ranks.items() if said not in ("FLAIR", "T2w")} <= {0}


def test_an_image_of_another_frame_is_not_offered(desk) -> None:
    series = [
        replace(one, geometry=None) if one.sequence == "T1w" else one
        for one in desk.cases.series.values()
    ]
    desk.panel.inputs.study = lambda: series
    desk.panel.inputs.refresh()
    assert "not in this study" in desk.panel.inputs.boxes["T1w"].text()
    assert desk.panel.inputs.boxes["T2w"].isEnabled()


def rows(desk) -> list[str]:
    series = desk.panel.series
    return [series.itemText(n) for n in range(series.count())]


def test_a_series_that_is_not_open_is_listed_and_opened_when_it_is_chosen(qtbot, desk) -> None:
    shown = [cell.volume_id for cell in desk.workspace.display.cells]
    listed = [n for n, words in enumerate(rows(desk)) if words.startswith("T1w ·")]
    assert len(rows(desk)) == len(desk.cases.series)
    assert NOT_OPENED in rows(desk)[listed[0]]
    desk.panel.series.setCurrentIndex(listed[0])
    assert "being opened" in desk.panel.run.toolTip()
    assert not desk.panel.run.isEnabled()
    qtbot.waitUntil(lambda: bool(desk.panel.volume_id), timeout=20_000)
    assert desk.workspace.case.volume(desk.panel.volume_id).source.sequence == "T1w"
    qtbot.waitUntil(lambda: not desk.cases.loading, timeout=20_000)
    assert desk.workspace.case.volume(desk.panel.volume_id).source.sequence == "T1w"
    assert not any(NOT_OPENED in words for words in rows(desk) if words.startswith("T1w ·"))
    assert [cell.volume_id for cell in desk.workspace.display.cells] == shown


def test_a_series_that_cannot_be_opened_gives_the_choice_back(desk) -> None:
    listed = [n for n, words in enumerate(rows(desk)) if NOT_OPENED in words]
    desk.panel.series.setCurrentIndex(listed[0])
    key = desk.panel.series.key
    desk.panel.inputs.give_up(key)
    assert desk.panel.inputs.sequence == "FLAIR"
