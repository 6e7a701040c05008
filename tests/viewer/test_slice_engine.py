"""Pictures against brute force: every pixel looked up by patient coordinates, one by one."""

from __future__ import annotations

from itertools import permutations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from imaging.case import Case
from imaging.geometry import Box, Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import PALETTE, Segment, Segmentation
from imaging.volume import Volume, Window
from viewer.rendering.lookup import mask_table
from viewer.rendering.outline import enlarged, outlined
from viewer.rendering.reslice import nearest, reslice
from viewer.rendering.slice_engine import box_on_cut, compose, label_slice, stored_slice
from viewer.rendering.slice_pictures import SlicePictures
from viewer.state.colour_tables import COLOUR_TABLES, colours
from viewer.state.display import Camera, Cell, DisplayState, Overlay, Plane
from viewer.state.plan import slice_plan

PLANES = (Plane.AXIAL, Plane.SAGITTAL, Plane.CORONAL, Plane.ACQUIRED)
OBLIQUE = {"normal": (0.31, -0.22, 0.925), "right": (0.95, 0.05, -0.3)}


def grid(order=(2, 1, 0), signs=(1, 1, 1), shape=(6, 9, 11), spacing=(2.0, 1.0, 0.7), shift=0.0):
    """A grid along patient axes in some order and direction."""
    affine = np.zeros((4, 4))
    for axis in range(3):
        affine[order[axis], axis] = signs[axis] * spacing[axis]
    affine[:3, 3] = np.array([3.0, -2.0, 5.0]) + shift
    affine[3, 3] = 1.0
    return Geometry(shape, affine, "1.2")


def image(geometry, dtype=np.int16, **rest):
    """A volume in which every voxel differs."""
    values = np.random.default_rng(1).permutation(int(np.prod(geometry.shape)))
    voxels = values.reshape(geometry.shape).astype(dtype)
    return Volume("v", "x", voxels, geometry, window=Window(300, 600), **rest)


def plan_of(items, cell, size=(64, 48), **display):
    return slice_plan(Case(items), DisplayState(cells=(cell,), **display), cell, size)


def looked_up(array, geometry, plan, outside=0):
    """The nearest voxel under each pixel, by ``Geometry.nearest``."""
    result = np.full((plan.grid.rows, plan.grid.columns), outside, array.dtype)
    for row, column in np.ndindex(result.shape):
        index = geometry.nearest(plan.grid.world(column, row))
        if index is not None:
            result[row, column] = array[index]
    return result


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(list(permutations(range(3)))),
    st.sampled_from(list(product((1, -1), repeat=3))),
    st.sampled_from(PLANES),
    st.builds(
        Camera,
        flip_horizontal=st.booleans(),
        flip_vertical=st.booleans(),
        quarter_turns=st.integers(0, 3),
    ),
)
def test_array_planes_show_the_voxel_under_each_pixel(order, signs, plane, camera):
    volume = image(grid(order, signs))
    plan = plan_of({"v": volume}, Cell("a", plane, "v", camera))
    assert plan.cut is not None
    expected = looked_up(volume.voxels, volume.geometry, plan)
    np.testing.assert_array_equal(stored_slice(volume, plan), expected)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(list(permutations(range(3)))),
    st.sampled_from(list(product((1, -1), repeat=3))),
    st.sampled_from(PLANES),
)
def test_a_mask_on_another_grid_is_placed_by_patient_coordinates(order, signs, plane):
    volume = image(grid())
    mask_grid = grid(order, signs, (8, 7, 10), (0.9, 1.3, 1.1), shift=0.137)
    labels = np.random.default_rng(2).integers(0, 4, mask_grid.shape).astype(np.uint8)
    mask = Segmentation.from_labels("s", "m", mask_grid, "v", labels)
    plan = plan_of({"v": volume, "s": mask}, Cell("a", plane, "v"))
    (layer,) = plan.masks
    assert layer.cut is None
    expected = looked_up(labels, mask_grid, plan)
    np.testing.assert_array_equal(label_slice(mask, layer, plan), expected)


