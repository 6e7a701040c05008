"""What lies beside a NIfTI file by the habits of BIDS and dcm2niix: acquisition facts and b-values.

Only facts about the acquisition are read, nothing about the patient. Source: Brain Imaging Data
Structure 1.9, "Magnetic Resonance Imaging"; times there are in seconds.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import replace
from typing import Any, NamedTuple

from imaging.dicom.stacks.sequence import SequenceFacts
from imaging.dicom.writing.write import SOFTWARE
from imaging.series import SEQUENCES

MAX_BYTES = 4 << 20
_ENDS = (".nii.gz", ".nii", ".hdr.gz", ".hdr", ".img.gz", ".img")
#: A b-value below this means no diffusion weighting that counts.
_NEAR_ZERO = 50.0


class Beside(NamedTuple):
    """Facts out of the JSON file beside an image; empty where there is none."""

    facts: SequenceFacts = SequenceFacts()
    description: str = ""
    manufacturer: str = ""
    used: tuple[str, ...] = ()


def read_beside(path: str) -> Beside:
    """Read ``name.json`` beside ``name.nii.gz``; one that cannot be understood counts as absent."""
    beside = with_end(path, ".json")
    text = _text(beside)
    try:
        found = json.loads(text) if text else None
    except (ValueError, RecursionError):
        return Beside()
    if not isinstance(found, dict):
        return Beside()
    names = tuple(_word(found, key) for key in ("SeriesDescription", "ProtocolName"))
    facts = SequenceFacts(
        names=tuple(filter(None, names)),
        pulse=_word(found, "PulseSequenceName") or _word(found, "SequenceName"),
        image_type=_words(found, "ImageType"),
        modality=_word(found, "Modality") or "MR",
        scanning=_words(found, "ScanningSequence"),
        variant=_words(found, "SequenceVariant"),
        agent=bool(_word(found, "ContrastBolusIngredient")),
        repetition=_number(found, "RepetitionTime", 1000.0),
        echo=_number(found, "EchoTime", 1000.0),
        inversion=_number(found, "InversionTime", 1000.0),
        flip=_number(found, "FlipAngle", 1.0),
        train=_number(found, "EchoTrainLength", 1.0),
        strength=_number(found, "MagneticFieldStrength", 1.0),
    )
    if isinstance(found.get("written_by"), dict) and _word(found["written_by"], "name") == SOFTWARE:
        sequence = _word(found, "sequence")
        facts = replace(
            facts,
            map_of=_word(found, "meaning") if "range" in found else "",
            told=sequence if sequence in SEQUENCES else "",
        )
    return Beside(facts, next(iter(facts.names), ""), _word(found, "Manufacturer"), (beside,))


def read_b_values(path: str, images: int) -> tuple[float, ...]:
    """The b-values of ``name.bval`` beside ``name.nii.gz``; empty where they do not fit."""
    try:
        values = tuple(float(word) for word in _text(with_end(path, ".bval")).split())
    except ValueError:
        return ()
    sane = all(math.isfinite(value) and value >= 0 for value in values)
    return values if len(values) == images and sane else ()


def b_labels(values: tuple[float, ...]) -> tuple[str, ...]:
    """Names for images of these b-values: ``"b 1000 · direction 2"``."""
    rounded = [round(value) if value >= _NEAR_ZERO else 0 for value in values]
    often, seen = Counter(rounded), Counter[int]()
    labels = []
    for value in rounded:
        seen[value] += 1
        which = f" · {'direction' if value else 'image'} {seen[value]}" if often[value] > 1 else ""
        labels.append(f"b {value}{which}")
    return tuple(labels)


def with_end(path: str, end: str) -> str:
    """The path of the file beside an image that has this ending."""
    for known in _ENDS:
        if path.lower().endswith(known):
            return path[: -len(known)] + end
    return path + end


def _text(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(MAX_BYTES + 1)
    except OSError:
        return ""
    return text if len(text) <= MAX_BYTES else ""


def _word(found: dict[str, Any], key: str) -> str:
    value = found.get(key)
    return " ".join(value.split())[:200] if isinstance(value, str) else ""


def _words(found: dict[str, Any], key: str) -> tuple[str, ...]:
    value = found.get(key)
    parts = value.replace("_", "\\").split("\\") if isinstance(value, str) else value
    return tuple(p for p in parts if isinstance(p, str)) if isinstance(parts, list) else ()


def _number(found: dict[str, Any], key: str, scale: float) -> float | None:
    value = found.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9:
        return None
    return float(value) * scale
