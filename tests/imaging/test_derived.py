"""Derived MR series: same study, new series, every voxel in its place."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from writing_grids import (
    NAMES,
    ORIENTATIONS,
    assert_same_in_patient,
    dicom_complaints,
    grid,
    volume,
)

from imaging.dicom.writing.derived import write_derived_series
from imaging.dicom.writing.references import body_part, imported_as_dicom
from imaging.dicom.writing.write import (
    cut_text,
    mr_template,
    new_uid,
    stored_pixels,
    write_mr_series,
)
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.volume import Patient, Source, Volume, Window


def _placed(files: list[Path]) -> tuple[np.ndarray, np.ndarray]:
    """Pixels by (file, row, column), and LPS to that index, from the headers alone."""
    all_ds = [pydicom.dcmread(f) for f in files]
    first = all_ds[0]
    row, column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    affine = np.eye(4)
    starts = np.array([ds.ImagePositionPatient for ds in all_ds], float)
    affine[:3, 0] = (starts[-1] - starts[0]) / max(len(files) - 1, 1)
    affine[:3, 1] = column * float(first.PixelSpacing[0])
    affine[:3, 2] = row * float(first.PixelSpacing[1])
    affine[:3, 3] = starts[0]
    return np.stack([ds.pixel_array for ds in all_ds]), np.linalg.inv(affine)


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Volume:
    """A DICOM series with scan parameters, a window and a private tag, as a volume."""
    geometry = grid(ORIENTATIONS[13], frame=new_uid())
    template = mr_template(
        Patient("Møller^Ea", "P1", "19700101", "F"),
        study_uid=new_uid(),
        frame_of_reference=geometry.frame_of_reference,
        study={"StudyDate": "20200102", "StudyID": "S7", "AccessionNumber": "A9"},
        series={"SeriesDescription": "FLAIR", "ImageType": ["ORIGINAL", "PRIMARY", "M"]},
        acquisition={"EchoTime": "388", "InversionTime": "1800", "ScanningSequence": ["SE", "IR"]},
    )
    template.private_block(0x0029, "ISOCENTER TEST", create=True).add_new(1, "LO", "secret")
    v = replace(volume(geometry), window=Window(100, 50))
    files = write_mr_series(tmp_path_factory.mktemp("derived") / "original", v, template)
    headers = [pydicom.dcmread(f) for f in files]
    source = Source(
        "dicom", tuple(map(str, files)), str(headers[0].StudyInstanceUID),
        str(headers[0].SeriesInstanceUID), tuple(str(h.SOPInstanceUID) for h in headers),
    )  # fmt: skip
    return replace(v, source=source)


@pytest.mark.parametrize("n", range(48), ids=NAMES)
def test_every_orientation_lands_where_it_was(tmp_path, n):
    v = volume(grid(ORIENTATIONS[n]))
    pixels, to_index = _placed(write_derived_series(tmp_path / "out", v))
    assert_same_in_patient(v.geometry, v.voxels, pixels, to_index)


@pytest.mark.parametrize("n", range(1, 48, 7), ids=lambda n: NAMES[n])
def test_dcm2niix_finds_every_voxel(tmp_path, n):
    """In world space: that tool turns and flips the array."""
    tool = shutil.which("dcm2niix")
    if tool is None:
        pytest.skip("dcm2niix is not installed")
    v = volume(grid(ORIENTATIONS[n], shape=(6, 20, 22)))
    write_derived_series(tmp_path / "out", v)
    command = [tool, "-b", "n", "-z", "n", "-p", "n", "-f", "x", "-o", str(tmp_path)]
    subprocess.run([*command, str(tmp_path / "out")], check=True, capture_output=True)
    (file,) = tmp_path.glob("*.nii")
    image = nibabel.load(file)
    to_judged = np.linalg.inv(np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine)
    assert_same_in_patient(v.geometry, v.voxels, np.asarray(image.dataobj), to_judged)


def test_same_study_new_series(original, tmp_path):
    files = write_derived_series(tmp_path / "out", original, description="FLAIR copy")
    old = [pydicom.dcmread(f) for f in original.source.files]
    new = [pydicom.dcmread(f) for f in files]
    for keyword in (
        "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyInstanceUID",
        "StudyDate", "StudyID", "AccessionNumber", "FrameOfReferenceUID", "EchoTime",
        "InversionTime", "ScanningSequence",
    ):  # fmt: skip
        assert new[0][keyword].value == old[0][keyword].value, keyword
    assert new[0].SeriesInstanceUID != old[0].SeriesInstanceUID
    assert not {d.SOPInstanceUID for d in new} & {d.SOPInstanceUID for d in old}
    assert len({d.SOPInstanceUID for d in new}) == len(new)
    assert new[0].SeriesDescription == "FLAIR copy"
    assert list(new[0].ImageType) == ["DERIVED", "SECONDARY", "M"]
    assert "not for diagnosis" in new[0].DerivationDescription
    assert new[0].ContributingEquipmentSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == (
        "109102"
    )
    for a, b in zip(new, old, strict=True):
        assert a.SourceImageSequence[0].ReferencedSOPInstanceUID == b.SOPInstanceUID
        np.testing.assert_allclose(a.ImagePositionPatient, b.ImagePositionPatient, atol=1e-6)
    assert not any(e.tag.is_private for e in new[0])
    assert new[0].preamble == b"\0" * 128
    assert dicom_complaints(files[0]) == []


def test_new_slices_name_the_nearest_old_one(original, tmp_path):
    grid_ = original.geometry
    affine = grid_.affine.copy()
    affine[:3, 0] /= 2
    shape = (grid_.shape[0] * 2 - 1, *grid_.shape[1:])
    finer = Geometry(shape, affine, grid_.frame_of_reference)
    v = replace(original, voxels=np.zeros(shape, np.int16), geometry=finer, interpolated=True)
    new = [pydicom.dcmread(f) for f in write_derived_series(tmp_path / "out", v)]
    assert new[0].DerivationCodeSequence[0].CodeValue == "113085"
    uids = [d.SourceImageSequence[0].ReferencedSOPInstanceUID for d in new]
    assert uids[::2] == list(original.source.instance_uids)
    for between, (low, high) in zip(
        uids[1::2], zip(uids[::2], uids[2::2], strict=False), strict=False
    ):
        assert between in (low, high)


def _saying(original: Volume, folder: Path, files: slice = slice(None), **said) -> Volume:
    """The same series whose headers say something else."""
    folder.mkdir()
    moved = [str(shutil.copy(file, folder)) for file in original.source.files]
    for file in moved[files]:
        ds = pydicom.dcmread(file)
        for keyword, value in said.items():
            setattr(ds, keyword, value)
        ds.save_as(file)
    return replace(original, source=replace(original.source, files=tuple(moved)))


CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({}, "NO"),  # a scanner acquired it
        ({"BurnedInAnnotation": "YES"}, "YES"),
        ({"BurnedInAnnotation": "NO", "ImageType": ["DERIVED", "SECONDARY"]}, "NO"),
        ({"ImageType": ["DERIVED", "SECONDARY", "MPR"]}, None),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "SCREEN SAVE"]}, None),
        ({"SOPClassUID": CAPTURE}, None),
        ({"ConversionType": "SD"}, None),
        ({"BurnedInAnnotation": "YES", "SOPClassUID": CAPTURE}, "YES"),
    ],
)
def test_text_in_the_pixels_is_never_denied(original, tmp_path, said, told):
    source = _saying(original, tmp_path / "source", **said)
    file = write_derived_series(tmp_path / "derived", source)[0]
    assert pydicom.dcmread(file).get("BurnedInAnnotation") == told


def test_one_slice_with_text_speaks_for_all(original, tmp_path):
    source = _saying(original, tmp_path / "source", slice(2, 3), BurnedInAnnotation="YES")
    for file in write_derived_series(tmp_path / "derived", source):
        assert pydicom.dcmread(file).BurnedInAnnotation == "YES"


def test_nobody_knows_of_text_in_a_volume_from_nifti(tmp_path):
    file = write_derived_series(tmp_path / "derived", volume(grid()))[0]
    assert "BurnedInAnnotation" not in pydicom.dcmread(file)


def test_a_volume_from_nifti_gets_its_own_study(tmp_path):
    v = volume(grid())
    files = write_derived_series(tmp_path / "out", v)
    ds = pydicom.dcmread(files[0])
    assert ds.StudyInstanceUID
    assert ds.FrameOfReferenceUID
    assert "SourceImageSequence" not in ds
    assert dicom_complaints(*files) == []


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float64"])
def test_whole_numbers_stay(dtype):
    v = volume(grid(), dtype)
    pixels, slope, intercept = stored_pixels(v)
    np.testing.assert_array_equal(pixels, v.voxels)
    assert (slope, intercept) == (1.0, 0.0)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 3e7])
def test_other_numbers_are_off_by_at_most_half_a_level(tmp_path, scale):
    rng = np.random.default_rng(0)
    voxels = (rng.standard_normal((4, 5, 11)) * scale).astype(np.float32)
    v = Volume("v", "v", voxels, grid())
    files = write_derived_series(tmp_path / "out", v)
    all_ds = [pydicom.dcmread(f) for f in files]
    slope, intercept = float(all_ds[0].RescaleSlope), float(all_ds[0].RescaleIntercept)
    assert {(float(d.RescaleSlope), float(d.RescaleIntercept)) for d in all_ds} == {
        (slope, intercept)
    }
    real = np.stack([d.pixel_array for d in all_ds]) * slope + intercept
    assert np.abs(real - voxels).max() <= slope * 0.501
    assert slope <= (voxels.max() - voxels.min()) / 65000


def test_a_constant_image_is_no_problem(tmp_path):
    v = Volume("v", "v", np.full((2, 3, 4), 0.5, np.float32), grid(shape=(2, 3, 4)))
    ds = pydicom.dcmread(write_derived_series(tmp_path / "out", v)[0])
    real = ds.pixel_array * float(ds.RescaleSlope) + float(ds.RescaleIntercept)
    np.testing.assert_allclose(real, 0.5)


def test_slope_intercept_and_inversion_are_kept(tmp_path):
    v = replace(volume(grid()), slope=2.5, intercept=-10.0, inverted=True)
    ds = pydicom.dcmread(write_derived_series(tmp_path / "out", v)[1])
    np.testing.assert_array_equal(ds.pixel_array, v.voxels[1])
    assert (float(ds.RescaleSlope), float(ds.RescaleIntercept)) == (2.5, -10.0)
    assert ds.PhotometricInterpretation == "MONOCHROME1"


def test_not_a_number_is_refused(tmp_path):
    voxels = np.full((2, 3, 4), np.nan, np.float32)
    with pytest.raises(BadInput, match="not numbers"):
        write_derived_series(tmp_path / "out", Volume("v", "v", voxels, grid(shape=(2, 3, 4))))
    assert not list(tmp_path.iterdir())


def test_rows_that_are_not_perpendicular_are_refused(tmp_path):
    affine = grid(oblique=False).affine.copy()
    affine[:3, 1] += affine[:3, 2]
    v = volume(Geometry((4, 5, 11), affine))
    with pytest.raises(BadInput, match="perpendicular"):
        write_derived_series(tmp_path / "out", v)


@pytest.mark.parametrize(
    ("lack", "words"), [({"places": np.zeros((4, 3))}, "uneven"), ({"placed": False}, "where")]
)
def test_slices_whose_place_is_unknown_or_uneven_are_refused(tmp_path, lack, words):
    with pytest.raises(BadInput, match=words):
        write_derived_series(tmp_path / "out", replace(volume(grid()), **lack))
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:The value length")
def test_text_that_oversteps_its_kind_is_cut(original, tmp_path):
    """Some scanners write more than the standard allows; a copy must still be valid."""
    folder = tmp_path / "long"
    folder.mkdir()
    ds = pydicom.dcmread(original.source.files[0])
    ds.StudyDescription, ds.StudyID, ds.ProtocolName = "d" * 90, "s" * 20, "p" * 70
    ds.AccessionNumber = "a" * 17
    ds.save_as(folder / "1.dcm")
    source = replace(original.source, files=(str(folder / "1.dcm"), *original.source.files[1:]))
    files = write_derived_series(tmp_path / "out", replace(original, source=source))
    new = pydicom.dcmread(files[0])
    assert (len(new.StudyDescription), len(new.StudyID), len(new.AccessionNumber)) == (64, 16, 16)
    assert dicom_complaints(files[0]) == []


@pytest.mark.parametrize(
    ("said", "study", "part"),
    [
        ("KNEE", "Brain", "KNEE"),
        ("", "MRI Brain", "BRAIN"),
        ("", "MR L-Spine w/o", "LSPINE"),
        ("", "Knee left", "KNEE"),
        ("", "", "BRAIN"),
    ],
)
def test_the_body_part_is_never_empty(said, study, part):
    ds = pydicom.Dataset()
    ds.BodyPartExamined, ds.StudyDescription = said, study
    assert body_part(ds) == part


def test_a_taken_folder_is_not_touched(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("keep")
    with pytest.raises(WorldFailed, match="already"):
        write_derived_series(tmp_path / "out", volume(grid()))
    assert (tmp_path / "out" / "mine.txt").read_text() == "keep"


def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    real, count = pydicom.Dataset.save_as, [0]

    def refuse(self, *args, **rest):
        count[0] += 1
        if count[0] == 3:
            raise OSError(28, "No space left on device")
        real(self, *args, **rest)

    monkeypatch.setattr(pydicom.Dataset, "save_as", refuse)
    with pytest.raises(WorldFailed, match="disk is full"):
        write_derived_series(tmp_path / "out", volume(grid()))
    assert not list(tmp_path.iterdir())


def test_a_changed_pixel_is_noticed(tmp_path, monkeypatch):
    real = pydicom.Dataset.save_as

    def damaged(self, *args, **rest):
        self.PixelData = b"\xff" + self.PixelData[1:]
        real(self, *args, **rest)

    monkeypatch.setattr(pydicom.Dataset, "save_as", damaged)
    with pytest.raises(WorldFailed, match="differs"):
        write_derived_series(tmp_path / "out", volume(grid()))


def test_imported_images_carry_the_grid(tmp_path):
    plain = volume(grid())
    v = imported_as_dicom(plain, tmp_path / "images")
    assert v.source.kind == "dicom"
    assert v.geometry.same_grid(plain.geometry)
    assert v.geometry.frame_of_reference
    assert len(v.source.instance_uids) == plain.geometry.shape[0]


def test_real_ge_series_round_trip(shared_data, tmp_path):
    """Real headers (private tags, odd values) still make a valid derived series."""
    paths = [p for p in sorted((shared_data / "dicom_ge_mprage").rglob("*")) if _is_image(p)][:6]
    headers = sorted((pydicom.dcmread(p) for p in paths), key=lambda d: float(d.InstanceNumber))
    first = headers[0]
    row, column = np.array(first.ImageOrientationPatient, float).reshape(2, 3)
    affine = np.eye(4)
    affine[:3, 0] = np.subtract(headers[1].ImagePositionPatient, first.ImagePositionPatient)
    affine[:3, 1] = column * float(first.PixelSpacing[0])
    affine[:3, 2] = row * float(first.PixelSpacing[1])
    affine[:3, 3] = first.ImagePositionPatient
    voxels = np.stack([d.pixel_array for d in headers])
    source = Source(
        "dicom", tuple(str(d.filename) for d in headers), str(first.StudyInstanceUID),
        str(first.SeriesInstanceUID), tuple(str(d.SOPInstanceUID) for d in headers),
    )  # fmt: skip
    v = Volume("v", "T1", voxels, Geometry(voxels.shape, affine), source)
    files = write_derived_series(tmp_path / "out", v)
    pixels, to_index = _placed(files)
    assert_same_in_patient(v.geometry, v.voxels, pixels, to_index)
    assert dicom_complaints(files[0]) == []
    assert pydicom.dcmread(files[0]).FrameOfReferenceUID == first.FrameOfReferenceUID


def _is_image(path: Path) -> bool:
    try:
        return path.is_file() and "ImagePositionPatient" in pydicom.dcmread(
            path, stop_before_pixels=True
        )
    except pydicom.errors.InvalidDicomError:
        return False


def test_several_names_empty_lists_and_an_odd_age_are_copied_as_the_standard_has_them(
    original, tmp_path
):
    source = _changed(
        original, tmp_path, OtherPatientNames=["Aa^B", "C^D"], ProcedureCodeSequence=[],
        PatientAge="45Y", OtherPatientIDs=["1", "2"],
    )  # fmt: skip
    written = write_derived_series(tmp_path / "out", source)[0]
    ds = pydicom.dcmread(written)
    assert [str(name) for name in ds.OtherPatientNames] == ["Aa^B", "C^D"]
    assert list(ds.OtherPatientIDs) == ["1", "2"]
    assert "ProcedureCodeSequence" not in ds
    assert ds.PatientAge == "045Y"
    assert dicom_complaints(written) == []
    none = _changed(original, tmp_path, PatientAge="old")
    assert "PatientAge" not in pydicom.dcmread(write_derived_series(tmp_path / "none", none)[0])


@pytest.mark.parametrize(
    ("sequence", "time", "told"),
    [("RM", "0", "none"), ("IR", "0", None), ("GR", "900", "none"), (["SE", "IR"], "900", 900)],
)
def test_an_inversion_time_stands_only_beside_an_inversion(
    original, tmp_path, sequence, time, told
):
    source = _changed(original, tmp_path, ScanningSequence=sequence, InversionTime=time)
    written = write_derived_series(tmp_path / "out", source)[0]
    assert pydicom.dcmread(written).get("InversionTime", "none") == told
    assert dicom_complaints(written) == []


def _changed(original: Volume, folder: Path, **values) -> Volume:
    """The volume with other values in the header of its first file."""
    path = folder / f"changed-{len(list(folder.iterdir()))}.dcm"
    with pydicom.config.disable_value_validation():
        ds = pydicom.dcmread(original.source.files[0])
        for keyword, value in values.items():
            setattr(ds, keyword, value)
        ds.save_as(path)
    files = (str(path), *original.source.files[1:])
    return replace(original, source=replace(original.source, files=files))


@pytest.mark.parametrize(
    ("text", "length", "expected"),
    [
        ("Draft lesions of FLAIR", 16, "Draft lesions of"),
        ("Draft lesions (FLAIR)", 16, "Draft lesions"),
        ("Whitematterhyperintensity", 16, "Whitematterhyper"),
        ("Short\\name", 16, "Short/name"),
        ("Läsionen · Kopf", 16, "Läsionen"),
    ],
)
def test_a_text_is_cut_between_words(text, length, expected):
    assert cut_text(text, length, in_bytes=True) == expected
