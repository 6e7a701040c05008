"""Guards against known traps of the libraries we stand on."""

from __future__ import annotations

import subprocess
import sys

from PySide6.QtWidgets import QWidget


def test_qt_calls_do_not_eat_references_to_none(qtbot):
    """PySide6 6.12.0 drops a reference to None with every void call on CPython before 3.12."""
    widget = QWidget()
    qtbot.addWidget(widget)
    before = sys.getrefcount(None)
    for _ in range(1000):
        widget.update()
    assert sys.getrefcount(None) > before - 500


def _modules_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(' '.join(sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout
    return set(out.splitlines()[-1].split())


def test_the_window_starts_without_heavy_libraries():
    """The first window needs QtWidgets and numpy; everything else waits."""
    loaded = _modules_after("import app.compose, app.windows.main_window")
    heavy = {"torch", "vtk", "pyvista", "pyvistaqt", "SimpleITK", "pydicom", "highdicom", "scipy"}
    assert not loaded & heavy
    assert not any(name.startswith("vtkmodules") for name in loaded)
