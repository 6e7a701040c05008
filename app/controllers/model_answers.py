"""What becomes of a model's answer in the window: the sentence about it, and what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from imaging.heatmap import DEVIATION, GRAD_CAM, PICTURE, PROBABILITY, UNCERTAINTY, Heatmap

if TYPE_CHECKING:
    from imaging.case import Case
    from imaging.segmentation import Segmentation
    from imaging.volume import Volume
    from inference.messages import SegmentAnswer
    from inference.model import ModelCard
    from inference.postprocess import Proposal
    from viewer.state.display import DisplayState

#: What maps of each meaning look like, and whether they are shown at once: (table, low, shown).
_LOOKS = {
    PROBABILITY: ("viridis", 0.05, False),
    GRAD_CAM: ("inferno", 0.15, True),
    UNCERTAINTY: ("viridis", 0.1, False),
    DEVIATION: ("inferno", 0.15, True),
    PICTURE: ("grey", 0.0, False),
}


def found_words(answer: SegmentAnswer, card: ModelCard, volume: Volume) -> str:
    """How a run ended, in one or two sentences; counts voxels, so not on the window's thread."""
    where = f"in {answer.provenance.seconds:.1f} s on {answer.provenance.device}"
    tail = " ".join(dict.fromkeys((*told(answer.facts), *answer.notes)))
    return f"{_head_words(answer, card, volume, where)}. {tail}".strip()


def told(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """The sentences among the facts of an answer."""
    sentences = facts.get("sentences", ())
    return tuple(str(one) for one in sentences) if isinstance(sentences, (list, tuple)) else ()


def _head_words(answer: SegmentAnswer, card: ModelCard, volume: Volume, where: str) -> str:
    from inference.model import DEVIATION, PRESENCE, TISSUE

    counts = np.bincount(answer.mask.ravel(), minlength=2)
    voxel_ml = volume.geometry.voxel_ml
    if card.kind == TISSUE:
        parts = (f"{label.name} {counts_of(counts, label.number) * voxel_ml:.0f} ml"
                 for label in card.labels)  # fmt: skip
        return f"{card.name}: {', '.join(parts)} ({where})"
    if card.kind == DEVIATION:
        return f"{card.name} drew where this head differs from its guess of normal ({where})"
    if card.kind == PRESENCE:
        return f"{card.name} has answered {where}"
    found = int(counts[1:].sum())
    if not found:
        return f"{card.name} found no lesion above the threshold"
    return f"{card.name} found {found * voxel_ml:.2f} ml {where}"


def counts_of(counts: np.ndarray, number: int) -> int:
    """Voxels of a label; 0 beyond the counts."""
    return int(counts[number]) if number < len(counts) else 0


def shown(display: DisplayState, case: Case, proposal: Proposal) -> DisplayState:
    """The display with the new mask and the map that matters; other maps can be switched on."""
    mask = proposal.segmentation
    if mask is not None:
        display = display.with_overlay(mask.id, opacity=0.3 if mask.anatomical else 0.45)
    for item in proposal.maps:
        table, low, visible = _LOOKS[item.meaning]
        display = display.with_overlay(item.id, visible=visible, colour_table=table, low=low)
    if mask is not None and proposal.grad_cam is not None:
        # Two fills on top of each other tell nothing: the mask steps back to its outline.
        display = display.with_overlay(mask.id, outline=True)
    for other in case.segmentations:
        if mask is not None and _steps_back(other, mask):
            display = display.with_overlay(other.id, visible=False)
    return display.but(overlays_shown=True)


def _steps_back(other: Segmentation, new: Segmentation) -> bool:
    """Whether a mask makes room for a new one: of the same kind, and nobody's own work."""
    if other.id == new.id or other.volume_id != new.volume_id:
        return False
    if new.anatomical:
        return other.anatomical
    return other.draft or other.anatomical


def explained(display: DisplayState, case: Case, heat: Heatmap) -> DisplayState:
    """The display with a new Grad-CAM over the outlines of the masks."""
    for other in case.heatmaps:
        if other.meaning in (GRAD_CAM, PROBABILITY):
            display = display.with_overlay(other.id, visible=False)
    for mask in case.segmentations:
        if mask.volume_id == heat.volume_id:  # two fills on top of each other tell nothing
            display = display.with_overlay(mask.id, outline=True)
    return display.with_overlay(heat.id, visible=True, colour_table="inferno", low=0.15)
