"""De-identifies everything under a path, file by file, in limited processes on all cores.

A run that was stopped goes on where it was: a list in the target folder knows, under keyed hashes,
which sources have their copies already. Nothing in the target is ever replaced or deleted: a source
whose name there belongs to another one is refused.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

from imaging.deidentify.burned_text import can_look
from imaging.deidentify.faces import Faces
from imaging.deidentify.key import Key
from imaging.deidentify.options import Options
from imaging.deidentify.report import Report
from imaging.deidentify.survey import Item, OnProgress, Survey, targets
from imaging.errors import BadInput, ImagingError, WorldFailed
from imaging.sandbox import run_limited, workers

DONE_NAME = ".isocenter-deidentified.jsonl"
SECONDS = 600.0
_LEAST_MEMORY = 1 << 30
#: What :mod:`imaging.atomic` says where going on makes no sense.
_TAKEN = "A copy of another file that looks like this one is in the target folder already"
_NO_ROOM = ("The disk is full", "Your disk quota is used up", "The disk is read-only")


def check_folders(source: Path, target: Path) -> None:
    """Refuse targets that are not safe to write into.

    Raises
    ------
    BadInput
        Where one lies inside the other, or the target holds other things already.
    """
    here, there = Path(source).resolve(), Path(target).resolve()
    if here == there or here in there.parents or there in here.parents:
        raise BadInput(
            "Source and target lie inside each other", str(target), "Choose another target folder"
        )
    if there.exists() and not there.is_dir():
        raise BadInput("The target is not a folder", str(target))
    if there.is_dir() and any(there.iterdir()) and not (there / DONE_NAME).is_file():
        raise BadInput("The target folder is not empty", str(target), "Choose an empty folder")


def rehearse(
    survey: Survey,
    options: Options,
    key: Key,
    on_progress: OnProgress | None = None,
    cancelled: Callable[[], bool] | None = None,
    faces: Faces | None = None,
) -> Report:
    """What a run would do.

    One file of each series is gone through and stands for all of them, so the numbers of attributes
    are right where the files of a series are alike.
    """
    report = _started(survey, options, key, dry=True)
    groups = survey.series()
    for n, ((patient, _study, _series), items) in enumerate(groups.items(), start=1):
        if cancelled is not None and cancelled():
            report.stopped = True
            break
        report.patients.add(key.pseudonym(patient))
        try:
            found = run_limited(
                "imaging.deidentify.worker:rehearse",
                items[0].path,
                _options_of(items[0], options).table(),
                key.secret,
                kind=dict[str, Any],
                seconds=SECONDS,
                memory=_memory(items[0].path),
            )
            report.add(found["actions"], len(items))
        except ImagingError as error:
            report.warnings.append(f"One series cannot be gone through: {error.what}.")
        if on_progress is not None:
            on_progress(n, len(groups), "Going through one file of each series")
    report.written = len(survey.items)
    if volumes := sum(item.kind != "dicom" for item in survey.items):
        report.add([["header texts", "removed", 1]], volumes)
    _warn_of_text(report, survey, cancelled)
    _add_faces(report, survey, faces)
    return report


def run(
    survey: Survey,
    target: Path,
    options: Options,
    key: Key,
    faces: Faces | None = None,
    on_progress: OnProgress | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Report:
    """Write a clean copy of every file that may leave.

    Parameters
    ----------
    survey : Survey
        From :func:`imaging.deidentify.survey.look` with the same options.
    target : Path
        Made where missing; see :func:`check_folders`.
    faces : Faces, optional
        Where to cut; needed where the options ask for it.

    Returns
    -------
    Report
        Also written into the target.

    Raises
    ------
    BadInput
        Where the target was begun with other options or another key.
    WorldFailed
        Where the disk refuses.
    """
    if options.deface and faces is None:
        raise ValueError("defacing needs the planes")
    work = _Run(survey, Path(target), options, key, faces)
    work.go(on_progress or (lambda *_: None), cancelled or (lambda: False))
    _warn_of_text(work.report, survey, cancelled)
    work.report.save(work.target)
    return work.report


class _Run:
    """One run: a list of what is done, a pool of threads that wait for processes."""

    def __init__(self, survey, target: Path, options: Options, key: Key, faces) -> None:
        self.survey, self.target, self.options, self.key = survey, target, options, key
        self.faces: Faces | None = faces
        self.report = _started(survey, options, key)
        self.names = targets(survey, key)
        self.lock = threading.Lock()
        #: Source to copy of what is done; copy to source of what was begun as well.
        self.done: dict[str, str] = {}
        self.claims: dict[str, str] = {}
        self._begin()

    def _begin(self) -> None:
        """Read the list of an earlier run with the same options and key, or make a new one."""
        made_with = {"options": self.options.table(), "key": self.key.fingerprint}
        path = self.target / DONE_NAME
        try:
            self.target.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                path.write_text(json.dumps(made_with) + "\n", encoding="utf-8")
                return
            lines = path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise WorldFailed("The target folder cannot be used", str(self.target)) from error
        rows = list(_readable(lines))
        if not rows or {k: rows[0].get(k) for k in made_with} != made_with:
            raise BadInput(
                "The target folder was begun with other options or another key",
                str(self.target),
                "Choose an empty folder",
            )
        for row in rows[1:]:
            copy = str(row.get("copy", ""))
            if "source" in row:
                self.done[str(row["source"])] = copy
            self.claims.setdefault(copy, str(row.get("source") or row.get("begun") or ""))

    def go(self, on_progress: OnProgress, cancelled: Callable[[], bool]) -> None:
        items, finished = self.survey.items, 0
        with (
            open(self.target / DONE_NAME, "a", encoding="utf-8") as done,
            ThreadPoolExecutor(workers()) as pool,
        ):

            def one(item: Item) -> None:
                if not cancelled():
                    self._one(item, done)

            for _ in pool.map(one, items):
                finished += 1
                on_progress(finished, len(items), "Writing clean copies")
        self.report.stopped = cancelled()
        self.report.refused.sort()

    def _one(self, item: Item, done) -> None:
        name = self.names[item.number]
        try:
            source = self._stamp(item)
            if self._is_there(source, name, done):
                with self.lock:
                    self.report.already += 1
                    self.report.patients.add(name.parts[0])
                return
            face = self.faces.of(item) if self.faces is not None else None
            self._claim(source, name, done)
            found = self._write(item, self.target / name, face)
        except ImagingError as error:
            why = ". ".join(filter(None, (error.what, error.advice)))
            with self.lock:
                self.report.refused.append((item.number, item.shown, why))
            if error.what in _NO_ROOM:
                raise WorldFailed(error.what, str(self.target), error.advice) from error
            return
        with self.lock:
            self.report.written += 1
            self.report.defaced += face is not None
            self.report.patients.add(name.parts[0])
            self.report.add(found["actions"])
            self._note(done, source=source, copy=name.as_posix())

    def _is_there(self, source: str, name: Path, done) -> bool:
        """True where an earlier run has made the copy of this very source."""
        there = self.done.get(source)
        if there and Path(there).parts[0] == name.parts[0] and (self.target / there).is_file():
            return True
        # files get their names whole, so one that was begun and is there needs only to be noted
        if self.claims.get(name.as_posix()) != source or not (self.target / name).is_file():
            return False
        with self.lock:
            self._note(done, source=source, copy=name.as_posix())
        return True

    def _claim(self, source: str, name: Path, done) -> None:
        """Note what is about to be written; a name that is another file's stays that file's."""
        with self.lock:
            owner = self.claims.get(name.as_posix(), "")
            if (self.target / name).exists() or (owner and owner in self.done and owner != source):
                raise BadInput(_TAKEN, "", "Choose another target folder")
            self.claims[name.as_posix()] = source
            self._note(done, begun=source, copy=name.as_posix())

    @staticmethod
    def _note(done, **row: str) -> None:
        done.write(json.dumps(row) + "\n")
        done.flush()

    def _write(self, item: Item, path: Path, face: dict[str, Any] | None) -> dict[str, Any]:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise WorldFailed("The target folder cannot be used", str(path.parent)) from error
        chosen = self.key.pseudonyms.get(item.patient)
        return run_limited(
            "imaging.deidentify.worker:treat",
            item.path,
            str(path),
            item.kind,
            _options_of(item, self.options).table(),
            self.key.secret,
            {item.patient: chosen} if chosen else {},
            face,
            kind=dict[str, Any],
            seconds=SECONDS,
            memory=_memory(item.path),
        )

    def _stamp(self, item: Item) -> str:
        """Stands for a source with this very content, wherever it lies."""
        try:
            with open(item.path, "rb") as file:
                content = hashlib.file_digest(file, "blake2b").hexdigest()
        except OSError as error:
            raise WorldFailed("The file cannot be read", item.path) from error
        return self.key.token("source", f"{item.instance or item.shown}\0{content}", 26)


def _options_of(item: Item, options: Options) -> Options:
    """The options as they hold for one file."""
    return replace(options, pixels_checked=True) if item.checked else options


def _started(survey: Survey, options: Options, key: Key, dry: bool = False) -> Report:
    return Report(
        options,
        key.fingerprint,
        checked=sum(item.checked for item in survey.items),
        unmasked=sum(item.no_face for item in survey.items) if options.deface else 0,
        refused=list(survey.refused),
        others=list(survey.others),
        dry=dry,
    )


def _warn_of_text(report: Report, survey: Survey, cancelled) -> None:
    """Ask tesseract, where there is one, about the middle image of each series."""
    if not can_look() or report.options.pixels_checked:
        return
    hits = 0
    for items in survey.series().values():
        item = items[len(items) // 2]
        if not item.image or item.checked or (cancelled is not None and cancelled()):
            continue
        try:
            hits += run_limited(
                "imaging.deidentify.worker:written_on",
                item.path,
                kind=bool,
                memory=_memory(item.path),
            )
        except ImagingError:
            continue  # what cannot be read is refused elsewhere, with its reason
    if hits:
        report.warnings.append(
            f"In {hits} series there seem to be letters in the pixels: look at them."
        )


def _add_faces(report: Report, survey: Survey, faces: Faces | None) -> None:
    """Files that a run would refuse because their face cannot be found."""
    if faces is None:
        return
    for item in survey.items:
        try:
            report.defaced += faces.of(item) is not None
        except BadInput as error:
            report.written -= 1
            report.refused.append((item.number, item.shown, error.what))
    report.refused.sort()


def _memory(path: str) -> int:
    """Bytes a worker may take for a file: compressed pixels stay packed."""
    return max(_LEAST_MEMORY, 12 * os.path.getsize(path))


def _readable(lines: list[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue  # the last line of a run that was cut off
        if isinstance(row, dict):
            yield row
