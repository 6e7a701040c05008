"""Files that are damaged are told apart from those that only lie beside the images."""

from __future__ import annotations

from pathlib import Path

import pydicom
from pydicom.data import get_testdata_file

from imaging.scanning import scan
from imaging.storage.header_index import HeaderIndex


def folder_of_everything(tmp_path: Path) -> Path:
    folder = tmp_path / "study"
    folder.mkdir()
    whole = Path(str(get_testdata_file("MR_small.dcm"))).read_bytes()
    (folder / "a.dcm").write_bytes(whole)
    (folder / "cut.dcm").write_bytes(_other(tmp_path, whole)[:-3000])
    (folder / "empty.dcm").touch()
    (folder / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    (folder / "copy.dcm").write_bytes(whole)
    (folder / "LICENCE").write_text("You may. " * 100)
    (folder / "report.pdf").write_bytes(b"%PDF-1.4" + bytes(900))
    (folder / "picture.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(900))
    return folder


def _other(tmp_path: Path, whole: bytes) -> bytes:
    path = tmp_path / "other.dcm"
    path.write_bytes(whole)
    image = pydicom.dcmread(path)
    image.SOPInstanceUID = f"{image.SOPInstanceUID}.2"
    image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
    image.save_as(path)
    return path.read_bytes()


def test_damaged_files_are_marked_and_others_are_not(tmp_path) -> None:
    with scan([folder_of_everything(tmp_path)]) as found:
        marks = {Path(problem.path).name: problem.damaged for problem in found.problems}
    assert marks == {
        "cut.dcm": True, "empty.dcm": True, "broken.dcm": True,
        "copy.dcm": False, "LICENCE": False, "report.pdf": False, "picture.png": False,
    }  # fmt: skip


def test_a_remembered_scan_says_the_same(tmp_path) -> None:
    folder = folder_of_everything(tmp_path)
    seen = []
    for _ in range(2):
        with HeaderIndex(tmp_path / "index") as index, scan([folder], remembered=index) as found:
            seen.append(sorted(found.problems))
    assert seen[0] == seen[1]
    assert sum(problem.damaged for problem in seen[1]) == 3
