"""A lock file that the operating system releases when its holder dies, however it dies."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from pathlib import Path

from imaging.errors import WorldFailed


class CaseInUse(WorldFailed):
    """Another window or program has the case open."""


class FileLock:
    """Exclusive hold on a path, for this and every other process.

    Parameters
    ----------
    path : Path
        The lock file; made where missing, removed on release.

    Raises
    ------
    CaseInUse
        Where somebody else holds it.
    OSError
        Where the file cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor: int | None = None
        while self._descriptor is None:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
            if not _lock_soon(descriptor):
                os.close(descriptor)
                raise CaseInUse(
                    "This case is open in another window", "", "Close it there to edit it here"
                )
            if _same_file(descriptor, path):
                self._descriptor = descriptor
            else:  # the holder before us removed the file between our open and our lock
                os.close(descriptor)

    def release(self) -> None:
        """Let go; more than once does no harm."""
        if self._descriptor is None:
            return
        descriptor, self._descriptor = self._descriptor, None
        if sys.platform != "win32":
            self.path.unlink(missing_ok=True)
        os.close(descriptor)
        if sys.platform == "win32":
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)


def is_locked(path: Path) -> bool:
    """True where somebody, perhaps this process, holds the lock."""
    if not path.exists():
        return False
    try:
        FileLock(path).release()
    except CaseInUse:
        return True
    except OSError:
        return False
    return False


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


def _lock_soon(descriptor: int, attempts: int = 4) -> bool:
    """Lock, trying again for a moment: somebody may only be asking whether it is locked."""
    for attempt in range(attempts):
        try:
            _lock(descriptor)
        except OSError:
            if attempt + 1 < attempts:
                time.sleep(0.01)
        else:
            return True
    return False


def _lock(descriptor: int) -> None:
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
