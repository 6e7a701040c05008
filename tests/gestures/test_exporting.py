"""Exporting by hand: a preset of one's own, files that others read, and the next start."""

from __future__ import annotations

import json

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLineEdit

from app.settings import load
from app.windows.export_dialog import ExportDialog
from imaging.edits.edit import AddItem
from imaging.segmentation import Segment, Segmentation

LEFT = Qt.MouseButton.LeftButton


@pytest.fixture
def painted(hand, demo):
    """The demo study with a mask of two labels on its first image."""
    hand.open(demo)
    add_mask(hand)
    return hand


def add_mask(hand) -> Segmentation:
    image = hand.program.workspace.case.volumes[0]
    labels = np.zeros(image.geometry.shape, np.uint8)
    labels[8:14, 40:60, 50:80] = 1
    labels[15:20, 70:90, 50:60] = 2
    mask = Segmentation.from_labels(
        "m", "Mine", image.geometry, image.id, labels,
        segments=(Segment(1, "Lesion", (230, 159, 0)), Segment(2, "Ödem", (0, 158, 115))),
    )  # fmt: skip
    hand.program.workspace.execute(AddItem(mask, "Add mask"))
    return mask


def opened(hand) -> ExportDialog:
    """Ctrl+E, and the dialog that comes."""
    hand.key(Qt.Key.Key_E, Qt.KeyboardModifier.ControlModifier)

    def dialogs():
        found = hand.program.window.findChildren(ExportDialog)
        return [dialog for dialog in found if dialog.isVisible()]

    hand.wait(dialogs, 10)
    return dialogs()[0]


def pick(dialog: ExportDialog, name: str) -> None:
    rows = dialog.presets.list
    items = [rows.item(n) for n in range(rows.count())]
    item = next(item for item in items if item.text().startswith(name))
    QTest.mouseClick(rows.viewport(), LEFT, pos=rows.visualItemRect(item).center())


def tick(dialog: ExportDialog, kind: str) -> None:
    box = dialog.kinds[kind]
    QTest.mouseClick(box, LEFT, pos=QPoint(8, box.rect().center().y()))


def into(dialog: ExportDialog, folder) -> None:
    dialog.folder.selectAll()
    QTest.keyClicks(dialog.folder, str(folder))


def exported(hand, dialog: ExportDialog) -> list[str]:
    files: list = []
    hand.program.export.exported.connect(files.extend)
    QTest.mouseClick(dialog.export, LEFT)
    hand.wait(lambda: files, 120)
    assert not hand.program.window.findChildren(ExportDialog)
    return files


def test_a_preset_of_ones_own_writes_files_that_others_read_and_survives_a_restart(
    painted, tmp_path, start, demo
):
    hand, out = painted, tmp_path / "out"
    out.mkdir()
    mask = hand.program.workspace.case.segmentation("m")
    dialog = opened(hand)
    into(dialog, out)
    pick(dialog, "3D Slicer")
    tick(dialog, "bids")
    tick(dialog, "surface")
    dialog.kinds_view.surface_form.setCurrentIndex(dialog.kinds_view.surface_form.findData("glb"))
    QTest.mouseClick(dialog.presets.new, LEFT)
    editor = dialog.presets.list.findChild(QLineEdit)
    editor.selectAll()
    QTest.keyClicks(editor, "My study")
    QTest.keyClick(editor, Qt.Key.Key_Return)
    hand.wait(lambda: dialog.presets.current_name == "My study", 5)
    exported(hand, dialog)

    (seg,) = out.glob("*-mask.seg.nrrd")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(seg))), mask.labels)
    assert sitk.ReadImage(str(seg)).GetMetaData("Segment1_Name") == "Ödem"
    (image,) = out.glob("*-volume.nrrd")
    grids = [sitk.ReadImage(str(path)) for path in (seg, image)]
    np.testing.assert_allclose(grids[0].GetOrigin(), grids[1].GetOrigin())
    np.testing.assert_allclose(grids[0].GetDirection(), grids[1].GetDirection())
    anat = out / "isocenter-bids" / "sub-01" / "anat"
    dseg = nib.load(anat / "sub-01_space-orig_dseg.nii.gz")
    np.testing.assert_array_equal(np.asarray(dseg.dataobj).transpose(2, 1, 0), mask.labels)
    pyvista = pytest.importorskip("pyvista")
    (glb,) = out.glob("*.glb")
    assert pyvista.read(glb).combine().n_cells > 100

    hand.program.window.closing.emit()
    settings, problem = load()
    assert problem == ""
    again = start(settings)
    again.open(demo)
    dialog = opened(again)
    assert dialog.presets.current_name == "My study"
    wanted = {"mask_seg_nrrd", "volume_nrrd", "surface", "bids"}
    assert set(dialog.kinds_view.wanted) == wanted
    assert dialog.choice().kinds == ("volume_nrrd",)  # there is no mask in this window
    assert dialog.choice().options.surface_form == "glb"
    assert dialog.folder.text() == str(out)
    dialog.reject()


def test_an_image_becomes_a_training_case_once(painted, tmp_path):
    hand, out = painted, tmp_path / "raw"
    out.mkdir()
    failed: list[str] = []
    hand.program.export.failed.connect(failed.append)
    dialog = opened(hand)
    into(dialog, out)
    pick(dialog, "nnU-Net")
    exported(hand, dialog)
    assert any("case_001" in words for words in hand.said)
    dialog = opened(hand)
    into(dialog, out)
    pick(dialog, "nnU-Net")
    QTest.mouseClick(dialog.export, LEFT)
    hand.wait(lambda: failed, 60)
    assert "already, as case_001" in failed[-1]
    told = json.loads((out / "Dataset001_Isocenter" / "dataset.json").read_text())
    assert told["numTraining"] == 1
    assert told["labels"] == {"background": 0, "Lesion": 1, "Ödem": 2}


def test_a_failure_is_told_in_red_and_the_rest_is_written(painted, tmp_path):
    hand, out = painted, tmp_path / "out"
    out.mkdir()
    (out / "isocenter-bids").write_text("a file where a folder should be")
    failed: list[str] = []
    hand.program.export.failed.connect(failed.append)
    dialog = opened(hand)
    into(dialog, out)
    pick(dialog, "BIDS")
    tick(dialog, "mask_nifti")
    exported(hand, dialog)
    hand.wait(lambda: failed, 30)
    assert "The BIDS derivatives could not be written" in failed[0]
    assert len(list(out.glob("*-mask.nii.gz"))) == 1
    assert (out / "isocenter-bids").read_text() == "a file where a folder should be"
