"""The command line as a person or a script uses it."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from app import cli
from imaging.analysis.morphology import draft_mask
from imaging.dicom.writing.derived import write_derived_series
from imaging.geometry import Geometry
from imaging.open import load_series, scan
from imaging.storage import nifti
from imaging.volume import Volume

ROOT = Path(__file__).resolve().parents[2]


class Shell:
    """Runs verbs in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def __call__(self, *words: object) -> tuple[int, str, str]:
        code = cli.main([str(word) for word in words])
        out, err = self._capsys.readouterr()
        return code, out, err

    def json(self, *words: object) -> dict:
        code, out, err = self(*words, "--json")
        assert code == 0, err
        return json.loads(out)


@pytest.fixture
def shell(capsys):
    return Shell(capsys)


def ramp(shape=(12, 14, 16)) -> Volume:
    affine = np.array([[0, 0, -1.5, 20], [0, -2.0, 0, 30], [3.0, 0, 0, 5], [0, 0, 0, 1.0]])
    voxels = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    return Volume("v", "Ramp", voxels, Geometry(shape, affine))


@pytest.fixture
def study(tmp_path):
    """A folder with one DICOM series, one NIfTI file and one file that is neither."""
    folder = tmp_path / "study"
    folder.mkdir()
    write_derived_series(folder / "series", ramp(), description="Ramp in DICOM")
    nifti.write_volume(folder / "other.nii.gz", ramp((8, 9, 10)))
    (folder / "notes.txt").write_text("nothing to see")
    return folder


def refused(shell: Shell, *words: object, code: int = 1) -> str:
    """The one sentence of a refusal; the same one in text and in JSON."""
    got, out, err = shell(*words)
    assert got == code
    assert out == ""
    lines = err.strip().splitlines()
    assert len(lines) == 1, err
    assert "Traceback" not in err
    got, out, _ = shell(*words, "--json")
    assert got == code
    assert f"isocenter: {json.loads(out)['error']}" == lines[0]
    return lines[0]


# --- scan ------------------------------------------------------------------------------------
def test_scan_lists_series_grids_and_problems(shell, study):
    listed = shell.json("scan", study)
    by_kind = {series["kind"]: series for series in listed["series"]}
    assert set(by_kind) == {"dicom", "nifti"}
    dicom = by_kind["dicom"]
    assert dicom["shape_ijk"] == [16, 14, 12]
    assert dicom["spacing_ijk_mm"] == [1.5, 2.0, 3.0]
    assert dicom["axes_ijk"] == "RAS"
    assert np.allclose(dicom["affine_kji_to_lps_mm"], ramp().geometry.affine, atol=1e-4)
    assert dicom["files"] == 12
    assert dicom["usable_by_models"] is True
    assert dicom["plane"]
    assert 0 <= dicom["sequence_confidence"] <= 1
    assert bool(dicom["sequence"]) <= bool(dicom["sequence_why"])
    assert [Path(p["file"]).name for p in listed["problems"]] == ["notes.txt"]


def test_scan_gives_the_distance_of_shifted_slices_along_their_normal(shell, tmp_path):
    affine = ramp().geometry.affine.copy()
    affine[:3, 0] += 1.2 * ramp().geometry.directions[:, 1]
    shifted = replace(ramp(), geometry=Geometry(ramp().geometry.shape, affine))
    nifti.write_volume(tmp_path / "a.nii", shifted)
    (series,) = shell.json("scan", tmp_path)["series"]
    assert series["spacing_ijk_mm"] == pytest.approx([1.5, 2.0, 3.0], abs=1e-3)


def test_scan_as_text_names_the_same_things(shell, study):
    code, out, err = shell("scan", study)
    assert code == 0
    assert err == ""
    assert "16×14×12" in out
    assert "Ramp in DICOM" in out
    assert "notes.txt: This is not a DICOM, NIfTI, NRRD or MetaImage file." in out


def test_a_name_that_looks_like_markup_is_printed_as_it_is(shell, tmp_path):
    write_derived_series(tmp_path / "s", ramp(), description="T1 [bold]post[/bold]")
    assert "T1 [bold]post[/bold]" in shell("scan", tmp_path)[1]


