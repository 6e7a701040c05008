"""Planes, letters and placement, for every way a volume can be stored."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.case import Case
from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.orientation import direction_letters
from imaging.segmentation import Code, Segment, Segmentation
from imaging.volume import Patient, Source, Volume, Window
from viewer.state.cameras import flipped, panned, rotated, zoomed
from viewer.state.display import Camera, Cell, DisplayState, Layout, Plane
from viewer.state.linking import cursor_in, with_cursor
from viewer.state.marks import edge_letters, scale_bar
from viewer.state.plan import plan, slice_plan
from viewer.state.planes import ARRAY_PLANE_TOLERANCE_DEG

PATIENT = (Plane.AXIAL, Plane.SAGITTAL, Plane.CORONAL)
ORIENTATIONS = [
    (order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)
]
SIZE = (300, 220)


def stored(order, signs, shape=(7, 9, 11), spacing=(3.0, 1.0, 0.5), tilt=None, frame="1.2"):
    """A grid whose array axes run along patient axes in some order and direction."""
    directions = np.zeros((3, 3))
    for axis in range(3):
        directions[order[axis], axis] = signs[axis]
    if tilt is not None:
        directions = tilt @ directions
    affine = np.eye(4)
    affine[:3, :3] = directions * spacing
    affine[:3, 3] = (4.0, -7.0, 11.0)
    return Geometry(shape, affine, frame)


def rotation(axis, degrees):
    """Rodrigues' rotation matrix."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.radians(degrees)
    return np.eye(3) + np.sin(angle) * skew + (1 - np.cos(angle)) * skew @ skew


def shown(geometry, cell, display=None, size=SIZE):
    """The plan of one cell over a volume on this grid."""
    case = Case({"v": Volume("v", "x", np.zeros(geometry.shape, np.int16), geometry)})
    display = (display or DisplayState()).but(cells=(cell,))
    return slice_plan(case, display, cell, size)


cameras = st.builds(
    Camera,
    zoom=st.floats(0.5, 4.0),
    pan_mm=st.tuples(st.floats(-20, 20), st.floats(-20, 20)),
    flip_horizontal=st.booleans(),
    flip_vertical=st.booleans(),
    quarter_turns=st.integers(0, 3),
)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_radiological_convention_for_every_storage_order(order, signs):
    geometry = stored(order, signs)
    letters = [tuple(shown(geometry, Cell("a", p, "v")).letters) for p in PATIENT]
    assert letters == [("R", "L", "A", "P"), ("A", "P", "S", "I"), ("R", "L", "S", "I")]


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_patient_planes_of_straight_volumes_are_array_planes(order, signs):
    geometry = stored(order, signs)
    for plane, along in zip(PATIENT, (2, 0, 1), strict=True):
        made = shown(geometry, Cell("a", plane, "v"))
        assert made.cut is not None
        assert made.cut.axis == order.index(along)


@pytest.mark.parametrize(("order", "signs"), ORIENTATIONS)
def test_acquired_plane_keeps_the_slices_of_the_array(order, signs):
    made = shown(stored(order, signs), Cell("a", Plane.ACQUIRED, "v"))
    assert made.cut is not None
    assert made.cut.axis == 0
    assert made.letters.left in "RA"
    assert made.letters.top in "AS"


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ORIENTATIONS),
    st.sampled_from([*PATIENT, Plane.ACQUIRED]),
    cameras,
    st.floats(0, SIZE[0]),
    st.floats(0, SIZE[1]),
)
def test_point_under_a_pixel_maps_back(orientation, plane, camera, x, y):
    made = shown(stored(*orientation), Cell("a", plane, "v", camera))
    world = made.world(x, y)
    np.testing.assert_allclose(made.screen(world), (x, y), atol=1e-6)
    assert abs(made.depth(world)) < 1e-9
    column, row = made.grid.pixel(world)
    left, top, width, height = made.picture
    assert (x - left) / width == pytest.approx((column + 0.5) / made.grid.columns, abs=1e-9)
    assert (y - top) / height == pytest.approx((row + 0.5) / made.grid.rows, abs=1e-9)
    assert abs((made.grid.world(column, row) - world) @ made.way.right) < 1e-6


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(ORIENTATIONS),
    st.sampled_from([*PATIENT, Plane.ACQUIRED]),
    cameras,
    st.floats(0, 40),
)
def test_letters_name_the_true_directions_after_flips_turns_and_tilts(
    orientation, plane, camera, degrees
):
    geometry = stored(*orientation, tilt=rotation((1, 2, 3), degrees))
    made = shown(geometry, Cell("a", plane, "v", camera))
    width, height = SIZE
    middle = (width / 2, height / 2)
    for letters, x, y in zip(
        made.letters, (0, width, *middle[:1] * 2), (*middle[1:] * 2, 0, height), strict=True
    ):
        assert letters == direction_letters(made.world(x, y) - made.world(*middle))


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ORIENTATIONS), st.sampled_from(PATIENT), st.floats(1.0, 44.0))
def test_patient_planes_of_tilted_volumes_are_true(orientation, plane, degrees):
    geometry = stored(*orientation, tilt=rotation((3, 1, 2), degrees))
    made = shown(geometry, Cell("a", plane, "v"))
    normal = {Plane.AXIAL: (0, 0, 1), Plane.CORONAL: (0, 1, 0), Plane.SAGITTAL: (-1, 0, 0)}
    np.testing.assert_allclose(made.normal, normal[plane], atol=1e-12)
    assert made.cut is None


