"""A file is whole before or after, never between: write aside, sync, read back, rename.

Nothing here knows what is written; the caller gives one function that writes a path and one that
reads it back and raises where it differs. Source: design in Anki ``rslib/io`` and qutebrowser
``savefile_open``; the order of the syncs follows the fsync manual page (file, then folder).
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path

from imaging.errors import ImagingError, WorldFailed

#: Takes a finished file and the name it shall get; raises where it must not have it.
Look = Callable[[Path, Path], None]
_looks: ContextVar[tuple[Look, ...]] = ContextVar("looks", default=())

#: On Windows a virus scanner may hold a fresh file for a moment; so long we try again.
SHARING_RETRY_SECONDS = 5.0


@contextlib.contextmanager
def inspecting(look: Look) -> Iterator[None]:
    """Every file written inside this block is looked at before it gets its name.

    Parameters
    ----------
    look : callable
        Gets the file aside and its final path; what it raises stops the file.
    """
    token = _looks.set((*_looks.get(), look))
    try:
        yield
    finally:
        _looks.reset(token)


def _inspect(aside: Path, path: Path) -> None:
    for look in _looks.get():
        look(aside, path)


def write_atomic(
    path: Path, write: Callable[[Path], None], verify: Callable[[Path], None] | None = None
) -> Path:
    """Replace one file, or leave the old one as it is.

    Parameters
    ----------
    path : Path
        The file to make or replace; its folder must exist.
    write : callable
        Writes the path it is given: a new file in the same folder with the same suffixes.
    verify : callable, optional
        Reads that file back; raises where it is not what was meant.

    Returns
    -------
    Path
        ``path``.

    Raises
    ------
    WorldFailed
        Where the disk refuses or the file read back differs. Errors of :mod:`imaging.errors` from
        the callables pass through. In each case the old file is untouched and nothing is left over.
    """
    path = Path(path)
    aside = _aside(path)
    try:
        with _sentences(path):
            write(aside)
            _sync(aside)
            if verify is not None:
                verify(aside)
            _inspect(aside, path)
            _replace(aside, path)
            _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            aside.unlink(missing_ok=True)
    return path


def write_folder_atomic(
    folder: Path,
    write: Callable[[Path], None],
    verify: Callable[[Path], None] | None = None,
    *,
    sync: bool = True,
) -> Path:
    """Make a new folder of files, all of them or none.

    Parameters
    ----------
    folder : Path
        Must not exist yet (see :func:`next_version`); the folder around it must.
    write, verify : callable
        As in :func:`write_atomic`, but given an existing, empty folder beside ``folder``.
    sync : bool
        False where the content can be made again and need not survive a power cut.

    Raises
    ------
    WorldFailed
        Where the disk refuses, the folder is taken or what was read back differs; nothing is left.
    """
    folder = Path(folder)
    if folder.exists():
        raise WorldFailed("There is already something with this name", str(folder))
    aside = _aside(folder)
    with _sentences(folder):
        aside.mkdir()
    try:
        with _sentences(folder):
            write(aside)
            if sync:
                for file in sorted(p for p in aside.rglob("*") if p.is_file()):
                    _sync(file)
                _sync_folder(aside)
            if verify is not None:
                verify(aside)
            for file in sorted(p for p in aside.rglob("*") if p.is_file()):
                _inspect(file, folder / file.relative_to(aside))
            _replace(aside, folder)
            _sync_folder(folder.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return folder


def next_version(path: Path) -> Path:
    """The path itself where it is free, else ``name-2``, ``name-3``, … before the suffixes.

    Works for files (``mask.nii.gz`` gives ``mask-2.nii.gz``) and folders alike.
    """
    path = Path(path)
    stem, suffix = _split(path)
    candidate, number = path, 1
    while candidate.exists() or candidate.is_symlink():
        number += 1
        candidate = path.with_name(f"{stem}-{number}{suffix}")
    return candidate


#: Suffixes of two parts that belong together.
_DOUBLE_SUFFIXES = (".nii.gz", ".label.txt", ".seg.nrrd")


def _split(path: Path) -> tuple[str, str]:
    for double in _DOUBLE_SUFFIXES:
        if path.name.lower().endswith(double):
            return path.name[: -len(double)], path.name[-len(double) :]
    return path.stem, path.suffix


def _aside(path: Path) -> Path:
    """A free hidden name in the same folder, with the same suffixes."""
    stem, suffix = _split(path)
    token = f"{os.getpid():x}{time.monotonic_ns() & 0xFFFFFF:x}"
    return path.with_name(f".{stem[:40]}-{token}.part{suffix}")


@contextlib.contextmanager
def _sentences(path: Path):
    """Turn what the operating system says into one sentence."""
    try:
        yield
    except ImagingError:
        raise
    except OSError as error:
        what, advice = _explain(error)
        raise WorldFailed(what, str(path), advice) from error
    except MemoryError as error:
        raise WorldFailed(
            "There is not enough memory to write this", str(path), "Close other programs"
        ) from error


def _explain(error: OSError) -> tuple[str, str]:
    elsewhere = "Choose another folder"
    known = {
        errno.ENOSPC: ("The disk is full", "Free some space or choose another folder"),
        errno.EDQUOT: ("Your disk quota is used up", "Free some space or choose another folder"),
        errno.EROFS: ("The disk is read-only", elsewhere),
        errno.EACCES: ("Writing is not allowed here", elsewhere),
        errno.EPERM: ("Writing is not allowed here", elsewhere),
        errno.ENOENT: ("The folder does not exist", elsewhere),
        errno.ENOTDIR: ("The folder does not exist", elsewhere),
        errno.ENAMETOOLONG: ("The file name is too long", "Choose a shorter name"),
        errno.EISDIR: ("There is a folder with this name", "Choose another name"),
        errno.EIO: ("The disk reports an error", elsewhere),
    }
    fallback = (f"The file could not be written ({error.strerror or error})", elsewhere)
    return known.get(error.errno or 0, fallback)


def _sync(file: Path) -> None:
    with open(file, "r+b") as handle:
        handle.flush()
        os.fsync(handle.fileno())


def _sync_folder(folder: Path) -> None:
    if sys.platform == "win32":  # a folder cannot be opened there; the rename itself is logged
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # some network folders cannot
            raise
    finally:
        os.close(handle)


def _replace(source: Path, target: Path) -> None:
    """Rename, with patience for whoever looks into a fresh file on Windows."""
    deadline = time.monotonic() + SHARING_RETRY_SECONDS
    while True:
        try:
            os.replace(source, target)
            return
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > deadline:
                raise
            time.sleep(0.1)
