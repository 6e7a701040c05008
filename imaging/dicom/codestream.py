"""Compressed images: their fragments in a file, and what decodes them.

Code streams are wrapped into a minimal file of our own before SimpleITK sees them: it then neither
rescales nor inverts, and never meets a hostile header.

Source: DICOM PS3.5 annex A.4 (encapsulation) and section 8.2 (compression).
"""

from __future__ import annotations

import os
import struct
import tempfile
from typing import Any

import numpy as np

from imaging.dicom.vetting import codestream_size
from imaging.errors import BadInput
from imaging.series import Encoding, Frame

RLE = "1.2.840.10008.1.2.5"
_ITK_SYNTAXES = frozenset(
    "1.2.840.10008.1.2.4." + end for end in ("50", "51", "57", "70", "80", "81", "90", "91")
)
_MAX_FRAGMENTS = 1_000_000
_UNDEFINED = 0xFFFFFFFF


def stored_dtype(encoding: Encoding) -> np.dtype:
    """The number type of the pixels, in native byte order."""
    kind = "i" if encoding.signed and encoding.samples == 1 else "u"
    return np.dtype(f"{kind}{encoding.bits_allocated // 8}")


def read_at(file, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def frame_places(frame: Frame) -> list[list[tuple[int, int]]]:
    """For each frame of an encapsulated file: offset and length of its fragments."""
    with open(frame.file, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        items, table = _walk_items(file, frame.offset, size, frame.file)
    frames = 1 if frame.number == 0 else None
    if frames == 1:
        return [items]
    if len(table) > 1:
        bounds = [*table[1:], 1 << 62]
        first = items[0][0] - 8 if items else 0
        return [
            [item for item in items if start <= item[0] - 8 - first < stop]
            for start, stop in zip(table, bounds, strict=True)
        ]
    return [[item] for item in items]


def _walk_items(
    file, offset: int, size: int, path: str
) -> tuple[list[tuple[int, int]], tuple[int, ...]]:
    items: list[tuple[int, int]] = []
    table: tuple[int, ...] = ()
    at, first = offset, True
    for _ in range(_MAX_FRAGMENTS):
        head = read_at(file, at, 8)
        if len(head) < 8:
            break
        group, element, length = struct.unpack("<HHI", head)
        if (group, element) == (0xFFFE, 0xE0DD):
            break
        if (group, element) != (0xFFFE, 0xE000) or at + 8 + length > size:
            raise BadInput("The compressed image is cut off or damaged", path)
        if first:
            raw = file.read(length) if length <= 4 * _MAX_FRAGMENTS else b""
            table = struct.unpack(f"<{len(raw) // 4}I", raw[: len(raw) // 4 * 4])
            first = False
        else:
            items.append((at + 8, length))
        at += 8 + length
    return items, table


def decode(data: bytes, code: Encoding, path: str) -> np.ndarray:
    """Decode the code stream of one frame.

    Parameters
    ----------
    data : bytes
        All fragments of the frame joined.
    code : Encoding
    path : str
        For messages.

    Returns
    -------
    ndarray, shape (rows, columns) or (rows, columns, 3)

    Raises
    ------
    BadInput
        Where nothing here decodes this transfer syntax, or the stream is of another size.
    """
    if code.syntax == RLE:
        return _decode_with_pydicom(data, code)
    reason = undecodable_reason(code)
    if reason:
        raise BadInput(reason, path)
    size = codestream_size(data)
    if size is None:
        raise BadInput("The compressed image is damaged", path)
    if size != (code.rows, code.columns):
        raise BadInput(
            f"The compressed image is {size[1]} × {size[0]} but its header says "
            f"{code.columns} × {code.rows}",
            path,
        )
    return _decode_with_itk(data, code, path)


def undecodable_reason(code: Encoding) -> str:
    """Why nothing here decodes images of this kind; empty where something does."""
    if not code.encapsulated or code.syntax == RLE or code.syntax in _ITK_SYNTAXES:
        return ""
    from pydicom.uid import UID

    name = UID(code.syntax).name if code.syntax else "an unnamed transfer syntax"
    return f"Images compressed as {name} cannot be decoded"


def _decode_with_pydicom(data: bytes, code: Encoding) -> np.ndarray:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    decoder = get_decoder(UID(code.syntax))
    padded = data + b"\0" * (len(data) % 2)
    stream = _item(b"") + _item(padded) + struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
    options: dict[str, Any] = {
        "rows": code.rows,
        "columns": code.columns,
        "number_of_frames": 1,
        "samples_per_pixel": code.samples,
        "bits_allocated": code.bits_allocated,
        "bits_stored": code.bits_stored,
        "pixel_representation": int(code.signed),
        "photometric_interpretation": code.photometric,
        "planar_configuration": code.planar,
        "pixel_keyword": "PixelData",
    }
    pixels, _ = decoder.as_array(stream, index=0, raw=True, **options)
    return np.array(pixels)


def _decode_with_itk(data: bytes, code: Encoding, path: str) -> np.ndarray:
    import SimpleITK as sitk

    handle, name = tempfile.mkstemp(prefix="isocenter-", suffix=".dcm")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(_minimal_file(data, code))
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(name)
        image = reader.Execute()
        pixels = sitk.GetArrayFromImage(image)
    except RuntimeError:
        raise BadInput("The compressed image cannot be decoded", path) from None
    finally:
        os.unlink(name)
    pixels = pixels.reshape(pixels.shape[1:] if pixels.shape[0] == 1 else pixels.shape)
    return pixels.astype(stored_dtype(code), copy=False)


def _item(value: bytes) -> bytes:
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(value)) + value


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += (b"\0" if vr in (b"UI", b"OB") else b" ") * (len(value) % 2)
    head = struct.pack("<HH2s", tag >> 16, tag & 0xFFFF, vr)
    if vr == b"OB":
        return head + struct.pack("<HI", 0, len(value)) + value
    return head + struct.pack("<H", len(value)) + value


def _minimal_file(data: bytes, code: Encoding) -> bytes:
    """A DICOM file that holds one code stream and nothing that could change its values."""

    def number(tag: int, value: int) -> bytes:
        return _element(tag, b"US", struct.pack("<H", value))

    sop_class, uid = b"1.2.840.10008.5.1.4.1.1.4", b"1.2.3"
    photometric = "MONOCHROME2" if code.samples == 1 else code.photometric
    meta = (
        _element(0x00020001, b"OB", b"\0\1")
        + _element(0x00020002, b"UI", sop_class)
        + _element(0x00020003, b"UI", uid)
        + _element(0x00020010, b"UI", code.syntax.encode())
    )
    body = _element(0x00080016, b"UI", sop_class) + _element(0x00080018, b"UI", uid)
    body += number(0x00280002, code.samples) + _element(0x00280004, b"CS", photometric.encode())
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
