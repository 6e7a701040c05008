"""Reads names again in the script that the user chose, for files that do not say which one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, Signal

from app.controllers.cases import CaseController
from app.controllers.objects import ObjectController
from app.tasks import Tasks, Ticket
from app.workspace import Workspace
from imaging.dicom.header.charsets import NAME_SCRIPTS
from imaging.errors import ImagingError
from imaging.series import LABELS, FoundObject, Series
from imaging.volume import Patient, Source

if TYPE_CHECKING:
    from imaging.open import ScanResult


class NameController(QObject):
    """Joins the choice of a script, the headers and everything that shows their text.

    Masks, undo and loaded voxels stay: only words change.

    Signals
    -------
    said(str), failed(str)
        A sentence for the status line; what failed stays there until the next one.
    changed(script)
        A key of :data:`NAME_SCRIPTS` to be stored, before headers are read again.
    """

    said = Signal(str)
    failed = Signal(str)
    changed = Signal(str)

    def __init__(
        self,
        workspace: Workspace,
        tasks: Tasks,
        cases: CaseController,
        objects: ObjectController,
        browser: Any,
    ) -> None:
        super().__init__()
        self._workspace, self._tasks, self._cases = workspace, tasks, cases
        self._objects, self._browser = objects, browser
        self._reading: Ticket | None = None
        self._waiting = False
        browser.names_told.connect(self.tell)
        cases.scan_ended.connect(self._scan_ended)
        workspace.case_changed.connect(self._case_changed)

    def tell(self, script: str) -> None:
        """The user says how names are written whose character set the files do not say.

        Parameters
        ----------
        script : str
            A key of :data:`NAME_SCRIPTS`.
        """
        self.changed.emit(script)
        self._browser.set_names_as(script)
        self.said.emit(
            f"Names whose character set the files do not say are read as {NAME_SCRIPTS[script]} "
            "from now on"
        )
        if self._cases.scanning:
            self._waiting = True
        else:
            self._read_again(script)

    def _scan_ended(self) -> None:
        if self._waiting:
            self._waiting = False
            self._read_again(self._cases.names_as())

    def _case_changed(self, _changes: Any, origin: str) -> None:
        if origin == "close":
            self._stop()

    def _stop(self) -> None:
        self._waiting = False
        if self._reading is not None:
            self._reading.cancel()
            self._reading = None

    def _read_again(self, script: str) -> None:
        self._stop()
        files = _files(self._cases.series.values(), self._objects.found)

        def work(ticket: Ticket) -> ScanResult:
            from imaging.open import scan

            return scan(files, cancelled=ticket.cancelled, names_as=script)

        self._reading = self._tasks.run(work, self._take, self._failed)

    def _failed(self, error: BaseException) -> None:
        if not isinstance(error, ImagingError | OSError):
            raise error
        self.failed.emit("The headers could not be read again: open the study once more")

    def _take(self, result: ScanResult) -> None:
        """Rows, images and objects take over the words of the headers as they read now."""
        self._reading = None
        old = dict(self._cases.series)
        new = {series.key: series for series in result.series if series.key in old}
        people = {old[key].source.patient: new[key].source.patient for key in new}
        self._cases.take_words(new, lambda source: _as(people, source))
        found = {one.key: one for one in result.objects}
        listed = [found.get(one.key, one) for one in self._objects.found]
        self._browser.list_again(self._cases.series.values())
        for one in listed:
            self._objects.add(one)


def _files(series: Iterable[Series], objects: Iterable[FoundObject]) -> list[str]:
    """The DICOM files of a study, each once."""
    frames = (f.file for one in series if one.kind == "dicom" for f in one.frames)
    others = (one.path for one in objects if one.kind != LABELS)
    return list(dict.fromkeys((*frames, *others)))


def _as(people: dict[Patient, Patient], source: Source) -> Source:
    """The same origin under the patient's name as it reads now."""
    return replace(source, patient=people.get(source.patient, source.patient))
