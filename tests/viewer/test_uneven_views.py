"""Uneven stacks are shown as acquired with true places, other planes say why not; 4D says which."""

from __future__ import annotations

import contextlib
from dataclasses import replace

import numpy as np
import pytest
from PySide6.QtCore import QPoint, QPointF, Qt
from PySide6.QtGui import QWheelEvent
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication

from imaging.analysis.regularise import even_volume
from imaging.case import Case
from imaging.errors import EditRefused
from imaging.geometry import Geometry
from imaging.segmentation import Segment, Segmentation
from imaging.uneven import uneven_geometry
from imaging.volume import Repeats, Source, Volume, Window
from viewer.state.display import Brush, Cell, DisplayState, Plane
from viewer.state.linking import cursor_in, with_cursor
from viewer.state.navigation import compare_display, first_display
from viewer.state.plan import slice_plan
from viewer.state.text import repeat_text
from viewer.state.windows import automatic_window
from viewer.tools.brush import brush
from viewer.tools.scroll import pointed_at, scrolled
from viewer.widgets.slice_view import SliceView
from viewer.widgets.volume_view import VolumeView

SIZE = (600, 500)
CELL = Cell("a", Plane.ACQUIRED, "u")
HEIGHTS = [0.0, 3.0, 6.0, 18.0, 21.0, 24.0]


def uneven(heights=HEIGHTS, id: str = "u") -> Volume:
    """Axial slices at heights above S 100; slice k holds the value k."""
    affine = np.zeros((4, 4))
    step = (heights[-1] - heights[0]) / (len(heights) - 1) or 1.0
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = step, 1.0, 1.0, 1.0
    affine[:3, 3] = (-20.0, -15.0, 100.0)
    mean = Geometry((len(heights), 30, 40), affine, "1.2.3")
    places = np.array([(-20.0, -15.0, 100.0 + h) for h in heights])
    voxels = np.broadcast_to(np.arange(len(heights), dtype=np.int16)[:, None, None], mean.shape)
    source = Source("dicom", series_description="FLAIR")
    return Volume(
        id, "FLAIR", voxels.copy(), uneven_geometry(mean, places, id), source,
        window=Window(3, 6), places=places,
    )  # fmt: skip


def even(id: str = "e") -> Volume:
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2], affine[3, 3] = 1.0, 1.0, 1.0, 1.0
    affine[:3, 3] = (-20.0, -15.0, 100.0)
    geometry = Geometry((22, 30, 40), affine, "1.2.3")
    voxels = np.zeros(geometry.shape, np.int16)
    return Volume(id, "T1", voxels, geometry, window=Window(1, 2))


@pytest.fixture
def case() -> Case:
    return Case({"u": uneven(), "e": even()})


def shown(case: Case, display: DisplayState, cell: Cell = CELL):
    return slice_plan(case, display, cell, SIZE)


def at(case: Case, height: float) -> DisplayState:
    """The crosshair of the linked even volume at a height above the first slice."""
    display = DisplayState(cells=(CELL, Cell("b", Plane.AXIAL, "e")), active="a")
    return with_cursor(display, case.volume("e").geometry, (0.0, 0.0, 100.0 + height))


def test_the_place_of_every_slice_is_the_true_one(case) -> None:
    display = with_cursor(DisplayState(cells=(CELL,), active="a"), case.volume("u").geometry,
                          case.volume("u").places[0])  # fmt: skip
    seen = []
    for _ in HEIGHTS:
        plan = shown(case, display)
        seen.append((plan.position.number, plan.position.place, plan.centre[2]))
        display = scrolled(case, display, "a", 1)
    assert seen == [(n, f"S {100 + h:.1f} mm", 100 + h) for n, h in enumerate(HEIGHTS, 1)]
    assert shown(case, display).position.number == len(HEIGHTS)


def test_the_crosshair_of_another_image_shows_the_slice_that_lies_there(case) -> None:
    for height, number in ((0, 1), (4, 2), (5, 3), (17, 4), (21, 5)):
        plan = shown(case, at(case, height))
        assert (plan.position.number, plan.crosshair is not None) == (number, True)


def test_in_a_gap_the_nearest_slice_is_shown_without_a_crosshair_and_says_so(case) -> None:
    plan = shown(case, at(case, 10.0))
    assert plan.position.number == 3
    assert plan.crosshair is None
    assert "nearest slice, 4.0 mm from the crosshair" in plan.texts.bottom_left


