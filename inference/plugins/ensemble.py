"""The thorough choice: a network of volumes, seen twice, and a network of planes, together.

The card names its members and nothing else: each member keeps its own folder, card and weights.
The probabilities of the members (the network of volumes also on the head mirrored left to right)
are averaged and then calibrated by two numbers of the card (Platt scaling of the mean logit).

Two kinds of doubt go into the uncertainty of a voxel, half each: how near the calibrated
probability is to a coin's (binary entropy in bits), and how far the members are apart (twice
their standard deviation). One number for the whole mask is the soft Dice confidence: the Dice the
model expects of its own mask if its probabilities are right (Borges et al. 2024,
arXiv 2402.10665).

Runs any card whose architecture is ``ensemble``. ``[network.arguments]``: ``slope`` and ``offset``
of the calibration, and ``mirrored``, the ids of members that also see the mirrored head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import lcm
from pathlib import Path
from typing import Any

import numpy as np

from imaging.analysis.morphology import draft_mask
from imaging.errors import BadInput
from inference.devices import Device
from inference.model import Found, ModelCard, Prepared, Report, SourceImage
from inference.plugins.whole_head import prepare_images, sigmoid
from inference.reports import Part
from inference.weights import member_folder

__all__ = ["Ensemble", "calibrated", "case_facts", "doubt", "logit", "soft_dice_confidence"]

#: Members further apart than this (standard deviation of the probability) disagree.
APART = 0.2
#: Soft Dice confidence from which the words say high, and moderate.
HIGH, MODERATE = 0.8, 0.6


class Ensemble:
    """Members loaded side by side; see :class:`inference.model.Runner`."""

    def __init__(self, card: ModelCard, folder: Path, device: Device) -> None:
        from importlib import import_module

        from inference.card_reading import load_card
        from inference.registry import plugin_name
        from inference.weights import check_all_weights

        if not card.members:
            raise BadInput(f"The card of '{card.name}' names no members")
        self.card, self.device = card, device
        check_all_weights(card, folder)
        known = {"slope", "offset", "mirrored"}
        arguments = dict(card.arguments)
        if set(arguments) - known:
            raise BadInput(f"The card of '{card.name}' has unknown arguments of its network")
        self.slope = float(arguments.get("slope", 1.0))
        self.offset = float(arguments.get("offset", 0.0))
        self.mirrored = tuple(arguments.get("mirrored", ()))
        self.members: list[Any] = []
        for member in card.members:
            place = member_folder(folder, member)
            other = load_card(place)
            module, _, name = plugin_name(other).partition(":")
            self.members.append(getattr(import_module(module), name)(other, place, device))
        # One grid for all: its edges must suit the member that asks for most.
        needs = (getattr(member, "grid_multiple", 1) for member in self.members)
        self._grid_card = replace(card, multiple=lcm(card.multiple, *needs))

    @property
    def device_words(self) -> str:
        """Where the last pass of the first member ran."""
        return self.members[0].device_words

    def prepare(self, images: Mapping[str, SourceImage]) -> Prepared:
        """Resample and normalise once for all members, padded so that every one can use it."""
        return prepare_images(self._grid_card, images)

    def find(self, prepared: Prepared, report: Report) -> Found:
        """Every member's probability, their calibrated mean, and where to doubt it."""
        passes = [(m, False) for m in self.members]
        passes += [(m, True) for m in self.members if m.card.id in self.mirrored]
        passes.sort(key=lambda p: self.members.index(p[0]))
        answers: list[np.ndarray] = []
        for number, (member, flip) in enumerate(passes):
            part = Part(report, number / len(passes), 1 / len(passes))
            seen = mirrored(prepared) if flip else prepared
            answer = member.find(seen, part).probability
            answers.append(answer[..., ::-1] if flip else answer)
        chance = calibrated(answers, self.slope, self.offset)
        apart = np.std(answers, axis=0)
        facts = case_facts(chance, apart, self.card.threshold, self.card.min_component_voxels)
        return Found(chance, doubt(chance, apart), facts=facts)

    def heat(
        self, prepared: Prepared, target: np.ndarray, layer: str, report: Report
    ) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Evidence as the first member, the network of volumes, sees it."""
        report.note(f"Shown is the evidence of one member, '{self.members[0].card.name}'.")
        return self.members[0].heat(prepared, target, layer, report)


def mirrored(prepared: Prepared) -> Prepared:
    """The head mirrored left to right (the grid's last axis); the way back is the caller's."""
    others = {n: np.ascontiguousarray(a[..., ::-1]) for n, a in prepared.others.items()}
    return Prepared(np.ascontiguousarray(prepared.array[..., ::-1]), prepared.grid, others)


def logit(chance: np.ndarray) -> np.ndarray:
    """Log odds, finite at 0 and 1."""
    safe = np.clip(chance, 1e-6, 1 - 1e-6)
    return np.log(safe / (1 - safe))


def calibrated(answers: Sequence[np.ndarray], slope: float, offset: float) -> np.ndarray:
    """Mean probability of the members, Platt-scaled.

    Parameters
    ----------
    answers : sequence of ndarray, shape (k, j, i)
        Probabilities.
    slope, offset : float
        The calibrated logit is ``slope * logit(mean) + offset``.

    Returns
    -------
    ndarray
        float32 in [0, 1].
    """
    mean = np.asarray(np.mean(answers, axis=0, dtype=np.float32))
    return sigmoid(slope * logit(mean) + offset).astype(np.float32)


def doubt(chance: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Uncertainty of every voxel in [0, 1]: half entropy in bits, half disagreement.

    Parameters
    ----------
    chance : ndarray
        Calibrated probability.
    apart : ndarray
        Standard deviation of the members' probabilities (0 to 0.5).
    """
    safe = np.clip(chance, 1e-6, 1 - 1e-6)
    entropy = -(safe * np.log2(safe) + (1 - safe) * np.log2(1 - safe))
    return (0.5 * entropy + 0.5 * np.clip(2 * apart, 0, 1)).astype(np.float32)


def soft_dice_confidence(chance: np.ndarray, mask: np.ndarray) -> float | None:
    """The Dice a mask is expected to have if the probabilities are right; None where empty."""
    marked = float(mask.sum())
    if not marked:
        return None
    return 2 * float(chance[mask].sum()) / (float(chance.sum()) + marked)


def case_facts(
    chance: np.ndarray, apart: np.ndarray, threshold: float, smallest: int
) -> dict[str, Any]:
    """What the ensemble says about its own answer, as plain numbers and one sentence.

    Parameters
    ----------
    chance, apart : ndarray, shape (k, j, i)
        Calibrated probability, and standard deviation of the members'.
    threshold : float
        Of the mask.
    smallest : int
        Findings with fewer voxels do not count.
    """
    from scipy import ndimage

    mask = draft_mask(chance, threshold, smallest)
    confidence = soft_dice_confidence(chance, mask)
    if confidence is None:
        highest = float(chance.max(initial=0.0))
        sentence = f"Nothing was marked; the highest probability anywhere is {highest:.0%}."
        return {"findings": 0, "highest_probability": round(highest, 3), "sentences": [sentence]}
    labelled: Any = ndimage.label(mask, np.ones((3, 3, 3)))
    pieces, count = labelled
    spread = np.asarray(ndimage.mean(apart, pieces, np.arange(1, count + 1)))
    split = int((spread > APART).sum())
    word = "high" if confidence >= HIGH else "moderate" if confidence >= MODERATE else "low"
    sentence = (
        f"Confidence in the whole mask is {word} ({confidence:.2f} of 1, soft Dice confidence); "
        f"the members disagree about {split} of {count} finding{'s' if count != 1 else ''}."
    )
    return {
        "confidence": round(confidence, 3),
        "confidence_word": word,
        "findings": count,
        "disagreed": split,
        "sentences": [sentence],
    }