def test_masks_are_listed_apart_and_can_be_converted(shell, study, tmp_path):
    mask = (ramp((8, 9, 10)).voxels > 300).astype(np.uint8)
    geometry = ramp((8, 9, 10)).geometry
    nifti.write_volume(study / "other_seg.nii.gz", Volume("m", "m", mask, geometry))
    listed = shell.json("scan", study)
    assert len(listed["series"]) == 2
    (found,) = listed["objects"]
    assert (found["kind"], found["title"], found["details"]) == ("labels", "other_seg", "1 label")
    code, out, _ = shell("scan", study)
    assert code == 0
    assert "other_seg" in out
    assert found["id"][:12] in out
    shell.json("convert", study, "-o", tmp_path / "m.nrrd", "--series", found["id"])
    with scan([tmp_path / "m.nrrd"]) as again:
        assert (load_series(again.series[0]).voxels == mask).all()


@pytest.mark.parametrize("name", ["a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.nii"])
def test_every_file_format_is_listed_and_converted(shell, tmp_path, name):
    import SimpleITK as sitk

    folder = tmp_path / "in"
    folder.mkdir()
    values = np.arange(120, dtype=np.int16).reshape(4, 5, 6)
    sitk.WriteImage(sitk.GetImageFromArray(values), str(folder / name))
    (series,) = shell.json("scan", folder)["series"]
    assert series["shape_ijk"] == [6, 5, 4]
    out = tmp_path / "out.nii.gz"
    shell.json("convert", folder / name, "-o", out)
    assert (sitk.GetArrayFromImage(sitk.ReadImage(str(out))) == values).all()


def test_nothing_to_scan_is_one_sentence(shell, tmp_path):
    assert "no such file or folder" in refused(shell, "scan", tmp_path / "nowhere")
    assert "no images here" in refused(shell, "scan", tmp_path)
    (tmp_path / "a.txt").write_text("x")
    assert "not a DICOM, NIfTI, NRRD or MetaImage file" in refused(shell, "scan", tmp_path)


def test_a_bar_is_drawn_on_a_terminal_and_only_on_stderr(shell, study, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm")  # a dumb terminal gets no bar
    _, out, err = shell("scan", study, "--json")
    assert "Reading headers" in err
    json.loads(out)


@pytest.mark.parametrize(
    ("folder", "count", "shape"),
    [("dicom_ge_mprage", 1, [256, 256, 130]), ("dicom_enhanced_small", 6, [64, 64, 32])],
)
def test_real_scanner_files_are_listed(shell, shared_data, folder, count, shape):
    listed = shell.json("scan", shared_data / folder)
    assert len(listed["series"]) == count
    assert listed["series"][0]["shape_ijk"] == shape
    assert len({series["id"] for series in listed["series"]}) == count


# --- convert ---------------------------------------------------------------------------------
@pytest.mark.parametrize("name", ["out.nii.gz", "out.nii", "out.nrrd", "out.mha"])
def test_convert_keeps_voxels_and_place_for_an_independent_reader(shell, study, tmp_path, name):
    import SimpleITK as sitk

    uid = next(s["id"] for s in shell.json("scan", study)["series"] if s["kind"] == "dicom")
    target = tmp_path / name
    done = shell.json("convert", study, "-o", target, "--series", uid)
    assert done["written"] == [str(target)]
    image = sitk.ReadImage(str(target))
    volume = ramp()
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), volume.voxels)
    for index in ((0, 0, 0), (11, 0, 0), (0, 13, 0), (0, 0, 15), (11, 13, 15)):
        place = image.TransformIndexToPhysicalPoint([int(n) for n in reversed(index)])
        assert place == pytest.approx(tuple(volume.geometry.world(index)), abs=1e-3)


def test_a_real_oblique_series_keeps_its_place(shell, shared_data, tmp_path):
    import SimpleITK as sitk

    folder = shared_data / "dicom_ge_mprage"
    target = tmp_path / "head.nii.gz"
    shell.json("convert", folder, "-o", target)
    slices = folder / "In" / "05_3D_Ax_T1_MP_RAGE_R22"
    reader = sitk.ImageSeriesReader()
    names = reader.GetGDCMSeriesFileNames(str(slices), reader.GetGDCMSeriesIDs(str(slices))[0])
    reader.SetFileNames(names)
    expected, got = reader.Execute(), sitk.ReadImage(str(target))
    assert got.GetSize() == expected.GetSize()
    for index in ((10, 20, 30), (200, 100, 3), (128, 128, 64)):
        place = expected.TransformIndexToPhysicalPoint(index)
        there = got.TransformPhysicalPointToIndex(place)
        assert got.GetPixel(*there) == expected.GetPixel(*index)
        assert got.TransformIndexToPhysicalPoint(there) == pytest.approx(place, abs=0.02)


