"""Names come out in their own letters, also where the file forgot to say which ones."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pydicom.data
import pytest
from dicom_phantoms import Maker, Plan

from imaging.dicom.header.charsets import (
    NAME_CHARSETS,
    NAME_SCRIPTS,
    decode_text,
    is_unsure,
    names_in_doubt,
    reread,
)
from imaging.dicom.header.read import read_header
from imaging.dicom.stacks.describe import study_of
from imaging.open import scan
from imaging.storage.header_index import HeaderIndex

FILES = sorted((Path(pydicom.data.__file__).parent / "charset_files").glob("*.dcm"))
pytestmark = pytest.mark.filterwarnings("ignore")
SAMPLES = {
    "arabic": "قباني^لنزار", "central-european": "Dvořák^Antonín", "chinese": "王^小东",
    "cyrillic": "Люкceмбypг", "cyrillic-windows": "Чайковский^Пётр", "greek": "Διονυσιος",
    "hebrew": "שרון^דבורה", "japanese": "山田^太郎", "korean": "김^희중", "thai": "สมชาย",
    "turkish": "Çavuşoğlu^İbrahim", "western": "Buc^Jérôme",
}  # fmt: skip


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_charset_files_of_pydicom(path: Path) -> None:
    data = pydicom.dcmread(path)
    if "PatientName" not in data:
        pytest.skip("the name is inside a sequence, which no viewer shows")
    data.decode()
    header = read_header(str(path))
    assert header.human(0x00100010).rstrip("=") == str(data.PatientName).rstrip("=")
    name = study_of(header).source.patient.name
    assert "^" not in name
    assert "\ufffd" not in name


def unsaid(folder: Path, name: bytes) -> Path:
    """A file with a name in some bytes and no character set."""
    path = Maker(folder).write(Plan(), PatientName="N" * len(name))
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"N" * len(name), name, 1))
    return path


@pytest.mark.parametrize("script", NAME_CHARSETS)
def test_a_chosen_script_is_used_where_the_file_says_none(tmp_path: Path, script: str) -> None:
    raw = SAMPLES[script].encode(NAME_CHARSETS[script])
    path = unsaid(tmp_path, raw + b" " * (len(raw) % 2))
    with scan([path], names_as=script) as result:
        name = result.series[0].source.patient.name
        assert name == ", ".join(SAMPLES[script].split("^"))
        (note,) = [p for p in result.series[0].problems if "name is read as" in p]
        assert NAME_SCRIPTS[script] in note
        assert names_in_doubt(result.series[0].problems)


def test_without_a_choice_it_is_said(tmp_path: Path) -> None:
    path = unsaid(tmp_path, "김^희중".encode("euc_kr"))
    with scan([path]) as result:
        assert any("wrong letters" in problem for problem in result.series[0].problems)
        shown = result.series[0].source.patient.name.replace(", ", "^")
        assert names_in_doubt(result.series[0].problems)
    assert reread(shown, "korean") == "김^희중"


def test_every_script_has_words_for_a_menu() -> None:
    assert set(NAME_SCRIPTS) == set(NAME_CHARSETS)
    assert len(set(NAME_SCRIPTS.values())) == len(NAME_CHARSETS)


@pytest.mark.parametrize("was", ["", "cyrillic", "western", "greek"])
def test_a_name_read_in_a_wrong_script_can_be_read_again(was: str) -> None:
    raw = SAMPLES["greek"].encode("iso8859_7")
    shown = decode_text(raw, (), was)
    assert reread(shown, "greek", was) == SAMPLES["greek"]


def test_files_that_say_their_character_set_leave_no_doubt(tmp_path: Path) -> None:
    path = Maker(tmp_path).write(
        Plan(), SpecificCharacterSet="ISO_IR 100", PatientName="Buc^Jérôme"
    )
    with scan([path], names_as="greek") as result:
        assert not names_in_doubt(result.series[0].problems)


def test_utf8_is_recognised_by_itself(tmp_path: Path) -> None:
    raw = "Müller^Jörg".encode()
    path = unsaid(tmp_path, raw + b" " * (len(raw) % 2))
    with scan([path], names_as="korean") as result:
        assert result.series[0].source.patient.name == "Müller, Jörg"
    assert not is_unsure(raw, ())


def test_what_the_file_says_comes_before_the_choice(tmp_path: Path) -> None:
    path = Maker(tmp_path).write(
        Plan(), SpecificCharacterSet="ISO_IR 100", PatientName="Buc^Jérôme"
    )
    with scan([path], names_as="cyrillic") as result:
        assert result.series[0].source.patient.name == "Buc, Jérôme"


def test_bytes_that_fit_nothing_are_text_all_the_same() -> None:
    assert decode_text(b"\xff\xfe\x80", ("ISO_IR 192",))
    assert decode_text(b"\xff\xfe\x80", ("no such set",))
    assert decode_text(b"\x1b$)C\xb1", ("", "ISO 2022 IR 149"))


def test_remembered_headers_are_kept_apart_by_script(tmp_path: Path) -> None:
    import os

    folder = tmp_path / "images"
    folder.mkdir()
    path = unsaid(folder, "김^희중".encode("euc_kr"))
    os.utime(path, (1_600_000_000, 1_600_000_000))
    names = []
    with HeaderIndex(tmp_path / "cache", settled_s=0.0) as remembered:
        for script in ("", "korean", "", "korean"):
            with scan([folder], remembered=remembered, names_as=script) as result:
                names.append(result.series[0].source.patient.name)
    assert names[1] == names[3] == "김, 희중"
    assert names[0] == names[2] != names[1]
