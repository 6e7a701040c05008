"""The ITK-SNAP label description file: number, colour and name of each label.

Columns IDX R G B (0-255) A (0-1) VIS MSH "LABEL"; label 0 is the clear label. Source: ITK-SNAP
``ColorLabelTable.cxx``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import NamedTuple

from imaging.atomic import write_atomic
from imaging.errors import BadInput, WorldFailed
from imaging.segmentation import Segment
from imaging.storage.arrays import one_line

_HEADER = """\
################################################
# ITK-SnAP Label Description File
# File format:
# IDX   -R-  -G-  -B-  -A--  VIS MSH  LABEL
# Where:
#    IDX:   Zero-based index
#    -R-:   Red color component (0..255)
#    -G-:   Green color component (0..255)
#    -B-:   Blue color component (0..255)
#    -A-:   Label transparency (0.00 .. 1.00)
#    VIS:   Label visibility (0 or 1)
#    MSH:   Label mesh visibility (0 or 1)
#  LABEL:   Label description
################################################
"""
_LINE = re.compile(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+([\d.]+)\s+([01])\s+([01])\s+"(.*)"\s*$')


def label_file_path(mask: Path) -> Path:
    """Where the label file of a mask goes: ``lesions.nii.gz`` gives ``lesions.label.txt``."""
    name = re.sub(r"\.nii(\.gz)?$|\.nrrd$|\.mha$", "", mask.name, flags=re.IGNORECASE)
    return mask.with_name(f"{name}.label.txt")


def write_label_file(path: Path, segments: Iterable[Segment]) -> list[Path]:
    """Write the names and colours of labels.

    Returns
    -------
    list of Path
        The file.

    Raises
    ------
    WorldFailed
        Where another file has the name, the disk refuses or what was read back differs.
    """
    ordered = sorted(segments, key=lambda s: s.number)
    text = _text(ordered)
    meant = [(s.number, s.colour, _clean(s.name)) for s in ordered]
    check_label_file(path, ordered)

    def verify(aside: Path) -> None:
        if [(s.number, s.colour, s.name) for s in read_label_file(aside)] != meant:
            raise WorldFailed("The label file read back differs from what was written", path.name)

    def write(aside: Path) -> None:
        aside.write_text(text, encoding="utf-8", newline="\n")

    return [write_atomic(path, write, verify)]


def with_label_file(
    path: Path, segments: Collection[Segment], write: Callable[[], Path]
) -> list[Path]:
    """Write a mask and its label file beside it; neither where the latter cannot be.

    Parameters
    ----------
    path : Path
        Of the mask.
    write : callable
        Writes the mask and returns the file.

    Returns
    -------
    list of Path
        Both files.
    """
    check_label_file(label_file_path(Path(path)), segments)
    written = write()
    return [written, *write_label_file(label_file_path(written), segments)]


def check_label_file(path: Path, segments: Iterable[Segment]) -> None:
    """Raise WorldFailed where a file with other labels has this name already."""
    text = _text(sorted(segments, key=lambda s: s.number))
    if path.exists() and path.read_bytes() != text.encode("utf-8"):
        raise WorldFailed(
            "There is already another label file with this name", str(path), "Choose another name"
        )


def read_label_file(path: Path) -> list[Segment]:
    """The labels of a file, without the clear label 0.

    Raises
    ------
    BadInput
        Where a line cannot be understood or a number is above 255.
    """
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise BadInput("The label file cannot be read", str(path)) from error
    rows = label_rows(text)
    if rows is None:
        raise BadInput("A line of the label file cannot be understood", str(path))
    return [Segment(row.number, row.name, row.colour) for row in rows if row.number]


class LabelRow(NamedTuple):
    """One line of a label file; the clear label 0 included."""

    number: int
    colour: tuple[int, int, int]
    name: str


def label_rows(text: str) -> list[LabelRow] | None:
    """The lines of a label file; None where one cannot be understood."""
    rows = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        match = _LINE.match(line)
        if match is None:
            return None
        number, red, green, blue = (min(int(match[n]), 1 << 30) for n in range(1, 5))
        rows.append(LabelRow(number, (min(red, 255), min(green, 255), min(blue, 255)), match[8]))
    return rows


def _text(ordered: Iterable[Segment]) -> str:
    lines = [_line(0, (0, 0, 0), 0.0, 0, "Clear Label")]
    lines += [_line(s.number, s.colour, 1.0, 1, _clean(s.name)) for s in ordered]
    return _HEADER + "".join(lines)


def _line(number: int, colour: tuple[int, int, int], alpha: float, seen: int, name: str) -> str:
    red, green, blue = colour
    return f'{number:5d} {red:5d} {green:4d} {blue:4d} {alpha:9g} {seen:2d} {seen:2d}    "{name}"\n'


def _clean(name: str) -> str:
    """A name that fits between quotes on one line: double quotes become single ones."""
    return one_line(name.replace('"', "'"))
