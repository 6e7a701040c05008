"""The window that makes clean copies of a folder, by hand: choose, look, go, stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import Qt

from app.controllers.deidentify import DeidentifyController
from app.tasks import Tasks
from app.windows.deidentify_dialog import DeidentifyDialog
from imaging.demo import DEMO_PATIENT
from imaging.dicom.writing.write import mr_template, write_mr_series
from imaging.geometry import Geometry
from imaging.volume import Volume

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def source(tmp_path) -> Path:
    """Four slices of a bottle and a letter."""
    folder = tmp_path / "originals"
    folder.mkdir()
    voxels = np.zeros((4, 24, 20), np.uint16)
    voxels[:, 6:18, 5:15] = 300
    affine = np.array([[0, 0, 2, 0], [0, 2, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]], float)
    template = mr_template(DEMO_PATIENT, study_uid="1.2.3", frame_of_reference="1.2.4")
    template.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    volume = Volume("v", "v", voxels, Geometry(voxels.shape, affine))
    write_mr_series(folder / "series", volume, template, sync=False)
    (folder / "letter.txt").write_text("Dear Doctor")
    return folder


@pytest.fixture
def window(qtbot, qapp, tmp_path):
    """The window, joined as in the program."""
    tasks = Tasks()
    work = DeidentifyController(tasks, tmp_path / "key.json")
    dialog = DeidentifyDialog()
    qtbot.addWidget(dialog)
    dialog.rehearsal_wanted.connect(work.rehearse)
    dialog.start_wanted.connect(work.start)
    dialog.cancel_wanted.connect(work.cancel)
    work.progressed.connect(dialog.show_progress)
    work.rehearsed.connect(dialog.show_rehearsal)
    work.finished.connect(dialog.show_end)
    work.refused.connect(dialog.show_refusal)
    dialog.show()
    qtbot.waitExposed(dialog)
    yield dialog
    tasks.close()


def rows(dialog: DeidentifyDialog) -> dict[str, str]:
    table = dialog.table
    cells = [[table.item(n, c).text() for c in range(2)] for n in range(table.rowCount())]
    return {title.split(") ")[-1]: what for title, what in cells}


def tick(qtbot, box) -> None:
    spot = box.rect().center()
    spot.setX(8)
    qtbot.mouseClick(box, LEFT, pos=spot)


def choose(qtbot, dialog, source: Path, target: Path) -> None:
    for line, path in ((dialog.source, source), (dialog.target, target)):
        line.clear()
        qtbot.keyClicks(line, str(path))


def look(qtbot, dialog) -> None:
    qtbot.mouseClick(dialog.look, LEFT)
    qtbot.waitUntil(lambda: dialog.look.isEnabled(), timeout=30000)


def test_it_does_not_stop_the_reading(window) -> None:
    assert not window.isModal()


def test_what_is_missing_is_said_on_the_buttons(qtbot, window, source, tmp_path) -> None:
    assert not window.look.isEnabled()
    assert window.look.toolTip() == "Choose the folder with the originals"
    assert window.state.text() == "Choose the folder with the originals"
    qtbot.keyClicks(window.source, str(source))
    assert window.look.isEnabled()
    assert window.start.toolTip() == "Choose a folder for the clean copies"
    qtbot.keyClicks(window.target, str(source / "inside"))
    assert window.start.toolTip() == "Source and target lie inside each other"
    assert not window.start.isEnabled()


def test_looking_shows_what_will_happen_and_writes_nothing(qtbot, window, source, tmp_path) -> None:
    choose(qtbot, window, source, tmp_path / "clean")
    look(qtbot, window)
    assert window.files.text() == "4 files will be written. 1 other files stay behind."
    assert rows(window)["Patient ID"] == "replaced by a pseudonym"
    assert rows(window)["SOP Instance UID"] == "replaced by a new UID"
    assert not (tmp_path / "clean").exists()
    tick(qtbot, window.boxes["keep_uids"])
    assert "choice has changed" in window.files.text()
    assert not window.table.isEnabled()
    look(qtbot, window)
    assert "SOP Instance UID" not in rows(window)


def test_copies_are_written_and_the_end_is_a_sentence(qtbot, window, source, tmp_path) -> None:
    choose(qtbot, window, source, tmp_path / "clean")
    qtbot.mouseClick(window.start, LEFT)
    assert not window.start.isEnabled()
    assert window.stop.isVisible()
    qtbot.waitUntil(lambda: window.start.isEnabled(), timeout=30000)
    assert window.state.text().startswith("4 files were written, read back and searched")
    assert not window.stop.isVisible()
    assert window.what.text() == "What was done"
    copies = list((tmp_path / "clean").rglob("*.dcm"))
    assert len(copies) == 4
    assert not any(b"Synthetic^Demo" in path.read_bytes() for path in copies)
    assert (tmp_path / "key.json").is_file()


def test_a_cut_must_be_looked_at_before_it_is_made(qtbot, window, source, tmp_path) -> None:
    choose(qtbot, window, source, tmp_path / "clean")
    tick(qtbot, window.boxes["deface"])
    assert window.start.toolTip() == "Look at the cut first: show what will happen"
    look(qtbot, window)
    assert window.face_box.isVisible()
    assert "will be refused" in window.why_no_face.text()  # a bottle has no face
    assert "0 files will be written. 4 refused: No head was found" in window.files.text()
    assert window.start.isEnabled()


def test_stopping_gives_the_window_back_at_once(qtbot, window, source, tmp_path) -> None:
    choose(qtbot, window, source, tmp_path / "clean")
    qtbot.mouseClick(window.start, LEFT)
    qtbot.mouseClick(window.stop, LEFT)
    assert window.start.isEnabled()
    assert window.state.text().startswith("Stopped")


def test_an_empty_folder_is_a_sentence(qtbot, window, tmp_path) -> None:
    (tmp_path / "empty").mkdir()
    choose(qtbot, window, tmp_path / "empty", tmp_path / "clean")
    look(qtbot, window)
    assert "nothing here that can be de-identified" in window.state.text()
    assert not (tmp_path / "clean").exists()
