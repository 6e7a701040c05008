"""The window's side of the wall: starts the worker, asks, cancels, drops late answers.

Knows neither torch nor Qt. One supervisor thread owns the worker process and all state; everyone
else only drops closures into its inbox, so there is nothing to lock. Whatever happens to the
worker (crash, kill, hang), the run ends with a sentence and the window goes on.
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
from datetime import datetime
from uuid import uuid4
from zlib import crc32

import numpy as np

from imaging.errors import BadInput, ImagingError, WorldFailed
from imaging.geometry import Box
from imaging.segmentation import Provenance
from imaging.volume import Volume
from inference.messages import (
    Beat,
    Cancelled,
    CancelRequest,
    DeviceAnswer,
    DeviceRequest,
    Done,
    ExplainAnswer,
    ExplainRequest,
    Failed,
    Image,
    Message,
    Progress,
    SegmentAnswer,
    SegmentRequest,
)
from inference.process import WorkerProcess
from inference.registry import InstalledModel
from inference.shared_arrays import SharedArray

__all__ = ["Cancelled", "Failed", "Outcome", "Progress", "Run", "WorkerClient"]

Outcome = SegmentAnswer | ExplainAnswer | DeviceAnswer | Failed | Cancelled
OnProgress = Callable[[Progress], None]
OnEnd = Callable[[Outcome], None]

_log = logging.getLogger(__name__)


def _ignore(_: object) -> None:
    """Told, and not interested."""


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
class _Job:
    """A run with all it takes to ask and to understand the answer."""

    run: Run
    request: Callable[[_Job], SegmentRequest | ExplainRequest | DeviceRequest]
    answer: Callable[[_Job, Done], Outcome]
    on_progress: OnProgress
    on_end: OnEnd
    arrays: dict[str, SharedArray] = field(default_factory=dict)
    cancel_by: float | None = None

    def share(self, name: str, array: SharedArray):
        """Keep a block until the run ends; gives its handle."""
        self.arrays[name] = array
        return array.handle

    def release(self) -> None:
        """Remove all shared memory."""
        for array in self.arrays.values():
            array.close()
        self.arrays.clear()


class WorkerClient:
    """Asks a model in another process; one run at a time, one may wait.

    Callbacks come on the client's own thread, in order: any number of progress messages, then
    exactly one end.

    Parameters
    ----------
    command : sequence of str, optional
        How to start the worker; by default this Python with ``-m inference.worker``.
    beat_timeout_s : float
        A worker that gives no sign of life for so long is killed.
    stall_timeout_s : float
        A run without progress for so long is taken for hung, and its worker is killed.
    cancel_grace_s : float
        A worker that has not stopped by itself so long after a cancel is killed.
    max_restarts : int
        After so many unexpected ends in a row no new worker is started.
    """

    def __init__(
        self,
        command: Sequence[str] | None = None,
        *,
        beat_timeout_s: float = 20.0,
        stall_timeout_s: float = 300.0,
        cancel_grace_s: float = 0.3,
        max_restarts: int = 3,
    ) -> None:
        self._command = None if command is None else list(command)
        self._beat_timeout, self._stall_timeout = beat_timeout_s, stall_timeout_s
        self._cancel_grace, self._max_restarts = cancel_grace_s, max_restarts
        self._inbox: queue.Queue[Callable[[], None]] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._worker: WorkerProcess | None = None
        self._active: _Job | None = None
        self._waiting: _Job | None = None
        self._last_beat = self._last_progress = 0.0
        self._unexpected_ends = 0
        self._closed = False

    # ---- asking -------------------------------------------------------------------------------

    def segment(
        self,
        volume: Volume,
        model: InstalledModel,
        *,
        device: str = "auto",
        explain: bool = False,
        layer: str = "fine",
        on_progress: OnProgress = _ignore,
        on_end: OnEnd = _ignore,
    ) -> Run:
        """Ask a model for its finding; ends with a SegmentAnswer, Failed or Cancelled.

        Parameters
        ----------
        device : str
            ``"auto"``, ``"cuda"`` or ``"cpu"``.
        explain : bool
            Also the Grad-CAM of the whole finding.
        layer : str
            ``"fine"`` or ``"coarse"``: how finely the Grad-CAM looks.
        """
        _check_available(model)
        shape = volume.geometry.shape

        def request(job: _Job) -> SegmentRequest:
            heat = job.share("heatmap", SharedArray.create(shape, "f4")) if explain else None
            return SegmentRequest(
                job.run.ticket,
                str(model.folder),
                _image(job, volume),
                device,
                job.share("probability", SharedArray.create(shape, "f4")),
                job.share("mask", SharedArray.create(shape, "u1")),
                heat,
                layer,
            )

        def answer(job: _Job, done: Done) -> SegmentAnswer:
            heat = job.arrays.get("heatmap")
            settings = (("threshold", f"{model.card.threshold:g}"),)
            return SegmentAnswer(
                job.run.ticket,
                job.arrays["probability"].array.copy(),
                job.arrays["mask"].array.copy(),
                None if heat is None else heat.array.copy(),
                _provenance(model, done, settings),
                done.notes,
            )

        return self._submit(request, answer, on_progress, on_end)

    def explain(
        self,
        volume: Volume,
        model: InstalledModel,
        target: np.ndarray,
        *,
        about: str = "whole finding",
        layer: str = "fine",
        device: str = "auto",
        on_progress: OnProgress = _ignore,
        on_end: OnEnd = _ignore,
    ) -> Run:
        """Ask which evidence moved the marked voxels; ends with an ExplainAnswer.

        Parameters
        ----------
        target : ndarray, shape (k, j, i) of the volume
            Non-zero where to explain: one lesion, or the whole finding.
        about : str
            What it explains, for example ``"lesion 3"``.

        Raises
        ------
        BadInput
            Where nothing is marked or the target is not on the volume's grid.
        """
        _check_available(model)
        shape = volume.geometry.shape
        if target.shape != shape:
            raise BadInput("The marked voxels are not on the grid of the image", volume.name)
        box = Box.around(target != 0)
        if box.empty:
            raise BadInput("Nothing is marked", advice="Choose a lesion first")
        block = (target[box.slices] != 0).astype(np.uint8)

        def request(job: _Job) -> ExplainRequest:
            return ExplainRequest(
                job.run.ticket,
                str(model.folder),
                _image(job, volume),
                device,
                job.share("target", SharedArray.copy_of(block)),
                box.start,
                job.share("heatmap", SharedArray.create(shape, "f4")),
                layer,
            )

        def answer(job: _Job, done: Done) -> ExplainAnswer:
            settings = (("method", "Seg-XRes-CAM"), ("layer", layer), ("about", about))
            heat = job.arrays["heatmap"].array.copy()
            provenance = _provenance(model, done, settings)
            return ExplainAnswer(job.run.ticket, heat, about, provenance, done.notes)

        return self._submit(request, answer, on_progress, on_end)

    def device(
        self,
        device: str = "auto",
        *,
        on_progress: OnProgress = _ignore,
        on_end: OnEnd = _ignore,
    ) -> Run:
        """Ask which device a run would use; ends with a DeviceAnswer."""

        def request(job: _Job) -> DeviceRequest:
            return DeviceRequest(job.run.ticket, device)

        def answer(job: _Job, done: Done) -> DeviceAnswer:
            return DeviceAnswer(done.ticket, done.device, dict(done.facts), done.notes)

        return self._submit(request, answer, on_progress, on_end)

    def close(self, timeout: float = 3.0) -> None:
        """End all runs as cancelled and the worker with them. Calling it twice is harmless."""
        atexit.unregister(self.close)
        thread = self._thread
        if thread is None or not thread.is_alive():
            self._closed = True
            return
        self._inbox.put(self._close)
        thread.join(timeout)

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker; None where none runs."""
        worker = self._worker
        return worker.pid if worker is not None else None

    # ---- the supervisor thread ----------------------------------------------------------------

    def _submit(self, request, answer, on_progress: OnProgress, on_end: OnEnd) -> Run:
        if self._closed:
            raise WorldFailed("The program is closing; no new run can start")
        run = Run(uuid4().hex, lambda r: self._inbox.put(lambda: self._cancel(r)))
        job = _Job(run, request, answer, on_progress, on_end)
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="ai-client", daemon=True)
                self._thread.start()
                atexit.register(self.close)
        self._inbox.put(lambda: self._accept(job))
        return run

    def _serve(self) -> None:
        while not self._closed:
            with contextlib.suppress(queue.Empty):
                self._inbox.get(timeout=self._patience())()
            self._watch()

    def _accept(self, job: _Job) -> None:
        if self._active is None:
            self._begin(job)
        elif self._waiting is None:
            self._waiting = job
            _call(job.on_progress, Progress(job.run.ticket, "Waiting for the run before", 0.0))
        else:
            self._finish(
                job, Failed(job.run.ticket, "A model is running and another run waits already")
            )

    def _begin(self, job: _Job) -> None:
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
            if self._unexpected_ends > self._max_restarts:
                raise WorldFailed(
                    f"The AI worker has ended unexpectedly {self._unexpected_ends} times in a row",
                    advice="Run the self test; starting Isocenter again allows new runs",
                )
            self._worker = WorkerProcess(self._command, self._heard, self._ended)
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
        elif job.cancel_by is not None:
            self._finish(job, Cancelled(job.run.ticket))
        elif isinstance(message, Done):
            self._unexpected_ends = 0
            self._finish(job, self._understood(job, message))
        elif isinstance(message, (Failed, Cancelled)):
            self._finish(job, message)

    def _understood(self, job: _Job, done: Done) -> Outcome:
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
            active.cancel_by = time.monotonic() + self._cancel_grace
            if self._worker is not None:
                self._worker.send(CancelRequest(run.ticket))

    def _patience(self) -> float | None:
        """How long to wait for the next event; None while nothing can go wrong."""
        job = self._active
        if job is None:
            return None
        if job.cancel_by is not None:
            return max(0.0, job.cancel_by - time.monotonic())
        return min(0.25, self._beat_timeout / 4, self._stall_timeout / 4)

    def _watch(self) -> None:
        """Kill a worker that does not stop, gives no sign of life or gets nowhere."""
        job, now = self._active, time.monotonic()
        if job is None:
            return
        if job.cancel_by is not None:
            if now >= job.cancel_by:
                self._kill()
                self._finish(job, Cancelled(job.run.ticket))
        elif now - self._last_beat > self._beat_timeout:
            self._give_up(job, f"The AI worker gave no sign of life for {self._beat_timeout:g} s")
        elif now - self._last_progress > self._stall_timeout:
            self._give_up(job, f"The model made no progress for {self._stall_timeout:g} s")

    def _give_up(self, job: _Job, what: str) -> None:
        self._unexpected_ends += 1
        self._kill()
        _log.warning("worker killed: %s", what)
        failed = Failed(job.run.ticket, f"{what} and was stopped", "Try the run again")
        self._finish(job, failed)

    def _kill(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            worker.kill()

    def _finish(self, job: _Job, outcome: Outcome) -> None:
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


def _check_available(model: InstalledModel) -> None:
    if not model.available:
        raise BadInput(f"The model '{model.card.name}' cannot run: {model.reason}")


def _image(job: _Job, volume: Volume) -> Image:
    """The voxels into shared memory, with a key that changes with the content."""
    shared = SharedArray.copy_of(_native(volume.voxels))
    handle = job.share("voxels", shared)
    affine = tuple(float(v) for v in volume.geometry.affine.ravel())
    mark = crc32(memoryview(shared.array).cast("B"))
    grid = crc32(repr((affine, volume.slope, volume.intercept)).encode())
    key = f"{mark:08x}{grid:08x}-{handle.shape}-{handle.dtype}"
    return Image(handle, affine, float(volume.slope), float(volume.intercept), key)


def _native(voxels: np.ndarray) -> np.ndarray:
    """Numbers the other side can compute with, in this machine's byte order."""
    if voxels.dtype.kind not in "iufb":
        raise BadInput("The model needs an image of plain numbers, one per voxel")
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)


def _provenance(
    model: InstalledModel, done: Done, settings: tuple[tuple[str, str], ...]
) -> Provenance:
    return Provenance(
        algorithm=model.card.name,
        version=model.card.version,
        digest=model.card.weights_sha256,
        device=done.device,
        created=datetime.now().astimezone().isoformat(timespec="seconds"),
        seconds=done.seconds,
        settings=settings,
    )
