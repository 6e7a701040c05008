"""Opens cases and says in one sentence each why one cannot be used, or what to know about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np

from imaging.errors import BadInput, ImagingError
from imaging.segmentation import Segmentation
from imaging.volume import Volume, filled_padding
from inference.model import SourceImage
from inference.training.own.case_list import CaseFiles
from inference.training.own.choices import USUAL_SEQUENCE

__all__ = ["CaseNote", "OpenCase", "check_cases", "open_case", "open_mask", "summary"]

#: Fewer patients than this give no held-out figure worth a mean.
FEW_PATIENTS = 2


@dataclass(frozen=True, eq=False)
class OpenCase:
    """A case in memory.

    Parameters
    ----------
    volume : Volume
        The main image.
    others : mapping of str to Volume
    mask : ndarray of uint8, shape (k, j, i), or None
        Label numbers of the file on the grid of the image.
    """

    files: CaseFiles
    volume: Volume
    others: Mapping[str, Volume]
    mask: np.ndarray | None

    @property
    def answer(self) -> bool:
        """For yes-or-no models: whether anything is there."""
        if self.files.answer is not None:
            return self.files.answer
        return self.mask is not None and bool(self.mask.any())

    @property
    def digest(self) -> str:
        """Of everything that is learned from or judged with: images, places, mask and answer."""
        known = blake2b(repr(self.files.answer).encode(), digest_size=16)
        for name, volume in (("", self.volume), *sorted(self.others.items())):
            places = (name, volume.slope, volume.intercept, volume.voxels.shape)
            known.update(repr((*places, volume.voxels.dtype.str)).encode())
            known.update(np.ascontiguousarray(volume.geometry.affine).data)
            known.update(np.ascontiguousarray(volume.voxels).data)
        if self.mask is not None:
            known.update(np.ascontiguousarray(self.mask).data)
        return known.hexdigest()

    def marked(self, label: int = 0) -> np.ndarray:
        """bool ``(k, j, i)``: where the mask holds this value, or any for 0."""
        assert self.mask is not None
        return self.mask == label if label else self.mask != 0

    def images(self, first: str) -> dict[str, SourceImage]:
        """Real values by the card's names."""
        volumes = {first: self.volume, **self.others}
        return {name: _source(volume) for name, volume in volumes.items()}


@dataclass(frozen=True)
class CaseNote:
    """What was found about a case.

    Parameters
    ----------
    sequence : str
        Of the main image; empty where nobody can tell.
    sure : bool
        Whether a header says so, not only the pixels.
    digest : int
        Of the voxels: equal for equal images.
    positive : bool
        Whether anything is marked, or the answer is yes.
    """

    files: CaseFiles
    ok: bool
    sentence: str = ""
    sequence: str = ""
    sure: bool = False
    digest: int = 0
    positive: bool = False

    def row(self) -> dict[str, Any]:
        """As told to the window."""
        return {
            "case": self.files.name,
            "patient": self.files.patient,
            "subgroup": self.files.subgroup,
            "ok": self.ok,
            "sentence": self.sentence,
        }


def open_case(files: CaseFiles, with_mask: bool = True) -> OpenCase:
    """Read image, further images and mask.

    Raises
    ------
    BadInput
        Where one is missing, no volume, or the mask does not lie on the grid of the image.
    """
    volume = _volume(files.image)
    others = {name: _volume(path) for name, path in files.others.items()}
    mask = None
    if files.mask is not None:
        mask = open_mask(files.mask, volume)
    elif with_mask:
        raise BadInput("The case has no mask")
    return OpenCase(files, volume, others, mask)


def _volume(path: Path) -> Volume:
    from imaging.open import load_series, scan

    if not path.exists():
        raise BadInput("The image is not there", path.name)
    with scan([path]) as result:
        usable = [series for series in result.series if series.volumetric]
        if not usable:
            reasons = [p.reason for p in result.problems] or ["It holds no volume"]
            reasons = [*(s for one in result.series for s in one.problems), *reasons]
            raise BadInput("The image cannot be used", path.name, reasons[0])
        if len(usable) > 1:
            raise BadInput(f"There are {len(usable)} series, which one is not said", path.name)
        volume = load_series(usable[0])
    if volume.repeats is not None:
        raise BadInput("The image is a 4D series", path.name, "Convert the one to learn from")
    if not volume.even or volume.voxels.dtype.kind not in "iuf":
        raise BadInput("The slices lie at uneven places, or hold no plain numbers", path.name)
    return volume


