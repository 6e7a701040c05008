"""From a model's answer to a proposal: items for the case that say what made them.

The mask itself is cut by :func:`imaging.analysis.morphology.draft_mask`, the rule that the
threshold slider follows too.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any
from uuid import uuid4

import numpy as np

from imaging.case import Case
from imaging.edits.operations import MIN_VOXELS_SETTING
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.heatmap import DEVIATION, GRAD_CAM, PICTURE, PROBABILITY, UNCERTAINTY, Heatmap
from imaging.segmentation import AUTOMATIC, Provenance, Segment, Segmentation
from imaging.volume import Volume
from inference.messages import ExplainAnswer, SegmentAnswer
from inference.model import DEVIATION as DEVIATION_KIND
from inference.model import PRESENCE, TISSUE, ModelCard

__all__ = ["MIN_VOXELS_SETTING", "Proposal", "as_items", "explanation_item", "min_voxels"]

#: Probabilities below this count as zero.
FLOOR = 1e-3


def min_voxels(card: ModelCard, geometry: Geometry) -> int:
    """The card's smallest finding, in voxels of this grid.

    The card counts voxels of the model's own grid; what stays the same is the volume.
    """
    smallest_ml = card.min_component_voxels * card.spacing_mm**3 / 1000.0
    return max(1, round(smallest_ml / geometry.voxel_ml))


@dataclass(frozen=True, eq=False)
class Proposal:
    """A model's answer as items of a case: nothing a person made is in it.

    Parameters
    ----------
    segmentation : Segmentation or None
        A draft of findings, or the tissues; None where the model marks nothing.
    probability, grad_cam, uncertainty, deviation, picture : Heatmap or None
        The maps the model gave, on the grid of the volume.
    facts : mapping
        What the model says about the study.
    """

    segmentation: Segmentation | None = None
    probability: Heatmap | None = None
    grad_cam: Heatmap | None = None
    uncertainty: Heatmap | None = None
    deviation: Heatmap | None = None
    picture: Heatmap | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def maps(self) -> tuple[Heatmap, ...]:
        """All maps there are."""
        maps = (self.probability, self.grad_cam, self.uncertainty, self.deviation, self.picture)
        return tuple(one for one in maps if one is not None)

    @property
    def items(self) -> tuple[Heatmap | Segmentation, ...]:
        """Everything, the mask last."""
        return (*self.maps, *((self.segmentation,) if self.segmentation is not None else ()))

    def told_apart(self, case: Case) -> Proposal:
        """The same under names that nothing else in the case bears."""
        named = {item.id: item for item in case.told_apart(self.items)}
        parts = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "facts"}
        return replace(self, **{k: named[v.id] for k, v in parts.items() if v is not None})


def as_items(
    answer: SegmentAnswer, volume: Volume, card: ModelCard, taken: Container[str] = ()
) -> Proposal:
    """An answer as a mask and maps.

    Findings come as a draft with the probability it was cut from; tissues as one mask of several
    labels without maps; a deviation as a map (with the picture of normal), because "differs" is
    no finding; a yes-or-no answer as facts, with its Grad-CAM.

    Parameters
    ----------
    taken : container of str
        Ids the case already holds.

    Raises
    ------
    BadInput
        Where the answer is not on the grid of the volume.
    """
    if answer.mask.shape != volume.geometry.shape:
        raise BadInput("The model's answer is not on the grid of the image", volume.name)
    make = _Maker(answer, volume, card, taken)
    heat = make.map(answer.heatmap, GRAD_CAM, "Grad-CAM, whole finding", about="whole finding")
    uncertainty = make.map(answer.uncertainty, UNCERTAINTY, "uncertainty")
    picture = make.map(
        _scaled(answer), PICTURE, "guess of normal", made_by=_picture_made_by(answer)
    )
    if card.kind == PRESENCE:
        return Proposal(None, None, heat, uncertainty, facts=answer.facts)
    if card.kind == DEVIATION_KIND:
        differs = make.map(answer.probability, DEVIATION, "difference from normal")
        return Proposal(None, None, heat, uncertainty, differs, picture, answer.facts)
    if card.kind == TISSUE:
        mask = make.mask(card.name, draft=False)
        return Proposal(mask, None, heat, uncertainty, None, picture, answer.facts)
    one = answer.probability if answer.probability.ndim == 3 else answer.probability.max(axis=0)
    probability = make.map(one, PROBABILITY, "probability")
    assert probability is not None
    mask = make.mask(
        f"{card.name} (AI draft)",
        draft=True,
        threshold=card.threshold,
        probability_id=probability.id if len(card.labels) == 1 else "",
    )
    return Proposal(mask, probability, heat, uncertainty, None, picture, answer.facts)


#: Linear units of a picture: background -1, main tissue peak 0, brightest 3.
PICTURE_RANGE = (-1.0, 3.0)
#: In facts: stored background and tissue peak of the image, where the picture can be compared.
IMAGE_SCALE = "image_scale"


def _scaled(answer: SegmentAnswer) -> np.ndarray | None:
    """A picture in normalised units as values of a map: 0 to 1, linear in the image's units.

    The normalised scale is halved beyond +1 (:func:`inference.preprocess.normalise`); that is
    taken back here.
    """
    if answer.picture is None:
        return None
    low, high = PICTURE_RANGE
    linear = np.where(answer.picture > 1, 2 * answer.picture - 1, answer.picture)
    return np.clip((linear - low) / (high - low), 0.0, 1.0).astype(np.float32)


def _picture_made_by(answer: SegmentAnswer) -> Provenance:
    """Provenance that also says which values of the image 0 and 1 of the picture stand for."""
    scale = answer.facts.get(IMAGE_SCALE)
    if scale is None:
        return answer.provenance
    background, peak = (float(value) for value in scale)
    bright = background + (PICTURE_RANGE[1] - PICTURE_RANGE[0]) * (peak - background)
    said = (("picture_low", f"{background:.6g}"), ("picture_high", f"{bright:.6g}"))
    return replace(answer.provenance, settings=(*answer.provenance.settings, *said))


class _Maker:
    """Makes items of one answer."""

    def __init__(
        self, answer: SegmentAnswer, volume: Volume, card: ModelCard, taken: Container[str]
    ) -> None:
        self._answer, self._volume, self._card, self._taken = answer, volume, card, taken

    def map(
        self,
        values: np.ndarray | None,
        meaning: str,
        words: str,
        about: str = "",
        made_by: Provenance | None = None,
    ) -> Heatmap | None:
        """A map, where there is one."""
        if values is None:
            return None
        return Heatmap(
            id=_free_id(f"{self._card.id}-{meaning}", self._taken),
            name=f"{self._card.name}: {words}",
            values=values,
            meaning=meaning,
            geometry=self._volume.geometry,
            volume_id=self._volume.id,
            provenance=made_by or self._answer.provenance,
            about=about,
        )

    def mask(self, name: str, draft: bool, **rest: Any) -> Segmentation:
        """The labels that were marked."""
        return Segmentation.from_labels(
            _free_id(f"{self._card.id}-{'draft' if draft else 'labels'}", self._taken),
            name,
            self._volume.geometry,
            self._volume.id,
            self._answer.mask,
            segments=_segments(self._card, draft),
            provenance=self._answer.provenance,
            draft=draft,
            **rest,
        )


def explanation_item(
    answer: ExplainAnswer, volume: Volume, card: ModelCard, taken: Container[str] = ()
) -> Heatmap:
    """A Grad-CAM as an item of a case."""
    return Heatmap(
        id=_free_id(f"{card.id}-grad-cam", taken),
        name=f"{card.name}: Grad-CAM, {answer.about}",
        values=answer.heatmap,
        meaning=GRAD_CAM,
        geometry=volume.geometry,
        volume_id=volume.id,
        provenance=answer.provenance,
        about=answer.about,
    )


def _segments(card: ModelCard, draft: bool) -> tuple[Segment, ...]:
    return tuple(
        Segment(
            label.number,
            f"{label.name} (AI draft)" if draft else label.name,
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
