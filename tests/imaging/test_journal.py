"""The journal: what was finished is on the disk, whatever happens to program, disk or file."""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import apsw
import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from small_cases import map_on, mask_on, same_items, small_case, straight, volume_on

from imaging.case import Case
from imaging.edits.edit import AddItem, Edit, Group, HeaderEdit, RemoveItem, VoxelEdit
from imaging.edits.history import History
from imaging.geometry import Box
from imaging.storage import file_lock, recovery
from imaging.storage import journal as journal_module
from imaging.storage.case_file import snapshot
from imaging.storage.file_lock import CaseInUse, FileLock, is_locked
from imaging.storage.journal import EDITS_PER_BASE, Journal
from imaging.storage.journal_file import SUFFIX, JournalFile
from imaging.storage.recovery import discard, recover, recoverable

KEY = "1.2.840.113619 DOE^JANE"
BOX = Box((1, 2, 3), (6, 7, 9))


class Desk:
    """A case with its journal, used the way the workspace does."""

    def __init__(self, folder: Path, case: Case | None = None, **options) -> None:
        self.case = small_case() if case is None else case
        self.journal = Journal.create(folder, KEY, self.case, "Case one", **options)
        self.history = History()

    def do(self, edit: Edit, how: str = "do") -> None:
        edit.check(self.case)
        self.journal.append(edit, self.case, how)
        edit.apply(self.case)
        if how == "do":
            self.history.record(edit)

    def paint(self, value: int, box: Box = BOX) -> None:
        before = self.case.segmentation("mask").labels[box.slices]
        after = np.full(box.shape, value, np.uint8)
        self.do(VoxelEdit.between("mask", "Brush", box, before, after))

    def undo(self) -> None:
        self.do(self.history.step_back().inverse(), "undo")

    def redo(self) -> None:
        self.do(self.history.step_forward(), "redo")


@pytest.fixture
def desk(tmp_path):
    desk = Desk(tmp_path / "journals")
    yield desk
    desk.journal.close(discard=True)


def crash_copy(desk: Desk, folder: Path) -> Path:
    """What a kill at this moment would leave, in another folder."""
    assert desk.journal.wait(10)
    source = desk.journal.path
    assert source is not None
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(source.parent, folder, ignore=shutil.ignore_patterns("*.lock"))
    return folder / source.name


def recovered(path: Path, volumes=None) -> tuple[Case, object]:
    items, report = recover(path, volumes)
    return Case({item.id: item for item in items}), report


# --- what comes back ------------------------------------------------------------------------


def test_after_a_crash_everything_finished_comes_back(desk, tmp_path):
    desk.paint(1)
    desk.paint(2, Box((0, 0, 0), (2, 2, 2)))
    path = crash_copy(desk, tmp_path / "after")
    (found,) = recoverable(path.parent)
    assert (found.path, found.strokes, found.description) == (path, 2, "Case one")
    assert found.readable
    case, report = recovered(path)
    assert same_items(case, desk.case)
    assert (report.strokes, report.unreadable, report.damaged) == (2, 0, False)
    assert report.sentence.startswith("Recovered 2 steps up to ")


def every_edit(case: Case) -> list[Edit]:
    mask = case.segmentation("mask")
    geometry = mask.geometry
    other = replace_id(mask_on(geometry, np.full(geometry.shape, 2, np.uint8)), "other")
    before = mask.labels[BOX.slices]
    stroke = VoxelEdit.between("mask", "Brush", BOX, before, before ^ 3)
    header = HeaderEdit(
        "mask", "Rename", mask.header(), mask.header(name="Ö", threshold=0.1 + 0.2, hand_work=b"\0")
    )
    return [
        stroke,
        header,
        AddItem(other, "Add mask"),
        AddItem(map_on(geometry, id="second map"), "Add map"),
        AddItem(volume_on(geometry, id="t1"), "Add image"),
        RemoveItem(mask, "Remove mask"),
        RemoveItem(case.heatmap("map"), "Remove map"),
        RemoveItem(case.volume("flair"), "Remove image"),
        Group.of("Both", [stroke, Group.of("Inner", [header, RemoveItem(case.items["map"], "x")])]),
    ]


def replace_id(mask, id):
    mask.id = id
    return mask


@pytest.mark.parametrize("number", range(9))
def test_every_kind_of_edit_its_undo_and_redo_come_back(desk, tmp_path, number):
    desk.do(every_edit(desk.case)[number])
    for move in (None, desk.undo, desk.redo):
        if move is not None:
            move()
        case, report = recovered(crash_copy(desk, tmp_path / "after"))
        assert same_items(case, desk.case)
        assert not report.damaged


