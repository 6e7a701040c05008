"""The export dialog: presets, what can be written, why not, and the choice it hands over."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from panel_cases import STEM, TOKEN, add_answer, by_hand, open_workspace, volume
from PySide6.QtCore import QPoint, Qt
from PySide6.QtWidgets import QApplication, QCheckBox, QComboBox, QLabel, QLineEdit, QRadioButton

from app.export_choice import BUILT_IN, ExportOptions, Preset
from app.export_kinds import KINDS
from app.export_reasons import accepted_labels
from app.settings import Settings, load, save
from app.windows.export_dialog import FIRST, ExportDialog
from app.workspace import Workspace
from imaging.analysis.lesions import find_lesions
from imaging.edits.edit import AddItem
from imaging.edits.operations import accept_lesion
from imaging.geometry import Geometry
from imaging.segmentation import Code, Segment, Segmentation
from imaging.volume import Repeats

LEFT = Qt.MouseButton.LeftButton
pytestmark = pytest.mark.usefixtures("fixed_key")


@pytest.fixture
def workspace() -> Workspace:
    return open_workspace()


def shown(qtbot, workspace: Workspace, folder, **rest) -> ExportDialog:
    dialog = ExportDialog(workspace, folder=folder, **rest)
    qtbot.addWidget(dialog)
    dialog.show()
    qtbot.waitExposed(dialog)
    return dialog


def tick(qtbot, box) -> None:
    spot = box.rect().center()
    spot.setX(8)
    qtbot.mouseClick(box, LEFT, pos=spot)


def pick(qtbot, dialog: ExportDialog, name: str) -> None:
    """Click a preset in the list."""
    rows = dialog.presets.list
    found = [rows.item(n) for n in range(rows.count())]
    item = next(item for item in found if item.text().removeprefix("* ").startswith(name))
    qtbot.mouseClick(rows.viewport(), LEFT, pos=rows.visualItemRect(item).center())


def click(qtbot, control) -> None:
    qtbot.mouseClick(control, LEFT)


# --- what can be written ----------------------------------------------------------------------


def test_without_a_mask_only_the_image_can_go(qtbot, workspace, tmp_path) -> None:
    dialog = shown(qtbot, workspace, tmp_path)
    for kind in KINDS:
        box = dialog.kinds[kind.id]
        assert box.isEnabled() is (kind.needs == "volume")
        assert box.toolTip()
    assert "run a model" in dialog.kinds["mask_seg"].toolTip()
    assert not dialog.export.isEnabled()
    assert dialog.why_not.text() == "Tick what shall be written"
    assert "Not possible here: NIfTI mask, lesion table" in dialog.hint.text()


def test_the_usual_things_are_ticked_for_an_answer(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    assert dialog.presets.current_name == FIRST
    with qtbot.waitSignal(dialog.export_requested) as asked:
        click(qtbot, dialog.export)
    (choice,) = asked.args
    assert set(choice.kinds) == {"mask_nifti", "maps_nifti", "lesions_csv"}
    assert (choice.segmentation_id, choice.volume_id) == ("draft", "flair")
    assert choice.folder == tmp_path
    assert choice.stem == STEM
    assert choice.labels == (1,)
    assert not dialog.isVisible()


def test_maps_are_named_when_they_are_wanted(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    assert set(dialog.choice().heatmap_ids) == {"prob", "cam"}
    dialog.map_choice.setCurrentIndex(dialog.map_choice.findData("cam"))
    assert dialog.choice().heatmap_ids == ("cam",)
    tick(qtbot, dialog.kinds["maps_nifti"])
    assert dialog.choice().heatmap_ids == ()


def test_an_image_alone_names_no_mask(qtbot, workspace, tmp_path) -> None:
    dialog = shown(qtbot, workspace, tmp_path)
    tick(qtbot, dialog.kinds["volume_nrrd"])
    choice = dialog.choice()
    assert (choice.kinds, choice.segmentation_id) == (("volume_nrrd",), "")
    assert dialog.export.isEnabled()


def test_a_mask_brings_its_own_image(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    dialog.volume_choice.setCurrentIndex(dialog.volume_choice.findData("t1"))
    dialog.mask_choice.currentIndexChanged.emit(0)
    assert dialog.choice().volume_id == "flair"


def test_what_cannot_be_written_now_says_why(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    reason = "The slices of FLAIR lie at uneven distances: make an even volume first"
    dialog = shown(
        qtbot, workspace, tmp_path, why_not_written=lambda id: reason if id == "flair" else ""
    )
    for id in ("mask_seg", "mask_nifti", "volume_mha", "maps_dicom", "bids", "nnunet", "surface"):
        assert not dialog.kinds[id].isEnabled()
        assert dialog.kinds[id].toolTip() == reason
    assert dialog.kinds["lesions_csv"].isEnabled()
    dialog.volume_choice.setCurrentIndex(dialog.volume_choice.findData("t1"))
    assert dialog.kinds["volume_mha"].isEnabled()


def test_shifted_slices_are_not_for_formats_that_set_them_straight(
    qtbot, workspace, tmp_path
) -> None:
    known = workspace.case.volume("flair")
    affine = known.geometry.affine.copy()
    affine[:3, 0] += (0, 0.8, 0)
    workspace.case.items["flair"] = replace(known, geometry=Geometry(known.geometry.shape, affine))
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    assert "NIfTI" in dialog.kinds["mask_seg"].toolTip()
    assert not dialog.kinds["mask_seg"].isEnabled()
    assert dialog.kinds["mask_rtstruct"].isEnabled()
    assert dialog.kinds["mask_nifti"].isEnabled()


def test_the_images_of_a_4d_series_are_a_choice(qtbot, workspace, tmp_path) -> None:
    dialog = shown(qtbot, workspace, tmp_path)
    assert not dialog.kinds_view.every_image.isVisible()
    known = workspace.case.volume("flair")
    voxels = np.zeros((2, *known.geometry.shape), np.int16)
    repeats = Repeats("echo", ("TE 1", "TE 2"), voxels, (known.source,) * 2, ((1.0, 0.0),) * 2)
    workspace.case.items["flair"] = replace(known, repeats=repeats)
    dialog = shown(qtbot, workspace, tmp_path)
    dialog.volume_choice.setCurrentIndex(dialog.volume_choice.findData("flair"))
    assert dialog.kinds_view.every_image.isVisible()
    assert dialog.choice().options.every_image
    dialog.kinds_view.every_image.setCurrentIndex(1)
    assert not dialog.choice().options.every_image


# --- labels and their codes -------------------------------------------------------------------


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
    assert dialog.choice().labels == (2,)
    tick(qtbot, dialog.all_labels)
    assert dialog.choice().labels == (1, 2)


def test_a_mask_by_hand_is_all_accepted(qtbot, workspace, tmp_path) -> None:
    workspace.execute(AddItem(by_hand(), "Add mask"))
    dialog = shown(qtbot, workspace, tmp_path)
    assert accepted_labels(by_hand()) == (1, 2)
    assert dialog.accepted_only.isEnabled()
    assert dialog.choice().labels == (1, 2)


def untick(qtbot, dialog: ExportDialog, row: int) -> None:
    rows = dialog.labels.list
    area = rows.visualItemRect(rows.topLevelItem(row))
    qtbot.mouseClick(rows.viewport(), LEFT, pos=QPoint(area.left() + 10, area.center().y()))


def test_single_labels_can_be_ticked(qtbot, workspace, tmp_path) -> None:
    workspace.execute(AddItem(by_hand(), "Add mask"))
    dialog = shown(qtbot, workspace, tmp_path)
    untick(qtbot, dialog, 0)
    assert dialog.choice().labels == (2,)
    assert dialog.labels.chosen_only.isChecked()
    untick(qtbot, dialog, 1)
    assert dialog.why_not.text() == "Tick a label of the mask"
    tick(qtbot, dialog.all_labels)
    assert dialog.choice().labels == (1, 2)


def test_codes_stand_beside_the_labels_and_a_generic_one_is_said(
    qtbot, workspace, tmp_path
) -> None:
    segments = (
        Segment(1, "MS lesion", (1, 2, 3)),
        Segment(2, "Thing", (4, 5, 6)),
        Segment(3, "Ventricle", (7, 8, 9), type=Code("35764002", "SCT", "Brain ventricle")),
    )
    mask = Segmentation("m", "Mask", by_hand().geometry, "flair", segments)
    workspace.execute(AddItem(mask, "Add mask"))
    dialog = shown(qtbot, workspace, tmp_path)
    rows = dialog.labels.list
    assert rows.topLevelItem(2).text(2) == "Brain ventricle · SCT 35764002"
    assert dialog.cautions.isVisible()
    assert dialog.cautions.text().startswith("“Thing” has no code of its own")
    untick(qtbot, dialog, 1)
    assert not dialog.cautions.isVisible()
    tick(qtbot, dialog.all_labels)
    tick(qtbot, dialog.kinds["mask_nifti"])  # the table alone holds no codes
    assert not dialog.cautions.isVisible()


# --- presets ----------------------------------------------------------------------------------


def test_a_preset_ticks_its_kinds(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    pick(qtbot, dialog, "3D Slicer")
    assert dialog.choice().kinds == ("mask_seg_nrrd", "volume_nrrd")
    assert f"{STEM}-mask.seg.nrrd" in dialog.files.text()
    pick(qtbot, dialog, "BIDS")
    assert dialog.choice().kinds == ("bids",)
    assert dialog.files.text() == "isocenter-bids/sub-01/anat/…"


def test_what_a_case_cannot_give_comes_back_when_it_can(qtbot, workspace, tmp_path) -> None:
    dialog = shown(qtbot, workspace, tmp_path)
    pick(qtbot, dialog, "3D Slicer")
    assert dialog.choice().kinds == ("volume_nrrd",)
    click(qtbot, dialog.presets.new)
    (kept,) = dialog.presets.own
    assert set(kept.kinds) == {"mask_seg_nrrd", "volume_nrrd"}


def test_the_usual_presets_cannot_be_changed_or_deleted(qtbot, workspace, tmp_path) -> None:
    dialog = shown(qtbot, workspace, tmp_path)
    for control in (dialog.presets.update_, dialog.presets.rename, dialog.presets.remove):
        assert not control.isEnabled()
        assert "name of your own" in control.toolTip()
    qtbot.keyClick(dialog.presets.list, Qt.Key.Key_Delete)
    assert len(dialog.presets.names) == len(BUILT_IN)


def test_save_rename_change_and_delete_a_preset_by_hand(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    told: list = []
    dialog.remember.connect(lambda _last, own: told.append(own))
    tick(qtbot, dialog.kinds["surface"])
    assert dialog.presets.list.currentItem().text() == f"* {FIRST}"
    click(qtbot, dialog.presets.new)
    editor = dialog.presets.list.findChild(QLineEdit)
    assert editor is not None
    editor.selectAll()
    qtbot.keyClicks(editor, "Trial 7")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: dialog.presets.current_name == "Trial 7")
    assert dialog.isVisible()
    assert [preset.name for preset in told[-1]] == ["Trial 7"]
    assert "surface" in told[-1][0].kinds
    dialog.kinds_view.surface_form.setCurrentIndex(3)
    assert dialog.presets.list.currentItem().text() == "* Trial 7"
    click(qtbot, dialog.presets.update_)
    assert told[-1][0].options.surface_form == "glb"
    assert dialog.presets.list.currentItem().text() == "Trial 7"
    pick(qtbot, dialog, "3D Slicer")
    pick(qtbot, dialog, "Trial 7")
    assert dialog.choice().options.surface_form == "glb"
    click(qtbot, dialog.presets.remove)
    assert told[-1] == ()
    assert "Trial 7" not in dialog.presets.names


def test_two_presets_never_have_one_name(qtbot, workspace, tmp_path) -> None:
    dialog = shown(qtbot, workspace, tmp_path, presets=(Preset("One", ()), Preset("Two", ())))
    pick(qtbot, dialog, "Two")
    qtbot.keyClick(dialog.presets.list, Qt.Key.Key_F2)
    editor = dialog.presets.list.findChild(QLineEdit)
    editor.selectAll()
    qtbot.keyClicks(editor, "one")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: dialog.presets.list.findChild(QLineEdit) is None)
    assert [preset.name for preset in dialog.presets.own] == ["One", "Two"]
    for _ in range(2):
        click(qtbot, dialog.presets.new)
        qtbot.keyClick(dialog.presets.list.findChild(QLineEdit), Qt.Key.Key_Return)
        qtbot.waitUntil(lambda: dialog.presets.list.findChild(QLineEdit) is None)
    names = [name.casefold() for name in dialog.presets.names]
    assert len(set(names)) == len(names)


def test_the_last_use_and_the_own_presets_survive_a_restart(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    told: list = []
    dialog = shown(qtbot, workspace, tmp_path)
    dialog.remember.connect(lambda last, own: told.append((last, own)))
    pick(qtbot, dialog, "BIDS")
    click(qtbot, dialog.presets.new)
    qtbot.keyClick(dialog.presets.list.findChild(QLineEdit), Qt.Key.Key_Return)
    dialog.kinds_view.subject.clear()
    qtbot.keyClicks(dialog.kinds_view.subject, "P17")
    click(qtbot, dialog.export)
    last, own = told[-1]
    path = tmp_path / "settings.json"
    save(Settings(export_last=last, export_presets=own), path)
    again, problem = load(path)
    assert problem == ""
    assert (again.export_last, again.export_presets) == (last, own)
    dialog = shown(qtbot, workspace, tmp_path, presets=again.export_presets, last=again.export_last)
    assert dialog.choice().kinds == ("bids",)
    assert dialog.choice().options.subject == "P17"
    assert dialog.presets.list.currentItem().text() == "* My preset"


@pytest.mark.parametrize(
    "table",
    [
        {"name": 3, "kinds": []},
        {"kinds": []},
        "x",
        {"name": "a" * 99, "kinds": []},
        {"name": "a", "kinds": 4},
    ],
)
def test_a_preset_that_is_none_costs_only_itself(tmp_path, table) -> None:
    import json

    good = Preset("Good", ("mask_seg",)).table()
    path = tmp_path / "settings.json"
    body = {"version": 1, "export_presets": [table, good], "export_last": table, "annotator": "me"}
    path.write_text(json.dumps(body))
    settings, problem = load(path)
    assert problem == ""
    assert [preset.name for preset in settings.export_presets] == ["Good"]
    assert settings.export_last is None
    assert settings.annotator == "me"


def test_what_a_newer_program_knows_is_left_out_of_a_preset() -> None:
    table = {
        "name": "New", "kinds": ["hologram", "bids", "bids"],
        "options": {"subject": 7, "seg_form": "QUANTUM", "session": "b", "deidentify": True,
                    "dataset_number": True, "channels": ["T1w", 3]},
    }  # fmt: skip
    preset = Preset.read(table)
    assert preset.kinds == ("bids",)
    assert preset.options == ExportOptions(session="b", deidentify=True)


# --- options ----------------------------------------------------------------------------------


def test_options_wait_for_their_box(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    assert not dialog.kinds_view.seg_form.isEnabled()
    tick(qtbot, dialog.kinds["mask_seg"])
    assert dialog.kinds_view.seg_form.isEnabled()
    dialog.kinds_view.seg_form.setCurrentIndex(dialog.kinds_view.seg_form.findData("LABELMAP+RLE"))
    assert dialog.choice().options.seg_form == "LABELMAP+RLE"


def test_a_probability_segmentation_needs_a_probability(qtbot, workspace, tmp_path) -> None:
    workspace.execute(AddItem(by_hand(), "Add mask"))
    last = Preset("", ("mask_seg",), ExportOptions(seg_form="FRACTIONAL"))
    dialog = shown(qtbot, workspace, tmp_path, last=last)
    assert "no probability map" in dialog.why_not.text()
    assert not dialog.export.isEnabled()


@pytest.mark.parametrize("subject", ["", "DOE^JANE", "a b"])
def test_a_bids_subject_is_a_plain_word(qtbot, workspace, tmp_path, subject) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path, last=Preset("", ("bids",)))
    assert dialog.kinds_view.subject.text() == "01"
    dialog.kinds_view.subject.clear()
    qtbot.keyClicks(dialog.kinds_view.subject, subject)
    assert "letters and digits" in dialog.why_not.text()


def test_a_subject_that_is_there_already_is_asked_about(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    (tmp_path / "isocenter-bids" / "sub-01").mkdir(parents=True)
    dialog = shown(qtbot, workspace, tmp_path, last=Preset("", ("bids",)))
    assert (
        dialog.cautions.text() == "Subject 01 is in this data set already: is it the same patient?"
    )
    assert dialog.export.isEnabled()
    qtbot.keyClicks(dialog.kinds_view.subject, "7")
    assert not dialog.cautions.isVisible()


def test_channels_are_the_images_on_the_grid_of_the_mask(qtbot, workspace, tmp_path) -> None:
    elsewhere = replace(
        volume("t2", "T2w"), geometry=Geometry((20, 40, 40), volume().geometry.affine * 1.5)
    )
    workspace.add_volume(elsewhere)
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path, last=Preset("", ("nnunet",)))
    channels = dialog.kinds_view.channels
    assert [action.text() for action in channels.menu().actions()] == ["FLAIR", "T1w"]
    assert dialog.choice().channel_ids == ("flair",)
    channels.menu().actions()[1].trigger()
    assert dialog.choice().channel_ids == ("flair", "t1")
    assert dialog.choice().options.channels == ("FLAIR", "T1w")
    dialog.kinds_view.dataset_name.setText("a/b")
    assert dialog.why_not.text().startswith("nnU-Net: ")


def test_de_identified_files_lose_the_date_and_pictures_wait(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    tick(qtbot, dialog.deidentify)
    assert dialog.stem.text() == f"{TOKEN}-flair"
    assert dialog.choice().options.deidentify
    assert "hide their text" in dialog.kinds["screenshot_png"].toolTip()
    workspace.show(workspace.display.but(text_shown=False))
    assert shown(qtbot, workspace, tmp_path).kinds["screenshot_png"].isEnabled()
    dialog.stem.clear()
    qtbot.keyClicks(dialog.stem, "case 5")
    tick(qtbot, dialog.deidentify)
    assert dialog.stem.text() == "case 5"
    assert "case-5-mask.nii.gz" in dialog.files.text()


# --- where to, and leaving --------------------------------------------------------------------


def test_a_folder_that_is_not_there_is_said(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    dialog.folder.setText(str(tmp_path / "nowhere"))
    assert not dialog.export.isEnabled()
    assert "does not exist" in dialog.export.toolTip()
    dialog.folder.setText("  ")
    assert dialog.why_not.text() == "Choose a folder"


def test_a_folder_nobody_may_write_to_is_said(qtbot, workspace, tmp_path, monkeypatch) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    monkeypatch.setattr("app.export_reasons.os.access", lambda *_: False)
    dialog.folder.setText(str(tmp_path))
    dialog.folder.textChanged.emit("")
    assert "not allowed" in dialog.why_not.text()


def test_cancel_writes_nothing(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    with qtbot.assertNotEmitted(dialog.export_requested):
        click(qtbot, dialog.cancel)
    assert not dialog.isVisible()


def test_every_control_is_reached_by_the_keyboard(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(
        qtbot, workspace, tmp_path, presets=(Preset("Mine", tuple(k.id for k in KINDS)),)
    )
    pick(qtbot, dialog, "Mine")
    dialog.activateWindow()
    dialog.presets.list.setFocus()
    qtbot.waitUntil(dialog.presets.list.hasFocus)
    reached = set()
    for _ in range(80):
        reached.add(QApplication.focusWidget())
        qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
    for kind in (QCheckBox, QComboBox, QLineEdit):
        for control in dialog.findChildren(kind):
            inside = control.parent().__class__.__name__ == "QSpinBox"
            if control.isEnabled() and control.isVisible() and not inside:
                assert control in reached, f"{control.accessibleName()} {control.text()}"
    assert {dialog.export, dialog.cancel, dialog.browse} <= reached


def test_nothing_is_cut_off_on_a_small_screen(qtbot, workspace, tmp_path, qapp) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    assert dialog.minimumSizeHint().width() <= 1300
    assert dialog.minimumSizeHint().height() <= 660
    dialog.resize(1300, 660)
    qtbot.wait(50)
    for control in [*dialog.findChildren(QCheckBox), *dialog.findChildren(QRadioButton)]:
        assert control.width() >= control.sizeHint().width(), control.text()
    for label in dialog.findChildren(QLabel):
        if label.isVisible() and not label.wordWrap() and label is not dialog.files:
            assert label.width() >= label.sizeHint().width(), label.text()
            assert label.font().pixelSize() >= 13 or label.font().pointSize() > 0


# --- what the dialog says before -----------------------------------------------------------------


def test_a_preset_never_takes_de_identification_back(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    own = Preset("Safe", ("mask_nifti",), ExportOptions(deidentify=True))
    dialog = shown(qtbot, workspace, tmp_path, presets=(own,))
    assert not dialog.deidentify.isChecked()
    pick(qtbot, dialog, "Safe")
    assert dialog.deidentify.isChecked()
    pick(qtbot, dialog, "3D Slicer")
    assert dialog.choice().options.deidentify
    tick(qtbot, dialog.deidentify)
    assert not dialog.choice().options.deidentify


def test_the_preview_shows_names_that_are_free(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    (tmp_path / f"{STEM}-mask.label.txt").write_text("mine")
    dialog = shown(qtbot, workspace, tmp_path)
    assert f"{STEM}-2-mask.nii.gz" in dialog.files.text()
    assert f"{STEM}-lesions.csv" in dialog.files.toolTip()


def test_typed_names_of_the_patient_are_said(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path)
    dialog.stem.clear()
    qtbot.keyClicks(dialog.stem, "jane 2")
    assert "patient" not in dialog.cautions.text()
    tick(qtbot, dialog.deidentify)
    assert "patient stands in the file names" in dialog.cautions.text()
    assert "jane" not in dialog.cautions.text().casefold()


def test_faces_stay_and_it_is_said(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    dialog = shown(qtbot, workspace, tmp_path, last=Preset("", ("volume_nrrd",)))
    tick(qtbot, dialog.deidentify)
    assert "keep their faces" in dialog.cautions.text()
    tick(qtbot, dialog.kinds["volume_nrrd"])
    tick(qtbot, dialog.kinds["mask_nifti"])
    assert "faces" not in dialog.cautions.text()


def test_a_caution_moves_nothing(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    (tmp_path / "isocenter-bids" / "sub-01").mkdir(parents=True)
    dialog = shown(qtbot, workspace, tmp_path)
    QApplication.processEvents()
    before = dialog.folder.mapTo(dialog, QPoint())
    tick(qtbot, dialog.kinds["bids"])
    QApplication.processEvents()
    assert dialog.cautions.isVisible()
    assert dialog.folder.mapTo(dialog, QPoint()) == before


def test_what_nobody_checked_is_said_for_a_training_case(qtbot, workspace, tmp_path) -> None:
    add_answer(workspace)
    mask = workspace.case.segmentation("draft")
    workspace.execute(accept_lesion(mask, find_lesions(mask)[0]))
    dialog = shown(qtbot, workspace, tmp_path, last=Preset("", ("nnunet",)))
    assert "become background in the training case" in dialog.cautions.text()
    tick(qtbot, dialog.all_labels)
    assert "nobody has checked" in dialog.cautions.text()