def test_convert_refuses_what_it_cannot_do_rightly(shell, study, tmp_path):
    out = tmp_path / "out.nii.gz"
    assert "There are 2 series" in refused(shell, "convert", study, "-o", out)
    assert "no series 'x'" in refused(shell, "convert", study, "-o", out, "--series", "x")
    wrong = refused(shell, "convert", study, "-o", tmp_path / "out.png", "--series", "1")
    assert "must end in .nii.gz" in wrong
    nowhere = tmp_path / "no" / "out.nii.gz"
    assert "does not exist" in refused(shell, "convert", study, "-o", nowhere, "--series", "1")
    out.write_bytes(b"precious")
    assert "already a file" in refused(shell, "convert", study, "-o", out, "--series", "1")
    assert out.read_bytes() == b"precious"


def test_a_series_can_be_chosen_by_its_number(shell, study, tmp_path):
    shapes = [series["shape_ijk"] for series in shell.json("scan", study)["series"]]
    for number, shape in enumerate(shapes, 1):
        out = tmp_path / f"{number}.nii.gz"
        done = shell.json("convert", study, "-o", out, "--series", number)
        assert done["shape_ijk"] == shape


# --- models ----------------------------------------------------------------------------------
def test_models_show_their_cards(shell):
    models = shell.json("models")["models"]
    assert "flair-wml" in [model["id"] for model in models]
    card = next(model for model in models if model["id"] == "flair-wml")["card"]
    assert card["not_for"]
    assert len(card["weights_sha256"]) == 64
    text = shell("models")[1]
    assert "not for: " + card["not_for"] in text


