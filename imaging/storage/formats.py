"""The table of whole-volume file formats: how each is recognised and read.

A new format is a row here and a reader that gives :class:`imaging.storage.file_head.Found`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imaging.errors import BadInput
from imaging.storage import nifti_read
from imaging.storage.file_head import Found, Head


@dataclass(frozen=True)
class FileFormat:
    """One kind of file.

    Parameters
    ----------
    name : str
        For people.
    is_it : callable
        From the first bytes of a file; must not raise.
    read : callable
        ``read(path, shown)``: the headers only. ``shown`` is a name for people where the file
        itself has none of use (inside an archive). Raises :class:`BadInput` with the reason.
    """

    name: str
    is_it: Callable[[Head], bool]
    read: Callable[[str, str], Found]


def _no_image_inside(path: str, _shown: str) -> Found:
    raise BadInput("The compressed file holds no image of a kind that is read", path)


#: Asked in this order; what no row claims is tried as DICOM.
FORMATS = (
    FileFormat("NIfTI", nifti_read.begins_nifti, nifti_read.read),
    FileFormat("gzip", lambda head: head.gzipped, _no_image_inside),
)


def format_of(head: Head) -> FileFormat | None:
    """The format a file begins as; None where it is none of the table."""
    return next((row for row in FORMATS if row.is_it(head)), None)
