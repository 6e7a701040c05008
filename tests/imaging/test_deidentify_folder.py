"""A folder of anything becomes a folder of clean copies, and the report gives nobody away."""

from __future__ import annotations

import gzip
import json
import os
import stat
import sys
import zipfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from canary_files import plain_image, save
from dicom_phantoms import Maker
from pydicom import dcmread

from imaging.deidentify.folder import check_folders, rehearse, run
from imaging.deidentify.key import Key, load_key, read_pseudonyms
from imaging.deidentify.options import Options
from imaging.deidentify.report import JSON_NAME, TEXT_NAME
from imaging.deidentify.survey import look
from imaging.errors import BadInput
from imaging.storage.label_file import read_label_file

# pydicom warns of odd values, which is what these files are made of
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")
KEY = Key(b"the key of one project, 32 bytes")
STUDY = {"StudyInstanceUID": "1.2.4"}
SECRETS = ("quuxington", "ferdinand", "hosp00815", "19510607", "elsewhere", "visit-77")


def make_source(folder: Path) -> Path:
    """Two patients in DICOM, a volume in three formats with notes in it, and other things."""
    for name, patient in (("Quuxington_Ferdinand", "HOSP00815"), ("b", "HOSP00816")):
        (folder / name).mkdir(parents=True)
        Maker(folder / name).stack(
            [0.0, 3.0, 6.0],
            PatientName="Quuxington^Ferdinand",
            PatientID=patient,
            PatientBirthDate="19510607",
            InstitutionName="St Elsewhere",
            StudyDate="20240229",
        )
    voxels = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    affine = np.array([[-2.0, 0, 0, 10], [0, 1.5, 0.2, -7], [0, 0.1, 3, 4], [0, 0, 0, 1]])
    image = nib.Nifti1Image(voxels, affine)
    image.header["descrip"] = b"Quuxington visit-77"
    image.header["aux_file"] = b"Elsewhere"
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"Ferdinand HOSP00815"))
    image.to_filename(folder / "sub-Quuxington_T1w.nii.gz")
    facts = {"EchoTime": 0.03, "PatientName": "Quuxington", "SliceTiming": [0, 0.5],
             "AcquisitionDateTime": "2024-02-29", "InstitutionName": "St Elsewhere",
             "Manufacturer": "Siemens", "ScanOptions": "Ferdinand"}  # fmt: skip
    (folder / "sub-Quuxington_T1w.json").write_text(json.dumps(facts))
    (folder / "sub-Quuxington_T1w.bval").write_text("0 1000 2000\n")
    itk = sitk.GetImageFromArray(voxels)
    itk.SetSpacing((1.5, 2.0, 3.0))
    itk.SetOrigin((5.0, -6.0, 7.0))
    itk.SetMetaData("PatientsName", "Quuxington")
    sitk.WriteImage(itk, str(folder / "scan of Ferdinand.nrrd"))
    sitk.WriteImage(itk, str(folder / "scan of Ferdinand.mha"))
    (folder / "letter.txt").write_text("Dear Ferdinand")
    (folder / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\x08\0\x16\0UI\xff\xff")
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Source, target and report of one run."""
    root = tmp_path_factory.mktemp("run")
    source, target = make_source(root / "source"), root / "target"
    survey = look(source, Options())
    report = run(survey, target, Options(), KEY)
    survey.close()
    return source, target, report


def written_bytes(path: Path) -> bytes:
    raw = path.read_bytes()
    return gzip.decompress(raw) if raw[:2] == b"\x1f\x8b" else raw


def test_nothing_in_the_target_names_anybody(done):
    _source, target, report = done
    assert report.written == 11
    assert report.refused == []
    assert len(report.others) == 2
    for path in target.rglob("*"):
        assert not [s for s in SECRETS if s in str(path.relative_to(target)).lower()]
        if path.is_file():
            low = written_bytes(path).lower()
            assert [s for s in SECRETS if s.encode() in low] == [], path.name


def test_copies_are_called_by_pseudonym_and_number(done):
    _source, target, _report = done
    patients = sorted({p.relative_to(target).parts[0] for p in target.rglob("*.dcm")})
    assert len(patients) == 2
    for path in target.rglob("*.dcm"):
        patient, study, series, name = path.relative_to(target).parts
        assert patient == str(dcmread(path).PatientID)
        assert study.startswith("study-")
        assert series.startswith("series-")
        number, _, token = name.removesuffix(".dcm").partition("-")
        assert int(number) == dcmread(path).InstanceNumber
        assert len(token) == 12


def test_the_report_counts_and_says_what_was_done(done):
    _source, target, report = done
    table = json.loads((target / JSON_NAME).read_text())
    assert table["written"] == 11
    assert table["patients"] == report.table()["patients"] == 3
    assert table["codes"].keys() == {"113100", "113103", "113104"}
    actions = {(row["attribute"], row["action"]): row["count"] for row in table["actions"]}
    assert actions["(0008,0018) SOP Instance UID", "new UID"] == 6
    assert "Patient's Name" in (target / TEXT_NAME).read_text()


def test_volumes_keep_their_numbers_and_places(done):
    source, target, _report = done
    before = nib.load(source / "sub-Quuxington_T1w.nii.gz")
    (path,) = target.rglob("*.nii.gz")
    after = nib.load(path)
    assert np.array_equal(np.asarray(before.dataobj), np.asarray(after.dataobj))
    assert np.array_equal(before.affine, after.affine)
    assert bytes(after.header["descrip"].tobytes()).strip(b"\0") == b""
    assert len(after.header.extensions) == 0
    for ending in (".nrrd", ".mha"):
        one = sitk.ReadImage(str(source / f"scan of Ferdinand{ending}"))
        two = sitk.ReadImage(str(next(target.rglob(f"*{ending}"))))
        assert np.array_equal(sitk.GetArrayFromImage(one), sitk.GetArrayFromImage(two))
        for facts in ("GetOrigin", "GetSpacing", "GetDirection"):
            assert getattr(one, facts)() == getattr(two, facts)()
    (sidecar,) = (p for p in target.rglob("*_T1w.json"))
    assert json.loads(sidecar.read_text()) == {
        "EchoTime": 0.03, "SliceTiming": [0, 0.5], "Manufacturer": "Siemens",
    }  # fmt: skip
    assert sidecar.stem == path.name.split(".")[0] == next(target.rglob("*.bval")).stem


def test_a_second_run_goes_on_and_other_options_are_refused(done):
    source, target, _report = done
    some = sorted(target.rglob("*.dcm"))[0]
    rest = {p: p.stat().st_mtime_ns for p in target.rglob("*.dcm") if p != some}
    some.unlink()
    survey = look(source, Options())
    again = run(survey, target, Options(), KEY)
    assert (again.written, again.already) == (1, 10)
    assert some.is_file()
    assert {p: p.stat().st_mtime_ns for p in rest} == rest
    for options, key in ((Options(dates="keep"), KEY), (Options(), Key(b"y" * 32))):
        with pytest.raises(BadInput, match="other options or another key"):
            run(survey, target, options, key)
    survey.close()


def test_zip_archives_are_gone_through(tmp_path, done):
    source, _target, _report = done
    packed = tmp_path / "Quuxington.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((source / "b").iterdir()):
            archive.write(path, f"Ferdinand/{path.name}")
    survey = look(packed, Options())
    report = run(survey, tmp_path / "out", Options(), KEY)
    survey.close()
    assert report.written == 3
    assert len(list((tmp_path / "out").rglob("*.dcm"))) == 3


def test_a_rehearsal_writes_nothing_and_says_the_same(tmp_path, done):
    source, _target, report = done
    survey = look(source, Options())
    dry = rehearse(survey, Options(), KEY)
    survey.close()
    assert dry.written == report.written
    assert dry.dry
    assert ("(0010,0010) Patient's Name", "pseudonym") in dry.actions
    assert list(tmp_path.iterdir()) == []


def test_files_with_text_in_their_pixels_are_refused_with_the_reason(tmp_path):
    ds = plain_image()
    ds.BurnedInAnnotation = "YES"
    (tmp_path / "in").mkdir()
    save(ds, tmp_path / "in" / "Doe.dcm")
    survey = look(tmp_path / "in", Options())
    report = run(survey, tmp_path / "out", Options(), KEY)
    assert report.written == 0
    ((_number, name, why),) = report.refused
    assert name == "Doe.dcm"
    assert "burned into" in why
    assert "Doe.dcm" not in (tmp_path / "out" / JSON_NAME).read_text()


def test_a_cancelled_run_says_so_and_leaves_whole_files(tmp_path, done):
    source, _target, _report = done
    survey = look(source, Options())
    count = iter(range(1000))
    report = run(survey, tmp_path / "out", Options(), KEY, cancelled=lambda: next(count) > 3)
    survey.close()
    assert report.stopped
    assert report.written < 11
    assert "Stopped" in report.sentence()
    for path in (tmp_path / "out").rglob("*.dcm"):
        assert dcmread(path).PatientIdentityRemoved == "YES"


def clean_copies(source: Path, target: Path, options: Options | None = None):
    """One run, as from the command line."""
    survey = look(source, options or Options())
    report = run(survey, target, options or Options(), KEY)
    survey.close()
    return report


def test_a_second_part_of_a_series_joins_the_first_and_replaces_nothing(tmp_path):
    for name, places in (("a", range(6)), ("b", range(6, 10))):
        (tmp_path / name).mkdir()
        Maker(tmp_path / name).stack(
            [float(k) for k in places], PatientID="HOSP1", SeriesInstanceUID="1.2.3", **STUDY
        )
    # the second part counts from 1 again, as exports in pieces do
    assert clean_copies(tmp_path / "a", tmp_path / "out").written == 6
    first = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.suffix != ".jsonl"
             and p.is_file()}  # fmt: skip
    assert clean_copies(tmp_path / "b", tmp_path / "out").written == 4
    assert {p: p.read_bytes() for p in first} == first
    copies = list((tmp_path / "out").rglob("*.dcm"))
    assert len(copies) == 10
    assert len({dcmread(p).SOPInstanceUID for p in copies}) == 10
    assert len({p.parent for p in copies}) == 1
    again = clean_copies(tmp_path / "a", tmp_path / "out")
    assert (again.written, again.already, again.refused) == (0, 6, [])
    assert len(list((tmp_path / "out").glob("deidentification-report*.txt"))) == 3


def test_another_file_with_a_name_that_is_there_is_refused(tmp_path):
    for name, value in (("a", 1), ("b", 2)):
        (tmp_path / name).mkdir()
        nib.Nifti1Image(np.full((3, 3, 3), value, np.int16), np.eye(4)).to_filename(
            tmp_path / name / "scan_t1.nii.gz"
        )
    assert clean_copies(tmp_path / "a", tmp_path / "out").written == 1
    report = clean_copies(tmp_path / "b", tmp_path / "out")
    assert report.written == 0
    assert "in the target folder already" in report.refused[0][2]
    (copy,) = (tmp_path / "out").rglob("*.nii.gz")
    assert np.asarray(nib.load(copy).dataobj).max() == 1


def test_a_copy_that_was_not_noted_before_the_end_counts_as_there(tmp_path):
    (tmp_path / "a").mkdir()
    Maker(tmp_path / "a").stack([0.0, 1.0], PatientID="HOSP1", **STUDY)
    clean_copies(tmp_path / "a", tmp_path / "out")
    listed = tmp_path / "out" / ".isocenter-deidentified.jsonl"
    rows = [row for row in listed.read_text().splitlines() if '"source"' not in row]
    listed.write_text("\n".join(rows) + "\n")
    again = clean_copies(tmp_path / "a", tmp_path / "out")
    assert (again.written, again.already, again.refused) == (0, 2, [])


def test_volumes_keep_the_words_that_say_what_they_are(tmp_path):
    source = tmp_path / "source"
    (source / "case7").mkdir(parents=True)
    Maker(source / "case7").stack([0.0, 1.0], PatientID="HOSP1", **STUDY)
    image = nib.Nifti1Image(np.ones((3, 3, 3), np.uint8), np.eye(4))
    for name in ("Quux-01_t1ce", "Quux-01_seg", "Quux-01_FLAIR", "probability", "gold"):
        image.to_filename(source / "case7" / f"{name}.nii.gz")
    (source / "case7" / "Quux-01_seg.label.txt").write_text(
        '    1   255    0    0        1  1  1    "Lesion Quuxington"\n'
        '    2   0    255    0        1  1  1    "Quuxington"\n'
    )
    (source / "case7" / "Quux-01_seg.tsv").write_text(
        "index\tname\tcolor\tmapping\n1\tLesion\t#ff0000\tQuuxington\n2\tQuux\tred\t1\n"
    )
    (source / "case7" / "notes.json").write_text('{"Reader": "Quux"}')
    report = clean_copies(source, tmp_path / "out")
    assert report.refused == []
    assert len(report.others) == 1
    patients = [p.name for p in (tmp_path / "out").iterdir() if p.is_dir()]
    (patient,) = patients
    assert patient == dcmread(next((tmp_path / "out").rglob("*.dcm"))).PatientID
    names = [p.name for p in (tmp_path / "out" / patient).rglob("*") if p.suffix != ".dcm"]
    tails = sorted(n.partition("_")[2] for n in names if "_" in n)
    assert tails == ["FLAIR.nii.gz", "gold.nii.gz", "probability.nii.gz", "seg.label.txt",
                     "seg.nii.gz", "seg.tsv", "t1ce.nii.gz"]  # fmt: skip
    joined = {n.partition("_")[0] for n in names if any(w in n for w in ("seg", "FLAIR", "t1ce"))}
    assert len(joined) == 1
    (labels,) = (tmp_path / "out").rglob("*.label.txt")
    assert [s.name for s in read_label_file(labels)] == ["Lesion", "Label 2"]
    (table,) = (tmp_path / "out").rglob("*_seg.tsv")
    assert table.read_text().splitlines() == ["index\tname\tcolor", "1\tLesion\t#ff0000",
                                              "2\tLabel 2\t"]  # fmt: skip


def test_no_canary_of_a_volume_file_is_left(tmp_path):
    """Every place of a file that is no DICOM in which somebody could have typed something."""
    source, words = tmp_path / "in", iter(f"Canary{n:03d}Quux" for n in range(900))
    source.mkdir()
    image = nib.Nifti1Image(np.ones((3, 4, 5), np.int16), np.eye(4))
    for name, size in (("descrip", 80), ("aux_file", 24), ("intent_name", 16), ("db_name", 18)):
        image.header[name] = next(words)[:size].encode()
    for code in ("comment", "dicom", "afni", 44):
        content = next(words).encode()
        image.header.extensions.append(
            nib.nifti1.Nifti1Extension(code if code != "dicom" else 6, content)
        )
    image.to_filename(source / f"{next(words)}_t1.nii.gz")
    nib.Nifti2Image(np.ones((3, 4, 5), np.int16), np.eye(4), image.header).to_filename(
        source / f"{next(words)}_t2.nii"
    )
    itk = sitk.GetImageFromArray(np.ones((3, 4, 5), np.int16))
    for key in ("PatientName", next(words), "Segment0_Tags", "ITK_FileNotes", "Comment"):
        itk.SetMetaData(key, next(words))
    for key in ("Segment0_Name", "Segment0_ID", "Segment0_Color", "Segment0_Extent", "modality",
                "Segmentation_SourceRepresentation", "DWMRI_b-value",
                "Segmentation_ContainedRepresentationNames"):  # fmt: skip
        itk.SetMetaData(key, next(words))
    for ending in (".nrrd", ".mha"):
        sitk.WriteImage(itk, str(source / f"{next(words)}{ending}"))
    raw = (source / next(source.glob("*.nrrd")).name).read_bytes()
    next(source.glob("*.nrrd")).write_bytes(
        raw.replace(b"encoding:", f"# {next(words)}\ncontent: {next(words)}\nencoding:".encode(), 1)
    )
    facts = {"EchoTime": 0.03, "ScanOptions": next(words), "Type": next(words),
             next(words): next(words), "SeriesDescription": [next(words), {"a": next(words)}],
             "ImageType": ["ORIGINAL", next(words)], "SequenceVariant": "Anna"}  # fmt: skip
    (source / "x_t1.json").write_text(json.dumps(facts))
    (source / "x.label.txt").write_text(f'# {next(words)}\n1 2 3 4 1 1 1 "{next(words)}"\n')
    (source / "x.tsv").write_text(
        f"index\tname\tcolor\t{next(words)}\n1\t{next(words)}\t{next(words)}\t{next(words)}\n"
    )
    report = clean_copies(source, tmp_path / "out")
    assert report.refused == []
    assert report.written == 7
    for path in (tmp_path / "out").rglob("*"):
        assert "quux" not in str(path.relative_to(tmp_path / "out")).lower()
        if path.is_file():
            low = written_bytes(path).lower()
            assert (b"quux" in low, b"canary" in low, b"anna" in low) == (False,) * 3, path.name


@pytest.mark.parametrize("target", ["source", "source/inside", "."])
def test_source_and_target_never_lie_inside_each_other(tmp_path, target):
    (tmp_path / "source").mkdir()
    with pytest.raises(BadInput, match="inside each other"):
        check_folders(tmp_path / "source", tmp_path / target)


def test_a_target_with_other_things_in_it_is_refused(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "thesis.txt").write_text("")
    with pytest.raises(BadInput, match="not empty"):
        check_folders(tmp_path / "source", tmp_path / "target")


def test_the_key_file_is_made_once_and_for_its_owner_only(tmp_path):
    path = tmp_path / "sub" / "key.json"
    key = load_key(path)
    assert load_key(path).secret == key.secret
    if sys.platform != "win32":
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert key.secret.hex() not in repr(key)
    path.write_text("{}")
    with pytest.raises(BadInput, match="no key file"):
        load_key(path)


def test_pseudonyms_of_a_list_are_used_and_a_double_one_is_refused(tmp_path):
    names = tmp_path / "names.csv"
    names.write_text("Patient ID,pseudonym\nHOSP00815,sub-01\nHOSP00816,../sub 02\n")
    source = make_source(tmp_path / "source")
    survey = look(source, Options())
    run(survey, tmp_path / "out", Options(), Key(KEY.secret, read_pseudonyms(names)))
    survey.close()
    folders = {p.relative_to(tmp_path / "out").parts[0] for p in (tmp_path / "out").rglob("*.dcm")}
    assert folders == {"sub-01", "_sub_02"}
    one = next((tmp_path / "out" / "sub-01").rglob("*.dcm"))
    assert dcmread(one).PatientID == "sub-01"
    names.write_text("a,x\nb,x\n")
    with pytest.raises(BadInput, match="twice"):
        read_pseudonyms(names)


FAKE = """#!/bin/sh
cat > /dev/null
printf 'level\\tp\\tb\\tp\\tl\\tw\\tx\\ty\\tw\\th\\tconf\\ttext\\n'
printf '5\\t1\\t1\\t1\\t1\\t1\\t0\\t0\\t9\\t9\\t91\\tFERDINAND\\n'
"""


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in is a shell script")
def test_letters_in_the_pixels_are_a_warning_that_does_not_repeat_them(tmp_path, done, monkeypatch):
    from imaging import sandbox

    source, _target, _report = done
    (tmp_path / "bin").mkdir()
    fake = tmp_path / "bin" / "tesseract"
    fake.write_text(FAKE)
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}{os.pathsep}{os.environ['PATH']}")
    sandbox.close()  # workers that know the new path
    survey = look(source, Options())
    report = rehearse(survey, Options(), KEY)
    survey.close()
    sandbox.close()
    assert report.warnings == ["In 2 series there seem to be letters in the pixels: look at them."]
    assert "FERDINAND" not in report.text()
