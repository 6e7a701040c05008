"""The table of contents of a DICOM disc: which files it promises, and which are not there.

What lies in the folder counts, never what the table says: nothing is opened because a DICOMDIR
names it, and names that lead out of its folder are only counted.

Source: DICOM PS3.3 annex F (basic directory), PS3.10 section 8 (file IDs).
"""

from __future__ import annotations

import os
from pathlib import PurePosixPath

from imaging.dicom.header.read import identified, open_data, read_sequences
from imaging.dicom.header.tags import DICOMDIR_CLASS
from imaging.errors import BadInput

_RECORDS, _FILE_ID = 0x00041220, 0x00041500
_HEAD_BYTES = 1024
_MAX_DEPTH = 16


def is_dicomdir(path: str) -> bool:
    """True where a file says that it is the table of contents of a disc, whatever its name."""
    try:
        with open(path, "rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    return head[128:132] == b"DICM" and DICOMDIR_CLASS.encode() in head


def what_is_missing(path: str) -> str:
    """One sentence about files that a DICOMDIR names and that are not there; empty where all are.

    Parameters
    ----------
    path : str
        The DICOMDIR; its names are looked up in its folder, upper or lower case alike.
    """
    from imaging import sandbox

    try:
        names = sandbox.run_limited(
            "imaging.dicom.header.media:names_in_worker", path, where=path, kind=list[str]
        )
    except BadInput:
        return "The table of contents (DICOMDIR) is damaged; its folder was searched instead."
    root = os.path.realpath(os.path.dirname(path) or os.curdir)
    inside = [name for name in names if not _leads_out(name, root)]
    sentences = []
    if len(inside) < len(names):
        count = len(names) - len(inside)
        sentences.append(f"{_files(count)} named in the DICOMDIR {_are(count)} outside its folder")
    folders: dict[str, dict[str, str]] = {}
    missing = sum(not _is_there(root, name, folders) for name in inside)
    if missing:
        sentences.append(f"{missing} of the {len(names)} files named in the DICOMDIR are not there")
    return "; ".join(sentences) + "." if sentences else ""


def names_in_worker(path: str) -> list[str]:
    """The files that the records of a DICOMDIR name, each with slashes between its parts.

    The records are taken one after the other; their offsets, which are often wrong, do not count.

    Raises
    ------
    BadInput
        Where the file cannot be followed.
    """
    header = identified(path)
    with open_data(header) as source:
        data = read_sequences(header, source, (_RECORDS,))
    records = data.get(_RECORDS)
    if records is None:
        raise BadInput("The table of contents is damaged", path)
    names = []
    for record in records.value:
        value = record.get(_FILE_ID)
        if value is None or not value.value:
            continue
        parts = [value.value] if isinstance(value.value, str) else list(value.value)
        names.append("/".join(str(part) for part in parts))
    return names


def _leads_out(name: str, root: str) -> bool:
    """True for names that are no plain way down from the folder of the DICOMDIR."""
    parts = PurePosixPath(name).parts
    odd = any(part in ("..", "/") or set(part) & set('\\:*?"<>|\0') for part in parts)
    if odd or not parts or len(parts) > _MAX_DEPTH:
        return True
    real = os.path.realpath(os.path.join(root, *parts))
    return os.path.commonpath((root, real)) != root


def _is_there(root: str, name: str, folders: dict[str, dict[str, str]]) -> bool:
    at = root
    for part in PurePosixPath(name).parts:
        if at not in folders:
            try:
                folders[at] = {entry.lower(): entry for entry in os.listdir(at)}
            except OSError:
                folders[at] = {}
        found = folders[at].get(part.lower())
        if found is None:
            return False
        at = os.path.join(at, found)
    return os.path.isfile(at)


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _are(count: int) -> str:
    return "is" if count == 1 else "are"
