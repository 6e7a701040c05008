"""What becomes of a model's answer in the window: the sentence about it, and what is shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from app.study_answer import likely_words, volume_words
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
    DEVIATION: ("viridis", 0.15, True),  # findings are orange
    PICTURE: ("grey", 0.0, False),
}


def found_words(answer: SegmentAnswer, card: ModelCard, volume: Volume) -> str:
    """How a run ended, the number that counts first: the line may be cut where it ends.

    Counts voxels, so not on the window's thread.
    """
    made = f"{card.name}, {answer.provenance.seconds:.1f} s on {answer.provenance.device}"
    said = (*told(answer.facts), *answer.notes)
    tail = " ".join(dict.fromkeys(said))
    return f"{_number(answer, card, volume)} · {made}. {tail}".strip()


def told(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """The sentences among the facts of an answer."""
    sentences = facts.get("sentences", ())
    return tuple(str(one) for one in sentences) if isinstance(sentences, (list, tuple)) else ()


def _number(answer: SegmentAnswer, card: ModelCard, volume: Volume) -> str:
    """What was found, as short as it can be said."""
    from inference.model import DEVIATION, PRESENCE, TISSUE

    counts = np.bincount(answer.mask.ravel(), minlength=2)
    voxel_ml = volume.geometry.voxel_ml
    if card.kind == TISSUE:
        return volume_words(
            [(one.name, counts_of(counts, one.number) * voxel_ml) for one in card.labels]
        )
    if card.kind == DEVIATION:
        unlike = answer.facts.get("deviating_ml")
        known = isinstance(unlike, int | float)
        return f"{unlike:.1f} ml unlike normal" if known else "Compared with a guess of normal"
    if card.kind == PRESENCE:
        chance = answer.facts.get("probability")
        if isinstance(chance, int | float) and 0 <= chance <= 1:
            return f"Any lesion: {likely_words(float(chance))}"
        return "Answered"
    found = int(counts[1:].sum())
    return f"{found * voxel_ml:.2f} ml found" if found else "No lesion above the threshold"


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
    seen = next((one for one in (proposal.deviation, proposal.grad_cam) if one is not None), None)
    if seen is not None:
        display = _under_map(display, case, seen)
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
    display = _under_map(display, case, heat)
    return display.with_overlay(heat.id, visible=True, colour_table="inferno", low=0.15)


def _under_map(display: DisplayState, case: Case, heat: Heatmap) -> DisplayState:
    """What an image shows under a map: findings as outlines, no tissues and no other map.

    Two fills on top of each other tell nothing.
    """
    for mask in case.segmentations:
        if mask.volume_id == heat.volume_id:
            change = {"visible": False} if mask.anatomical else {"outline": True}
            display = display.with_overlay(mask.id, **change)
    for other in case.heatmaps:
        if other.volume_id == heat.volume_id and other.id != heat.id:
            display = display.with_overlay(other.id, visible=False)
    return display
