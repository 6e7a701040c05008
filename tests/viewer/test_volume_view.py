"""The 3D view under a hand: it draws, turns, picks, follows edits and survives a missing driver."""

from __future__ import annotations

import subprocess
import sys
import threading

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QImage, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from imaging.analysis.lesions import find_lesions
from imaging.case import VOXELS, Case, Change
from imaging.edits.edit import VoxelEdit
from imaging.errors import WorldFailed
from imaging.geometry import Box, Geometry
from imaging.segmentation import Segment, Segmentation
from imaging.volume import Volume, Window
from viewer.rendering import frame_maker, surface_builder
from viewer.state.display import Cell, DisplayState, Plane
from viewer.widgets.volume_view import VolumeView

SHAPE = (40, 48, 56)
GREEN, RED = (0, 200, 0), (230, 0, 0)


def pixels(image: QImage) -> np.ndarray:
    image = image.convertToFormat(QImage.Format.Format_RGBA8888)
    flat = np.frombuffer(image.constBits(), np.uint8)
    return flat.reshape(image.height(), image.width(), 4)[..., :3].astype(int)


def count(image: QImage, channel: int) -> int:
    rgb = pixels(image)
    others = np.delete(rgb, channel, axis=-1).max(axis=-1)
    return int(((rgb[..., channel] > 70) & (others < 0.6 * rgb[..., channel])).sum())


class Bench:
    """A case with one head and one mask of two lesions, and a view of it."""

    def __init__(self, qtbot) -> None:
        self.geometry = Geometry(SHAPE, np.diag([2.0, 2.0, 2.0, 1.0])[[2, 1, 0, 3]])
        away = np.linalg.norm(
            (np.indices(SHAPE) / np.reshape(SHAPE, (3, 1, 1, 1)) - 0.5) / 0.45, axis=0
        )
        self.memory = np.where(away < 1, 100, 0).astype(np.int16)
        self.volume = Volume("v", "Head", self.memory, self.geometry, window=Window(60, 120))
        labels = np.zeros(SHAPE, np.uint8)
        labels[16:24, 14:22, 10:18] = 1
        labels[16:24, 14:22, 38:46] = 2
        segments = (Segment(1, "Left one", GREEN), Segment(2, "Right one", RED))
        self.mask = Segmentation.from_labels(
            "s", "Lesions", self.geometry, "v", labels, segments=segments
        )
        self.case = Case({"v": self.volume, "s": self.mask})
        self.cell = Cell("c3d", Plane.VOLUME, "v")
        self.display = DisplayState(
            cells=(self.cell,), cursor=tuple(self.geometry.world((8, 24, 28)))
        )
        self.view = VolumeView()
        qtbot.addWidget(self.view)
        self.view.resize(320, 260)

    def show(self, *changes: Change) -> QImage:
        self.view.apply(self.case, self.display, self.cell, changes)
        self.view.show()
        return self.view.picture()

    def place(self, index) -> QPoint:
        x, y, _ = self.view.orbit.projected(
            self.geometry.world([index]), self.view.width(), self.view.height()
        )[0]
        return QPoint(round(x), round(y))

    def paint(self, box: Box, label: int) -> Change:
        before = self.mask.labels[box.slices].copy()
        edit = VoxelEdit.between("s", "Stroke", box, before, np.full_like(before, label))
        return edit.apply(self.case)[0]


@pytest.fixture
def bench(qtbot):
    return Bench(qtbot)


def test_nothing_of_opengl_is_made_before_the_view_is_shown(bench, monkeypatch):
    made = []
    monkeypatch.setattr(frame_maker, "VolumeScene", lambda: made.append(1) or pytest.fail("made"))
    bench.view.apply(bench.case, bench.display, bench.cell)
    QApplication.processEvents()
    assert made == []


def test_both_lesions_and_the_head_are_in_the_picture(bench):
    image = bench.show()
    assert count(image, 0) > 60
    assert count(image, 1) > 60
    assert (pixels(image).min(axis=-1) > 150).sum() > 1000


def test_hidden_segments_masks_and_overlays_are_not_drawn(bench):
    bench.show()
    bench.display = bench.display.with_overlay("s", hidden_segments=frozenset({1}))
    hidden = bench.show()
    assert count(hidden, 0) > 60
    assert count(hidden, 1) == 0
    bench.display = bench.display.with_overlay("s", hidden_segments=frozenset(), visible=False)
    assert count(bench.show(), 0) == 0
    bench.display = bench.display.with_overlay("s", visible=True).but(overlays_shown=False)
    assert count(bench.show(), 0) == 0


