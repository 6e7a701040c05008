"""NRRD headers, attached and detached; :mod:`imaging.storage.grid_load` reads the voxels.

Source: "Definition of NRRD File Format" (Teem); fields are parsed by pynrrd, which reads no data
here. Diffusion fields as in "NRRD DWI" of the NA-MIC wiki.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from imaging.dicom.stacks.sequence import SequenceFacts
from imaging.errors import BadInput, OtherFile
from imaging.geometry import Geometry
from imaging.storage.bids_json import b_labels
from imaging.storage.detached import beside
from imaging.storage.file_head import Head
from imaging.storage.grid_file import SIDES_UNKNOWN, GridFile, shape_of
from imaging.storage.packing import BZIP2, DAMAGED, GZIP, RAW, TEXT

MAX_HEADER_BYTES = 4 << 20
MAX_LINE_SKIP = 100_000
_TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int",
           "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}  # fmt: skip
_NUMPY = {name: code for code, names in _TYPES.items() for name in names}
_PACKINGS = {
    "raw": RAW, "gzip": GZIP, "gz": GZIP, "bzip2": BZIP2, "bz2": BZIP2,
    "ascii": TEXT, "text": TEXT, "txt": TEXT,
}  # fmt: skip
_TO_LPS = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1),
    "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
_MM = {"mm": 1.0, "millimeter": 1.0, "m": 1000.0, "cm": 10.0, "um": 0.001, "µm": 0.001,
       "micron": 0.001, "microns": 0.001}  # fmt: skip
#: Kinds of an axis whose entries are images of their own; vectors only of diffusion files.
_IMAGE_KINDS = ("list", "time", "none", "???", "domain", "space", "")
_SEVERAL_FILES = re.compile(r"^LIST\b|%[-+0-9]{0,6}[diu]")


class NrrdHeader(NamedTuple):
    """A header as text.

    Parameters
    ----------
    fields : mapping
        Field names in small letters, values as pynrrd parses them.
    pairs : mapping
        The ``key:=value`` lines.
    end : int
        Byte after the header.
    """

    fields: Mapping[str, Any]
    pairs: Mapping[str, str]
    end: int


def begins_nrrd(head: Head) -> bool:
    """True where a file begins with the NRRD mark."""
    return re.match(rb"NRRD\d{4}[\r\n]", head.raw) is not None


def read_header(path: str) -> NrrdHeader:
    """The fields of a header.

    Raises
    ------
    BadInput
        Where it cannot be understood.
    """
    lines, end = _lines(path)
    fields, pairs = [lines[0].rstrip()], {}
    for line in lines[1:]:
        if line.startswith("#"):
            continue
        name, pair, value = line.partition(":=")
        if pair and ": " not in name:
            pairs[name] = value.replace("\\n", "\n").replace("\\\\", "\\")
            continue
        name, _, value = line.partition(":")
        value = re.sub(r"\([^)]*\)", lambda vector: "".join(vector[0].split()), value)
        fields.append(f"{name.strip().lower()}: {value.strip()}")
    return NrrdHeader(_parsed(fields, path), pairs, end)


def _parsed(fields: list[str], path: str) -> Mapping[str, Any]:
    import nrrd

    try:
        with np.errstate(all="ignore"):
            return nrrd.read_header(fields)
    except Exception as error:
        raise BadInput("The NRRD header is damaged", path) from error


def _lines(path: str) -> tuple[list[str], int]:
    """The lines of the header, and where it ends."""
    lines: list[str] = []
    try:
        with open(path, "rb") as file:
            while file.tell() < MAX_HEADER_BYTES:
                line = file.readline(MAX_HEADER_BYTES)
                if not line.strip():  # an empty line, or the end of a detached header
                    return lines, file.tell()
                lines.append(line.decode("utf-8", "replace").rstrip("\r\n"))
    except OSError as error:
        raise BadInput(DAMAGED, path) from error
    raise BadInput("The NRRD header has no end", path)


def read_grid(path: str, shown: str = "") -> GridFile:
    """What the header of an NRRD file says.

    Raises
    ------
    BadInput
        Where it cannot be used.
    """
    header = read_header(path)
    fields = header.fields
    missing = [n for n in ("dimension", "type", "encoding", "sizes") if n not in fields]
    if missing or len(fields["sizes"]) != fields["dimension"]:
        raise BadInput("The NRRD header is damaged", path)
    axes = _axes(fields, header.pairs, path)
    geometry, problems = _geometry(fields, axes, path)
    dtype = _stored_type(fields, path)
    total = int(np.prod([int(n) for n in fields["sizes"]], dtype=object)) * dtype.itemsize
    where = _data_place(header, total, path)
    values = _b_values(header.pairs, axes.images)
    return GridFile(
        path, "nrrd", where.file, dtype, geometry, packing=where.packing,
        packed_at=where.packed_at, offset=where.offset, images=axes.images,
        interleaved=axes.interleaved, problems=problems,
        repeat_axis="b-value" if values else "time point" if axes.kind == "time" else "image",
        repeats=b_labels(values) if values else (),
        facts=SequenceFacts(b_value=max(values)) if values else SequenceFacts(),
        says_labels=is_segmentation(header.pairs),
        used=(where.file,) if where.file != path else (),
    )  # fmt: skip


def is_segmentation(pairs: Mapping[str, str]) -> bool:
    """True for the header of a ``.seg.nrrd`` file of 3D Slicer."""
    return any(re.fullmatch(r"Segment\d+_ID", key) for key in pairs)


def _stored_type(fields: Mapping[str, Any], path: str) -> np.dtype:
    code = _NUMPY.get(" ".join(str(fields["type"]).lower().split()))
    if code is None:
        raise BadInput("The numbers of the image are of an unknown type", path)
    endian = str(fields.get("endian", "")).lower()
    if endian not in ("little", "big"):
        packing = _PACKINGS.get(str(fields["encoding"]).lower())
        if code[1] != "1" and packing != TEXT:
            raise BadInput("The file does not say the byte order of its numbers", path)
        endian = "little"
    return np.dtype((">" if endian == "big" else "<") + code)


# --- axes and places ------------------------------------------------------------------------


class _Axes(NamedTuple):
    """Which axes of the file lie in space (fastest first), and the one that does not."""

    spatial: tuple[int, ...]
    images: int
    interleaved: bool
    kind: str


def _axes(fields: Mapping[str, Any], pairs: Mapping[str, str], path: str) -> _Axes:
    sizes = [int(n) for n in fields["sizes"]]
    kinds = [str(kind).lower() for kind in fields.get("kinds", ())]
    kinds += [""] * (len(sizes) - len(kinds))
    placed = _placed(fields, kinds, sizes)
    others = [n for n in range(len(sizes)) if not placed[n] and sizes[n] != 1]
    spatial = tuple(n for n in range(len(sizes)) if placed[n])
    if len(spatial) not in (2, 3) or len(others) > 1:
        text = " × ".join(str(size) for size in sizes)
        raise BadInput(f"The axes of the file ({text}) are not those of an image", path)
    if not others:
        return _Axes(spatial, 1, False, "")
    axis = others[0]
    kind, diffusion = kinds[axis], pairs.get("modality") == "DWMRI"
    if kind not in _IMAGE_KINDS and not (kind == "vector" and diffusion):
        raise OtherFile(f"The file holds several numbers for each voxel ({kind}): not read", path)
    if spatial[0] < axis < spatial[-1]:
        raise OtherFile("The images of the file are interleaved line by line: not read", path)
    return _Axes(spatial, sizes[axis], axis < spatial[0], kind)


def _placed(fields: Mapping[str, Any], kinds: list[str], sizes: list[int]) -> list[bool]:
    """Which axes lie in space."""
    directions = fields.get("space directions")
    if directions is not None and len(directions) == len(sizes):
        return [bool(np.isfinite(row[:3]).all() and np.any(row[:3])) for row in directions]
    spacings = fields.get("spacings", ())
    known = [kind in ("domain", "space") for kind in kinds]
    if any(known):
        return known
    if len(spacings) == len(sizes) and np.isfinite(spacings).sum() in (2, 3):
        return [bool(np.isfinite(v)) for v in spacings]
    return [number < 3 for number in range(len(sizes))]


def _geometry(
    fields: Mapping[str, Any], axes: _Axes, path: str
) -> tuple[Geometry, tuple[str, ...]]:
    """The grid, array order (k, j, i), and what is odd about it."""
    sizes = tuple(int(fields["sizes"][n]) for n in axes.spatial)
    vectors, origin, known = _vectors(fields, axes)
    if len(sizes) == 2:
        sizes, vectors = (*sizes, 1), [*vectors, _across(*vectors)]
    shape = shape_of(sizes, path)
    affine = np.eye(4)
    affine[:3, :3] = np.array(vectors[::-1]).T
    affine[:3, 3] = origin
    scale, problems = _unit(fields)
    space = str(fields.get("space", "")).lower().removesuffix("-time")
    flips = _TO_LPS.get(space)
    to_lps = np.diag([*np.multiply(flips or (1, 1, 1), scale), 1.0])
    if flips is None or not known:
        problems += (SIDES_UNKNOWN,)
    try:
        return Geometry(shape[::-1], to_lps @ affine), problems
    except (BadInput, ValueError) as error:
        raise BadInput("The position of the image in the file is senseless", path) from error


def _vectors(fields: Mapping[str, Any], axes: _Axes) -> tuple[list[np.ndarray], np.ndarray, bool]:
    """Step of each spatial axis and the first voxel, in the file's space; False if made up."""
    directions = fields.get("space directions")
    dimension = len(fields["sizes"])
    origin = _three(fields["space origin"]) if "space origin" in fields else np.zeros(3)
    if directions is not None and len(directions) == dimension:
        return [_three(directions[n]) for n in axes.spatial], origin, "space origin" in fields
    spacings = fields.get("spacings", ())
    steps = spacings if len(spacings) == dimension else [1.0] * dimension
    usable = [abs(float(steps[n])) if np.isfinite(steps[n]) and steps[n] else 1.0
              for n in axes.spatial]  # fmt: skip
    return [row * step for row, step in zip(np.eye(3), usable, strict=False)], origin, False


