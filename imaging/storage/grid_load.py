"""Voxels of whole-volume files (NIfTI, NRRD, MetaImage), straight into the volume.

In all these formats i runs fastest, which is the memory order of a ``(k, j, i)`` array, so voxels
are read with no transposition; only images that alternate voxel by voxel are told apart on the way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any, cast

import numpy as np

from imaging.dicom.header.vetting import check_volume_bytes, room_for_voxels
from imaging.errors import BadInput
from imaging.geometry import Box
from imaging.series import Frame, Series
from imaging.storage.packing import CUT_OFF, DAMAGED, RAW, TEXT, Stream, open_stream
from imaging.volume import Repeats, Volume

#: About so many bytes of voxels arrive between two reports.
SLAB_BYTES = 16 << 20
#: Files whose voxels are written out as text are read up to this size.
MAX_TEXT_BYTES = 64 << 20
_KEPT = {"u1", "u2", "i2", "f4"}
_NOT_FINITE = "Voxels that are not finite numbers are shown as 0."
_STOPPED = "Loading was stopped; slices that had not arrived are empty."
_CHECKSUM = "The checksum of the packed file does not agree: some voxels may be wrong."


class GridLoading:
    """A volume whose voxels are read from a whole-volume file.

    Parameters
    ----------
    series : Series
        Of kind ``"nifti"``, ``"nrrd"`` or ``"metaimage"``.

    Attributes
    ----------
    wanted : int
        Image of a 4D series that is shown and so comes next; may be set while loading. A packed
        file gives its images in their own order.

    Raises
    ------
    BadInput
        Where not even one image would fit into memory.
    """

    def __init__(self, series: Series) -> None:
        self.series = series
        dtype = _voxel_type(series.frames[0])
        count, notes = _that_fit(series, dtype)
        self._frames = series.frames[:count]
        self._images = np.zeros((count, *series.shape), dtype)
        self._odd = self._damaged = False
        self._arrived = 0
        self.wanted = 0
        self.complete = False
        assert series.geometry is not None
        repeats = self._repeats()
        self.volume = Volume(
            id=series.key,
            name=series.description,
            voxels=self._images[0],
            geometry=series.geometry,
            source=repeats.sources[0] if repeats else series.source,
            slope=self._frames[0].slope,
            intercept=self._frames[0].intercept,
            notes=(*series.problems, *notes),
            repeats=repeats,
            sides_known=series.sides_known,
        )

    def _repeats(self) -> Repeats | None:
        """All images of a 4D file, sharing their memory with the volume."""
        if not self.series.repeats:
            return None
        source = self.series.source
        return Repeats(
            self.series.repeat_axis,
            self.series.repeats[: len(self._frames)],
            self._images,
            tuple(replace(source, frames=(frame.number + 1,)) for frame in self._frames),
            tuple((frame.slope, frame.intercept) for frame in self._frames),
        )

    @property
    def fraction(self) -> float:
        """Share of the slices of all images that has arrived, 0 to 1."""
        return min(1.0, self._arrived / (len(self._frames) * self.series.shape[0]))

    def load(
        self,
        first: int | None = None,
        on_slab: Callable[[Box], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Volume:
        """Read all slices of all images into the memory of ``volume``.

        A file that is not packed gives the slice ``first`` (default: the middle one) before all
        others; a packed one can only be read from its beginning, so its first report comes when
        that slice has been inflated.

        Parameters
        ----------
        first : int, optional
        on_slab : callable, optional
            Called with the block of voxels that has arrived; with an empty block where another
            image than the wanted one has grown.
        cancelled : callable, optional
            Asked between slabs; True stops and leaves the rest zero.

        Returns
        -------
        Volume

        Raises
        ------
        BadInput
            Where the file ends too early or is damaged.
        """
        count = self.series.shape[0]
        middle = count // 2 if first is None else min(max(0, first), count - 1)
        packed = self._frames[0].encoding.packing != RAW
        untold: int | None = None  # first slice that has arrived and was not told
        self._arrived = 0
        with _opened(self._frames[0]) as stream:
            for number, slab in self._order(middle):
                if cancelled is not None and cancelled():
                    return self._finished(stopped=True)
                self._read(stream, number, slab)
                if number == self.wanted:
                    untold = slab.start if untold is None else untold
                    if packed and slab.stop <= middle:
                        continue
                if on_slab is not None:
                    on_slab(self._box(untold, slab.stop))
                untold = None
            self._damaged = not stream.ends_well()
        return self._finished(stopped=False)

    def _box(self, start: int | None, stop: int) -> Box:
        """A block of the wanted image; empty where nothing of it has arrived."""
        if start is None:
            return Box((0, 0, 0), (0, 0, 0))
        return Box((start, 0, 0), (stop, *self.series.shape[1:]))

    def _order(self, middle: int) -> Iterator[tuple[int, range]]:
        """Image and slices, in the order in which they are read."""
        frame, count = self._frames[0], self.series.shape[0]
        together = frame.encoding.samples
        deep = max(1, SLAB_BYTES // max(1, frame.length // count * together))
        deep = count if frame.encoding.packing == TEXT else deep
        waiting = list(range(1 if together > 1 else len(self._frames)))
        if frame.encoding.packing == RAW:
            yield (self.wanted if together == 1 else 0), range(middle, middle + 1)
        while waiting:
            number = waiting[0]
            if frame.encoding.packing == RAW:
                number = min(waiting, key=lambda n: abs(n - self.wanted))
            waiting.remove(number)
            ends = {*range(deep, count, deep), count}
            if frame.encoding.packing != RAW:
                ends.add(middle + 1)  # so that the first picture waits for no more than it needs
            for start, end in pairwise((0, *sorted(ends))):
                yield number, range(start, end)

    def _read(self, stream: Stream, number: int, slab: range) -> None:
        """Some slices of one image, or of all of them where they alternate."""
        frame = self._frames[number]
        together = frame.encoding.samples
        slice_bytes = frame.length // self.series.shape[0] * together
        stream.go_to(frame.offset + slab.start * slice_bytes)
        if together > 1:
            shape = (len(slab), *self.series.shape[1:], together)
            raw = np.empty(shape, _file_type(frame))
            stream.fill(_bytes_of(raw))
            for image in range(len(self._frames)):
                self._put(self._images[image, slab.start : slab.stop], raw[..., image])
            self._arrived += len(slab) * len(self._frames)
            return
        self._arrived += len(slab)
        target = self._images[number, slab.start : slab.stop]
        if _file_type(frame) == target.dtype:
            stream.fill(_bytes_of(target))
            self._put(target, target)
        else:
            raw = np.empty(target.shape, _file_type(frame))
            stream.fill(_bytes_of(raw))
            self._put(target, raw)

    def _put(self, target: np.ndarray, raw: np.ndarray) -> None:
        if raw is not target:
            with np.errstate(over="ignore", invalid="ignore"):
                target[...] = raw
        if target.dtype.kind == "f":
            finite = np.isfinite(target)
            if not finite.all():
                self._odd = True
                target[~finite] = 0.0

    def _finished(self, stopped: bool) -> Volume:
        self.complete = not stopped
        told = ((self._odd, _NOT_FINITE), (stopped, _STOPPED), (self._damaged, _CHECKSUM))
        notes = tuple(note for true, note in told if true)
        if notes:
            self.volume = replace(self.volume, notes=(*self.volume.notes, *notes))
        return self.volume


def read_grid_slice(series: Series, k: int) -> np.ndarray:
    """Stored values of one slice of the first image, shape (rows, columns).

    Raises
    ------
    BadInput
        Where the file is damaged.
    """
    frame = series.frames[0]
    together = frame.encoding.samples
    raw = np.empty((*series.shape[1:], together), _file_type(frame))
    with _opened(frame) as stream:
        stream.go_to(frame.offset + k * raw.nbytes)
        stream.fill(_bytes_of(raw))
    return raw[..., 0]


def _opened(frame: Frame) -> Stream:
    encoding = frame.encoding
    if encoding.packing == TEXT:
        return _Text(frame)
    return open_stream(frame.file, encoding.packing, encoding.packed_at)


def _file_type(frame: Frame) -> np.dtype:
    return np.dtype((">" if frame.encoding.big_endian else "<") + frame.encoding.syntax)


def _voxel_type(frame: Frame) -> np.dtype:
    """The type of the volume: as stored, or the smallest of the kept ones that fits."""
    syntax = frame.encoding.syntax
    return np.dtype(syntax if syntax in _KEPT else "i2" if syntax == "i1" else "f4")


def _bytes_of(array: np.ndarray) -> memoryview:
    return memoryview(cast(Any, array)).cast("B")


def _that_fit(series: Series, dtype: np.dtype) -> tuple[int, tuple[str, ...]]:
    """How many images of a series fit into memory, and a sentence where that is not all."""
    image_bytes = int(np.prod(series.shape, dtype=np.int64)) * dtype.itemsize
    check_volume_bytes(image_bytes, series.description)
    count = len(series.frames)
    fit = min(count, max(1, room_for_voxels() // image_bytes))
    if fit == count:
        return count, ()
    return fit, (f"Only the first {fit} of {count} images fit into memory.",)


class _Text:
    """Voxels that are written out as numbers, as a stream of bytes like the others."""

    def __init__(self, frame: Frame) -> None:
        self._path, self._dtype = frame.file, _file_type(frame)
        try:
            with open(frame.file, "rb") as file:
                file.seek(frame.encoding.packed_at)
                words = file.read(MAX_TEXT_BYTES + 1)
        except OSError as error:
            raise BadInput(DAMAGED, frame.file) from error
        if len(words) > MAX_TEXT_BYTES:
            raise BadInput("The voxels are written as text, which is read up to 64 MB", frame.file)
        try:
            values = np.array(words.split(), dtype=np.float64)
        except ValueError as error:
            raise BadInput("The voxels are written as text with other than numbers", frame.file) \
                from error  # fmt: skip
        with np.errstate(over="ignore", invalid="ignore"):
            self._bytes = _bytes_of(np.ascontiguousarray(values.astype(self._dtype)))
        self._at = 0

    def __enter__(self) -> _Text:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def go_to(self, offset: int) -> None:
        self._at = offset

    def fill(self, target: memoryview) -> None:
        part = self._bytes[self._at : self._at + len(target)]
        if len(part) < len(target):
            raise BadInput(CUT_OFF, self._path)
        target[:] = part
        self._at += len(target)

    def ends_well(self) -> bool:
        return True
