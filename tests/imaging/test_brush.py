"""The brush, compared with the plain definition of a ball, a disc and a sweep."""

from __future__ import annotations

import time
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_cases import geometries, mask_on, segments, straight, turned, volume_on

from imaging.case import Case
from imaging.edits.brush import (
    Stroke,
    ball_mask,
    disc_mask,
    half_step,
    stamp_box,
    sweep_box,
    sweep_mask,
)
from imaging.errors import EditRefused
from imaging.geometry import Box, Geometry

fractions = st.tuples(*[st.floats(-0.2, 1.2)] * 3)
directions = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1)


def point_in(geometry: Geometry, fraction) -> np.ndarray:
    return geometry.world(np.asarray(fraction) * (np.asarray(geometry.shape) - 1))


def centres(geometry: Geometry) -> np.ndarray:
    return geometry.world(np.moveaxis(np.indices(geometry.shape), 0, -1))


def whole(geometry: Geometry, box: Box, mask: np.ndarray) -> np.ndarray:
    full = np.zeros(geometry.shape, bool)
    full[box.slices] = mask
    return full


def distance_to_way(points, a, b) -> np.ndarray:
    way = b - a
    length = way @ way
    share = (
        np.clip((points - a) @ way / length, 0, 1) if length > 0 else np.zeros(points.shape[:-1])
    )
    return np.linalg.norm(points - a - share[..., None] * way, axis=-1)


@given(geometries(max_edge=9), fractions, st.floats(0.2, 9))
def test_a_ball_is_all_voxels_nearer_than_the_radius(geometry, fraction, radius):
    centre = point_in(geometry, fraction)
    box = stamp_box(geometry, centre, radius)
    mask = whole(geometry, box, ball_mask(geometry, centre, radius))
    distance = np.linalg.norm(centres(geometry) - centre, axis=-1)
    assert mask[distance < radius - 1e-4].all()
    held = geometry.nearest(centre)
    if held is not None:
        assert mask[held]
        mask[held] = False
    assert not mask[distance > radius + 1e-4].any()


@given(geometries(max_edge=9), fractions, st.floats(0.2, 9), directions)
def test_a_disc_is_the_voxels_its_plane_cuts_within_the_radius(geometry, fraction, radius, normal):
    centre = point_in(geometry, fraction)
    unit = np.array(normal) / np.linalg.norm(normal)
    box = stamp_box(geometry, centre, radius, normal)
    mask = whole(geometry, box, disc_mask(geometry, centre, radius, normal))
    offset = centres(geometry) - centre
    depth = offset @ unit
    aside = np.linalg.norm(offset - depth[..., None] * unit, axis=-1)
    thick = half_step(geometry, normal)
    assert mask[(aside < radius - 1e-4) & (np.abs(depth) < thick - 1e-4)].all()
    held = geometry.nearest(centre)
    if held is not None:
        mask[held] = False
    assert not mask[(aside > radius + 1e-4) | (np.abs(depth) > thick + 1e-4)].any()


@given(geometries(max_edge=9), fractions, fractions, st.floats(0.2, 6))
def test_a_sweep_is_all_voxels_near_the_way(geometry, first, second, radius):
    a, b = point_in(geometry, first), point_in(geometry, second)
    box = sweep_box(geometry, a, b, radius)
    mask = whole(geometry, box, sweep_mask(geometry, a, b, radius))
    distance = distance_to_way(centres(geometry), a, b)
    assert mask[distance < radius - 1e-4].all()
    far = max(radius, 0.5 * float(np.abs(geometry.affine[:3, :3]).sum())) + 1e-4
    assert not mask[distance > far].any()


def test_a_disc_in_a_plane_of_the_grid_is_one_slice_and_round():
    geometry = straight((20, 40, 40), (5.0, 1.0, 1.0))
    centre = geometry.world((7, 20, 20))
    mask = disc_mask(geometry, centre, 6.0, (0, 0, 1))
    box = stamp_box(geometry, centre, 6.0, (0, 0, 1))
    hit = np.flatnonzero(mask.any(axis=(1, 2))) + box.start[0]
    assert hit.tolist() == [7]
    assert mask.sum() == pytest.approx(np.pi * 36, rel=0.05)


def test_a_plane_half_way_between_two_slices_paints_just_one():
    geometry = straight((20, 40, 40))
    mask = disc_mask(geometry, geometry.world((7.5, 20, 20)), 4.0, (0, 0, 1))
    assert mask.any(axis=(1, 2)).sum() == 1


