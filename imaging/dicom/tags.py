"""The few header elements a viewer needs, read fast and without trust.

A small walker reads explicit and implicit little endian, big endian and deflated headers, skips
everything it was not asked for and never recurses; what it cannot follow goes to pydicom.

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
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple

from imaging.dicom.vetting import MAX_ELEMENTS, MAX_HEADER_BYTES, MAX_NESTING
from imaging.errors import BadInput

IMPLICIT_LE = "1.2.840.10008.1.2"
EXPLICIT_LE = "1.2.840.10008.1.2.1"
DEFLATED_LE = "1.2.840.10008.1.2.1.99"
EXPLICIT_BE = "1.2.840.10008.1.2.2"
NATIVE_SYNTAXES = (IMPLICIT_LE, EXPLICIT_LE, DEFLATED_LE, EXPLICIT_BE)

PIXEL_DATA = 0x7FE00010
FLOAT_PIXELS = (0x7FE00008, 0x7FE00009)
PER_FRAME_GROUPS = 0x52009230
_UNDEFINED = 0xFFFFFFFF
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_CHUNK = 16384
_MAX_VALUE = 2 << 20
_LONG = frozenset((b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR",
                   b"UT", b"UV"))  # fmt: skip
_SHORT = frozenset((b"AE", b"AS", b"AT", b"CS", b"DA", b"DS", b"DT", b"FL", b"FD", b"IS", b"LO",
                    b"LT", b"PN", b"SH", b"SL", b"SS", b"ST", b"TM", b"UI", b"UL",
                    b"US"))  # fmt: skip

#: Elements that are read, with the form their value has.
WANTED: dict[int, str] = {
    0x00020010: "text",  # Transfer Syntax UID
    0x00080005: "text",  # Specific Character Set
    0x00080008: "text",  # Image Type
    0x00080016: "text",  # SOP Class UID
    0x00080018: "text",  # SOP Instance UID
    0x00080020: "text",  # Study Date
    0x00080060: "text",  # Modality
    0x00080070: "text",  # Manufacturer
    0x00081030: "text",  # Study Description
    0x0008103E: "text",  # Series Description
    0x00089208: "text",  # Complex Image Component
    0x00100010: "text",  # Patient's Name
    0x00100020: "text",  # Patient ID
    0x00100030: "text",  # Patient's Birth Date
    0x00100040: "text",  # Patient's Sex
    0x00180020: "text",  # Scanning Sequence
    0x00180024: "text",  # Sequence Name
    0x00180050: "text",  # Slice Thickness
    0x00180080: "text",  # Repetition Time
    0x00180081: "text",  # Echo Time
    0x00180082: "text",  # Inversion Time
    0x00180086: "text",  # Echo Number(s)
    0x00180088: "text",  # Spacing Between Slices
    0x00181030: "text",  # Protocol Name
    0x00181060: "text",  # Trigger Time
    0x00181314: "text",  # Flip Angle
    0x00189087: "FD",  # Diffusion b-value
    0x00189089: "FD",  # Diffusion Gradient Orientation
    0x00190010: "text",
    0x0019100A: "US",  # Siemens: number of images in mosaic
    0x0019100C: "text",  # Siemens: b-value
    0x0019100E: "FD",  # Siemens: gradient direction
    0x0020000D: "text",  # Study Instance UID
    0x0020000E: "text",  # Series Instance UID
    0x00200011: "text",  # Series Number
    0x00200012: "text",  # Acquisition Number
    0x00200013: "text",  # Instance Number
    0x00200032: "text",  # Image Position (Patient)
    0x00200037: "text",  # Image Orientation (Patient)
    0x00200052: "text",  # Frame of Reference UID
    0x00200100: "text",  # Temporal Position Identifier
    0x00280002: "US",  # Samples per Pixel
    0x00280004: "text",  # Photometric Interpretation
    0x00280006: "US",  # Planar Configuration
    0x00280008: "text",  # Number of Frames
    0x00280010: "US",  # Rows
    0x00280011: "US",  # Columns
    0x00280030: "text",  # Pixel Spacing
    0x00280100: "US",  # Bits Allocated
    0x00280101: "US",  # Bits Stored
    0x00280102: "US",  # High Bit
    0x00280103: "US",  # Pixel Representation
    0x00281050: "text",  # Window Center
    0x00281051: "text",  # Window Width
    0x00281052: "text",  # Rescale Intercept
    0x00281053: "text",  # Rescale Slope
    0x00290010: "text",
    0x00291010: "bytes",  # Siemens CSA image header
    0x00430010: "text",
    0x00431039: "text",  # GE: b-value
    0x20010010: "text",
    0x20011003: "FL",  # Philips: b-value
}


class Malformed(Exception):
    """The walker cannot follow this file; pydicom may."""


class PixelPlace(NamedTuple):
    """Where the pixel element lies in the (inflated) file; ``length`` is -1 if encapsulated."""

    offset: int
    length: int


@dataclass(slots=True)
class Header:
    """The wanted elements of one file as raw bytes, decoded on request."""

    path: str
    syntax: str = ""
    size: int = 0
    start: int = 0
    little: bool = True
    implicit: bool = False
    values: dict[int, bytes] = field(default_factory=dict)
    pixels: PixelPlace | None = None
    float_pixels: bool = False
    functional_groups: bool = False
    media_class: str = ""
    cut: bool = False  #: an element runs past the end of the file

    def text(self, tag: int) -> str:
        """A value as plain text, padding removed; empty where absent."""
        return self.values.get(tag, b"").decode("latin-1").strip(" \0\r\n\t")

    def texts(self, tag: int) -> tuple[str, ...]:
        """The parts of a multi-valued text."""
        text = self.text(tag)
        return tuple(part.strip() for part in text.split("\\")) if text else ()

    def human(self, tag: int) -> str:
        """A value written for people, decoded with the file's character set (PS3.5 6.1)."""
        raw = self.values.get(tag, b"").strip(b" \0")
        if raw.isascii() and b"\x1b" not in raw:
            return raw.decode("ascii")
        return _decode(raw, self.texts(0x00080005))

    def numbers(self, tag: int) -> tuple[float, ...]:
        """The numbers of an element; empty where absent or not numbers."""
        raw = self.values.get(tag)
        if not raw:
            return ()
        form = WANTED[tag]
        try:
            if form == "text":
                return tuple(float(part) for part in self.texts(tag))
            code, width = {"US": ("H", 2), "FL": ("f", 4), "FD": ("d", 8)}[form]
            order = "<" if self.little else ">"
            return struct.unpack_from(f"{order}{len(raw) // width}{code}", raw)
        except (ValueError, struct.error, KeyError):
            return ()

    def number(self, tag: int) -> float | None:
        """The first number of an element, None where there is none."""
        values = self.numbers(tag)
        return values[0] if values else None

    def integer(self, tag: int, default: int = 0) -> int:
        """The first number as a whole number."""
        value = self.number(tag)
        if value is None or not abs(value) < 1e15:
            return default
        return int(value)


