"""Awkward stacks that scanners and archives really make: values and places, or a reason."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
from dicom_phantoms import Maker, Plan, at_height, place_value

from imaging.open import load_series, scan
from imaging.series import Series
from imaging.volume import Volume


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def found(maker: Maker) -> tuple[Series, ...]:
    with scan([maker.folder]) as result:
        assert result.problems == ()
        return result.series


def assert_in_place(series: Series, add: float = 0.0) -> Volume:
    """Every voxel holds the value of the place that its volume gives it."""
    volume = load_series(series)
    index = np.stack(np.indices(volume.voxels.shape), axis=-1)
    want = place_value(volume.geometry.world(index)) + add
    assert np.abs(volume.real(volume.voxels) - want).max() <= 0.51
    return volume


@pytest.mark.parametrize(
    "heights",
    [
        [3.0 * k for k in range(10) if k not in (4, 5)],
        [0.0, 3.0, 6.0, 11.0, 14.0, 19.0, 22.5],
        [0.0, 1.0, 30.0],
    ],
)
def test_slices_of_an_uneven_stack_lie_where_their_headers_say(maker: Maker, heights) -> None:
    maker.stack(heights)
    (series,) = found(maker)
    assert not series.regular
    volume = assert_in_place(series)
    assert not volume.even
    assert volume.places is not None
    assert volume.places[:, 2] == pytest.approx(heights)
    assert volume.geometry.frame_of_reference == maker.frame


def test_slices_that_zigzag_lie_where_their_headers_say(maker: Maker) -> None:
    for k in range(6):
        maker.write(Plan(position=(-40.0 + (k % 2), -50.0, 3.0 * k)))
    (series,) = found(maker)
    assert "straight line" in series.problems[0]
    assert not assert_in_place(series).even


@pytest.mark.parametrize(
    "tags",
    [
        {"SpacingBetweenSlices": 40.0},
        {"SpacingBetweenSlices": -3.0, "SliceThickness": 0.1},
        {"SliceLocation": 7.0},
    ],
)
def test_tags_about_the_distance_of_slices_are_not_believed(maker: Maker, tags) -> None:
    maker.stack([3.0 * k for k in range(6)], **tags)
    (series,) = found(maker)
    assert series.geometry is not None
    assert series.geometry.spacing[0] == pytest.approx(3.0)
    assert assert_in_place(series).even


def test_three_megabytes_of_private_tags_are_stepped_over(maker: Maker) -> None:
    for k in range(3):
        data = maker.dataset(at_height(Plan(), 3.0 * k))
        block = data.private_block(0x0029, "SOME MAKER", create=True)
        block.add_new(0x10, "OB", zlib.compress(np.random.default_rng(k).bytes(3 << 20)))
        data.save_as(maker.folder / f"p{k}", enforce_file_format=True)
    (series,) = found(maker)
    assert_in_place(series)


def test_a_scale_that_is_no_number_drops_its_slice_only(maker: Maker) -> None:
    paths = [
        maker.write(at_height(Plan(slope=0.5 + 0.25 * k, intercept=-4.0), 3.0 * k))
        for k in range(5)
    ]
    raw = paths[4].read_bytes()
    at = raw.index(b"\x28\x00\x53\x10DS") + 8
    length = int.from_bytes(raw[at - 2 : at], "little")
    paths[4].write_bytes(raw[:at] + b"nan".ljust(length) + raw[at + length :])
    with scan([maker.folder]) as result:
        (problem,) = result.problems
        assert Path(problem.path) == paths[4]
        assert "not a finite number" in problem.reason
        (series,) = result.series
        volume = assert_in_place(series)
    assert volume.voxels.shape[0] == 4
    assert volume.voxels.dtype == np.float32


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("cut_first", [True, False])
@pytest.mark.parametrize("packed", [True, False])
def test_of_two_copies_the_whole_one_is_used(maker: Maker, cut_first: bool, packed: bool) -> None:
    for k in range(3):
        data = maker.dataset(at_height(Plan(), 3.0 * k))
        if packed:
            data.compress("1.2.840.10008.1.2.5")
        data.save_as(maker.folder / f"m{k}", enforce_file_format=True)
    whole = (maker.folder / "m1").read_bytes()
    copy = maker.folder / ("a" if cut_first else "z")
    copy.write_bytes(whole[:-40])
    with scan([maker.folder]) as result:
        (problem,) = result.problems
        assert Path(problem.path) == copy
        (series,) = result.series
        assert assert_in_place(series).voxels.shape[0] == 3


def test_a_tilted_stack_with_two_distances_keeps_every_slice_in_place(maker: Maker) -> None:
    heights = [*np.arange(0, 12, 2.0), *np.arange(12, 40, 5.0)]
    for h in heights:
        maker.write(Plan(position=(-40.0, -50.0 + 0.33 * h, float(h))))
    (series,) = found(maker)
    assert "varies from 2.00 to 5.00 mm" in series.problems[0]
    volume = assert_in_place(series)
    assert volume.places is not None
    assert volume.places[-1, 1] == pytest.approx(-50.0 + 0.33 * heights[-1])


def test_two_tilted_parts_that_the_header_names_are_two_volumes(maker: Maker) -> None:
    for heights, kind in ((np.arange(0, 12, 2.0), "BASE"), (np.arange(12, 40, 5.0), "VERTEX")):
        for h in heights:
            plan = Plan(position=(-40.0, -50.0 + 0.33 * h, float(h)))
            maker.write(plan, ImageType=["ORIGINAL", "PRIMARY", "AXIAL", kind])
    stacks = found(maker)
    assert len(stacks) == 2
    for series in stacks:
        assert series.regular
        assert assert_in_place(series).even


def test_two_series_of_one_study_never_meet(maker: Maker) -> None:
    maker.stack([0.0, 3.0, 6.0])
    maker.stack([0.0, 3.0, 6.0], Plan(add=90.0), SeriesInstanceUID="1.2.3.4")
    one, two = found(maker)
    assert one.repeats == two.repeats == ()
    assert_in_place(one)
    assert_in_place(two, add=90.0)


def test_keys_of_4d_series_do_not_depend_on_the_order_of_reading(maker: Maker) -> None:
    paths = [p for e in (5.0, 9.0) for p in maker.stack([0.0, 3.0, 6.0], EchoTime=e)]
    (once,) = scan(paths).series
    (again,) = scan(reversed(paths)).series
    assert once.key == again.key
    assert once.source.files == again.source.files
    assert once.repeats == again.repeats


def test_a_series_keeps_its_key_while_its_images_come(maker: Maker, monkeypatch) -> None:
    from imaging import scanning

    monkeypatch.setattr(scanning, "_REPORT_SECONDS", 0.0)
    for time in (1, 2, 3):
        maker.stack([0.0, 3.0, 6.0, 9.0], TemporalPositionIdentifier=time)
    told: list[Series] = []
    with scan([maker.folder], told.append) as result:
        (series,) = result.series
    assert {each.key for each in told} == {series.key}
    assert len(series.repeats) == 3


def test_without_any_place_nothing_is_linked_to_a_stand_in(maker: Maker) -> None:
    maker.stack([0.0, 3.0, 6.0])
    maker.write(Plan(), ImagePositionPatient=None, SeriesInstanceUID="1.2.3.5")
    maker.write(Plan(), ImagePositionPatient=None, SeriesInstanceUID="1.2.3.6")
    placed, one, two = (load_series(series) for series in found(maker))
    assert placed.even
    assert not one.placed
    assert not one.even
    assert not one.geometry.same_frame(placed.geometry)
    assert not one.geometry.same_frame(two.geometry)
