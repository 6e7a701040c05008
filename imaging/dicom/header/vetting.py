"""Limits that are checked before anything large is read, inflated or decoded.

Source: measured attacks in DICOM headers (deflate bombs, code streams larger than their header,
endless nesting); a file past a limit is listed with a reason and never decoded.
"""

from __future__ import annotations

import os
import re
import struct
from itertools import pairwise
from typing import NamedTuple

from imaging.errors import BadInput

MAX_EDGE = 16384
MAX_VOLUME_BYTES = 4 << 30
MAX_INFLATED_BYTES = 1 << 30
MAX_HEADER_BYTES = 64 << 20
MAX_NESTING = 64
MAX_ELEMENTS = 2_000_000
MAX_FRAMES = 100_000
MAX_FRAGMENTS = 1_000_000
#: A code stream may be so much larger than four times its image.
MAX_CODESTREAM_BYTES = 16 << 20
ALLOWED_BITS = (1, 8, 16, 32, 64)

_UID = re.compile(r"^[0-9.]{1,64}$")
_GIB = float(1 << 30)


def safe_uid(uid: str) -> str:
    """The UID itself where it is well formed, else an empty string (PS3.5 section 9)."""
    return uid if _UID.match(uid) else ""


def check_frame(rows: int, columns: int, samples: int, bits: int) -> str:
    """Why an image of this make is refused; empty where it is accepted.

    Parameters
    ----------
    rows, columns : int
        Size of one stored frame in pixels.
    samples : int
        Samples per pixel.
    bits : int
        Bits allocated per sample.
    """
    if not (1 <= rows <= MAX_EDGE and 1 <= columns <= MAX_EDGE):
        return f"An image of {columns} × {rows} pixels is refused (1 to {MAX_EDGE} are read)"
    if samples not in (1, 3):
        return f"Images with {samples} samples per pixel are not read"
    if bits not in ALLOWED_BITS:
        return f"Images with {bits} bits per sample are not read"
    return ""


def available_memory() -> int | None:
    """Bytes that can be allocated without swapping; None where the system does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None


def check_volume_bytes(needed: int, name: str) -> None:
    """Refuse an image that would not fit.

    Raises
    ------
    BadInput
        Where ``needed`` bytes pass the limit or half of the free memory.
    """
    free = available_memory()
    if needed > MAX_VOLUME_BYTES:
        raise BadInput(
            f"The image needs {needed / _GIB:.1f} GB; at most 4 GB are loaded at once", name
        )
    if free is not None and needed > free // 2:
        raise BadInput(
            f"The image needs {needed / _GIB:.1f} GB and only {free / _GIB:.1f} GB are free",
            name,
            "Close other programs or series and try again",
        )


def room_for_voxels() -> int:
    """So many bytes of voxels may be loaded now; see :func:`check_volume_bytes`."""
    free = available_memory()
    return MAX_VOLUME_BYTES if free is None else min(MAX_VOLUME_BYTES, free // 2)


class StreamFacts(NamedTuple):
    """What a code stream announces about its image; ``signed`` is known for JPEG 2000 only."""

    rows: int
    columns: int
    samples: int
    bits: int
    signed: bool = False


def codestream_facts(data: bytes) -> StreamFacts | None:
    """What a bare code stream announces; None where it is of no known kind.

    Source: ITU-T T.81 annex B (JPEG), T.87 annex C (JPEG-LS), T.800 annex A.5 (JPEG 2000).
    """
    if data[:4] == b"\xff\x4f\xff\x51":
        return _jpeg2000_facts(data)
    if data[:2] == b"\xff\xd8":
        return _jpeg_facts(data)
    return None


def _jpeg2000_facts(data: bytes) -> StreamFacts | None:
    if len(data) < 43:
        return None
    x1, y1, x0, y0 = (int.from_bytes(data[at : at + 4], "big") for at in (8, 12, 16, 20))
    samples, depth = int.from_bytes(data[40:42], "big"), data[42]
    return StreamFacts(y1 - y0, x1 - x0, samples, (depth & 0x7F) + 1, bool(depth & 0x80))


def _jpeg_facts(data: bytes) -> StreamFacts | None:
    at = 2
    while at + 10 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        start_of_frame = 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        if start_of_frame or marker == 0xF7:
            rows = int.from_bytes(data[at + 5 : at + 7], "big")
            columns = int.from_bytes(data[at + 7 : at + 9], "big")
            return StreamFacts(rows, columns, data[at + 9], data[at + 4])
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def bare_jpeg2000(data: bytes) -> bytes:
    """The code stream inside the boxes of a JP2 file, where a writer left them on (T.800 annex I).

    A bare code stream comes back as it is.
    """
    if data[4:8] != b"jP  " or data[:4] != b"\0\0\0\x0c":
        return data
    at = 12
    for _ in range(1000):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        head = 8
        if size == 1:
            size, head = int.from_bytes(data[at + 8 : at + 16], "big"), 16
        if kind == b"jp2c":
            return data[at + head : at + size] if size else data[at + head :]
        if size < head:
            return data
        at += size
    return data


def check_rle(data: bytes, planes: int) -> str:
    """Why the segments of an RLE frame cannot be right; empty where they may (PS3.5 annex G)."""
    if len(data) < 64:
        return "The compressed image is cut off or damaged"
    count, *offsets = struct.unpack_from("<16I", data)
    if count != planes:
        return f"The compressed image has {count} planes and must have {planes}"
    used = [*offsets[:count], len(data)]
    if used[0] != 64 or any(a >= b for a, b in pairwise(used)):
        return "The compressed image is cut off or damaged"
    return ""
