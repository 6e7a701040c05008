"""The window that makes clean copies of a folder, by hand: choose, look, go, stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from PySide6.QtCore import Qt

from app.controllers.deidentify import DeidentifyController, Rehearsal
from app.tasks import Tasks
from app.windows.deidentify_dialog import DeidentifyDialog
from imaging.deidentify.choice import Choice
from imaging.deidentify.faces import Face, Faces
from imaging.deidentify.plane import Plane
from imaging.deidentify.report import Report
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
    counts = {
        window.table.item(n, 0).text(): window.table.item(n, 2).text()
        for n in range(window.table.rowCount())
    }
    assert counts["(0008,0018) SOP Instance UID"] == "4"
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


def seen(dialog: DeidentifyDialog, faces: dict[str, Face]) -> None:
    """What a look at some heads brings."""
    members = {group: Choice(frozenset((f"1.2.{group}",))) for group in faces}
    wish = dialog.wish()
    report = Report(wish.options, "KEY", written=3, dry=True)
    report.actions["(0010,0010) Patient's Name " + 12 * "of the patient ", "removed"] = 3
    dialog.show_rehearsal(Rehearsal(wish, report, Faces(faces, members=members)))


def test_a_picture_that_comes_moves_no_button(qtbot, window, source, tmp_path) -> None:
    choose(qtbot, window, source, tmp_path / "clean")
    tick(qtbot, window.boxes["deface"])
    before = {one: one.geometry() for one in (window.look, window.start, window.close_button)}
    size = window.size()
    grey = np.full((100, 900), 90, np.uint8)
    plane = Plane([0.0, -1.0, 0.0], 0.0)
    seen(
        window, {"1": Face(plane, "", grey, grey, "T1 " + 30 * "of a head "), "2": Face(None, "No")}
    )
    qtbot.wait(50)
    assert window.pictures.isVisible()
    assert window.size() == size
    assert {one: one.geometry() for one in before} == before
    assert window.before.pixmap().width() <= window.before.width() + 1


def test_a_head_without_a_face_is_ticked_off(qtbot, window, source, tmp_path) -> None:
    choose(qtbot, window, source, tmp_path / "clean")
    tick(qtbot, window.boxes["deface"])
    seen(window, {"1": Face(None, "Skull and skin are not in this image"), "2": Face(None, "No")})
    assert not window.pictures.isVisible()  # nor the words Before and After
    assert "will be refused" in window.why_no_face.text()
    tick(qtbot, window.no_face)
    assert "nothing is cut off" in window.why_no_face.text()
    assert window.start.isEnabled()
    assert window.wish().no_face.series == {"1.2.1"}
    window.face_choice.setCurrentIndex(1)
    assert not window.no_face.isChecked()


def test_what_was_ticked_off_goes_as_it_is(qtbot, window, source, tmp_path) -> None:
    choose(qtbot, window, source, tmp_path / "clean")
    tick(qtbot, window.boxes["deface"])
    look(qtbot, window)
    tick(qtbot, window.no_face)
    qtbot.mouseClick(window.start, LEFT)
    qtbot.waitUntil(lambda: window.start.isEnabled(), timeout=30000)
    assert window.state.text().startswith("4 files were written")
    assert "4 were said to show no face" in window.state.text()


def test_key_and_pseudonyms_are_chosen(qtbot, window, source, tmp_path) -> None:
    names, key = tmp_path / "names.csv", tmp_path / "study key.json"
    choose(qtbot, window, source, tmp_path / "clean")
    qtbot.keyClicks(window.key, str(key))
    qtbot.keyClicks(window.names, str(names))
    assert window.start.toolTip() == "There is no such list of pseudonyms"
    patient = dcmread(next(source.rglob("*.dcm"))).PatientID
    names.write_text(f"{patient},sub-01\n")
    qtbot.keyClicks(window.names, " ")
    qtbot.mouseClick(window.start, LEFT)
    qtbot.waitUntil(lambda: window.start.isEnabled(), timeout=30000)
    assert dcmread(next((tmp_path / "clean").rglob("*.dcm"))).PatientID == "sub-01"
    assert key.is_file()


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
