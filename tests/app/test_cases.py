"""Opening, loading, saving and closing: nothing late reaches another study."""

from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from panel_cases import SHAPE, add_answer, by_hand, volume
from PySide6.QtCore import QObject, Signal

from app.controllers.cases import CaseController
from app.tasks import Tasks
from app.workspace import Workspace
from imaging.edits.edit import AddItem
from imaging.edits.operations import set_threshold
from imaging.errors import BadInput
from imaging.geometry import Box, Geometry
from imaging.scanning import ScanResult
from imaging.segmentation import Segmentation
from imaging.series import Problem, Series


class Browser(QObject):
    """The study list, as far as the controller knows it."""

    series_activated = Signal(str, str)

    def __init__(self) -> None:
        super().__init__()
        self.keys: list[str] = []
        self.problems: dict[str, tuple[str, ...]] = {}
        self.not_read: list[str] = []

    def add_series(self, series) -> None:
        self.keys.append(series.key)
        self.problems[series.key] = series.problems

    def clear(self) -> None:
        self.keys.clear()
        self.not_read.clear()

    def add_problem(self, path, *_reason) -> None:
        self.not_read.append(path)

    def set_progress(self, words) -> None: ...
    def set_thumbnail(self, key, picture) -> None: ...
    def set_current(self, key) -> None: ...


class SlowLoading:
    fraction = 0.5
    """Fills its volume slab by slab, each when the test says so."""

    def __init__(self, key: str, slices: int = SHAPE[0]) -> None:
        self.volume = volume(key)
        if slices != SHAPE[0]:
            grid = Geometry((slices, *SHAPE[1:]), self.volume.geometry.affine, "1.2.3")
            voxels = np.zeros(grid.shape, np.int16)
            self.volume = replace(self.volume, voxels=voxels, geometry=grid)
        self.go = threading.Semaphore(0)
        self.failure: BaseException | None = None

    def load(self, on_slab, cancelled):
        for k in range(self.volume.geometry.shape[0]):
            self.go.acquire(timeout=10)
            if self.failure:
                raise self.failure
            if cancelled():
                break
            on_slab(Box((k, 0, 0), (k + 1, *SHAPE[1:])))
        return self.volume


def a_series(key: str, slices: int = SHAPE[0], sequence: str = "") -> Series:
    """A series of so many slices."""
    frame: Any = SimpleNamespace()
    shape = (slices, *SHAPE[1:])
    grid = Geometry(shape, volume().geometry.affine, "1.2.3")
    source = replace(volume(key).source, sequence=sequence)
    return Series(key, "dicom", source, key, shape, grid, (frame,) * slices, sequence=sequence)


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
        self.made.append(SlowLoading(series.key, series.shape[0]))
        return self.made[-1]

    def offer(self, key: str, slices: int = SHAPE[0]) -> None:
        """A series stands in the list."""
        self.cases._found(a_series(key, slices))

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

    def slow_refs(_refs, _ticket, *_words):
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


# --- another study ----------------------------------------------------------------------------


class Scan:
    """A scan of which the test says what it finds, and when."""

    def __init__(self, monkeypatch) -> None:
        self.go, self.tell, self.paths = threading.Semaphore(0), [], []
        self.result = ScanResult((), ())
        monkeypatch.setattr("imaging.open.scan", self._scan)

    def _scan(self, paths, on_series, on_problem, **_how) -> ScanResult:
        self.paths = list(paths)
        while self.go.acquire(timeout=10):
            if not self.tell:
                break
            found = self.tell.pop(0)
            (on_series if isinstance(found, Series) else on_problem)(found)
        return self.result

    def then(self, *found) -> None:
        """Find these now."""
        for one in found:
            self.tell.append(one)
            self.go.release()

    def end(self, *series: Series, problems: tuple[Problem, ...] = ()) -> None:
        """The scan is over."""
        self.result = ScanResult(series, problems)
        self.go.release()


@pytest.fixture
def scan(desk, monkeypatch) -> Iterator[Scan]:
    made = Scan(monkeypatch)
    yield made
    made.go.release()


def whole(desk, key: str = "flair", slices: int = SHAPE[0]) -> None:
    desk.begin(key)
    desk.more(slices)
    desk.wait(lambda: desk.workspace.case.volumes and not desk.cases.loading)


def test_a_wrong_file_leaves_the_open_study_alone(desk, scan) -> None:
    whole(desk)
    wrong = Problem("notes.txt", "It is no image")
    desk.cases.open_paths([Path("notes.txt")])
    scan.then(wrong)
    scan.end(problems=(wrong,))
    desk.wait(lambda: not desk.cases.scanning)
    assert [one.id for one in desk.workspace.case.volumes] == ["flair"]
    assert desk.browser.keys
    assert desk.browser.not_read == []
    assert desk.said[-1] == "No images were found in notes.txt: It is no image"
    assert desk.cases.why_not_whole("flair") == ""


def test_the_next_study_takes_the_place_of_the_open_one_with_its_first_series(desk, scan) -> None:
    whole(desk)
    desk.cases.open_paths([Path("next")])
    assert desk.workspace.case.volumes
    scan.then(Problem("next/notes.txt", "It is no image"), a_series("t1"))
    desk.wait(lambda: "t1" in desk.browser.keys)
    assert desk.workspace.case.volumes == []
    assert desk.browser.not_read == ["next/notes.txt"]
    scan.end(a_series("t1"))
    desk.wait(lambda: desk.cases.loading)
    desk.more(1)
    desk.wait(lambda: desk.workspace.case.volumes)
    assert set(desk.browser.keys) == {"t1"}


