"""From a DICOM :class:`Series` to a :class:`Volume`, the wanted slice first.

The volume exists at once, full of zeros; :meth:`DicomLoading.load` fills the same memory. Pixels
of an uncompressed series are read once, straight into their place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby

import numpy as np

from imaging.dicom.codestream import stored_dtype
from imaging.dicom.pixels import PixelReader, reads_directly
from imaging.dicom.vetting import check_volume_bytes
from imaging.errors import BadInput
from imaging.geometry import Box, Geometry
from imaging.series import Frame, Series
from imaging.volume import Volume

#: About so many bytes of voxels arrive between two reports.
SLAB_BYTES = 16 << 20
_WORKERS = max(2, min(4, os.cpu_count() or 1))


class DicomLoading:
    """A volume whose slices are read from DICOM files.

    Parameters
    ----------
    series : Series
        Of kind ``"dicom"``.

    Raises
    ------
    BadInput
        Where the image would not fit into memory.
    """

    def __init__(self, series: Series) -> None:
        self.series = series
        dtype, self._rescaled = _voxel_type(series.frames)
        needed = int(np.prod(series.shape, dtype=np.int64)) * dtype.itemsize
        check_volume_bytes(needed, series.description)
        self._voxels = np.zeros(series.shape, dtype)
        self._reader = PixelReader()
        self._failed: dict[int, str] = {}
        self.complete = False
        self.volume = _volume(series, self._voxels, self._rescaled)

    def load(
        self,
        first: int | None = None,
        on_slab: Callable[[Box], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Volume:
        """Read all slices into the memory of ``volume``.

        Parameters
        ----------
        first : int, optional
            Slice that is read before all others; the middle one by default.
        on_slab : callable, optional
            Called with the block of voxels that has arrived, first for the first slice, then for
            slabs around it, outwards. Called on this thread.
        cancelled : callable, optional
            Asked between files; True stops and leaves the rest zero.

        Returns
        -------
        Volume
            The same voxels; its notes name slices that could not be decoded.

        Raises
        ------
        BadInput
            Where not a single slice could be decoded.
        """
        count = self.series.shape[0]
        middle = count // 2 if first is None else min(max(0, first), count - 1)
        stop = cancelled or (lambda: False)
        self._failed.clear()
        with ThreadPoolExecutor(_WORKERS) as pool:
            for slab in _slabs(count, middle, self._voxels[0].nbytes):
                if stop():
                    return self._finished(stopped=True)
                self._read_slab(pool, slab, stop)
                if on_slab is not None:
                    on_slab(Box((slab.start, 0, 0), (slab.stop, *self.series.shape[1:])))
        if len(self._failed) == count:
            raise BadInput(self._failed[middle], self.series.description)
        return self._finished(stopped=stop())

    def _finished(self, stopped: bool) -> Volume:
        self.complete = not stopped
        notes = [f"Slice {k + 1} is empty: {why}." for k, why in sorted(self._failed.items())[:5]]
        if len(self._failed) > 5:
            notes.append(f"{len(self._failed)} slices in all could not be read.")
        if stopped:
            notes.append("Loading was stopped; slices that had not arrived are empty.")
        if notes:
            self.volume = replace(self.volume, notes=(*self.volume.notes, *notes))
        return self.volume

    def _read_slab(self, pool: ThreadPoolExecutor, slab: range, stop: Callable[[], bool]) -> None:
        jobs = _by_image(self.series.frames, slab)
        if len(jobs) == 1:
            self._read_images(jobs, stop)
            return
        shares = [jobs[n::_WORKERS] for n in range(_WORKERS)]
        for done in [pool.submit(self._read_images, share, stop) for share in shares if share]:
            done.result()

    def _read_images(self, jobs: Iterable[list[int]], stop: Callable[[], bool]) -> None:
        for slices in jobs:
            if stop():
                return
            try:
                self._read_image(slices)
            except BadInput as error:
                self._failed.update((k, error.what) for k in slices)

    def _read_image(self, slices: list[int]) -> None:
        """Read one stored image, which holds one slice or, in a mosaic, several."""
        frame = self.series.frames[slices[0]]
        if not self._rescaled and reads_directly(frame, self._voxels.dtype):
            _read_directly(self._reader, frame, self._voxels[slices[0]])
            return
        image = self._reader.read(frame)
        for k in slices:
            part = _tile(image, self.series.frames[k])
            if self._rescaled:
                part = part * np.float32(frame.slope) + np.float32(frame.intercept)
            self._voxels[k] = part


def read_slice(series: Series, k: int) -> np.ndarray:
    """Stored values of one slice, shape (rows, columns).

    Raises
    ------
    BadInput
        Where it cannot be decoded.
    """
    frame = series.frames[k]
    return _tile(PixelReader().read(frame), frame)


def _read_directly(reader: PixelReader, frame: Frame, target: np.ndarray) -> None:
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    try:
        file = os.open(frame.file, flags)
    except OSError as error:
        reason = error.strerror or "input error"
        raise BadInput(f"The file cannot be read ({reason})", frame.file) from error
    try:
        reader.read_direct(file, frame, target)
    except OSError as error:
        raise BadInput("The file cannot be read", frame.file) from error
    finally:
        os.close(file)


def _tile(image: np.ndarray, frame: Frame) -> np.ndarray:
    if frame.tile is None:
        return image
    row, column = frame.tile
    return image[row : row + frame.shape[0], column : column + frame.shape[1]]


def _voxel_type(frames: Sequence[Frame]) -> tuple[np.dtype, bool]:
    """Number type of the volume, and whether each slice brings its own rescale."""
    stored = stored_dtype(frames[0].encoding)
    if len({(frame.slope, frame.intercept) for frame in frames}) > 1:
        return np.dtype(np.float32), True
    if stored == np.int8:
        return np.dtype(np.int16), False
    if stored.itemsize > 2:
        return np.dtype(np.float32), False
    return stored, False


def _volume(series: Series, voxels: np.ndarray, rescaled: bool) -> Volume:
    middle = series.frames[len(series.frames) // 2]
    return Volume(
        id=series.key,
        name=series.description,
        voxels=voxels,
        geometry=series.geometry or flat_geometry(series),
        source=series.source,
        slope=1.0 if rescaled else middle.slope,
        intercept=0.0 if rescaled else middle.intercept,
        window=middle.windows[0] if middle.windows else None,
        windows=middle.windows,
        inverted=series.photometric == "MONOCHROME1",
        notes=series.problems,
    )


def flat_geometry(series: Series) -> Geometry:
    """A stand-in grid for images without a place: rows and columns in mm, no direction known."""
    frame = series.frames[0]
    row_mm, column_mm = frame.spacing or (1.0, 1.0)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = frame.thickness or 1.0, row_mm, column_mm
    affine[3, 3] = 1.0
    return Geometry(series.shape, affine)


def _by_image(frames: Sequence[Frame], slab: range) -> list[list[int]]:
    """Slices of a slab, those of one stored image together."""

    def image(k: int) -> tuple[str, int]:
        return frames[k].file, frames[k].number

    return [list(group) for _, group in groupby(slab, key=image)]


def _slabs(count: int, middle: int, slice_bytes: int) -> Iterator[range]:
    """The middle slice alone, then slabs above and below it in turn, outwards."""
    deep = max(1, SLAB_BYTES // max(1, slice_bytes))
    yield range(middle, middle + 1)
    low, high = middle, middle + 1
    while low > 0 or high < count:
        if high < count:
            yield range(high, min(high + deep, count))
            high = min(high + deep, count)
        if low > 0:
            yield range(max(0, low - deep), low)
            low = max(0, low - deep)
