"""A window chosen for a sequence opens the next series of that sequence, also after a restart."""

from __future__ import annotations

import numpy as np
import pytest
from PySide6.QtCore import QPoint, Qt

from app.settings import load
from viewer.state.window_memory import share_of
from viewer.state.windows import automatic_window


def shown_share(hand):
    view, volumes = hand.view(), hand.program.workspace.case.volumes
    volume = next(v for v in volumes if v.id == view.plan.volume_id)
    return share_of(view.plan.window, automatic_window(volume))


def widen(hand) -> None:
    middle = hand.view().rect().center()
    hand.drag([middle, middle + QPoint(60, 0), middle + QPoint(90, 30)])


def test_the_window_of_a_sequence_is_kept_over_a_restart(hand, demo, start):
    hand.open(demo)
    header = hand.view().plan.window
    widen(hand)
    kept = shown_share(hand)
    assert hand.view().plan.window != header
    hand.open(demo)
    assert shown_share(hand) == pytest.approx(kept)
    hand.program.window.closing.emit()
    settings, _ = load()
    assert settings.presets["FLAIR"] == pytest.approx(kept)

    again = start(settings)
    again.open(demo)
    assert shown_share(again) == pytest.approx(kept)
    again.key(Qt.Key.Key_0)
    assert again.program.window_memory.shares == {}
    again.open(demo)
    assert again.view().plan.window == pytest.approx(header)


def test_reset_forgets_and_other_sequences_are_left_alone(hand, demo):
    hand.open(demo)
    header = hand.view().plan.window
    widen(hand)
    hand.key(Qt.Key.Key_Right)
    hand.wait(lambda: len(hand.program.workspace.case.volumes) == 2)
    hand.wait(lambda: not hand.program.cases.loading)
    other = hand.program.workspace.case.volumes[1]
    assert hand.view().plan.window == (other.window or automatic_window(other))
    hand.key(Qt.Key.Key_Left)
    hand.key(Qt.Key.Key_0, Qt.KeyboardModifier.ControlModifier)
    assert np.allclose(hand.view().plan.window, header)
    hand.open(demo)
    assert np.allclose(hand.view().plan.window, header)
