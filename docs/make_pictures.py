"""Makes the pictures of README and docs from the real program.

Run with ``.venv/bin/python docs/make_pictures.py``; needs no screen. Opens the synthetic demo, runs
the shipped model, walks to a lesion, asks why, corrects by hand, and saves ``docs/pictures/*.png``.
``--models`` makes the pictures of the other models instead, on a real patient of the shared data
(``ISOCENTER_DATA``); ``--training DIR`` makes the one of a finished training (the ``--out`` of
``isocenter train``). Settings, journals and logs go to a temporary home.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PICTURES = PROJECT / "docs" / "pictures"
SIZE = (1500, 940)
LARGEST = 400_000  # bytes of one picture
DATA = Path(os.environ.get("ISOCENTER_DATA", PROJECT.parent / "shared" / "data"))
PATIENT = DATA / "ms_open_mni" / "MNI" / "patient19"
PATIENT_FILE = "N4_noneck_reduced_winsor_regtoFLAIR_brain_N4_regtoMNI.nii.gz"

sys.path.insert(0, str(PROJECT))
os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
if os.environ["QT_QPA_PLATFORM"] == "offscreen":
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402
from PySide6.QtCore import QPoint, Qt  # noqa: E402
from PySide6.QtTest import QTest  # noqa: E402
from PySide6.QtWidgets import QApplication, QTabWidget, QWidget  # noqa: E402

from app.compose import compose, quit_program  # noqa: E402
from app.first_window import first_window  # noqa: E402
from app.program import Program  # noqa: E402
from app.settings import Settings  # noqa: E402
from app.windows.export_dialog import ExportDialog  # noqa: E402
from imaging.heatmap import DEVIATION, UNCERTAINTY  # noqa: E402


class Photographer:
    """The running program, somebody to press its keys, and a camera."""

    def __init__(self, program: Program, application: QApplication) -> None:
        self.program = program
        self.application = application

    def wait(self, true: Callable[[], object], seconds: float = 60) -> None:
        """Let the program work until something holds.

        Raises
        ------
        TimeoutError
            Where it does not within the time.
        """
        end = time.monotonic() + seconds
        while not true():
            if time.monotonic() > end:
                raise TimeoutError("the program did not get there")
            self.rest(0.01)

    def rest(self, seconds: float) -> None:
        """Let the program work for a while."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.application.processEvents()
            time.sleep(0.002)

    def turn_to(self, title: str) -> None:
        """Bring a page of the side panels to the front."""
        for tabs in self.program.window.findChildren(QTabWidget):
            for index in range(tabs.count()):
                if tabs.tabText(index) == title:
                    tabs.setCurrentIndex(index)
                    return
        raise LookupError(title)

    def open(self, path: Path, add: bool) -> None:
        """Open a file as a drop would, and wait for its last slice."""
        program = self.program
        known = len(program.cases.series) if add else 0
        program.window.dropped.emit([str(path)], add)
        self.wait(lambda: len(program.cases.series) > known)
        self.wait(lambda: program.workspace.case.volumes and not program.cases.loading)

    def view(self, cell: str = "a"):
        """A slice view."""
        view = self.program.window.grid.slice_view(cell)
        assert view is not None
        return view

    def shoot(self, name: str) -> None:
        """Save the window when 3D and jobs have come to rest."""
        self.rest(0.8)
        for solid in self.program.window.grid.volume_views().values():
            solid.picture()  # type: ignore[attr-defined]
        self.rest(0.2)
        self.save(name, self.program.window)

    def save(self, name: str, widget: QWidget) -> None:
        """Save a window as it is."""
        path = PICTURES / f"{name}.png"
        image = widget.grab().toImage()
        rgb = image.convertToFormat(image.Format.Format_RGB888)
        rows = np.frombuffer(rgb.constBits(), np.uint8).reshape(rgb.height(), rgb.bytesPerLine())
        pixels = rows[:, : 3 * rgb.width()].reshape(rgb.height(), rgb.width(), 3)
        # A palette halves the file; the noise of an MR image does not pack any other way.
        Image.fromarray(pixels).quantize(256, kmeans=2, dither=Image.Dither.NONE).save(
            path, optimize=True
        )
        size = path.stat().st_size
        print(f"{path.relative_to(PROJECT)}: {rgb.width()}×{rgb.height()}, {size // 1000} kB")
        if size > LARGEST:
            raise SystemExit(f"{path.name} is larger than {LARGEST // 1000} kB")


def series(camera: Photographer) -> None:
    """The whole story, one picture after the other."""
    program = camera.program
    camera.wait(lambda: program.window.models.model_id, 30)
    camera.shoot("start")

    program.cases.open_demo()
    camera.wait(lambda: program.workspace.case.volumes and not program.cases.loading)
    camera.wait(lambda: len(program.window.browser.keys) == 3)
    camera.shoot("reading")

    program.models.run()
    camera.wait(lambda: not program.models.running, 200)
    camera.wait(lambda: program.findings.lesions)
    program.findings.step(1)
    camera.shoot("review")

    program.models.explain_lesion()
    camera.wait(lambda: not program.models.running, 120)
    camera.turn_to("Explain")
    camera.shoot("explain")

    camera.turn_to("Findings")
    program.tools.undo()  # the map of the last picture would lie over the edited edge
    program.tools.choose("brush")
    program.tools.scale_brush(1.5)
    correct(camera)
    camera.shoot("edit")

    program.window.ask_export()
    (dialog,) = program.window.findChildren(ExportDialog)
    dialog.folder.setText("/studies/exports")
    dialog.why_not.clear()
    camera.rest(0.3)
    camera.save("export", dialog)
    dialog.close()


