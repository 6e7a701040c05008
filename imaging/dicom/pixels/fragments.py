"""Where the compressed frames of a file lie: fragments, and the tables that share them out.

Source: DICOM PS3.5 annex A.4 (encapsulation, basic and extended offset table).
"""

from __future__ import annotations

import os
import struct
from bisect import bisect_right
from functools import lru_cache
from itertools import pairwise
from typing import BinaryIO, NamedTuple

from imaging.dicom.header.read import read_header
from imaging.dicom.header.tags import EXTENDED_LENGTHS, EXTENDED_OFFSETS
from imaging.dicom.header.vetting import MAX_CODESTREAM_BYTES, MAX_FRAGMENTS, MAX_FRAMES
from imaging.errors import BadInput
from imaging.series import Frame

_ITEM, _END = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
#: How the code stream of a frame begins: JPEG and JPEG-LS, JPEG 2000, JPEG 2000 in boxes.
_BEGINNINGS = (b"\xff\xd8\xff", b"\xff\x4f\xff\x51", b"\0\0\0\x0cjP")


class Fragment(NamedTuple):
    """Offset and length of the bytes of a fragment in the file."""

    offset: int
    length: int


def read_codestream(frame: Frame) -> bytes:
    """All fragments of one frame, joined.

    Raises
    ------
    BadInput
        Where the fragments are damaged, do not say which frame they belong to, or hold far more
        than the image could need.
    """
    stat = os.stat(frame.file)
    places = frame_places(frame.file, frame.offset, frame.number, stat.st_mtime_ns, stat.st_size)
    number = max(0, frame.number - 1)
    if number >= len(places):
        raise BadInput(f"Frame {frame.number} is missing in the compressed data", frame.file)
    size = sum(fragment.length for fragment in places[number])
    if size > 4 * frame.encoding.frame_bytes + MAX_CODESTREAM_BYTES:
        raise BadInput("The compressed image is far larger than the image itself", frame.file)
    with open(frame.file, "rb") as file:
        return b"".join(_read_at(file, *fragment) for fragment in places[number])


@lru_cache(maxsize=8)
def frame_places(
    path: str, offset: int, number: int, _modified: int = 0, _size: int = 0
) -> tuple[tuple[Fragment, ...], ...]:
    """For each frame of a file its fragments.

    Parameters
    ----------
    path : str
    offset : int
        Where the first item of the pixel element begins.
    number : int
        0 where the file holds a single frame: all fragments are its own.

    Raises
    ------
    BadInput
    """
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        table, items = _walk_items(file, offset, size, path)
        if number == 0:
            return (tuple(items),)
        if not items:
            return ()
        header = read_header(path)
        count = max(1, header.integer(0x00280008, 1))
        first = items[0].offset - 8
        extended = header.values.get(EXTENDED_OFFSETS, b"")
        if extended:
            lengths = _sixty_four(header.values.get(EXTENDED_LENGTHS, b""))
            return _by_extended_table(_sixty_four(extended), lengths, first, size, path)
        if len(table) > 1 or (table and count == 1):
            return _by_table(table, items, first, path)
        if len(items) == count:
            return tuple((item,) for item in items)
        return _by_beginnings(file, items, count, path)


def _walk_items(
    file: BinaryIO, offset: int, size: int, path: str
) -> tuple[tuple[int, ...], list[Fragment]]:
    """The basic offset table, and all fragments in the order of the file."""
    items: list[Fragment] = []
    table: tuple[int, ...] | None = None
    at = offset
    for _ in range(MAX_FRAGMENTS):
        head = _read_at(file, at, 8)
        if len(head) < 8:
            break
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == _END:
            break
        if (group, element) != _ITEM or at + 8 + length > size:
            raise BadInput("The compressed image is cut off or damaged", path)
        if table is None:
            raw = file.read(length) if length <= 4 * MAX_FRAMES else b""
            table = struct.unpack(f"<{len(raw) // 4}I", raw[: len(raw) // 4 * 4])
        else:
            items.append(Fragment(at + 8, length))
        at += 8 + length
    return table or (), items


def _by_table(
    table: tuple[int, ...], items: list[Fragment], first: int, path: str
) -> tuple[tuple[Fragment, ...], ...]:
    """Each frame's fragments by the basic offset table."""
    starts = [item.offset - 8 - first for item in items]
    if list(table) != sorted(set(table)) or not set(table) <= set(starts):
        if len(table) == len(items):
            return tuple((item,) for item in items)
        raise BadInput("The table of the compressed frames does not fit them", path)
    cuts = [bisect_right(starts, start) - 1 for start in table] + [len(items)]
    return tuple(tuple(items[a:b]) for a, b in pairwise(cuts))


def _by_extended_table(
    offsets: tuple[int, ...], lengths: tuple[int, ...], first: int, size: int, path: str
) -> tuple[tuple[Fragment, ...], ...]:
    """Each frame's only fragment by the extended offset table (PS3.3 C.7.6.3.1.8)."""
    if len(offsets) != len(lengths):
        raise BadInput("The table of the compressed frames does not fit them", path)
    places = [Fragment(first + o + 8, n) for o, n in zip(offsets, lengths, strict=True)]
    if any(place.offset + place.length > size for place in places):
        raise BadInput("The compressed image is cut off or damaged", path)
    return tuple((place,) for place in places)


def _by_beginnings(
    file: BinaryIO, items: list[Fragment], count: int, path: str
) -> tuple[tuple[Fragment, ...], ...]:
    """Frames told apart by how a code stream begins, where no table says it."""
    frames: list[list[Fragment]] = []
    for item in items:
        if not frames or _read_at(file, item.offset, 8).startswith(_BEGINNINGS):
            frames.append([])
        frames[-1].append(item)
    if len(frames) != count:
        raise BadInput("The compressed data do not say which frame they belong to", path)
    return tuple(tuple(frame) for frame in frames)


def _sixty_four(raw: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(raw) // 8}Q", raw[: len(raw) // 8 * 8])


def _read_at(file: BinaryIO, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)