def test_a_tilt_within_the_tolerance_is_not_resampled():
    within = stored((2, 1, 0), (1, 1, 1), tilt=rotation((1, 0, 0), ARRAY_PLANE_TOLERANCE_DEG * 0.9))
    beyond = stored((2, 1, 0), (1, 1, 1), tilt=rotation((1, 0, 0), ARRAY_PLANE_TOLERANCE_DEG * 1.2))
    assert shown(within, Cell("a", Plane.SAGITTAL, "v")).cut is not None
    assert shown(beyond, Cell("a", Plane.SAGITTAL, "v")).cut is None


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(ORIENTATIONS), st.floats(0, 89), st.tuples(*[st.floats(-1, 1)] * 3))
def test_acquired_plane_is_never_a_mirror_image(orientation, degrees, axis):
    if np.linalg.norm(axis) < 0.1:
        axis = (0.0, 0.0, 1.0)
    made = shown(stored(*orientation, tilt=rotation(axis, degrees)), Cell("a", Plane.ACQUIRED, "v"))
    normal = np.array(made.normal)
    # Seen from below, from the front or from the left, whichever is nearest.
    strongest = int(np.abs(normal).argmax())
    assert normal[strongest] * (-1, 1, 1)[strongest] > 0


def test_anisotropic_voxels_keep_their_aspect():
    made = shown(stored((2, 1, 0), (1, 1, 1)), Cell("a", Plane.CORONAL, "v"))
    _, _, width, height = made.picture
    assert width / height == pytest.approx((11 * 0.5) / (7 * 3.0))
    assert height <= SIZE[1]


def test_oblique_edges_have_several_letters():
    normal = rotation((1, 0, 0), 35) @ (0, 0, 1)
    cell = Cell("a", Plane.OBLIQUE, "v", normal=tuple(normal), right=(1.0, 0.0, 0.0))
    letters = shown(stored((2, 1, 0), (1, 1, 1)), cell).letters
    assert letters.left == "R"
    assert letters.top == "AI"
    assert letters.bottom == "PS"


def test_turning_a_picture_clockwise_takes_the_top_to_the_right():
    cell = Cell("a", Plane.AXIAL, "v")
    display = rotated(DisplayState(cells=(cell,)), "a")
    made = shown(stored((2, 1, 0), (1, 1, 1)), display.cells[0])
    assert tuple(made.letters) == ("P", "A", "R", "L")


def test_mirroring_works_on_the_screen_whatever_the_turn():
    for turns in range(4):
        cell = Cell("a", Plane.AXIAL, "v", Camera(quarter_turns=turns, pan_mm=(3.0, 1.0)))
        before = shown(stored((2, 1, 0), (1, 1, 1)), cell)
        after_cell = flipped(DisplayState(cells=(cell,)), "a", horizontal=True).cells[0]
        after = shown(stored((2, 1, 0), (1, 1, 1)), after_cell)
        assert (after.letters.left, after.letters.right) == before.letters[1::-1]
        assert after.letters.top == before.letters.top
        np.testing.assert_allclose(after.world(SIZE[0] - 40, 50), before.world(40, 50))


