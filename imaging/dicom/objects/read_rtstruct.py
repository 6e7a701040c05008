"""RT Structure Sets onto a grid: closed planar contours become masks.

What a contour encloses: :mod:`imaging.dicom.objects.fill_contours`. Source: DICOM PS3.3 C.8.8.5
(structure set ROI) and C.8.8.6 (ROI contour); contours are LPS mm.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from imaging.dicom.codes import category_of, code_from
from imaging.dicom.header.vetting import safe_uid
from imaging.dicom.objects.fill_contours import Said, contour_step, filled
from imaging.dicom.objects.layers import RENUMBERED, Layer, Layers
from imaging.dicom.objects.object_file import (
    MAX_CONTOUR_BYTES,
    STRUCTURE_CLASS,
    clean,
    made_by,
    open_object,
)
from imaging.dicom.objects.placing import Target
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.segmentation import (
    AUTOMATIC,
    LESION_CATEGORY,
    LESION_TYPE,
    MANUAL,
    PALETTE,
    SEMIAUTOMATIC,
    Code,
    Provenance,
    Segment,
)
from imaging.uneven import UnevenGeometry

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR", "INTERPOLATED_PLANAR")
_FARTHEST_MM = 1e6
_MAX_POINTS = 20_000_000
_ORGAN = Code("91723000", "SCT", "Anatomical Structure")

BETWEEN_SLICES = (
    "The contours were drawn on other slices than those of this image; each slice shows the "
    "nearest contour"
)
TILTED = "Contours lie across the slices of this image; their shape was sampled voxel by voxel"


class StructureContent(NamedTuple):
    """Structures as label maps on the grid asked for; see :class:`read_seg.SegLayers`."""

    layers: tuple[Layer, ...]
    provenance: Provenance
    notes: tuple[str, ...]


def read_rtstruct(path: Path, target: Target) -> StructureContent:
    """Read the structures of an RTSTRUCT file as masks.

    Raises
    ------
    BadInput
        Where the file is no structure set, lies in another frame of reference, or holds no
        contour that encloses something.
    """
    ds = open_object(path, MAX_CONTOUR_BYTES)
    if str(ds.get("SOPClassUID")) != STRUCTURE_CLASS:
        raise BadInput("This DICOM file is not a structure set", str(path))
    _check_frame_of_reference(ds, target.geometry, path)
    named = {
        int(item.get("ROINumber") or 0): item for item in ds.get("StructureSetROISequence") or []
    }
    said, layers = Said(), Layers(target.geometry.shape, True, str(path))
    order = list(_rois(ds, named))
    if len(order) > 255:
        layers = Layers(target.geometry.shape, False, str(path))
        said.notes.append(RENUMBERED)
    drawn = [_contours(item, said) for _, item in order]
    if sum(len(points) for contours in drawn for points in contours) > _MAX_POINTS:
        raise BadInput("The structure set holds too many points", str(path))
    step, observed, grid = contour_step(drawn), _observations(ds), _true_grid(target)
    for at, ((number, item), contours) in enumerate(zip(order, drawn, strict=True), 1):
        segment = _segment(min(at, 255), named.get(number), item, observed.get(number))
        layers.add(segment, filled(contours, grid, step, said))
    _sum_up(said)
    return StructureContent(layers.layers, _provenance(ds), tuple(said.notes))


def read_rtstruct_at(
    path: str, shape: list[int], affine: list[float], frame: str, places: list[float]
) -> StructureContent:
    """As :func:`read_rtstruct`, with plain arguments for a worker process."""
    return read_rtstruct(Path(path), Target.from_plain(shape, affine, frame, places))


def _true_grid(target: Target) -> Geometry:
    """The grid, with the true places of uneven slices."""
    if target.places is None:
        return target.geometry
    return UnevenGeometry(target.geometry, target.places)


def _rois(ds: Dataset, named: dict[int, Dataset]):
    """Contours with the number of their structure, then structures without any."""
    seen = set()
    for item in ds.get("ROIContourSequence") or []:
        number = int(item.get("ReferencedROINumber") or 0)
        seen.add(number)
        yield number, item
    for number in named:
        if number not in seen:
            yield number, None


def _check_frame_of_reference(ds: Dataset, geometry: Geometry, path: Path) -> None:
    known = {
        str(item.get("ReferencedFrameOfReferenceUID") or item.get("FrameOfReferenceUID") or "")
        for name in ("StructureSetROISequence", "ReferencedFrameOfReferenceSequence")
        for item in ds.get(name) or []
    } - {""}
    if known and geometry.frame_of_reference and geometry.frame_of_reference not in known:
        raise BadInput(
            "The contours belong to another frame of reference than the image",
            str(path),
            "Open them together with the images they were drawn on",
        )


def _segment(
    number: int, named: Dataset | None, item: Dataset | None, observed: Dataset | None
) -> Segment:
    name = clean(named.get("ROIName"), 64) if named is not None else ""
    kind = str(named.get("ROIGenerationAlgorithm") or "") if named is not None else ""
    made = {"AUTOMATIC": AUTOMATIC, "SEMIAUTOMATIC": SEMIAUTOMATIC}.get(kind, MANUAL)
    category, type_ = LESION_CATEGORY, LESION_TYPE
    coded = observed.get("RTROIIdentificationCodeSequence") if observed is not None else None
    if coded:
        type_ = Code(*(clean(p, 64) for p in code_from(coded, LESION_TYPE)))
        category = category_of(type_) or _ORGAN
    tracking = _tracking_uid(named) if named is not None else ""
    return Segment(
        number, name or f"Structure {number}", _colour(item) or PALETTE[(number - 1) % 7],
        category, type_, made, tracking_uid=safe_uid(tracking),
    )  # fmt: skip


def _tracking_uid(named: Dataset) -> str:
    """What says that this is the same thing in other objects: its conceptual volume."""
    volumes = named.get("ConceptualVolumeIdentificationSequence")
    conceptual = volumes[0].get("ConceptualVolumeUID") if volumes else ""
    return str(conceptual or named.get("TrackingUID") or "")


def _colour(item: Dataset | None) -> tuple[int, int, int] | None:
    try:
        red, green, blue = (int(v) for v in item.ROIDisplayColor)  # type: ignore[union-attr]
    except (AttributeError, TypeError, ValueError):
        return None
    inside = all(0 <= v <= 255 for v in (red, green, blue))
    return (red, green, blue) if inside else None


def _observations(ds: Dataset) -> dict[int, Dataset]:
    items = ds.get("RTROIObservationsSequence") or []
    return {int(item.get("ReferencedROINumber") or 0): item for item in items}


def _provenance(ds: Dataset) -> Provenance:
    """Made by hand, unless every structure says that an algorithm drew it."""
    kinds = {
        str(item.get("ROIGenerationAlgorithm") or "")
        for item in ds.get("StructureSetROISequence") or []
    }
    automatic = bool(kinds) and kinds <= {"AUTOMATIC", "SEMIAUTOMATIC"}
    maker = clean(ds.get("ManufacturerModelName") or ds.get("Manufacturer"), 64)
    return made_by(ds, [(maker, "")] if automatic and maker else [])


def _contours(item: Dataset | None, said: Said) -> list[np.ndarray]:
    """The closed contours of a structure, LPS mm, each (n, 3)."""
    found = []
    for contour in (item.get("ContourSequence") if item is not None else None) or []:
        kind = str(contour.get("ContourGeometricType") or "CLOSED_PLANAR")
        try:
            points = np.array(contour.get("ContourData") or [], float)
        except (TypeError, ValueError):
            points = np.empty(0)
        whole = points.size % 3 == 0 and points.size >= 9 and (np.abs(points) < _FARTHEST_MM).all()
        if kind not in _CLOSED or not whole:
            said.other_types += 1
        else:
            found.append(points.reshape(-1, 3))
    return found


def _sum_up(said: Said) -> None:
    if said.other_types:
        said.notes.append(
            f"{said.other_types} points or open lines enclose nothing and are not shown"
        )
    if said.bent:
        said.notes.append(f"{said.bent} contours do not lie in a plane and are not shown")
    if said.between:
        said.notes.append(BETWEEN_SLICES)
    if said.tilted:
        said.notes.append(TILTED)
    if said.outside:
        said.notes.append(f"{said.outside} contours lie outside the image and are not shown")
