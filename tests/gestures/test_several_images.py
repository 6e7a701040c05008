"""Echoes under one slider and stacks with gaps: what a person sees, asks for and gets back."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest

from imaging.dicom.writing.derived import write_derived_series
from imaging.geometry import Geometry
from imaging.volume import Volume

SHAPE = (12, 40, 44)
GRID = Geometry(SHAPE, [[0, 0, 2, -44], [0, 2, 0, -40], [4, 0, 0, -20], [0, 0, 0, 1]], "1.2.3")


def head(bright: int) -> Volume:
    """A bright block in the dark."""
    voxels = np.full(SHAPE, 10, np.int16)
    voxels[2:10, 8:32, 8:36] = bright
    return Volume("v", "block", voxels, GRID)


@pytest.fixture
def echoes(tmp_path) -> Path:
    """One series of two echoes: the second one is brighter."""
    folder = tmp_path / "echoes"
    folder.mkdir()
    series = ""
    for echo, bright in enumerate((100, 300)):
        for file in write_derived_series(tmp_path / f"e{echo}", head(bright), description="dual"):
            data = dcmread(file)
            series = series or str(data.SeriesInstanceUID)
            data.SeriesInstanceUID, data.EchoTime = series, 10.0 + 80.0 * echo
            data.StudyInstanceUID = "1.2.826.77"
            data.save_as(folder / f"{echo}-{Path(file).name}")
    return folder


@pytest.fixture
def gap(tmp_path) -> Path:
    """A series that lost two slices."""
    files = write_derived_series(tmp_path / "gap", head(100), description="with a gap")
    for file in files[5:7]:
        Path(file).unlink()
    return tmp_path / "gap"


def shown_volume(hand) -> Volume:
    return hand.program.workspace.case.volume(hand.view().plan.volume_id)


def test_keys_and_the_slider_go_through_the_echoes(hand, echoes) -> None:
    hand.open(echoes)
    assert len(hand.program.window.browser.keys) == 1
    bar = hand.program.window.repeats
    assert bar.isVisible()
    assert bar.label.text() == "Echo 1 / 2 · TE 10 ms"
    middle = hand.program.workspace.display.cursor
    assert hand.program.views.describe(middle, shown_volume(hand).id).split()[-1] == "100"
    hand.key(Qt.Key.Key_Period)
    assert bar.label.text() == "Echo 2 / 2 · TE 90 ms"
    assert "Echo 2 / 2 · TE 90 ms" in hand.view().plan.texts.bottom_left
    assert hand.program.views.describe(middle, shown_volume(hand).id).split()[-1] == "300"
    hand.key(Qt.Key.Key_Comma)
    assert shown_volume(hand).repeat == 0
    QTest.mouseClick(bar.next, Qt.MouseButton.LeftButton)
    assert shown_volume(hand).repeat == 1


def test_the_picture_is_of_the_chosen_echo(hand, echoes) -> None:
    hand.open(echoes)
    view = hand.view()
    before = view.grab().toImage()
    hand.key(Qt.Key.Key_Period)
    spot = view.rect().center() + QPoint(30, 30)
    ratio = view.devicePixelRatioF()
    at = (round(spot.x() * ratio), round(spot.y() * ratio))
    assert view.grab().toImage().pixelColor(*at).value() > before.pixelColor(*at).value()


def test_playing_goes_round_until_it_is_stopped(hand, echoes) -> None:
    hand.open(echoes)
    bar = hand.program.window.repeats
    QTest.mouseClick(bar.play, Qt.MouseButton.LeftButton)
    hand.wait(lambda: shown_volume(hand).repeat == 1, 5)
    hand.wait(lambda: shown_volume(hand).repeat == 0, 5)
    QTest.mouseClick(bar.play, Qt.MouseButton.LeftButton)
    still = shown_volume(hand).repeat
    hand.qtbot.wait(400)
    assert shown_volume(hand).repeat == still


def test_a_series_of_one_image_has_no_slider_and_the_key_says_why(hand, gap) -> None:
    hand.open(gap)
    assert not hand.program.window.repeats.isVisible()
    hand.key(Qt.Key.Key_Period)
    assert hand.program.window.jobs.message.text() == "This series has only one image"


def test_a_mask_on_an_echo_comes_back_with_that_echo(hand, echoes, tmp_path, start) -> None:
    hand.open(echoes)
    hand.key(Qt.Key.Key_Period)
    hand.key(Qt.Key.Key_B)
    middle = hand.view().rect().center()
    hand.drag([middle, middle + QPoint(20, 0)])
    painted = hand.program.workspace.case.segmentations[0].labels.copy()
    assert painted.any()
    target = tmp_path / "kept.isocase"
    hand.program.cases.save(target)
    hand.wait(target.is_file, 20)
    hand.wait(lambda: any("Saved" in words for words in hand.said), 20)
    hand.program.cases.close()

    again = start()
    again.program.cases.open_paths([target])
    again.wait(lambda: again.program.workspace.case.segmentations, 30)
    assert shown_volume(again).repeat == 1
    assert again.program.window.repeats.label.text() == "Echo 2 / 2 · TE 90 ms"
    assert np.array_equal(again.program.workspace.case.segmentations[0].labels, painted)


def test_the_brush_asks_before_it_works_on_an_even_volume(hand, gap) -> None:
    hand.open(gap)
    window, workspace = hand.program.window, hand.program.workspace
    original = shown_volume(hand)
    assert not original.even
    hand.key(Qt.Key.Key_B)
    assert window.notice.text == (
        "The slices of with a gap lie at uneven distances (4.0 to 12.0 mm). "
        "Make an even volume with steps of 4.0 mm?"
    )
    window.notice.choose("Cancel")
    assert not hand.program.tools.editing
    assert workspace.case.segmentations == []

    hand.key(Qt.Key.Key_B)
    window.notice.choose("Make it")
    hand.wait(lambda: hand.program.tools.editing, 20)
    made = shown_volume(hand)
    assert made.name == "with a gap (even, 4.0 mm)"
    assert made.geometry.shape == SHAPE
    assert workspace.case.segmentations[0].geometry.same_grid(made.geometry)
    assert any("made up across a gap" in words for words in hand.said)
    assert len(window.browser.keys) == 2
    # The images as acquired are still there, and the even volume is not made twice.
    hand.program.cases.activate(original.id)
    assert shown_volume(hand) is original
    hand.program.even.make(original.id)
    assert shown_volume(hand) is made


def test_other_planes_offer_the_even_volume(hand, gap) -> None:
    hand.open(gap)
    side = hand.view("b")
    assert side.plan.message.startswith("The slices lie at uneven distances")
    button = next(child for child in side.children() if hasattr(child, "text"))
    QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    hand.wait(lambda: side.plan.message == "", 20)
    assert shown_volume(hand).even_mm == pytest.approx(4.0)


def test_an_even_volume_and_its_mask_come_back_from_a_case_file(hand, gap, tmp_path, start) -> None:
    hand.open(gap)
    hand.program.even.make(shown_volume(hand).id)
    hand.wait(lambda: shown_volume(hand).even_mm, 20)
    hand.key(Qt.Key.Key_B)
    middle = hand.view().rect().center()
    hand.drag([middle, middle + QPoint(20, 0)])
    mask = hand.program.workspace.case.segmentations[0]
    target = tmp_path / "kept.isocase"
    hand.program.cases.save(target)
    hand.wait(target.is_file, 20)
    hand.wait(lambda: any("Saved" in words for words in hand.said), 20)

    again = start()
    again.program.cases.open_paths([target])
    again.wait(lambda: again.program.workspace.case.segmentations, 30)
    case = again.program.workspace.case
    back = case.segmentations[0]
    assert case.volume(back.volume_id).even_mm == pytest.approx(4.0)
    assert back.geometry.same_grid(case.volume(back.volume_id).geometry)
    assert np.array_equal(back.labels, mask.labels)
    assert len(again.program.window.browser.keys) == 2


def test_an_uneven_series_is_not_written_as_a_volume(hand, gap, tmp_path) -> None:
    hand.open(gap)
    reason = hand.program.cases.why_not_written(shown_volume(hand).id)
    assert "make an even volume first" in reason
