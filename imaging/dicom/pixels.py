"""Pixels of one frame, as stored: read straight from the file or decoded.

Uncompressed little endian is read into the target memory with no copy.

Source: DICOM PS3.5 section 8 and PS3.3 C.7.6.3 (image pixel).
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from imaging.dicom.codestream import decode, frame_places, read_at, stored_dtype
from imaging.dicom.header import inflated_data
from imaging.dicom.vetting import MAX_INFLATED_BYTES
from imaging.errors import BadInput
from imaging.series import Encoding, Frame


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
            self._fragments[frame.file] = frame_places(frame)
        places = self._fragments[frame.file]
        number = max(0, frame.number - 1)
        if number >= len(places):
            raise BadInput(f"Frame {frame.number} is missing in the compressed data", frame.file)
        with open(frame.file, "rb") as file:
            return b"".join(read_at(file, at, length) for at, length in places[number])


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
