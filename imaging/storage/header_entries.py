"""Remembered headers as bytes, and the checks they pass before they are believed.

MessagePack that msgspec checks against the types, packed with zstd and guarded by a checksum. What
the frames of a series share is stored and made once: a folder of thousands of files is read in a
few hundredths of a second. Nothing here is code.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import math
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from imaging.dicom.header.vetting import check_frame
from imaging.dicom.stacks.frames import frame_fault
from imaging.dicom.stacks.record import FileRecord
from imaging.geometry import Geometry
from imaging.series import FoundObject, Frame, Problem, Series

_MAX_BODY = 1 << 30
#: So many frames are coded in one go, for that holds up every other thread.
_PIECE = 512
_T = TypeVar("_T")


class Stamp(NamedTuple):
    """What tells that a file is as it was."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


class Listing:
    """The files under some paths as they are now.

    Parameters
    ----------
    paths : sequence of str
        What was asked for.
    files : sequence of str
        What lies there, in the order of reading.
    """

    def __init__(self, paths: Sequence[str], files: Sequence[str]) -> None:
        self.paths, self.files = tuple(paths), tuple(files)
        self.taken_ns = time.time_ns()
        self.stamps: dict[str, Stamp] = {}
        for file in files:
            try:
                at = os.stat(file)
            except OSError:
                continue
            self.stamps[file] = Stamp(at.st_size, at.st_mtime_ns, at.st_ctime_ns, at.st_ino)

    @property
    def complete(self) -> bool:
        """True where every file could be looked at."""
        return len(self.stamps) == len(self.files)

    def digest(self) -> bytes:
        """The same for the same files as they were."""
        return digest_of(msgspec.msgpack.encode(self.stamps))

    def settled(self, file: str, seconds: float) -> bool:
        """True where a file has not been touched just before it was listed."""
        stamp = self.stamps.get(file)
        if stamp is None:
            return False
        return self.taken_ns - max(stamp.mtime_ns, stamp.ctime_ns) > seconds * 1e9


class Remembered(NamedTuple):
    """What a scan of a whole tree had found."""

    series: tuple[Series, ...]
    problems: tuple[Problem, ...]
    objects: tuple[FoundObject, ...]


class _Frames(msgspec.Struct, array_like=True):
    """Frames in columns: what they share is stored and made once."""

    templates: tuple[Frame, ...]
    which: tuple[int, ...]
    file: tuple[str, ...]
    number: tuple[int, ...]
    offset: tuple[int, ...]
    length: tuple[int, ...]
    instance_uid: tuple[str, ...]
    position: tuple[tuple[float, float, float] | None, ...]
    order: tuple[int, ...]
    tile: tuple[tuple[int, int] | None, ...]


class _Tree(msgspec.Struct, array_like=True):
    """Series without their frames, and how many frames each has."""

    series: tuple[Series, ...]
    counts: tuple[int, ...]
    problems: tuple[Problem, ...]
    objects: tuple[FoundObject, ...]


class _Folder(msgspec.Struct, array_like=True):
    """Records without their frames, and how many frames each has."""

    stamps: tuple[Stamp, ...]
    records: tuple[FileRecord, ...]
    counts: tuple[int, ...]


_FIELDS = tuple(one.name for one in fields(Frame))
_COLUMNS = _Frames.__struct_fields__[2:]
_PLACES = tuple(_FIELDS.index(name) for name in _COLUMNS)


def _to_plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, np.floating):
        return float(value)
    raise TypeError(type(value).__name__)


def _from_plain(kind: type, value: Any) -> Any:
    if kind is np.ndarray:
        return np.array(value, dtype=np.float64)
    raise TypeError(kind.__name__)


def _columns(frames: Sequence[Frame]) -> _Frames:
    templates: dict[tuple, int] = {}
    which = []
    for frame in frames:
        shared = tuple(getattr(frame, name) for name in _FIELDS if name not in _COLUMNS)
        which.append(templates.setdefault(shared, len(templates)))
    blank = {"file": "", "number": 0, "offset": 0, "length": 0}
    names = [name for name in _FIELDS if name not in _COLUMNS]
    made = tuple(Frame(**blank, **dict(zip(names, one, strict=True))) for one in templates)
    values = (tuple(getattr(frame, name) for frame in frames) for name in _COLUMNS)
    return _Frames(made, tuple(which), *values)


def _rows(stored: _Frames) -> list[Frame]:
    bases = [[getattr(one, name) for name in _FIELDS] for one in stored.templates]
    columns = [getattr(stored, name) for name in _COLUMNS]
    frames = []
    for which, *own in zip(stored.which, *columns, strict=True):
        values = bases[which]
        for place, value in zip(_PLACES, own, strict=True):
            values[place] = value
        frames.append(Frame(*values))
    return frames


def _encode(head: msgspec.Struct, frames: Sequence[Frame]) -> bytes:
    code = msgspec.msgpack.Encoder(enc_hook=_to_plain).encode
    return code([code(head), *(code(_columns(part)) for part in _parts(frames))])


def _decode(body: bytes, kind: type[_T]) -> tuple[_T, list[Frame]]:
    pieces = msgspec.msgpack.decode(body, type=tuple[bytes, ...])
    decoder = msgspec.msgpack.Decoder(_Frames, dec_hook=_from_plain)
    frames: list[Frame] = []
    with _no_collecting():
        head = msgspec.msgpack.Decoder(kind, dec_hook=_from_plain).decode(pieces[0])
        for piece in pieces[1:]:
            frames += _rows(decoder.decode(piece))
    return head, frames


