"""Bytes of a file with their packing taken off, read forward, never more than was asked for.

gzip and zlib streams go through ISA-L (three times as fast as zlib), bzip2 through the standard
library. What a header announces is the most that is ever inflated, so a bomb costs nothing, and an
announcement that a stream of this length cannot hold is refused before memory is taken.
"""

from __future__ import annotations

import os
from typing import IO, Any, Protocol, cast

from imaging.errors import BadInput

RAW, GZIP, ZLIB, BZIP2, TEXT = "raw", "gzip", "zlib", "bzip2", "text"
_READ_BYTES = 256 << 10
_INFLATE_BYTES = 1 << 20
#: Nothing packs more strongly; for deflate 1032 is the limit of the format.
_MOST_PER_BYTE = {GZIP: 1032, ZLIB: 1032, BZIP2: 50_000}
CUT_OFF = "The file is cut off: voxels are missing"
DAMAGED = "The file is damaged or cannot be read"


class Stream(Protocol):
    """The unpacked bytes of a file; use it in a ``with``."""

    def __enter__(self) -> Stream: ...

    def __exit__(self, *_: object) -> None: ...

    def go_to(self, offset: int) -> None:
        """Move to this byte; packed streams go forward only."""
        ...

    def fill(self, target: memoryview) -> None:
        """Fill a buffer of bytes; raises :class:`BadInput` where the stream ends before."""
        ...

    def ends_well(self) -> bool:
        """False where the stream says itself that what was read is wrong or cut off."""
        ...


def open_stream(path: str, packing: str, start: int = 0) -> Stream:
    """Open a file whose bytes are packed from ``start`` on.

    Raises
    ------
    BadInput
        Where it cannot be opened.
    """
    try:
        file = open(path, "rb", buffering=0)  # noqa: SIM115 - the stream closes it
        file.seek(start)
    except OSError as error:
        raise BadInput(DAMAGED, path) from error
    return _Plain(file, path, start) if packing == RAW else _Packed(file, path, packing)


def could_hold(path: str, packing: str, start: int, needed: int) -> bool:
    """False where so many unpacked bytes cannot lie in the file from ``start`` on."""
    try:
        there = os.path.getsize(path) - start
    except OSError:
        return False
    if packing == TEXT:
        return there >= needed
    return there * _MOST_PER_BYTE.get(packing, 1) >= needed


class _Plain:
    """A file as it is."""

    def __init__(self, file: IO[bytes], path: str, start: int) -> None:
        self._file, self._path, self._start = file, path, start

    def __enter__(self) -> _Plain:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def go_to(self, offset: int) -> None:
        self._file.seek(self._start + offset)

    def fill(self, target: memoryview) -> None:
        done = 0
        while done < len(target):
            try:
                got = self._file.readinto(target[done:])  # type: ignore[attr-defined]
            except OSError as error:
                raise BadInput(DAMAGED, self._path) from error
            if not got:
                raise BadInput(CUT_OFF, self._path)
            done += got

    def ends_well(self) -> bool:
        return True


class _Packed:
    """A packed stream, inflated into the memory of the caller."""

    def __init__(self, file: IO[bytes], path: str, packing: str) -> None:
        self._file, self._path, self._packing = file, path, packing
        self._inflater, self._errors = _inflater(packing)
        self._at = 0
        self._fed = b""  # read from the file, not yet given to the inflater
        self._left = memoryview(b"")  # inflated, not yet handed out

    def __enter__(self) -> _Packed:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def go_to(self, offset: int) -> None:
        if offset < self._at:
            raise ValueError("a packed stream goes forward only")
        waste = bytearray(min(_INFLATE_BYTES, offset - self._at))
        while self._at < offset:
            self.fill(memoryview(waste)[: offset - self._at])

    def fill(self, target: memoryview) -> None:
        done = 0
        while done < len(target):
            if not self._left:
                self._left = memoryview(self._inflate(min(_INFLATE_BYTES, len(target) - done)))
                if not self._left:
                    raise BadInput(CUT_OFF, self._path)
            part = self._left[: len(target) - done]
            target[done : done + len(part)] = part
            self._left = self._left[len(part) :]
            done += len(part)
        self._at += done

    def ends_well(self) -> bool:
        try:
            return bool(self._inflate(1)) or self._inflater.eof
        except BadInput:
            return False

    def _inflate(self, most: int) -> bytes:
        """The next bytes, at most so many; empty at the end."""
        try:
            while True:
                if self._inflater.eof and not self._next_member():
                    return b""
                if self._inflater.needs_input and not self._fed:
                    self._fed = self._file.read(_READ_BYTES)
                    if not self._fed:
                        return b""
                data, self._fed = self._fed, b""
                inflated = self._inflater.decompress(data, most)
                if inflated:
                    return inflated
        except self._errors as error:
            raise BadInput(DAMAGED, self._path) from error

    def _next_member(self) -> bool:
        """Go on with the stream that follows this one (gzip and bzip2 allow several)."""
        rest = self._inflater.unused_data or self._file.read(_READ_BYTES)
        if self._packing == ZLIB or not rest.startswith((b"\x1f\x8b", b"BZh")):
            return False
        self._inflater, self._errors = _inflater(self._packing)
        self._fed = rest
        return True


def _inflater(packing: str) -> tuple[Any, tuple[type[Exception], ...]]:
    """A fresh inflater and what it raises where the stream is damaged."""
    if packing == BZIP2:
        from bz2 import BZ2Decompressor

        return BZ2Decompressor(), (OSError, EOFError, ValueError)
    from isal import igzip_lib

    flag = igzip_lib.DECOMP_GZIP if packing == GZIP else igzip_lib.DECOMP_ZLIB
    return igzip_lib.IgzipDecompressor(flag=flag), (
        cast(type[Exception], igzip_lib.IsalError), OSError, EOFError, ValueError,
    )  # fmt: skip
