"""What made a mask or a measurement: told whole and true in the clean copy, or not at all.

A version number or a digest cleaned word by word would be another version number, so these texts
have rules of their own: name, version and settings of an algorithm stay where they have the form of
such things, and go as a whole where they have not.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import TYPE_CHECKING

from imaging.deidentify.text import is_common, tokens

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

NAME, VERSION, SETTINGS, MADE_BY = "name", "version", "settings", "made by"
_KEYWORDS = {
    "AlgorithmName": NAME, "SegmentAlgorithmName": NAME, "AlgorithmVersion": VERSION,
    "AlgorithmParameters": SETTINGS, "ROIGenerationDescription": MADE_BY,
}  # fmt: skip
#: Concept names of items of a report (PS3.16 TID 4019).
_CONCEPTS = {"111001": NAME, "111003": VERSION, "111002": SETTINGS}
_VERSION = re.compile(
    r"[vV]?\d{1,4}(\.\d{1,5}){0,3}([-+._]?(a|b|rc|alpha|beta|dev|post)[-.]?\d{0,4})?|unknown",
    re.IGNORECASE,
)
_DAY = re.compile(r"\d{1,2}\.\d{1,2}\.\d{4}|\d{2}\.\d{2}\.\d{2}|(19|20)\d\d(\.?\d{2}){0,2}")
_DIGEST = re.compile(r"[0-9a-f]{6,64}")
_NUMBER = re.compile(r"[+-]?\d{1,6}(\.\d{1,8})?(e[+-]?\d{1,3})?|true|false", re.IGNORECASE)
_DEVICE = re.compile(
    r"cpu|gpu|cuda|mps|xpu|directml|coreml|openvino|rocm|tensorrt|nvidia|geforce|quadro|tesla|rtx"
    r"|gtx|amd|radeon|intel|apple|threads?|ti|super|[a-z]?\d{1,5}|gb|pcie|sxm\d?|hbm3|mib|gib"
)
_KEY = re.compile(r"[a-z][a-z0-9 _.-]{0,40}", re.IGNORECASE)
#: Parts of names of published networks and programs.
_NETWORKS = frozenset(
    ("unet", "nnunet", "nnu", "net", "unetr", "swinunetr", "segresnet", "resnet", "vnet",
     "densenet",
     "mednext", "monai", "samseg", "synthseg", "synthsr", "synthstrip", "freesurfer", "fastsurfer",
     "hd", "bet", "hdbet", "lst", "fsl", "ants", "spm", "totalsegmentator", "brats", "deepmedic",
     "mindglide", "slicer", "itk", "itksnap", "elastix", "dcmqi", "highdicom", "threshold",
     "nnunetv2", "atlas", "ensemble", "fold", "fast", "first", "small", "large", "tiny",
     "mini", "nano", "lite", "demo", "example", "grow", "region", "growing", "level", "set",
     "flair", "wml", "planes", "thorough", "infarct", "deviation", "click", "presence", "refine",
     "classic", "engine", "network",
     "brain", "tissue", "lesion", "lesions", "white", "matter", "normal", "clicks")
)  # fmt: skip


def kind_of(keyword: str, item: Dataset) -> str:
    """Which of these an element is, by its keyword or by the concept its item names."""
    if keyword != "TextValue":
        return _KEYWORDS.get(keyword, "")
    concept = item.get("ConceptNameCodeSequence")
    if not concept or str(concept[0].get("CodingSchemeDesignator") or "") != "DCM":
        return ""
    return _CONCEPTS.get(str(concept[0].get("CodeValue") or ""), "")


def told(kind: str, text: str, forbidden: Collection[str] = ()) -> str:
    """The text as it may stay: whole, of settings those pairs that are harmless; else empty.

    Parameters
    ----------
    kind : str
        From :func:`kind_of`.
    forbidden : collection of str
        Names of this very patient in small letters.
    """
    text = text.strip()
    if kind == VERSION:
        return text if is_version(text) else ""
    if kind == SETTINGS:
        pairs = [part.strip() for part in text.split(",")]
        return ",".join(pair for pair in pairs if _harmless(pair, forbidden))
    if kind == MADE_BY:
        name, _, version = text.rpartition(" ")
        return text if is_version(version) and _is_name(name, forbidden) else ""
    return text if _is_name(text, forbidden) else ""


def is_version(text: str) -> bool:
    """True for ``1.0.0`` and ``v2.1rc1``; a day or a year is no version."""
    return bool(_VERSION.fullmatch(text)) and not _DAY.fullmatch(text)


def _is_name(text: str, forbidden: Collection[str]) -> bool:
    words = tokens(re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)) | tokens(text)
    whole = tokens(text)
    return bool(whole) and not words & set(forbidden) and all(map(_is_known, whole))


def _is_known(word: str) -> bool:
    return word in _NETWORKS or is_common(word) or is_version(word)


def _harmless(pair: str, forbidden: Collection[str]) -> bool:
    """True for settings whose value is a number, a digest of weights or a device."""
    key, equals, value = (part.strip() for part in pair.partition("="))
    if not equals or not _KEY.fullmatch(key) or tokens(key) & set(forbidden):
        return False
    if key == "weights":
        return bool(_DIGEST.fullmatch(value))
    if key == "device":
        return all(_DEVICE.fullmatch(word) for word in tokens(value))
    known = all(is_common(word) or word in _SETTING_WORDS for word in tokens(key.replace("_", " ")))
    return known and bool(_NUMBER.fullmatch(value))


_SETTING_WORDS = frozenset(
    (
        "threshold",
        "voxels",
        "voxel",
        "overlap",
        "steps",
        "tile",
        "tiles",
        "seconds",
        "size",
        "fold",
        "folds",
        "patch",
        "spacing",
        "connectivity",
        "iterations",
        "sigma",
        "seed",
        "smallest",
        "picture",
        "low",
        "high",
        "clicks",
    )
)
