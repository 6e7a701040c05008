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
import app.groundwork
from PySide6.QtCore import QTimer, QEvent, QObject
from PySide6.QtWidgets import QApplication
from app.compose import compose
app = QApplication([])
class Painted(QObject):
    def eventFilter(self, watched, event):
        if event.type() == QEvent.Type.Paint:
            QTimer.singleShot(0, leave)
        return False
def leave():
    import os
    os._exit(0)
program = compose(app)
painted = Painted()
program.window.installEventFilter(painted)
program.window.show()
app.exec()
"""


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
    """Alternate both and print medians and their ratio."""
    figures: dict[str, list[tuple[float, float]]] = {"PySide6 + numpy": [], "Isocenter": []}
    for name, code in (("PySide6 + numpy", MINIMUM), ("Isocenter", ISOCENTER)):
        cpu_seconds(code)  # warm the file cache
    for _ in range(rounds):
        figures["PySide6 + numpy"].append(cpu_seconds(MINIMUM))
        figures["Isocenter"].append(cpu_seconds(ISOCENTER))
    print(f"{'start to first painted window':34} {'CPU s':>8} {'wall s':>8}   (median of {rounds})")
    medians = {}
    for name, rows in figures.items():
        medians[name] = statistics.median(cpu for cpu, _ in rows)
        wall = statistics.median(w for _, w in rows)
        print(f"{name:34} {medians[name]:8.2f} {wall:8.2f}")
    print(f"{'ratio (CPU)':34} {medians['Isocenter'] / medians['PySide6 + numpy']:8.2f}")


if __name__ == "__main__":
    main()