def open_mask(path: Path, volume: Volume) -> np.ndarray:
    """Label numbers of a mask file on the grid of an image, uint8 ``(k, j, i)``.

    Raises
    ------
    BadInput
        Where it holds no mask, several, or lies on another grid.
    """
    from imaging.objects import ReadItems, read_as_mask, read_object
    from imaging.open import scan
    from imaging.series import LABELS, SEGMENTATION, STRUCTURE_SET

    if not path.exists():
        raise BadInput("The mask is not there", path.name)
    with scan([path]) as result:
        kinds = (LABELS, SEGMENTATION, STRUCTURE_SET)
        objects = [one for one in result.objects if one.kind in kinds]
        if len(objects) > 1:
            raise BadInput(f"There are {len(objects)} masks, which one is not said", path.name)
        if objects:
            if objects[0].kind == LABELS:
                _same_grid(path, volume)
            read = read_object(objects[0], volume)
        elif len(result.series) == 1:
            _same_grid(path, volume)
            read = read_as_mask(result.series[0], volume)
        else:
            raise BadInput("There is no mask in this file", path.name)
    assert isinstance(read, ReadItems)
    labels = np.zeros(volume.geometry.shape, np.uint8)
    for item in read.items:
        if isinstance(item, Segmentation):
            np.copyto(labels, item.labels, where=labels == 0)
    return labels


def _same_grid(path: Path, volume: Volume) -> None:
    """Refuse a label file whose voxels are not those of the image, up to turns and flips."""
    from imaging.analysis.onto_grid import aligned
    from imaging.storage.formats import grid_of
    from imaging.storage.grid_file import grid_series

    grid = grid_series(grid_of(str(path))).geometry
    if grid is None or not aligned(grid, volume.geometry):
        raise BadInput(
            "The mask lies on another grid than its image", path.name,
            "Bring it onto the grid of the image first",
        )  # fmt: skip


def _source(volume: Volume) -> SourceImage:
    voxels = filled_padding(volume.voxels, volume.padding, volume.inverted)
    real = np.asarray(voxels, np.float32) * np.float32(volume.slope) + np.float32(volume.intercept)
    finite = np.isfinite(real)
    if not finite.all():
        real = np.where(finite, real, real[finite].min() if finite.any() else np.float32(0))
    return SourceImage(real, volume.geometry.affine)


# --- checks -----------------------------------------------------------------------------------


def check_cases(
    cases: Sequence[CaseFiles],
    *,
    classify: bool = False,
    sequence: str = "",
    label: int = 0,
    keep: Callable[[OpenCase], None] = lambda case: None,
    progress: Callable[[float], None] = lambda share: None,
) -> list[CaseNote]:
    """Look at every case, then at all of them together.

    Parameters
    ----------
    classify : bool
        For a yes-or-no model: an answer will do instead of a mask.
    sequence : str
        What the main images must be; empty: what most of them are.
    keep : callable
        Gets each case that can be opened (to store it, for example).
    """
    notes = []
    for number, files in enumerate(cases):
        progress(number / len(cases))
        notes.append(_looked_at(files, classify, label, keep))
    notes = _of_one_sequence(notes, sequence)
    return _apart(notes)


def _looked_at(
    files: CaseFiles, classify: bool, label: int, keep: Callable[[OpenCase], None]
) -> CaseNote:
    try:
        case = open_case(files, with_mask=not classify or files.answer is None)
    except ImagingError as error:
        return CaseNote(files, False, _sentence(error))
    voxels = np.ascontiguousarray(case.volume.voxels)
    if voxels.min() == voxels.max():
        return CaseNote(files, False, "All voxels of the image have the same value.")
    try:
        keep(case)
    except BadInput as error:  # a full disk, on the other hand, ends it
        return CaseNote(files, False, _sentence(error))
    name, sure = _sequence_of(case.volume)
    known = CaseNote(files, True, "", name, sure, crc32(voxels.view(np.uint8).data))
    if classify:
        return replace(known, positive=case.answer)
    if not case.marked(label).any():
        return replace(known, sentence="Nothing is marked; it counts as a case without findings.")
    return replace(known, positive=True)


