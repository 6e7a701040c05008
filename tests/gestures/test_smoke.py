"""One short look at the whole program, on whatever window system there is.

Runs in the normal suite without a screen and once more on a real X server (see
``packaging/check.sh``), where pictures, keys and focus go through the window system.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from PySide6.QtGui import QImage, QPixmap

from viewer.widgets.volume_view import VolumeView

PROJECT = Path(__file__).resolve().parents[2]


def grey_of(picture: QImage | QPixmap) -> np.ndarray:
    """A picture as grey values, uint8 ``(h, w)``."""
    image = picture.toImage() if isinstance(picture, QPixmap) else picture
    image = image.convertToFormat(QImage.Format.Format_Grayscale8)
    rows = np.frombuffer(image.constBits(), np.uint8)
    return rows.reshape(image.height(), image.bytesPerLine())[:, : image.width()].copy()


def test_demo_opens_scrolls_shows_3d_and_quits(hand, demo):
    hand.open(demo)
    view = hand.view()

    hand.wait(lambda: np.ptp(grey_of(view.grab())) > 150, 10)
    before, number = grey_of(view.grab()), view.plan.position.number
    hand.wheel(5)
    assert view.plan.position.number == number + 5
    after = grey_of(view.grab())
    assert np.mean(np.abs(after.astype(int) - before) > 20) > 0.01, "the picture stood still"

    (solid,) = hand.program.window.grid.volume_views().values()
    assert isinstance(solid, VolumeView)
    frame = grey_of(solid.picture())
    assert solid.failure == ""
    assert np.mean(frame > 60) > 0.03, "the 3D view is black"

    window = hand.program.window
    shot = grey_of(window.grab())
    size, dense = window.size(), window.devicePixelRatio()
    assert shot.shape == (round(size.height() * dense), round(size.width() * dense))
    assert len(np.unique(shot)) > 100


#: The real start, closed by its own window a moment after it was painted.
START_AND_CLOSE = """
import sys
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication
from app.__main__ import main

application = QApplication(["isocenter"])
def close():
    (window,) = [w for w in application.topLevelWidgets() if w.isVisible() and w.isWindow()]
    print("title:", window.windowTitle())
    window.close()
QTimer.singleShot(1500, close)
sys.exit(main([]))
"""


def test_the_program_starts_and_quits_cleanly(private_home):
    done = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", START_AND_CLOSE],
        cwd=PROJECT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Isocenter" in done.stdout
    assert "Traceback" not in done.stderr
    assert "Fatal Python error" not in done.stderr
