"""Names, colours and meanings of the labels of a mask: from its own header or a file beside it.

In this order: the segments of a ``.seg.nrrd``, an ITK-SNAP label description (``name.label.txt``,
the only ``*.label.txt`` of the folder, or ``labels.txt``), the table of a BIDS ``_dseg`` file.
Source: vtkMRMLSegmentationStorageNode and vtkSlicerTerminologyEntry (3D Slicer), ITK-SNAP
``ColorLabelTable.cxx``, BIDS "Imaging derivatives".
"""

from __future__ import annotations

import csv
import os
import re
import time
from collections.abc import Iterable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from imaging.dicom.codes import code_for, side_for
from imaging.dicom.header.vetting import safe_uid
from imaging.segmentation import (
    AUTOMATIC,
    LESION_CATEGORY,
    LESION_TYPE,
    MANUAL,
    PALETTE,
    SEMIAUTOMATIC,
    Code,
    Segment,
)
from imaging.storage.bids_json import with_end
from imaging.storage.label_file import label_rows

MAX_BYTES = 4 << 20
#: A folder changed later than this may change again within one tick of its clock.
_SETTLED_NS = 2_000_000_000
_ENDS = (".seg.nrrd", ".nrrd", ".nhdr", ".mha", ".mhd")
_ALGORITHM_TYPES = (AUTOMATIC, SEMIAUTOMATIC, MANUAL)


class Named(NamedTuple):
    """A label as a file names it.

    Parameters
    ----------
    value : int
        The number its voxels have.
    layer : int
        The image they lie in; only ``.seg.nrrd`` has more than one.
    segment : Segment
        With a number that stands in until the mask is read.
    """

    value: int
    layer: int
    segment: Segment


class Names(NamedTuple):
    """All labels that are named, and the file they are named in.

    Parameters
    ----------
    complete : bool
        True where the names were made for this very file, so that a label without voxels was
        looked for and not found.
    """

    labels: tuple[Named, ...] = ()
    file: str = ""
    complete: bool = False


def slicer_names(pairs: Mapping[str, str], layers: int) -> tuple[Named, ...]:
    """The segments of a ``.seg.nrrd`` header.

    Files older than Slicer 4.11 have one segment in each layer, its voxels 1.
    """
    count = 0
    while f"Segment{count}_ID" in pairs:
        count += 1
    found = []
    for number in range(count):
        own = {
            key.split("_", 1)[1]: value
            for key, value in pairs.items()
            if key.startswith(f"Segment{number}_")
        }
        value = _whole(own.get("LabelValue", "1"), 1)
        layer = _whole(own.get("Layer", str(number if layers > 1 else 0)), 0)
        found.append(Named(value, layer, _slicer_segment(own, number)))
    return tuple(found)


def _slicer_segment(own: Mapping[str, str], number: int) -> Segment:
    name = _clean(own.get("Name") or own.get("ID") or f"Segment {number + 1}")
    tags = dict(part.split(":", 1) for part in own.get("Tags", "").split("|") if ":" in part)
    terms = tags.get("TerminologyEntry", "").split("~")
    terms += [""] * (7 - len(terms))
    category, kind = _code(terms[1]), _code(terms[2])
    if kind is None:
        category, kind = _meant(name)
    made = _clean(tags.get("DICOM.SegmentAlgorithmType", "")).upper()
    by_hand = made == MANUAL or made not in _ALGORITHM_TYPES
    return Segment(
        1,
        name,
        _slicer_colour(own.get("Color", "")) or PALETTE[number % len(PALETTE)],
        category or LESION_CATEGORY,
        kind,
        MANUAL if by_hand else made,
        tracking_uid=safe_uid(tags.get("DICOM.TrackingUniqueIdentifier", "").strip()),
        region=_code(terms[5]) or _code(terms[3]),
        algorithm="" if by_hand else _clean(tags.get("DICOM.SegmentAlgorithmName", "")),
        algorithm_version=_clean(tags.get("Isocenter.AlgorithmVersion", "")),
    )


def _code(text: str) -> Code | None:
    """``scheme^value^meaning``, None where a part is missing."""
    parts = [_clean(part, 64) for part in text.split("^")]
    if len(parts) < 3 or not all(parts[:3]):
        return None
    return Code(parts[1], parts[0], parts[2])


