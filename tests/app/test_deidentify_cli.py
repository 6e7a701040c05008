"""``isocenter deidentify`` as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread

from app.__main__ import main
from imaging.dicom.writing.write import mr_template, write_mr_series
from imaging.geometry import Geometry
from imaging.volume import Patient, Volume


@pytest.fixture
def source(tmp_path) -> Path:
    """Three slices of somebody."""
    voxels = np.arange(3 * 6 * 5, dtype=np.uint16).reshape(3, 6, 5)
    affine = np.array([[0, 0, 2, 0], [0, 2, 0, 0], [5, 0, 0, 0], [0, 0, 0, 1]], float)
    person = Patient("Quux^Ferdinand", "HOSP00815", "19510607", "M")
    study = {"StudyDate": "20240229"}
    template = mr_template(person, study_uid="1.2.3", frame_of_reference="1.2.4", study=study)
    template.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    volume = Volume("v", "v", voxels, Geometry(voxels.shape, affine))
    (tmp_path / "in").mkdir()
    write_mr_series(tmp_path / "in" / "Ferdinand", volume, template, sync=False)
    return tmp_path / "in"


def typed(capsys, *words) -> tuple[int, str, str]:
    code = main(["deidentify", *map(str, words)])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_copies_are_written_and_the_key_is_told(capsys, source, tmp_path) -> None:
    key = tmp_path / "key.json"
    code, out, err = typed(capsys, source, tmp_path / "out", "--key", key)
    assert code == 0
    assert "3 files were written, read back and searched" in out
    assert "A new key was made" in err
    copies = sorted((tmp_path / "out").rglob("*.dcm"))
    assert len(copies) == 3
    assert dcmread(copies[0]).StudyDate == ""
    code, out, err = typed(capsys, source, tmp_path / "out", "--key", key)
    assert code == 0
    assert "3 were there already" in out
    assert err == ""


def test_options_reach_the_files(capsys, source, tmp_path) -> None:
    key = tmp_path / "key.json"
    options = ("--keep-dates", "--keep-uids", "--keep-characteristics", "--key", key)
    typed(capsys, source, tmp_path / "out", *options)
    ds = dcmread(next((tmp_path / "out").rglob("0001-*.dcm")))
    assert (ds.StudyDate, ds.PatientSex, ds.StudyInstanceUID) == ("20240229", "M", "1.2.3")
    assert ds.PatientBirthDate == ""
    assert str(ds.PatientName).startswith("ANON-")


def test_refused_files_make_the_exit_code(capsys, source, tmp_path) -> None:
    path = next(source.rglob("*.dcm"))
    ds = dcmread(path)
    ds.BurnedInAnnotation = "YES"
    ds.save_as(path)
    key = tmp_path / "key.json"
    code, out, _err = typed(capsys, source, tmp_path / "out", "--key", key)
    assert code == 1
    assert "1 were refused" in out
    assert "text is burned into the pixels" in out
    code, _out, _err = typed(capsys, source, tmp_path / "other", "--key", key, "--pixels-checked")
    assert code == 0


def test_files_can_be_spoken_for_one_by_one(capsys, source, tmp_path) -> None:
    first, second, _third = sorted(source.rglob("*.dcm"))
    for path in (first, second):
        ds = dcmread(path)
        ds.BurnedInAnnotation = "YES"
        ds.save_as(path)
    listed = tmp_path / "looked at.txt"
    listed.write_text(f"# mine\n{first}\n")
    words = (source, tmp_path / "out", "--key", tmp_path / "key.json")
    code, out, _err = typed(capsys, *words, "--checked", listed)
    assert code == 1
    assert "2 files were written" in out
    assert "1 were refused" in out
    said = {ds.get("BurnedInAnnotation") for ds in map(dcmread, (tmp_path / "out").rglob("*.dcm"))}
    assert said == {None, "NO"}
    code, out, _err = typed(capsys, *words, "--checked", dcmread(second).SeriesInstanceUID)
    assert code == 0
    assert "1 files were written" in out
    code, _out, err = typed(capsys, *words, "--checked", "that one")
    assert code == 1
    assert "neither the UID of a series nor a file" in err


def test_a_person_may_say_that_there_is_no_face(capsys, source, tmp_path) -> None:
    words = (source, tmp_path / "out", "--key", tmp_path / "key.json", "--deface")
    code, out, _err = typed(capsys, *words)
    assert code == 1
    assert "say that it shows no face" in out
    code, out, _err = typed(capsys, *words, "--no-face", source)
    assert code == 0
    assert "3 were said to show no face" in out
    codes = dcmread(next((tmp_path / "out").rglob("*.dcm"))).DeidentificationMethodCodeSequence
    assert "113102" not in [item.CodeValue for item in codes]


def test_a_dry_run_writes_nothing(capsys, source, tmp_path) -> None:
    key = tmp_path / "key.json"
    code, out, _err = typed(capsys, source, tmp_path / "out", "--dry-run", "--json", "--key", key)
    table = json.loads(out)
    assert code == 0
    assert (table["dry_run"], table["written"]) == (True, 3)
    assert {"attribute": "(0010,0020) Patient ID", "action": "pseudonym", "count": 3} in table[
        "actions"
    ]
    assert not key.exists()
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--keep-dates", "--shift-dates"), 2, "exclude each other"),
        (("--key", "in/Ferdinand/0001.dcm"), 1, "key"),
    ],
)
def test_misuse_is_one_sentence(capsys, source, tmp_path, words, code, said) -> None:
    words = [str(tmp_path / w) if w.startswith("in/") else w for w in words]
    got, _out, err = typed(capsys, source, tmp_path / "out", *words)
    assert got == code
    assert said in err
    assert len(err.strip().splitlines()) == 1
    assert not list((tmp_path).glob("out/**/*.dcm"))


def test_a_source_that_is_not_there_is_one_sentence(capsys, tmp_path) -> None:
    code, _out, err = typed(capsys, tmp_path / "nowhere", tmp_path / "out")
    assert code == 1
    assert err.strip().endswith("nowhere.")