def test_a_click_on_a_lesion_picks_a_voxel_of_it(bench):
    bench.show()
    bench.view.look_from("S")
    bench.view.picture()
    for index, label in (((20, 18, 14), 1), ((20, 18, 42), 2)):
        got = []
        bench.view.picked.connect(got.append)
        QTest.mouseClick(bench.view, Qt.MouseButton.LeftButton, pos=bench.place(index))
        bench.view.picked.disconnect(got.append)
        assert len(got) == 1
        assert bench.mask.labels[bench.geometry.nearest(got[0])] == label


def test_a_click_beside_the_lesions_picks_nothing_and_a_drag_does_not_pick(bench):
    bench.show()
    bench.view.look_from("S")
    got = []
    bench.view.picked.connect(got.append)
    QTest.mouseClick(bench.view, Qt.MouseButton.LeftButton, pos=QPoint(5, 5))
    drag(bench.view, Qt.MouseButton.LeftButton, bench.place((20, 18, 14)), QPoint(30, 0))
    assert got == []


def drag(view: QWidget, button: Qt.MouseButton, start: QPoint, step: QPoint) -> None:
    QTest.mousePress(view, button, pos=start)
    for part in (0.4, 0.7, 1.0):
        QTest.mouseMove(view, start + QPoint(round(step.x() * part), round(step.y() * part)))
        QApplication.processEvents()
    QTest.mouseRelease(view, button, pos=start + step)


def test_left_drag_turns_middle_pans_right_and_wheel_zoom(bench):
    bench.show()
    middle = QPoint(160, 130)
    before = bench.view.orbit
    drag(bench.view, Qt.MouseButton.LeftButton, middle, QPoint(40, 10))
    turned = bench.view.orbit
    assert turned.azimuth != before.azimuth
    assert turned.elevation > before.elevation
    assert turned.focal == before.focal
    drag(bench.view, Qt.MouseButton.MiddleButton, middle, QPoint(30, 20))
    panned = bench.view.orbit
    assert panned.focal != turned.focal
    assert panned.distance == turned.distance
    drag(bench.view, Qt.MouseButton.RightButton, middle, QPoint(0, -40))
    zoomed = bench.view.orbit
    assert zoomed.distance < panned.distance
    roll(bench.view, -120)
    assert bench.view.orbit.distance > zoomed.distance


