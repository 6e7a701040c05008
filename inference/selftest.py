"""Does this computer do what Isocenter needs? Device, driver, memory, models, disk, a real run.

Every check says what it found in words and, where something is wrong, what to do about it. torch
is asked in the worker process only. The app adds its own check of the rendering.
"""

from __future__ import annotations

import importlib.util
import math
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from imaging.geometry import Geometry
from imaging.volume import Source, Volume
from inference.client import Outcome, Run, WorkerClient
from inference.devices import available_memory_bytes, cores
from inference.messages import DeviceAnswer, SegmentAnswer
from inference.model import CLICK, LESIONS
from inference.registry import InstalledModel, installed_models, user_folder

#: Less free main memory than this makes whole-head runs doubtful.
ENOUGH_MEMORY_BYTES = 2 * 2**30
#: Less free disk space than this endangers saving.
ENOUGH_DISK_BYTES = 2**30
#: The worker must answer within this time (a cold start on a busy computer is slow).
ANSWER_S = 120.0

_AI_REMEDY = "Install Isocenter with its 'ai' extra, then run the self test again."


@dataclass(frozen=True)
class Check:
    """One finding.

    Parameters
    ----------
    ok : bool
        False needs the user's attention.
    words : str
        What was found.
    remedy : str
        What to do; empty where all is well.
    figures : mapping
        The numbers behind the words, for ``--json``.
    """

    name: str
    ok: bool
    words: str
    remedy: str = ""
    figures: Mapping[str, object] = field(default_factory=dict)


def run_selftest(
    report: Callable[[Check], None] = lambda check: None, client: WorkerClient | None = None
) -> list[Check]:
    """Do all checks, one after the other.

    Parameters
    ----------
    report : callable
        Told each check as soon as it is done, on the caller's thread.
    client : WorkerClient, optional
        Ask through this one; by default through a new one that is closed at the end.
    """
    if client is None:
        with WorkerClient() as own:
            return run_selftest(report, own)
    checks = []
    for check in _checks(client):
        report(check)
        checks.append(check)
    return checks


def _checks(client: WorkerClient) -> Iterator[Check]:
    gpus = nvidia_gpus()
    yield driver_check(gpus)
    yield memory_check(available_memory_bytes())
    models = installed_models()
    yield models_check(models)
    yield device_check(client, bool(gpus))
    yield run_check(client, quick_model(models))
    yield writing_check(user_folder().parent)


@dataclass(frozen=True)
class Gpu:
    """An NVIDIA card as its driver describes it."""

    name: str
    driver: str
    memory_bytes: int


def nvidia_gpus() -> list[Gpu]:
    """All NVIDIA cards the driver knows; empty without a driver. Imports no torch."""
    if importlib.util.find_spec("pynvml") is not None:
        found = _gpus_from_library()
        if found:
            return found
    return _gpus_from_tool()


