"""Masks as DICOM Segmentation objects: BINARY, placed by geometry, and read back by position.

Written with highdicom, checked with a reader of our own that shares nothing with it but pydicom.
Source: DICOM PS3.3 A.51, C.8.20 (Segmentation IOD and modules).
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imaging.atomic import next_version, write_atomic
from imaging.dicom.codes import ARTIFICIAL_INTELLIGENCE, SEGMENTATION_DERIVATION, concept
from imaging.dicom.read_seg import read_seg
from imaging.dicom.references import (
    imported_as_dicom,
    quiet,
    referable,
    reference_everything,
    reference_frames,
    reference_header,
)
from imaging.dicom.write import RESEARCH_ONLY, SOFTWARE, SOFTWARE_VERSION, decimals, new_uid
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.segmentation import MANUAL, Provenance, Segment, Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence
    from highdicom.seg import SegmentDescription
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
        Marked voxels by segment number in the file, read back.
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
    segments: Collection[int] | None = None,
    content_creator: str = "",
) -> SegReport:
    """Write a mask as a BINARY DICOM Segmentation that references its source images.

    Numbers in the file run from 1 without gaps in the order of the old ones; an empty segment
    keeps its entry. A volume that did not come from DICOM is first written as a derived MR series
    in a folder beside the file, and that series is referenced.

    Parameters
    ----------
    path : Path
        Replaced as a whole or not at all.
    segments : collection of int, optional
        Numbers of the segments to write; all where not given.
    content_creator : str
        The person, as ``Family^Given`` or in plain words.

    Raises
    ------
    BadInput
        Where there is nothing to write, a marked voxel has no named segment, the rows and columns
        are not perpendicular or the mask is in another frame of reference than the volume.
    WorldFailed
        Where the disk refuses, a source file has gone or what was read back differs.
    """
    chosen = _chosen(segmentation, segments)
    labels = _renumbered(segmentation, chosen, everything=segments is None)
    geometry = segmentation.geometry
    if not geometry.same_frame(volume.geometry):
        raise BadInput("The mask and the image are in different frames of reference", volume.name)
    check_plane(geometry, segmentation.name, "Save this mask as NIfTI")
    images: tuple[Path, ...] = ()
    if not referable(volume):
        folder = next_version(path.with_name(f"{path.stem}-images"))
        volume = imported_as_dicom(volume, folder)
        images = tuple(Path(f) for f in volume.source.files)
    with quiet():
        ds = _build(labels, geometry, chosen, segmentation, volume, content_creator)
    frame = str(ds.FrameOfReferenceUID)
    placed = Geometry(geometry.shape, geometry.affine, frame)

    def verify(aside: Path) -> None:
        _verify(aside, labels, placed, chosen)

    write_atomic(path, lambda aside: ds.save_as(aside, enforce_file_format=True), verify)
    counts = np.bincount(labels.ravel(), minlength=len(chosen) + 1)
    voxels = {n: int(counts[n]) for n in range(1, len(chosen) + 1)}
    return SegReport(Path(path), images, voxels, int(ds.NumberOfFrames))


def _chosen(segmentation: Segmentation, numbers: Collection[int] | None) -> list[Segment]:
    known = sorted(segmentation.segments, key=lambda s: s.number)
    chosen = [s for s in known if numbers is None or s.number in numbers]
    missing = set(numbers or ()) - {s.number for s in known}
    if missing:
        raise BadInput(f"The mask has no label {min(missing)}", segmentation.name)
    if not chosen:
        raise BadInput("The mask has no labels to write", segmentation.name, "Add a label first")
    return chosen


def _renumbered(
    segmentation: Segmentation, chosen: list[Segment], *, everything: bool
) -> np.ndarray:
    """Labels with consecutive numbers, uint8 (k, j, i); voxels of other segments become 0."""
    table = np.zeros(256, np.uint8)
    for place, segment in enumerate(chosen, start=1):
        table[segment.number] = place
    if everything:
        used = np.flatnonzero(np.bincount(segmentation.labels.ravel(), minlength=256))
        nameless = [int(n) for n in used if n and not table[n]]
        if nameless:
            raise BadInput(
                f"Voxels are marked with label {nameless[0]}, which has no name",
                segmentation.name,
                "Add that label to the list, or erase it",
            )
    return table[segmentation.labels]


def check_plane(geometry: Geometry, name: str, advice: str) -> None:
    """Raise BadInput where rows and columns are not perpendicular."""
    from imaging.orientation import ORTHOGONAL_TOLERANCE

    if abs(float(geometry.directions[:, 1] @ geometry.directions[:, 2])) > ORTHOGONAL_TOLERANCE:
        raise BadInput(
            "Rows and columns are not perpendicular, and DICOM cannot place such a slice",
            name,
            advice,
        )


def _build(
    labels: np.ndarray,
    geometry: Geometry,
    chosen: list[Segment],
    segmentation: Segmentation,
    volume: Volume,
    creator: str,
) -> Dataset:
    from highdicom.seg import Segmentation as DicomSegmentation

    header, sop_class = reference_header(volume)
    positions, orientation, measures = plane_groups(geometry)
    ds = DicomSegmentation(
        source_images=[header],
        pixel_array=labels,
        segmentation_type="BINARY",
        segment_descriptions=[
            _description(place, segment, segmentation.provenance)
            for place, segment in enumerate(chosen, start=1)
        ],
        series_instance_uid=new_uid(),
        series_number=901,
        sop_instance_uid=new_uid(),
        instance_number=1,
        manufacturer=SOFTWARE,
        manufacturer_model_name=SOFTWARE,
        software_versions=SOFTWARE_VERSION,
        device_serial_number="0",
        content_label="MASK",
        content_description=RESEARCH_ONLY,
        content_creator_name=person_name(creator),
        plane_positions=positions,
        plane_orientation=orientation,
        pixel_measures=measures,
        specific_character_set="ISO_IR 192",
        series_description=segmentation.name[:64],
    )
    reference_everything(ds, volume, sop_class)
    reference_frames(ds, volume, sop_class, geometry, SEGMENTATION_DERIVATION)
    if header.BodyPartExamined:
        ds.BodyPartExamined = header.BodyPartExamined
    return ds


def plane_groups(
    geometry: Geometry,
) -> tuple[list[PlanePositionSequence], PlaneOrientationSequence, PixelMeasuresSequence]:
    """Positions, orientation and spacing of the slices of a grid, as highdicom sequences."""
    from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence

    step_k, step_j, step_i = geometry.spacing
    normal = np.cross(geometry.directions[:, 2], geometry.directions[:, 1])
    between = abs(float(geometry.affine[:3, 0] @ normal))
    positions = [
        PlanePositionSequence("PATIENT", image_position=decimals(geometry.world((k, 0, 0))))
        for k in range(geometry.shape[0])
    ]
    cosines = [*geometry.directions[:, 2], *geometry.directions[:, 1]]
    orientation = PlaneOrientationSequence("PATIENT", image_orientation=decimals(cosines))
    measures = PixelMeasuresSequence(
        pixel_spacing=decimals((step_j, step_i)),
        slice_thickness=decimals([step_k])[0],
        spacing_between_slices=decimals([between])[0],
    )
    return positions, orientation, measures


def person_name(text: str) -> str | None:
    """A person's name with its components told apart (PS3.5 6.2.1); None where empty."""
    words = text.replace("=", " ").replace("\\", " ").strip()[:64]
    return (words if "^" in words else f"{words}^") if words else None


