"""A window is carried from one image of a sequence to the next, in shares of its own range."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imaging.volume import Window
from viewer.state.display import DisplayState
from viewer.state.window_memory import (
    chosen_windows,
    forgotten,
    remembered,
    share_of,
    window_of,
)

values = st.floats(-1e5, 1e5)
widths = st.floats(0.01, 1e5)


@given(values, widths, values, widths)
def test_a_share_comes_back_as_the_same_window(centre, width, automatic_centre, automatic_width):
    automatic = Window(automatic_centre, automatic_width)
    back = window_of(share_of(Window(centre, width), automatic), automatic)
    assert back.centre == pytest.approx(centre, abs=1e-3)
    assert back.width == pytest.approx(width, rel=1e-6)


@given(st.floats(0.1, 100), st.floats(-1000, 1000))
def test_an_image_with_other_numbers_looks_the_same(scale, shift):
    automatic, chosen = Window(500, 1000), Window(650, 700)
    other = Window(500 * scale + shift, 1000 * scale)
    window = window_of(share_of(chosen, automatic), other)
    assert window.centre == pytest.approx(650 * scale + shift, abs=1e-6)
    assert window.width == pytest.approx(700 * scale)


def test_the_automatic_window_forgets():
    shares = remembered({}, "FLAIR", Window(650, 700), Window(500, 1000))
    assert shares == {"FLAIR": (0.65, 0.7)}
    assert remembered(shares, "FLAIR", Window(500, 1000), Window(500, 1000)) == {}
    assert forgotten(shares, "T1w") == shares


@pytest.mark.parametrize(
    ("sequence", "window"),
    [("", Window(1, 1)), ("T1w", Window(math.nan, 1)), ("T1w", Window(1, 0))],
)
def test_what_cannot_be_remembered_changes_nothing(sequence, window):
    assert remembered({"T2w": (0.5, 2.0)}, sequence, window, Window(5, 10)) == {"T2w": (0.5, 2.0)}


def test_only_a_change_of_windows_alone_is_a_choice():
    old = DisplayState().with_window("a", Window(1, 2))
    new = old.with_window("b", Window(3, 4))
    assert chosen_windows(old, new) == {"b": Window(3, 4)}
    assert chosen_windows(old, new.but(text_shown=False)) == {}
    assert chosen_windows(old, old.but(tool="brush")) == {}
