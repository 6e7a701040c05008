"""Even volumes from uneven or sheared slices: asked for, or asked about before a tool needs one."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from PySide6.QtCore import QObject, Signal

from app.logs import frames_of
from app.messages import sentence
from app.tasks import Tasks, Ticket
from app.workspace import Workspace
from imaging.uneven import uneven_words
from imaging.volume import Volume

log = logging.getLogger(__name__)

JOB = "even"


class EvenController(QObject):
    """Makes even volumes in the background; each is an item of its own beside what was acquired.

    Signals
    -------
    said(str), failed(str)
        A sentence for the status line; what failed stays there until the next one.
    job(str, str, float)
        Id, words and fraction (below 0: unknown, 1: done) of background work.
    asked(str, list)
        A question and its choices, each a title and what it does.
    """

    said = Signal(str)
    failed = Signal(str)
    job = Signal(str, str, float)
    asked = Signal(str, list)

    def __init__(self, workspace: Workspace, tasks: Tasks, cases: Any) -> None:
        super().__init__()
        self._workspace, self._tasks, self._cases = workspace, tasks, cases
        self._making: Ticket | None = None

    def needed(self, volume_id: str, then: Callable[[str], None]) -> bool:
        """Ask whether to make an even volume where a tool needs one.

        Parameters
        ----------
        then : callable
            Gets the id of the even volume, once it is there.

        Returns
        -------
        bool
            True where the tool must not go on with this volume.
        """
        from imaging.analysis.regularise import even_step

        volume = self._volume(volume_id)
        if volume is None or volume.even:
            return False
        return self._offer(
            volume,
            then,
            lambda: (
                f"The slices of {volume.title} {_where(volume)}. "
                f"Make an even volume with steps of {even_step(volume):.1f} mm?"
            ),
            "Make it",
        )

    def needed_for_model(self, volume_id: str, then: Callable[[str], None]) -> bool:
        """As :meth:`needed`, and for a sheared stack, too: a model expects perpendicular axes."""
        volume = self._volume(volume_id)
        if volume is None or not volume.even or volume.geometry.orthogonal:
            return self.needed(volume_id, then)
        return self._offer(
            volume,
            then,
            lambda: (
                f"The slices of {volume.title} are shifted against each other "
                "(a sheared stack). Resample it perpendicular for the model?"
            ),
            "Resample it",
        )

    def _offer(
        self, volume: Volume, then: Callable[[str], None], question: Callable[[], str], do_it: str
    ) -> bool:
        """Say why it is not possible, go on with what is there, or ask; True in any case."""
        if reason := self.why_not(volume.id):
            self.said.emit(f"{reason}.")
        elif self._made_of(volume) is not None:
            self.make(volume.id, then)
        else:
            choices = [(do_it, lambda: self.make(volume.id, then)), ("Cancel", lambda: None)]
            self.asked.emit(question(), choices)
        return True

    def why_not(self, volume_id: str) -> str:
        """Why no even volume can be made of an image now; empty where one can."""
        from imaging.analysis.regularise import why_not_even

        volume = self._volume(volume_id)
        if volume is None:
            return "Open a study first"
        return self._cases.why_not_loaded(volume_id) or why_not_even(volume)

    def make(self, volume_id: str, then: Callable[[str], None] | None = None) -> None:
        """Make an even volume of an image and show it; what is there already is only shown."""
        volume, reason = self._volume(volume_id), self.why_not(volume_id)
        if volume is None or reason:
            self.said.emit(f"{reason}.")
            return
        if known := self._made_of(volume):
            self._show(known, then)
            return

        def work(_ticket: Ticket) -> Volume:
            from imaging.analysis.regularise import even_volume
            from imaging.dicom.header.vetting import check_volume_bytes

            check_volume_bytes(2 * volume.voxels.nbytes, volume.name)
            return even_volume(volume)

        self.job.emit(JOB, f"Making an even volume of {volume.title}", -1.0)
        self._making = self._tasks.run(
            work, lambda made: self._take(volume_id, made, then), self._failed
        )

    def cancel(self) -> None:
        """Drop the answer of what is being made."""
        if self._making is not None:
            self._making.cancel()
        self.job.emit(JOB, "Cancelled", 1.0)

    def _take(self, volume_id: str, made: Volume, then: Callable[[str], None] | None) -> None:
        self.job.emit(JOB, "", 1.0)
        if self._volume(volume_id) is not None:  # else the study was closed meanwhile
            self._show(made, then)

    def _show(self, made: Volume, then: Callable[[str], None] | None) -> None:
        self._cases.show_made(made)
        self.said.emit(" ".join(made.notes))
        if then is not None:
            then(made.id)

    def _failed(self, error: BaseException) -> None:
        log.error("an even volume could not be made: %s", frames_of(error))
        self.job.emit(JOB, "", 1.0)
        self.failed.emit(sentence(error))

    def _volume(self, volume_id: str) -> Volume | None:
        item = self._workspace.case.items.get(volume_id)
        return item if isinstance(item, Volume) else None

    def _made_of(self, volume: Volume) -> Volume | None:
        """The even volume that was made of this image before."""
        begins = f"{volume.id}-even-"
        made = (v for v in self._workspace.case.volumes if v.even_mm and v.id.startswith(begins))
        return next((v for v in made if v.repeat == volume.repeat), None)


def why_uneven(volume: Volume) -> str:
    """Why an image cannot become a file as it is; empty where its slices lie at even distances."""
    if volume.even:
        return ""
    if not volume.placed:
        return f"The header of {volume.name} does not say where its slices lie"
    return f"The slices of {volume.name} {_where(volume)}: make an even volume first"


def _where(volume: Volume) -> str:
    """How the slices of an uneven stack lie: ``"lie at uneven distances (3.0 to 9.0 mm)"``."""
    assert volume.places is not None
    return uneven_words(volume.geometry, volume.places)