def test_a_disc_leaves_no_hole_where_an_oblique_view_shows_it():
    """Every point of the plane inside the disc lies in a painted voxel."""
    geometry = turned((30, 40, 40), spacing=(3.0, 1.0, 0.8))
    normal = np.array([0.3, -0.5, 0.8])
    normal /= np.linalg.norm(normal)
    u = np.cross(normal, [1.0, 0, 0])
    u /= np.linalg.norm(u)
    v = np.cross(normal, u)
    centre = geometry.centre
    mask = whole(
        geometry,
        stamp_box(geometry, centre, 8.0, normal),
        disc_mask(geometry, centre, 8.0, normal),
    )
    inner = 8.0 - max(geometry.spacing)
    for a in np.arange(-inner, inner, 0.37):
        for b in np.arange(-inner, inner, 0.41):
            if a * a + b * b < inner * inner:
                assert mask[geometry.nearest(centre + a * u + b * v)]


def test_a_ball_is_round_on_thick_slices():
    geometry = straight((20, 40, 40), (4.0, 1.0, 1.0))
    mask = ball_mask(geometry, geometry.world((10, 20, 20)), 9.0)
    assert mask.shape == (5, 19, 19)
    assert mask.sum() * 4 == pytest.approx(4 / 3 * np.pi * 9**3, rel=0.06)


def test_a_stamp_outside_touches_nothing():
    geometry = straight()
    assert stamp_box(geometry, (-50, 0, 0), 3.0).empty
    assert ball_mask(geometry, (-50, 0, 0), 3.0).size == 0
    mask = mask_on(geometry)
    stroke = Stroke(mask, 1, 3.0)
    assert stroke.add((-50, 0, 0)).empty
    assert stroke.finish("x") is None


paths = st.lists(fractions, min_size=1, max_size=6)


@settings(max_examples=60)
@given(geometries(max_edge=14), paths, st.floats(0.3, 6), st.booleans(), st.booleans(), st.data())
def test_the_preview_is_the_finished_mask(geometry, path, radius, disc, erase, data):
    labels = np.random.default_rng(3).choice(np.array([0, 1, 2, 5], np.uint8), geometry.shape)
    mask = mask_on(geometry, labels)
    normal = data.draw(directions) if disc else None
    only = data.draw(st.sampled_from([None, 0, 1, 2]))
    stroke = Stroke(
        mask, 2, radius, "disc" if disc else "ball", normal, erase=erase, only_label=only
    )
    dirty = [stroke.add(point_in(geometry, fraction)) for fraction in path]
    everything = Box.whole(geometry.shape)
    preview = stroke.view(everything).copy()
    assert np.array_equal(mask.labels, labels)
    changed = np.argwhere(preview != labels)
    for index in changed:
        assert any(
            all(a <= n < b for a, n, b in zip(box.start, index, box.stop, strict=True))
            for box in dirty
        )
    part = Box((0, 1, 0), (2, 5, 9)).clipped(geometry.shape)
    assert np.array_equal(stroke.view(part), preview[part.slices])
    edit = stroke.finish("Brush")
    assert (edit is None) == (changed.size == 0)
    if edit is not None:
        assert edit.box == Box.around(preview != labels)
        case = Case({"mask": mask})
        edit.check(case)
        edit.apply(case)
        assert np.array_equal(mask.labels, preview)
        edit.inverse().apply(case)
    assert np.array_equal(mask.labels, labels)


@given(paths, st.floats(0.6, 4))
def test_a_stroke_is_the_union_of_its_sweeps(path, radius):
    geometry = turned()
    mask = mask_on(geometry)
    points = [point_in(geometry, fraction) for fraction in path]
    stroke = Stroke(mask, 1, radius)
    for point in points:
        stroke.add(point)
    painted = stroke.view(Box.whole(geometry.shape)) == 1
    distance = np.linalg.norm(centres(geometry) - points[0], axis=-1)
    for a, b in pairwise(points):
        distance = np.minimum(distance, distance_to_way(centres(geometry), a, b))
    assert painted[distance < radius - 1e-4].all()
    assert not painted[distance > max(radius, 2.2) + 1e-4].any()


def test_a_fast_drag_leaves_no_gap_even_with_a_tiny_brush():
    geometry = straight((10, 60, 60))
    mask = mask_on(geometry)
    stroke = Stroke(mask, 1, 0.1, "disc", (0, 0, 1))
    stroke.add(geometry.world((5, 3, 3)))
    stroke.add(geometry.world((5, 50, 57)))
    edit = stroke.finish("Brush")
    assert edit is not None
    edit.apply(Case({"mask": mask}))
    from imaging.analysis.morphology import find_parts

    assert len(find_parts(mask.labels).sizes) == 1
    assert mask.labels[5, 3, 3] == mask.labels[5, 50, 57] == 1