def models(camera: Photographer, wanted: Sequence[str]) -> None:
    """What the other models answer on patient 19 of ``ms_open_mni`` (Lesjak et al. 2017)."""
    camera.wait(lambda: camera.program.window.models.model_id, 30)
    for number, start in enumerate(("FLAIR", "T1", "T2")):
        camera.open(PATIENT / f"{start}_{PATIENT_FILE}", add=number > 0)
    for name, make in (("thorough", thorough), ("tissue", tissue), ("deviation", deviation)):
        if not wanted or name in wanted:
            make(camera)


def thorough(camera: Photographer) -> None:
    """The choice of a model, then findings with the answer for the study and the uncertainty."""
    program = camera.program
    camera.turn_to("AI model")
    choose(camera, "flair-wml-thorough")
    camera.wait(program.window.models.run.isEnabled)  # T1w and T2w are loaded beside it
    camera.shoot("window-models")
    run(camera)
    camera.turn_to("Findings")
    camera.wait(lambda: program.findings.lesions and not program.findings.measuring)
    program.findings.step(1)
    camera.turn_to("Overlays")
    show_only(camera, UNCERTAINTY)
    camera.wait(lambda: program.window.findings.answer.places)
    camera.shoot("window-thorough")


def tissue(camera: Photographer) -> None:
    """Brain and tissue: three labels, and their volumes in the answer."""
    choose(camera, "brain-tissue")
    run(camera)
    camera.turn_to("Findings")
    camera.turn_to("Masks")
    show_only(camera, "")
    camera.wait(lambda: " ml" in camera.program.window.findings.answer.text())
    camera.rest(2.0)
    camera.shoot("window-tissue")


def deviation(camera: Photographer) -> None:
    """Where the head differs, and the guess of normal beside the image."""
    workspace = camera.program.workspace
    choose(camera, "deviation")
    run(camera)
    camera.turn_to("Explain")
    camera.turn_to("Overlays")
    for mask in workspace.case.segmentations:
        workspace.show(workspace.display.with_overlay(mask.id, visible=False))
    show_only(camera, DEVIATION)
    camera.shoot("window-deviation")


def choose(camera: Photographer, model_id: str) -> None:
    """Choose a model in its panel."""
    box = camera.program.window.models.model
    if box.findData(model_id) < 0:
        raise SystemExit(f"the model {model_id} is not installed")
    box.setCurrentIndex(box.findData(model_id))
    camera.rest(0.2)


def run(camera: Photographer) -> None:
    """Run the chosen model to its end."""
    program = camera.program
    camera.turn_to("AI model")
    camera.rest(0.2)
    before = set(program.workspace.case.items)
    program.models.run()
    camera.wait(lambda: program.models.running, 10)
    camera.wait(lambda: not program.models.running, 400)
    camera.rest(0.5)
    if set(program.workspace.case.items) == before:
        raise SystemExit(program.window.models.result.text())


def show_only(camera: Photographer, meaning: str) -> None:
    """Of all maps show those of one meaning."""
    workspace = camera.program.workspace
    for item in workspace.case.heatmaps:
        seen = item.meaning == meaning
        workspace.show(workspace.display.with_overlay(item.id, visible=seen))


def training(camera: Photographer, folder: Path) -> None:
    """The end of a training, read from its folder."""
    from app.controllers.training import TrainingState
    from app.training_events import Done
    from app.training_wish import stored_wish
    from app.windows.training_window import TrainingWindow

    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    verdict = report.get("verdict", {})
    package = next((path.parent for path in sorted(folder.glob("**/card.toml"))), folder)
    end = Done(
        str(package),
        str(folder / "report.json"),
        verdict.get("promoted", True),
        verdict.get("reason", ""),
    )
    window = TrainingWindow(camera.program.workspace)
    window.show_state(TrainingState(wish=stored_wish(folder), end=end))
    window.show()
    camera.rest(0.5)
    camera.save("training", window)
    window.close()


def correct(camera: Photographer) -> None:
    """Paint a short stroke onto the edge of the lesion, and leave the brush over the image."""
    view = camera.view()
    plan = view.plan
    away = np.asarray(camera.program.workspace.display.cursor) - plan.centre
    right = float(away @ np.asarray(plan.way.right)) / plan.mm_per_pixel
    down = float(away @ np.asarray(plan.way.down)) / plan.mm_per_pixel
    lesion = QPoint(round(plan.size[0] / 2 + right), round(plan.size[1] / 2 + down))
    points = [lesion + QPoint(x, 14 + x // 3) for x in range(0, 30, 6)]
    QTest.mousePress(view, Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier, points[0])
    for point in points[1:]:
        QTest.mouseMove(view, point)
    QTest.mouseRelease(view, Qt.MouseButton.LeftButton, pos=points[-1])
    camera.rest(0.3)
    QTest.mouseMove(view, points[-1] + QPoint(30, 10))


def main() -> None:
    """Run the program in a private home and take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--models",
        nargs="*",
        choices=("thorough", "tissue", "deviation"),
        help="the pictures of the other models, or of some of them",
    )
    parser.add_argument("--training", type=Path, help="folder of a finished training")
    wanted = parser.parse_args()
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        for name in ("CONFIG", "DATA", "STATE"):
            os.environ[f"XDG_{name}_HOME"] = home
        application = QApplication([])
        program = compose(Settings(), *first_window(application, Settings()))
        program.window.resize(*SIZE)
        program.window.show()
        program.window.activateWindow()
        try:
            camera = Photographer(program, application)
            if wanted.training is not None:
                training(camera, wanted.training)
            if wanted.models is not None:
                models(camera, wanted.models)
            if wanted.models is None and wanted.training is None:
                series(camera)
        finally:
            quit_program(program)
            program.window.close()


if __name__ == "__main__":
    main()
