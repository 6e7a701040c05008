"""Pixels of one frame, as stored: read straight from the file or decoded.

Uncompressed little endian is read into the target memory with no copy. Compressed code streams
are wrapped into a minimal file of our own before SimpleITK sees them: it then neither rescales nor
inverts, and never meets a hostile header.

Source: DICOM PS3.5 section 8 and annex A.4 (encapsulation), PS3.3 C.7.6.3 (image pixel).
"""

from __future__ import annotations

import os
import struct
import sys
import tempfile
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from imaging.dicom.series import Encoding, Frame
from imaging.dicom.tags import inflated_data
from imaging.dicom.vetting import MAX_INFLATED_BYTES, codestream_size
from imaging.errors import BadInput

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


def reads_directly(frame: Frame, target: np.dtype) -> bool:
    """True where the bytes of the file are the bytes of the array."""
    code = frame.encoding
    return (
        not (code.encapsulated or code.deflated or code.big_endian)
        and frame.tile is None
        and code.samples == 1
        and sys.byteorder == "little"
        and stored_dtype(code) == target
    )


def read_bytes_into(file: int, offset: int, target: np.ndarray) -> int:
    """Read from a file descriptor into a C-contiguous array; returns the bytes read."""
    view = memoryview(cast(Any, target)).cast("B")
    done = 0
    while done < len(view):
        if hasattr(os, "preadv"):
            got = os.preadv(file, [view[done:]], offset + done)
        else:
            os.lseek(file, offset + done, os.SEEK_SET)
            block = os.read(file, len(view) - done)
            got = len(block)
            view[done : done + got] = block
        if got == 0:
            break
        done += got
    return done


@dataclass
class PixelReader:
    """Reads and decodes frames; keeps the fragment tables of the files it has met."""

    _fragments: dict[str, list[list[tuple[int, int]]]] = field(default_factory=dict)

    def read_direct(self, file: int, frame: Frame, target: np.ndarray) -> None:
        """Fill ``target`` (rows, columns) from an open file; see :func:`reads_directly`.

        Raises
        ------
        BadInput
            Where the file ends too early.
        """
        if read_bytes_into(file, frame.offset, target) != frame.length:
            raise BadInput("The file ends before its image", frame.file)
        clean_bits(target, frame.encoding)

    def read(self, frame: Frame) -> np.ndarray:
        """The stored image of a frame (a mosaic's whole sheet), grey.

        Returns
        -------
        ndarray, shape (rows, columns)
            Stored values; the grey value of colour images.

        Raises
        ------
        BadInput
            Where the pixels cannot be decoded.
        """
        try:
            return self._read(frame)
        except (BadInput, MemoryError):
            raise
        except OSError as error:
            reason = error.strerror or "input error"
            raise BadInput(f"The file cannot be read ({reason})", frame.file) from error
        except Exception as error:
            raise BadInput("The image cannot be decoded", frame.file) from error

    def _read(self, frame: Frame) -> np.ndarray:
        code = frame.encoding
        if code.encapsulated:
            pixels = decode(self._codestream(frame), code, frame.file)
        else:
            pixels = self._native(frame)
        if code.samples == 3:
            return _grey(pixels, code)
        pixels = np.ascontiguousarray(pixels)
        clean_bits(pixels, code)
        return pixels

    def _native(self, frame: Frame) -> np.ndarray:
        code = frame.encoding
        if code.deflated:
            end = frame.offset + frame.length
            data = inflated_data(frame.file, min(end, MAX_INFLATED_BYTES))
            raw = data[frame.offset : end]
        else:
            with open(frame.file, "rb") as file:
                file.seek(frame.offset)
                raw = file.read(frame.length)
        if len(raw) != frame.length:
            raise BadInput("The file ends before its image", frame.file)
        dtype = stored_dtype(code)
        if code.big_endian and dtype.itemsize == 1 and len(raw) % 2 == 0:
            raw = _swap_words(raw, frame)
        pixels = np.frombuffer(raw, dtype.newbyteorder(">" if code.big_endian else "<"))
        return _shaped(pixels.astype(dtype), code)

    def _codestream(self, frame: Frame) -> bytes:
        if frame.file not in self._fragments:
            self._fragments[frame.file] = _frame_places(frame)
        places = self._fragments[frame.file]
        number = max(0, frame.number - 1)
        if number >= len(places):
            raise BadInput(f"Frame {frame.number} is missing in the compressed data", frame.file)
        with open(frame.file, "rb") as file:
            return b"".join(_read_at(file, at, length) for at, length in places[number])


def _swap_words(raw: bytes, frame: Frame) -> bytes:
    """Big endian 8-bit pixels stored as 16-bit words come in swapped pairs (PS3.5 8.1.1)."""
    with open(frame.file, "rb") as file:
        file.seek(frame.offset - 8)
        word = file.read(2) == b"OW"
    return np.frombuffer(raw, "u2").byteswap().tobytes() if word else raw


def _shaped(pixels: np.ndarray, code: Encoding) -> np.ndarray:
    if code.samples == 1:
        return pixels.reshape(code.rows, code.columns)
    if code.planar == 1:
        return np.moveaxis(pixels.reshape(3, code.rows, code.columns), 0, -1)
    return pixels.reshape(code.rows, code.columns, 3)


def _grey(pixels: np.ndarray, code: Encoding) -> np.ndarray:
    """Luminance of a colour image (ITU-R BT.601); the Y of luminance-coded ones as it is."""
    if code.photometric.startswith("YBR") and not code.encapsulated:
        return np.ascontiguousarray(pixels[..., 0])
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.rint(pixels.astype(np.float32) @ weights).astype(pixels.dtype)


def clean_bits(pixels: np.ndarray, code: Encoding) -> None:
    """Remove bits beside the stored ones and extend the sign, in place (PS3.5 8.1.1)."""
    if code.bits_stored >= code.bits_allocated:
        return
    spare = code.bits_allocated - code.bits_stored
    shift = code.high_bit + 1 - code.bits_stored
    if 0 < shift <= spare and not code.encapsulated:
        np.right_shift(pixels, shift, out=pixels)
    if pixels.dtype.kind == "i":
        np.left_shift(pixels, spare, out=pixels)
        np.right_shift(pixels, spare, out=pixels)
    else:
        np.bitwise_and(pixels, (1 << code.bits_stored) - 1, out=pixels)


def _read_at(file, offset: int, length: int) -> bytes:
    file.seek(offset)
    return file.read(length)


def _frame_places(frame: Frame) -> list[list[tuple[int, int]]]:
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
        head = _read_at(file, at, 8)
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
