"""The command line on 4D series and uneven stacks: it asks which image, and stretches nothing."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom import dcmread

from app import cli
from imaging.dicom.writing.derived import write_derived_series
from imaging.geometry import Geometry
from imaging.volume import Volume

GRID = Geometry((6, 8, 9), [[0, 0, 1.5, 4], [0, 2.0, 0, 3], [3.0, 0, 0, 2], [0, 0, 0, 1.0]])


@pytest.fixture
def run(capsys):
    """Runs a verb: exit code, stdout and stderr."""

    def call(*words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        return (code, *capsys.readouterr())

    return call


def ramp(add: int) -> Volume:
    voxels = np.arange(np.prod(GRID.shape), dtype=np.int16).reshape(GRID.shape) + add
    return Volume("v", "ramp", voxels, GRID)


@pytest.fixture
def times(tmp_path) -> Path:
    """One series of two time points."""
    folder = tmp_path / "times"
    folder.mkdir()
    for time in (1, 2):
        for file in write_derived_series(tmp_path / f"t{time}", ramp(1000 * time)):
            data = dcmread(file)
            data.StudyInstanceUID, data.SeriesInstanceUID = "1.2.826.5", "1.2.826.6"
            data.TemporalPositionIdentifier = time
            data.save_as(folder / f"{time}-{Path(file).name}")
    return folder


@pytest.fixture
def gap(tmp_path) -> Path:
    """A series that lost a slice."""
    Path(write_derived_series(tmp_path / "gap", ramp(0))[3]).unlink()
    return tmp_path / "gap"


def test_scan_lists_the_images_of_a_series(run, times) -> None:
    code, out, _ = run("scan", times, "--json")
    (series,) = json.loads(out)["series"]
    assert code == 0
    assert series["images"] == ["time point 1", "time point 2"]
    assert series["images_differ_in"] == "time point"
    assert series["shape_ijk"] == [9, 8, 6]
    assert "9×8×6 ×2" in run("scan", times)[1]


def test_scan_claims_no_grid_for_uneven_slices(run, gap) -> None:
    (series,) = json.loads(run("scan", gap, "--json")[1])["series"]
    assert not series["regular"]
    assert series["affine_kji_to_lps_mm"] is None
    assert series["spacing_ijk_mm"] == [1.5, 2.0, None]
    assert "1.5×2×uneven" in run("scan", gap)[1]


def test_convert_writes_all_images_or_the_one_that_is_asked_for(run, times, tmp_path) -> None:
    code, said, _ = run("convert", times, "-o", tmp_path / "all.nii.gz")
    assert code == 0
    assert "9×8×6 voxels × 2 images" in said
    everything = np.asanyarray(nib.load(tmp_path / "all.nii.gz").dataobj)
    assert everything.shape == (9, 8, 6, 2)
    assert [int(everything[..., n].min()) for n in (0, 1)] == [1000, 2000]
    out = tmp_path / "one.nii.gz"
    code, _, err = run("convert", times, "-o", out, "--image", "3")
    assert code == 1
    assert "holds 2 images" in err
    assert "2 = time point 2" in err
    assert not out.exists()
    assert run("convert", times, "-o", out, "--image", "2")[0] == 0
    assert np.array_equal(np.asanyarray(nib.load(out).dataobj), everything[..., 1])


def test_a_model_wants_to_know_which_image(run, times, tmp_path) -> None:
    pytest.importorskip("torch", reason="the AI extra is not installed")
    code, _, err = run("segment", times, "--model", "flair-wml", "-o", tmp_path / "out")
    assert code == 1
    assert "Choose one with --image: 1 = time point 1; 2 = time point 2" in err


def test_convert_makes_slices_even_only_when_it_is_told_to(run, gap, tmp_path) -> None:
    out = tmp_path / "x.nii.gz"
    code, _, err = run("convert", gap, "-o", out)
    assert code == 1
    assert "--even" in err
    assert not out.exists()
    code, _, err = run("convert", gap, "-o", out, "--even")
    assert code == 0
    assert "made up across a gap of 6.0 mm" in err
    data = np.asanyarray(nib.load(out).dataobj).transpose(2, 1, 0)
    assert np.array_equal(data, ramp(0).voxels)  # a ramp is straight across its gap


def test_an_even_series_of_one_image_needs_neither_option(run, tmp_path) -> None:
    write_derived_series(tmp_path / "plain", ramp(0))
    out = tmp_path / "x.nii.gz"
    assert run("convert", tmp_path / "plain", "-o", out, "--image", "2")[0] == 1
    assert run("convert", tmp_path / "plain", "-o", out, "--image", "1", "--even")[0] == 0
    assert out.is_file()


def test_text_of_files_that_name_no_script_is_read_as_asked(run, tmp_path):
    path = Path(write_derived_series(tmp_path / "korean", ramp(0))[0])
    data = dcmread(path)
    data.SeriesDescription = "D" * 8
    del data.SpecificCharacterSet
    data.save_as(path)
    korean = "머리검사".encode("euc_kr")
    path.write_bytes(path.read_bytes().replace(b"D" * 8, korean, 1))
    code, out, _ = run("scan", path, "--names-as", "korean", "--json")
    assert code == 0
    assert json.loads(out)["series"][0]["description"] == "머리검사"
    code, _, err = run("scan", path, "--names-as", "klingon")
    assert code == 1
    assert "There is no script called 'klingon'" in err
    assert "korean" in err


def test_a_model_says_how_uneven_slices_become_even(run, gap, tmp_path) -> None:
    pytest.importorskip("torch")
    code, _, err = run("segment", gap, "--model", "flair-wml", "-o", tmp_path / "out")
    assert code == 1
    assert "Add --even" in err


def test_a_folder_of_other_files_says_that_all_are(run, tmp_path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text("words " * 40)
    (tmp_path / "empty.dcm").touch()
    assert "3 of 4 files: This is not a DICOM" in run("convert", tmp_path, "-o", "x.nii")[2]
    (tmp_path / "empty.dcm").unlink()
    err = run("convert", tmp_path, "-o", "x.nii")[2]
    assert "All 3 files: This is not a DICOM" in err
    assert "About" not in err
