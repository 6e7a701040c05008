"""What runs in a limited process, one file at a time; plain values in and out.

A file that crashes a library, never ends or fills the memory costs one line in the report.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from imaging.deidentify.burned_text import middle_picture, seems_written_on
from imaging.deidentify.checks import burned_in, is_computed, why_refused
from imaging.deidentify.deidentifier import Deidentifier, read
from imaging.deidentify.key import Key
from imaging.deidentify.options import Options
from imaging.deidentify.plane import Plane
from imaging.deidentify.volume_files import kind_of, write_clean
from imaging.deidentify.walk import identity
from imaging.errors import ImagingError

_LOOKED_AT = (
    "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "InstanceNumber",
    "PatientID", "PatientName", "PatientBirthDate", "BurnedInAnnotation", "ImageType", "Modality",
    "ConversionType", "SeriesNumber", "SpecificCharacterSet", "FrameOfReferenceUID",
    "Rows",
)  # fmt: skip


def look_at(paths: list[str], options: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What each file is: its kind, whom it belongs to, and why it would not leave."""
    for path in paths:
        try:
            yield _look(path, Options(**options))
        except ImagingError as error:
            yield {"kind": "", "why": _reason(error)}


def _look(path: str, options: Options) -> dict[str, Any]:
    kind = kind_of(path)
    if kind:
        return {"kind": kind, "why": ""}
    dataset = read(Path(path), headers_of=_LOOKED_AT)
    number = re.match(r"\s*(-?\d{1,9})", str(dataset.get("InstanceNumber") or ""))
    return {
        "kind": "dicom",
        "patient": identity(dataset),
        "study": str(dataset.get("StudyInstanceUID") or ""),
        "series": str(dataset.get("SeriesInstanceUID") or ""),
        "instance": str(dataset.get("SOPInstanceUID") or ""),
        "frame": str(dataset.get("FrameOfReferenceUID") or ""),
        "number": int(number[1]) if number else 0,
        "image": "Rows" in dataset and not is_computed(dataset),
        "why": why_refused(dataset, replace(options, pixels_checked=True)),
        "burned": "" if options.pixels_checked else burned_in(dataset),
    }


def rehearse(path: str, options: dict[str, Any], secret: bytes) -> dict[str, Any]:
    """What would be done to a DICOM file, without writing it."""
    dataset = read(Path(path))
    clean = Deidentifier(Options(**options), Key(secret)).clean(dataset)
    return {"actions": _listed(clean.actions)}


def written_on(path: str) -> bool:
    """True where letters seem to stand in the pixels of a DICOM file."""
    picture = middle_picture(read(Path(path)))
    return picture is not None and seems_written_on(picture)


def treat(
    source: str,
    target: str,
    kind: str,
    options: dict[str, Any],
    secret: bytes,
    pseudonyms: dict[str, str],
    face: dict[str, Any] | None,
) -> dict[str, Any]:
    """Write one clean file.

    Parameters
    ----------
    face : dict or None
        ``plane`` (see :class:`imaging.deidentify.plane.Plane`) and ``frames``: the places of the
        frames of a DICOM file.

    Returns
    -------
    dict
        ``actions``: list of attribute, action, count.
    """
    if kind != "dicom":
        write_clean(Path(source), Path(target), kind, Plane(**face["plane"]) if face else None)
        return {"actions": [["header texts", "removed", 1]]}
    deidentifier = Deidentifier(Options(**options), Key(secret, pseudonyms))
    change = None
    if face is not None:
        from imaging.deidentify.wipe import wipe_frames

        plane = Plane(**face["plane"])
        change = lambda dataset: wipe_frames(dataset, plane, face["frames"])  # noqa: E731
    clean = deidentifier.file(Path(source), Path(target), change_pixels=change)
    return {"actions": _listed(clean.actions)}


def _listed(actions: dict[tuple[str, str], int]) -> list[list[Any]]:
    return [[title, action, count] for (title, action), count in actions.items()]


def _reason(error: ImagingError) -> str:
    return ". ".join(filter(None, (error.what, error.advice)))
