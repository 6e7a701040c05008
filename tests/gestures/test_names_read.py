"""Names in bytes that no file explains, read again by hand; masks and undo stay."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QMenu

from app.settings import Settings, load
from imaging.dicom.writing.derived import write_derived_series
from imaging.geometry import Geometry
from imaging.volume import Volume

SHAPE = (8, 40, 44)
GRID = Geometry(SHAPE, [[0, 0, 2, -44], [0, 2, 0, -40], [4, 0, 0, -20], [0, 0, 0, 1]], "1.2.3")
NAME = "Чайковский^Пётр"
SHOWN = "Чайковский, Пётр"
WRONG = NAME.encode("cp1251").decode("latin-1").replace("^", ", ")


def unsaid(folder: Path, raw: bytes, **tags) -> Path:
    """A series whose files hold a name and no character set."""
    raw += b" " * (len(raw) % 2)
    voxels = np.full(SHAPE, 100, np.int16)
    voxels[2:6, 10:30, 10:30] = 600
    for file in write_derived_series(folder, Volume("v", "named", voxels, GRID)):
        data = dcmread(file)
        del data.SpecificCharacterSet
        data.PatientName, data.PatientID = "N" * len(raw), "7"
        data.StudyInstanceUID = "1.2.826.78"
        for name, value in tags.items():
            setattr(data, name, value)
        data.save_as(file)
        file = Path(file)
        file.write_bytes(file.read_bytes().replace(b"N" * len(raw), raw, 1))
    return folder


@pytest.fixture
def study(tmp_path) -> Path:
    return unsaid(tmp_path / "study", NAME.encode("cp1251"))


def rows(hand) -> list[str]:
    tree = hand.program.window.browser.tree
    items = (tree.topLevelItem(n) for n in range(tree.topLevelItemCount()))
    return [item.text(0) for item in items if item is not None]


def menu_of_patient(hand) -> QMenu | None:
    """Right click on the first patient."""
    tree = hand.program.window.browser.tree
    patient = tree.topLevelItem(0)
    assert patient is not None
    spot = tree.visualItemRect(patient).center()
    tree.customContextMenuRequested.emit(QPoint(spot))
    QApplication.processEvents()
    menu = QApplication.activePopupWidget()
    return menu if isinstance(menu, QMenu) else None


def scripts_in(menu: QMenu | None) -> QMenu:
    """The menu of scripts in the menu of a patient."""
    assert menu is not None
    (entry,) = menu.actions()
    scripts = entry.menu()
    assert isinstance(scripts, QMenu)
    return scripts


def choose(hand, words: str) -> None:
    """Pick a script with the mouse."""
    menu = menu_of_patient(hand)
    assert menu is not None
    scripts, (entry,) = scripts_in(menu), menu.actions()
    assert entry.text() == "Read names as"
    QTest.mouseClick(menu, Qt.MouseButton.LeftButton, pos=menu.actionGeometry(entry).center())
    hand.wait(scripts.isVisible, 5)
    action = next(a for a in scripts.actions() if a.text().startswith(words))
    QTest.mouseClick(
        scripts, Qt.MouseButton.LeftButton, pos=scripts.actionGeometry(action).center()
    )
    QApplication.processEvents()


def test_the_right_click_shows_the_name_in_every_script_and_reads_it_again(hand, study) -> None:
    program = hand.program
    program.names.said.connect(hand.said.append)
    hand.open(study)
    assert rows(hand) == [f"{WRONG} · 7"]
    before = program.workspace.case.volumes[0]
    program.tools.choose("brush")
    view = hand.view().rect().center()
    hand.drag([view, view + QPoint(12, 0)])
    hand.wait(lambda: program.workspace.case.segmentations)
    labels = program.workspace.case.segmentations[0].labels.copy()
    assert labels.any()

    scripts = scripts_in(menu := menu_of_patient(hand))
    shown = [action.text() for action in scripts.actions()]
    assert menu is not None
    menu.close()
    assert f"Cyrillic (Windows)\t{SHOWN}" in shown
    assert f"Greek\t{NAME.encode('cp1251').decode('iso8859_7').replace('^', ', ')}" in shown
    assert "Japanese\tdoes not fit" in shown

    choose(hand, "Cyrillic (Windows)")
    hand.wait(lambda: rows(hand) == [f"{SHOWN} · 7"])
    assert any("read as Cyrillic (Windows) from now on" in words for words in hand.said)
    volume = program.workspace.case.volumes[0]
    assert volume.source.patient.name == SHOWN
    assert np.shares_memory(volume.voxels, before.voxels)
    assert program.window.banner.name.text() == SHOWN
    assert SHOWN in hand.view().plan.texts.top_left
    assert (program.workspace.case.segmentations[0].labels == labels).all()
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not any(mask.labels.any() for mask in program.workspace.case.segmentations)
    browser = program.window.browser
    assert browser.keys == [volume.id]
    assert browser._pictures


def test_a_wrong_choice_can_be_mended_and_the_right_one_is_remembered(hand, start, study) -> None:
    hand.open(study)
    choose(hand, "Greek")
    hand.wait(lambda: rows(hand) != [f"{WRONG} · 7"])
    assert rows(hand) != [f"{SHOWN} · 7"]
    choose(hand, "Cyrillic (Windows)")
    hand.wait(lambda: rows(hand) == [f"{SHOWN} · 7"])
    scripts = scripts_in(menu := menu_of_patient(hand))
    checked = [action.text() for action in scripts.actions() if action.isChecked()]
    assert menu is not None
    menu.close()
    assert checked == [f"Cyrillic (Windows)\t{SHOWN}"]
    hand.wait(lambda: load()[0].name_charset == "cyrillic-windows")
    again = start(Settings(name_charset="cyrillic-windows"))
    again.open(study)
    assert rows(again) == [f"{SHOWN} · 7"]


def test_a_name_that_the_file_explains_has_no_such_menu(hand, tmp_path) -> None:
    write_derived_series(tmp_path / "plain", Volume("v", "plain", np.zeros(SHAPE, np.int16), GRID))
    hand.open(tmp_path / "plain")
    assert menu_of_patient(hand) is None
    folder = unsaid(tmp_path / "utf8", "Müller^Jörg".encode())
    hand.open(folder)
    assert rows(hand) == ["Müller, Jörg · 7"]
    assert menu_of_patient(hand) is None


def test_a_choice_while_headers_are_read_waits_for_them(hand, study, monkeypatch) -> None:
    from imaging.dicom import index

    held, real, count = threading.Event(), index.read_frames, []

    def slowly(header):
        count.append(1)
        if len(count) == 4:
            held.wait(20)
        return real(header)

    monkeypatch.setattr(index, "read_frames", slowly)
    program = hand.program
    program.window.dropped.emit([str(study)], False)
    hand.wait(lambda: rows(hand))
    assert program.cases.scanning
    choose(hand, "Cyrillic (Windows)")
    assert rows(hand) == [f"{WRONG} · 7"]
    held.set()
    hand.wait(lambda: rows(hand) == [f"{SHOWN} · 7"])
    hand.wait(lambda: program.workspace.case.volumes and not program.cases.loading)
    assert program.workspace.case.volumes[0].source.patient.name == SHOWN
