"""How a report points into a Segmentation file: which segment is which label or lesion."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from imaging.errors import BadInput

if TYPE_CHECKING:
    from highdicom.sr import ReferencedSegment
    from pydicom.dataset import Dataset

_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")


@dataclass(frozen=True, eq=False)
class SegReference:
    """A SEG file, as far as a report needs it.

    Parameters
    ----------
    header : pydicom Dataset
        Without pixels.
    series_uid : str
        The series of images it was made on.
    numbers : dict of str to int
        Tracking UID to segment number.
    """

    path: str
    header: Dataset
    series_uid: str
    numbers: dict[str, int]

    @property
    def study_uid(self) -> str:
        """The study of the file."""
        return str(self.header.StudyInstanceUID)

    def segment(self, tracking_uid: str) -> ReferencedSegment | None:
        """The segment of a label or a lesion; None where the file has none for it."""
        from highdicom.sr import ReferencedSegment, SourceSeriesForSegmentation

        number = self.numbers.get(tracking_uid)
        if number is None:
            return None
        return ReferencedSegment(
            sop_class_uid=str(self.header.SOPClassUID),
            sop_instance_uid=str(self.header.SOPInstanceUID),
            segment_number=number,
            source_series=SourceSeriesForSegmentation(self.series_uid),
        )


def read_seg_reference(path: Path, wanted: Collection[str]) -> SegReference:
    """Read what a report needs of a SEG file.

    Parameters
    ----------
    wanted : collection of str
        Tracking UIDs of labels and lesions, one of which must be there.

    Raises
    ------
    BadInput
        Where the file is no segmentation, names no source series or holds nothing wanted.
    """
    from pydicom import dcmread

    try:
        ds = dcmread(path, stop_before_pixels=True)
    except Exception as error:
        raise BadInput("This is not a readable DICOM file", str(path)) from error
    if str(ds.get("SOPClassUID")) not in _CLASSES:
        raise BadInput("This DICOM file is not a segmentation", str(path))
    numbers = {str(s.get("TrackingUID")): int(s.SegmentNumber) for s in ds.SegmentSequence}
    series = ds.get("ReferencedSeriesSequence")
    if not series or not any(uid in numbers for uid in wanted):
        raise BadInput("The segmentation file holds none of the labels of this mask", str(path))
    return SegReference(str(path), ds, str(series[0].SeriesInstanceUID), numbers)
