"""Lesion measurements as a Comprehensive 3D SR report, template TID 1500.

One TID 1411 group for each label as a whole and one for each lesion. A group points to the segment
of a SEG file that is exactly what was measured; a lesion that is only a part of a segment carries
its own outlines in patient space instead, so that no program shows the numbers of one lesion on
all of them. One TID 1501 group gives count and volume of everything. Source: DICOM PS3.16 TID 1500
(:mod:`imaging.dicom.writing.sr_content`); PS3.3 A.35.13, C.17.2 (SR Document General).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from imaging.analysis.lesions import Lesion, lesion_uid
from imaging.atomic import next_version, write_atomic
from imaging.dicom.writing.derived import contributing_equipment
from imaging.dicom.writing.parts import check_writable, person_name
from imaging.dicom.writing.references import (
    body_part,
    imported_as_dicom,
    name_series,
    object_header,
    quiet,
    read_header,
    referable,
)
from imaging.dicom.writing.seg_reference import SegReference, read_seg_reference
from imaging.dicom.writing.sr_content import ReportContent, observers
from imaging.dicom.writing.write import cut_text, save
from imaging.errors import BadInput, WorldFailed
from imaging.segmentation import Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

COMPREHENSIVE_3D_SR = "1.2.840.10008.5.1.4.1.1.88.34"


def write_report(
    path: Path,
    segmentation: Segmentation,
    volume: Volume,
    lesions: Sequence[Lesion],
    *,
    seg_path: Path | None = None,
    observer: str = "",
    verified: bool = False,
    turn: int = 1,
) -> Path:
    """Write volumes, diameters and signal of lesions as a measurement report.

    A volume that did not come from DICOM is first written as a derived MR series in a folder
    ``<name>-images`` beside the file, unless ``seg_path`` names a file that refers to one already.

    Parameters
    ----------
    path : Path
        Replaced as a whole or not at all.
    lesions : sequence of Lesion
        Parts of labels of this mask; none at all is a finding too.
    seg_path : Path, optional
        A SEG file of this mask, whose segments the groups point to. One written with ``lesions``
        (see :func:`imaging.dicom.writing.seg.write_seg`) has a segment for each lesion.
    observer : str
        The person, as ``Family^Given`` or in plain words; only the program where empty.
    verified : bool
        True once that person has signed: the report is then complete and verified, else it is
        partial and unverified.
    turn : int
        Which export of the case this is, from 1: it numbers the series.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    BadInput
        Where the SEG belongs to another study or mask, nobody is named who has signed, or the grid
        cannot be told in DICOM.
    WorldFailed
        Where the disk refuses, a source file has gone or what was read back differs.
    """
    path = Path(path)
    check_writable(segmentation.geometry, volume, segmentation.name, sheared=True)
    if verified and not person_name(observer):
        raise BadInput("A report is verified by a person, and none is named", segmentation.name)
    with quiet():
        seg = None
        if seg_path is not None:
            uids = [s.tracking_uid for s in segmentation.segments]
            uids += [lesion_uid(segmentation, lesion) for lesion in lesions]
            seg = read_seg_reference(seg_path, uids)
        if seg is None and not referable(volume):
            volume = imported_as_dicom(volume, next_version(path.with_name(f"{path.stem}-images")))
        ds = _build(segmentation, volume, lesions, seg, observer, verified)
        name_series(ds, 904, f"{cut_text(segmentation.name, 45)}: measurements", turn)

    def verify(aside: Path) -> None:
        from pydicom import dcmread

        back = dcmread(aside)
        if back.SOPInstanceUID != ds.SOPInstanceUID or _numbers(back) != _numbers(ds):
            raise WorldFailed("The report read back differs from what was written", path.name)

    return write_atomic(path, lambda aside: save(ds, aside), verify)


def _numbers(item: Dataset) -> list[tuple[str, str]]:
    """Everything the content tree says, in order: names and values."""
    said = []
    for child in item.get("ContentSequence") or []:
        measured = child.get("MeasuredValueSequence")
        value = measured[0].NumericValue if measured else child.get("UID", child.get("TextValue"))
        name = child.get("ConceptNameCodeSequence")
        said.append((str(name[0].CodeValue) if name else "", str(value)))
        said += _numbers(child)
    return said


def _build(
    segmentation: Segmentation,
    volume: Volume,
    lesions: Sequence[Lesion],
    seg: SegReference | None,
    observer: str,
    verified: bool,
) -> Dataset:
    """The whole object. Its header is ours: highdicom copies and searches the tree many times."""
    alone = seg is not None and not referable(volume)
    original = seg.header if seg is not None and alone else read_header(volume.source)
    ds = object_header(original, volume, "SR", 904, f"{segmentation.name}: measurements")
    if seg is not None and str(ds.StudyInstanceUID) != seg.study_uid:
        raise BadInput("The segmentation file belongs to another study than the image", seg.path)
    frame = str(ds.FrameOfReferenceUID)
    del ds.FrameOfReferenceUID, ds.PositionReferenceIndicator
    content = ReportContent(segmentation, volume, seg, frame, body_part(original))
    report = content.report(lesions, observers(observer))[0]
    for element in report:
        ds[element.tag] = element
    ds.SOPClassUID = COMPREHENSIVE_3D_SR
    ds.ContentDate, ds.ContentTime = ds.InstanceCreationDate, ds.InstanceCreationTime
    ds.ReferencedPerformedProcedureStepSequence = []
    ds.PerformedProcedureCodeSequence = []
    ds.PreliminaryFlag = "FINAL" if verified else "PRELIMINARY"
    ds.CompletionFlag = "COMPLETE" if verified else "PARTIAL"
    ds.VerificationFlag = "VERIFIED" if verified else "UNVERIFIED"
    if verified:
        ds.VerifyingObserverSequence = [_signature(ds, observer, original)]
    images = [] if alone else _instances(volume, str(original.SOPClassUID))
    if images:
        uid = volume.source.series_uid
        ds.PertinentOtherEvidenceSequence = [_evidence(ds.StudyInstanceUID, uid, images)]
    if seg is not None:
        own = _instance(str(seg.header.SOPClassUID), str(seg.header.SOPInstanceUID))
        series = str(seg.header.SeriesInstanceUID)
        ds.CurrentRequestedProcedureEvidenceSequence = [
            _evidence(ds.StudyInstanceUID, series, [own])
        ]
    ds.ContributingEquipmentSequence = [contributing_equipment()]
    return ds


def _signature(ds: Dataset, observer: str, original: Dataset) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.VerifyingObserverName = person_name(observer)
    item.VerifyingObserverIdentificationCodeSequence = []
    item.VerifyingOrganization = str(original.get("InstitutionName") or "Not stated")[:64]
    item.VerificationDateTime = f"{ds.ContentDate}{ds.ContentTime}"
    return item


def _instances(volume: Volume, sop_class: str) -> list[Dataset]:
    return [_instance(sop_class, uid) for uid in dict.fromkeys(volume.source.instance_uids)]


def _instance(sop_class: str, uid: str) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, uid
    return item


def _evidence(study_uid: str, series_uid: str, instances: list[Dataset]) -> Dataset:
    """Objects of one series of the study (PS3.3 C.17.2.3)."""
    from pydicom.dataset import Dataset

    study, series = Dataset(), Dataset()
    series.SeriesInstanceUID = series_uid
    series.ReferencedSOPSequence = instances
    study.StudyInstanceUID = study_uid
    study.ReferencedSeriesSequence = [series]
    return study
