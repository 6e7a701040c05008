"""A case as BIDS derivatives: masks, probability maps and labels in the names other tools look for.

The subject is a pseudonym the user gives, never a name or id from a header. A folder that already
is a derivative data set gets one more case; nothing in it is overwritten: where a name is taken the
files get the next free ``desc-v2``. Source: Brain Imaging Data Structure 1.10, "Derivatives" and
"Imaging derivatives".
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from imaging.atomic import write_atomic
from imaging.dicom.writing.write import RESEARCH_ONLY, SOFTWARE, SOFTWARE_VERSION
from imaging.errors import BadInput, WorldFailed
from imaging.heatmap import PROBABILITY, Heatmap
from imaging.segmentation import AUTOMATIC, LESION_CATEGORY, Provenance, Segment, Segmentation
from imaging.storage import nifti
from imaging.storage.arrays import distinct_words, one_line
from imaging.storage.sidecar import mask_facts, must_be_even, write_json
from imaging.volume import Volume

BIDS_VERSION = "1.10.0"
_DESCRIPTION = "dataset_description.json"
#: Suffix, and entity before it, of an image by what sequence it is.
_SUFFIXES = {
    "T1w": ("", "T1w"),
    "T1w+C": ("ce-gadolinium_", "T1w"),
    "T2w": ("", "T2w"),
    "FLAIR": ("", "FLAIR"),
    "PD": ("", "PDw"),
}
_README = """\
Masks and maps written by Isocenter
===================================

{notice}.

