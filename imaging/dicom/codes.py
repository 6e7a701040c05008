"""Coded concepts that we write into DICOM objects (PS3.16, checked in the tables of pydicom)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imaging.segmentation import Code

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept
    from pydicom.dataset import Dataset

ARTIFICIAL_INTELLIGENCE = Code("123110", "DCM", "Artificial Intelligence")
PROCESSING_EQUIPMENT = Code("109102", "DCM", "Processing Equipment")
SOURCE_FOR_PROCESSING = Code("121322", "DCM", "Source image for image processing operation")
SEGMENTATION_DERIVATION = Code("113076", "DCM", "Segmentation")
COMPUTED = Code("112187", "DCM", "Unspecified method of calculation")
SPATIAL_RESAMPLING = Code("113085", "DCM", "Spatial resampling")
FRAMES_FROM_VOLUME = Code(
    "113091", "DCM", "Spatially-related frames extracted from the volume"
)  # fmt: skip
NO_UNITS = Code("1", "UCUM", "no units")

#: What a heat map shows, by ``Heatmap.meaning``.
MAP_MEANINGS: dict[str, Code] = {
    "probability": Code("122157", "DCM", "Probability"),
    "grad-cam": Code("130403", "DCM", "Gradient-weighted class activation"),
    "uncertainty": Code("UNCERTAINTY", "99ISOCENTER", "Uncertainty"),
}

#: Body part of an image by its Body Part Examined (PS3.16 annex L); brain where it is silent.
BODY_PARTS: dict[str, Code] = {
    "": Code("12738006", "SCT", "Brain"),
    "BRAIN": Code("12738006", "SCT", "Brain"),
    "HEAD": Code("69536005", "SCT", "Head"),
    "SPINE": Code("421060004", "SCT", "Vertebral column"),
    "CSPINE": Code("122494005", "SCT", "Cervical spine"),
    "TSPINE": Code("122495006", "SCT", "Thoracic spine"),
    "LSPINE": Code("122496007", "SCT", "Lumbar spine"),
    "KNEE": Code("72696002", "SCT", "Knee"),
}
WHOLE_BODY = Code("38266002", "SCT", "Entire body")


def concept(code: Code) -> CodedConcept:
    """The code as highdicom wants it."""
    from highdicom.sr import CodedConcept

    return CodedConcept(code.value, code.scheme, code.meaning)


def code_item(code: Code) -> Dataset:
    """The code as an item of a code sequence (PS3.3 table 8.8-1)."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code
    return item


def code_from(sequence: object, fallback: Code) -> Code:
    """The first code of a code sequence, or a fallback where it is missing or empty."""
    try:
        item = sequence[0]  # type: ignore[index]
        return Code(str(item.CodeValue), str(item.CodingSchemeDesignator), str(item.CodeMeaning))
    except (TypeError, IndexError, AttributeError):
        return fallback
