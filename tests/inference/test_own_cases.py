"""Lists and folders of cases, and what is said about each before a training."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from own_cases import write_head, write_list, write_nifti

from imaging.errors import BadInput
from imaging.geometry import Geometry
from inference.training.own.case_check import check_cases, open_case, summary
from inference.training.own.case_list import CaseFiles, read_cases
from inference.training.own.folds import make_folds
from inference.training.own.prepared import PreparedCase


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four heads with their list."""
    folder = tmp_path_factory.mktemp("heads")
    write_list(folder, 4)
    return folder


def _sentences(notes):
    return {note.files.name: note.sentence for note in notes}


# --- lists ------------------------------------------------------------------------------------


def test_a_list_in_any_spelling(tmp_path):
    (tmp_path / "cases.csv").write_text(
        "FLAIR;Mask;T1;Subject;Site;present\na.nii.gz;m.nii.gz;t.nii.gz;7;north;yes\n;;;;;\n",
        encoding="utf-8-sig",
    )
    (case,) = read_cases(tmp_path / "cases.csv")
    assert case.image == tmp_path / "a.nii.gz"
    assert case.mask == tmp_path / "m.nii.gz"
    assert case.others == {"T1w": tmp_path / "t.nii.gz"}
    assert (case.name, case.patient, case.subgroup, case.answer) == ("a", "7", "north", True)


def test_cases_get_names_of_their_own_and_a_patient(tmp_path):
    (tmp_path / "l.csv").write_text("image,mask\nx/i.nii,x/m.nii\ny/i.nii,y/m.nii\n")
    first, second = read_cases(tmp_path / "l.csv")
    assert first.name != second.name
    assert first.patient != second.patient


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mask\nm.nii\n", "column called image"),
        ("", "column called image"),
        ("image,mask\n", "no cases here"),
        ("image,age\na.nii,7\n", "column called mask"),
        ("image,mask,pacient\na.nii,m.nii,7\n", "looks like 'patient'"),
        ("image,mask\n,m.nii\n", "Line 2"),
        ("image,answer\na.nii,perhaps\n", "must be 1 or 0"),
    ],
)
def test_a_list_that_cannot_be_read_says_why(tmp_path, text, words):
    (tmp_path / "l.csv").write_text(text)
    with pytest.raises(BadInput, match=words):
        read_cases(tmp_path / "l.csv")


def test_nothing_there(tmp_path):
    with pytest.raises(BadInput, match="no cases here"):
        read_cases(tmp_path)
    with pytest.raises(BadInput, match="no such list"):
        read_cases(tmp_path / "gone.csv")


# --- folders ----------------------------------------------------------------------------------


def test_pairs_in_a_folder(heads):
    found = read_cases(heads)
    assert [case.name for case in found] == [f"head{n}_FLAIR" for n in range(4)]
    assert all(case.mask and case.mask.name == f"{case.name}_mask.nii.gz" for case in found)


def test_an_nnunet_data_set(tmp_path, heads):
    root = tmp_path / "Dataset007_Lesions"
    (root / "imagesTr").mkdir(parents=True)
    (root / "labelsTr").mkdir()
    names = {"channel_names": {"0": "FLAIR", "1": "T1w"}, "labels": {"background": 0, "Lesion": 1}}
    (root / "dataset.json").write_text(json.dumps(names))
    image, mask = heads / "head0_FLAIR.nii.gz", heads / "head0_FLAIR_mask.nii.gz"
    for source, name in (
        (image, "imagesTr/case_001_0000"),
        (image, "imagesTr/case_001_0001"),
        (mask, "labelsTr/case_001"),
    ):
        (root / f"{name}.nii.gz").write_bytes(source.read_bytes())
    for path in (root, tmp_path):
        (case,) = read_cases(path)
        assert case.image.name == "case_001_0000.nii.gz"
        assert case.others["T1w"].name == "case_001_0001.nii.gz"
    assert open_case(case).mask.any()


def test_what_the_program_itself_exports(tmp_path, heads):
    """BIDS derivatives written by our own code are cases again."""
    from imaging.segmentation import Segment, Segmentation
    from imaging.storage.bids import write_derivatives

    opened = open_case(read_cases(heads)[0])
    volume = replace(opened.volume, source=replace(opened.volume.source, sequence="FLAIR"))
    mask = Segmentation.from_labels(
        "m", "Lesions", volume.geometry, volume.id, opened.mask.copy(),
        segments=(Segment(1, "Lesion", (255, 0, 0)),),
    )  # fmt: skip
    write_derivatives(tmp_path, "07", volume=volume, segmentation=mask, with_image=True)
    (case,) = read_cases(tmp_path)
    assert case.patient == "sub-07"
    again = open_case(case)
    assert (again.mask == opened.mask).all()
    assert np.allclose(again.volume.voxels, volume.voxels, atol=0.51)


