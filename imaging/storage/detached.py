"""The file beside a header that holds its voxels: by name, and only in the folder of the header."""

from __future__ import annotations

import os
import re

from imaging.errors import BadInput

_DRIVE = re.compile(r"^[A-Za-z]:")


def beside(path: str, name: str) -> str:
    """The path of a file that a header names.

    Parameters
    ----------
    path : str
        The header.
    name : str
        As it stands there; it must lie in the folder of the header or below it.

    Raises
    ------
    BadInput
        Where the name leads out of the folder (also by a link) or there is no such file.
    """
    parts = name.strip().replace("\\", "/").split("/")
    if not parts[0] or ".." in parts or _DRIVE.match(parts[0]) or "\0" in name:
        raise BadInput(
            "The header names a file outside its folder, which is not opened",
            path,
            "Put both files into one folder and write the name alone",
        )
    folder = os.path.dirname(path)
    found = os.path.join(folder, *[part for part in parts if part not in ("", ".")])
    if not os.path.isfile(found):
        raise BadInput(
            "The file with the voxels that the header names is missing",
            path,
            "Put it beside the header; unpack an archive first",
        )
    inside, real = os.path.realpath(folder or os.curdir), os.path.realpath(found)
    if os.path.commonpath([inside, real]) != inside:
        raise BadInput("The file with the voxels is a link out of its folder", path)
    return found
