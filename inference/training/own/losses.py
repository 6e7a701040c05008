"""What is made small: MONAI's losses, each with a cross-entropy that keeps probabilities honest."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional

__all__ = ["make_loss"]

Loss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
#: Tversky: a missed voxel weighs this much, a wrongly marked one the rest to 1
#: (Salehi et al. 2017, arXiv 1706.05721).
MISSED = 0.7


def make_loss(name: str, classify: bool = False) -> Loss:
    """A loss of logits and labels of one shape.

    Parameters
    ----------
    name : str
        ``dice-ce``, ``focal`` (Dice and focal, Lin et al. 2017) or ``tversky``.
    classify : bool
        One logit per image: cross-entropy, or focal.
    """
    from monai import losses as of_monai

    losses: Any = of_monai  # its names come by star imports, which the type checker does not see

    if classify:
        if name == "focal":
            return losses.FocalLoss(gamma=2.0, use_softmax=False)
        return functional.binary_cross_entropy_with_logits
    if name == "focal":
        return losses.DiceFocalLoss(
            sigmoid=True, batch=True, gamma=2.0, smooth_nr=1.0, smooth_dr=1.0
        )
    if name == "tversky":
        tversky = losses.TverskyLoss(
            sigmoid=True, batch=True, alpha=1 - MISSED, beta=MISSED, smooth_nr=1.0, smooth_dr=1.0
        )

        def both(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            entropy = functional.binary_cross_entropy_with_logits(logits, label)
            return tversky(logits, label) + entropy

        return both
    return losses.DiceCELoss(sigmoid=True, batch=True, smooth_nr=1.0, smooth_dr=1.0)
