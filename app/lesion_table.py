"""The lesion table as it is exported, from the window and from the command line."""

from __future__ import annotations

from imaging.analysis.lesions import Lesion
from imaging.segmentation import AUTOMATIC, MANUAL, Segment, Segmentation

NOTICE = "Research use - not for diagnosis"

TABLE_HEADER = (
    "number", "label", "state", "place", "volume_ml", "longest_diameter_mm", "mean_probability",
    "centroid_left_mm", "centroid_posterior_mm", "centroid_superior_mm", "made_by", "notice",
)  # fmt: skip


def lesion_row(mask: Segmentation, lesion: Lesion, accepted: bool) -> dict[str, object]:
    """One line of the lesion table; positions in LPS mm."""
    segment = mask.segment(lesion.label)
    probability = lesion.mean_probability
    left, posterior, superior = (round(float(v), 1) for v in lesion.centroid_world)
    return {
        "number": lesion.number,
        "label": segment.name if segment else lesion.label,
        "state": "accepted" if accepted else "opened" if mask.opened else "draft",
        "place": lesion.place,
        "volume_ml": round(lesion.volume_ml, 4),
        "longest_diameter_mm": round(lesion.longest_diameter_mm, 1),
        "mean_probability": None if probability is None else round(probability, 3),
        "centroid_left_mm": left,
        "centroid_posterior_mm": posterior,
        "centroid_superior_mm": superior,
        "made_by": made_by(mask, segment),
        "notice": NOTICE,
    }


def made_by(mask: Segmentation, segment: Segment | None) -> str:
    """What made a label: a model, a model and a person, or a person."""
    kind = segment.algorithm_type if segment else AUTOMATIC
    if kind == MANUAL or not mask.provenance.algorithm:
        return "Made by hand"
    if kind == AUTOMATIC or segment is None:
        return mask.provenance.sentence
    words = ", checked or edited by hand"
    if segment.unchanged:
        words = "" if mask.proposes(segment) else ", accepted"
    return mask.provenance.sentence + words