def _gpus_from_library() -> list[Gpu]:
    import pynvml  # type: ignore[import-not-found]

    try:
        pynvml.nvmlInit()
        driver = _text(pynvml.nvmlSystemGetDriverVersion())
        handles = [pynvml.nvmlDeviceGetHandleByIndex(n) for n in range(pynvml.nvmlDeviceGetCount())]
        return [
            Gpu(
                _text(pynvml.nvmlDeviceGetName(h)),
                driver,
                int(pynvml.nvmlDeviceGetMemoryInfo(h).total),
            )
            for h in handles
        ]
    except pynvml.NVMLError:
        return []


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _gpus_from_tool() -> list[Gpu]:
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    query = "--query-gpu=name,driver_version,memory.total"
    try:
        answer = subprocess.run(
            [tool, query, "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return gpus_from_csv(answer.stdout)


def gpus_from_csv(text: str) -> list[Gpu]:
    """Parse ``name, driver, MiB`` lines of ``nvidia-smi``; lines it does not know are skipped."""
    found = []
    for line in text.splitlines():
        parts = [part.strip() for part in line.split(",")]
        if len(parts) == 3 and parts[2].isdecimal():
            found.append(Gpu(parts[0], parts[1], int(parts[2]) * 2**20))
    return found


def driver_check(gpus: list[Gpu]) -> Check:
    """Which NVIDIA driver and cards there are; none is no failure."""
    if not gpus:
        return Check("Driver", True, "No NVIDIA driver found; models run on the CPU.")
    names = ", ".join(f"{g.name} ({g.memory_bytes / 2**30:.0f} GB)" for g in gpus)
    figures = {"driver": gpus[0].driver, "gpus": [g.name for g in gpus]}
    return Check("Driver", True, f"NVIDIA driver {gpus[0].driver}: {names}.", "", figures)


def memory_check(free: int | None) -> Check:
    """Whether a whole head fits into the free main memory."""
    if free is None:
        return Check("Memory", True, "The system does not say how much memory is free.")
    ok = free >= ENOUGH_MEMORY_BYTES
    remedy = "" if ok else "Close other programs; models fall back to small tiles and get slow."
    words = f"{free / 2**30:.1f} GB of main memory free."
    return Check("Memory", ok, words, remedy, {"free_bytes": free, "cores": cores()})


def models_check(models: list[InstalledModel]) -> Check:
    """Which models are installed and whether they can run."""
    ready = [m.card.id for m in models if m.available]
    broken = {m.card.id: m.reason for m in models if not m.available}
    figures = {"available": ready, "not_available": broken}
    if not models:
        remedy = "Install Isocenter again."
        return Check("Models", False, "No model is installed.", remedy, figures)
    words = f"{len(ready)} of {len(models)} models can run."
    if broken:
        reasons = " ".join(f"{name}: {reason}" for name, reason in broken.items())
        return Check("Models", False, f"{words} {reasons}", _AI_REMEDY, figures)
    return Check("Models", True, words, "", figures)


def device_check(client: WorkerClient, has_gpu: bool) -> Check:
    """What a run would use, as torch in the worker sees it."""
    outcome = _outcome(client.device("auto"))
    if not isinstance(outcome, DeviceAnswer):
        return Check("Device", False, _words(outcome), _AI_REMEDY)
    unused = has_gpu and outcome.facts.get("kind") != "cuda"
    remedy = ""
    if unused:
        remedy = "Install a torch build for CUDA and a current NVIDIA driver to use the GPU."
    words = " ".join([f"Models run on {outcome.words}.", *outcome.notes])
    return Check("Device", not unused, words, remedy, outcome.facts)


def quick_model(models: Sequence[InstalledModel]) -> InstalledModel | None:
    """The model to try: of those that mark findings, else of all, the one that costs least."""
    usable = [model for model in models if model.available and model.card.kind != CLICK]
    return min(usable, key=_trial_rank, default=None)


def _trial_rank(model: InstalledModel) -> tuple[bool, int, float]:
    card = model.card
    return card.kind != LESIONS, len(card.members), float(card.cost.get("cpu_seconds", math.inf))


def run_check(client: WorkerClient, model: InstalledModel | None) -> Check:
    """A real run of a model on a small phantom, through the worker."""
    if model is None:
        return Check("Model run", False, "There is no model that can run.", _AI_REMEDY)
    volume = phantom()
    outcome = _outcome(client.segment(volume, model))
    if not isinstance(outcome, SegmentAnswer):
        return Check("Model run", False, _words(outcome), _AI_REMEDY)
    sound = outcome.mask.shape == volume.geometry.shape and bool(
        np.isfinite(outcome.probability).all()
    )
    marked_ml = float((outcome.mask > 0).sum()) * volume.geometry.voxel_ml
    figures = {"seconds": outcome.provenance.seconds, "marked_ml": round(marked_ml, 3)}
    words = f"{model.card.name} ran in {outcome.provenance.seconds:.1f} s on a phantom."
    if not sound:
        return Check("Model run", False, f"{words} Its answer is not sound.", _AI_REMEDY, figures)
    return Check("Model run", True, " ".join([words, *outcome.notes]), "", figures)


def _outcome(run: Run) -> Outcome | None:
    outcome = run.wait(ANSWER_S)
    run.cancel()
    return outcome


def _words(outcome: object) -> str:
    sentence = getattr(outcome, "sentence", "")
    return sentence or f"The AI worker gave no answer within {ANSWER_S:.0f} s."


def writing_check(folder: Path) -> Check:
    """Whether the data folder takes a file, and how much room is left."""
    remedy = f"Make {folder} writable or free some disk space."
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".selftest-") as stream:
            stream.write(b"isocenter")
            stream.flush()
            os.fsync(stream.fileno())
        free = shutil.disk_usage(folder).free
    except OSError as error:
        reason = error.strerror or type(error).__name__
        words = f"The data folder cannot be written ({reason})."
        return Check("Writing", False, words, remedy, {"folder": str(folder)})
    ok = free >= ENOUGH_DISK_BYTES
    words = f"The data folder is writable; {free / 2**30:.1f} GB free."
    figures = {"folder": str(folder), "free_bytes": free}
    return Check("Writing", ok, words, "" if ok else remedy, figures)


def phantom() -> Volume:
    """A head of ellipsoids with bright spots in its white matter, 2 mm; made by code."""
    shape = (80, 96, 80)
    affine = np.eye(4)[[2, 1, 0, 3]] @ np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    geometry = Geometry(shape, affine)
    x, y, z = np.moveaxis(geometry.world(np.moveaxis(np.indices(shape), 0, -1)), -1, 0)

    def ellipsoid(a: float, b: float, c: float, at=(0.0, 0.0, 0.0)) -> np.ndarray:
        return ((x - at[0]) / a) ** 2 + ((y - at[1]) / b) ** 2 + ((z - at[2]) / c) ** 2 < 1

    image = np.random.default_rng(0).normal(0, 6, shape)
    image[ellipsoid(66, 84, 70)] += 340  # grey matter
    image[ellipsoid(56, 74, 60)] -= 60  # white matter
    for side in (-1, 1):
        image[ellipsoid(7, 26, 9, (side * 14, 0, 8))] -= 220  # ventricles
        image[ellipsoid(4, 6, 4, (side * 28, 14, 14))] += 220  # lesions
    voxels = image.astype(np.float32)
    return Volume("phantom", "Phantom", voxels, geometry, Source("memory", sequence="FLAIR"))
