"""The lesion table as it is exported, from the window and from the command line."""

from __future__ import annotations

from imaging.analysis.lesions import Lesion
from imaging.segmentation import Segmentation

TABLE_HEADER = (
    "number", "label", "state", "place", "volume_ml", "longest_diameter_mm", "mean_probability",
    "centroid_left_mm", "centroid_posterior_mm", "centroid_superior_mm", "made_by",
)  # fmt: skip


def lesion_row(mask: Segmentation, lesion: Lesion, accepted: bool) -> dict[str, object]:
    """One line of the lesion table; positions in LPS mm."""
    segment = mask.segment(lesion.label)
    probability = lesion.mean_probability
    left, posterior, superior = (round(float(v), 1) for v in lesion.centroid_world)
    return {
        "number": lesion.number,
        "label": segment.name if segment else lesion.label,
        "state": "accepted" if accepted else "draft",
        "place": lesion.place,
        "volume_ml": round(lesion.volume_ml, 4),
        "longest_diameter_mm": round(lesion.longest_diameter_mm, 1),
        "mean_probability": None if probability is None else round(probability, 3),
        "centroid_left_mm": left,
        "centroid_posterior_mm": posterior,
        "centroid_superior_mm": superior,
        "made_by": mask.provenance.sentence,
    }
