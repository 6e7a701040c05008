"""Every slice says what it is: made up across a gap, interpolated, beside a gap, or as acquired."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.analysis.regularise import even_volume
from imaging.case import Case
from imaging.geometry import Geometry
from imaging.uneven import uneven_geometry
from imaging.volume import Source, Volume
from viewer.state.display import Cell, DisplayState, Plane
from viewer.state.navigation import first_display, show_volume
from viewer.state.plan import plan, slice_plan

HEIGHTS = np.array([0.0, 3.0, 6.0, 18.0, 21.0, 24.0])
CELL = Cell("a", Plane.ACQUIRED, "u")


def stack(heights=HEIGHTS) -> Volume:
    places = np.outer(heights, (0.0, 0.0, 1.0))
    affine = np.array([[0, 0, 1, 0], [0, 1, 0, 0], [4.2, 0, 0, 0], [0, 0, 0, 1]], float)
    mean = Geometry((len(heights), 8, 8), affine, "1.2")
    voxels = np.arange(len(heights) * 64, dtype=np.int16).reshape(-1, 8, 8)
    grid = uneven_geometry(mean, places, "u")
    return Volume("u", "T2", voxels, grid, Source("dicom"), places=places)


def lines(volume: Volume, k: int, size=(600, 500), plane=Plane.ACQUIRED) -> str:
    cell = Cell("a", plane, volume.id)
    world = tuple(float(v) for v in volume.geometry.world((k, 4, 4)))
    display = DisplayState().but(cells=(cell,), cursor=world, frame="1.2")
    texts = slice_plan(Case({volume.id: volume}), display, cell, size).texts
    return "\n".join((*texts.bottom_left, *texts.bottom_right))


def test_the_slices_beside_a_gap_name_it() -> None:
    volume = stack()
    words = [lines(volume, k) for k in range(6)]
    assert ["gap" in text for text in words] == [False, False, True, True, False, False]
    assert "gap of 12 mm (to slice 4)" in words[2]
    assert "gap of 12 mm (to slice 3)" in words[3]
    assert "gap of 12 mm" in lines(volume, 2, (260, 240))


def test_made_slices_say_what_they_are_and_copies_nothing() -> None:
    made = even_volume(stack())
    assert made.made_slices == ("", "", "", *["made up (gap of 12 mm)"] * 3, "", "", "")
    assert "made up (gap of 12 mm)" in lines(made, 4)
    assert "made up" in lines(made, 4, (260, 240))
    for k in (0, 2, 6):
        assert "made up" not in lines(made, k)
        assert "interpolated" not in lines(made, k)
    assert "interpolated" in lines(made, 4, plane=Plane.SAGITTAL)


def test_slices_between_two_are_interpolated() -> None:
    made = even_volume(stack(np.array([0.0, 3.0, 7.0, 10.0])))
    assert "interpolated" in made.made_slices
    k = made.made_slices.index("interpolated")
    assert "interpolated" in lines(made, k)


def test_one_cell_explains_an_uneven_stack_and_the_others_are_short() -> None:
    volume = stack()
    display = first_display(DisplayState(), volume)
    shown = plan(Case({"u": volume}), display, {}).slices
    said = [one for one in shown.values() if one.message]
    assert [one.message for one in said] == [
        "The slices lie at uneven distances (3.0 to 12.0 mm). Only the plane as acquired is shown.",
        "Only the plane as acquired is shown.",
    ]
    assert [one.uneven for one in said] == ["u", ""]


def test_without_a_position_there_is_one_view() -> None:
    grid = Geometry((3, 8, 8), np.eye(4), "1.2")
    alone = Volume("x", "X", np.zeros((3, 8, 8), np.int16), grid, placed=False)
    other = Volume("y", "Y", np.zeros((3, 8, 8), np.int16), grid)
    case = Case({"x": alone, "y": other})
    display = first_display(DisplayState(), alone)
    assert [cell.id for cell in display.shown_cells] == ["a"]
    display = show_volume(case, display, other)
    assert len(display.shown_cells) == 4
    assert len(show_volume(case, display, alone).shown_cells) == 1


@pytest.mark.parametrize("width", [430, 600])
def test_place_and_slice_are_never_cut_by_the_letter(width) -> None:
    tilt = np.radians(31.0)
    affine = np.eye(4)
    affine[:3, 2], affine[:3, 1] = (1.0, 0, 0), (0, np.cos(tilt), np.sin(tilt))
    affine[:3, 0] = (0, -np.sin(tilt), np.cos(tilt))
    volume = Volume("u", "T2", np.zeros((130, 8, 8), np.int16), Geometry((130, 8, 8), affine, "1"))
    room = width / 2 - 28
    cell = Cell("a", Plane.ACQUIRED, "u")
    world = tuple(float(v) for v in volume.geometry.world((65, 4, 4)))
    display = DisplayState().but(cells=(cell,), cursor=world, frame="1")
    texts = slice_plan(Case({"u": volume}), display, cell, (width, 500)).texts
    assert any("66/130" in line for line in texts.bottom_left)
    assert all(len(line) * 7.5 <= room or " · " not in line for line in texts.bottom_left)
