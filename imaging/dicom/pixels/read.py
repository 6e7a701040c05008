"""Pixels of frames, as stored: read straight from the file, or decoded in a worker process.

Uncompressed little endian is read into the target memory with no copy. Everything that needs a
decoder, an inflater or a lookup table of the file goes to :mod:`imaging.sandbox`, so that a hostile
image costs its own slice and nothing else.

Source: DICOM PS3.5 section 8 and PS3.3 C.7.6.3 (image pixel).
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np

from imaging.dicom.header.read import inflated_data
from imaging.dicom.header.tags import RLE
from imaging.dicom.header.vetting import MAX_INFLATED_BYTES
from imaging.dicom.pixels.codestream import container, decode, gives_luminance
from imaging.dicom.pixels.codestream import prepare as load_decoders
from imaging.errors import BadInput
from imaging.series import Encoding, Frame

_READ = "imaging.dicom.pixels.read:read_in_worker"
_PREPARE = "imaging.dicom.pixels.read:prepare"
#: What a worker may take besides several times the image.
_MEMORY_BYTES = 512 << 20
_SECONDS, _BYTES_PER_SECOND = 20.0, 2 << 20


def reads_directly(frame: Frame, target: np.dtype) -> bool:
    """True where the bytes of the file are the bytes of the array."""
    code = frame.encoding
    return (
        not (code.encapsulated or code.deflated or code.big_endian or code.lookup)
        and frame.tile is None
        and code.samples == 1
        and code.bits_allocated > 1
        and sys.byteorder == "little"
        and container(code) == target
    )


def needs_worker(code: Encoding) -> bool:
    """True where the pixels of a stranger meet a decoder, an inflater or a library."""
    return code.encapsulated or code.deflated or bool(code.lookup)


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


def read_direct(file: int, frame: Frame, target: np.ndarray) -> None:
    """Fill ``target`` (rows, columns) from an open file; see :func:`reads_directly`.

    Raises
    ------
    BadInput
        Where the file ends too early.
    """
    if read_bytes_into(file, frame.offset, target) != frame.length:
        raise BadInput("The file ends before its image", frame.file)
    clean_bits(target, frame.encoding)


def read_frame(frame: Frame) -> np.ndarray:
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
    (image,) = read_frames([frame])
    if isinstance(image, BadInput):
        raise image
    return image


def read_frames(frames: Sequence[Frame]) -> Iterator[np.ndarray | BadInput]:
    """The stored images of frames, one after the other; see :func:`read_frame`.

    Frames that need a worker are sent to one together. Where one of them makes the worker fail,
    the others are still read.

    Yields
    ------
    ndarray or BadInput
        One for each frame, in their order.
    """
    done = 0
    while done < len(frames):
        if not needs_worker(frames[done].encoding):
            yield _read_here(frames[done], {})
            done += 1
            continue
        rest = frames[done:]
        several = next((n for n, f in enumerate(rest) if not needs_worker(f.encoding)), len(rest))
        for image in _from_worker(rest[:several]):
            yield image
            done += 1


def prepare_worker() -> None:
    """Start the workers and load their decoders in the background; returns at once."""
    from imaging import sandbox

    sandbox.warm(_PREPARE)


def prepare() -> None:
    """Called in a worker by :func:`prepare_worker`."""
    load_decoders()


def _from_worker(frames: Sequence[Frame]) -> Iterator[np.ndarray | BadInput]:
    """Images of frames until the first that ends the worker, which is told as such."""
    from imaging import sandbox

    largest = max(frame.encoding.rows * frame.encoding.columns * 8 for frame in frames)
    inflated = 2 * MAX_INFLATED_BYTES if any(f.encoding.deflated for f in frames) else 0
    lean = [replace(frame, windows=(), marks=(), kind=()) for frame in frames]
    images = sandbox.stream_limited(
        _READ,
        lean,
        where=frames[0].file,
        kind=tuple[np.ndarray | None, str, str],
        seconds=_SECONDS + largest / _BYTES_PER_SECOND,
        memory=_MEMORY_BYTES + 8 * largest + inflated,
    )
    for frame in frames:
        try:
            image, what, advice = next(images)
        except BadInput as error:
            yield BadInput(error.what, frame.file, error.advice)
            return
        yield BadInput(what, frame.file, advice) if image is None else image
    with contextlib.suppress(BadInput):  # it ended after its last image: they are all here
        next(images, None)


def read_in_worker(frames: list[Any]) -> Iterator[tuple[np.ndarray | None, str, str]]:
    """The other side of :func:`read_frames`: images, or what is wrong and what to do."""
    import msgspec

    wanted = msgspec.convert(frames, list[Frame])
    ends: dict[str, int] = {}
    for frame in wanted:
        ends[frame.file] = max(frame.offset + frame.length, ends.get(frame.file, 0))
    inflated: dict[str, bytes] = {}
    for frame in wanted:
        image = _read_here(frame, inflated, ends[frame.file])
        if isinstance(image, BadInput):
            yield None, image.what, image.advice
        else:
            yield image, "", ""


def _read_here(frame: Frame, inflated: dict[str, bytes], end: int = 0) -> np.ndarray | BadInput:
    """One image, in this process; ``inflated`` keeps a deflated file up to ``end``."""
    try:
        if frame.encoding.deflated and frame.file not in inflated:
            inflated.clear()
            inflated[frame.file] = inflated_data(frame.file, min(end, MAX_INFLATED_BYTES))
        return _read(frame, inflated)
    except BadInput as error:
        return error
    except OSError as error:
        return BadInput(f"The file cannot be read ({error.strerror or 'input error'})", frame.file)
    except (MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # decoders written in Rust panic with a class of their own
        return BadInput("The compressed image cannot be decoded", frame.file)


def _read(frame: Frame, inflated: dict[str, bytes]) -> np.ndarray:
    code = frame.encoding
    if code.encapsulated:
        from imaging.dicom.pixels.fragments import read_codestream

        pixels = decode(read_codestream(frame), code, frame.file)
    else:
        pixels = _native(frame, inflated)
    if code.lookup:
        from imaging.dicom.header.lookup import looked_up

        return looked_up(_cleaned(pixels, code), frame)
    if code.samples == 3:
        return _grey(pixels, code)
    return _cleaned(pixels, code)


def _cleaned(pixels: np.ndarray, code: Encoding) -> np.ndarray:
    pixels = np.ascontiguousarray(pixels)
    if not pixels.flags.writeable:
        pixels = pixels.copy()
    clean_bits(pixels, code)
    return pixels


def _native(frame: Frame, inflated: dict[str, bytes]) -> np.ndarray:
    code = frame.encoding
    start, length, skip = frame.offset, frame.length, 0
    if code.bits_allocated == 1:
        start, length, skip = _bit_place(frame)
    dtype = container(code)
    if code.big_endian and dtype.itemsize == 1:
        raw = _swapped(frame, start, length)
    else:
        raw = _raw_bytes(frame, start, length, inflated)
    if len(raw) != length:
        raise BadInput("The file ends before its image", frame.file)
    if code.bits_allocated == 1:
        bits = np.unpackbits(np.frombuffer(raw, np.uint8), bitorder="little")
        return bits[skip : skip + code.rows * code.columns].reshape(code.rows, code.columns)
    pixels = np.frombuffer(raw, dtype.newbyteorder(">" if code.big_endian else "<"))
    return _shaped(pixels.astype(dtype), code)


def _raw_bytes(frame: Frame, start: int, length: int, inflated: dict[str, bytes]) -> bytes:
    if frame.encoding.deflated:
        return inflated[frame.file][start : start + length]
    with open(frame.file, "rb") as file:
        file.seek(start)
        return file.read(length)


def _bit_place(frame: Frame) -> tuple[int, int, int]:
    """First byte, bytes and bits to skip of a frame with one bit per pixel (PS3.5 8.1.1).

    The frames of a file follow each other bit by bit, not byte by byte.
    """
    code, before = frame.encoding, max(0, frame.number - 1)
    element = frame.offset - before * code.frame_bytes
    first = before * code.rows * code.columns
    last = first + code.rows * code.columns
    return element + first // 8, (last + 7) // 8 - first // 8, first % 8


def _swapped(frame: Frame, start: int, length: int) -> bytes:
    """Big endian bytes; where they are stored as 16-bit words they come in swapped pairs.

    The pairs are counted from the start of the pixel element (PS3.5 8.1.1 and annex A.3).
    """
    first = frame.offset - max(0, frame.number - 1) * frame.encoding.frame_bytes
    with open(frame.file, "rb") as file:
        file.seek(first - 8)
        words = file.read(2) == b"OW"
        skip = (start - first) % 2 if words else 0
        file.seek(start - skip)
        raw = file.read(length + skip + (length + skip) % 2 if words else length)
    if words:
        raw = np.frombuffer(raw[: len(raw) // 2 * 2], "u2").byteswap().tobytes()
    return raw[skip : skip + length]


def _shaped(pixels: np.ndarray, code: Encoding) -> np.ndarray:
    if code.samples == 1:
        return pixels.reshape(code.rows, code.columns)
    if code.photometric == "YBR_FULL_422":
        # Two luminances, then the colour they share (PS3.3 C.7.6.3.1.2).
        return pixels.reshape(-1, 4)[:, :2].reshape(code.rows, code.columns, 1)
    if code.planar == 1:
        return np.moveaxis(pixels.reshape(3, code.rows, code.columns), 0, -1)
    return pixels.reshape(code.rows, code.columns, 3)


def _grey(pixels: np.ndarray, code: Encoding) -> np.ndarray:
    """Luminance of a colour image (ITU-R BT.601); the Y of luminance-coded ones as it is."""
    if gives_luminance(code):
        return np.ascontiguousarray(pixels[..., 0])
    weights = np.array([0.299, 0.587, 0.114], dtype=np.float32)
    return np.rint(pixels.astype(np.float32) @ weights).astype(pixels.dtype)


def clean_bits(pixels: np.ndarray, code: Encoding) -> None:
    """Remove bits beside the stored ones and extend the sign, in place (PS3.5 8.1.1).

    Old overlay planes live in those bits (PS3.5 8.1.2, retired).
    """
    if code.real or code.bits_stored >= code.bits_allocated:
        return
    spare = code.bits_allocated - code.bits_stored
    shift = code.high_bit + 1 - code.bits_stored
    if 0 < shift <= spare and (not code.encapsulated or code.syntax == RLE):
        np.right_shift(pixels, shift, out=pixels)
    if pixels.dtype.kind == "i":
        np.left_shift(pixels, spare, out=pixels)
        np.right_shift(pixels, spare, out=pixels)
    else:
        np.bitwise_and(pixels, (1 << code.bits_stored) - 1, out=pixels)