def test_a_mask_is_stored_as_it_was_when_it_was_added(desk, tmp_path):
    """The user paints on while the writer still packs the mask."""
    added = replace_id(mask_on(straight()), "new")
    desk.do(AddItem(added, "Add"))
    before = added.labels[BOX.slices]
    desk.do(VoxelEdit.between("new", "Brush", BOX, before, before + 1))
    case, report = recovered(crash_copy(desk, tmp_path / "after"))
    assert same_items(case, desk.case)
    assert report.unreadable == 0


def test_what_was_there_before_the_journal_comes_back_too(tmp_path):
    desk = Desk(tmp_path / "journals", small_case(seed=7))
    desk.paint(1)
    case, _ = recovered(crash_copy(desk, tmp_path / "after"))
    assert same_items(case, desk.case)
    desk.journal.close(discard=True)


def test_the_volumes_are_named_and_found_again(desk, tmp_path):
    desk.case.items["t1"] = volume_on(straight(), id="t1")
    desk.paint(1)
    path = crash_copy(desk, tmp_path / "after")
    refs = recoverable(path.parent)[0].volumes
    assert [(r.id, r.series_uid, r.files) for r in refs] == [
        ("flair", "1.2.840.1", ("flair.nii.gz",)),
        ("t1", "1.2.840.1", ("flair.nii.gz",)),
    ]
    again = volume_on(straight(), id="reopened")
    items, report = recover(path, lambda ref: again if ref.id == "flair" else None)
    assert {item.volume_id for item in items} == {"reopened"}
    assert report.missing == ()
    items, report = recover(path, lambda ref: None)
    assert [ref.id for ref in report.missing] == ["flair"]
    assert len(items) == 2
    other = volume_on(straight((3, 3, 3)), id="another")
    items, report = recover(path, lambda ref: other)
    assert [ref.id for ref in report.missing] == ["flair"]
    assert {item.volume_id for item in items} == {"flair"}


def test_the_file_name_tells_nothing_about_the_patient(desk):
    assert desk.journal.path is not None
    name = desk.journal.path.name
    assert re.fullmatch(r"[0-9a-f]{24}(-\d+)?\.isojournal", name), name
    for secret in (KEY, "1.2.840", "DOE", "Case"):
        assert secret.casefold() not in name.casefold()


def test_work_that_is_in_a_case_file_is_not_offered_again(desk, tmp_path):
    desk.paint(1)
    desk.journal.note_saved(Path("case.isocase"))
    path = crash_copy(desk, tmp_path / "after")
    assert recoverable(path.parent) == []
    assert not path.exists()
    desk.paint(2)
    path = crash_copy(desk, tmp_path / "after")
    (found,) = recoverable(path.parent)
    assert (found.strokes, found.case_file) == (1, "case.isocase")
    case, report = recovered(path)
    assert same_items(case, desk.case)
    assert report.strokes == 1


def test_what_was_seen_last_comes_back_and_is_no_step(desk, tmp_path):
    desk.paint(1)
    until = recovered(crash_copy(desk, tmp_path / "before"))[1].until
    for visible in (False, True, False):
        desk.journal.note_seen({"overlays": {"mask": {"visible": visible}}})
    path = crash_copy(desk, tmp_path / "after")
    (found,) = recoverable(path.parent)
    _case, report = recovered(path)
    assert (found.strokes, report.strokes, report.until) == (1, 1, until)
    assert report.seen == {"overlays": {"mask": {"visible": False}}}
    desk.journal.note_saved(Path("case.isocase"))
    desk.journal.note_seen({"overlays": {}})
    assert recoverable(crash_copy(desk, tmp_path / "saved").parent) == []


def test_a_journal_without_work_is_swept_away(desk, tmp_path):
    path = crash_copy(desk, tmp_path / "after")
    assert recoverable(path.parent) == []
    assert list(path.parent.iterdir()) == []


def test_an_open_journal_is_not_offered(desk):
    desk.paint(1)
    desk.journal.wait(10)
    assert recoverable(desk.journal.path.parent) == []
    assert desk.journal.path.exists()


def test_a_journal_without_work_that_cannot_be_removed_is_still_not_offered(
    desk, tmp_path, monkeypatch
):
    path = crash_copy(desk, tmp_path / "after")

    def refuse(path):
        raise PermissionError(13, "in use")

    monkeypatch.setattr(recovery, "remove", refuse)
    assert recoverable(path.parent) == []
    assert path.exists()


