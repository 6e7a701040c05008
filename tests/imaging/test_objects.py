"""From a folder with images and objects beside them to items of the case, through one door."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from object_makers import (
    MIDDLE,
    T1,
    balls,
    circle,
    make_map,
    make_report,
    make_rtstruct,
    make_seg,
    make_series,
)

from imaging.dicom.objects.read_report import ReportText
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.objects import (
    ReadItems,
    fit,
    labels_of,
    only_objects,
    read_object,
    series_for,
    shown_place,
)
from imaging.open import load_series, scan
from imaging.segmentation import Segmentation
from imaging.volume import Patient, Volume


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A series with one object of every kind beside it: (folder, volume, scan result)."""
    folder = tmp_path_factory.mktemp("study")
    files, volume = make_series(folder / "images")
    masks, geometry = balls(volume.geometry), volume.geometry
    seg = make_seg(folder / "mask.dcm", files, volume, masks)
    make_seg(folder / "two.dcm", files, volume, balls(geometry, overlap=True),
             series_description="On top")  # fmt: skip
    make_seg(folder / "fraction.dcm", files, volume, masks[:1] * 0.8, "FRACTIONAL",
             fractional_type="PROBABILITY", series_description="Shares")  # fmt: skip
    rings = {"Ring": [circle(MIDDLE, 6.0, geometry, k) for k in (3, 4, 5)], "None": []}
    make_rtstruct(folder / "plan.dcm", files, rings)
    share = np.clip(masks[0] * 0.75, 0, 1).astype(np.float32)
    make_map(folder / "share.dcm", files, volume, share)
    times = (masks[0] * 900 + 300).astype(np.uint16)
    make_map(folder / "t1.dcm", files, volume, times, T1, ("ms", "UCUM", "milliseconds"))
    make_report(folder / "report.dcm", files, seg)
    with scan([folder]) as result:
        yield folder, volume, result


def _found(study, name: str):
    return next(o for o in study[2].objects if o.path.endswith(name))


def _read(study, name: str) -> ReadItems:
    result = read_object(_found(study, name), study[1])
    assert isinstance(result, ReadItems)
    return result


def test_the_scan_names_them_and_lists_none_as_a_problem(study):
    result = study[2]
    assert result.problems == ()
    assert len(result.series) == 1
    said = {o.path.rpartition("/")[2]: (o.kind, o.title, o.details) for o in result.objects}
    assert said == {
        "mask.dcm": ("segmentation", "Two balls", "2 segments · finder"),
        "two.dcm": ("segmentation", "On top", "2 segments · finder"),
        "fraction.dcm": ("segmentation", "Shares", "1 segment, fractions · finder"),
        "plan.dcm": ("structure set", "Plan 1", "2 structures · Maker"),
        "share.dcm": ("parametric map", "A map", "9 slices · Mapper"),
        "t1.dcm": ("parametric map", "A map", "9 slices · Mapper"),
        "report.dcm": ("report", "Measurements", "2 measurements · Maker"),
    }


def test_each_refers_to_its_series(study):
    series = study[2].series[0]
    for found in study[2].objects:
        assert series.source.series_uid in found.series_uids
        assert series_for(found, study[2].series) is series
        assert fit(found, series.source, series.geometry).sure


def test_a_mask_becomes_a_mask(study):
    (mask,), notes = _read(study, "mask.dcm")
    assert isinstance(mask, Segmentation)
    assert (mask.name, mask.volume_id, notes) == ("Two balls", study[1].id, ())
    expected = balls(study[1].geometry)
    for segment, ball in zip(mask.segments, expected, strict=True):
        np.testing.assert_array_equal(mask.labels == segment.number, ball)
    assert [s.tracking_uid for s in mask.segments] == ["1.2.3.1", "1.2.3.2"]
    assert mask.provenance.sentence.startswith("finder 2.1")


def test_what_overlaps_becomes_a_second_mask(study):
    first, second = _read(study, "two.dcm").items
    assert (first.name, second.name) == ("On top", "On top (2)")
    assert first.id != second.id


