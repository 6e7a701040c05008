"""What the worker does with a request: load the model once, prepare the volume once, answer.

torch is imported with the first request that needs it. No exception leaves :func:`answer`.
"""

from __future__ import annotations

import contextlib
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from imaging.errors import BadInput, ImagingError
from imaging.geometry import Box
from inference import devices, pipeline
from inference.card_reading import load_card
from inference.messages import (
    Cancelled,
    ClickRequest,
    DeviceRequest,
    Done,
    ExplainRequest,
    Failed,
    LoadRequest,
    Message,
    Progress,
    SegmentRequest,
)
from inference.model import (
    CARD_NAME,
    CLICK,
    ClickRunner,
    Clicks,
    Prepared,
    Report,
    RunCancelled,
    Runner,
    SourceImage,
)
from inference.pipeline import SHARES
from inference.registry import plugin_name
from inference.shared_arrays import SharedArray

#: Progress within a stage is told at most this often (seconds).
PROGRESS_S = 0.08
_START_SHARE = 0.05

Request = SegmentRequest | ExplainRequest | ClickRequest | LoadRequest | DeviceRequest


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
    """Does the requests; keeps the last model with its last prepared volume, and the click model.

    The click model is small and is asked again and again between long runs, so it has a place of
    its own.
    """

    def __init__(self) -> None:
        self._runner_key: tuple[str, ...] = ()
        self._runner: Runner | None = None
        self._prepared_key: tuple[str, ...] = ()
        self._prepared: Prepared | None = None
        self._prepared_notes: tuple[str, ...] = ()
        self._clicker_key: tuple[str, ...] = ()
        self._clicker: ClickRunner | None = None

    def segment(self, request: SegmentRequest, report: TicketReport) -> Done:
        """Fill probability, mask, the maps the model gives and perhaps the Grad-CAM."""
        begun = time.monotonic()
        body = SHARES["segment"] if request.heatmap is None else SHARES["segment+explain"]
        runner = self._ready(request, body, report)
        handles = (request.probability, request.mask, request.heatmap)
        with _opened(*handles, request.uncertainty, request.picture) as arrays:
            prepared = self._prepare(runner, request, report)
            facts, filled = pipeline.segment(
                runner, prepared, pipeline.Wanted(*arrays), request.layer, report
            )
        return self._done(runner, begun, report, facts, filled)

    def explain(self, request: ExplainRequest, report: TicketReport) -> Done:
        """Fill the Grad-CAM of the target."""
        begun = time.monotonic()
        runner = self._ready(request, SHARES["explain"], report)
        with _opened(request.target, request.heatmap) as (target, heat):
            prepared = self._prepare(runner, request, report)
            pipeline.explain(runner, prepared, target, request.start, heat, request.layer, report)
        return self._done(runner, begun, report)

    def click(self, request: ClickRequest, report: TicketReport) -> Done:
        """Fill the probability of the thing pointed at."""
        begun = time.monotonic()
        runner = self._click_runner(request.folder, request.device, report)
        report.stage("Following the click", 1.0)
        image = request.image
        handles = (image.voxels, request.scribble, request.previous, request.probability)
        with _opened(*handles) as (voxels, scribble, previous, found):
            values = pipeline.real_values(voxels, image.slope, image.intercept, report)
            box = request.box
            clicks = Clicks(
                SourceImage(values, image.matrix),
                tuple((k, j, i, int(sign)) for k, j, i, sign in request.points),
                None if box is None else Box((box[0], box[1], box[2]), (box[3], box[4], box[5])),
                scribble,
                None if previous is None else previous != 0,
            )
            np.clip(runner.click(clicks, report), 0.0, 1.0, out=found)
        return self._done(runner, begun, report)

    def load(self, request: LoadRequest, report: TicketReport) -> Done:
        """Have a model ready."""
        begun = time.monotonic()
        report.stage("Starting the model", 1.0)
        if load_card(Path(request.folder)).kind == CLICK:
            runner = self._click_runner(request.folder, request.device, report)
        else:
            runner = self._main_runner(request.folder, request.device, report)
        return self._done(runner, begun, report)

    def device(self, request: DeviceRequest, report: TicketReport) -> Done:
        """Say what a run would use."""
        report.stage("Looking for a device", 1.0)
        torch = _torch()
        device = devices.choose_device(request.device)
        facts = {
            "kind": device.kind,
            "torch": str(torch.__version__),
            "cuda": str(torch.version.cuda or ""),
            "threads": torch.get_num_threads(),
            "device_free_bytes": device.memory_bytes,
            "main_free_bytes": devices.available_memory_bytes() or 0,
        }
        notes = (device.note,) if device.note else ()
        return Done(request.ticket, device.words, 0.0, notes, facts)

    def _ready(
        self, request: SegmentRequest | ExplainRequest, body: float, report: TicketReport
    ) -> Runner:
        """The loaded model; plans the progress of what this run still has to do."""
        wanted = _runner_key(request.folder, request.device)
        loaded = self._runner is not None and self._runner_key == wanted
        prepared = loaded and self._prepared_key == _key(request)
        before = 0.0 if prepared else SHARES["prepare"]
        if loaded:
            report.expect(before + body)
        else:
            report.expect(_START_SHARE + before + body)
            report.stage("Starting the model", _START_SHARE)
        runner = self._main_runner(request.folder, request.device, report)
        if not loaded:
            report.restart_clock()
        return runner

    def _main_runner(self, folder: str, device: str, report: TicketReport) -> Runner:
        key = _runner_key(folder, device)
        if self._runner is not None and self._runner_key == key:
            return self._runner
        self._runner, self._prepared, self._prepared_key = None, None, ()
        runner: Runner = load_runner(Path(folder), device, report)
        self._runner, self._runner_key = runner, key
        return runner

    def _click_runner(self, folder: str, device: str, report: TicketReport) -> ClickRunner:
        key = _runner_key(folder, device)
        if self._clicker is not None and self._clicker_key == key:
            return self._clicker
        self._clicker = None
        clicker: ClickRunner = load_runner(Path(folder), device, report)
        self._clicker, self._clicker_key = clicker, key
        return clicker

    def _prepare(
        self, runner: Runner, request: SegmentRequest | ExplainRequest, report: TicketReport
    ) -> Prepared:
        key = _key(request)
        if self._prepared is None or key != self._prepared_key:
            self._prepared, self._prepared_key = None, ()
            images, before = request.images, len(report.notes)
            with _opened(*(image.voxels for image in images.values())) as arrays:
                stored = {
                    name: (voxels, image.matrix, image.slope, image.intercept)
                    for (name, image), voxels in zip(images.items(), arrays, strict=True)
                }
                self._prepared = pipeline.prepare(runner, stored, report)
            self._prepared_key, self._prepared_notes = key, tuple(report.notes[before:])
        else:  # what was seen in the image holds for every run on it
            for sentence in self._prepared_notes:
                report.note(sentence)
        return self._prepared

    def _done(
        self,
        runner: Runner | ClickRunner,
        begun: float,
        report: TicketReport,
        facts: Mapping[str, Any] | None = None,
        filled: tuple[str, ...] = (),
    ) -> Done:
        seconds = round(time.monotonic() - begun, 3)
        notes = tuple(report.notes)
        return Done(report.ticket, runner.device_words, seconds, notes, facts or {}, filled)


