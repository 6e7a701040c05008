"""An image in the patient: voxels, where they lie, what the numbers mean, where they came from."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from imaging.drawings import Drawings
from imaging.errors import BadInput
from imaging.geometry import Geometry


class Window(NamedTuple):
    """Display window: ``centre`` and ``width`` in the unit of the voxels (PS3.3 C.11.2.1.2)."""

    centre: float
    width: float

    @property
    def low(self) -> float:
        """Value shown darkest."""
        return self.centre - self.width / 2.0

    @property
    def high(self) -> float:
        """Value shown brightest."""
        return self.centre + self.width / 2.0


@dataclass(frozen=True)
class Patient:
    """Who the images are of, as the header says; every field may be empty."""

    name: str = ""
    id: str = ""
    birth_date: str = ""
    sex: str = ""


@dataclass(frozen=True)
class Source:
    """Where a volume came from, enough to find it again and to reference it in DICOM.

    Parameters
    ----------
    kind : str
        ``"dicom"``, ``"nifti"``, ``"nrrd"`` or ``"metaimage"``.
    files : tuple of str
        Paths, one per slice in array order for classic DICOM, one for multi-frame and
        whole-volume files.
    instance_uids : tuple of str
        SOP Instance UID of each slice in array order (repeated for multi-frame); empty for
        whole-volume files.
    frames : tuple of int
        One-based frame number of each slice inside its file; empty for single-frame files.
    folder : str
        For whole-volume files, which name no patient and no study: the folder that stands for
        both, see :mod:`imaging.folders`. Empty for DICOM.
    """

    kind: str
    files: tuple[str, ...] = ()
    study_uid: str = ""
    series_uid: str = ""
    instance_uids: tuple[str, ...] = ()
    frames: tuple[int, ...] = ()
    patient: Patient = Patient()
    study_date: str = ""
    study_description: str = ""
    series_description: str = ""
    series_number: str = ""
    modality: str = "MR"
    manufacturer: str = ""
    sequence: str = ""  #: best guess: "T1w", "T2w", "FLAIR", "DWI", "PD", … or ""
    folder: str = ""


@dataclass(frozen=True, eq=False)
class Repeats:
    """All images of a 4D series: one grid, told apart by echo, b-value, time point, …

    Parameters
    ----------
    axis : str
        What differs, in words: ``"echo time"``, ``"b-value"``, ``"time point"``, …
    labels : tuple of str
        One per image, for people: ``"TE 9.5 ms"``, ``"b 1000 · direction 2"``.
    voxels : ndarray, shape (n, k, j, i)
        Stored values, read-only; filled while the series loads.
    sources : tuple of Source
        Files, instances and frames of each image.
    scales : tuple of tuple of float
        Slope and intercept of each image.
    """

    axis: str
    labels: tuple[str, ...]
    voxels: np.ndarray
    sources: tuple[Source, ...]
    scales: tuple[tuple[float, float], ...]

    def __post_init__(self) -> None:
        count = len(self.labels)
        counts = {self.voxels.shape[0], len(self.sources), len(self.scales)}
        if self.voxels.ndim != 4 or counts != {count}:
            raise BadInput("The images of the series do not belong together")
        view = self.voxels.view()
        view.flags.writeable = False
        object.__setattr__(self, "voxels", view)

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class Volume:
    """A scalar image on a grid.

    Parameters
    ----------
    id : str
        Unique inside a case.
    name : str
        What the user sees.
    voxels : ndarray, shape (k, j, i)
        Stored values, read-only for everyone. While a series is still loading, slices that have
        not arrived are zero and the loader fills the same memory.
    geometry : Geometry
        Same shape as ``voxels``.
    slope, intercept : float
        ``stored * slope + intercept`` gives the real value (PS3.3 C.11.1.1.2); windows are in
        real values.
    window : Window or None
        As the header suggests.
    padding : tuple of int or None
        Stored values from the first to the second, both included, stand where nothing was measured
        (PS3.3 C.7.5.1.1.2): they stay as they are and count for no window, model or finding.
    inverted : bool
        True for MONOCHROME1: low values are shown bright; stored values stay as they are.
    interpolated : bool
        True where slices were made by resampling.
    notes : tuple of str
        Sentences about what is odd with this image, for the user.
    repeats : Repeats or None
        All images of a 4D series; ``voxels``, ``source``, ``slope`` and ``intercept`` are those
        of the one that is chosen now, ``repeat``. See :meth:`at_repeat`.
    places : ndarray or None
        For slices at uneven places: the centre of the first voxel of each, LPS mm, shape (k, 3).
        The geometry is then only a stand-in with a mean step and must not place anything; see
        :mod:`imaging.uneven`.
    placed : bool
        False where nobody knows where the slices lie: the geometry is a stand-in altogether.
    even_mm : float
        For an image made from uneven or sheared slices: its step. 0 for images as acquired.
    drawings : Drawings or None
        What the files draw over their slices (overlay planes), once that was read.
    sides_known : bool
        False where the file does not say which way the axes run in the patient: left and right,
        front and back, above and below are as they would be by default, and may be wrong.
    made_slices : tuple of str
        For an image made from uneven or sheared slices: what each slice is, empty for an exact
        copy of an acquired one, else ``"interpolated"`` or ``"made up (gap of 12 mm)"``.
    """

    id: str
    name: str
    voxels: np.ndarray
    geometry: Geometry
    source: Source = field(default_factory=lambda: Source("memory"))
    slope: float = 1.0
    intercept: float = 0.0
    window: Window | None = None
    windows: tuple[Window, ...] = ()
    unit: str = ""
    inverted: bool = False
    padding: tuple[int, int] | None = None
    interpolated: bool = False
    notes: tuple[str, ...] = ()
    repeats: Repeats | None = field(default=None, repr=False)
    repeat: int = 0
    places: np.ndarray | None = field(default=None, repr=False)
    placed: bool = True
    even_mm: float = 0.0
    drawings: Drawings | None = field(default=None, repr=False)
    sides_known: bool = True
    made_slices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.voxels.ndim != 3 or self.voxels.shape != self.geometry.shape:
            raise BadInput(
                f"The image has {self.voxels.shape} voxels but its grid says {self.geometry.shape}",
                self.name,
            )
        view = self.voxels.view()
        view.flags.writeable = False
        object.__setattr__(self, "voxels", view)

    @property
    def even(self) -> bool:
        """False where the slices lie at uneven or unknown places: the geometry is a stand-in."""
        return self.placed and self.places is None

    @property
    def title(self) -> str:
        """The name, with what tells the chosen image of a 4D series from the others."""
        if self.repeats is None:
            return self.name
        return f"{self.name} · {self.repeats.labels[self.repeat]}"

    def at_repeat(self, number: int) -> Volume:
        """The same item with another image of its 4D series chosen; shares the voxels.

        Raises
        ------
        BadInput
            Where there is no such image.
        """
        repeats = self.repeats
        if repeats is None or not 0 <= number < len(repeats):
            raise BadInput(f"The series has no image {number + 1}", self.name)
        slope, intercept = repeats.scales[number]
        return replace(
            self, voxels=repeats.voxels[number], source=repeats.sources[number], slope=slope,
            intercept=intercept, repeat=number,
        )  # fmt: skip

    def real(self, stored: np.ndarray | float) -> np.ndarray:
        """Stored values as real values, float32."""
        return np.asarray(stored, dtype=np.float32) * np.float32(self.slope) + np.float32(
            self.intercept
        )

    def measured(self, stored: np.ndarray) -> np.ndarray:
        """Real values with air in place of padding; float32, same shape."""
        return self.real(filled_padding(stored, self.padding, self.inverted != (self.slope < 0)))

    def value_at(self, world: np.ndarray) -> float | None:
        """The real value of the voxel that holds a point (LPS mm), None outside."""
        index = self.geometry.nearest(world)
        return None if index is None else float(self.voxels[index]) * self.slope + self.intercept


def is_padding(stored: np.ndarray, padding: tuple[int, int] | None) -> np.ndarray:
    """Which stored values stand where nothing was measured; bool, same shape."""
    if padding is None:
        return np.zeros(stored.shape, bool)
    return (stored >= padding[0]) & (stored <= padding[1])


def filled_padding(
    stored: np.ndarray, padding: tuple[int, int] | None, inverted: bool = False
) -> np.ndarray:
    """Stored values with air in place of padding: no signal, or the darkest that was measured.

    Returns
    -------
    ndarray
        The array itself where there is no padding in it, else a copy.
    """
    empty = is_padding(stored, padding)
    if padding is None or not empty.any() or empty.all():
        return stored
    measured = stored[~empty]
    air = measured.max() if inverted else np.minimum(measured.min(), stored.dtype.type(0))
    return np.where(empty, air, stored)


def auto_window(values: np.ndarray, inverted: bool = False) -> Window:
    """A window that shows the tissue: from dark to the brightest half percent of it.

    Tissue is what lies above a tenth of the way from the background (the darkest percent) to the
    brightest voxels, so that the air around a head, or the zeros of a stripped one, do not set
    the scale.

    Parameters
    ----------
    values : ndarray
        Real values; a sample is enough.
    inverted : bool
        True for MONOCHROME1: air has the highest values, so they are looked at in a mirror.
    """
    if inverted:
        mirrored = auto_window(-np.asarray(values, dtype=np.float32))
        return Window(-mirrored.centre, mirrored.width)
    flat = np.asarray(values, dtype=np.float32).ravel()
    flat = flat[np.isfinite(flat)]
    if flat.size == 0:
        return Window(0.5, 1.0)
    low, top = (float(v) for v in np.percentile(flat, (1.0, 99.9)))
    tissue = flat[flat > low + 0.1 * (top - low)]
    # a little above it, counted from the dark: values may lie anywhere, below zero too
    high = low + 1.05 * (float(np.percentile(tissue, 99.5)) - low) if tissue.size >= 16 else top
    if high <= low:
        low, high = float(flat.min()), float(flat.max())
    width = max(high - low, 1e-6)
    return Window(low + width / 2.0, width)
