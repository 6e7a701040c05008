"""The table of whole-volume file formats: how each is recognised and read.

A new format is a row here and a reader that gives :class:`imaging.storage.grid_file.GridFile`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from imaging.errors import BadInput, OtherFile
from imaging.storage import mha_read, nifti_read, nrrd_read
from imaging.storage.file_head import Found, Head, read_head
from imaging.storage.grid_file import GridFile, grid_series
from imaging.storage.label_names import names_beside
from imaging.storage.label_voxels import find_labels


@dataclass(frozen=True)
class FileFormat:
    """One kind of file.

    Parameters
    ----------
    name : str
        For people.
    is_it : callable
        From the first bytes of a file; must not raise.
    read_grid : callable
        ``read_grid(path, shown)``: the header only. ``shown`` is a name for people where the file
        itself has none of use (inside an archive). Raises :class:`BadInput` with the reason.
    """

    name: str
    is_it: Callable[[Head], bool]
    read_grid: Callable[[str, str], GridFile]

    def read(self, path: str, shown: str = "") -> Found:
        """What a file of this format holds: an image, or a mask.

        Raises
        ------
        BadInput
            Where it cannot be used; one sentence.
        """
        grid = self.read_grid(path, shown)
        series = grid_series(grid, shown)
        mask = find_labels(grid, shown)
        if mask is None:
            return Found((series,), used=grid.used)
        names = names_beside(path).file
        return Found((), (mask,), (*grid.used, names) if names else grid.used)


def _no_image_inside(path: str, _shown: str) -> GridFile:
    raise OtherFile("The compressed file holds no image of a kind that is read", path)


#: Asked in this order; what no row claims is tried as DICOM.
FORMATS = (
    FileFormat("NIfTI", nifti_read.begins_nifti, nifti_read.read_grid),
    FileFormat("Analyze", nifti_read.begins_analyze, nifti_read.refuse_analyze),
    FileFormat(
        "NIfTI", lambda head: bool(nifti_read.header_of(head.path)), nifti_read.read_by_image
    ),
    FileFormat("NRRD", nrrd_read.begins_nrrd, nrrd_read.read_grid),
    FileFormat("MetaImage", mha_read.begins_metaimage, mha_read.read_grid),
    FileFormat("gzip", lambda head: head.gzipped, _no_image_inside),
)


def format_of(head: Head) -> FileFormat | None:
    """The format a file begins as; None where it is none of the table."""
    return next((row for row in FORMATS if row.is_it(head)), None)


def grid_of(path: str) -> GridFile:
    """What the header of a whole-volume file says.

    Raises
    ------
    BadInput
        Where it is of no known format or cannot be used.
    """
    known = format_of(read_head(path))
    if known is None:
        raise BadInput("The file is no image of a kind that is read", path)
    return known.read_grid(path, "")