def test_no_folder_no_journals(tmp_path):
    assert recoverable(tmp_path / "nowhere") == []


def test_what_is_not_wanted_can_be_had_back_for_a_month(desk, tmp_path):
    desk.paint(1)
    path = crash_copy(desk, tmp_path / "after")
    before, _ = recovered(path)
    kept = discard(path)
    assert not path.exists()
    assert recoverable(path.parent) == []
    assert kept.is_relative_to(path.parent)
    for part in kept.iterdir():
        part.rename(path.parent / part.name)
    (found,) = recoverable(path.parent)
    assert found.path == path
    again, _ = recovered(path)
    assert np.array_equal(again.segmentation("mask").labels, before.segmentation("mask").labels)


def test_what_was_discarded_long_ago_is_deleted(desk, tmp_path):
    desk.paint(1)
    path = crash_copy(desk, tmp_path / "after")
    kept = discard(path)
    recoverable(path.parent)
    assert list(kept.iterdir())
    old = kept.stat().st_mtime - 31 * 86_400
    os.utime(kept, (old, old))
    recoverable(path.parent)
    assert not kept.exists()


# --- going on -------------------------------------------------------------------------------


def test_a_recovered_journal_goes_on_in_the_same_file(desk, tmp_path):
    desk.paint(1)
    path = crash_copy(desk, tmp_path / "after")
    case, report = recovered(path)
    second = Desk.__new__(Desk)
    second.case, second.history = case, History()
    second.journal = Journal.resume(path, case, report.damaged)
    assert second.journal.path == path
    second.paint(2, Box((0, 0, 0), (3, 3, 3)))
    again, report = recovered(crash_copy(second, tmp_path / "later"))
    assert same_items(again, case)
    assert report.strokes == 2
    assert second.journal.close(discard=True)
    assert list(path.parent.iterdir()) == []


def test_closing_without_discarding_keeps_the_work_for_the_next_start(tmp_path):
    desk = Desk(tmp_path)
    desk.paint(1)
    assert desk.journal.close()
    (found,) = recoverable(tmp_path)
    case, _ = recovered(found.path)
    assert same_items(case, desk.case)


def test_a_new_journal_never_writes_over_unsaved_work(tmp_path):
    first = Desk(tmp_path)
    first.paint(1)
    first.journal.close()
    second = Desk(tmp_path, small_case(3))
    second.paint(2)
    second.journal.close()
    assert len(recoverable(tmp_path)) == 2
    case, _ = recovered(tmp_path / first.journal.path.name)
    assert same_items(case, first.case)


def test_two_windows_cannot_write_the_same_case(desk):
    with pytest.raises(CaseInUse, match="another window"):
        Desk(desk.journal.path.parent)
    Journal.create(desk.journal.path.parent, "another case", Case()).close(discard=True)


def test_a_base_shortens_the_replay_and_changes_nothing(desk, tmp_path):
    desk.paint(1)
    desk.journal.compact(desk.case)
    desk.paint(2, Box((0, 0, 0), (3, 3, 3)))
    case, report = recovered(crash_copy(desk, tmp_path / "after"))
    assert same_items(case, desk.case)
    assert report.strokes == 2


def test_a_base_is_asked_for_after_many_edits(desk):
    for _ in range(EDITS_PER_BASE // 2):
        desk.paint(1)
        desk.paint(2)
    assert desk.journal.wants_base
    desk.journal.compact(desk.case)
    assert not desk.journal.wants_base


def test_where_a_base_is_damaged_the_one_before_serves(desk, tmp_path):
    desk.paint(1)
    desk.journal.compact(desk.case)
    desk.paint(2, Box((0, 0, 0), (3, 3, 3)))
    path = crash_copy(desk, tmp_path / "after")
    last_base = "(SELECT max(seq) FROM record WHERE kind='base')"
    _sql(path, f"SELECT body FROM record WHERE seq={last_base}", lambda body: _drop(path, body))
    case, report = recovered(path)
    assert same_items(case, desk.case)
    assert report.unreadable == 0


def _drop(path: Path, body: str) -> None:
    mask = next(item for item in json.loads(body)["items"] if item["kind"] == "segmentation")
    _sql(path, f"DELETE FROM array WHERE digest='{mask['labels']}'")


def _sql(path: Path, statement: str, use=None) -> None:
    connection = apsw.Connection(str(path))
    rows = connection.execute(statement).fetchall()
    connection.close()
    if use is not None:
        use(rows[0][0])


# --- damage ---------------------------------------------------------------------------------


def long_story(desk: Desk) -> list[Case]:
    states = [snapshot(desk.case)]
    for number in range(12):
        start = (number % 5, number % 7, number)
        desk.paint(1 + number % 2, Box(start, (start[0] + 4, start[1] + 5, start[2] + 3)))
        states.append(snapshot(desk.case))
    return states


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE record SET data=x'00' WHERE seq=7",
        "UPDATE record SET body='{}' WHERE seq=7",
        "UPDATE record SET crc=crc+1 WHERE seq=7",
        "UPDATE record SET name='x' WHERE seq=7",
        "UPDATE record SET data='text' WHERE seq=7",
        "DELETE FROM record WHERE seq=7",
    ],
)
def test_replay_ends_before_a_bad_record_and_says_so(desk, tmp_path, damage):
    states = long_story(desk)
    path = crash_copy(desk, tmp_path / "after")
    _sql(path, damage)
    case, report = recovered(path)
    assert same_items(case, states[5])
    assert (report.strokes, report.unreadable, report.damaged) == (5, 7, True)
    assert "7 could not be read" in report.sentence
    assert recoverable(path.parent)[0].strokes >= 1


