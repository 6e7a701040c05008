"""Process start to first painted window, against PySide6 + numpy alone, in the same run.

Each figure is the CPU time (all threads) of a whole child process that starts, paints its window
once and leaves. Prints a table; asserts nothing.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time

MINIMUM = """
import numpy, sys
from PySide6.QtCore import QTimer
from PySide6.QtWidgets import QApplication, QMainWindow, QWidget
from PySide6.QtGui import QImage, QPainter
class View(QWidget):
    def paintEvent(self, event):
        a = numpy.zeros((256, 256), numpy.uint8)
        QPainter(self).drawImage(0, 0, QImage(a.data, 256, 256, 256, QImage.Format_Grayscale8))
        QTimer.singleShot(0, app.quit)
app = QApplication([])
w = QMainWindow()
for m in range(20):
    menu = w.menuBar().addMenu(str(m))
for a in range(30):
    menu.addAction(str(a))
w.setCentralWidget(View()); w.resize(1500, 940); w.show()
app.exec()
"""

ISOCENTER = """
import os
from app.settings import load
settings, problem = load()
from PySide6.QtCore import QTimer, QEvent, QObject
from PySide6.QtWidgets import QApplication
from app.first_window import first_window
app = QApplication([])
class Painted(QObject):
    def eventFilter(self, watched, event):
        if event.type() == QEvent.Type.Paint:
            QTimer.singleShot(0, leave)
        return False
def leave():
    if WHOLE:
        from app.compose import compose
        compose(settings, workspace, window)
        app.processEvents()
    os._exit(0)
workspace, window = first_window(app, settings)
painted = Painted()
window.installEventFilter(painted)
window.show()
app.exec()
"""
NAMES = ("PySide6 + numpy", "Isocenter, first window", "Isocenter, every panel and view")
CODES = (MINIMUM, "WHOLE = False\n" + ISOCENTER, "WHOLE = True\n" + ISOCENTER)


def cpu_seconds(code: str) -> tuple[float, float]:
    """CPU and wall seconds of a child process that runs this code."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **QUIET})
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime), wall


QUIET = {"QT_QPA_PLATFORM": os.environ.get("QT_QPA_PLATFORM", "offscreen")}


def main(rounds: int = 7) -> None:
    """Alternate the programs and print medians and their ratios."""
    figures: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
    for code in CODES:
        cpu_seconds(code)  # warm the file cache
    for _ in range(rounds):
        for name, code in zip(NAMES, CODES, strict=True):
            figures[name].append(cpu_seconds(code))
    print(f"{'process start to':34} {'CPU s':>8} {'wall s':>8} {'ratio':>6}  (median of {rounds})")
    base = statistics.median(cpu for cpu, _ in figures[NAMES[0]])
    for name, rows in figures.items():
        cpu = statistics.median(cpu for cpu, _ in rows)
        wall = statistics.median(w for _, w in rows)
        print(f"{name:34} {cpu:8.2f} {wall:8.2f} {cpu / base:6.2f}")


if __name__ == "__main__":
    main()
