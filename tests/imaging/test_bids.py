"""BIDS derivatives: names and tables judged by the bids-validator, voxels by nibabel."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from writing_grids import NAMES, ORIENTATIONS, assert_same_in_patient, grid, volume

from imaging.errors import BadInput, WorldFailed
from imaging.heatmap import GRAD_CAM, Heatmap
from imaging.orientation import LPS_TO_RAS
from imaging.segmentation import AUTOMATIC, Code, Provenance, Segment, Segmentation
from imaging.storage import bids
from imaging.storage.bids import dataset_root, write_derivatives

MADE = Provenance("Test model", "1.2", "ab" * 32)
SEGMENTS = (
    Segment(1, "Lesion", (230, 159, 0), algorithm_type=AUTOMATIC),
    Segment(4, "Lateral ventricle (left)", (0, 158, 115),
            Code("91723000", "SCT", "Anatomical Structure")),
    Segment(5, "Läsion 髄", (1, 2, 3)),
)  # fmt: skip


def case(geometry=None, segments=SEGMENTS):
    geometry = grid() if geometry is None else geometry
    made = volume(geometry)
    made = replace(made, source=replace(made.source, sequence="FLAIR"))
    rng = np.random.default_rng(0)
    labels = rng.choice([0, *(s.number for s in segments)], geometry.shape).astype(np.uint8)
    heat = Heatmap(
        "p", "P", rng.random(geometry.shape, np.float32), "probability", geometry, "v", MADE
    )
    mask = Segmentation.from_labels(
        "m", "Mask", geometry, "v", labels, segments=segments, provenance=MADE, threshold=0.5,
        probability_id="p",
    )  # fmt: skip
    return {"volume": made, "segmentation": mask, "maps": (heat,)}


def complaints(root: Path) -> list[str]:
    """Codes of the errors the validator finds; skips where it is not installed."""
    beside = Path(sys.executable).with_name("bids-validator-deno")
    tool = str(beside) if beside.exists() else shutil.which("bids-validator-deno")
    if tool is None:
        pytest.skip("bids-validator-deno is not installed")
    told = subprocess.run(
        [tool, str(root), "--format", "json"], capture_output=True, text=True, check=False
    )
    assert told.stdout, told.stderr
    issues = json.loads(told.stdout)["issues"]["issues"]
    return [issue["code"] for issue in issues if issue["severity"] == "error"]


def test_the_validator_finds_nothing_wrong_and_would_find_something(tmp_path):
    everything = case()
    write_derivatives(tmp_path, "01", **everything, with_image=True)
    write_derivatives(tmp_path, "02", "1", **everything, with_image=True)
    root = write_derivatives(tmp_path, "02", "1", **everything).root
    assert complaints(root) == []
    (root / "sub-01" / "anat" / "sub-01_lesions.nii.gz").write_bytes(b"")
    assert complaints(root)


@pytest.mark.parametrize("way", ORIENTATIONS, ids=NAMES)
def test_every_orientation_lands_where_it_was(tmp_path, way):
    everything = case(grid(way))
    report = write_derivatives(tmp_path, "01", **everything, with_image=True)
    mask, image = everything["segmentation"], everything["volume"]
    folder = report.root / "sub-01" / "anat"
    for name, values in {
        "dseg": mask.labels,
        "label-Lesion_mask": mask.labels == 1,
        "label-LateralVentricleLeft_mask": mask.labels == 4,
        "label-Lesion_probseg": everything["maps"][0].values,
        "FLAIR": image.voxels,
    }.items():
        found = nib.load(folder / f"sub-01_space-orig_{name}.nii.gz")
        to_nibabel = np.linalg.inv(found.affine) @ LPS_TO_RAS
        judged = np.asarray(found.dataobj)
        assert_same_in_patient(mask.geometry, values.astype(judged.dtype), judged, to_nibabel)


def test_tables_and_sidecars_say_what_the_labels_are(tmp_path):
    root = write_derivatives(tmp_path, "7", **case(), with_image=True).root
    folder = root / "sub-7" / "anat"
    with open(folder / "sub-7_space-orig_dseg.tsv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert [row["index"] for row in rows] == ["1", "4", "5"]
    assert [row["name"] for row in rows] == [s.name for s in SEGMENTS]
    assert rows[0]["color"] == "#e69f00"
    assert [row["abbreviation"] for row in rows] == ["Lesion", "LateralVentricleLeft", "LSion"]
    told = json.loads((folder / "sub-7_space-orig_label-Lesion_mask.json").read_text())
    assert (told["Type"], told["Manual"]) == ("Lesion", False)
    assert told["Sources"] == ["bids::sub-7/anat/sub-7_space-orig_FLAIR.nii.gz"]
    assert (root / told["Sources"][0].removeprefix("bids::")).is_file()
    assert told["Isocenter"]["algorithm"]["weights_sha256"] == "ab" * 32
    assert told["Isocenter"]["threshold"] == 0.5
    other = folder / "sub-7_space-orig_label-LateralVentricleLeft_mask.json"
    assert json.loads(other.read_text())["Type"] == "ROI"
    made_by = json.loads((root / "dataset_description.json").read_text())["GeneratedBy"]
    assert [entry["Name"] for entry in made_by] == ["Isocenter", "Test model"]


def test_nothing_of_the_patient_is_written(tmp_path):
    everything = case()
    source = replace(
        everything["volume"].source, study_date="20240311", series_description="DOE JANE",
        patient=replace(everything["volume"].source.patient, name="DOE^JANE", id="4711"),
    )  # fmt: skip
    everything["volume"] = replace(everything["volume"], source=source, name="DOE JANE")
    root = write_derivatives(tmp_path, "01", **everything, with_image=True).root
    for path in root.rglob("*"):
        assert "DOE" not in path.name
        if path.suffix == ".gz":
            header = bytes(nib.load(path).header.binaryblock)
            assert b"DOE" not in header
        elif path.is_file():
            text = path.read_text(encoding="utf-8")
            assert not any(word in text for word in ("DOE", "4711", "20240311"))


def test_again_is_the_next_version_and_touches_nothing(tmp_path):
    everything = case()
    first = write_derivatives(tmp_path, "01", **everything)
    before = {path: path.read_bytes() for path in first.root.rglob("*") if path.is_file()}
    second = write_derivatives(tmp_path, "01", **everything)
    third = write_derivatives(tmp_path, "01", **everything)
    assert before
    assert {path: path.read_bytes() for path in before} == before
    assert "sub-01_space-orig_desc-v2_dseg.nii.gz" in {path.name for path in second.files}
    assert "sub-01_space-orig_label-Lesion_desc-v3_mask.nii.gz" in {p.name for p in third.files}


def test_where_a_case_goes(tmp_path):
    assert dataset_root(tmp_path) == tmp_path / "isocenter-bids"
    (tmp_path / "dataset_description.json").write_text('{"Name": "raw", "BIDSVersion": "1.9.0"}')
    assert dataset_root(tmp_path) == tmp_path / "derivatives" / "isocenter"
    root = write_derivatives(tmp_path, "01", **case()).root
    assert dataset_root(root) == root
    assert write_derivatives(root, "02", **case()).root == root
    assert json.loads((tmp_path / "dataset_description.json").read_text())["Name"] == "raw"


def test_a_second_model_is_named_too(tmp_path):
    everything = case()
    root = write_derivatives(tmp_path, "01", **everything).root
    mask = everything["segmentation"]
    mask.set_header(mask.header(provenance=Provenance("Other model", "3")))
    write_derivatives(tmp_path, "02", **everything)
    made_by = json.loads((root / "dataset_description.json").read_text())["GeneratedBy"]
    assert [entry["Name"] for entry in made_by] == ["Isocenter", "Test model", "Other model"]


def test_what_bids_has_no_place_for_is_said(tmp_path):
    everything = case()
    heat = replace(everything["maps"][0], id="g", meaning=GRAD_CAM)
    image = everything["volume"]
    image = replace(image, source=replace(image.source, sequence="SWI"))
    report = write_derivatives(
        tmp_path, "01", volume=image, maps=(heat,), segmentation=None, with_image=True
    )
    assert len(report.notes) == 2
    assert {path.name for path in report.files} == {"dataset_description.json", "README.md"}


@pytest.mark.parametrize("subject", ["", "a b", "01_x", "../01", "DOE^JANE", "é"])
def test_a_subject_that_is_no_plain_word_is_refused(tmp_path, subject):
    with pytest.raises(BadInput, match="letters and digits"):
        write_derivatives(tmp_path, subject, **case())
    assert not list(tmp_path.iterdir())


def test_a_failure_on_the_way_leaves_no_half_case(tmp_path, monkeypatch):
    write_derivatives(tmp_path, "01", **case())
    before = {path for path in tmp_path.rglob("*") if path.is_file()}

    def full(*_args):
        raise WorldFailed("The disk is full", "there")

    monkeypatch.setattr(bids, "_write_tsv", full)
    with pytest.raises(WorldFailed, match="full"):
        write_derivatives(tmp_path, "02", **case())
    assert {path for path in tmp_path.rglob("*") if path.is_file()} == before


def test_uneven_slices_are_refused(tmp_path):
    everything = case()
    places = np.zeros((4, 3))
    everything["volume"] = replace(everything["volume"], places=places)
    with pytest.raises(BadInput, match="even volume"):
        write_derivatives(tmp_path, "01", **everything)


@given(names=st.lists(st.text(max_size=30), min_size=1, max_size=5))
@settings(max_examples=25, deadline=None)
def test_any_names_give_a_table_with_a_row_each_and_files_apart(tmp_path_factory, names):
    segments = tuple(Segment(n, name, (n, n, n)) for n, name in enumerate(names, start=1))
    root = write_derivatives(tmp_path_factory.mktemp("b"), "01", **case(segments=segments)).root
    folder = root / "sub-01" / "anat"
    assert len(list(folder.glob("*_mask.nii.gz"))) == len(names)
    lines = (folder / "sub-01_space-orig_dseg.tsv").read_text(encoding="utf-8").split("\n")
    assert [len(line.split("\t")) for line in lines[:-1]] == [4] * (len(names) + 1)
