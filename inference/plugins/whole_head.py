"""A network that sees the whole head in one pass: what all such models have in common.

Images in, logits out: resampling, several input channels, the ladder of devices and tiles, the
memory estimate, and Grad-CAM by pieces. A model of its own says how to build its network and what
its logits mean (:meth:`WholeHead.find`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from imaging.errors import BadInput
from imaging.geometry import Box
from inference.devices import (
    CPU,
    CPU_SHARE,
    Device,
    Step,
    available_memory_bytes,
    choose_device,
    climb_down,
    ladder,
)
from inference.model import PICTURE, Found, ModelCard, Prepared, Report, SourceImage
from inference.plugins.forward import as_image, logits, price
from inference.plugins.gradcam import grad_cam
from inference.plugins.unet import load_unet
from inference.preprocess import (
    intensity_landmarks,
    normalise,
    normalise_beside,
    other_to_model,
    to_model_grid,
)
from inference.weights import check_weights

#: What the user may ask for -> submodule: places of 4 mm, and of 16 mm.
LAYERS = {"fine": "decoder.1", "coarse": "bottleneck"}
#: Around a finding, so much of the head (mm) is looked at to explain it.
CONTEXT_MM = 24.0
#: A finding whose surroundings exceed such an edge (voxels) is explained in pieces of it; the
#: second is for little memory.
CROPS = (192, 128)
#: Memory of a pass with gradient, in passes without.
GRADIENT_PRICE = 2


class WholeHead:
    """A loaded network; see :class:`inference.model.Runner`.

    A subclass gives :meth:`find`, and other steps where it differs.

    Parameters
    ----------
    card, folder
        The model; its weights are compared with the card before they are parsed.
    device : Device
        From :func:`inference.devices.choose_device`.

    Raises
    ------
    BadInput
        Where the weights are not the card's, or do not fit the network.
    """

    #: Submodules for the two ways of looking of a Grad-CAM.
    layers: Mapping[str, str] = LAYERS

    def __init__(self, card: ModelCard, folder: Path, device: Device) -> None:
        self.card, self.folder, self.device = card, folder, device
        path = check_weights(card, folder)
        try:
            self.network = self.build(path)
        except (TypeError, RuntimeError, ValueError, KeyError) as error:
            raise BadInput(f"The weights of '{card.name}' do not fit its network") from error
        multiple = int(getattr(self.network, "multiple", card.multiple))
        if multiple > card.multiple or card.multiple % multiple:
            raise BadInput(f"The card of '{card.name}' must pad to {multiple} voxels")
        self._step = ladder(device.kind)[0]

    def build(self, weights: Path) -> Any:
        """The network with its weights, in evaluation mode."""
        return load_unet(weights, self.card.arguments)

    @property
    def grid_multiple(self) -> int:
        """Every edge of a grid that this network is given must be a multiple of this."""
        return self.card.multiple

    @property
    def device_words(self) -> str:
        """Where the last pass ran."""
        if self._step.device != self.device.kind:
            return choose_device(CPU).words
        return self.device.words

    def prepare(self, images: Mapping[str, SourceImage]) -> Prepared:
        """Resample and normalise; see :mod:`inference.preprocess`."""
        return prepare_images(self.card, images)

    def channels(self, prepared: Prepared) -> np.ndarray:
        """The input of the network, ``(c, k, j, i)``: the card's images in order, missing as 0."""
        return as_channels(self.card, prepared)

    def find(self, prepared: Prepared, report: Report) -> Found:
        """What the logits mean is for each model to say; a click model says nothing unasked."""
        raise BadInput(
            f"The model '{self.card.name}' only answers to what is pointed at",
            advice="Choose a model that looks at the whole head",
        )

    def logits(self, channels: np.ndarray, report: Report) -> np.ndarray:
        """Logits ``(outputs, k, j, i)`` of one pass, down the ladder where memory is short."""
        shape = channels.shape[1:]
        output, self._step = climb_down(
            ladder(self.device.kind),
            lambda step: logits(self.network, channels, step, self.card.multiple, report),
            report.note,
            lambda step: self._fits(step, shape),
        )
        return output

    def _fits(self, step: Step, shape: tuple[int, ...], passes: float = 1) -> bool:
        if step.device != CPU:
            return True
        free = available_memory_bytes()
        edge = step.tile or max(shape)
        tile = tuple(min(n, edge) for n in shape)
        need = price(self.network, tile, self.card.multiple).bytes
        return free is None or passes * need <= CPU_SHARE * free

    def heat(
        self, prepared: Prepared, target: np.ndarray, layer: str, report: Report
    ) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Grad-CAM of the marked voxels, by pieces where they lie far apart."""
        name = self.layers.get(layer, layer)
        channels = self.channels(prepared)
        pieces = self._pieces(target, report)
        bounds = Box((0, 0, 0), (0, 0, 0))
        heat = np.zeros(target.shape, np.float32)
        for number, (crop, wanted) in enumerate(pieces, 1):
            part = self._explained(channels[(slice(None), *crop.slices)], wanted, name, report)
            np.maximum(heat[crop.slices], part, out=heat[crop.slices])
            bounds = bounds.union(crop)
            report.step(number / len(pieces))
        return heat[bounds.slices], bounds.start

    def _explained(
        self, channels: np.ndarray, wanted: np.ndarray, layer: str, report: Report
    ) -> np.ndarray:
        steps = [s for s in ladder(self.device.kind) if s.tile is None]

        def run(step: Step) -> np.ndarray:
            self.network.to(step.device)
            return grad_cam(self.network, as_image(channels, step.device), wanted, layer)

        part, self._step = climb_down(steps, run, report.note)
        return part

    def _pieces(self, target: np.ndarray, report: Report) -> list[tuple[Box, np.ndarray]]:
        """Crops as large as memory allows."""
        large, small = CROPS
        pieces = self._cut(target, large)
        largest = max((crop.shape for crop, _ in pieces), key=math.prod)
        if self.device.kind == CPU and not self._fits(Step(CPU), largest, GRADIENT_PRICE):
            report.note("Little memory is free; the finding was explained in pieces.")
            return self._cut(target, small)
        return pieces

    def _cut(self, target: np.ndarray, edge: int) -> list[tuple[Box, np.ndarray]]:
        """Crops to explain one after the other, each with its own marked voxels.

        A finding that fits goes in one crop; larger ones are cut at a lattice of the crop's
        inner part, so each voxel is explained exactly once, with its surroundings.
        """
        whole = Box.around(target)
        margin = round(CONTEXT_MM / self.card.spacing_mm)
        inner = edge - 2 * margin
        pieces = []
        for part in _lattice(whole, inner):
            marked = target[part.slices]
            tight = Box.around(marked)
            if tight.empty:
                continue
            crop = self._crop(_moved(tight, part.start), margin, target.shape)
            wanted = np.zeros(target.shape, bool)
            wanted[part.slices] = marked
            pieces.append((crop, wanted[crop.slices]))
        return pieces

    def _crop(self, box: Box, margin: int, shape: tuple[int, ...]) -> Box:
        """A block with margin whose edges lie on the network's lattice."""
        m = self.card.multiple
        start = [max(0, (a - margin) // m * m) for a in box.start]
        stop = [min(n, -(-(b + margin) // m) * m) for b, n in zip(box.stop, shape, strict=True)]
        (a, b, c), (d, e, f) = start, stop
        return Box((a, b, c), (d, e, f))


def prepare_images(card: ModelCard, images: Mapping[str, SourceImage]) -> Prepared:
    """All images of a card, normalised, on the grid of the first required one.

    Parameters
    ----------
    images : mapping of str to SourceImage
        By the card's names; optional ones may be missing.

    Raises
    ------
    BadInput
        Where a required image is missing.
    """
    for need in card.required:
        if need.name not in images:
            raise BadInput(f"'{card.name}' needs the {need.sequence} image")
    first = card.required[0].name
    image = images[first]
    array, grid = to_model_grid(image.voxels, image.affine, card.spacing_mm, card.multiple)
    normal = normalise(array)
    others = {
        name: normalise_beside(other_to_model(other.voxels, other.affine, grid), normal)
        for name, other in images.items()
        if name != first
    }
    scale = intensity_landmarks(array) if PICTURE in card.maps else None
    return Prepared(normal, grid, others, scale)


def as_channels(card: ModelCard, prepared: Prepared) -> np.ndarray:
    """The images of a card in its order as ``(c, k, j, i)``; a missing one is all 0."""
    first = card.required[0].name
    missing = np.zeros(prepared.array.shape, np.float32)
    images = {first: prepared.array, **prepared.others}
    return np.stack([images.get(need.name, missing) for need in card.inputs])


def sigmoid(logits: np.ndarray) -> np.ndarray:
    """Probability of each logit by itself; float32 without overflow."""
    return 1.0 / (1.0 + np.exp(-np.clip(logits, -30, 30)))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities along the first axis, which add up to 1."""
    powers = np.exp(logits - logits.max(axis=0, keepdims=True))
    return powers / powers.sum(axis=0, keepdims=True)


def _lattice(box: Box, edge: int) -> list[Box]:
    """A block cut into parts of at most this edge, evenly."""
    if box.empty:
        return []
    axes = []
    for start, n in zip(box.start, box.shape, strict=True):
        count = -(-n // edge)
        cuts = [start + n * part // count for part in range(count + 1)]
        axes.append(list(pairwise(cuts)))
    return [
        Box((k[0], j[0], i[0]), (k[1], j[1], i[1]))
        for k in axes[0]
        for j in axes[1]
        for i in axes[2]
    ]


def _moved(box: Box, by: tuple[int, int, int]) -> Box:
    (a, b, c), (d, e, f) = box.start, box.stop
    k, j, i = by
    return Box((a + k, b + j, c + i), (d + k, e + j, f + i))
