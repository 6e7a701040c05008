"""CPU time of the three linked slice views: scroll, window/level, oblique drag, brush stroke.

Run ``python benchmarks/bench_views.py``. Every figure is CPU milliseconds of the whole process
(all threads) for one step of the user: state, plan, pictures and the paint of three 512 by 512
views with a mask and a heat map over the image. The views are real widgets on Qt's offscreen
platform; no window system and no GPU take part.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PySide6.QtCore import QCoreApplication
from PySide6.QtWidgets import QApplication, QWidget

from app.workspace import Workspace
from imaging.case import Case
from imaging.edits.edit import Edit
from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import Segment, Segmentation
from imaging.volume import Volume, Window
from viewer.state.display import Brush, Cell, DisplayState, Layout, Plane
from viewer.state.linking import middle_voxel, with_cursor
from viewer.tools.brush import brush
from viewer.tools.oblique import tilted
from viewer.tools.scroll import scrolled
from viewer.tools.tool import PointerEvent, Preview
from viewer.widgets.view_grid import GAP, ViewGrid

VIEW = 512
#: (name, shape (k, j, i), budget of a scroll step in CPU-ms)
SIZES = (("256x256x192", (192, 256, 256), 10.0), ("512x512x400", (400, 512, 512), 22.0))
BUDGETS = {"window/level": 8.0, "oblique drag": 40.0, "brush stroke": 8.0}


class BenchScene:
    """The scene of the gestures, straight over a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.grid: ViewGrid | None = None

    @property
    def case(self) -> Case:
        return self.workspace.case

    @property
    def display(self) -> DisplayState:
        return self.workspace.display

    def show(self, display: DisplayState) -> None:
        self.workspace.show(display)

    def execute(self, edit: Edit) -> None:
        self.workspace.execute(edit)

    def preview(self, preview: Preview | None) -> None:
        if self.grid is not None:
            self.grid.preview(preview)

    def say(self, sentence: str) -> None:
        raise RuntimeError(sentence)


def phantom(shape: tuple[int, int, int]) -> Case:
    """A noisy ball with a mask and a map, 1 mm voxels."""
    generator = np.random.default_rng(0)
    k, j, i = (np.linspace(-1, 1, n, dtype=np.float32) for n in shape)
    radius = np.sqrt(k[:, None, None] ** 2 + j[None, :, None] ** 2 + i**2)
    image = ((1.2 - radius).clip(0) * 800).astype(np.int16)
    image += generator.integers(0, 60, shape, dtype=np.int16)
    geometry = Geometry(shape, np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]], "1.2.3")
    labels = ((radius * 20).astype(np.uint8) % 6) * (radius < 0.8)
    segments = tuple(Segment(n, f"label {n}", (40 * n, 255 - 40 * n, 120)) for n in range(1, 6))
    mask = Segmentation.from_labels("s", "mask", geometry, "v", labels, segments=segments)
    heat = Heatmap("h", "probability", (1 - radius).clip(0, 1), "probability", geometry, "v")
    volume = Volume("v", "phantom", image, geometry, window=Window(500, 1000))
    return Case({"v": volume, "s": mask, "h": heat})


class Bench:
    """Three views of 512 by 512 and a way to time one step."""

    def __init__(self, shape: tuple[int, int, int], planes: tuple[Plane, ...]) -> None:
        self.workspace = Workspace()
        self.scene = BenchScene(self.workspace)
        self.grid = self.scene.grid = ViewGrid(self.workspace, self.scene, QWidget)
        case = phantom(shape)
        geometry = case.volume("v").geometry
        cells = tuple(
            Cell(f"c{n}", p, "v", normal=(0.1, 0.2, 0.97), right=(1.0, 0.0, 0.0))
            for n, p in enumerate(planes)
        )
        display = DisplayState(
            cells=cells,
            layout=Layout.TWO_BY_TWO,
            active="c0",
            brush=Brush(radius_mm=10.0, shape="ball", segmentation_id="s", label=2),
        )
        display = with_cursor(display, geometry, middle_voxel(geometry))
        self.workspace.display_changed.connect(lambda _, new: self.grid.apply(self.scene.case, new))
        self.workspace.case_changed.connect(
            lambda changes, _: self.grid.apply(self.scene.case, self.scene.display, changes)
        )
        self.grid.resize(2 * VIEW + GAP, 2 * VIEW + GAP)
        self.grid.show()
        self.workspace.replace_case(case, display)
        self.paint()

    def paint(self) -> None:
        """Let Qt paint what was asked for."""
        QCoreApplication.sendPostedEvents()
        QCoreApplication.processEvents()

    def times(self, step: Callable[[int], None], repeats: int) -> list[float]:
        """CPU-ms of each step, its paint included."""
        taken = []
        for n in range(repeats + 3):
            begin = time.process_time()
            step(n)
            self.paint()
            taken.append((time.process_time() - begin) * 1000.0)
        return taken[3:]


