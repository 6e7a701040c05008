"""Opening, loading, saving and closing: nothing late reaches another study."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from panel_cases import SHAPE, add_answer, by_hand, volume
from PySide6.QtCore import QObject, Signal

from app.controllers.cases import CaseController
from app.tasks import Tasks
from app.workspace import Workspace
from imaging.edits.edit import AddItem
from imaging.edits.operations import set_threshold
from imaging.geometry import Box


class Browser(QObject):
    """The study list, as far as the controller knows it."""

    series_activated = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []

    def add_series(self, series) -> None:
        self.keys.append(series.key)

    def clear(self) -> None:
        self.keys.clear()

    def add_problem(self, path, reason) -> None: ...
    def set_progress(self, words) -> None: ...
    def set_thumbnail(self, key, picture) -> None: ...
    def set_current(self, key) -> None: ...


class SlowLoading:
    fraction = 0.5
    """Fills its volume slab by slab, each when the test says so."""

    def __init__(self, key: str) -> None:
        self.volume = volume(key)
        self.go = threading.Semaphore(0)
        self.failure: BaseException | None = None

    def load(self, on_slab, cancelled):
        for k in range(SHAPE[0]):
            self.go.acquire(timeout=10)
            if self.failure:
                raise self.failure
            if cancelled():
                break
            on_slab(Box((k, 0, 0), (k + 1, *SHAPE[1:])))
        return self.volume


class Desk:
    """A controller with everything around it, and what it said."""

    def __init__(self, qtbot, monkeypatch) -> None:
        self.qtbot = qtbot
        self.workspace, self.tasks, self.browser = Workspace(), Tasks(), Browser()
        self.cases = CaseController(self.workspace, self.tasks, self.browser)
        self.said, self.jobs, self.saved, self.loading = [], {}, [], {}
        self.cases.said.connect(self.said.append)
        self.cases.failed.connect(self.said.append)
        self.cases.job.connect(lambda id, words, fraction: self.jobs.update({id: fraction}))
        self.cases.saved.connect(self.saved.append)
        self.cases.loading_changed.connect(lambda id, words: self.loading.update({id: words}))
        self.made: list[SlowLoading] = []
        monkeypatch.setattr("imaging.open.open_series", self._open)
        monkeypatch.setattr("imaging.open.thumbnail", lambda _s: np.zeros((2, 2), np.uint8))

    def _open(self, series) -> SlowLoading:
        self.made.append(SlowLoading(series.key))
        return self.made[-1]

    def offer(self, key: str) -> None:
        """A series stands in the list."""
        self.cases._found(
            SimpleNamespace(
                key=key,
                kind="dicom",
                source=volume(key).source,
                viewable=True,
                volumetric=True,
                description=key,
                problems=(),
                shape=SHAPE,
                sequence="",
            )
        )

    def begin(self, key: str = "flair", slabs: int = 0) -> SlowLoading:
        """Choose a series and let so many slabs arrive."""
        self.offer(key)
        self.cases.activate(key)
        self.wait(lambda: self.cases.loading)
        self.more(slabs)
        if slabs:
            self.wait(lambda: self.workspace.case.volumes)
        return self.made[-1]

    def more(self, slabs: int) -> None:
        for _ in range(slabs):
            self.made[-1].go.release()

    def wait(self, true) -> None:
        self.qtbot.waitUntil(lambda: bool(true()), timeout=5000)

    def settle(self) -> None:
        """Let the threads end and everything on its way arrive."""
        for loading in self.made:
            for _ in range(SHAPE[0]):
                loading.go.release()
        self.qtbot.wait(100)


@pytest.fixture
def desk(qtbot, monkeypatch) -> Iterator[Desk]:
    made = Desk(qtbot, monkeypatch)
    yield made
    made.settle()
    made.cases.close()
    made.tasks.close()
    gc.collect()  # here: a later collection in another thread would end Qt objects there


def test_a_series_is_shown_before_it_is_whole(desk) -> None:
    desk.begin(slabs=1)
    assert desk.workspace.display.cells
    assert desk.loading == {"flair": "Loading …"}
    assert "still loading" in desk.cases.why_not_whole("flair")
    desk.more(SHAPE[0])
    desk.wait(lambda: not desk.cases.loading)
    assert desk.loading == {"flair": ""}
    assert desk.jobs["flair"] == 1.0
    assert desk.cases.why_not_whole("flair") == ""


def test_choosing_a_series_twice_loads_it_once(desk) -> None:
    desk.begin()
    desk.cases.activate("flair")
    desk.settle()
    assert len(desk.made) == 1
    assert len(desk.workspace.case.volumes) == 1


def test_nothing_of_a_closed_study_arrives_later(desk) -> None:
    loading = desk.begin()
    loading.go.release()  # the first slab is on its way while the study is closed
    desk.cases.close()
    desk.settle()
    assert desk.workspace.case.items == {}
    assert desk.loading == {"flair": ""}
    assert desk.jobs["flair"] == 1.0
    assert not desk.cases.loading


def test_a_series_being_opened_does_not_land_in_the_next_study(desk, monkeypatch) -> None:
    go = threading.Event()

    def slow_open(series):
        go.wait(5)
        return SlowLoading(series.key)

    monkeypatch.setattr("imaging.open.open_series", slow_open)
    desk.offer("flair")
    desk.cases.activate("flair")
    desk.cases.close()
    go.set()
    desk.settle()
    assert not desk.cases.loading
    assert desk.workspace.case.items == {}
    assert desk.jobs["flair"] == 1.0


def test_stored_work_whose_images_come_late_stays_out_of_the_next_study(desk, monkeypatch) -> None:
    go, begun, ready = threading.Event(), threading.Event(), []

    def slow_refs(_refs, _ticket):
        begun.set()
        go.wait(5)
        return SimpleNamespace(series=(), close=lambda: None), []

    monkeypatch.setattr("app.controllers.cases.load_refs", slow_refs)
    desk.cases.open_refs((), ready.append)
    begun.wait(5)
    desk.cases.close()
    go.set()
    desk.settle()
    assert ready == []


def test_a_cancelled_or_failed_load_is_no_image_for_a_model(desk) -> None:
    desk.begin(slabs=1)
    desk.cases.cancel("flair")
    assert "Only a part" in desk.cases.why_not_whole("flair")
    assert desk.loading["flair"] == ""
    desk.cases.close()
    assert desk.cases.why_not_whole("flair") == ""

    loading = desk.begin(slabs=1)
    loading.failure = OSError("disk")
    desk.more(1)
    desk.wait(lambda: not desk.cases.loading)
    assert "Only a part" in desk.cases.why_not_whole("flair")
    assert desk.said[-1] == "The system refused a file operation."


# --- saving -----------------------------------------------------------------------------------


@pytest.fixture
def writer(monkeypatch):
    """A case file writer that waits for the test."""
    made = SimpleNamespace(go=threading.Event(), cases=[])

    def save_case(path, case, _display):
        made.cases.append(case)
        made.go.wait(5)
        return Path(path)

    monkeypatch.setattr("imaging.storage.case_file.save_case", save_case)
    return made


@pytest.fixture
def answered(desk) -> Desk:
    """A study with a model's draft."""
    desk.workspace.add_volume(volume())
    add_answer(desk.workspace)
    return desk


