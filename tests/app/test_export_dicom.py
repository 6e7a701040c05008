"""DICOM out of the export: what refers to what, and that de-identified files name nobody."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom as hd
import numpy as np
import pytest
from panel_cases import draft, grad_cam, probability, volume
from pydicom import dcmread

from app.export_choice import SEG_FORMS, ExportChoice, ExportOptions
from app.export_material import Material
from app.export_writers import WRITERS
from imaging.case import Case
from imaging.dicom.writing.derived import write_derived_series
from imaging.errors import BadInput
from imaging.heatmap import Heatmap
from imaging.open import load_series, scan
from imaging.segmentation import Segmentation
from imaging.volume import Source

CANARIES = (b"CANARYNAME", b"CANARYID", b"19790412", b"20240311", b"CANARYHOUSE")


@pytest.fixture(autouse=True)
def own_key(tmp_path_factory, monkeypatch) -> None:
    """The key of the person who runs the tests is not made or used."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path_factory.mktemp("config")))


def as_dicom(folder: Path) -> Case:
    """A study with a patient's name as DICOM on disk, with mask and maps on its image."""
    made = volume()
    made = replace(
        made, voxels=np.arange(made.voxels.size, dtype=np.int16).reshape(made.voxels.shape)
    )
    write_derived_series(folder, made)
    for path in sorted(folder.iterdir()):
        ds = dcmread(path)
        ds.PatientName, ds.PatientID, ds.PatientBirthDate = (
            "CANARYNAME^JANE",
            "CANARYID",
            "19790412",
        )
        ds.StudyDate = ds.SeriesDate = "20240311"
        ds.InstitutionName = "CANARYHOUSE"
        ds.save_as(path)
    read = replace(load_series(scan([folder]).series[0]), id="flair")
    mask = draft()
    mask = Segmentation.from_labels(
        "draft", "Lesions", read.geometry, "flair", mask.labels, segments=mask.segments,
        provenance=mask.provenance, draft=True, threshold=0.5, probability_id="prob",
    )  # fmt: skip
    heats = [on(heat, read.geometry) for heat in (probability(), grad_cam())]
    return Case({item.id: item for item in (read, mask, *heats)})


def on(heat: Heatmap, geometry) -> Heatmap:
    return replace(heat, geometry=geometry)


def exported(case: Case, folder: Path, *kinds: str, **options) -> tuple[list[Path], Material]:
    """What the kinds wrote into a folder."""
    choice = ExportChoice(
        folder, kinds, "draft", None, "flair", ("prob", "cam"), options=ExportOptions(**options)
    )
    picture = np.full((30, 40, 3), 80, np.uint8)
    material = Material(choice, case, picture=picture, text_shown=not choice.options.deidentify)
    try:
        files = [path for kind in kinds for path in WRITERS[kind](material)]
    finally:
        material.close()
    return [*files, *material.beside], material


@pytest.fixture(scope="module")
def case(tmp_path_factory) -> Case:
    return as_dicom(tmp_path_factory.mktemp("study") / "source")


@pytest.mark.parametrize("form", SEG_FORMS)
def test_every_type_of_segmentation_holds_the_mask(case, tmp_path, form) -> None:
    ((path,), _m) = exported(case, tmp_path, "mask_seg", seg_form=form)
    seg = hd.seg.segread(path)
    kind, *rest = form.split("+")
    assert seg.segmentation_type.value == kind
    assert ("RLE" in seg.file_meta.TransferSyntaxUID.name) is ("RLE" in rest)
    labels = [one.SegmentLabel for one in seg.SegmentSequence]
    kept = [label for label in labels if label != "Background"]
    assert len(kept) == (3 if "LESIONS" in rest else 1)
    assert all(label.startswith("Lesion") for label in kept)
    sources = {uid for _study, _series, uid in seg.get_source_image_uids()}
    assert sources == set(case.volume("flair").source.instance_uids)


def test_the_report_points_into_the_segmentation_written_with_it(case, tmp_path) -> None:
    files, _m = exported(case, tmp_path, "mask_seg", "report_sr")
    report = dcmread(files[1])
    assert report.Modality == "SR"
    assert report.VerificationFlag == "UNVERIFIED"
    assert dcmread(files[0], stop_before_pixels=True).SOPInstanceUID in references(report)
    alone, _m = exported(case, tmp_path, "report_sr")
    there = set(case.volume("flair").source.instance_uids)
    assert references(dcmread(alone[0])) <= there


def test_a_key_image_says_whether_it_shows_whose_it_is(case, tmp_path) -> None:
    ((path,), _m) = exported(case, tmp_path, "key_image")
    ds = dcmread(path)
    assert ds.BurnedInAnnotation == "YES"
    assert (ds.Rows, ds.Columns, ds.SamplesPerPixel) == (30, 40, 3)
    assert ds.StudyInstanceUID == case.volume("flair").source.study_uid


