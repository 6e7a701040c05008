"""Pointing: what the hand does becomes a hint in patient space, whatever the plane."""

from __future__ import annotations

import numpy as np
import pytest

from viewer.state.display import Brush, Cell, DisplayState, Plane
from viewer.state.linking import with_cursor
from viewer.tools.click import click
from viewer.tools.table import tool_of


@pytest.fixture
def scene(desk, painted_case):
    cells = (
        Cell("a", Plane.AXIAL, "v"),
        Cell("b", Plane.SAGITTAL, "v"),
        Cell("c", Plane.OBLIQUE, "v", normal=(0.0, 0.6, 0.8), right=(1.0, 0.0, 0.0)),
    )
    display = DisplayState(cells=cells, active="a", brush=Brush(segmentation_id="s"), tool="click")
    geometry = painted_case.volume("v").geometry
    return desk(painted_case, with_cursor(display, geometry, geometry.world((10, 15, 20))))


def play(scene, places, cell="a", modifiers=(), release=True):
    """Press at the first place, move through the others, release at the last."""
    gesture = click(scene.event("press", cell, *places[0], modifiers=modifiers), scene)
    next(gesture)
    for place in places[1:]:
        gesture.send(scene.event("move", cell, *place, modifiers=modifiers))
    if release:
        with pytest.raises(StopIteration):
            gesture.send(scene.event("release", cell, *places[-1], modifiers=modifiers))
    return gesture


@pytest.mark.parametrize("cell", ["a", "b", "c"])
@pytest.mark.parametrize(
    ("held", "wanted"), [((), True), (("ctrl",), False), (("alt",), False), (("shift",), True)]
)
def test_a_click_is_a_point_of_the_plane(scene, cell, held, wanted) -> None:
    play(scene, [(90, 110)], cell, held)
    [told] = scene.pointed
    assert (told.kind, told.wanted, told.done, told.cell) == ("point", wanted, True, cell)
    assert np.allclose(told.path, [scene.event("press", cell, 90, 110).world])


def test_a_trembling_hand_still_clicks(scene) -> None:
    play(scene, [(90, 110), (91, 111), (92, 110)])
    assert scene.pointed[-1].kind == "point"
    assert np.allclose(scene.pointed[-1].path, [scene.event("press", "a", 90, 110).world])


def test_a_drag_is_a_box_that_is_shown_while_it_opens(scene) -> None:
    play(scene, [(60, 60), (100, 80), (140, 120)])
    *opening, last = scene.pointed
    assert opening
    assert all(told.kind == "box" and not told.done for told in opening)
    assert last.done
    geometry = scene.case.volume("v").geometry
    box = last.box_in(geometry)
    for x, y in ((62, 62), (138, 118), (62, 118)):
        index = geometry.index(scene.event("move", "a", x, y).world)
        assert np.all(index >= np.array(box.start) - 0.5)
        assert np.all(index <= np.array(box.stop) - 0.5)
    assert box.clipped(geometry.shape) == box


def test_the_box_is_about_as_deep_as_it_is_wide(scene) -> None:
    play(scene, [(80, 80), (120, 120)])
    geometry = scene.case.volume("v").geometry
    box = scene.pointed[-1].box_in(geometry)
    extent = np.array(box.shape) * geometry.spacing
    side = 40 * scene.event("move", "a", 0, 0).mm_per_pixel
    whole = np.array(geometry.shape) * geometry.spacing
    assert np.all(extent >= np.minimum(side, whole) - 1e-6)
    assert np.all(extent <= side + 2 * np.array(geometry.spacing) + 1e-6)


@pytest.mark.parametrize(("held", "wanted"), [(("shift",), True), (("ctrl",), False)])
def test_a_drag_with_a_key_is_a_scribble(scene, held, wanted) -> None:
    play(scene, [(60, 60), (80, 70), (100, 80)], modifiers=held)
    [told] = scene.pointed
    assert (told.kind, told.wanted) == ("scribble", wanted)
    assert len(told.path) >= 3
    assert np.allclose(told.path[-1], scene.event("move", "a", 100, 80).world)


def test_a_gesture_that_is_cancelled_says_so_and_nothing_more(scene) -> None:
    gesture = play(scene, [(60, 60), (120, 110)], release=False)
    gesture.close()
    assert scene.pointed[-1] is None
    assert not any(told is not None and told.done for told in scene.pointed)
    assert not scene.edits


def test_it_is_a_tool_that_edits() -> None:
    assert tool_of("click").editing
