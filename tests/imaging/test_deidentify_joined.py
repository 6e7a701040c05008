"""Images, masks, maps, contours and reports cleaned one by one still belong together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_phantoms import Maker
from pydicom import dcmread
from pydicom.dataset import Dataset

from imaging.analysis.lesions import find_lesions
from imaging.deidentify.deidentifier import Deidentifier
from imaging.deidentify.key import Key
from imaging.deidentify.options import Options
from imaging.dicom.objects.read_seg import read_seg
from imaging.dicom.writing.parametric_map import read_parametric_map, write_parametric_map
from imaging.dicom.writing.rtstruct import write_rtstruct
from imaging.dicom.writing.seg import write_seg
from imaging.dicom.writing.sr import write_report
from imaging.heatmap import Heatmap
from imaging.open import load_series, scan
from imaging.segmentation import AUTOMATIC, Provenance, Segment, Segmentation

# pydicom warns of odd values, which is what these files are made of
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
KEY = Key(b"the key of one project, 32 bytes")
PERSON = {
    "PatientName": "Quux^Ferdinand",
    "PatientID": "HOSP-00815",
    "PatientBirthDate": "19510607",
    "StudyDate": "20240229",
    "StudyTime": "131415",
    "AccessionNumber": "ACC-99887",
    "InstitutionName": "St Elsewhere",
    "ReferringPhysicianName": "Mabuse^Doctor",
    "StudyID": "S-4711",
    "PositionReferenceIndicator": "",
    "PatientSex": "O",
}
WORDS = ("quux", "ferdinand", "hosp-00815", "19510607", "20240229", "acc-99887", "elsewhere",
         "mabuse", "s-4711")  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> Path:
    """A series and everything we write about it, with a person in every header."""
    root = tmp_path_factory.mktemp("study")
    (root / "images").mkdir()
    maker = Maker(root / "images")
    maker.stack([3.0 * k for k in range(8)], **PERSON)
    with scan([root / "images"]) as found:
        volume = load_series(found.series[0])
    geometry = volume.geometry
    labels = np.zeros(geometry.shape, np.uint8)
    labels[2:5, 3:7, 2:6] = 1
    labels[5:7, 8:11, 6:9] = 1
    segment = Segment(1, "Lesion", (230, 159, 0), algorithm_type=AUTOMATIC, tracking_uid="2.25.77")
    made_by = Provenance(
        "unet-flair", "1.0.12", "ab12cd" * 10, "CPU (2 threads)", "2024-02-29T13:14:15",
        settings=(("min_voxels", "5"), ("reader", "Mabuse")),
    )  # fmt: skip
    mask = Segmentation.from_labels(
        "m", "Lesions", geometry, "v", labels, segments=(segment,), provenance=made_by,
        threshold=0.4,
    )  # fmt: skip
    values = np.linspace(0, 1, labels.size, dtype=np.float32).reshape(labels.shape)
    heatmap = Heatmap("h", "Probability", values, "probability", geometry, "v", made_by)
    lesions = find_lesions(mask)
    write_seg(root / "mask.dcm", mask, volume, lesions=lesions)
    write_rtstruct(root / "contours.dcm", mask, volume)
    write_parametric_map(root / "map.dcm", heatmap, volume)
    write_report(
        root / "report.dcm", mask, volume, lesions, seg_path=root / "mask.dcm", observer="Mabuse"
    )
    return root


@pytest.fixture(scope="module")
def clean(written, tmp_path_factory) -> Path:
    """Each file by itself, by a fresh object with the same key, as on different days."""
    target = tmp_path_factory.mktemp("clean")
    for source in sorted(p for p in written.rglob("*") if p.is_file()):
        Deidentifier(Options(), KEY).file(source, target / f"{source.stem}.dcm")
    return target


def values(ds: Dataset, keyword: str) -> list[str]:
    return [str(element.value) for element in ds.iterall() if element.keyword == keyword]


def test_what_made_a_mask_is_told_whole_and_true(written, clean):
    """The reports of other programs would otherwise name a version that never was."""
    settings = f"weights={'ab12cd' * 10},device=CPU (2 threads),threshold=0.4,min_voxels=5"
    for name in ("mask", "contours"):
        ds = dcmread(clean / f"{name}.dcm")
        assert set(values(ds, "AlgorithmName")) == {"unet-flair"}, name
        assert set(values(ds, "AlgorithmVersion")) == {"1.0.12"}, name
        assert set(values(ds, "AlgorithmParameters")) == {settings}, name
    assert set(values(dcmread(clean / "mask.dcm"), "SegmentAlgorithmName")) == {"unet-flair"}
    told = values(dcmread(clean / "contours.dcm"), "ROIGenerationDescription")
    assert told == ["unet-flair 1.0.12"]
    texts = {}
    for item in dcmread(clean / "report.dcm").iterall():
        if item.keyword == "ContentSequence":
            for one in item.value:
                if "TextValue" in one:
                    code = one.ConceptNameCodeSequence[0].CodeValue
                    texts.setdefault(code, set()).add(one.TextValue)
    assert texts["111001"] == {"unet-flair"}
    assert texts["111003"] == {"1.0.12"}
    assert texts["111002"] == set(settings.split(","))


def test_contours_keep_a_name(written, clean, tmp_path):
    ds = dcmread(clean / "contours.dcm")
    assert {roi.ROIName for roi in ds.StructureSetROISequence} == {"Lesion"}
    assert ds.StructureSetLabel == "Lesions"
    ds = dcmread(written / "contours.dcm")
    ds.StructureSetROISequence[0].ROIName = "Schmidtchen"
    ds.StructureSetLabel = "Schmidtchen"
    new = Deidentifier(Options(), KEY).dataset(ds)
    assert new.StructureSetROISequence[0].ROIName == "ROI 1"
    assert new.StructureSetLabel == "RTSTRUCT"


def references(ds: Dataset, keyword: str) -> set[str]:
    """All values of an attribute, at any depth."""
    return {str(element.value) for element in ds.iterall() if element.keyword == keyword}


def test_nobody_can_be_found_in_any_of_the_files(written, clean):
    assert any(b"quux" in p.read_bytes().lower() for p in written.rglob("*.dcm"))
    for path in clean.iterdir():
        raw = path.read_bytes().lower()
        assert [word for word in WORDS if word.encode() in raw] == [], path.name


def test_every_reference_meets_an_image_or_object_of_the_same_run(clean):
    sets = {path.stem: dcmread(path) for path in clean.iterdir()}
    instances = {str(ds.SOPInstanceUID) for ds in sets.values()}
    series = {str(ds.SeriesInstanceUID) for ds in sets.values()}
    assert len(instances) == len(sets) == 12
    assert len({str(ds.StudyInstanceUID) for ds in sets.values()}) == 1
    assert len({str(ds.PatientID) for ds in sets.values()}) == 1
    for name in ("mask", "contours", "map", "report"):
        found = references(sets[name], "ReferencedSOPInstanceUID")
        assert found, name
        study = {str(sets[name].StudyInstanceUID)}
        # contours refer to their study as an object as well (Referenced Study Sequence)
        assert found <= instances | study, name
        assert references(sets[name], "SeriesInstanceUID") <= series, name


def test_the_clean_objects_open_on_the_clean_images(written, clean):
    with scan([written]) as before, scan([clean]) as after:
        assert len(after.series) == 1
        assert {found.kind for found in after.objects} == {found.kind for found in before.objects}
        one, two = load_series(before.series[0]), load_series(after.series[0])
        series_uid = after.series[0].source.series_uid
        assert any(series_uid in found.series_uids for found in after.objects)
    assert np.array_equal(one.voxels, two.voxels)
    assert np.allclose(one.geometry.affine, two.geometry.affine)
    assert two.geometry.frame_of_reference not in ("", one.geometry.frame_of_reference)
    first = read_seg(written / "mask.dcm", one.geometry)
    second = read_seg(clean / "mask.dcm", two.geometry)
    assert np.array_equal(first.labels, second.labels)
    assert first.labels.any()
    assert [s.name for s in first.segments] == [s.name for s in second.segments]
    values = [
        read_parametric_map(folder / "map.dcm", volume.geometry)
        for folder, volume in ((written, one), (clean, two))
    ]
    assert np.array_equal(*values)


def test_measurements_of_the_report_stay(written, clean):
    for folder in (written, clean):
        ds = dcmread(folder / "report.dcm")
        assert references(ds, "NumericValue")
    assert references(dcmread(written / "report.dcm"), "NumericValue") == references(
        dcmread(clean / "report.dcm"), "NumericValue"
    )
