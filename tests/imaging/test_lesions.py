"""The lesion list: parts, measures, places and numbers that stay."""

from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from small_cases import blobs, geometries, map_on, mask_on, straight, turned

from imaging.analysis.lesions import Lesion, find_lesions, update_lesions
from imaging.analysis.morphology import find_parts
from imaging.analysis.place import HeadFrame, find_head
from imaging.geometry import Box, Geometry
from imaging.volume import Volume


def pattern(seed: int, shape=(9, 10, 11), share: float = 0.25) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < share, rng.integers(1, 3, shape), 0).astype(np.uint8)


@given(st.integers(0, 10**6), st.tuples(*[st.integers(1, 9)] * 3), st.floats(0, 1))
def test_parts_are_those_of_scipy(seed, shape, share):
    """Same parts, same order, for one label."""
    mask = np.random.default_rng(seed).random(shape) < share
    expected, count = ndimage.label(mask, np.ones((3, 3, 3)))
    parts = find_parts(mask)
    assert len(parts.sizes) == count
    assert np.array_equal(expected.reshape(-1)[parts.positions], parts.part + 1)
    assert np.array_equal(parts.sizes, np.bincount(expected.reshape(-1))[1:])


@given(st.integers(0, 10**6), st.floats(0, 0.6))
def test_neighbours_of_different_labels_are_different_lesions(seed, share):
    labels = pattern(seed, share=share)
    mask = mask_on(straight(labels.shape), labels)
    found = {number: [] for number in (1, 2)}
    for lesion in find_lesions(mask):
        found[lesion.label].append(lesion.voxels)
    for number, voxels in found.items():
        parts, count = ndimage.label(labels == number, np.ones((3, 3, 3)))
        assert sorted(voxels) == sorted(np.bincount(parts.reshape(-1))[1:].tolist())
        assert len(voxels) == count


@given(geometries(max_edge=8), st.integers(0, 1000))
def test_a_lesion_is_measured_as_defined(geometry, seed):
    labels = pattern(seed, geometry.shape, 0.15)
    values = np.random.default_rng(seed).random(geometry.shape, dtype=np.float32)
    lesions = find_lesions(mask_on(geometry, labels), map_on(geometry, values))
    assert sum(lesion.voxels for lesion in lesions) == np.count_nonzero(labels)
    assert [lesion.number for lesion in lesions] == list(range(1, len(lesions) + 1))
    sizes = [lesion.voxels for lesion in lesions]
    assert sizes == sorted(sizes, reverse=True)
    for lesion in lesions:
        inside = tuple(lesion.indices.T)
        assert (labels[inside] == lesion.label).all()
        assert Box.around(lesion.mask) == Box.whole(lesion.box.shape)
        assert lesion.volume_ml == pytest.approx(lesion.voxels * geometry.voxel_ml)
        assert lesion.mean_probability == pytest.approx(values[inside].mean(), rel=1e-5)
        assert values[lesion.peak_index] == values[inside].max()
        assert np.allclose(lesion.centroid_world, geometry.world(lesion.indices).mean(axis=0))
        assert np.allclose(lesion.peak_world, geometry.world(lesion.peak_index))


def test_without_a_map_the_peak_is_inside_and_near_the_middle():
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[4, 1:8, 1:8] = 1
    labels[4, 2:7, 2:7] = 0  # a ring: its centroid is not in it
    (lesion,) = find_lesions(mask_on(straight(labels.shape), labels))
    assert lesion.mean_probability is None
    assert labels[lesion.peak_index] == 1


def test_a_map_on_another_grid_is_ignored():
    mask = mask_on(straight(), pattern(1, straight().shape))
    assert find_lesions(mask, map_on(turned()))[0].mean_probability is None


def test_only_the_labels_asked_for():
    mask = mask_on(straight((9, 10, 11)), pattern(3))
    assert {lesion.label for lesion in find_lesions(mask, labels=[2])} == {2}


def test_an_empty_mask_has_no_lesions():
    mask = mask_on(straight())
    assert find_lesions(mask) == []
    assert update_lesions([], mask, Box((0, 0, 0), (3, 3, 3))) == []


def describe(lesions: list[Lesion]) -> list[tuple]:
    return [(s.number, s.label, s.box, s.mask.tobytes(), s.mean_probability) for s in lesions]


edits = st.lists(
    st.tuples(st.tuples(*[st.integers(0, 7)] * 3), st.integers(1, 4), st.integers(0, 2)),
    min_size=1,
    max_size=5,
)