def roll(view: QWidget, delta: int) -> None:
    spot = QPointF(view.rect().center())
    event = QWheelEvent(
        spot, view.mapToGlobal(spot), QPoint(), QPoint(0, delta), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(view, event)


def test_turning_changes_the_picture_and_looking_from_a_side_brings_it_back(bench, qtbot):
    bench.show()
    bench.view.look_from("A")
    front = pixels(bench.view.picture())
    drag(bench.view, Qt.MouseButton.LeftButton, QPoint(160, 130), QPoint(60, 0))
    assert np.abs(pixels(bench.view.picture()) - front).mean() > 1
    bench.view.look_from("A")
    assert np.abs(pixels(bench.view.picture()) - front).mean() < 0.5


def test_double_click_asks_for_the_grid_and_right_click_for_the_menu(bench, qtbot):
    bench.show()
    with qtbot.waitSignal(bench.view.maximise_requested, timeout=1000):
        QTest.mouseDClick(bench.view, Qt.MouseButton.LeftButton, pos=QPoint(10, 10))
    with qtbot.waitSignal(bench.view.menu_requested, timeout=1000) as caught:
        QTest.mouseClick(bench.view, Qt.MouseButton.RightButton, pos=QPoint(12, 14))
    assert caught.args == [QPoint(12, 14)]
    with qtbot.assertNotEmitted(bench.view.menu_requested):
        drag(bench.view, Qt.MouseButton.RightButton, QPoint(50, 50), QPoint(0, 30))


def test_a_stroke_appears_and_undo_takes_it_away(bench):
    before = count(bench.show(), 1)
    box = Box((10, 8, 8), (34, 30, 24))
    kept = bench.mask.labels[box.slices].copy()
    change = bench.paint(box, 1)
    assert count(bench.show(change), 1) > 1.3 * before
    edit = VoxelEdit.between("s", "Back", box, bench.mask.labels[box.slices].copy(), kept)
    change = edit.apply(bench.case)[0]
    assert count(bench.show(change), 1) == pytest.approx(before, rel=0.1)


def test_a_large_mask_is_previewed_coarsely_and_refined_after_a_pause(bench, qtbot, monkeypatch):
    monkeypatch.setattr(surface_builder, "QUICK_TRIANGLES", 10)
    steps = []
    real = surface_builder.segment_surface

    def watched(*args, step, **rest):
        steps.append(step)
        return real(*args, step=step, **rest)

    monkeypatch.setattr(surface_builder, "segment_surface", watched)
    bench.show()
    assert set(steps) == {1}
    steps.clear()
    bench.show(bench.paint(Box((10, 8, 8), (30, 26, 22)), 1))
    assert set(steps) == {2}
    qtbot.waitUntil(lambda: 1 in steps, timeout=3000)
    fine = count(bench.view.picture(), 1)
    assert fine > 60
    assert steps == sorted(steps, reverse=True)


def test_apply_does_not_wait_for_surfaces(bench, monkeypatch):
    gate = threading.Event()
    real = surface_builder._build

    def slow(request):
        assert gate.wait(10)
        return real(request)

    monkeypatch.setattr(surface_builder, "_build", slow)
    bench.view = VolumeView()
    bench.view.resize(320, 260)
    bench.view.apply(bench.case, bench.display, bench.cell)
    bench.view.show()
    assert not gate.is_set()
    gate.set()
    assert count(bench.view.picture(), 0) > 60
    bench.view.close()


def test_a_surface_that_comes_too_late_is_dropped(bench):
    bench.show()
    del bench.case.items["s"]
    other = Segmentation.from_labels(
        "s", "Other", bench.geometry, "v", np.zeros(SHAPE, np.uint8),
        segments=(Segment(1, "One", GREEN),),
    )  # fmt: skip
    bench.view.apply(Case({"v": bench.volume, "s": bench.mask}), bench.display, bench.cell)
    bench.case = Case({"v": bench.volume, "s": other})
    image = bench.show()
    assert count(image, 0) == 0
    assert count(image, 1) == 0


def test_the_chosen_lesion_stands_out(bench):
    plain = pixels(bench.show())
    lesion = next(x for x in find_lesions(bench.mask) if x.label == 1)
    bench.view.highlight("s", lesion)
    chosen = pixels(bench.view.picture())
    changed = np.abs(chosen - plain).max(axis=-1) > 30
    assert changed.sum() > 30
    assert chosen[changed].sum() > plain[changed].sum()
    bench.view.highlight("s", None)
    assert np.abs(pixels(bench.view.picture()) - plain).mean() < 0.5


def test_slices_that_arrive_later_appear(bench):
    bench.memory //= 10
    dark = bench.show()
    bench.memory *= 10
    bright = bench.show(Change("v", frozenset({VOXELS})))
    assert pixels(bright).mean() > pixels(dark).mean() + 2


def test_volume_rendering_can_be_switched_on(bench):
    planes = pixels(bench.show())
    bench.display = bench.display.but(volume_rendering=True)
    assert np.abs(pixels(bench.show()) - planes).mean() > 3


def test_a_dragged_ray_cast_is_drawn_coarsely_and_then_carefully(bench, qtbot, monkeypatch):
    bench.display = bench.display.but(volume_rendering=True)
    bench.show()
    details = []
    real = frame_maker.VolumeScene.draw

    def watched(self, state, orbit, size, moving):
        details.append(moving)
        return real(self, state, orbit, size, moving)

    monkeypatch.setattr(frame_maker.VolumeScene, "draw", watched)
    drag(bench.view, Qt.MouseButton.LeftButton, QPoint(160, 130), QPoint(40, 10))
    qtbot.waitUntil(lambda: details[-1:] == [False], timeout=5000)
    assert details[0] is True
    before = len(details)
    bench.display = bench.display.but(cursor=tuple(bench.geometry.world((30, 10, 10))))
    bench.view.apply(bench.case, bench.display, bench.cell)
    qtbot.wait(400)
    assert len(details) == before, "the cursor does not show in a ray cast"


def test_the_view_fits_the_head_until_a_hand_turns_it(bench, qtbot):
    bench.memory[:] = 0
    bench.show()
    far = bench.view.orbit.distance
    bench.memory[15:25, 15:25, 15:25] = 100
    bench.view.apply(bench.case, bench.display, bench.cell, [Change("v", frozenset({VOXELS}))])
    qtbot.waitUntil(lambda: bench.view.orbit.distance < 0.7 * far, timeout=3000)
    drag(bench.view, Qt.MouseButton.LeftButton, QPoint(160, 130), QPoint(40, 10))
    kept = bench.view.orbit
    bench.view.resize(500, 300)
    bench.show(Change("v", frozenset({VOXELS})))
    qtbot.wait(700)
    assert bench.view.orbit == kept


def test_masks_of_another_frame_of_reference_stay_away(bench):
    bench.volume = Volume(
        "v", "Head", bench.memory, Geometry(SHAPE, bench.geometry.affine, "1.2.3"),
        window=Window(60, 120),
    )  # fmt: skip
    elsewhere = Geometry(SHAPE, bench.geometry.affine, "4.5.6")
    mask = Segmentation.from_labels(
        "s", "Lesions", elsewhere, "v", bench.mask.labels, segments=bench.mask.segments
    )
    bench.case = Case({"v": bench.volume, "s": mask})
    assert count(bench.show(), 0) == 0


def test_an_empty_cell_says_so_and_a_missing_driver_too(bench, qtbot, monkeypatch):
    bench.case = Case()
    bench.show()
    assert bench.view.failure == ""

    def refuse():
        raise WorldFailed("3D is not available because no OpenGL driver was found")

    monkeypatch.setattr(frame_maker, "VolumeScene", refuse)
    other = Bench(qtbot)
    blank = other.show()
    assert other.view.failure == "3D is not available because no OpenGL driver was found."
    assert (pixels(blank).max(axis=-1) > 120).sum() > 50, "the sentence is not painted"
    drag(other.view, Qt.MouseButton.LeftButton, QPoint(60, 60), QPoint(20, 20))
    assert (pixels(other.show()).max(axis=-1) > 120).sum() > 50


def test_device_pixels_follow_the_screen(bench, monkeypatch):
    monkeypatch.setattr(VolumeView, "devicePixelRatioF", lambda _: 2.0)
    sizes = []
    real = frame_maker.VolumeScene.draw

    def watched(self, state, orbit, size, moving):
        sizes.append(size)
        return real(self, state, orbit, size, moving)

    monkeypatch.setattr(frame_maker.VolumeScene, "draw", watched)
    bench.show()
    assert sizes[-1] == (640, 520)


def test_a_program_that_ends_with_an_open_view_ends_well():
    code = """
import sys
import numpy as np
from PySide6.QtWidgets import QApplication
from imaging.case import Case
from imaging.geometry import Geometry
from imaging.volume import Volume
from viewer.state.display import Cell, DisplayState, Plane
from viewer.widgets.volume_view import VolumeView
app = QApplication([])
banned = {"vtk", "pyvista", "pyvistaqt", "torch"} & set(sys.modules)
assert not banned, banned
assert not [m for m in sys.modules if m.startswith("vtkmodules")], "VTK is loaded at start"
volume = Volume("v", "", np.zeros((9, 9, 9), np.int16), Geometry((9, 9, 9), np.eye(4)))
for _ in range(2):
    view = VolumeView()
    view.resize(100, 100)
    view.apply(Case({"v": volume}), DisplayState(), Cell("c", Plane.VOLUME, "v"))
    view.show()
    assert not view.picture().isNull()
assert not {"vtk", "pyvista", "pyvistaqt"} & set(sys.modules)
print("done")
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip() == "done"
    assert run.stderr.strip() == ""


def test_a_narrow_window_of_the_slices_does_not_dim_the_translucent_head(bench) -> None:
    bench.display = bench.display.but(volume_rendering=True)
    wide = pixels(bench.show())
    bench.display = bench.display.with_window("v", Window(500.0, 4.0))
    narrow = pixels(bench.show())
    np.testing.assert_array_equal(narrow, wide)
    assert (wide.max(axis=-1) > 50).mean() > 0.1
    bench.display = bench.display.but(volume_rendering=False)
    planes = pixels(bench.show())
    bench.display = bench.display.with_window("v", Window(60.0, 120.0))
    assert (pixels(bench.show()) != planes).any()
