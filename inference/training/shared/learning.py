"""What every training run shares: rate and step, averaged weights, statistics, checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

__all__ = [
    "average",
    "descend",
    "hold_statistics",
    "learning_mode",
    "learning_state",
    "set_rate",
    "settle",
    "take_learning_state",
    "write_checkpoint",
]


def set_rate(
    optimiser: torch.optim.Optimizer, rate: float, warmup: int, steps: int, progress: float
) -> None:
    """Set the learning rate: up over the first steps, then down along half a cosine.

    Parameters
    ----------
    rate : float
        The highest one.
    warmup, steps : int
        Steps of the rise, and steps so far.
    progress : float
        Share of the run already done, 0 to 1.
    """
    rate *= min(1.0, (steps + 1) / warmup)
    rate *= 0.5 + 0.5 * float(np.cos(np.pi * min(progress, 1.0)))
    for group in optimiser.param_groups:
        group["lr"] = max(rate, 1e-6)


def descend(
    loss: torch.Tensor, network: nn.Module, optimiser: torch.optim.Optimizer, clip: float
) -> None:
    """One step down the slope of a loss, the gradient of the network held below ``clip``."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(network.parameters(), clip)
    optimiser.step()


def learning_state(
    network: nn.Module, averaged: Mapping[str, torch.Tensor], optimiser: torch.optim.Optimizer
) -> dict[str, Any]:
    """What a checkpoint of any run holds of its weights."""
    return {
        "network": network.state_dict(),
        "averaged": dict(averaged),
        "optimiser": optimiser.state_dict(),
    }


def take_learning_state(
    state: Mapping[str, Any], network: nn.Module, optimiser: torch.optim.Optimizer
) -> dict[str, torch.Tensor]:
    """Go on from :func:`learning_state`; returns the averaged weights."""
    network.load_state_dict(state["network"])
    optimiser.load_state_dict(state["optimiser"])
    return state["averaged"]


@torch.no_grad()
def average(averaged: dict[str, torch.Tensor], network: nn.Module, steps: int, keep: float) -> None:
    """Move the averaged weights a little towards those of the network.

    Parameters
    ----------
    averaged : dict of Tensor
        Changed in place.
    steps : int
        Steps so far: early on less of the average is kept than ``keep``.
    """
    kept = min(keep, (1 + steps) / (10 + steps))
    for name, value in network.state_dict().items():
        if value.is_floating_point():
            averaged[name].lerp_(value, 1 - kept)
        else:
            averaged[name].copy_(value)


@torch.no_grad()
def settle(network: nn.Module, averaged: Mapping[str, torch.Tensor]) -> None:
    """Give batch normalisation its averaged statistics."""
    for name, value in network.named_buffers():
        value.copy_(averaged[name])


def hold_statistics(network: nn.Module) -> None:
    """Batch normalisation uses its statistics from here on, as the network will be used."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            module.eval()


def learning_mode(
    network: nn.Module, averaged: Mapping[str, torch.Tensor], steps: int, settled_from: int
) -> None:
    """Training mode; from a step on with settled statistics (:func:`settle`), as they are then."""
    network.train()
    if steps == settled_from:
        settle(network, averaged)
    if steps >= settled_from:
        hold_statistics(network)


def write_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint that is whole or not there."""
    aside = path.with_name(path.name + ".part")
    torch.save(dict(state), aside)
    os.replace(aside, path)
