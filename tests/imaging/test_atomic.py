"""A file is whole before or after: under full disks, read-only folders and bad read-backs."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from imaging import atomic
from imaging.atomic import next_version, write_atomic, write_folder_atomic
from imaging.errors import BadInput, WorldFailed


def _writes(data: bytes):
    return lambda path: path.write_bytes(data)


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_new_file_and_a_replaced_one(tmp_path):
    target = tmp_path / "mask.nii.gz"
    for data in (b"one", b"two"):
        assert write_atomic(target, _writes(data)) == target
        assert target.read_bytes() == data
    assert _names(tmp_path) == ["mask.nii.gz"]


def test_the_file_aside_has_the_same_suffixes_and_folder(tmp_path):
    seen = []
    write_atomic(tmp_path / "m.nii.gz", lambda p: (seen.append(p), p.write_bytes(b"x")))
    assert seen[0].parent == tmp_path
    assert seen[0].name.endswith(".nii.gz")
    assert seen[0].name != "m.nii.gz"


def test_verify_sees_the_whole_file_before_the_old_one_goes(tmp_path):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def verify(aside):
        assert aside.read_bytes() == b"new"
        assert target.read_bytes() == b"old"

    write_atomic(target, _writes(b"new"), verify)
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("error", [WorldFailed("differs"), BadInput("bad"), ValueError("bug")])
def test_a_failed_check_leaves_the_old_file_and_nothing_else(tmp_path, error):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def verify(aside):
        raise error

    with pytest.raises(type(error)):
        write_atomic(target, _writes(b"new"), verify)
    assert target.read_bytes() == b"old"
    assert _names(tmp_path) == ["a.bin"]


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, "disk is full"),
        (errno.EDQUOT, "quota"),
        (errno.EROFS, "read-only"),
        (errno.EACCES, "not allowed"),
        (errno.EIO, "reports an error"),
        (errno.EMFILE, "could not be written"),
    ],
)
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_every_refusal_at_every_step_is_one_sentence(tmp_path, monkeypatch, code, sentence, step):
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def refuse(*_, **__):
        raise OSError(code, os.strerror(code))

    def write(aside):
        aside.write_bytes(b"half")
        if step == "write":
            refuse()

    if step != "write":
        monkeypatch.setattr(atomic.os, step, refuse)
    with pytest.raises(WorldFailed, match=sentence) as caught:
        write_atomic(target, write)
    assert str(target) in str(caught.value)
    assert target.read_bytes() == b"old"
    assert _names(tmp_path) == ["a.bin"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full here")
def test_a_really_full_disk(tmp_path):
    def write(aside):
        aside.write_bytes(b"half")
        Path("/dev/full").write_bytes(b"the other half")

    with pytest.raises(WorldFailed, match="disk is full"):
        write_atomic(tmp_path / "a.bin", write)
    assert _names(tmp_path) == []


def test_a_missing_folder(tmp_path):
    with pytest.raises(WorldFailed, match="folder does not exist"):
        write_atomic(tmp_path / "none" / "a.bin", _writes(b"x"))


@pytest.mark.skipif(getattr(os, "geteuid", int)() == 0, reason="this user may write everywhere")
def test_a_read_only_folder(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(WorldFailed, match="not allowed"):
            write_atomic(tmp_path / "a.bin", _writes(b"x"))
    finally:
        tmp_path.chmod(0o700)


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "a.bin").mkdir()
    with pytest.raises(WorldFailed, match="folder with this name"):
        write_atomic(tmp_path / "a.bin", _writes(b"x"))
    assert _names(tmp_path) == ["a.bin"]


def test_memory_that_runs_out_is_told(tmp_path):
    def write(aside):
        raise MemoryError

    with pytest.raises(WorldFailed, match="memory"):
        write_atomic(tmp_path / "a.bin", write)


def test_long_names_fit(tmp_path):
    name = "x" * 240 + ".nii.gz"
    write_atomic(tmp_path / name, _writes(b"x"))
    assert _names(tmp_path) == [name]


def test_a_folder_appears_as_a_whole(tmp_path):
    target = tmp_path / "series"

    def write(aside):
        for n in range(3):
            (aside / f"{n}.dcm").write_bytes(b"x")
        assert not target.exists()

    assert write_folder_atomic(target, write) == target
    assert _names(target) == ["0.dcm", "1.dcm", "2.dcm"]
    assert _names(tmp_path) == ["series"]


def test_a_folder_that_fails_leaves_nothing(tmp_path):
    def write(aside):
        (aside / "0.dcm").write_bytes(b"x")
        raise OSError(errno.ENOSPC, "full")

    with pytest.raises(WorldFailed, match="disk is full"):
        write_folder_atomic(tmp_path / "series", write)
    assert _names(tmp_path) == []


def test_a_folder_is_never_replaced(tmp_path):
    (tmp_path / "series").mkdir()
    with pytest.raises(WorldFailed, match="already"):
        write_folder_atomic(tmp_path / "series", lambda p: None)


def test_versions_overwrite_nothing(tmp_path):
    path = tmp_path / "mask.nii.gz"
    assert next_version(path) == path
    for expected in ("mask.nii.gz", "mask-2.nii.gz", "mask-3.nii.gz"):
        free = next_version(path)
        assert free.name == expected
        free.write_bytes(b"")
    (tmp_path / "series").mkdir()
    assert next_version(tmp_path / "series").name == "series-2"


def test_a_dangling_link_is_not_free(tmp_path):
    link = tmp_path / "a.csv"
    try:
        link.symlink_to(tmp_path / "nowhere")
    except OSError:
        pytest.skip("links are not allowed here")
    assert next_version(link).name == "a-2.csv"
