"""MetaImage headers (``.mha``, ``.mhd``); :mod:`imaging.storage.grid_load` reads the voxels.

The header is ``key = value`` line by line up to ``ElementDataFile``. Places are LPS millimetres:
``TransformMatrix`` holds the direction of each axis one after the other, ``Offset`` the first
voxel. Source: MetaIO, "MetaImage" tags (Kitware), and what ITK makes of them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from imaging.errors import BadInput, OtherFile
from imaging.geometry import Geometry
from imaging.storage.detached import beside
from imaging.storage.file_head import Head, read_head
from imaging.storage.grid_file import SIDES_UNKNOWN, GridFile, shape_of
from imaging.storage.packing import DAMAGED, GZIP, RAW, TEXT, ZLIB

MAX_HEADER_BYTES = 1 << 20
_FIRST = re.compile(rb"[ \t]*(ObjectType|NDims|Comment|ObjectSubType|Name|ID)[ \t]*=")
_NEEDED = re.compile(rb"^[ \t]*(DimSize|ElementType)[ \t]*=", re.MULTILINE)
_TYPES = {
    "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8", "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
_SYNONYMS = {
    "TransformMatrix": ("TransformMatrix", "Rotation", "Orientation"),
    "Offset": ("Offset", "Position", "Origin"),
    "ElementSpacing": ("ElementSpacing", "ElementSize"),
    "BinaryDataByteOrderMSB": ("BinaryDataByteOrderMSB", "ElementByteOrderMSB"),
}
_MM = {"mm": 1.0, "um": 0.001, "cm": 10.0}


def begins_metaimage(head: Head) -> bool:
    """True where a file begins as a MetaImage header does."""
    return bool(_FIRST.match(head.raw) and _NEEDED.search(head.raw))


def read_grid(path: str, shown: str = "") -> GridFile:
    """What the header of a MetaImage file says.

    Raises
    ------
    BadInput
        Where it cannot be used.
    """
    fields, end = _fields(path)
    if fields.get("ObjectType", "Image").lower() != "image":
        raise OtherFile("The MetaIO file holds no image", path)
    if _whole(fields, "ElementNumberOfChannels", 1, path) != 1:
        raise OtherFile("The file holds several numbers for each voxel: not read", path)
    sizes = tuple(int(v) for v in _numbers(fields, "DimSize", path))
    if len(sizes) != _whole(fields, "NDims", len(sizes), path):
        raise BadInput("The MetaImage header is damaged", path)
    images = sizes[3] if len(sizes) == 4 else 1
    if not 2 <= len(sizes) <= 4 or images < 1:
        raise OtherFile(f"A MetaImage of {len(sizes)} dimensions is not read", path)
    geometry, problems = _geometry(fields, sizes, path)
    dtype = _stored_type(fields, path)
    total = int(np.prod(sizes, dtype=object)) * dtype.itemsize
    where = _data_place(fields, end, total, path)
    slope, intercept = _scale(fields)
    return GridFile(
        path, "metaimage", where.file, dtype, geometry, packing=where.packing,
        packed_at=where.packed_at, images=images, slope=slope, intercept=intercept,
        problems=problems, used=(where.file,) if where.file != path else (),
    )  # fmt: skip


def _fields(path: str) -> tuple[Mapping[str, str], int]:
    """Keys and values up to ``ElementDataFile``, which ends the header, and where it ends."""
    fields: dict[str, str] = {}
    try:
        with open(path, "rb") as file:
            while file.tell() < MAX_HEADER_BYTES:
                line = file.readline(MAX_HEADER_BYTES)
                if not line:
                    break
                name, equals, value = line.decode("utf-8", "replace").partition("=")
                if equals:
                    fields.setdefault(name.strip(), value.strip())
                if name.strip() == "ElementDataFile":
                    return fields, file.tell()
    except OSError as error:
        raise BadInput(DAMAGED, path) from error
    raise BadInput("The MetaImage header does not say where the voxels are", path)


def _value(fields: Mapping[str, str], name: str) -> str:
    for known in _SYNONYMS.get(name, (name,)):
        if known in fields:
            return fields[known]
    return ""


def _numbers(fields: Mapping[str, str], name: str, path: str) -> list[float]:
    try:
        values = [float(word) for word in _value(fields, name).split()]
    except ValueError as error:
        raise BadInput("The MetaImage header is damaged", path) from error
    if not np.isfinite(values).all():
        raise BadInput("The MetaImage header is damaged", path)
    return values


def _whole(fields: Mapping[str, str], name: str, default: int, path: str) -> int:
    values = _numbers(fields, name, path)
    return int(values[0]) if values else default


def _true(fields: Mapping[str, str], name: str) -> bool:
    return _value(fields, name).lower() in ("true", "t", "1", "yes")


def _stored_type(fields: Mapping[str, str], path: str) -> np.dtype:
    code = _TYPES.get(fields.get("ElementType", ""))
    if code is None:
        raise OtherFile("The numbers of the image are of a type that is not read", path)
    return np.dtype((">" if _true(fields, "BinaryDataByteOrderMSB") else "<") + code)


def _geometry(
    fields: Mapping[str, str], sizes: tuple[int, ...], path: str
) -> tuple[Geometry, tuple[str, ...]]:
    count, spatial = len(sizes), min(3, len(sizes))
    spacing = _numbers(fields, "ElementSpacing", path) or [1.0] * count
    matrix = _numbers(fields, "TransformMatrix", path)
    offset = _numbers(fields, "Offset", path) or [0.0] * count
    problems: tuple[str, ...] = ()
    if len(matrix) != count * count or spatial < 3:
        problems = (SIDES_UNKNOWN,)
    if len(matrix) != count * count:
        matrix = list(np.eye(count).ravel())
    if len(spacing) < count or len(offset) < count:
        raise BadInput("The MetaImage header is damaged", path)
    axes = np.eye(3)
    axes[:spatial, :spatial] = np.array(matrix).reshape(count, count)[:spatial, :spatial]
    steps = [abs(step) or 1.0 for step in spacing[:spatial]] + [1.0] * (3 - spatial)
    unit = fields.get("DistanceUnits", "mm").lower()
    scale = _MM.get(unit, 1.0)
    if scale != 1.0:
        problems += (f"The file gives lengths in {unit}; they were converted.",)
    affine = np.eye(4)
    affine[:3, :3] = (axes * np.array(steps)[:, None])[::-1].T * scale
    affine[:spatial, 3] = np.array(offset[:spatial]) * scale
    shape = shape_of((*sizes[:3], 1)[:3], path)
    try:
        return Geometry(shape[::-1], affine), problems
    except (BadInput, ValueError) as error:
        raise BadInput("The position of the image in the file is senseless", path) from error


def _scale(fields: Mapping[str, str]) -> tuple[float, float]:
    """From stored to real values, where the header says so."""
    try:
        slope = float(fields.get("ElementToIntensityFunctionSlope", 1.0))
        intercept = float(fields.get("ElementToIntensityFunctionOffset", 0.0))
    except ValueError:
        return 1.0, 0.0
    return (slope, intercept) if slope and np.isfinite([slope, intercept]).all() else (1.0, 0.0)


class _Where(NamedTuple):
    file: str
    packing: str
    packed_at: int


def _data_place(fields: Mapping[str, str], end: int, total: int, path: str) -> _Where:
    name = fields["ElementDataFile"]
    local = name.upper() == "LOCAL"
    if name.upper().startswith("LIST") or "%" in name:
        raise OtherFile("The voxels lie in several files, which is not read", path)
    file, start = (path, end) if local else (beside(path, name), 0)
    skip = _whole(fields, "HeaderSize", 0, path)
    if _true(fields, "CompressedData"):
        gzipped = not local and read_head(file).gzipped
        return _Where(file, GZIP if gzipped else ZLIB, start)
    if fields.get("BinaryData", "True").lower() in ("false", "f", "0", "no"):
        return _Where(file, TEXT, start)
    if skip == -1:
        return _Where(file, RAW, max(0, os.path.getsize(file) - total))
    if skip < 0:
        raise BadInput("The place of the voxels in the file is senseless", path)
    return _Where(file, RAW, start if local else start + skip)
