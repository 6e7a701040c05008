"""Reports of running models that nobody watches, and parts of ones that somebody does."""

from __future__ import annotations

from inference.model import Report

__all__ = ["Part", "Quiet"]


class Quiet:
    """A report nobody reads while the model runs; its notes are kept."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def stage(self, words: str, share: float) -> None:
        """Not told."""

    def step(self, fraction: float) -> None:
        """Not told."""

    def note(self, sentence: str) -> None:
        """Keep it."""
        self.notes.append(sentence)


class Part:
    """Progress of one pass as a part of a stage of the whole run.

    Parameters
    ----------
    begin, share : float
        Where in the stage the pass begins, and how much of it it is, 0 to 1.
    """

    def __init__(self, report: Report, begin: float, share: float) -> None:
        self._report, self._begin, self._share = report, begin, share

    def stage(self, words: str, share: float) -> None:
        """Stages are told by who asked for the pass."""

    def step(self, fraction: float) -> None:
        """So much of this pass is done."""
        self._report.step(self._begin + self._share * fraction)

    def note(self, sentence: str) -> None:
        """Handed on."""
        self._report.note(sentence)
