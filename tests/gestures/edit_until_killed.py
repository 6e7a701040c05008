"""Paints three strokes by hand in the demo study, says so, and waits to be killed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from app.compose import compose
from app.first_window import first_window
from app.settings import Settings


def main() -> None:
    """Arguments: the study and the file to write the state after the last stroke to."""
    study, note = Path(sys.argv[1]), Path(sys.argv[2])
    application = QApplication([])
    settings = Settings()
    program = compose(settings, *first_window(application, settings))
    program.window.resize(1200, 800)
    program.window.show()
    program.cases.open_paths([study])
    end = time.monotonic() + 60
    while time.monotonic() < end and not (
        program.workspace.case.volumes and not program.cases.loading
    ):
        application.processEvents()
        time.sleep(0.01)
    program.tools.choose("brush")
    view = program.window.grid.slice_view("a")
    assert view is not None
    middle = view.rect().center()
    for row in (-40, 0, 40):
        start = middle + QPoint(-30, row)
        QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=start)
        for step in range(1, 6):
            QTest.mouseMove(view, start + QPoint(step * 10, 3 * step))
        QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=start + QPoint(50, 15))
        application.processEvents()
    assert program.journal.wait(10)
    labels = program.workspace.case.segmentations[0].labels
    state = {
        "voxels": int(np.count_nonzero(labels)),
        "places": int(np.flatnonzero(labels).sum()),
    }
    note.write_text(json.dumps(state))
    # An unfinished stroke must not come back.
    QTest.mousePress(view, Qt.MouseButton.LeftButton, pos=middle + QPoint(-30, 80))
    QTest.mouseMove(view, middle + QPoint(30, 80))
    print("painted", flush=True)
    while True:
        application.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
