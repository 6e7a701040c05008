"""Keeps every finished edit on the disk, and brings work back after a crash."""

from __future__ import annotations

import logging
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QTimer, Signal

from app.controllers.cases import CaseController
from app.messages import sentence
from app.tasks import Tasks
from app.workspace import Workspace
from imaging.case import Case
from imaging.edits.edit import Edit
from imaging.errors import EditRefused
from imaging.folders import folder_words
from viewer.state.display import DisplayState
from viewer.state.display_json import overlays_from_json, overlays_to_json
from viewer.state.seen import usual_overlays

if TYPE_CHECKING:
    from imaging.storage.journal import Journal, JournalState
    from imaging.storage.recovery import Recovery

log = logging.getLogger(__name__)

_IDLE_MS = 20_000
_SEEN_MS = 1_000  #: what is shown and hidden is noted once it has been so for this long


def journal_folder() -> Path:
    """Local folder of this user for journals, readable by the owner only."""
    from platformdirs import user_data_path

    folder = user_data_path("isocenter", appauthor=False) / "journals"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


class CaseJournal(QObject):
    """The :class:`~app.workspace.EditLog` of the workspace; one journal file per open case.

    Signals
    -------
    said(str)
        A sentence for the status line.
    """

    said = Signal(str)

    def __init__(
        self, workspace: Workspace, tasks: Tasks, cases: CaseController, notice: Any, jobs: Any
    ) -> None:
        super().__init__()
        self._workspace = workspace
        self._tasks = tasks
        self._cases = cases
        self._notice = notice
        self._jobs = jobs
        self._journal: Journal | None = None
        self._late: list[Journal] = []  # of closed cases, waiting for a disk that refuses
        self._asked: set[Path] = set()
        self._idle = QTimer(self, interval=_IDLE_MS, singleShot=True)
        self._idle.timeout.connect(self._compact)
        self._shown: DisplayState | None = None  # what is seen, and not noted yet
        self._looked = QTimer(self, interval=_SEEN_MS, singleShot=True)
        self._looked.timeout.connect(self._note_seen)
        workspace.display_changed.connect(self._display_changed)
        workspace.journal = self
        workspace.case_changed.connect(self._case_changed)
        cases.saved.connect(self._saved)

    # --- EditLog -----------------------------------------------------------------------------
    def prepare(self, case: Case) -> None:
        """Begin a journal at the first edit of a case."""
        if self._journal is not None:
            return
        from imaging.storage.file_lock import CaseInUse
        from imaging.storage.journal import Journal

        try:
            self._journal = Journal.create(
                journal_folder(), _key(case), case, _description(case), on_state=self._state
            )
            self._shown = self._workspace.display
            self._looked.start()
        except CaseInUse as busy:
            raise EditRefused(
                "This study is being edited in another Isocenter window",
                advice="Close it there to edit it here",
            ) from busy

    def append(self, edit: Edit, case: Case, how: str) -> None:
        """Hand a finished edit to the writer."""
        assert self._journal is not None
        self._journal.append(edit, case, how)
        self._idle.start()

    # --- what is shown -----------------------------------------------------------------------
    def _display_changed(self, old: DisplayState, new: DisplayState) -> None:
        if (old.overlays, old.overlays_shown) != (new.overlays, new.overlays_shown):
            self._shown = new
            self._looked.start()

    def _note_seen(self) -> None:
        """What is hidden when the program ends shall be hidden when the work comes back."""
        self._looked.stop()
        shown, self._shown = self._shown, None
        if self._journal is not None and shown is not None:
            self._journal.note_seen(overlays_to_json(shown))

    # --- states ------------------------------------------------------------------------------
    def _state(self, state: JournalState) -> None:
        self._tasks.post(lambda: self._show(state))

    def _show(self, state: JournalState) -> None:
        words = {"failed": "NOT SAVED"}.get(state.kind, state.kind)
        self._jobs.set_journal(words, state.sentence)
        if state.kind == "failed":
            self.said.emit(state.sentence)

    def wait(self, seconds: float = 10.0) -> bool:
        """Wait for the disk; False where edits are still only in memory."""
        self._late = [one for one in self._late if not one.close(timeout=0.0)]
        return not self._late and (self._journal is None or self._journal.wait(seconds))

    def _compact(self) -> None:
        if self._workspace.rehearsing:  # a base must hold nothing that is not an edit
            self._idle.start()
        elif self._journal is not None and self._journal.wants_base:
            self._journal.compact(self._workspace.case)
            self._shown = self._workspace.display
            self._note_seen()

    def _saved(self, case_file: str) -> None:
        if self._journal is not None:
            self._journal.note_saved(Path(case_file))

    def _case_changed(self, _changes, origin: str) -> None:
        if origin == "close":
            self.close()

    def close(self) -> None:
        """Let the writer finish; what was not saved stays for the next start.

        A journal whose disk refuses goes on trying; the next case has one of its own.
        """
        self._note_seen()
        journal, self._journal = self._journal, None
        if journal is None:
            return
        if journal.close():
            self._jobs.set_journal("", "")
            self.offer_recovery()  # what was not saved to a case file is kept, and said so
        else:
            self._late.append(journal)

    # --- recovery ----------------------------------------------------------------------------
    def offer_recovery(self) -> None:
        """Look for work of an earlier run that was not saved, and ask what to do with it."""

        def work(_ticket):
            from imaging.storage.recovery import recoverable

            return recoverable(journal_folder())

        self._tasks.run(work, self._offer, lambda error: self.said.emit(sentence(error)))

    def _offer(self, found: list[Recovery]) -> None:
        for recovery in found:
            if not recovery.readable:
                log.warning("a journal could not be read and was kept")
                continue
            if recovery.path in self._asked:
                continue
            self._asked.add(recovery.path)
            steps = f"{recovery.strokes} step{'' if recovery.strokes == 1 else 's'}"
            self._notice.ask(
                f"Unsaved work on {recovery.description or 'a study'} "
                f"({steps}, until {_clock(recovery.when)}) is kept and can be restored.",
                ("Restore", lambda r=recovery: self.restore(r)),
                ("Later", lambda r=recovery: self._asked.discard(r.path)),
                ("Discard", lambda r=recovery: self._discard(r)),
            )

    def restore(self, recovery: Recovery) -> None:
        """Open the images of a journal again and put the work back on them."""
        self._asked.discard(recovery.path)
        self._cases.open_refs(recovery.volumes, lambda lookup: self._restore(recovery, lookup))

    def _restore(self, recovery: Recovery, lookup) -> None:
        from imaging.storage.file_lock import CaseInUse
        from imaging.storage.journal import Journal
        from imaging.storage.recovery import recover

        if not self._workspace.case.volumes:
            self.said.emit("The images of this work were not found; the work was kept")
            return
        if not self.wait(0.0):
            self.said.emit("Edits of the last study still wait for the disk; try again later")
            return
        items, report = recover(recovery.path, lookup)
        if not items:
            self.said.emit(report.sentence)
            return
        try:
            case = Case(dict(self._workspace.case.items) | {item.id: item for item in items})
            self._journal = Journal.resume(
                recovery.path,
                case,
                damaged=report.damaged,
                description=recovery.description,
                on_state=self._state,
            )
        except CaseInUse:
            self.said.emit("This work is open in another Isocenter window")
            return
        self._workspace.adopt(items)
        display = usual_overlays(self._workspace.display, items)
        display = overlays_from_json(report.seen, display, {item.id for item in items})
        self._workspace.show(display)
        hidden = "" if display.overlays_shown else " Overlays are hidden, as they were (View menu)."
        self.said.emit(report.sentence + hidden)

    def _discard(self, recovery: Recovery) -> None:
        from imaging.storage.recovery import KEPT_DAYS, discard

        try:
            folder = discard(recovery.path)
        except OSError as error:
            self.said.emit(f"The unsaved work could not be discarded: {sentence(error)}")
            return
        finally:
            self._asked.discard(recovery.path)
        self.said.emit(f"Unsaved work discarded: it is kept for {KEPT_DAYS} days in {folder}")


def _key(case: Case) -> str:
    parts = []
    for volume in case.volumes:
        source = volume.source
        parts.append(source.series_uid or "|".join(source.files) or volume.id)
    return "\n".join(sorted(parts))


def _description(case: Case) -> str:
    volume = next(iter(case.volumes), None)
    if volume is None:
        return ""
    source = volume.source
    # Files that name no patient are told by their folder, as in the line above the images.
    whose = source.patient.name.replace("^", " ").strip() or folder_words(source.folder)
    words = (whose, volume.name)
    return " · ".join(word for word in words if word)


def _clock(when: str) -> str:
    try:
        return datetime.fromisoformat(when).astimezone().strftime("%d %b %Y, %H:%M:%S")
    except ValueError:
        return "an unknown time"