def _sentence(error: ImagingError) -> str:
    """Without the folders of the user's disk."""
    return str(type(error)(error.what, Path(error.where).name if error.where else "", error.advice))


def _sequence_of(volume: Volume) -> tuple[str, bool]:
    from imaging.analysis.contrast import guess_contrast

    if volume.source.sequence:
        return volume.source.sequence, True
    return guess_contrast(volume.voxels, volume.geometry).name, False


def _of_one_sequence(notes: list[CaseNote], wanted: str) -> list[CaseNote]:
    """Refuse what a header says is another sequence; mention what only looks like another."""
    counted = Counter(note.sequence for note in notes if note.ok and note.sequence)
    wanted = wanted or (counted.most_common(1)[0][0] if counted else USUAL_SEQUENCE)

    def judged(note: CaseNote) -> CaseNote:
        if not note.ok or note.sequence.upper() == wanted.upper():
            return note
        if not note.sequence:
            doubt = f"Which sequence this is nobody can tell; it is taken for {wanted}."
        elif note.sure:
            doubt = f"This is {note.sequence}, but the other images are {wanted}."
        else:
            doubt = f"This looks like {note.sequence}, not {wanted}; look at it."
        bad = bool(note.sequence) and note.sure
        return replace(note, ok=not bad, sentence=" ".join(filter(None, (note.sentence, doubt))))

    return [judged(note) for note in notes]


def _apart(notes: list[CaseNote]) -> list[CaseNote]:
    """Refuse what would make the figures better than they are."""
    digests: dict[int, CaseNote] = {}
    folds: dict[str, str] = {}
    result = []
    for note in notes:
        first = digests.setdefault(note.digest, note) if note.ok else note
        fold = folds.setdefault(note.files.patient, note.files.fold)
        if first is not note and first.files.patient != note.files.patient:
            sentence = f"It is the same image as '{first.files.name}', under another patient."
            result.append(replace(note, ok=False, sentence=sentence))
        elif note.ok and fold != note.files.fold:
            sentence = "Its patient is in two folds; cases of one patient must stay together."
            result.append(replace(note, ok=False, sentence=sentence))
        else:
            result.append(note)
    return result


@dataclass(frozen=True)
class Summary:
    """All cases together.

    Parameters
    ----------
    usable : list of CaseNote
    sentence : str
        For the user.
    sequence : str
        Of most main images.
    """

    usable: list[CaseNote] = field(default_factory=list)
    sentence: str = ""
    sequence: str = ""


def summary(notes: Sequence[CaseNote], classify: bool = False, wanted: str = "") -> Summary:
    """What can be used.

    Raises
    ------
    BadInput
        Where nothing can be learned: no case, nothing marked anywhere, or only one answer.
    """
    usable = [note for note in notes if note.ok]
    patients = len({note.files.patient for note in usable})
    if not usable:
        reason = next((note.sentence for note in notes if note.sentence), "")
        raise BadInput("No case can be used", "", reason)
    positive = sum(note.positive for note in usable)
    if not positive:
        raise BadInput("Nothing is marked in any case, so there is nothing to learn")
    if classify and positive == len(usable):
        raise BadInput("All cases have the answer yes, so there is nothing to tell apart")
    of = "person" if patients == 1 else "people"
    sentence = f"{len(usable)} of {len(notes)} cases can be used, of {patients} {of}."
    if patients < FEW_PATIENTS:
        sentence += " One patient cannot be learned from and judged with: there will be no figures."
    counted = Counter(note.sequence for note in usable if note.sequence)
    named = wanted or (counted.most_common(1)[0][0] if counted else USUAL_SEQUENCE)
    return Summary(usable, sentence, named)
