"""Which files make which case: a CSV list, or a folder as programs write them.

A CSV has a header line. Columns: ``image`` and ``mask`` (paths, from the folder of the list where
they are not absolute), and if wanted ``t1``, ``t2``, ``patient``, ``subgroup``, ``case``,
``answer`` (1 or 0, for yes-or-no models) and ``fold`` (a word; cases of one word are left out
together). Folders: an nnU-Net data set (``imagesTr``/``labelsTr``), BIDS derivatives as Isocenter
writes them, pairs ``x.nii.gz`` and ``x_mask.nii.gz``, or DICOM images with their segmentations.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from imaging.errors import BadInput

__all__ = ["OPTIONAL", "CaseFiles", "read_cases"]

#: Column of a further image -> the card's name for it.
OPTIONAL = {"t1": "T1w", "t2": "T2w"}
_ALIASES = {
    "flair": "image", "segmentation": "mask", "t1w": "t1", "t2w": "t2", "subject": "patient",
    "group": "subgroup", "site": "subgroup", "name": "case", "present": "answer",
}  # fmt: skip
_KNOWN = ("image", "mask", "t1", "t2", "patient", "subgroup", "case", "answer", "fold")
_IMAGES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd")


@dataclass(frozen=True)
class CaseFiles:
    """One case.

    Parameters
    ----------
    name : str
        Stem of its image or what the list calls it.
    image : Path
        File or folder of the main image.
    mask : Path or None
    others : dict of str to Path
        Further images by :data:`OPTIONAL` names.
    patient : str
        Cases of one patient are never on both sides of a fold.
    answer : bool or None
        For yes-or-no models; None: whether the mask holds anything.
    """

    name: str
    image: Path
    mask: Path | None
    others: dict[str, Path] = field(default_factory=dict)
    patient: str = ""
    subgroup: str = ""
    answer: bool | None = None
    fold: str = ""


def read_cases(path: Path) -> list[CaseFiles]:
    """All cases of a list or folder.

    Raises
    ------
    BadInput
        Where it cannot be read, lacks a column or holds no case.
    """
    if path.is_dir():
        found = _folder(path)
    elif path.is_file():
        found = _table(path)
    else:
        raise BadInput("There is no such list or folder of cases", str(path))
    if not found:
        raise BadInput(
            "There are no cases here", str(path),
            "Give a CSV with the columns image and mask, or a folder of images and masks",
        )  # fmt: skip
    return _distinct(found)


def _distinct(cases: list[CaseFiles]) -> list[CaseFiles]:
    """Names that are unique, and a patient for each: its own name where none is given."""
    seen: dict[str, int] = {}
    result = []
    for case in cases:
        seen[case.name] = seen.get(case.name, 0) + 1
        again = f" ({seen[case.name]})" if seen[case.name] > 1 else ""
        name = f"{case.name}{again}"
        result.append(
            CaseFiles(
                name, case.image, case.mask, case.others, case.patient or name,
                case.subgroup, case.answer, case.fold,
            )
        )  # fmt: skip
    return result


def _stem(path: Path) -> str:
    name = path.name
    for ending in _IMAGES:
        name = name.removesuffix(ending)
    return name


# --- a list -----------------------------------------------------------------------------------


def _table(path: Path) -> list[CaseFiles]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput("The list of cases cannot be read as text", str(path)) from error
    first = text.splitlines()[0] if text.strip() else ""
    delimiter = max((",", ";", "\t"), key=first.count)
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter)
    names = {str(key): _column(str(key)) for key in reader.fieldnames or ()}
    _check_columns(set(names.values()), path)
    rows = list(reader)
    return [
        _row({names[str(k)]: (v or "").strip() for k, v in row.items() if k is not None}, path, n)
        for n, row in enumerate(rows, 2)
        if any((v or "").strip() for v in row.values() if isinstance(v, str))
    ]


def _check_columns(columns: set[str], path: Path) -> None:
    """Refuse a list that lacks what is needed, or misspells what it means; others are free."""
    if "image" not in columns:
        raise BadInput(
            "The list of cases needs a header line with a column called image", str(path)
        )
    for column in sorted(columns - set(_KNOWN)):
        for known in get_close_matches(column, sorted(set(_KNOWN) - columns), 1, 0.8):
            raise BadInput(
                f"The list of cases has a column '{column}', which looks like '{known}'", str(path),
                "Name it so, or something less alike",
            )  # fmt: skip
    if not columns & {"mask", "answer"}:
        raise BadInput("The list of cases needs a column called mask, or answer", str(path))


def _column(title: str) -> str:
    word = title.strip().lower()
    return _ALIASES.get(word, word)


def _row(row: dict[str, str], path: Path, line: int) -> CaseFiles:
    def file(column: str) -> Path | None:
        return path.parent / row[column] if row.get(column) else None

    image = file("image")
    if image is None:
        raise BadInput(f"Line {line} of the list names no image", path.name)
    others = {OPTIONAL[c]: p for c in OPTIONAL if (p := file(c)) is not None}
    return CaseFiles(
        name=row.get("case") or _stem(image),
        image=image,
        mask=file("mask"),
        others=others,
        patient=row.get("patient", ""),
        subgroup=row.get("subgroup", ""),
        answer=_answer(row.get("answer", ""), path, line),
        fold=row.get("fold", ""),
    )


def _answer(word: str, path: Path, line: int) -> bool | None:
    if not word:
        return None
    if word.lower() in ("1", "yes", "true"):
        return True
    if word.lower() in ("0", "no", "false"):
        return False
    raise BadInput(f"The answer in line {line} must be 1 or 0, not '{word}'", path.name)


# --- a folder ---------------------------------------------------------------------------------


def _folder(root: Path) -> list[CaseFiles]:
    for reader in (_nnunet, _bids, _pairs, _dicom):
        if found := reader(root):
            return found
    return []


def _nnunet(root: Path) -> list[CaseFiles]:
    """``DatasetNNN_Name`` or a folder that holds one."""
    roots = [root] if (root / "labelsTr").is_dir() else sorted(root.glob("Dataset*_*"))
    found = []
    for folder in roots:
        channels = _channels(folder)
        for mask in _sorted(folder / "labelsTr"):
            stem, ending = _stem(mask), mask.name.removeprefix(_stem(mask))
            files = {
                name: folder / "imagesTr" / f"{stem}_{n:04d}{ending}"
                for n, name in enumerate(channels)
            }
            image = next(iter(files.values()))
            others = {k: v for k, v in list(files.items())[1:] if k in OPTIONAL.values()}
            found.append(CaseFiles(stem, image, mask, others))
    return found


def _channels(folder: Path) -> list[str]:
    """Names of the channels, FLAIR first where there is one; T1 and T2 under our names."""
    try:
        body = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        table = body["channel_names"]
        names = [str(table[key]) for key in sorted(table, key=int)]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ["image"]
    plain = {"t1": "T1w", "t1w": "T1w", "t2": "T2w", "t2w": "T2w"}
    return [plain.get(name.lower(), name) if n else name for n, name in enumerate(names)]


def _bids(root: Path) -> list[CaseFiles]:
    found = []
    for mask in sorted(root.glob("**/sub-*/**/anat/*_dseg.nii.gz")):
        start = mask.name.partition("_space-orig")[0].partition("_desc-")[0].partition("_dseg")[0]
        images = {
            word: next(iter(sorted(mask.parent.glob(f"{start}*_{word}.nii.gz"))), None)
            for word in ("FLAIR", "T2w", "T1w", "PDw")
        }
        there = {word: path for word, path in images.items() if path is not None}
        if not there:
            raise BadInput(
                "A mask lies here without its image", mask.name,
                "Export the case again together with a copy of the image",
            )  # fmt: skip
        main, *rest = there
        others = {word: there[word] for word in rest if word in OPTIONAL.values()}
        found.append(CaseFiles(start, there[main], mask, others, start.partition("_")[0]))
    return found


def _pairs(root: Path) -> list[CaseFiles]:
    """``x.nii.gz`` beside ``x_mask.nii.gz``, or a folder for each case with image and mask."""
    found = []
    for image in _sorted(root, deep=True):
        stem = _stem(image)
        for word in ("mask", "seg", "label", "lesions"):
            for joint in ("_", "-", "."):
                mask = next(
                    (
                        p
                        for e in _IMAGES
                        if (p := image.parent / f"{stem}{joint}{word}{e}").exists()
                    ),
                    None,
                )
                if mask is not None:
                    found.append(CaseFiles(stem, image, mask))
    if found:
        return found
    for mask in (p for e in _IMAGES for p in sorted(root.glob(f"*/mask{e}"))):
        image = next((p for e in _IMAGES if (p := mask.parent / f"image{e}").exists()), None)
        if image is not None:
            found.append(CaseFiles(mask.parent.name, image, mask))
    return found


def _dicom(root: Path) -> list[CaseFiles]:
    """A folder for each case that holds DICOM images and one segmentation object."""
    from imaging.open import scan
    from imaging.series import SEGMENTATION

    found = []
    folders = [root, *sorted(p for p in root.iterdir() if p.is_dir())]
    for folder in folders[1:] if len(folders) > 1 else folders:
        with scan([folder]) as result:
            if any(one.kind == SEGMENTATION for one in result.objects) and result.series:
                found.append(CaseFiles(folder.name, folder, folder))
    return found


def _sorted(folder: Path, deep: bool = False) -> Iterable[Path]:
    pattern = folder.rglob("*") if deep else folder.glob("*")
    return sorted(p for p in pattern if p.name.lower().endswith(_IMAGES) and p.is_file())