def load_runner(folder: Path, device: str, report: Report) -> Any:
    """The plug-in of a model folder with its weights, on a device.

    Raises
    ------
    BadInput
        Where card, weights or architecture are not right, or the device cannot be had.
    """
    card = load_card(folder)
    module, _, name = plugin_name(card).partition(":")
    _torch()
    chosen = devices.choose_device(device)
    if chosen.note:
        report.note(chosen.note)
    return getattr(import_module(module), name)(card, folder, chosen)


def _runner_key(folder: str, device: str) -> tuple[str, ...]:
    """What a loaded model was made of; a model installed anew in its folder is another one."""
    try:
        card = (Path(folder) / CARD_NAME).stat()
    except OSError:  # loading it says what is wrong
        return folder, device
    return folder, device, str(card.st_mtime_ns), str(card.st_size)


def _key(request: SegmentRequest | ExplainRequest) -> tuple[str, ...]:
    """What a prepared volume was made of."""
    parts = (f"{name}={image.key}" for name, image in sorted(request.images.items()))
    return (request.folder, *parts)


@contextlib.contextmanager
def _opened(*handles) -> Iterator[list]:
    """The arrays of some handles (None stays None), closed at the end."""
    with contextlib.ExitStack() as stack:
        shared = [stack.enter_context(SharedArray.open(h)) if h else None for h in handles]
        yield [s.array if s else None for s in shared]


def _torch():
    """Import torch, with as many threads as there are cores."""
    try:
        import torch
    except ImportError as error:
        raise BadInput(
            "The Python package 'torch' is not installed",
            advice="Install Isocenter with its 'ai' extra",
        ) from error
    torch.set_num_threads(devices.cores())
    return torch


def answer(engine: Engine, request: Request, report: TicketReport) -> Message:
    """Do a request; every failure becomes a sentence, no exception leaves."""
    try:
        if isinstance(request, SegmentRequest):
            return engine.segment(request, report)
        if isinstance(request, ExplainRequest):
            return engine.explain(request, report)
        if isinstance(request, ClickRequest):
            return engine.click(request, report)
        if isinstance(request, LoadRequest):
            return engine.load(request, report)
        return engine.device(request, report)
    except RunCancelled:
        return Cancelled(request.ticket)
    except ImagingError as error:
        what = f"{error.what}: {error.where}" if error.where else error.what
        return Failed(request.ticket, what, error.advice)
    except Exception as error:  # the wall: whatever it is, the window lives on
        traceback.print_exc(file=sys.stderr)
        if devices.is_out_of_memory(error):
            advice = "Close other programs or images and try again"
            return Failed(request.ticket, "The model ran out of memory", advice)
        return Failed(
            request.ticket,
            f"The model stopped with an unexpected error ({type(error).__name__})",
            "The details are in the log; run the self test, then try again",
        )
