"""The journal of the open case: one per case, begun at the first edit, never mixed up."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest
from panel_cases import add_answer, by_hand, open_workspace, volume
from PySide6.QtCore import QObject, Signal

from app.controllers.journal import CaseJournal, _description
from imaging.case import Case
from imaging.edits.edit import AddItem
from imaging.edits.operations import set_threshold
from imaging.errors import EditRefused
from imaging.storage.file_lock import CaseInUse
from imaging.storage.journal import Journal


class Cases(QObject):
    saved = Signal(str)


class FakeJournal:
    """What a journal would be told; ``refuses`` while the disk does."""

    def __init__(self, key: str) -> None:
        self.key, self.names, self.refuses, self.closed = key, [], False, False
        self.bases, self.saved, self.wants_base = 0, [], True
        self.seen: list = []

    def append(self, edit, _case, how) -> None:
        self.names.append((edit.name, how))

    def wait(self, _seconds=None) -> bool:
        return not self.refuses

    def close(self, discard=False, timeout=10.0) -> bool:
        self.closed = not self.refuses
        return self.closed

    def compact(self, _case) -> None:
        self.bases += 1

    def note_seen(self, seen) -> None:
        self.seen.append(seen)

    def note_saved(self, path) -> None:
        self.saved.append(path.name)


@pytest.fixture
def desk(qtbot, monkeypatch, tmp_path):
    """A workspace with its journal controller; ``made`` holds the journals begun."""
    made: list[FakeJournal] = []

    def create(_folder, key, _case, _description="", on_state=None):
        made.append(FakeJournal(key))
        return made[-1]

    monkeypatch.setattr(Journal, "create", create)
    monkeypatch.setattr("app.controllers.journal.journal_folder", lambda: tmp_path)
    workspace, cases = open_workspace(), Cases()
    bar = SimpleNamespace(states=[], set_journal=lambda state, _tip="": bar.states.append(state))
    tasks = SimpleNamespace(post=lambda f: f(), run=lambda *_: None)
    journal = CaseJournal(workspace, tasks, cases, None, bar)
    return SimpleNamespace(workspace=workspace, journal=journal, made=made, cases=cases, bar=bar)


def close_study(desk) -> None:
    desk.workspace.replace_case(Case(), desk.workspace.display, "close")


def test_looking_leaves_no_journal_and_the_first_edit_begins_one(desk) -> None:
    assert desk.made == []
    desk.workspace.execute(AddItem(by_hand(), "Add mask"))
    desk.workspace.undo()
    assert [one.names for one in desk.made] == [[("Add mask", "do"), ("Add mask", "undo")]]


def test_every_case_has_its_own_journal(desk) -> None:
    desk.workspace.execute(AddItem(by_hand(), "First"))
    close_study(desk)
    assert desk.made[0].closed
    desk.workspace.add_volume(volume("other"))
    desk.workspace.execute(AddItem(by_hand(), "Second"))
    assert [one.names for one in desk.made] == [[("First", "do")], [("Second", "do")]]


def test_a_journal_whose_disk_refuses_does_not_get_the_next_case(desk) -> None:
    desk.workspace.execute(AddItem(by_hand(), "First"))
    desk.made[0].refuses = True
    close_study(desk)
    desk.workspace.add_volume(volume("other"))
    desk.workspace.execute(AddItem(by_hand(), "Second"))
    assert desk.made[0].names == [("First", "do")]
    assert desk.made[1].names == [("Second", "do")]
    assert not desk.journal.wait(0.0)  # so the window asks before it closes
    desk.made[0].refuses = False
    assert desk.journal.wait(0.0)
    assert desk.made[0].closed


def test_no_base_holds_what_is_only_being_tried(desk) -> None:
    add_answer(desk.workspace)
    case = desk.workspace.case
    desk.workspace.rehearse(set_threshold(case.segmentation("draft"), case.heatmap("prob"), 0.9))
    desk.journal._compact()
    assert desk.made[0].bases == 0
    desk.workspace.rehearse(None)
    desk.journal._compact()
    assert desk.made[0].bases == 1


def test_a_saved_case_is_noted(desk) -> None:
    desk.workspace.execute(AddItem(by_hand(), "First"))
    desk.cases.saved.emit("/somewhere/case-002.isocase")
    assert desk.made[0].saved == ["case-002.isocase"]


def test_a_case_open_elsewhere_is_refused_in_words(desk, monkeypatch) -> None:
    def busy(*_, **__):
        raise CaseInUse("locked")

    monkeypatch.setattr(Journal, "create", busy)
    with pytest.raises(EditRefused, match="another Isocenter window"):
        desk.workspace.execute(AddItem(by_hand(), "First"))
    assert "hand" not in desk.workspace.case.items


def test_what_is_hidden_is_noted_once_it_has_settled(qtbot, desk) -> None:
    add_answer(desk.workspace)
    for on in (False, True, False):
        desk.workspace.show(desk.workspace.display.with_overlay("draft", visible=on))
    [journal] = desk.made
    assert journal.seen == []
    qtbot.waitUntil(lambda: bool(journal.seen), timeout=20_000)
    [noted] = journal.seen
    assert not noted["overlays"]["draft"]["visible"]


def test_what_was_hidden_a_moment_ago_is_noted_when_the_study_is_closed(desk) -> None:
    add_answer(desk.workspace)
    display = desk.workspace.display.with_overlay("draft", visible=False)
    desk.workspace.show(display.but(overlays_shown=False))
    close_study(desk)
    [journal] = desk.made
    assert not journal.seen[-1]["overlays"]["draft"]["visible"]
    assert not journal.seen[-1]["overlays_shown"]


@pytest.mark.parametrize(
    ("name", "folder", "told"),
    [
        ("DOE^JANE", "/data/MNI/patient19", "DOE JANE"),
        ("", "/data/MNI/patient19", "patient19 · MNI"),
    ],
)
def test_unsaved_work_says_whose_it_is(name, folder, told) -> None:
    flair = volume()
    patient = replace(flair.source.patient, name=name)
    flair = replace(flair, source=replace(flair.source, patient=patient, folder=folder))
    assert _description(Case({flair.id: flair})) == f"{told} · {flair.name}"
