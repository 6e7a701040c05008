"""What is fuzzed: any bytes, opened as the window opens them.

:func:`open_like_the_window` scans a file, draws thumbnails, loads the voxels and reads the objects
it finds. Whatever the bytes are it must come back with values and sentences: an exception that is
not one of ours, a file written outside its own folder, a new program or a socket is a failure.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import numpy as np

from imaging.errors import ImagingError
from imaging.geometry import Geometry
from imaging.objects import read_object
from imaging.open import open_series, scan, thumbnail
from imaging.series import FoundObject
from imaging.volume import Source, Volume

#: Larger images are not loaded: the limits of memory have tests of their own.
MAX_VOXELS = 4_000_000
_CHANGES = frozenset(("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink",
                      "os.truncate", "os.chmod", "shutil.rmtree"))  # fmt: skip
_NEVER = frozenset(("socket.connect", "socket.bind", "subprocess.Popen", "os.system", "os.exec",
                    "os.spawn", "ctypes.dlopen", "pickle.find_class"))  # fmt: skip


class Escaped(BaseException):
    """A reader did what no reader may do; not an Exception, so that nobody catches it."""


class Watch:
    """Sees every file opened for writing, removed or made, through Python's audit events."""

    def __init__(self) -> None:
        self.allowed: tuple[str, ...] = ()
        self.seen: list[str] = []
        self._installed = False

    @contextmanager
    def only(self, *folders: str) -> Iterator[None]:
        """Allow changes below some folders alone; raise :class:`Escaped` at the end otherwise."""
        if not self._installed:
            sys.addaudithook(self._event)
            self._installed = True
        self.allowed, self.seen = tuple(os.path.realpath(f) for f in folders), []
        try:
            yield
        finally:
            self.allowed = ()
        if self.seen:
            raise Escaped("; ".join(self.seen[:5]))

    def _event(self, event: str, arguments: tuple) -> None:
        if not self.allowed:
            return
        if event in _NEVER:
            self.seen.append(event)
        elif event in _CHANGES or (event == "open" and _writes(arguments)):
            path = _path(event, arguments)
            if path and not self._inside(path):
                self.seen.append(f"{event} {path}")

    def _inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return real == os.devnull or any(
            real == folder or real.startswith(folder + os.sep) for folder in self.allowed
        )


def _path(event: str, arguments: tuple) -> str:
    """What an event is about; removals name a folder by its descriptor. Empty for a descriptor."""
    path = arguments[0]
    if not isinstance(path, (str, bytes, os.PathLike)):
        return ""
    path = os.fsdecode(path)
    descriptor = arguments[-1] if event in ("os.remove", "os.rmdir") else -1
    if descriptor >= 0 and not os.path.isabs(path):
        return os.path.join(os.readlink(f"/proc/self/fd/{descriptor}"), path)
    return path


def _writes(arguments: tuple) -> bool:
    mode, flags = arguments[1], arguments[2]
    if isinstance(mode, str):
        return any(letter in mode for letter in "wax+")
    return bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC))


def _sentence_of(function: Callable, *arguments) -> list[str]:
    """What a refusal says; nothing where there was none."""
    try:
        function(*arguments)
    except ImagingError as error:
        return [str(error)]
    return []


def _image_for(found: FoundObject) -> Volume:
    """An empty image that any object may be laid over."""
    affine = np.diag([3.0, 1.5, 1.25, 1.0])[:, [2, 1, 0, 3]]
    geometry = Geometry((8, 12, 10), affine, found.frame_of_reference)
    source = Source("dicom", series_uid=next(iter(found.series_uids), ""))
    return Volume("image", "image", np.zeros(geometry.shape, np.uint16), geometry, source)


WATCH = Watch()


def open_like_the_window(data: bytes, *, watched: bool = True) -> int:
    """Open some bytes; returns how many series and objects came out of them.

    Libraries probe the system when they are imported: call it unwatched first for each seed.
    """
    with tempfile.TemporaryDirectory(prefix="isocenter-fuzz-") as folder:
        path = Path(folder) / "file"
        path.write_bytes(data)
        kept, tempfile.tempdir = tempfile.tempdir, folder
        try:
            with WATCH.only(folder) if watched else nullcontext():
                return _opened(path)
        finally:
            tempfile.tempdir = kept


def _opened(path: Path) -> int:
    sentences: list[str] = []
    with scan([path]) as found:
        for series in found.series:
            if series.shape[0] * series.shape[1] * series.shape[2] > MAX_VOXELS:
                continue
            for read in (thumbnail, lambda one: open_series(one).load()):
                sentences += _sentence_of(read, series)
        for one in found.objects:
            sentences += _sentence_of(read_object, one, _image_for(one))
        sentences += [problem.reason for problem in found.problems]
        assert all(sentence.strip().endswith(".") for sentence in sentences)
        return len(found.series) + len(found.objects)
