"""Opens a mask beside the images with a click, says so, and waits to be killed."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from app.compose import compose
from app.first_window import first_window
from app.settings import Settings


def main() -> None:
    """Arguments: the study, the title of the mask, and the file to write its state to."""
    study, title, note = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    application = QApplication([])
    settings = Settings()
    program = compose(settings, *first_window(application, settings))
    program.window.resize(1200, 800)
    program.window.show()

    def wait(true) -> None:
        end = time.monotonic() + 60
        while time.monotonic() < end and not true():
            application.processEvents()
            time.sleep(0.01)

    program.cases.open_paths([study])
    workspace, browser = program.workspace, program.window.browser
    wait(lambda: workspace.case.volumes and not program.cases.loading)
    found = next(f for f in program.objects.found if f.title == title)
    row = browser._objects[found.key]
    browser.tree.scrollToItem(row)
    place = browser.tree.visualItemRect(row).center()
    QTest.mouseClick(browser.tree.viewport(), Qt.MouseButton.LeftButton, pos=place)
    wait(lambda: workspace.case.segmentations)
    assert program.journal.wait(10)
    (mask,) = workspace.case.segmentations
    state = {
        "name": mask.name,
        "voxels": int(np.count_nonzero(mask.labels)),
        "places": int(np.flatnonzero(mask.labels).sum()),
        "segments": [segment.name for segment in mask.segments],
    }
    note.write_text(json.dumps(state))
    print("opened", flush=True)
    while True:
        application.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
