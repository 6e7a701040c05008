"""The user names a series by hand: the word holds everywhere, at once and after a restart."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PySide6.QtCore import QPoint
from PySide6.QtWidgets import QApplication, QMenu

from app.settings import Settings, load
from app.windows.series_delegate import SERIES_ROLE
from app.windows.series_text import kind_text
from viewer.state.window_memory import window_of
from viewer.state.windows import automatic_window


@pytest.fixture
def images(tmp_path) -> Path:
    """Two images whose names say nothing."""
    folder = tmp_path / "images"
    folder.mkdir()
    for name, value in (("aa", 100), ("bb", 200)):
        voxels = np.full((20, 24, 28), value, np.int16)
        nib.save(nib.Nifti1Image(voxels, np.diag([2.0, 2.0, 2.0, 1.0])), folder / f"{name}.nii.gz")
    return folder


def row(hand, name: str):
    browser = hand.program.window.browser
    items = (browser._series[key] for key in browser.keys)
    return next(item for item in items if item.data(0, SERIES_ROLE).description == name)


def said(hand, name: str) -> str:
    return kind_text(row(hand, name).data(0, SERIES_ROLE))


def right_click(hand, name: str) -> QMenu:
    browser = hand.program.window.browser
    place: QPoint = browser.tree.visualItemRect(row(hand, name)).center()
    browser.tree.customContextMenuRequested.emit(place)
    hand.wait(lambda: QApplication.activePopupWidget() is not None)
    menu = QApplication.activePopupWidget()
    assert isinstance(menu, QMenu)
    return menu


def say(hand, name: str, words: str) -> None:
    """Choose one of the kinds in the menu of a series."""
    menu = right_click(hand, name)
    submenu = next(a.menu() for a in menu.actions() if a.text() == "This is …")
    next(action for action in submenu.actions() if action.text() == words).trigger()
    menu.close()
    QApplication.processEvents()


def test_a_word_of_the_user_holds_everywhere(start, images) -> None:
    hand = start()
    hand.open(images)
    hand.wait(lambda: len(hand.program.window.browser.keys) == 2)
    assert said(hand, "aa") == "axial"
    say(hand, "aa", "FLAIR")
    assert said(hand, "aa") == "FLAIR ✓ · axial"
    assert "you said so" in row(hand, "aa").toolTip(0)
    hand.program.cases.activate(row(hand, "aa").data(0, SERIES_ROLE).key)
    hand.wait(lambda: any(v.name == "aa" for v in hand.program.workspace.case.volumes))
    volume = next(v for v in hand.program.workspace.case.volumes if v.name == "aa")
    assert volume.source.sequence == "FLAIR"
    say(hand, "aa", "T2w")
    assert hand.program.workspace.case.volume(volume.id).source.sequence == "T2w"


def test_the_word_survives_a_restart_and_can_be_taken_back(start, images, private_home) -> None:
    first = start()
    first.open(images)
    first.wait(lambda: len(first.program.window.browser.keys) == 2)
    say(first, "bb", "T1w+C")
    first.wait(lambda: load()[0].sequences)
    settings = load()[0]
    (images / "bb.nii.gz").rename(images / "renamed.nii.gz")  # the content is what counts
    second = start(settings)
    second.open(images)
    second.wait(lambda: len(second.program.window.browser.keys) == 2)
    assert said(second, "renamed").startswith("T1w+C ✓")
    say(second, "renamed", "Guess again")
    assert said(second, "renamed") == "axial"
    second.wait(lambda: not load()[0].sequences)


def test_not_sure_is_a_word_too(start, images) -> None:
    (images / "aa.nii.gz").rename(images / "t2.nii.gz")
    hand = start()
    hand.open(images)
    hand.wait(lambda: len(hand.program.window.browser.keys) == 2)
    assert said(hand, "t2").startswith("T2w")
    say(hand, "t2", "Not sure")
    assert said(hand, "t2") == "axial"


def test_the_window_kept_for_a_sequence_comes_with_the_word(start, images) -> None:
    hand = start(Settings(presets={"SWI": (0.5, 3.0)}))
    hand.open(images)
    before = hand.view().plan.window
    shown = next(v for v in hand.program.workspace.case.volumes)
    say(hand, shown.name, "SWI")
    hand.wait(lambda: hand.view().plan.window != before)
    assert hand.view().plan.window == pytest.approx(window_of((0.5, 3.0), automatic_window(shown)))


def test_pixels_are_asked_where_the_name_says_nothing(start, tmp_path, shared_data) -> None:
    source = shared_data / "ms_open_longitudinal/raw/patient03/study2_FLAIR.nii.gz"
    (tmp_path / "scan.nii.gz").write_bytes(source.read_bytes())
    hand = start()
    hand.open(tmp_path / "scan.nii.gz")
    hand.wait(lambda: said(hand, "scan").startswith("FLAIR?"))
    assert "in the pixels" in row(hand, "scan").toolTip(0)
    assert hand.program.workspace.case.volumes[0].source.sequence == "FLAIR"
    fit = hand.program.window.models.fit.text()
    assert "not known" not in fit


def test_headers_are_remembered_until_they_are_forgotten(start, images, private_home) -> None:
    import os
    import time

    for path in images.iterdir():
        os.utime(path, (1, 1))
    time.sleep(2.1)  # files touched just now are not remembered
    hand = start()
    hand.open(images)
    assert (private_home / "headers" / "headers.sqlite").stat().st_size > 0
    window = hand.program.window
    window._actions["file.forget"].trigger()
    assert not list((private_home / "headers").iterdir())
    assert any("Remembered headers deleted" in words for words in hand.said)


def test_remembering_can_be_switched_off(start, images, private_home) -> None:
    hand = start(Settings())
    hand.program.window._actions["file.remember"].trigger()
    hand.wait(lambda: not load()[0].remember_headers)
    hand.open(images)
    assert not list((private_home / "headers").glob("*"))
    hand.program.window.refresh_commands()
    assert not hand.program.window._actions["file.remember"].isChecked()