def test_pointing_in_an_uneven_stack_moves_the_crosshair_to_the_true_place(case) -> None:
    display = pointed_at(case, at(case, 21.0), "a", np.array([5.0, 3.0, 118.0]))
    assert display.cursor == pytest.approx((5.0, 3.0, 118.0))
    assert cursor_in(display, case.volume("e").geometry) == pytest.approx((5.0, 3.0, 118.0))


@pytest.mark.parametrize("plane", [Plane.AXIAL, Plane.SAGITTAL, Plane.CORONAL, Plane.OBLIQUE])
def test_other_planes_say_why_not_and_offer_a_way_on(case, plane) -> None:
    plan = shown(case, at(case, 3.0), replace(CELL, plane=plane))
    assert plan.message == (
        "The slices lie at uneven distances (3.0 to 12.0 mm). Only the plane as acquired is shown."
    )
    assert plan.uneven == "u"
    assert plan.volume_id == ""


def test_slices_that_share_places_are_not_linked_but_say_their_true_place() -> None:
    case = Case({"u": uneven([0.0, 3.0, 3.0, 9.0]), "e": even()})
    display = first_display(DisplayState(), case.volume("u"))
    plan = shown(case, display)
    assert plan.position.number == 3
    assert plan.position.place == "S 103.0 mm"
    moved = with_cursor(display, case.volume("e").geometry, (0.0, 0.0, 120.0))
    assert shown(case, moved).position.number == 3
    assert any("not linked" in line for line in shown(case, moved).texts.bottom_right)


def test_slices_without_any_place_claim_none() -> None:
    volume = replace(uneven([0.0, 3.0, 6.0]), placed=False, places=None)
    case = Case({"u": volume})
    display = first_display(DisplayState(), volume)
    plan = shown(case, display)
    assert plan.texts.bottom_left == ("FLAIR", "As acquired 2/3")
    assert set(plan.letters) == {""}
    assert plan.scale_bar is None
    small = slice_plan(case, display, CELL, (250, 200))
    assert small.texts.top_left == ("FLAIR", "As acquired", "2/3")
    other = shown(case, display, replace(CELL, plane=Plane.SAGITTAL))
    assert "does not say where" in other.message
    assert other.uneven == ""


def test_slices_that_were_made_are_not_called_as_acquired(case) -> None:
    made = even_volume(case.volume("u"))
    case.items[made.id] = made
    texts = slice_plan(case, at(case, 3.0), replace(CELL, volume_id=made.id), SIZE).texts
    assert texts.bottom_left == ("FLAIR (even, 3.0 mm)", "Axial 2/9 · S 103.0 mm")
    assert "interpolated" not in texts.bottom_right  # this slice is a copy of an acquired one


def test_compared_side_by_side_an_uneven_stack_keeps_its_own_plane(case) -> None:
    display = compare_display(DisplayState(), [case.volume("e"), case.volume("u")])
    assert [cell.plane for cell in display.cells] == [Plane.AXIAL, Plane.ACQUIRED]


def test_the_button_in_the_view_asks_for_an_even_volume(qtbot, desk, case) -> None:
    view = SliceView("b", desk(case, at(case, 3.0)))
    qtbot.addWidget(view)
    view.resize(300, 260)
    view.show()
    view.apply(slice_plan(case, at(case, 3.0), Cell("b", Plane.SAGITTAL, "u"), (300, 260)), case)
    button = next(child for child in view.children() if hasattr(child, "text"))
    assert button.isVisible()
    assert view.rect().contains(button.geometry())
    with qtbot.waitSignal(view.even_wanted) as signal:
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert signal.args == ["u"]
    view.apply(slice_plan(case, at(case, 3.0), CELL, (300, 260)), case)
    assert not button.isVisible()


def test_3d_says_why_not_and_offers_a_way_on(qtbot, case) -> None:
    view = VolumeView()
    qtbot.addWidget(view)
    view.resize(300, 260)
    view.show()
    view.apply(case, at(case, 3.0), Cell("d", Plane.VOLUME, "u"))
    button = next(child for child in view.children() if hasattr(child, "text"))
    assert button.isVisible()
    with qtbot.waitSignal(view.even_wanted) as signal:
        QTest.mouseClick(button, Qt.MouseButton.LeftButton)
    assert signal.args == ["u"]


# --- 4D ---------------------------------------------------------------------------------------