def test_fractions_become_a_map_and_a_mask(study):
    heat, mask = _read(study, "fraction.dcm").items
    assert isinstance(heat, Heatmap)
    assert heat.meaning == "probability"
    assert float(heat.values.max()) == pytest.approx(0.8, abs=0.01)
    np.testing.assert_array_equal(mask.labels > 0, balls(study[1].geometry)[0])


def test_contours_become_a_mask(study):
    (mask,), _ = _read(study, "plan.dcm")
    assert [s.name for s in mask.segments] == ["Ring", "None"]
    assert np.flatnonzero(mask.labels.any((1, 2))).tolist() == [3, 4, 5]


def test_shares_become_a_map_and_times_an_image(study):
    (heat,), _ = _read(study, "share.dcm")
    assert isinstance(heat, Heatmap)
    assert heat.geometry.same_grid(study[1].geometry)
    assert float(heat.values.max()) == 0.75
    (image,), _ = _read(study, "t1.dcm")
    assert isinstance(image, Volume)
    assert image.unit == "ms"
    assert image.value_at(shown_place(_read(study, "mask.dcm").items)) == 1200


def test_a_report_becomes_text(study):
    report = read_object(_found(study, "report.dcm"), None)
    assert isinstance(report, ReportText)
    assert report.groups[0].title == "Lesion 1"


def test_the_same_file_gives_the_same_items(study):
    first, second = _read(study, "mask.dcm"), _read(study, "mask.dcm")
    assert [i.id for i in first.items] == [i.id for i in second.items]
    ids = [item.id for found in study[2].objects if found.kind != "report"
           for item in read_object(found, study[1]).items]  # fmt: skip
    assert len(set(ids)) == len(ids)


def test_the_place_to_look_at_lies_inside(study):
    (mask,), _ = _read(study, "mask.dcm")
    place = shown_place([mask])
    assert place is not None
    assert mask.labels[mask.geometry.nearest(place)] > 0
    assert shown_place([Segmentation("m", "M", mask.geometry, "v")]) is None


class TestFit:
    """What must not be laid over an image, and what only may."""

    def test_another_frame_of_reference(self, study):
        volume = study[1]
        other = Geometry(volume.geometry.shape, volume.geometry.affine, "2.25.3")
        moved = replace(volume, geometry=other)
        judged = fit(_found(study, "mask.dcm"), moved.source, other)
        assert not judged.possible
        with pytest.raises(BadInput, match="another frame of reference"):
            read_object(_found(study, "mask.dcm"), moved)

    def test_nothing_known_is_placed_by_coordinates_and_said(self, study):
        volume = study[1]
        plain = replace(
            volume, source=replace(volume.source, series_uid="", instance_uids=()),
            geometry=Geometry(volume.geometry.shape, volume.geometry.affine),
        )  # fmt: skip
        judged = fit(_found(study, "mask.dcm"), plain.source, plain.geometry)
        assert judged.possible
        assert not judged.sure
        read = read_object(_found(study, "mask.dcm"), plain)
        assert isinstance(read, ReadItems)
        assert "placed by coordinates" in read.notes[-1]

    def test_another_patient_is_refused(self, study):
        volume = study[1]
        source = replace(volume.source, series_uid="", instance_uids=(), patient=Patient(id="P9"))
        stranger = replace(
            volume, source=source, geometry=Geometry(volume.geometry.shape, volume.geometry.affine)
        )
        assert not fit(_found(study, "mask.dcm"), source, stranger.geometry).possible
        with pytest.raises(BadInput, match="another patient"):
            read_object(_found(study, "mask.dcm"), stranger)

    def test_without_an_image(self, study):
        with pytest.raises(BadInput, match="Open the images first"):
            read_object(_found(study, "mask.dcm"), None)

    def test_slices_nobody_can_place(self, study):
        lost = replace(study[1], placed=False)
        with pytest.raises(BadInput, match="Nobody knows"):
            read_object(_found(study, "mask.dcm"), lost)