def test_zoom_keeps_the_point_under_the_hand():
    cell = Cell("a", Plane.AXIAL, "v", Camera(pan_mm=(2.0, -3.0)))
    before = shown(stored((2, 1, 0), (1, 1, 1)), cell)
    about = tuple((p - s / 2) * before.mm_per_pixel for p, s in zip((70, 31), SIZE, strict=True))
    after_cell = zoomed(DisplayState(cells=(cell,)), "a", 2.5, about).cells[0]
    after = shown(stored((2, 1, 0), (1, 1, 1)), after_cell)
    assert after.mm_per_pixel == pytest.approx(before.mm_per_pixel / 2.5)
    np.testing.assert_allclose(after.world(70, 31), before.world(70, 31))


def test_pan_moves_the_picture_with_the_hand():
    cell = Cell("a", Plane.AXIAL, "v")
    before = shown(stored((2, 1, 0), (1, 1, 1)), cell)
    moved = panned(DisplayState(cells=(cell,)), "a", 10 * before.mm_per_pixel, 0.0).cells[0]
    after = shown(stored((2, 1, 0), (1, 1, 1)), moved)
    np.testing.assert_allclose(after.world(110, 50), before.world(100, 50))


def two_series(first_frame, second_frame):
    """Two volumes and a display with an axial cell of each."""
    grids = [stored((2, 1, 0), (1, 1, 1), frame=f) for f in (first_frame, second_frame)]
    volumes = [Volume(f"v{n}", "x", np.zeros(g.shape, np.int16), g) for n, g in enumerate(grids)]
    cells = tuple(Cell(f"c{n}", Plane.AXIAL, f"v{n}") for n in range(2))
    return Case({v.id: v for v in volumes}), DisplayState(cells=cells, layout=Layout.TWO_BY_TWO)


def test_one_cursor_inside_one_frame_of_reference():
    case, display = two_series("1.2", "1.2")
    display = with_cursor(display, case.volume("v0").geometry, (4.0, -7.0, 14.0))
    made = plan(case, display, {})
    assert [made.slices[c].position.number for c in ("c0", "c1")] == [2, 2]


def test_another_frame_of_reference_does_not_follow():
    case, display = two_series("1.2", "9.9")
    first, second = (case.volume(v).geometry for v in ("v0", "v1"))
    display = with_cursor(display, first, (4.0, -7.0, 14.0))
    assert plan(case, display, {}).slices["c1"].position.number == 4
    display = with_cursor(display, second, (4.0, -7.0, 29.0))
    made = plan(case, display, {})
    assert [made.slices[c].position.number for c in ("c0", "c1")] == [2, 7]
    np.testing.assert_allclose(cursor_in(display, first), (4.0, -7.0, 14.0))


def test_masks_and_maps_of_another_frame_are_not_laid_over():
    grid = stored((2, 1, 0), (1, 1, 1))
    other = stored((2, 1, 0), (1, 1, 1), frame="9.9")
    volume = Volume("v", "x", np.zeros(grid.shape, np.int16), grid)
    items = {
        "v": volume,
        "near": Segmentation("near", "near", grid, "v"),
        "far": Segmentation("far", "far", other, "w"),
        "map": Heatmap("map", "map", np.zeros(grid.shape), "probability", grid, "v"),
    }
    cell = Cell("a", Plane.AXIAL, "v")
    made = slice_plan(Case(items), DisplayState(cells=(cell,)), cell, SIZE)
    assert [layer.item_id for layer in made.masks] == ["near"]
    assert made.legend is not None
    assert made.legend.name == "Probability"
    hidden = slice_plan(Case(items), DisplayState(cells=(cell,), overlays_shown=False), cell, SIZE)
    assert hidden.masks == hidden.maps == ()
    assert hidden.legend is None


def test_tissues_lie_below_findings_whatever_came_first():
    grid = stored((2, 1, 0), (1, 1, 1))
    tissue = Segment(1, "Grey matter", (1, 2, 3), category=Code("85756007", "SCT", "Tissue"))
    items = {
        "v": Volume("v", "x", np.zeros(grid.shape, np.int16), grid),
        "lesions": Segmentation("lesions", "Lesions", grid, "v", (Segment(1, "L", (9, 9, 9)),)),
        "tissue": Segmentation("tissue", "Brain", grid, "v", (tissue,)),
        "hand": Segmentation("hand", "My mask", grid, "v", (Segment(1, "L", (9, 9, 9)),)),
    }
    cell = Cell("a", Plane.AXIAL, "v")
    made = slice_plan(Case(items), DisplayState(cells=(cell,)), cell, SIZE)
    assert [layer.item_id for layer in made.masks] == ["tissue", "lesions", "hand"]