def scroll_step(bench: Bench) -> Callable[[int], None]:
    """The crosshair moves one voxel along all three axes: every view shows another slice."""

    def step(n: int) -> None:
        way = 1 if n % 40 < 20 else -1
        display = bench.scene.display
        for cell in ("c0", "c1", "c2"):
            display = scrolled(bench.scene.case, display, cell, way)
        bench.scene.show(display)

    return step


def window_step(bench: Bench) -> Callable[[int], None]:
    def step(n: int) -> None:
        bench.scene.show(bench.scene.display.with_window("v", Window(400 + n, 900 + n)))

    return step


def oblique_step(bench: Bench) -> Callable[[int], None]:
    """All three oblique planes turn by a degree, at the resolution of a drag."""

    def step(n: int) -> None:
        display = bench.scene.display.but(moving=True)
        for cell in display.cells:
            display = display.with_cell(tilted(cell, np.array([0.3, 0.2, 1.0]), np.radians(1.0)))
        bench.scene.show(display)

    return step


def stroke_times(bench: Bench, repeats: int) -> list[float]:
    """Each move of a stroke with a ball of ten voxels, refresh of the three views included."""
    view = bench.grid.slice_view("c0")
    assert view is not None
    plan = view.plan

    def event(kind, n: int) -> PointerEvent:
        world = plan.world(200.0 + 60.0 * np.sin(n / 9.0), 230.0 + 40.0 * np.cos(n / 5.0))
        return PointerEvent(
            kind, "c0", world, (float(n), 0.0), (512.0, 512.0), np.array(plan.normal),
            np.array(plan.way.right), np.array(plan.way.down), plan.mm_per_pixel,
        )  # fmt: skip

    gesture = brush(event("press", 0), bench.scene)
    next(gesture)
    taken = bench.times(lambda n: gesture.send(event("move", n)), repeats)
    gesture.close()
    return taken


def dab_times(bench: Bench, repeats: int) -> list[float]:
    """A whole stroke: press, one move, release, edit, refresh."""
    view = bench.grid.slice_view("c0")
    assert view is not None
    plan = view.plan

    def dab(n: int) -> None:
        for kind in ("press", "move", "release"):
            world = plan.world(180.0 + 5.0 * n, 230.0 + 3.0 * n)
            event = PointerEvent(
                kind, "c0", world, (float(n), 0.0), (512.0, 512.0), np.array(plan.normal),
                np.array(plan.way.right), np.array(plan.way.down), plan.mm_per_pixel,
            )  # fmt: skip
            if kind == "press":
                gesture = brush(event, bench.scene)
                next(gesture)
                continue
            try:
                gesture.send(event)
            except StopIteration:
                break

    return bench.times(dab, repeats)


def measure(repeats: int) -> list[dict]:
    """All rows of the table."""
    rows = []
    straight = (Plane.AXIAL, Plane.SAGITTAL, Plane.CORONAL)
    for name, shape, scroll_budget in SIZES:
        bench = Bench(shape, straight)
        rows += [
            _row("scroll", name, bench.times(scroll_step(bench), repeats), scroll_budget),
            _row("window/level", name, bench.times(window_step(bench), repeats)),
            _row("brush stroke", name, stroke_times(bench, repeats)),
            _row("dab", name, dab_times(bench, repeats // 2), BUDGETS["brush stroke"]),
        ]
        bench.grid.close()
        bench = Bench(shape, (Plane.OBLIQUE,) * 3)
        rows.append(_row("oblique drag", name, bench.times(oblique_step(bench), repeats)))
        bench.grid.close()
    return rows


def _row(what: str, size: str, taken: list[float], budget: float | None = None) -> dict:
    return {
        "what": what,
        "volume": size,
        "median_ms": round(float(np.median(taken)), 2),
        "p95_ms": round(float(np.percentile(taken, 95)), 2),
        "budget_ms": BUDGETS.get(what, 0.0) if budget is None else budget,
        "n": len(taken),
    }


def table(rows: list[dict]) -> str:
    """The rows as text."""
    lines = ["step           volume        median CPU-ms     p95   budget"]
    for r in rows:
        mark = "ok" if r["median_ms"] <= r["budget_ms"] else "OVER"
        lines.append(
            f"{r['what']:<14} {r['volume']:<12} {r['median_ms']:>14.1f} {r['p95_ms']:>7.1f}"
            f" {r['budget_ms']:>8.0f}  {mark}"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure, print, and fail where a budget is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    application = QApplication.instance() or QApplication([])
    rows = measure(options.repeats)
    print(json.dumps(rows, indent=1) if options.json else table(rows))
    del application
    return int(any(r["median_ms"] > r["budget_ms"] for r in rows))


if __name__ == "__main__":
    sys.exit(main())
