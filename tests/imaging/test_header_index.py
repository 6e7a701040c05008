"""The second opening of a folder is answered from memory, and never wrongly."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from dicom_phantoms import Maker, Plan, at_height, enhanced
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imaging.dicom import index
from imaging.dicom.header import read as header
from imaging.open import load_series, scan
from imaging.storage import header_entries, header_index
from imaging.storage.header_index import FILE_NAME, HeaderIndex, forget_all, remembered_bytes


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Two folders of slices, an enhanced file, a NIfTI image and something that is no image."""
    folder = tmp_path / "study"
    for name in ("one", "two"):
        (folder / name).mkdir(parents=True)
        maker = Maker(folder / name)
        for k in range(4):
            maker.write(at_height(Plan(), 3.0 * k), SeriesDescription=f"t1 {name}")
    maker = Maker(folder / "two")
    plans = [at_height(Plan(), 3.0 * k) for k in range(5)]
    enhanced(maker, plans, [10.0] * 5).save_as(folder / "multi", enforce_file_format=True)
    (folder / "note.txt").write_text("no image")
    image = nib.Nifti1Image(np.arange(60, dtype=np.int16).reshape(3, 4, 5), np.eye(4))
    nib.save(image, folder / "grid.nii.gz")
    return folder


@pytest.fixture
def reads(monkeypatch) -> list[str]:
    """Paths of the DICOM files whose header is read."""
    seen: list[str] = []

    def counted(path: str):
        seen.append(path)
        return header.read_header(path)

    monkeypatch.setattr(index, "read_header", counted)
    return seen


def look(study: Path, place: Path, **how):
    with (
        HeaderIndex(place, settled_s=0, **how) as remembered,
        scan([study], remembered=remembered) as result,
    ):
        return result


def told(result) -> list:
    """Everything a result says, to compare."""
    return [
        (
            s.key, s.source, s.description, s.shape, s.frames, s.problems, s.guess, s.plane,
            s.repeats, None if s.geometry is None else s.geometry.affine.tolist(),
        )
        for s in result.series
    ] + [*result.problems, *result.objects]  # fmt: skip


def test_the_second_opening_reads_no_file_and_says_the_same(study, place, reads) -> None:
    first = look(study, place)
    assert len(first.series) == 4
    assert [p for p in first.problems if p.path.endswith("note.txt")]
    assert reads
    reads.clear()
    second = look(study, place)
    assert not reads
    assert told(second) == told(first)
    assert [s.geometry.spacing for s in second.series] == [s.geometry.spacing for s in first.series]
    for series in second.series:
        assert load_series(series).voxels.any()


def test_callers_are_told_of_everything_as_in_a_fresh_scan(study, place) -> None:
    look(study, place)
    series, problems, progress = [], [], []
    with HeaderIndex(place) as remembered:
        scan([study], series.append, problems.append, lambda *at: progress.append(at),
             remembered=remembered)  # fmt: skip
    assert len(series) == 4
    assert len(problems) == 1
    assert progress[-1][0] == progress[-1][1] > 0


def changed(study: Path, what: str) -> Path | None:
    """Do something to a folder; returns the path of the file that must be read."""
    victim = sorted((study / "one").iterdir())[1]
    if what == "new":
        return Maker(study / "one").write(at_height(Plan(), 30.0), "new")
    if what == "removed":
        victim.unlink()
        return None
    if what == "renamed":
        return victim.rename(victim.with_name("another"))
    raw = bytearray(victim.read_bytes())
    times = victim.stat()
    if what == "grown":
        raw += b"\0" * 64
    elif what == "cut":
        raw = raw[:-40]
    elif what == "same size and times":  # as some programs that copy do: only ctime tells
        at = raw.index(b"t1 one")
        raw[at : at + 6] = b"t2 one"
    victim.write_bytes(raw)
    if what == "same size and times":
        os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    elif what == "replaced":
        copy = victim.with_suffix(".copy")
        shutil.copy2(victim, copy)
        os.replace(copy, victim)
    return victim


@pytest.mark.parametrize(
    "what", ["new", "removed", "renamed", "grown", "cut", "same size and times", "replaced"]
)
def test_only_what_has_changed_is_read_again(study, place, reads, what) -> None:
    look(study, place)
    must = changed(study, what)
    reads.clear()
    found, asked = look(study, place), set(reads)
    assert told(found) == told(scan([study]))
    # what is no image is not remembered; of all others only the changed one is read
    assert asked == {str(path) for path in (study / "note.txt", must) if path is not None}


def test_a_cut_file_is_said_to_be_cut_though_its_times_are_as_before(study, place) -> None:
    look(study, place)
    victim = sorted((study / "one").iterdir())[0]
    times = victim.stat()
    victim.write_bytes(victim.read_bytes()[:-40])
    os.utime(victim, ns=(times.st_atime_ns, times.st_mtime_ns))
    result = look(study, place)
    assert [p for p in result.problems if p.path == str(victim)]


def test_files_written_just_now_are_not_trusted(study, place, reads) -> None:
    with HeaderIndex(place, settled_s=3600) as remembered:
        scan([study], remembered=remembered)
        reads.clear()
        scan([study], remembered=remembered)
    assert reads


