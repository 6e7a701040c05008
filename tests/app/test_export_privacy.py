"""A de-identified export says nothing of the patient: in names, headers or pixels."""

from __future__ import annotations

import gzip
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from panel_cases import add_answer, open_workspace
from pydicom import dcmread
from PySide6.QtGui import QImage
from test_export_dialog import shown, tick

from app.controllers.export import ExportController
from app.export_choice import ExportChoice, ExportOptions
from app.export_privacy import OwnWords, own_words, texts_of, why_text_in_pixels
from app.tasks import Tasks
from imaging.demo import demo_study_folder
from imaging.edits.edit import AddItem
from imaging.segmentation import Segment, Segmentation
from imaging.volume import Patient

pytestmark = pytest.mark.usefixtures("fixed_key")
#: Every kind that is not DICOM and holds a mask, an image or a map.
PLAIN = ("mask_nifti", "mask_mha", "mask_seg_nrrd", "maps_nifti", "maps_mha", "lesions_csv",
         "surface", "bids", "nnunet")  # fmt: skip
IMAGES = ("volume_dicom", "volume_nifti", "volume_nrrd", "volume_mha", "bids", "nnunet",
          "screenshot_png", "key_image")  # fmt: skip
CLEAN = ExportOptions(deidentify=True)


@pytest.fixture
def desk(qtbot):
    """A study of patient Nowak with a label that is called after him."""
    workspace, said = open_workspace(), []
    add_answer(workspace)
    for id in ("flair", "t1"):
        known = workspace.case.volume(id)
        source = replace(known.source, patient=Patient("Nowak^Jan", "KH-99213", "19700102"))
        workspace.case.items[id] = replace(known, source=source)
    labels = np.zeros(known.geometry.shape, np.uint8)
    labels[5:9, 5:12, 5:12], labels[12:15, 5:9, 5:9] = 1, 2
    segments = (
        Segment(1, "Nowak cyst", (1, 2, 3)),
        Segment(2, "KH-99213", (4, 5, 6), algorithm_type="AUTOMATIC", algorithm="Nowak tool"),
    )
    mask = Segmentation.from_labels(
        "own", "Nowak", known.geometry, "flair", labels, segments=segments
    )
    workspace.execute(AddItem(mask, "Add"))
    findings = SimpleNamespace(
        mask=None, lesions=None, measuring=False, accepted=lambda _mask, _lesion: True
    )
    picture = QImage(8, 6, QImage.Format.Format_RGB32)
    tasks = Tasks(1)
    export = ExportController(workspace, tasks, findings, lambda: picture, lambda _id: "")
    export.said.connect(said.append)
    export.failed.connect(lambda words: said.append(f"FAILED {words}"))

    def run(folder, *kinds, **rest) -> str:
        said.clear()
        given = {"segmentation_id": "own", "volume_id": "flair", "heatmap_ids": ("prob", "cam")}
        export.export(ExportChoice(folder, kinds, **(given | {"options": CLEAN} | rest)))
        qtbot.waitUntil(lambda: bool(said), timeout=30000)
        return said[-1]

    yield SimpleNamespace(workspace=workspace, run=run)
    tasks.close()


def everything(folder) -> bytes:
    """Names and bytes of all files, unpacked."""
    parts = []
    for path in folder.rglob("*"):
        parts.append(path.name.encode())
        if path.is_file():
            raw = path.read_bytes()
            parts.append(gzip.decompress(raw) if path.suffix == ".gz" else raw)
    return b"\n".join(parts).lower()


@pytest.mark.parametrize("form", ["stl", "ply", "obj", "glb"])
def test_labels_called_after_the_patient_get_other_names(desk, tmp_path, form) -> None:
    words = desk.run(tmp_path, *PLAIN, options=CLEAN.but(surface_form=form))
    assert not words.startswith("FAILED")
    told = everything(tmp_path)
    assert b"cyst" in told
    assert b"label 2" in told
    for word in (b"nowak", b"99213", b"19700102", b"1970-01-02"):
        assert word not in told


