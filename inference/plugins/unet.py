"""A small 3-D U-Net with a stride-2 stem and one thin full-resolution block.

The network sees a whole head at 1 mm in one pass. Nearly all work happens at 2 mm and
coarser; the last block looks at the raw voxels again so that outlines stay sharp. Batch
normalisation is used because it can be folded into the convolutions: the folded network is
faster and gives the same answer on every engine.

The stages have names, so an explanation method can attach to them: ``stem``, ``encoder.0``
(4 mm) ... , ``bottleneck`` (the last encoder stage), ``decoder.0`` (coarsest) ... ,
``decoder.<last>`` (2 mm), ``full_resolution`` and ``head``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import nn

__all__ = ["UNet", "fold_batchnorm", "load_unet"]

SLOPE = 0.01


class ConvBlock(nn.Module):
    """Convolution, batch normalisation, leaky ReLU.

    Parameters
    ----------
    inputs, outputs : int
        Channels in and out.
    kernel : int
        Edge of the cubic kernel; padding keeps the size (for ``stride`` 1).
    stride : int
        2 halves the grid.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        padding = 0 if kernel == stride else kernel // 2
        self.conv = nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm: nn.Module = nn.BatchNorm3d(outputs)
        self.act = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block to ``(n, c, k, j, i)``."""
        return self.act(self.norm(self.conv(x)))


class DownStage(nn.Sequential):
    """Halve the grid, then refine."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(ConvBlock(inputs, outputs, 3, 2), ConvBlock(outputs, outputs))


class UpStage(nn.Module):
    """Double the grid, join the skip connection, refine."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.up = nn.ConvTranspose3d(inputs, outputs, 2, 2)
        self.refine = ConvBlock(2 * outputs, outputs)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Return the refined grid of ``skip``."""
        return self.refine(torch.cat([self.up(x), skip], dim=1))


class UNet(nn.Module):
    """Whole-volume segmentation network; every grid edge must be a multiple of 16.

    Parameters
    ----------
    inputs : int
        Image channels (1: FLAIR).
    outputs : int
        Logit maps.
    channels : sequence of int
        Channels at 2, 4, 8, 16 mm (for a 1 mm input).
    thin : int
        Channels of the full-resolution block.
    """

    def __init__(
        self,
        inputs: int = 1,
        outputs: int = 1,
        channels: Sequence[int] = (16, 32, 64, 96),
        thin: int = 8,
    ) -> None:
        super().__init__()
        self.arguments: dict[str, Any] = {
            "inputs": inputs,
            "outputs": outputs,
            "channels": list(channels),
            "thin": thin,
        }
        pairs = list(pairwise(channels))
        self.stem = nn.Sequential(
            ConvBlock(inputs, channels[0], 2, 2), ConvBlock(channels[0], channels[0])
        )
        self.encoder = nn.ModuleList(DownStage(a, b) for a, b in pairs[:-1])
        self.bottleneck = DownStage(*pairs[-1])
        self.decoder = nn.ModuleList(UpStage(b, a) for a, b in reversed(pairs))
        self.up = nn.ConvTranspose3d(channels[0], thin, 2, 2)
        self.full_resolution = ConvBlock(thin + inputs, thin)
        self.head = nn.Conv3d(thin, outputs, 1)

    @property
    def multiple(self) -> int:
        """Each grid edge must be a multiple of this."""
        return 2 ** (len(self.encoder) + 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``(n, outputs, k, j, i)`` for images ``(n, inputs, k, j, i)``."""
        skips = [self.stem(x)]
        for stage in self.encoder:
            skips.append(stage(skips[-1]))
        y = self.bottleneck(skips[-1])
        for stage in self.decoder:
            y = stage(y, skips.pop())
        return self.head(self.full_resolution(torch.cat([self.up(y), x], dim=1)))


@torch.no_grad()
def fold_batchnorm(network: UNet) -> UNet:
    """Fold every batch normalisation into its convolution, in place.

    Parameters
    ----------
    network : UNet
        Put into evaluation mode and changed.

    Returns
    -------
    UNet
        The same object, without normalisation layers; same answers up to rounding.
    """
    network.eval()
    for block in [m for m in network.modules() if isinstance(m, ConvBlock)]:
        norm = block.norm
        if not isinstance(norm, nn.BatchNorm3d):
            continue
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        block.conv.weight.mul_(scale[:, None, None, None, None])
        block.conv.bias = nn.Parameter(norm.bias - norm.running_mean * scale)
        block.norm = nn.Identity()
    return network


def load_unet(weights_path: str | Path, config: Mapping[str, Any]) -> UNet:
    """Build a folded network from a safetensors file.

    Parameters
    ----------
    weights_path : path
        Folded weights (no normalisation layers), float16 or float32; never code.
    config : mapping
        ``inputs``, ``outputs``, ``channels``, ``thin``, as under ``[network.arguments]`` of
        the model card. Unknown keys are refused.

    Returns
    -------
    UNet
        In evaluation mode, float32, channels last.

    Raises
    ------
    TypeError
        If ``config`` holds an unknown argument.
    RuntimeError
        If the weights do not fit the network.
    """
    from safetensors.torch import load_file

    network = fold_batchnorm(UNet(**config))
    state = {name: value.float() for name, value in load_file(str(weights_path)).items()}
    network.load_state_dict(state, strict=True)
    network.requires_grad_(False)
    return network.to(memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]
