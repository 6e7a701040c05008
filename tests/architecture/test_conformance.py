"""The tables of docs/conformance.md say what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydicom.uid import UID, AllTransferSyntaxes

from imaging.dicom.header.tags import NATIVE_SYNTAXES
from imaging.dicom.objects import object_file
from imaging.dicom.pixels import codestream
from imaging.dicom.writing import key_image, rtstruct, sr, write
from imaging.series import Encoding

PAGE = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")


def rows(heading: str) -> list[list[str]]:
    """Cells of the table rows below a heading, up to the next heading."""
    part = re.split(r"^#+ ", PAGE.split(heading, 1)[1], maxsplit=1, flags=re.MULTILINE)[0]
    lines = [line for line in part.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def encoded(syntax: str) -> Encoding:
    native = syntax in NATIVE_SYNTAXES
    return Encoding(syntax, 8, 8, 16, 16, 15, False, encapsulated=not native)


SYNTAXES = {row[1]: row for row in rows("## 3. Transfer syntaxes")}


@pytest.mark.parametrize("syntax", [str(uid) for uid in AllTransferSyntaxes])
def test_a_transfer_syntax_is_listed_where_it_is_read(syntax: str) -> None:
    readable = not codestream.undecodable_reason(encoded(syntax))
    assert readable == (SYNTAXES.get(syntax, [""] * 4)[2] == "yes")


@pytest.mark.parametrize("row", SYNTAXES.values(), ids=SYNTAXES)
def test_syntaxes_have_their_real_names(row: list[str]) -> None:
    words = re.findall(r"[a-z0-9]+", row[0].lower())
    known = re.findall(r"[a-z0-9]+", UID(row[1]).name.lower())
    assert set(words) <= {*known, "frame", "compression", "deflated", "image", "sv1"}


def test_written_classes_are_those_of_the_writers() -> None:
    listed = {row[1] for row in rows("### 2.3 Written")}
    assert listed == {
        *object_file.SEG_CLASSES,
        object_file.MAP_CLASS,
        sr.COMPREHENSIVE_3D_SR,
        rtstruct.STRUCTURE_SET,
        key_image.SECONDARY_CAPTURE,
        write.MR_IMAGE,
    }


def test_object_classes_are_those_of_the_readers() -> None:
    listed = {row[1].rstrip("*") for row in rows("### 2.2 Read")}
    assert listed == {
        *object_file.SEG_CLASSES,
        object_file.MAP_CLASS,
        object_file.STRUCTURE_CLASS,
        object_file.REPORT_FAMILY,
    }


@pytest.mark.parametrize("section", ["### 2.1 Read", "### 2.2 Read", "### 2.3 Written"])
def test_classes_have_their_real_names(section: str) -> None:
    for name, uid, *_ in rows(section):
        if not uid.endswith("*"):
            known = UID(uid).name
            assert known == uid or known in name or name.split(" (")[0] == known
