"""What a Segmentation says of its segments: names, codes, colours, and what made them.

Source: DICOM PS3.3 C.8.20.4 (segment description).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from imaging.dicom.codes import code_from
from imaging.dicom.header.vetting import safe_uid
from imaging.dicom.objects.object_file import clean, first_item, made_by, numbers
from imaging.segmentation import (
    AUTOMATIC,
    LESION_CATEGORY,
    LESION_TYPE,
    MANUAL,
    PALETTE,
    SEMIAUTOMATIC,
    Code,
    Provenance,
    Segment,
)

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def read_segments(ds: Dataset) -> dict[int, Segment]:
    """Segments by their number in the file, which may be above what a label map holds."""
    found: dict[int, Segment] = {}
    for item in ds.get("SegmentSequence") or []:
        number = int(item.get("SegmentNumber") or 0)
        if number > 0:  # 0 is the background of a label map
            found[number] = _segment(item, number)
    return found


def _segment(item: Dataset, number: int) -> Segment:
    kind = str(item.get("SegmentAlgorithmType") or MANUAL)
    algorithm, version = _algorithm(item)
    region = item.get("AnatomicRegionSequence")
    typed = first_item(item, "SegmentedPropertyTypeCodeSequence")
    refined = "SegmentedPropertyTypeModifierCodeSequence"
    return Segment(
        min(number, 255),
        clean(item.get("SegmentLabel"), 64) or f"Label {number}",
        _colour(item) or PALETTE[(number - 1) % len(PALETTE)],
        _code(item, "SegmentedPropertyCategoryCodeSequence", LESION_CATEGORY),
        _code(item, "SegmentedPropertyTypeCodeSequence", LESION_TYPE),
        kind if kind in (AUTOMATIC, SEMIAUTOMATIC) else MANUAL,
        tracking_uid=safe_uid(str(item.get("TrackingUID") or "")),
        modifier=_code(typed, refined, LESION_TYPE) if typed and typed.get(refined) else None,
        region=_code(item, "AnatomicRegionSequence", LESION_TYPE) if region else None,
        algorithm=algorithm,
        algorithm_version=version,
    )


def _algorithm(item: Dataset) -> tuple[str, str]:
    """Name and version of what made a segment; empty where it was made by hand."""
    if str(item.get("SegmentAlgorithmType") or MANUAL) == MANUAL:
        return "", ""
    coded = first_item(item, "SegmentationAlgorithmIdentificationSequence")
    name = coded.get("AlgorithmName") if coded is not None else None
    version = coded.get("AlgorithmVersion") if coded is not None else None
    return clean(name or item.get("SegmentAlgorithmName"), 64), clean(version, 32)


def _code(item: Dataset, name: str, fallback: Code) -> Code:
    return Code(*(clean(part, 64) for part in code_from(item.get(name), fallback)))


def unnamed(number: int) -> Segment:
    colour = PALETTE[(number - 1) % len(PALETTE)]
    return Segment(min(number, 255), f"Label {number}", colour)


def _colour(item: Dataset) -> tuple[int, int, int] | None:
    from highdicom.color import CIELabColor

    value = numbers(item.get("RecommendedDisplayCIELabValue") or (), 3)
    if value is None or value.min() < 0 or value.max() > 65535:
        return None
    lab = CIELabColor(value[0] * 100 / 65535, value[1] * 255 / 65535 - 128,
                      value[2] * 255 / 65535 - 128)  # fmt: skip
    red, green, blue = lab.to_rgb()
    return int(red), int(green), int(blue)


def read_provenance(ds: Dataset) -> Provenance:
    """The algorithms that the segments name, once each, and when the file was made."""
    items = list(ds.get("SegmentSequence") or [])
    found = [pair for pair in dict.fromkeys(map(_algorithm, items)) if pair[0]]
    made = made_by(ds, found)
    if len(found) != 1:
        return made
    told = _parameters(next(item for item in items if _algorithm(item)[0]))
    digest = told.pop("weights", "")
    return replace(made, digest=digest, settings=tuple(told.items()))


def _parameters(item: Dataset) -> dict[str, str]:
    """How an algorithm was run, as we and others write it: ``name=value`` apart by commas."""
    coded = first_item(item, "SegmentationAlgorithmIdentificationSequence")
    text = clean(coded.get("AlgorithmParameters"), 2000) if coded is not None else ""
    pairs = [part.split("=", 1) for part in text.split(",") if "=" in part]
    return {name.strip(): value.strip() for name, value in pairs}
