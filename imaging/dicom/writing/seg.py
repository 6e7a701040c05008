"""Masks as DICOM Segmentation objects: BINARY, LABELMAP, or a probability as FRACTIONAL.

Written with highdicom, placed by geometry, and checked with a reader of our own that shares
nothing with it but pydicom. Source: DICOM PS3.3 A.51, C.8.20 (Segmentation IOD and modules).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from imaging.analysis.lesions import Lesion
from imaging.atomic import next_version, write_atomic
from imaging.dicom.codes import SEGMENTATION_DERIVATION
from imaging.dicom.objects.read_seg import read_seg
from imaging.dicom.writing.derived import contributing_equipment
from imaging.dicom.writing.parts import (
    check_writable,
    chosen_segments,
    person_name,
    plane_groups,
)
from imaging.dicom.writing.references import (
    imported_as_dicom,
    join_study,
    name_series,
    quiet,
    referable,
    reference_frames,
    reference_header,
)
from imaging.dicom.writing.seg_pixels import (
    MAXIMUM_FRACTION,
    Kind,
    SegPixels,
    counts,
    fractions,
    single_lesions,
    whole_labels,
)
from imaging.dicom.writing.write import (
    POSITION_TOLERANCE_MM,
    RESEARCH_ONLY,
    SOFTWARE,
    SOFTWARE_VERSION,
    cut_text,
    new_uid,
)
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


@dataclass(frozen=True)
class SegReport:
    """What was written.

    Parameters
    ----------
    path : Path
        The SEG file.
    images : tuple of Path
        Image files written beside it, where the volume did not come from DICOM; else empty.
    voxels : dict of int to int
        Marked voxels by segment number in the file, read back; for FRACTIONAL those of at least
        one half.
    frames : int
        Frames in the file.
    """

    path: Path
    images: tuple[Path, ...]
    voxels: dict[int, int]
    frames: int


def write_seg(
    path: Path,
    segmentation: Segmentation,
    volume: Volume,
    *,
    kind: Kind = "BINARY",
    compression: Literal["", "RLE"] = "",
    probability: Heatmap | None = None,
    segments: Collection[int] | None = None,
    lesions: Sequence[Lesion] = (),
    content_creator: str = "",
    turn: int = 1,
) -> SegReport:
    """Write a mask as a DICOM Segmentation that references its source images.

    Numbers in the file run from 1 without gaps in the order of the old ones; an empty segment
    keeps its entry, slices without a voxel have no frame. A volume that did not come from DICOM
    is first written as a derived MR series in a folder beside the file, and that is referenced.

    Parameters
    ----------
    path : Path
        Replaced as a whole or not at all.
    kind : {"BINARY", "FRACTIONAL", "LABELMAP"}
        BINARY is read everywhere. LABELMAP (2023) holds many labels in one frame per slice.
        FRACTIONAL holds the ``probability`` over its whole grid as one segment, "<name>
        probability" with an identity of its own, described as the model's own label of the mask:
        what the model found, whatever a person made of it since.
    compression : {"", "RLE"}
        RLE for LABELMAP and FRACTIONAL; the single bits of BINARY stay as they are.
    probability : Heatmap, optional
        For FRACTIONAL only.
    segments : collection of int, optional
        Numbers of the segments to write; all where not given.
    lesions : sequence of Lesion, optional
        Write each of these as a segment of its own, in their order, instead of whole labels: a
        report can then point to each one. For BINARY and LABELMAP; at most 255.
    content_creator : str
        The person, as ``Family^Given`` or in plain words.
    turn : int
        Which export of the case this is, from 1: it numbers the series.

    Raises
    ------
    BadInput
        Where there is nothing to write, a marked voxel has no named segment, the grid cannot be
        told in DICOM or is in another frame of reference than the volume, or a kind asks for
        something that is not given: a probability of labels that a person made, too.
    WorldFailed
        Where the disk refuses, a source file has gone or what was read back differs.
    """
    chosen = chosen_segments(segmentation, segments)
    if lesions and kind != "FRACTIONAL":
        content = single_lesions(segmentation, lesions, kind)
    elif kind == "FRACTIONAL":
        content = fractions(segmentation, chosen, probability)
    else:
        content = whole_labels(segmentation, chosen, kind, everything=segments is None)
    if compression and kind == "BINARY":
        raise BadInput(
            "Single bits cannot be compressed in this way", segmentation.name,
            "Choose LABELMAP, or no compression",
        )  # fmt: skip
    check_writable(content.geometry, volume, segmentation.name)
    images: tuple[Path, ...] = ()
    if not referable(volume):
        folder = next_version(path.with_name(f"{path.stem}-images"))
        volume = imported_as_dicom(volume, folder)
        images = tuple(Path(f) for f in volume.source.files)
    with quiet():
        ds = _build(content, segmentation.name, volume, content_creator, compression)
        name_series(ds, 901, segmentation.name, turn)
    frame = str(ds.FrameOfReferenceUID)
    placed = Geometry(content.geometry.shape, content.geometry.affine, frame)

    def verify(aside: Path) -> None:
        _verify(aside, content._replace(geometry=placed))

    write_atomic(path, lambda aside: ds.save_as(aside, enforce_file_format=True), verify)
    return SegReport(Path(path), images, counts(content), int(ds.NumberOfFrames))


def _build(
    content: SegPixels, name: str, volume: Volume, creator: str, compression: str
) -> Dataset:
    from highdicom.seg import Segmentation as DicomSegmentation
    from pydicom.uid import RLELossless

    header, sop_class = reference_header(volume)
    positions, orientation, measures = plane_groups(content.geometry)
    ds = DicomSegmentation(
        source_images=[header],
        pixel_array=content.pixels,
        segmentation_type=content.kind,
        max_fractional_value=MAXIMUM_FRACTION,
        segment_descriptions=content.descriptions,
        series_instance_uid=new_uid(),
        series_number=901,
        sop_instance_uid=new_uid(),
        instance_number=1,
        manufacturer=SOFTWARE,
        manufacturer_model_name=SOFTWARE,
        software_versions=SOFTWARE_VERSION,
        device_serial_number="0",
        content_label="PROBABILITY" if content.kind == "FRACTIONAL" else "MASK",
        content_description=RESEARCH_ONLY,
        content_creator_name=person_name(creator),
        plane_positions=positions,
        plane_orientation=orientation,
        pixel_measures=measures,
        specific_character_set="ISO_IR 192",
        series_description=cut_text(name),
    )
    join_study(ds, header, volume, sop_class)
    reference_frames(ds, volume, sop_class, content.geometry, SEGMENTATION_DERIVATION)
    ds.BodyPartExamined = header.BodyPartExamined
    # A label map or a single map cannot overlap (PS3.3 C.8.20.2).
    ds.SegmentsOverlap = "NO"
    equipment = list(ds.get("ContributingEquipmentSequence") or [])
    ds.ContributingEquipmentSequence = [*equipment, contributing_equipment()]
    if compression:
        # Not left to highdicom, which may choose gdcm: its encoder ends the process on some sizes.
        ds.compress(RLELossless, encoding_plugin="pylibjpeg", generate_instance_uid=False)
    return ds


def _verify(path: Path, content: SegPixels) -> None:
    if content.kind == "FRACTIONAL":
        same = np.array_equal(
            read_fractions(path, content.geometry),
            np.rint(content.pixels * MAXIMUM_FRACTION).astype(np.uint8),
        )
    else:
        back = read_seg(path, content.geometry)
        same = np.array_equal(back.labels, content.pixels)
        same = same and len(back.segments) == len(content.descriptions)
    if not same:
        raise WorldFailed("The mask read back differs from what was written", path.name)


def read_fractions(path: Path, geometry: Geometry) -> np.ndarray:
    """Stored values of a FRACTIONAL file of one segment on the grid it was written for.

    Returns
    -------
    ndarray, shape (k, j, i)
        uint8; slices without a frame are 0, others are placed by the position of their frame.

    Raises
    ------
    BadInput
        Where a frame does not lie on a slice of the grid.
    """
    from pydicom import dcmread

    ds = dcmread(path)
    frames = ds.pixel_array.reshape(-1, int(ds.Rows), int(ds.Columns))
    stored = np.zeros(geometry.shape, np.uint8)
    for groups, frame in zip(ds.PerFrameFunctionalGroupsSequence, frames, strict=True):
        place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        k = round(float(geometry.index(place)[0]))
        on_grid = 0 <= k < geometry.shape[0]
        off = np.abs(geometry.world((k, 0, 0)) - place).max()
        if not on_grid or off > POSITION_TOLERANCE_MM * 10:
            raise BadInput("A frame of the mask does not lie on a slice of the image", str(path))
        stored[k] = frame
    return stored
