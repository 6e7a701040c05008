"""The other side of the wall: a polite child process in which torch lives.

Started by :mod:`inference.client` as ``python -m inference.worker``. It reads requests from
standard input and answers on standard output, one JSON line each; whatever libraries print goes to
standard error. It ends with its standard input, so it never outlives the window.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from inference.messages import (
    Beat,
    Cancelled,
    CancelRequest,
    DeviceRequest,
    Done,
    ExplainRequest,
    Failed,
    Message,
    Progress,
    SegmentRequest,
    decode,
    encode,
)

if TYPE_CHECKING:  # numpy comes after the first sign of life
    from inference.model import Runner

#: Seconds between two signs of life.
BEAT_S = 0.5
#: Progress within a stage is told at most this often.
PROGRESS_S = 0.08
_NICE = 10
_OOM_SCORE = 800
_START_SHARE = 0.05

_Work = SegmentRequest | ExplainRequest | DeviceRequest


class Link:
    """The way back to the window's process; may be used from any thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def send(self, message: Message) -> None:
        """Write one line. Where nobody listens any more, the process ends."""
        try:
            with self._lock:
                self._stream.write(encode(message) + "\n")
                self._stream.flush()
        except (OSError, ValueError):
            os._exit(0)


class TicketReport:
    """Progress of one run; see :class:`inference.model.Report`."""

    def __init__(
        self, ticket: str, send: Callable[[Message], None], cancelled: Callable[[], bool]
    ) -> None:
        self.ticket, self._send, self._cancelled = ticket, send, cancelled
        self.notes: list[str] = []
        self._words, self._before, self._share = "Starting", 0.0, 0.0
        self._total = 1.0
        self._told, self._highest = 0.0, 0.0
        self._clock, self._clock_at = time.monotonic(), 0.0

    def expect(self, total: float) -> None:
        """The shares of the stages to come add up to this."""
        self._total = total

    def restart_clock(self) -> None:
        """Judge the speed from here on: what was before happens once per program start."""
        self._clock = time.monotonic()
        self._clock_at = min(1.0, self._before + self._share)

    def stage(self, words: str, share: float) -> None:
        """Begin a stage."""
        self._before = min(1.0, self._before + self._share)
        self._words, self._share = words, share / self._total
        self._told = 0.0
        self.step(0.0)

    def step(self, fraction: float) -> None:
        """Tell, not too often; raises RunCancelled where the user wants to stop."""
        from inference.model import RunCancelled

        if self._cancelled():
            raise RunCancelled
        now = time.monotonic()
        if now - self._told < PROGRESS_S:
            return
        self._told = now
        self._highest = min(1.0, max(self._highest, self._before + self._share * fraction))
        self._send(Progress(self.ticket, self._words, self._highest, self._left(now)))

    def note(self, sentence: str) -> None:
        """Keep a sentence for the answer, once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def _left(self, now: float) -> float | None:
        done = self._highest - self._clock_at
        if done < 0.1:
            return None
        return round((now - self._clock) * (1 - self._highest) / done, 1)


class Engine:
    """Does the requests; keeps the last model and the last prepared volume."""

    def __init__(self) -> None:
        self._runner_key: tuple[str, ...] = ()
        self._runner: Runner | None = None
        self._prepared_key: tuple[str, ...] = ()
        self._prepared = None

    def segment(self, request: SegmentRequest, report: TicketReport) -> Done:
        """Fill probability, mask and perhaps the Grad-CAM of the whole finding."""
        from inference import pipeline
        from inference.pipeline import SHARES

        begun = time.monotonic()
        body = SHARES["segment"] if request.heatmap is None else SHARES["segment+explain"]
        runner = self._ready(request, body, report)
        with _opened(request.probability, request.mask, request.heatmap) as (found, mask, heat):
            prepared = self._prepare(runner, request, report)
            pipeline.segment(runner, prepared, found, mask, heat, request.layer, report)
        return self._done(runner, begun, report)

    def explain(self, request: ExplainRequest, report: TicketReport) -> Done:
        """Fill the Grad-CAM of the target."""
        from inference import pipeline
        from inference.pipeline import SHARES

        begun = time.monotonic()
        runner = self._ready(request, SHARES["explain"], report)
        with _opened(request.target, request.heatmap) as (target, heat):
            prepared = self._prepare(runner, request, report)
            pipeline.explain(runner, prepared, target, request.start, heat, request.layer, report)
        return self._done(runner, begun, report)

    def device(self, request: DeviceRequest, report: TicketReport) -> Done:
        """Say what a run would use."""
        from inference.devices import available_memory_bytes, choose_device

        report.stage("Looking for a device", 1.0)
        torch = _torch()
        device = choose_device(request.device)
        facts = {
            "kind": device.kind,
            "torch": str(torch.__version__),
            "cuda": str(torch.version.cuda or ""),
            "threads": torch.get_num_threads(),
            "device_free_bytes": device.memory_bytes,
            "main_free_bytes": available_memory_bytes() or 0,
        }
        notes = (device.note,) if device.note else ()
        return Done(request.ticket, device.words, 0.0, notes, facts)

    def _ready(
        self, request: SegmentRequest | ExplainRequest, body: float, report: TicketReport
    ) -> Runner:
        """The loaded model; plans the progress of what this run still has to do."""
        from inference.pipeline import SHARES

        runner = self._runner
        loaded = runner is not None and self._runner_key == (request.folder, request.device)
        prepared = loaded and self._prepared_key == (request.folder, request.image.key)
        before = 0.0 if prepared else SHARES["prepare"]
        if runner is not None and loaded:
            report.expect(before + body)
            return runner
        report.expect(_START_SHARE + before + body)
        report.stage("Starting the model", _START_SHARE)
        runner = self._load(request, report)
        report.restart_clock()
        return runner

    def _load(self, request: SegmentRequest | ExplainRequest, report: TicketReport) -> Runner:
        from importlib import import_module

        from inference.devices import choose_device
        from inference.model import load_card
        from inference.registry import plugin_name

        folder = Path(request.folder)
        card = load_card(folder)
        module, _, name = plugin_name(card).partition(":")
        _torch()
        device = choose_device(request.device)
        if device.note:
            report.note(device.note)
        self._runner, self._prepared, self._prepared_key = None, None, ()
        runner: Runner = getattr(import_module(module), name)(card, folder, device)
        self._runner, self._runner_key = runner, (request.folder, request.device)
        return runner

    def _prepare(self, runner, request: SegmentRequest | ExplainRequest, report: TicketReport):
        from inference import pipeline

        image = request.image
        key = (request.folder, image.key)
        if self._prepared is None or key != self._prepared_key:
            self._prepared, self._prepared_key = None, ()
            with _opened(image.voxels) as (voxels,):
                self._prepared = pipeline.prepare(
                    runner, voxels, image.matrix, image.slope, image.intercept, report
                )
            self._prepared_key = key
        return self._prepared

    def _done(self, runner, begun: float, report: TicketReport) -> Done:
        seconds = round(time.monotonic() - begun, 3)
        return Done(report.ticket, runner.device_words, seconds, tuple(report.notes))


@contextlib.contextmanager
def _opened(*handles) -> Iterator[list]:
    """The arrays of some handles (None stays None), closed at the end."""
    from inference.shared_arrays import SharedArray

    with contextlib.ExitStack() as stack:
        shared = [stack.enter_context(SharedArray.open(h)) if h else None for h in handles]
        yield [s.array if s else None for s in shared]


def _torch():
    """Import torch, with as many threads as there are cores."""
    try:
        import torch
    except ImportError as error:
        from imaging.errors import BadInput

        raise BadInput(
            "The Python package 'torch' is not installed",
            advice="Install Isocenter with its 'ai' extra",
        ) from error
    from inference.devices import cores

    torch.set_num_threads(cores())
    return torch


def answer(engine: Engine, request: _Work, report: TicketReport) -> Message:
    """Do a request; every failure becomes a sentence, no exception leaves."""
    from imaging.errors import ImagingError
    from inference.devices import is_out_of_memory
    from inference.model import RunCancelled

    try:
        if isinstance(request, SegmentRequest):
            return engine.segment(request, report)
        if isinstance(request, ExplainRequest):
            return engine.explain(request, report)
        return engine.device(request, report)
    except RunCancelled:
        return Cancelled(request.ticket)
    except ImagingError as error:
        what = f"{error.what}: {error.where}" if error.where else error.what
        return Failed(request.ticket, what, error.advice)
    except Exception as error:  # the wall: whatever it is, the window lives on
        traceback.print_exc(file=sys.stderr)
        if is_out_of_memory(error):
            advice = "Close other programs or images and try again"
            return Failed(request.ticket, "The model ran out of memory", advice)
        return Failed(
            request.ticket,
            f"The model stopped with an unexpected error ({type(error).__name__})",
            "The details are in the log; run the self test, then try again",
        )


class Inbox:
    """Requests as they come, read on a thread of its own so that a cancel is seen at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: queue.Queue[_Work] = queue.Queue()
        self._cancelled: set[str] = set()
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def next(self) -> _Work:
        """Wait for the next piece of work."""
        return self._waiting.get()

    def is_cancelled(self, ticket: str) -> bool:
        """Whether this run is to stop."""
        return ticket in self._cancelled

    def _read(self) -> None:
        for line in self._stream:
            message = decode(line)
            if isinstance(message, CancelRequest):
                self._cancelled.add(message.ticket)
            elif isinstance(message, _Work):
                self._waiting.put(message)
        os._exit(0)  # the window is gone or wants us gone; nothing here is worth keeping


def serve(link: Link, inbox: Inbox, engine: Engine) -> None:
    """One request after the other, for ever."""
    while True:
        request = inbox.next()
        ticket = request.ticket
        report = TicketReport(ticket, link.send, lambda ticket=ticket: inbox.is_cancelled(ticket))
        link.send(answer(engine, request, report))


def be_polite() -> None:
    """Let the window go first, and be the first to go when memory is short."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(_NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))


def private_output() -> TextIO:
    """Standard output for us alone; what others print goes to standard error."""
    ours = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(ours, "w", encoding="utf-8")


def main(engine: Engine | None = None) -> None:
    """Run the worker until its standard input ends."""
    link = Link(private_output())
    threading.Thread(target=_beat, args=(link,), name="beat", daemon=True).start()
    faulthandler.enable()
    be_polite()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    serve(link, Inbox(sys.stdin), engine or Engine())


def _beat(link: Link) -> None:
    while True:
        link.send(Beat(os.getpid()))
        time.sleep(BEAT_S)


if __name__ == "__main__":
    main()