def test_oblique_labels_are_those_of_the_nearest_voxels():
    volume = image(grid(shape=(20, 30, 40), spacing=(1.1, 0.9, 1.03)))
    labels = np.random.default_rng(2).integers(0, 9, (20, 30, 40)).astype(np.uint8)
    mask = Segmentation.from_labels("s", "m", volume.geometry, "v", labels)
    plan = plan_of({"v": volume, "s": mask}, Cell("a", Plane.OBLIQUE, "v", **OBLIQUE))
    shown = label_slice(mask, plan.masks[0], plan)
    expected = looked_up(labels, volume.geometry, plan)
    assert (expected > 0).mean() > 0.3
    # A pixel exactly between two voxels may go either way.
    assert (shown != expected).mean() < 0.002


def test_oblique_image_is_trilinear():
    geometry = grid(shape=(20, 30, 40), spacing=(1.1, 0.9, 1.03))
    k, j, i = np.indices(geometry.shape)
    ramp = (3.0 * k - 2.0 * j + 5.0 * i).astype(np.float32)
    volume = Volume("v", "x", ramp, geometry, window=Window(100, 400))
    plan = plan_of({"v": volume}, Cell("a", Plane.OBLIQUE, "v", **OBLIQUE))
    shown = stored_slice(volume, plan)
    inside = 0
    for row, column in np.ndindex(shown.shape):
        index = geometry.index(plan.grid.world(column, row))
        if (index >= 0).all() and (index <= np.array(geometry.shape) - 1).all():
            inside += 1
            assert shown[row, column] == pytest.approx(index @ (3.0, -2.0, 5.0), abs=1e-2)
    assert inside > 500


@pytest.mark.parametrize("inverted", [False, True])
def test_beside_an_oblique_image_all_is_black(inverted):
    volume = image(grid(shape=(20, 30, 40)), inverted=inverted)
    cell = Cell("a", Plane.OBLIQUE, "v", **OBLIQUE)
    plan = plan_of({"v": volume}, cell, size=(60, 60))
    picture = compose(plan, {"v": volume})
    beside = [
        (row, column)
        for row, column in np.ndindex(picture.shape)
        if (np.abs(volume.geometry.index(plan.grid.world(column, row)) - (9.5, 14.5, 19.5))
            > (11.1, 16.1, 21.1)).any()
    ]  # fmt: skip
    assert beside
    assert {int(picture[place]) for place in beside} == {0xFF000000}


@pytest.mark.parametrize("dtype", [np.int16, np.uint16, np.uint8, np.int32, np.float32, ">i2"])
@pytest.mark.parametrize("inverted", [False, True])
def test_window_and_level_for_every_type(dtype, inverted):
    geometry = grid()
    volume = Volume(
        "v", "x", (np.arange(594) % 250).reshape(geometry.shape).astype(dtype), geometry,
        slope=2.0, intercept=-40.0, window=Window(150.0, 220.0), inverted=inverted,
    )  # fmt: skip
    plan = plan_of({"v": volume}, Cell("a", Plane.AXIAL, "v"))
    real = looked_up(volume.voxels, geometry, plan).astype(float) * 2.0 - 40.0
    grey = np.clip((real - 40.0) / 220.0 * 255.0, 0, 255)
    shown = compose(plan, {"v": volume}) & 0xFF
    np.testing.assert_allclose(shown, 255 - grey if inverted else grey, atol=1.01)


def test_signed_values_below_zero_are_darker():
    geometry = grid()
    voxels = np.full(geometry.shape, -200, np.int16)
    voxels[:, :, 5:] = 200
    volume = Volume("v", "x", voxels, geometry, window=Window(0, 400))
    picture = compose(plan_of({"v": volume}, Cell("a", Plane.AXIAL, "v")), {"v": volume})
    assert set(np.unique(picture[:, :5])) == {0xFF000000}
    assert set(np.unique(picture[:, 5:])) == {0xFFFFFFFF}


def test_values_that_are_not_numbers_are_black():
    geometry = grid()
    voxels = np.full(geometry.shape, 100.0, np.float32)
    voxels[:, 0] = np.nan
    volume = Volume("v", "x", voxels, geometry, window=Window(50, 100))
    picture = compose(plan_of({"v": volume}, Cell("a", Plane.AXIAL, "v")), {"v": volume})
    assert set(np.unique(picture[0])) == {0xFF000000}
    assert set(np.unique(picture[1:])) == {0xFFFFFFFF}


