"""What was found on disk: frames, series, objects that belong to them, problems; as values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from imaging.geometry import Box, Geometry
from imaging.volume import Source, Volume, Window

#: Fewest slices that make a volume for 3D and for models.
MIN_VOLUME_SLICES = 3
#: From this confidence on a guessed sequence is shown without a question mark.
SURE = 0.7


class Problem(NamedTuple):
    """A file that could not be used, and one sentence that says why.

    ``damaged`` is True where it should have been: cut off, empty, contradicting itself. Texts,
    second copies and kinds of files that are not read are not damaged.
    """

    path: str
    reason: str
    damaged: bool = False


@dataclass(frozen=True, slots=True)
class Encoding:
    """How the pixels of a file are stored (PS3.3 C.7.6.3); shared by its frames.

    ``rows`` and ``columns`` are those of the stored image, which for a mosaic is the sheet of all
    tiles. For whole-volume files ``syntax`` is the number type (``"i2"``), ``samples`` counts
    images that alternate voxel by voxel, ``packing`` names what the voxels are packed with and
    ``packed_at`` is the byte of the file where that begins. ``real`` is True for floating point
    pixels, ``lookup`` is ``"modality"`` or ``"palette"`` where stored values go through a table of
    the file, and ``notes`` are sentences for the user about what was done to the values. Stored
    values from the first to the second ``padding`` stand where nothing was measured.
    """

    syntax: str
    rows: int
    columns: int
    bits_allocated: int
    bits_stored: int
    high_bit: int
    signed: bool
    samples: int = 1
    photometric: str = "MONOCHROME2"
    planar: int = 0
    encapsulated: bool = False
    big_endian: bool = False
    deflated: bool = False
    packing: str = ""
    packed_at: int = 0
    real: bool = False
    lookup: str = ""
    notes: tuple[str, ...] = ()
    padding: tuple[int, int] | None = None

    @property
    def frame_bytes(self) -> int:
        """Bytes of one uncompressed frame; with one bit per pixel the last byte may be shared."""
        pixels = self.rows * self.columns
        if self.photometric == "YBR_FULL_422" and self.samples == 3 and not self.encapsulated:
            return pixels * 2 * self.bits_allocated // 8
        return (pixels * self.samples * self.bits_allocated + 7) // 8


@dataclass(frozen=True, slots=True)
class Frame:
    """One slice on disk: where its pixels are and where it lies in the patient.

    Parameters
    ----------
    number : int
        One-based frame number in a multi-frame file, 0 in a single-frame file. For whole-volume
        files the zero-based image.
    offset, length : int
        Bytes of this frame in the file (of the whole pixel element where it is encapsulated; in
        the unpacked stream for whole-volume files).
    shape : tuple of int
        Rows and columns of the slice.
    tile : tuple of int or None
        First row and column inside the stored image of a mosaic.
    position : tuple of float or None
        Centre of the first voxel, LPS mm.
    orientation : tuple of float or None
        Direction along a row, then along a column (PS3.3 C.7.6.2.1.1).
    spacing : tuple of float or None
        Distance between rows, then between columns, mm.
    thickness : float
        Distance to the next slice as the header says, mm; 0 where unknown.
    kind : tuple of str
        Image type words that must agree inside one stack.
    marks : tuple
        Values that tell repeats of one place apart, in the order of :data:`imaging.dicom
        .frames.MARKS`; None where the header has none.
    order : int
        Instance number of a single-frame file, frame number in a multi-frame one, the image in
        whole-volume files: what tells which came first.
    """

    file: str
    number: int
    offset: int
    length: int
    encoding: Encoding
    shape: tuple[int, int]
    instance_uid: str = ""
    position: tuple[float, float, float] | None = None
    orientation: tuple[float, ...] | None = None
    spacing: tuple[float, float] | None = None
    thickness: float = 0.0
    slope: float = 1.0
    intercept: float = 0.0
    windows: tuple[Window, ...] = ()
    kind: tuple[str, ...] = ()
    marks: tuple[float | None, ...] = ()
    order: int = 0
    tile: tuple[int, int] | None = None

    @property
    def placed(self) -> bool:
        """True where the header says where the slice lies."""
        return None not in (self.position, self.orientation, self.spacing)


@dataclass(frozen=True)
class SequenceGuess:
    """Which kind of sequence an image is, how sure that is, and why.

    Parameters
    ----------
    name : str
        One of :data:`SEQUENCES`, or empty where nobody can tell.
    confidence : float
        0 (a guess) to 1 (the user said so).
    why : str
        One phrase for people: ``"the series is called t2_flair_sag"``.
    """

    name: str = ""
    confidence: float = 0.0
    why: str = ""

    @property
    def sure(self) -> bool:
        """True where it is named and so sure that nobody needs to be warned."""
        return bool(self.name) and self.confidence >= SURE


#: Every sequence that is told apart; ``T1w+C`` is T1w with contrast agent.
SEQUENCES = ("T1w", "T1w+C", "T2w", "FLAIR", "DWI", "ADC", "SWI", "T2*w", "PD", "localiser")

#: Kinds of :class:`FoundObject`.
SEGMENTATION, STRUCTURE_SET, PARAMETRIC_MAP, REPORT, LABELS = (
    "segmentation", "structure set", "parametric map", "report", "labels",
)  # fmt: skip


@dataclass(frozen=True)
class FoundObject:
    """Something on disk that belongs to images: a mask, contours, a map, a report.

    Parameters
    ----------
    key : str
        Stable id: the same file gives the same key.
    kind : str
        ``"segmentation"`` (DICOM SEG), ``"structure set"`` (RTSTRUCT), ``"parametric map"``,
        ``"report"`` (SR) or ``"labels"`` (a label image of another format).
    title : str
        What the user sees: the series or content description, else the file name.
    details : str
        One short phrase: ``"3 segments"``, ``"2 contours"``, ``"5 measurements"``.
    series_uids : tuple of str
        Series it refers to; empty where it does not say.
    instance_uids : tuple of str
        Images it refers to, where it names no series; empty where it does not say.
    frame_of_reference : str
        Empty where unknown.
    """

    key: str
    kind: str
    path: str
    title: str
    details: str = ""
    source: Source = Source("dicom")
    series_uids: tuple[str, ...] = ()
    instance_uids: tuple[str, ...] = field(default=(), repr=False)
    frame_of_reference: str = ""


@dataclass(frozen=True, eq=False)
class Series:
    """One stack of slices that can be opened, or several on one grid (a 4D series).

    Parameters
    ----------
    key : str
        Stable id: the same files give the same key. While a folder is being read the same key is
        reported again when the series has grown.
    kind : str
        ``"dicom"``, ``"nifti"``, ``"nrrd"`` or ``"metaimage"``.
    source : Source
        Patient, study and series as the header says; files, instance UIDs and frames per slice in
        array order, for a 4D series those of all images as in ``frames``.
    description : str
        What the user sees.
    shape : tuple of int
        Voxels along ``(k, j, i)``.
    geometry : Geometry or None
        None where the header does not say where the slices lie.
    frames : tuple of Frame
        One per slice in array order; for a 4D series all slices of the first image, then all of
        the second, and so on. One per image for NIfTI and other whole-volume files.
    regular : bool
        True where the slices lie at even distances; else the geometry is only an average.
    repeat_axis : str
        What tells the images of a 4D series apart; empty for an ordinary one. See
        :class:`imaging.volume.Repeats`.
    repeats : tuple of str
        A label for each image of a 4D series, empty for an ordinary one.
    guess : SequenceGuess
        How sure ``sequence`` is, and why.
    problems : tuple of str
        Sentences about what is odd.
    sequence : str
        Best guess, one of :data:`SEQUENCES`, or empty.
    plane : str
        ``"axial"``, ``"sagittal"``, ``"coronal"``, ``"oblique …"`` or empty, as acquired.
    sides_known : bool
        As in :class:`imaging.volume.Volume`.
    viewable, volumetric : bool
        Whether slices can be shown; whether the grid is fit for 3D views and models.
    """

    key: str
    kind: str
    source: Source
    description: str
    shape: tuple[int, int, int]
    geometry: Geometry | None
    frames: tuple[Frame, ...] = field(repr=False)
    regular: bool = True
    problems: tuple[str, ...] = ()
    sequence: str = ""
    plane: str = ""
    bits: int = 16
    photometric: str = "MONOCHROME2"
    viewable: bool = True
    repeat_axis: str = ""
    repeats: tuple[str, ...] = ()
    guess: SequenceGuess = SequenceGuess()
    sides_known: bool = True

    @property
    def volumetric(self) -> bool:
        """True where the grid is regular, placed and thick enough for 3D views and models."""
        deep = self.shape[0] >= MIN_VOLUME_SLICES
        return self.viewable and self.regular and self.geometry is not None and deep


class Loading(Protocol):
    """A volume that exists at once and whose voxels arrive.

    ``wanted`` may be set while loading: the image of a 4D series that is shown and comes next.
    Blocks that are reported are those of its grid.
    """

    volume: Volume
    complete: bool
    wanted: int

    @property
    def fraction(self) -> float:
        """Share of the slices of all images that has arrived, 0 to 1."""
        ...

    def load(
        self,
        first: int | None = None,
        on_slab: Callable[[Box], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Volume:
        """Read the voxels into the memory of ``volume``; see :mod:`imaging.dicom.stacks.load`."""
        ...
