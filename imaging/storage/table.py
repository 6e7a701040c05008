"""Tables as CSV files: UTF-8, comma, quotes where needed, one line per row (RFC 4180)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from imaging.atomic import write_atomic
from imaging.errors import WorldFailed

#: A cell that starts with one of these would be run as a formula by a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def write_table(
    path: Path, header: Sequence[str], rows: Iterable[Mapping[str, object] | Sequence[object]]
) -> list[Path]:
    """Write rows under a header.

    Numbers go out as they print, None as an empty cell. Text that a spreadsheet would take for a
    formula gets a leading apostrophe.

    Parameters
    ----------
    header : sequence of str
        Column names, in order; also the keys of rows given as mappings (a missing key is an empty
        cell).

    Returns
    -------
    list of Path
        The file.

    Raises
    ------
    WorldFailed
        Where the disk refuses or what was read back differs.
    """
    cells = [[_cell(h) for h in header]]
    for row in rows:
        values = [row.get(h) for h in header] if isinstance(row, Mapping) else list(row)
        if len(values) != len(header):
            raise ValueError(f"a row has {len(values)} cells under {len(header)} columns")
        cells.append([_cell(v) for v in values])
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\r\n").writerows(cells)

    def verify(aside: Path) -> None:
        with open(aside, encoding="utf-8", newline="") as file:
            if list(csv.reader(file)) != cells:
                raise WorldFailed("The table read back differs from what was written", path.name)

    def write(aside: Path) -> None:
        aside.write_bytes(text.getvalue().encode("utf-8"))

    return [write_atomic(path, write, verify)]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    return str(value)
