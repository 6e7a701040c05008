"""Voxels of a NIfTI file, straight into the volume.

The array order of a NIfTI file, i fastest, is the memory order of a ``(k, j, i)`` array, so voxels
are read with no transposition.
"""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import IO, Any, cast

import numpy as np

from imaging.dicom.vetting import check_volume_bytes
from imaging.errors import BadInput
from imaging.geometry import Box
from imaging.series import Frame, Series
from imaging.storage.nifti_read import opened
from imaging.volume import Volume

#: About so many bytes of voxels arrive between two reports.
SLAB_BYTES = 16 << 20
_KEPT = {"u1", "u2", "i2", "f4"}


def _file_type(frame: Frame) -> np.dtype:
    return np.dtype((">" if frame.encoding.big_endian else "<") + frame.encoding.syntax)


class NiftiLoading:
    """A volume whose voxels are read from a NIfTI file.

    Parameters
    ----------
    series : Series
        Of kind ``"nifti"``.

    Raises
    ------
    BadInput
        Where the image would not fit into memory.
    """

    def __init__(self, series: Series) -> None:
        self.series = series
        (self._frame,) = series.frames
        syntax = self._frame.encoding.syntax
        dtype = np.dtype(syntax if syntax in _KEPT else "i2" if syntax == "i1" else "f4")
        needed = int(np.prod(series.shape, dtype=np.int64)) * dtype.itemsize
        check_volume_bytes(needed, series.description)
        self._voxels = np.zeros(series.shape, dtype)
        self._odd = False
        self.complete = False
        assert series.geometry is not None
        self.volume = Volume(
            id=series.key,
            name=series.description,
            voxels=self._voxels,
            geometry=series.geometry,
            source=series.source,
            slope=self._frame.slope,
            intercept=self._frame.intercept,
            notes=series.problems,
        )

    def load(
        self,
        first: int | None = None,
        on_slab: Callable[[Box], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Volume:
        """Read all slices into the memory of ``volume``.

        An uncompressed file gives the slice ``first`` (default: the middle one) before all
        others; a gzipped one can only be read from its beginning.

        Parameters
        ----------
        first : int, optional
        on_slab : callable, optional
            Called with each block of voxels that has arrived.
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
        frame = self._frame
        slice_bytes = frame.length // count
        deep = max(1, SLAB_BYTES // max(1, slice_bytes))
        slabs = [range(at, min(at + deep, count)) for at in range(0, count, deep)]
        try:
            with opened(frame.file) as file:
                if not isinstance(file, gzip.GzipFile):
                    slabs.insert(0, range(middle, middle + 1))
                for slab in slabs:
                    if cancelled is not None and cancelled():
                        return self._finished(stopped=True)
                    file.seek(frame.offset + slab.start * slice_bytes)
                    self._read_slab(file, slab)
                    if on_slab is not None:
                        on_slab(Box((slab.start, 0, 0), (slab.stop, *self.series.shape[1:])))
        except (OSError, EOFError, zlib.error) as error:
            raise BadInput("The file is damaged or cannot be read", frame.file) from error
        return self._finished(stopped=False)

    def _read_slab(self, file: IO[bytes], slab: range) -> None:
        target = self._voxels[slab.start : slab.stop]
        stored = _file_type(self._frame)
        direct = stored == target.dtype
        raw = target if direct else np.empty(target.shape, stored)
        view = memoryview(cast(Any, raw)).cast("B")
        done = 0
        while done < len(view):
            got = cast(Any, file).readinto(view[done:])
            if not got:
                raise BadInput("The file is cut off: voxels are missing", self._frame.file)
            done += got
        if not direct:
            with np.errstate(over="ignore", invalid="ignore"):
                target[...] = raw
        if target.dtype.kind == "f" and not np.isfinite(target).all():
            self._odd = True
            target[~np.isfinite(target)] = 0.0

    def _finished(self, stopped: bool) -> Volume:
        self.complete = not stopped
        notes = []
        if self._odd:
            notes.append("Voxels that are not finite numbers are shown as 0.")
        if stopped:
            notes.append("Loading was stopped; slices that had not arrived are empty.")
        if notes:
            self.volume = replace(self.volume, notes=(*self.volume.notes, *notes))
        return self.volume


def read_nifti_slice(series: Series, k: int) -> np.ndarray:
    """Stored values of one slice, shape (rows, columns).

    Raises
    ------
    BadInput
        Where the file is damaged.
    """
    (frame,) = series.frames
    size = frame.length // series.shape[0]
    try:
        with opened(frame.file) as file:
            file.seek(frame.offset + k * size)
            raw = file.read(size)
    except (OSError, EOFError, zlib.error) as error:
        raise BadInput("The file is damaged or cannot be read", frame.file) from error
    if len(raw) != size:
        raise BadInput("The file is cut off: voxels are missing", frame.file)
    return np.frombuffer(raw, _file_type(frame)).reshape(series.shape[1:])
