"""The whole program in a private home, driven by hand."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from app.compose import compose, quit_program
from app.first_window import first_window
from app.program import Program
from app.settings import Settings
from imaging.storage import header_index


class Hand:
    """What a person can do to the window, and see in it."""

    def __init__(self, program: Program, qtbot) -> None:
        self.program = program
        self.qtbot = qtbot
        self.said: list[str] = []
        parts = (
            program.cases, program.models, program.tools, program.findings, program.export,
            program.journal, program.views, program.even,
        )  # fmt: skip
        for part in parts:
            part.said.connect(self.said.append)

    def wait(self, true: Callable[[], object], seconds: float = 60) -> None:
        """Let the program work until something holds."""
        self.qtbot.waitUntil(lambda: bool(true()), timeout=int(seconds * 1000))

    def open(self, path: Path) -> None:
        """Drop a path on the window and wait until the first series is whole."""
        self.program.window.dropped.emit([str(path)], False)
        self.wait(lambda: self.program.workspace.case.volumes and not self._busy())

    def _busy(self) -> bool:
        return self.program.cases.loading or self.program.cases.scanning

    def view(self, cell: str = "a") -> QWidget:
        """The slice view of a cell."""
        view = self.program.window.grid.slice_view(cell)
        assert view is not None
        return view

    def key(self, key: Qt.Key, modifier=Qt.KeyboardModifier.NoModifier) -> None:
        """Press a key over the views."""
        window, view = self.program.window, self.view()
        if not window.isActiveWindow():
            window.activateWindow()
            self.wait(window.isActiveWindow, 5)
        view.setFocus()
        QApplication.processEvents()
        QTest.keyClick(self.program.window.windowHandle(), key, modifier)
        QApplication.processEvents()

    def drag(
        self,
        points: list[QPoint],
        button=Qt.MouseButton.LeftButton,
        modifier=Qt.KeyboardModifier.NoModifier,
        cell: str = "a",
    ) -> None:
        """Press at the first point, move through the others, release at the last."""
        view = self.view(cell)
        QTest.mousePress(view, button, modifier, points[0])
        for point in points[1:]:
            QTest.mouseMove(view, point)
        QTest.mouseRelease(view, button, modifier, points[-1])

    def wheel(self, notches: int, cell: str = "a", modifier=Qt.KeyboardModifier.NoModifier) -> None:
        """Turn the wheel over the middle of a view; towards the user is positive."""
        view = self.view(cell)
        middle = QPointF(view.rect().center())
        event = QWheelEvent(
            middle, QPointF(view.mapToGlobal(middle.toPoint())), QPoint(0, 0),
            QPoint(0, -120 * notches), Qt.MouseButton.NoButton, modifier,
            Qt.ScrollPhase.NoScrollPhase, False,
        )  # fmt: skip
        QApplication.sendEvent(view, event)

    def place_of(self, world, cell: str = "a") -> QPoint:
        """Where a patient position (LPS mm) is in a view, in logical pixels."""
        plan = self.view(cell).plan
        offset = np.asarray(world) - plan.centre
        right = float(offset @ np.asarray(plan.way.right)) / plan.mm_per_pixel
        down = float(offset @ np.asarray(plan.way.down)) / plan.mm_per_pixel
        return QPoint(round(plan.size[0] / 2 + right), round(plan.size[1] / 2 + down))


@pytest.fixture
def private_home(tmp_path, monkeypatch) -> Path:
    """Settings, journals and logs of this test only."""
    for name in ("CONFIG", "DATA", "STATE"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(f"XDG_{name}_HOME", str(folder))
    monkeypatch.setattr(header_index, "cache_folder", lambda: tmp_path / "headers")
    return tmp_path


@pytest.fixture
def start(private_home, qtbot, qapp) -> Iterator[Callable[..., Hand]]:
    """Starts the program, as often as a test wants."""
    running: list[Program] = []

    def begin(settings: Settings = Settings()) -> Hand:  # noqa: B008 - frozen
        program = compose(settings, *first_window(qapp, settings))
        running.append(program)
        program.window.resize(1500, 940)
        program.window.show()
        program.window.activateWindow()
        qtbot.waitUntil(program.window.isActiveWindow, timeout=5000)
        return Hand(program, qtbot)

    yield begin
    for program in running:
        quit_program(program)
        program.window.close()
        program.window.deleteLater()


@pytest.fixture
def hand(start) -> Hand:
    """The running program."""
    return start()


@pytest.fixture(scope="session")
def demo() -> Path:
    """The built-in demo study."""
    from imaging.demo import demo_study_folder

    return Path(demo_study_folder())
