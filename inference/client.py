"""The window's side of the wall: asks a model in another process, cancels, drops late answers.

Knows neither torch nor Qt. Voxels and results travel in shared memory, everything else in lines of
JSON; :mod:`inference.supervisor` watches over the worker.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from zlib import crc32

import numpy as np

from imaging.errors import BadInput
from imaging.geometry import Box
from imaging.segmentation import Provenance
from imaging.volume import Volume, filled_padding
from inference.messages import (
    ArrayHandle,
    Cancelled,
    ClickAnswer,
    ClickRequest,
    DeviceAnswer,
    DeviceRequest,
    Done,
    ExplainAnswer,
    ExplainRequest,
    Failed,
    Image,
    LoadAnswer,
    LoadRequest,
    Progress,
    SegmentAnswer,
    SegmentRequest,
)
from inference.model import CLICK, PICTURE, TISSUE, UNCERTAINTY, ModelCard
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
        others: Mapping[str, Volume] | None = None,
        device: str = "auto",
        explain: bool = False,
        layer: str = "fine",
        on_progress: OnProgress = _ignore,
        on_end: OnEnd = _ignore,
    ) -> Run:
        """Ask a model for its finding; ends with a SegmentAnswer, Failed or Cancelled.

        Parameters
        ----------
        volume : Volume
            The first image the card requires; the answer lies on its grid.
        others : mapping of str to Volume, optional
            Further images by the card's name for them (``"T1w"``); they are resampled to the
            first by patient coordinates, so they must share its frame of reference.
        device : str
            ``"auto"``, ``"cuda"`` or ``"cpu"``.
        explain : bool
            Also the Grad-CAM of the whole finding.
        layer : str
            ``"fine"`` or ``"coarse"``: how finely the Grad-CAM looks.

        Raises
        ------
        BadInput
            Where the model cannot run here, follows clicks instead, does not know one of the
            other images or lacks one.
        """
        _check_available(model)
        card = model.card
        if card.kind == CLICK:
            raise BadInput(f"'{card.name}' follows clicks; it does not search by itself")
        volumes = _inputs(card, volume, others or {})
        shape = volume.geometry.shape
        several = len(card.labels) > 1
        stack, kind = ((len(card.labels), *shape), "f2") if several else (shape, "f4")

        def request(job: Job) -> SegmentRequest:
            def block(name: str, wanted: bool) -> ArrayHandle | None:
                return job.share(name, SharedArray.create(shape, "f4")) if wanted else None

            return SegmentRequest(
                job.run.ticket,
                str(model.folder),
                _images(job, volumes),
                device,
                job.share("probability", SharedArray.create(stack, kind)),
                job.share("mask", SharedArray.create(shape, "u1")),
                block("heatmap", explain),
                layer,
                block(UNCERTAINTY, UNCERTAINTY in card.maps),
                block(PICTURE, PICTURE in card.maps),
            )

        def answer(job: Job, done: Done) -> SegmentAnswer:
            def filled(name: str) -> np.ndarray | None:
                return job.arrays[name].array.copy() if name in done.filled else None

            return SegmentAnswer(
                job.run.ticket,
                job.arrays["probability"].array.copy(),
                job.arrays["mask"].array.copy(),
                job.arrays["heatmap"].array.copy() if explain else None,
                _provenance(model, done, _settings(card, volumes)),
                done.notes,
                filled(UNCERTAINTY),
                filled(PICTURE),
                dict(done.facts),
                tuple((name, used.id) for name, used in volumes.items()),
            )

        return self._supervisor.submit(request, answer, on_progress, on_end)

    def explain(
        self,
        volume: Volume,
        model: InstalledModel,
        target: np.ndarray,
        *,
        others: Mapping[str, Volume] | None = None,
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
        others : mapping of str to Volume, optional
            As for :meth:`segment`: the images that took part in the finding.
        about : str
            What it explains, for example ``"lesion 3"``.

        Raises
        ------
        BadInput
            Where nothing is marked or the target is not on the volume's grid.
        """
        _check_available(model)
        volumes = _inputs(model.card, volume, others or {})
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
                _images(job, volumes),
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

    def click(
        self,
        volume: Volume,
        model: InstalledModel,
        crop: Box,
        points: Sequence[tuple[float, float, float, int]],
        *,
        box: Box | None = None,
        scribble: np.ndarray | None = None,
        previous: np.ndarray | None = None,
        device: str = "auto",
        on_progress: OnProgress = _ignore,
        on_end: OnEnd = _ignore,
    ) -> Run:
        """Ask a click model for the thing pointed at; ends with a ClickAnswer.

        Parameters
        ----------
        crop : Box
            The part of the volume to look at, in its indices; only this part travels.
        points : sequence of (k, j, i, sign)
            Indices of the volume; sign +1 "this", -1 "not this".
        box : Box, optional
            Drawn around the thing, in indices of the volume.
        scribble, previous : ndarray, shape (k, j, i) of the crop, optional
            +1, -1, 0 where something was said; non-zero where the mask is so far.

        Raises
        ------
        BadInput
            Where the model does not follow clicks, or the arrays are not those of the crop.
        """
        _check_available(model)
        if model.card.kind != CLICK:
            raise BadInput(f"'{model.card.name}' does not follow clicks")
        crop = crop.clipped(volume.geometry.shape)
        if crop.empty:
            raise BadInput("The place clicked lies outside the image", volume.name)
        for given in (scribble, previous):
            if given is not None and given.shape != crop.shape:
                raise BadInput("What was drawn is not on the part of the image looked at")
        k, j, i = crop.start
        moved = tuple((float(a - k), float(b - j), float(c - i), int(s)) for a, b, c, s in points)

        def request(job: Job) -> ClickRequest:
            def block(name: str, given: np.ndarray | None, dtype: type) -> ArrayHandle | None:
                if given is None:
                    return None
                return job.share(name, SharedArray.copy_of(given.astype(dtype)))

            return ClickRequest(
                job.run.ticket,
                str(model.folder),
                _cut_out(job, volume, crop),
                device,
                job.share("probability", SharedArray.create(crop.shape, "f4")),
                moved,
                None if box is None else _corners(box, crop),
                block("scribble", scribble, np.int8),
                block("previous", None if previous is None else previous != 0, np.uint8),
            )

        def answer(job: Job, done: Done) -> ClickAnswer:
            probability = job.arrays["probability"].array.copy()
            settings = (("threshold", f"{model.card.threshold:g}"), ("clicks", str(len(points))))
            return ClickAnswer(
                job.run.ticket,
                crop.start,
                probability,
                probability >= model.card.threshold,
                _provenance(model, done, settings),
                done.notes,
            )

        return self._supervisor.submit(request, answer, on_progress, on_end)

    def load(
        self,
        model: InstalledModel,
        device: str = "auto",
        *,
        on_progress: OnProgress = _ignore,
        on_end: OnEnd = _ignore,
    ) -> Run:
        """Have a model ready, so that the first question is quick; ends with a LoadAnswer."""
        _check_available(model)

        def request(job: Job) -> LoadRequest:
            return LoadRequest(job.run.ticket, str(model.folder), device)

        def answer(job: Job, done: Done) -> LoadAnswer:
            return LoadAnswer(done.ticket, done.device, done.notes)

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
    def busy(self) -> bool:
        """Whether a run is at work or waits; a new one would have to wait for it."""
        return self._supervisor.busy

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


