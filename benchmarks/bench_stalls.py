"""How long the window stands still: the longest gap of a 5 ms heartbeat while the program works.

Run ``python benchmarks/bench_stalls.py``. The real program runs on Qt's offscreen platform; every
repetition is a new process with a private home. For each step it gives two figures in ms, the
median of the repetitions: ``wall``, the longest time between two beats of the event loop, and
``cpu``, the most CPU time the main thread spent between two beats. On a shared machine the wall
gap also holds the turns of other programs; what the program itself is to blame for lies between
the two, as threads that hold Python's lock stop the window without its own CPU time.

``--where`` prints where every thread stood once a gap was longer than 50 ms.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
if os.environ["QT_QPA_PLATFORM"] == "offscreen":
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

BEAT_MS = 5
LIMIT_MS = 50.0
SHAPE = (192, 256, 256)  #: (k, j, i) of the phantom that the model answers on
HEADERS = (20, 200)  #: folders and files in each of the big study
STUDY = ROOT.parent / "shared" / "data" / "dicom_siemens_prone"


class Heart:
    """A beat in the event loop, and the longest gaps of it."""

    def __init__(self, where: bool) -> None:
        from PySide6.QtCore import Qt, QTimer

        self.reset()
        self.watched = where
        self._timer = QTimer(interval=BEAT_MS, timerType=Qt.TimerType.PreciseTimer)
        self._timer.timeout.connect(self._beat)
        self._timer.start()

    def reset(self) -> None:
        """Begin a new step."""
        self._last, self._last_cpu = time.perf_counter(), time.thread_time()
        self.wall_ms = self.cpu_ms = 0.0

    def _beat(self) -> None:
        now, cpu = time.perf_counter(), time.thread_time()
        self.wall_ms = max(self.wall_ms, (now - self._last) * 1000)
        self.cpu_ms = max(self.cpu_ms, (cpu - self._last_cpu) * 1000)
        self._last, self._last_cpu = now, cpu
        if self.watched:  # a watchdog outside Python: threads that hold its lock are seen as well
            faulthandler.dump_traceback_later(LIMIT_MS / 1000)


class Steps:
    """The program, and what a person does with it, one step after the other."""

    def __init__(self, where: bool) -> None:
        from PySide6.QtWidgets import QApplication

        from app.compose import compose
        from app.first_window import first_window
        from app.settings import Settings

        self.application = QApplication([])
        self.heart = Heart(where)
        self.program = compose(Settings(), *first_window(self.application, Settings()))
        self.program.window.show()
        self.figures: dict[str, tuple[float, float]] = {}
        self.said: list[str] = []
        for part in (self.program.cases, self.program.export, self.program.models):
            part.said.connect(self.said.append)
        self.spin(2.0)

    def step(self, name: str, act: Callable[[], object], until: Callable[[], object]) -> None:
        """Do something, let the program work until it is done, and note the longest gap."""
        self.heart.reset()
        if self.heart.watched:
            print(f"=== {name}", file=sys.stderr, flush=True)
        act()
        self.wait(until)
        self.spin(1.0)
        self.figures[name] = (self.heart.wall_ms, self.heart.cpu_ms)

    def wait(self, until: Callable[[], object], seconds: float = 120.0) -> None:
        """Run the event loop until something holds."""
        end = time.monotonic() + seconds
        while not until():
            if time.monotonic() > end:
                raise TimeoutError(self.said[-3:])
            self.spin(0.02)

    def spin(self, seconds: float) -> None:
        """Run the event loop for a while."""
        from PySide6.QtCore import QEventLoop, QTimer

        loop = QEventLoop()
        QTimer.singleShot(round(seconds * 1000), loop.quit)
        loop.exec()

    def spaced(self, acts: Iterable[Callable[[], object]], gap_ms: int = 16) -> Callable[[], bool]:
        """Do things one after the other, a frame apart; returns whether all are done."""
        from PySide6.QtCore import QTimer

        waiting = list(acts)
        timer = QTimer(self.application, interval=gap_ms)

        def one() -> None:
            if waiting:
                waiting.pop(0)()
            else:
                timer.stop()

        timer.timeout.connect(one)
        timer.start()
        return lambda: not waiting

    # --- what is done ------------------------------------------------------------------------
    def run(self) -> None:
        """All steps."""
        from imaging.demo import demo_study_folder

        demo = Path(demo_study_folder())
        if STUDY.is_dir():
            self._open("open prone study, first images and 3D", STUDY)
        self._open("open demo, first images and 3D", demo)
        self._switch_series()
        self._answer()
        self._edit()
        self._write()
        self._many_headers()

    def _open(self, name: str, path: Path) -> None:
        program = self.program
        self.step(
            name,
            lambda: program.window.dropped.emit([str(path)], False),
            lambda: (
                program.workspace.case.volumes and not program.cases.loading and self._solid_drawn()
            ),
        )

    def _solid_drawn(self) -> bool:
        views = self.program.window.grid.volume_views().values()
        return bool(views) and all(getattr(view, "_frame", None) is not None for view in views)

    def _many_headers(self) -> None:
        """A big folder, read and then remembered."""
        from bench_index import make_tree

        folder = Path(os.environ["XDG_DATA_HOME"]) / "tree"
        folder.mkdir()
        make_tree(folder, *HEADERS)
        ended: list[str] = []
        self.program.cases.job.connect(
            lambda id, _words, fraction: ended.append(id) if fraction >= 1.0 else None
        )
        for name in ("read 4000 headers, first image", "open the same folder again"):
            ended.clear()
            self.step(
                name,
                lambda: self.program.window.dropped.emit([str(folder)], False),
                lambda: "scan" in ended and not self.program.cases.loading,
            )

    def _switch_series(self) -> None:
        cases, case = self.program.cases, self.program.workspace
        self.step(
            "switch to a series not loaded yet",
            lambda: cases.step_series(1),
            lambda: len(case.case.volumes) == 2 and not cases.loading,
        )
        done = self.spaced([lambda: cases.step_series(-1), lambda: cases.step_series(1)] * 3, 150)
        self.step("switch between loaded series", lambda: None, done)

    def _answer(self) -> None:
        from imaging.segmentation import Provenance
        from inference.messages import SegmentAnswer
        from inference.registry import installed_models
        from viewer.state.navigation import show_volume

        workspace, models = self.program.workspace, self.program.models
        volume, probability = phantom()
        self.step(
            "show a 256x256x192 volume",
            lambda: (
                workspace.add_volume(volume),
                workspace.show(show_volume(workspace.case, workspace.display, volume)),
            ),
            lambda: True,
        )
        model = next(iter(installed_models()))
        made = Provenance(algorithm=model.card.name, digest="0" * 64)
        mask = (probability > 0.5).astype("uint8")
        answer = SegmentAnswer("1", probability, mask, probability.copy(), made)
        self.step(
            "answer of a model arrives",
            lambda: models._segmented(answer, volume, model),
            lambda: self.program.findings.lesions,
        )

    def _edit(self) -> None:
        program = self.program
        self.step("take the brush", lambda: program.tools.choose("brush"), lambda: True)
        self.step("first stroke", lambda: None, self._stroke(0))
        self.step("second stroke", lambda: None, self._stroke(40))
        self.step("undo", lambda: program.tools.undo(), lambda: True)
        slider = program.window.findings.threshold
        acts = [lambda v=v: slider.changing.emit(0.5 + v / 50) for v in range(12)]
        done = self.spaced(acts, 33)
        self.step("drag the threshold", lambda: None, done)
        self.step("let the threshold go", lambda: slider.settled.emit(0.72), lambda: True)
        self.step("undo the threshold", lambda: program.tools.undo(), lambda: True)

    def _stroke(self, offset: int) -> Callable[[], bool]:
        from PySide6.QtCore import QPoint, Qt
        from PySide6.QtTest import QTest

        view = self.program.window.grid.slice_view("a")
        assert view is not None
        seen = view
        start = view.rect().center() + QPoint(offset, offset)
        button, none = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier
        moves = [
            lambda n=n: QTest.mouseMove(seen, start + QPoint(3 * n, 2 * n)) for n in range(1, 12)
        ]
        return self.spaced(
            [
                lambda: QTest.mousePress(view, button, none, start),
                *moves,
                lambda: QTest.mouseRelease(view, button, none, start + QPoint(33, 22)),
            ]
        )

    def _write(self) -> None:
        from app.export_choice import ExportChoice

        program = self.program
        folder = Path(os.environ["XDG_DATA_HOME"])
        mask = program.workspace.case.segmentations[0]
        kinds = ("mask_nifti", "surface", "lesions_csv", "screenshot_png")
        choice = ExportChoice(folder, kinds, mask.id, None, mask.volume_id, ())
        self.step(
            "export",
            lambda: program.export.export(choice),
            lambda: any("read back in" in words for words in self.said),
        )
        self.step(
            "save",
            lambda: program.cases.save(folder / "work.isocase"),
            lambda: any("work.isocase" in words for words in self.said),
        )


def phantom():
    """A noisy ball and a probability with some forty blobs in it, 1 mm voxels."""
    import numpy as np

    from imaging.geometry import Geometry
    from imaging.volume import Volume

    generator = np.random.default_rng(0)
    k, j, i = (np.linspace(-1, 1, n, dtype=np.float32) for n in SHAPE)
    radius = np.sqrt(k[:, None, None] ** 2 + j[None, :, None] ** 2 + i**2)
    image = ((1.2 - radius).clip(0) * 800).astype(np.int16)
    image += generator.integers(0, 60, SHAPE, dtype=np.int16)
    probability = np.zeros(SHAPE, np.float32)
    ball = np.sqrt(sum(axis**2 for axis in np.ogrid[-6:7, -6:7, -6:7]))
    for corner in generator.integers(60, 130, (40, 3)):
        block = probability[tuple(slice(c, c + 13) for c in corner)]
        np.maximum(block, (1 - ball / 7).clip(0).astype(np.float32), out=block)
    geometry = Geometry(SHAPE, np.diag([1.0, 1.0, 1.0, 1.0])[[2, 1, 0, 3]], "1.2.3")
    volume = Volume("bench", "phantom", image, geometry)
    return volume, probability


def once(where: bool) -> dict[str, tuple[float, float]]:
    """One repetition in a private home."""
    from imaging.storage import header_index

    with tempfile.TemporaryDirectory() as home:
        for name in ("CONFIG", "DATA", "STATE"):
            os.environ[f"XDG_{name}_HOME"] = str(Path(home) / name.lower())
            (Path(home) / name.lower()).mkdir()
        header_index.cache_folder = lambda: Path(home) / "headers"
        steps = Steps(where)
        steps.run()
        from app.compose import quit_program

        quit_program(steps.program)
        return steps.figures


def main() -> None:
    """Repeat in new processes and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--once", action="store_true", help="one repetition, printed as JSON")
    parser.add_argument("--where", action="store_true", help="say where long gaps come from")
    given = parser.parse_args()
    if given.once:
        print(json.dumps(once(given.where)), flush=True)
        os._exit(0)
    command = [sys.executable, __file__, "--once", *(["--where"] if given.where else [])]
    runs = []
    with tempfile.TemporaryDirectory() as compiled:
        # As installed: modules are compiled once, by a first run that does not count.
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for _ in range(given.repeat + 1):
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
            runs.append(json.loads(done.stdout.splitlines()[-1]))
    del runs[0]
    print(f"{'step':<42}{'wall ms':>9}{'cpu ms':>9}")
    for name in runs[0]:
        wall, cpu = (statistics.median(run[name][n] for run in runs) for n in (0, 1))
        mark = "  <- stall" if cpu > LIMIT_MS else ""
        print(f"{name:<42}{wall:>9.0f}{cpu:>9.0f}{mark}")


if __name__ == "__main__":
    main()
