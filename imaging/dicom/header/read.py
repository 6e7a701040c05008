"""Reads the wanted elements of a DICOM header, fast and without trust.

A small walker reads explicit and implicit little endian, big endian and deflated headers, skips
everything it was not asked for and never recurses; what it cannot follow goes to pydicom in a
worker process.

Source: DICOM PS3.5 section 7 (encoding) and PS3.10 section 7 (file meta information).
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from imaging.dicom.header.tags import (
    DEFLATED_LE,
    EXPLICIT_BE,
    EXPLICIT_LE,
    FLOAT_PIXELS,
    IMPLICIT_LE,
    PER_FRAME_GROUPS,
    PIXEL_DATA,
    WANTED,
    Header,
    PixelPlace,
)
from imaging.dicom.header.vetting import MAX_ELEMENTS, MAX_HEADER_BYTES, MAX_NESTING
from imaging.errors import BadInput, OtherFile

_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_CHUNK = 16384
_MAX_VALUE = 2 << 20
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR",
                   b"UT", b"UV"))  # fmt: skip
_SHORT = frozenset((b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO",
                    b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL",
                    b"US"))  # fmt: skip


class Malformed(Exception):
    """The walker cannot follow this file; pydicom may."""


def read_header(path: str) -> Header:
    """Read the wanted elements of a DICOM file.

    Parameters
    ----------
    path : str
        Any file.

    Returns
    -------
    Header
        ``pixels`` is None where the file holds no integer pixels.

    Raises
    ------
    BadInput
        Where the file is not DICOM or is damaged before its pixels; the reason is a sentence.
    """
    try:
        with open(path, "rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise BadInput("The file is empty", path)
            return _read(path, file, size)
    except OSError as error:
        raise BadInput(
            f"The file cannot be read ({error.strerror or 'input error'})", path
        ) from error


def _read(path: str, file: BinaryIO, size: int) -> Header:
    begin = head = file.read(_CHUNK)
    header = Header(path, size=size)
    try:
        start = _identify(header, head)
    except (Malformed, struct.error):
        raise _unknown(path, head) from None
    source: BinaryIO = file
    if header.syntax == DEFLATED_LE:
        data, whole = inflate(file, start, path, MAX_HEADER_BYTES)
        source, header.size = io.BytesIO(data), len(data) if whole else _UNDEFINED
        start, head = 0, b""
    header.start = start
    try:
        _walk(header, source, start, head)
    except (Malformed, struct.error) as error:
        if "nested" in str(error) or "elements" in str(error):
            raise BadInput(str(error), path) from None
        if header.size == _UNDEFINED:
            raise BadInput("The compressed data inflate far too strongly", path) from None
        _walk_slowly(header)
    if not (header.text(0x00080016) or header.text(0x00080018) or header.media_class):
        raise _unknown(path, begin)
    return header


def _unknown(path: str, head: bytes) -> BadInput:
    """What to say of a file that could not be understood as DICOM."""
    if head[128:132] == b"DICM":
        return BadInput("The header of the DICOM file is damaged", path)
    return OtherFile("This is not a DICOM, NIfTI, NRRD or MetaImage file", path)


def identified(path: str) -> Header:
    """A header of which only the encoding and the start of the data set are known.

    Raises
    ------
    BadInput
        Where the file is not DICOM.
    """
    with open(path, "rb") as file:
        header = Header(path, size=os.fstat(file.fileno()).st_size)
        head = file.read(_CHUNK)
        try:
            start = _identify(header, head)
        except (Malformed, struct.error):
            raise _unknown(path, head) from None
    header.start = 0 if header.syntax == DEFLATED_LE else start
    return header


def _identify(header: Header, head: bytes) -> int:
    """Find the transfer syntax; returns the offset of the data set."""
    if head[128:132] == b"DICM":
        return _read_meta(header, head, 132)
    if len(head) < 16:
        raise Malformed("too short")
    if head[:2] == b"\x02\0" and head[4:6] in _SHORT | _LONG:
        return _read_meta(header, head, 0)
    _guess_syntax(header, head, 0)
    return 0


def _read_meta(header: Header, head: bytes, at: int) -> int:
    while head[at : at + 2] == b"\x02\0":
        tag = 0x00020000 | struct.unpack_from("<H", head, at + 2)[0]
        vr = head[at + 4 : at + 6]
        if vr in _LONG:
            length, skip = struct.unpack_from("<I", head, at + 8)[0], 12
        else:
            length, skip = struct.unpack_from("<H", head, at + 6)[0], 8
        value = head[at + skip : at + skip + length].decode("latin-1").strip(" \0")
        if tag == 0x00020010:
            header.syntax = value
        elif tag == 0x00020002:
            header.media_class = value
        at += skip + length
    if header.syntax:
        header.implicit = header.syntax == IMPLICIT_LE
        header.little = header.syntax != EXPLICIT_BE
        if header.syntax not in (DEFLATED_LE, EXPLICIT_BE) and not _explicit_at(head, at):
            header.implicit = True
        return at
    _guess_syntax(header, head, at)
    return at


def _explicit_at(head: bytes, at: int) -> bool:
    return len(head) < at + 6 or head[at + 4 : at + 6] in _SHORT or head[at + 4 : at + 6] in _LONG


def _guess_syntax(header: Header, head: bytes, at: int) -> None:
    group_le, group_be = (
        struct.unpack_from("<H", head, at)[0],
        struct.unpack_from(">H", head, at)[0],
    )
    if group_le in (0x0008, 0x0004):
        header.implicit = not _explicit_at(head, at)
        header.syntax = IMPLICIT_LE if header.implicit else EXPLICIT_LE
    elif group_be == 0x0008 and _explicit_at(head, at):
        header.little, header.syntax = False, EXPLICIT_BE
    else:
        raise Malformed("no DICOM element at the start")


def inflate(file: BinaryIO, start: int, path: str, limit: int) -> tuple[bytes, bool]:
    """Inflate a deflated data set up to a limit (PS3.5 A.5).

    Returns
    -------
    data : bytes
        At most ``limit`` bytes and a little more.
    whole : bool
        False where the limit cut the data short.

    Raises
    ------
    BadInput
        Where the stream is not deflated data.
    """
    file.seek(start)
    machine = zlib.decompressobj(-zlib.MAX_WBITS)
    data = bytearray()
    try:
        while len(data) < limit and not machine.eof:
            block = machine.unconsumed_tail or file.read(1 << 16)
            if not block:
                break
            data += machine.decompress(block, 1 << 20)
    except zlib.error:
        raise BadInput("The compressed data of the file are damaged", path) from None
    return bytes(data), machine.eof or len(data) < limit


def inflated_data(path: str, limit: int) -> bytes:
    """The inflated data set of a deflated file, cut at ``limit`` bytes."""
    with open(path, "rb") as file:
        start = _identify(Header(path), file.read(_CHUNK))
        return inflate(file, start, path, limit)[0]


@contextlib.contextmanager
def open_data(header: Header) -> Iterator[BinaryIO]:
    """The data set as a file in which the offsets of ``header`` hold: inflated where needed."""
    if header.syntax == DEFLATED_LE:
        yield io.BytesIO(inflated_data(header.path, MAX_HEADER_BYTES))
        return
    with open(header.path, "rb") as file:
        yield file


def _walk(header: Header, source: BinaryIO, position: int, head: bytes) -> None:
    """Collect the wanted elements of the top level up to the pixels."""
    buffer, base, depth, size = head, 0, 0, header.size
    order = "<" if header.little else ">"
    pair, word, half = (
        struct.Struct(order + "HH"),
        struct.Struct(order + "I"),
        struct.Struct(order + "H"),
    )
    implicit, values = header.implicit, header.values
    for _ in range(MAX_ELEMENTS):
        at = position - base
        if at + 12 > len(buffer):
            source.seek(position)
            base, buffer, at = position, source.read(_CHUNK), 0
            if len(buffer) < 8:
                return
        group, element = pair.unpack_from(buffer, at)
        tag = group << 16 | element
        vr = buffer[at + 4 : at + 6]
        if implicit or group == 0xFFFE:
            length, skip = word.unpack_from(buffer, at + 4)[0], 8
        elif vr in _SHORT:
            length, skip = half.unpack_from(buffer, at + 6)[0], 8
        elif vr in _LONG:
            if at + 12 > len(buffer):
                return
            length, skip = word.unpack_from(buffer, at + 8)[0], 12
        else:
            raise Malformed("unknown value representation")
        if depth == 0 and (tag == PIXEL_DATA or tag in FLOAT_PIXELS):
            header.float_pixels = tag != PIXEL_DATA
            place = -1 if length == _UNDEFINED else length
            header.pixels = PixelPlace(position + skip, place)
            return
        if tag == PER_FRAME_GROUPS and depth == 0:
            header.functional_groups = True
        position += skip
        if tag in (_ITEM_END, _SEQUENCE_END):
            depth -= 1
            if depth < 0:
                raise Malformed("a sequence ends that never began")
        elif length == _UNDEFINED:
            if vr == b"UN" and not implicit and tag != _ITEM:
                raise Malformed("unknown value of undefined length")
            if depth == 0 and tag in WANTED:
                values[tag] = b""  # a sequence of unknown length: that it is there is all we tell
            depth += 1
            if depth > MAX_NESTING:
                raise Malformed("The header is nested too deeply to be a real image")
        else:
            if depth == 0 and tag in WANTED and length <= _MAX_VALUE:
                values[tag] = _value(source, buffer, base, position, length)
            position += length
            if position > size:
                header.cut = True
                return
    raise Malformed("The header has too many elements to be a real image")


def _value(source: BinaryIO, buffer: bytes, base: int, position: int, length: int) -> bytes:
    at = position - base
    if at + length <= len(buffer):
        return buffer[at : at + length]
    source.seek(position)
    return source.read(length)


def _walk_slowly(header: Header) -> None:
    """Headers the walker cannot follow go to pydicom, in a worker process."""
    from imaging import sandbox

    found = sandbox.run_limited(
        "imaging.dicom.header.slow_header:read_slowly",
        header.path,
        where=header.path,
        kind=tuple[dict[int, bytes], int, int, bool, bool],
    )
    header.values, offset, length, header.float_pixels, header.functional_groups = found
    header.pixels = PixelPlace(offset, length) if offset else None


def read_sequences(header: Header, source: BinaryIO, tags: tuple[int, ...]):
    """Read elements, sequences included, with pydicom up to the pixels.

    Parameters
    ----------
    header : Header
        Says where the data set starts and how it is encoded.
    source : file
        The file, or its inflated bytes.
    tags : tuple of int
        Which elements to keep.

    Returns
    -------
    pydicom.Dataset
    """
    from pydicom import config
    from pydicom.filereader import read_dataset
    from pydicom.tag import BaseTag

    # Warnings of pydicom quote header values, which may name the patient.
    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.ERROR)
    source.seek(header.start)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return read_dataset(
            source,
            header.implicit,
            header.little,
            stop_when=lambda tag, _vr, _length: tag >= FLOAT_PIXELS[0],
            defer_size=None,
            specific_tags=[BaseTag(tag) for tag in tags],
        )