def test_a_saved_case_says_so_and_is_saved_there_again(answered, writer) -> None:
    writer.go.set()
    answered.cases.save(Path("/somewhere/a.isocase"))
    answered.wait(lambda: answered.saved)
    assert answered.cases.case_path == Path("/somewhere/a.isocase")
    assert answered.jobs["save"] == 1.0
    assert "Saved and read back" in answered.said[-1]


def test_a_stroke_made_while_saving_is_not_called_saved(answered, writer) -> None:
    answered.cases.save(Path("a.isocase"))
    answered.workspace.execute(AddItem(by_hand(), "Add mask"))
    writer.go.set()
    answered.wait(lambda: answered.said)
    assert answered.saved == []  # the journal goes on holding the stroke for recovery
    assert answered.cases.case_path == Path("a.isocase")
    assert "hand" not in writer.cases[0].items


def test_a_late_save_leaves_the_next_study_alone(answered, writer) -> None:
    answered.cases.save(Path("a.isocase"))
    answered.cases.close()
    writer.go.set()
    answered.wait(lambda: answered.said)
    assert answered.saved == []
    assert answered.cases.case_path is None


def test_what_is_only_being_tried_is_not_saved(answered, writer) -> None:
    workspace = answered.workspace
    mask, heat = workspace.case.segmentation("draft"), workspace.case.heatmap("prob")
    labels = mask.labels.copy()
    workspace.rehearse(set_threshold(mask, heat, 0.9))
    writer.go.set()
    answered.cases.save(Path("a.isocase"))
    answered.wait(lambda: answered.saved)
    assert np.array_equal(writer.cases[0].segmentation("draft").labels, labels)