def test_maps_contours_and_series_join_the_study(case, tmp_path) -> None:
    files, m = exported(case, tmp_path, "maps_dicom", "mask_rtstruct", "volume_dicom")
    assert m.stem.startswith("20240311-")
    assert [path.name for path in files] == [
        f"{m.stem}-probability.dcm",
        f"{m.stem}-grad-cam-lesion-1.dcm",
        f"{m.stem}-contours.dcm",
        f"{m.stem}-series",
    ]
    for path in tmp_path.rglob("*.dcm"):
        ds = dcmread(path, stop_before_pixels=True)
        assert ds.StudyInstanceUID == case.volume("flair").source.study_uid
        assert ds.FrameOfReferenceUID == case.volume("flair").geometry.frame_of_reference


def test_float_maps_by_choice(case, tmp_path) -> None:
    files, _m = exported(case, tmp_path, "maps_dicom", map_form="float32")
    back = dcmread(files[0])
    assert "FloatPixelData" in back
    assert "PixelData" in dcmread(exported(case, tmp_path, "maps_dicom")[0][0])


def test_an_image_from_elsewhere_becomes_dicom_once_for_all_that_refers_to_it(
    case, tmp_path
) -> None:
    known = case.volume("flair")
    other = Case({**case.items, "flair": replace(known, source=Source("nifti", sequence="FLAIR"))})
    files, material = exported(other, tmp_path, "mask_seg", "maps_dicom", "mask_rtstruct")
    (images,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert material.beside == [images]
    assert images in files
    there = {dcmread(path, stop_before_pixels=True).SOPInstanceUID for path in images.iterdir()}
    assert len(there) == known.geometry.shape[0]
    for path in tmp_path.glob("*.dcm"):
        ds = dcmread(path, stop_before_pixels=True)
        assert references(ds) & there
        assert references(ds) <= there


def references(ds) -> set[str]:
    """Every image that a data set refers to, at any depth."""
    found = {str(e.value) for e in ds.iterall() if e.keyword == "ReferencedSOPInstanceUID"}
    return found - {ds.StudyInstanceUID}  # a structure set names its study in the same way


@pytest.mark.parametrize("dicom", [True, False])
def test_de_identified_files_name_nobody_and_still_refer_to_each_other(
    case, tmp_path, dicom
) -> None:
    if not dicom:
        known = case.volume("flair")
        source = replace(known.source, kind="nifti", files=(), instance_uids=())
        case = Case({**case.items, "flair": replace(known, source=source)})
    kinds = ("mask_seg", "maps_dicom", "mask_rtstruct", "volume_dicom", "report_sr", "key_image")
    _files, m = exported(case, tmp_path, *kinds, deidentify=True)
    found = [path for path in tmp_path.rglob("*.dcm") if path.is_file()]
    assert {path.name for path in tmp_path.glob("*.dcm")} == {
        f"{m.stem}-segmentation.dcm",
        f"{m.stem}-probability.dcm",
        f"{m.stem}-grad-cam-lesion-1.dcm",
        f"{m.stem}-contours.dcm",
        f"{m.stem}-report.dcm",
        f"{m.stem}-key-image.dcm",
    }
    old = set(case.volume("flair").source.instance_uids)
    studies, pointed = set(), set()
    for path in found:
        content = path.read_bytes()
        assert not any(word in content for word in CANARIES), path.name
        assert not any(uid.encode() in content for uid in old)
        ds = dcmread(path, stop_before_pixels=True)
        assert ds.PatientIdentityRemoved == "YES"
        studies.add(ds.StudyInstanceUID)
        if path.parent == tmp_path and ds.Modality != "SR":
            pointed.add(frozenset(references(ds)))
    assert len(studies) == 1
    seg = dcmread(tmp_path / f"{m.stem}-segmentation.dcm", stop_before_pixels=True)
    assert seg.SOPInstanceUID in references(dcmread(tmp_path / f"{m.stem}-report.dcm"))
    (sources,) = pointed
    assert len(sources) == case.volume("flair").geometry.shape[0]
    if not dicom:
        images = next(p for p in tmp_path.iterdir() if p.is_dir() and "images" in p.name)
        uids = {dcmread(p, stop_before_pixels=True).SOPInstanceUID for p in images.iterdir()}
        assert uids == sources


@pytest.mark.parametrize(
    ("said", "leaves"),
    [
        ({}, True),
        ({"BurnedInAnnotation": "YES"}, False),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, False),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "BurnedInAnnotation": "NO"}, True),
    ],
)
def test_pixels_that_may_name_the_patient_do_not_leave(tmp_path, said, leaves) -> None:
    case = as_dicom(tmp_path / "source")
    for path in sorted((tmp_path / "source").iterdir()):
        ds = dcmread(path)
        for keyword, value in said.items():
            setattr(ds, keyword, value)
        ds.save_as(path)
    (tmp_path / "out").mkdir()
    if leaves:
        files, _m = exported(case, tmp_path / "out", "volume_dicom", deidentify=True)
        assert files
        return
    with pytest.raises(BadInput, match=r"text.*pixels.*flair-series.*De-identify folder"):
        exported(case, tmp_path / "out", "volume_dicom", deidentify=True)
    assert not list((tmp_path / "out").iterdir())


def test_nothing_that_names_the_patient_is_left_in_temporary_folders(
    case, tmp_path, monkeypatch
) -> None:
    home = tmp_path / "temporary"
    home.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(home))
    out = tmp_path / "out"
    out.mkdir()
    exported(case, out, "mask_seg", deidentify=True)
    assert list(home.iterdir()) == []
