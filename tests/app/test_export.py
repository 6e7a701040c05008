"""Exports: what is written, what is refused, and that the case on screen is not touched."""

from __future__ import annotations

import csv
import json
import threading
from dataclasses import replace
from types import SimpleNamespace

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk
from panel_cases import STEM, TOKEN, add_answer, by_hand, open_workspace
from pydicom import dcmread
from PySide6.QtGui import QColor, QImage

from app.controllers.export import ExportController, write_png
from app.export_choice import ExportChoice, ExportOptions
from app.export_kinds import KINDS
from app.export_material import plain, usual_stem
from app.export_reasons import accepted_labels
from app.export_writers import WRITERS, proposed_labels
from app.tasks import Tasks
from imaging.analysis.lesions import find_lesions
from imaging.edits.acceptance import accept_lesions
from imaging.edits.edit import AddItem
from imaging.edits.operations import set_threshold
from imaging.errors import WorldFailed
from imaging.segmentation import Segmentation
from imaging.volume import Patient, Repeats

pytestmark = pytest.mark.usefixtures("fixed_key")


@pytest.fixture
def desk(qtbot):
    """The controller on a study with a draft whose largest lesion is accepted."""
    workspace, said, missing = open_workspace(), [], {}
    add_answer(workspace)
    mask, heat = workspace.case.segmentation("draft"), workspace.case.heatmap("prob")
    workspace.execute(accept_lesions(mask, find_lesions(mask, heat)[:1]))
    findings = SimpleNamespace(
        mask=mask,
        lesions=find_lesions(mask, heat),
        measuring=False,
        accepted=lambda _mask, lesion: lesion.label != 1,
    )
    picture = QImage(8, 6, QImage.Format.Format_RGB32)
    picture.fill(QColor("red"))
    tasks = Tasks(1)
    export = ExportController(
        workspace, tasks, findings, lambda: picture, lambda id: missing.get(id, "")
    )
    export.said.connect(said.append)
    export.failed.connect(lambda words: said.append(f"FAILED {words}"))

    def run(folder, *kinds, **rest) -> list:
        files: list = []
        said.clear()
        export.exported.connect(files.extend)
        choice = ExportChoice(
            folder,
            kinds,
            **{"segmentation_id": "draft"}
            | {"volume_id": "flair", "heatmap_ids": ("prob", "cam")}
            | rest,
        )
        export.export(choice)
        qtbot.waitUntil(lambda: bool(said), timeout=30000)
        return sorted(path.rsplit("/", 1)[-1] for path in files)

    yield SimpleNamespace(
        workspace=workspace, findings=findings, said=said, missing=missing, run=run, mask=mask,
        export=export,
    )  # fmt: skip
    tasks.close()


def test_every_kind_of_the_dialog_can_be_written() -> None:
    assert {kind.id for kind in KINDS} == {*WRITERS, "screenshot_png"}


def test_files_are_written_and_said_to_be(desk, tmp_path) -> None:
    files = desk.run(tmp_path, "lesions_csv", "screenshot_png", "surface")
    assert files == [
        f"{STEM}-lesions.csv",
        f"{STEM}-screenshot.png",
        f"{STEM}-surface-AcceptedLesion.stl",
        f"{STEM}-surface-Lesion.stl",
    ]
    assert desk.said[-1].startswith(f"4 files saved and read back in {tmp_path}. ")
    with open(tmp_path / f"{STEM}-lesions.csv", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert [row["state"] for row in rows].count("accepted") == 1
    assert len(rows) == 3


def test_masks_and_maps_for_other_programs_hold_the_same_voxels(desk, tmp_path) -> None:
    desk.run(tmp_path, "mask_nifti", "mask_mha", "mask_seg_nrrd", "maps_nifti", "maps_mha")
    labels, heat = desk.mask.labels, desk.workspace.case.heatmap("prob").values
    nifti = np.asarray(nib.load(tmp_path / f"{STEM}-mask.nii.gz").dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(nifti, labels)
    for name in ("mask.mha", "mask.seg.nrrd"):
        image = sitk.ReadImage(str(tmp_path / f"{STEM}-{name}"))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(image), labels)
    image = sitk.ReadImage(str(tmp_path / f"{STEM}-probability.mha"))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), heat)
    told = json.loads((tmp_path / f"{STEM}-mask.json").read_text())
    assert told["algorithm"]["name"] == "Test model"
    assert [one["edited_by_hand"] for one in told["labels"]] == ["no", "no, only accepted"]
    assert told["labels"][0]["algorithm"] == "Test model"


