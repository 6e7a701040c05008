"""What normal would look like, and where this head differs: a second opinion, never a mask.

A network that learned to take planted things out of heads again repaints the head at 2 mm, twice
over; that is the picture of normal. The map needs a second witness: a place counts where the
network takes something out *and* the image differs in the same direction from the restored tissue
around (`inference.plugins.unlike`). Both are measured in robust spreads over the brain of this very
image. The map is their geometric mean over twenty, at most 1: 0.5 means ten spreads. It says
"unlike what I learned", not "ill".

The facts hold a further opinion: how unlike its mirror image on the other side a place is.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from imaging.errors import BadInput
from inference.model import Found, Prepared, Report
from inference.plugins.unet import UNet, fold_batchnorm
from inference.plugins.unlike import doubled, halved, inside, measured
from inference.plugins.whole_head import WholeHead

__all__ = ["PASSES", "SCALE", "Deviation", "Restored", "asymmetry", "brain_or_inside"]

SCALE = 20.0
"""Spreads at which the map is 1."""
PASSES = 2
"""How often the head is repainted: one pass leaves a fifth of a lesion."""
BRAIN_ML = (600.0, 2200.0)
"""A brain outside these limits was not recognised (a child's is never asked about)."""
STRIPPED_ML, SCALP_MM = 1900.0, 14.0
"""A head smaller than this is a stripped brain; else so much of its outside is no brain."""
LEAST_SPREAD = 0.01
"""Smaller spreads (normalised units) between the sides are rounding, not anatomy."""
MIRROR_LEAST = 0.5
"""Correlation of the brain with its mirror image below which sides are not compared."""


class Restored(nn.Module):
    """The restoring network, applied :data:`PASSES` times.

    Parameters
    ----------
    arguments : mapping
        Of :class:`~inference.plugins.unet.UNet`, with two outputs.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__()
        self.net = fold_batchnorm(UNet(**arguments))

    @property
    def multiple(self) -> int:
        """Edges of the 1 mm grid; the network itself sees every second millimetre."""
        return 2 * self.net.multiple

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What is to be added to the head, and the logit of brain: ``(n, 2, k, j, i)``."""
        first = self.net(x)
        change, brain = first[:, :1], first[:, 1:]
        for _ in range(PASSES - 1):
            change = change + self.net(x + change)[:, :1]
        return torch.cat([change, brain], 1)


class Deviation(WholeHead):
    """The model of kind ``deviation``."""

    def build(self, weights: Path) -> Restored:
        """The network in evaluation mode."""
        from safetensors.torch import load_file

        network = Restored(**self.card.arguments)
        state = {name: value.float() for name, value in load_file(str(weights)).items()}
        network.net.load_state_dict(state, strict=True)
        network.requires_grad_(False)
        return network.to(memory_format=torch.channels_last_3d).eval()  # type: ignore[call-overload]

    def find(self, prepared: Prepared, report: Report) -> Found:
        """Map, picture of normal, and what is to be said about the study."""
        coarse = halved(prepared.array)
        output = self.logits(coarse[None], report)
        brain, known = brain_or_inside(coarse, output[1])
        if not known:
            report.note("The brain was not recognised; the map covers the inside of the head.")
        shape = prepared.array.shape
        deviation = measured(prepared.array, output, brain)
        mirrored, symmetry = asymmetry(coarse, brain)
        mirrored = doubled(mirrored, shape)
        facts = _facts(deviation, mirrored, symmetry, brain, self.card.threshold)
        for sentence in _warnings(facts):
            report.note(sentence)
        change = np.where(brain, output[0], np.float32(0))
        picture = np.clip(prepared.array + doubled(change, shape), -1, 2)
        chance = np.clip(np.abs(deviation) / SCALE, 0, 1)
        return Found(chance.astype(np.float32), picture=picture, facts=facts)

    def heat(
        self, prepared: Prepared, target: np.ndarray, layer: str, report: Report
    ) -> tuple[np.ndarray, tuple[int, int, int]]:
        """A map of deviation explains itself by the picture beside it."""
        raise BadInput(
            "This model explains itself by its picture of normal, not by Grad-CAM",
            advice="Look at the picture of normal beside the image",
        )


def brain_or_inside(image: np.ndarray, logit: np.ndarray) -> tuple[np.ndarray, bool]:
    """The brain at 2 mm, and whether the network recognised it.

    Where its size cannot be that of a brain, the inside of the head is taken instead; nothing
    where the image shows no head.
    """
    brain = brain_of(logit)
    if BRAIN_ML[0] <= brain.sum() * 0.008 <= BRAIN_ML[1]:
        return brain, True
    head = brain_of(image + 0.9)
    if head.sum() * 0.008 < BRAIN_ML[0]:
        return np.zeros(image.shape, bool), False
    if head.sum() * 0.008 > STRIPPED_ML:
        depth: Any = ndimage.distance_transform_edt(head)
        head = np.asarray(depth * 2 > SCALP_MM, bool)
    return head, False


def brain_of(logit: np.ndarray) -> np.ndarray:
    """The largest piece of what is above 0, holes filled."""
    found: Any = ndimage.label(ndimage.binary_opening(logit > 0))
    pieces, count = found
    if not count:
        return np.zeros(logit.shape, bool)
    largest = 1 + int(np.argmax(np.bincount(pieces.ravel())[1:]))
    grown = np.asarray(ndimage.binary_dilation(pieces == largest), bool) & (logit > 0)
    return np.asarray(ndimage.binary_fill_holes(grown), bool)


def asymmetry(image: np.ndarray, brain: np.ndarray) -> tuple[np.ndarray, float]:
    """How much brighter each place is than its mirror place, in robust spreads.

    The mirror plane is found by shift and turn (about the superior axis) of the flipped picture;
    small differences of form are allowed for by comparing with the most alike of the neighbours
    within 4 mm.

    Returns
    -------
    ndarray, shape (k, j, i)
        0 outside the brain, and everywhere where the sides are not comparable.
    float
        Correlation of the brain with its mirror image.
    """
    nothing = np.zeros(image.shape, np.float32)
    if brain.sum() < 1000:
        return nothing, 0.0
    soft = np.where(brain, ndimage.gaussian_filter(image, 0.7), np.float32(-1))
    mirror, score = _mirrored(soft, brain)
    if score < MIRROR_LEAST:
        return nothing, score
    low, high = (f(mirror, size=5) for f in (ndimage.minimum_filter, ndimage.maximum_filter))
    difference = np.where(soft > high, soft - high, np.minimum(soft - low, 0))
    inner = inside(brain)
    level = soft - mirror
    spread = 1.4826 * float(np.median(np.abs(level[inner] - np.median(level[inner]))))
    return np.where(inner, difference / max(spread, LEAST_SPREAD), 0).astype(np.float32), score


def _mirrored(soft: np.ndarray, brain: np.ndarray) -> tuple[np.ndarray, float]:
    """The flipped picture where it fits best, and its correlation with the picture."""
    middle = np.array(ndimage.center_of_mass(brain))
    points = np.argwhere(brain)[::17].astype(np.float64)
    here = soft[tuple(points[::1].astype(int).T)]

    def flipped(at: np.ndarray, shift: float, yaw: float, roll: float) -> np.ndarray:
        normal = np.array([np.sin(roll), np.sin(yaw), 1.0])
        normal /= np.linalg.norm(normal)
        off = (at - middle) @ normal - shift
        return at - 2 * off[:, None] * normal

    def agreement(values: np.ndarray) -> float:
        there = ndimage.map_coordinates(soft, flipped(points, *values).T, order=1, cval=-1)
        return float(np.corrcoef(here, there)[0, 1]) if there.std() > 0 else 0.0

    best = np.zeros(3)
    score = agreement(best)
    for width in (3.0, 1.0, 0.4, 0.2):
        for _ in range(4):
            before = score
            for axis, unit in enumerate((1.0, 0.03, 0.03)):
                for sign in (-1, 1):
                    trial = best.copy()
                    trial[axis] += sign * width * unit
                    value = agreement(trial)
                    if value > score:
                        best, score = trial, value
            if score == before:
                break
    grid = np.indices(soft.shape).reshape(3, -1).T.astype(np.float64)
    there = ndimage.map_coordinates(soft, flipped(grid, *best).T, order=1, cval=-1)
    return there.reshape(soft.shape).astype(np.float32), score


def _facts(
    deviation: np.ndarray,
    mirrored: np.ndarray,
    symmetry: float,
    brain: np.ndarray,
    threshold: float,
) -> dict[str, Any]:
    """Measured numbers about the study; deviation and mirrored at 1 mm, the brain at 2 mm."""
    ml = 1.0 / 1000
    brain_ml = float(brain.sum()) * 8 * ml
    marked = np.abs(deviation) > threshold * SCALE
    sided = np.abs(mirrored) > 3
    return {
        "brain_ml": round(brain_ml, 1),
        "deviating_ml": round(float(marked.sum()) * ml, 2),
        "brighter_ml": round(float((marked & (deviation > 0)).sum()) * ml, 2),
        "darker_ml": round(float((marked & (deviation < 0)).sum()) * ml, 2),
        "share_of_brain": round(float(marked.sum()) * ml / max(brain_ml, ml), 4),
        "mirror_correlation": round(symmetry, 3),
        "unlike_other_side_ml": round(float(sided.sum()) * ml, 2),
        "deviating_and_unlike_other_side_ml": round(float((marked & sided).sum()) * ml, 2),
    }


def _warnings(facts: dict[str, Any]) -> list[str]:
    notes = []
    if facts["brain_ml"] < 300:
        notes.append("Little brain was found in this image; the map means little.")
    if facts["share_of_brain"] > 0.1:
        notes.append(
            "More than a tenth of the brain is unlike what the model learned: the image as a "
            "whole is probably unusual for it, not its content."
        )
    if facts["mirror_correlation"] < MIRROR_LEAST:
        notes.append("The two sides could not be compared.")
    return notes