def test_a_disc_that_moves_to_another_slice_does_not_paint_in_between():
    geometry = straight((20, 30, 30))
    mask = mask_on(geometry)
    stroke = Stroke(mask, 1, 2.0, "disc", (0, 0, 1))
    stroke.add(geometry.world((5, 5, 5)))
    stroke.add(geometry.world((9, 20, 20)))
    painted = stroke.view(Box.whole(geometry.shape))
    assert np.flatnonzero(painted.any(axis=(1, 2))).tolist() == [5, 9]
    assert not painted[:, 12, 12].any()


def test_locked_labels_are_never_touched():
    geometry = straight()
    labels = np.full(geometry.shape, 5, np.uint8)
    for erase in (False, True):
        stroke = Stroke(mask_on(geometry, labels), 1, 4.0, erase=erase)
        stroke.add(geometry.centre)
        assert stroke.finish("x") is None


def test_the_eraser_takes_every_free_label_or_only_one():
    geometry = straight()
    labels = np.tile(np.array([1, 2], np.uint8), geometry.shape[2] // 2)
    labels = np.broadcast_to(labels, geometry.shape)
    for only, left in ((None, {0}), (1, {0, 2})):
        stroke = Stroke(mask_on(geometry, labels), 1, 2.0, erase=True, only_label=only)
        box = stroke.add(geometry.centre)
        ball = ball_mask(geometry, geometry.centre, 2.0, box)
        assert set(np.unique(stroke.view(box)[ball])) == left


@pytest.mark.parametrize("slope", [2.0, -2.0])
def test_only_voxels_in_the_intensity_range_are_painted(slope):
    geometry = straight()
    volume = volume_on(geometry, slope=slope, intercept=10.0)
    low, high = sorted((slope * 200 + 10, slope * 600 + 10))
    stroke = Stroke(mask_on(geometry), 1, 4.0, intensity_range=(low, high), volume=volume)
    box = stroke.add(geometry.centre)
    stored = volume.voxels[box.slices]
    expected = ball_mask(geometry, geometry.centre, 4.0, box) & (stored >= 200) & (stored <= 600)
    assert 0 < expected.sum() < expected.size
    assert np.array_equal(stroke.view(box) == 1, expected)


@pytest.mark.parametrize(
    ("inside", "painted"), [((0, 20), True), ((11, 20), False), ((9, 1), False)]
)
def test_an_image_without_slope_has_one_value(inside, painted):
    geometry = straight()
    volume = volume_on(geometry, slope=0.0, intercept=10.0)
    stroke = Stroke(mask_on(geometry), 1, 3.0, intensity_range=inside, volume=volume)
    stroke.add(geometry.centre)
    assert (stroke.finish("x") is not None) is painted


def test_a_range_the_wrong_way_round_holds_nothing():
    geometry = straight()
    volume = volume_on(geometry)
    stroke = Stroke(mask_on(geometry), 1, 3.0, intensity_range=(500, 100), volume=volume)
    stroke.add(geometry.centre)
    assert stroke.finish("x") is None


def test_what_cannot_be_painted_is_refused_at_the_press():
    mask = mask_on(straight())
    with pytest.raises(EditRefused, match="no label 9"):
        Stroke(mask, 9, 3.0)
    with pytest.raises(EditRefused, match="locked"):
        Stroke(mask, 5, 3.0)
    with pytest.raises(EditRefused, match="intensity"):
        Stroke(mask, 1, 3.0, intensity_range=(0, 1))
    with pytest.raises(EditRefused, match="intensity"):
        Stroke(mask, 1, 3.0, intensity_range=(0, 1), volume=volume_on(turned()))
    with pytest.raises(ValueError, match="normal"):
        Stroke(mask, 1, 3.0, "disc")
    assert Stroke(mask, 5, 3.0, erase=True).finish("x") is None
    assert segments()[2].locked


def test_the_radius_may_change_within_a_stroke():
    geometry = straight((30, 30, 30))
    stroke = Stroke(mask_on(geometry), 1, 1.0)
    small = stroke.add(geometry.centre)
    stroke.radius_mm = 6.0
    large = stroke.add(geometry.centre)
    assert max(small.shape) < max(large.shape)
    assert stroke.box == large


def test_a_preview_cannot_be_written_to():
    stroke = Stroke(mask_on(straight()), 1, 3.0)
    box = stroke.add(straight().centre)
    for part in (box, Box((0, 0, 0), (1, 1, 1))):
        with pytest.raises(ValueError):
            stroke.view(part)[...] = 1


def test_a_stamp_of_ten_voxels_on_a_large_mask_costs_little():
    geometry = straight((400, 512, 512))
    mask = mask_on(geometry)
    stroke = Stroke(mask, 1, 10.0)
    spent = []
    for step in range(60):
        start = time.thread_time()
        stroke.view(stroke.add((100.0 + 3 * step, 120.0 + 2 * step, 200.0)))
        spent.append(time.thread_time() - start)
    assert np.median(spent) < 1.5e-3
    assert stroke._scratch.size < 0.1 * mask.labels.size
