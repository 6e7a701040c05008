"""After a crash: which journals hold unsaved work, and what can be had back from each.

Recovery works on a copy and never writes to the file it reads; a damaged file gives what stands
before the damage and says how much does not.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw

from imaging.case import Case
from imaging.edits.edit import Edit
from imaging.errors import ImagingError
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.storage import codec
from imaging.storage.codec import VolumeRef
from imaging.storage.file_lock import is_locked
from imaging.storage.journal import remove
from imaging.storage.journal_file import (
    BASE,
    EDIT,
    SAVED,
    SEEN,
    SUFFIX,
    JournalFile,
    Row,
    body_of,
    side_files,
)
from imaging.volume import Volume

#: Folder below that of the journals where discarded ones are kept, and for how long.
DISCARDED, KEPT_DAYS = "discarded", 30

Lookup = Callable[[VolumeRef], Volume | None]


@dataclass(frozen=True)
class Recovery:
    """A journal that holds unsaved work.

    Parameters
    ----------
    path : Path
    when : str
        Time of the last readable row, ISO 8601 in UTC; empty where nothing is readable.
    strokes : int
        Edits since the last save, undo and redo counted as edits.
    description : str
        As given when the journal was made.
    volumes : tuple of VolumeRef
        The images it lies on: paths, Study and Series UIDs.
    case_file : str
        The case file the work was last saved to; empty if none.
    readable : bool
        False where the file gives nothing at all.
    """

    path: Path
    when: str
    strokes: int
    description: str
    volumes: tuple[VolumeRef, ...]
    case_file: str = ""
    readable: bool = True


@dataclass(frozen=True)
class Report:
    """What came back.

    Parameters
    ----------
    strokes : int
        Edits whose result is in the recovered items.
    until : str
        Time of the last of them, ISO 8601 in UTC; empty if none.
    unreadable : int
        Records that could not be read or did not fit; 0 in a healthy file. At least 1 where the
        file is damaged, even if the number of lost records is not known.
    missing : tuple of VolumeRef
        Images that the lookup did not find or that lie on another grid.
    seen : dict
        What was shown of the items, as the window noted it; empty where it was not noted.
    """

    strokes: int
    until: str
    unreadable: int
    missing: tuple[VolumeRef, ...] = ()
    seen: dict[str, Any] = field(default_factory=dict)

    @property
    def damaged(self) -> bool:
        """True where the file must not be written to again."""
        return self.unreadable > 0

    @property
    def sentence(self) -> str:
        """For the user."""
        if not self.until and not self.strokes:
            text = "Nothing could be recovered" if self.damaged else "There was nothing to recover"
        else:
            clock = datetime.fromisoformat(self.until).astimezone().strftime("%H:%M:%S")
            steps = "1 step" if self.strokes == 1 else f"{self.strokes} steps"
            text = f"Recovered {steps} up to {clock}"
        if self.damaged:
            text += f"; {self.unreadable} could not be read, the damaged file is kept aside"
        return text + "."


@dataclass
class _Replayed:
    case: Case = field(default_factory=Case)
    volumes: dict[str, VolumeRef] = field(default_factory=dict)
    rows: int = 0


def recoverable(folder: Path) -> list[Recovery]:
    """The journals of a folder that hold unsaved work and are not open anywhere, newest first.

    Journals without unsaved work are removed on the way, and discarded ones when they are old.
    """
    _forget_discarded(Path(folder))
    found = []
    for path in sorted(Path(folder).glob(f"*{SUFFIX}")):
        if is_locked(path.with_name(_stem(path) + ".lock")):
            continue
        recovery = _inspect(path)
        if recovery.readable and recovery.strokes == 0:
            _try_remove(path)
        else:
            found.append(recovery)
    return sorted(found, key=lambda recovery: recovery.when, reverse=True)


def recover(
    path: Path, volumes: Lookup | None = None
) -> tuple[list[Segmentation | Heatmap], Report]:
    """The masks and maps of a journal as they stood after the last readable gesture.

    Parameters
    ----------
    path : Path
        From :func:`recoverable`.
    volumes : callable, optional
        Finds the reopened image of a :class:`VolumeRef`, or None; items then refer to its id.

    Returns
    -------
    items : list
        In the order they were added. Empty where nothing can be read.
    report : Report
        Never raises for a broken file; the report says what is missing.
    """
    try:
        with _copy(Path(path)) as file:
            sound, rows, last = file.sound(), file.rows(), _last(file)
            done = _replay(rows, file)
    except (apsw.Error, OSError, ImagingError):
        return [], Report(0, "", 1)
    unreadable = max(last, len(rows)) - done.rows
    if not sound:
        unreadable = max(1, unreadable)
    strokes = _unsaved(rows[: done.rows])[0]
    steps = [row for row in rows[: done.rows] if row.kind != SEEN]
    until = steps[-1].time if steps else ""
    items, missing = _attach(done, volumes)
    return items, Report(strokes, until, unreadable, missing, _seen(rows[: done.rows]))


def _seen(rows: list[Row]) -> dict[str, Any]:
    """What was noted last about what was shown; nothing where that was never noted."""
    noted = [row for row in rows if row.kind == SEEN]
    try:
        return dict(body_of(noted[-1])["seen"]) if noted else {}
    except _DAMAGE:
        return {}


def discard(path: Path) -> Path:
    """Take a journal away that the user does not want back; it is kept aside for a while.

    Work of hours must not be gone with one click on the wrong button: moved back out of its
    folder, the journal is offered again.

    Returns
    -------
    Path
        The folder it lies in now, below that of the journals; :func:`recoverable` deletes it after
        ``KEPT_DAYS``.
    """
    path = Path(path)
    folder = path.parent / DISCARDED / f"{datetime.now(UTC):%Y-%m-%d-%H%M%S-%f}"
    folder.mkdir(parents=True, mode=0o700)
    for part in side_files(path):
        if part.exists():
            part.rename(folder / part.name)
    return folder


def _forget_discarded(folder: Path) -> None:
    """Delete what was discarded long ago."""
    for kept in (folder / DISCARDED).glob("*"):
        try:
            if time.time() - kept.stat().st_mtime > KEPT_DAYS * 86_400:
                shutil.rmtree(kept)
        except OSError:  # in use, or gone already: the next start tries again
            continue


def _inspect(path: Path) -> Recovery:
    try:
        with _copy(path) as file:
            rows, last, description = file.rows(), _last(file), file.meta("description")
    except (apsw.Error, OSError, ImagingError):
        return Recovery(path, "", 0, "", (), readable=False)
    refs: dict[str, VolumeRef] = {}
    try:
        for row in rows:
            refs |= {ref.id: ref for ref in map(VolumeRef.read, body_of(row)["volumes"])}
        strokes, case_file = _unsaved(rows)
        work = last > len(rows) or _begun_with_recovered_work(rows)
    except _DAMAGE:
        strokes, case_file, work = 1, "", True
    if work:
        strokes = max(1, strokes)
    when = next((row.time for row in reversed(rows) if row.kind != SEEN), "")
    return Recovery(path, when, strokes, description, tuple(refs.values()), case_file)


def _unsaved(rows: list[Row]) -> tuple[int, str]:
    """Edits since the last case file was written, and that file."""
    saved = max((n for n, row in enumerate(rows) if row.kind == SAVED), default=-1)
    case_file = str(body_of(rows[saved])["case_file"]) if saved >= 0 else ""
    return sum(row.kind == EDIT for row in rows[saved + 1 :]), case_file


def _begun_with_recovered_work(rows: list[Row]) -> bool:
    """True for a file that took over the work of a damaged one and was not saved since."""
    if not rows or any(row.kind == SAVED for row in rows):
        return False
    return rows[0].kind == BASE and bool(body_of(rows[0])["unsaved"])


def _replay(rows: list[Row], file: JournalFile) -> _Replayed:
    """Build the items from the latest base that can be read, then apply what follows it."""
    bases = [n for n, row in enumerate(rows) if row.kind == BASE]
    best = _Replayed()
    for start in reversed(bases):
        done = _replay_from(rows, start, file)
        if done is not None and done.rows > best.rows:
            best = done
        if best.rows == len(rows):
            break
    return best


def _replay_from(rows: list[Row], start: int, file: JournalFile) -> _Replayed | None:
    done = _Replayed(rows=start)
    for row in rows[:start]:
        _note_volumes(row, done)
    for number in range(start, len(rows)):
        try:
            _take(rows[number], done, file, first=number == start)
        except _DAMAGE:
            return None if number == start else done
        done.rows = number + 1
    return done


#: What a damaged or foreign record can raise while it is read and applied.
_DAMAGE = (ImagingError, LookupError, TypeError, ValueError, ArithmeticError, MemoryError)


def _note_volumes(row: Row, done: _Replayed) -> None:
    try:
        for ref in map(VolumeRef.read, body_of(row)["volumes"]):
            done.volumes[ref.id] = ref
    except _DAMAGE:
        return


def _take(row: Row, done: _Replayed, file: JournalFile, first: bool) -> None:
    body = body_of(row)
    for ref in map(VolumeRef.read, body["volumes"]):
        done.volumes[ref.id] = ref
    if row.kind == BASE and first:
        for part in body["items"]:
            item = codec.read_item(part, file.array)
            done.case.items[item.id] = item
    elif row.kind == EDIT:
        stored = dict(body.get("lesion_numbers", {}))
        listed = {id: codec.read_numbers(numbers) for id, numbers in stored.items()}
        _apply(body["edit"], row.data, done, file)
        for mask in done.case.segmentations:
            mask.lesion_numbers = listed.get(mask.id, mask.lesion_numbers)


def _apply(body: codec.Body, data: bytes, done: _Replayed, file: JournalFile) -> None:
    """Apply a stored edit wholly or not at all."""
    applied: list[Edit] = []
    position = 0
    try:
        for leaf in codec.leaves(body):
            size = int(leaf.get("bytes", 0))
            patch, position = data[position : position + size], position + size
            if leaf["kind"] == "add" and leaf["item"]["kind"] == "volume":
                ref = VolumeRef.read(leaf["item"]["volume"])
                done.volumes[ref.id] = ref
                continue
            if leaf["kind"] == "remove" and leaf["item"] in done.volumes:
                continue
            edit = codec.read_leaf(leaf, patch, done.case, file.array)
            edit.check(done.case)
            edit.apply(done.case)
            applied.append(edit)
    except _DAMAGE:
        for edit in reversed(applied):
            edit.inverse().apply(done.case)
        raise


def _attach(
    done: _Replayed, volumes: Lookup | None
) -> tuple[list[Segmentation | Heatmap], tuple[VolumeRef, ...]]:
    """Let the items refer to the reopened images; name the images that are not there."""
    items = [item for item in done.case if not isinstance(item, Volume)]
    used = {item.volume_id for item in items}
    missing = []
    ids: dict[str, str] = {}
    for ref in done.volumes.values():
        volume = volumes(ref) if volumes is not None else None
        if volume is not None and ref.geometry.same_grid(volume.geometry):
            ids[ref.id] = volume.id
        elif volumes is not None and ref.id in used:
            missing.append(ref)
    return [codec.on_volume(item, ids.get(item.volume_id, item.volume_id)) for item in items], (
        tuple(missing)
    )


@contextmanager
def _copy(path: Path) -> Iterator[JournalFile]:
    """A private copy of a journal, opened; SQLite folds the write-ahead log into the copy."""
    with tempfile.TemporaryDirectory(prefix="isocenter-") as folder:
        copy = Path(folder) / ("copy" + SUFFIX)
        shutil.copyfile(path, copy)
        log = side_files(path)[1]
        if log.exists():
            shutil.copyfile(log, side_files(copy)[1])
        file = JournalFile(copy)
        try:
            yield file
        finally:
            file.close()


def _last(file: JournalFile) -> int:
    try:
        return file.last
    except apsw.Error:
        return 0


def _stem(path: Path) -> str:
    return path.name.removesuffix(SUFFIX).split("-")[0]


def _try_remove(path: Path) -> None:
    try:
        remove(path)
    except OSError:
        return