def _description(place: int, segment: Segment, made_by: Provenance) -> SegmentDescription:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

    algorithm = None
    if segment.algorithm_type != MANUAL:
        algorithm = AlgorithmIdentificationSequence(
            name=(made_by.algorithm or SOFTWARE)[:64],
            family=concept(ARTIFICIAL_INTELLIGENCE),
            version=(made_by.version or SOFTWARE_VERSION)[:64],
            parameters=_parameters(made_by) or None,
        )
    label = (segment.name.strip() or f"Label {segment.number}")[:64]
    return SegmentDescription(
        segment_number=place,
        segment_label=label,
        segmented_property_category=concept(segment.category),
        segmented_property_type=concept(segment.type),
        algorithm_type=segment.algorithm_type,
        algorithm_identification=algorithm,
        tracking_uid=segment.tracking_uid or new_uid(),
        tracking_id=label,
        display_color=CIELabColor.from_rgb(*segment.colour),
    )


def _parameters(made_by: Provenance) -> dict[str, str]:
    """Weights and settings in the form of Algorithm Parameters: no commas, no equals signs."""
    pairs = [("weights", made_by.digest), ("device", made_by.device), *made_by.settings]
    clean = str.maketrans({",": ";", "=": ":", "\\": "/"})
    return {k.translate(clean): v.translate(clean) for k, v in pairs if v}


def _verify(path: Path, labels: np.ndarray, geometry: Geometry, chosen: list[Segment]) -> None:
    back = read_seg(path, geometry)
    names = [s.name for s in back.segments]
    if not np.array_equal(back.labels, labels) or len(names) != len(chosen):
        raise WorldFailed("The mask read back differs from what was written", path.name)
