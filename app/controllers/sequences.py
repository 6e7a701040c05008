"""Says which sequence each series is: what the user told before, else what header and pixels say.

The header is judged while files are read (:mod:`imaging.dicom.stacks.sequence`). Where it leaves
doubt the pixels are looked at once a series is loaded, in the background. The user has the last
word.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from PySide6.QtCore import QObject, Signal

from app.controllers.cases import CaseController
from app.tasks import Tasks
from app.told_sequences import NOT_SURE, corrected, tell, token_of, told_guess, with_guess
from app.workspace import Workspace
from imaging.volume import Volume, filled_padding

if TYPE_CHECKING:
    from imaging.series import SequenceGuess, Series


class SequenceController(QObject):
    """Joins the study list, the series of the case and what the user said about them.

    Signals
    -------
    said(str)
        A sentence for the status line.
    changed(told)
        The user named another series, or took a word back: to be stored.
    """

    said = Signal(str)
    changed = Signal(dict)

    def __init__(
        self, workspace: Workspace, tasks: Tasks, cases: CaseController, told: Mapping[str, str]
    ) -> None:
        super().__init__()
        self._workspace, self._tasks, self._cases = workspace, tasks, cases
        self._told: dict[str, str] = dict(told)
        self._found: dict[str, Series] = {}
        self._seen: dict[str, SequenceGuess] = {}
        cases.judge = self.judge
        cases.whole.connect(self._look)

    def judge(self, series: Series) -> Series:
        """The series with the best opinion there is on its sequence; any thread."""
        self._found[series.key] = series
        told = corrected(series, self._told)
        if told is not series:
            return told
        seen = self._seen.get(series.key)
        return series if seen is None else _with_pixels(series, seen)

    def tell(self, key: str, name: str) -> None:
        """The user says what a series is.

        Parameters
        ----------
        name : str
            One of :data:`imaging.series.SEQUENCES`, ``"?"`` for not sure, or empty for "guess
            again".
        """
        series = self._cases.series.get(key)
        if series is None:
            return
        self._told = tell(self._told, token_of(series), name)
        self.changed.emit(dict(self._told))
        if name:
            self._cases.set_guess(key, told_guess(name))
            words = "of a kind nobody is sure of" if name == NOT_SURE else name
            self.said.emit(f"{series.description} is {words} from now on: you said so")
        else:
            again = self.judge(self._found.get(key, series))
            self._cases.set_guess(key, again.guess)
            self.said.emit(f"{series.description} is named by the program again")

    def _look(self, key: str, volume: Volume) -> None:
        """Ask the pixels of a loaded series where the header leaves doubt."""
        series = self._cases.series.get(key)
        if series is None or key in self._seen or not _doubtful(series):
            return
        geometry = volume.geometry if volume.placed else None

        def work(_ticket) -> SequenceGuess:
            from imaging.analysis.contrast import guess_contrast

            voxels = filled_padding(volume.voxels, volume.padding, volume.inverted)
            return guess_contrast(voxels, geometry)

        self._tasks.run(work, lambda seen: self._looked(key, seen))

    def _looked(self, key: str, seen: SequenceGuess) -> None:
        self._seen[key] = seen
        series = self._found.get(key)
        if series is not None and key in self._cases.series:
            self._cases.set_guess(key, self.judge(series).guess)


def _doubtful(series: Series) -> bool:
    """True where pixels may know better: unsure headers, and files with nothing but a name."""
    guess = series.guess
    other = not guess.name and guess.confidence > 0
    known = other or guess.confidence == 1 or (series.kind == "dicom" and guess.sure)
    return not known and series.volumetric and series.source.modality in ("MR", "")


def _with_pixels(series: Series, seen: SequenceGuess) -> Series:
    from imaging.dicom.stacks.sequence import with_pixels

    return with_guess(series, with_pixels(series.guess, seen))
