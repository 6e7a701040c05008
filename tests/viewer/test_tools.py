"""Gestures read from press to release: events in, display states, previews and edits out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.errors import EditRefused
from imaging.geometry import Box
from imaging.volume import Window
from viewer.state.display import Brush, Camera, Cell, DisplayState, Plane
from viewer.state.linking import with_cursor
from viewer.state.plan import slice_plan
from viewer.tools.brush import brush, brush_sized, eraser
from viewer.tools.crosshair import crosshair
from viewer.tools.oblique import oblique, tilted
from viewer.tools.pan_zoom import pan, zoom
from viewer.tools.scroll import at_slice, first_slice, last_slice, pointed_at, scrolled
from viewer.tools.table import TOOLS, tool_of
from viewer.tools.window_level import window_level


@pytest.fixture
def scene(desk, painted_case):
    cells = (
        Cell("a", Plane.AXIAL, "v"),
        Cell("b", Plane.SAGITTAL, "v"),
        Cell("c", Plane.OBLIQUE, "v", normal=(0.0, 0.0, 1.0), right=(1.0, 0.0, 0.0)),
    )
    settings = Brush(radius_mm=3.0, segmentation_id="s", label=1)
    display = DisplayState(cells=cells, active="a", brush=settings, tool="brush")
    geometry = painted_case.volume("v").geometry
    return desk(painted_case, with_cursor(display, geometry, geometry.world((10, 15, 20))))


def play(scene, function, places, cell="a", modifiers=(), release=True):
    """Press at the first place, move through the others, release at the last."""
    gesture = function(scene.event("press", cell, *places[0], modifiers=modifiers), scene)
    try:
        next(gesture)
        for place in places[1:]:
            gesture.send(scene.event("move", cell, *place, modifiers=modifiers))
        if release:
            gesture.send(scene.event("release", cell, *places[-1], modifiers=modifiers))
    except StopIteration:
        pass
    return gesture


# --- reading ----------------------------------------------------------------------------------
def test_dragging_right_widens_and_down_raises_the_level(scene):
    play(scene, window_level, [(50, 50), (80, 50), (80, 90)])
    window = scene.display.windows["v"]
    assert window.width > 1000
    assert window.centre > 500


def test_window_goes_back_when_the_gesture_is_cancelled(scene):
    gesture = play(scene, window_level, [(50, 50), (90, 90)], release=False)
    assert "v" in scene.display.windows
    gesture.close()
    assert "v" not in scene.display.windows


def test_a_click_does_not_change_the_window(scene):
    play(scene, window_level, [(50, 50)])
    assert scene.shown == []


def test_window_never_gets_narrower_than_nothing(scene):
    play(scene, window_level, [(190, 50), (-5000, 50)])
    assert scene.display.windows["v"].width > 0


def test_crosshair_takes_every_view_to_the_point(scene):
    target = scene.event("move", "a", 120, 90).world
    play(scene, crosshair, [(100, 100), (120, 90)])
    np.testing.assert_allclose(scene.display.cursor, target)
    assert any(display.moving for display in scene.shown)
    assert not scene.display.moving


def test_crosshair_stays_inside_the_volume(scene):
    play(scene, crosshair, [(100, 100), (5000, 100)])
    geometry = scene.case.volume("v").geometry
    index = geometry.index(scene.display.cursor)
    assert (index >= -0.5 - 1e-9).all()
    assert (index <= np.array(geometry.shape) - 0.5 + 1e-9).all()


def test_pan_and_zoom_keep_what_is_under_the_hand(scene):
    pressed = scene.event("press", "a", 60, 70).world
    play(scene, pan, [(60, 70), (90, 40)])
    np.testing.assert_allclose(scene.event("move", "a", 90, 40).world, pressed)
    play(scene, zoom, [(90, 40), (90, 0)])
    assert scene.display.cell("a").camera.zoom > 1.2
    np.testing.assert_allclose(scene.event("move", "a", 90, 40).world, pressed)


@pytest.mark.parametrize("function", [pan, zoom, crosshair, oblique, window_level])
def test_moving_ends_with_a_cancelled_gesture(scene, function):
    play(scene, function, [(60, 70), (90, 40)], release=False).close()
    assert not scene.display.moving


def number_of(scene, cell):
    return slice_plan(scene.case, scene.display, scene.display.cell(cell), (200, 200)).position


def test_scrolling_stops_at_the_ends(scene):
    counts = {"a": 20, "b": 40, "c": 20}
    for cell, count in counts.items():
        scene.show(last_slice(scene.case, scene.display, cell))
        assert number_of(scene, cell).number == number_of(scene, cell).count == count
        scene.show(scrolled(scene.case, scene.display, cell, 3))
        assert number_of(scene, cell).number == count
        scene.show(first_slice(scene.case, scene.display, cell))
        scene.show(scrolled(scene.case, scene.display, cell, 4))
        assert number_of(scene, cell).number == 5


def test_scrolling_moves_along_the_normal_only(scene):
    before = np.array(scene.display.cursor)
    scene.show(scrolled(scene.case, scene.display, "b", -7))
    way = np.array(scene.display.cursor) - before
    assert abs(way[0]) == pytest.approx(7.0)
    assert way[1:] == pytest.approx([0.0, 0.0])


def test_an_oblique_plane_scrolls_through_its_whole_volume(scene):
    cell = replace(scene.display.cell("c"), normal=(0.0, 0.6, 0.8))
    scene.show(scene.display.with_cell(cell))
    seen = set()
    for number in range(1, number_of(scene, "c").count + 1):
        scene.show(at_slice(scene.case, scene.display, "c", number))
        assert number_of(scene, "c").number == number
        seen.add(scene.display.cursor)
    assert len(seen) == number_of(scene, "c").count > 20


def test_pointing_in_a_3d_cell_changes_nothing(scene):
    scene.show(scene.display.with_cell(Cell("b", Plane.VOLUME, "v")))
    assert pointed_at(scene.case, scene.display, "b", np.zeros(3)) == scene.display


# --- oblique ----------------------------------------------------------------------------------
def test_the_trace_of_the_oblique_plane_follows_the_hand(scene):
    def trace():
        (found,) = slice_plan(scene.case, scene.display, scene.display.cell("b"), (200, 200)).traces
        x0, y0, x1, y1 = found.line
        return np.degrees(np.arctan2(y1 - y0, x1 - x0)) % 180

    plan = slice_plan(scene.case, scene.display, scene.display.cell("b"), (200, 200))
    x, y = plan.screen(np.array(scene.display.cursor))
    before = trace()
    angle = np.radians(25)
    play(scene, oblique, [(x + 50, y), (x + 50 * np.cos(angle), y + 50 * np.sin(angle))], "b")
    assert (trace() - before) % 180 == pytest.approx(25, abs=0.01)
    cell = scene.display.cell("c")
    assert np.linalg.norm(cell.normal) == pytest.approx(1)
    assert np.dot(cell.normal, cell.right) == pytest.approx(0, abs=1e-9)


def test_dragging_in_the_oblique_view_turns_the_picture_with_the_hand(scene):
    plan = slice_plan(scene.case, scene.display, scene.display.cell("c"), (200, 200))
    x, y = plan.screen(np.array(scene.display.cursor))
    held = plan.world(x + 40, y)
    play(scene, oblique, [(x + 40, y), (x, y + 40)], "c")
    after = slice_plan(scene.case, scene.display, scene.display.cell("c"), (200, 200))
    way = np.array(after.screen(held)) - after.screen(np.array(scene.display.cursor))
    assert way[1] > 5
    assert abs(way[0]) < 1e-6
    np.testing.assert_allclose(after.normal, plan.normal, atol=1e-9)


def test_without_an_oblique_view_the_tool_says_so(scene):
    scene.show(scene.display.but(cells=scene.display.cells[:2]))
    play(scene, oblique, [(20, 20), (40, 40)])
    assert scene.said


def test_a_full_turn_comes_back():
    cell = Cell("c", Plane.OBLIQUE, "v", normal=(0.0, 0.6, 0.8), right=(1.0, 0.0, 0.0))
    turned = cell
    for _ in range(36):
        turned = tilted(turned, np.array([1.0, 2.0, 0.5]), np.radians(10))
    assert turned.normal == pytest.approx(cell.normal)
    assert turned.right == pytest.approx(cell.right)


# --- painting ---------------------------------------------------------------------------------
def test_a_stroke_is_one_edit_after_previews(scene):
    mask = scene.case.segmentation("s")
    gesture = brush(scene.event("press", "a", 80, 100), scene)
    next(gesture)
    gesture.send(scene.event("move", "a", 120, 100))
    assert scene.edits == []
    assert not mask.labels.any()
    assert all(p.labels.any() for p in scene.previews)
    with pytest.raises(StopIteration):
        gesture.send(scene.event("release", "a", 120, 100))
    assert len(scene.edits) == 1
    assert scene.previews[-1] is None
    assert set(np.unique(mask.labels)) == {0, 1}
    painted = Box.around(mask.labels > 0)
    assert painted.start[0] == 10
    assert painted.stop[0] == 11


def test_a_ball_paints_in_depth(scene):
    scene.show(scene.display.but(brush=replace(scene.display.brush, shape="ball")))
    play(scene, brush, [(100, 100)])
    painted = Box.around(scene.case.segmentation("s").labels > 0)
    assert min(painted.shape) >= 5
    assert max(painted.shape) <= 7


def test_a_cancelled_stroke_leaves_nothing(scene):
    gesture = play(scene, brush, [(80, 100), (120, 100)], release=False)
    gesture.close()
    assert scene.edits == []
    assert scene.previews[-1] is None
    assert not scene.case.segmentation("s").labels.any()


def test_ctrl_erases_and_the_eraser_too(scene):
    mask = scene.case.segmentation("s")
    play(scene, brush, [(60, 100), (140, 100)])
    painted = int((mask.labels > 0).sum())
    play(scene, brush, [(60, 100), (90, 100)], modifiers=("ctrl",))
    less = int((mask.labels > 0).sum())
    assert 0 < less < painted
    play(scene, eraser, [(60, 100), (140, 100)])
    assert not mask.labels.any()
    assert [edit.name for edit in scene.edits] == ["Brush stroke", "Eraser stroke", "Eraser stroke"]


def test_ctrl_click_picks_the_label_under_the_hand(scene):
    scene.show(scene.display.but(brush=replace(scene.display.brush, label=2)))
    play(scene, brush, [(100, 100)])
    scene.show(scene.display.but(brush=replace(scene.display.brush, label=1)))
    play(scene, brush, [(100, 100)], modifiers=("ctrl",))
    assert scene.display.brush.label == 2
    assert scene.said == ["Label: two"]
    assert len(scene.edits) == 1


def test_ctrl_click_beside_all_labels_says_so(scene):
    play(scene, brush, [(100, 100)], modifiers=("ctrl",))
    assert scene.display.brush.label == 1
    assert scene.said
    assert scene.edits == []


def test_alt_paints_only_inside_the_shown_range(scene):
    scene.show(scene.display.with_window("v", Window(100, 100)))
    scene.show(scene.display.but(brush=replace(scene.display.brush, radius_mm=20.0)))
    play(scene, brush, [(100, 100)], modifiers=("alt",))
    voxels = scene.case.volume("v").voxels
    painted = scene.case.segmentation("s").labels > 0
    assert painted.any()
    assert voxels[painted].min() >= 50
    assert voxels[painted].max() <= 150


def test_painting_without_a_mask_is_refused_with_advice(scene):
    scene.show(scene.display.but(brush=Brush(segmentation_id="gone")))
    with pytest.raises(EditRefused, match="no mask"):
        play(scene, brush, [(100, 100)])


def test_painting_beside_the_mask_says_why_nothing_happens(scene):
    play(scene, brush, [(-3000, 100)])
    assert scene.edits == []
    assert scene.said


@pytest.mark.parametrize(
    "look", [{"visible": False}, {"opacity": 0.0}, {"hidden_segments": frozenset({1, 2})}]
)
def test_painting_shows_a_hidden_mask_and_says_so(scene, look):
    scene.show(scene.display.with_overlay("s", **look).but(overlays_shown=False))
    play(scene, brush, [(100, 100)])
    overlay = scene.display.overlay("s")
    assert scene.display.overlays_shown
    assert overlay.visible
    assert overlay.opacity > 0
    assert 1 not in overlay.hidden_segments
    assert len(scene.said) == len(scene.edits) == 1


def test_brush_size_has_ends(scene):
    assert brush_sized(scene.display, 1).brush.radius_mm == pytest.approx(3.3)
    assert brush_sized(scene.display, 1000).brush.radius_mm == 60.0
    assert brush_sized(scene.display, -1000).brush.radius_mm == 0.25


def test_painting_lands_under_the_hand_after_flip_and_turn(scene):
    camera = Camera(zoom=1.5, flip_horizontal=True, quarter_turns=1)
    scene.show(scene.display.with_cell(Cell("a", Plane.AXIAL, "v", camera)))
    event = scene.event("press", "a", 120, 90)
    play(scene, brush, [(120, 90)])
    index = scene.case.volume("v").geometry.nearest(event.world)
    assert scene.case.segmentation("s").labels[index] == 1


def test_every_tool_has_its_own_id_and_unknown_ones_read():
    assert len({tool.id for tool in TOOLS}) == len(TOOLS)
    assert tool_of("no such tool").id == "window"
    assert [tool.id for tool in TOOLS if tool.editing] == ["brush", "eraser", "click"]
