"""From a DICOM :class:`Series` to a :class:`Volume`, the wanted slice first.

The volume exists at once, full of zeros; :meth:`DicomLoading.load` fills the same memory. Pixels
of an uncompressed series are read once, straight into their place. Of a 4D series the image that
is shown comes first, then the others around it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import groupby

import numpy as np

from imaging.dicom.header.vetting import check_volume_bytes, room_for_voxels
from imaging.dicom.pixels.codestream import stored_dtype
from imaging.dicom.pixels.read import (
    needs_worker,
    read_direct,
    read_frame,
    read_frames,
    reads_directly,
)
from imaging.errors import BadInput
from imaging.geometry import Box, Geometry
from imaging.series import Frame, Series
from imaging.uneven import private_frame, uneven_geometry
from imaging.volume import Repeats, Source, Volume, Window

#: About so many bytes of voxels arrive between two reports.
SLAB_BYTES = 16 << 20
_THREADS = max(2, min(4, os.cpu_count() or 1))
#: Windows whose middle half of the slices differs by more in width say nothing of the series.
_SCATTER = 2.0
#: So many compressed images go to a worker process at once.
_BATCH = 8


class DicomLoading:
    """A volume whose slices are read from DICOM files.

    Parameters
    ----------
    series : Series
        Of kind ``"dicom"``.

    Attributes
    ----------
    wanted : int
        Image of a 4D series that is shown and so comes next; may be set while loading.

    Raises
    ------
    BadInput
        Where not even one image would fit into memory.
    """

    def __init__(self, series: Series) -> None:
        self.series = series
        slices, self._images = series.shape[0], max(1, len(series.repeats))
        dtype, self._rescaled = _voxel_type(series.frames, slices)
        image_bytes = int(np.prod(series.shape, dtype=np.int64)) * dtype.itemsize
        check_volume_bytes(image_bytes, series.description)
        fitting = min(self._images, max(1, room_for_voxels() // max(1, image_bytes)))
        self._dropped, self._images = self._images - fitting, fitting
        self._frames = series.frames[: fitting * slices]
        images = np.zeros((fitting, *series.shape), dtype)
        self._voxels = images.reshape(-1, *series.shape[1:])
        self._threads = _threads(series.frames[0])
        self._failed: dict[int, str] = {}
        self._arrived = 0
        self.wanted = 0
        self.complete = False
        self.volume = _volume(series, images, self._rescaled)

    @property
    def fraction(self) -> float:
        """Share of the slices of all images that has arrived, 0 to 1."""
        return self._arrived / len(self._voxels)

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
            slabs around it, outwards, but not before one slice could be decoded; with an empty
            block where another image than the wanted one has grown. Called on this thread.
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
        self._arrived = 0
        waiting = _Waiting(self.wanted, self._images, count, middle, self._voxels[0].nbytes)
        with ThreadPoolExecutor(self._threads) as pool:
            while (slab := waiting.next(self.wanted)) is not None:
                if stop():
                    return self._finished(stopped=True)
                self._read_slab(pool, slab, stop)
                self._arrived += len(slab)
                if on_slab is not None and len(self._failed) < self._arrived:
                    on_slab(self._box(slab))
        if len(self._failed) == len(self._voxels):
            raise BadInput(self._failed[middle], self.series.description)
        return self._finished(stopped=stop())

    def _box(self, slab: range) -> Box:
        """The block of the wanted image that a slab of slices has filled."""
        slices, rows, columns = self.series.shape
        image, start = divmod(slab.start, slices)
        if image != self.wanted:
            return Box((0, 0, 0), (0, 0, 0))
        return Box((start, 0, 0), (start + len(slab), rows, columns))

    def _finished(self, stopped: bool) -> Volume:
        self.complete = not stopped
        failed = sorted(self._failed.items())[:5]
        notes = [f"{self._name(place)} is empty: {why}." for place, why in failed]
        if len(self._failed) > 5:
            notes.append(f"{len(self._failed)} slices in all could not be read.")
        if self._dropped:
            every = self._images + self._dropped
            notes.append(f"Only the first {self._images} of {every} images fit into memory.")
        if stopped:
            notes.append("Loading was stopped; slices that had not arrived are empty.")
        if notes:
            self.volume = replace(self.volume, notes=(*self.volume.notes, *notes))
        return self.volume

    def _name(self, place: int) -> str:
        image, k = divmod(place, self.series.shape[0])
        of = f" of {self.series.repeats[image]}" if self.series.repeats else ""
        return f"Slice {k + 1}{of}"

    def _read_slab(self, pool: ThreadPoolExecutor, slab: range, stop: Callable[[], bool]) -> None:
        jobs = _by_image(self._frames, slab)
        if len(jobs) == 1:
            self._read_images(jobs, stop)
            return
        shares = [jobs[n :: self._threads] for n in range(self._threads)]
        for done in [pool.submit(self._read_images, share, stop) for share in shares if share]:
            done.result()

    def _read_images(self, jobs: Iterable[list[int]], stop: Callable[[], bool]) -> None:
        """Read stored images, each of which holds one slice or, in a mosaic, several."""
        others: list[list[int]] = []
        for slices in jobs:
            if stop():
                return
            frame = self._frames[slices[0]]
            if self._rescaled or not reads_directly(frame, self._voxels.dtype):
                others.append(slices)
                continue
            try:
                _read_directly(frame, self._voxels[slices[0]])
            except BadInput as error:
                self._failed[slices[0]] = error.what
        for start in range(0, len(others), _BATCH):
            if stop():
                return
            self._read_batch(others[start : start + _BATCH])

    def _read_batch(self, jobs: Sequence[list[int]]) -> None:
        images = read_frames([self._frames[slices[0]] for slices in jobs])
        for slices, image in zip(jobs, images, strict=True):
            if isinstance(image, BadInput):
                self._failed.update((k, image.what) for k in slices)
                continue
            for k in slices:
                frame = self._frames[k]
                part = _tile(image, frame)
                if self._rescaled:
                    part = part * np.float32(frame.slope) + np.float32(frame.intercept)
                self._voxels[k] = part


def _threads(frame: Frame) -> int:
    """Threads that wait for the disk, or one for each worker process that decodes."""
    if not needs_worker(frame.encoding):
        return _THREADS
    from imaging import sandbox

    return sandbox.workers()


def read_slice(series: Series, k: int) -> np.ndarray:
    """Stored values of one slice, of the first image of a 4D series; shape (rows, columns).

    Raises
    ------
    BadInput
        Where it cannot be decoded.
    """
    frame = series.frames[k]
    return _tile(read_frame(frame), frame)


def _read_directly(frame: Frame, target: np.ndarray) -> None:
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
    try:
        file = os.open(frame.file, flags)
    except OSError as error:
        reason = error.strerror or "input error"
        raise BadInput(f"The file cannot be read ({reason})", frame.file) from error
    try:
        read_direct(file, frame, target)
    except OSError as error:
        raise BadInput("The file cannot be read", frame.file) from error
    finally:
        os.close(file)


def _tile(image: np.ndarray, frame: Frame) -> np.ndarray:
    if frame.tile is None:
        return image
    row, column = frame.tile
    return image[row : row + frame.shape[0], column : column + frame.shape[1]]


def _voxel_type(frames: Sequence[Frame], slices: int) -> tuple[np.dtype, bool]:
    """Number type of the volume, and whether each slice brings its own rescale.

    Images of a 4D series may have scales of their own as long as each keeps to one.
    """
    stored = stored_dtype(frames[0].encoding)
    for start in range(0, len(frames), slices):
        image = frames[start : start + slices]
        if len({(frame.slope, frame.intercept) for frame in image}) > 1:
            return np.dtype(np.float32), True
    if stored == np.int8:
        return np.dtype(np.int16), False
    if stored.itemsize > 2:
        return np.dtype(np.float32), False
    return stored, False


def _volume(series: Series, images: np.ndarray, rescaled: bool) -> Volume:
    """The volume of a series around memory of shape (n, k, j, i); its first image is chosen."""
    slices = series.shape[0]
    windows = _windows(series.frames[:slices])
    scales = tuple(
        (1.0, 0.0) if rescaled else (frame.slope, frame.intercept)
        for frame in series.frames[slices // 2 :: slices][: len(images)]
    )
    sources = tuple(_source_of(series, n) for n in range(len(images)))
    repeats = None
    if series.repeats:
        labels = series.repeats[: len(images)]
        repeats = Repeats(series.repeat_axis, labels, images, sources, scales)
    geometry, places = _places(series)
    return Volume(
        id=series.key,
        name=series.description,
        voxels=images[0],
        geometry=geometry,
        source=sources[0],
        slope=scales[0][0],
        intercept=scales[0][1],
        window=windows[0] if windows else None,
        windows=windows,
        inverted=series.photometric == "MONOCHROME1",
        padding=None if rescaled else series.frames[0].encoding.padding,
        notes=series.problems,
        repeats=repeats,
        places=places,
        placed=series.geometry is not None,
    )


def _windows(frames: Sequence[Frame]) -> tuple[Window, ...]:
    """The windows that the header gives an image; none where its slices do not nearly agree.

    Some makers fit one to each slice, and that of a slice with hardly any tissue in it would show
    the others black: the one of middling brightness stands for all.
    """
    given = sorted((f.windows for f in frames if f.windows), key=lambda windows: windows[0].high)
    if not given:
        return ()
    low, high = (given[len(given) * share // 4][0].width for share in (1, 3))
    if max(low, high) > _SCATTER * min(low, high):
        return ()
    return given[(len(given) - 1) // 2]


def _source_of(series: Series, image: int) -> Source:
    """Files, instances and frames of one image of a series."""
    slices = series.shape[0]
    part = slice(image * slices, (image + 1) * slices)
    source = series.source
    return replace(
        source,
        files=source.files[part],
        instance_uids=source.instance_uids[part],
        frames=source.frames[part],
    )


def _places(series: Series) -> tuple[Geometry, np.ndarray | None]:
    """The grid of a volume, and the true places of its slices where they are uneven."""
    if series.geometry is None:
        return flat_geometry(series), None
    if series.regular:
        return series.geometry, None
    places = np.array([f.position for f in series.frames[: series.shape[0]]], dtype=float)
    return uneven_geometry(series.geometry, places, series.key), places


def flat_geometry(series: Series) -> Geometry:
    """A stand-in grid for images without a place: rows and columns in mm, no direction known."""
    frame = series.frames[0]
    row_mm, column_mm = frame.spacing or (1.0, 1.0)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[1, 1], affine[0, 2] = frame.thickness or 1.0, row_mm, column_mm
    affine[3, 3] = 1.0
    return Geometry(series.shape, affine, private_frame(series.key))


def _by_image(frames: Sequence[Frame], slab: range) -> list[list[int]]:
    """Slices of a slab, those of one stored image together."""

    def image(k: int) -> tuple[str, int]:
        return frames[k].file, frames[k].number

    return [list(group) for _, group in groupby(slab, key=image)]


class _Waiting:
    """Slabs of slices still to be read, numbered through all images; never across two of them.

    Parameters
    ----------
    wanted, images, count : int
        Image that is shown, number of images, slices of each.
    middle : int
        Slice of the wanted image that comes before all others.
    slice_bytes : int
    """

    def __init__(self, wanted: int, images: int, count: int, middle: int, slice_bytes: int) -> None:
        deep = max(1, SLAB_BYTES // max(1, slice_bytes))
        self._slabs = {
            n: [range(at, min(at + deep, end)) for at in range(end - count, end, deep)]
            for n, end in enumerate(range(count, (images + 1) * count, count))
        }
        start = wanted * count
        self._slabs[wanted] = [
            range(start + slab.start, start + slab.stop) for slab in _slabs(count, middle, deep)
        ]

    def next(self, wanted: int) -> range | None:
        """The next slab of the wanted image, else of the one nearest to it; None at the end."""
        if not self._slabs:
            return None
        image = min(self._slabs, key=lambda n: (abs(n - wanted), -n))
        slab = self._slabs[image].pop(0)
        if not self._slabs[image]:
            del self._slabs[image]
        return slab


def _slabs(count: int, middle: int, deep: int) -> Iterator[range]:
    """The middle slice alone, then slabs above and below it in turn, outwards."""
    yield range(middle, middle + 1)
    low, high = middle, middle + 1
    while low > 0 or high < count:
        if high < count:
            yield range(high, min(high + deep, count))
            high = min(high + deep, count)
        if low > 0:
            yield range(max(0, low - deep), low)
            low = max(0, low - deep)
