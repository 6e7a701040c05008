"""Measurement reports: read by dcmqi, dcmtk and highdicom, numbers worked out anew by numpy."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import pytest
from real_lesions import patient19
from scipy.ndimage import binary_dilation, label
from scipy.spatial.distance import pdist
from writing_grids import (
    ORIENTATIONS,
    dcmqi_tool,
    dicom_complaints,
    grid,
    itk_judge,
    study_disagreements,
    volume,
)

from imaging.analysis.lesions import Lesion, find_lesions, lesion_uid
from imaging.analysis.place import find_head
from imaging.case import Case
from imaging.dicom.codes import LEFT
from imaging.dicom.objects.read_report import read_report
from imaging.dicom.writing.parametric_map import write_parametric_map
from imaging.dicom.writing.references import imported_as_dicom
from imaging.dicom.writing.rtstruct import write_rtstruct
from imaging.dicom.writing.seg import write_seg
from imaging.dicom.writing.sr import write_report
from imaging.edits.acceptance import accept_lesions
from imaging.edits.operations import delete_lesion, rename_segment
from imaging.errors import BadInput, WorldFailed
from imaging.heatmap import Heatmap
from imaging.segmentation import AUTOMATIC, Provenance, Segment, Segmentation
from imaging.storage.case_file import load_case, save_case

MADE_BY = Provenance("unet-flair", "1.2", "ab12cd", "CPU", "2024-05-06T07:08:09+00:00")
SEGMENTS = (
    Segment(2, "Lesion", (230, 159, 0), algorithm_type=AUTOMATIC),
    Segment(5, "Cyst", (86, 180, 233), modifier=LEFT),
)
VOLUME, LONG, ACROSS, COUNT = "118565006", "103339001", "131189007", "246206008"


def finding(folder: Path, n=13, seed=3):
    """A DICOM series with a mask of some lesions, the lesions, and a map."""
    source = imported_as_dicom(volume(grid(ORIENTATIONS[n], shape=(8, 14, 16))), folder / "images")
    rng = np.random.default_rng(seed)
    seeds = rng.random(source.geometry.shape) > 0.99
    labels = np.where(binary_dilation(seeds), 2, 0).astype(np.uint8)
    labels[:, :, 11:][labels[:, :, 11:] > 0] = 5
    mask = Segmentation.from_labels(
        "m-1", "Lesions", source.geometry, "v", labels, segments=SEGMENTS, provenance=MADE_BY,
        threshold=0.4, draft=True,
    )  # fmt: skip
    values = rng.random(labels.shape, np.float32)
    heat = Heatmap("h", "P", values, "probability", source.geometry, "v", MADE_BY)
    return source, mask, find_lesions(mask, heat), heat


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A report that points to a SEG file: (file, SEG file, volume, mask, lesions)."""
    folder = tmp_path_factory.mktemp("sr")
    source, mask, lesions, _ = finding(folder)
    write_seg(folder / "m.dcm", mask, source)
    path = write_report(
        folder / "sr.dcm", mask, source, lesions, seg_path=folder / "m.dcm", observer="Jane Doe"
    )
    return path, folder / "m.dcm", source, mask, lesions


def groups(path: Path) -> dict[str, dict[str, float]]:
    """Numbers of each group by tracking UID, walked by hand: ``code`` or ``code/derivation``."""
    found = {}
    for top in pydicom.dcmread(path).ContentSequence:
        if top.ConceptNameCodeSequence[0].CodeValue != "126010":
            continue
        for group in top.ContentSequence:
            uid, numbers = "", {}
            for item in group.ContentSequence:
                code = item.ConceptNameCodeSequence[0].CodeValue
                if code == "112040":
                    uid = item.UID
                if item.ValueType == "NUM":
                    how = [
                        c.ConceptCodeSequence[0].CodeValue for c in item.get("ContentSequence", [])
                    ]
                    value = item.MeasuredValueSequence[0]
                    numbers["/".join([code, *how])] = float(value.NumericValue)
            assert uid not in found
            found[str(uid)] = numbers
    return found


