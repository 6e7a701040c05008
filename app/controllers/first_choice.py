"""Which series is shown when a study opens and nobody has chosen one yet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from app.workspace import Workspace
from viewer.state.display import DisplayState

if TYPE_CHECKING:
    from imaging.series import Series

#: Prefer these, the first one most.
_FIRST_CHOICE = ("FLAIR", "T2w", "T1w", "T1w+C")
#: Never before one of unknown kind.
_LAST_CHOICE = ("localiser", "ADC")


def best(series: Sequence[Series]) -> Series:
    """The series to show first: fit for a volume, of a sequence people begin with, large."""
    usable = [s for s in series if s.volumetric] or [s for s in series if s.viewable] or series

    def rank(s: Series) -> tuple:
        known = s.sequence in _FIRST_CHOICE
        order = _FIRST_CHOICE.index(s.sequence) if known else len(_FIRST_CHOICE)
        other = not s.sequence and s.guess.confidence > 0  # known to be a phase image, a map, …
        order += other or s.sequence in _LAST_CHOICE
        return order, not s.guess.sure, -(s.shape[0] * s.shape[1] * s.shape[2])

    return min(usable, key=rank)


def early(series: Sequence[Series]) -> list[Series]:
    """Those worth a first picture while headers are still being read."""
    return [s for s in series if s.volumetric and s.sequence not in _LAST_CHOICE]


def preferred(series: Sequence[Series], shown: Series) -> Series | None:
    """The series to show in the place of one that was shown early; None where that may stay."""
    study = [s for s in series if _study_of(s) == _study_of(shown)]
    chosen = best(study) if study else shown
    first = _FIRST_CHOICE[0]
    return chosen if chosen.sequence == first and shown.sequence != first else None


def _study_of(series: Series) -> object:
    """What holds a study together: its UID, or the folder of files that have none."""
    source = series.source
    return source.study_uid or (source.patient, {Path(file).parent for file in source.files[:1]})


class Touched:
    """Whether somebody has done anything since a series was shown of itself."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._key = ""
        self._before: tuple[DisplayState, int] | None = None

    def begin(self, key: str) -> None:
        """A series has just been shown."""
        self._key, self._before = key, self._now()

    def not_since(self, key: str) -> bool:
        """True where this series was shown last and nothing was changed since."""
        return self._key == key and self._before == self._now()

    def _now(self) -> tuple[DisplayState, int]:
        # Windows follow the voxels that arrive, without a hand.
        return replace(self._workspace.display, windows={}), self._workspace.revision
