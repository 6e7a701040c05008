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
from app.export_kinds import IMAGE, Kind
from app.export_privacy import (
    LOOK,
    OwnWords,
    nameless_map,
    nameless_mask,
    own_words,
    why_text_in_pixels,
)
from imaging.case import Case
from imaging.deidentify.text import cleaned
from imaging.errors import BadInput
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
    pictured : tuple of str
        Ids of the images that they show.
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
    pictured: tuple[str, ...] = ()
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

        names, folder = (name, *beside), self.choice.folder
        stem = free_stem(
            self.stem,
            lambda stem: any(self._taken(folder / f"{stem}-{one}", one == name) for one in names),
        )
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

    @property
    def turn(self) -> int:
        """Which export of the case this is, from 1."""
        return max(1, self.case.exports)

    @cached_property
    def mask(self) -> Segmentation:
        """The chosen mask."""
        mask = self.case.segmentation(self.choice.segmentation_id)
        return nameless_mask(mask, self.own) if self.options.deidentify else mask

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
        from imaging.analysis.lesions import find_lesions, numbered_as

        lesions = self.lesions
        if lesions is None:
            kept = self.case.segmentation(self.choice.segmentation_id).lesion_numbers
            lesions = numbered_as(find_lesions(self.mask, self.probability), kept)
        wanted = set(self.labels)
        return [lesion for lesion in lesions if lesion.label in wanted]

    @property
    def signer(self) -> str:
        """The annotator, unless nobody shall be named."""
        return "" if self.options.deidentify else self.creator

    @property
    def maps(self) -> list[tuple[str, Heatmap]]:
        """The chosen maps with a file name for each."""
        maps = [self._heat(self.case.heatmap(id)) for id in self.choice.heatmap_ids]
        return [(plain(f"{heat.meaning} {heat.about}"), heat) for heat in maps]

    @property
    def channels(self) -> list[tuple[str, Volume]]:
        """Images of an nnU-Net case with the names of their channels."""
        ids = self.choice.channel_ids or (self.mask.volume_id,)
        named = [(channel_name(self.case, id), self.image(id)) for id in ids]
        if not self.options.deidentify:
            return named
        words = self.own.words
        return [
            (cleaned(name, words) or f"Image {n}", volume)
            for n, (name, volume) in enumerate(named, start=1)
        ]

    @cached_property
    def own(self) -> OwnWords:
        """What says who the patient is, by all images of the case."""
        return own_words(self.case.volumes)

    def check_pixels(self, kind: Kind) -> None:
        """Raise BadInput where a kind would let text out that is part of the pixels."""
        if not self.options.deidentify:
            return
        for volume in self._pixels_of(kind):
            if reason := why_text_in_pixels(volume, every_file=True):
                raise BadInput(reason, "", LOOK)

    def _pixels_of(self, kind: Kind) -> list[Volume]:
        """The images whose voxels a kind writes or shows."""
        if kind.group == IMAGE:
            return [self.case.volume(self.choice.volume_id)]
        if kind.picture:
            return [self.case.volume(id) for id in self.pictured]
        if kind.id == "nnunet":
            ids = self.choice.channel_ids or (self.mask.volume_id,)
            return [self.case.volume(id) for id in ids]
        if kind.id == "bids" and self.options.with_image:
            return [self.case.volume(self.mask.volume_id)]
        return []

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
        return nameless_map(heat, self.own) if self.options.deidentify else heat


def usual_stem(volume: Volume, *, deidentify: bool = False) -> str:
    """What tells this study from others: its date, the patient's token, the sequence or series.

    Without the date and the words of the header where the patient shall not be recognised.
    """
    source = volume.source
    token = patient_token(volume)
    if deidentify:
        return plain(f"{token} {source.sequence or 'study'}")
    words = source.sequence or source.series_description
    return plain(f"{source.study_date} {token} {words}") or "study"


def patient_token(volume: Volume) -> str:
    """Six letters that stand for a patient, the first of the pseudonym; empty for nobody."""
    from imaging.deidentify.key import load_key
    from imaging.errors import ImagingError

    source = volume.source
    who = source.patient.id.strip()
    if not who and source.patient.name.strip():
        who = f"{source.patient.name.strip()}\0{source.patient.birth_date.strip()}"
    if not who and source.study_uid:
        who = f"study\0{source.study_uid}"
    try:
        return load_key().pseudonym(who).removeprefix("ANON-")[:6].lower() if who else ""
    except ImagingError:
        return ""  # names of files are no reason to stop


def free_stem(stem: str, taken: Callable[[str], bool]) -> str:
    """The stem itself, else ``stem-2``, ``stem-3``, …: the first that is not taken."""
    number, found = 1, stem
    while taken(found):
        number += 1
        found = f"{stem}-{number}"
    return found


def plain(words: str) -> str:
    """Small letters, digits and hyphens, for file names."""
    return "-".join("".join(c if c.isalnum() else " " for c in words).split()).lower()[:80]


def channel_name(case: Case, volume_id: str) -> str:
    """The sequence of an image where only one image has it, else its name."""
    volume = case.volume(volume_id)
    sequence = volume.source.sequence
    alike = [other for other in case.volumes if other.source.sequence == sequence]
    return sequence if sequence and len(alike) == 1 else volume.name
