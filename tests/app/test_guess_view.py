"""Looking at a guess of normal: it is called one, follows the crosshair, three ways compare."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from panel_cases import GRID, MADE, SHAPE, open_workspace
from PySide6.QtCore import QPoint, Qt

from app.windows.explain_panel import ExplainPanel
from app.windows.guess_view import BLEND, DIFFERENCE, SWIPE, GuessView
from app.windows.guess_window import GuessWindow
from app.windows.overlays_panel import OverlaysPanel
from app.workspace import Workspace
from imaging.edits.edit import AddItem
from imaging.heatmap import DEVIATION, PICTURE, UNCERTAINTY, Heatmap

LEFT = Qt.MouseButton.LeftButton


def guess(id: str = "guess", meaning: str = PICTURE) -> Heatmap:
    values = np.linspace(0, 1, SHAPE[0], dtype=np.float32)[:, None, None]
    return Heatmap(id, "Guess", np.broadcast_to(values, SHAPE), meaning, GRID, "flair", MADE)


@pytest.fixture
def workspace() -> Workspace:
    workspace = open_workspace()
    voxels = (100 * guess().values).astype(np.int16)
    voxels[8:12, 18:22, 18:22] += 60
    workspace.replace_volume(replace(workspace.case.volume("flair"), voxels=voxels))
    return workspace


@pytest.fixture
def view(qtbot, workspace) -> GuessView:
    workspace.execute(AddItem(guess(), "Add"))
    view = GuessView(workspace)
    qtbot.addWidget(view)
    view.resize(320, 480)
    view.show()
    qtbot.waitExposed(view)
    return view


def colours(view: GuessView) -> np.ndarray:
    image = (
        view.picture.grab()
        .toImage()
        .convertToFormat(view.picture.grab().toImage().Format.Format_RGB888)
    )
    rows = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), image.bytesPerLine())
    return rows[:, : 3 * image.width()].reshape(image.height(), image.width(), 3).astype(int)


def test_it_is_called_a_guess(view) -> None:
    assert "guess, not a measurement" in view.about.text()


def test_the_line_follows_the_hand(qtbot, view) -> None:
    room = view.picture.room
    qtbot.mousePress(view.picture, LEFT, pos=QPoint(room.left() + room.width() // 4, 100))
    assert view.share.value == pytest.approx(0.25, abs=0.02)
    qtbot.mouseRelease(view.picture, LEFT)


def test_blend_goes_from_the_guess_to_the_image(qtbot, view) -> None:
    qtbot.mouseClick(view.modes[BLEND], LEFT)
    view.share.set_value(0.0)
    view._show_mode()
    without = colours(view)
    view.share.set_value(1.0)
    view._show_mode()
    assert np.abs(colours(view) - without).max() > 60


def test_the_difference_is_coloured_only_where_they_differ(qtbot, view) -> None:
    qtbot.mouseClick(view.modes[DIFFERENCE], LEFT)
    assert not view.share.isEnabled()
    picture = colours(view)[40:]  # below the words
    coloured = np.ptp(picture, axis=2) > 60
    assert 0 < coloured.mean() < 0.2


def test_it_follows_the_crosshair(view, workspace) -> None:
    before = view.picture._plane
    spot = tuple(float(v) for v in GRID.world((3, 20, 20)))
    workspace.show(workspace.display.but(cursor=spot, frame="1.2.3"))
    assert view.picture._plane is not before


def test_without_a_guess_there_is_nothing_to_compare(qtbot, workspace) -> None:
    panel = ExplainPanel(workspace)
    qtbot.addWidget(panel)
    panel.show()
    assert not panel.guess.isVisible()
    workspace.execute(AddItem(guess(), "Add"))
    assert panel.guess.isVisible()
    assert panel.guess.mode == SWIPE
    workspace.undo()
    assert not panel.guess.isVisible()


def test_the_large_one_is_a_window_beside(qtbot, workspace) -> None:
    workspace.execute(AddItem(guess(), "Add"))
    window = GuessWindow(workspace)
    qtbot.addWidget(window)
    window.show()
    assert not window.isModal()
    assert window.view.picture._plane is not None
    assert not window.view.large.isVisible()


def test_every_kind_of_map_says_what_it_means(qtbot, workspace) -> None:
    panel = OverlaysPanel(workspace)
    qtbot.addWidget(panel)
    for meaning, words in (
        (UNCERTAINTY, "Uncertainty"), (DEVIATION, "Deviation from normal"),
        (PICTURE, "Guess of normal"),
    ):  # fmt: skip
        workspace.execute(AddItem(guess(meaning, meaning), "Add"))
        assert panel.cards[meaning].visible.text() == words


@pytest.mark.parametrize("size", [(320, 320), (200, 420), (500, 200)])
def test_what_says_which_is_which_lies_beside_the_picture(view, size) -> None:
    picture = view.picture
    picture.resize(*size)
    assert picture.room.top() >= picture.fontMetrics().height() + 6
    assert picture.rect().contains(picture.room)
