"""Volumes as NRRD files, written by hand: a short text header and gzip-packed voxels.

Source: "Definition of NRRD File Format", Teem, with ``space: left-posterior-superior``; axes run
i, j, k from the fastest.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np

from imaging.atomic import write_atomic
from imaging.errors import BadInput, WorldFailed
from imaging.geometry import Geometry
from imaging.segmentation import Segmentation
from imaging.storage.label_file import label_file_path, write_label_file
from imaging.volume import Volume

_TYPES = {
    "u1": "uint8", "i1": "int8", "u2": "uint16", "i2": "int16", "u4": "uint32", "i4": "int32",
    "u8": "uint64", "i8": "int64", "f4": "float", "f8": "double",
}  # fmt: skip


def write_volume(path: Path, volume: Volume, *, packed: bool = True) -> list[Path]:
    """Write a volume; real values as float32 where a slope or intercept applies.

    NRRD has no rescale of its own, so stored values go out only where they are the real ones.

    Parameters
    ----------
    path : Path
        Ends in ``.nrrd``; replaced as a whole or not at all.
    packed : bool
        False for raw voxels: larger and faster.

    Returns
    -------
    list of Path
        The file.

    Raises
    ------
    BadInput
        Where the name does not end in ``.nrrd``.
    WorldFailed
        Where the disk refuses or what was read back differs.
    """
    plain = (volume.slope, volume.intercept) == (1.0, 0.0)
    values = volume.voxels if plain else volume.real(volume.voxels)
    return [_write(path, values, volume.geometry, volume.name, packed)]


def write_labels(path: Path, segmentation: Segmentation) -> list[Path]:
    """Write label numbers as uint8, and the ITK-SNAP label file beside them.

    Raises
    ------
    BadInput, WorldFailed
        As in :func:`write_volume`.
    """
    written = _write(path, segmentation.labels, segmentation.geometry, segmentation.name, True)
    return [written, *write_label_file(label_file_path(written), segmentation.segments)]


def _write(path: Path, values: np.ndarray, geometry: Geometry, name: str, packed: bool) -> Path:
    path = Path(path)
    if not path.name.lower().endswith(".nrrd"):
        raise BadInput("An NRRD file must end in .nrrd", str(path))
    if values.dtype.kind == "b":
        values = values.astype(np.uint8)
    elif values.dtype.kind + str(values.dtype.itemsize) not in _TYPES:
        values = values.astype(np.float32)
    values = values.astype(values.dtype.newbyteorder("<"), copy=False)
    head = _header(values, geometry, name, packed)

    def write(aside: Path) -> None:
        with open(aside, "wb") as raw:
            raw.write(head)
            body = np.ascontiguousarray(values).reshape(-1).view(np.uint8).data
            if packed:
                with gzip.GzipFile("", "wb", 4, raw, mtime=0) as zipped:
                    zipped.write(body)
            else:
                raw.write(body)

    def verify(aside: Path) -> None:
        _verify(aside, values, geometry)

    return write_atomic(path, write, verify)


def _header(values: np.ndarray, geometry: Geometry, name: str, packed: bool) -> bytes:
    k, j, i = geometry.shape
    axes = " ".join(_vector(geometry.affine[:3, axis]) for axis in (2, 1, 0))
    content = " ".join(name.split()).encode("ascii", "replace").decode("ascii")[:80]
    lines = [
        "NRRD0004",
        f"type: {_TYPES[values.dtype.kind + str(values.dtype.itemsize)]}",
        "dimension: 3",
        "space: left-posterior-superior",
        f"sizes: {i} {j} {k}",
        f"space directions: {axes}",
        "kinds: domain domain domain",
        'space units: "mm" "mm" "mm"',
        "endian: little",
        f"encoding: {'gzip' if packed else 'raw'}",
        f"space origin: {_vector(geometry.origin)}",
        *([f"content: {content}"] if content else []),
    ]
    return ("\n".join(lines) + "\n\n").encode("ascii")


def _vector(values: np.ndarray) -> str:
    return "(" + ",".join(repr(float(v)) for v in values) + ")"


def _verify(path: Path, values: np.ndarray, geometry: Geometry) -> None:
    """Read the file the way the format says, not the way it was made."""
    head, _, body = path.read_bytes().partition(b"\n\n")
    fields = dict(
        line.split(": ", 1) for line in head.decode("ascii").splitlines()[1:] if ": " in line
    )
    raw = gzip.decompress(body) if fields["encoding"] == "gzip" else body
    sizes = [int(n) for n in fields["sizes"].split()]
    kind = next(k for k, v in _TYPES.items() if v == fields["type"])
    back = np.frombuffer(raw, f"<{kind}").reshape(sizes[::-1])
    columns = [_numbers(v) for v in fields["space directions"].split()]
    affine = np.eye(4)
    affine[:3, :3] = np.array(columns[::-1]).T
    affine[:3, 3] = _numbers(fields["space origin"])
    same = np.array_equal(back, values, equal_nan=values.dtype.kind == "f")
    if not same or not Geometry(tuple(sizes[::-1]), affine).same_grid(geometry):
        raise WorldFailed("The file read back differs from what was written", path.name)


def _numbers(vector: str) -> list[float]:
    return [float(v) for v in vector.strip("()").split(",")]
