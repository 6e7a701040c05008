"""The first thing painted: the window with its study list and what to do first.

Everything else is imported and joined by ``compose.py`` while the user looks at it.
"""

from __future__ import annotations

from PySide6.QtWidgets import QApplication

from app.settings import Settings
from app.windows.main_window import MainWindow
from app.windows.theme import apply as apply_theme
from app.workspace import Workspace


def first_window(application: QApplication, settings: Settings) -> tuple[Workspace, MainWindow]:
    """The window with its study list and what to do first; see :func:`compose` for the rest."""
    apply_theme(application)
    workspace = Workspace()
    window = MainWindow(workspace)
    window.resize(1500, 940)
    window.set_keys(settings.keys)
    window.restore_layout(settings.window_geometry, settings.window_state)
    window.empty.set_recent(settings.recent)
    return workspace, window
