"""Files that are not let out at all, and images that a person should look at first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from imaging.deidentify.options import Options

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_ENCAPSULATED = "1.2.840.10008.5.1.4.1.1.104."
_DIRECTORY = "1.2.840.10008.1.3.10"
#: Objects whose pixels are computed, not photographed: masks, maps, contours, reports, states.
_COMPUTED = (
    "1.2.840.10008.5.1.4.1.1.66.",
    "1.2.840.10008.5.1.4.1.1.30",
    "1.2.840.10008.5.1.4.1.1.67",
)
_CAPTURES = (
    "1.2.840.10008.5.1.4.1.1.7",  # secondary capture, also its multi-frame kinds
    "1.2.840.10008.5.1.4.1.1.77.1",  # photographs and videos
    "1.2.840.10008.5.1.4.1.1.6.",  # ultrasound
    "1.2.840.10008.5.1.4.1.1.3.",
)
_CAPTURE_MODALITIES = frozenset(
    ("US", "IVUS", "SC", "OT", "XC", "ES", "GM", "SM", "DOC", "HC", "DG")
)
LOOK = "Look at the pixels; then say so for these files, or with the option for checked pixels"


def why_refused(dataset: Dataset, options: Options) -> str:
    """One sentence why a data set does not leave, whatever is done to its header; else empty."""
    kind = str(dataset.get("SOPClassUID") or "")
    if kind == _DIRECTORY:
        return "A DICOMDIR lists names and files of a medium and is not copied"
    if kind.startswith(_ENCAPSULATED) or "EncapsulatedDocument" in dataset:
        return "A document inside a DICOM file (PDF, say) cannot be de-identified"
    if not kind or not dataset.get("SOPInstanceUID"):
        return "The file does not say what it is (SOP class or instance is missing)"
    if _is_mosaic(dataset) and not options.keep_private_safe:
        return "A Siemens mosaic can only be taken apart with vendor attributes: keep the safe ones"
    burned = burned_in(dataset)
    return "" if not burned or options.pixels_checked else f"{burned}. {LOOK}"


def burned_in(dataset: Dataset) -> str:
    """Why text may be part of the pixels; empty where nothing speaks for it (PS3.3 C.7.6.1.1.3)."""
    if "Rows" not in dataset:
        return ""
    said = str(dataset.get("BurnedInAnnotation") or "").strip().upper()
    if said == "YES":
        return "The header says that text is burned into the pixels"
    kind = str(dataset.get("SOPClassUID") or "")
    if said == "NO" or is_computed(dataset):
        return ""
    words = {str(word).upper() for word in dataset.get("ImageType") or ()}
    if kind.startswith(_CAPTURES) or str(dataset.get("Modality") or "") in _CAPTURE_MODALITIES:
        return "Captures and photographs often have names burned into the pixels"
    if "SECONDARY" in words or words & {"SCREEN SAVE", "SCREENSHOT", "CSA REPORT"}:
        return "The image is computed from others (SECONDARY) and may have text in its pixels"
    if dataset.get("ConversionType"):
        return "The image was converted or scanned in and may have text in its pixels"
    return ""


def is_computed(dataset: Dataset) -> bool:
    """True for masks, maps and contours."""
    return str(dataset.get("SOPClassUID") or "").startswith(_COMPUTED)


def _is_mosaic(dataset: Dataset) -> bool:
    return "MOSAIC" in {str(word).upper() for word in dataset.get("ImageType") or ()}
