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
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from imaging.dicom.stacks.record import FileRecord
from imaging.errors import BadInput
from imaging.storage.header_entries import (
    Listing,
    Remembered,
    checked,
    decode_folder,
    decode_tree,
    digest_of,
    encode_folder,
    encode_tree,
    fits,
    pack,
    unpack,
)

if TYPE_CHECKING:
    import apsw

log = logging.getLogger(__name__)

#: Raise it when the reader understands files differently and the source is not there to tell.
READER_VERSION = 2
LIMIT_BYTES = 256 << 20
#: Files younger than this when they were listed may still be changing within one tick of a clock.
SETTLED_S = 2.0
FILE_NAME = "headers.sqlite"
_APPLICATION = 0x49736F63
_LAYOUT = 1
_TABLE = (
    "CREATE TABLE entry (key BLOB PRIMARY KEY, print BLOB NOT NULL, used REAL NOT NULL,"
    " size INTEGER NOT NULL, body BLOB NOT NULL)"
)
#: Reasons that may be gone the next time though the file is the same.
_PASSING = ("The file cannot be read", "The file needs more memory", "The folder cannot be read")
_T = TypeVar("_T")


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

    def keep_apart(self, words: str) -> None:
        """From here on ask and keep only what was read in the same way, named by these words."""
        self._reader = f"{_reader()}|{words}" if words else _reader()

    # --- asking ------------------------------------------------------------------------------
    def recall(self, listing: Listing) -> Remembered | None:
        """What a scan of the same paths found, where not one file has changed since."""
        if not listing.files or not listing.complete:
            return None
        body = self._read(self._tree_key(listing), listing.digest())
        if body is None:
            return None
        return self._sound(lambda: checked(decode_tree(body), listing))

    def records(self, listing: Listing) -> dict[str, FileRecord]:
        """The records of those files that are as they were."""
        found: dict[str, FileRecord] = {}
        for folder in _folders(listing.files):
            body = self._read(self._folder_key(folder))
            records = body and self._sound(lambda body=body: decode_folder(body))
            for stamp, record in records or ():
                if listing.stamps.get(record.path) == stamp and fits(record.frames, listing):
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
            self._write(self._folder_key(folder), b"", lambda pairs=pairs: encode_folder(pairs))
        self._trim()

    def keep(self, listing: Listing, found: Remembered) -> None:
        """Remember what a finished scan has found, where that can hold the next time."""
        passing = any(problem.reason.startswith(_PASSING) for problem in found.problems)
        settled = all(listing.settled(file, self._settled_s) for file in listing.files)
        if listing.files and listing.complete and settled and not passing:
            self._write(self._tree_key(listing), listing.digest(), lambda: encode_tree(found))
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
        return digest_of(msgspec.msgpack.encode(["tree", self._reader, here]))

    def _folder_key(self, folder: str) -> bytes:
        place = [folder, os.path.abspath(folder)]
        return digest_of(msgspec.msgpack.encode(["folder", self._reader, place]))

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
        return self._sound(lambda: unpack(packed)) if packed else None

    def _write(self, key: bytes, fingerprint: bytes, make: Callable[[], bytes]) -> None:
        packed = pack(make())
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
    sources = [*root.glob("*.py"), *root.glob("dicom/**/*.py"), *root.glob("storage/*.py")]
    for path in sorted(sources) or [Path(sys.executable)]:
        with contextlib.suppress(OSError):
            at = path.stat()
            stamps += [path.name, at.st_size, at.st_mtime_ns]
    return digest_of(msgspec.msgpack.encode(stamps)).hex()


def _folders(files: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(os.path.dirname(file) for file in files))
