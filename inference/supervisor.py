"""One thread that owns the worker process and everything that can happen to it.

All others only drop closures into its inbox, so there is nothing to lock. Whatever happens to the
worker (crash, kill, hang), a run ends with exactly one outcome and the window goes on.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from uuid import uuid4

from imaging.errors import ImagingError, WorldFailed
from inference.messages import (
    ArrayHandle,
    Beat,
    Cancelled,
    CancelRequest,
    ClickAnswer,
    ClickRequest,
    DeviceAnswer,
    DeviceRequest,
    Done,
    ExplainAnswer,
    ExplainRequest,
    Failed,
    LoadAnswer,
    LoadRequest,
    Message,
    Progress,
    SegmentAnswer,
    SegmentRequest,
)
from inference.process import WorkerProcess
from inference.shared_arrays import SharedArray

Outcome = (
    SegmentAnswer | ExplainAnswer | ClickAnswer | LoadAnswer | DeviceAnswer | Failed | Cancelled
)
Request = SegmentRequest | ExplainRequest | ClickRequest | LoadRequest | DeviceRequest
OnProgress = Callable[[Progress], None]
OnEnd = Callable[[Outcome], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Patience:
    """How long the supervisor waits, in seconds, and how often it starts over.

    Parameters
    ----------
    beat_s : float
        A worker that gives no sign of life for so long is killed.
    start_s : float
        The same until a worker has answered for the first time: it loads its libraries then, in
        long steps on a busy computer, and cannot speak meanwhile.
    stall_s : float
        A run without progress for so long is taken for hung, and its worker is killed.
    cancel_s : float
        A worker that has not stopped by itself so long after a cancel is killed.
    restarts : int
        After so many unexpected ends in a row no new worker is started.
    """

    beat_s: float = 20.0
    start_s: float = 120.0
    stall_s: float = 300.0
    cancel_s: float = 0.3
    restarts: int = 3


class Run:
    """One question to the worker; made by :class:`WorkerClient`."""

    def __init__(self, ticket: str, cancel: Callable[[Run], None]) -> None:
        self.ticket = ticket
        self.outcome: Outcome | None = None
        self._cancel, self._ended = cancel, threading.Event()

    @property
    def ended(self) -> bool:
        """Whether the outcome is known."""
        return self._ended.is_set()

    def cancel(self) -> None:
        """Take the question back; the run ends within half a second. Harmless after the end."""
        self._cancel(self)

    def wait(self, timeout: float | None = None) -> Outcome | None:
        """Wait for the end (seconds; None: as long as it takes); None where it has not come.

        Not to be called from a callback.
        """
        self._ended.wait(timeout)
        return self.outcome

    def _end(self, outcome: Outcome) -> None:
        self.outcome = outcome
        self._ended.set()


@dataclass(eq=False)
class Job:
    """A run with all it takes to ask and to understand the answer."""

    run: Run
    request: Callable[[Job], Request]
    answer: Callable[[Job, Done], Outcome]
    on_progress: OnProgress
    on_end: OnEnd
    arrays: dict[str, SharedArray] = field(default_factory=dict)
    cancel_by: float | None = None

    def share(self, name: str, array: SharedArray) -> ArrayHandle:
        """Keep a block until the run ends; gives its handle."""
        self.arrays[name] = array
        return array.handle

    def release(self) -> None:
        """Remove all shared memory."""
        for array in self.arrays.values():
            array.close()
        self.arrays.clear()


class Supervisor:
    """Starts the worker when it is needed, hands it one job at a time, and watches over it.

    Parameters
    ----------
    command : sequence of str or None
        How to start the worker; None: this Python with ``-m inference.worker``.
    """

    def __init__(self, command: Sequence[str] | None, patience: Patience) -> None:
        self._command = None if command is None else list(command)
        self._patience = patience
        self._inbox: queue.Queue[Callable[[], None]] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._worker: WorkerProcess | None = None
        self._active: Job | None = None
        self._waiting: Job | None = None
        self._last_beat = self._last_progress = 0.0
        self._answered = False
        self._unexpected_ends = 0
        self._closed = False

    def submit(
        self,
        request: Callable[[Job], Request],
        answer: Callable[[Job, Done], Outcome],
        on_progress: OnProgress,
        on_end: OnEnd,
    ) -> Run:
        """Queue a question; the shared memory is made on the supervisor's thread.

        Raises
        ------
        WorldFailed
            After :meth:`close`.
        """
        if self._closed:
            raise WorldFailed("The program is closing; no new run can start")
        run = Run(uuid4().hex, lambda r: self._inbox.put(lambda: self._cancel(r)))
        job = Job(run, request, answer, on_progress, on_end)
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="ai-client", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        self._inbox.put(lambda: self._accept(job))
        return run

    def close(self, timeout: float = 3.0) -> None:
        """End all runs as cancelled and the worker with them. Calling it twice is harmless."""
        atexit.unregister(self.close)
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._closed = True
            return
        self._inbox.put(self._close)
        thread.join(timeout)

    @property
    def busy(self) -> bool:
        """Whether a run is at work or waits; a new one would have to wait for it."""
        return self._active is not None or not self._inbox.empty()

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker; None where none runs."""
        worker = self._worker
        return worker.pid if worker is not None else None

    # --- on the supervisor's own thread

    def _serve(self) -> None:
        while not self._closed:
            try:
                with contextlib.suppress(queue.Empty):
                    self._inbox.get(timeout=self._next_look())()
                self._watch()
            except Exception as error:  # nothing may end the thread that ends the runs
                self._our_mistake(error)

    def _accept(self, job: Job) -> None:
        if self._active is None:
            self._begin(job)
        elif self._waiting is None:
            self._waiting = job
            _call(job.on_progress, Progress(job.run.ticket, "Waiting for the run before", 0.0))
        else:
            self._finish(
                job, Failed(job.run.ticket, "A model is running and another run waits already")
            )

    def _begin(self, job: Job) -> None:
        self._active = job
        try:
            worker = self._running_worker()
            self._last_progress = time.monotonic()
            worker.send(job.request(job))
        except ImagingError as error:
            self._finish(job, Failed(job.run.ticket, str(error)))
        except MemoryError:
            self._finish(job, Failed(job.run.ticket, "There is not enough memory for this run"))

    def _running_worker(self) -> WorkerProcess:
        if self._worker is None:
            if self._unexpected_ends > self._patience.restarts:
                raise WorldFailed(
                    f"The AI worker has ended unexpectedly {self._unexpected_ends} times in a row",
                    advice="Run the self test; starting Isocenter again allows new runs",
                )
            self._worker = WorkerProcess(self._command, self._heard, self._ended)
            self._answered = False
            self._last_beat = time.monotonic()
        return self._worker

    def _heard(self, worker: WorkerProcess, message: Message) -> None:
        """From the reader thread of a worker."""
        self._inbox.put(lambda: self._hear(worker, message))

    def _ended(self, worker: WorkerProcess) -> None:
        """From the reader thread of a worker."""
        self._inbox.put(lambda: self._lost(worker))

    def _hear(self, worker: WorkerProcess, message: Message) -> None:
        if worker is not self._worker:
            return
        self._last_beat = time.monotonic()
        job = self._active
        if isinstance(message, Beat) or job is None or message.ticket != job.run.ticket:
            return
        self._last_progress = self._last_beat
        if isinstance(message, Progress):
            if job.cancel_by is None:
                _call(job.on_progress, message)
            return
        self._answered = True
        if job.cancel_by is not None:
            self._finish(job, Cancelled(job.run.ticket))
        elif isinstance(message, Done):
            self._unexpected_ends = 0
            self._finish(job, self._understood(job, message))
        elif isinstance(message, (Failed, Cancelled)):
            self._finish(job, message)

    def _understood(self, job: Job, done: Done) -> Outcome:
        try:
            return job.answer(job, done)
        except MemoryError:
            return Failed(job.run.ticket, "There is not enough memory for the model's answer")

    def _lost(self, worker: WorkerProcess) -> None:
        """The worker is gone without having been told to."""
        if worker is not self._worker:
            return
        self._worker = None
        self._unexpected_ends += 1
        words = worker.last_words()
        _log.warning("worker ended unexpectedly (%s)\n%s", worker.how_it_ended(), words)
        job = self._active
        if job is None:
            return
        if job.cancel_by is not None:
            self._finish(job, Cancelled(job.run.ticket))
            return
        what = f"The AI worker ended unexpectedly ({worker.how_it_ended()})"
        self._finish(job, Failed(job.run.ticket, what, "Your work is safe; try the run again"))

    def _cancel(self, run: Run) -> None:
        waiting, active = self._waiting, self._active
        if waiting is not None and waiting.run is run:
            self._waiting = None
            self._finish(waiting, Cancelled(run.ticket))
        elif active is not None and active.run is run and active.cancel_by is None:
            active.cancel_by = time.monotonic() + self._patience.cancel_s
            if self._worker is not None:
                self._worker.send(CancelRequest(run.ticket))

    def _next_look(self) -> float | None:
        """How long to wait for the next event; None while nothing can go wrong."""
        job = self._active
        if job is None:
            return None
        if job.cancel_by is not None:
            return max(0.0, job.cancel_by - time.monotonic())
        return min(0.25, self._patience.beat_s / 4, self._patience.stall_s / 4)

    def _watch(self) -> None:
        """Kill a worker that does not stop, gives no sign of life or gets nowhere."""
        job, now = self._active, time.monotonic()
        if job is None:
            return
        if job.cancel_by is not None:
            if now >= job.cancel_by:
                self._kill()
                self._finish(job, Cancelled(job.run.ticket))
        elif now - self._last_beat > self._silence_s():
            self._give_up(job, f"The AI worker gave no sign of life for {self._silence_s():g} s")
        elif now - self._last_progress > self._patience.stall_s:
            self._give_up(job, f"The model made no progress for {self._patience.stall_s:g} s")

    def _silence_s(self) -> float:
        """How long the worker may be silent now."""
        patience = self._patience
        return patience.beat_s if self._answered else max(patience.start_s, patience.beat_s)

    def _our_mistake(self, error: Exception) -> None:
        _log.error("the AI client made a mistake", exc_info=error)
        self._kill()
        job = self._active
        if job is not None:
            what = f"Isocenter made a mistake with this run ({type(error).__name__})"
            self._finish(job, Failed(job.run.ticket, what, "Your work is safe; see the log"))

    def _give_up(self, job: Job, what: str) -> None:
        self._unexpected_ends += 1
        self._kill()
        _log.warning("worker killed: %s", what)
        failed = Failed(job.run.ticket, f"{what} and was stopped", "Try the run again")
        self._finish(job, failed)

    def _kill(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()

    def _finish(self, job: Job, outcome: Outcome) -> None:
        """Give everything back, tell the end, let the next one in."""
        job.release()
        was_active = self._active is job
        if was_active:
            self._active = None
        _call(job.on_end, outcome)
        job.run._end(outcome)
        if was_active and not self._closed and self._waiting is not None:
            following, self._waiting = self._waiting, None
            self._begin(following)

    def _close(self) -> None:
        self._closed = True
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()
        for job in (self._waiting, self._active):
            if job is not None:
                self._finish(job, Cancelled(job.run.ticket))


def _call(function: Callable, argument: object) -> None:
    """A callback of ours that fails must not take the supervisor with it."""
    try:
        function(argument)
    except Exception:
        _log.exception("a callback of an AI run failed")
