"""One worker as seen from the program: started, asked, listened to, ended without mercy."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

from imaging.errors import WorldFailed
from imaging.sandbox import limits
from imaging.sandbox.messages import (
    Done,
    Failed,
    Job,
    LinkBroken,
    Ready,
    Result,
    read_answer,
    read_value,
    write_message,
)

#: Where the program is one file without a Python beside it, it starts itself with this word.
FROZEN_WORD = "--reading-worker"
_START_S = 60.0
_PIPE_BYTES = 1 << 20


class WorkerEnded(Exception):
    """The worker has gone in the middle of a job.

    Parameters
    ----------
    reason : str
        ``"time"``, ``"memory"`` or ``"crash"``.
    how : str
        Exit code or signal, for the log.
    """

    def __init__(self, reason: str, how: str) -> None:
        super().__init__(reason, how)
        self.reason, self.how = reason, how


class Worker:
    """A running worker process; one job at a time.

    Raises
    ------
    WorldFailed
        Where the system starts no process.
    """

    def __init__(self) -> None:
        try:
            self._process = subprocess.Popen(
                _command(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                env=_environment(),
                **_platform_arguments(),
            )
        except OSError as error:
            reason = error.strerror or "unknown reason"
            raise WorldFailed(
                f"The process that reads files could not be started ({reason})",
                advice="Close other programs and try again",
            ) from error
        self._in = cast(BinaryIO, self._process.stdin)
        self._out = cast(BinaryIO, self._process.stdout)
        with contextlib.suppress(OSError, ImportError, AttributeError):
            import fcntl

            fcntl.fcntl(self._out.fileno(), fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        self._ready = False
        self._killed_for = ""
        self._deadline = 0.0
        self._memory = 0

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """True while the process runs."""
        return self._process.poll() is None

    def run(self, job: Job, kind: Any) -> Iterator[Any]:
        """Do a job; yields its results as they come.

        Raises
        ------
        WorkerEnded
            Where the worker has gone; it must not be used again.
        JobFailed
            Where the function has raised; the worker is as good as before.
        """
        try:
            yield from self._run(job, kind)
        except (LinkBroken, OSError):
            raise self._how_it_ended() from None
        finally:
            self._deadline = 0.0

    def _run(self, job: Job, kind: Any) -> Iterator[Any]:
        self._deadline, self._memory = time.monotonic() + _START_S, 0
        write_message(self._in, job)
        if not self._ready:
            if not isinstance(read_answer(self._out), Ready):
                raise LinkBroken("no greeting")
            self._ready = True
        if not limits.SYSTEM_LIMITS_MEMORY:
            self._memory = limits.resident_bytes(self.pid) + job.memory
        while True:
            self._deadline = time.monotonic() + job.seconds
            answer = read_answer(self._out)
            if isinstance(answer, Result):
                value = read_value(self._out, answer, kind)
                self._deadline = 0.0
                yield value
            elif isinstance(answer, Failed):
                raise JobFailed(answer)
            elif isinstance(answer, Done):
                return
            else:
                raise LinkBroken("an unexpected message")

    def watch(self) -> None:
        """Called now and then from another thread: ends the worker where it passes a limit."""
        deadline = self._deadline
        if deadline and time.monotonic() > deadline:
            self.kill("time")
        elif (
            not limits.SYSTEM_LIMITS_MEMORY
            and self._memory
            and limits.resident_bytes(self.pid) > self._memory
        ):
            self.kill("memory")

    def kill(self, reason: str = "") -> None:
        """End it now, whatever it does."""
        self._killed_for = self._killed_for or reason
        with contextlib.suppress(OSError):
            self._process.kill()

    def close(self) -> None:
        """End it and reap it."""
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5.0)
        for stream in (self._in, self._out):
            with contextlib.suppress(OSError):
                stream.close()

    def _how_it_ended(self) -> WorkerEnded:
        if self._process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(0.5)
        code = self._process.poll()
        self.close()
        if self._killed_for:
            return WorkerEnded(self._killed_for, self._killed_for)
        if code is None:
            return WorkerEnded("crash", "protocol")
        if code >= 0:
            return WorkerEnded("crash", f"exit code {code}")
        name = signal.Signals(-code).name if -code in set(signal.Signals) else str(-code)
        return WorkerEnded("time" if name == "SIGALRM" else "crash", name)


class JobFailed(Exception):
    """The function has raised in the worker."""

    def __init__(self, failed: Failed) -> None:
        super().__init__(failed.kind)
        self.failed = failed


def _command() -> list[str]:
    """Our own Python, which looks for modules in no folder but ours, or this program itself."""
    if getattr(sys, "frozen", False):
        return [sys.executable, FROZEN_WORD]
    return [sys.executable, "-P", "-m", "imaging.sandbox.worker"]


def _environment() -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    paths = [root, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    one = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    itk = {"ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    return {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), **one, **itk}


def _platform_arguments() -> dict[str, Any]:
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW}
    return {"start_new_session": True}  # Ctrl-C in a terminal is for us, not for the worker
