"""DICOM Parametric Maps of any program: numbers with a meaning, placed frame by frame.

Reads float32, float64 and integer pixels; each frame's Real World Value Mapping gives its values.
The order of frames means nothing here: many programs store the top slice first. Source: DICOM
PS3.3 A.75 and C.7.6.16.2.11 (real world value mapping).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from imaging.dicom.codes import code_from
from imaging.dicom.header.vetting import check_volume_bytes
from imaging.dicom.objects.frame_planes import (
    check_one_direction,
    group,
    plane_of_frame,
    stated_step,
)
from imaging.dicom.objects.object_file import (
    MAP_CLASS,
    MAX_MASK_BYTES,
    clean,
    count_frames,
    first_item,
    iter_frames,
    made_by,
    numbers,
    open_object,
)
from imaging.dicom.objects.placing import Patch, Plane, Target, lay, own_grid
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.segmentation import Code, Provenance

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_NOTHING = Code("", "", "")
_MAX_TABLE = 1 << 17


class ParametricMap(NamedTuple):
    """One map.

    Parameters
    ----------
    values : ndarray, shape (k, j, i)
        float32 real-world values; 0 where a frame is missing.
    affine : tuple of float
        The 16 numbers of its grid, see :class:`imaging.geometry.Geometry`.
    frame : str
        Frame of Reference UID; empty where unknown.
    quantity, unit : Code
        What is measured and in which unit (UCUM); empty codes where the file does not say.
    label : str
        Short name in the file.
    """

    values: np.ndarray
    affine: tuple[float, ...]
    frame: str
    quantity: Code
    unit: Code
    label: str
    provenance: Provenance
    notes: tuple[str, ...]


def read_map(path: Path, target: Target | None = None) -> tuple[ParametricMap, ...]:
    """Read the maps of a Parametric Map file: one, or several on the same places.

    Parameters
    ----------
    target : Target, optional
        The grid of an image: maps whose pixels are its voxels come back on it, in its order of
        axes. All others keep their own grid.

    Raises
    ------
    BadInput
        Where the file is no parametric map, does not say where its frames lie or what its
        numbers mean, or cannot be decoded.
    """
    ds = open_object(path, MAX_MASK_BYTES)
    if str(ds.get("SOPClassUID")) != MAP_CLASS:
        raise BadInput("This DICOM file is not a parametric map", str(path))
    planes, mappings = _frames(ds, path)
    geometry, patches = _canvas(ds, planes, target, path)
    turns = _repeats(planes, mappings)
    count = max(turns) + 1
    check_volume_bytes(count * 4 * int(np.prod(geometry.shape, dtype=np.int64)), str(path))
    values = [np.zeros(geometry.shape, np.float32) for _ in range(count)]
    odd = False
    for mapping, patch, turn, image in zip(
        mappings, patches, turns, iter_frames(ds, path), strict=True
    ):
        real = mapped(image, mapping, path)
        bad = ~np.isfinite(real)
        odd |= bool(bad.any())
        real[bad] = 0.0
        patch.view(values[turn])[...] = real[patch.here]
    frame = str(ds.get("FrameOfReferenceUID") or "")
    affine = tuple(float(v) for v in geometry.affine.ravel())
    notes = _notes(patches, turns, geometry.shape, odd)
    first = [next(m for m, t in zip(mappings, turns, strict=True) if t == n) for n in range(count)]
    return tuple(
        ParametricMap(one, affine, frame, *_meaning(mapping), _made_by(ds), notes)
        for one, mapping in zip(values, first, strict=True)
    )


def read_map_at(
    path: str,
    shape: list[int] | None = None,
    affine: list[float] | None = None,
    frame: str = "",
    places: list[float] | None = None,
) -> tuple[ParametricMap, ...]:
    """As :func:`read_map`, with plain arguments for a worker process."""
    if shape is None or affine is None:
        return read_map(Path(path))
    return read_map(Path(path), Target.from_plain(shape, affine, frame, places or []))


def _canvas(
    ds: Dataset, planes: list[Plane], target: Target | None, path: Path
) -> tuple[Geometry, list[Patch]]:
    if target is not None:
        direct = [lay(plane, target) for plane in planes]
        if all(patch is not None for patch in direct):
            return target.geometry, [patch for patch in direct if patch is not None]
    geometry, slices = own_grid(planes, stated_step(ds), str(path))
    whole = slice(0, geometry.shape[1]), slice(0, geometry.shape[2])
    return geometry, [Patch(0, int(k), whole, False, whole) for k in slices]


def _frames(ds: Dataset, path: Path) -> tuple[list[Plane], list[Dataset]]:
    count = count_frames(ds, path)
    shared = first_item(ds, "SharedFunctionalGroupsSequence")
    every = ds.get("PerFrameFunctionalGroupsSequence") or []
    if len(every) != count:
        raise BadInput("The map does not describe each of its frames", str(path))
    rows, columns = int(ds.Rows), int(ds.Columns)
    planes = [plane_of_frame(own, shared, rows, columns, "The map", path) for own in every]
    check_one_direction(planes, "The map", path)
    mappings = [group(own, shared, "RealWorldValueMappingSequence") for own in every]
    if any(mapping is None for mapping in mappings):
        raise BadInput("The map does not say what its numbers mean", str(path))
    return planes, [mapping for mapping in mappings if mapping is not None]


def _repeats(planes: list[Plane], mappings: list[Dataset]) -> list[int]:
    """Which of several maps a frame belongs to: by what it measures, then by its order."""
    meanings: dict[tuple, int] = {}
    groups = [meanings.setdefault(_meaning(m), len(meanings)) for m in mappings]
    seen: dict[tuple, int] = {}
    maps: dict[tuple[int, int], int] = {}
    turns = []
    for plane, meant in zip(planes, groups, strict=True):
        place = (meant, *np.round(plane.origin, 2).tolist())
        before = seen.get(place, 0)
        seen[place] = before + 1
        turns.append(maps.setdefault((meant, before), len(maps)))
    return turns


def mapped(image: np.ndarray, mapping: Dataset, path: Path) -> np.ndarray:
    """Stored pixels as real-world values, float32 (PS3.3 C.7.6.16.2.11.1.1)."""
    line = numbers(
        (mapping.get("RealWorldValueSlope"), mapping.get("RealWorldValueIntercept") or 0.0), 2
    )
    if line is not None:
        slope, intercept = line
        return (image * np.float64(slope) + np.float64(intercept)).astype(np.float32)
    table = np.asarray(mapping.get("RealWorldValueLUTData") or [], float)
    first = mapping.get("RealWorldValueFirstValueMapped")
    if not 0 < table.size <= _MAX_TABLE or first is None:
        raise BadInput("The map does not say what its numbers mean", str(path))
    at = np.clip(image.astype(np.int64) - int(first), 0, table.size - 1)
    return table[at].astype(np.float32)


def _meaning(mapping: Dataset) -> tuple[Code, Code, str]:
    """What is measured, its unit, and the short name."""
    quantity = _NOTHING
    for item in mapping.get("QuantityDefinitionSequence") or []:
        quantity = code_from(item.get("ConceptCodeSequence"), _NOTHING)
        break
    unit = code_from(mapping.get("MeasurementUnitsCodeSequence"), _NOTHING)
    quantity, unit = (Code(*(clean(part, 64) for part in code)) for code in (quantity, unit))
    return quantity, unit, clean(mapping.get("LUTLabel") or mapping.get("LUTExplanation"), 64)


def _made_by(ds: Dataset) -> Provenance:
    """The program that calculated the map: the object names no algorithm of its own."""
    maker = clean(ds.get("ManufacturerModelName") or ds.get("Manufacturer"), 64)
    return made_by(ds, [(maker or "another program", "")])


def _notes(
    patches: list[Patch], turns: list[int], shape: tuple[int, int, int], odd: bool
) -> tuple[str, ...]:
    notes = []
    wanted = shape[patches[0].axis] * (max(turns) + 1)
    there = {(p.number, t) for p, t in zip(patches, turns, strict=True) if p.here[0].stop}
    if len(there) < wanted:
        notes.append(f"{wanted - len(there)} slices have no map and are shown as 0")
    if odd:
        notes.append("Values of the map that are not finite numbers are shown as 0")
    return tuple(notes)
