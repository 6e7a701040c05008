"""The export dialog: what can be written, why not, and the choice it hands over."""

from __future__ import annotations

import pytest
from panel_cases import add_answer, by_hand, open_workspace
from PySide6.QtCore import Qt

from app.windows.export_dialog import KINDS, ExportDialog, accepted_labels
from app.workspace import Workspace
from imaging.analysis.lesions import find_lesions
from imaging.edits.edit import AddItem
from imaging.edits.operations import accept_lesion


@pytest.fixture
def workspace() -> Workspace:
    return open_workspace()


def shown(qtbot, workspace: Workspace, folder) -> ExportDialog:
    dialog = ExportDialog(workspace, folder=folder)
    qtbot.addWidget(dialog)
    dialog.show()
    return dialog


def tick(qtbot, box) -> None:
    spot = box.rect().center()
    spot.setX(8)
    qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=spot)


def test_without_a_mask_only_the_image_can_go(qtbot, workspace, tmp_path) -> None:
    dialog = shown(qtbot, workspace, tmp_path)
    for kind in KINDS:
        box = dialog.kinds[kind.id]
        assert box.isEnabled() is (kind.needs == "volume")
        assert box.toolTip()
    assert "run a model" in dialog.kinds["mask_seg"].toolTip()
    assert not dialog.export.isEnabled()
    assert dialog.why_not.text() == "Tick what shall be written"


def test_the_usual_things_are_ticked_for_an_answer(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    with qtbot.waitSignal(dialog.export_requested) as asked:
        qtbot.mouseClick(dialog.export, Qt.MouseButton.LeftButton)
    (choice,) = asked.args
    assert set(choice.kinds) == {"mask_nifti", "mask_seg", "lesions_csv"}
    assert (choice.segmentation_id, choice.volume_id) == ("draft", "flair")
    assert choice.folder == tmp_path
    assert choice.heatmap_ids == ()
    assert not choice.accepted_only
    assert not dialog.isVisible()


def test_maps_are_named_when_they_are_wanted(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    tick(qtbot, dialog.kinds["maps_dicom"])
    assert set(dialog.choice().heatmap_ids) == {"prob", "cam"}


def test_an_image_alone_names_no_mask(qtbot, workspace, tmp_path) -> None:
    dialog = shown(qtbot, workspace, tmp_path)
    tick(qtbot, dialog.kinds["volume_nrrd"])
    choice = dialog.choice()
    assert (choice.kinds, choice.segmentation_id) == (("volume_nrrd",), "")


def test_nothing_accepted_means_all_labels_and_a_reason(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    assert not dialog.accepted_only.isEnabled()
    assert "accepted yet" in dialog.accepted_only.toolTip()
    assert dialog.all_labels.isChecked()


def test_once_a_lesion_is_accepted_only_those_are_proposed(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    mask = workspace.case.segmentation("draft")
    workspace.execute(accept_lesion(mask, find_lesions(mask)[0]))
    assert accepted_labels(mask) == (2,)
    dialog = shown(qtbot, workspace, tmp_path)
    assert dialog.choice().accepted_only
    tick(qtbot, dialog.all_labels)
    assert not dialog.choice().accepted_only


def test_a_mask_by_hand_is_all_accepted(qtbot, workspace, tmp_path) -> None:
    workspace.execute(AddItem(by_hand(), "Add mask"))
    dialog = shown(qtbot, workspace, tmp_path)
    assert accepted_labels(by_hand()) == (1, 2)
    assert dialog.accepted_only.isEnabled()


def test_a_mask_brings_its_own_image(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    dialog.volume_choice.setCurrentIndex(dialog.volume_choice.findData("t1"))
    dialog.mask_choice.currentIndexChanged.emit(0)
    assert dialog.choice().volume_id == "flair"


def test_a_folder_that_is_not_there_is_said(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    dialog.folder.setText(str(tmp_path / "nowhere"))
    assert not dialog.export.isEnabled()
    assert "does not exist" in dialog.export.toolTip()
    dialog.folder.setText("  ")
    assert dialog.why_not.text() == "Choose a folder"


def test_cancel_writes_nothing(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    with qtbot.assertNotEmitted(dialog.export_requested):
        qtbot.mouseClick(dialog.cancel, Qt.MouseButton.LeftButton)
    assert not dialog.isVisible()
