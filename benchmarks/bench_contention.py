"""Frame time of three linked views while the model runs, against idle, in the same run.

A 256x256x192 volume with a mask and a heat map is scrolled every 60 ms in real widgets; the wall
time of one frame (new state to painted pixels) is taken with the worker idle and with a whole-head
pass going on. Prints a table; asserts nothing.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from itertools import cycle

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")

import numpy as np
from PySide6.QtCore import QEvent, QObject
from PySide6.QtWidgets import QApplication

from app.compose import compose, quit_program
from app.first_window import first_window
from app.settings import Settings
from imaging.edits.edit import AddItem
from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import Segment, Segmentation
from imaging.volume import Source, Volume
from viewer.state.display import Layout
from viewer.state.navigation import first_display

ROUNDS = 5


def _fill(workspace, shape=(192, 256, 256)) -> Volume:
    rng = np.random.default_rng(0)
    k, j, i = np.ogrid[: shape[0], : shape[1], : shape[2]]
    centre = [n / 2 for n in shape]
    r = np.sqrt(
        ((k - centre[0]) / 80) ** 2 + ((j - centre[1]) / 95) ** 2 + ((i - centre[2]) / 80) ** 2
    )
    voxels = (600 * (r < 1) + 200 * (r < 0.9) + rng.normal(0, 30, shape)).clip(0).astype(np.int16)
    affine = np.array([[0, 0, 1, -128], [0, 1, 0, -128], [1, 0, 0, -96], [0, 0, 0, 1]], float)
    geometry = Geometry(shape, affine)
    volume = Volume("v", "FLAIR phantom", voxels, geometry, Source("memory", sequence="FLAIR"))
    workspace.add_volume(volume)
    labels = (r < 0.3).astype(np.uint8)
    mask = Segmentation.from_labels(
        "m", "mask", geometry, "v", labels, segments=(Segment(1, "Lesion", (230, 159, 0)),)
    )
    heat = Heatmap("h", "heat", np.clip(1 - r, 0, 1), "probability", geometry, "v")
    for item in (mask, heat):
        workspace.execute(AddItem(item, "add"))
    workspace.show(first_display(workspace.display, volume).but(layout=Layout.TWO_BY_TWO))
    return volume


#: There and back again from the middle slice, so that no step runs into the end of the stack.
_STEPS = cycle([1] * 40 + [-1] * 40)


def _frames(program, application, seconds: float, while_true=lambda: True) -> list[float]:
    """Wall ms of each scrolled frame; every one must have moved the slice and painted it."""
    view = program.window.grid.slice_view("a")
    painted = _Painted(view)
    view.installEventFilter(painted)
    times: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and while_true():
        number, paints = view.plan.position.number, painted.count
        start = time.perf_counter()
        program.views.scroll(next(_STEPS))
        application.processEvents()
        times.append((time.perf_counter() - start) * 1000)
        if view.plan.position.number == number or painted.count == paints:
            raise SystemExit("a frame was counted that drew nothing")
        rest = 0.06 - (time.perf_counter() - start)
        time.sleep(max(0.0, rest))
        application.processEvents()
    view.removeEventFilter(painted)
    return times


class _Painted(QObject):
    """Counts the paint events of a widget."""

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.count = 0

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Count and pass on."""
        self.count += event.type() == QEvent.Type.Paint
        return False


def _row(name: str, times: list[float]) -> None:
    p95 = float(np.percentile(times, 95))
    print(f"{name:26} {statistics.median(times):8.1f} {p95:8.1f} {len(times):6}")


def main() -> None:
    """Measure idle, then with the model, and print medians and their ratio."""
    application = QApplication.instance() or QApplication([])
    settings = Settings()
    program = compose(settings, *first_window(application, settings))
    program.window.resize(1500, 940)
    program.window.show()
    volume = _fill(program.workspace)
    from inference.registry import installed_models

    model = next(m for m in installed_models() if m.available)
    program.models._set_installed([model])
    program.workspace.show(program.workspace.display.with_cell(program.workspace.display.cells[3]))
    _frames(program, application, 4)  # surfaces, first pictures and the worker's start-up
    program.models.run(model.card.id, volume.id, "cpu", False)
    _frames(program, application, 60, lambda: program.models.running)
    idle: list[float] = []
    busy: list[float] = []
    ratios: list[float] = []
    for _ in range(ROUNDS):
        # Idle before and after each run: what else the machine does then weighs on both alike.
        before = _frames(program, application, 3)
        program.models.run(model.card.id, volume.id, "cpu", False)
        during = _frames(program, application, 60, lambda: program.models.running)
        around = before + _frames(program, application, 3)
        idle += around
        busy += during
        ratios.append(statistics.median(during) / statistics.median(around))
    print(f"{'three views + 3D, 60 ms':26} {'median':>8} {'p95':>8} {'n':>6}   (wall ms)")
    _row("idle", idle)
    _row("model running", busy)
    each = ", ".join(f"{ratio:.2f}" for ratio in sorted(ratios))
    print(f"ratio of medians, per round: {each}; median {statistics.median(ratios):.2f}")
    print(f"torch in this process: {'torch' in sys.modules}")
    quit_program(program)


if __name__ == "__main__":
    main()
