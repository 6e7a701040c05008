"""Pointing at a lesion of the demo head with the hand: preview, Enter, Esc, undo."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPoint, Qt
from PySide6.QtTest import QTest

from app.controllers.click_engines import CLASSIC
from imaging.segmentation import PROPOSED_ID


def brightest(hand) -> np.ndarray:
    """A bright place deep in the image, LPS mm."""
    from scipy import ndimage

    volume = hand.program.workspace.case.volumes[0]
    smooth = ndimage.gaussian_filter(volume.voxels.astype(np.float32), 1.5)
    edge = [n // 4 for n in smooth.shape]
    inner = smooth[tuple(slice(e, -e) for e in edge)]
    at = np.unravel_index(int(inner.argmax()), inner.shape)
    return volume.geometry.world(np.add(at, edge))


def test_clicks_make_a_proposal_and_enter_one_step(hand, demo) -> None:
    hand.open(demo)
    program = hand.program
    program.clicks.choose_engine(CLASSIC)
    place = brightest(hand)
    program.views.jump(place)
    hand.key(Qt.Key.Key_B)
    hand.key(Qt.Key.Key_6)
    assert program.workspace.display.tool == "click"
    hand.drag([hand.place_of(place), hand.place_of(place)])
    hand.wait(lambda: program.clicks.pending and not program.clicks.busy)
    mask = program.workspace.case.kept_segmentations[0]
    shown = int(np.count_nonzero(program.workspace.case.segmentation(PROPOSED_ID).labels))
    assert shown > 0
    assert not mask.labels.any(), "painted by Enter only"
    assert not program.findings.lesions, "and not counted before"
    undo = program.workspace.history.undo_name
    hand.key(Qt.Key.Key_Return)
    assert not program.clicks.pending
    assert np.count_nonzero(mask.labels) == shown
    assert program.workspace.history.undo_name == "Point at a thing" != undo
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not mask.labels.any()

    corner = hand.place_of(place)
    hand.drag([corner - QPoint(40, 40), corner, corner + QPoint(40, 40)])
    hand.wait(lambda: program.clicks.pending and not program.clicks.busy)
    assert program.clicks.proposal.hints.box is not None
    hand.drag([corner, corner], modifier=Qt.KeyboardModifier.ControlModifier)
    hand.wait(lambda: not program.clicks.busy)
    assert len(program.clicks.proposal.hints.unwanted) == 1
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert program.clicks.pending, "only the last hint is gone"
    assert not program.clicks.proposal.hints.unwanted
    control_shift = Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier
    hand.key(Qt.Key.Key_Z, control_shift)
    hand.wait(lambda: not program.clicks.busy)
    assert len(program.clicks.proposal.hints.unwanted) == 1
    hand.key(Qt.Key.Key_Escape)
    assert not program.clicks.pending
    assert not mask.labels.any()


def test_delete_undo_and_another_tool_with_an_open_proposal(hand, demo) -> None:
    hand.open(demo)
    program = hand.program
    program.clicks.choose_engine(CLASSIC)
    place = brightest(hand)
    program.views.jump(place)
    hand.key(Qt.Key.Key_B)
    hand.key(Qt.Key.Key_6)
    at = hand.place_of(place)

    def propose() -> None:
        hand.drag([at - QPoint(60, 60), at - QPoint(20, 20)])
        hand.wait(lambda: program.clicks.pending and not program.clicks.busy)

    hand.drag([at, at])
    hand.wait(lambda: program.clicks.pending and not program.clicks.busy)
    hand.key(Qt.Key.Key_Return)
    [mask] = program.workspace.case.kept_segmentations
    accepted = mask.labels.copy()
    assert accepted.any()

    propose()
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not program.clicks.pending
    np.testing.assert_array_equal(mask.labels, accepted)

    propose()
    hand.key(Qt.Key.Key_1)
    assert program.workspace.display.tool != "click"
    assert not program.clicks.pending
    np.testing.assert_array_equal(mask.labels, accepted)

    hand.key(Qt.Key.Key_6)
    hand.wait(lambda: program.findings.lesions)
    propose()
    program.workspace.select(program.findings.lesions[0])
    program.findings.delete()
    assert not program.clicks.pending
    assert program.workspace.history.undo_name != "Point at a thing"
    hand.key(Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    np.testing.assert_array_equal(mask.labels, accepted)


def test_enter_in_the_list_of_masks_shows_a_hidden_label_before_it_paints(hand, demo) -> None:
    hand.open(demo)
    program = hand.program
    program.clicks.choose_engine(CLASSIC)
    place = brightest(hand)
    program.views.jump(place)
    hand.key(Qt.Key.Key_B)
    hand.key(Qt.Key.Key_6)
    at = hand.place_of(place)
    hand.drag([at, at])
    hand.wait(lambda: program.clicks.pending and not program.clicks.busy)
    [mask] = program.workspace.case.kept_segmentations
    hidden = program.workspace.display.with_overlay(mask.id, hidden_segments=frozenset({1}))
    program.workspace.show(hidden)
    tree = program.window.segments.tree
    tree.setFocus()
    QTest.keyClick(tree, Qt.Key.Key_Return)
    assert program.clicks.pending
    assert not mask.labels.any()
    assert not program.workspace.display.overlay(mask.id).hidden_segments
    QTest.keyClick(tree, Qt.Key.Key_Return)
    assert not program.clicks.pending
    assert mask.labels.any()
