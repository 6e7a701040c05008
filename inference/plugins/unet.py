"""A small U-Net, 3-D or 2-D, with a stride-2 stem and one thin full-resolution block.

The 3-D network sees a whole head at 1 mm in one pass, the 2-D one a whole plane. Nearly all
work happens at 2 mm and coarser; the last block looks at the raw voxels again so that outlines
stay sharp. Batch normalisation is used because it can be folded into the convolutions: the
folded network is faster and gives the same answer on every engine.

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

__all__ = ["UNet", "fold_batchnorm", "load_unet", "memory_format"]

SLOPE = 0.01

#: Axes of the image -> convolution, its transpose, normalisation.
_LAYERS: dict[int, tuple[Any, Any, Any]] = {
    2: (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d),
    3: (nn.Conv3d, nn.ConvTranspose3d, nn.BatchNorm3d),
}


def memory_format(dims: int) -> torch.memory_format:
    """Channels last, which is the faster layout on every device for 2 or 3 axes."""
    return torch.channels_last_3d if dims == 3 else torch.channels_last


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
    dims : int
        3 for volumes, 2 for planes.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1, dims: int = 3
    ) -> None:
        super().__init__()
        convolution, _, normalisation = _LAYERS[dims]
        padding = 0 if kernel == stride else kernel // 2
        self.conv = convolution(inputs, outputs, kernel, stride, padding, bias=False)
        self.norm: nn.Module = normalisation(outputs)
        self.act = nn.LeakyReLU(SLOPE, inplace=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Apply the block to ``(n, c, k, j, i)``, or ``(n, c, j, i)`` for planes."""
        return self.act(self.norm(self.conv(x)))


class DownStage(nn.Sequential):
    """Halve the grid, then refine."""

    def __init__(self, inputs: int, outputs: int, dims: int = 3) -> None:
        super().__init__(
            ConvBlock(inputs, outputs, 3, 2, dims), ConvBlock(outputs, outputs, dims=dims)
        )


class UpStage(nn.Module):
    """Double the grid, join the skip connection, refine."""

    def __init__(self, inputs: int, outputs: int, dims: int = 3) -> None:
        super().__init__()
        self.up = _LAYERS[dims][1](inputs, outputs, 2, 2)
        self.refine = ConvBlock(2 * outputs, outputs, dims=dims)

    def forward(self, x: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """Return the refined grid of ``skip``."""
        return self.refine(torch.cat([self.up(x), skip], dim=1))


class UNet(nn.Module):
    """Segmentation network of a whole grid; every edge must be a multiple of 16.

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
    dims : int
        3 for volumes ``(k, j, i)``, 2 for planes ``(j, i)``.
    """

    def __init__(
        self,
        inputs: int = 1,
        outputs: int = 1,
        channels: Sequence[int] = (16, 32, 64, 96),
        thin: int = 8,
        dims: int = 3,
    ) -> None:
        super().__init__()
        if dims not in _LAYERS:
            raise TypeError(f"a network of {dims} dimensions is not known")
        self.dims = dims
        self.arguments: dict[str, Any] = {
            "inputs": inputs,
            "outputs": outputs,
            "channels": list(channels),
            "thin": thin,
            "dims": dims,
        }
        pairs = list(pairwise(channels))
        self.stem = nn.Sequential(
            ConvBlock(inputs, channels[0], 2, 2, dims),
            ConvBlock(channels[0], channels[0], dims=dims),
        )
        self.encoder = nn.ModuleList(DownStage(a, b, dims) for a, b in pairs[:-1])
        self.bottleneck = DownStage(*pairs[-1], dims)
        self.decoder = nn.ModuleList(UpStage(b, a, dims) for a, b in reversed(pairs))
        self.up = _LAYERS[dims][1](channels[0], thin, 2, 2)
        self.full_resolution = ConvBlock(thin + inputs, thin, dims=dims)
        self.head = _LAYERS[dims][0](thin, outputs, 1)

    @property
    def multiple(self) -> int:
        """Each grid edge must be a multiple of this."""
        return 2 ** (len(self.encoder) + 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits ``(n, outputs, …)`` for images ``(n, inputs, …)`` of the same grid."""
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
        if not isinstance(norm, (nn.BatchNorm2d, nn.BatchNorm3d)):
            continue
        assert norm.running_mean is not None
        assert norm.running_var is not None
        scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
        block.conv.weight.mul_(scale.reshape(-1, *(1 for _ in block.conv.weight.shape[1:])))
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
        ``inputs``, ``outputs``, ``channels``, ``thin``, ``dims``, as under
        ``[network.arguments]`` of the model card. Unknown keys are refused.

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
    return network.to(memory_format=memory_format(network.dims)).eval()  # type: ignore[call-overload]
