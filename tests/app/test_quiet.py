"""What libraries say of a header, which may name a patient, is printed by no way in."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

_WINDOW = """
import sys
from app import __main__ as program
from imaging.open import scan

def open_window(paths):
    with scan(paths) as result:
        print(len(result.series))
    return 0

program.open_window = open_window
sys.exit(program.main(sys.argv[1:]))
"""


@pytest.fixture
def odd_file(tmp_path: Path) -> Path:
    """An image whose character set nobody knows."""
    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SpecificCharacterSet = "ISO_IR 100"
    data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, generate_uid()
    data.StudyInstanceUID, data.SeriesInstanceUID = generate_uid(), generate_uid()
    data.Modality, data.PatientName = "MR", "Müller^Canary"
    data.Rows = data.Columns = 4
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 16, 15
    data.SamplesPerPixel, data.PixelRepresentation = 1, 0
    data.PhotometricInterpretation = "MONOCHROME2"
    data.PixelData = bytes(32)
    path = tmp_path / "images" / "a.dcm"
    path.parent.mkdir()
    data.save_as(path, enforce_file_format=True)
    path.write_bytes(path.read_bytes().replace(b"ISO_IR 100", b"MUELLERJAN"))
    return path


@pytest.mark.parametrize("way", [["-m", "app", "scan"], ["-c", _WINDOW]], ids=["scan", "window"])
def test_an_unknown_character_set_is_not_quoted(odd_file: Path, way: list[str]) -> None:
    command = [sys.executable, *way, str(odd_file.parent)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, cwd=Path(__file__).parents[2]
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    assert "MUELLER" not in done.stderr
    assert "arning" not in done.stderr
