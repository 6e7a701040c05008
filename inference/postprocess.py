"""From a model's answer to a proposal: items for the case that say what made them.

The mask itself is cut by :func:`imaging.analysis.morphology.draft_mask`, the rule that the
threshold slider follows too.
"""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple
from uuid import uuid4

import numpy as np

from imaging.edits.operations import MIN_VOXELS_SETTING
from imaging.geometry import Geometry
from imaging.heatmap import GRAD_CAM, PROBABILITY, Heatmap
from imaging.segmentation import AUTOMATIC, Segment, Segmentation
from imaging.volume import Volume
from inference.messages import ExplainAnswer, SegmentAnswer
from inference.model import ModelCard

__all__ = ["MIN_VOXELS_SETTING", "Proposal", "as_items", "explanation_item", "min_voxels"]

#: Probabilities below this count as zero.
FLOOR = 1e-3


def min_voxels(card: ModelCard, geometry: Geometry) -> int:
    """The card's smallest finding, in voxels of this grid.

    The card counts voxels of the model's own grid; what stays the same is the volume.
    """
    smallest_ml = card.min_component_voxels * card.spacing_mm**3 / 1000.0
    return max(1, round(smallest_ml / geometry.voxel_ml))


class Proposal(NamedTuple):
    """A model's answer as items of a case: nothing a person made is in it."""

    segmentation: Segmentation
    probability: Heatmap
    grad_cam: Heatmap | None


def as_items(
    answer: SegmentAnswer, volume: Volume, card: ModelCard, taken: Container[str] = ()
) -> Proposal:
    """An answer as a draft mask, its probability and, where asked for, its Grad-CAM.

    Parameters
    ----------
    taken : container of str
        Ids the case already holds.

    Raises
    ------
    BadInput
        Where the answer is not on the grid of the volume.
    """
    probability = Heatmap(
        id=_free_id(f"{card.id}-probability", taken),
        name=f"{card.name}: probability",
        values=answer.probability,
        meaning=PROBABILITY,
        geometry=volume.geometry,
        volume_id=volume.id,
        provenance=answer.provenance,
    )
    segmentation = Segmentation.from_labels(
        _free_id(f"{card.id}-draft", taken),
        f"{card.name} (AI draft)",
        volume.geometry,
        volume.id,
        answer.mask,
        segments=_segments(card),
        provenance=answer.provenance,
        draft=True,
        threshold=card.threshold,
        probability_id=probability.id,
    )
    heat = None
    if answer.heatmap is not None:
        heat = _heatmap(answer.heatmap, "whole finding", answer, volume, card, taken)
    return Proposal(segmentation, probability, heat)


def explanation_item(
    answer: ExplainAnswer, volume: Volume, card: ModelCard, taken: Container[str] = ()
) -> Heatmap:
    """A Grad-CAM as an item of a case."""
    return _heatmap(answer.heatmap, answer.about, answer, volume, card, taken)


def _heatmap(
    values: np.ndarray,
    about: str,
    answer: SegmentAnswer | ExplainAnswer,
    volume: Volume,
    card: ModelCard,
    taken: Container[str],
) -> Heatmap:
    return Heatmap(
        id=_free_id(f"{card.id}-grad-cam", taken),
        name=f"{card.name}: Grad-CAM, {about}",
        values=values,
        meaning=GRAD_CAM,
        geometry=volume.geometry,
        volume_id=volume.id,
        provenance=answer.provenance,
        about=about,
    )


def _segments(card: ModelCard) -> tuple[Segment, ...]:
    return tuple(
        Segment(
            label.number,
            f"{label.name} (AI draft)",
            label.colour,
            label.category,
            label.type,
            AUTOMATIC,
        )
        for label in card.labels
    )


def _free_id(stem: str, taken: Container[str]) -> str:
    while (name := f"{stem}-{uuid4().hex[:8]}") in taken:
        pass
    return name