def _slicer_colour(text: str) -> tuple[int, int, int] | None:
    try:
        parts = [round(min(1.0, max(0.0, float(word))) * 255) for word in text.split()]
    except ValueError:
        return None
    return (parts[0], parts[1], parts[2]) if len(parts) == 3 else None


def names_beside(path: str) -> Names:
    """The labels that a file beside a mask names; empty where there is none that fits."""
    stem = _stem(path)
    for file, exact in _label_files(path, stem):
        if rows := _itk_snap(file):
            return Names(rows, file, exact)
    table = stem + ".tsv"
    return Names(rows, table, True) if (rows := _table(table)) else Names()


def plain_segment(
    value: int, name: str = "", colour: tuple[int, int, int] | None = None
) -> Segment:
    """A label of which only a number and perhaps a name is known."""
    category, kind = _meant(name)
    return Segment(
        1, name or f"Label {value}", colour or PALETTE[(value - 1) % len(PALETTE)], category, kind,
        region=side_for(name),
    )  # fmt: skip


def _meant(name: str) -> tuple[Code, Code]:
    known = code_for(name)
    return (known.category, known.type) if known else (LESION_CATEGORY, LESION_TYPE)


def _stem(path: str) -> str:
    for end in _ENDS:
        if path.lower().endswith(end):
            return path[: -len(end)]
    return with_end(path, "")


def _label_files(path: str, stem: str) -> Iterable[tuple[str, bool]]:
    """Candidates for a label description, and whether they bear the name of the mask."""
    yield stem + ".label.txt", True
    folder = os.path.dirname(path)
    if name := _name_for_all(folder or os.curdir):
        yield os.path.join(folder, name), False
    yield os.path.join(folder, "labels.txt"), False


def _name_for_all(folder: str) -> str:
    """The only label description of a folder, where it bears no image's name; else empty."""
    try:
        changed = os.stat(folder).st_mtime_ns
        if time.time_ns() - changed < _SETTLED_NS:
            return _look_into(folder)
        return _looked_into(folder, changed)
    except OSError:
        return ""


@lru_cache(maxsize=256)
def _looked_into(folder: str, changed: int) -> str:
    """The same for a folder as it was then: hundreds of masks of one folder look once."""
    return _look_into(folder)


def _look_into(folder: str) -> str:
    every = os.listdir(folder)
    names = [name for name in every if name.endswith(".label.txt")]
    return names[0] if len(names) == 1 and not _of_another(names[0], every) else ""


def _of_another(label_file: str, every: list[str]) -> bool:
    """True where a label description bears the name of an image in its folder."""
    stem = label_file.removesuffix(".label.txt")
    return any(_stem(name) == stem and name != label_file for name in every)


def _itk_snap(file: str) -> tuple[Named, ...]:
    text = _text(file)
    if not text:
        return ()
    rows = label_rows(text)
    return tuple(
        Named(row.number, 0, plain_segment(row.number, _clean(row.name), row.colour))
        for row in rows or ()
        if row.number
    )


def _table(file: str) -> tuple[Named, ...]:
    """The ``index``, ``name`` and ``color`` columns of a BIDS look-up table."""
    text = _text(file)
    try:
        rows = list(csv.DictReader(text.splitlines(), delimiter="\t"))
    except csv.Error:
        return ()
    found = []
    for row in rows:
        number, name = _whole(row.get("index") or "", 0), _clean(row.get("name") or "")
        colour = re.fullmatch(r"#?([0-9a-fA-F]{6})", (row.get("color") or "").strip())
        if number and name:
            rgb = tuple(bytes.fromhex(colour[1])) if colour else None
            found.append(Named(number, 0, plain_segment(number, name, rgb)))  # type: ignore[arg-type]
    return tuple(found)


def _text(file: str) -> str:
    """A small text file; empty where there is none."""
    try:
        if not os.path.isfile(file) or os.path.getsize(file) > MAX_BYTES:
            return ""
        return Path(file).read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return ""


def _whole(text: str, default: int) -> int:
    return int(text) if re.fullmatch(r"\s*-?\d{1,9}\s*", text) else default


def _clean(text: str, limit: int = 200) -> str:
    """One line for people, not endless."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:limit]
