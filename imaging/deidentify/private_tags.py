"""Vendor attributes that may stay with ``keep_private_safe``: numbers that place or scale images.

Source: PS3.15 table E.3.10-1 (safe private attributes) as far as MR goes, and the attributes that
our own reader needs to show the images right. Text is not among them, with one exception: the CSA
header of Siemens is rebuilt from a list of its own, so that mosaics can still be taken apart.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

_NUMBERS = frozenset(("DS", "FD", "FL", "IS", "SL", "SS", "UL", "US", "CS"))
#: Private creator -> (group, element without block).
SAFE: dict[str, frozenset[tuple[int, int]]] = {
    creator: frozenset((group, element) for element in elements)
    for creator, group, elements in (
        ("SIEMENS MR HEADER", 0x0019, (0x0A, 0x0B, 0x0C, 0x0D, 0x0E, 0x0F, 0x12, 0x13, 0x14, 0x15,
                                       0x16, 0x17, 0x18, 0x27, 0x28, 0x29)),
        ("SIEMENS MR SDI 02", 0x0021, (0x45, 0x58, 0x5E, 0x5F)),
        ("GEMS_ACQU_01", 0x0019, (0x9B, 0xBB, 0xBC, 0xBD, 0xE0)),
        ("GEMS_PARM_01", 0x0043, (0x2F, 0x30, 0x39)),
        ("Philips Imaging DD 001", 0x2001, (0x03, 0x04, 0x0A, 0x0B, 0x10, 0x18)),
        ("Philips MR Imaging DD 001", 0x2005, (0x0D, 0x0E, 0xB0, 0xB1, 0xB2)),
        ("Image Private Header", 0x0065, (0x09, 0x37, 0x50)),
    )
}  # fmt: skip
#: Where Siemens keeps its image header.
CSA_CREATOR, CSA_IMAGE = "SIEMENS CSA HEADER", (0x0029, 0x10)
#: Entries of it that may stay, all of them numbers or code words.
CSA_ENTRIES = frozenset(
    ("NumberOfImagesInMosaic", "SliceNormalVector", "B_value", "B_matrix",
     "DiffusionGradientDirection", "DiffusionDirectionality", "PhaseEncodingDirectionPositive",
     "MosaicRefAcqTimes", "BandwidthPerPixelPhaseEncode", "SliceMeasurementDuration",
     "ProtocolSliceNumber", "RealDwellTime", "EchoLinePosition", "EchoColumnPosition",
     "EchoPartitionPosition", "UsedChannelMask", "Actual3DImaPartNumber")
)  # fmt: skip
_MAX_ENTRIES = 512


def is_safe(creator: str, group: int, element: int, vr: str) -> bool:
    """True where a vendor attribute may stay; ``element`` without its block."""
    return vr in _NUMBERS and (group, element & 0xFF) in SAFE.get(creator.strip(), ())


def rebuilt_csa(data: bytes) -> bytes:
    """A CSA header with the safe entries only; empty where there is none or it cannot be read.

    Source: the layout as nibabel's ``nicom/csareader.py`` describes it.
    """
    try:
        entries = [
            (name, vr, multiplicity, values)
            for name, vr, multiplicity, values in _csa_entries(data)
            if name.decode("ascii") in CSA_ENTRIES and vr.decode("ascii") in _NUMBERS
        ]
    except (struct.error, UnicodeDecodeError, ValueError):
        return b""
    return _written_csa(entries) if entries else b""


def _csa_entries(data: bytes) -> Iterator[tuple[bytes, bytes, int, list[bytes]]]:
    second = data[:4] == b"SV10"
    at = 8 if second else 0
    (count,) = struct.unpack_from("<I", data, at)
    if not 0 < count <= _MAX_ENTRIES:
        raise ValueError("not a CSA header")
    at += 8
    first_length = None
    for _ in range(count):
        name, multiplicity, vr, _syngo, items, _mark = struct.unpack_from("<64si4siii", data, at)
        at += 84
        values = []
        if not 0 <= items <= 4096:
            raise ValueError("not a CSA header")
        for _item in range(items):
            x0, x1, _x2, _x3 = struct.unpack_from("<4i", data, at)
            at += 16
            if second:
                length = x1
            else:  # the first kind counts from the length of its first item
                first_length = x0 if first_length is None else first_length
                length = x0 - first_length
                length = x1 if length < 0 or at + length > len(data) else length
            if length < 0 or at + length > len(data):
                raise ValueError("not a CSA header")
            values.append(data[at : at + length].split(b"\0", 1)[0])
            at += (length + 3) // 4 * 4
        yield name.split(b"\0", 1)[0], vr[:2], multiplicity, values


def _written_csa(entries: Iterable[tuple[bytes, bytes, int, list[bytes]]]) -> bytes:
    entries = list(entries)
    parts = [b"SV10\4\3\2\1", struct.pack("<II", len(entries), 77)]
    for name, vr, multiplicity, values in entries:
        parts.append(struct.pack("<64si4siii", name, multiplicity, vr, 0, len(values), 205))
        for value in values:
            body = value + b"\0" if value else b""
            length = len(body)
            parts.append(struct.pack("<4i", length, length, 77, length))
            parts.append(body.ljust((length + 3) // 4 * 4, b"\0"))
    data = b"".join(parts)
    return data + b"\0" * (len(data) % 2)
