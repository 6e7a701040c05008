"""Multi-frame files as the makers write them: every fact is found where it happens to be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_phantoms import Maker, Plan, at_height, enhanced, place_value, stored_values
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from imaging.dicom.header import tags
from imaging.dicom.header.read import read_header
from imaging.dicom.stacks import multiframe
from imaging.dicom.stacks.frames import read_frames
from imaging.open import load_series, scan
from imaging.series import Series
from imaging.volume import Volume

HEIGHTS = [2.5 * k for k in range(4)]


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def repeated(maker: Maker, times: int, order: str = "place") -> tuple[Dataset, list[int]]:
    """An enhanced file in which each place comes several times, and which time each frame is.

    ``order`` is ``"place"`` (all repeats of a place together) or ``"time"``.
    """
    pairs = [(k, t) for k in range(len(HEIGHTS)) for t in range(times)]
    if order == "time":
        pairs = [(k, t) for t in range(times) for k in range(len(HEIGHTS))]
    plans = [Plan(**{**vars(at_height(Plan(), HEIGHTS[k])), "add": 100.0 * t}) for k, t in pairs]
    data = enhanced(maker, plans, [10.0] * len(plans))
    for item in data.PerFrameFunctionalGroupsSequence:
        del item.MREchoSequence
        content = Dataset()
        item.FrameContentSequence = Sequence([content])
    return data, [t for _, t in pairs]


def one(**attributes: object) -> Sequence:
    """A sequence with one item."""
    item = Dataset()
    for name, value in attributes.items():
        setattr(item, name, value)
    return Sequence([item])


def items(data: Dataset) -> Sequence:
    return data.PerFrameFunctionalGroupsSequence


def found(maker: Maker, data: Dataset) -> list[Series]:
    data.save_as(maker.folder / "multi", enforce_file_format=True)
    with scan([maker.folder]) as result:
        assert result.problems == ()
        return list(result.series)


def assert_each_image_is_whole(series: Series, times: int) -> Volume:
    """Every voxel of every image has the value of its place plus 100 for each time."""
    volume = load_series(series)
    assert volume.repeats is not None
    assert len(volume.repeats) == times
    index = np.stack(np.indices(volume.voxels.shape), axis=-1)
    want = place_value(volume.geometry.world(index))
    for t in range(times):
        assert np.abs(volume.repeats.voxels[t] - (want + 100.0 * t)).max() <= 0.51
    return volume


def test_siemens_diffusion_in_one_file(maker: Maker) -> None:
    data, times = repeated(maker, 3)
    data.Manufacturer = "Siemens Healthineers"
    for item, t in zip(items(data), times, strict=True):
        item.MRDiffusionSequence = one(
            DiffusionBValue=[0.0, 500.0, 1000.0][t], DiffusionDirectionality="ISOTROPIC"
        )
    (series,) = found(maker, data)
    assert series.repeat_axis == "b-value"
    assert series.repeats == ("b 0", "b 500", "b 1000")
    assert_each_image_is_whole(series, 3)


def test_philips_stacks_with_time_in_the_frame_content(maker: Maker) -> None:
    data, times = repeated(maker, 4)
    data.Manufacturer = "Philips"
    for n, (item, t) in enumerate(zip(items(data), times, strict=True)):
        content = item.FrameContentSequence[0]
        content.StackID, content.InStackPositionNumber = "1", n // 4 + 1
        content.TemporalPositionIndex = t + 1
        item.PixelMeasuresSequence = data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
        block = item.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        # Philips' own scaling lies beside the standard one and must not be used.
        block.add_new(0x0E, "FL", 77.0)
    del data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence
    (series,) = found(maker, data)
    assert series.repeat_axis == "time point"
    assert_each_image_is_whole(series, 4)


def test_philips_private_copy_holds_what_the_groups_lack(maker: Maker) -> None:
    data, times = repeated(maker, 2)
    data.Manufacturer = "Philips"
    for item, t in zip(items(data), times, strict=True):
        copy = Dataset()
        copy.EchoTime = [4.6, 9.2][t]
        item.private_block(0x2005, "Philips MR Imaging DD 005", create=True)
        item.add_new(0x2005140F, "SQ", Sequence([copy]))
    (series,) = found(maker, data)
    assert series.repeat_axis == "echo time"
    assert series.repeats == ("TE 4.6 ms", "TE 9.2 ms")
    assert_each_image_is_whole(series, 2)


def test_uih_time_offsets_where_the_index_never_changes(maker: Maker) -> None:
    data, times = repeated(maker, 3, "time")
    data.Manufacturer = "UIH"
    for item, t in zip(items(data), times, strict=True):
        item.FrameContentSequence[0].TemporalPositionIndex = 1
        item.TemporalPositionSequence = one(TemporalPositionTimeOffset=2.1 * t)
    (series,) = found(maker, data)
    assert series.repeat_axis == "time point"
    assert_each_image_is_whole(series, 3)


def test_ge_keeps_one_scale_per_frame(maker: Maker) -> None:
    plans = [Plan(**{**vars(at_height(Plan(), z)), "slope": 0.5 + 0.25 * n})
             for n, z in enumerate(HEIGHTS)]  # fmt: skip
    data = enhanced(maker, plans, [10.0] * 4)
    data.Manufacturer = "GE MEDICAL SYSTEMS"
    for item, plan in zip(items(data), plans, strict=True):
        item.PixelValueTransformationSequence[0].RescaleSlope = plan.slope
    data.PixelData = b"".join(stored_values(plan).tobytes() for plan in plans)
    (series,) = found(maker, data)
    volume = load_series(series)
    index = np.stack(np.indices(volume.voxels.shape), axis=-1)
    assert np.abs(volume.voxels - place_value(volume.geometry.world(index))).max() <= 0.7


def test_canon_directions_straight_in_the_diffusion_group(maker: Maker) -> None:
    data, times = repeated(maker, 3)
    data.Manufacturer = "CANON_MEC"
    axes = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
    for item, t in zip(items(data), times, strict=True):
        item.MRDiffusionSequence = one(DiffusionBValue=1000.0, DiffusionGradientOrientation=axes[t])
    (series,) = found(maker, data)
    assert series.repeat_axis == "direction"
    assert_each_image_is_whole(series, 3)


def test_geometry_at_the_top_level_only(maker: Maker) -> None:
    data = enhanced(maker, [at_height(Plan(), z) for z in HEIGHTS], [10.0] * 4)
    del data.SharedFunctionalGroupsSequence
    data.PixelSpacing, data.SliceThickness = [1.5, 1.25], 2.5
    data.ImageOrientationPatient = list(Plan().orientation)
    (series,) = found(maker, data)
    assert series.volumetric
    volume = load_series(series)
    index = np.stack(np.indices(volume.voxels.shape), axis=-1)
    assert np.abs(volume.voxels - place_value(volume.geometry.world(index))).max() <= 0.51


def test_one_slice_over_time_has_its_position_in_the_shared_group(maker: Maker) -> None:
    plans = [Plan(add=100.0 * t) for t in range(3)]
    data = enhanced(maker, plans, [10.0] * 3)
    shared = data.SharedFunctionalGroupsSequence[0]
    shared.PlanePositionSequence = items(data)[0].PlanePositionSequence
    for t, item in enumerate(items(data)):
        del item.PlanePositionSequence
        item.FrameContentSequence = one(TemporalPositionIndex=t + 1)
    series = found(maker, data)
    frames = [frame for one_series in series for frame in one_series.frames]
    assert {frame.position for frame in frames} == {(-40.0, -50.0, 0.0)}


def test_two_stacks_of_one_file_are_not_one_volume(maker: Maker) -> None:
    heights = [0.0, 3.0, 6.0, 9.0, 12.0, 15.0]
    data = enhanced(maker, [at_height(Plan(), z) for z in heights], [10.0] * 6)
    for n, item in enumerate(items(data)):
        item.FrameContentSequence = one(StackID=str(n // 3 + 1), InStackPositionNumber=n % 3 + 1)
    series = found(maker, data)
    assert [s.shape[0] for s in series] == [3, 3]
    assert {s.description.rsplit(" · ", 1)[-1] for s in series} == {"stack 1", "stack 2"}


def test_a_stack_for_every_slice_is_still_one_volume(maker: Maker) -> None:
    data = enhanced(maker, [at_height(Plan(), z) for z in HEIGHTS], [10.0] * 4)
    for n, item in enumerate(items(data)):
        item.FrameContentSequence = one(StackID=str(n + 1), InStackPositionNumber=1)
    (series,) = found(maker, data)
    assert series.shape[0] == 4


def test_dimension_indices_are_the_last_resort(maker: Maker) -> None:
    data, times = repeated(maker, 3)
    pointers = []
    for tag in (0x00209056, 0x00209057, 0x00189999):
        pointer = Dataset()
        pointer.DimensionIndexPointer = tag
        pointers.append(pointer)
    data.DimensionIndexSequence = Sequence(pointers)
    for n, (item, t) in enumerate(zip(items(data), times, strict=True)):
        item.FrameContentSequence[0].DimensionIndexValues = [1, n // 3 + 1, 3 - t]
    (series,) = found(maker, data)
    assert series.repeat_axis == "dimension"
    volume = load_series(series)
    assert volume.repeats is not None
    # The file says 3, 2, 1 where the phantom counts 0, 1, 2.
    means = [float(image.mean()) for image in volume.repeats.voxels]
    assert means == sorted(means, reverse=True)


def test_legacy_converted_files_keep_attributes_unassigned(maker: Maker) -> None:
    data, times = repeated(maker, 2)
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.4"
    for item, t in zip(items(data), times, strict=True):
        item.UnassignedPerFrameConvertedAttributesSequence = one(EchoTime=[12.0, 80.0][t])
        del item.PixelValueTransformationSequence
    shared = data.SharedFunctionalGroupsSequence[0]
    shared.UnassignedSharedConvertedAttributesSequence = one(RescaleSlope=2.0, RescaleIntercept=-5)
    (series,) = found(maker, data)
    assert series.repeats == ("TE 12 ms", "TE 80 ms")
    volume = load_series(series)
    assert (volume.slope, volume.intercept) == (2.0, -5.0)


def test_magnitude_and_phase_by_frame_type(maker: Maker) -> None:
    data, times = repeated(maker, 2)
    for item, t in zip(items(data), times, strict=True):
        item.MRImageFrameTypeSequence = one(
            FrameType=["ORIGINAL", "PRIMARY", "M" if t == 0 else "P", "NONE"],
            ComplexImageComponent=["MAGNITUDE", "PHASE"][t],
        )
    series = found(maker, data)
    assert sorted(s.description.rsplit(" · ", 1)[-1] for s in series) == ["magnitude", "phase"]
    assert [s.shape[0] for s in series] == [4, 4]


def test_enhanced_colour_is_shown_grey(maker: Maker) -> None:
    plans = [at_height(Plan(), z) for z in HEIGHTS]
    data = enhanced(maker, plans, [10.0] * 4)
    data.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.3"
    grey = np.arange(4 * 120, dtype=np.uint8).reshape(4, 12, 10)
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PlanarConfiguration = 3, "RGB", 0
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit = 7
    data.PixelData = np.repeat(grey[..., None], 3, axis=-1).tobytes()
    data["PixelData"].VR = "OB"
    (series,) = found(maker, data)
    assert any("colour" in problem for problem in series.problems)
    voxels = load_series(series).voxels
    assert voxels.size
    np.testing.assert_array_equal(voxels, grey)


def test_spectra_are_refused_with_a_reason(maker: Maker) -> None:
    maker.write(Plan(), SOPClassUID="1.2.840.10008.5.1.4.1.1.4.2")
    with scan([maker.folder]) as result:
        assert "spectra" in result.problems[0].reason


def test_long_headers_are_read_in_a_worker_with_the_same_outcome(maker: Maker, monkeypatch) -> None:
    data, times = repeated(maker, 3)
    for item, t in zip(items(data), times, strict=True):
        item.FrameContentSequence[0].TemporalPositionIndex = t + 1
        item.MRTimingAndRelatedParametersSequence = one(RepetitionTime=2345.0)
    path = maker.folder / "multi"
    data.save_as(path, enforce_file_format=True)
    here = read_header(str(path))
    wanted = read_frames(here)
    monkeypatch.setattr(tags, "WORKER_BYTES", 100)
    monkeypatch.setattr(
        multiframe._Groups, "frames", lambda *_: pytest.fail("was read in this process")
    )
    there = read_header(str(path))
    assert read_frames(there) == wanted
    assert there.number(0x00180080) == here.number(0x00180080) == 2345.0


@pytest.mark.parametrize("damage", ["few", "none"])
def test_descriptions_that_do_not_fit_are_one_sentence(maker: Maker, damage: str) -> None:
    data = enhanced(maker, [at_height(Plan(), z) for z in HEIGHTS], [10.0] * 4)
    if damage == "few":
        del items(data)[3]
    else:
        data.PerFrameFunctionalGroupsSequence = Sequence([])
    data.save_as(maker.folder / "multi", enforce_file_format=True)
    with scan([maker.folder]) as result:
        assert result.series == ()
        assert "of 4 frames" in result.problems[0].reason
