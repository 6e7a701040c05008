"""The worker as a child process: started politely, spoken to in lines, killed without mercy."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from imaging.errors import WorldFailed
from inference.devices import cores
from inference.messages import Message, decode, encode

#: So many of the last lines of a worker's standard error are kept for the log.
KEPT_LINES = 40


class WorkerProcess:
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
        self._errors: deque[str] = deque(maxlen=KEPT_LINES)
        arguments = list(command or [sys.executable, "-m", "inference.worker"])
        try:
            self._process = subprocess.Popen(
                arguments,
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
                "The AI worker could not be started", advice="Run the self test"
            ) from error
        self._listener = threading.Thread(target=self._listen, name="ai-worker-out", daemon=True)
        self._keeper = threading.Thread(target=self._keep_errors, name="ai-worker-err", daemon=True)
        self._listener.start()
        self._keeper.start()

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def send(self, message: Message) -> None:
        """Write one line; a dead worker is noticed by the listener, not here."""
        stdin = self._process.stdin
        assert stdin is not None
        with contextlib.suppress(OSError, ValueError):
            stdin.write(encode(message) + "\n")
            stdin.flush()

    def kill(self) -> None:
        """End it now, whatever it does, and reap it."""
        self._killed = True
        self._process.kill()
        self._process.wait()
        self._close_pipes()

    def last_words(self) -> str:
        """The end of its standard error."""
        self._keeper.join(0.5)
        return "\n".join(self._errors)

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

    def _listen(self) -> None:
        stdout = self._process.stdout
        assert stdout is not None
        with contextlib.suppress(ValueError, OSError):  # closed by kill()
            for line in stdout:
                with contextlib.suppress(ValueError):  # not ours: some library's chatter
                    self._heard(self, decode(line))
        if not self._killed:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(1.0)
            if self._process.poll() is None:  # alive, but deaf and dumb to us
                self._process.kill()
                self._process.wait()
            self._ended(self)
            self._close_pipes()

    def _keep_errors(self) -> None:
        stderr = self._process.stderr
        assert stderr is not None
        with contextlib.suppress(ValueError, OSError):
            for line in stderr:
                self._errors.append(line.rstrip())

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