def test_a_name_that_slips_through_stops_the_file(desk, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("app.export_material.nameless_mask", lambda mask, _own: mask)
    for kind in ("mask_nifti", "mask_mha", "mask_seg_nrrd", "lesions_csv", "bids", "nnunet"):
        words = desk.run(tmp_path, kind)
        assert words.startswith("FAILED")
        assert "was not let out" in words
        assert "nowak" not in words.casefold()
        assert b"nowak" not in everything(tmp_path)


@pytest.mark.parametrize("form", ["ply", "obj", "glb"])
def test_a_name_in_a_surface_stops_it(desk, tmp_path, monkeypatch, form) -> None:
    monkeypatch.setattr("app.export_material.nameless_mask", lambda mask, _own: mask)
    words = desk.run(tmp_path, "surface", options=CLEAN.but(surface_form=form))
    assert "was not let out" in words
    assert list(tmp_path.iterdir()) == []


def test_without_the_box_names_stay(desk, tmp_path) -> None:
    desk.run(tmp_path, "mask_nifti", options=ExportOptions())
    assert b"nowak cyst" in everything(tmp_path)


def test_common_words_and_random_digits_stop_nobody(tmp_path) -> None:
    own = OwnWords(frozenset({"white", "4711"}))
    assert not own.inside("White matter T2 hyperintensity")
    assert own.inside("White matter", common=True)
    assert not own.inside("weights 00471100aa4711bb00471100aa4711bb")
    assert own.inside("Case 4711")
    table = tmp_path / "a.csv"
    table.write_text("number,name\n4711,Lesion\n")
    assert not any(own.inside(text) for text in texts_of(table))


@pytest.fixture(scope="module")
def with_text(tmp_path_factory):
    """A slice of an MR series whose header says that text is burned in."""
    folder = tmp_path_factory.mktemp("text")
    source = next(path for path in sorted(demo_study_folder().rglob("*")) if path.is_file())
    path = folder / "a.dcm"
    shutil.copy(source, path)
    header = dcmread(path)
    header.BurnedInAnnotation = "YES"
    header.save_as(path)
    return path


@pytest.fixture
def burned(desk, with_text):
    """The case's images have such a header."""
    for id in ("flair", "t1"):
        known = desk.workspace.case.volume(id)
        source = replace(known.source, files=(str(with_text),))
        desk.workspace.case.items[id] = replace(known, source=source)
    desk.workspace.show(desk.workspace.display.but(text_shown=False))
    return desk


def test_text_in_the_pixels_does_not_leave(burned, tmp_path) -> None:
    assert why_text_in_pixels(burned.workspace.case.volume("flair"))
    for kind in IMAGES:
        words = burned.run(tmp_path, kind)
        assert words.startswith("FAILED"), kind
        assert "burned into the pixels" in words
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert not burned.run(tmp_path, "mask_nifti").startswith("FAILED")


def test_the_dialog_says_that_there_is_text_in_the_pixels(burned, qtbot, tmp_path) -> None:
    dialog = shown(qtbot, burned.workspace, tmp_path)
    assert dialog.kinds["volume_nrrd"].isEnabled()
    tick(qtbot, dialog.deidentify)
    for kind in IMAGES:
        assert not dialog.kinds[kind].isEnabled(), kind
        assert "burned into the pixels" in dialog.kinds[kind].toolTip()
    assert dialog.kinds["mask_nifti"].isEnabled()
    tick(qtbot, dialog.kinds_view.with_image)  # a BIDS data set can do without the image
    assert dialog.kinds["bids"].isEnabled()


def test_words_of_the_header_count_too(with_text, burned) -> None:
    header = dcmread(with_text, stop_before_pixels=True)
    own = own_words(burned.workspace.case.volumes)
    assert {"nowak", "jan"} <= own.words
    assert own.inside(f"of {header.StudyInstanceUID}")
