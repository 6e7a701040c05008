"""What the header of a whole-volume file says, in one form for all formats, and the series of it.

The readers (:mod:`imaging.storage.nifti_read`, ``nrrd_read``, ``mha_read``) make a
:class:`GridFile`; :mod:`imaging.storage.grid_load` reads the voxels.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, replace

import numpy as np

from imaging.dicom.header.vetting import MAX_FRAMES, MAX_VOLUME_BYTES
from imaging.dicom.stacks.sequence import SequenceFacts, guess_sequence
from imaging.dicom.stacks.split import plane_of
from imaging.errors import BadInput, OtherFile
from imaging.folders import folder_of
from imaging.geometry import Geometry
from imaging.series import Encoding, Frame, Series
from imaging.storage.packing import CUT_OFF, RAW, TEXT, could_hold
from imaging.volume import Source

MAX_EDGE = 1 << 20
MAX_OFFSET = 64 << 20
#: Numbers that are read: (un)signed integers and floats of these sizes.
NUMBER_TYPES = {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"}
SIDES_UNKNOWN = "The file does not say how the image lies in the patient; sides may be wrong."
SIDES_SENSELESS = "The place of the image in the file is senseless; sides may be wrong."
SHEARED = "The grid of the image is sheared; it is kept as it is."


@dataclass(frozen=True)
class GridFile:
    """A file that holds a whole volume, or several on one grid.

    Parameters
    ----------
    path : str
        The file with the header.
    kind : str
        ``"nifti"``, ``"nrrd"`` or ``"metaimage"``.
    data : str
        The file with the voxels; the same in most cases.
    dtype : dtype
        As stored, with its byte order.
    geometry : Geometry
        Array order ``(k, j, i)``, which is the order of the voxels in all these formats.
    packing : str
        See :mod:`imaging.storage.packing`.
    packed_at : int
        Byte of the file where the (packed) voxels begin.
    offset : int
        Byte of the unpacked stream where the first voxel lies.
    images : int
        Number of images on the grid.
    interleaved : bool
        True where the images alternate voxel by voxel, else they follow each other.
    repeat_axis, repeats
        What tells the images apart, as in :class:`imaging.series.Series`.
    description, manufacturer : str
        As the file or one beside it says; empty where it does not.
    facts : SequenceFacts
        What is known of the acquisition.
    says_labels : bool
        True where the header says that the numbers are labels.
    used : tuple of str
        Other files that were read for this.
    """

    path: str
    kind: str
    data: str
    dtype: np.dtype
    geometry: Geometry
    packing: str = RAW
    packed_at: int = 0
    offset: int = 0
    images: int = 1
    interleaved: bool = False
    slope: float = 1.0
    intercept: float = 0.0
    repeat_axis: str = "time point"
    repeats: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()
    description: str = ""
    manufacturer: str = ""
    facts: SequenceFacts = SequenceFacts()
    says_labels: bool = False
    used: tuple[str, ...] = ()

    @property
    def image_bytes(self) -> int:
        """Unpacked bytes of one image."""
        return int(np.prod(self.geometry.shape, dtype=object)) * self.dtype.itemsize


def grid_series(grid: GridFile, shown: str = "") -> Series:
    """The series a file makes: one, with as many images as it holds.

    Parameters
    ----------
    shown : str
        Name for people where the path has none of use.

    Raises
    ------
    BadInput
        Where the image passes a limit or the file cannot hold it.
    """
    images, problems = _checked(grid)
    name = display_name(shown or grid.path)
    guess = guess_sequence(replace(grid.facts, names=(name, *grid.facts.names)))
    directions = grid.geometry.directions
    if not grid.geometry.orthogonal:
        problems += (SHEARED,)
    return Series(
        key=_key(shown or os.path.abspath(grid.path)),
        kind=grid.kind,
        source=Source(
            grid.kind,
            files=(grid.path,),
            series_description=grid.description or name,
            manufacturer=grid.manufacturer,
            sequence=guess.name,
            folder=folder_of(shown or os.path.abspath(grid.path)),
        ),
        description=name,
        shape=grid.geometry.shape,
        geometry=grid.geometry,
        frames=tuple(_frame(grid, number) for number in range(images)),
        problems=problems,
        sequence=guess.name,
        guess=guess,
        plane=plane_of((*directions[:, 2], *directions[:, 1])),
        bits=grid.dtype.itemsize * 8,
        repeat_axis=grid.repeat_axis if images > 1 else "",
        repeats=_labels(grid, images),
        sides_known={SIDES_UNKNOWN, SIDES_SENSELESS}.isdisjoint(grid.problems),
    )


def display_name(path: str) -> str:
    """A file's name for people, without what says its format."""
    name = os.path.basename(path.replace("\\", "/"))
    for end in (".gz", ".nii", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd"):
        name = name[: -len(end)] if name.lower().endswith(end) else name
    return name or "Unnamed image"


def shape_of(sizes: tuple[int, ...], path: str) -> tuple[int, int, int]:
    """The three edges of a grid, checked.

    Raises
    ------
    BadInput
        Where an edge is senseless.
    """
    if len(sizes) != 3 or min(sizes) < 1 or max(sizes) > MAX_EDGE:
        text = " × ".join(str(size) for size in sizes)
        raise BadInput(f"An image of {text} voxels cannot be shown", path)
    return sizes[0], sizes[1], sizes[2]


def _checked(grid: GridFile) -> tuple[int, tuple[str, ...]]:
    """How many images can be read, and what is odd."""
    if grid.dtype.str[1:] not in NUMBER_TYPES:
        raise OtherFile("Colour, complex and other than plain numbers are not read", grid.path)
    if grid.image_bytes > MAX_VOLUME_BYTES:
        raise BadInput("The image is larger than 4 GB", grid.path)
    if grid.images > MAX_FRAMES:
        raise BadInput(f"A file of {grid.images} images is not read", grid.path)
    if not 0 <= grid.offset <= MAX_OFFSET:
        raise BadInput("The place of the voxels in the file is senseless", grid.path)
    there = grid.images
    while there and not _could_hold(grid, there):
        there = 0 if grid.interleaved or grid.packing != RAW else _whole_images(grid)
    if not there:
        raise BadInput(CUT_OFF, grid.path)
    if there == grid.images:
        return there, grid.problems
    return there, (
        *grid.problems,
        f"The file is cut off after {there} of {grid.images} images; the rest is missing.",
    )


def _could_hold(grid: GridFile, images: int) -> bool:
    values = grid.image_bytes * images
    if grid.packing == TEXT:  # a digit and a space for each value
        values = max(0, values // grid.dtype.itemsize * 2 - 1)
    return could_hold(grid.data, grid.packing, grid.packed_at, grid.offset + values)


def _whole_images(grid: GridFile) -> int:
    there = os.path.getsize(grid.data) - grid.packed_at - grid.offset
    return min(grid.images - 1, max(0, there // grid.image_bytes))


def _frame(grid: GridFile, number: int) -> Frame:
    _, rows, columns = grid.geometry.shape
    bits = grid.dtype.itemsize * 8
    apart = 0 if grid.interleaved else number * grid.image_bytes
    return Frame(
        file=grid.data,
        number=number,
        offset=grid.offset + apart,
        length=grid.image_bytes,
        encoding=Encoding(
            syntax=grid.dtype.str[1:],
            rows=rows,
            columns=columns,
            bits_allocated=bits,
            bits_stored=bits,
            high_bit=bits - 1,
            signed=grid.dtype.kind != "u",
            samples=grid.images if grid.interleaved else 1,
            big_endian=grid.dtype.itemsize > 1 and grid.dtype.newbyteorder(">") == grid.dtype,
            packing=grid.packing,
            packed_at=grid.packed_at,
        ),
        shape=(rows, columns),
        slope=grid.slope,
        intercept=grid.intercept,
    )


def _labels(grid: GridFile, images: int) -> tuple[str, ...]:
    if images == 1:
        return ()
    if len(grid.repeats) == grid.images:
        return grid.repeats[:images]
    return tuple(f"{grid.repeat_axis} {number}" for number in range(1, images + 1))


def _key(name: str) -> str:
    text = f"{name}|0".encode(errors="replace")
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()
