"""The journal of an open case: every finished gesture is on the disk before the next begins.

The hand is never held up for long: :meth:`Journal.append` copies what could change, hands it to
one writer thread and returns. Only when the gesture before is not written yet does it wait, and
only so long as the disk answers; a refusing disk turns the state to *failed*, editing goes on in
memory, and everything is written when the disk is back.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import apsw
import numpy as np

from imaging.case import Case, Item
from imaging.edits.edit import Edit
from imaging.errors import ImagingError
from imaging.storage import codec
from imaging.storage.file_lock import CaseInUse, FileLock
from imaging.storage.journal_file import (
    BASE,
    EDIT,
    SAVED,
    SEEN,
    SUFFIX,
    VOLUMES,
    JournalFile,
    Row,
    side_files,
)
from imaging.volume import Volume

_log = logging.getLogger(__name__)

#: After so many edits a new base is worth writing: replay of more takes over 0.2 s.
EDITS_PER_BASE = 250
_RETRY_S = 2.0
SAVING, SAVED_STATE, FAILED = "saving", "saved", "failed"


@dataclass(frozen=True)
class JournalState:
    """What the status dot shows.

    Parameters
    ----------
    kind : str
        ``"saved"``, ``"saving"`` or ``"failed"``.
    sentence : str
        For the user.
    """

    kind: str
    sentence: str


_SAVING = JournalState(SAVING, "Saving")
_SAVED = JournalState(SAVED_STATE, "All changes are saved")


class Ticket:
    """Tells when one hand-over is on the disk."""

    def __init__(self) -> None:
        self._event = threading.Event()

    @property
    def saved(self) -> bool:
        """True once it is on the disk."""
        return self._event.is_set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait so many seconds at most; True once it is on the disk."""
        return self._event.wait(timeout)


@dataclass(eq=False)
class _Entry:
    """One row to be written, and after writing kept in case the file must be written anew."""

    kind: str
    how: str
    name: str
    edit: Edit | None = None
    items: tuple[Item, ...] = ()
    volumes: tuple[codec.VolumeRef, ...] = ()
    remark: dict[str, object] = field(default_factory=dict)
    time: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="milliseconds"))
    ticket: Ticket = field(default_factory=Ticket)
    row: Row | None = None
    arrays: dict[str, np.ndarray | bytes] = field(default_factory=dict)

    def encode(self) -> Row:
        """The row; made once, on the writer thread."""
        if self.row is None:
            patches: list[bytes] = []
            arrays: codec.Arrays = {}
            body: codec.Body = dict(self.remark)
            if self.edit is not None:
                body["edit"] = codec.edit_body(self.edit, patches, arrays)
            if self.kind == BASE:
                body["items"] = [codec.item_body(item, arrays) for item in self.items]
            body["volumes"] = [ref.body() for ref in self.volumes]
            # Maps never change, so the array itself is kept; masks are kept packed.
            self.arrays = {
                name: codec.pack(array) if array.dtype == np.uint8 else array
                for name, array in arrays.items()
            }
            self.edit, self.items = None, ()
            self.row = Row(
                self.time, self.kind, self.how, self.name, json.dumps(body), b"".join(patches)
            )
        return self.row