def test_files_that_are_only_objects_are_told_from_images(study):
    folder = study[0]
    assert only_objects([str(folder / "mask.dcm"), str(folder / "report.dcm")])
    images = sorted((folder / "images").iterdir())
    assert not only_objects([str(folder / "mask.dcm"), str(images[0])])
    assert not only_objects([str(folder)])
    assert not only_objects([])


def test_a_series_of_whole_numbers_is_read_as_a_mask(tmp_path):
    import nibabel as nib

    _files, volume = make_series(tmp_path / "images")
    labels = np.zeros(volume.geometry.shape, np.uint8)
    labels[balls(volume.geometry)[0]] = 3
    image = nib.Nifti1Image(labels.transpose(2, 1, 0), volume.geometry.nifti_affine)
    nib.save(image, tmp_path / "labels.nii.gz")
    with scan([tmp_path / "labels.nii.gz"]) as result:
        found = labels_of(result.series[0])
    read = read_object(found, volume)
    assert isinstance(read, ReadItems)
    np.testing.assert_array_equal(read.items[0].labels, labels)
    assert "placed by coordinates" in read.notes[-1]


def test_a_hostile_file_ends_in_a_sentence(study, tmp_path):
    ds = pydicom.dcmread(study[0] / "mask.dcm")
    ds.NumberOfFrames = 90_000
    ds.Rows = ds.Columns = 16_000
    ds.save_as(tmp_path / "x.dcm")
    found = replace(_found(study, "mask.dcm"), path=str(tmp_path / "x.dcm"))
    with pytest.raises(BadInput):
        read_object(found, study[1])


def test_a_file_that_has_gone_ends_in_a_sentence(study, tmp_path):
    found = replace(_found(study, "mask.dcm"), path=str(tmp_path / "gone.dcm"))
    with pytest.raises(BadInput):
        read_object(found, study[1])


@pytest.mark.parametrize("quantity", [("130402", "DCM", "Class activation"),
                                      ("X1", "99LAB", "Tumour load: 2nd (µ) draft")])  # fmt: skip
def test_a_map_of_any_meaning_can_be_written_again(tmp_path, quantity):
    from imaging.dicom.writing.parametric_map import write_parametric_map

    files, volume = make_series(tmp_path / "images")
    values = np.clip(balls(volume.geometry)[0] * 0.5, 0, 1).astype(np.float32)
    path = make_map(tmp_path / "a.dcm", files, volume, values, quantity)
    with scan([path]) as result:
        (heat,), _ = read_object(result.objects[0], volume)
    assert isinstance(heat, Heatmap)
    (again,) = write_parametric_map(tmp_path / "b.dcm", heat, volume)
    with scan([again]) as result:
        (back,), _ = read_object(result.objects[0], volume)
    assert isinstance(back, Heatmap)
    assert back.meaning == heat.meaning
    np.testing.assert_allclose(back.values, heat.values, atol=1e-5)


def test_real_masks_find_their_real_images(shared_data):
    """Made by highdicom on four slices with 161 missing between them: each voxel where it was."""
    import highdicom as hd

    folder = shared_data / "dicom_pydicom_tests/dicomdirtests/77654033/CT2"
    with scan([folder, shared_data / "dicom_seg_examples"]) as result:
        volume = load_series(result.series[0])
        names = ("ct_binary.dcm", "ct_binary_overlap.dcm", "ct_binary_fractional.dcm")
        masks = [o for o in result.objects if o.path.endswith(names)]
        assert len(masks) == 3
        for found in masks:
            assert series_for(found, result.series) is result.series[0]
            read = read_object(found, volume)
            assert isinstance(read, ReadItems)
            assert read.notes == ()
            layers = [item for item in read.items if isinstance(item, Segmentation)]
            seg = hd.seg.segread(found.path)
            for number, layer in enumerate(layers, 1):
                expected = seg.get_pixels_by_source_instance(
                    list(volume.source.instance_uids), segment_numbers=[number],
                    rescale_fractional=False,
                )[..., 0]  # fmt: skip
                np.testing.assert_array_equal(layer.labels > 0, expected > 0)