def _shares(counts: Sequence[int], frames: list[Frame]) -> Iterator[tuple[Frame, ...]]:
    """The frames of each series or record, in turn."""
    if min(counts, default=0) < 0 or sum(counts) != len(frames):
        raise ValueError("frames are missing")
    at = 0
    for count in counts:
        yield tuple(frames[at : at + count])
        at += count


def encode_tree(found: Remembered) -> bytes:
    """The finished result of a scan as bytes."""
    bare = tuple(replace(series, frames=()) for series in found.series)
    counts = tuple(len(series.frames) for series in found.series)
    frames = [frame for series in found.series for frame in series.frames]
    return _encode(_Tree(bare, counts, found.problems, found.objects), frames)


def decode_tree(body: bytes) -> Remembered:
    """What :func:`encode_tree` was given; not yet :func:`checked`."""
    tree, frames = _decode(body, _Tree)
    series = tuple(
        replace(bare, frames=own, geometry=_geometry(bare.geometry))
        for bare, own in zip(tree.series, _shares(tree.counts, frames), strict=True)
    )
    return Remembered(series, tree.problems, tree.objects)


def _geometry(stored: Geometry | None) -> Geometry | None:
    """The same grid, made as any other, with all checks."""
    if stored is None:
        return None
    return Geometry(stored.shape, stored.affine, stored.frame_of_reference)


def encode_folder(records: Sequence[tuple[Stamp, FileRecord]]) -> bytes:
    """Records of the files of a folder as bytes."""
    bare = tuple(replace(record, frames=()) for _, record in records)
    counts = tuple(len(record.frames) for _, record in records)
    frames = [frame for _, record in records for frame in record.frames]
    return _encode(_Folder(tuple(stamp for stamp, _ in records), bare, counts), frames)


def decode_folder(body: bytes) -> list[tuple[Stamp, FileRecord]]:
    """What :func:`encode_folder` was given; whether it still :func:`fits` is not asked."""
    stored, frames = _decode(body, _Folder)
    shares = _shares(stored.counts, frames)
    return [
        (stamp, replace(record, frames=own))
        for stamp, record, own in zip(stored.stamps, stored.records, shares, strict=True)
    ]


def _parts(values: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for at in range(0, len(values), _PIECE):
        yield values[at : at + _PIECE]


@contextlib.contextmanager
def _no_collecting() -> Iterator[None]:
    """Thousands of new values would start the garbage collector again and again, for nothing."""
    on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if on:
            gc.enable()


def pack(body: bytes) -> bytes:
    """Compressed, with a checksum in front."""
    import zstandard

    packed = zstandard.ZstdCompressor(level=1, write_content_size=True).compress(body)
    return digest_of(packed) + packed


def unpack(stored: bytes) -> bytes:
    """What :func:`pack` was given.

    Raises
    ------
    ValueError
        Where a bit has changed, or it would be too large.
    """
    import zstandard

    digest, packed = stored[:16], stored[16:]
    if digest_of(packed) != digest:
        raise ValueError("the entry is damaged")
    size = zstandard.frame_content_size(packed)
    if not 0 <= size <= _MAX_BODY:
        raise ValueError("the entry is too large")
    try:
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=_MAX_BODY)
    except zstandard.ZstdError as error:
        raise ValueError("the entry is damaged") from error


def digest_of(data: bytes) -> bytes:
    """Sixteen bytes that stand for any number of them."""
    return hashlib.blake2b(data, digest_size=16).digest()


def checked(found: Remembered, listing: Listing) -> Remembered:
    """The same, where every place in it is one in the files as they are.

    Raises
    ------
    ValueError
        Where one is not.
    """
    files = {path for series in found.series for path in series.source.files}
    files |= {one.path for one in found.objects}
    if not files <= listing.stamps.keys():
        raise ValueError("a file that is not there")
    for series in found.series:
        if not series.frames or not fits(series.frames, listing, series.kind == "dicom"):
            raise ValueError("a place that is not there")
        if series.geometry is not None and series.geometry.shape != series.shape:
            raise ValueError("a grid of another shape")
        images = max(1, len(series.repeats))
        if series.kind == "dicom" and len(series.frames) != series.shape[0] * images:
            raise ValueError("slices are missing")
    return found


def fits(frames: Iterable[Frame], listing: Listing, dicom: bool = True) -> bool:
    """Whether every frame lies inside its file and keeps the limits of fresh ones."""
    stamps, sound = listing.stamps, set()
    for frame in frames:
        stamp, code = stamps.get(frame.file), frame.encoding
        if stamp is None or frame.offset < 0 or frame.length < -1:
            return False
        inside = not (code.encapsulated or code.deflated or code.packing)
        if inside and frame.offset + frame.length > stamp.size:
            return False
        if frame.position is not None and not math.isfinite(sum(frame.position)):
            return False
        make = (code.rows, code.columns, code.samples, code.bits_allocated)
        kind = (make, frame.orientation, frame.spacing, frame.slope, frame.intercept)
        if kind not in sound:
            if (dicom and check_frame(*make)) or frame_fault(frame):
                return False
            sound.add(kind)
    return True
