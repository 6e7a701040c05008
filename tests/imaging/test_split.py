"""Awkward series: regular stacks have each voxel in place, the others say why not."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from dicom_phantoms import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    Maker,
    Plan,
    at_height,
    enhanced,
    place_value,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imaging.open import load_series, scan
from imaging.series import Series


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def found(maker: Maker) -> tuple[Series, ...]:
    with scan([maker.folder]) as result:
        assert result.problems == ()
        return result.series


def assert_in_place(series: Series, add: float = 0.0) -> None:
    """Every voxel of the loaded series holds the value of the place its geometry gives it."""
    volume = load_series(series)
    index = np.stack(np.indices(volume.voxels.shape), axis=-1)
    want = place_value(volume.geometry.world(index)) + add
    assert np.abs(volume.real(volume.voxels) - want).max() <= 0.51


def assert_images_in_place(series: Series, adds: tuple[float, ...], within: float = 0.51) -> None:
    """The same for every image of a 4D series, each with its own offset."""
    volume = load_series(series)
    assert volume.repeats is not None
    assert len(volume.repeats) == len(series.repeats) == len(adds)
    for number, add in enumerate(adds):
        image = volume.at_repeat(number)
        index = np.stack(np.indices(image.voxels.shape), axis=-1)
        want = place_value(image.geometry.world(index)) + add
        assert np.abs(image.real(image.voxels) - want).max() <= within


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL])
def test_plain_stack_is_regular_and_in_place(maker: Maker, orientation) -> None:
    maker.stack([3.0 * k for k in range(8)], Plan(orientation=orientation))
    (series,) = found(maker)
    assert series.regular
    assert series.volumetric
    assert series.problems == ()
    assert series.shape == (8, 12, 10)
    assert series.geometry is not None
    assert series.geometry.spacing == pytest.approx((3.0, 1.5, 1.25))
    assert series.geometry.frame_of_reference == maker.frame
    assert_in_place(series)


@pytest.mark.parametrize(
    "order", [range(7, -1, -1), [0, 2, 4, 6, 1, 3, 5, 7], [5, 0, 7, 2, 1, 6, 3, 4]]
)
def test_order_of_files_and_instance_numbers_does_not_matter(maker: Maker, order) -> None:
    maker.stack([3.0 * k for k in order])
    (series,) = found(maker)
    assert series.regular
    assert_in_place(series)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    angles=st.tuples(*[st.floats(-math.pi, math.pi)] * 3),
    step=st.floats(0.3, 8.0),
    spacing=st.tuples(st.floats(0.3, 4.0), st.floats(0.3, 4.0)),
    order=st.permutations(range(6)),
)
def test_any_oblique_stack_is_in_place(tmp_path_factory, angles, step, spacing, order) -> None:
    maker = Maker(tmp_path_factory.mktemp("oblique"))
    orientation = tuple(float(v) for v in _rotation(*angles)[:, :2].T.ravel())
    rounded = (round(spacing[0], 6), round(spacing[1], 6))
    maker.stack([step * k for k in order], Plan(orientation=orientation, spacing=rounded))
    (series,) = found(maker)
    assert series.regular
    assert_in_place(series)


def _rotation(a: float, b: float, c: float) -> np.ndarray:
    def turn(angle: float, axis: int) -> np.ndarray:
        matrix = np.eye(3)
        p, q = (axis + 1) % 3, (axis + 2) % 3
        matrix[p, p] = matrix[q, q] = math.cos(angle)
        matrix[p, q], matrix[q, p] = -math.sin(angle), math.sin(angle)
        return matrix

    return turn(a, 0) @ turn(b, 1) @ turn(c, 2)


def test_rounding_noise_in_positions_is_forgiven(maker: Maker) -> None:
    rng = np.random.default_rng(3)
    maker.stack([3.0 * k + rng.normal(0, 2e-3) for k in range(8)])
    (series,) = found(maker)
    assert series.regular


def test_gap_is_named_and_withholds_the_volume(maker: Maker) -> None:
    maker.stack([3.0 * k for k in range(10) if k not in (4, 5)])
    (series,) = found(maker)
    assert not series.regular
    assert not series.volumetric
    assert series.viewable
    assert "2 slices are missing (after slice 4)" in series.problems[0]
    assert load_series(series).voxels.shape == (8, 12, 10)


def test_a_gap_too_long_to_be_filled_promises_no_even_volume(maker: Maker) -> None:
    maker.stack([0.0, 3.0, 6.0, 9.0, 60.0])
    (series,) = found(maker)
    (text,) = series.problems
    assert "16 of the 21 slices of an even volume would be made up" in text
    assert "need an even volume first" not in text


def test_uneven_distances_are_named(maker: Maker) -> None:
    maker.stack([0, 3, 6, 11, 14, 19, 22.5])
    (series,) = found(maker)
    assert not series.regular
    assert "varies from 3.00 to 5.00 mm" in series.problems[0]


def test_creeping_distances_are_not_called_regular(maker: Maker) -> None:
    heights = np.cumsum([0.0] + [3.0 + 0.002 * k for k in range(40)])
    maker.stack([float(h) for h in heights])
    (series,) = found(maker)
    assert not series.regular


def test_sheared_stack_keeps_its_shear(maker: Maker) -> None:
    for k in range(6):
        maker.write(Plan(position=(-40.0, -50.0 + 0.8 * k, 3.0 * k)))
    (series,) = found(maker)
    assert series.regular
    assert series.geometry is not None
    assert not series.geometry.orthogonal
    assert "sheared" in series.problems[0]
    assert_in_place(series)


def test_echoes_make_one_series_of_several_images(maker: Maker) -> None:
    for k in range(5):
        for echo, time in enumerate((90.0, 9.5)):
            maker.write(at_height(Plan(add=-1000.0 * echo), 3.0 * k), EchoTime=time)
    (series,) = found(maker)
    assert series.description == "place"
    assert series.shape == (5, 12, 10)
    assert (series.repeat_axis, series.repeats) == ("echo time", ("TE 9.5 ms", "TE 90 ms"))
    assert series.volumetric
    assert_images_in_place(series, (-1000.0, 0.0))


def test_b_values_with_many_directions(maker: Maker) -> None:
    directions = [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
    for k in range(4):
        maker.write(at_height(Plan(), 3.0 * k), DiffusionBValue=0.0)
        for n, direction in enumerate(directions):
            plan = at_height(Plan(add=500.0 * (n + 1)), 3.0 * k)
            maker.write(plan, DiffusionBValue=1000.0, DiffusionGradientOrientation=list(direction))
    (series,) = found(maker)
    assert series.repeat_axis == "b-value and direction"
    assert series.repeats == ("b 0", *(f"b 1000 · direction {n}" for n in (1, 2, 3)))
    assert_images_in_place(series, (0.0, 500.0, 1000.0, 1500.0))


def test_three_b_values_without_directions(maker: Maker) -> None:
    for n, b in enumerate((1000.0, 0.0, 500.0)):
        maker.stack([3.0 * k for k in range(4)], Plan(add=100.0 * n), DiffusionBValue=b)
    (series,) = found(maker)
    assert series.repeats == ("b 0", "b 500", "b 1000")
    assert_images_in_place(series, (100.0, 200.0, 0.0))


def test_time_points_of_the_header_count_and_not_the_instance_numbers(maker: Maker) -> None:
    for time in (3, 1, 2):
        plan = Plan(add=100.0 * time)
        maker.stack([0.0, 3.0, 6.0], plan, TemporalPositionIdentifier=time)
    (series,) = found(maker)
    assert series.repeat_axis == "time point"
    assert series.repeats == ("time point 1", "time point 2", "time point 3")
    assert_images_in_place(series, (100.0, 200.0, 300.0))


def test_echoes_over_time_have_both_in_their_labels(maker: Maker) -> None:
    for time in (1, 2):
        for echo in (10.0, 20.0):
            plan = Plan(add=100.0 * time + echo)
            maker.stack([0.0, 3.0, 6.0], plan, TemporalPositionIdentifier=time, EchoTime=echo)
    (series,) = found(maker)
    assert series.repeats == (
        "TE 10 ms · time point 1", "TE 10 ms · time point 2",
        "TE 20 ms · time point 1", "TE 20 ms · time point 2",
    )  # fmt: skip
    assert_images_in_place(series, (110.0, 210.0, 120.0, 220.0))


def test_magnitude_and_phase_stay_apart_each_with_its_echoes(maker: Maker) -> None:
    for kind, add in (("M", 0.0), ("P", 300.0)):
        for echo in (5.0, 10.0):
            plan = Plan(add=add + echo)
            words = ["ORIGINAL", "PRIMARY", kind, "ND"]
            maker.stack([0.0, 3.0, 6.0, 9.0], plan, ImageType=words, EchoTime=echo)
    one, two = found(maker)
    assert [one.description, two.description] == ["place · magnitude", "place · phase"]
    assert one.key != two.key
    assert_images_in_place(one, (5.0, 10.0))
    assert_images_in_place(two, (305.0, 310.0))


def test_unlabelled_repeats_are_dealt_out_by_number(maker: Maker) -> None:
    for time in range(3):
        maker.stack([3.0 * k for k in range(4)], Plan(add=700.0 * time))
    (series,) = found(maker)
    assert series.regular
    assert series.repeats == ("image 1", "image 2", "image 3")
    assert_images_in_place(series, (0.0, 700.0, 1400.0))


@pytest.mark.parametrize("marked", [True, False])
def test_a_stopped_dynamic_keeps_its_last_image_apart(maker: Maker, marked: bool) -> None:
    for time, count in enumerate((5, 5, 3)):
        tags = {"TemporalPositionIdentifier": time + 1} if marked else {}
        maker.stack([3.0 * k for k in range(count)], Plan(add=100.0 * time), **tags)
    whole, rest = found(maker)
    label = "time point 3" if marked else "image 3"
    assert len(whole.repeats) == 2
    assert label in whole.problems[-1]
    assert_images_in_place(whole, (0.0, 100.0))
    assert rest.description == f"place · {label}"
    assert rest.repeats == ()
    assert "Only 3 slices of this image" in rest.problems[0]
    assert_in_place(rest, add=200.0)


def test_a_lost_slice_in_the_middle_of_unlabelled_repeats_mixes_nothing(maker: Maker) -> None:
    paths = [maker.stack([3.0 * k for k in range(4)], Plan(add=700.0 * t)) for t in range(3)]
    paths[1][2].unlink()
    (series,) = found(maker)
    assert not series.regular
    assert series.repeats == ()
    assert "same place" in series.problems[0]


def test_an_echo_that_lost_a_slice_stays_apart(maker: Maker) -> None:
    maker.stack([3.0 * k for k in range(6)], EchoTime=10.0)
    paths = maker.stack([3.0 * k for k in range(6)], Plan(add=50.0), EchoTime=20.0)
    paths[2].unlink()
    one, two = found(maker)
    assert [one.description, two.description] == ["place · TE 10 ms", "place · TE 20 ms"]
    assert one.volumetric
    assert not two.regular
    assert any("1 slice is missing (after slice 2)" in text for text in two.problems)
    assert_in_place(one)


@pytest.mark.parametrize(
    ("points", "words"),
    [
        (5, "time points 1, 2, 4, 5"),
        (12, "time point 1 to time point 12 without time point 3"),
    ],
)
def test_a_series_without_its_third_time_point_does_not_claim_it(
    maker: Maker, points: int, words: str
) -> None:
    for point in range(1, points + 1):
        for k in range(3 if point == 3 else 4):
            maker.write(at_height(Plan(), 3.0 * k), TemporalPositionIdentifier=point)
    whole, broken = found(maker)
    assert len(whole.repeats) == points - 1
    assert words in whole.description
    assert "time point 3" in broken.description


def test_a_series_that_lacks_its_last_time_point_says_from_where_to_where(maker: Maker) -> None:
    for point in range(1, 5):
        for k in range(3 if point == 4 else 4):
            maker.write(at_height(Plan(), 3.0 * k), TemporalPositionIdentifier=point)
    whole, _ = found(maker)
    assert "time point 1 to time point 3" in whole.description


def test_images_that_moved_between_time_points_are_not_mixed(maker: Maker) -> None:
    for time in range(3):
        heights = [3.0 * k + 0.4 * time for k in range(6)]
        maker.stack(heights, Plan(add=50.0 * time), TemporalPositionIdentifier=time + 1)
    stacks = found(maker)
    assert len(stacks) == 3
    assert len({series.key for series in stacks}) == 3
    for time, series in enumerate(stacks):
        assert series.regular
        assert_in_place(series, add=50.0 * time)


def test_images_of_a_series_may_have_scales_of_their_own(maker: Maker) -> None:
    for time, slope in enumerate((0.5, 2.0)):
        plan = Plan(add=60.0 * time, slope=slope, intercept=-8.0)
        maker.stack([0.0, 3.0, 6.0], plan, TemporalPositionIdentifier=time + 1)
    (series,) = found(maker)
    volume = load_series(series)
    assert volume.voxels.dtype == np.uint16
    assert volume.repeats is not None
    assert volume.repeats.scales == ((0.5, -8.0), (2.0, -8.0))
    assert_images_in_place(series, (0.0, 60.0), within=1.01)


def test_each_image_names_its_own_files(maker: Maker) -> None:
    paths = [maker.stack([0.0, 3.0, 6.0], EchoTime=10.0 * (n + 1)) for n in range(2)]
    (series,) = found(maker)
    repeats = load_series(series).repeats
    assert repeats is not None
    assert [s.files for s in repeats.sources] == [tuple(map(str, part)) for part in paths]
    uids = [set(s.instance_uids) for s in repeats.sources]
    assert not uids[0] & uids[1]


def test_places_met_twice_that_nothing_explains_are_shown_one_by_one(maker: Maker) -> None:
    maker.stack([0.0, 3.0, 3.0, 6.0])
    (series,) = found(maker)
    assert not series.regular
    assert not series.volumetric
    assert "same place" in series.problems[0]
    volume = load_series(series)
    assert not volume.even
    assert volume.geometry.frame_of_reference != maker.frame


def test_localiser_splits_by_plane(maker: Maker) -> None:
    for orientation in (AXIAL, SAGITTAL, CORONAL):
        maker.stack([-10.0, 0.0, 10.0], Plan(orientation=orientation))
    stacks = found(maker)
    assert {s.plane for s in stacks} == {"axial", "sagittal", "coronal"}
    for series in stacks:
        assert_in_place(series)


def test_mixed_matrix_sizes_split(maker: Maker) -> None:
    maker.stack([0.0, 3.0, 6.0])
    maker.stack([9.0, 12.0, 15.0], Plan(rows=20))
    stacks = found(maker)
    assert sorted(s.shape for s in stacks) == [(3, 12, 10), (3, 20, 10)]


def test_all_at_one_place_is_a_pile_to_leaf_through(maker: Maker) -> None:
    maker.stack([5.0] * 4)
    (series,) = found(maker)
    assert series.shape[0] == 4
    assert series.viewable
    assert not series.volumetric
    assert "same place" in series.problems[0]


@pytest.mark.parametrize(
    ("mark", "axis", "labels"),
    [
        ("EchoTime", "echo time", ("TE 10 ms", "TE 20 ms", "TE 30 ms")),
        ("TriggerTime", "trigger time", ("trigger 10 ms", "trigger 20 ms", "trigger 30 ms")),
    ],
)
def test_marked_images_of_one_slice_are_images_of_a_4d_series(
    maker: Maker, mark: str, axis: str, labels: tuple[str, ...]
) -> None:
    for n in (2, 1, 3):
        maker.write(at_height(Plan(add=100.0 * n), 5.0), **{mark: 10.0 * n})
    (series,) = found(maker)
    assert series.shape == (1, 12, 10)
    assert (series.repeat_axis, series.repeats) == (axis, labels)
    assert series.problems == ()
    assert_images_in_place(series, (100.0, 200.0, 300.0))


def test_one_slice_whose_marks_leave_some_alike_stays_a_pile(maker: Maker) -> None:
    for echo in (10.0, 10.0, 20.0):
        maker.write(at_height(Plan(), 5.0), EchoTime=echo)
    (series,) = found(maker)
    assert (series.shape[0], series.repeats) == (3, ())
    assert "same place" in series.problems[0]


def test_without_any_position_images_can_still_be_viewed(maker: Maker) -> None:
    for _ in range(3):
        maker.write(Plan(), ImagePositionPatient=None)
    (series,) = found(maker)
    assert series.geometry is None
    assert series.viewable
    assert not series.volumetric
    assert "does not say where" in series.problems[0]
    assert load_series(series).voxels.any()


def test_enhanced_multiframe_with_two_echoes_in_one_file(maker: Maker) -> None:
    plans = [at_height(Plan(add=echo), 2.5 * k) for k in range(6) for echo in (0.0, 800.0)]
    data = enhanced(maker, plans, [10.0, 20.0] * 6)
    data.save_as(maker.folder / "enhanced", enforce_file_format=True)
    (series,) = found(maker)
    assert series.shape == (6, 12, 10)
    assert series.repeats == ("TE 10 ms", "TE 20 ms")
    assert series.source.frames == (1, 3, 5, 7, 9, 11, 2, 4, 6, 8, 10, 12)
    assert_images_in_place(series, (0.0, 800.0))


def test_enhanced_files_of_one_series_follow_their_instance_numbers(maker: Maker) -> None:
    for name, number in (("b", 1), ("a", 2)):
        plans = [at_height(Plan(add=100.0 * number), 2.5 * k) for k in range(4)]
        data = enhanced(maker, plans, [10.0] * 4)
        data.InstanceNumber = number
        data.save_as(maker.folder / name, enforce_file_format=True)
    (series,) = found(maker)
    assert len(series.repeats) == 2
    assert_images_in_place(series, (100.0, 200.0))


def test_single_slice_is_viewable_but_no_volume(maker: Maker) -> None:
    maker.write(Plan(), SliceThickness=4.0)
    (series,) = found(maker)
    assert series.regular
    assert not series.volumetric
    assert series.geometry is not None
    assert series.geometry.spacing[0] == pytest.approx(4.0)


def test_key_is_the_same_whatever_the_order_of_reading(maker: Maker, tmp_path_factory) -> None:
    paths = maker.stack([3.0 * k for k in range(5)])
    (once,) = scan([maker.folder]).series
    (again,) = scan(reversed(paths)).series
    assert once.key == again.key
    assert once.source.files == again.source.files