# --- segment ---------------------------------------------------------------------------------
@pytest.fixture(scope="module")
def finding(tmp_path_factory):
    """One run of the shipped model on the self test's phantom, written as DICOM."""
    pytest.importorskip("torch")
    from inference.selftest import phantom

    place = tmp_path_factory.mktemp("segment")
    volume = phantom()
    voxels = np.clip(volume.voxels, 0, None).astype(np.int16)
    source = Volume("p", "FLAIR", voxels, volume.geometry)
    write_derived_series(place / "series", source, description="T2 FLAIR phantom")
    command = [sys.executable, "-m", "app", "segment", str(place / "series"), "--json"]
    command += ["--model", "flair-wml", "-o", str(place / "out"), "--explain"]
    command += ["--format", "nifti,dicom-seg", "--threshold", "0.3", "--device", "cpu"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert run.returncode == 0, run.stderr
    return place, source, json.loads(run.stdout)


def test_segment_reports_what_made_the_finding(finding):
    place, _, report = finding
    assert report["model"]["id"] == "flair-wml"
    assert len(report["model"]["digest"]) == 64
    assert report["model"]["device"].startswith("CPU")
    assert report["threshold"] == 0.3
    assert "not for diagnosis" in report["notice"]
    assert json.loads((place / "out" / "report.json").read_text())["lesions"] == report["lesions"]


def test_every_file_of_a_finding_exists_and_lies_on_the_grid(finding):
    import nibabel

    place, source, report = finding
    assert set(report["files"]) == {
        "lesions", "mask", "probability", "heatmap", "dicom_seg", "dicom_probability",
        "dicom_heatmap", "report",
    }  # fmt: skip
    for names in report["files"].values():
        assert all(Path(name).is_file() for name in names)
    for name in ("mask", "probability", "heatmap"):
        image = nibabel.load(place / "out" / f"{name}.nii.gz")
        assert Geometry.from_nifti(image.shape, image.affine).same_grid(source.geometry, 0.05)


def test_the_mask_follows_the_threshold_that_was_asked_for(finding):
    import nibabel

    place, _, report = finding
    probability = np.asarray(nibabel.load(place / "out" / "probability.nii.gz").dataobj)
    mask = np.asarray(nibabel.load(place / "out" / "mask.nii.gz").dataobj)
    smallest = int(dict(report["model"]["settings"])["min_voxels"])
    np.testing.assert_array_equal(mask > 0, draft_mask(probability, 0.3, smallest))


def test_the_lesion_table_agrees_with_the_mask(finding):
    import nibabel

    place, source, report = finding
    rows = list(csv.DictReader((place / "out" / "lesions.csv").open(encoding="utf-8")))
    assert len(rows) == report["lesions"]
    mask = np.asarray(nibabel.load(place / "out" / "mask.nii.gz").dataobj) > 0
    total = sum(float(row["volume_ml"]) for row in rows)
    assert total == pytest.approx(mask.sum() * source.geometry.voxel_ml, abs=0.01)
    assert report["volume_ml"] == pytest.approx(total, abs=0.01)


def test_the_dicom_seg_points_to_the_series_it_was_made_from(finding):
    import highdicom
    import nibabel

    place, _, report = finding
    seg = highdicom.seg.segread(report["files"]["dicom_seg"][0])
    assert seg.SegmentationType == "BINARY"
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == report["series_uid"]
    volume = seg.get_volume(combine_segments=True, skip_overlap_checks=True)
    mask = nibabel.load(place / "out" / "mask.nii.gz")
    assert int((volume.array > 0).sum()) == int((np.asarray(mask.dataobj) > 0).sum())


def test_a_real_flair_gives_a_finding_that_overlaps_with_the_experts(shell, shared_data, tmp_path):
    import nibabel
    from pydicom import dcmread

    pytest.importorskip("torch")
    patient = shared_data / "ms_open_mni" / "MNI" / "patient19"
    gold = nibabel.load(next(patient.glob("GOLD*.nii.gz")))
    out = tmp_path / "out"
    report = shell.json(
        "segment", next(patient.glob("FLAIR*.nii.gz")), "--model", "flair-wml",
        "-o", out, "--format", "nifti,dicom-seg",
    )  # fmt: skip
    mask = nibabel.load(out / "mask.nii.gz")
    assert np.allclose(mask.affine, gold.affine, atol=1e-3)
    found, true = np.asarray(mask.dataobj) > 0, np.asarray(gold.dataobj) > 0.5
    assert 2 * (found & true).sum() / (found.sum() + true.sum()) > 0.45
    images = sorted((out / "images").iterdir())
    assert len(images) == mask.shape[2]
    series = dcmread(images[0], stop_before_pixels=True).SeriesInstanceUID
    for kind in ("dicom_seg", "dicom_probability"):
        written = dcmread(report["files"][kind][0], stop_before_pixels=True)
        assert written.ReferencedSeriesSequence[0].SeriesInstanceUID == series


def test_a_reader_that_has_seen_enough_does_not_cause_noise(study):
    run = subprocess.run(
        f"{sys.executable} -m app scan {study} --json | head -c 1",
        shell=True, capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert run.stderr == ""
    assert run.stdout == "{"


class FakeRun:
    """A run that ends as the test wants."""

    def __init__(self, outcome) -> None:
        self.outcome, self.cancelled, self._looks = outcome, False, 0

    def wait(self, timeout=None):
        self._looks += 1
        if self._looks == 2 and self.outcome is None:
            raise KeyboardInterrupt
        return None if self._looks == 1 else self.outcome

    def cancel(self) -> None:
        self.cancelled = True


@pytest.fixture
def fake_worker(monkeypatch):
    """Replace the worker by one that gives a fixed outcome."""
    import inference.client
    import inference.registry
    from inference.registry import find_model

    runs: list[FakeRun] = []

    def give(outcome) -> list[FakeRun]:
        class Client:
            def __enter__(self):
                return self

            def __exit__(self, *_) -> None: ...

            def segment(self, *_, **__):
                runs.append(FakeRun(outcome))
                return runs[-1]

        monkeypatch.setattr(inference.client, "WorkerClient", Client)
        return runs

    assert find_model("flair-wml")
    return give


def test_a_worker_that_fails_is_one_sentence_and_leaves_no_file(
    shell, study, tmp_path, fake_worker
):
    from inference.messages import Failed

    fake_worker(Failed("t", "The model process was ended by the system", "Close other programs"))
    out = tmp_path / "out"
    said = refused(shell, "segment", study, "--series", 1, "--model", "flair-wml", "-o", out)
    assert said.endswith("ended by the system. Close other programs.")
    assert list(out.iterdir()) == []


def test_ctrl_c_cancels_the_run_and_leaves_no_file(shell, study, tmp_path, fake_worker):
    runs = fake_worker(None)
    out = tmp_path / "out"
    code, _, err = shell("segment", study, "--series", 1, "--model", "flair-wml", "-o", out)
    assert code == 130
    assert "Interrupted" in err
    assert runs[0].cancelled
    assert list(out.iterdir()) == []


def test_segment_refuses_impossible_wishes_before_it_runs(shell, study, tmp_path, fake_worker):
    runs = fake_worker(None)
    base = ("segment", study, "--series", 1, "-o", tmp_path / "out")
    known = refused(shell, *base, "--model", "nope").partition("Installed models:")[2]
    assert "flair-wml" in known
    right = (*base, "--model", "flair-wml")
    assert "not 'png'" in refused(shell, *right, "--format", "nifti,png")
    assert "not 'tpu'" in refused(shell, *right, "--device", "tpu")
    assert "between 0 and 1" in refused(shell, *right, "--threshold", "1.5")
    taken = tmp_path / "taken"
    taken.write_text("a file")
    words = ("segment", study, "--series", 1, "--model", "flair-wml", "-o", taken)
    assert "must be a folder" in refused(shell, *words)
    assert runs == []


# --- self test -------------------------------------------------------------------------------
def test_the_own_checks_of_the_self_test_pass_here(tmp_path):
    from app.cli.selftest import drawing_check, journal_check

    journal = journal_check(tmp_path / "data")
    assert journal.ok, journal.words
    assert list((tmp_path / "data").iterdir()) == []
    drawing = drawing_check()
    assert drawing.ok, drawing.words
    assert drawing.figures["renderer"]


def test_a_journal_that_cannot_be_written_and_a_missing_driver_have_remedies(tmp_path, monkeypatch):
    from app.cli.selftest import drawing_check, journal_check
    from imaging.errors import WorldFailed
    from viewer.rendering import volume_scene

    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    journal = journal_check(blocked)
    assert not journal.ok
    assert "writable" in journal.remedy

    def refuse():
        raise WorldFailed("3D is not available because no OpenGL driver was found")

    monkeypatch.setattr(volume_scene, "VolumeScene", refuse)
    drawing = drawing_check()
    assert not drawing.ok
    assert "no OpenGL driver" in drawing.words
    assert drawing.remedy


def test_selftest_fails_with_its_exit_code(shell, monkeypatch):
    from app.cli import selftest
    from inference.selftest import Check

    monkeypatch.setattr(selftest, "run_selftest", lambda tell: [Check("Memory", True, "Enough.")])
    monkeypatch.setattr(
        selftest, "drawing_check", lambda: Check("Drawing", False, "Broken.", "Repair it.")
    )
    code, out, _ = shell("selftest")
    assert code == 1
    assert "FAIL  Drawing: Broken." in out
    assert "→ Repair it." in out
    code, out, _ = shell("selftest", "--json")
    assert code == 1
    assert json.loads(out)["ok"] is False


# --- the command line itself -----------------------------------------------------------------
def test_a_wrong_command_line_is_explained_with_exit_code_2(shell):
    assert "Missing argument" in refused(shell, "scan", code=2)
    assert "No such option: --foo (see isocenter scan --help)" in refused(
        shell, "scan", "x", "--foo", code=2
    )


def test_help_names_the_options(shell):
    code, out, _ = shell("segment", "--help")
    assert code == 0
    for option in ("--model", "--series", "--format", "--device", "--explain", "--json"):
        assert option in out


def test_our_own_mistake_is_one_sentence_without_its_text(shell, study, monkeypatch, tmp_path):
    from app import logs
    from app.cli import scan

    def broken(*_, **__):
        raise RuntimeError("DOE^JANE")

    monkeypatch.setattr(scan, "scan_paths", broken)
    monkeypatch.setattr(logs, "log_folder", lambda: tmp_path)
    said = refused(shell, "scan", study)
    assert "made a mistake (RuntimeError)" in said
    assert "DOE" not in said


def test_the_verbs_load_no_window_and_no_torch(study):
    code = (
        "import sys\nfrom app.cli import main\n"
        f"assert main(['scan', {str(study)!r}]) == 0\nassert main(['models']) == 0\n"
        "heavy = {'PySide6', 'vtkmodules', 'torch', 'pyvista'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env)
    assert run.returncode == 0, run.stderr


def test_a_terminal_of_another_encoding_does_not_stop_a_listing(study):
    env = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONPATH": str(ROOT)}
    run = subprocess.run(
        [sys.executable, "-m", "app", "scan", str(study)], capture_output=True, env=env
    )
    assert run.returncode == 0, run.stderr
    assert b"Ramp in DICOM" in run.stdout
