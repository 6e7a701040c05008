"""Undo and redo."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from small_cases import same_items, small_case

from imaging.edits.edit import VoxelEdit
from imaging.edits.history import History
from imaging.geometry import Box
from imaging.storage.case_file import snapshot


@dataclass(frozen=True)
class Step:
    name: str
    nbytes: int = 10


def test_undo_and_redo_say_what_they_would_do():
    history = History()
    assert (history.undo_name, history.redo_name, history.steps) == (None, None, 0)
    history.record(Step("one"))
    history.record(Step("two"))
    assert history.step_back().name == "two"
    assert (history.undo_name, history.redo_name, history.steps) == ("one", "two", 1)
    assert history.step_forward().name == "two"
    assert (history.undo_name, history.redo_name) == ("two", None)


def test_a_new_step_forgets_what_was_undone():
    history = History()
    history.record(Step("one"))
    history.step_back()
    history.record(Step("other"))
    assert history.redo_name is None
    assert history.undo_name == "other"


@pytest.mark.parametrize("step", ["step_back", "step_forward"])
def test_there_is_nothing_to_step_to(step):
    with pytest.raises(IndexError):
        getattr(History(), step)()


def test_the_oldest_steps_go_when_too_many_bytes_are_kept():
    history = History(limit_bytes=25)
    for name in "abc":
        history.record(Step(name))
    assert history.steps == 2
    assert history.step_back().name == "c"
    assert history.step_back().name == "b"


def test_the_newest_step_always_stays():
    history = History(limit_bytes=5)
    history.record(Step("large", nbytes=1000))
    assert history.undo_name == "large"


def test_clear_forgets_everything():
    history = History()
    history.record(Step("one"))
    history.step_back()
    history.record(Step("two"))
    history.clear()
    assert (history.undo_name, history.redo_name) == (None, None)


class Undoing(RuleBasedStateMachine):
    """Any mix of strokes, undo and redo stays in step with a list of whole states."""

    def __init__(self):
        super().__init__()
        self.case = small_case()
        self.history = History()
        self.states = [snapshot(self.case)]
        self.at = 0

    @rule(corner=st.tuples(*[st.integers(0, 8)] * 3), value=st.integers(0, 3))
    def paint(self, corner, value):
        box = Box(corner, (corner[0] + 2, corner[1] + 3, corner[2] + 3))
        before = self.case.segmentation("mask").labels[box.slices]
        edit = VoxelEdit.between("mask", "Paint", box, before, (before & 0) + value)
        edit.check(self.case)
        edit.apply(self.case)
        self.history.record(edit)
        self.states = [*self.states[: self.at + 1], snapshot(self.case)]
        self.at += 1

    @precondition(lambda self: self.at > 0)
    @rule()
    def undo(self):
        edit = self.history.step_back().inverse()
        edit.check(self.case)
        edit.apply(self.case)
        self.at -= 1

    @precondition(lambda self: self.at + 1 < len(self.states))
    @rule()
    def redo(self):
        edit = self.history.step_forward()
        edit.check(self.case)
        edit.apply(self.case)
        self.at += 1

    @invariant()
    def the_case_is_as_it_was_then(self):
        assert same_items(self.case, self.states[self.at])
        assert self.history.steps == self.at


TestUndoing = Undoing.TestCase
TestUndoing.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)