def test_paths_are_kept_from_the_root(desk, scan, tmp_path, monkeypatch) -> None:
    opened = []
    desk.cases.opened.connect(opened.extend)
    (tmp_path / "study").mkdir()
    monkeypatch.chdir(tmp_path)
    desk.cases.open_paths([Path("study/../study")])
    scan.end(a_series("t1"))
    desk.wait(lambda: opened)
    assert opened == [str(tmp_path / "study")]
    assert scan.paths == [tmp_path / "study"]


def test_a_picture_comes_before_all_headers_are_read(desk, scan) -> None:
    desk.cases.open_paths([Path("tree")])
    scan.then(a_series("scout", sequence="localiser"), a_series("t1", sequence="T1w"))
    desk.wait(lambda: desk.cases.loading)
    desk.more(SHAPE[0])
    desk.wait(lambda: desk.workspace.case.volumes and not desk.cases.loading)
    assert desk.cases.scanning
    assert [one.id for one in desk.workspace.case.volumes] == ["t1"]
    assert "Headers are still being read" in desk.cases.why_not_whole("t1")


def early_t1(desk, scan) -> None:
    desk.cases.open_paths([Path("tree")])
    scan.then(a_series("t1", sequence="T1w"))
    desk.wait(lambda: desk.cases.loading)
    desk.more(SHAPE[0])
    desk.wait(lambda: desk.workspace.case.volumes and not desk.cases.loading)


def test_a_flair_that_is_found_later_is_shown_where_nobody_has_touched_anything(desk, scan):
    early_t1(desk, scan)
    scan.end(a_series("t1", sequence="T1w"), a_series("flair", sequence="FLAIR"))
    desk.wait(lambda: desk.cases.loading)
    desk.more(SHAPE[0])
    desk.wait(lambda: desk.workspace.display.cells[0].volume_id == "flair")


def test_a_picture_that_was_touched_stays(desk, scan) -> None:
    early_t1(desk, scan)
    desk.workspace.show(desk.workspace.display.but(cursor=(1.0, 2.0, 3.0)))
    scan.end(a_series("t1", sequence="T1w"), a_series("flair", sequence="FLAIR"))
    desk.wait(lambda: not desk.cases.scanning)
    desk.qtbot.wait(100)
    assert not desk.cases.loading
    assert desk.workspace.display.cells[0].volume_id == "t1"


def test_a_series_that_has_grown_since_it_was_opened_is_loaded_again(desk, scan) -> None:
    desk.cases.open_paths([Path("tree")])
    scan.then(a_series("t1", 8))
    desk.wait(lambda: desk.browser.keys)
    desk.cases.activate("t1")
    desk.wait(lambda: desk.cases.loading)
    desk.more(8)
    desk.wait(lambda: desk.workspace.case.volumes and not desk.cases.loading)
    cells = desk.workspace.display.cells
    scan.end(a_series("t1", 20))
    desk.wait(lambda: not desk.cases.scanning and len(desk.made) == 2)
    assert "still loading" in desk.cases.why_not_whole("t1")
    desk.wait(lambda: desk.cases.loading)
    desk.more(20)
    desk.wait(lambda: not desk.cases.loading)
    assert desk.workspace.case.volume("t1").geometry.shape[0] == 20
    assert desk.workspace.display.cells == cells
    assert desk.cases.why_not_whole("t1") == ""


def test_masks_on_a_part_of_a_series_are_not_lost_when_it_has_grown(desk, scan) -> None:
    desk.cases.open_paths([Path("tree")])
    scan.then(a_series("flair", 8))
    desk.wait(lambda: desk.browser.keys)
    desk.cases.activate("flair")
    desk.wait(lambda: desk.cases.loading)
    desk.more(8)
    desk.wait(lambda: desk.workspace.case.volumes and not desk.cases.loading)
    grid = desk.workspace.case.volume("flair").geometry
    labels = np.ones(grid.shape, np.uint8)
    mask = Segmentation.from_labels("hand", "Mask", grid, "flair", labels)
    desk.workspace.execute(AddItem(mask, "Add mask"))
    scan.end(a_series("flair", 20))
    desk.wait(lambda: not desk.cases.scanning)
    assert "masks lie on that part" in " ".join(desk.said)
    assert "Only a part" in desk.cases.why_not_whole("flair")
    assert desk.workspace.case.segmentation("hand").labels.all()


def test_a_damaged_series_leaves_the_picture_and_is_marked(desk) -> None:
    whole(desk)
    desk.offer("bad")
    desk.cases.activate("bad")
    desk.wait(lambda: desk.cases.loading)
    desk.made[-1].failure = BadInput("The file ends too early", "bad.dcm", "Copy it again")
    desk.more(1)
    desk.wait(lambda: not desk.cases.loading)
    assert [one.id for one in desk.workspace.case.volumes] == ["flair"]
    assert desk.workspace.display.cells[0].volume_id == "flair"
    assert "The file ends too early" in desk.browser.problems["bad"][0]
    desk.cases.activate("bad")  # the disk is back
    desk.wait(lambda: desk.cases.loading)
    desk.more(SHAPE[0])
    desk.wait(lambda: not desk.cases.loading)
    assert desk.browser.problems["bad"] == ()


def test_stored_work_whose_images_are_gone_leaves_the_open_study_alone(desk) -> None:
    whole(desk)
    gone: Any = SimpleNamespace(files=("/nowhere/at/all.dcm",))
    desk.cases.open_refs([gone], lambda _lookup: None)
    assert desk.workspace.case.volumes
    assert "were not found" in desk.said[-1]


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