Every file is on the grid of the image it was made on. `*_dseg.tsv` names the labels, the JSON file
beside each mask says what made it, with which weights and threshold, and whether a person has
checked or edited it.
"""


@dataclass(frozen=True)
class BidsReport:
    """What was written, and what BIDS has no place for.

    Parameters
    ----------
    root : Path
        The data set.
    files : tuple of Path
    notes : tuple of str
        Sentences for the user.
    """

    root: Path
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()


def dataset_root(folder: Path) -> Path:
    """The derivative data set that a case goes into.

    The folder itself where it already is one, ``derivatives/isocenter`` inside a raw data set, else
    a new folder ``isocenter-bids``.
    """
    kind = _description(folder).get("DatasetType", "raw") if _is_dataset(folder) else ""
    if kind == "derivative":
        return folder
    return folder / "derivatives" / "isocenter" if kind else folder / "isocenter-bids"


def write_derivatives(
    folder: Path,
    subject: str,
    session: str = "",
    *,
    volume: Volume,
    segmentation: Segmentation | None = None,
    maps: Sequence[Heatmap] = (),
    with_image: bool = False,
    proposal: Segment | None = None,
) -> BidsReport:
    """Write a case into the derivative data set of a folder.

    Parameters
    ----------
    folder : Path
        An existing folder; see :func:`dataset_root`.
    subject, session : str
        Letters and digits; a pseudonym. The session may be empty.
    volume : Volume
        What the mask and maps were made on.
    maps : sequence of Heatmap
        Probability maps become ``_probseg``; BIDS has no place for other maps.
    with_image : bool
        Also a copy of the image.
    proposal : Segment, optional
        The label that the map of the mask is about, which may not be among those written; the
        first of the mask where not given.

    Raises
    ------
    BadInput
        Where the subject or session is no plain word, the folder holds another kind of data set or
        the slices are uneven.
    WorldFailed
        Where the disk refuses or what was read back differs; no file of this case is left.
    """
    must_be_even(volume)
    _check_word(subject, "subject")
    if session:
        _check_word(session, "session")
    root = dataset_root(folder)
    place = root / f"sub-{subject}" / (f"ses-{session}" if session else "") / "anat"
    start = f"sub-{subject}" + (f"_ses-{session}" if session else "")
    with all_or_nothing() as written:
        written.extend(_open_dataset(root, _makers(segmentation, maps)))
        made_folder(place)
        names = _Names(place, start, _free_version(place, start))
        notes: list[str] = []
        source = ""
        if with_image:
            source = _write_image(names, volume, written, notes)
        if segmentation is not None and segmentation.segments:
            _write_mask(names, segmentation, source, written)
        for heat in maps:
            _write_map(names, heat, segmentation, proposal, source, written, notes)
    return BidsReport(root, tuple(written), tuple(notes))


@dataclass(frozen=True)
class _Names:
    """File names of one case in one folder."""

    folder: Path
    start: str
    version: int

    def path(self, middle: str, suffix: str, ending: str) -> Path:
        """``sub-01_space-orig_label-Lesion_mask.nii.gz`` and the like."""
        again = f"desc-v{self.version}_" if self.version > 1 else ""
        return self.folder / f"{self.start}_{middle}{again}{suffix}{ending}"

    def uri(self, path: Path) -> str:
        """The file as a BIDS URI."""
        depth = 3 if "_ses-" in self.start else 2
        return "bids::" + path.relative_to(self.folder.parents[depth - 1]).as_posix()


def _free_version(place: Path, start: str) -> int:
    """The first version of which there is no file yet."""
    taken = {1} if any(place.glob(f"{start}_*")) else set()
    for path in place.glob(f"{start}_*desc-v*"):
        found = re.search(r"_desc-v(\d+)_", path.name)
        taken |= {int(found[1])} if found else set()
    return max(taken, default=0) + 1


def _write_image(names: _Names, volume: Volume, written: list[Path], notes: list[str]) -> str:
    known = _SUFFIXES.get(volume.source.sequence)
    if known is None:
        notes.append("The image was left out: BIDS has no plain name for this kind of sequence")
        return ""
    entity, suffix = known
    path = names.path(f"{entity}space-orig_", suffix, ".nii.gz")
    written.append(nifti.write_scaled(path, volume, volume.geometry))
    body = {"SpatialReference": "orig", "SkullStripped": False, "Description": RESEARCH_ONLY}
    written.append(write_json(nifti.json_path(path), body))
    if volume.repeats is not None:
        notes.append("Only the chosen image of the 4D series was copied")
    return names.uri(path)


def _write_mask(names: _Names, mask: Segmentation, source: str, written: list[Path]) -> None:
    words = distinct_words(mask.segments)
    path = names.path("space-orig_", "dseg", ".nii.gz")
    written.append(nifti.write_array(path, mask.labels, mask.geometry))
    body = _sidecar(source, mask.provenance, mask.segments)
    written.append(write_json(nifti.json_path(path), {**body, "Isocenter": mask_facts(mask)}))
    written.append(_write_tsv(names.path("space-orig_", "dseg", ".tsv"), mask, words))
    for segment in mask.segments:
        middle = f"space-orig_label-{words[segment.number]}_"
        path = names.path(middle, "mask", ".nii.gz")
        inside = (mask.labels == segment.number).astype(np.uint8)
        written.append(nifti.write_array(path, inside, mask.geometry))
        kind = "Lesion" if segment.category == LESION_CATEGORY else "ROI"
        facts = mask_facts(mask, (segment.number,))
        body = _sidecar(source, mask.provenance, (segment,))
        body = {**body, "Type": kind, "Isocenter": facts}
        written.append(write_json(nifti.json_path(path), body))


def _write_map(
    names: _Names,
    heat: Heatmap,
    mask: Segmentation | None,
    proposal: Segment | None,
    source: str,
    written: list[Path],
    notes: list[str],
) -> None:
    if heat.meaning != PROBABILITY:
        notes.append(f"BIDS has no place for a map of this kind ({heat.meaning}); it was left out")
        return
    of_mask = mask is not None and mask.probability_id == heat.id
    about = (proposal or next(iter(mask.segments), None)) if mask and of_mask else None
    word = distinct_words((about,))[about.number] if about else "Finding"
    path = names.path(f"space-orig_label-{word}_", "probseg", ".nii.gz")
    if path in written:
        notes.append("A second probability map of the same label was left out")
        return
    written.append(nifti.write_array(path, heat.values, heat.geometry))
    body = {**_sidecar(source, heat.provenance, ()), "Manual": False}
    if about is not None:
        body["LabelDescription"] = f"{one_line(about.name) or word} probability"
    written.append(write_json(nifti.json_path(path), body))


def _sidecar(source: str, made_by: Provenance, segments: Sequence[Segment]) -> dict[str, Any]:
    by_hand = any(segment.algorithm_type != AUTOMATIC for segment in segments)
    return {
        "Description": f"{made_by.sentence}. {RESEARCH_ONLY}.",
        "SpatialReference": "orig",
        "Manual": by_hand,
        **({"Sources": [source]} if source else {}),
    }


def _write_tsv(path: Path, mask: Segmentation, words: dict[int, str]) -> Path:
    lines = ["index\tname\tabbreviation\tcolor"]
    for segment in mask.segments:
        name = one_line(segment.name) or words[segment.number]
        red, green, blue = segment.colour
        colour = f"#{red:02x}{green:02x}{blue:02x}"
        lines.append(f"{segment.number}\t{name}\t{words[segment.number]}\t{colour}")
    return _write_text(path, "\n".join(lines) + "\n")


def _write_text(path: Path, text: str) -> Path:
    def write(aside: Path) -> None:
        aside.write_text(text, encoding="utf-8", newline="\n")

    def verify(aside: Path) -> None:
        if aside.read_text(encoding="utf-8") != text:
            raise WorldFailed("The file read back differs from what was written", path.name)

    return write_atomic(path, write, verify)


def _makers(mask: Segmentation | None, maps: Sequence[Heatmap]) -> list[dict[str, str]]:
    """The program, then every model that had a part."""
    makers = [{"Name": SOFTWARE, "Version": SOFTWARE_VERSION, "Description": RESEARCH_ONLY}]
    for item in (*((mask,) if mask else ()), *maps):
        made_by = item.provenance
        entry = {"Name": made_by.algorithm, "Version": made_by.version or "unknown"}
        if made_by.digest:
            entry["Description"] = f"Weights SHA-256 {made_by.digest}"
        if made_by.algorithm and entry not in makers:
            makers.append(entry)
    return makers


def _open_dataset(root: Path, makers: list[dict[str, str]]) -> list[Path]:
    """Make the data set where it is new, and name who wrote into it; what was made new."""
    if _is_dataset(root):
        known = _description(root)
        if known.get("DatasetType") != "derivative":
            raise BadInput("This folder holds a data set that is not of derivatives", str(root))
        before = known.get("GeneratedBy") or []
        if new := [maker for maker in makers if maker not in before]:
            write_json(root / _DESCRIPTION, {**known, "GeneratedBy": [*before, *new]}, replace=True)
        return []
    made_folder(root)
    body = {
        "Name": "Masks and maps by Isocenter",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": makers,
    }
    made = [write_json(root / _DESCRIPTION, body)]
    if not (root / "README.md").exists():
        made.append(_write_text(root / "README.md", _README.format(notice=RESEARCH_ONLY)))
    return made


def _is_dataset(folder: Path) -> bool:
    return (folder / _DESCRIPTION).is_file()


def _description(folder: Path) -> dict[str, Any]:
    path = folder / _DESCRIPTION
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput("The description of this data set cannot be read", str(path)) from error
    if not isinstance(body, dict):
        raise BadInput("The description of this data set is not a table", str(path))
    return body


def _check_word(word: str, what: str) -> None:
    if not re.fullmatch(r"[0-9A-Za-z]{1,32}", word):
        raise BadInput(
            f"The BIDS {what} may have letters and digits only", word, "For example 01 or pat7"
        )


def made_folder(folder: Path) -> Path:
    """A folder that is there now; WorldFailed where it cannot be made."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WorldFailed(
            f"The folder cannot be made ({reason})", str(folder), "Choose another folder"
        ) from error
    return folder


@contextmanager
def all_or_nothing() -> Iterator[list[Path]]:
    """Collects files; takes them away again where something goes wrong on the way."""
    written: list[Path] = []
    try:
        yield written
    except BaseException:
        for path in written:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        raise
