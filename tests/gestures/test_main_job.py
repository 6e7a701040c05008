"""The whole job on the demo study: run, see why, review, correct, undo, save, export, reopen."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt

from app.export_choice import ExportChoice
from imaging.heatmap import GRAD_CAM

pytest.importorskip("torch", reason="the AI extra is not installed")


@pytest.fixture
def answered(hand, demo):
    """The demo study with the shipped model's draft on it."""
    hand.open(demo)
    hand.wait(lambda: hand.program.window.models.model_id, 20)
    hand.key(Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier)
    hand.wait(lambda: hand.program.models.running, 10)
    hand.wait(lambda: not hand.program.models.running, 200)
    assert hand.program.workspace.case.segmentations, hand.said
    hand.wait(lambda: hand.program.findings.lesions, 60)
    return hand


def test_the_whole_job(answered, tmp_path, start):
    hand = answered
    program, workspace = hand.program, hand.program.workspace
    mask = workspace.case.segmentations[0]
    volume = workspace.case.volume(mask.volume_id)
    assert mask.draft
    assert mask.provenance.algorithm
    assert mask.geometry.same_grid(volume.geometry)

    # Why: Grad-CAM of one lesion.
    hand.key(Qt.Key.Key_N)
    lesion = program.findings.chosen
    assert lesion is not None
    hand.key(Qt.Key.Key_L, Qt.KeyboardModifier.ControlModifier)
    hand.wait(lambda: program.models.running, 10)
    hand.wait(lambda: not program.models.running, 120)
    heat = next(h for h in workspace.case.heatmaps if h.about == f"lesion {lesion.number}")
    assert heat.meaning == GRAD_CAM

    # Every view shows the lesion that was chosen.
    cursor = np.asarray(workspace.display.cursor)
    assert np.allclose(cursor, lesion.peak_world, atol=0.1)

    # Threshold: the list follows, the draft is cut anew, one step of undo.
    before, steps = mask.labels.copy(), workspace.history.steps
    slider = program.window.findings.threshold
    slider.changing.emit(0.97)
    assert np.count_nonzero(mask.labels) <= np.count_nonzero(before)
    slider.settled.emit(0.97)
    assert mask.threshold == pytest.approx(0.97)
    assert workspace.history.steps == steps + 1
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert np.array_equal(mask.labels, before)

    # Accept one, delete one.
    hand.wait(lambda: program.findings.lesions, 60)
    hand.key(Qt.Key.Key_N)
    kept = program.findings.chosen
    hand.key(Qt.Key.Key_Return)
    accepted = mask.segments[-1]
    assert (mask.labels[kept.box.slices][kept.mask] == accepted.number).all()
    hand.wait(lambda: any(x.label == accepted.number for x in program.findings.lesions), 30)
    if len(program.findings.lesions) > 1:
        gone = program.findings.chosen
        hand.key(Qt.Key.Key_Delete)
        assert not (mask.labels[gone.box.slices][gone.mask] == gone.label).any()

    # Correct by hand: a stroke, with 3D ball, in the label that is active; undo and redo.
    hand.key(Qt.Key.Key_B)
    assert program.tools.editing
    middle = hand.view().rect().center()
    before = mask.labels.copy()
    hand.drag([middle, middle + QPoint(25, 10), middle + QPoint(40, 30)])
    painted = mask.labels.copy()
    assert np.count_nonzero(painted != before) > 20
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert np.array_equal(mask.labels, before)
    hand.key(Qt.Key.Key_Y, Qt.KeyboardModifier.ControlModifier)
    assert np.array_equal(mask.labels, painted)
    hand.drag(
        [middle + QPoint(25, 10), middle + QPoint(30, 12)],
        modifier=Qt.KeyboardModifier.ControlModifier,
    )
    erased = mask.labels.copy()
    assert np.count_nonzero(erased) < np.count_nonzero(painted)
    hand.key(Qt.Key.Key_B)

    # Save: a new version each time.
    case_file = tmp_path / "work.isocase"
    program.cases.save(case_file)
    hand.wait(lambda: any("work.isocase" in words for words in hand.said), 60)
    first = program.cases.case_path
    content = first.read_bytes()
    program.cases.save(case_file)
    hand.wait(lambda: program.cases.case_path != first, 60)
    assert first.read_bytes() == content

    # Export everything, each read back.
    out = tmp_path / "out"
    out.mkdir()
    done = []
    program.export.exported.connect(done.append)
    kinds = (
        "mask_nifti", "mask_seg", "surface", "volume_nifti", "volume_nrrd", "volume_dicom",
        "maps_nifti", "maps_dicom", "lesions_csv", "screenshot_png",
    )  # fmt: skip
    program.export.export(ExportChoice(out, kinds, mask.id, None, volume.id, (heat.id,)))
    hand.wait(lambda: done, 240)
    names = {path.name.rsplit("-", 1)[-1] for path in out.iterdir()}
    for name in ("mask.nii.gz", "segmentation.dcm", "volume.nrrd", "lesions.csv"):
        assert name in names
    assert any(name.endswith(".stl") for name in names)

    def file(name: str):
        return next(out.glob(f"*-{name}"))

    with file("lesions.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["state"] for row in rows} == {"accepted", "draft"}

    # An independent reader finds the same voxels at the same patient positions.
    import SimpleITK as sitk

    image = sitk.ReadImage(str(file("mask.nii.gz")))
    assert np.array_equal(sitk.GetArrayFromImage(image), erased)
    import highdicom as hd

    seg = hd.seg.segread(file("segmentation.dcm"))
    assert seg.number_of_segments == len(mask.segments)
    assert seg.get_tracking_ids() is not None

    # Reopen in a new program: same mask, same probability, still a draft.
    again = start()
    again.program.cases.open_paths([program.cases.case_path])
    again.wait(lambda: again.program.workspace.case.segmentations, 60)
    back = again.program.workspace.case.segmentations[0]
    assert np.array_equal(back.labels, erased)
    assert back.header() == mask.header()
    assert len(again.program.workspace.case.heatmaps) == len(workspace.case.heatmaps)


def test_cancel_acts_at_once_and_costs_nothing(hand, demo):
    import time

    hand.open(demo)
    hand.wait(lambda: hand.program.window.models.model_id, 20)
    hand.program.window.models.start()
    hand.wait(lambda: hand.program.models.running, 10)
    hand.qtbot.wait(1500)
    asked = time.perf_counter()
    hand.program.models.cancel()
    hand.wait(lambda: not hand.program.models.running, 10)
    assert time.perf_counter() - asked < 2.0
    assert not hand.program.workspace.case.segmentations
    assert any("cancelled" in words for words in hand.said)


def test_a_killed_worker_costs_only_the_run(hand, demo):
    import os
    import signal

    hand.open(demo)
    hand.wait(lambda: hand.program.window.models.model_id, 20)
    hand.program.window.models.start()
    hand.wait(lambda: hand.program.models.running, 10)
    hand.wait(lambda: hand.program.models.worker_pid, 30)
    os.kill(hand.program.models.worker_pid, signal.SIGKILL)
    hand.wait(lambda: not hand.program.models.running, 30)
    assert hand.program.workspace.case.volumes
    assert "cancelled" not in hand.said[-1]
    hand.program.window.models.start()
    hand.wait(lambda: not hand.program.models.running, 200)
    assert hand.program.workspace.case.segmentations
