"""The two ways the world can fail us.

Everything the user can do something about is an :class:`ImagingError` with three parts: what
happened, where, and what to do. All other exceptions are our own mistakes and go to the crash
report. This module imports nothing.
"""

from __future__ import annotations


class ImagingError(Exception):
    """One clear sentence about a failure outside the program.

    Parameters
    ----------
    what : str
        What happened, without a full stop.
    where : str
        The file or thing concerned (a path, a series description). May be empty.
    advice : str
        What the user can do about it. May be empty.
    """

    def __init__(self, what: str, where: str = "", advice: str = "") -> None:
        super().__init__(what, where, advice)
        self.what = what
        self.where = where
        self.advice = advice

    def __str__(self) -> str:
        sentence = self.what.rstrip(".")
        if self.where:
            sentence += f": {self.where}"
        sentence += "."
        if self.advice:
            sentence += f" {self.advice.rstrip('.')}."
        return sentence


class BadInput(ImagingError):
    """What was opened or asked for cannot be used."""


class OtherFile(BadInput):
    """A sound file that is no image, or of a kind that is not read: nothing is damaged."""


class WorldFailed(ImagingError):
    """Disk, memory, device or another program refused."""


class EditRefused(ImagingError):
    """An edit does not fit the state of the case; nothing was changed."""
