"""From an exception to one sentence for the user, or to the crash report."""

from __future__ import annotations

import errno

from psygnal import EmitLoopError

from imaging.errors import ImagingError

_OS_ADVICE = {
    errno.ENOSPC: "The disk is full. Free some space or choose another folder",
    errno.EACCES: "Access is denied. Choose another folder",
    errno.EPERM: "Access is denied. Choose another folder",
    errno.EROFS: "The disk is read-only. Choose another folder",
    errno.ENOENT: "The file or folder is not there any more",
}


def root_of(error: BaseException) -> BaseException:
    """What really happened, where a listener of a signal failed."""
    while isinstance(error, EmitLoopError) and error.__cause__ is not None:
        error = error.__cause__
    return error


def is_ours(error: BaseException) -> bool:
    """True where the error is a mistake of the program, not of the world."""
    return not isinstance(root_of(error), ImagingError | OSError | MemoryError)


def sentence(error: BaseException) -> str:
    """What the user reads; never an exception's own text where that could name a patient."""
    error = root_of(error)
    if isinstance(error, ImagingError):
        return str(error)
    if isinstance(error, MemoryError):
        return "There is not enough free memory. Close other programs or other studies."
    if isinstance(error, OSError):
        what = _OS_ADVICE.get(error.errno or 0, "The system refused a file operation")
        where = f" ({error.filename})" if error.filename else ""
        return f"{what}{where}."
    return f"Isocenter made a mistake ({type(error).__name__}). Your work is safe; see the log."


def files_text(damaged: int, other: int) -> str:
    """How many files could not be used: ``"2 damaged · 2137 other files"``."""
    if damaged and other:
        return f"{damaged} damaged · {counted(other, 'other file')}"
    return counted(damaged, "damaged file") if damaged else counted(other, "file")


def counted(number: int, word: str) -> str:
    """A number with its word in the right form: ``"1 file"``, ``"2 files"``."""
    return f"{number} {word}" if number == 1 else f"{number} {word}s"
