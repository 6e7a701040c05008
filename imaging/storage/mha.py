"""Volumes, masks and maps as MetaImage files (``.mha``): a text header and zlib-packed voxels.

Source: "ITK/MetaIO/Documentation" (Kitware): LPS patient coordinates, axes i, j, k from the
fastest, ``TransformMatrix`` holds the direction of each axis one after the other.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imaging.atomic import write_atomic
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.storage.arrays import PACKING, as_bytes, little_endian, real, storable
from imaging.storage.label_file import with_label_file
from imaging.storage.sidecar import image_facts, map_facts, mask_facts, must_be_even
from imaging.volume import Volume

_TYPES = {
    "u1": "MET_UCHAR", "i1": "MET_CHAR", "u2": "MET_USHORT", "i2": "MET_SHORT", "u4": "MET_UINT",
    "i4": "MET_INT", "f4": "MET_FLOAT", "f8": "MET_DOUBLE",
}  # fmt: skip


def write_volume(path: Path, volume: Volume) -> list[Path]:
    """Write the chosen image of a volume; real values as float32 where a slope applies.

    A 4D series goes out with its chosen image only: readers disagree about a fourth axis. The name
    ends in ``.mha``; the rest is as in :func:`imaging.storage.nrrd.write_volume`.
    """
    must_be_even(volume)
    values = real(volume, every_image=False)
    return [_write(path, values, volume.geometry, image_facts(volume))]


def write_labels(path: Path, segmentation: Segmentation) -> list[Path]:
    """Write label numbers as uint8, and the ITK-SNAP label file beside them.

    Raises
    ------
    BadInput, WorldFailed
        As in :func:`write_volume`.
    """
    facts = mask_facts(segmentation)
    return with_label_file(
        path,
        segmentation.segments,
        lambda: _write(path, segmentation.labels, segmentation.geometry, facts),
    )


def write_heatmap(path: Path, heatmap: Heatmap) -> list[Path]:
    """Write the values of a map as float32.

    Raises
    ------
    BadInput, WorldFailed
        As in :func:`write_volume`.
    """
    return [_write(path, heatmap.values, heatmap.geometry, map_facts(heatmap))]


def _write(path: Path, values: np.ndarray, geometry: Geometry, facts: Mapping[str, Any]) -> Path:
    path = Path(path)
    if not path.name.lower().endswith(".mha"):
        raise BadInput("A MetaImage file must end in .mha", str(path))
    values = little_endian(storable(values))

    def write(aside: Path) -> None:
        from isal import isal_zlib

        body = isal_zlib.compress(as_bytes(values), PACKING)
        with open(aside, "wb") as raw:
            raw.write(_header(values, geometry, len(body), facts))
            raw.write(body)

    def verify(aside: Path) -> None:
        _verify(aside, values, geometry)

    return write_atomic(path, write, verify)


def _header(values: np.ndarray, geometry: Geometry, packed: int, facts: Mapping[str, Any]) -> bytes:
    k, j, i = geometry.shape
    matrix = geometry.directions[:, ::-1].T.ravel()
    # ASCII: readers disagree about other letters in this header, and JSON has escapes for them
    comment = json.dumps(facts, ensure_ascii=True)
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        "CompressedData = True",
        f"CompressedDataSize = {packed}",
        f"TransformMatrix = {_numbers(matrix)}",
        f"Offset = {_numbers(geometry.origin)}",
        "CenterOfRotation = 0 0 0",
        f"ElementSpacing = {_numbers(geometry.spacing[::-1])}",
        f"DimSize = {i} {j} {k}",
        f"Isocenter = {comment}",
        f"ElementType = {_TYPES[values.dtype.kind + str(values.dtype.itemsize)]}",
        "ElementDataFile = LOCAL",
    ]
    return ("\n".join(lines) + "\n").encode("ascii")


def _numbers(values) -> str:
    return " ".join(repr(float(v)) for v in values)


def _verify(path: Path, values: np.ndarray, geometry: Geometry) -> None:
    """Read the file the way the format says, not the way it was made."""
    head, _, body = path.read_bytes().partition(b"ElementDataFile = LOCAL\n")
    fields = dict(line.split(" = ", 1) for line in head.decode("ascii").splitlines())
    sizes = [int(n) for n in fields["DimSize"].split()]
    kind = next(k for k, v in _TYPES.items() if v == fields["ElementType"])
    back = np.frombuffer(zlib.decompress(body), f"<{kind}").reshape(sizes[::-1])
    matrix = np.array(fields["TransformMatrix"].split(), float).reshape(3, 3).T
    affine = np.eye(4)
    affine[:3, :3] = (matrix * np.array(fields["ElementSpacing"].split(), float))[:, ::-1]
    affine[:3, 3] = np.array(fields["Offset"].split(), float)
    whole = len(body) == int(fields["CompressedDataSize"])
    same = np.array_equal(back, values, equal_nan=values.dtype.kind == "f")
    if not (whole and same) or not Geometry(tuple(sizes[::-1]), affine).same_grid(geometry):
        raise WorldFailed("The file read back differs from what was written", path.name)
