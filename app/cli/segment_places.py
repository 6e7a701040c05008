"""Where in the brain the findings lie, on the command line: counts by place by a tissue model."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.analysis.brain_places import BrainPlaces
    from imaging.analysis.lesion_pattern import LesionPattern
    from imaging.analysis.lesions import Lesion
    from inference.messages import SegmentAnswer
    from inference.registry import InstalledModel

Ask = Callable[["InstalledModel"], "SegmentAnswer"]


def pattern_of(
    volume: Volume, lesions: list[Lesion], finding: SegmentAnswer, ask: Ask
) -> LesionPattern:
    """Counts by place; from brightness alone where no tissue model is installed.

    Parameters
    ----------
    ask : callable
        Runs a model on the volume.
    """
    from imaging.analysis.brain_places import places_from_image
    from imaging.analysis.lesion_pattern import lesion_pattern

    tissue = tissue_model()
    if tissue is None or not lesions:
        places = places_from_image(volume) if lesions else None
    else:
        places = _places(volume, finding, tissue, ask(tissue))
    return lesion_pattern(lesions, places)


def tissue_model() -> InstalledModel | None:
    """The installed model of tissues, where there is one that can run."""
    from inference.model import TISSUE
    from inference.registry import installed_models

    fitting = (m for m in installed_models() if m.available and m.card.kind == TISSUE)
    return next(fitting, None)


def _places(
    volume: Volume, finding: SegmentAnswer, tissue: InstalledModel, answer: SegmentAnswer
) -> BrainPlaces:
    """Places from the three tissues: fluid, grey and white matter in the order of the card."""
    from imaging.analysis.brain_places import places_from_tissue

    fluid, grey, white = (answer.mask == label.number for label in tissue.card.labels[:3])
    return places_from_tissue(fluid, grey, white, volume.geometry, finding.mask != 0)


def as_plain(pattern: LesionPattern) -> dict[str, Any]:
    """The pattern as plain values for the report."""
    return {
        "sentences": list(pattern.sentences()),
        "basis": pattern.basis,
        "largest": pattern.largest,
        "at_least_3_mm_long": pattern.long_enough,
        "not_told": list(pattern.not_told),
        "places": [
            {
                "place": place.place,
                "lesions": list(place.lesions),
                "volume_ml": round(place.volume_ml, 4),
            }
            for place in pattern.places
        ],
    }
