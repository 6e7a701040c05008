"""The window does not close over edits that are nowhere but in memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from PySide6.QtCore import QObject, Signal

from app.windows.main_window import MainWindow
from app.workspace import Workspace


class Training(QObject):
    """A training that stops when the test says so."""

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.running = self.stopping = False

    def cancel(self) -> None:
        self.stopping = True

    def end(self) -> None:
        self.running = self.stopping = False
        self.changed.emit()


@pytest.fixture
def window(qtbot):
    """A window whose journal is as the test says."""
    made = MainWindow(Workspace())
    qtbot.addWidget(made)
    made.show()
    made.journal_ok = False
    made._program = SimpleNamespace(
        journal=SimpleNamespace(wait=lambda _seconds: made.journal_ok),
        training=Training(),
    )
    made.left = []
    made.closing.connect(lambda: made.left.append(True))
    yield made
    made._program = None


def test_it_closes_where_all_is_on_the_disk(window) -> None:
    window.journal_ok = True
    assert window.close()
    assert window.left == [True]


def test_it_stays_and_asks_once_where_the_disk_refuses(window) -> None:
    assert not window.close()
    assert not window.close()
    assert window.left == []
    assert "would lose them" in window.notice.text
    window.notice.choose("Stay")
    assert window.notice.text == ""
    assert window.isVisible()


def test_the_user_may_go_anyway(window) -> None:
    window.close()
    window.notice.choose("Close and lose them")
    assert window.left == [True]
    assert not window.isVisible()


def test_it_closes_once_the_disk_is_back(window) -> None:
    window.close()
    window.journal_ok = True
    assert window.close()


def test_a_training_is_stopped_with_a_checkpoint_before_the_window_closes(window) -> None:
    window.journal_ok, training = True, window._program.training
    training.running = True
    assert not window.close()
    assert "goes on from there" in window.notice.text
    window.notice.choose("Stop it and close")
    assert training.stopping
    assert window.isVisible()
    training.end()
    assert window.left == [True]
    assert not window.isVisible()


def test_who_stays_keeps_the_training(window) -> None:
    window.journal_ok = True
    window._program.training.running = True
    window.close()
    window.notice.choose("Stay")
    assert not window._program.training.stopping
    assert window.isVisible()


def test_a_checkpoint_that_never_comes_holds_nobody_and_edits_are_still_asked_about(window) -> None:
    training = window._program.training
    training.running = training.stopping = True
    window.close()
    assert "writing its checkpoint" in window.notice.text
    window.notice.choose("Close without it")
    assert window.left == []
    assert "would lose them" in window.notice.text
