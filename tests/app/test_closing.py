"""The window does not close over edits that are nowhere but in memory."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from app.windows.main_window import MainWindow
from app.workspace import Workspace


@pytest.fixture
def window(qtbot):
    """A window whose journal is as the test says."""
    made = MainWindow(Workspace())
    qtbot.addWidget(made)
    made.show()
    made.journal_ok = False
    made._program = SimpleNamespace(
        journal=SimpleNamespace(wait=lambda _seconds: made.journal_ok),
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
