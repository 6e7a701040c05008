"""DICOM Segmentation: written, then judged by highdicom, dcmqi and dciodvfy in patient space."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from writing_grids import (
    NAMES,
    ORIENTATIONS,
    assert_same_in_patient,
    dcmqi_tool,
    dicom_complaints,
    grid,
    itk_judge,
    volume,
)

from imaging.dicom.codes import BODY_PARTS, LEFT
from imaging.dicom.objects.placing import Target
from imaging.dicom.objects.read_seg import read_seg, read_seg_layers
from imaging.dicom.writing.derived import write_derived_series
from imaging.dicom.writing.references import imported_as_dicom
from imaging.dicom.writing.seg import write_seg
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.identity import new_uid
from imaging.segmentation import (
    AUTOMATIC,
    SEMIAUTOMATIC,
    WHITE_MATTER_HYPERINTENSITY,
    Provenance,
    Segment,
    Segmentation,
)
from imaging.volume import Repeats, Source

SEGMENTS = (
    Segment(2, "Lesion", (230, 159, 0), type=WHITE_MATTER_HYPERINTENSITY, algorithm_type=AUTOMATIC,
            tracking_uid="2.25.77"),
    Segment(5, "Cyst", (86, 180, 233)),
    Segment(9, "Looked, found none", (0, 158, 115)),
)  # fmt: skip
MADE_BY = Provenance("unet-flair", "1.2", "ab12cd", "CPU (2 threads)", settings=(("t", "0.5"),))


def _mask(geometry: Geometry, seed=1) -> Segmentation:
    labels = np.random.default_rng(seed).choice(
        np.array([0, 2, 5], np.uint8), geometry.shape, p=[0.7, 0.2, 0.1]
    )
    labels[0] = 0  # an empty slice, whose frames are left out of the file
    return Segmentation.from_labels(
        "m", "Lesions", geometry, "v", labels, segments=SEGMENTS, provenance=MADE_BY, threshold=0.4
    )


def _renumbered(labels: np.ndarray) -> np.ndarray:
    return np.select([labels == 2, labels == 5], [1, 2], 0).astype(np.uint8)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """One mask on an oblique DICOM series: (file, mask, volume, report)."""
    folder = tmp_path_factory.mktemp("seg")
    source = imported_as_dicom(volume(grid(ORIENTATIONS[13])), folder / "images")
    mask = _mask(source.geometry)
    report = write_seg(folder / "m.dcm", mask, source, content_creator="Jane Doe")
    return folder / "m.dcm", mask, source, report


@pytest.mark.parametrize("n", range(0, 48, 9), ids=lambda n: NAMES[n])
def test_highdicom_and_our_reader_find_every_voxel(tmp_path, n):
    source = imported_as_dicom(volume(grid(ORIENTATIONS[n])), tmp_path / "images")
    mask = _mask(source.geometry)
    write_seg(tmp_path / "m.dcm", mask, source)
    seg = hd.seg.segread(tmp_path / "m.dcm")
    judged = seg.get_volume(combine_segments=True, rescale_fractional=False)
    filled = mask.labels.copy()[1:]  # the judge starts at the first slice that has a frame
    part = Geometry(filled.shape, source.geometry.cropped(_box(mask.labels.shape)).affine)
    to_judged = np.linalg.inv(judged.affine)
    assert_same_in_patient(part, _renumbered(filled), judged.array, to_judged)
    back = read_seg(tmp_path / "m.dcm", source.geometry)
    np.testing.assert_array_equal(back.labels, _renumbered(mask.labels))


def _box(shape):
    from imaging.geometry import Box

    return Box((1, 0, 0), shape)


KINDS = [("BINARY", ""), ("FRACTIONAL", ""), ("LABELMAP", ""), ("LABELMAP", "RLE")]


def _map(geometry: Geometry) -> Heatmap:
    stored = np.random.default_rng(2).integers(0, 256, geometry.shape)
    stored[0] = 0
    values = (stored / 255).astype(np.float32)
    return Heatmap("h", "Probability", values, "probability", geometry, "v", MADE_BY)


@pytest.mark.parametrize(("kind", "compression"), KINDS)
def test_the_standard_is_kept(written, tmp_path, kind, compression):
    _, mask, source, _ = written
    path = tmp_path / "m.dcm"
    heat = _map(source.geometry)
    write_seg(path, mask, source, kind=kind, compression=compression, probability=heat)
    assert dicom_complaints(path, Path(source.source.files[0]), warnings=True) == []
    ds = pydicom.dcmread(path)
    assert ds.SegmentsOverlap == "NO"
    assert ds.BodyPartExamined == "BRAIN"
    assert any("diagnosis" in i.ContributionDescription for i in ds.ContributingEquipmentSequence
               if "ContributionDescription" in i)  # fmt: skip
    assert ds.file_meta.TransferSyntaxUID.is_compressed == bool(compression)


@pytest.mark.parametrize("n", [3, 30], ids=lambda n: NAMES[n])
@pytest.mark.parametrize(("kind", "compression"), KINDS)
def test_dcmqi_reads_the_same(tmp_path, kind, compression, n):
    tool = dcmqi_tool("segimage2itkimage")
    source = imported_as_dicom(volume(grid(ORIENTATIONS[n])), tmp_path / "images")
    mask, heat, path = _mask(source.geometry), _map(source.geometry), tmp_path / "m.dcm"
    write_seg(path, mask, source, kind=kind, compression=compression, probability=heat)
    command = [tool, "--inputDICOM", str(path), "--outputDirectory", str(tmp_path), "-p", "m"]
    subprocess.run(command, check=True, capture_output=True)
    part = mask.geometry.cropped(_box(mask.labels.shape))
    meta = json.loads((tmp_path / "m-meta.json").read_text())
    names = [s["SegmentLabel"] for group in meta["segmentAttributes"] for s in group]
    if kind == "FRACTIONAL":
        judged, to_judged = itk_judge(tmp_path / "m-1.nrrd")
        scale = 255 if judged.max() <= 1 else 1
        expected = np.rint(heat.values[1:] * 255)
        assert_same_in_patient(part, expected, np.rint(judged * scale), to_judged)
        assert names == ["Lesion probability"]
        return
    whole, files = _renumbered(mask.labels[1:]), sorted(tmp_path.glob("m-*.nrrd"))
    found = np.zeros_like(whole)
    for file in files:
        judged, to_judged = itk_judge(file)
        for number in {int(v) for v in np.unique(judged)} - {0}:
            label = number if number > 1 or len(files) == 1 else int(file.stem.split("-")[1])
            expected = (whole == label).astype(np.uint8)
            assert_same_in_patient(part, expected, (judged == number).astype(np.uint8), to_judged)
            found[whole == label] = label
    np.testing.assert_array_equal(found, whole)
    assert [n for n in names if n != "Background"][:2] == ["Lesion", "Cyst"]


def test_what_a_reader_is_told(written):
    ds = pydicom.dcmread(written[0])
    first, second, third = ds.SegmentSequence
    assert [s.SegmentNumber for s in ds.SegmentSequence] == [1, 2, 3]
    assert (first.SegmentLabel, first.SegmentAlgorithmType) == ("Lesion", "AUTOMATIC")
    assert first.TrackingUID == "2.25.77"
    made_by = first.SegmentationAlgorithmIdentificationSequence[0]
    assert (made_by.AlgorithmName, made_by.AlgorithmVersion) == ("unet-flair", "1.2")
    assert made_by.AlgorithmFamilyCodeSequence[0].CodeValue == "123110"
    assert "weights=ab12cd" in made_by.AlgorithmParameters
    assert "threshold=0.4" in made_by.AlgorithmParameters
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == "110702"
    assert second.SegmentAlgorithmType == "MANUAL"
    assert "SegmentationAlgorithmIdentificationSequence" not in second
    assert third.SegmentLabel == "Looked, found none"
    assert ds.SegmentationType == "BINARY"
    assert str(ds.ContentCreatorName) == "Jane Doe^"
    assert ds.preamble == b"\0" * 128
    colour = hd.color.CIELabColor(
        *(v * s / 65535 - o for v, s, o in zip(
            first.RecommendedDisplayCIELabValue, (100, 255, 255), (0, 128, 128), strict=True))
    ).to_rgb()  # fmt: skip
    assert np.abs(np.subtract(colour, (230, 159, 0))).max() <= 2


def test_same_study_and_frame_and_every_frame_names_its_slice(written):
    path, _, source, _ = written
    ds, image = pydicom.dcmread(path), pydicom.dcmread(source.source.files[0])
    for keyword in ("StudyInstanceUID", "FrameOfReferenceUID", "PatientID", "PatientName"):
        assert ds[keyword].value == image[keyword].value
    places = {
        str(pydicom.dcmread(f).SOPInstanceUID): np.array(pydicom.dcmread(f).ImagePositionPatient)
        for f in source.source.files
    }
    for frame in ds.PerFrameFunctionalGroupsSequence:
        named = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        place = np.array(frame.PlanePositionSequence[0].ImagePositionPatient)
        np.testing.assert_allclose(places[named], place, atol=1e-4)
    listed = ds.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {i.ReferencedSOPInstanceUID for i in listed} == set(places)


def test_the_report_counts(written):
    _, mask, _, report = written
    counts = {1: int((mask.labels == 2).sum()), 2: int((mask.labels == 5).sum()), 3: 0}
    assert report.voxels == counts
    assert report.images == ()
    assert report.frames == len(pydicom.dcmread(report.path).PerFrameFunctionalGroupsSequence)


def test_segments_come_back_as_they_were(written):
    back = read_seg(written[0], written[2].geometry)
    for new, old in zip(back.segments, SEGMENTS, strict=True):
        assert (new.name, new.type, new.category) == (old.name, old.type, old.category)
        assert new.algorithm_type == old.algorithm_type
        assert np.abs(np.subtract(new.colour, old.colour)).max() <= 2
    assert back.notes == ()


def test_only_the_chosen_segments(written, tmp_path):
    _, mask, source, _ = written
    report = write_seg(tmp_path / "m.dcm", mask, source, segments=[5])
    assert report.voxels == {1: int((mask.labels == 5).sum())}
    back = read_seg(tmp_path / "m.dcm", source.geometry)
    np.testing.assert_array_equal(back.labels, mask.labels == 5)


def test_a_mask_without_a_voxel_is_still_written(written, tmp_path):
    source = written[2]
    empty = Segmentation("m", "M", source.geometry, "v", segments=SEGMENTS[2:])
    assert write_seg(tmp_path / "m.dcm", empty, source).voxels == {1: 0}
    back = read_seg(tmp_path / "m.dcm", source.geometry)
    assert not back.labels.any()
    assert [s.name for s in back.segments] == ["Looked, found none"]
    assert dicom_complaints(tmp_path / "m.dcm") == []


@pytest.mark.parametrize("kind", ["LABELMAP", "FRACTIONAL"])
def test_a_flipped_bit_is_noticed_in_every_kind(written, tmp_path, monkeypatch, kind):
    _, mask, source, _ = written
    real = pydicom.Dataset.save_as

    def damaged(self, path, **rest):
        self.PixelData = bytes([self.PixelData[0] ^ 1]) + self.PixelData[1:]
        real(self, path, **rest)

    monkeypatch.setattr(pydicom.Dataset, "save_as", damaged)
    with pytest.raises(WorldFailed, match="differs"):
        write_seg(tmp_path / "m.dcm", mask, source, kind=kind, probability=_map(source.geometry))
    assert not list(tmp_path.iterdir())


def test_a_volume_from_nifti_gets_images_beside_the_mask(tmp_path):
    plain = volume(grid(ORIENTATIONS[5]))
    mask = _mask(plain.geometry)
    first = write_seg(tmp_path / "m.dcm", mask, plain)
    second = write_seg(tmp_path / "m.dcm", mask, plain)
    assert first.images[0].parent.name == "m-images"
    assert second.images[0].parent.name == "m-images-2"
    one, two = (pydicom.dcmread(r.path) for r in (first, second))
    assert one.StudyInstanceUID == two.StudyInstanceUID
    assert one.FrameOfReferenceUID == two.FrameOfReferenceUID
    assert first.images[0].read_bytes() == second.images[0].read_bytes()
    ds, image = pydicom.dcmread(second.path), pydicom.dcmread(second.images[0])
    assert ds.StudyInstanceUID == image.StudyInstanceUID
    assert ds.FrameOfReferenceUID == image.FrameOfReferenceUID
    assert ds.ReferencedSeriesSequence[0].SeriesInstanceUID == image.SeriesInstanceUID
    assert dicom_complaints(second.path, second.images[0]) == []


def test_a_person_s_work_on_a_model_s_label_still_names_the_model(written, tmp_path):
    """SEMIAUTOMATIC keeps the algorithm; what was read from a file keeps the one it named."""
    _, mask, source, _ = written
    edited = replace(SEGMENTS[0], algorithm_type=SEMIAUTOMATIC)
    foreign = replace(
        SEGMENTS[1], algorithm_type=AUTOMATIC, algorithm="Other", algorithm_version="7",
        modifier=LEFT, region=BODY_PARTS["BRAIN"],
    )  # fmt: skip
    changed = Segmentation.from_labels(
        "m", "M", mask.geometry, "v", mask.labels, segments=(edited, foreign, SEGMENTS[2]),
        provenance=MADE_BY,
    )  # fmt: skip
    write_seg(tmp_path / "m.dcm", changed, source)
    first, second, third = pydicom.dcmread(tmp_path / "m.dcm").SegmentSequence
    assert first.SegmentAlgorithmType == "SEMIAUTOMATIC"
    assert first.SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "unet-flair"
    made = second.SegmentationAlgorithmIdentificationSequence[0]
    assert (made.AlgorithmName, made.AlgorithmVersion) == ("Other", "7")
    assert "AlgorithmParameters" not in made
    kind = second.SegmentedPropertyTypeCodeSequence[0]
    assert kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Left"
    assert second.AnatomicRegionSequence[0].CodeMeaning == "Brain"
    assert third.SegmentAlgorithmType == "MANUAL"
    assert dicom_complaints(tmp_path / "m.dcm", warnings=True) == []
    back = read_seg(tmp_path / "m.dcm", source.geometry).segments
    assert (back[1].algorithm, back[1].algorithm_version, back[1].modifier) == ("Other", "7", LEFT)


def test_what_was_read_and_written_again_still_names_the_weights(written, tmp_path):
    _, mask, source, _ = written
    write_seg(tmp_path / "one.dcm", mask, source)
    read = read_seg_layers(tmp_path / "one.dcm", Target.of(source))
    again = Segmentation.from_labels(
        "n", "N", source.geometry, "v", read.layers[0].labels,
        segments=read.layers[0].segments, provenance=read.provenance,
    )  # fmt: skip
    write_seg(tmp_path / "two.dcm", again, source)
    one, two = (
        pydicom.dcmread(tmp_path / name)
        .SegmentSequence[0]
        .SegmentationAlgorithmIdentificationSequence[0]
        for name in ("one.dcm", "two.dcm")
    )
    assert (two.AlgorithmName, two.AlgorithmVersion) == (one.AlgorithmName, one.AlgorithmVersion)
    for part in ("weights=ab12cd", "threshold=0.4"):
        assert part in one.AlgorithmParameters
        assert part in two.AlgorithmParameters


def test_tracking_uids_are_the_same_in_every_file(written, tmp_path):
    _, mask, source, _ = written
    kept = [s.tracking_uid for s in mask.segments]
    assert kept[0] == "2.25.77"
    for name in ("one.dcm", "two.dcm"):
        write_seg(tmp_path / name, mask, source)
        ds = pydicom.dcmread(tmp_path / name)
        assert [s.TrackingUID for s in ds.SegmentSequence] == kept
        assert [s.TrackingID for s in ds.SegmentSequence] == [s.name for s in SEGMENTS]
    back = read_seg(tmp_path / "one.dcm", source.geometry)
    assert [s.tracking_uid for s in back.segments] == kept


def test_a_probability_is_one_segment_in_steps_of_one_255th(written, tmp_path):
    _, mask, source, _ = written
    report = write_seg(
        tmp_path / "m.dcm", mask, source, kind="FRACTIONAL", probability=_map(source.geometry)
    )
    ds = pydicom.dcmread(tmp_path / "m.dcm")
    assert (ds.SegmentationType, ds.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    assert ds.MaximumFractionalValue == 255
    (segment,) = ds.SegmentSequence
    said = (segment.SegmentLabel, segment.SegmentAlgorithmType)
    assert said == ("Lesion probability", "AUTOMATIC")
    # The map is not the label: a viewer that joins by identity must not take one for the other.
    assert segment.TrackingUID == new_uid("probability of", "2.25.77")
    assert report.voxels == {1: int((_map(source.geometry).values >= 0.5).sum())}


def test_a_probability_is_that_of_the_models_label_whatever_its_number(written, tmp_path):
    _, mask, source, _ = written
    heat, (model, *others) = _map(source.geometry), mask.segments
    hand = replace(others[0], number=1, name="By hand")
    made = Segmentation.from_labels(
        "m", "Lesions", source.geometry, "v", mask.labels * 0, segments=(model, hand),
        provenance=MADE_BY, probability_id="h",
    )  # fmt: skip
    write_seg(tmp_path / "m.dcm", made, source, kind="FRACTIONAL", probability=heat)
    (segment,) = pydicom.dcmread(tmp_path / "m.dcm").SegmentSequence
    assert segment.SegmentLabel == "Lesion probability"
    with pytest.raises(BadInput, match="label that the model proposed"):
        write_seg(
            tmp_path / "n.dcm", made, source, kind="FRACTIONAL", probability=heat, segments=[1]
        )
    other = replace(heat, id="of another mask")
    with pytest.raises(BadInput, match="label that the model proposed"):
        write_seg(tmp_path / "n.dcm", made, source, kind="FRACTIONAL", probability=other)
    assert not (tmp_path / "n.dcm").exists()


def test_the_chosen_image_of_a_4d_series_is_the_one_that_is_named(tmp_path):
    first = imported_as_dicom(volume(grid()), tmp_path / "one")
    second = imported_as_dicom(replace(volume(grid()), name="Echo 2"), tmp_path / "two")
    other = replace(second.source, study_uid=first.source.study_uid)
    repeats = Repeats(
        "echo time", ("TE 9", "TE 90"), np.stack([first.voxels, second.voxels]),
        (first.source, other), ((1.0, 0.0), (1.0, 0.0)),
    )  # fmt: skip
    many = replace(first, repeats=repeats).at_repeat(1)
    write_seg(tmp_path / "m.dcm", _mask(first.geometry), many)
    ds = pydicom.dcmread(tmp_path / "m.dcm")
    listed = ds.ReferencedSeriesSequence[0]
    assert listed.SeriesInstanceUID == second.source.series_uid
    named = {
        f.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        for f in ds.PerFrameFunctionalGroupsSequence
    }
    assert named <= set(second.source.instance_uids)


def test_every_second_slice_empty_does_not_thicken_the_rest(tmp_path):
    source = imported_as_dicom(volume(grid(shape=(7, 5, 11))), tmp_path / "images")
    labels = np.zeros(source.geometry.shape, np.uint8)
    labels[1::2, 1:3, 2:9] = 2
    mask = Segmentation.from_labels("m", "M", source.geometry, "v", labels, segments=SEGMENTS[:1])
    write_seg(tmp_path / "m.dcm", mask, source)
    fine = grid(shape=(14, 5, 11)).affine.copy()
    fine[:3, 0] /= 2
    fine[:3, 3] -= fine[:3, 0] / 2
    back = read_seg(tmp_path / "m.dcm", source.geometry)
    np.testing.assert_array_equal(back.labels, labels > 0)
    finer = read_seg(tmp_path / "m.dcm", Geometry((14, 5, 11), fine))
    assert int((finer.labels > 0).any((1, 2)).sum()) == 6  # three slices, twice as fine
    assert any("another grid" in note for note in finer.notes)


def test_a_grid_turned_round_is_read_exactly(written):
    path, mask, source, _ = written
    turned = np.eye(4)
    turned[0, 0], turned[0, 3] = -1, source.geometry.shape[0] - 1
    swap = np.eye(4)[[0, 2, 1, 3]]
    affine = source.geometry.affine @ turned @ swap
    k, j, i = source.geometry.shape
    back = read_seg(path, Geometry((k, i, j), affine))
    np.testing.assert_array_equal(back.labels, _renumbered(mask.labels)[::-1].transpose(0, 2, 1))
    assert back.notes == ()


def test_what_lies_outside_is_said(written):
    from imaging.geometry import Box

    path, mask, source, _ = written
    part = source.geometry.cropped(Box((0, 0, 0), (2, 5, 11)))
    back = read_seg(path, part)
    np.testing.assert_array_equal(back.labels, _renumbered(mask.labels)[:2])
    assert f"{int((mask.labels[2:] > 0).sum())} marked voxels" in back.notes[0]


def test_a_multi_frame_source_is_named_by_frame(shared_data, tmp_path):
    path = shared_data / "dicom_enhanced_small/In/Siemens/XA10/6_1.dcm"
    image = hd.imread(path)
    judged = image.get_volume(dtype=np.float32)
    ds = pydicom.dcmread(path, stop_before_pixels=True)
    geometry = Geometry(judged.spatial_shape, judged.affine, str(ds.FrameOfReferenceUID))
    frames = _frame_order(ds, geometry)
    source = Source(
        "dicom", (str(path),), str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID),
        (str(ds.SOPInstanceUID),) * len(frames), tuple(frames),
    )  # fmt: skip
    v = replace(volume(geometry), source=source)
    mask = _mask(geometry)
    write_seg(tmp_path / "m.dcm", mask, v)
    seg = pydicom.dcmread(tmp_path / "m.dcm")
    for group in seg.PerFrameFunctionalGroupsSequence:
        named = group.DerivationImageSequence[0].SourceImageSequence[0]
        assert named.ReferencedSOPInstanceUID == ds.SOPInstanceUID
        there = ds.PerFrameFunctionalGroupsSequence[named.ReferencedFrameNumber - 1]
        np.testing.assert_allclose(
            np.array(group.PlanePositionSequence[0].ImagePositionPatient, float),
            np.array(there.PlanePositionSequence[0].ImagePositionPatient, float),
            atol=1e-3,
        )
    np.testing.assert_array_equal(
        read_seg(tmp_path / "m.dcm", geometry).labels, _renumbered(mask.labels)
    )
    assert dicom_complaints(tmp_path / "m.dcm") == []
    derived = write_derived_series(tmp_path / "classic", v)
    assert dicom_complaints(derived[0]) == []


def _frame_order(ds, geometry) -> list[int]:
    groups = ds.PerFrameFunctionalGroupsSequence
    places = [g.PlanePositionSequence[0].ImagePositionPatient for g in groups]
    slices = np.rint(geometry.index(np.array(places, float))[:, 0]).astype(int)
    return [int(np.flatnonzero(slices == k)[0]) + 1 for k in range(geometry.shape[0])]


@pytest.mark.parametrize(
    "name",
    [
        "ct_binary",
        "ct_binary_overlap",
        "ct_binary_single_frame",
        "ct_binary_fractional",
        "ct_true_fractional",
    ],
)
def test_other_peoples_files(shared_data, name):
    """Real SEG objects agree with highdicom."""
    path = shared_data / f"dicom_seg_examples/seg_image_{name}.dcm"
    seg = hd.seg.segread(path)
    judged = seg.get_volume(combine_segments=False, rescale_fractional=False)
    geometry = Geometry(judged.spatial_shape, judged.affine)
    back = read_seg(path, geometry)
    half = float(getattr(seg, "MaximumFractionalValue", 1)) / 2
    marked = judged.array >= half
    np.testing.assert_array_equal(back.labels > 0, marked.any(-1))
    assert marked.any()
    assert any("overlap" in n for n in back.notes) == bool((marked.sum(-1) > 1).any())


class TestRefusals:
    """One sentence, and nothing is written."""

    def test_no_labels(self, written, tmp_path):
        source = written[2]
        with pytest.raises(BadInput, match="no labels"):
            write_seg(tmp_path / "m.dcm", Segmentation("m", "M", source.geometry, "v"), source)
        assert not list(tmp_path.iterdir())

    def test_a_voxel_without_a_name(self, written, tmp_path):
        _, mask, source, _ = written
        nameless = Segmentation.from_labels(
            "m", "M", source.geometry, "v", mask.labels, segments=SEGMENTS[:1]
        )
        with pytest.raises(BadInput, match="label 5, which has no name"):
            write_seg(tmp_path / "m.dcm", nameless, source)

    def test_an_unknown_segment(self, written, tmp_path):
        with pytest.raises(BadInput, match="no label 4"):
            write_seg(tmp_path / "m.dcm", written[1], written[2], segments=[2, 4])

    def test_a_shift_between_slices_that_other_programs_would_drop(self, tmp_path):
        affine = grid(oblique=False).affine.copy()
        affine[:3, 0] += (0.0, 0.8, 0.0)
        source = imported_as_dicom(volume(Geometry((4, 5, 11), affine)), tmp_path / "images")
        with pytest.raises(BadInput, match=r"tilted gantry.*NIfTI"):
            write_seg(tmp_path / "m.dcm", _mask(source.geometry), source)

    def test_uneven_slices(self, written, tmp_path):
        uneven = replace(written[2], places=np.zeros((4, 3)))
        with pytest.raises(BadInput, match=r"uneven distances.*even volume"):
            write_seg(tmp_path / "m.dcm", written[1], uneven)

    def test_slices_without_a_place(self, written, tmp_path):
        nowhere = replace(written[2], placed=False)
        with pytest.raises(BadInput, match=r"does not say where.*screenshot"):
            write_seg(tmp_path / "m.dcm", written[1], nowhere)

    def test_a_fraction_of_nothing(self, written, tmp_path):
        with pytest.raises(BadInput, match="no such map"):
            write_seg(tmp_path / "m.dcm", written[1], written[2], kind="FRACTIONAL")

    def test_compressed_bits(self, written, tmp_path):
        with pytest.raises(BadInput, match="cannot be compressed"):
            write_seg(tmp_path / "m.dcm", written[1], written[2], compression="RLE")
        assert not list(tmp_path.iterdir())

    def test_another_frame_of_reference(self, written, tmp_path):
        source = written[2]
        other = Geometry(source.geometry.shape, source.geometry.affine, "2.25.5")
        with pytest.raises(BadInput, match="frames of reference"):
            write_seg(tmp_path / "m.dcm", _mask(other), source)
        with pytest.raises(BadInput, match="frame of reference"):
            read_seg(written[0], other)

    def test_source_images_that_are_gone(self, written, tmp_path):
        _, mask, source, _ = written
        gone = replace(source, source=replace(source.source, files=(str(tmp_path / "x.dcm"),)))
        with pytest.raises(WorldFailed, match="no longer where"):
            write_seg(tmp_path / "m.dcm", mask, gone)

    def test_a_plain_image(self, written):
        with pytest.raises(BadInput, match="not a segmentation"):
            read_seg(Path(written[2].source.files[0]), written[2].geometry)

    def test_no_dicom_at_all(self, tmp_path):
        (tmp_path / "x.dcm").write_bytes(b"hello")
        with pytest.raises(BadInput, match="readable DICOM"):
            read_seg(tmp_path / "x.dcm", grid())

    def test_a_full_disk_keeps_the_old_file(self, written, tmp_path, monkeypatch):
        _, mask, source, _ = written
        path = tmp_path / "m.dcm"
        path.write_bytes(b"old")

        def refuse(*_, **__):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(pydicom.Dataset, "save_as", refuse)
        with pytest.raises(WorldFailed, match="disk is full"):
            write_seg(path, mask, source)
        assert path.read_bytes() == b"old"
        assert [p.name for p in tmp_path.iterdir()] == ["m.dcm"]

    def test_a_flipped_bit_is_noticed(self, written, tmp_path, monkeypatch):
        _, mask, source, _ = written
        real = pydicom.Dataset.save_as

        def damaged(self, path, **rest):
            self.PixelData = bytes([self.PixelData[0] ^ 1]) + self.PixelData[1:]
            real(self, path, **rest)

        monkeypatch.setattr(pydicom.Dataset, "save_as", damaged)
        with pytest.raises(WorldFailed, match="differs"):
            write_seg(tmp_path / "m.dcm", mask, source)
        assert not list(tmp_path.iterdir())