@settings(max_examples=80)
@given(st.integers(0, 1000), edits)
def test_the_list_after_an_edit_is_that_of_a_new_search(seed, steps):
    geometry = straight((9, 10, 11))
    mask = mask_on(geometry, pattern(seed, share=0.12))
    heat = map_on(geometry)
    lesions = find_lesions(mask, heat)
    for corner, size, value in steps:
        box = Box(corner, tuple(c + size for c in corner)).clipped(geometry.shape)
        before = mask.labels[box.slices]
        mask.flip(box, before ^ np.full_like(before, value))
        updated = update_lesions(lesions, mask, box, heat)
        searched = find_lesions(mask, heat, previous=lesions)
        assert describe(updated) == describe(searched)
        numbers = [lesion.number for lesion in updated]
        assert len(set(numbers)) == len(numbers)
        lesions = updated


def two_balls() -> tuple[np.ndarray, Geometry]:
    labels = np.zeros((10, 20, 30), np.uint8)
    labels[3:7, 8:13, 3:9] = 1
    labels[3:7, 8:12, 20:26] = 1
    return labels, straight(labels.shape)


def test_numbers_stay_when_a_lesion_grows_shrinks_or_changes_its_label():
    labels, geometry = two_balls()
    before = find_lesions(mask_on(geometry, labels))
    labels[2:9, 7:15, 18:28] = 1  # number 2 is the larger one now
    after = find_lesions(mask_on(geometry, labels), previous=before)
    assert [(s.number, s.box.start[2]) for s in after] == [(1, 3), (2, 18)]
    labels[labels > 0] = 2
    again = find_lesions(mask_on(geometry, labels), previous=after)
    assert [(s.number, s.label, s.box) for s in again] == [(s.number, 2, s.box) for s in after]


def test_a_deleted_number_is_not_given_away_and_a_new_lesion_comes_after():
    labels, geometry = two_balls()
    before = find_lesions(mask_on(geometry, labels))
    labels[:, :, :15] = 0
    labels[0, 0, 0] = 1
    after = find_lesions(mask_on(geometry, labels), previous=before)
    assert [lesion.number for lesion in after] == [2, 3]


def test_when_two_lesions_join_the_larger_share_gives_the_number():
    labels, geometry = two_balls()
    before = find_lesions(mask_on(geometry, labels))
    labels[5, 10, 9:20] = 1
    (joined,) = find_lesions(mask_on(geometry, labels), previous=before)
    assert joined.number == 1
    labels[5, 10, 9:20] = 0
    parted = find_lesions(mask_on(geometry, labels), previous=[joined])
    assert [(s.number, s.box.start[2]) for s in parted] == [(1, 3), (2, 20)]


def test_lesions_that_touch_only_at_a_corner_are_one():
    labels = np.zeros((4, 4, 4), np.uint8)
    labels[0, 0, 0] = labels[1, 1, 1] = labels[2, 0, 2] = 1
    assert len(find_lesions(mask_on(straight((4, 4, 4)), labels))) == 1


def test_a_row_does_not_reach_round_the_edge():
    labels = np.zeros((3, 3, 3), np.uint8)
    labels[1, 1, 2] = labels[1, 2, 0] = labels[0, 2, 1] = 0
    labels[0, 0, 2] = labels[0, 1, 0] = 1
    labels[1, 2, 2] = labels[2, 0, 0] = 1
    assert (
        len(find_lesions(mask_on(straight((3, 3, 3)), labels)))
        == len(np.unique(ndimage.label(labels, np.ones((3, 3, 3)))[0])) - 1
    )


def test_a_whole_head_takes_little_time():
    geometry = straight((192, 256, 256))
    coarse = blobs(straight((24, 32, 32)), seed=4, count=30)
    labels = np.kron(coarse > 0.4, np.ones((8, 8, 8), np.uint8)).astype(np.uint8)
    mask = mask_on(geometry, labels)
    find_lesions(mask)
    spent = []
    for _ in range(3):
        start = time.process_time()
        lesions = find_lesions(mask)
        spent.append(time.process_time() - start)
    assert lesions
    assert min(spent) < 0.6


# --- place ----------------------------------------------------------------------------------


