"""What goes into a Segmentation file: labels, single lesions or a probability, and their meaning.

Source: DICOM PS3.3 C.8.20.4 (segment description), C.8.20.2.3 (fractional values).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from imaging.analysis.lesions import Lesion, lesion_uid
from imaging.dicom.codes import code_item, concept
from imaging.dicom.writing.parts import Algorithm, algorithm_of, algorithm_sequence, segment_label
from imaging.dicom.writing.write import cut_text, new_uid
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.heatmap import PROBABILITY, Heatmap
from imaging.segmentation import AUTOMATIC, MANUAL, Segment, Segmentation

if TYPE_CHECKING:
    from highdicom.seg import SegmentDescription

Kind = Literal["BINARY", "FRACTIONAL", "LABELMAP"]
#: Stored value that means a probability of one.
MAXIMUM_FRACTION = 255


class SegPixels(NamedTuple):
    """What goes into the file: labels or fractions (k, j, i), their grid, and what they mean."""

    pixels: np.ndarray
    geometry: Geometry
    descriptions: list[SegmentDescription]
    kind: Kind


def counts(content: SegPixels) -> dict[int, int]:
    """Marked voxels by segment number; of a probability those of at least one half."""
    if content.kind == "FRACTIONAL":
        return {1: int(np.count_nonzero(content.pixels >= 0.5))}
    count = len(content.descriptions)
    found = np.bincount(content.pixels.ravel(), minlength=count + 1)
    return {n: int(found[n]) for n in range(1, count + 1)}


def whole_labels(
    segmentation: Segmentation, chosen: list[Segment], kind: Kind, *, everything: bool
) -> SegPixels:
    """Each label as a segment.

    Parameters
    ----------
    everything : bool
        Whether a marked voxel without a named label is a mistake.

    Raises
    ------
    BadInput
        Where there is such a voxel.
    """
    labels = _renumbered(segmentation, chosen, everything=everything)
    made_by, threshold = segmentation.provenance, segmentation.threshold
    descriptions = [
        _description(place, segment, algorithm_of(segment, made_by, threshold))
        for place, segment in enumerate(chosen, start=1)
    ]
    return SegPixels(labels, segmentation.geometry, descriptions, kind)


def _renumbered(
    segmentation: Segmentation, chosen: list[Segment], *, everything: bool
) -> np.ndarray:
    """Labels with consecutive numbers, uint8 (k, j, i); voxels of other segments become 0."""
    table = np.zeros(256, np.uint8)
    for place, segment in enumerate(chosen, start=1):
        table[segment.number] = place
    if everything:
        used = np.flatnonzero(np.bincount(segmentation.labels.ravel(), minlength=256))
        nameless = [int(n) for n in used if n and not table[n]]
        if nameless:
            raise BadInput(
                f"Voxels are marked with label {nameless[0]}, which has no name",
                segmentation.name,
                "Add that label to the list, or erase it",
            )
    return table[segmentation.labels]


def single_lesions(segmentation: Segmentation, lesions: Sequence[Lesion], kind: Kind) -> SegPixels:
    """Every lesion as a segment, described as its label is, with a tracking UID of its own."""
    if len(lesions) > 255:
        raise BadInput(
            f"One file holds at most 255 segments, and there are {len(lesions)} lesions",
            segmentation.name,
            "Write whole labels instead",
        )
    labels = np.zeros(segmentation.geometry.shape, np.uint8)
    descriptions = []
    for place, lesion in enumerate(lesions, start=1):
        segment = segmentation.segment(lesion.label)
        if segment is None:
            raise BadInput("A lesion has a label that is not in the mask", segmentation.name)
        labels[lesion.box.slices][lesion.mask] = place
        named = replace(
            segment,
            name=f"Lesion {lesion.number}",
            tracking_uid=lesion_uid(segmentation, lesion),
        )
        made = algorithm_of(segment, segmentation.provenance, segmentation.threshold)
        descriptions.append(_description(place, named, made))
    return SegPixels(labels, segmentation.geometry, descriptions, kind)


def fractions(
    segmentation: Segmentation, chosen: Sequence[Segment], probability: Heatmap | None
) -> SegPixels:
    """The map in steps of 1/255, as one segment; the values are the model's, not a person's.

    Raises
    ------
    BadInput
        Where there is no such map, or it is not one of the chosen labels that it tells about.
    """
    if probability is None or probability.meaning != PROBABILITY:
        raise BadInput(
            "A fractional segmentation holds a probability, and there is no such map",
            segmentation.name,
            "Choose BINARY",
        )
    values = np.rint(probability.values * MAXIMUM_FRACTION) / np.float32(MAXIMUM_FRACTION)
    made = probability.provenance if probability.provenance.algorithm else segmentation.provenance
    segment = _proposal(segmentation, chosen, probability)
    described = replace(
        segment, name=f"{cut_text(segment.name, 52) or 'Label'} probability",
        tracking_uid=new_uid("probability of", segment.tracking_uid),
        algorithm_type=AUTOMATIC, algorithm="", algorithm_version="",
    )  # fmt: skip
    description = _description(1, described, algorithm_of(described, made))
    return SegPixels(values, probability.geometry, [description], "FRACTIONAL")


def _proposal(
    segmentation: Segmentation, chosen: Sequence[Segment], probability: Heatmap
) -> Segment:
    """The label that the model proposed from this map: the first of a mask cut from it."""
    own = segmentation.segments[0]
    cut = segmentation.probability_id in ("", probability.id) and own.algorithm_type != MANUAL
    if not cut or own.number not in {segment.number for segment in chosen}:
        raise BadInput(
            "The probability tells about the label that the model proposed, and that is not among "
            "the chosen ones",
            segmentation.name,
            "Choose that label, or BINARY",
        )
    return own


def _description(place: int, segment: Segment, algorithm: Algorithm | None) -> SegmentDescription:
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    label = segment_label(segment)
    made = SegmentDescription(
        segment_number=place,
        segment_label=label,
        segmented_property_category=concept(segment.category),
        segmented_property_type=concept(segment.type),
        algorithm_type=segment.algorithm_type,
        algorithm_identification=algorithm_sequence(algorithm) if algorithm else None,
        tracking_uid=segment.tracking_uid or new_uid(),
        tracking_id=label,
        display_color=CIELabColor.from_rgb(*segment.colour),
        anatomic_regions=[concept(segment.region)] if segment.region else None,
    )
    if segment.modifier is not None:
        made.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [
            code_item(segment.modifier)
        ]
    return made
