"""The training as a child process: niced, heard line by line, asked to stop before it is killed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Sequence

from app.training_events import Event, read_event
from inference.process import LineProcess

NICE = 10  #: the reader's own work always comes first
STOP = "stop"  #: the line that asks the child to write its checkpoint and end


class TrainingChild(LineProcess):
    """A running training.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    heard : callable
        Gets each :data:`~app.training_events.Event`, on a thread of its own.
    ended : callable
        Gets the exit code once, after the last event, on the same thread.

    Raises
    ------
    WorldFailed
        Where the process cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str],
        heard: Callable[[Event], None],
        ended: Callable[[int], None],
    ) -> None:
        self._heard, self._ended = heard, ended
        super().__init__(command, "The training", "training")
        _be_nice(self.pid)

    @property
    def alive(self) -> bool:
        """True while the process is there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to write its checkpoint and end."""
        self._say(STOP)

    def wait(self, seconds: float) -> bool:
        """Wait for its end; True where it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return not self.alive

    def _line(self, line: str) -> None:
        event = read_event(line)
        if event is not None:
            self._heard(event)

    def _silent(self) -> None:
        self._ended(self._process.wait())


def _be_nice(pid: int) -> None:
    """Give the child less of the processor than the window; its threads inherit that."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, NICE)
