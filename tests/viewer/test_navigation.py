"""Which cells a study is shown in, and where the crosshair goes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.case import Case
from imaging.geometry import Geometry
from imaging.volume import Source, Volume, Window
from viewer.state.display import Camera, DisplayState, Layout, Plane
from viewer.state.linking import middle_voxel
from viewer.state.navigation import (
    CELL_IDS,
    PRESET_NAMES,
    compare_display,
    nearest_plane,
    plane_cells,
    presets,
    show_volume,
    with_plane,
)

#: Columns: patient direction of the steps along k, j, i (LPS).
AXIAL = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)
SAGITTAL = np.array([[1, 0, 0], [0, 0, 1], [0, -1, 0]], float)
CORONAL = np.array([[0, 0, 1], [1, 0, 0], [0, -1, 0]], float)


def volume(id: str, way: np.ndarray = AXIAL, frame: str = "1.2", origin=(0, 0, 0)) -> Volume:
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = way, origin
    geometry = Geometry((6, 8, 10), affine, frame)
    return Volume(id, id, np.zeros(geometry.shape, np.int16), geometry, Source("nifti"))


def case_of(*volumes: Volume) -> Case:
    return Case({v.id: v for v in volumes})


@pytest.mark.parametrize(
    ("way", "plane"),
    [(AXIAL, Plane.AXIAL), (SAGITTAL, Plane.SAGITTAL), (CORONAL, Plane.CORONAL)],
)
def test_a_series_brings_all_its_planes(way, plane) -> None:
    one = volume("a", way)
    assert nearest_plane(one.geometry) == plane
    cells = plane_cells(one)
    assert [cell.id for cell in cells] == list(CELL_IDS)
    planes = {Plane.AXIAL, Plane.SAGITTAL, Plane.CORONAL} - {plane}
    assert {cell.plane for cell in cells} == {Plane.ACQUIRED, Plane.VOLUME} | planes
    assert {cell.volume_id for cell in cells} == {"a"}


def test_the_first_series_puts_the_crosshair_in_its_middle() -> None:
    one = volume("a")
    display = show_volume(case_of(one), DisplayState(), one)
    assert display.active == CELL_IDS[0]
    assert np.allclose(display.cursor, middle_voxel(one.geometry))


def test_another_series_of_the_same_frame_keeps_the_place_and_the_cameras() -> None:
    one, two = volume("a"), volume("b")
    display = show_volume(case_of(one, two), DisplayState(), one)
    zoomed = display.cells[0]
    display = display.with_cell(type(zoomed)(zoomed.id, zoomed.plane, "a", Camera(zoom=3.0)))
    display = display.but(cursor=(2.0, 3.0, 4.0))
    shown = show_volume(case_of(one, two), display, two)
    assert {cell.volume_id for cell in shown.cells} == {"b"}
    assert shown.cells[0].camera.zoom == 3.0
    assert shown.cursor == (2.0, 3.0, 4.0)


def test_a_crosshair_outside_the_new_series_goes_to_its_middle() -> None:
    one, far = volume("a"), volume("b", origin=(500, 0, 0))
    display = show_volume(case_of(one, far), DisplayState(), one)
    shown = show_volume(case_of(one, far), display, far)
    assert np.allclose(shown.cursor, middle_voxel(far.geometry))


def test_another_frame_has_its_own_crosshair() -> None:
    one, other = volume("a"), volume("b", frame="9.9")
    display = show_volume(case_of(one, other), DisplayState(), one).but(cursor=(1.0, 1.0, 1.0))
    shown = show_volume(case_of(one, other), display, other)
    assert shown.frame == "9.9"
    assert shown.cursors["1.2"] == (1.0, 1.0, 1.0)


def test_a_drop_changes_one_cell_only() -> None:
    one, two = volume("a"), volume("b")
    display = show_volume(case_of(one, two), DisplayState(), one)
    shown = show_volume(case_of(one, two), display, two, "c")
    assert [cell.volume_id for cell in shown.cells] == ["a", "a", "b", "a"]
    assert shown.active == "c"
    # The next choice from the list fills all cells again.
    again = show_volume(case_of(one, two), shown, one)
    assert {cell.volume_id for cell in again.cells} == {"a"}


@given(count=st.integers(2, 7))
def test_comparing_shows_up_to_four_in_one_plane(count) -> None:
    volumes = [volume(str(n)) for n in range(count)]
    shown = compare_display(DisplayState(maximised="a"), volumes)
    assert len(shown.cells) == min(count, 4)
    assert {cell.plane for cell in shown.cells} == {Plane.AXIAL}
    assert [cell.volume_id for cell in shown.cells] == [v.id for v in volumes[:4]]
    assert shown.layout == Layout.TWO_BY_TWO
    assert shown.maximised == ""


def test_an_oblique_plane_starts_as_the_plane_it_replaces() -> None:
    one = volume("a")
    display = show_volume(case_of(one), DisplayState(), one)
    shown = with_plane(display, "a", Plane.OBLIQUE, one.geometry)
    cell = shown.cell("a")
    assert cell is not None
    assert cell.plane == Plane.OBLIQUE
    assert np.allclose(np.abs(cell.normal), [0, 0, 1])
    assert cell.right is not None
    assert with_plane(shown, "no such", Plane.AXIAL, one.geometry) is shown


@given(centre=st.floats(-1000, 1000), width=st.floats(1, 5000), own=st.integers(0, 4))
def test_nine_digit_keys_have_nine_windows(centre, width, own) -> None:
    header = [Window(float(n), 10.0 + n) for n in range(own)]
    automatic = Window(centre, width)
    made = presets(automatic, header)
    assert len(made) == len(set(PRESET_NAMES)) == 9
    # Air, below the automatic window, stays black in each of them.
    assert all(window.low >= automatic.low - 1e-6 * width for window in made[2:])
    assert made[3].width > width
    assert made[: min(own, 2)] == header[:2]
    assert all(window.width > 0 for window in made)
