"""Runs cards whose network is one of MONAI's: lesions in 3-D or by planes, or one answer per head.

Such models come out of the user's own trainings (:mod:`inference.training.own`) and out of the
presence model. Which of the three it is the card says: its kind, and ``dims`` and ``slices`` among
the arguments of its network.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from imaging.errors import BadInput
from inference.devices import CPU, Device, Step, climb_down, ladder
from inference.model import PRESENCE, Found, ModelCard, Prepared, Report
from inference.plugins.forward import as_image, plane_logits
from inference.plugins.gradcam import grad_cam
from inference.plugins.monai_nets import classifies, explained_layers, load
from inference.plugins.whole_head import WholeHead, sigmoid

__all__ = ["MonaiAnswer", "MonaiLesions", "MonaiPlanes", "as_planes", "make_runner"]

#: Key of the probability among the facts of a yes-or-no model.
PRESENT = "probability"


def make_runner(card: ModelCard, folder: Path, device: Device) -> MonaiLesions:
    """The runner that a card of MONAI's networks asks for.

    Raises
    ------
    BadInput
        Where kind and network of the card do not belong together, or the weights do not fit.
    """
    if classifies(card.architecture) != (card.kind == PRESENCE):
        raise BadInput(f"The network of '{card.name}' cannot answer what its card says", card.id)
    if card.kind == PRESENCE:
        return MonaiAnswer(card, folder, device)
    planes = card.arguments.get("dims", 3) == 2
    return (MonaiPlanes if planes else MonaiLesions)(card, folder, device)


class MonaiLesions(WholeHead):
    """One pass over the whole head."""

    def build(self, weights: Path) -> Any:
        """The network with folded normalisation."""
        arguments = self._arguments()
        edge = max(self.card.multiple, 32)
        network = load(self.card.architecture, arguments, weights, edge)
        shape = (1, arguments["inputs"], *(edge,) * arguments.get("dims", 3))
        self.layers = explained_layers(network, shape)
        return network

    def _arguments(self) -> dict[str, Any]:
        arguments = dict(self.card.arguments)
        arguments.setdefault("inputs", len(self.card.inputs))
        return arguments

    def find(self, prepared: Prepared, report: Report) -> Found:
        """Probability of a finding in each voxel."""
        output = sigmoid(self.logits(self.channels(prepared), report))
        return Found(output if len(output) > 1 else output[0])


class MonaiPlanes(MonaiLesions):
    """Axial planes, each with its neighbours as further channels (2.5-D)."""

    def _arguments(self) -> dict[str, Any]:
        arguments = super()._arguments()
        self._slices = int(arguments.pop("slices", 1))
        arguments["inputs"] *= self._slices
        return arguments

    def logits(self, channels: np.ndarray, report: Report, network: Any = None) -> np.ndarray:
        """Logits ``(outputs, k, j, i)``, plane by plane; memory is never short for a few planes."""
        planes = as_planes(channels, self._slices)
        used = self.network if network is None else network

        def run(step: Step) -> np.ndarray:
            return plane_logits(used, planes, step.device, report)

        output, self._step = climb_down(self._wholes(), run, report.note)
        return output.swapaxes(0, 1)

    def _wholes(self) -> list[Step]:
        return [step for step in ladder(self.device.kind) if step.tile is None]

    def heat(
        self, prepared: Prepared, target: np.ndarray, layer: str, report: Report
    ) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Grad-CAM plane by plane."""
        planes = as_planes(self.channels(prepared), self._slices)
        marked = np.flatnonzero(target.any(axis=(1, 2)))
        first, last = int(marked[0]), int(marked[-1])
        heat = np.zeros((last - first + 1, *target.shape[1:]), np.float32)
        name = self.layers.get(layer, layer)
        self.network.to(CPU)
        for number, k in enumerate(marked, 1):
            image = torch.from_numpy(np.ascontiguousarray(planes[k : k + 1]))
            heat[k - first] = grad_cam(self.network, image, target[k], name)
            report.step(number / len(marked))
        return heat, (first, 0, 0)


class MonaiAnswer(MonaiLesions):
    """One answer for the whole head: is anything there?"""

    def find(self, prepared: Prepared, report: Report) -> Found:
        """The probability goes into the facts; the map stays empty, since it says not where."""
        image = self.channels(prepared)

        def run(step: Step) -> float:
            self.network.to(step.device)
            with torch.inference_mode():
                return float(self.network(as_image(image, step.device))[0, 0])

        wholes = [step for step in ladder(self.device.kind) if step.tile is None]
        logit, self._step = climb_down(wholes, run, report.note)
        report.step(1.0)
        chance = float(sigmoid(np.array(logit)))
        facts = {PRESENT: round(chance, 4), "present": chance > self.card.threshold}
        return Found(np.zeros(prepared.array.shape, np.float32), facts=facts)

    def heat(
        self, prepared: Prepared, target: np.ndarray, layer: str, report: Report
    ) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Grad-CAM of the answer, over the whole head."""
        image = as_image(self.channels(prepared), CPU)
        self.network.to(CPU)
        whole = np.array(True)
        heat = grad_cam(self.network, image, whole, self.layers.get(layer, layer), "grad")
        report.step(1.0)
        return heat, (0, 0, 0)


def as_planes(channels: np.ndarray, slices: int) -> np.ndarray:
    """Planes with their neighbours as channels, ``(k, c * slices, j, i)``, of ``(c, k, j, i)``.

    The outermost planes are their own neighbours.
    """
    count, half = channels.shape[1], slices // 2
    near = [np.clip(np.arange(count) + d, 0, count - 1) for d in range(-half, half + 1)]
    stacked = np.stack([channels[:, n] for n in near], axis=1)
    return stacked.reshape(-1, *stacked.shape[2:]).swapaxes(0, 1)