def _inputs(card: ModelCard, volume: Volume, others: Mapping[str, Volume]) -> dict[str, Volume]:
    """All images by the card's name for them, in the card's order, the one with the grid first."""
    first = card.required[0].name
    known = {need.name for need in card.inputs}
    strange = [name for name in others if name not in known or name == first]
    if strange:
        raise BadInput(f"'{card.name}' has no use for another image '{strange[0]}'")
    given = {first: volume, **others}
    for need in card.required:
        if need.name not in given:
            raise BadInput(f"'{card.name}' also needs the {need.sequence} image of this study")
    order = [first, *(need.name for need in card.inputs if need.name != first)]
    return {name: given[name] for name in order if name in given}


def _images(job: Job, volumes: Mapping[str, Volume]) -> dict[str, Image]:
    return {name: _image(job, volume, f"voxels {name}") for name, volume in volumes.items()}


def _image(job: Job, volume: Volume, name: str) -> Image:
    """The voxels into shared memory, with a key that changes with the content."""
    shared = SharedArray.copy_of(
        _native(filled_padding(volume.voxels, volume.padding, volume.inverted))
    )
    handle = job.share(name, shared)
    affine = tuple(float(v) for v in volume.geometry.affine.ravel())
    mark = crc32(shared.array.data)
    grid = crc32(repr((affine, volume.slope, volume.intercept)).encode())
    key = f"{mark:08x}{grid:08x}-{handle.shape}-{handle.dtype}"
    return Image(handle, affine, float(volume.slope), float(volume.intercept), key)


def _cut_out(job: Job, volume: Volume, crop: Box) -> Image:
    """A part of the volume into shared memory; nobody keeps it, so it needs no key."""
    part = filled_padding(volume.voxels[crop.slices], volume.padding, volume.inverted)
    handle = job.share("voxels", SharedArray.copy_of(_native(part)))
    affine = tuple(float(v) for v in volume.geometry.cropped(crop).affine.ravel())
    return Image(handle, affine, float(volume.slope), float(volume.intercept), "")


def _corners(box: Box, crop: Box) -> tuple[int, ...]:
    """A box of the volume in indices of the cut-out, clipped to it."""
    start = (a - b for a, b in zip(box.start, crop.start, strict=True))
    stop = (a - b for a, b in zip(box.stop, crop.start, strict=True))
    (a, b, c), (d, e, f) = tuple(start), tuple(stop)
    inside = Box((a, b, c), (d, e, f)).clipped(crop.shape)
    return (*inside.start, *inside.stop)


def _native(voxels: np.ndarray) -> np.ndarray:
    """Numbers the other side can compute with, in this machine's byte order."""
    if voxels.dtype.kind not in "iufb":
        raise BadInput("The model needs an image of plain numbers, one per voxel")
    return voxels.astype(voxels.dtype.newbyteorder("="), copy=False)


def _settings(card: ModelCard, volumes: Mapping[str, Volume]) -> tuple[tuple[str, str], ...]:
    """What the draft was cut with (the threshold slider goes on from here), and from what."""
    first = next(iter(volumes.values()))
    settings: list[tuple[str, str]] = []
    if card.kind != TISSUE:
        settings += [
            ("threshold", f"{card.threshold:g}"),
            (MIN_VOXELS_SETTING, str(min_voxels(card, first.geometry))),
        ]
    if len(card.inputs) > 1:
        settings.append(("images", " + ".join(volumes)))
    return tuple(settings)


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
