"""Every key can be changed, but none ever means two things at one time."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.commands import COMMANDS, command
from app.keys import from_text, joined, keys_of, normal, sane, to_text, why_not, with_keys
from imaging.errors import BadInput


def clashes(chosen) -> list[tuple[str, str, str]]:
    """Pairs of commands that share a key in one mode, worked out the slow way."""
    found = []
    for mode in ("read", "edit"):
        owner: dict[str, str] = {}
        for row in COMMANDS:
            if row.mode in ("any", mode):
                for key in map(normal, keys_of(row, chosen)):
                    if key in owner:
                        found.append((key, owner[key], row.id))
                    owner[key] = row.id
    return found


def test_the_usual_keys_never_clash():
    assert clashes({}) == []
    assert sane(COMMANDS, {}) == ({}, [])


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("shift+ctrl+z", "Ctrl+Shift+Z"),
        ("Control+Delete", "Ctrl+Del"),
        ("ctrl++", "Ctrl++"),
        ("+", "+"),
        ("?", "?"),
        ("pageup", "PgUp"),
        ("Return", "Return"),
        ("", ""),
        ("Ctrl", ""),
        ("Hello+World", ""),
    ],
)
def test_one_spelling(written, read):
    assert normal(written) == read


def test_several_keys_survive_even_the_separator_itself():
    keys = ("|", "Ctrl+|", "/", ";")
    row = command("file.demo")
    chosen = with_keys(COMMANDS, {}, row, keys)
    assert keys_of(row, chosen) == keys


def test_a_changed_key_frees_the_old_one():
    chosen = with_keys(COMMANDS, {}, command("view.invert"), ("J",))
    assert keys_of(command("view.invert"), chosen) == ("J",)
    assert with_keys(COMMANDS, chosen, command("view.cine"), ("I",))["view.cine"] == "I"


def test_a_key_of_another_command_is_refused_with_its_name():
    with pytest.raises(BadInput, match="Flip horizontally"):
        with_keys(COMMANDS, {}, command("view.invert"), ("h",))


def test_modes_share_keys_only_where_they_never_meet():
    assert why_not(COMMANDS, {}, command("edit.smaller"), "I") == ""  # Invert is for reading
    assert "Invert" in why_not(COMMANDS, {}, command("view.cine"), "I")
    assert "Invert" in why_not(COMMANDS, {}, command("view.maximise"), "I")  # any mode


def test_over_the_images_keys_of_the_window_hold_too():
    assert "Open folder" in why_not(COMMANDS, {}, command("scroll.next"), "Ctrl+O")


def test_keys_of_gestures_and_lists_are_kept_for_them():
    assert "gesture" in why_not(COMMANDS, {}, command("view.cine"), "Esc")
    assert "held" in why_not(COMMANDS, {}, command("edit.larger"), "Space")
    assert "lists" in why_not(COMMANDS, {}, command("view.one"), "Home")
    assert why_not(COMMANDS, {}, command("view.one"), "Ctrl+Home") == ""


def test_usual_keys_leave_no_trace_and_none_is_a_choice():
    row = command("edit.redo")
    chosen = with_keys(COMMANDS, {}, row, ())
    assert keys_of(row, chosen) == ()
    assert with_keys(COMMANDS, chosen, row, row.keys) == {}


def test_two_commands_may_swap_keys_in_a_file():
    swapped = {"view.invert": "H", "view.flip_h": "I"}
    assert sane(COMMANDS, swapped) == (swapped, [])


def test_an_export_is_read_back():
    chosen = with_keys(COMMANDS, {}, command("edit.redo"), ("F8", "Ctrl+Y"))
    chosen = with_keys(COMMANDS, chosen, command("help.about"), ("Alt+F1",))
    chosen = with_keys(COMMANDS, chosen, command("view.cine"), ())
    assert from_text(COMMANDS, to_text(COMMANDS, chosen)) == (chosen, [])


def test_reading_forgives_line_by_line():
    text = json.dumps(
        {"view.cine": "ctrl+j", "view.gone": "K", "view.rotate": 7, "view.invert": ["H"],
         "edit.eraser": "nonsense+more"}
    )  # fmt: skip
    chosen, problems = from_text(COMMANDS, text)
    assert chosen == {"view.cine": "Ctrl+J"}
    assert len(problems) == 4
    assert any("view.gone" in words for words in problems)
    assert any("Flip horizontally" in words for words in problems)


@pytest.mark.parametrize("text", ["", "hello", "[1]", "{}", '{"patient": 3}'])
def test_what_is_no_file_of_keys_is_a_sentence(text):
    with pytest.raises(BadInput, match="keys"):
        from_text(COMMANDS, text)


@given(
    st.dictionaries(
        st.sampled_from([row.id for row in COMMANDS] + ["no.such"]),
        st.lists(st.sampled_from([*"ABCINX123", "Space", "Esc", "Ctrl+O", "Up", "Return", "?"])),
        max_size=12,
    )
)
def test_whatever_a_file_says_no_key_means_two_things(wanted):
    chosen, _ = sane(COMMANDS, {id: joined(keys) for id, keys in wanted.items()})
    assert clashes(chosen) == []
    assert sane(COMMANDS, chosen) == (chosen, [])
