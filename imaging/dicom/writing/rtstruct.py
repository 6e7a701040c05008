"""Masks as RT Structure Sets: one ROI per label, contours in the planes of the acquired slices.

A contour runs along the edges of the voxels, so that it encloses exactly the marked ones: the
areas times the distance between slices are the volume of the mask, up to the rounding of the
coordinates (5e-5 mm). A hole is joined to its outline by a keyhole. Written with pydicom, in
implicit little endian because a contour may be longer than the 64 kB that explicit allows a
decimal string. Source: DICOM PS3.3 A.19, C.8.8.5 (Structure Set), C.8.8.6 (ROI Contour), C.8.8.8
(RT ROI Observations).
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imaging.analysis.contours import outlines
from imaging.atomic import next_version, write_atomic
from imaging.dicom.codes import ANATOMY, ARTIFICIAL_INTELLIGENCE, TISSUE, code_item
from imaging.dicom.objects.placing import Target
from imaging.dicom.objects.read_rtstruct import read_rtstruct
from imaging.dicom.writing.derived import contributing_equipment
from imaging.dicom.writing.parts import algorithm_of, check_writable, chosen_segments, segment_label
from imaging.dicom.writing.references import (
    imported_as_dicom,
    matching_slices,
    object_header,
    quiet,
    read_header,
    referable,
    slice_reference,
)
from imaging.dicom.writing.write import RESEARCH_ONLY, cut_text, new_uid, save
from imaging.errors import WorldFailed
from imaging.geometry import Geometry
from imaging.segmentation import Segment, Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

STRUCTURE_SET = "1.2.840.10008.5.1.4.1.1.481.3"
#: What the standard wants as class of the study (PS3.3 C.8.8.5.3).
_STUDY_MANAGEMENT = "1.2.840.10008.3.1.2.3.1"


def write_rtstruct(
    path: Path,
    segmentation: Segmentation,
    volume: Volume,
    *,
    segments: Collection[int] | None = None,
    turn: int = 1,
) -> Path:
    """Write labels as the structures of an RTSTRUCT that references its source images.

    A label without a voxel keeps its ROI, without contours. A volume that did not come from DICOM
    is first written as a derived MR series in a folder ``<name>-images`` beside the file.

    Parameters
    ----------
    path : Path
        Replaced as a whole or not at all.
    segments : collection of int, optional
        Numbers of the labels to write; all where not given.
    turn : int
        Which export of the case this is, from 1: it numbers the series.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    BadInput
        Where there is nothing to write, or the slices cannot be placed or are in another frame of
        reference than the volume.
    WorldFailed
        Where the disk refuses, a source file has gone or what was read back differs.
    """
    path = Path(path)
    chosen = chosen_segments(segmentation, segments)
    check_writable(segmentation.geometry, volume, segmentation.name, sheared=True)
    if not referable(volume):
        volume = imported_as_dicom(volume, next_version(path.with_name(f"{path.stem}-images")))
    with quiet():
        original = read_header(volume.source)
        ds = _structure_set(original, volume, segmentation, chosen, turn)
    _add_rois(ds, str(original.SOPClassUID), volume, segmentation, chosen)

    def verify(aside: Path) -> None:
        _verify(aside, segmentation, chosen, str(ds.FrameOfReferenceUID))

    return write_atomic(path, lambda aside: save(ds, aside, implicit=True), verify)


def _structure_set(
    original: Dataset,
    volume: Volume,
    segmentation: Segmentation,
    chosen: list[Segment],
    turn: int,
) -> Dataset:
    """Everything but the contours."""
    ds = object_header(original, volume, "RTSTRUCT", 903, segmentation.name, turn)
    ds.SOPClassUID = STRUCTURE_SET
    ds.OperatorsName = None
    ds.StructureSetLabel = _short(segmentation.name) or "Mask"
    ds.StructureSetName = cut_text(segmentation.name)
    ds.StructureSetDescription = RESEARCH_ONLY
    now = datetime.now()
    ds.StructureSetDate, ds.StructureSetTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    ds.ApprovalStatus = "UNAPPROVED"
    ds.ReferencedFrameOfReferenceSequence = [_images(volume, str(original.SOPClassUID), ds)]
    ds.ContributingEquipmentSequence = [contributing_equipment()]
    unit = segmentation.geometry.voxel_ml
    counts = np.bincount(segmentation.labels.ravel(), minlength=256)
    rois = [
        _roi(n, s, segmentation, int(counts[s.number]) * unit)
        for n, s in enumerate(chosen, start=1)
    ]
    for roi in rois:
        roi.ReferencedFrameOfReferenceUID = ds.FrameOfReferenceUID
    ds.StructureSetROISequence = rois
    ds.RTROIObservationsSequence = [_observation(n, s) for n, s in enumerate(chosen, start=1)]
    return ds


def _images(volume: Volume, sop_class: str, ds: Dataset) -> Dataset:
    """The frame of reference and the images whose slices the contours lie in."""
    from pydicom.dataset import Dataset

    series, study, frame = Dataset(), Dataset(), Dataset()
    series.SeriesInstanceUID = volume.source.series_uid
    count = len(volume.source.instance_uids)
    series.ContourImageSequence = [_slice(volume, sop_class, k) for k in range(count)]
    study.ReferencedSOPClassUID = _STUDY_MANAGEMENT
    study.ReferencedSOPInstanceUID = ds.StudyInstanceUID
    study.RTReferencedSeriesSequence = [series]
    frame.FrameOfReferenceUID = ds.FrameOfReferenceUID
    frame.RTReferencedStudySequence = [study]
    return frame


def _slice(volume: Volume, sop_class: str, k: int) -> Dataset:
    item = slice_reference(volume, sop_class, k)
    del item.PurposeOfReferenceCodeSequence
    return item


def _roi(number: int, segment: Segment, segmentation: Segmentation, ml: float) -> Dataset:
    from pydicom.dataset import Dataset

    roi, identity = Dataset(), Dataset()
    roi.ROINumber = number
    roi.ROIName = segment_label(segment)
    roi.ROIDescription = f"{RESEARCH_ONLY}. Contours follow the edges of the marked voxels"
    roi.ROIVolume = f"{ml:.6g}"
    roi.ROIGenerationAlgorithm = segment.algorithm_type
    algorithm = algorithm_of(segment, segmentation.provenance, segmentation.threshold)
    if algorithm is not None:
        roi.ROIGenerationDescription = cut_text(f"{algorithm.name} {algorithm.version}")
        made = Dataset()
        made.AlgorithmFamilyCodeSequence = [code_item(ARTIFICIAL_INTELLIGENCE)]
        made.AlgorithmName, made.AlgorithmVersion = algorithm.name, algorithm.version
        text = ",".join(f"{k}={v}" for k, v in algorithm.parameters.items())
        if text:
            made.AlgorithmParameters = text
        roi.ROIDerivationAlgorithmIdentificationSequence = [made]
    # The label's tracking UID: the thing itself, in whatever object it is told (C.8.8.5).
    identity.ConceptualVolumeUID = segment.tracking_uid or new_uid()
    roi.ConceptualVolumeIdentificationSequence = [identity]
    return roi


def _observation(number: int, segment: Segment) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    item.ObservationNumber = item.ReferencedROINumber = number
    item.ROIObservationLabel = _short(segment_label(segment))
    item.RTROIIdentificationCodeSequence = [code_item(segment.type)]
    # No term fits a lesion that nobody has called a target; the standard allows none (type 2).
    anatomy = segment.category.value in (ANATOMY.value, TISSUE.value)
    item.RTROIInterpretedType = "ORGAN" if anatomy else None
    item.ROIInterpreter = None
    return item


def _short(text: str) -> str:
    """At most 16 bytes: the standard counts characters, but many programs count bytes."""
    return cut_text(text, 16, in_bytes=True)


def _add_rois(
    ds: Dataset, sop_class: str, volume: Volume, segmentation: Segmentation, chosen: list[Segment]
) -> None:
    from pydicom.dataset import Dataset

    geometry, labels = segmentation.geometry, segmentation.labels
    named = matching_slices(volume, geometry)
    ds.ROIContourSequence = []
    for number, segment in enumerate(chosen, start=1):
        marked = labels == segment.number
        roi, contours = Dataset(), []
        roi.ReferencedROINumber = number
        roi.ROIDisplayColor = list(segment.colour)
        for k in np.flatnonzero(marked.any((1, 2))).tolist():
            for outline in outlines(marked[k]):
                item = _contour(outline, k, geometry, len(contours) + 1)
                if named:
                    item.ContourImageSequence = [_slice(volume, sop_class, k)]
                contours.append(item)
        if contours:
            roi.ContourSequence = contours
        ds.ROIContourSequence.append(roi)


def _contour(outline: np.ndarray, k: int, geometry: Geometry, number: int) -> Dataset:
    from pydicom.datadict import tag_for_keyword
    from pydicom.dataelem import RawDataElement
    from pydicom.dataset import Dataset
    from pydicom.tag import Tag

    item = Dataset()
    item.ContourNumber = number
    item.ContourGeometricType = "CLOSED_PLANAR"
    item.NumberOfContourPoints = len(outline)
    points = geometry.world(np.c_[np.full(len(outline), k), outline])
    text = "\\".join(f"{v:.4f}" for v in points.ravel().tolist()).encode()
    # Written as it is: a decimal string per number would take most of the time.
    tag = Tag(tag_for_keyword("ContourData") or 0)
    value = text + b" " * (len(text) % 2)
    item[tag] = RawDataElement(tag, "DS", len(value), value, 0, True, True)
    return item


def _verify(path: Path, segmentation: Segmentation, chosen: list[Segment], frame: str) -> None:
    """Fill the contours again, with the reader, and compare voxel by voxel."""
    geometry = segmentation.geometry
    placed = Geometry(geometry.shape, geometry.affine, frame)
    back = read_rtstruct(path, Target(placed))
    layers = [(layer.labels, s.number) for layer in back.layers for s in layer.segments]
    same = len(layers) == len(chosen)
    for (labels, number), segment in zip(layers, chosen, strict=False):
        same = same and np.array_equal(labels == number, segmentation.labels == segment.number)
    if not same:
        raise WorldFailed("The contours read back differ from the mask", path.name)