def overlaid(overlay, labels=None, values=None):
    """The composed axial picture of a black image under one mask or map."""
    geometry = grid()
    items = {
        "v": Volume("v", "x", np.zeros(geometry.shape, np.int16), geometry, window=Window(500, 100))
    }
    if labels is not None:
        segments = (Segment(1, "one", (200, 100, 0)),)
        items["o"] = Segmentation.from_labels("o", "m", geometry, "v", labels, segments=segments)
    else:
        items["o"] = Heatmap("o", "h", values, "probability", geometry, "v")
    plan = plan_of(items, Cell("a", Plane.AXIAL, "v"), overlays={"o": overlay})
    return compose(plan, items)


def rgb(colour):
    return (int(colour) >> 16) & 0xFF, (int(colour) >> 8) & 0xFF, int(colour) & 0xFF


def test_labels_have_the_colour_of_their_segment_at_the_opacity():
    labels = np.zeros(grid().shape, np.uint8)
    labels[:, 2, 3] = 1
    labels[:, 4, 5] = 7
    picture = overlaid(Overlay(opacity=0.5), labels)
    assert rgb(picture[2, 3]) == (100, 50, 0)
    assert rgb(picture[0, 0]) == (0, 0, 0)
    # A number without a segment is drawn all the same.
    np.testing.assert_allclose(rgb(picture[4, 5]), np.array(PALETTE[6]) / 2, atol=1)


def test_hidden_segments_are_not_drawn():
    labels = np.ones(grid().shape, np.uint8)
    assert not (overlaid(Overlay(hidden_segments=frozenset({1})), labels) & 0xFFFFFF).any()


def test_maps_are_transparent_below_low_and_clipped_above_high():
    values = np.full(grid().shape, 0.29, np.float32)
    values[:, 1], values[:, 2], values[:, 3] = 0.31, 0.8, 0.9
    picture = overlaid(
        Overlay(opacity=1.0, low=0.3, high=0.8, colour_table="viridis"), None, values
    )
    assert rgb(picture[0, 0]) == (0, 0, 0)
    np.testing.assert_allclose(rgb(picture[1, 0]), colours("viridis")[0], atol=8)
    assert rgb(picture[2, 0]) == rgb(picture[3, 0]) == tuple(colours("viridis")[-1])


def test_outline_keeps_the_rim_only():
    labels = np.zeros((9, 11), np.uint8)
    labels[2:7, 3:9] = 1
    labels[2:7, 6:9] = 2
    edge = outlined(labels)
    padded = np.pad(labels, 1, mode="edge")
    for row, column in np.ndindex(labels.shape):
        near = padded[row : row + 3, column : column + 3]
        differs = {near[0, 1], near[2, 1], near[1, 0], near[1, 2]} != {labels[row, column]}
        assert edge[row, column] == (labels[row, column] if differs else 0)


def test_a_thick_outline_is_thicker_inwards():
    labels = np.zeros((20, 20), np.uint8)
    labels[4:16, 4:16] = 3
    edge = outlined(labels, 2)
    assert (edge[4:16, 4:16] == 3).sum() == 12 * 12 - 8 * 8
    assert not edge[:4].any()


@settings(max_examples=60, deadline=None)
@given(st.floats(-20, 20), st.floats(-20, 20), st.floats(10, 90), st.floats(10, 90))
def test_enlarged_labels_lie_under_the_pixels_of_the_view(left, top, width, height):
    labels = np.random.default_rng(0).integers(0, 5, (7, 9)).astype(np.uint8)
    large = enlarged(labels, (left, top, width, height), (40, 30))
    for y, x in ((0, 0), (3, 17), (15, 20), (29, 39), (22, 5)):
        row = int(np.floor((y + 0.5 - top) / height * 7))
        column = int(np.floor((x + 0.5 - left) / width * 9))
        inside = 0 <= row < 7 and 0 <= column < 9
        assert large[y, x] == (labels[row, column] if inside else 0)


def test_vtk_reads_the_buffer_without_a_copy():
    array = np.zeros((4, 5, 6), np.uint8)
    index_map = np.array([[0.02, 0.01, 1.1], [0.0, 0.9, 0.1], [0.8, 0.0, 0.2]])
    assert not reslice(array, index_map, 6, 4, False, 0).any()
    array[...] = 9
    assert (reslice(array, index_map, 6, 4, False, 0) == 9).all()


def test_nearest_gives_the_outside_value_where_the_slice_misses_the_array():
    array = np.ones((4, 5, 6), np.int16)
    along = np.array([[0.0, 0.0, 9.0], [0.0, 1.0, 0.0], [1.0, 0.0, 0.0]])
    assert (nearest(array, along, 6, 5, outside=-1) == -1).all()
    along[:, 2] = (2.0, -2.0, 3.0)
    found = nearest(array, along, 6, 5, outside=-1)
    assert (found[:2] == -1).all()
    assert (found[2:, :3] == 1).all()
    assert (found[:, 3:] == -1).all()


