"""Return ends what is being typed; only over the views and in the lesion list does it accept."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QApplication, QLineEdit

from app.windows.segment_tree import NAME
from imaging.edits.edit import AddItem
from imaging.heatmap import PROBABILITY, Heatmap
from imaging.segmentation import AUTOMATIC, Provenance, Segment, Segmentation


@pytest.fixture
def reading(hand, demo):
    """A draft with two lesions, the first one chosen in the list."""
    hand.open(demo)
    workspace = hand.program.workspace
    volume = workspace.case.volumes[0]
    labels = np.zeros(volume.geometry.shape, np.uint8)
    k, j, i = (n // 2 for n in labels.shape)
    labels[k : k + 2, j : j + 6, i : i + 6] = 1
    labels[k : k + 2, j - 20 : j - 16, i - 20 : i - 16] = 1
    made = Provenance("Test model", "1")
    heat = Heatmap("p", "P", labels.astype(np.float32) * 0.9, PROBABILITY, volume.geometry,
                   volume.id, made)  # fmt: skip
    segments = (Segment(1, "Lesion", (230, 159, 0), algorithm_type=AUTOMATIC),)
    mask = Segmentation.from_labels(
        "draft", "Lesions", volume.geometry, volume.id, labels, segments=segments,
        provenance=made, draft=True, threshold=0.5, probability_id="p",
    )  # fmt: skip
    for item in (heat, mask):
        workspace.execute(AddItem(item, "Add"))
    hand.wait(lambda: len(hand.program.findings.lesions or ()) == 2)
    hand.key(Qt.Key.Key_N)
    assert workspace.selection is not None
    return hand, mask


def press_return(hand, widget) -> None:
    widget.setFocus()
    QApplication.processEvents()
    QTest.keyClick(hand.program.window.windowHandle(), Qt.Key.Key_Return)
    QApplication.processEvents()


def test_return_in_the_threshold_box_accepts_no_lesion(reading):
    hand, mask = reading
    spin = hand.program.window.findings.threshold.spin
    spin.setFocus()
    editor = spin.findChild(QLineEdit)
    editor.selectAll()
    QTest.keyClicks(spin, "0.7")
    press_return(hand, spin)
    assert [segment.name for segment in mask.segments] == ["Lesion"]
    hand.wait(lambda: mask.threshold == pytest.approx(0.7), 10)


def test_return_while_a_label_is_renamed_keeps_the_name(reading):
    hand, mask = reading
    window = hand.program.window
    window._lower.setCurrentIndex(1)
    tree = window.segments.tree
    item = tree.topLevelItem(0)
    item = item.child(0) or item
    tree.setCurrentItem(item)
    tree.editItem(item, NAME)
    editor = tree.findChild(QLineEdit)
    editor.selectAll()
    QTest.keyClicks(editor, "Plaque")
    press_return(hand, editor)
    hand.wait(lambda: [segment.name for segment in mask.segments] == ["Plaque"], 10)


@pytest.mark.parametrize("key", [Qt.Key.Key_Return, Qt.Key.Key_Enter])
def test_return_accepts_over_the_views(reading, key):
    hand, mask = reading
    hand.key(key)
    assert len(mask.segments) == 2


def test_return_accepts_in_the_lesion_list(reading):
    hand, mask = reading
    press_return(hand, hand.program.window.findings.view)
    assert len(mask.segments) == 2
