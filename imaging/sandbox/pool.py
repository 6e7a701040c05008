"""A few worker processes, one job each at a time; started on first use, replaced when they die.

Start method: a fresh interpreter, never a fork, so it is safe from any thread and beside Qt. At
most one worker per core. Results come through pipes as raw bytes; nothing is unpickled.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
import time
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec

from imaging.errors import BadInput
from imaging.sandbox.messages import Failed, Job
from imaging.sandbox.process import JobFailed, Worker, WorkerEnded

#: What a job may take unless the caller says otherwise.
SECONDS, MEMORY_BYTES = 30.0, 1 << 30
MAX_WORKERS = 16
_WATCH_S = 0.1
#: Workers end when idle; after so long it is worth waking them again.
_WARM_S = 60.0
#: True inside a worker, where limited calls are plain calls.
INSIDE = False
_SENTENCES = {
    "time": ("Reading the file took too long and was stopped", ""),
    "memory": ("Reading the file needs more memory than a file may take", ""),
    "crash": ("The file made the reader fail and was put aside", ""),
}
_log = logging.getLogger(__name__)


def workers() -> int:
    """How many workers there may be: one per core that we may use."""
    if hasattr(os, "sched_getaffinity"):
        return max(1, min(MAX_WORKERS, len(os.sched_getaffinity(0))))
    return max(1, min(MAX_WORKERS, os.cpu_count() or 1))


def run_limited(
    function: str,
    *arguments: Any,
    where: str = "",
    kind: Any = Any,
    seconds: float = SECONDS,
    memory: int = MEMORY_BYTES,
) -> Any:
    """Call a function in a worker process and wait for its result.

    Parameters
    ----------
    function : str
        ``"imaging.package.module:name"``; must be importable and know no Qt, VTK or torch.
    *arguments
        Plain values: text, numbers, bytes, lists, dictionaries, dataclasses (which arrive as
        dictionaries).
    where : str
        The file concerned, for messages.
    kind : type
        What the result must be, as msgspec checks it, for example ``list[Frame]``. numpy arrays
        may be anywhere in it.
    seconds : float
        The call is stopped after that time.
    memory : int
        Bytes the worker may take beyond what it holds when idle.

    Returns
    -------
    Any
        A copy of what the function returned.

    Raises
    ------
    BadInput
        As the function raised it, or where it crashed, took too long or too much memory.
    WorldFailed
        Where no worker can be started.
    """
    results = list(
        stream_limited(function, *arguments, where=where, kind=kind, seconds=seconds, memory=memory)
    )
    return results[0] if results else None


def stream_limited(
    function: str,
    *arguments: Any,
    where: str = "",
    kind: Any = Any,
    seconds: float = SECONDS,
    memory: int = MEMORY_BYTES,
) -> Iterator[Any]:
    """As :func:`run_limited` for a generator function: its values as they come.

    ``seconds`` is for each value. Close the iterator (or read it to its end).
    """
    job = Job(function, msgspec.msgpack.encode(arguments), seconds, memory)
    if INSIDE:
        yield from _run_here(job, kind)
        return
    try:
        yield from _pool.run(job, kind)
    except JobFailed as error:
        raise _refusal(error.failed, where) from None
    except WorkerEnded as error:
        _log.warning("a reading worker ended: %s (%s)", error.reason, error.how)
        what, advice = _SENTENCES[error.reason]
        raise BadInput(what, where, advice) from None


def warm(function: str, *arguments: Any) -> None:
    """Start all workers now and let each call a function, so that the next call finds them ready.

    Returns at once. What goes wrong is told by the next real call.
    """
    if not INSIDE:
        _pool.warm(Job(function, msgspec.msgpack.encode(arguments), SECONDS, MEMORY_BYTES))


def close() -> None:
    """End all workers; the next call starts new ones."""
    _pool.close()


def _refusal(failed: Failed, where: str) -> BadInput:
    if failed.kind == "BadInput":
        return BadInput(failed.what, where, failed.advice)
    if failed.kind == "MemoryError":
        what, advice = _SENTENCES["memory"]
        return BadInput(what, where, advice)
    _log.warning("a reading worker reported %s", failed.kind)
    return BadInput(f"The file cannot be understood ({failed.kind})", where)


def _run_here(job: Job, kind: Any) -> Iterator[Any]:
    from imaging.sandbox.worker import function_called

    result = function_called(job.function)(*msgspec.msgpack.decode(job.arguments))
    values = result if isinstance(result, types.GeneratorType) else (result,)
    yield from values


class _Pool:
    """Idle workers, busy workers, and a thread that watches the busy ones."""

    def __init__(self) -> None:
        self._change = threading.Condition()
        self._idle: list[Worker] = []
        self._busy: set[Worker] = set()
        self._warm: dict[tuple[str, bytes], float] = {}
        self._preparing = 0
        self._watching = False
        self._closed = False

    def run(self, job: Job, kind: Any) -> Iterator[Any]:
        started = False
        while True:
            with self._given_back(self._take()) as worker:
                try:
                    for value in worker.run(job, kind):
                        started = True
                        yield value
                    return
                except WorkerEnded as error:
                    # It had gone to sleep for good just before we asked: that is no one's fault.
                    if started or error.how != "exit code 0":
                        raise

    def warm(self, job: Job) -> None:
        key, now = (job.function, job.arguments), time.monotonic()
        with self._change:
            if now < self._warm.get(key, 0.0) + _WARM_S:
                return
            self._warm[key] = now
            self._closed = False
            self._preparing += workers()
        # Half of them first: starting all at once makes the first one late on few cores.
        turns = threading.Semaphore(max(1, workers() // 2))
        prepared: set[Worker] = set()
        for _ in range(workers()):
            threading.Thread(target=self._prepare, args=(job, turns, prepared), daemon=True).start()

    def _prepare(self, job: Job, turns: threading.Semaphore, prepared: set[Worker]) -> None:
        """Let one worker that has not done it yet do a job."""
        with turns:
            try:
                worker = self._take_other(prepared)
                if worker is not None:
                    with self._given_back(worker):
                        for _ in worker.run(job, Any):
                            pass
            except Exception as error:
                if not self._closed:
                    _log.warning("a reading worker could not be prepared: %s", type(error).__name__)
            finally:
                with self._change:
                    self._preparing = max(0, self._preparing - 1)
                    self._change.notify_all()

    def _take_other(self, prepared: set[Worker]) -> Worker | None:
        """An idle worker that is none of these, or a new one; None where all others are busy."""
        with self._change:
            others = (one for one in self._idle if one not in prepared and one.alive)
            worker = next(others, None)
            if worker is not None:
                self._idle.remove(worker)
            elif self._closed or len(self._idle) + len(self._busy) >= workers():
                return None
            else:
                worker = Worker()
            prepared.add(worker)
            return self._taken(worker)

    @contextmanager
    def _given_back(self, worker: Worker) -> Iterator[Worker]:
        finished = False
        try:
            yield worker
            finished = True
        except JobFailed:
            finished = True
            raise
        finally:
            self._give_back(worker, finished)

    def _take(self) -> Worker:
        with self._change:
            while True:
                while self._idle:
                    worker = self._idle.pop()
                    if worker.alive:
                        return self._taken(worker)
                    worker.close()
                # A worker that is being prepared is ready sooner than one that starts now.
                if len(self._busy) < workers() and not (self._busy and self._preparing):
                    return self._taken(Worker())
                self._change.wait()

    def _taken(self, worker: Worker) -> Worker:
        self._busy.add(worker)
        if not self._watching:
            self._watching = True
            threading.Thread(target=self._watch, name="sandbox-watch", daemon=True).start()
        return worker

    def _give_back(self, worker: Worker, whole: bool) -> None:
        if not whole:
            worker.close()
        with self._change:
            known = worker in self._busy
            self._busy.discard(worker)
            if whole and known:
                self._idle.append(worker)
            self._change.notify()
        if whole and not known:  # the pool was closed meanwhile
            worker.close()

    def _watch(self) -> None:
        while True:
            with self._change:
                if not self._busy:
                    self._watching = False
                    return
                busy = tuple(self._busy)
            for worker in busy:
                worker.watch()
            time.sleep(_WATCH_S)

    def close(self) -> None:
        with self._change:
            self._closed = True
            leaving = [*self._idle, *self._busy]
            self._idle.clear()
            self._busy.clear()
            self._warm.clear()
            self._preparing = 0
            self._change.notify_all()
        for worker in leaving:
            worker.kill()
        for worker in leaving:
            worker.close()


_pool = _Pool()
atexit.register(close)