def test_two_maps_of_one_kind_are_told_apart_in_the_legend():
    grid = stored((2, 1, 0), (1, 1, 1))
    items = {"v": Volume("v", "x", np.zeros(grid.shape, np.int16), grid)}
    for name in ("a: probability", "b: probability"):
        items[name] = Heatmap(name, name, np.zeros(grid.shape), "probability", grid, "v")
    cell = Cell("a", Plane.AXIAL, "v")
    made = slice_plan(Case(items), DisplayState(cells=(cell,)), cell, SIZE)
    assert made.legend is not None
    assert made.legend.name == "b: probability"


def test_window_of_the_user_comes_before_header_and_automatic():
    grid = stored((2, 1, 0), (1, 1, 1))
    voxels = np.linspace(0, 400, np.prod(grid.shape)).reshape(grid.shape).astype(np.int16)
    plain = Volume("v", "x", voxels, grid)
    header = Volume("v", "x", voxels, grid, window=Window(50, 80), inverted=True)
    cell = Cell("a", Plane.AXIAL, "v")
    display = DisplayState(cells=(cell,))
    automatic = slice_plan(Case({"v": plain}), display, cell, SIZE)
    assert 0 < automatic.window.low < automatic.window.high <= 440
    from_header = slice_plan(Case({"v": header}), display, cell, SIZE)
    assert (from_header.window, from_header.inverted) == (Window(50, 80), True)
    chosen = display.with_window("v", Window(1, 2)).but(inverted=frozenset({"v"}))
    by_user = slice_plan(Case({"v": header}), chosen, cell, SIZE)
    assert (by_user.window, by_user.inverted) == (Window(1, 2), False)


def test_texts_fill_the_corners_and_shrink_with_the_view():
    grid = stored((2, 1, 0), (1, 1, 1))
    source = Source(
        "dicom", patient=Patient("Doe^Jane", "ID7", "19700102", "F"), study_date="20240531",
        study_description="Head", series_description="FLAIR", series_number="3",
    )  # fmt: skip
    volume = Volume("v", "x", np.ones(grid.shape, np.int16), grid, source, window=Window(600, 1200))
    cell = Cell("a", Plane.AXIAL, "v", Camera(zoom=2.0))
    display = with_cursor(DisplayState(cells=(cell,)), grid, (4.0, -7.0, 14.0))
    large = slice_plan(Case({"v": volume}), display, cell, (600, 500)).texts
    assert large.top_left == ("Doe, Jane", "ID7", "1970-01-02  F")
    assert large.top_right == ("Head", "2024-05-31")
    assert large.bottom_left == ("3 · FLAIR", "Axial 2/7 · S 14.0 mm")
    assert large.bottom_right == ("W 1200  L 600", "Zoom 2.0×")
    small = slice_plan(Case({"v": volume}), display, cell, (250, 200)).texts
    assert small == (("3 · FLAIR", "Axial 2/7"), (), (), ("W 1200 L 600",))
    narrow = slice_plan(Case({"v": volume}), display, cell, (130, 200)).texts
    assert narrow == (("3 · FLAIR", "2/7"), (), (), ())
    tiny = slice_plan(Case({"v": volume}), display, cell, (90, 90)).texts
    assert tiny == (("3 · FLAIR",), (), (), ())
    quiet = slice_plan(Case({"v": volume}), display.but(text_shown=False), cell, (600, 500))
    assert quiet.texts == ((), (), (), ())
    assert quiet.letters.left == "R"


@pytest.mark.parametrize(
    ("order", "degrees", "name"),
    [
        ((0, 2, 1), 0, "Sagittal, as acquired 4/7"),
        ((1, 2, 0), 3, "Coronal, as acquired 4/7"),
        ((2, 1, 0), 20, "Oblique axial, as acquired 4/7"),
    ],
)
def test_the_plane_as_acquired_has_a_name(order, degrees, name):
    grid = stored(order, (1, 1, 1), tilt=rotation((1, 1, 1), degrees))
    made = shown(grid, Cell("a", Plane.ACQUIRED, "v"), size=(600, 500))
    assert any(line.startswith(name) for line in made.texts.bottom_left)


