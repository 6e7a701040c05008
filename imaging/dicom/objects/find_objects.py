"""What in a folder is no image but belongs to images: masks, contours, maps, reports.

Called for every file of a scan, so only the few sequences are read that say what an object is and
which images it refers to; the frames and contours themselves stay unread.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from imaging.dicom.header.read import open_data, read_header, read_sequences
from imaging.dicom.header.tags import Header
from imaging.dicom.header.vetting import safe_uid
from imaging.dicom.objects.object_file import (
    MAP_CLASS,
    MAX_CONTOUR_BYTES,
    MAX_MASK_BYTES,
    MAX_REPORT_BYTES,
    REPORT_FAMILY,
    SEG_CLASSES,
    STRUCTURE_CLASS,
    clean,
    first_item,
)
from imaging.dicom.stacks.describe import study_of
from imaging.errors import BadInput
from imaging.series import PARAMETRIC_MAP, REPORT, SEGMENTATION, STRUCTURE_SET, FoundObject

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_LIMITS = {
    SEGMENTATION: MAX_MASK_BYTES,
    PARAMETRIC_MAP: MAX_MASK_BYTES,
    STRUCTURE_SET: MAX_CONTOUR_BYTES,
    REPORT: MAX_REPORT_BYTES,
}
#: Character set, maker, references, segments, structures, labels, evidence and content.
_TAGS = (
    0x00080005, 0x00080070, 0x00081090, 0x00081115, 0x00082112, 0x00200052, 0x00280008,
    0x00620001, 0x00620002, 0x00700080, 0x00700081, 0x30060002, 0x30060004, 0x30060010, 0x30060020,
    0x0040A043, 0x0040A375, 0x0040A385, 0x0040A491, 0x0040A493, 0x0040A504, 0x0040A730,
)  # fmt: skip
_MAX_REFERENCES = 20_000


def kind_of(header: Header) -> str:
    """Which kind of object a file holds; empty where it is something else."""
    sop_class = header.text(0x00080016)
    if sop_class in SEG_CLASSES:
        return SEGMENTATION
    if sop_class.startswith(REPORT_FAMILY):
        return REPORT
    return {MAP_CLASS: PARAMETRIC_MAP, STRUCTURE_CLASS: STRUCTURE_SET}.get(sop_class, "")


def find_object(header: Header) -> FoundObject | None:
    """Read what a mask, contours, a map or a report refers to.

    Returns
    -------
    FoundObject or None
        None where the file is none of them.

    Raises
    ------
    BadInput
        Where it is one and cannot be used.
    """
    kind = kind_of(header)
    if not kind:
        return None
    from imaging.sandbox import pool

    size = os.path.getsize(header.path)
    if size > _LIMITS[kind]:
        raise BadInput(f"The {kind} has {size >> 20} MB, which is too large", header.path)
    if header.long and not pool.INSIDE:
        return pool.run_limited(
            "imaging.dicom.objects.find_objects:find_in_worker",
            header.path,
            header.names_as,
            where=header.path,
            kind=FoundObject,
        )
    try:
        with open_data(header) as source:
            ds = read_sequences(header, source, _TAGS)
        return _described(header, kind, ds)
    except MemoryError:
        raise
    except Exception as error:  # pydicom raises many kinds
        raise BadInput(f"The header of the {kind} is damaged", header.path) from error


def find_in_worker(path: str, names_as: str) -> FoundObject | None:
    """The other side of :func:`find_object` for long headers."""
    header = read_header(path)
    header.names_as = names_as
    return find_object(header)


def _described(header: Header, kind: str, ds: Dataset) -> FoundObject:
    study = study_of(header)
    series, instances = _references(ds)
    own = safe_uid(header.text(0x00080018))
    name = own or os.path.abspath(header.path)
    return FoundObject(
        key=hashlib.sha1(f"object|{name}".encode(), usedforsecurity=False).hexdigest(),
        kind=kind,
        path=header.path,
        title=_title(header, kind, ds),
        details=_details(kind, ds),
        source=study.source,
        series_uids=series,
        instance_uids=instances,
        frame_of_reference=_frame_of_reference(ds, study.frame_of_reference),
    )


def _title(header: Header, kind: str, ds: Dataset) -> str:
    """The series description, else what the content is called, else the file name."""
    texts: list[object] = [header.human(0x0008103E)]
    if kind == STRUCTURE_SET:
        texts += [ds.get("StructureSetName"), ds.get("StructureSetLabel")]
    elif kind == REPORT:
        concept = first_item(ds, "ConceptNameCodeSequence")
        texts.append(concept.get("CodeMeaning") if concept is not None else None)
    else:
        labels = [clean(s.get("SegmentLabel"), 40) for s in _segments(ds)[:3]]
        named = ", ".join(label for label in labels if label)
        texts += [ds.get("ContentDescription"), named, ds.get("ContentLabel")]
    found = (clean(text, 120) for text in texts)
    return next((text for text in found if text), os.path.basename(header.path))


def _details(kind: str, ds: Dataset) -> str:
    maker = clean(ds.get("ManufacturerModelName") or ds.get("Manufacturer"), 40)
    if kind == SEGMENTATION:
        items = _segments(ds)
        words = _counted(len(items), "segment")
        algorithm = next((clean(s.get("SegmentAlgorithmName"), 40) for s in items
                          if s.get("SegmentAlgorithmName")), "")  # fmt: skip
        if str(ds.get("SegmentationType")) == "FRACTIONAL":
            words += ", fractions"
        maker = algorithm or maker
    elif kind == STRUCTURE_SET:
        words = _counted(len(ds.get("StructureSetROISequence") or []), "structure")
    elif kind == PARAMETRIC_MAP:
        words = _counted(int(ds.get("NumberOfFrames") or 1), "slice")
    else:
        from imaging.dicom.objects.read_report import count_measurements

        count = count_measurements(ds)
        words = _counted(count, "measurement") if count else ""
    return " · ".join(part for part in (words, maker) if part)


def _segments(ds: Dataset) -> list[Dataset]:
    """Without the background of a label map."""
    return [s for s in ds.get("SegmentSequence") or [] if s.get("SegmentNumber") != 0]


def _counted(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def _frame_of_reference(ds: Dataset, own: str) -> str:
    """Its own frame of reference; a structure set names it beside its structures."""
    if own:
        return own
    for name in ("StructureSetROISequence", "ReferencedFrameOfReferenceSequence"):
        for item in ds.get(name) or []:
            uid = item.get("ReferencedFrameOfReferenceUID") or item.get("FrameOfReferenceUID")
            if uid:
                return safe_uid(str(uid))
    return ""


def _references(ds: Dataset) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Series and instances that an object refers to, each once, in order."""
    series: dict[str, None] = {}
    instances: dict[str, None] = {}
    for item in _series_items(ds):
        series[safe_uid(str(item.get("SeriesInstanceUID") or ""))] = None
        for name in ("ReferencedInstanceSequence", "ReferencedSOPSequence", "ContourImageSequence"):
            _note(instances, item.get(name))
    _note(instances, ds.get("SourceImageSequence"))
    for known in (series, instances):
        known.pop("", None)
    return tuple(series), tuple(instances)


def _note(instances: dict[str, None], items: object) -> None:
    for item in items or ():  # type: ignore[attr-defined]
        if len(instances) < _MAX_REFERENCES:
            instances[safe_uid(str(item.get("ReferencedSOPInstanceUID") or ""))] = None


def _series_items(ds: Dataset) -> list[Dataset]:
    """Items that name a series: of masks and maps, of structure sets, of reports."""
    found = list(ds.get("ReferencedSeriesSequence") or [])
    for frame in ds.get("ReferencedFrameOfReferenceSequence") or []:
        for study in frame.get("RTReferencedStudySequence") or []:
            found += study.get("RTReferencedSeriesSequence") or []
    for name in ("CurrentRequestedProcedureEvidenceSequence", "PertinentOtherEvidenceSequence"):
        for study in ds.get(name) or []:
            found += study.get("ReferencedSeriesSequence") or []
    return found
