"""Cases for training with nnU-Net: a raw data set that grows by one case at a time.

``DatasetNNN_Name`` holds ``imagesTr/case_0000.nii.gz`` (one file per channel),
``labelsTr/case.nii.gz`` and ``dataset.json``. All files of a case have the very same grid; labels
run from 0 without gaps; a case is never overwritten. Source: nnU-Net v2,
"documentation/dataset_format.md".
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from imaging.dicom.writing.write import RESEARCH_ONLY
from imaging.errors import BadInput
from imaging.segmentation import Segmentation
from imaging.storage import nifti
from imaging.storage.arrays import one_line
from imaging.storage.bids import all_or_nothing, made_folder
from imaging.storage.sidecar import mask_facts, must_be_even, write_json
from imaging.volume import Volume

_ENDING = ".nii.gz"
_BACKGROUND = "background"
#: Two exports at once must not take the same number.
_one_at_a_time = Lock()


@dataclass(frozen=True)
class NnunetReport:
    """What was written.

    Parameters
    ----------
    root : Path
        The data set folder.
    case : str
        Name of the new case.
    cases : int
        How many cases the data set has now.
    labels : dict of str to int
        All labels of the data set.
    """

    root: Path
    case: str
    cases: int
    labels: dict[str, int]
    files: tuple[Path, ...]


def dataset_folder(folder: Path, number: int, name: str) -> Path:
    """Where a data set lies: the folder itself where it is that data set, else inside it.

    Raises
    ------
    BadInput
        Where number or name are impossible, or another data set has the number already.
    """
    if not 1 <= number <= 999:
        raise BadInput(f"The number of an nnU-Net data set must be 1 to 999, not {number}")
    if not re.fullmatch(r"[A-Za-z0-9_\-]{1,40}", name):
        raise BadInput(
            "The name of an nnU-Net data set may have letters, digits, - and _ only", name
        )
    wanted = f"Dataset{number:03d}_{name}"
    if folder.name == wanted:
        return folder
    for other in folder.glob(f"Dataset{number:03d}_*"):
        if other.name != wanted:
            raise BadInput(
                f"Data set {number} has another name here", other.name, "Choose another number"
            )
    return folder / wanted


def known_channels(folder: Path, number: int, name: str) -> list[str]:
    """Names of the channels of a data set, in order; empty where there is none yet.

    Raises
    ------
    BadInput
        As :func:`dataset_folder`, or where the data set cannot be read.
    """
    return _channel_names(_read(dataset_folder(Path(folder), number, name)))


def add_case(
    folder: Path,
    number: int,
    name: str,
    channels: Sequence[tuple[str, Volume]],
    segmentation: Segmentation,
    *,
    case: str = "",
    image: str = "",
) -> NnunetReport:
    """Add a case to a raw data set, making the data set where it is new.

    Parameters
    ----------
    folder : Path
        An existing folder (``nnUNet_raw``), or the data set itself.
    channels : sequence of (str, Volume)
        Name and image of each channel, in the order of the model's inputs.
    case : str
        Name of the case; the next free ``case_001`` where empty.
    image : str
        A keyed hash that stands for the image and is kept beside the case: the same image with
        other labels would teach a model two things at once. Not asked for where empty.

    Raises
    ------
    BadInput
        Where a case of this image is in the data set already.
        Where the images are not on one grid, channels differ from those of the data set, the case
        is there already, or number, name or labels are impossible.
    WorldFailed
        Where the disk refuses or what was read back differs; no file of this case is left.
    """
    _check_channels(channels, segmentation)
    root = dataset_folder(Path(folder), number, name)
    with _one_at_a_time, all_or_nothing() as written:
        known = _read(root)
        _check_same_channels(known, [title for title, _volume in channels], root)
        if image and (there := _case_of(image, root)):
            raise BadInput(
                f"This image is in the data set already, as {there}", root.name,
                "Take that case out first, or choose another data set",
            )  # fmt: skip
        labels = _labels(known, segmentation, root)
        images, masks = made_folder(root / "imagesTr"), made_folder(root / "labelsTr")
        case = _free_case(case, images, masks)
        for place, (_title, volume) in enumerate(channels):
            path = images / f"{case}_{place:04d}{_ENDING}"
            written.append(nifti.write_scaled(path, volume, segmentation.geometry))
        path = masks / f"{case}{_ENDING}"
        numbers = _renumbered(segmentation, labels)
        written.append(nifti.write_array(path, numbers, segmentation.geometry))
        facts = {**mask_facts(segmentation), "numbers_in_file": labels}
        if image:
            facts["image"] = image
        written.append(write_json(made_folder(root / "provenance") / f"{case}.json", facts))
        count = len(list(masks.glob(f"*{_ENDING}")))
        body = {
            **known,
            "channel_names": {str(n): title for n, (title, _v) in enumerate(channels)},
            "labels": labels,
            "numTraining": count,
            "file_ending": _ENDING,
            "description": known.get("description", f"Written by Isocenter. {RESEARCH_ONLY}."),
        }
        write_json(root / "dataset.json", body, replace=True)
    files = (*written, root / "dataset.json")
    return NnunetReport(root, case, count, labels, files)


def _case_of(image: str, root: Path) -> str:
    """The case that was made of an image; empty for none."""
    for path in sorted((root / "provenance").glob("*.json")):
        try:
            facts = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # not written by us, or gone: it says nothing
        if isinstance(facts, dict) and facts.get("image") == image:
            return path.stem
    return ""


def _check_channels(channels: Sequence[tuple[str, Volume]], mask: Segmentation) -> None:
    if not channels:
        raise BadInput("An nnU-Net case needs at least one image", advice="Choose its channels")
    titles = [title for title, _volume in channels]
    if not all(title.strip() for title in titles) or len(set(titles)) < len(titles):
        raise BadInput("Every channel needs a name of its own", ", ".join(titles))
    for title, volume in channels:
        must_be_even(volume)
        if not volume.geometry.same_grid(mask.geometry):
            raise BadInput(
                "The images of an nnU-Net case must lie on the grid of the mask; this one does not",
                title,
                "Leave it out, or bring it onto that grid first",
            )
    if not mask.segments:
        raise BadInput("The mask has no labels to write", mask.name, "Add a label first")


def _check_same_channels(known: dict[str, Any], titles: list[str], root: Path) -> None:
    if not known:
        return
    have = _channel_names(known)
    if have != titles:
        raise BadInput(
            f"The data set has the channels {', '.join(have) or 'unknown'}, "
            f"not {', '.join(titles)}",
            root.name,
            "Choose the same channels in the same order, or another data set",
        )


def _channel_names(known: dict[str, Any]) -> list[str]:
    table = known.get("channel_names")
    if not isinstance(table, dict) or not all(str(key).isdigit() for key in table):
        return []
    return [str(table[key]) for key in sorted(table, key=int)]


def _labels(known: dict[str, Any], mask: Segmentation, root: Path) -> dict[str, int]:
    """The labels of the data set, with those of the mask that are new at the end."""
    labels = dict(known.get("labels") or {_BACKGROUND: 0})
    numbers = list(labels.values())
    if sorted(numbers, key=str) != sorted(range(len(labels)), key=str) or _BACKGROUND not in labels:
        raise BadInput(
            "The labels of this data set are not numbered from 0 without gaps", root.name,
            "Choose another data set",
        )  # fmt: skip
    for segment in sorted(mask.segments, key=lambda s: s.number):
        title = one_line(segment.name) or f"Label {segment.number}"
        if title == _BACKGROUND:
            raise BadInput("A label must not be called background", mask.name, "Rename it")
        labels.setdefault(title, len(labels))
    names = [one_line(s.name) or f"Label {s.number}" for s in mask.segments]
    if len(set(names)) < len(names):
        raise BadInput("Two labels have the same name", mask.name, "Rename one of them")
    return labels


def _renumbered(mask: Segmentation, labels: dict[str, int]) -> np.ndarray:
    table = np.zeros(256, np.uint8)
    for segment in mask.segments:
        table[segment.number] = labels[one_line(segment.name) or f"Label {segment.number}"]
    nameless = np.flatnonzero(np.bincount(mask.labels.ravel(), minlength=256))
    known = {0, *(s.number for s in mask.segments)}
    if stray := [int(n) for n in nameless if int(n) not in known]:
        raise BadInput(f"Voxels are marked with label {stray[0]}, which has no name", mask.name)
    return table[mask.labels]


def _free_case(case: str, images: Path, masks: Path) -> str:
    def taken(name: str) -> bool:
        return (masks / f"{name}{_ENDING}").exists() or any(images.glob(f"{name}_????{_ENDING}"))

    if case:
        if not re.fullmatch(r"[A-Za-z0-9_\-]{1,60}", case):
            raise BadInput("The name of a case may have letters, digits, - and _ only", case)
        if taken(case):
            raise BadInput("The data set has a case of this name already", case)
        return case
    number = 1
    while taken(f"case_{number:03d}"):
        number += 1
    return f"case_{number:03d}"


def _read(root: Path) -> dict[str, Any]:
    path = root / "dataset.json"
    if not path.exists():
        return {}
    try:
        body = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput("The description of this data set cannot be read", str(path)) from error
    if not isinstance(body, dict) or body.get("file_ending", _ENDING) != _ENDING:
        raise BadInput("This data set does not hold .nii.gz files", str(path))
    return body
