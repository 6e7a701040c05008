"""Slice views by hand: real wheels, drags and keys on real widgets, judged by their pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QEvent, QMimeData, QPoint, QPointF, Qt
from PySide6.QtGui import QDropEvent, QImage, QMouseEvent, QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QWidget

from imaging.case import VOXELS, Case, Change
from imaging.edits.edit import AddItem, Group, HeaderEdit, RemoveItem, VoxelEdit
from imaging.geometry import Box
from imaging.heatmap import Heatmap
from imaging.segmentation import Segment
from imaging.volume import Patient, Source, Volume, Window
from viewer.state.display import Brush, Camera, Cell, DisplayState, Layout, Overlay, Plane
from viewer.state.linking import with_cursor
from viewer.widgets.view_grid import SERIES_MIME, ViewGrid, rectangles

NONE = Qt.KeyboardModifier.NoModifier
SHIFT, CTRL = Qt.KeyboardModifier.ShiftModifier, Qt.KeyboardModifier.ControlModifier
LEFT, MIDDLE, RIGHT = (
    Qt.MouseButton.LeftButton, Qt.MouseButton.MiddleButton, Qt.MouseButton.RightButton,
)  # fmt: skip


class FakeVolumeView(QWidget):
    """Stands in for the 3D view: remembers what it was told."""

    def __init__(self):
        super().__init__()
        self.told = []

    def apply(self, case, display, cell, changes):
        self.told.append((cell.id, tuple(changes)))


@pytest.fixture
def open_grid(qtbot, desk, painted_case):
    """Opens a grid of views; returns the desk whose ``grid`` it is."""

    def build(cells=None, layout=Layout.ONE, size=(400, 400), case=None, **display):
        case = case or painted_case
        cells = cells or (Cell("a", Plane.AXIAL, "v"), Cell("b", Plane.SAGITTAL, "v"))
        state = DisplayState(
            cells=cells, layout=layout, active="a", text_shown=False, crosshair_shown=False
        ).but(**display)
        geometry = case.volumes[0].geometry
        made = desk(
            case, with_cursor(state, geometry, geometry.world([n // 2 for n in geometry.shape]))
        )
        made.grid = ViewGrid(made, made, FakeVolumeView)
        qtbot.addWidget(made.grid)
        made.grid.resize(*size)
        made.grid.show()
        QApplication.processEvents()
        return made

    return build


def view(desk, cell="a"):
    return desk.grid.slice_view(cell)


def pixels(widget) -> np.ndarray:
    """What a widget shows: uint8 (height, width, 3)."""
    image = widget.grab().toImage().convertToFormat(QImage.Format.Format_RGB888)
    flat = np.frombuffer(image.constBits(), np.uint8).reshape(image.height(), -1)
    return flat[:, : image.width() * 3].reshape(image.height(), image.width(), 3).copy()


def number(desk, cell="a"):
    return view(desk, cell).plan.position.number


def wheel(target, delta, modifiers=NONE, at=(200, 200)):
    place = QPointF(*at)
    event = QWheelEvent(
        place, target.mapToGlobal(place), QPoint(), QPoint(0, delta), Qt.MouseButton.NoButton,
        modifiers, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(target, event)


def drag(target, places, button=LEFT, modifiers=NONE, release=True):
    QTest.mousePress(target, button, modifiers, QPoint(*places[0]))
    for place in places[1:]:
        move(target, place, button, modifiers)
    if release:
        QTest.mouseRelease(target, button, modifiers, QPoint(*places[-1]))


def move(target, place, button=Qt.MouseButton.NoButton, modifiers=NONE):
    here = QPointF(*place)
    event = QMouseEvent(
        QEvent.Type.MouseMove, here, target.mapToGlobal(here), Qt.MouseButton.NoButton, button,
        modifiers,
    )  # fmt: skip
    QApplication.sendEvent(target, event)


# --- reading ----------------------------------------------------------------------------------
def test_a_notch_of_the_wheel_is_one_slice_and_shift_ten(open_grid):
    desk = open_grid()
    start = number(desk)
    wheel(view(desk), -120)
    assert number(desk) == start + 1
    wheel(view(desk), 120)
    assert number(desk) == start
    wheel(view(desk), 120, SHIFT)
    assert number(desk) == max(1, start - 10)


def test_small_wheel_steps_of_a_touchpad_add_up(open_grid):
    desk = open_grid()
    start = number(desk)
    for _ in range(7):
        wheel(view(desk), -20)
    assert number(desk) == start + 1
    for _ in range(5):
        wheel(view(desk), -20)
    assert number(desk) == start + 2


def test_turning_the_wheel_round_acts_at_once(open_grid):
    desk = open_grid()
    start = number(desk)
    wheel(view(desk), -100)
    wheel(view(desk), 120)
    assert number(desk) == start - 1


def test_ctrl_wheel_zooms_about_the_pointer(open_grid):
    desk = open_grid()
    held = view(desk).plan.world(90, 120)
    wheel(view(desk), 240, CTRL, at=(90, 120))
    assert desk.display.cell("a").camera.zoom > 1.2
    np.testing.assert_allclose(view(desk).plan.world(90, 120), held)


def test_scrolling_changes_the_picture(open_grid):
    desk = open_grid()
    before = pixels(view(desk))
    wheel(view(desk), -120)
    assert (pixels(view(desk)) != before).any()


def test_left_drag_changes_the_window_and_the_picture(open_grid):
    desk = open_grid()
    before = pixels(view(desk)).astype(int)
    drag(view(desk), [(100, 100), (100, 250)])
    assert desk.display.windows["v"].centre > 500
    assert pixels(view(desk)).astype(int).mean() < before.mean() - 5


def test_middle_drag_pans_and_right_drag_zooms(open_grid):
    desk = open_grid()
    drag(view(desk), [(100, 100), (130, 90)], MIDDLE)
    right, down = desk.display.cell("a").camera.pan_mm
    assert right > 0 > down
    drag(view(desk), [(100, 100), (100, 40)], RIGHT)
    assert desk.display.cell("a").camera.zoom > 1.2


def test_a_right_click_asks_for_the_menu_and_a_right_drag_does_not(open_grid, qtbot):
    desk = open_grid()
    with qtbot.waitSignal(desk.grid.menu_requested) as asked:
        QTest.mouseClick(view(desk), RIGHT, NONE, QPoint(50, 60))
    assert asked.args[0] == "a"
    assert asked.args[1] == view(desk).mapToGlobal(QPoint(50, 60))
    with qtbot.assertNotEmitted(desk.grid.menu_requested):
        drag(view(desk), [(100, 100), (100, 140)], RIGHT)


def test_double_click_asks_to_maximise(open_grid, qtbot):
    desk = open_grid()
    with qtbot.waitSignal(desk.grid.maximise_requested) as asked:
        QTest.mouseDClick(view(desk), LEFT, NONE, QPoint(50, 60))
    assert asked.args == ["a"]


def test_shift_and_move_takes_the_crosshair_along(open_grid):
    desk = open_grid(layout=Layout.TWO_BY_TWO, size=(802, 802))
    move(view(desk), (200, 380), modifiers=SHIFT)
    np.testing.assert_allclose(desk.display.cursor, view(desk).plan.world(200, 380))
    before = desk.display.cursor
    move(view(desk), (220, 250))
    assert desk.display.cursor == before


def test_hovering_tells_the_place_and_leaving_too(open_grid, qtbot):
    desk = open_grid()
    heard = []
    desk.grid.hovered.connect(lambda world, volume: heard.append((world, volume)))
    move(view(desk), (120, 150))
    QApplication.sendEvent(view(desk), QEvent(QEvent.Type.Leave))
    np.testing.assert_allclose(heard[0][0], view(desk).plan.world(120, 150))
    assert heard[0][1] == "v"
    assert heard[-1] == (None, "")


def test_the_point_is_told_anew_when_the_slice_changes_under_a_resting_pointer(open_grid):
    desk = open_grid()
    heard = []
    desk.grid.hovered.connect(lambda world, volume: heard.append((world, volume)))
    wheel(view(desk), -120)
    assert heard == []
    move(view(desk), (120, 150))
    wheel(view(desk), -120)
    np.testing.assert_allclose(heard[-1][0], view(desk).plan.world(120, 150))
    assert abs(heard[-1][0][2] - heard[0][0][2]) == pytest.approx(1.0)
    told = len(heard)
    desk.show(desk.display.with_window("v", Window(1, 2)))
    assert len(heard) == told
    desk.show(desk.display.with_cell(Cell("a", Plane.AXIAL, "")))
    assert heard[-1] == (None, "")


def test_pressing_another_view_activates_it(open_grid, qtbot):
    desk = open_grid(layout=Layout.TWO_BY_TWO, size=(802, 802))
    with qtbot.waitSignal(desk.grid.activated) as heard:
        QTest.mouseClick(view(desk, "b"), LEFT)
    assert heard.args == ["b"]


def test_the_circle_of_the_brush_goes_with_the_tool(open_grid):
    desk = open_grid()
    move(view(desk), (120, 150))
    QApplication.processEvents()
    asked = []
    view(desk).update = lambda *area: asked.append(area)
    for tool in ("eraser", "brush", "window"):
        desk.show(desk.display.but(tool=tool))
        assert asked, tool
        pixels(view(desk))
        asked.clear()
    desk.show(desk.display.but(tool="crosshair"))
    assert asked == []


# --- what is seen -----------------------------------------------------------------------------
def test_anisotropic_voxels_are_drawn_in_true_aspect(open_grid, axial_geometry):
    geometry = axial_geometry((10, 20, 20), (4.0, 1.0, 1.0))
    white = Volume("v", "x", np.full(geometry.shape, 9, np.int16), geometry, window=Window(1, 2))
    desk = open_grid((Cell("a", Plane.CORONAL, "v"),), case=Case({"v": white}))
    picture = pixels(view(desk))
    white_rows = (picture[:, 130] == 255).all(axis=1).sum()
    letters_free = picture[60]
    white_columns = (letters_free == 255).all(axis=1).sum()
    assert white_rows > 300
    assert white_columns / white_rows == pytest.approx(20 / 40, abs=0.03)


def test_patient_right_is_on_screen_left(open_grid, axial_geometry):
    geometry = axial_geometry((3, 20, 20))
    voxels = np.zeros(geometry.shape, np.int16)
    voxels[:, :5, :5] = 9  # towards patient right and anterior
    volume = Volume("v", "x", voxels, geometry, window=Window(5, 2))
    desk = open_grid((Cell("a", Plane.AXIAL, "v"),), case=Case({"v": volume}))
    picture = pixels(view(desk))
    assert picture[60, 60].min() == 255
    assert picture[340, 340].max() == 0
    desk.show(desk.display.with_cell(Cell("a", Plane.AXIAL, "v", Camera(flip_horizontal=True))))
    picture = pixels(view(desk))
    assert picture[60, 340].min() == 255
    assert view(desk).plan.letters.left == "L"


def test_text_crosshair_and_scale_bar_come_and_go(open_grid):
    desk = open_grid()
    plain = pixels(view(desk))
    desk.show(desk.display.but(crosshair_shown=True))
    crossed = pixels(view(desk))
    y = int(view(desk).plan.crosshair[1])
    assert (crossed[y] != plain[y]).any(axis=1).sum() > 300
    desk.show(desk.display.but(crosshair_shown=False, text_shown=True))
    written = pixels(view(desk))
    assert (written[-40:, -150:] != plain[-40:, -150:]).any()


def test_words_are_on_a_dark_ground_and_no_line_crosses_them(open_grid, axial_geometry):
    geometry = axial_geometry((3, 40, 40))
    white = np.full(geometry.shape, 9, np.int16)
    source = Source("dicom", patient=Patient("Doe^Jane", "ID7"))
    volume = Volume("v", "x", white, geometry, source=source, window=Window(1, 2))
    desk = open_grid(case=Case({"v": volume}), size=(500, 500), text_shown=True)
    plain = pixels(view(desk)).astype(int)
    assert plain[10:20, 15:60].mean() < 140  # the name of the patient, on white
    assert plain[60:200, 15:60].min() == 255
    desk.show(desk.display.but(crosshair_shown=True))
    x, y = (int(v) for v in view(desk).plan.crosshair)
    crossed = (pixels(view(desk)) != plain).any(axis=2)
    assert crossed[100:200, x].all()
    assert crossed[y, 100:200].all()
    assert not crossed[445:, :].any()  # scale bar, letter and words at the bottom
    assert not crossed[12:22, :].any()
    assert not crossed[:, 10:16].any()


def test_a_mask_is_seen_in_its_colour_and_hidden_by_one_key(open_grid):
    desk = open_grid(overlays={"s": Overlay(opacity=1.0)})
    paint(desk, Box((10, 10, 15), (11, 20, 25)), 1)
    red = pixels(view(desk))
    assert (red[200, 200] == (255, 0, 0)).all()
    desk.show(desk.display.but(overlays_shown=False))
    assert not (pixels(view(desk))[200, 200] == (255, 0, 0)).all()


def test_an_outline_shows_the_rim_and_lets_the_image_through(open_grid):
    desk = open_grid(overlays={"s": Overlay(opacity=1.0, outline=True)})
    before = pixels(view(desk))
    paint(desk, Box((10, 10, 15), (11, 20, 25)), 1)
    after = pixels(view(desk))
    assert (after[200, 200] == before[200, 200]).all()
    rim = (after == (255, 0, 0)).all(axis=2)
    assert 200 < rim.sum() < 2000


def paint(desk, box, label):
    """Set a block of the mask by an edit."""
    mask = desk.case.segmentation("s")
    before = mask.labels[box.slices]
    desk.execute(VoxelEdit.between("s", "x", box, before, np.full(box.shape, label, np.uint8)))


def test_a_new_colour_of_a_label_is_seen_at_once(open_grid):
    desk = open_grid(overlays={"s": Overlay(opacity=1.0)})
    paint(desk, Box((10, 10, 15), (11, 20, 25)), 1)
    pixels(view(desk))
    mask = desk.case.segmentation("s")
    blue = mask.header(segments=(Segment(1, "one", (0, 0, 255)),))
    desk.execute(HeaderEdit("s", "recolour", mask.header(), blue))
    assert (pixels(view(desk))[200, 200] == (0, 0, 255)).all()


def test_slices_that_arrive_are_drawn(open_grid, axial_geometry):
    geometry = axial_geometry((3, 20, 20))
    voxels = np.zeros(geometry.shape, np.int16)
    volume = Volume("v", "x", voxels, geometry, window=Window(5, 2))
    desk = open_grid((Cell("a", Plane.AXIAL, "v"),), case=Case({"v": volume}))
    desk.show(with_cursor(desk.display, geometry, geometry.world((1, 10, 10))))
    assert pixels(view(desk))[200, 200].max() == 0
    voxels[1] = 9
    box = Box((1, 0, 0), (2, 20, 20))
    desk.grid.apply(desk.case, desk.display, (Change("v", frozenset({VOXELS}), box),))
    assert pixels(view(desk))[200, 200].min() == 255


def test_a_map_put_in_anew_under_the_same_name_is_drawn(open_grid, painted_case):
    geometry = painted_case.volume("v").geometry

    def flat(value):
        values = np.full(geometry.shape, value, np.float32)
        return Heatmap("h", "map", values, "probability", geometry, "v")

    desk = open_grid(overlays={"h": Overlay(opacity=1.0, colour_table="viridis", low=0.0)})
    desk.execute(AddItem(flat(0.0), "add"))
    before = pixels(view(desk))[200, 200]
    old = desk.case.heatmap("h")
    desk.execute(Group.of("again", [RemoveItem(old, "x"), AddItem(flat(1.0), "y")]))
    assert tuple(pixels(view(desk))[200, 200]) == (253, 231, 37)
    assert tuple(before) == (68, 1, 84)


def test_voxels_that_arrive_beside_the_slice_are_seen_when_it_is_scrolled_to(
    open_grid, axial_geometry
):
    geometry = axial_geometry((3, 20, 20))
    voxels = np.zeros(geometry.shape, np.int16)
    volume = Volume("v", "x", voxels, geometry, window=Window(5, 2))
    desk = open_grid((Cell("a", Plane.SAGITTAL, "v"),), case=Case({"v": volume}))
    for _ in range(2):
        wheel(view(desk), -120)
        pixels(view(desk))
    index = view(desk).plan.cut.index
    voxels[:, :, index - 1] = 9
    box = Box((0, 0, index - 1), (3, 20, index))
    desk.grid.apply(desk.case, desk.display, (Change("v", frozenset({VOXELS}), box),))
    assert pixels(view(desk))[200, 150].max() == 0
    wheel(view(desk), -120)
    assert view(desk).plan.cut.index == index - 1
    assert pixels(view(desk))[200, 150].min() == 255


def test_loading_is_said_in_every_view_of_the_volume(open_grid):
    desk = open_grid()
    before = pixels(view(desk))
    desk.grid.set_loading("v", "Loading 40 %")
    during = pixels(view(desk))
    assert (during != before).any()
    desk.grid.set_loading("v", "")
    assert (pixels(view(desk)) == before).all()


def test_an_empty_cell_says_what_to_do(open_grid):
    desk = open_grid((Cell("a", Plane.AXIAL, ""),))
    assert (pixels(view(desk)) != 0).any()
    wheel(view(desk), -120)
    drag(view(desk), [(10, 10), (90, 90)])
    assert desk.shown == []


def test_a_removed_volume_leaves_an_empty_view(open_grid):
    desk = open_grid()
    desk.case.items.clear()
    desk.grid.apply(desk.case, desk.display, ())
    assert view(desk).plan.message
    pixels(view(desk))


# --- editing ----------------------------------------------------------------------------------
def editing(open_grid, tool="brush", **rest):
    settings = Brush(radius_mm=4.0, segmentation_id="s", label=1)
    overlays = {"s": Overlay(opacity=1.0)}
    return open_grid(tool=tool, brush=settings, overlays=overlays, **rest)


def test_a_stroke_is_seen_before_and_after_the_hand_lifts(open_grid):
    desk = editing(open_grid)
    drag(view(desk), [(150, 200), (250, 200)], release=False)
    assert desk.edits == []
    assert (pixels(view(desk))[200, 200] == (255, 0, 0)).all()
    QTest.mouseRelease(view(desk), LEFT, NONE, QPoint(250, 200))
    assert len(desk.edits) == 1
    assert (pixels(view(desk))[200, 200] == (255, 0, 0)).all()


def test_escape_takes_a_stroke_back(open_grid):
    desk = editing(open_grid)
    before = pixels(view(desk))
    drag(view(desk), [(150, 200), (250, 200)], release=False)
    QTest.keyClick(view(desk), Qt.Key.Key_Escape)
    QTest.mouseRelease(view(desk), LEFT, NONE, QPoint(250, 200))
    assert desk.edits == []
    after = pixels(view(desk))
    assert (after[195:205, 100:200] == before[195:205, 100:200]).all()


def test_escape_without_a_gesture_is_for_the_window(open_grid):
    desk = open_grid()
    assert not desk.grid.cancel_gesture()
    heard = []
    desk.grid.keyPressEvent = lambda event: heard.append(event.key())
    QTest.keyClick(view(desk), Qt.Key.Key_Escape)
    assert heard == [Qt.Key.Key_Escape]


def test_a_second_button_cancels(open_grid):
    desk = editing(open_grid)
    drag(view(desk), [(150, 200), (250, 200)], release=False)
    QTest.mousePress(view(desk), RIGHT, NONE, QPoint(250, 200))
    QTest.mouseRelease(view(desk), LEFT, NONE, QPoint(250, 200))
    assert desk.edits == []
    assert desk.previews[-1] is None


def test_a_stroke_is_seen_in_every_view_that_it_meets(open_grid):
    cells = (
        Cell("a", Plane.AXIAL, "v"),
        Cell("b", Plane.SAGITTAL, "v"),
        Cell("c", Plane.OBLIQUE, "v", normal=(0.0, 0.3, 0.954), right=(1.0, 0.0, 0.0)),
    )
    desk = editing(open_grid, cells=cells, layout=Layout.TWO_BY_TWO, size=(802, 802))
    ball = replace(desk.display.brush, shape="ball", radius_mm=6.0)
    desk.show(desk.display.but(brush=ball))
    at = tuple(int(v) for v in view(desk).plan.screen(np.array(desk.display.cursor)))
    drag(view(desk), [at, (at[0] + 2, at[1])], release=False)
    for cell in "abc":
        x, y = view(desk, cell).plan.screen(np.array(desk.display.cursor))
        assert (pixels(view(desk, cell))[int(y), int(x)] == (255, 0, 0)).all(), cell
    desk.grid.cancel_gesture()
    for cell in "abc":
        assert not (pixels(view(desk, cell)) == (255, 0, 0)).all(axis=2).any()


def test_an_edit_redraws_only_the_views_it_touches(open_grid):
    cells = tuple(Cell(id, Plane.AXIAL, "v") for id in "ab")
    desk = open_grid(cells, layout=Layout.TWO_BY_TWO, size=(802, 401))
    desk.show(desk.display.with_cell(Cell("b", Plane.CORONAL, "v")))
    QApplication.processEvents()
    painted = []
    for cell in "ab":
        view(desk, cell).installEventFilter(spy(view(desk, cell), lambda c=cell: painted.append(c)))
    paint(desk, Box((10, 2, 2), (11, 6, 6)), 1)
    QApplication.processEvents()
    assert painted == ["a"]


def spy(parent, heard):
    """An event filter that reports paints."""
    from PySide6.QtCore import QObject

    class Filter(QObject):
        def eventFilter(self, _watched, event):
            if event.type() == QEvent.Type.Paint:
                heard()
            return False

    return Filter(parent)


def test_many_changes_between_two_frames_cost_one_paint(open_grid):
    desk = open_grid()
    painted = []
    view(desk).installEventFilter(spy(view(desk), lambda: painted.append(1)))
    for _ in range(5):
        wheel(view(desk), -120)
    QApplication.processEvents()
    assert painted == [1]


def test_shift_wheel_sizes_the_brush_while_editing(open_grid):
    desk = editing(open_grid)
    start = number(desk)
    wheel(view(desk), 120, SHIFT)
    assert desk.display.brush.radius_mm == pytest.approx(4.4)
    assert number(desk) == start


def test_the_brush_circle_has_the_true_size(open_grid):
    desk = editing(open_grid)
    before = pixels(view(desk)).astype(int)
    move(view(desk), (200, 200))
    changed = np.abs(pixels(view(desk)).astype(int) - before).max(axis=2) > 40
    columns = np.flatnonzero(changed[198:203].any(axis=0))
    radius = 4.0 / view(desk).plan.mm_per_pixel
    assert columns.max() - columns.min() == pytest.approx(2 * radius, abs=4)


def test_a_double_click_while_painting_paints(open_grid, qtbot):
    desk = editing(open_grid)
    with qtbot.assertNotEmitted(desk.grid.maximise_requested):
        QTest.mouseClick(view(desk), LEFT, NONE, QPoint(100, 100))
        QTest.mouseDClick(view(desk), LEFT, NONE, QPoint(140, 100))
        QTest.mouseRelease(view(desk), LEFT, NONE, QPoint(140, 100))
    mask = desk.case.segmentation("s")
    assert mask.labels[mask.geometry.nearest(view(desk).plan.world(140, 100))] == 1


def test_a_refused_stroke_becomes_a_sentence(open_grid):
    desk = open_grid(tool="brush", brush=Brush(segmentation_id="gone"))
    drag(view(desk), [(100, 100), (120, 100)])
    assert desk.said
    assert desk.edits == []


# --- arrangement ------------------------------------------------------------------------------
def test_layouts_fill_the_grid_without_overlap():
    for layout, count in ((Layout.ONE, 1), (Layout.ONE_AND_THREE, 4), (Layout.TWO_BY_TWO, 4)):
        rects = rectangles(layout, count, 1001, 703)
        assert len(rects) == count
        covered = np.zeros((703, 1001), int)
        for rect in rects:
            covered[rect.top() : rect.bottom() + 1, rect.left() : rect.right() + 1] += 1
        assert covered.max() == 1
        assert covered.mean() > 0.98


def test_one_large_view_beside_three_small_ones():
    large, *small = rectangles(Layout.ONE_AND_THREE, 4, 1200, 900)
    assert large.width() > 2 * small[0].width()
    assert len({rect.left() for rect in small}) == 1
    assert large.height() == 900


def test_maximising_keeps_the_widgets(open_grid):
    desk = open_grid(layout=Layout.TWO_BY_TWO, size=(802, 802))
    first, second = view(desk, "a"), view(desk, "b")
    desk.show(desk.display.but(maximised="b"))
    assert first.isHidden()
    assert second.size() == desk.grid.size()
    desk.show(desk.display.but(maximised=""))
    assert (view(desk, "a"), view(desk, "b")) == (first, second)
    assert first.isVisible()
    assert second.width() < 402


def test_a_3d_view_is_made_when_it_is_first_shown(open_grid):
    cells = (Cell("a", Plane.AXIAL, "v"), Cell("d", Plane.VOLUME, "v"))
    desk = open_grid(cells)
    assert not desk.grid.volume_views()
    desk.show(desk.display.but(layout=Layout.TWO_BY_TWO))
    made = desk.grid.volume_views()["d"]
    assert made.isVisible()
    paint(desk, Box((10, 2, 2), (11, 6, 6)), 1)
    assert made.told[-1][0] == "d"
    assert made.told[-1][1][0].item == "s"
    desk.show(desk.display.but(layout=Layout.ONE))
    desk.show(desk.display.but(layout=Layout.TWO_BY_TWO))
    assert desk.grid.volume_views()["d"] is made


def test_resizing_fits_the_picture_anew(open_grid):
    desk = open_grid()
    before = view(desk).plan.mm_per_pixel
    desk.grid.resize(800, 800)
    QApplication.processEvents()
    assert view(desk).plan.mm_per_pixel == pytest.approx(before / 2)


def test_a_series_dropped_on_a_view_is_told(open_grid, qtbot):
    desk = open_grid(layout=Layout.TWO_BY_TWO, size=(802, 401))
    data = QMimeData()
    data.setData(SERIES_MIME, b"series 7")
    place = QPointF(view(desk, "b").geometry().center())
    event = QDropEvent(place, Qt.DropAction.CopyAction, data, LEFT, NONE)
    with qtbot.waitSignal(desk.grid.series_dropped) as heard:
        desk.grid.dropEvent(event)
    assert heard.args == ["series 7", "b"]
