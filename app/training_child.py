"""The training as a child process: niced, heard line by line, asked to stop before it is killed."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence

from app.training_events import Event, read_event
from imaging.errors import WorldFailed
from inference.process import worker_environment

NICE = 10  #: the reader's own work always comes first
KEPT_LINES = 40  #: of standard error, for the log
STOP = "stop"  #: the line that asks the child to write its checkpoint and end


class TrainingChild:
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
        self._errors: deque[str] = deque(maxlen=KEPT_LINES)
        try:
            self._process = subprocess.Popen(
                list(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                encoding="utf-8",
                errors="replace",
                bufsize=1,
                env=worker_environment(),
                **_platform_arguments(),
            )
        except OSError as error:
            raise WorldFailed(
                "The training could not be started", advice="Run the self test"
            ) from error
        _be_nice(self._process.pid)
        self._listener = threading.Thread(target=self._listen, name="training-out", daemon=True)
        self._keeper = threading.Thread(target=self._keep_errors, name="training-err", daemon=True)
        self._listener.start()
        self._keeper.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """True while the process is there."""
        return self._process.poll() is None

    def stop(self) -> None:
        """Ask it to write its checkpoint and end."""
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError, ValueError):
            stdin.write(f"{STOP}\n")
            stdin.flush()

    def wait(self, seconds: float) -> bool:
        """Wait for its end; True where it has ended."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        return not self.alive

    def kill(self) -> None:
        """End it now; the last checkpoint it wrote stays whole."""
        self._process.kill()
        self._process.wait()

    def last_words(self) -> str:
        """The end of its standard error, for the log."""
        self._keeper.join(0.5)
        return "\n".join(self._errors)

    def _listen(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        with contextlib.suppress(ValueError, OSError):
            for line in stdout:
                event = read_event(line)
                if event is not None:
                    self._heard(event)
        self._ended(self._process.wait())

    def _keep_errors(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        with contextlib.suppress(ValueError, OSError):
            for line in stderr:
                self._errors.append(line.rstrip())


def _be_nice(pid: int) -> None:
    """Give the child less of the processor than the window; its threads inherit that."""
    if sys.platform != "win32":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, pid, NICE)


def _platform_arguments() -> dict:
    """On Windows the priority is set here and no console opens; else Ctrl-C is for us alone."""
    if sys.platform == "win32":
        flags = subprocess.BELOW_NORMAL_PRIORITY_CLASS | subprocess.CREATE_NO_WINDOW
        return {"creationflags": flags}
    return {"start_new_session": True}