def test_the_numbers_are_those_of_the_voxels(written):
    path, _, source, mask, lesions = written
    said = groups(path)
    parts, _ = label(mask.labels == 2, np.ones((3, 3, 3)))
    assert len(lesions) >= 4
    for lesion in lesions:
        numbers = said[lesion_uid(mask, lesion)]
        where = tuple(lesion.indices.T)
        if lesion.label == 2:  # the lesion is one connected part, all of it
            assert len(set(parts[where])) == 1
            assert np.count_nonzero(parts == parts[where][0]) == lesion.voxels
        ml = lesion.voxels * abs(np.linalg.det(source.geometry.affine[:3, :3])) / 1000
        assert numbers[VOLUME] == pytest.approx(ml, abs=1e-6)
        corners = np.concatenate(
            [lesion.indices + np.array(d) for d in np.ndindex(2, 2, 2)]
        ) - 0.5  # fmt: skip
        world = source.geometry.world(np.unique(corners, axis=0))
        assert numbers[LONG] == pytest.approx(pdist(world).max(), abs=1e-3)
        assert 0 < numbers[ACROSS] <= numbers[LONG]
        values = source.voxels[where].astype(float)
        signal = {"373098007": values.mean(), "386136009": values.std(), "255605001": values.min(),
                  "56851009": values.max()}  # fmt: skip
        for how, value in signal.items():
            assert numbers[f"110852/{how}"] == pytest.approx(value, abs=1e-4)
        assert numbers["122157/373098007"] == pytest.approx(lesion.mean_probability, abs=1e-4)


def test_labels_and_the_whole_are_summed_up(written):
    path, _, _, mask, lesions = written
    said = groups(path)
    assert len(said) == 1 + 2 + len(lesions)
    for segment in mask.segments:
        own = [x for x in lesions if x.label == segment.number]
        numbers = said[segment.tracking_uid]
        assert numbers[COUNT] == len(own)
        ml = np.count_nonzero(mask.labels == segment.number) * mask.geometry.voxel_ml
        assert numbers[VOLUME] == pytest.approx(ml, abs=1e-5)
    whole = next(iter(said.values()))
    assert whole[COUNT] == len(lesions)
    assert whole[VOLUME] == pytest.approx(np.count_nonzero(mask.labels) * mask.geometry.voxel_ml)


def test_the_standard_is_kept_and_the_study_agrees(written, tmp_path):
    path, seg, source, mask, lesions = written
    alone = write_report(tmp_path / "alone.dcm", mask, source, lesions)
    nothing = write_report(tmp_path / "nothing.dcm", mask, source, [])
    files = [path, seg, alone, nothing, write_rtstruct(tmp_path / "rt.dcm", mask, source)]
    heat = Heatmap("h", "P", np.zeros(mask.labels.shape), "probability", mask.geometry, "v")
    files += write_parametric_map(tmp_path / "pm.dcm", heat, source)
    assert dicom_complaints(*files, warnings=True) == []
    assert study_disagreements([*files, *map(Path, source.source.files)]) == []