def test_another_version_of_the_reader_starts_anew(study, place, reads, monkeypatch) -> None:
    look(study, place)
    monkeypatch.setattr(header_index, "READER_VERSION", header_index.READER_VERSION + 1)
    reads.clear()
    look(study, place)
    assert reads
    reads.clear()
    look(study, place)
    assert not reads


@pytest.mark.parametrize("rubbish", [b"", b"rubbish" * 5000, b"SQLite format 3\0" + b"\1" * 9000])
def test_a_damaged_file_is_written_anew(study, place, reads, rubbish) -> None:
    first = look(study, place)
    forget_all(place)
    (place / FILE_NAME).write_bytes(rubbish)
    assert told(look(study, place)) == told(first)
    look(study, place)
    reads.clear()
    assert told(look(study, place)) == told(first)
    assert not reads


def test_a_file_of_another_program_is_replaced(study, place, reads) -> None:
    place.mkdir()
    with sqlite3.connect(place / FILE_NAME) as other:
        other.execute("CREATE TABLE entry (something)")
    other.close()
    look(study, place)
    look(study, place)
    reads.clear()
    look(study, place)
    assert not reads


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_damaged_entries_are_left_aside(study, place, data) -> None:
    """Whatever bytes an entry holds, what comes back is what the files say."""
    first = look(study, place)
    with sqlite3.connect(place / FILE_NAME) as base:
        rows = base.execute("SELECT key, body FROM entry ORDER BY key").fetchall()
        for key, body in rows:
            at = data.draw(st.integers(0, len(body) - 1))
            hurt = body[:at] + data.draw(st.binary(min_size=1, max_size=8)) + body[at + 1 :]
            base.execute("UPDATE entry SET body=? WHERE key=?", (hurt, key))
    base.close()
    assert told(look(study, place)) == told(first)


@pytest.mark.parametrize(
    "lie",
    [
        {"offset": 1 << 40},
        {"offset": -8},
        {"file": "/etc/hostname"},
        {"spacing": (0.0, 1.0)},
        {"position": (float("nan"), 0.0, 0.0)},
        {"slope": 0.0},
    ],
)
def test_a_forged_entry_is_checked_like_a_fresh_header(study, place, monkeypatch, lie) -> None:
    """Even with a right checksum no place outside the files is believed."""
    from dataclasses import replace

    first = look(study, place)
    forget_all(place)
    rows = header_entries._columns

    def forged(frames):
        return rows([replace(frame, **lie) for frame in frames])

    with monkeypatch.context() as patch:
        patch.setattr(header_entries, "_columns", forged)
        look(study, place)
    assert told(look(study, place)) == told(first)


@pytest.mark.skipif(sys.platform == "win32", reason="rights are of another kind there")
def test_nobody_else_may_read_it(study, place) -> None:
    old = os.umask(0)
    try:
        look(study, place)
    finally:
        os.umask(old)
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    for path in place.iterdir():
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_not_used_for_longest_goes_first(tmp_path, place, reads) -> None:
    folders = []
    for number in range(6):
        folder = tmp_path / f"study{number}"
        folder.mkdir()
        maker = Maker(folder)
        for k in range(12):
            maker.write(at_height(Plan(), float(k)))
        folders.append(folder)
    look(folders[0], place)
    limit = 3 * remembered_entries(place)
    for folder in folders[1:]:
        look(folder, place, limit_bytes=limit)
    assert remembered_entries(place) <= limit
    reads.clear()
    look(folders[-1], place, limit_bytes=limit)
    assert not reads
    look(folders[0], place, limit_bytes=limit)
    assert reads


def remembered_entries(place: Path) -> int:
    with sqlite3.connect(place / FILE_NAME) as base:
        total = base.execute("SELECT sum(size) FROM entry").fetchone()[0]
    base.close()
    return total


def test_forgetting_leaves_nothing(study, place, reads) -> None:
    look(study, place)
    assert remembered_bytes(place) > 0
    forget_all(place)
    assert remembered_bytes(place) == 0
    assert not list(place.iterdir())
    reads.clear()
    look(study, place)
    assert reads


def test_a_busy_file_is_left_alone(study, place) -> None:
    look(study, place)
    other = sqlite3.connect(place / FILE_NAME, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    changed(study, "new")
    assert len(look(study, place).series) == 5
    other.execute("ROLLBACK")
    assert other.execute("SELECT count(*) FROM entry").fetchone()[0] > 0
    other.close()


def test_what_lies_in_archives_is_not_remembered(study, place, tmp_path, reads) -> None:
    shutil.make_archive(str(tmp_path / "packed"), "zip", study)
    where = tmp_path / "packed.zip"
    look(where, place)
    reads.clear()
    assert len(look(where, place).series) == 4
    assert reads


def test_a_changed_table_of_contents_is_noticed(study, place, reads) -> None:
    """A DICOMDIR is no image, but what it promises is checked."""
    table = study / "DICOMDIR"
    table.write_bytes(bytes(128) + b"DICM")
    look(study, place)
    reads.clear()
    look(study, place)
    assert not reads
    table.write_bytes(bytes(128) + b"DICM" + bytes(8))
    look(study, place)
    assert reads
