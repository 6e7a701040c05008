"""What a person sees who opens a wrong file, a damaged series, or presses Run beside a question."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from PySide6.QtCore import Qt


def shown(hand) -> list[str]:
    return [volume.name for volume in hand.program.workspace.case.volumes]


def test_a_wrong_file_and_an_empty_folder_leave_the_study_on_the_screen(hand, demo, tmp_path):
    hand.open(demo)
    before, listed = shown(hand), list(hand.program.window.browser.keys)
    wrong = tmp_path / "notes.txt"
    wrong.write_text("call the ward")
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (wrong, empty):
        hand.program.window.dropped.emit([str(path)], False)
        hand.wait(lambda name=path.name: any(name in words for words in hand.said), 20)
    assert shown(hand) == before
    assert hand.program.window.browser.keys == listed
    assert hand.program.window.grid.isVisible()


@pytest.fixture
def copied(demo, tmp_path) -> Path:
    """The demo study where its files may be harmed."""
    return Path(shutil.copytree(demo, tmp_path / "copied"))


def test_a_damaged_series_is_marked_and_the_picture_stays(hand, copied):
    hand.open(copied)
    cases, browser = hand.program.cases, hand.program.window.browser
    before = shown(hand)
    key, series = next(
        (key, one) for key, one in cases.series.items() if one.description != before[0]
    )
    for frame in series.frames:
        file = Path(frame.file)
        data = file.read_bytes()
        file.write_bytes(data[: len(data) // 4])
    browser.series_activated.emit(key)
    hand.wait(lambda: "ends before" in hand.program.window.jobs.message.text(), 20)
    assert shown(hand) == before
    assert hand.program.window.grid.isVisible()
    assert "ends before" in browser._series[key].toolTip(0)
    cases.close()
    assert hand.program.window.jobs.message.text() == ""


def test_work_on_a_study_opened_by_a_relative_path_comes_back_elsewhere(
    hand, copied, tmp_path, monkeypatch, start
):
    monkeypatch.chdir(tmp_path)
    hand.open(Path("copied"))
    hand.key(Qt.Key.Key_B)
    middle = hand.view().rect().center()
    hand.drag([middle, middle])
    assert hand.program.workspace.case.segmentations
    hand.program.cases.close()
    hand.program.journal.wait()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    again = start()
    again.wait(lambda: "Unsaved work" in again.program.window.notice.text, 20)
    again.program.window.notice.choose("Restore")
    again.wait(lambda: again.program.workspace.case.segmentations, 30)
