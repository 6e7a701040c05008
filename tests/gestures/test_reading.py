"""Reading a study: what the wheel, drags and keys do to the picture."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QLabel

from imaging.edits.edit import AddItem
from imaging.segmentation import Segment, Segmentation
from viewer.state.display import Layout


def test_an_empty_window_says_what_to_do(hand):
    page = hand.program.window.empty
    assert page.isVisible()
    words = " ".join(label.text() for label in page.findChildren(QLabel))
    assert "Drop a DICOM folder" in words
    assert page.folder.isEnabled()
    assert page.demo.isEnabled()


def test_the_demo_opens_on_its_flair(hand, demo):
    hand.open(demo)
    assert hand.program.workspace.case.volumes[0].source.sequence == "FLAIR"
    assert len(hand.program.window.browser.keys) == 3
    assert "Synthetic" in hand.program.window.banner.name.text()


def test_wheel_and_arrow_keys_go_through_slices(hand, demo):
    hand.open(demo)
    view = hand.view()
    start = view.plan.position.number
    hand.wheel(1)
    assert view.plan.position.number == start + 1
    hand.key(Qt.Key.Key_Down)
    assert view.plan.position.number == start + 2
    hand.key(Qt.Key.Key_Down, Qt.KeyboardModifier.ShiftModifier)
    assert view.plan.position.number == start + 12
    hand.key(Qt.Key.Key_Home)
    assert view.plan.position.number == 1
    hand.key(Qt.Key.Key_End)
    assert view.plan.position.number == view.plan.position.count


def test_a_left_drag_changes_the_window_of_every_view(hand, demo):
    hand.open(demo)
    before = hand.view().plan.window
    middle = hand.view().rect().center()
    hand.drag([middle, middle + QPoint(60, 0), middle + QPoint(60, 40)])
    after = hand.view().plan.window
    assert after.width > before.width
    assert after.centre != before.centre
    assert hand.view("b").plan.window == after


def test_the_crosshair_is_linked_in_patient_space(hand, demo):
    hand.open(demo)
    view = hand.view()
    target = view.rect().center() + QPoint(40, -30)
    QTest.mouseMove(view, target)
    hand.drag([target, target + QPoint(1, 0)], modifier=Qt.KeyboardModifier.ShiftModifier)
    hand.program.tools.choose("crosshair")
    hand.drag([target, target + QPoint(1, 0)])
    cursor = np.asarray(hand.program.workspace.display.cursor)
    for cell in ("b", "c"):
        plan = hand.view(cell).plan
        assert abs(float((cursor - plan.centre) @ np.asarray(plan.way.normal))) < 2.0


def test_double_click_maximises_and_restores(hand, demo):
    hand.open(demo)
    view = hand.view()
    small = view.size()
    QTest.mouseDClick(view, Qt.MouseButton.LeftButton, pos=view.rect().center())
    assert hand.program.workspace.display.maximised == "a"
    assert view.width() > small.width()
    QTest.mouseDClick(view, Qt.MouseButton.LeftButton, pos=view.rect().center())
    assert view.size() == small


def test_layout_keys(hand, demo):
    hand.open(demo)
    hand.key(Qt.Key.Key_F3)
    assert hand.program.workspace.display.layout == Layout.TWO_BY_TWO
    hand.key(Qt.Key.Key_F1)
    assert len(hand.program.workspace.display.shown_cells) == 1
    hand.key(Qt.Key.Key_F2)
    assert len(hand.program.workspace.display.shown_cells) == 4


def test_letters_follow_flips_and_turns(hand, demo):
    hand.open(demo)
    before = hand.view().plan.letters
    hand.key(Qt.Key.Key_H)
    after = hand.view().plan.letters
    assert (after.left, after.right) == (before.right, before.left)
    hand.key(Qt.Key.Key_R)
    assert hand.view().plan.letters.top in (after.left, after.right)


def test_digits_choose_windows_while_reading_and_tools_while_editing(hand, demo):
    hand.open(demo)
    before = hand.view().plan.window
    hand.key(Qt.Key.Key_6)
    assert hand.view().plan.window != before
    hand.key(Qt.Key.Key_B)
    assert hand.program.tools.editing
    shown = hand.view().plan.window
    hand.key(Qt.Key.Key_5)
    assert hand.view().plan.window == shown
    assert hand.program.workspace.display.tool == "eraser"


def test_another_series_takes_the_views_and_keeps_the_place(hand, demo):
    hand.open(demo)
    hand.wheel(5)
    cursor = np.asarray(hand.program.workspace.display.cursor)
    hand.key(Qt.Key.Key_Right)
    hand.wait(lambda: len(hand.program.workspace.case.volumes) == 2)
    hand.wait(lambda: not hand.program.cases.loading)
    assert np.allclose(hand.program.workspace.display.cursor, cursor)
    assert hand.view().plan.volume_id == hand.program.workspace.case.volumes[1].id


def test_files_that_cannot_be_read_are_listed_with_a_reason(hand, demo, tmp_path):
    folder = tmp_path / "mixed"
    folder.mkdir()
    for number, file in enumerate(sorted(demo.rglob("*.dcm"))[:20]):
        (folder / f"{number}.dcm").write_bytes(file.read_bytes())
    (folder / "broken.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\xff" * 40)
    hand.open(folder)
    listed = hand.program.window.browser.not_read
    hand.wait(lambda: not listed.isHidden(), 20)
    reasons = [listed.list.topLevelItem(n) for n in range(listed.list.topLevelItemCount())]
    names = [item.child(n).text(0) for item in reasons for n in range(item.childCount())]
    assert names == ["broken.dcm"]
    assert len(reasons[0].text(0)) > 10


def test_a_folder_without_images_says_so_and_loses_nothing(hand, tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    hand.program.window.dropped.emit([str(tmp_path / "notes.txt")], False)
    hand.wait(lambda: any("No images" in words for words in hand.said), 20)


def test_a_click_on_a_lesion_chooses_it_and_brings_the_views_there(hand, demo):
    hand.open(demo)
    volume = hand.program.workspace.case.volumes[0]
    labels = np.zeros(volume.geometry.shape, np.uint8)
    middle = tuple(n // 2 for n in labels.shape)
    labels[middle[0] - 3 : middle[0] + 4, middle[1] - 5 : middle[1] + 6, 30:50] = 1
    mask = Segmentation.from_labels(
        "m", "mask", volume.geometry, volume.id, labels, segments=(Segment(1, "Lesion", (9, 9, 9)),)
    )
    hand.program.workspace.execute(AddItem(mask, "New mask"))
    hand.wait(lambda: hand.program.findings.lesions, 30)
    target = volume.geometry.world((middle[0], middle[1], 40))
    place = hand.place_of(target)
    hand.drag([place, place])
    assert hand.program.findings.chosen is hand.program.findings.lesions[0]
    assert np.allclose(hand.program.workspace.display.cursor, target, atol=1.5)
