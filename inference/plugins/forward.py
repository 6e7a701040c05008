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

_CONVOLUTIONS = (nn.Conv3d, nn.ConvTranspose3d)


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
    """The price of one pass over a ``(k, j, i)`` grid of one image.

    Counted on a small cube and scaled up: convolutions cost in proportion to their grid.
    (torch's ``meta`` device would count without computing, but imports for three seconds.)
    """
    work, largest = 0.0, 0

    def count(module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal work, largest
        work += _work(module, inputs[0], output)
        largest = max(largest, (inputs[0].numel() + output.numel()) * 4)

    cube = np.zeros((multiple,) * 3, np.float32)
    with _hooked(network, count):
        _pass(network, cube, str(next(network.parameters()).device))
    scale = float(np.prod(shape)) / cube.size
    return Price(work * scale, int(2 * largest * scale))


def logits(
    network: nn.Module, array: np.ndarray, step: Step, multiple: int, report: Report
) -> np.ndarray:
    """Logits of the first output on the grid of the input.

    Parameters
    ----------
    network : nn.Module
        Takes ``(1, 1, k, j, i)``; moved to the device of the step where it is elsewhere.
    array : ndarray, shape (k, j, i)
        float32, normalised.
    step : Step
        Device and tile edge.

    Raises
    ------
    RunCancelled
        From ``report.step``, at the next convolution.
    """
    network.to(step.device)
    if step.tile is None:
        with _progress(network, report, price(network, array.shape, multiple).work):
            return _pass(network, array, step.device)
    tiles = plan_tiles(array.shape, step.tile, multiple)
    whole = price(network, tiles[0].shape, multiple).work * len(tiles)
    with _progress(network, report, whole):
        return blend(array.shape, tiles, lambda t: _pass(network, array[t.slices], step.device))


def _pass(network: nn.Module, array: np.ndarray, device: str) -> np.ndarray:
    with torch.inference_mode():
        output = network(as_image(array, device))
    return output[0, 0].float().cpu().numpy()


def as_image(array: np.ndarray, device: str) -> torch.Tensor:
    """A ``(k, j, i)`` array as a channels-last image ``(1, 1, k, j, i)`` on a device."""
    image = torch.from_numpy(np.ascontiguousarray(array, np.float32))[None, None].to(device)
    return image.contiguous(memory_format=torch.channels_last_3d)


def _work(module: nn.Module, image: torch.Tensor, output: torch.Tensor) -> float:
    weight = module.weight
    assert isinstance(weight, torch.Tensor)
    places = image if isinstance(module, nn.ConvTranspose3d) else output
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
