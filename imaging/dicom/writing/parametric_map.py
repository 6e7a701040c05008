"""Heat maps as DICOM Parametric Map objects: values, not burnt-in colours.

Written with highdicom, read back with pydicom by the positions of the frames. Source: DICOM PS3.3
A.75 (Parametric Map IOD), C.7.6.16.2.11 (Real World Value Mapping), C.7.6.16.2.8 (Frame Anatomy).
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from imaging.atomic import next_version, write_atomic
from imaging.dicom.codes import (
    BODY_PARTS,
    COMPUTED,
    NO_UNITS,
    WHOLE_BODY,
    code_item,
    concept,
    map_code,
)
from imaging.dicom.writing.derived import contributing_equipment
from imaging.dicom.writing.parts import check_writable, plane_groups
from imaging.dicom.writing.references import (
    imported_as_dicom,
    join_study,
    name_series,
    quiet,
    referable,
    reference_frames,
    reference_header,
)
from imaging.dicom.writing.write import (
    POSITION_TOLERANCE_MM,
    RESEARCH_ONLY,
    SOFTWARE,
    SOFTWARE_VERSION,
    cut_text,
    new_uid,
    plain_ascii,
)
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.volume import Volume

if TYPE_CHECKING:
    from highdicom.pm import RealWorldValueMapping
    from pydicom.dataset import Dataset

_FULL_SCALE = 65535.0
Encoding = Literal["float32", "uint16"]


def write_parametric_map(
    path: Path, heatmap: Heatmap, volume: Volume, *, encoding: Encoding = "uint16", turn: int = 1
) -> list[Path]:
    """Write a map as a Parametric Map that references the images it was made from.

    Parameters
    ----------
    path : Path
        Replaced as a whole or not at all.
    volume : Volume
        The image; one that did not come from DICOM is first written as a derived series beside
        the file.
    encoding : {"uint16", "float32"}
        uint16 with a slope of 1/65535 in JPEG-LS without loss: a tenth of the space or less, off
        by at most 8e-6. float32 keeps every value and is never compressed.
    turn : int
        Which export of the case this is, from 1: it numbers the series.

    Returns
    -------
    list of Path
        The file, then image files written beside it, if any.

    Raises
    ------
    BadInput
        Where map and image are in different frames of reference or a slice cannot be placed.
    WorldFailed
        Where the disk refuses, a source file has gone or what was read back differs.
    """
    path = Path(path)
    check_writable(heatmap.geometry, volume, heatmap.name)
    images: list[Path] = []
    if not referable(volume):
        volume = imported_as_dicom(volume, next_version(path.with_name(f"{path.stem}-images")))
        images = [Path(f) for f in volume.source.files]
    with quiet():
        ds = _build(heatmap, volume, encoding)
        name_series(ds, 902, heatmap.name, turn)

    def verify(aside: Path) -> None:
        values = read_parametric_map(aside, heatmap.geometry)
        tolerance = 0.0 if encoding == "float32" else 0.51 / _FULL_SCALE
        if np.abs(values - heatmap.values).max() > tolerance:
            raise WorldFailed("The map read back differs from what was written", path.name)

    write_atomic(path, lambda aside: ds.save_as(aside, enforce_file_format=True), verify)
    return [path, *images]


def read_parametric_map(path: Path, geometry: Geometry) -> np.ndarray:
    """Read a Parametric Map of our own kind onto the grid it was written for.

    Returns
    -------
    ndarray, shape (k, j, i)
        float32 real-world values; slices placed by the position of their frames.

    Raises
    ------
    BadInput
        Where the file is no parametric map or a frame does not lie on a slice of the grid.
    """
    from pydicom import dcmread

    ds = dcmread(path)
    if str(ds.get("SOPClassUID")) != "1.2.840.10008.5.1.4.1.1.30":
        raise BadInput("This DICOM file is not a parametric map", str(path))
    _check_axes(ds, geometry, path)
    frames = ds.pixel_array.reshape(-1, int(ds.Rows), int(ds.Columns))
    values = np.full(geometry.shape, np.nan, np.float32)
    for groups, frame in zip(ds.PerFrameFunctionalGroupsSequence, frames, strict=True):
        place = np.array(groups.PlanePositionSequence[0].ImagePositionPatient, float)
        k = round(float(geometry.index(place)[0]))
        if np.abs(geometry.world((k, 0, 0)) - place).max() > POSITION_TOLERANCE_MM * 10:
            raise BadInput("A frame of the map does not lie on a slice of the image", str(path))
        mapping = _mapping(ds, groups)
        slope, offset = mapping.RealWorldValueSlope, mapping.RealWorldValueIntercept
        values[k] = frame * np.float64(slope) + np.float64(offset)
    if np.isnan(values).any():
        raise BadInput("A slice of the map is missing", str(path))
    return values


def _check_axes(ds: Dataset, geometry: Geometry, path: Path) -> None:
    shared = ds.SharedFunctionalGroupsSequence[0]
    axes = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    between_rows, between_columns = (float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing)
    along = np.stack([axes[3:] * between_rows, axes[:3] * between_columns], axis=1)
    shape = (int(ds.Rows), int(ds.Columns))
    if shape != geometry.shape[1:] or np.abs(along - geometry.affine[:3, 1:3]).max() > 1e-4:
        raise BadInput("The map was made on another grid than the image", str(path))


def _mapping(ds: Dataset, groups: Dataset) -> Dataset:
    for place in (groups, ds.SharedFunctionalGroupsSequence[0]):
        if "RealWorldValueMappingSequence" in place:
            return place.RealWorldValueMappingSequence[0]
    raise BadInput("The map does not say what its numbers mean")


def _build(heatmap: Heatmap, volume: Volume, encoding: Encoding) -> Dataset:
    from highdicom import VOILUTTransformation
    from highdicom.pm import ParametricMap
    from pydicom.uid import ExplicitVRLittleEndian, JPEGLSLossless

    header, sop_class = reference_header(volume)
    positions, orientation, measures = plane_groups(heatmap.geometry)
    pixels = heatmap.values
    if encoding == "uint16":
        pixels = np.rint(heatmap.values * _FULL_SCALE).astype(np.uint16)
    whole = encoding == "uint16"
    top = _FULL_SCALE if whole else 1.0
    ds = ParametricMap(
        source_images=[header],
        pixel_array=pixels,
        series_instance_uid=new_uid(),
        series_number=902,
        sop_instance_uid=new_uid(),
        instance_number=1,
        manufacturer=SOFTWARE,
        manufacturer_model_name=SOFTWARE,
        software_versions=SOFTWARE_VERSION,
        device_serial_number="0",
        transfer_syntax_uid=JPEGLSLossless if whole else ExplicitVRLittleEndian,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_meaning(heatmap, top)],
        voi_lut_transformations=[VOILUTTransformation(window_center=top / 2, window_width=top)],
        content_label=re.sub(r"[^A-Z0-9_ ]", "_", heatmap.meaning.upper())[:16],
        content_description=_described(heatmap),
        plane_positions=positions,
        plane_orientation=orientation,
        pixel_measures=measures,
        series_description=cut_text(heatmap.name),
    )
    _add_context(ds, header)
    join_study(ds, header, volume, sop_class)
    reference_frames(ds, volume, sop_class, heatmap.geometry, COMPUTED)
    return ds


def _described(heatmap: Heatmap) -> str:
    """The notice, then as much of what made the map as there is room for."""
    return cut_text(plain_ascii(f"{RESEARCH_ONLY}. {heatmap.provenance.sentence}"))


def _meaning(heatmap: Heatmap, top: float) -> RealWorldValueMapping:
    from highdicom.pm import RealWorldValueMapping

    whole = top > 1
    code = map_code(heatmap.meaning)
    return RealWorldValueMapping(
        lut_label=cut_text(code.meaning, 16),
        lut_explanation=cut_text(heatmap.about or code.meaning),
        unit=concept(NO_UNITS),
        value_range=(0, int(top)) if whole else (0.0, 1.0),
        slope=1 / top,
        intercept=0.0,
        quantity_definition=concept(code),
    )


def _add_context(ds: Dataset, header: Dataset) -> None:
    """Body part, and this program as contributing equipment."""
    from pydicom.dataset import Dataset

    part = str(header.get("BodyPartExamined") or "")
    anatomy = Dataset()
    anatomy.FrameLaterality = "U"
    anatomy.AnatomicRegionSequence = [code_item(BODY_PARTS.get(part, WHOLE_BODY))]
    ds.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [anatomy]
    if part:
        ds.BodyPartExamined = part
    equipment = list(ds.get("ContributingEquipmentSequence") or [])
    ds.ContributingEquipmentSequence = [*equipment, contributing_equipment()]