def _decode(raw: bytes, charsets: tuple[str, ...]) -> str:
    from pydicom.charset import convert_encodings, decode_bytes

    try:
        encodings = convert_encodings(list(charsets) or [""])
        return decode_bytes(raw, encodings, set(b"\\^="))
    except (LookupError, UnicodeError, ValueError):
        return raw.decode("latin-1")


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
    head = file.read(_CHUNK)
    header = Header(path, size=size)
    try:
        start = _identify(header, head)
    except (Malformed, struct.error):
        raise BadInput("This is not a DICOM or NIfTI file", path) from None
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
        _walk_with_pydicom(header, source)
    if not (header.text(0x00080016) or header.text(0x00080018) or header.media_class):
        raise BadInput("This is not a DICOM or NIfTI file", path)
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
        if header.syntax == EXPLICIT_LE and not _explicit_at(head, at):
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
    return bytes(data), machine.eof


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
            if not header.float_pixels:
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


def _walk_with_pydicom(header: Header, source: BinaryIO) -> None:
    """The slow way for headers the walker cannot follow."""
    from pydicom.dataelem import RawDataElement

    header.values.clear()
    header.pixels = None
    try:
        data = read_sequences(header, source, tuple(WANTED))
        for tag in list(data.keys()):
            element = data.get_item(tag)
            if isinstance(element, RawDataElement) and isinstance(element.value, bytes):
                header.values[int(tag)] = element.value
    except MemoryError:
        raise
    except Exception:
        raise BadInput("The header is damaged", header.path) from None
    _place_pixels(header, source)


def _place_pixels(header: Header, source: BinaryIO) -> None:
    """Read the pixel element's own head where pydicom stopped before it."""
    position = source.tell()
    raw = source.read(12)
    if len(raw) < 12:
        return
    order = "<" if header.little else ">"
    group, element = struct.unpack_from(order + "HH", raw)
    if group << 16 | element != PIXEL_DATA:
        return
    skip = 8 if header.implicit else 12
    length = struct.unpack_from(order + "I", raw, skip - 4)[0]
    header.pixels = PixelPlace(position + skip, -1 if length == _UNDEFINED else length)


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
