"""The window's side of the wall: asks a model in another process, cancels, drops late answers.

Knows neither torch nor Qt. Voxels and results travel in shared memory, everything else in lines of
JSON; :mod:`inference.supervisor` watches over the worker.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from zlib import crc32

import numpy as np

from imaging.errors import BadInput
from imaging.geometry import Box, Geometry
from imaging.segmentation import Provenance
from imaging.volume import Volume, filled_padding
from inference.messages import (
    Cancelled,
    DeviceAnswer,
    DeviceRequest,
    Done,
    ExplainAnswer,
    ExplainRequest,
    Failed,
    Image,
    Progress,
    SegmentAnswer,
    SegmentRequest,
)
from inference.postprocess import MIN_VOXELS_SETTING, min_voxels
from inference.registry import InstalledModel
from inference.shared_arrays import SharedArray
from inference.supervisor import Job, OnEnd, OnProgress, Outcome, Patience, Run, Supervisor

__all__ = ["Cancelled", "Failed", "Outcome", "Patience", "Progress", "Run", "WorkerClient"]


def _ignore(_: object) -> None:
    """Told, and not interested."""


class WorkerClient:
    """Asks a model in another process; one run at a time, one may wait.

    The worker starts with the first question. Callbacks come on the client's own thread, in
    order: any number of progress messages, then exactly one end.

    Parameters
    ----------
    command : sequence of str, optional
        How to start the worker; by default this Python with ``-m inference.worker``.
    patience : Patience, optional
        When a worker counts as hung.
    """

    def __init__(
        self, command: Sequence[str] | None = None, patience: Patience | None = None
    ) -> None:
        self._supervisor = Supervisor(command, patience or Patience())

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

        def request(job: Job) -> SegmentRequest:
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

        def answer(job: Job, done: Done) -> SegmentAnswer:
            heat = job.arrays.get("heatmap")
            settings = _draft_settings(model, volume.geometry)
            return SegmentAnswer(
                job.run.ticket,
                job.arrays["probability"].array.copy(),
                job.arrays["mask"].array.copy(),
                None if heat is None else heat.array.copy(),
                _provenance(model, done, settings),
                done.notes,
            )

        return self._supervisor.submit(request, answer, on_progress, on_end)

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

        def request(job: Job) -> ExplainRequest:
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

        def answer(job: Job, done: Done) -> ExplainAnswer:
            settings = (("method", "Seg-XRes-CAM"), ("layer", layer), ("about", about))
            heat = job.arrays["heatmap"].array.copy()
            provenance = _provenance(model, done, settings)
            return ExplainAnswer(job.run.ticket, heat, about, provenance, done.notes)

        return self._supervisor.submit(request, answer, on_progress, on_end)

    def device(
        self,
        device: str = "auto",
        *,
        on_progress: OnProgress = _ignore,
        on_end: OnEnd = _ignore,
    ) -> Run:
        """Ask which device a run would use; ends with a DeviceAnswer."""

        def request(job: Job) -> DeviceRequest:
            return DeviceRequest(job.run.ticket, device)

        def answer(job: Job, done: Done) -> DeviceAnswer:
            return DeviceAnswer(done.ticket, done.device, dict(done.facts), done.notes)

        return self._supervisor.submit(request, answer, on_progress, on_end)

    def close(self, timeout: float = 3.0) -> None:
        """End all runs as cancelled and the worker with them. Calling it twice is harmless."""
        self._supervisor.close(timeout)

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker; None where none runs."""
        return self._supervisor.worker_pid

    def __enter__(self) -> WorkerClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _check_available(model: InstalledModel) -> None:
    if not model.available:
        raise BadInput(f"The model '{model.card.name}' cannot run: {model.reason}")


def _image(job: Job, volume: Volume) -> Image:
    """The voxels into shared memory, with a key that changes with the content."""
    shared = SharedArray.copy_of(
        _native(filled_padding(volume.voxels, volume.padding, volume.inverted))
    )
    handle = job.share("voxels", shared)
    affine = tuple(float(v) for v in volume.geometry.affine.ravel())
    mark = crc32(shared.array.data)
    grid = crc32(repr((affine, volume.slope, volume.intercept)).encode())
    key = f"{mark:08x}{grid:08x}-{handle.shape}-{handle.dtype}"
    return Image(handle, affine, float(volume.slope), float(volume.intercept), key)


def _native(voxels: np.ndarray) -> np.ndarray:
    """Numbers the other side can compute with, in this machine's byte order."""
    if voxels.dtype.kind not in "iufb":
        raise BadInput("The model needs an image of plain numbers, one per voxel")
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)


def _draft_settings(model: InstalledModel, geometry: Geometry) -> tuple[tuple[str, str], ...]:
    """What the draft was cut with; the threshold slider goes on from here."""
    return (
        ("threshold", f"{model.card.threshold:g}"),
        (MIN_VOXELS_SETTING, str(min_voxels(model.card, geometry))),
    )


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