def _three(vector: np.ndarray) -> np.ndarray:
    """The place of a vector in space: two numbers lie in a plane, a fourth is time."""
    return np.pad(np.asarray(vector, float)[:3], (0, max(0, 3 - len(vector))))


def _across(i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """A step of 1 mm out of the plane of a single slice."""
    normal = np.cross(i, j)
    length = float(np.linalg.norm(normal))
    return normal / length if length else normal


def _unit(fields: Mapping[str, Any]) -> tuple[float, tuple[str, ...]]:
    units = list(fields.get("space units", ()))
    word = str(units[0]).lower() if len(units) else "mm"
    scale = _MM.get(word, 1.0)
    return scale, (f"The file gives lengths in {word}; they were converted.",) * (scale != 1.0)


# --- where the voxels are -------------------------------------------------------------------


class _Where(NamedTuple):
    file: str
    packing: str
    packed_at: int
    offset: int


def _data_place(header: NrrdHeader, total: int, path: str) -> _Where:
    fields = header.fields
    packing = _PACKINGS.get(str(fields["encoding"]).lower())
    if packing is None:
        raise OtherFile("The voxels are packed in a way that is not read", path)
    name = str(fields.get("data file", fields.get("datafile", "")))
    if _SEVERAL_FILES.search(name):
        raise OtherFile("The voxels lie in several files, which is not read", path)
    file = beside(path, name) if name else path
    start = 0 if name else header.end
    lines = int(fields.get("line skip", fields.get("lineskip", 0)))
    skip = int(fields.get("byte skip", fields.get("byteskip", 0)))
    if not 0 <= lines <= MAX_LINE_SKIP or skip < -1 or (skip == -1 and packing != RAW):
        raise BadInput("The place of the voxels in the file is senseless", path)
    if skip == -1:
        return _Where(file, packing, max(0, os.path.getsize(file) - total), 0)
    start = _after_lines(file, start, lines) if lines else start
    if packing == TEXT:
        return _Where(file, packing, start + skip, 0)
    return _Where(file, packing, start, skip)


def _after_lines(file: str, start: int, lines: int) -> int:
    with open(file, "rb") as data:
        data.seek(start)
        for _ in range(lines):
            data.readline(MAX_HEADER_BYTES)
        return data.tell()


def _b_values(pairs: Mapping[str, str], images: int) -> tuple[float, ...]:
    """b-value of each image: the nominal one by the length of its gradient, squared."""
    if images < 2 or pairs.get("modality") != "DWMRI":
        return ()
    try:
        nominal = float(pairs["DWMRI_b-value"])
        gradients = [
            [float(v) for v in pairs[f"DWMRI_gradient_{number:04d}"].split()]
            for number in range(images)
        ]
    except (KeyError, ValueError):
        return ()
    lengths = np.array([float(np.dot(g, g)) for g in gradients])
    if not (np.isfinite(lengths).all() and 0 < nominal < 1e6 and lengths.max() > 0):
        return ()
    return tuple(float(v) for v in nominal * lengths / lengths.max())
