"""The first bytes of a file, and what a reader of a whole-volume file gives back.

A file is recognised by what it begins with, never by its name, and opened once for it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from imaging.series import FoundObject, Series

HEAD_BYTES = 4096
_GZIP_MAGIC = b"\x1f\x8b"
_WINDOW_OF_GZIP = 31  # zlib's wbits for a stream with a gzip header


@dataclass(frozen=True)
class Head:
    """What a file begins with.

    Parameters
    ----------
    path : str
    raw : bytes
        The first bytes on disk, at most ``HEAD_BYTES``.
    plain : bytes
        The same, inflated where the file is gzipped; empty where that fails.
    """

    path: str
    raw: bytes
    plain: bytes

    @property
    def gzipped(self) -> bool:
        """True where the file begins as a gzip file does."""
        return self.raw[:2] == _GZIP_MAGIC


class Found(NamedTuple):
    """What one file holds.

    Parameters
    ----------
    series : tuple of Series
    objects : tuple of FoundObject
        Masks, which are no images to read.
    used : tuple of str
        Other files that were read with it or hold its voxels; they need no reader of their own.
    """

    series: tuple[Series, ...] = ()
    objects: tuple[FoundObject, ...] = ()
    used: tuple[str, ...] = ()


def read_head(path: str) -> Head:
    """Read the first bytes of a file; a file that cannot be read begins with nothing."""
    try:
        with open(path, "rb", buffering=0) as file:
            raw = file.read(HEAD_BYTES)
    except OSError:
        return Head(path, b"", b"")
    return Head(path, raw, _inflated(raw) if raw[:2] == _GZIP_MAGIC else raw)


def _inflated(raw: bytes) -> bytes:
    import zlib

    try:
        return zlib.decompressobj(_WINDOW_OF_GZIP).decompress(raw, HEAD_BYTES)
    except (zlib.error, EOFError, ValueError):
        return b""