def several(axis: str = "echo time", labels=("TE 9.5 ms", "TE 90 ms")) -> Volume:
    plain = even()
    images = np.stack([np.full(plain.voxels.shape, 10 * n, np.int16) for n in range(len(labels))])
    images[:, 5:15, 5:25, 5:35] += 100
    repeats = Repeats(
        axis, labels, images, (plain.source,) * len(labels), ((1.0, 0.0),) * len(labels)
    )
    return replace(plain, voxels=images[0], repeats=repeats, window=None)


def test_the_corner_says_which_image_is_shown() -> None:
    volume = several().at_repeat(1)
    case = Case({"e": volume})
    cell = Cell("a", Plane.AXIAL, "e")
    display = first_display(DisplayState(), volume)
    assert "Echo 2 / 2 · TE 90 ms" in slice_plan(case, display, cell, SIZE).texts.bottom_left
    assert "Echo 2 / 2" in slice_plan(case, display, cell, (250, 200)).texts.top_left


@pytest.mark.parametrize(
    ("axis", "labels", "words"),
    [
        ("time point", ("time point 1", "time point 2"), "Time point 2 / 2"),
        ("time point", ("time point 0", "time point 2.5"), "Time point 2 / 2 · time point 2.5"),
        ("b-value", ("b 0", "b 1000"), "b-value 2 / 2 · b 1000"),
        ("b-value and direction", ("b 0", "b 9 · direction 1"), "Image 2 / 2 · b 9 · direction 1"),
        ("image", ("image 1", "image 2"), "Image 2 / 2"),
    ],
)
def test_images_are_called_by_what_tells_them_apart(axis, labels, words) -> None:
    assert repeat_text(several(axis, labels).at_repeat(1)) == words
    assert repeat_text(even()) == ""


def test_all_images_of_a_series_share_one_automatic_window() -> None:
    volume = several()
    assert automatic_window(volume) == automatic_window(volume.at_repeat(1))


def test_another_image_leaves_the_3d_camera_where_it_is(qtbot) -> None:
    view = VolumeView()
    qtbot.addWidget(view)
    view.resize(200, 160)
    volume = several()
    case = Case({"e": volume})
    display, cell = first_display(DisplayState(), volume), Cell("d", Plane.VOLUME, "e")
    view.apply(case, display, cell)
    view.look_from("L")
    middle = QPointF(view.rect().center())
    turned = QWheelEvent(
        middle, middle, QPoint(), QPoint(0, 240), Qt.MouseButton.NoButton,
        Qt.KeyboardModifier.NoModifier, Qt.ScrollPhase.NoScrollPhase, False,
    )  # fmt: skip
    QApplication.sendEvent(view, turned)
    before = view.orbit
    case.items["e"] = volume.at_repeat(1)
    view.apply(case, display, cell)
    assert view.orbit == before


# --- the brush --------------------------------------------------------------------------------


def painting(desk, case: Case, mask: Segmentation, cell: Cell):
    """A press of the brush in a cell."""
    case.items["m"] = mask
    display = at(case, 3.0).but(cells=(cell,), active=cell.id, brush=Brush(segmentation_id="m"))
    scene = desk(case, display)
    gesture = brush(scene.event("press", cell.id, 300, 250, SIZE), scene)
    next(gesture)


def mask_on(geometry: Geometry) -> Segmentation:
    return Segmentation("m", "mask", geometry, "u", segments=(Segment(1, "one", (9, 9, 9)),))


def test_nothing_is_painted_on_slices_at_uneven_distances(desk, case) -> None:
    with pytest.raises(EditRefused, match="uneven distances"):
        painting(desk, case, mask_on(case.volume("u").geometry), CELL)


def test_a_view_in_another_frame_of_reference_paints_nothing(desk, case) -> None:
    case.items["u"] = uneven([0.0, 3.0, 3.0, 9.0])
    with pytest.raises(EditRefused, match="frame of reference"):
        painting(desk, case, mask_on(case.volume("e").geometry), CELL)


def test_over_linked_uneven_slices_a_mask_of_the_even_image_is_painted_in_place(desk, case) -> None:
    mask = mask_on(case.volume("e").geometry)
    case.items["m"] = mask
    display = at(case, 18.0).but(brush=Brush(radius_mm=2.0, segmentation_id="m"))
    scene = desk(case, display)
    gesture = brush(scene.event("press", "a", 300, 250, SIZE), scene)
    next(gesture)
    with contextlib.suppress(StopIteration):
        gesture.send(scene.event("release", "a", 300, 250, SIZE))
    painted = np.argwhere(mask.labels)
    assert set(painted[:, 0]) == {18}
