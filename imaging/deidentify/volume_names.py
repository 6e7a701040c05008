"""Names of the clean copies of volumes: what an image is stays, whose it is goes.

Of a file name only the words of a list stay (``t1ce``, ``FLAIR``, ``mask``); the rest becomes a
keyed token, the same one for files that are called alike, so an image, its mask and its sidecar
still stand together.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from imaging.deidentify.key import Key
from imaging.deidentify.volume_files import ENDINGS, LABELS, TABLE

if TYPE_CHECKING:
    from imaging.deidentify.survey import Item, Survey

#: Words of a file name that say what an image is, and no more (BIDS suffixes, BraTS, MICCAI).
_ROLES = frozenset(
    ("t1w", "t2w", "flair", "pdw", "t2star", "t2starw", "dwi", "bold", "asl", "swi", "epi", "mask",
     "dseg", "probseg", "t1map", "t2map", "r1map", "r2map", "angio", "sbref", "magnitude",
     "magnitude1", "magnitude2", "phase", "phase1", "phase2", "phasediff", "fieldmap", "t1", "t1ce",
     "t1c", "t1n", "t1gd", "t2", "t2f", "adc", "pd", "trace", "fa", "md", "cbf", "cbv", "mtt",
     "tmax", "ttp", "dce", "dsc", "perf", "mra", "mrv", "tof", "mprage", "mp2rage", "unit1", "inv",
     "inv1", "inv2", "uni", "gold", "consensus", "seg", "segmentation", "label", "labels", "lesion",
     "lesions", "tumor", "tumour", "brain", "brainmask", "prob", "probability", "pred",
     "prediction",
     "heatmap", "wmh", "pre", "post", "orig", "3dt1", "defaced")
)  # fmt: skip
_BETWEEN = re.compile(r"[\s_.,()-]+")


def volume_targets(survey: Survey, key: Key) -> dict[int, Path]:
    """Number of each volume, label file and sidecar to the relative path of its clean copy.

    Files have no patient in them, so they are grouped by the folder in which they lie: by the
    patient of the DICOM files in the same folder, where that is one, else by the folder at the top.
    """
    patients, named = _patients(survey), {}
    taken: set[Path] = set()
    for item in survey.items:
        if item.kind == "dicom":
            continue
        where = PurePosixPath(item.shown.replace("\\", "/"))
        folder = Path(_pseudonym(where.parent, patients, key))
        inside = "/".join(where.parts[1:-1])
        folder = folder / (f"volumes-{key.token('folder', inside, 6)}" if inside else "volumes")
        stem, ending = where.name.split(".")[0], _ending(item, where.name)
        path, number = folder / f"{_clean_stem(stem, key)}{ending}", 2
        while path in taken:
            path = folder / f"{_clean_stem(stem, key)}_{number}{ending}"
            number += 1
        taken.add(path)
        named[item.number] = path
    return named


def _clean_stem(stem: str, key: Key) -> str:
    """A token for what a file is called, and the words that say what it is."""
    words = [word for word in _BETWEEN.split(stem) if word]
    rest = " ".join(word.casefold() for word in words if word.casefold() not in _ROLES)
    roles = [word for word in words if word.casefold() in _ROLES]
    return "_".join([key.token("volume", rest, 8), *roles])


def _ending(item: Item, name: str) -> str:
    ending = ENDINGS.get(item.kind, os.path.splitext(name)[1].lower())
    if name.lower().endswith((".label.txt", ".seg.nrrd")):
        return "." + ".".join(name.lower().split(".")[-2:])
    if item.kind in (TABLE, LABELS) and ending not in (".bval", ".bvec", ".tsv"):
        return ".txt"
    return ending


def _patients(survey: Survey) -> dict[PurePosixPath, set[str]]:
    """Whose DICOM files lie in each folder or below it; at the top only those that lie there."""
    found: dict[PurePosixPath, set[str]] = {}
    for item in survey.items:
        if item.kind == "dicom":
            parents = PurePosixPath(item.shown.replace("\\", "/")).parents
            for parent in parents if len(parents) == 1 else parents[:-1]:
                found.setdefault(parent, set()).add(item.patient)
    return found


def _pseudonym(folder: PurePosixPath, patients: dict[PurePosixPath, set[str]], key: Key) -> str:
    for parent in (folder, *folder.parents):
        if found := patients.get(parent):
            if len(found) == 1:
                return safe_name(key.pseudonym(next(iter(found))))
            break
    top = folder.parts[0] if folder.parts else ""
    return "ANON-" + key.token("folder", top)


def safe_name(name: str) -> str:
    """A pseudonym as the name of a folder, whatever its maker typed."""
    return re.sub(r"[^A-Za-z0-9._-]", "_", name).strip(".") or "ANON"
