"""Discs open by their folder; the table of contents only says what should be there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pydicom.data
import pytest
from dicom_phantoms import Maker, Plan

from imaging.dicom.header.media import is_dicomdir, names_in_worker, what_is_missing
from imaging.open import scan

DISC = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests"
pytestmark = pytest.mark.filterwarnings("ignore")
VARIANTS = ("DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-implicit", "DICOMDIR-nooffset",
            "DICOMDIR-nopatient", "DICOMDIR-reordered")  # fmt: skip


@pytest.fixture
def disc(tmp_path: Path) -> Path:
    """A disc of three slices whose table of contents a test may change."""
    folder = tmp_path / "disc"
    folder.mkdir()
    Maker(folder).stack([0.0, 3.0, 6.0])
    for number, path in enumerate(sorted(folder.iterdir()), 1):
        path.rename(folder / f"IM{number}")
    table = pydicom.dcmread(DISC / "DICOMDIR")
    images = [r for r in table.DirectoryRecordSequence if "ReferencedFileID" in r][:3]
    for number, record in enumerate(images, 1):
        record.ReferencedFileID = f"IM{number}"
    table.DirectoryRecordSequence = images
    table.save_as(folder / "DICOMDIR")
    return folder


def change(disc: Path, number: int, file_id: object) -> None:
    table = pydicom.dcmread(disc / "DICOMDIR")
    table.DirectoryRecordSequence[number].ReferencedFileID = file_id
    table.save_as(disc / "DICOMDIR")


@pytest.mark.parametrize("name", VARIANTS)
def test_every_variant_names_the_same_files(name: str) -> None:
    assert is_dicomdir(str(DISC / name))
    assert len(names_in_worker(str(DISC / name))) == 31
    assert what_is_missing(str(DISC / name)) == ""


def test_an_empty_table_promises_nothing() -> None:
    assert what_is_missing(str(DISC / "DICOMDIR-empty.dcm")) == ""


@pytest.mark.parametrize("name", ["DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-nopatient"])
def test_dropping_any_variant_opens_its_folder(name: str) -> None:
    with scan([DISC / name]) as result, scan([DISC]) as whole:
        assert [s.key for s in result.series] == [s.key for s in whole.series]
        assert len(result.series) >= 5


def test_a_whole_disc_has_nothing_to_say(disc: Path) -> None:
    with scan([disc / "DICOMDIR"]) as result:
        assert result.series[0].shape[0] == 3
        assert result.problems == ()


def test_missing_files_are_counted(disc: Path) -> None:
    (disc / "IM2").unlink()
    for path in (disc, disc / "DICOMDIR"):
        with scan([path]) as result:
            (problem,) = result.problems
        assert problem.reason == "1 of the 3 files named in the DICOMDIR are not there."
        assert Path(problem.path).name == "DICOMDIR"


def test_names_in_another_case_are_found(disc: Path) -> None:
    (disc / "IM3").rename(disc / "im3")
    assert what_is_missing(str(disc / "DICOMDIR")) == ""


@pytest.mark.parametrize(
    "file_id", [["..", "..", "etc", "passwd"], "/etc/passwd", ["C:", "x"], ["a"] * 40, ["..\\x"]]
)
def test_names_that_lead_out_are_counted_and_not_followed(disc: Path, file_id: object) -> None:
    change(disc, 1, file_id)
    sentence = what_is_missing(str(disc / "DICOMDIR"))
    assert sentence == "1 file named in the DICOMDIR is outside its folder."


def test_links_that_lead_out_are_not_followed(disc: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    Maker(elsewhere).write(Plan(), "IM9")
    (disc / "LINK").symlink_to(elsewhere)
    change(disc, 1, ["LINK", "IM9"])
    assert "outside its folder" in what_is_missing(str(disc / "DICOMDIR"))
    with scan([disc / "DICOMDIR"]) as result:
        assert result.series[0].shape[0] == 3


def test_a_damaged_table_does_not_hide_the_images(disc: Path) -> None:
    raw = (disc / "DICOMDIR").read_bytes()
    at = raw.index(b"\x04\x00\x20\x12SQ")
    (disc / "DICOMDIR").write_bytes(raw[:at] + b"\xff" * 400)
    with scan([disc]) as result:
        assert result.series[0].shape[0] == 3
        assert [p for p in result.problems if "DICOMDIR" in p.path]


def test_a_disc_in_another_place(disc: Path, tmp_path: Path) -> None:
    shutil.copytree(disc, tmp_path / "copy")
    assert what_is_missing(str(tmp_path / "copy" / "DICOMDIR")) == ""