def test_dcmqi_reads_the_same(written, tmp_path):
    path, seg, source, mask, lesions = written
    tool = dcmqi_tool("tid1500reader")
    told = subprocess.run(
        [tool, "--inputDICOM", str(path), "--outputMetadata", str(tmp_path / "sr.json")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    complaints = [x for x in told.stderr.splitlines() if "ISO_IR 192" not in x]
    assert complaints == []
    read = json.loads((tmp_path / "sr.json").read_text())
    assert (read["CompletionFlag"], read["VerificationFlag"]) == ("PARTIAL", "UNVERIFIED")
    judged = {m["TrackingUniqueIdentifier"]: m for m in read["Measurements"]}
    mine = groups(path)
    assert set(judged) == set(mine)
    for uid, group in judged.items():
        values = [float(item["value"]) for item in group["measurementItems"]]
        assert values == pytest.approx(list(mine[uid].values()))
    one = judged[mask.segments[1].tracking_uid]
    assert one["segmentationSOPInstanceUID"] == pydicom.dcmread(seg).SOPInstanceUID
    assert one["ReferencedSegment"] == 2
    assert one["SourceSeriesForImageSegmentation"] == source.source.series_uid
    lesion = judged[lesion_uid(mask, next(x for x in lesions if x.label == 2))]
    made_by = lesion["measurementAlgorithmIdentification"]
    assert (made_by["AlgorithmName"], made_by["AlgorithmVersion"]) == ("unet-flair", "1.2")
    assert lesion["FindingSite"]["CodeMeaning"] == "Brain"


def test_dcmtk_reads_the_same(written):
    tool = shutil.which("dsrdump")
    if tool is None:
        pytest.skip("dcmtk (dsrdump) is not installed")
    path, _, _, _, lesions = written
    told = subprocess.run([tool, str(path)], capture_output=True, text=True, check=True)
    assert "error" not in told.stderr.lower()
    assert "Verification Flag   : UNVERIFIED" in told.stdout
    assert told.stdout.count('"Tracking Identifier")="Lesion ') == len(lesions)
    assert '"Person Observer Name")="Jane Doe^"' in told.stdout
    assert '"Device Observer Name")="Isocenter"' in told.stdout


def test_highdicom_finds_the_groups_and_our_reader_shows_them(written):
    path, seg, _, _, lesions = written
    found = hd.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    kinds = [g.reference_type.meaning for g in found]
    assert kinds.count("Referenced Segment") == 2
    assert kinds.count("Volume Surface") == len(lesions)
    labelled = [g for g in found if g.reference_type.meaning == "Referenced Segment"]
    sop = pydicom.dcmread(seg).SOPInstanceUID
    assert {segment_of(g).ReferencedSOPInstanceUID for g in labelled} == {sop}
    assert labelled[1].finding_sites[0].laterality.meaning == "Left"
    text = "\n".join(str(line) for line in read_report(path))
    assert "Lesion 1" in text


def test_outlines_enclose_the_lesion_they_are_measured_of(written):
    """Shoelace area of the outlines times the step between slices is the volume that is said."""
    path, _, source, mask, lesions = written
    geometry = source.geometry
    found = hd.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    by_uid = {g.tracking_uid: g for g in found}
    normal = np.cross(geometry.directions[:, 1], geometry.directions[:, 2])
    step = abs(float(geometry.affine[:3, 0] @ normal))
    checked = 0
    for lesion in lesions:
        roi = by_uid[lesion_uid(mask, lesion)].roi
        if len(np.unique(lesion.indices[:, 0])) < 2:
            continue
        total = 0.0
        for points in roi.graphic_data:
            assert np.array_equal(points[0], points[-1])
            relative = points - points[0]
            total += np.linalg.norm(np.cross(relative[:-1], relative[1:]).sum(0)) / 2 * step
        assert total / 1000 == pytest.approx(lesion.volume_ml, rel=1e-4)
        planes = [item for item in roi if item.ValueType == "SCOORD3D"]
        frames = {item.ReferencedFrameOfReferenceUID for item in planes}
        assert frames == {geometry.frame_of_reference}
        checked += 1
    assert checked >= 3


def segment_of(group) -> pydicom.Dataset:
    """What a group points to, without the help of the library."""
    items = [i for i in group[0].ContentSequence if i.ValueType == "IMAGE"]
    assert len(items) == 1
    return items[0].ReferencedSOPSequence[0]


def test_with_a_segment_for_each_lesion_every_group_points_to_its_own(tmp_path):
    source, mask, lesions, _ = finding(tmp_path)
    seg = write_seg(tmp_path / "m.dcm", mask, source, lesions=lesions).path
    path = write_report(tmp_path / "sr.dcm", mask, source, lesions, seg_path=seg)
    ds = pydicom.dcmread(seg)
    tracked = {s.SegmentNumber: s.TrackingUID for s in ds.SegmentSequence if s.SegmentNumber}
    assert list(tracked.values()) == [lesion_uid(mask, x) for x in lesions]
    found = hd.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    assert len(found) == len(lesions)
    for group in found:
        assert group.tracking_uid == tracked[segment_of(group).ReferencedSegmentNumber]
    assert dicom_complaints(seg, path, warnings=True) == []
    counts = write_seg(tmp_path / "l.dcm", mask, source, lesions=lesions, kind="LABELMAP").voxels
    assert list(counts.values()) == [x.voxels for x in lesions]


def uids(path: Path, mask: Segmentation, lesions: list[Lesion]) -> set[str]:
    found = set(groups(path))
    assert {lesion_uid(mask, x) for x in lesions} <= found
    return found


def test_tracking_uids_hold_over_exports_edits_acceptance_and_reopening(tmp_path):
    source, mask, lesions, heat = finding(tmp_path)
    case = Case({"v": source, "m-1": mask, "h": heat})
    first = uids(write_report(tmp_path / "1.dcm", mask, source, lesions), mask, lesions)
    assert first == uids(write_report(tmp_path / "2.dcm", mask, source, lesions), mask, lesions)
    assert len(first) == len(lesions) + 1

    gone = lesion_uid(mask, lesions[1])
    for edit in (delete_lesion(mask, lesions[1]), rename_segment(mask, 2, "Plaque")):
        edit.apply(case)
    rest = find_lesions(mask, heat)  # numbered anew
    assert uids(write_report(tmp_path / "3.dcm", mask, source, rest), mask, rest) == first - {gone}

    accept = accept_lesions(mask, rest)
    assert accept is not None
    accept.apply(case)
    taken = find_lesions(mask, heat)
    assert {x.label for x in taken} != {x.label for x in rest}
    assert {lesion_uid(mask, x) for x in rest} <= first - {gone}

    file = save_case(tmp_path / "case", case)
    again = next(i for i in load_case(file).build(lambda r: source)[0] if i.id == "m-1")
    assert isinstance(again, Segmentation)
    reopened = find_lesions(again)  # without the map, numbered anew
    assert {lesion_uid(again, x) for x in reopened} == {lesion_uid(mask, x) for x in taken}


def test_a_label_has_one_tracking_uid_in_every_kind_of_file(tmp_path):
    source, mask, lesions, _ = finding(tmp_path)
    write_seg(tmp_path / "m.dcm", mask, source)
    write_report(tmp_path / "sr.dcm", mask, source, lesions, seg_path=tmp_path / "m.dcm")
    write_rtstruct(tmp_path / "rt.dcm", mask, source)
    kept = {s.tracking_uid for s in mask.segments}
    seg, rt = (pydicom.dcmread(tmp_path / name) for name in ("m.dcm", "rt.dcm"))
    assert {s.TrackingUID for s in seg.SegmentSequence} == kept
    assert kept <= set(groups(tmp_path / "sr.dcm"))
    conceptual = [r.ConceptualVolumeIdentificationSequence[0] for r in rt.StructureSetROISequence]
    assert {c.ConceptualVolumeUID for c in conceptual} == kept


def test_signed_reports_are_complete_and_name_who_signed(written, tmp_path):
    _, _, source, mask, lesions = written
    path = write_report(
        tmp_path / "sr.dcm", mask, source, lesions, observer="Doe^Jane", verified=True
    )
    ds = pydicom.dcmread(path)
    assert (ds.CompletionFlag, ds.VerificationFlag) == ("COMPLETE", "VERIFIED")
    assert ds.VerifyingObserverSequence[0].VerifyingObserverName == "Doe^Jane"
    assert dicom_complaints(path, warnings=True) == []
    with pytest.raises(BadInput, match="none is named"):
        write_report(tmp_path / "no.dcm", mask, source, lesions, verified=True)


def test_a_volume_from_nifti(tmp_path):
    """With a SEG the report joins its study; alone it brings its images."""
    plain = volume(grid(ORIENTATIONS[5]))
    labels = np.zeros(plain.geometry.shape, np.uint8)
    labels[1:3, 1:3, 2:5] = 2
    mask = Segmentation.from_labels("m", "M", plain.geometry, "v", labels, segments=SEGMENTS[:1])
    lesions = find_lesions(mask)
    seg = write_seg(tmp_path / "m.dcm", mask, plain).path
    path = write_report(tmp_path / "sr.dcm", mask, plain, lesions, seg_path=seg)
    alone = write_report(tmp_path / "alone.dcm", mask, plain, lesions)
    assert len(list((tmp_path / "alone-images").iterdir())) == 4
    studies = {pydicom.dcmread(p).StudyInstanceUID for p in (seg, path, alone)}
    assert len(studies) == 1
    assert dicom_complaints(path, alone, warnings=True) == []


def test_what_does_not_fit_is_refused(written, tmp_path):
    path, seg, source, mask, lesions = written
    other = Segmentation.from_labels(
        "other", "M", mask.geometry, "v", mask.labels, segments=(replace(SEGMENTS[0], number=1),)
    )
    with pytest.raises(BadInput, match="none of the labels"):
        write_report(tmp_path / "x.dcm", other, source, [], seg_path=seg)
    with pytest.raises(BadInput, match="not a segmentation"):
        write_report(tmp_path / "x.dcm", mask, source, lesions, seg_path=path)
    with pytest.raises(BadInput, match="not in the mask"):
        write_report(tmp_path / "x.dcm", other, source, lesions)
    elsewhere = replace(source, source=replace(source.source, study_uid="2.25.5"))
    moved = imported_as_dicom(replace(elsewhere, source=replace(elsewhere.source, kind="nifti")),
                              tmp_path / "moved")  # fmt: skip
    with pytest.raises(BadInput, match="another study"):
        write_report(tmp_path / "x.dcm", mask, moved, lesions, seg_path=seg)
    assert not (tmp_path / "x.dcm").exists()


def test_a_changed_number_is_noticed(written, tmp_path, monkeypatch):
    _, _, source, mask, lesions = written
    real = pydicom.Dataset.save_as

    def damaged(self, path, **rest):
        copy = pydicom.dcmread(written[0])
        copy.SOPInstanceUID = self.SOPInstanceUID
        real(copy, path, **rest)

    monkeypatch.setattr(pydicom.Dataset, "save_as", damaged)
    with pytest.raises(WorldFailed, match="differs"):
        write_report(tmp_path / "x.dcm", mask, source, lesions[:2])
    assert not list(tmp_path.iterdir())


def test_the_lesions_of_a_real_patient(shared_data, tmp_path):
    """Patient 19: count, volume and sides as the gold mask has them."""
    source, mask = patient19(shared_data, tmp_path)
    every = find_lesions(mask, head=find_head(source))
    lesions = every[:40]  # by size
    seg = write_seg(tmp_path / "m.dcm", mask, source).path
    path = write_report(tmp_path / "sr.dcm", mask, source, lesions, seg_path=seg)
    said = groups(path)
    _, count = label(mask.labels, np.ones((3, 3, 3)))
    whole = said[mask.segments[0].tracking_uid]
    assert count == len(every)
    assert whole[COUNT] == len(lesions)
    assert whole[VOLUME] == pytest.approx(np.count_nonzero(mask.labels) / 1000, abs=1e-3)
    sides = lateralities(path)
    assert_dcmqi_agrees(tmp_path, seg, mask)
    told = 0
    for lesion in lesions:
        x = float(lesion.centroid_world[0])
        if abs(x) > 15:  # LPS: left is positive
            assert sides[lesion_uid(mask, lesion)] == ("Left" if x > 0 else "Right")
            told += 1
    assert told > 10


def assert_dcmqi_agrees(folder: Path, seg: Path, mask: Segmentation) -> None:
    """The marked voxels of a mask are marked at their places in what dcmqi makes of the file."""
    command = [dcmqi_tool("segimage2itkimage"), "--inputDICOM", str(seg)]
    subprocess.run([*command, "--outputDirectory", str(folder)], check=True, capture_output=True)
    judged, to_judged = itk_judge(folder / "1.nrrd")
    marked = np.argwhere(mask.labels)
    world = np.c_[mask.geometry.world(marked), np.ones(len(marked))]
    index = (world @ to_judged.T)[:, :3]
    assert np.abs(index - np.rint(index)).max() < 1e-3
    assert (judged[tuple(np.rint(index).astype(int).T)] > 0).all()
    assert np.count_nonzero(judged) == len(marked)


def lateralities(path: Path) -> dict[str, str]:
    """Side of the finding site of each group by tracking UID."""
    (measured,) = [
        item
        for item in pydicom.dcmread(path).ContentSequence
        if item.ConceptNameCodeSequence[0].CodeValue == "126010"
    ]
    found = {}
    for group in measured.ContentSequence:
        by_name = {i.ConceptNameCodeSequence[0].CodeValue: i for i in group.ContentSequence}
        for side in by_name["363698007"].get("ContentSequence", []):
            assert side.ConceptNameCodeSequence[0].CodeValue == "272741003"
            found[by_name["112040"].UID] = side.ConceptCodeSequence[0].CodeMeaning
    return found
