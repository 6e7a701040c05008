"""A network of planes run through a volume: three directions, one probability.

Real FLAIR planes of hundreds of patients exist where volumes of two do. The network sees one
plane at a time; every second plane of each direction is enough at 1 mm, the others lie between
their neighbours. The mean of the directions is the probability. Planes of air are left out.

Runs any card whose architecture is ``planes``. ``[network.arguments]`` holds what
`inference.plugins.unet` wants, and ``directions``, a list out of axial, coronal, sagittal.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from imaging.geometry import Box
from inference.devices import climb_down, ladder
from inference.model import Found, Prepared, Report
from inference.plugins.forward import plane_logits
from inference.plugins.unet import UNet, load_unet
from inference.plugins.whole_head import WholeHead, sigmoid

__all__ = ["DIRECTIONS", "Planes", "plane_probability"]

#: Direction -> axis of the model grid the planes are cut across.
DIRECTIONS = {"axial": 0, "coronal": 1, "sagittal": 2}
#: Every so many planes of a direction one goes through the network.
STEP = 2
#: A plane with fewer pixels of head than this is air.
HEAD_PIXELS = 60
HEAD_LEVEL = -0.9


class Planes(WholeHead):
    """A network of planes as a model of volumes."""

    directions: tuple[str, ...] = tuple(DIRECTIONS)

    @property
    def grid_multiple(self) -> int:
        """Any grid will do: each plane is padded by itself."""
        return 1

    def build(self, weights: Path) -> Any:
        """The network with its weights; the directions are the card's."""
        arguments: Mapping[str, Any] = dict(self.card.arguments)
        self.directions = tuple(arguments.pop("directions", DIRECTIONS))  # type: ignore[attr-defined]
        if not self.directions or not set(self.directions) <= set(DIRECTIONS):
            raise ValueError("unknown direction of planes")
        return load_unet(weights, arguments)

    def find(self, prepared: Prepared, report: Report) -> Found:
        """All planes of all directions; from the graphics card to the processor where it must."""
        steps = [step for step in ladder(self.device.kind) if step.tile is None]
        chance, self._step = climb_down(
            steps,
            lambda step: plane_probability(
                self.network, prepared.array, self.directions, report, step.device
            ),
            report.note,
        )
        return Found(chance[0])

    def heat(
        self, prepared: Prepared, target: np.ndarray, layer: str, report: Report
    ) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Grad-CAM (Seg-XRes-CAM) of the marked pixels, axial plane by axial plane."""
        name = self.layers.get(layer, layer)
        self.network.to(self.device.kind)
        heat = np.zeros(target.shape, np.float32)
        wanted = np.nonzero(target.any(axis=(1, 2)))[0]
        for done, k in enumerate(wanted, 1):
            padded, inner = _padded(prepared.array[k][None], self.network.multiple)
            place = np.zeros(padded.shape[1:], bool)
            place[inner] = target[k]
            image = torch.from_numpy(padded[:, None]).to(self.device.kind)
            heat[k] = plane_cam(self.network, image, place, name)[inner]
            report.step(done / len(wanted))
        block = Box.around(heat > 0)
        if block.empty:
            block = Box.around(target)
        return heat[block.slices], block.start


def plane_probability(
    network: UNet,
    array: np.ndarray,
    directions: tuple[str, ...],
    report: Report,
    device: str = "cpu",
    step: int = STEP,
) -> np.ndarray:
    """Probability of every output on the grid of the volume.

    Parameters
    ----------
    network : UNet
        Of planes, in evaluation mode.
    array : ndarray, shape (k, j, i)
        Normalised, on the model grid.
    directions : tuple of str
        Out of `DIRECTIONS`; their mean is the answer.
    step : int
        Every so many planes one goes through the network.

    Returns
    -------
    ndarray, shape (outputs, k, j, i)
        float32 in [0, 1].

    Raises
    ------
    RunCancelled
        From ``report.step``, between two batches.
    """
    outputs = int(network.head.out_channels)
    total = np.zeros((outputs, *array.shape), np.float32)
    share = 1.0 / len(directions)
    for number, name in enumerate(directions):
        axis = DIRECTIONS[name]
        stack = np.moveaxis(array, axis, 0)
        picked = _picked(stack, step)
        if not len(picked):
            continue
        planes, inner = _padded(stack[picked], network.multiple)
        answer = plane_logits(network, planes[:, None], device, report, 8, number * share, share)
        chance = sigmoid(answer[(slice(None), slice(None), *inner)]).astype(np.float32)
        for output in range(outputs):
            between = _between(chance[:, output], picked, len(stack))
            total[output] += np.moveaxis(between, 0, axis) * np.float32(share)
    return total


def _picked(stack: np.ndarray, step: int) -> np.ndarray:
    """Numbers of the planes that go through the network: those with head, first and last too."""
    head = np.count_nonzero(stack > HEAD_LEVEL, axis=(1, 2)) >= HEAD_PIXELS
    inside = np.nonzero(head)[0]
    return inside[::step] if len(inside) < 2 else np.union1d(inside[::step], inside[-1:])


def _between(chance: np.ndarray, picked: np.ndarray, count: int) -> np.ndarray:
    """Planes that did not go through lie between their neighbours; air has no lesion."""
    result = np.zeros((count, *chance.shape[1:]), np.float32)
    result[picked] = chance
    for n in range(len(picked) - 1):
        first, last = int(picked[n]), int(picked[n + 1])
        for k in range(first + 1, min(last, first + 2 * STEP)):
            share = np.float32((k - first) / (last - first))
            result[k] = chance[n] * (1 - share) + chance[n + 1] * share
    return result


def _padded(planes: np.ndarray, multiple: int) -> tuple[np.ndarray, tuple[slice, slice]]:
    """Planes with air around them so that every edge fits the network, and where they lie."""
    edges, inner = [(0, 0)], []
    for size in planes.shape[1:]:
        missing = -size % multiple
        edges.append((missing // 2, missing - missing // 2))
        inner.append(slice(missing // 2, missing // 2 + size))
    padded = np.pad(planes, edges, constant_values=-1.0).astype(np.float32)
    return padded, (inner[0], inner[1])


def plane_cam(
    network: nn.Module, image: torch.Tensor, target: np.ndarray, layer: str
) -> np.ndarray:
    """Evidence for the marked pixels of one plane, as `inference.plugins.gradcam` for volumes.

    Parameters
    ----------
    image : Tensor, shape (1, 1, rows, columns)
    target : ndarray, shape (rows, columns)
        bool.
    layer : str
        Name of a submodule.

    Returns
    -------
    ndarray
        float32, ``(rows, columns)``, not negative; not scaled.
    """
    kept: list[torch.Tensor] = []

    def begin_graph(_module: nn.Module, _inputs: object, output: torch.Tensor) -> torch.Tensor:
        kept.append(output.detach().requires_grad_(True))
        return kept[-1]

    handle = network.get_submodule(layer).register_forward_hook(begin_graph)
    try:
        with torch.enable_grad():
            output = network(image)
            scalar = output[0, 0][torch.from_numpy(target).to(image.device)].sum()
            (gradient,) = torch.autograd.grad(scalar, kept[-1])
    finally:
        handle.remove()
    heat = functional.relu((gradient * kept[-1]).sum(dim=1, keepdim=True))
    heat = functional.interpolate(heat, image.shape[2:], mode="bilinear", align_corners=False)
    return heat[0, 0].detach().float().cpu().numpy()
