"""Decoders start with the program where images were compressed the last time, and only there."""

from __future__ import annotations

import sys
from pathlib import Path

import psutil
import pytest

from app.settings import Settings, load
from imaging import sandbox

sys.path.append(str(Path(__file__).parents[1] / "imaging"))


def workers() -> int:
    children = psutil.Process().children()
    return sum("imaging.sandbox.worker" in child.cmdline() for child in children)


@pytest.fixture(autouse=True)
def none_from_before():
    sandbox.close()
    yield
    sandbox.close()


@pytest.fixture
def folders(tmp_path) -> tuple[Path, Path]:
    """The same slices plain and compressed."""
    from dicom_phantoms import Maker, Plan, at_height, stored_values
    from encoded_pixels import RLE, code_stream, fill, save

    plain, packed = tmp_path / "plain", tmp_path / "packed"
    for folder in (plain, packed):
        folder.mkdir()
    Maker(plain).stack([3.0 * k for k in range(5)])
    maker = Maker(packed)
    for k in range(5):
        plan = at_height(Plan(), 3.0 * k)
        data = maker.dataset(plan)
        fill(data, RLE, [code_stream(RLE, stored_values(plan))])
        save(data, packed / f"{k}")
    return plain, packed


def test_what_the_last_study_needed_is_remembered(start, folders) -> None:
    plain, packed = folders
    hand = start()
    hand.wait(lambda: "vtkmodules.vtkImagingCore" in sys.modules, 20)
    hand.open(plain)
    assert workers() == 0
    assert not hand.program.settings.compressed
    hand.program.cases.close()
    hand.open(packed)
    hand.wait(lambda: load()[0].compressed)
    hand.program.cases.close()
    hand.open(plain)
    hand.wait(lambda: not load()[0].compressed)


def test_decoders_are_ready_before_the_first_study(start) -> None:
    hand = start(Settings(compressed=True))
    hand.wait(lambda: workers() == sandbox.workers(), 30)
