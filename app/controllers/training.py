"""Training with the user's own cases: one child process, what it said so far, and its end.

The training belongs to the program, not to its window: closing the window changes nothing, and a
window that is opened again shows everything from the first step on.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from app.logs import frames_of
from app.messages import is_ours, sentence
from app.tasks import Tasks
from app.training_events import (
    ENDS,
    Checked,
    Done,
    Event,
    Failed,
    Note,
    Stage,
    Step,
    Stopped,
)
from app.training_wish import TrainingWish, own_command
from imaging.errors import ImagingError

if TYPE_CHECKING:
    from app.training_child import TrainingChild

log = logging.getLogger(__name__)
JOB = "training"
ENDING = "Stopping: this step is finished, then the checkpoint is written"
CHECKPOINT_S = 5.0  #: so long a child may take for its checkpoint when the program is gone
_FRAME = re.compile(r'\s+File "([^"]+\.py)", line (\d+)')
_KIND = re.compile(r"([A-Za-z_][\w.]*(?:Error|Exception|Interrupt))(?::|$)")
_OURS = {"app", "inference", "imaging", "viewer"}
STOPPED = "Stopped. What was learned is kept in the folder of results; “Resume” goes on from there"


class Phase(StrEnum):
    """What goes on."""

    IDLE = "idle"
    CHECKING = "checking"
    RUNNING = "running"
    STOPPING = "stopping"


@dataclass
class TrainingState:
    """Everything that was said since the last check or start."""

    phase: Phase = Phase.IDLE
    wish: TrainingWish | None = None
    checked: Checked | None = None
    words: str = ""
    fraction: float = -1.0
    seconds_left: float | None = None
    steps: list[Step] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    end: Done | Stopped | Failed | None = None

    @property
    def busy(self) -> bool:
        """True while a child works."""
        return self.phase is not Phase.IDLE


class TrainingController(QObject):
    """Checks cases and trains; one thing at a time.

    Signals
    -------
    changed()
        :attr:`state` says something new.
    installed(str)
        Id of a model that was just put into the user's model folder.
    not_installed(str)
        Why it could not be put there.
    said(str), failed(str), job(str, str, float)
        For the status line, as of other controllers.
    """

    changed = Signal()
    installed = Signal(str)
    not_installed = Signal(str)
    said = Signal(str)
    failed = Signal(str)
    job = Signal(str, str, float)

    def __init__(self, tasks: Tasks, command: Callable[[], Sequence[str]] = own_command) -> None:
        super().__init__()
        self._tasks, self._command = tasks, command
        self._child: TrainingChild | None = None
        self.state = TrainingState()

    @property
    def running(self) -> bool:
        """True while a training (not a mere check) goes on."""
        return self.state.phase in (Phase.RUNNING, Phase.STOPPING)

    @property
    def stopping(self) -> bool:
        """True while the checkpoint is being written."""
        return self.state.phase is Phase.STOPPING

    def check(self, wish: TrainingWish) -> None:
        """Look at the cases and say which can be used; writes nothing."""
        if not self.state.busy:
            self._begin(wish, Phase.CHECKING, "Looking at the cases")

    def start(self, wish: TrainingWish) -> None:
        """Train; progress comes as :attr:`changed`."""
        if not self.state.busy:
            self._begin(wish, Phase.RUNNING, "Starting")

    def cancel(self) -> None:
        """Stop after the step that is just being done; a checkpoint stays."""
        if self._child is None or not self.state.busy:
            return
        if self.state.phase is Phase.CHECKING:
            self._child.kill()
            return
        self.state.phase, self.state.words = Phase.STOPPING, ENDING
        self.state.seconds_left = None
        self._child.stop()
        self.job.emit(JOB, "Training: stopping", min(self.state.fraction, 0.999))
        self.changed.emit()

    def install(self, package: Path) -> None:
        """Copy the new model into the user's model folder, in a thread."""
        self._tasks.run(lambda _ticket: _install(package), self._was_installed, self._not_installed)

    def close(self) -> None:
        """The program goes: let the child write its checkpoint, then end it."""
        child, self._child = self._child, None
        if child is None or not child.alive:
            return
        child.stop()
        if self.state.phase is Phase.CHECKING or not child.wait(CHECKPOINT_S):
            child.kill()

    # --- the child ---------------------------------------------------------------------------
    def _begin(self, wish: TrainingWish, phase: Phase, words: str) -> None:
        from app.training_child import TrainingChild

        checked = self.state.checked if phase is Phase.RUNNING else None
        self.state = TrainingState(phase, wish, checked, words)
        arguments = wish.arguments(check_only=phase is Phase.CHECKING)
        state = self.state
        try:
            self._child = TrainingChild(
                [*self._command(), *arguments],
                lambda event: self._tasks.post(lambda: self._heard(state, event)),
                lambda code: self._tasks.post(lambda: self._ended(state, code)),
            )
        except ImagingError as error:
            self._end(Failed(sentence(error)))
            return
        if phase is Phase.RUNNING:
            self.job.emit(JOB, "Training: starting", -1.0)
        self.changed.emit()

    def _heard(self, state: TrainingState, event: Event) -> None:
        if state is not self.state or not state.busy:
            return
        if isinstance(event, ENDS):
            # It counts once the process is gone; what a shell says after it is no news.
            state.end = state.end or event
            return
        if isinstance(event, Checked):
            state.checked = event
        elif isinstance(event, Note):
            state.notes.append(event.sentence)
        elif isinstance(event, Stage):
            if state.phase is not Phase.STOPPING:
                state.words = event.words
            self._progress(event)
        else:
            state.steps.append(event)
            self._progress(event)
        self.changed.emit()

    def _progress(self, event: Stage | Step) -> None:
        state = self.state
        state.fraction = event.fraction
        if state.phase is not Phase.STOPPING:
            state.seconds_left = event.seconds_left
        if state.phase is Phase.RUNNING:
            share = min(event.fraction, 0.999)
            self.job.emit(JOB, f"Training: {state.words[:1].lower()}{state.words[1:]}", share)

    def _ended(self, state: TrainingState, code: int) -> None:
        if state is not self.state or not state.busy:
            return
        child, self._child = self._child, None
        if state.end is not None:
            self._end(state.end)
        elif state.phase is Phase.STOPPING:
            self._end(Stopped(STOPPED))
        elif state.phase is Phase.CHECKING and (state.checked is not None or code < 0):
            self._end(None)
        else:
            words = child.last_words() if child is not None else ""
            log.error("training ended without a word, exit code %d: %s", code, told_frames(words))
            self._end(Failed("The training ended unexpectedly. The log has the details"))

    def _end(self, end: Done | Stopped | Failed | None) -> None:
        was = self.state.phase
        self.state.end, self.state.phase = end, Phase.IDLE
        self.state.words, self.state.seconds_left = "", None
        words = end_words(end) if end is not None else ""
        if was is not Phase.CHECKING:
            self.job.emit(JOB, words, 1.0)
        if isinstance(end, Failed):
            self.failed.emit(words)
        elif words:
            self.said.emit(words)
        self.changed.emit()

    # --- installing --------------------------------------------------------------------------
    def _was_installed(self, id: str) -> None:
        self.said.emit(f"The model “{id}” is installed and can be chosen in the AI model panel")
        self.installed.emit(id)

    def _not_installed(self, error: BaseException) -> None:
        if is_ours(error):
            log.error("a trained model could not be installed: %s", frames_of(error))
        self.not_installed.emit(sentence(error))
        self.failed.emit(sentence(error))


def told_frames(traceback: str) -> str:
    """What may go into the log of a child's last words: places in our code and kinds of exceptions.

    Messages and other lines stay out, for they may name the user's files.
    """
    found = []
    for line in traceback.splitlines():
        if place := _FRAME.match(line):
            path, number = place.groups()
            parts = path.replace("\\", "/").split("/")
            if _OURS & set(parts[:-1]):
                found.append(f"{parts[-1]}:{number}")
        elif kind := _KIND.match(line):
            found.append(kind[1].rpartition(".")[2])
    return " > ".join(found) or "no traceback"


def end_words(end: Done | Stopped | Failed) -> str:
    """How a training ended, as a sentence."""
    if isinstance(end, Failed):
        return end.sentence.rstrip(".") + "."
    if isinstance(end, Stopped):
        return f"{STOPPED}."  # what the child says is for a command line
    if end.sentence:
        return end.sentence
    if end.promoted:
        return "The training is done; the new model can be installed."
    reason = f": {end.reason.rstrip('.')}" if end.reason else ""
    return f"The training is done; the new model is not better than the old one{reason}."


def _install(package: Path) -> str:
    from inference.training.own.install import install_package

    return install_package(package).card.id