def test_a_dicom_segmentation_beside_its_images(tmp_path, heads):
    from imaging.dicom.writing.references import imported_as_dicom
    from imaging.dicom.writing.seg import write_seg
    from imaging.segmentation import Segment, Segmentation

    opened = open_case(read_cases(heads)[0])
    (tmp_path / "case1").mkdir()
    volume = imported_as_dicom(opened.volume, tmp_path / "case1" / "images")
    mask = Segmentation.from_labels(
        "m", "Lesions", volume.geometry, volume.id, opened.mask.copy(),
        segments=(Segment(1, "Lesion", (255, 0, 0)),),
    )  # fmt: skip
    write_seg(tmp_path / "case1" / "seg.dcm", mask, volume)
    (case,) = read_cases(tmp_path)
    assert case.name == "case1"
    assert int((open_case(case).mask > 0).sum()) == int((opened.mask > 0).sum())


# --- checks -----------------------------------------------------------------------------------


def test_good_cases_are_all_used(heads):
    notes = check_cases(read_cases(heads / "cases.csv"))
    assert all(note.ok for note in notes)
    assert {note.sequence for note in notes} == {"FLAIR"}
    assert summary(notes).sentence == "4 of 4 cases can be used, of 4 people."


def test_each_fault_is_one_sentence(tmp_path):
    image, mask = write_head(tmp_path, 1)
    grid = Geometry((8, 8, 8), np.diag([5.0, 5, 5, 1]))
    other = write_nifti(tmp_path / "elsewhere.nii.gz", np.ones(grid.shape, np.uint8), grid)
    big = Geometry((32, 36, 32), np.diag([3.5, 3.5, 3.5, 1]))
    flat = write_nifti(tmp_path / "flat.nii.gz", np.full(big.shape, 5, np.int16), big)
    t2, t2_mask = write_head(tmp_path, 2)
    t2 = t2.rename(tmp_path / "sub-1_T2w.nii.gz")
    third, third_mask = write_head(tmp_path, 3)
    empty = write_nifti(
        tmp_path / "none.nii.gz", np.zeros((32, 36, 32), np.uint8),
        open_case(CaseFiles("x", third, third_mask)).volume.geometry,
    )  # fmt: skip
    copy = tmp_path / "copy_FLAIR.nii.gz"
    copy.write_bytes(image.read_bytes())
    notes = check_cases(
        [
            CaseFiles("good", image, mask, patient="a"),
            CaseFiles("gone", tmp_path / "gone.nii.gz", mask, patient="b"),
            CaseFiles("no mask", image, None, patient="a"),
            CaseFiles("grid", image, other, patient="a"),
            CaseFiles("flat", flat, mask, patient="c"),
            CaseFiles("other sequence", t2, t2_mask, patient="d"),
            CaseFiles("empty", third, empty, patient="e"),
            CaseFiles("copy", copy, mask, patient="f"),
        ],
        sequence="FLAIR",
    )
    said = _sentences(notes)
    assert [note.files.name for note in notes if note.ok] == ["good", "empty"]
    assert said["good"] == ""
    assert "not there" in said["gone"]
    assert "no mask" in said["no mask"]
    assert "another grid" in said["grid"]
    assert said["flat"]
    assert "T2w" in said["other sequence"]
    assert "without findings" in said["empty"]
    assert "same image as 'good'" in said["copy"]
    assert not any(str(tmp_path) in sentence for sentence in said.values())


def test_a_patient_in_two_folds(heads):
    cases = read_cases(heads / "cases.csv")
    same = [replace(c, patient="one", fold=f) for c, f in zip(cases, "abab", strict=True)]
    notes = check_cases(same)
    assert [note.ok for note in notes] == [True, False, True, False]
    assert "two folds" in notes[1].sentence


def test_too_few_and_nothing_to_learn(heads, tmp_path):
    (one,) = check_cases(read_cases(heads / "cases.csv")[:1])
    assert "no figures" in summary([one]).sentence
    with pytest.raises(BadInput, match="Nothing is marked"):
        summary([replace(one, positive=False)])
    with pytest.raises(BadInput, match="tell apart"):
        summary([one], classify=True)
    with pytest.raises(BadInput, match="No case can be used"):
        summary([replace(one, ok=False, sentence="It is broken.")])


# --- folds ------------------------------------------------------------------------------------


def _prepared(patient, positive=True, fold=""):
    return PreparedCase(patient, patient, "", fold, Path("."), positive)


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_every_patient_is_left_out_once(folds):
    cases = [_prepared(f"p{n // 2}", n % 4 < 2) for n in range(14)]
    made = make_folds(cases, folds, seed=3)
    assert len(made) == folds
    left_out = [patient for fold in made for patient in fold]
    assert sorted(left_out) == sorted({case.patient for case in cases})
    positive = {case.patient for case in cases if case.positive}
    assert sum(bool(fold & positive) for fold in made) == min(folds, len(positive))
    assert make_folds(cases, folds, seed=3) == made


def test_named_folds_and_single_patients():
    cases = [_prepared("a", fold="x"), _prepared("b", fold="y"), _prepared("c", fold="x")]
    assert make_folds(cases, 5, 0) == [frozenset({"a", "c"}), frozenset({"b"})]
    assert make_folds([_prepared("a")], 5, 0) == []
