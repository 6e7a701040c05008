"""Remembers what a scan found, so that a folder opens at once the next time.

Two kinds of entries lie in one SQLite file in the user's cache folder: the finished series of a
whole tree, used where not one file has changed, and the records of the DICOM files of each folder,
used for those files that are as they were. A file is as it was where its size, both its times and
its inode are; renamed, new and removed files change the list that is compared.

**The file holds text of headers: names, numbers and birth dates of patients.** The folder is the
user's alone (0700), the file too (0600); it can be emptied (:func:`forget_all`), and switched off
in the settings. Nothing in it is code: entries are MessagePack that msgspec checks against the
types, guarded by a checksum, and places and sizes are checked against the files as they are now.
What is damaged, foreign or of another version of the reader is left aside and written anew. Several
programs may use it at once (SQLite's write-ahead log); who finds it busy goes on without it.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import logging
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import msgspec
import numpy as np

from imaging.dicom.frames import frame_fault
from imaging.dicom.record import FileRecord
from imaging.dicom.vetting import check_frame
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.series import FoundObject, Frame, Problem, Series

if TYPE_CHECKING:
    import apsw

log = logging.getLogger(__name__)

#: Raise it when the reader understands files differently and the source is not there to tell.
READER_VERSION = 1
LIMIT_BYTES = 256 << 20
#: Files younger than this when they were listed may still be changing within one tick of a clock.
SETTLED_S = 2.0
FILE_NAME = "headers.sqlite"
_APPLICATION = 0x49736F63
_LAYOUT = 1
_MAX_BODY = 1 << 30
_TABLE = (
    "CREATE TABLE entry (key BLOB PRIMARY KEY, print BLOB NOT NULL, used REAL NOT NULL,"
    " size INTEGER NOT NULL, body BLOB NOT NULL)"
)
#: So many frames are coded in one go, for that holds up every other thread.
_PIECE = 512
#: Reasons that may be gone the next time though the file is the same.
_PASSING = ("The file cannot be read", "The file needs more memory", "The folder cannot be read")
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
        return _digest(msgspec.msgpack.encode(self.stamps))

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


class HeaderIndex:
    """The remembered headers of one user.

    Parameters
    ----------
    folder : Path, optional
        Where the file lies; the user's cache folder by default.
    limit_bytes : int
        What was not used for longest goes when the file holds more.
    settled_s : float
        Files that were touched less than so many seconds before are not remembered.
    """

    def __init__(
        self,
        folder: Path | None = None,
        limit_bytes: int = LIMIT_BYTES,
        settled_s: float = SETTLED_S,
    ) -> None:
        self.path = (folder or cache_folder()) / FILE_NAME
        self._limit, self._settled_s = limit_bytes, settled_s
        self._reader = _reader()
        self._base: apsw.Connection | None = None
        self._broken = False
        self._lock = threading.Lock()

    # --- asking ------------------------------------------------------------------------------
    def recall(self, listing: Listing) -> Remembered | None:
        """What a scan of the same paths found, where not one file has changed since."""
        if not listing.files or not listing.complete:
            return None
        body = self._read(self._tree_key(listing), listing.digest())
        if body is None:
            return None
        return self._sound(lambda: _checked(_decode_tree(body), listing))

    def records(self, listing: Listing) -> dict[str, FileRecord]:
        """The records of those files that are as they were."""
        found: dict[str, FileRecord] = {}
        for folder in _folders(listing.files):
            body = self._read(self._folder_key(folder))
            records = body and self._sound(lambda body=body: _decode_folder(body))
            for stamp, record in records or ():
                if listing.stamps.get(record.path) == stamp and _fits(record.frames, listing):
                    found[record.path] = record
        return found

    # --- keeping -----------------------------------------------------------------------------
    def keep_records(
        self, listing: Listing, records: Iterable[FileRecord], known: dict[str, FileRecord]
    ) -> None:
        """Remember the records of files; folders in which all were known are left as they are."""
        news: dict[str, list[FileRecord]] = {}
        fresh: set[str] = set()
        for record in records:
            if listing.settled(record.path, self._settled_s):
                folder = os.path.dirname(record.path)
                news.setdefault(folder, []).append(record)
                if known.get(record.path) is not record:
                    fresh.add(folder)
        for folder in fresh:
            pairs = [(listing.stamps[record.path], record) for record in news[folder]]
            self._write(self._folder_key(folder), b"", lambda pairs=pairs: _encode_folder(pairs))
        self._trim()

    def keep(self, listing: Listing, found: Remembered) -> None:
        """Remember what a finished scan has found, where that can hold the next time."""
        passing = any(problem.reason.startswith(_PASSING) for problem in found.problems)
        settled = all(listing.settled(file, self._settled_s) for file in listing.files)
        if listing.files and listing.complete and settled and not passing:
            self._write(self._tree_key(listing), listing.digest(), lambda: _encode_tree(found))
            self._trim()

    def close(self) -> None:
        """Let go of the file; it is opened again when needed."""
        base, self._base = self._base, None
        if base is not None:
            with contextlib.suppress(Exception):
                base.close()

    def __enter__(self) -> HeaderIndex:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- the file ----------------------------------------------------------------------------
    def _tree_key(self, listing: Listing) -> bytes:
        here = [(path, os.path.abspath(path)) for path in listing.paths]
        return _digest(msgspec.msgpack.encode(["tree", self._reader, here]))

    def _folder_key(self, folder: str) -> bytes:
        place = [folder, os.path.abspath(folder)]
        return _digest(msgspec.msgpack.encode(["folder", self._reader, place]))

    def _read(self, key: bytes, fingerprint: bytes = b"") -> bytes | None:
        """The unpacked body of an entry with this fingerprint."""

        def ask(base: apsw.Connection) -> bytes | None:
            rows = base.execute(
                "SELECT body FROM entry WHERE key=? AND print=?", (key, fingerprint)
            )
            row = rows.fetchone()
            if row is None:
                return None
            with contextlib.suppress(*_busy()):
                base.execute("UPDATE entry SET used=? WHERE key=?", (time.time(), key))
            return row[0]

        packed = self._try(ask)
        return self._sound(lambda: _unpacked(packed)) if packed else None

    def _write(self, key: bytes, fingerprint: bytes, make: Callable[[], bytes]) -> None:
        packed = _packed(make())
        if len(packed) > self._limit:
            return
        self._try(
            lambda base: base.execute(
                "INSERT OR REPLACE INTO entry VALUES (?, ?, ?, ?, ?)",
                (key, fingerprint, time.time(), len(packed), packed),
            )
        )

    def _trim(self) -> None:
        """Drop what was not used for longest until the rest fits."""

        def drop(base: apsw.Connection) -> None:
            rows: Any = base.execute("SELECT key, size FROM entry ORDER BY used DESC").fetchall()
            total, late = 0, []
            for key, size in rows:
                total += int(size)
                if total > self._limit:
                    late.append((key,))
            if late:
                base.executemany("DELETE FROM entry WHERE key=?", late)
                base.execute("PRAGMA incremental_vacuum")

        self._try(drop)

    def _try(self, use: Callable[[apsw.Connection], _T]) -> _T | None:
        """Use the file; a busy one is left alone, a damaged one is thrown away."""
        with self._lock:
            return None if self._broken else self._used(use)

    def _used(self, use: Callable[[apsw.Connection], _T]) -> _T | None:
        try:
            if self._base is None:
                self._base = _opened(self.path)
            return use(self._base)
        except _busy():
            return None
        except Exception as error:
            # Whatever is wrong with a cache, reading the files again is right.
            log.info("the remembered headers cannot be used: %s", type(error).__name__)
            self.close()
            self._broken = not _removed(self.path)
            return None

    def _sound(self, read: Callable[[], _T]) -> _T | None:
        """What an entry holds, or None where it holds something else."""
        try:
            return read()
        except (BadInput, msgspec.MsgspecError, ValueError, TypeError, IndexError) as error:
            log.info("a remembered entry was left aside: %s", type(error).__name__)
            return None


def cache_folder() -> Path:
    """Where the file lies for this user."""
    import platformdirs

    return Path(platformdirs.user_cache_dir("isocenter", appauthor=False)) / "headers"


def forget_all(folder: Path | None = None) -> None:
    """Delete all remembered headers.

    Raises
    ------
    OSError
        Where a file cannot be deleted.
    """
    for path in _family((folder or cache_folder()) / FILE_NAME):
        path.unlink(missing_ok=True)


def remembered_bytes(folder: Path | None = None) -> int:
    """Bytes on disk; 0 where nothing is remembered."""
    total = 0
    for path in _family((folder or cache_folder()) / FILE_NAME):
        with contextlib.suppress(OSError):
            total += path.stat().st_size
    return total


def _family(path: Path) -> tuple[Path, ...]:
    return tuple(path.with_name(path.name + end) for end in ("", "-wal", "-shm", "-journal"))


def _removed(path: Path) -> bool:
    try:
        for one in _family(path):
            one.unlink(missing_ok=True)
    except OSError:
        return False
    return True


def _busy() -> tuple[type[Exception], ...]:
    import apsw

    return apsw.BusyError, apsw.LockedError


def _opened(path: Path) -> apsw.Connection:
    """The data base, private to the user; made where missing, replaced where foreign."""
    import apsw

    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _private(path.parent, 0o700)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600))
    _private(path, 0o600)
    base = apsw.Connection(str(path))
    base.set_busy_timeout(200)
    if _is_empty(base):
        base.pragma("auto_vacuum", 2)
        base.pragma("journal_mode", "wal")
    base.pragma("synchronous", 1)
    base.execute("BEGIN IMMEDIATE")
    made = base.pragma("application_id"), base.pragma("user_version")
    empty = _is_empty(base)
    if empty:
        base.execute(_TABLE)
        base.pragma("user_version", _LAYOUT)
        base.pragma("application_id", _APPLICATION)
    base.execute("COMMIT")
    if not empty and made != (_APPLICATION, _LAYOUT):
        base.close()
        raise ValueError("not a file of this program, or one of another layout")
    return base


def _is_empty(base: apsw.Connection) -> bool:
    return base.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,)


def _private(path: Path, mode: int) -> None:
    """Nobody else may read or write here.

    Raises
    ------
    ValueError
        Where it belongs to somebody else.
    """
    if sys.platform == "win32":
        return
    at = path.stat()
    if at.st_uid != os.getuid():
        raise ValueError("the cache belongs to somebody else")
    if at.st_mode & 0o777 != mode:
        path.chmod(mode)


def _reader() -> str:
    """Changes whenever the code that reads files changes."""
    root = Path(__file__).resolve().parent.parent
    stamps = [READER_VERSION]
    sources = [*root.glob("*.py"), *root.glob("dicom/*.py"), *root.glob("storage/*.py")]
    for path in sorted(sources) or [Path(sys.executable)]:
        with contextlib.suppress(OSError):
            at = path.stat()
            stamps += [path.name, at.st_size, at.st_mtime_ns]
    return _digest(msgspec.msgpack.encode(stamps)).hex()


# --- values and bytes --------------------------------------------------------------------------
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


def _encode_tree(found: Remembered) -> bytes:
    bare = tuple(replace(series, frames=()) for series in found.series)
    counts = tuple(len(series.frames) for series in found.series)
    frames = [frame for series in found.series for frame in series.frames]
    return _encode(_Tree(bare, counts, found.problems, found.objects), frames)


def _decode_tree(body: bytes) -> Remembered:
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


def _encode_folder(records: Sequence[tuple[Stamp, FileRecord]]) -> bytes:
    bare = tuple(replace(record, frames=()) for _, record in records)
    counts = tuple(len(record.frames) for _, record in records)
    frames = [frame for _, record in records for frame in record.frames]
    return _encode(_Folder(tuple(stamp for stamp, _ in records), bare, counts), frames)


def _decode_folder(body: bytes) -> list[tuple[Stamp, FileRecord]]:
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


def _packed(body: bytes) -> bytes:
    import zstandard

    packed = zstandard.ZstdCompressor(level=1, write_content_size=True).compress(body)
    return _digest(packed) + packed


def _unpacked(stored: bytes) -> bytes:
    import zstandard

    digest, packed = stored[:16], stored[16:]
    if _digest(packed) != digest:
        raise ValueError("the entry is damaged")
    size = zstandard.frame_content_size(packed)
    if not 0 <= size <= _MAX_BODY:
        raise ValueError("the entry is too large")
    try:
        return zstandard.ZstdDecompressor().decompress(packed, max_output_size=_MAX_BODY)
    except zstandard.ZstdError as error:
        raise ValueError("the entry is damaged") from error


def _digest(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


# --- trust -------------------------------------------------------------------------------------
def _checked(found: Remembered, listing: Listing) -> Remembered:
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
        if not series.frames or not _fits(series.frames, listing, series.kind == "dicom"):
            raise ValueError("a place that is not there")
        if series.geometry is not None and series.geometry.shape != series.shape:
            raise ValueError("a grid of another shape")
    return found


def _fits(frames: Iterable[Frame], listing: Listing, dicom: bool = True) -> bool:
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


def _folders(files: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(os.path.dirname(file) for file in files))