class Journal:
    """The journal of one open case. Make one with :meth:`create` or :meth:`resume`.

    All methods belong to the thread that edits the case.
    """

    def __init__(
        self,
        folder: Path,
        stem: str,
        description: str,
        first: _Entry,
        known: set[str],
        path: Path | None,
        on_state: Callable[[JournalState], None] | None,
        patience_s: float,
    ) -> None:
        self._folder, self._stem, self._description = Path(folder), stem, description
        self._on_state, self._patience = on_state, patience_s
        self._known = known
        self._path = path
        self._asides: list[Path] = []
        self._lock: FileLock | None = None
        self._file: JournalFile | None = None
        self._log: list[_Entry] = []
        self._pending: deque[_Entry] = deque([first])
        self._changed = threading.Condition()
        self._closing = False
        self._state = _SAVING
        self._since_base = 0
        self._noted: dict[str, tuple[tuple[int, int, int, int], ...]] = {}
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)

    @classmethod
    def create(
        cls,
        folder: Path,
        case_key: str,
        case: Case,
        description: str = "",
        on_state: Callable[[JournalState], None] | None = None,
        patience_s: float = 0.5,
    ) -> Journal:
        """Start a journal; the masks and maps the case holds now are its first base.

        Parameters
        ----------
        folder : Path
            A local folder of this user; made where missing. Never a network share.
        case_key : str
            What identifies the case (Study and Series UIDs, say); only its hash is used.
        description : str
            For the list after a crash; stays inside the file.
        on_state : callable, optional
            Called with every new :class:`JournalState`, on the writer thread.
        patience_s : float
            So long at most :meth:`append` waits for the gesture before.

        Raises
        ------
        CaseInUse
            Where another window or program has the case open.

        Notes
        -----
        A folder that cannot be written does not raise: the state is *failed*, edits wait in
        memory, and the journal tries again every two seconds.
        """
        stem = hashlib.sha256(case_key.encode()).hexdigest()[:24]
        first = _base(case, unsaved=False)
        known = {volume.id for volume in case.volumes}
        journal = cls(folder, stem, description, first, known, None, on_state, patience_s)
        journal._start()
        return journal

    @classmethod
    def resume(
        cls,
        path: Path,
        case: Case,
        damaged: bool = False,
        description: str = "",
        on_state: Callable[[JournalState], None] | None = None,
        patience_s: float = 0.5,
    ) -> Journal:
        """Go on with a journal whose work was recovered into ``case``.

        Parameters
        ----------
        path : Path
            The file that was recovered.
        damaged : bool
            As the recovery report says. A damaged file is not written to: a new one is begun, and
            once that is on the disk the old one is kept aside with the ending ``.damaged``.
        description : str
            For the new file of a damaged one.

        Raises
        ------
        CaseInUse
            Where another window or program has the case open.
        """
        first = _base(case, unsaved=True)
        known = {volume.id for volume in case.volumes}
        stem = path.name.removesuffix(SUFFIX).split("-")[0]
        start = None if damaged else path
        journal = cls(path.parent, stem, description, first, known, start, on_state, patience_s)
        journal._asides = [path] if damaged else []
        journal._start()
        return journal

    @property
    def path(self) -> Path | None:
        """The file; None until it could be made."""
        return self._path

    @property
    def state(self) -> JournalState:
        """Saved, saving or failed, with a sentence."""
        state = self._state
        return _SAVING if self._pending and state.kind == SAVED_STATE else state

    @property
    def waiting(self) -> int:
        """How many hand-overs are not on the disk yet."""
        return len(self._pending)

    @property
    def wants_base(self) -> bool:
        """True where :meth:`compact` is worth calling in the next idle moment."""
        return self._since_base >= EDITS_PER_BASE

    def append(self, edit: Edit, case: Case, how: str = "do") -> Ticket:
        """Hand over an edit, just before or just after it is applied.

        Parameters
        ----------
        edit : Edit
            For undo its inverse, for redo itself again: the history is the audit trail.
        case : Case
            Where it is applied; volumes that are new there are noted too.
        how : str
            ``"do"``, ``"undo"`` or ``"redo"``.
        """
        fresh = [volume for volume in case.volumes if volume.id not in self._known]
        if fresh:
            self._hand_over(_Entry(VOLUMES, "", "", volumes=self._note(fresh)))
        entry = _Entry(EDIT, how, edit.name, edit=codec.frozen(edit), remark=self._numbers(case))
        self._since_base += 1
        return self._hand_over(entry)

    def _numbers(self, case: Case) -> dict[str, object]:
        """Numbers of the lesion lists that have changed since they were last noted."""
        now = {mask.id: mask.lesion_numbers for mask in case.segmentations}
        fresh = {id: numbers for id, numbers in now.items() if numbers != self._noted.get(id, ())}
        self._noted = now
        return {"lesion_numbers": fresh} if fresh else {}

    def compact(self, case: Case) -> Ticket:
        """Store all items as they stand, so that replay can start here. For idle moments."""
        self._since_base = 0
        return self._hand_over(_base(case, unsaved=True))

    def note_saved(self, case_file: Path) -> Ticket:
        """Remember that everything up to here is in a case file."""
        return self._hand_over(_Entry(SAVED, "", "", remark={"case_file": str(case_file)}))

    def note_seen(self, seen: dict[str, object]) -> Ticket:
        """Remember which items are shown now, and how: plain values, no edit."""
        return self._hand_over(_Entry(SEEN, "", "", remark={"seen": seen}))

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until everything is on the disk; False where it is not (state or time-out)."""
        with self._changed:
            self._changed.wait_for(lambda: not self._pending or self._state.kind == FAILED, timeout)
            return not self._pending

    def close(self, discard: bool = False, timeout: float = 10.0) -> bool:
        """Stop; with ``discard`` the file goes too (the work was saved or is not wanted).

        Returns
        -------
        bool
            False where edits are not on the disk and would be lost: the journal stays open then,
            unless they are to be discarded.
        """
        if not discard and not self.wait(timeout):
            return False
        with self._changed:
            self._closing = True
            if discard:
                self._pending.clear()
            self._changed.notify_all()
        self._thread.join()
        if self._file is not None:
            self._file.close()
        if discard and self._path is not None:
            remove(self._path)
        if self._lock is not None:
            self._lock.release()
        return True

    # --- the editing side -------------------------------------------------------------------

    def _start(self) -> None:
        try:
            self._open()
        except CaseInUse:
            raise
        except (apsw.Error, OSError, ImagingError) as error:
            self._fail(error)
        self._thread.start()

    def _note(self, volumes: list[Volume]) -> tuple[codec.VolumeRef, ...]:
        self._known |= {volume.id for volume in volumes}
        return tuple(codec.VolumeRef.of(volume) for volume in volumes)

    def _hand_over(self, entry: _Entry) -> Ticket:
        with self._changed:
            self._changed.wait_for(
                lambda: not self._pending or self._state.kind == FAILED, self._patience
            )
            self._pending.append(entry)
            self._changed.notify_all()
        return entry.ticket

    # --- the writer thread ------------------------------------------------------------------

    def _run(self) -> None:
        while (entry := self._next()) is not None:
            try:
                if self._state.kind != FAILED:
                    self._say(_SAVING)
                self._store(entry)
            except Exception as error:  # nothing may end the thread that keeps the work
                self._fail(error)
                self._pause()
            else:
                self._done(entry)

    def _next(self) -> _Entry | None:
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closing)
            return self._pending[0] if self._pending and not self._closing else None

    def _pause(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing, _RETRY_S)

    def _done(self, entry: _Entry) -> None:
        with self._changed:
            # A base holds all that was before it, so nothing older is needed for a new file.
            if entry.kind == BASE:
                self._log.clear()
            self._log.append(entry)
            if self._pending and self._pending[0] is entry:
                self._pending.popleft()
            empty = not self._pending
            entry.ticket._event.set()
        if empty:
            self._say(_SAVED)
        with self._changed:
            self._changed.notify_all()

    def _store(self, entry: _Entry) -> None:
        if self._file is None:
            self._open()
        assert self._file is not None
        row = entry.encode()
        try:
            self._file.write([row], self._packed(self._file, entry))
        except (apsw.IOError, apsw.CorruptError, apsw.NotADBError):
            # After a failed write or flush nobody knows what the file holds. It is kept, and
            # what we have in memory goes to a new one.
            self._abandon()
            raise
        self._put_aside()

    def _open(self) -> None:
        """Take the lock, open or make the file, and write again what a lost file held."""
        self._folder.mkdir(parents=True, exist_ok=True)
        if self._lock is None:
            self._lock = FileLock(self._folder / f"{self._stem}.lock")
        path = self._path or self._free_path()
        try:
            file = JournalFile(path)
        except BaseException:
            if self._path is None:
                _forget_empty(path)
            raise
        try:
            if self._path is None:
                file.set_meta("description", self._description)
            for entry in self._log if self._path is None else ():
                file.write([entry.encode()], self._packed(file, entry))
        except BaseException:
            file.close()
            if self._path is None:
                remove(path)
            raise
        self._file, self._path = file, path

    def _free_path(self) -> Path:
        number = 1
        while True:
            tail = f"-{number}" if number > 1 else ""
            path = self._folder / f"{self._stem}{tail}{SUFFIX}"
            if not path.exists():
                return path
            number += 1

    def _abandon(self) -> None:
        """Leave a file that cannot be trusted; the next attempt begins a new one."""
        if self._file is not None:
            self._file.close()
        if self._path is not None:
            self._asides.append(self._path)
        self._file, self._path = None, None

    def _put_aside(self) -> None:
        """Once the new file holds everything, rename those it replaces."""
        for path in self._asides:
            with contextlib.suppress(OSError):
                set_aside(path)
        self._asides.clear()

    @staticmethod
    def _packed(file: JournalFile, entry: _Entry) -> dict[str, bytes]:
        return {
            name: data if isinstance(data, bytes) else codec.pack(data)
            for name, data in entry.arrays.items()
            if not file.holds(name)
        }

    def _fail(self, error: BaseException) -> None:
        if not isinstance(error, (apsw.Error, OSError, ImagingError)):
            _log.error("the journal could not store a step", exc_info=error)
        self._say(JournalState(FAILED, _sentence(error)))
        with self._changed:
            self._changed.notify_all()

    def _say(self, state: JournalState) -> None:
        if state == self._state:
            return
        self._state = state
        if self._on_state is not None:
            try:
                self._on_state(state)
            except Exception:  # a listener may be half closed; the writer goes on
                _log.exception("the listener of the journal failed")


def _base(case: Case, unsaved: bool) -> _Entry:
    items = tuple(codec.frozen_item(item) for item in case if not isinstance(item, Volume))
    volumes = tuple(codec.VolumeRef.of(volume) for volume in case.volumes)
    return _Entry(BASE, "", "", items=items, volumes=volumes, remark={"unsaved": unsaved})


def _sentence(error: BaseException) -> str:
    """What the status dot says about a failure."""
    reason = "the journal file cannot be written"
    if isinstance(error, CaseInUse):
        reason = "the case is open in another window"
    elif isinstance(error, apsw.FullError) or getattr(error, "errno", None) == 28:
        reason = "the disk is full"
    elif isinstance(error, (apsw.ReadOnlyError, apsw.CantOpenError, PermissionError)):
        reason = "the folder for unsaved work cannot be written to"
    elif isinstance(error, (apsw.IOError, OSError)):
        reason = "the disk reports an error"
    return f"Not saved: {reason}. Your work is kept in memory and saved as soon as possible."


def remove(path: Path) -> None:
    """Delete a journal with all its side files."""
    for part in side_files(path):
        part.unlink(missing_ok=True)


def set_aside(path: Path) -> Path:
    """Rename a journal that cannot be trusted, so that it is kept but not offered again."""
    ending = f".damaged-{time.time_ns() // 1_000_000}"
    for part in side_files(path):
        if part.exists():
            part.rename(part.with_name(path.name + ending + part.name.removeprefix(path.name)))
    return path.with_name(path.name + ending)


def _forget_empty(path: Path) -> None:
    """Remove the empty file a failed opening leaves behind."""
    try:
        if path.stat().st_size == 0:
            remove(path)
    except OSError:
        return