def head(shift: float = 0.0, tilt: float = 0.0, edge: int = 64, step: float = 3.0) -> Volume:
    """An egg-shaped head with eyes and ventricles, moved and turned about the vertical axis."""
    geometry = straight((edge, edge, edge), (step,) * 3, (-step * edge / 2,) * 3)
    world = geometry.world(np.moveaxis(np.indices(geometry.shape), 0, -1))
    c, s = np.cos(tilt), np.sin(tilt)
    x = (world[..., 0] - shift) * c + world[..., 1] * s
    y = -(world[..., 0] - shift) * s + world[..., 1] * c
    z = world[..., 2]
    values = np.zeros(geometry.shape, np.float32)
    values[(x / 65) ** 2 + (y / 82) ** 2 + (z / 70) ** 2 < 1] = 300
    for side in (-1, 1):
        eye = (x - side * 30) ** 2 + (y + 66) ** 2 + (z + 10) ** 2 < 13**2
        ventricle = ((x - side * 12) / 7) ** 2 + (y / 30) ** 2 + ((z - 8) / 12) ** 2 < 1
        values[eye], values[ventricle] = 600, 80
    values += np.random.default_rng(0).normal(0, 4, values.shape)
    return Volume("v", "head", np.clip(values, 0, 1000).astype(np.int16), geometry)


@pytest.mark.parametrize(("shift", "tilt"), [(0, 0), (9, 0), (-6, 0.15), (4, -0.2)])
def test_the_plane_of_symmetry_is_found_in_a_moved_and_turned_head(shift, tilt):
    frame = find_head(head(shift, tilt))
    assert frame is not None
    assert frame.symmetry > 0.9
    for y in (-50.0, 0.0, 50.0):
        middle = np.array([shift - y * np.sin(tilt), y * np.cos(tilt), 0.0])
        assert abs(frame.from_midline_mm(middle)) < 3.0
        left = middle + 30 * np.array([np.cos(tilt), np.sin(tilt), 0])
        assert frame.from_midline_mm(left) == pytest.approx(30, abs=3)


def test_places_are_words_that_can_be_checked():
    frame = find_head(head(shift=5))
    assert frame is not None
    assert frame.place((35, -55, 20)).startswith("Left, ")
    assert "front third" in frame.place((35, -55, 20))
    assert frame.place((-25, 60, 0)).startswith("Right, ")
    assert "back third" in frame.place((-25, 60, 0))
    assert frame.place((5, 0, 0)).startswith("Midline · middle third")
    below = int(frame.place((5, 0, 20)).split(" · ")[2].split(" ")[0])
    assert below == pytest.approx(50, abs=6)


def test_what_the_field_of_view_cuts_is_not_said():
    volume = head()
    box = Box((0, 20, 0), (36, 64, 64))  # no vertex, no forehead
    part = Volume("v", "part", volume.voxels[box.slices].copy(), volume.geometry.cropped(box))
    frame = find_head(part)
    assert frame is not None
    assert (frame.vertex_mm, frame.front_mm) == (None, None)
    assert frame.place((40, 0, 0)).startswith("Left, ")
    assert "·" not in frame.place((40, 0, 0))


def test_orientation_of_the_array_does_not_matter():
    volume = head(shift=6)
    affine = volume.geometry.affine @ np.array(
        [[0, -1, 0, 63], [0, 0, 1, 0], [-1, 0, 0, 63], [0, 0, 0, 1]], float
    )
    turned_voxels = volume.voxels.transpose(2, 0, 1)[::-1, ::-1]
    other = Volume(
        "v", "turned", np.ascontiguousarray(turned_voxels), Geometry(turned_voxels.shape, affine)
    )
    point = volume.geometry.world((30, 20, 40))
    assert other.value_at(point) == volume.value_at(point)
    one, two = find_head(volume), find_head(other)
    assert one is not None
    assert two is not None
    assert one.from_midline_mm(point) == pytest.approx(two.from_midline_mm(point), abs=1.5)


def test_an_empty_image_has_no_head():
    assert find_head(Volume("v", "x", np.zeros((9, 9, 9), np.int16), straight((9, 9, 9)))) is None


def test_a_lesion_knows_its_place():
    frame = HeadFrame((0, 0, 0), (1, 0, 0), -90.0, 90.0, 80.0, 1.0)
    labels, geometry = two_balls()
    near, far = find_lesions(mask_on(geometry, labels), head=frame)
    assert near.place == "Left, 6 mm from midline · middle third · 76 mm below vertex"
    assert far.place.startswith("Left, 22 mm")
