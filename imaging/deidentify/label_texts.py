"""Names of labels without what nobody else may know: of a file beside a mask, or one by one."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection
from pathlib import Path

from imaging.deidentify.text import cleaned
from imaging.errors import BadInput
from imaging.storage.label_file import label_rows

MAX_BYTES = 4 << 20
_COLUMNS = ("index", "name", "color")


def clean_label(name: str, number: int | str, forbidden: Collection[str] = (), kind="Label") -> str:
    """The known words of a name; ``Label 3`` where there is none or only a number."""
    words = cleaned(name, forbidden)
    return words if re.search(r"[^\W\d_]", words) else f"{kind} {number}".strip()


def names_labels(path: Path) -> bool:
    """True for an ITK-SNAP label description and the table of a BIDS ``_dseg`` file."""
    text = _text(path)
    if path.suffix.lower() == ".tsv":
        return set(_COLUMNS[:2]) <= set(text.partition("\n")[0].strip().split("\t"))
    return bool(label_rows(text))


def clean_labels(path: Path) -> tuple[str, list[str]]:
    """The file with clean names, and the names that went.

    Raises
    ------
    BadInput
        Where a line makes no sense.
    """
    text = _text(path)
    if path.suffix.lower() == ".tsv":
        return _table(text, path)
    rows = label_rows(text)
    if not rows:
        raise BadInput("A line of the label file cannot be understood", str(path))
    lines, gone = [], []
    for row in rows:
        name = "Clear Label" if row.number == 0 else clean_label(row.name, row.number)
        gone += [row.name] if name != row.name else []
        red, green, blue = row.colour
        shown = int(row.number > 0)
        lines.append(
            f"{row.number:5d} {red:5d} {green:4d} {blue:4d} {shown:9d} {shown:2d} {shown:2d}"
            f'    "{name}"\n'
        )
    return "".join(lines), gone


def _table(text: str, path: Path) -> tuple[str, list[str]]:
    made, gone = io.StringIO(), []
    writer = csv.writer(made, delimiter="\t", lineterminator="\n")
    writer.writerow(_COLUMNS)
    try:
        for row in csv.DictReader(text.splitlines(), delimiter="\t"):
            number, colour = (row.get("index") or "").strip(), (row.get("color") or "").strip()
            if not re.fullmatch(r"\d{1,9}", number):
                raise BadInput("A line of the label table has no number", str(path))
            old = (row.get("name") or "").strip()
            name = clean_label(old, number)
            gone += [old] if name != old else []
            gone += [cell for key, cell in row.items() if key not in _COLUMNS and cell and key]
            safe = colour if re.fullmatch(r"#?[0-9a-fA-F]{6}", colour) else ""
            writer.writerow((number, name, safe))
    except csv.Error as error:
        raise BadInput("The label table cannot be read", str(path)) from error
    return made.getvalue(), [text for text in gone if isinstance(text, str)]


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            return ""
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return ""
