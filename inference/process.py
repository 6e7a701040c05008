"""Child processes: started politely, spoken to and heard in lines, killed without mercy."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from imaging.errors import WorldFailed
from inference.devices import cores
from inference.messages import Message, decode, encode

#: So many of the last lines of a child's standard error are kept for the log.
KEPT_LINES = 40


class LineProcess(ABC):
    """A child process that is spoken to and heard in lines; the end of its errors is kept.

    Who inherits says what a line (:meth:`_line`) and the end of all lines (:meth:`_silent`) mean,
    and has what it needs for that before it calls this.

    Parameters
    ----------
    command : sequence of str
        Program and arguments.
    what : str
        What is started, for the sentence where it cannot be: ``"The training"``.
    threads : str
        First word of the names of the threads that listen.

    Raises
    ------
    WorldFailed
        Where the process cannot be started.
    """

    def __init__(self, command: Sequence[str], what: str, threads: str) -> None:
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
            raise WorldFailed(f"{what} could not be started", advice="Run the self test") from error
        self._listener = threading.Thread(target=self._listen, name=f"{threads}-out", daemon=True)
        self._keeper = threading.Thread(
            target=self._keep_errors, name=f"{threads}-err", daemon=True
        )
        self._listener.start()
        self._keeper.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def kill(self) -> None:
        """End it now, whatever it does, and reap it."""
        self._process.kill()
        self._process.wait()

    def last_words(self) -> str:
        """The end of its standard error, for the log."""
        self._keeper.join(0.5)
        return "\n".join(self._errors)

    def _say(self, line: str) -> None:
        """Write one line; a dead child is noticed by the listener, not here."""
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError, ValueError):
            stdin.write(line + "\n")
            stdin.flush()

    @abstractmethod
    def _line(self, line: str) -> None:
        """What it said, on the listener's thread."""

    @abstractmethod
    def _silent(self) -> None:
        """It has closed its output; called once, on the listener's thread."""

    def _listen(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed by whoever killed it
            for line in stdout:
                self._line(line)
        self._silent()

    def _keep_errors(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        with contextlib.suppress(ValueError, OSError):
            for line in stderr:
                self._errors.append(line.rstrip())


class WorkerProcess(LineProcess):
    """A running worker.

    Parameters
    ----------
    command : list of str or None
        How to start it; None: this Python with ``-m inference.worker``.
    heard : callable
        Called with ``(self, message)`` for each message, on a reader thread.
    ended : callable
        Called with ``(self,)`` once, after the last message, when the process is gone and nobody
        killed it through :meth:`kill`.

    Raises
    ------
    WorldFailed
        Where the process cannot be started.
    """

    def __init__(
        self,
        command: Sequence[str] | None,
        heard: Callable[[WorkerProcess, Message], None],
        ended: Callable[[WorkerProcess], None],
    ) -> None:
        self._heard, self._ended = heard, ended
        self._killed = False
        arguments = command or [sys.executable, "-m", "inference.worker"]
        super().__init__(arguments, "The AI worker", "ai-worker")

    def send(self, message: Message) -> None:
        """Write one message; a dead worker is noticed by the listener, not here."""
        self._say(encode(message))

    def kill(self) -> None:
        """End it now, whatever it does, and reap it."""
        self._killed = True
        super().kill()
        self._close_pipes()

    def how_it_ended(self) -> str:
        """In words, for example ``"signal SIGKILL"``."""
        code = self._process.poll()
        if code is None:
            return "it closed its output"
        if code >= 0:
            return f"exit code {code}"
        try:
            name = signal.Signals(-code).name
        except ValueError:
            name = str(-code)
        hint = ", perhaps the system ran out of memory" if name == "SIGKILL" else ""
        return f"signal {name}{hint}"

    def _line(self, line: str) -> None:
        with contextlib.suppress(ValueError):  # not ours: some library's chatter
            self._heard(self, decode(line))

    def _silent(self) -> None:
        if not self._killed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            if self._process.poll() is None:  # alive, but deaf and dumb to us
                self._process.kill()
                self._process.wait()
            self._ended(self)
            self._close_pipes()

    def _close_pipes(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            if self._process.stdin is not None:
                self._process.stdin.close()


def worker_environment() -> dict[str, str]:
    """Our environment, threads that wait without spinning, and the way to our own packages."""
    root = str(Path(__file__).resolve().parents[1])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)),
        "PYTHONIOENCODING": "utf-8",
        "OMP_WAIT_POLICY": "PASSIVE",
        "KMP_BLOCKTIME": "0",
        "OMP_NUM_THREADS": str(cores()),
        "MKL_NUM_THREADS": str(cores()),
    }


def _platform_arguments() -> dict:
    """On Windows the priority is set here and no console opens; elsewhere the worker is nice."""
    if sys.platform == "win32":
        flags = subprocess.BELOW_NORMAL_PRIORITY_CLASS | subprocess.CREATE_NO_WINDOW
        return {"creationflags": flags}
    return {"start_new_session": True}  # Ctrl-C in a terminal is for us, not for the worker
