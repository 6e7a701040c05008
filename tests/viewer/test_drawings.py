"""Drawings of files are planned for the plane as acquired alone, and made into one picture."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from imaging.case import Case
from imaging.drawings import Drawings
from imaging.geometry import Geometry
from imaging.volume import Repeats, Source, Volume
from viewer.rendering.slice_engine import DRAWING, compose
from viewer.rendering.slice_pictures import SlicePictures
from viewer.state.display import Camera, Cell, DisplayState, Plane, drawing_id
from viewer.state.plan import slice_plan
from viewer.state.planes import point

SHAPE = (3, 5, 4)
#: Axial, array order and directions of the patient agree.
GRID = Geometry(SHAPE, [[0, 0, 2, 0], [0, 2, 0, 0], [2, 0, 0, 0], [0, 0, 0, 1]], "1.2.3")
SIZE = (200, 200)


def packed(*marked: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE[1:], bool)
    for spot in marked:
        mask[spot] = True
    return np.packbits(mask)


def drawn(**more) -> Volume:
    planes = {
        ("A", 0, 1): packed((0, 1)),
        ("B", 0, 1): packed((4, 3)),
        ("A", 1, 1): packed((2, 2)),
        ("A", 0, 2): packed((1, 1)),
    }
    voxels, drawings = np.zeros(SHAPE, np.int16), Drawings(SHAPE[1:], planes)
    return Volume("v", "image", voxels, GRID, drawings=drawings, **more)


def plan_of(volume: Volume, k: float = 1, plane: Plane = Plane.ACQUIRED, **display):
    case = Case({"v": volume})
    cell = Cell("a", plane, "v", display.pop("camera", Camera()))
    cursor = point(GRID.world((k, 2, 2)))
    state = DisplayState(cells=(cell,), active="a", cursor=cursor, frame="1.2.3", **display)
    return slice_plan(case, state, cell, SIZE)


@pytest.mark.parametrize(("k", "names"), [(0, None), (1, ("A", "B")), (2, ("A",))])
def test_a_slice_shows_its_own(k: int, names: tuple[str, ...] | None) -> None:
    layer = plan_of(drawn(), k).drawing
    assert (layer and layer.names) == names


def test_the_plane_as_acquired_shows_them_under_its_patient_name_too() -> None:
    assert plan_of(drawn(), plane=Plane.AXIAL).drawing is not None
    for plane in (Plane.SAGITTAL, Plane.CORONAL):
        assert plan_of(drawn(), plane=plane).drawing is None


def test_switches_hide_one_or_all() -> None:
    hidden = DisplayState().with_overlay(drawing_id("v", "A"), visible=False).overlays
    layer = plan_of(drawn(), overlays=hidden).drawing
    assert layer is not None
    assert layer.names == ("B",)
    assert plan_of(drawn(), 2, overlays=hidden).drawing is None
    assert plan_of(drawn(), overlays_shown=False).drawing is None


def test_each_image_of_a_4d_series_shows_its_own() -> None:
    voxels = np.zeros((2, *SHAPE), np.int16)
    repeats = Repeats("echo time", ("1", "2"), voxels, (Source("dicom"),) * 2, ((1.0, 0.0),) * 2)
    second = drawn(repeats=repeats).at_repeat(1)
    layer = plan_of(second).drawing
    assert layer is not None
    assert (layer.names, layer.image) == (("A",), 1)
    yellow = np.argwhere(compose(plan_of(second), {"v": second}) == DRAWING)
    assert yellow.tolist() == [[2, 2]]


@pytest.mark.parametrize(
    ("camera", "places"),
    [
        (Camera(), [[0, 1], [4, 3]]),
        (Camera(flip_horizontal=True), [[0, 2], [4, 0]]),
        (Camera(quarter_turns=1), [[1, 4], [3, 0]]),
    ],
)
def test_the_picture_turns_with_the_slice(camera: Camera, places: list[list[int]]) -> None:
    volume = drawn()
    picture = compose(plan_of(volume, camera=camera), {"v": volume})
    assert sorted(np.argwhere(picture == DRAWING).tolist()) == sorted(places)


def test_planes_that_arrive_later_are_drawn() -> None:
    pictures, bare = SlicePictures(), replace(drawn(), drawings=None)
    pictures.make(plan_of(bare), {"v": bare})
    assert pictures.drawing is None
    volume = drawn()
    pictures.make(plan_of(volume), {"v": volume})
    assert pictures.drawing is not None
    assert np.count_nonzero(pictures.drawing) == 2