@pytest.mark.parametrize("body", ["[]", "nonsense", "{}", '{"volumes": [{}], "edit": {}}'])
def test_a_first_record_that_makes_no_sense_gives_nothing_and_raises_nothing(desk, tmp_path, body):
    desk.paint(1)
    path = crash_copy(desk, tmp_path / "after")
    file = JournalFile(path)
    first, second = file.rows()
    file.close()
    _sql(path, "DELETE FROM record")
    file = JournalFile(path)
    file.write([first._replace(body=body), second], {})
    file.close()
    (found,) = recoverable(path.parent)
    assert found.strokes >= 1
    items, report = recover(path)
    assert items == []
    assert report.damaged


def test_a_record_with_a_right_checksum_that_does_not_fit_ends_the_replay(desk, tmp_path):
    states = long_story(desk)
    path = crash_copy(desk, tmp_path / "after")
    file = JournalFile(path)
    row = file.rows()[3]
    file.write([row, row._replace(body=json.dumps({"edit": {"kind": "magic"}, "volumes": []}))], {})
    file.close()
    case, report = recovered(path)
    assert same_items(case, states[-1])
    assert report.unreadable == 2


def test_what_is_wrong_before_a_good_base_does_not_matter(desk, tmp_path):
    desk.paint(1)
    desk.journal.compact(desk.case)
    path = crash_copy(desk, tmp_path / "after")
    file = JournalFile(path)
    first, stroke, base = file.rows()
    file.close()
    _sql(path, "DELETE FROM record")
    file = JournalFile(path)
    file.write([first, stroke._replace(body='{"volumes": 5}'), base], {})
    file.close()
    case, report = recovered(path)
    assert same_items(case, desk.case)
    assert report.unreadable == 0


def test_half_a_group_is_taken_back(desk, tmp_path):
    desk.paint(1)
    path = crash_copy(desk, tmp_path / "after")
    file = JournalFile(path)
    row = file.rows()[1]
    stroke = json.loads(row.body)["edit"]
    back = {**stroke, "before": stroke["after"], "after": stroke["before"]}
    group = {"kind": "group", "name": "x", "parts": [back, {**back, "item": "nobody"}]}
    file.write(
        [row._replace(body=json.dumps({"edit": group, "volumes": []}), data=row.data * 2)], {}
    )
    file.close()
    case, report = recovered(path)
    assert same_items(case, desk.case)
    assert report.unreadable == 1


def test_a_damaged_journal_is_kept_aside_and_a_new_one_takes_over(desk, tmp_path):
    states = long_story(desk)
    path = crash_copy(desk, tmp_path / "after")
    _sql(path, "DELETE FROM record WHERE seq=7")
    before = path.read_bytes()
    case, report = recovered(path)
    journal = Journal.resume(path, case, report.damaged, "Case one")
    assert journal.wait(10)
    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.read_bytes() == before
    assert journal.path != path
    journal.close()
    (found,) = recoverable(path.parent)
    assert (found.path, found.description) == (journal.path, "Case one")
    again, report = recovered(found.path)
    assert same_items(again, states[5])
    assert not report.damaged


