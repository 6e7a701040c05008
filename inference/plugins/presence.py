"""Does this head hold white-matter lesions at all? A small residual network of MONAI.

It sees the whole head at 4 mm, and beside it what the restoring network of the deviation model
would take out at 2 mm, and gives one number, which is then calibrated. The last average of MONAI's
network is a soft maximum here: one small lesion must not drown in a healthy head.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from inference.devices import CPU, Step, climb_down, ladder
from inference.model import Found, Prepared, Report
from inference.plugins.forward import as_image
from inference.plugins.gradcam import grad_cam
from inference.plugins.monai_nets import build, folded
from inference.plugins.unet import UNet, fold_batchnorm
from inference.plugins.unlike import doubled, halved
from inference.plugins.whole_head import WholeHead, sigmoid

__all__ = ["ARCHITECTURE", "Presence", "SoftMaximum", "Sorter", "folded_sorter", "verdict"]

ARCHITECTURE = "monai:ResNet"
LAYERS = {"fine": "net.layer1", "coarse": "net.layer2"}
"""Submodules to explain at: places of 8 and of 16 mm."""
STRANGE = 5.0
"""What the restoring network takes out is shown to the residual network so many times enlarged."""
SPOT = 2.0
"""The same for how bright a spot is."""
SURE = 0.8
"""Above this probability, and below its complement, the answer is given without "unsure"."""


class SoftMaximum(nn.Module):
    """Log of the mean of exponentials over all places: between mean and maximum."""

    sharpness = 4.0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``(n, c, k, j, i)`` to ``(n, c)``."""
        flat = x.flatten(2) * self.sharpness
        count = torch.tensor(float(flat.shape[2]), dtype=flat.dtype, device=flat.device)
        return (torch.logsumexp(flat, 2) - count.log()) / self.sharpness


class Sorter(nn.Module):
    """The residual network, and the restoring network that shows it what is strange.

    Parameters
    ----------
    restorer : mapping
        Arguments of the restoring :class:`~inference.plugins.unet.UNet`.
    arguments : mapping
        Of MONAI's residual network; ``inputs`` says how many of the maps it gets, in the order of
        :meth:`seen`.
    """

    def __init__(self, restorer: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.restorer = fold_batchnorm(UNet(**restorer)).requires_grad_(False)
        self.net = build(ARCHITECTURE, arguments)
        self.net.avgpool = SoftMaximum()
        self.inputs = int(arguments["inputs"])

    def seen(self, x: torch.Tensor) -> torch.Tensor:
        """What the residual network gets of heads ``(n, 1, k, j, i)`` at 2 mm: maps at 4 mm.

        The head averaged, the most that the restoring network takes out of each cell, and by how
        much the brightest place of the cell outshines its surroundings of 1 cm: a lesion of a few
        voxels drowns in an average.
        """
        with torch.no_grad():
            output = self.restorer(x)
            strange = -STRANGE * output[:, :1] * torch.sigmoid(output[:, 1:])
            around = functional.avg_pool3d(x, 5, 1, 2, count_include_pad=False)
            spots = functional.max_pool3d((SPOT * (x - around)).clamp(-1, 2), 2)
            most = functional.max_pool3d(strange.clamp(-2, 3), 2)
            return torch.cat([functional.avg_pool3d(x, 2), most, spots], 1)[:, : self.inputs]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logit ``(n, 1)`` for heads ``(n, 1, k, j, i)`` at 2 mm."""
        return self.net(self.seen(x))


def folded_sorter(network: Sorter) -> Sorter:
    """Fold the normalisation of the residual network into its convolutions, in place."""
    folded(network.net, (1, network.inputs, 32, 32, 32))
    return network.requires_grad_(False).eval()


class Presence(WholeHead):
    """The model of kind ``presence``: one calibrated probability for the whole head."""

    layers: Mapping[str, str] = LAYERS

    def build(self, weights: Path) -> nn.Module:
        """The network with folded normalisation; the two numbers of calibration stay outside."""
        from safetensors.torch import load_file

        arguments = dict(self.card.arguments)
        self._slope = float(arguments.pop("slope", 1.0))
        self._offset = float(arguments.pop("offset", 0.0))
        network = Sorter(arguments.pop("restorer"), arguments)
        state = load_file(str(weights))
        network.load_state_dict(
            {n: v.float() if v.is_floating_point() else v for n, v in state.items()}
        )
        return folded_sorter(network)

    def find(self, prepared: Prepared, report: Report) -> Found:
        """The answer goes into the facts; the map stays empty, since it says not where."""
        image = halved(prepared.array)[None]

        def run(step: Step) -> float:
            self.network.to(step.device)
            with torch.inference_mode():
                return float(self.network(as_image(image, step.device))[0, 0])

        wholes = [step for step in ladder(self.device.kind) if step.tile is None]
        logit, self._step = climb_down(wholes, run, report.note)
        report.step(1.0)
        chance = float(sigmoid(np.array(self._slope * logit + self._offset)))
        empty = np.zeros(prepared.array.shape, np.float32)
        return Found(empty, facts=verdict(chance, self.card.threshold))

    def heat(
        self, prepared: Prepared, target: np.ndarray, layer: str, report: Report
    ) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Grad-CAM of the answer over the whole head, whatever is marked."""
        image = as_image(halved(prepared.array)[None], CPU)
        self.network.to(CPU)
        name = self.layers.get(layer, layer)
        heat = grad_cam(self.network, image, np.array(True), name)
        report.step(1.0)
        return doubled(heat, prepared.array.shape), (0, 0, 0)


def verdict(chance: float, threshold: float) -> dict[str, Any]:
    """Facts of an answer: the probability, what it means, and a sentence that says no more."""
    if chance >= SURE:
        answer, words = "present", "White-matter lesions are probably present"
    elif chance <= 1 - SURE:
        answer, words = "absent", "No sign of white-matter lesions"
    else:
        answer, words = "unsure", "It is unsure whether white-matter lesions are present"
    return {
        "probability": round(chance, 3),
        "present": chance > threshold,
        "verdict": answer,
        "sentences": [f"{words} (probability {chance:.0%})."],
    }