def test_colour_tables_run_from_end_to_end():
    for name in COLOUR_TABLES:
        table = colours(name)
        assert table.shape == (256, 3)
        assert len(np.unique(table, axis=0)) > 100
    assert (colours("no such table") == colours("inferno")).all()


# --- what is drawn again --------------------------------------------------------------------------
@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([*PLANES, Plane.OBLIQUE]),
    st.booleans(),
    st.tuples(*[st.integers(0, n - 1) for n in (12, 14, 16)]),
    st.tuples(*[st.integers(1, 6)] * 3),
)
def test_patching_a_block_gives_the_same_picture_as_drawing_all(plane, other_grid, start, size):
    volume = image(grid(shape=(12, 14, 16)))
    geometry = (
        grid((1, 0, 2), (-1, 1, -1), (12, 14, 16), (0.8, 1.1, 1.3), shift=0.21)
        if other_grid
        else volume.geometry
    )
    labels = np.random.default_rng(3).integers(0, 4, geometry.shape).astype(np.uint8)
    mask = Segmentation.from_labels("s", "m", geometry, "v", labels)
    items = {"v": volume, "s": mask}
    cell = Cell("a", plane, "v", **(OBLIQUE if plane == Plane.OBLIQUE else {}))
    plan = plan_of(items, cell)
    pictures = SlicePictures()
    pictures.make(plan, items)
    stop = tuple(a + b for a, b in zip(start, size, strict=True))
    box = Box(start, stop).clipped(geometry.shape)
    before = pictures.masks[0].labels.copy()
    mask.flip(box, np.full(box.shape, 5, np.uint8))
    patch = pictures.mask_changed(mask, box)
    expected = label_slice(mask, plan.masks[0], plan)
    np.testing.assert_array_equal(pictures.masks[0].labels, expected)
    np.testing.assert_array_equal(
        pictures.masks[0].colours, mask_table(plan.masks[0])[np.asarray(expected)]
    )
    changed = before != expected
    if patch is None:
        assert not changed.any()
    else:
        changed[patch.rows, patch.columns] = False
        assert not changed.any()


def test_nothing_is_made_anew_for_an_equal_plan():
    volume = image(grid())
    plan = plan_of({"v": volume}, Cell("a", Plane.AXIAL, "v"))
    pictures = SlicePictures()
    pictures.make(plan, {"v": volume})
    drawn = pictures.backdrop
    pictures.make(plan, {"v": volume})
    assert pictures.backdrop == drawn


def test_scrolling_across_the_grain_shows_every_slice():
    geometry = grid((2, 1, 0), (1, -1, 1), (6, 9, 40))
    volume = image(geometry)
    labels = np.random.default_rng(3).integers(0, 4, geometry.shape).astype(np.uint8)
    mask = Segmentation.from_labels("s", "m", geometry, "v", labels)
    items = {"v": volume, "s": mask}
    pictures = SlicePictures()
    cell = Cell("a", Plane.SAGITTAL, "v")
    for index in [*range(40), 38, 37, 12, 13, 14]:
        world = tuple(geometry.world((2, 3, index)))
        plan = plan_of(items, cell, cursor=world)
        if index == 13:
            block = Box((0, 0, 13), (6, 9, 15))
            mask.flip(block, np.full(block.shape, 1, np.uint8))
            pictures.mask_changed(mask, block)
        pictures.make(plan, items)
        expected = label_slice(mask, plan.masks[0], plan)
        np.testing.assert_array_equal(pictures.masks[0].labels, expected)
        np.testing.assert_array_equal(pictures.grey, compose_image(plan, volume))


def compose_image(plan, volume):
    """The image alone."""
    from dataclasses import replace

    return compose(replace(plan, masks=(), maps=()), {"v": volume})


def test_a_box_beside_the_plane_touches_nothing():
    volume = image(grid())
    plan = plan_of({"v": volume}, Cell("a", Plane.AXIAL, "v"))
    assert plan.cut is not None
    beside = Box((plan.cut.index + 1, 0, 0), (6, 9, 11))
    assert box_on_cut(beside, plan.cut, volume.geometry.shape) is None
