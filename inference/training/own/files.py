"""Text files of a training: whole before or after, and read back with a sentence where spoiled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from imaging.atomic import write_atomic
from imaging.errors import BadInput

__all__ = ["read_table", "write_text"]


def write_text(file: Path, text: str) -> None:
    """Write a text, or leave what was there.

    Raises
    ------
    WorldFailed
        Where the disk refuses.
    """
    write_atomic(file, lambda aside: _write(aside, text))


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")


def read_table(file: Path) -> dict[str, Any]:
    """A JSON object.

    Raises
    ------
    BadInput
        Where it cannot be read or is none.
    """
    try:
        table = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(
            "A file of the training cannot be read", file.name, "Start anew in another folder"
        ) from error
    if not isinstance(table, dict):
        raise BadInput(
            "A file of the training cannot be read", file.name, "Start anew in another folder"
        )
    return table
