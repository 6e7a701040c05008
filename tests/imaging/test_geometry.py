"""Boxes and grids: the algebra everything else stands on."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from small_cases import boxes, geometries, straight, turned

from imaging.errors import BadInput
from imaging.geometry import Box, Geometry

EDGE = (10, 10, 10)


def covered(box: Box) -> np.ndarray:
    mask = np.zeros(EDGE, bool)
    mask[box.clipped(EDGE).slices] = True
    return mask


@given(boxes())
def test_clipping_keeps_exactly_the_voxels_inside(box):
    clipped = box.clipped(EDGE)
    expected = [
        max(0, min(b, n) - max(a, 0)) for a, b, n in zip(box.start, box.stop, EDGE, strict=True)
    ]
    assert clipped.shape == tuple(expected)
    assert clipped.clipped(EDGE) == clipped


@given(boxes(), boxes())
def test_union_holds_both_and_does_not_depend_on_order(a, b):
    a, b = a.clipped(EDGE), b.clipped(EDGE)
    union = a.union(b)
    assert not (covered(a) & ~covered(union)).any()
    assert not (covered(b) & ~covered(union)).any()
    if not a.empty and not b.empty:
        assert union == b.union(a)


@given(boxes())
def test_union_with_nothing_changes_nothing(box):
    nothing = Box((3, 3, 3), (3, 5, 5))
    assert nothing.empty
    if box.empty:
        assert box.union(nothing).empty
    else:
        assert box.union(nothing) == box
        assert nothing.union(box) == box


@given(st.sets(st.tuples(*[st.integers(0, 9)] * 3)))
def test_the_block_around_a_mask_is_tight(points):
    mask = np.zeros(EDGE, bool)
    for point in points:
        mask[point] = True
    box = Box.around(mask)
    assert box.empty == (not points)
    if points:
        assert mask[box.slices].sum() == len(points)
        array = np.array(sorted(points))
        assert box.start == tuple(array.min(axis=0))
        assert box.stop == tuple(array.max(axis=0) + 1)


def test_the_block_around_an_array_without_voxels_is_empty():
    assert Box.around(np.zeros((0, 4, 4), bool)).empty


def test_the_whole_block_covers_an_array():
    assert Box.whole((2, 3, 4)).shape == (2, 3, 4)


@given(geometries(), st.lists(st.tuples(*[st.floats(-50, 50)] * 3), min_size=1, max_size=5))
def test_world_and_index_are_each_other_s_inverse(geometry, points):
    index = np.array(points)
    assert np.allclose(geometry.index(geometry.world(index)), index, atol=1e-6)
    assert np.allclose(geometry.world(geometry.index(index)), index, atol=1e-6)


@given(geometries())
def test_volume_and_spacing_follow_the_affine(geometry):
    edges = geometry.affine[:3, :3].T
    assert geometry.voxel_ml == pytest.approx(abs(np.linalg.det(edges)) / 1000)
    steps = [np.linalg.norm(geometry.world(step) - geometry.origin) for step in np.eye(3)]
    assert geometry.spacing == pytest.approx(steps)
    assert np.allclose(np.linalg.norm(geometry.directions, axis=0), 1)


@given(geometries())
def test_slices_are_as_far_apart_as_along_their_normal(geometry):
    normal = np.cross(geometry.directions[:, 1], geometry.directions[:, 2])
    normal /= np.linalg.norm(normal)
    between = abs((geometry.world((1, 0, 0)) - geometry.origin) @ normal)
    assert geometry.slice_mm == pytest.approx(between)
    assert geometry.slice_mm <= geometry.spacing[0] * (1 + 1e-9)


@given(geometries())
def test_nearest_is_the_voxel_of_its_centre_and_none_outside(geometry):
    last = tuple(n - 1 for n in geometry.shape)
    assert geometry.nearest(geometry.world(last)) == last
    assert geometry.nearest(geometry.world(np.array(last) + 0.6)) is None
    assert geometry.nearest(geometry.world((-0.6, 0, 0))) is None


@given(geometries(max_edge=6), boxes(edge=6))
def test_a_cropped_grid_puts_its_voxels_where_they_were(geometry, box):
    box = box.clipped(geometry.shape)
    if box.empty:
        return
    part = geometry.cropped(box)
    assert part.shape == box.shape
    assert np.allclose(part.world((0, 0, 0)), geometry.world(box.start))
    assert np.allclose(part.world((1, 1, 1)), geometry.world(np.add(box.start, 1)))


@given(geometries())
def test_nifti_and_back_is_the_same_grid(geometry):
    again = Geometry.from_nifti(geometry.shape[::-1], geometry.nifti_affine)
    assert again.same_grid(geometry)
    ijk = np.array([2.0, 1.0, 0.0, 1.0])
    ras = geometry.nifti_affine @ ijk
    assert np.allclose(ras[:3] * (-1, -1, 1), geometry.world((0, 1, 2)))


def test_same_grid_allows_rounding_but_not_a_shift():
    grid = straight()
    near, far = grid.affine.copy(), grid.affine.copy()
    near[0, 3] += 0.005
    far[0, 3] += 0.02
    assert grid.same_grid(Geometry(grid.shape, near))
    assert not grid.same_grid(Geometry(grid.shape, far))
    assert not grid.same_grid(straight(shape=(12, 14, 15)))


def test_a_small_turn_shows_at_the_far_corner():
    """An error of the directions that is tiny per voxel adds up over the image."""
    grid = straight(shape=(200, 200, 200))
    affine = grid.affine.copy()
    affine[0, 0] += 1e-4
    assert not grid.same_grid(Geometry(grid.shape, affine))


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [("1", "1", True), ("1", "2", False), ("", "2", True), ("", "", True)],
)
def test_frames_of_reference_differ_only_where_both_are_known(one, other, agree):
    a = Geometry((2, 2, 2), np.eye(4), one)
    b = Geometry((2, 2, 2), np.eye(4), other)
    assert a.same_frame(b) is agree
    assert a.same_grid(b) is agree


def test_letters_name_the_axes_and_shear_is_noticed():
    assert straight().letters == "SPL"
    assert straight().orthogonal
    assert turned().orthogonal
    assert not turned(shear=0.1).orthogonal


def test_the_centre_is_the_middle_of_the_corners():
    grid = turned()
    assert np.allclose(grid.centre, grid.corners.mean(axis=0))


@pytest.mark.parametrize(
    ("one", "two", "moved", "sure"),
    [
        ("1.2", "1.2", 5, True),
        ("1.2", "1.3", 0, False),
        ("1.2", "", 0, True),
        ("1.2", "", 5, False),
        ("", "", 0, True),
        ("", "", 5, False),
    ],
)
def test_an_unknown_frame_alone_promises_no_common_place(one, two, moved, sure):
    first = Geometry((4, 5, 6), np.eye(4), one)
    affine = np.eye(4)
    affine[0, 3] += moved
    second = Geometry((4, 5, 6), affine, two)
    assert first.surely_same_place(second) is sure
    assert second.surely_same_place(first) is sure
    assert not first.surely_same_place(None)


def test_nobody_can_change_a_grid():
    grid = straight()
    for array in (grid.affine, grid.inverse):
        with pytest.raises(ValueError):
            array[0, 0] = 5


@pytest.mark.parametrize(
    ("shape", "affine"),
    [
        ((0, 2, 2), np.eye(4)),
        ((2, 2), np.eye(4)),
        ((2, 2, 2), np.eye(3)),
        ((2, 2, 2), np.full((4, 4), np.nan)),
        ((2, 2, 2), np.diag([1, 1, 0, 1])),
    ],
)
def test_a_grid_that_is_none_is_refused(shape, affine):
    with pytest.raises(BadInput):
        Geometry(shape, affine)
