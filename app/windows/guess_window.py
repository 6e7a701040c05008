"""The guess of normal in a window of its own, for a second screen."""

from __future__ import annotations

from PySide6.QtWidgets import QDialog, QWidget

from app.windows.controls import column
from app.windows.guess_view import GuessView
from app.workspace import Workspace


class GuessWindow(QDialog):
    """Follows the crosshair of the main window; reading goes on."""

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Model's guess of normal")
        self.setModal(False)
        self.resize(720, 820)
        self.view = GuessView(workspace, large=True)
        column(self).addWidget(self.view)
