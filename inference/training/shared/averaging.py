"""What every training run shares: averaged weights, settled statistics, checkpoints."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

__all__ = ["average", "hold_statistics", "settle", "write_checkpoint"]


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


def write_checkpoint(state: Mapping[str, Any], path: Path) -> None:
    """Write a checkpoint that is whole or not there."""
    aside = path.with_name(path.name + ".part")
    torch.save(dict(state), aside)
    os.replace(aside, path)