@pytest.mark.parametrize("size", [(600, 500), (300, 220)])
def test_a_cell_of_another_frame_says_so_and_has_no_crosshair(size):
    one, other = stored((2, 1, 0), (1, 1, 1)), stored((2, 1, 0), (1, 1, 1), frame="9.9")
    volumes = {
        id: Volume(id, id, np.zeros(grid.shape, np.int16), grid)
        for id, grid in (("v", one), ("w", other))
    }
    cells = Cell("a", Plane.AXIAL, "v"), Cell("b", Plane.AXIAL, "w")
    display = with_cursor(DisplayState(cells=cells, active="a"), one, one.centre)

    def made(cell, active="a"):
        return slice_plan(Case(volumes), display.but(active=active), cell, size)

    def words(plan):
        return " ".join(plan.texts.bottom_left + plan.texts.bottom_right)

    assert made(cells[0]).crosshair is not None
    assert "not linked" not in words(made(cells[0]))
    assert made(cells[1]).crosshair is None
    assert "not linked" in words(made(cells[1]))
    assert made(cells[1], active="b").crosshair is not None


def test_resampled_pictures_say_so():
    grid = stored((2, 1, 0), (1, 1, 1), tilt=rotation((1, 0, 0), 20))
    made = shown(grid, Cell("a", Plane.AXIAL, "v"), size=(600, 500))
    assert "interpolated" in made.texts.bottom_right


def test_moving_makes_only_resampled_planes_coarser():
    grid = stored((2, 1, 0), (1, 1, 1), shape=(40, 200, 200))
    still, moving = DisplayState(), DisplayState(moving=True)
    straight = Cell("a", Plane.AXIAL, "v")
    assert shown(grid, straight, still) == shown(grid, straight, moving)
    tilted = Cell("a", Plane.OBLIQUE, "v", normal=(0.1, 0.2, 0.97), right=(1.0, 0.0, 0.0))
    fine, coarse = shown(grid, tilted, still), shown(grid, tilted, moving)
    assert coarse.coarse
    assert coarse.grid.columns == pytest.approx(fine.grid.columns / 2, abs=2)


def test_oblique_plane_leaves_a_trace_in_the_other_views():
    grid = stored((2, 1, 0), (1, 1, 1))
    normal = tuple(rotation((1, 0, 0), 30) @ (0, 0, 1))
    cells = (
        Cell("a", Plane.SAGITTAL, "v"),
        Cell("b", Plane.OBLIQUE, "v", normal=normal, right=(1.0, 0.0, 0.0)),
    )
    case = Case({"v": Volume("v", "x", np.zeros(grid.shape, np.int16), grid)})
    made = plan(case, DisplayState(cells=cells), {"a": SIZE, "b": SIZE})
    (trace,) = made.slices["a"].traces
    x0, y0, x1, y1 = trace.line
    sagittal = made.slices["a"]
    way = sagittal.world(x1, y1) - sagittal.world(x0, y0)
    assert abs(way @ np.array(normal)) < 1e-6 * np.linalg.norm(way)
    assert made.slices["b"].traces == ()


def test_cursor_outside_shows_a_reason_and_no_picture():
    grid = stored((2, 1, 0), (1, 1, 1))
    display = with_cursor(DisplayState(), grid, (4.0, -7.0, 500.0))
    made = shown(grid, Cell("a", Plane.AXIAL, "v"), display)
    assert made.message
    assert not made.inside


@given(st.floats(1e-3, 50), st.integers(64, 4000))
def test_scale_bar_is_round_and_fits(mm_per_pixel, width):
    bar = scale_bar(mm_per_pixel, width)
    assert 0 < bar.pixels <= width / 4 + 1e-6
    assert bar.pixels * mm_per_pixel == pytest.approx(bar.mm)
    assert f"{bar.mm:e}"[0] in "125"


def test_edge_letters_are_opposites():
    from viewer.state.planes import Way

    letters = edge_letters(Way((0.7, 0.7, 0.14), (0.0, 0.0, -1.0)))
    assert tuple(letters) == ("RA", "LP", "S", "I")