def test_chosen_labels_leave_the_others_out(desk, tmp_path) -> None:
    wanted = tuple(proposed_labels(desk.mask, accepted_only=True))
    assert wanted == accepted_labels(desk.mask)
    desk.run(tmp_path, "lesions_csv", "mask_nifti", "mask_seg_nrrd", labels=wanted)
    with open(tmp_path / f"{STEM}-lesions.csv", newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    assert [row["state"] for row in rows] == ["accepted"]
    back = np.asarray(nib.load(tmp_path / f"{STEM}-mask.nii.gz").dataobj)
    assert set(np.unique(back)) == {0, *wanted}
    assert "Segment1_ID" not in nrrd.read_header(str(tmp_path / f"{STEM}-mask.seg.nrrd"))


def test_a_list_that_is_being_measured_is_not_written(desk, tmp_path) -> None:
    desk.findings.measuring, desk.findings.lesions = True, []
    desk.run(tmp_path, "lesions_csv")
    assert "label" in (tmp_path / f"{STEM}-lesions.csv").read_text()
    assert (tmp_path / f"{STEM}-lesions.csv").read_text().count("draft") >= 2


def test_an_image_that_is_still_loading_does_not_leave(desk, tmp_path) -> None:
    desk.missing["flair"] = "The series is still loading: try again when it is whole"
    for kind in ("volume_nifti", "mask_nifti", "maps_mha", "bids"):
        assert desk.run(tmp_path, kind) == []
        assert "still loading" in desk.said[-1]
    assert list(tmp_path.iterdir()) == []
    assert desk.run(tmp_path, "lesions_csv")


def test_what_is_only_being_tried_is_not_exported(desk, tmp_path) -> None:
    heat = desk.workspace.case.heatmap("prob")
    desk.workspace.rehearse(set_threshold(desk.mask, heat, 0.95))
    desk.run(tmp_path, "lesions_csv")
    assert not desk.workspace.rehearsing
    assert desk.mask.threshold == 0.5


def test_a_bad_target_is_one_sentence(desk, tmp_path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    assert desk.run(blocked, "lesions_csv") == []
    assert desk.said[-1].startswith("FAILED The lesion table could not be written.")
    assert blocked.read_text() == "not a folder"


def test_one_kind_that_fails_does_not_stop_the_others(desk, tmp_path, monkeypatch) -> None:
    def full(*_args, **_rest):
        raise WorldFailed("The disk is full", "there", "Free some space")

    monkeypatch.setattr("imaging.storage.mha.write_labels", full)
    files = desk.run(tmp_path, "mask_mha", "mask_nifti", "lesions_csv")
    assert f"{STEM}-mask.nii.gz" in files
    assert f"{STEM}-lesions.csv" in files
    (words,) = desk.said
    assert words.startswith("FAILED The MetaImage mask could not be written. The disk is full: ")
    assert f"4 files saved and read back in {tmp_path}. " in words


def test_a_mistake_of_ours_is_named_without_its_words(desk, tmp_path, monkeypatch) -> None:
    def broken(*_args, **_rest):
        raise KeyError("DOE^JANE")

    monkeypatch.setattr("imaging.storage.mha.write_labels", broken)
    assert f"{STEM}-lesions.csv" in desk.run(tmp_path, "mask_mha", "lesions_csv")
    assert "DOE" not in desk.said[-1]
    assert "made a mistake (KeyError)" in desk.said[-1]


def test_cancel_stops_after_the_file_that_is_being_written(desk, tmp_path, monkeypatch) -> None:
    from imaging.storage import mha

    begun, go = threading.Event(), threading.Event()
    real = mha.write_labels

    def slow(*args):
        begun.set()
        assert go.wait(20)
        return real(*args)

    monkeypatch.setattr("imaging.storage.mha.write_labels", slow)

    def stop():
        assert begun.wait(20)
        desk.export.cancel()
        go.set()

    threading.Thread(target=stop).start()
    files = desk.run(tmp_path, "mask_mha", "mask_nifti", "lesions_csv")
    assert files == [f"{STEM}-mask.label.txt", f"{STEM}-mask.mha"]
    assert desk.said[-1].startswith(
        "FAILED Cancelled before the NIfTI mask and the lesion table. 2 files saved"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == files


def test_nothing_is_overwritten_nor_anything_beside(desk, tmp_path) -> None:
    mine = tmp_path / f"{STEM}-mask.label.txt"
    mine.write_text("mine")
    desk.run(tmp_path, "mask_nifti")
    assert mine.read_text() == "mine"
    assert (tmp_path / f"{STEM}-2-mask.nii.gz").exists()
    assert (tmp_path / f"{STEM}-2-mask.label.txt").exists()


def test_a_name_of_ones_own_is_made_plain(desk, tmp_path) -> None:
    assert desk.run(tmp_path, "mask_mha", stem="../Müller & Söhne ") == [
        "müller-söhne-mask.label.txt",
        "müller-söhne-mask.mha",
    ]
    assert plain("  ../.. ") == ""


def test_bids_and_nnunet_are_filled_case_by_case(desk, tmp_path) -> None:
    options = ExportOptions(subject="07", dataset_number=12, dataset_name="MS")
    desk.run(tmp_path, "bids", "nnunet", options=options, channel_ids=("flair", "t1"))
    assert "Dataset012_MS has 1 cases now; this one is case_001" in desk.said[-1]
    anat = tmp_path / "isocenter-bids" / "sub-07" / "anat"
    assert (anat / "sub-07_space-orig_label-Lesion_probseg.nii.gz").exists()
    assert (anat / "sub-07_space-orig_FLAIR.nii.gz").exists()
    desk.run(tmp_path, "nnunet", options=options, channel_ids=("flair", "t1"))
    assert "This image is in the data set already, as case_001" in desk.said[-1]
    known = desk.workspace.case.volume("flair")
    desk.workspace.case.items["flair"] = replace(known, voxels=known.voxels + np.int16(1))
    # the other order of ticks is put right by what the data set says
    desk.run(tmp_path, "nnunet", options=options, channel_ids=("t1", "flair"))
    told = json.loads((tmp_path / "Dataset012_MS" / "dataset.json").read_text())
    assert told["channel_names"] == {"0": "FLAIR", "1": "T1w"}
    assert told["numTraining"] == 2


@pytest.mark.parametrize("form", ["stl", "ply", "obj", "glb"])
def test_every_form_of_surface_is_read_with_the_volume_of_the_voxels(desk, tmp_path, form) -> None:
    pyvista = pytest.importorskip("pyvista")
    desk.run(tmp_path, "surface", options=ExportOptions(surface_form=form))
    files = list(tmp_path.glob(f"*.{form}"))
    assert len(files) == (2 if form in ("stl", "ply") else 1)
    meshes = [pyvista.read(path) for path in files]
    if form == "glb":
        meshes = [meshes[0].combine().extract_surface(algorithm="dataset_surface")]
    total = sum(mesh.volume for mesh in meshes) * (1e6 if form == "glb" else 1e-3)
    voxels_ml = np.count_nonzero(desk.mask.labels) * desk.mask.geometry.voxel_ml
    assert total == pytest.approx(voxels_ml, rel=0.02)


def test_an_empty_label_has_no_surface_and_it_is_said(desk, tmp_path) -> None:
    mask = by_hand()
    labels = np.zeros(mask.geometry.shape, np.uint8)
    labels[5:9, 5:12, 5:12] = 2
    mask = Segmentation.from_labels(
        "hand", "M", mask.geometry, "flair", labels, segments=mask.segments
    )
    desk.workspace.execute(AddItem(mask, "Add"))
    files = desk.run(tmp_path, "surface", segmentation_id="hand")
    assert files == [f"{STEM}-surface-Vessel.stl"]
    assert "No surface for Ventricle: nothing is marked" in desk.said[-1]


def test_of_a_4d_series_everything_goes_out_and_what_cannot_is_said(desk, tmp_path) -> None:
    known = desk.workspace.case.volume("flair")
    voxels = np.random.default_rng(0).integers(0, 9, (3, *known.geometry.shape)).astype(np.int16)
    repeats = Repeats("echo time", ("TE 1", "TE 2", "TE 3"), voxels, (known.source,) * 3,
                      ((1.0, 0.0),) * 3)  # fmt: skip
    desk.workspace.case.items["flair"] = replace(
        known, voxels=voxels[0], repeats=repeats
    ).at_repeat(2)
    desk.run(tmp_path, "volume_nifti", "volume_mha")
    assert nib.load(tmp_path / f"{STEM}-volume.nii.gz").shape[3] == 3
    assert "MetaImage holds the shown image only (TE 3)" in desk.said[-1]
    desk.run(tmp_path, "volume_nrrd", options=ExportOptions(every_image=False))
    values, _header = nrrd.read(str(tmp_path / f"{STEM}-volume.nrrd"))
    np.testing.assert_array_equal(values.transpose(2, 1, 0), voxels[2])


def test_de_identified_files_name_nobody(desk, tmp_path) -> None:
    known = desk.workspace.case.volume("flair")
    desk.workspace.case.items["flair"] = replace(known, name="DOE JANE 1979")
    desk.mask.set_header(desk.mask.header(name="Lesions of DOE JANE"))
    kinds = ("mask_nifti", "mask_mha", "mask_seg_nrrd", "volume_nifti", "volume_nrrd", "volume_mha",
             "maps_nifti", "lesions_csv", "bids", "nnunet")  # fmt: skip
    desk.run(tmp_path, *kinds, options=ExportOptions(deidentify=True))
    assert not desk.said[-1].startswith("FAILED")
    names = [path.name for path in tmp_path.rglob("*")]
    assert f"{TOKEN}-flair-mask.nii.gz" in names
    assert not any("20240311" in name for name in names)
    for path in tmp_path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            if path.suffix == ".gz":
                content = bytes(nib.load(path).header.binaryblock)
            for word in (b"DOE", b"JANE", b"4711", b"20240311", b"1979", b"2026-01-02"):
                assert word not in content, path.name


def test_the_name_of_files_tells_the_study_unless_it_must_not(desk) -> None:
    volume = desk.workspace.case.volume("flair")
    assert usual_stem(volume) == STEM
    other = replace(volume, source=replace(volume.source, patient=Patient("DOE^JANE", "4712")))
    assert usual_stem(other) != STEM
    assert usual_stem(replace(volume, source=replace(volume.source, patient=Patient()))) == (
        "20240311-flair"
    )
    assert usual_stem(volume, deidentify=True) == f"{TOKEN}-flair"


def test_a_picture_is_read_back_and_never_overwritten(tmp_path, monkeypatch) -> None:
    picture = QImage(4, 4, QImage.Format.Format_RGB32)
    picture.fill(QColor("blue"))
    first = write_png(tmp_path / "a.png", picture)
    second = write_png(tmp_path / "a.png", picture)
    assert first != second
    assert QImage(str(first)).convertToFormat(picture.format()) == picture
    other = QImage(4, 4, QImage.Format.Format_RGB32)
    other.fill(QColor("green"))
    monkeypatch.setattr(
        "app.controllers.export._save_png", lambda _image, path: other.save(str(path), "PNG")
    )
    with pytest.raises(WorldFailed, match="not the one"):
        write_png(tmp_path / "b.png", picture)
    assert not (tmp_path / "b.png").exists()


def test_a_probability_is_of_the_draft_whatever_is_ticked(desk, tmp_path) -> None:
    from pydicom import dcmread

    accepted = accepted_labels(desk.mask)
    assert accepted == (2,)
    options = ExportOptions(seg_form="FRACTIONAL", subject="07", with_image=False)
    desk.run(tmp_path, "mask_seg", "bids", labels=accepted, options=options)
    assert not desk.said[-1].startswith("FAILED")
    (segment,) = dcmread(tmp_path / f"{STEM}-segmentation.dcm").SegmentSequence
    assert segment.SegmentLabel == "Lesion probability"
    assert segment.TrackingUID not in {one.tracking_uid for one in desk.mask.segments}
    anat = tmp_path / "isocenter-bids" / "sub-07" / "anat"
    assert (anat / "sub-07_space-orig_label-Lesion_probseg.nii.gz").exists()
    assert not (anat / "sub-07_space-orig_label-AcceptedLesion_probseg.nii.gz").exists()


@pytest.mark.parametrize("deidentify", [False, True])
def test_draft_and_accepted_are_one_class_of_a_training_set(desk, tmp_path, deidentify) -> None:
    (first, *others) = desk.mask.segments
    draft = replace(first, name="Lesion (AI draft)")
    desk.mask.set_header(desk.mask.header(segments=(draft, *others)))
    options = ExportOptions(deidentify=deidentify)
    desk.run(tmp_path, "nnunet", options=options, channel_ids=("flair",))
    root = tmp_path / "Dataset001_Isocenter"
    assert json.loads((root / "dataset.json").read_text())["labels"] == {
        "background": 0, "Lesion": 1,
    }  # fmt: skip
    back = np.asarray(nib.load(root / "labelsTr" / "case_001.nii.gz").dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(back, (desk.mask.labels > 0).astype(np.uint8))
    # accepted ones alone are of the same class
    known = desk.workspace.case.volume("flair")
    desk.workspace.case.items["flair"] = replace(known, voxels=known.voxels + np.int16(1))
    desk.run(tmp_path, "nnunet", options=options, channel_ids=("flair",), labels=(2,))
    assert "Lesion" in json.loads((root / "dataset.json").read_text())["labels"]
    assert len(json.loads((root / "dataset.json").read_text())["labels"]) == 2
    back = np.asarray(nib.load(root / "labelsTr" / "case_002.nii.gz").dataobj).transpose(2, 1, 0)
    np.testing.assert_array_equal(back, (desk.mask.labels == 2).astype(np.uint8))


def test_series_of_a_second_export_are_numbered_after_those_of_the_first(desk, tmp_path) -> None:
    for turn in (1, 2):
        folder = tmp_path / str(turn)
        folder.mkdir()
        desk.run(folder, "mask_rtstruct", "mask_nifti")
        (written,) = folder.glob("*contours.dcm")
        ds = dcmread(written)
        assert int(ds.SeriesNumber) == 903 + 1000 * (turn - 1)
        assert ds.SeriesDescription.endswith("(2)") is (turn == 2)
    desk.run(tmp_path, "mask_nifti")  # nothing of that goes into a study
    assert desk.workspace.case.exports == 2