def test_no_damage_to_the_bytes_makes_recovery_raise_or_invent(desk, tmp_path):
    """Cut and scribble anywhere: what comes back is always some state that was there."""
    states = long_story(desk)
    path = crash_copy(desk, tmp_path / "after")
    _sql(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    whole = path.read_bytes()
    rng = np.random.default_rng(5)
    for trial in range(60):
        data = bytearray(whole)
        at = int(rng.integers(len(data)))
        if trial % 3 == 0:
            del data[at:]
        else:
            data[at : at + 1 + trial] = rng.bytes(min(1 + trial, len(data) - at))
        path.write_bytes(data)
        case, report = recovered(path)
        if case.items:
            assert any(same_items(case, state) for state in states)
            assert report.damaged or same_items(case, states[-1])
        for found in recoverable(path.parent):
            assert found.path == path


@pytest.mark.parametrize("content", [b"", b"no database", b"SQLite format 3\0" + b"\0" * 100])
def test_a_file_that_is_no_journal_is_listed_and_gives_nothing(tmp_path, content):
    path = tmp_path / ("0" * 24 + SUFFIX)
    path.write_bytes(content)
    items, report = recover(path)
    assert items == []
    assert not report.until
    if content:
        (found,) = recoverable(tmp_path)
        assert not found.readable
        assert report.sentence.startswith("Nothing could be recovered")
        assert path.read_bytes() == content


def test_a_file_that_is_gone_gives_nothing(tmp_path):
    items, report = recover(tmp_path / "gone.isojournal")
    assert (items, report.damaged) == ([], True)


@pytest.mark.parametrize("pragma", ["user_version=2", "application_id=7"])
def test_a_journal_of_a_newer_or_another_program_is_left_alone(desk, tmp_path, pragma):
    desk.paint(1)
    path = crash_copy(desk, tmp_path / "after")
    _sql(path, f"PRAGMA {pragma}")
    items, report = recover(path)
    assert (items, report.damaged) == ([], True)
    (found,) = recoverable(path.parent)
    assert not found.readable


def test_recovery_leaves_the_file_as_it_is(desk, tmp_path):
    desk.paint(1)
    path = crash_copy(desk, tmp_path / "after")
    before = {part.name: part.read_bytes() for part in path.parent.iterdir()}
    recoverable(path.parent)
    recover(path)
    assert {part.name: part.read_bytes() for part in path.parent.iterdir()} == before


def test_nothing_to_recover_is_said():
    assert recover.__doc__
    from imaging.storage.recovery import Report

    assert Report(0, "", 0).sentence == "There was nothing to recover."
    assert Report(1, "2026-01-01T10:00:00+00:00", 0).sentence.startswith("Recovered 1 step up to")


# --- the disk refuses -----------------------------------------------------------------------


def quick(monkeypatch) -> None:
    monkeypatch.setattr(journal_module, "_RETRY_S", 0.02)


class Faulty(apsw.VFS):
    """The real file system, until told to fail."""

    def __init__(self) -> None:
        self.failing: set[str] = set()
        self.countdown = 0
        self.real = apsw.vfs_names()[0]
        super().__init__("faulty", self.real, makedefault=True)

    def count(self, error: type[Exception]) -> None:
        """Fail once, at the call the countdown ends with."""
        self.countdown -= 1
        if self.countdown == 0:
            raise error("told to")

    def xOpen(self, name, flags):
        self.count(apsw.CantOpenError)
        if "open" in self.failing:
            raise apsw.CantOpenError("told to")
        return FaultyFile(self, name, flags)


class FaultyFile(apsw.VFSFile):
    def __init__(self, owner: Faulty, name, flags) -> None:
        self.owner = owner
        super().__init__(owner.real, name, flags)

    def xWrite(self, data, offset):
        self.owner.count(apsw.IOError)
        if "full" in self.owner.failing:
            raise apsw.FullError("told to")
        if "write" in self.owner.failing:
            raise apsw.IOError("told to")
        return super().xWrite(data, offset)

    def xSync(self, flags):
        self.owner.count(apsw.IOError)
        if "sync" in self.owner.failing:
            raise apsw.IOError("told to")
        return super().xSync(flags)


@pytest.fixture
def faulty():
    vfs = Faulty()
    yield vfs
    vfs.failing.clear()
    vfs.unregister()


@pytest.mark.parametrize(
    ("fault", "word"), [("full", "full"), ("write", "error"), ("sync", "error")]
)
def test_editing_goes_on_in_memory_until_the_disk_is_back(
    tmp_path, monkeypatch, faulty, fault, word
):
    quick(monkeypatch)
    said = []
    desk = Desk(tmp_path / "journals", on_state=said.append)
    desk.do(AddItem(map_on(straight(), id="early"), "Add"))
    desk.paint(1)
    assert desk.journal.wait(10)
    faulty.failing.add(fault)
    for number in range(11):
        desk.paint(number % 3, Box((number, 0, 0), (number + 1, 5, 5)))
    assert not desk.journal.wait(0.3)
    state = desk.journal.state
    assert state.kind == "failed"
    assert word in state.sentence
    assert desk.journal.waiting >= 10
    assert not desk.journal.close(timeout=0.1)
    faulty.failing.clear()
    _until(lambda: desk.journal.state.kind == "saved")
    assert desk.journal.waiting == 0
    assert [s.kind for s in said][-1] == "saved"
    assert "failed" in {s.kind for s in said}
    path = crash_copy(desk, tmp_path / "after")
    (found,) = recoverable(path.parent)
    case, report = recovered(found.path)
    assert same_items(case, desk.case)
    assert (report.strokes, report.unreadable) == (13, 0)
    assert found.description == "Case one"
    desk.journal.close(discard=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("first", [1, 11, 21, 31])
def test_one_error_at_any_call_loses_nothing(tmp_path, monkeypatch, faulty, first):
    """Every write, flush and opening fails once in turn (SQLite's own way of testing)."""
    quick(monkeypatch)
    for call in range(first, first + 10):
        folder = tmp_path / str(call)
        faulty.countdown = call
        desk = Desk(folder / "journals")
        for number in range(4):
            desk.paint(1 + number % 2, Box((number, 0, 0), (number + 1, 5, 5)))
        _until(lambda desk=desk: desk.journal.waiting == 0)
        faulty.countdown = 0
        path = crash_copy(desk, folder / "after")
        found = recoverable(path.parent)
        assert path in [recovery.path for recovery in found]
        case, report = recovered(path)
        assert same_items(case, desk.case), call
        assert (report.strokes, report.unreadable) == (4, 0)
        desk.journal.close(discard=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_disk_that_fails_again_while_the_file_is_written_anew(tmp_path, monkeypatch, faulty):
    quick(monkeypatch)
    desk = Desk(tmp_path / "journals")
    for value in (1, 2, 1):
        desk.paint(value)
    assert desk.journal.wait(10)
    for _ in range(3):
        faulty.failing.add("sync")
        desk.paint(2)
        desk.journal.wait(0.2)
        faulty.failing.clear()
        faulty.countdown = 9  # in the middle of writing the rows of before
        _until(lambda: desk.journal.waiting == 0)
        desk.paint(1)
        assert desk.journal.wait(10)
    faulty.countdown = 0
    path = crash_copy(desk, tmp_path / "after")
    assert [recovery.path for recovery in recoverable(path.parent)] == [path]
    case, report = recovered(path)
    assert same_items(case, desk.case)
    assert report.strokes == 9
    desk.journal.close(discard=True)


def test_after_a_failed_flush_the_old_file_is_not_trusted(tmp_path, monkeypatch, faulty):
    quick(monkeypatch)
    desk = Desk(tmp_path)
    desk.paint(1)
    desk.journal.wait(10)
    old = desk.journal.path
    faulty.failing.add("sync")
    desk.paint(2)
    desk.journal.wait(0.3)
    faulty.failing.clear()
    _until(lambda: desk.journal.waiting == 0)
    assert desk.journal.path != old
    assert not old.exists()
    assert any(part.name.startswith(old.name + ".damaged") for part in tmp_path.iterdir())
    desk.journal.close(discard=True)


def test_a_refusing_disk_at_the_start_does_not_stop_the_program(tmp_path, monkeypatch, faulty):
    quick(monkeypatch)
    faulty.failing.add("open")
    desk = Desk(tmp_path / "journals")
    desk.paint(1)
    assert desk.journal.state.kind == "failed"
    assert desk.journal.path is None
    assert "cannot be written to" in desk.journal.state.sentence
    faulty.failing.clear()
    _until(lambda: desk.journal.waiting == 0)
    case, _ = recovered(crash_copy(desk, tmp_path / "after"))
    assert same_items(case, desk.case)
    desk.journal.close(discard=True)


def test_a_folder_that_cannot_be_made_is_said(tmp_path, monkeypatch):
    quick(monkeypatch)
    (tmp_path / "journals").write_text("a file where the folder should be")
    desk = Desk(tmp_path / "journals")
    desk.paint(1)
    assert desk.journal.state.kind == "failed"
    (tmp_path / "journals").unlink()
    _until(lambda: desk.journal.waiting == 0)
    desk.journal.close(discard=True)


def test_a_case_taken_by_another_window_meanwhile_is_said_and_waited_for(tmp_path, monkeypatch):
    quick(monkeypatch)
    folder = tmp_path / "journals"
    folder.write_text("a file where the folder should be")
    desk = Desk(folder)
    desk.paint(1)
    folder.unlink()
    folder.mkdir()
    other = FileLock(folder / f"{desk.journal._stem}.lock")
    _until(lambda: "another window" in desk.journal.state.sentence)
    other.release()
    _until(lambda: desk.journal.waiting == 0)
    desk.journal.close(discard=True)


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "geteuid"), reason="POSIX modes")
def test_a_read_only_folder_is_said(tmp_path, monkeypatch):
    if os.geteuid() == 0:
        pytest.skip("root may write everywhere")
    quick(monkeypatch)
    folder = tmp_path / "journals"
    folder.mkdir()
    folder.chmod(0o500)
    desk = Desk(folder)
    desk.paint(1)
    assert "cannot be written to" in desk.journal.state.sentence
    folder.chmod(0o700)
    _until(lambda: desk.journal.waiting == 0)
    desk.journal.close(discard=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs a tmpfs")
def test_a_really_full_disk(tmp_path, monkeypatch):
    quick(monkeypatch)
    folder = tmp_path / "small"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("no right to mount a small disk")
    try:
        desk = Desk(folder)
        desk.paint(1)
        assert desk.journal.wait(10)
        filler = folder / "filler"
        _fill(filler)
        rng = np.random.default_rng(0)
        for _ in range(30):
            labels = desk.case.segmentation("mask").labels
            noise = rng.integers(0, 3, labels.shape, np.uint8)
            desk.do(VoxelEdit.between("mask", "x", Box.whole(labels.shape), labels, noise))
        _until(lambda: desk.journal.state.kind == "failed")
        assert "full" in desk.journal.state.sentence
        filler.unlink()
        _until(lambda: desk.journal.waiting == 0)
        case, report = recovered(crash_copy(desk, tmp_path / "after"))
        assert same_items(case, desk.case)
        assert report.strokes == 31
        desk.journal.close(discard=True)
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def _fill(path: Path) -> None:
    with open(path, "wb", buffering=0) as file:
        try:
            while file.write(b"\xff" * 65536):
                pass
        except OSError:
            return


def test_unsaved_work_can_still_be_thrown_away(tmp_path, monkeypatch, faulty):
    quick(monkeypatch)
    desk = Desk(tmp_path)
    desk.journal.wait(10)
    faulty.failing.add("full")
    desk.paint(1)
    desk.journal.wait(0.2)
    assert desk.journal.close(discard=True)
    assert list(tmp_path.iterdir()) == []


def test_a_mistake_of_ours_is_logged_and_shown(tmp_path, monkeypatch, caplog):
    quick(monkeypatch)
    desk = Desk(tmp_path)
    desk.journal.wait(10)

    class Strange:
        name, nbytes = "Strange", 0

    with caplog.at_level(logging.ERROR):
        desk.journal.append(Strange(), desk.case)
        desk.journal.wait(0.3)
    assert desk.journal.state.kind == "failed"
    assert "could not store" in caplog.text
    desk.journal.close(discard=True)


def test_a_listener_that_fails_does_not_stop_the_writer(tmp_path, caplog):
    def broken(state):
        raise RuntimeError("closed window")

    desk = Desk(tmp_path, on_state=broken)
    desk.paint(1)
    assert desk.journal.wait(10)
    assert "listener" in caplog.text
    desk.journal.close(discard=True)


# --- waiting --------------------------------------------------------------------------------


def test_the_hand_waits_for_the_gesture_before_but_not_for_long(tmp_path, monkeypatch):
    gate, entered = threading.Event(), threading.Event()
    write = JournalFile.write

    def slow(self, rows, arrays):
        entered.set()
        assert gate.wait(20)
        return write(self, rows, arrays)

    desk = Desk(tmp_path, patience_s=0.05)
    desk.journal.wait(10)
    monkeypatch.setattr(JournalFile, "write", slow)
    before = desk.case.segmentation("mask").labels[BOX.slices]
    first = VoxelEdit.between("mask", "x", BOX, before, before ^ 1)
    ticket = desk.journal.append(first, desk.case)
    first.apply(desk.case)
    assert entered.wait(10)
    assert not ticket.saved
    assert desk.journal.state.kind == "saving"
    desk.paint(2)
    assert desk.journal.waiting == 2
    assert not desk.journal.wait(0.01)
    gate.set()
    assert ticket.wait(10)
    assert desk.journal.wait(10)
    assert desk.journal.state.kind == "saved"
    desk.journal.close(discard=True)


def _until(condition, seconds: float = 10.0) -> None:
    import time

    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


# --- locks ----------------------------------------------------------------------------------


def test_a_lock_excludes_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "x.lock"
    assert not is_locked(path)
    lock = FileLock(path)
    assert is_locked(path)
    with pytest.raises(CaseInUse):
        FileLock(path)
    lock.release()
    lock.release()
    assert not path.exists()


def test_a_lock_file_left_by_a_dead_program_does_not_lock(tmp_path):
    path = tmp_path / "x.lock"
    path.touch()
    assert not is_locked(path)
    FileLock(path).release()


def test_a_lock_on_a_file_that_was_just_removed_is_taken_again(tmp_path, monkeypatch):
    """The holder before us removed the file between our opening and our locking it."""
    answers = iter([False, True])
    monkeypatch.setattr(file_lock, "_same_file", lambda *_: next(answers))
    lock = FileLock(tmp_path / "x.lock")
    assert next(answers, None) is None
    lock.release()


def test_a_removed_lock_file_is_noticed(tmp_path):
    path = tmp_path / "x"
    with open(path, "w") as file:
        assert file_lock._same_file(file.fileno(), path)
        path.unlink()
        assert not file_lock._same_file(file.fileno(), path)


def test_a_lock_whose_file_cannot_be_opened_is_not_held(tmp_path):
    assert not is_locked(tmp_path)


# --- any order of things --------------------------------------------------------------------


class Surviving(RuleBasedStateMachine):
    """Paint, undo, redo, add, compact, reopen and crash in any order: nothing finished is lost."""

    def __init__(self):
        super().__init__()
        import tempfile

        self.folder = Path(tempfile.mkdtemp(prefix="isocenter-test-"))
        self.desk = Desk(self.folder / "journals")
        self.count = 0

    @rule(corner=st.tuples(*[st.integers(0, 8)] * 3), value=st.integers(0, 2))
    def paint(self, corner, value):
        if "mask" in self.desk.case.items:
            self.desk.paint(value, Box(corner, tuple(c + 3 for c in corner)))

    @rule(kind=st.sampled_from([mask_on, map_on]))
    def add(self, kind):
        self.count += 1
        item = kind(straight())
        id = f"{item.id} {self.count}"
        item = replace(item, id=id) if kind is map_on else replace_id(item, id)
        self.desk.do(AddItem(item, "Add"))

    @rule(pick=st.integers(0, 20))
    def remove(self, pick):
        items = [item for item in self.desk.case if item.id != "flair"]
        if items:
            self.desk.do(RemoveItem(items[pick % len(items)], "Remove"))

    @precondition(lambda self: self.desk.history.undo_name)
    @rule()
    def undo(self):
        self.desk.undo()

    @precondition(lambda self: self.desk.history.redo_name)
    @rule()
    def redo(self):
        self.desk.redo()

    @rule()
    def compact(self):
        self.desk.journal.compact(self.desk.case)

    @rule(damaged=st.booleans())
    def close_and_reopen(self, damaged):
        self.desk.journal.close()
        path = self.desk.journal.path
        items, _ = recover(path)
        volume = self.desk.case.volume("flair")
        self.desk.case = Case({item.id: item for item in [volume, *items]})
        self.desk.history.clear()
        self.desk.journal = Journal.resume(path, self.desk.case, damaged)

    @invariant()
    def a_crash_now_would_lose_nothing(self):
        case, report = recovered(crash_copy(self.desk, self.folder / "after"))
        assert same_items(case, self.desk.case)
        assert report.unreadable == 0

    def teardown(self):
        self.desk.journal.close(discard=True)
        shutil.rmtree(self.folder)


TestSurviving = Surviving.TestCase
TestSurviving.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)


def test_killed_at_any_moment_at_most_the_gesture_in_progress_is_lost():
    script = Path(__file__).resolve().parents[2] / "benchmarks" / "kill_journal.py"
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "10", "--longest", "0.3"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.stderr == ""
    score = json.loads(done.stdout)
    assert done.returncode == 0, score
    assert score["kills"] == 10
    assert score["gestures"] > 10


def test_recovered_lesions_have_the_numbers_they_had_in_the_list(desk):
    desk.paint(1)
    desk.case.segmentation("mask").lesion_numbers = ((107, 1, 2, 3),)  # the list after the stroke
    desk.paint(2, Box((0, 0, 0), (1, 1, 1)))
    assert desk.journal.wait(10)
    items, report = recover(desk.journal.path)
    assert not report.damaged
    (mask,) = [item for item in items if item.id == "mask"]
    assert mask.lesion_numbers == ((107, 1, 2, 3),)
