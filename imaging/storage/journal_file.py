"""The journal on disk: one SQLite file, one row per finished gesture, each with its checksum.

Rows are only ever added. A row is an ``edit``, a ``base`` (all items as they stand, so that
replay can start there), ``volumes`` (files the items refer to), ``seen`` (which of the items were
shown, and how) or ``saved`` (a case file was written). Arrays lie in a table of their own, named
by the SHA-256 of their content.
"""

from __future__ import annotations

import contextlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import numpy as np

from imaging.errors import BadInput
from imaging.storage import codec

SUFFIX = ".isojournal"
FORMAT = 1
_APPLICATION_ID = 0x49534F4A  # "ISOJ"
EDIT, BASE, VOLUMES, SAVED, SEEN = "edit", "base", "volumes", "saved", "seen"

_SCHEMA = """
CREATE TABLE record(
    seq INTEGER PRIMARY KEY, time TEXT NOT NULL, kind TEXT NOT NULL, how TEXT NOT NULL,
    name TEXT NOT NULL, body TEXT NOT NULL, data BLOB NOT NULL, crc INTEGER NOT NULL);
CREATE TABLE array(digest TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE meta(key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class Row(NamedTuple):
    """One record.

    Parameters
    ----------
    time : str
        ISO 8601 in UTC.
    how : str
        ``"do"``, ``"undo"`` or ``"redo"``; empty for rows that are no edits.
    body : str
        JSON.
    data : bytes
        The patches of the edit, one after the other.
    """

    time: str
    kind: str
    how: str
    name: str
    body: str
    data: bytes

    def checksum(self, seq: int) -> int:
        """CRC-32 over every field and the place in the sequence."""
        head = json.dumps([seq, self.time, self.kind, self.how, self.name, self.body])
        return zlib.crc32(self.data, zlib.crc32(head.encode()))


class JournalFile:
    """An open journal file.

    Parameters
    ----------
    path : Path
        Made with its tables where it does not exist.

    Raises
    ------
    BadInput
        Where the file is no journal, or one of a newer program.
    apsw.Error
        Where the disk or the file refuses.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection = apsw.Connection(str(path))
        try:
            self._prepare()
        except BaseException:
            self._connection.close(True)
            raise

    def _prepare(self) -> None:
        run = self._connection.execute
        self._connection.set_busy_timeout(2000)
        if run("PRAGMA schema_version").get == 0:
            run("PRAGMA journal_mode=WAL")
            run(f"BEGIN; PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={FORMAT};"
                f"{_SCHEMA} COMMIT")  # fmt: skip
        if run("PRAGMA application_id").get != _APPLICATION_ID:
            raise BadInput("This file is not a journal of Isocenter", self.path.name)
        version = run("PRAGMA user_version").get
        if version != FORMAT:
            raise BadInput(
                f"The journal has format {version}, this program reads {FORMAT}",
                self.path.name,
                "Open it with the version of Isocenter that wrote it",
            )
        run("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA fullfsync=ON;"
            "PRAGMA checkpoint_fullfsync=ON; PRAGMA mmap_size=0; PRAGMA trusted_schema=OFF;"
            "PRAGMA cell_size_check=ON")  # fmt: skip

    @property
    def last(self) -> int:
        """Number of the last row; 0 in an empty journal."""
        return int(self._connection.execute("SELECT coalesce(max(seq), 0) FROM record").get)

    def write(self, rows: Sequence[Row], arrays: Mapping[str, bytes]) -> None:
        """Add rows and the packed arrays they name, all or none, flushed to the disk."""
        run = self._connection.execute
        run("BEGIN IMMEDIATE")
        try:
            for name, data in arrays.items():
                run("INSERT OR IGNORE INTO array VALUES(?, ?)", (name, data))
            for seq, row in enumerate(rows, self.last + 1):
                run(
                    "INSERT INTO record VALUES(?, ?, ?, ?, ?, ?, ?, ?)",
                    (seq, *row, row.checksum(seq)),
                )
            run("COMMIT")
        except BaseException:
            with contextlib.suppress(apsw.Error):  # the first error is the one to tell
                if self._connection.in_transaction:
                    run("ROLLBACK")
            raise

    def holds(self, digest: str) -> bool:
        """True where the array is stored already."""
        return self._connection.execute(
            "SELECT count(*) FROM array WHERE digest=?", (digest,)
        ).get == 1  # fmt: skip

    def meta(self, key: str) -> str:
        """A remark about the whole journal; empty where there is none."""
        row = self._connection.execute("SELECT value FROM meta WHERE key=?", (key,)).fetchone()
        return str(row[0]) if row else ""

    def set_meta(self, key: str, value: str) -> None:
        """Store a remark about the whole journal."""
        self._connection.execute("INSERT OR REPLACE INTO meta VALUES(?, ?)", (key, value))

    def sound(self) -> bool:
        """SQLite's own quick check."""
        try:
            return self._connection.execute("PRAGMA quick_check(1)").get == "ok"
        except apsw.Error:
            return False

    def rows(self) -> list[Row]:
        """The rows from the first up to the first missing or damaged one."""
        good: list[Row] = []
        seq = 1
        while (row := self._row(seq)) is not None:
            good.append(row)
            seq += 1
        return good

    def _row(self, seq: int) -> Row | None:
        try:
            found = self._connection.execute(
                "SELECT time, kind, how, name, body, data, crc FROM record WHERE seq=?", (seq,)
            ).fetchone()
            if found is None:
                return None
            row = Row(*found[:6])
            return row if row.checksum(seq) == found[6] else None
        except (apsw.Error, TypeError, ValueError):
            return None

    def array(self, digest: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        """A stored array; raises BadInput where it is missing or not what its name says."""
        try:
            row = self._connection.execute(
                "SELECT data FROM array WHERE digest=?", (digest,)
            ).fetchone()
        except apsw.Error as error:
            raise BadInput("A stored array cannot be read") from error
        if row is None or not isinstance(row[0], bytes):
            raise BadInput("A stored array is missing")
        array = codec.unpack(row[0], dtype, shape)
        if codec.digest(array) != digest:
            raise BadInput("A stored array is damaged")
        return array

    def close(self) -> None:
        """Fold the write-ahead log into the file and let go; never raises."""
        with contextlib.suppress(apsw.Error):  # the rows are on the disk already
            self._connection.close(True)


def side_files(path: Path) -> list[Path]:
    """The file and what SQLite keeps beside it."""
    return [path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")]


def body_of(row: Row) -> dict[str, Any]:
    """The body of a row; raises BadInput where it is no JSON object."""
    try:
        body = json.loads(row.body)
    except ValueError as error:
        raise BadInput("A record is not readable") from error
    if not isinstance(body, dict):
        raise BadInput("A record is not readable")
    return body
