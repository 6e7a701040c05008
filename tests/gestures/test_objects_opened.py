"""Masks, contours, maps and reports of other programs, opened by hand."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLabel

from app.windows.report_view import ReportView
from imaging.volume import Volume

sys.path.append(str(Path(__file__).parents[1] / "imaging"))
KILLED = Path(__file__).with_name("open_until_killed.py")


@pytest.fixture(scope="module")
def study(tmp_path_factory) -> Path:
    """Two series of one frame of reference, and an object of every kind about the second."""
    import object_makers as make
    import pydicom

    folder = tmp_path_factory.mktemp("study")
    first, _ = make.make_series(folder / "other")
    files, volume = make.make_series(folder / "images")
    for file in first:  # one study, one patient; the larger series comes first
        ds = pydicom.dcmread(file)
        image = pydicom.dcmread(files[0], stop_before_pixels=True)
        ds.StudyInstanceUID, ds.FrameOfReferenceUID = (
            image.StudyInstanceUID, image.FrameOfReferenceUID
        )  # fmt: skip
        ds.SeriesDescription, ds.SeriesNumber = "t2_flair", 1
        ds.save_as(file)
    masks, geometry = make.balls(volume.geometry), volume.geometry
    seg = make.make_seg(folder / "mask.dcm", files, volume, masks)
    make.make_seg(folder / "two.dcm", files, volume, make.balls(geometry, overlap=True),
                  series_description="On top")  # fmt: skip
    make.make_seg(folder / "fraction.dcm", files, volume, masks[:1] * 0.8, "FRACTIONAL",
                  fractional_type="PROBABILITY", series_description="Shares")  # fmt: skip
    rings = {"Ring": [make.circle(make.MIDDLE, 6.0, geometry, k) for k in (3, 4, 5)]}
    make.make_rtstruct(folder / "plan.dcm", files, rings)
    times = (masks[0] * 900 + 300).astype(np.uint16)
    make.make_map(folder / "t1.dcm", files, volume, times, make.T1, ("ms", "UCUM", "milliseconds"))
    make.make_report(folder / "report.dcm", files, seg)
    return folder


@pytest.fixture(scope="module")
def expected(study) -> np.ndarray:
    """The two balls on the grid of the second series."""
    import object_makers as make

    from imaging.open import load_series, scan

    with scan([study / "images"]) as result:
        return make.balls(load_series(result.series[0]).geometry)


@pytest.fixture
def hand(start):
    """The running program; what is said of objects is heard too."""
    return _listening(start())


def _listening(hand):
    hand.program.objects.said.connect(hand.said.append)
    return hand


def _open(hand, study: Path) -> None:
    hand.open(study)
    hand.wait(lambda: len(hand.program.window.browser.object_keys) == 6, 30)


def _row(hand, title: str):
    browser = hand.program.window.browser
    found = next(f for f in hand.program.objects.found if f.title == title)
    item = browser._objects[found.key]
    browser.tree.scrollToItem(item)
    QApplication.processEvents()
    return browser.tree, item


def _click(hand, title: str) -> None:
    tree, item = _row(hand, title)
    place = tree.visualItemRect(item).center()
    QTest.mouseClick(tree.viewport(), Qt.MouseButton.LeftButton, pos=place)


def _masks(hand):
    return hand.program.workspace.case.segmentations


def _undo(hand) -> None:
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)


def test_a_click_opens_the_images_it_was_made_on_and_then_the_mask(hand, study, expected):
    _open(hand, study)
    program = hand.program
    assert [v.name for v in program.workspace.case.volumes] == ["t2_flair"]
    _click(hand, "Two balls")
    hand.wait(lambda: _masks(hand), 30)
    (mask,) = _masks(hand)
    volume = program.workspace.case.volume(mask.volume_id)
    assert volume.name == "place"
    for segment, ball in zip(mask.segments, expected, strict=True):
        np.testing.assert_array_equal(mask.labels == segment.number, ball)
    assert "Two balls: 2 labels" in hand.said[-1]
    # It is seen: the view has gone to it and shows its colour there.
    cursor = program.workspace.display.cursor
    assert mask.labels[mask.geometry.nearest(np.asarray(cursor))] > 0
    picture = hand.view().grab().toImage()
    off = hand.place_of(np.asarray(cursor)) + QPoint(6, 6)  # beside the crosshair
    seen = picture.pixelColor(off)
    assert seen.red() > seen.blue() + 20
    # It is the active mask everywhere.
    assert program.window.findings.segmentation_id == mask.id
    assert program.workspace.display.brush.segmentation_id == mask.id
    hand.wait(lambda: program.findings.lesions, 30)
    assert len(program.findings.lesions) == 2


def test_undo_takes_it_away_and_redo_brings_it_back(hand, study):
    _open(hand, study)
    _click(hand, "Two balls")
    hand.wait(lambda: _masks(hand), 30)
    assert hand.program.workspace.history.undo_name == "Open Two balls"
    _tree, item = _row(hand, "Two balls")
    assert "It is open" in item.toolTip(0)
    _undo(hand)
    assert not _masks(hand)
    assert "Click to open" in item.toolTip(0)
    hand.key(Qt.Key.Key_Y, Qt.KeyboardModifier.ControlModifier)
    assert len(_masks(hand)) == 1


def test_a_second_click_goes_there_and_adds_nothing(hand, study):
    _open(hand, study)
    _click(hand, "Two balls")
    hand.wait(lambda: _masks(hand), 30)
    steps = hand.program.workspace.history.steps
    tree, item = _row(hand, "Two balls")
    tree.setCurrentItem(item)
    QTest.keyClick(tree, Qt.Key.Key_Return)
    assert len(_masks(hand)) == 1
    assert hand.program.workspace.history.steps == steps
    assert hand.said[-1] == "Two balls is open already"


def test_overlapping_segments_are_two_masks_and_one_step(hand, study):
    _open(hand, study)
    _click(hand, "On top")
    hand.wait(lambda: len(_masks(hand)) == 2, 30)
    assert [mask.name for mask in _masks(hand)] == ["On top", "On top (2)"]
    _undo(hand)
    assert not _masks(hand)


def test_fractions_bring_their_map_and_a_threshold(hand, study):
    _open(hand, study)
    _click(hand, "Shares")
    hand.wait(lambda: _masks(hand), 30)
    (mask,), (heat,) = _masks(hand), hand.program.workspace.case.heatmaps
    assert mask.draft
    before = int(np.count_nonzero(mask.labels))
    slider = hand.program.window.findings.threshold
    assert slider.isEnabled()
    slider.settled.emit(0.9)
    assert before
    assert not np.count_nonzero(mask.labels)
    assert float(heat.values.max()) == pytest.approx(0.8, abs=0.01)


def test_contours_are_a_mask(hand, study):
    _open(hand, study)
    _click(hand, "Plan 1")
    hand.wait(lambda: _masks(hand), 30)
    assert np.flatnonzero(_masks(hand)[0].labels.any((1, 2))).tolist() == [3, 4, 5]


def test_a_map_of_times_is_an_image(hand, study):
    _open(hand, study)
    _click(hand, "A map")
    hand.wait(lambda: len(hand.program.workspace.case.volumes) >= 2, 30)
    hand.wait(lambda: any(v.unit == "ms" for v in hand.program.workspace.case.volumes), 30)
    shown = hand.program.workspace.case.volume(hand.program.workspace.display.cell("a").volume_id)
    assert shown.unit == "ms"


def test_a_report_is_read_beside_the_images_and_leads_to_its_lesion(hand, study, qtbot):
    _open(hand, study)
    _click(hand, "Two balls")
    hand.wait(lambda: _masks(hand), 30)
    (mask,) = _masks(hand)
    far = mask.geometry.world((0, 0, 0))
    hand.program.views.jump(far, mask.volume_id)
    _click(hand, "Measurements")
    window = hand.program.window
    hand.wait(lambda: window.findChildren(ReportView), 30)
    (view,) = window.findChildren(ReportView)
    assert not view.isModal()
    row = view.groups.topLevelItem(0).child(0)
    place = view.groups.visualItemRect(row).center()
    QTest.mouseClick(view.groups.viewport(), Qt.MouseButton.LeftButton, pos=place)
    cursor = np.asarray(hand.program.workspace.display.cursor)
    assert mask.labels[mask.geometry.nearest(cursor)] == 1
    _click(hand, "Measurements")  # the same report stays one window
    QApplication.processEvents()
    hand.wait(lambda: not hand.program.objects.reading, 10)
    assert len(window.findChildren(ReportView)) == 1
    hand.open(study / "other")  # another study: its report goes
    hand.wait(lambda: not window.findChildren(ReportView), 5)


def test_a_mask_dropped_onto_an_open_study_joins_it(hand, study):
    hand.open(study / "images")
    (before,) = hand.program.workspace.case.volumes
    hand.program.window.dropped.emit([str(study / "mask.dcm")], False)
    hand.wait(lambda: _masks(hand), 30)
    assert hand.program.workspace.case.volumes == [before]
    assert hand.program.window.browser.object_keys


def test_images_dropped_onto_an_open_study_replace_it(hand, study):
    hand.open(study / "images")
    (before,) = hand.program.workspace.case.volumes
    image = sorted((study / "other").iterdir())[0]
    hand.program.window.dropped.emit([str(image)], False)
    hand.wait(lambda: before.id not in hand.program.workspace.case.items, 30)


def test_a_mask_without_its_images_is_one_sentence(hand, study):
    hand.program.window.dropped.emit([str(study / "mask.dcm")], False)
    hand.wait(lambda: hand.said, 30)
    hand.wait(lambda: "open the images" in hand.said[-1], 10)
    told = []
    hand.program.objects.failed.connect(told.append)
    _click(hand, "Two balls")
    assert told == ["Open the images first that “Two balls” was made on"]


def test_a_mask_that_names_no_images_is_placed_after_a_question(hand, study, tmp_path):
    import pydicom

    ds = pydicom.dcmread(study / "mask.dcm")
    del ds.ReferencedSeriesSequence, ds.FrameOfReferenceUID
    for name in ("SourceImageSequence",):
        if name in ds:
            delattr(ds, name)
    ds.SOPInstanceUID = "1.2.3.99"
    ds.save_as(tmp_path / "lost.dcm")
    hand.open(study / "images")
    hand.program.window.dropped.emit([str(tmp_path / "lost.dcm")], False)
    notice = hand.program.window.notice
    hand.wait(lambda: notice.text, 30)
    assert "does not say which images" in notice.text
    notice.choose("Place it")
    hand.wait(lambda: _masks(hand), 30)
    assert "placed by coordinates" in hand.said[-1]


def test_work_on_opened_objects_is_saved_and_comes_back(hand, study, tmp_path, start):
    _open(hand, study)
    _click(hand, "Two balls")
    hand.wait(lambda: _masks(hand), 30)
    _click(hand, "A map")
    hand.wait(lambda: len(hand.program.workspace.case.volumes) == 3, 30)
    labels = _masks(hand)[0].labels.copy()
    target = tmp_path / "a.isocase"
    hand.program.cases.save(target)
    hand.wait(target.exists, 30)
    again = _listening(start())
    again.open(target)
    hand.wait(lambda: _masks(again), 30)
    np.testing.assert_array_equal(_masks(again)[0].labels, labels)
    units = {v.unit for v in again.program.workspace.case.volumes if isinstance(v, Volume)}
    assert "ms" in units


def test_an_opened_mask_survives_a_crash(private_home, study, start, tmp_path):
    note = tmp_path / "state.json"
    child = subprocess.Popen(
        [sys.executable, str(KILLED), str(study), "Two balls", str(note)],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "QT_QPA_PLATFORM": "offscreen"},
    )  # fmt: skip
    assert child.stdout is not None
    for line in child.stdout:
        if line.strip() == "opened":
            break
    os.kill(child.pid, signal.SIGKILL)
    child.wait(10)
    told = json.loads(note.read_text())
    hand = start()
    notice = hand.program.window.notice
    hand.wait(lambda: notice.text, 20)
    notice.choose("Restore")
    hand.wait(lambda: _masks(hand), 60)
    (mask,) = _masks(hand)
    assert mask.name == told["name"] == "Two balls"
    assert [s.name for s in mask.segments] == told["segments"]
    assert int(np.count_nonzero(mask.labels)) == told["voxels"] > 0
    assert int(np.flatnonzero(mask.labels).sum()) == told["places"]


def test_a_series_of_whole_numbers_is_opened_as_a_mask(hand, study, tmp_path):
    import nibabel as nib
    import object_makers as make

    from imaging.open import load_series, scan

    with scan([study / "images"]) as result:
        geometry = load_series(result.series[0]).geometry
    labels = np.where(make.balls(geometry)[0], 7, 0).astype(np.uint8)
    image = nib.Nifti1Image(labels.transpose(2, 1, 0), geometry.nifti_affine)
    nib.save(image, tmp_path / "numbers.nii.gz")
    hand.open(study / "images")
    hand.program.window.dropped.emit([str(tmp_path / "numbers.nii.gz")], True)
    browser = hand.program.window.browser
    hand.wait(lambda: len(browser.keys) == 2, 30)
    menu = browser.menu_of(browser._series[browser.keys[1]])
    next(action for action in menu.actions() if action.text() == "Open as mask").trigger()
    hand.wait(lambda: _masks(hand), 30)
    (mask,) = _masks(hand)
    np.testing.assert_array_equal(mask.labels, labels)
    assert hand.program.workspace.case.volume(mask.volume_id).name == "place"


@pytest.fixture
def held_back(monkeypatch):
    """Headers of the folder ``images`` are read only when the test lets them."""
    from imaging.dicom import index

    go, real = threading.Event(), index.read_frames

    def slowly(header):
        if Path(header.path).parent.name == "images":
            go.wait(30)
        return real(header)

    monkeypatch.setattr(index, "read_frames", slowly)
    yield go
    go.set()


def _open_early(hand, study: Path, tmp_path: Path) -> None:
    """A folder whose mask and first series are found, while the images of the mask are not."""
    folder = tmp_path / "early"
    shutil.copytree(study / "other", folder / "1")
    shutil.copy(study / "mask.dcm", folder / "2.dcm")
    shutil.copytree(study / "images", folder / "images")
    hand.program.window.dropped.emit([str(folder)], False)
    browser = hand.program.window.browser
    hand.wait(lambda: browser.keys and browser.object_keys, 30)
    hand.program.cases.activate(browser.keys[0])
    hand.wait(lambda: hand.program.workspace.case.volumes and not hand.program.cases.loading)


def test_a_click_while_headers_are_read_waits_for_the_right_images(
    hand, study, expected, tmp_path, held_back
):
    _open_early(hand, study, tmp_path)
    _click(hand, "Two balls")
    QTest.qWait(300)
    assert not _masks(hand)
    jobs = hand.program.window.jobs
    words = " ".join(label.text() for label in jobs.findChildren(QLabel))
    assert "Waiting for the images of Two balls" in words
    held_back.set()
    hand.wait(lambda: _masks(hand), 30)
    (mask,) = _masks(hand)
    assert hand.program.workspace.case.volume(mask.volume_id).name == "place"
    for segment, ball in zip(mask.segments, expected, strict=True):
        np.testing.assert_array_equal(mask.labels == segment.number, ball)
    assert not [job for job in jobs.jobs if job.startswith("object-")]


@pytest.mark.parametrize("how", ["cancelled", "closed"])
def test_what_waits_can_be_given_up(hand, study, tmp_path, held_back, how):
    _open_early(hand, study, tmp_path)
    _click(hand, "Two balls")
    jobs = hand.program.window.jobs
    (job,) = [job for job in jobs.jobs if job.startswith("object-")]
    if how == "cancelled":
        jobs.cancel_requested.emit(job)
    else:
        hand.program.cases.close()
    held_back.set()
    hand.wait(lambda: not hand.program.cases.scanning, 30)
    QTest.qWait(500)
    assert not _masks(hand)
    assert not [job for job in jobs.jobs if job.startswith("object-")]


def test_work_on_a_mask_opened_as_an_image_comes_back_beside_images(hand, tmp_path):
    import nibabel as nib

    folder = tmp_path / "both"
    folder.mkdir()
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    labels = np.zeros((30, 32, 20), np.uint8)
    labels[8:20, 8:20, 6:14] = 3
    image = nib.Nifti1Image(labels.astype(np.int16) * 100 + 50, affine)
    nib.save(image, folder / "image.nii.gz")
    nib.save(nib.Nifti1Image(labels, affine), folder / "mask_seg.nii.gz")
    program = hand.program
    hand.open(folder)  # remembered as opened lately
    assert len(program.window.browser.object_keys) == 1
    program.cases.close()
    hand.open(folder / "mask_seg.nii.gz")
    (volume,) = program.workspace.case.volumes
    assert int(volume.voxels.max()) == 3
    program.tools.choose("brush")
    middle = hand.view().rect().center()
    hand.drag([middle, middle + QPoint(15, 0)])
    hand.wait(lambda: _masks(hand))
    painted = _masks(hand)[0].labels.copy()
    assert painted.any()
    target = tmp_path / "work.isocase"
    program.cases.save(target)
    hand.wait(lambda: any("work.isocase" in words for words in hand.said))
    program.cases.close()

    hand.open(target)
    hand.wait(lambda: _masks(hand), 20)
    assert not [words for words in hand.said if "not where they were" in words]
    (mask,) = _masks(hand)
    assert (mask.labels == painted).all()
    assert program.workspace.case.volume(mask.volume_id).id == volume.id
    browser = program.window.browser
    assert volume.id in browser.keys
    assert len(browser.keys) == 2
    hand.wait(lambda: volume.id in browser._pictures)


def test_work_comes_back_on_its_own_image_and_not_on_its_neighbour(hand, tmp_path):
    import nibabel as nib

    folder = tmp_path / "pair"
    folder.mkdir()
    for n, name in enumerate(("a_t1", "b_t2", "c_pd"), 1):
        values = np.full((30, 32, 20), 100 * n, np.int16)
        values[8:20, 8:20, 6:14] = 900 + n
        nib.save(nib.Nifti1Image(values, np.diag([2.0, 2.0, 2.0, 1.0])), folder / f"{name}.nii.gz")
    program = hand.program
    hand.open(folder)
    wanted = next(key for key, one in program.cases.series.items() if "b_t2" in one.description)
    program.cases.activate(wanted)
    hand.wait(lambda: wanted in program.workspace.case.items and not program.cases.loading)
    program.tools.choose("brush")
    middle = hand.view().rect().center()
    hand.drag([middle, middle + QPoint(15, 0)])
    hand.wait(lambda: _masks(hand))
    assert _masks(hand)[0].volume_id == wanted
    program.cases.save(tmp_path / "work.isocase")
    hand.wait(lambda: any("work.isocase" in words for words in hand.said))
    program.cases.close()
    hand.open(tmp_path / "work.isocase")
    hand.wait(lambda: _masks(hand), 20)
    assert int(program.workspace.case.volume(_masks(hand)[0].volume_id).voxels.max()) == 902
