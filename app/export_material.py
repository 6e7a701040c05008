"""What an export draws on: a frozen case and what was chosen from it; no window.

Where the patient shall not be recognised the items come without their names.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from app.export_choice import ExportChoice, ExportOptions
from imaging.case import Case
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.analysis.lesions import Lesion


@dataclass(frozen=True, eq=False)
class Material:
    """What an export may draw on: a frozen case and what was chosen from it.

    Parameters
    ----------
    lesions : list of Lesion or None
        The measured list of the mask; measured anew where None.
    accepted : callable
        Whether a person has taken over a lesion of a mask.
    creator : str
        Name of the annotator; may be empty.
    picture : ndarray of uint8, shape (h, w, 3), or None
        The views as they are on screen.
    text_shown : bool
        Whether they show patient and study.
    notes : list of str
        Sentences for the user; writers add to it.
    seg_file : list of Path
        The DICOM SEG of this export as a report has to point into it.
    written : list of Path
        What this export has written so far.
    beside : list of Path
        Folders with DICOM copies of images, made so that masks and maps have something to refer to.
    """

    choice: ExportChoice
    case: Case
    lesions: list[Lesion] | None = None
    accepted: Callable[[Segmentation, Lesion], bool] = lambda _mask, _lesion: False
    creator: str = ""
    picture: np.ndarray | None = None
    text_shown: bool = True
    notes: list[str] = field(default_factory=list)
    beside: list[Path] = field(default_factory=list)
    written: list[Path] = field(default_factory=list)
    seg_file: list[Path] = field(default_factory=list)
    copies: dict[str, Volume] = field(default_factory=dict)
    _home: list[tempfile.TemporaryDirectory[str]] = field(default_factory=list)

    def close(self) -> None:
        """Take away what was written on the way to de-identified files."""
        while self._home:
            self._home.pop().cleanup()

    def private(self) -> Path:
        """A fresh folder that only this user can read and that goes with :meth:`close`."""
        self._home.append(tempfile.TemporaryDirectory(prefix="isocenter-"))
        return Path(self._home[-1].name)

    def free(self, name: str, *beside: str) -> Path:
        """A path in the folder that nothing has yet, nor any of the names that go beside it."""
        from imaging.atomic import next_version

        stem, number = self.stem, 1
        names = (name, *beside)
        while any(self._taken(self.choice.folder / f"{stem}-{one}", one == name) for one in names):
            number += 1
            stem = f"{self.stem}-{number}"
        return next_version(self.choice.folder / f"{stem}-{name}")

    def _taken(self, path: Path, main: bool) -> bool:
        """What this export itself has written beside one file may stand beside another, too."""
        ours = not main and path in self.written
        return not ours and (path.exists() or path.is_symlink())

    @property
    def options(self) -> ExportOptions:
        """How things are written."""
        return self.choice.options

    @cached_property
    def stem(self) -> str:
        """What file names begin with."""
        if self.choice.stem:
            return plain(self.choice.stem) or "study"
        id = self.choice.volume_id or self.mask.volume_id
        return usual_stem(self.case.volume(id), deidentify=self.options.deidentify)

    @cached_property
    def mask(self) -> Segmentation:
        """The chosen mask."""
        mask = self.case.segmentation(self.choice.segmentation_id)
        return _nameless_mask(mask) if self.options.deidentify else mask

    @cached_property
    def written_mask(self) -> Segmentation:
        """The mask with the chosen labels only."""
        from imaging.storage.arrays import with_labels

        return self.mask if self.choice.labels is None else with_labels(self.mask, self.labels)

    @cached_property
    def volume(self) -> Volume:
        """The chosen image."""
        return self.image(self.choice.volume_id)

    @cached_property
    def mask_volume(self) -> Volume:
        """The image that the mask was made on."""
        return self.image(self.mask.volume_id)

    @property
    def labels(self) -> list[int]:
        """Numbers of the segments to write."""
        wanted = self.choice.labels
        return [s.number for s in self.mask.segments if wanted is None or s.number in wanted]

    @property
    def probability(self) -> Heatmap | None:
        """The map the mask was cut from."""
        heat = self.case.items.get(self.mask.probability_id)
        return heat if isinstance(heat, Heatmap) else None

    @cached_property
    def listed(self) -> list[Lesion]:
        """The lesions of the labels to write."""
        from imaging.analysis.lesions import find_lesions

        lesions = (
            find_lesions(self.mask, self.probability) if self.lesions is None else self.lesions
        )
        wanted = set(self.labels)
        return [lesion for lesion in lesions if lesion.label in wanted]

    @property
    def signer(self) -> str:
        """The annotator, unless nobody shall be named."""
        return "" if self.options.deidentify else self.creator

    @property
    def maps(self) -> list[tuple[str, Heatmap]]:
        """The chosen maps with a file name for each."""
        maps = [self.case.heatmap(id) for id in self.choice.heatmap_ids]
        return [(plain(f"{heat.meaning} {heat.about}"), self._heat(heat)) for heat in maps]

    @property
    def channels(self) -> list[tuple[str, Volume]]:
        """Images of an nnU-Net case with the names of their channels."""
        ids = self.choice.channel_ids or (self.mask.volume_id,)
        return [(channel_name(self.case, id), self.image(id)) for id in ids]

    def note(self, sentence: str) -> None:
        """Say something once."""
        if sentence not in self.notes:
            self.notes.append(sentence)

    def image(self, id: str) -> Volume:
        """An image by its id; without a name where it shall not tell whose it is."""
        volume = self.case.volume(id)
        if not self.options.deidentify:
            return volume
        return replace(volume, name=volume.source.sequence or "Image")

    def _heat(self, heat: Heatmap) -> Heatmap:
        if not self.options.deidentify:
            return heat
        made_by = replace(heat.provenance, created="")
        return replace(heat, name=heat.meaning.capitalize(), provenance=made_by)


def usual_stem(volume: Volume, *, deidentify: bool = False) -> str:
    """What tells this study from others: date of the study and the sequence or series.

    Without the date and the words of the header where the patient shall not be recognised.
    """
    source = volume.source
    if deidentify:
        return plain(source.sequence) or "study"
    return plain(f"{source.study_date} {source.sequence or source.series_description}") or "study"


def plain(words: str) -> str:
    """Small letters, digits and hyphens, for file names."""
    return "-".join("".join(c if c.isalnum() else " " for c in words).split()).lower()[:80]


def channel_name(case: Case, volume_id: str) -> str:
    """The sequence of an image where only one image has it, else its name."""
    volume = case.volume(volume_id)
    sequence = volume.source.sequence
    alike = [other for other in case.volumes if other.source.sequence == sequence]
    return sequence if sequence and len(alike) == 1 else volume.name


def _nameless_mask(mask: Segmentation) -> Segmentation:
    from imaging.storage.arrays import with_labels

    copy = with_labels(mask, [s.number for s in mask.segments])
    made_by = replace(mask.provenance, created="")
    copy.set_header(mask.header(name="Mask", provenance=made_by))
    return copy
