"""Exports: what is written, what is refused, and that the case on screen is not touched."""

from __future__ import annotations

import csv
from types import SimpleNamespace

import numpy as np
import pytest
from panel_cases import add_answer, open_workspace
from PySide6.QtGui import QColor, QImage

from app.controllers.export import (
    WRITERS,
    ExportController,
    wanted_labels,
    with_labels,
    write_png,
)
from app.export_choice import ExportChoice
from app.tasks import Tasks
from app.windows.export_dialog import KINDS, accepted_labels
from imaging.analysis.lesions import find_lesions
from imaging.edits.acceptance import accept_lesions
from imaging.edits.operations import set_threshold
from imaging.errors import WorldFailed


@pytest.fixture
def desk(qtbot):
    """The controller on a study with a draft whose largest lesion is accepted."""
    workspace, said, missing = open_workspace(), [], {}
    add_answer(workspace)
    mask, heat = workspace.case.segmentation("draft"), workspace.case.heatmap("prob")
    workspace.execute(accept_lesions(mask, find_lesions(mask, heat)[:1]))
    findings = SimpleNamespace(
        mask=mask,
        lesions=find_lesions(mask, heat),
        measuring=False,
        accepted=lambda _mask, lesion: lesion.label != 1,
    )
    picture = QImage(8, 6, QImage.Format.Format_RGB32)
    picture.fill(QColor("red"))
    tasks = Tasks(1)
    export = ExportController(
        workspace, tasks, findings, lambda: picture, lambda id: missing.get(id, "")
    )
    export.said.connect(said.append)
    export.failed.connect(said.append)

    def run(folder, *kinds, **rest) -> list:
        files: list = []
        export.exported.connect(files.extend)
        choice = ExportChoice(folder, kinds, "draft", volume_id="flair", **rest)
        export.export(choice)
        qtbot.waitUntil(lambda: bool(said), timeout=20000)
        return sorted(path.rsplit("/", 1)[-1] for path in files)

    yield SimpleNamespace(
        workspace=workspace, findings=findings, said=said, missing=missing, run=run, mask=mask
    )
    tasks.close()


def test_every_kind_of_the_dialog_can_be_written() -> None:
    assert {kind.id for kind in KINDS} == {*WRITERS, "screenshot_png"}


def test_files_are_written_and_said_to_be(desk, tmp_path) -> None:
    files = desk.run(tmp_path, "lesions_csv", "screenshot_png", "surface_stl")
    assert files == [
        "20240311-flair-lesions.csv",
        "20240311-flair-screenshot.png",
        "20240311-flair-surface.stl",
    ]
    assert desk.said[-1].startswith("Saved and read back")
    with open(tmp_path / "20240311-flair-lesions.csv", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert [row["state"] for row in rows].count("accepted") == 1
    assert len(rows) == 3


def test_accepted_only_leaves_drafts_out(desk, tmp_path) -> None:
    desk.run(tmp_path, "lesions_csv", accepted_only=True)
    with open(tmp_path / "20240311-flair-lesions.csv", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert [row["state"] for row in rows] == ["accepted"]
    assert wanted_labels(desk.mask, True) == list(accepted_labels(desk.mask))
    kept = with_labels(desk.mask, wanted_labels(desk.mask, True))
    assert set(np.unique(kept.labels)) == {0, kept.segments[0].number}


def test_a_list_that_is_being_measured_is_not_written(desk, tmp_path) -> None:
    desk.findings.measuring, desk.findings.lesions = True, []
    desk.run(tmp_path, "lesions_csv")
    assert "label" in (tmp_path / "20240311-flair-lesions.csv").read_text()
    assert (tmp_path / "20240311-flair-lesions.csv").read_text().count("draft") >= 2


def test_an_image_that_is_still_loading_does_not_leave(desk, tmp_path) -> None:
    desk.missing["flair"] = "The series is still loading: try again when it is whole"
    assert desk.run(tmp_path, "volume_nifti") == []
    assert "still loading" in desk.said[-1]
    assert list(tmp_path.iterdir()) == []


def test_what_is_only_being_tried_is_not_exported(desk, tmp_path) -> None:
    heat = desk.workspace.case.heatmap("prob")
    desk.workspace.rehearse(set_threshold(desk.mask, heat, 0.95))
    desk.run(tmp_path, "lesions_csv")
    assert not desk.workspace.rehearsing
    assert desk.mask.threshold == 0.5


def test_a_bad_target_is_one_sentence(desk, tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert desk.run(blocked, "lesions_csv") == []
    assert desk.said[-1].startswith("Not everything was saved.")
    assert blocked.read_text() == "not a folder"


def test_a_picture_is_read_back_and_never_overwritten(tmp_path, monkeypatch) -> None:
    picture = QImage(4, 4, QImage.Format.Format_RGB32)
    picture.fill(QColor("blue"))
    first = write_png(tmp_path / "a.png", picture)
    second = write_png(tmp_path / "a.png", picture)
    assert first != second
    assert QImage(str(first)).convertToFormat(picture.format()) == picture
    other = QImage(4, 4, QImage.Format.Format_RGB32)
    other.fill(QColor("green"))
    monkeypatch.setattr(
        "app.controllers.export._save_png", lambda _image, path: other.save(str(path), "PNG")
    )
    with pytest.raises(WorldFailed, match="not the one"):
        write_png(tmp_path / "b.png", picture)
    assert not (tmp_path / "b.png").exists()
