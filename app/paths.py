"""Paths as they are kept: whole, so that they hold wherever the program is started next."""

from __future__ import annotations

from pathlib import Path


def absolute(path: Path) -> Path:
    """The same place from the root; links stay, except where ``..`` must be followed."""
    return path.resolve() if ".." in path.parts else path.absolute()
