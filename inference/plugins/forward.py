"""A pass of a network over a grid: whole or in tiles, with progress, cancel and a memory estimate.

The price of a pass is counted beforehand on a small cube. The counted multiplications then drive
the progress bar: each finished convolution is a step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from inference.devices import Step
from inference.model import Report
from inference.tiling import blend, plan_tiles

_CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_TRANSPOSED = (nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Price:
    """What a pass costs.

    Parameters
    ----------
    work : float
        Multiplications and additions.
    bytes : int
        Estimated peak of memory for activations.
    """

    work: float
    bytes: int


def price(network: nn.Module, shape: tuple[int, ...], multiple: int) -> Price:
    """The price of one pass over a ``(k, j, i)`` grid, whatever the number of channels.

    Counted on a small cube and scaled up: convolutions cost in proportion to their grid.
    (torch's ``meta`` device would count without computing, but imports for three seconds.)
    """
    work, largest = 0.0, 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal work, largest
        work += _work(module, inputs[0], output)
        largest = max(largest, (inputs[0].numel() + output.numel()) * 4)

    cube = np.zeros((input_channels(network), *(multiple,) * 3), np.float32)
    with _hooked(network, count):
        _pass(network, cube, str(next(network.parameters()).device))
    scale = float(np.prod(shape)) / multiple**3
    return Price(work * scale, int(2 * largest * scale))


def input_channels(network: nn.Module) -> int:
    """Channels the first convolution of a network takes."""
    first = next(m for m in network.modules() if isinstance(m, _CONVOLUTIONS))
    return int(first.in_channels)


def logits(
    network: nn.Module, channels: np.ndarray, step: Step, multiple: int, report: Report
) -> np.ndarray:
    """Logits of all outputs on the grid of the input, ``(outputs, k, j, i)``.

    Parameters
    ----------
    network : nn.Module
        Takes ``(1, c, k, j, i)``; moved to the device of the step where it is elsewhere.
    channels : ndarray, shape (c, k, j, i)
        float32, normalised.
    step : Step
        Device and tile edge.

    Raises
    ------
    RunCancelled
        From ``report.step``, at the next convolution.
    """
    network.to(step.device)
    shape = channels.shape[1:]
    if step.tile is None:
        with _progress(network, report, price(network, shape, multiple).work):
            return _pass(network, channels, step.device)
    tiles = plan_tiles(shape, step.tile, multiple)
    whole = price(network, tiles[0].shape, multiple).work * len(tiles)
    with _progress(network, report, whole):
        return blend(
            shape,
            tiles,
            lambda t: _pass(network, channels[(slice(None), *t.slices)], step.device),
        )


def plane_logits(
    network: nn.Module,
    planes: np.ndarray,
    device: str,
    report: Report,
    batch: int = 8,
    begin: float = 0.0,
    share: float = 1.0,
) -> np.ndarray:
    """Logits of a network of planes, ``(n, outputs, j, i)``.

    Parameters
    ----------
    network : nn.Module
        Takes ``(n, c, j, i)``.
    planes : ndarray, shape (n, c, j, i)
        float32, normalised; edges as the network wants them.
    device : str
        ``"cpu"`` or ``"cuda"``.
    batch : int
        Planes that go through at once.
    begin, share : float
        Progress told to ``report.step`` runs from ``begin`` to ``begin + share``.

    Raises
    ------
    RunCancelled
        From ``report.step``, between two batches.
    """
    network.to(device)
    answers = []
    for first in range(0, len(planes), batch):
        part = np.ascontiguousarray(planes[first : first + batch], np.float32)
        image = torch.from_numpy(part).to(device)
        with torch.inference_mode():
            output = network(image.contiguous(memory_format=torch.channels_last))
        answers.append(output.float().cpu().numpy())
        report.step(begin + share * min(1.0, (first + batch) / len(planes)))
    return np.concatenate(answers)


def _pass(network: nn.Module, channels: np.ndarray, device: str) -> np.ndarray:
    with torch.inference_mode():
        output = network(as_image(channels, device))
    return output[0].float().cpu().numpy()


def as_image(array: np.ndarray, device: str) -> torch.Tensor:
    """An image for a network, ``(1, c, ...)`` and channels last, on a device.

    Parameters
    ----------
    array : ndarray, shape (c, k, j, i), or (k, j, i) of one channel
    """
    several = array if array.ndim == 4 else array[None]
    image = torch.from_numpy(np.ascontiguousarray(several, np.float32))[None].to(device)
    return image.contiguous(memory_format=torch.channels_last_3d)


def _work(module: nn.Module, image: torch.Tensor, output: torch.Tensor) -> float:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    places = image if isinstance(module, _TRANSPOSED) else output
    return float(weight.numel()) * float(np.prod(places.shape[2:]))


_Hook = Callable[[nn.Module, tuple[torch.Tensor, ...], torch.Tensor], None]


@contextmanager
def _hooked(network: nn.Module, hook: _Hook) -> Iterator[None]:
    handles = [
        module.register_forward_hook(hook)
        for module in network.modules()
        if isinstance(module, _CONVOLUTIONS)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _progress(network: nn.Module, report: Report, whole: float) -> Iterator[None]:
    done = 0.0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal done
        done += _work(module, inputs[0], output)
        report.step(min(1.0, done / whole))

    with _hooked(network, count):
        yield
