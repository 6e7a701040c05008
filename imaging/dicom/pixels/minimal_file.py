"""A DICOM file around one code stream, for decoders that read nothing but files.

It holds nothing that could change the values (no rescale, no inversion) and nothing of the
original header, so the decoder meets no more of a stranger's bytes than it has to.

Source: DICOM PS3.10 section 7, PS3.5 annex A.4.
"""

from __future__ import annotations

import struct

from imaging.series import Encoding

_UNDEFINED = 0xFFFFFFFF


def grey_or_colour(code: Encoding) -> str:
    """The photometric interpretation for a decoder: grey is never inverted."""
    return "MONOCHROME2" if code.samples == 1 else code.photometric


def _item(value: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += (b"\0" if vr in (b"UI", b"OB") else b" ") * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr == b"OB":
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def minimal_file(data: bytes, code: Encoding) -> bytes:
    """A DICOM file that holds one code stream and nothing that could change its values."""

    def number(tag: int, value: int) -> bytes:
        return _element(tag, b"US", struct.pack("<H", value))

    sop_class, uid = b"1.2.840.10008.5.1.4.1.1.4", b"1.2.3"
    meta = (
        _element(0x00020001, b"OB", b"\0\1")
        + _element(0x00020002, b"UI", sop_class)
        + _element(0x00020003, b"UI", uid)
        + _element(0x00020010, b"UI", code.syntax.encode())
    )
    body = _element(0x00080016, b"UI", sop_class) + _element(0x00080018, b"UI", uid)
    body += number(0x00280002, code.samples)
    body += _element(0x00280004, b"CS", grey_or_colour(code).encode())
    if code.samples == 3:
        body += number(0x00280006, code.planar)
    body += number(0x00280010, code.rows) + number(0x00280011, code.columns)
    body += number(0x00280100, code.bits_allocated) + number(0x00280101, code.bits_stored)
    body += number(0x00280102, code.bits_stored - 1) + number(0x00280103, int(code.signed))
    pixels = struct.pack("<HH2sHI", 0x7FE0, 0x0010, b"OB", 0, _UNDEFINED)
    pixels += _item(b"") + _item(data + b"\0" * (len(data) % 2))
    pixels += struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    head = _element(0x00020000, b"UL", struct.pack("<I", len(meta)))
    return b"\0" * 128 + b"DICM" + head + meta + body + pixels
