"""Zip archives cannot write outside their folder, inflate without end or stay on the disk."""

from __future__ import annotations

import os
import stat
import zipfile
from pathlib import Path

import numpy as np
import pytest
from dicom_phantoms import Maker

from imaging.errors import BadInput
from imaging.open import load_series, scan
from imaging.storage import archive
from imaging.storage.archive import is_zip, unpack


def zipped(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, data in members.items():
            target.writestr(name, data)
    return path


def test_series_in_a_zip_opens_and_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    files = Maker(folder).stack([3.0 * k for k in range(4)])
    path = zipped(tmp_path / "a.zip", {f"study/{f.name}": f.read_bytes() for f in files})
    result = scan([path])
    (series,) = result.series
    private = Path(series.source.files[0]).parent
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert load_series(series).voxels.all()
    result.close()
    assert not private.exists()
    result.close()


def test_names_are_never_paths(tmp_path: Path) -> None:
    names = [
        "../../outside",
        "/etc/outside",
        "..\\..\\outside",
        "a/../../../outside",
        "C:\\outside",
    ]
    path = zipped(tmp_path / "a.zip", {name: b"x" for name in names})
    unpacked = unpack(str(path))
    try:
        root = Path(unpacked.folder.name)
        assert len(unpacked.members) == 5
        assert all(Path(member).parent == root for member, _ in unpacked.members)
        assert sorted(p.name for p in root.iterdir()) == [f"{n:06d}" for n in range(5)]
    finally:
        unpacked.close()
    assert not list(tmp_path.parent.rglob("outside"))


def test_links_and_nested_archives_are_refused_by_name(tmp_path: Path) -> None:
    inner = zipped(tmp_path / "inner.zip", {"x": b"y"})
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as target:
        link = zipfile.ZipInfo("link")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        target.writestr(link, "/etc/passwd")
        target.write(inner, "inner.zip")
    with scan([path]) as result:
        listed = {p.path.rsplit(" ", 1)[-1]: p.reason for p in result.problems}
    assert "not followed" in listed["link"]
    assert "inside an archive" in listed["inner.zip"]


def test_bomb_is_refused_before_inflating(tmp_path: Path) -> None:
    path = zipped(tmp_path / "bomb.zip", {"zeros": bytes(100 << 20)})
    assert path.stat().st_size < 1 << 20
    with pytest.raises(BadInput, match="inflates far too strongly"):
        unpack(str(path))


def test_lying_about_the_size_does_not_help(tmp_path: Path, monkeypatch) -> None:
    path = zipped(tmp_path / "liar.zip", {"zeros": bytes(3 << 20), "good": b"fine"})
    raw = bytearray(path.read_bytes())
    size = (3 << 20).to_bytes(4, "little")
    while (at := raw.find(size)) >= 0:
        raw[at : at + 4] = (100).to_bytes(4, "little")
    path.write_bytes(raw)
    unpacked = unpack(str(path))
    try:
        sizes = {name: os.path.getsize(member) for member, name in unpacked.members}
        assert sizes.get("zeros", 0) <= 100
        assert sizes["good"] == 4
    finally:
        unpacked.close()


def test_too_many_members(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(archive, "MAX_MEMBERS", 3)
    path = zipped(tmp_path / "a.zip", {str(n): b"x" for n in range(4)})
    with pytest.raises(BadInput, match="4 files"):
        unpack(str(path))


def test_damaged_archives(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"x": np.random.default_rng(0).bytes(5000)})
    path.write_bytes(path.read_bytes()[:2000])
    assert is_zip(str(path))
    with scan([path]) as result:
        assert "zip archive is damaged" in result.problems[0].reason


def test_one_damaged_member_spares_the_others(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"bad": np.random.default_rng(0).bytes(5000), "good": b"x"})
    raw = bytearray(path.read_bytes())
    raw[200:300] = bytes(100)
    path.write_bytes(raw)
    unpacked = unpack(str(path))
    try:
        assert [name for _, name in unpacked.members] == ["good"]
        assert unpacked.refused[0][0] == "bad"
    finally:
        unpacked.close()


def test_encrypted_members_are_named(tmp_path: Path) -> None:
    path = zipped(tmp_path / "a.zip", {"secret": b"x"})
    raw = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        raw[raw.index(signature) + offset] |= 1
    path.write_bytes(raw)
    with scan([path]) as result:
        assert "encrypted" in result.problems[0].reason


def test_members_that_share_their_bytes_are_a_bomb_too(tmp_path: Path) -> None:
    """Many names for one strongly packed piece: nothing is nested, and the sum is enormous."""
    path = zipped(tmp_path / "a.zip", {"0": bytes(2 << 20)})
    raw = path.read_bytes()
    start = raw.index(b"PK\x01\x02")
    end = raw.index(b"PK\x05\x06")
    entry = raw[start:end]
    count = 2000
    entries = b"".join(entry[:-1] + bytes([n % 256]) for n in range(count))
    tail = bytearray(raw[end:])
    tail[8:12] = count.to_bytes(2, "little") * 2
    tail[12:16] = len(entries).to_bytes(4, "little")
    path.write_bytes(raw[:start] + entries + bytes(tail))
    with pytest.raises(BadInput, match="inflates far too strongly"):
        unpack(str(path))
