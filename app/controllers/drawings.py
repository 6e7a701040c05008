"""Brings in what DICOM files draw over their slices, in the background once an image is open."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from app.controllers.cases import CaseController
from app.tasks import Tasks, Ticket
from app.workspace import Workspace
from imaging.case import ADDED, Change
from imaging.errors import BadInput
from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.drawings import Drawings
    from imaging.series import Series

#: While planes are read, views get new ones about so often.
_SHOW_S = 0.5


class DrawingController(QObject):
    """Reads overlay planes where a series has them; a series without costs nothing.

    Signals
    -------
    failed(str)
        Why planes are missing.
    """

    failed = Signal(str)

    def __init__(self, workspace: Workspace, tasks: Tasks, cases: CaseController) -> None:
        super().__init__()
        self._workspace, self._tasks, self._cases = workspace, tasks, cases
        self._reading: dict[str, Ticket] = {}
        workspace.case_changed.connect(self._case_changed)

    def _case_changed(self, changes: tuple[Change, ...], origin: str) -> None:
        if origin == "close":
            for ticket in self._reading.values():
                ticket.cancel()
            self._reading.clear()
        for change in changes:
            volume = self._workspace.case.items.get(change.item)
            if ADDED in change.parts and isinstance(volume, Volume) and volume.drawings is None:
                self._look(volume)

    def _look(self, volume: Volume) -> None:
        series = self._cases.series_of(volume.id)
        if series is None or not _is_of(volume, series) or not _draws(series):
            return
        self._reading[volume.id] = self._tasks.run(
            lambda ticket: self._read(series, volume.id, ticket),
            self._told,
        )

    def _read(self, series: Series, volume_id: str, ticket: Ticket) -> str:
        """In a thread: the planes of the slice that is shown first, then of all; what failed."""
        from imaging.dicom.pixels.overlays import read_drawings

        slices, problem = series.shape[0], ""
        newest: Drawings | None = None
        shown_at = 0.0

        def show() -> None:
            drawings = newest
            if drawings is not None:
                self._tasks.post(lambda: self._show(volume_id, drawings, ticket))

        for found in read_drawings(series.frames, slices, slices // 2):
            if ticket.cancelled():
                return ""
            if isinstance(found, BadInput):
                problem = problem or f"Some overlay planes of {series.description}: {found.what}"
                continue
            newest = found
            if time.monotonic() > shown_at + _SHOW_S:
                shown_at = time.monotonic()
                show()
        show()
        return problem

    def _told(self, problem: str) -> None:
        if problem:
            self.failed.emit(problem)

    def _show(self, volume_id: str, drawings: Drawings, ticket: Ticket) -> None:
        if not ticket.cancelled():
            self._workspace.show_drawings(volume_id, drawings)


def _is_of(volume: Volume, series: Series) -> bool:
    """False where the series has grown since the image was opened, or is only its origin."""
    repeats = volume.repeats
    sources = (volume.source,) if repeats is None else repeats.sources
    files = tuple(file for source in sources for file in source.files)
    same = volume.geometry.shape == series.shape and not volume.even_mm
    return same and files == series.source.files[: len(files)]


def _draws(series: Series) -> bool:
    if series.kind != "dicom":
        return False
    from imaging.dicom.pixels.encoding import carries_overlays

    return any(carries_overlays(frame.encoding) for frame in series.frames)
