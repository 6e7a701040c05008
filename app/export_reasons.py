"""Why something cannot be exported now, in one sentence for people; no window."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.export_choice import ExportChoice
from app.export_kinds import IMAGE, KIND, MASK, Kind
from app.export_material import free_stem
from app.export_privacy import LOOK, OwnWords, why_text_in_pixels
from imaging.case import Case
from imaging.errors import ImagingError
from imaging.heatmap import Heatmap
from imaging.segmentation import LESION_TYPE, Segment, Segmentation
from imaging.volume import Volume

NO_MASK = "There is no mask: run a model or paint one"
NO_MAP = "There is no map: run a model first"
NO_IMAGE = "There is no image: open a study first"
SHEARED = (
    "The slices are shifted against each other, and other programs set them straight: use NIfTI"
)
FACES = "Heads keep their faces: File > De-identify folder takes them off."
TEXT_SHOWN = "The views show whose images these are: hide their text first (Tab)"


@dataclass(frozen=True)
class Ground:
    """What an export would be made of.

    Parameters
    ----------
    why_not_written : callable
        Why an image cannot become a file now (still loading, uneven slices), by its id.
    text_shown : bool
        Whether the views show patient and study.
    pictured, channel_ids : tuple of str
        The images on screen, and those of an nnU-Net case.
    with_image : bool
        A copy of the image in a BIDS data set.
    """

    case: Case
    mask: Segmentation | None
    volume: Volume | None
    maps: tuple[Heatmap, ...]
    deidentify: bool = False
    text_shown: bool = True
    why_not_written: Callable[[str], str] = lambda _id: ""
    pictured: tuple[str, ...] = ()
    with_image: bool = True
    channel_ids: tuple[str, ...] = ()

    def pixels(self, kind: Kind) -> list[Volume]:
        """The images whose voxels a kind writes or shows."""
        ids: tuple[str, ...] = ()
        if kind.group == IMAGE:
            ids = (self.volume.id,) if self.volume else ()
        elif kind.picture:
            ids = self.pictured
        elif kind.id == "nnunet":
            ids = self.channel_ids or ((self.mask.volume_id,) if self.mask else ())
        elif kind.id == "bids" and self.with_image and self.mask:
            ids = (self.mask.volume_id,)
        found = (self.case.items.get(id) for id in ids)
        return [volume for volume in found if isinstance(volume, Volume)]

    def under(self, kind: Kind) -> list[Volume]:
        """The images that a kind is written from, or that it refers to."""
        items = {
            "mask": [self.mask] if self.mask else [],
            "map": list(self.maps),
            "volume": [self.volume] if self.volume else [],
        }[kind.needs]
        found = [item if isinstance(item, Volume) else self._image(item) for item in items]
        return [volume for volume in found if volume is not None]

    def _image(self, item: Segmentation | Heatmap) -> Volume | None:
        volume = self.case.items.get(item.volume_id)
        return volume if isinstance(volume, Volume) else None


def why_no_kind(kind: Kind, ground: Ground) -> str:
    """Why a kind cannot be written; empty where it can."""
    missing = {
        "mask": "" if ground.mask else NO_MASK,
        "map": "" if ground.maps else NO_MAP,
        "volume": "" if ground.volume else NO_IMAGE,
    }[kind.needs]
    if missing:
        return missing
    if kind.picture and ground.deidentify and ground.text_shown:
        return TEXT_SHOWN
    if ground.deidentify:
        for volume in ground.pixels(kind):
            if reason := why_text_in_pixels(volume):
                return f"{reason}. {LOOK}"
    if kind.picture:
        return ""
    if kind.id == "lesions_csv":
        return ""
    for volume in ground.under(kind):
        if reason := ground.why_not_written(volume.id):
            return reason
        if kind.straight and not volume.geometry.orthogonal:
            return SHEARED
    return ""


def why_not(choice: ExportChoice, case: Case) -> str:
    """Why this choice cannot be written; empty where it can."""
    if not choice.kinds:
        return "Tick what shall be written"
    checks = (_why_no_folder, _why_no_labels, _why_no_probability, _why_no_bids, _why_no_nnunet)
    return next((reason for check in checks if (reason := check(choice, case))), "")


def _why_no_folder(choice: ExportChoice, _case: Case) -> str:
    if str(choice.folder) in ("", "."):
        return "Choose a folder"
    if not choice.folder.is_dir():
        return "This folder does not exist: choose another one"
    if not os.access(choice.folder, os.W_OK):
        return "Writing is not allowed in this folder: choose another one"
    return ""


def _why_no_labels(choice: ExportChoice, _case: Case) -> str:
    needs = {KIND[kind].needs for kind in choice.kinds}
    return "Tick a label of the mask" if "mask" in needs and choice.labels == () else ""


def _why_no_probability(choice: ExportChoice, case: Case) -> str:
    if "mask_seg" not in choice.kinds or not choice.options.seg_form.startswith("FRACTIONAL"):
        return ""
    mask = case.segmentation(choice.segmentation_id)
    has = isinstance(case.items.get(mask.probability_id), Heatmap)
    return "" if has else "The mask has no probability map: choose another type of DICOM SEG"


def _why_no_bids(choice: ExportChoice, _case: Case) -> str:
    if "bids" not in choice.kinds:
        return ""
    if not re.fullmatch(r"[0-9A-Za-z]{1,32}", choice.options.subject):
        return "The BIDS subject needs letters and digits only, 01 for example"
    if not re.fullmatch(r"[0-9A-Za-z]{0,32}", choice.options.session):
        return "The BIDS session may have letters and digits only"
    return ""


def _why_no_nnunet(choice: ExportChoice, case: Case) -> str:
    if "nnunet" not in choice.kinds:
        return ""
    from imaging.storage.nnunet import known_channels

    options = choice.options
    try:
        known_channels(choice.folder, options.dataset_number, options.dataset_name)
    except ImagingError as error:
        return f"nnU-Net: {error.what}"
    return ""


def channel_volumes(case: Case, mask: Segmentation | None) -> list[Volume]:
    """Images that can be channels of a case with this mask: those on its grid, its own first."""
    if mask is None:
        return []
    fitting = [v for v in case.volumes if v.even and v.geometry.same_grid(mask.geometry)]
    return sorted(fitting, key=lambda volume: volume.id != mask.volume_id)


def code_words(segment: Segment) -> str:
    """The coded meaning of a label: ``"Brain ventricle, Left · SCT 35764002"``."""
    modifier = f", {segment.modifier.meaning}" if segment.modifier else ""
    return f"{segment.type.meaning}{modifier} · {segment.type.scheme} {segment.type.value}"


def is_generic(segment: Segment) -> bool:
    """True where a label goes out as a plain lesion though its name does not say so."""
    from imaging.dicom.codes import code_for

    if segment.type != LESION_TYPE:
        return False
    known = code_for(segment.name)
    return known is None or known.type != LESION_TYPE


def generic_words(segments: list[Segment]) -> str:
    """One sentence about labels that have no fitting code of their own; empty for none."""
    names = [f"“{segment.name or segment.number}”" for segment in segments if is_generic(segment)]
    if not names:
        return ""
    listed = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    goes = (
        "has no code of its own and is" if len(names) == 1 else "have no code of their own and are"
    )
    return f"{listed} {goes} written as plain Lesion (SCT 52988006)."


def training_words(choice: ExportChoice, mask: Segmentation | None) -> str:
    """A caution about what nobody has checked in a training case; else empty."""
    if "nnunet" not in choice.kinds or mask is None or not mask.draft or not mask.segments:
        return ""
    number = mask.segments[0].number
    if not (mask.labels == number).any():
        return ""
    if choice.labels is None or number in choice.labels:
        return "Drafts that nobody has checked go into the training case."
    return "Lesions that nobody has accepted become background in the training case."


def probability_words(choice: ExportChoice, mask: Segmentation | None) -> str:
    """A caution where a map goes out that the ticks of labels do not apply to; else empty."""
    if mask is None or not mask.segments or choice.labels is None:
        return ""
    own = mask.segments[0]
    as_seg = "mask_seg" in choice.kinds and choice.options.seg_form.startswith("FRACTIONAL")
    as_bids = "bids" in choice.kinds and mask.probability_id in choice.heatmap_ids
    if not (as_seg or (as_bids and mask.probability_id)) or set(choice.labels) == {own.number}:
        return ""
    if as_seg:
        return f"A probability is of the model's own label, “{own.name}”; ticks do not change it."
    if own.number in choice.labels:
        return ""
    return f"The probability map of the draft, “{own.name}”, is written too."


def face_words(choice: ExportChoice) -> str:
    """A caution where the images of a de-identified export show faces; else empty."""
    options = choice.options
    images = any(KIND[kind].group == IMAGE or KIND[kind].picture for kind in choice.kinds)
    images = images or "nnunet" in choice.kinds or ("bids" in choice.kinds and options.with_image)
    return FACES if options.deidentify and images else ""


def own_name_words(choice: ExportChoice, own: OwnWords) -> str:
    """A caution where a name that was typed tells who the patient is; else empty."""
    options = choice.options
    typed = {
        "file names": choice.stem,
        "BIDS subject": f"{options.subject} {options.session}" if "bids" in choice.kinds else "",
        "nnU-Net data set": options.dataset_name if "nnunet" in choice.kinds else "",
    }
    found = [what for what, text in typed.items() if own.inside(text)]
    return f"A name or number of the patient stands in the {found[0]}." if found else ""


def same_subject_words(choice: ExportChoice) -> str:
    """A caution where a BIDS subject is in the data set already; empty where it is new."""
    from imaging.storage.bids import dataset_root

    subject = choice.options.subject
    if "bids" not in choice.kinds or not subject or not choice.folder.is_dir():
        return ""
    try:
        known = (dataset_root(choice.folder) / f"sub-{subject}").exists()
    except ImagingError:
        return ""
    return (
        f"Subject {subject} is in this data set already: is it the same patient?" if known else ""
    )


def writes_codes(kinds: tuple[str, ...]) -> bool:
    """Whether any of the kinds holds the codes of labels."""
    return any(KIND[kind].group == MASK or kind in ("report_sr", "bids") for kind in kinds)


def accepted_labels(mask: Segmentation) -> tuple[int, ...]:
    """Numbers of finished labels: all but the proposal label of a draft.

    Those a person has taken over, and those of a mask that was opened as finished work.
    """
    numbers = tuple(segment.number for segment in mask.segments)
    return numbers[1:] if mask.draft else numbers


def preview(choice: ExportChoice, stem: str, mask: Segmentation | None) -> list[str]:
    """What the files will be called: names that nothing in the folder has yet."""
    names: list[str] = []
    for kind in (KIND[id] for id in choice.kinds):
        options = choice.options
        if kind.id == "bids":
            session = f"ses-{options.session}/" if options.session else ""
            names.append(f"isocenter-bids/sub-{options.subject}/{session}anat/…")
        elif kind.id == "nnunet":
            names.append(f"Dataset{options.dataset_number:03d}_{options.dataset_name}/…")
        elif kind.id == "surface":
            names += _surface_names(choice, stem, mask)
        else:
            free = free_stem(stem, partial(_any_there, choice.folder, kind.files))
            names += [f"{free}-{name}" for name in kind.files]
    return names


def _any_there(folder: Path, names: Sequence[str], stem: str) -> bool:
    return any(os.path.lexists(folder / f"{stem}-{name}") for name in names)


def _surface_names(choice: ExportChoice, stem: str, mask: Segmentation | None) -> list[str]:
    from imaging.storage.arrays import distinct_words

    form = choice.options.surface_form
    if form in ("glb", "obj") or mask is None:
        files = ("surface.obj", "surface.mtl") if form == "obj" else (f"surface.{form}",)
        free = free_stem(stem, partial(_any_there, choice.folder, files))
        return [f"{free}-surface.{form}"]
    wanted = [s for s in mask.segments if choice.labels is None or s.number in choice.labels]
    words = distinct_words(mask.segments)
    files = [f"surface-{words[s.number]}.{form}" for s in wanted]
    frees = [free_stem(stem, partial(_any_there, choice.folder, (file,))) for file in files]
    return [f"{free}-{file}" for free, file in zip(frees, files, strict=True)]
