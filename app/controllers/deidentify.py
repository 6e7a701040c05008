"""Clean copies of a folder, in the background: a rehearsal, then the run; both can be stopped."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from app.logs import frames_of
from app.messages import is_ours, sentence
from app.tasks import Tasks, Ticket

if TYPE_CHECKING:
    from imaging.deidentify.choice import Choice
    from imaging.deidentify.faces import Faces
    from imaging.deidentify.options import Options
    from imaging.deidentify.report import Report
    from imaging.deidentify.survey import Survey

log = logging.getLogger(__name__)
JOB = "deidentify"
STOPPED = "Stopped; the copies that are there are whole, and the same choice goes on with the rest."


@dataclass(frozen=True)
class DeidentifyWish:
    """What the user has chosen.

    Parameters
    ----------
    source, target : Path
        ``target`` is not looked at in a rehearsal.
    options : Options
    key, pseudonyms : Path or None
        The user's own key file where not given; no list of pseudonyms.
    no_face : Choice or None
        Images of which the user says that they show no face.
    """

    source: Path
    target: Path
    options: Options
    key: Path | None = None
    pseudonyms: Path | None = None
    no_face: Choice | None = None


@dataclass(frozen=True, eq=False)
class Rehearsal:
    """What a run would do, and where it would cut."""

    wish: DeidentifyWish
    report: Report
    faces: Faces | None


class DeidentifyController(QObject):
    """Runs de-identification; one thing at a time.

    Signals
    -------
    progressed(str, float)
        Stage and fraction of what goes on.
    rehearsed(object)
        A :class:`Rehearsal`.
    finished(object)
        The :class:`~imaging.deidentify.report.Report` of a run.
    refused(str)
        A sentence: nothing was done, or not all of it.
    said(str), failed(str), job(str, str, float)
        For the status line, as of other controllers.
    """

    progressed = Signal(str, float)
    rehearsed = Signal(object)
    finished = Signal(object)
    refused = Signal(str)
    said = Signal(str)
    failed = Signal(str)
    job = Signal(str, str, float)

    def __init__(self, tasks: Tasks, key: Path | None = None) -> None:
        super().__init__()
        self._tasks, self._key = tasks, key
        self._ticket: Ticket | None = None

    @property
    def busy(self) -> bool:
        """True while something goes on."""
        return self._ticket is not None and not self._ticket.done()

    def rehearse(self, wish: DeidentifyWish) -> None:
        """Look at everything and say what would be done; writes nothing."""
        self.cancel()
        self._ticket = self._tasks.run(
            lambda ticket: self._rehearse(ticket, wish), self._rehearsed, self._failed
        )

    def start(self, wish: DeidentifyWish) -> None:
        """Write the clean copies."""
        self.cancel()
        self.job.emit(JOB, "De-identifying", 0.0)
        self._ticket = self._tasks.run(
            lambda ticket: self._run(ticket, wish), self._finished, self._failed_run
        )

    def cancel(self) -> None:
        """Stop after the files that are just being written; they are whole."""
        if self.busy and self._ticket is not None:
            self._ticket.cancel()
            self.job.emit(JOB, STOPPED, 1.0)
            self.refused.emit(STOPPED)
        self._ticket = None

    # --- in a thread -------------------------------------------------------------------------
    def _rehearse(self, ticket: Ticket, wish: DeidentifyWish) -> Rehearsal:
        from imaging.deidentify.faces import find_faces
        from imaging.deidentify.folder import rehearse
        from imaging.deidentify.key import default_key_path, load_key, new_key

        survey = self._look(ticket, wish)
        try:
            path = wish.key or self._key or default_key_path()
            key = load_key(path, wish.pseudonyms) if path.exists() else new_key()
            told = self._telling(ticket)
            faces = find_faces(survey, told, ticket.cancelled) if wish.options.deface else None
            report = rehearse(survey, wish.options, key, told, ticket.cancelled, faces)
        finally:
            survey.close()
        return Rehearsal(wish, report, faces)

    def _run(self, ticket: Ticket, wish: DeidentifyWish) -> Report:
        from imaging.deidentify.faces import find_faces
        from imaging.deidentify.folder import check_folders, run
        from imaging.deidentify.key import load_key

        check_folders(wish.source, wish.target)
        survey = self._look(ticket, wish)
        try:
            key = load_key(wish.key or self._key, wish.pseudonyms)
            told = self._telling(ticket)
            faces = find_faces(survey, told, ticket.cancelled) if wish.options.deface else None
            return run(survey, wish.target, wish.options, key, faces, told, ticket.cancelled)
        finally:
            survey.close()

    def _look(self, ticket: Ticket, wish: DeidentifyWish) -> Survey:
        from imaging.deidentify.choice import NONE
        from imaging.deidentify.survey import look
        from imaging.errors import BadInput

        survey = look(
            wish.source,
            wish.options,
            self._telling(ticket),
            ticket.cancelled,
            no_face=wish.no_face or NONE,
        )
        if not survey.items and not survey.refused and not ticket.cancelled():
            survey.close()
            raise BadInput("There is nothing here that can be de-identified", str(wish.source))
        return survey

    def _telling(self, ticket: Ticket):
        def told(done: int, total: int, stage: str) -> None:
            words, share = f"{stage}, {done} of {total}", done / max(1, total)
            self._tasks.post(lambda: self._progress(ticket, words, share))

        return told

    # --- on the main thread ------------------------------------------------------------------
    def _progress(self, ticket: Ticket, words: str, share: float) -> None:
        if ticket is self._ticket and not ticket.done():
            self.progressed.emit(words, share)
            self.job.emit(JOB, words, min(share, 0.999))

    def _rehearsed(self, rehearsal: Rehearsal) -> None:
        self.job.emit(JOB, "The rehearsal is done.", 1.0)
        self.rehearsed.emit(rehearsal)

    def _finished(self, report: Report) -> None:
        self.job.emit(JOB, report.sentence(), 1.0)
        self.said.emit(report.sentence())
        self.finished.emit(report)

    def _failed(self, error: BaseException) -> None:
        if is_ours(error):
            log.error("de-identification failed: %s", frames_of(error))
        words = sentence(error)
        self.job.emit(JOB, words, 1.0)
        self.refused.emit(words)

    def _failed_run(self, error: BaseException) -> None:
        self._failed(error)
        self.failed.emit(sentence(error))
