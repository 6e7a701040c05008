"""What one DICOM file tells, as a value that can be kept between openings."""

from __future__ import annotations

from dataclasses import dataclass, field

from imaging.dicom.stacks.describe import Study
from imaging.series import FoundObject, Frame


@dataclass(frozen=True)
class FileRecord:
    """The outcome of reading the header of one file.

    Parameters
    ----------
    path : str
    size : int
        Bytes of the file (of the data set where it is deflated).
    group : str
        What the files of one series share; empty where the file holds no image.
    frames : tuple of Frame
        Its images, in file order.
    study : Study or None
        Patient, study and series; only one record of a series needs it.
    found : FoundObject or None
        The mask, map, contours or report in the file.
    """

    path: str
    size: int
    group: str = ""
    frames: tuple[Frame, ...] = field(default=(), repr=False)
    study: Study | None = None
    found: FoundObject | None = None
