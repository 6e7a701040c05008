"""Volumes and masks as NRRD files, written by hand: a short text header and gzip-packed voxels.

Source: "Definition of NRRD File Format", Teem, with ``space: left-posterior-superior``; axes run
i, j, k from the fastest, the images of a 4D series last (``list``). Key/value pairs
(``key:=value``) are UTF-8, with ``\\n`` and ``\\\\`` escaped as the format says.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from imaging.atomic import write_atomic
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.segmentation import Segmentation
from imaging.storage.arrays import PACKING, as_bytes, little_endian, one_line, real, storable
from imaging.storage.label_file import with_label_file
from imaging.storage.sidecar import image_facts, must_be_even
from imaging.volume import Volume

_TYPES = {
    "u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32",
    "f4": "float", "f8": "double",
}  # fmt: skip


def write_volume(
    path: Path, volume: Volume, *, packed: bool = True, every_image: bool = True
) -> list[Path]:
    """Write a volume; real values as float32 where a slope or intercept applies.

    NRRD has no rescale of its own, so stored values go out only where they are the real ones.

    Parameters
    ----------
    path : Path
        Ends in ``.nrrd``; replaced as a whole or not at all.
    packed : bool
        False for raw voxels: larger and faster.
    every_image : bool
        All images of a 4D series as one 4D file; False for the chosen one only.

    Returns
    -------
    list of Path
        The file.

    Raises
    ------
    BadInput
        Where the name does not end in ``.nrrd`` or the slices are uneven.
    WorldFailed
        Where the disk refuses or what was read back differs.
    """
    must_be_even(volume)
    values = real(volume, every_image=every_image)
    pairs = {}
    if volume.repeats is not None:
        facts = image_facts(volume, every_image=every_image)
        pairs["Isocenter"] = json.dumps(facts, ensure_ascii=False)
    return [write_grid(path, values, volume.geometry, name=volume.name, pairs=pairs, packed=packed)]


def write_labels(path: Path, segmentation: Segmentation) -> list[Path]:
    """Write label numbers as uint8, and the ITK-SNAP label file beside them.

    Raises
    ------
    BadInput, WorldFailed
        As in :func:`write_volume`.
    """
    return with_label_file(
        path,
        segmentation.segments,
        lambda: write_grid(
            path, segmentation.labels, segmentation.geometry, name=segmentation.name
        ),
    )


def write_grid(
    path: Path,
    values: np.ndarray,
    geometry: Geometry,
    *,
    name: str = "",
    pairs: Mapping[str, str] | None = None,
    packed: bool = True,
) -> Path:
    """Write an array on a grid, with key/value pairs in the header.

    Parameters
    ----------
    values : ndarray, shape (k, j, i) or (n, k, j, i)
    pairs : mapping of str to str, optional
        Keys without a colon; values may hold any letters and line breaks.

    Raises
    ------
    BadInput, WorldFailed
        As in :func:`write_volume`.
    """
    path = Path(path)
    if not path.name.lower().endswith(".nrrd"):
        raise BadInput("An NRRD file must end in .nrrd", str(path))
    values = little_endian(storable(values))
    head = _header(values, geometry, name, pairs or {}, packed)

    def write(aside: Path) -> None:
        from isal import igzip

        with open(aside, "wb") as raw:
            raw.write(head)
            if packed:
                with igzip.IGzipFile("", "wb", PACKING, raw, mtime=0) as zipped:
                    zipped.write(as_bytes(values))
            else:
                raw.write(as_bytes(values))

    def verify(aside: Path) -> None:
        _verify(aside, values, geometry, pairs or {})

    return write_atomic(path, write, verify)


def _header(
    values: np.ndarray, geometry: Geometry, name: str, pairs: Mapping[str, str], packed: bool
) -> bytes:
    k, j, i = geometry.shape
    axes = " ".join(_vector(geometry.affine[:3, axis]) for axis in (2, 1, 0))
    content = one_line(name).encode("ascii", "replace").decode("ascii")[:80]
    many = values.ndim == 4
    lines = [
        "NRRD0005" if many else "NRRD0004",
        f"type: {_TYPES[values.dtype.kind + str(values.dtype.itemsize)]}",
        f"dimension: {values.ndim}",
        "space: left-posterior-superior",
        f"sizes: {i} {j} {k}" + (f" {values.shape[0]}" if many else ""),
        f"space directions: {axes}" + (" none" if many else ""),
        "kinds: domain domain domain" + (" list" if many else ""),
        'space units: "mm" "mm" "mm"',
        "endian: little",
        f"encoding: {'gzip' if packed else 'raw'}",
        f"space origin: {_vector(geometry.origin)}",
        *([f"content: {content}"] if content else []),
        *(f"{key}:={_escaped(value)}" for key, value in pairs.items()),
    ]
    return ("\n".join(lines) + "\n\n").encode("utf-8", "replace")


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\r", "").replace("\n", "\\n")


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(repr(float(v)) for v in values) + ")"


def _verify(path: Path, values: np.ndarray, geometry: Geometry, pairs: Mapping[str, str]) -> None:
    """Read the file the way the format says, not the way it was made."""
    head, _, body = path.read_bytes().partition(b"\n\n")
    lines = head.decode("utf-8").split("\n")[1:]
    told = dict(line.split(":=", 1) for line in lines if ":=" in line)
    fields = dict(line.split(": ", 1) for line in lines if ":=" not in line and ": " in line)
    raw = gzip.decompress(body) if fields["encoding"] == "gzip" else body
    sizes = [int(n) for n in fields["sizes"].split()]
    kind = next(k for k, v in _TYPES.items() if v == fields["type"])
    back = np.frombuffer(raw, f"<{kind}").reshape(sizes[::-1])
    columns = [_numbers(v) for v in fields["space directions"].split()[:3]]
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns[::-1]).T
    affine[:3, 3] = _numbers(fields["space origin"])
    same = np.array_equal(back, values, equal_nan=values.dtype.kind == "f")
    meant = {k: _escaped(v).encode("utf-8", "replace").decode() for k, v in pairs.items()}
    grid = Geometry(tuple(sizes[2::-1]), affine)
    if not same or told != meant or not grid.same_grid(geometry):
        raise WorldFailed("The file read back differs from what was written", path.name)


def _numbers(vector: str) -> list[float]:
    return [float(v) for v in vector.strip("()").split(",")]
