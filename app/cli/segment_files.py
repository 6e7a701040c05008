"""The files of a model's answer: mask, maps, table and what the model said, under free names."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.output import Advance
from app.lesion_table import TABLE_HEADER, lesion_row
from imaging.atomic import next_version, write_atomic
from imaging.errors import BadInput, WorldFailed
from imaging.heatmap import Heatmap
from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.analysis.lesions import Lesion
    from inference.postprocess import Proposal

NIFTI, DICOM_SEG = "nifti", "dicom-seg"

_Job = tuple[str, Callable[[], list[Path]]]


@dataclass(frozen=True, eq=False)
class Answered:
    """What there is to write.

    Parameters
    ----------
    uncertainty : bool
        Whether the map of uncertainty is wanted, too.
    """

    proposal: Proposal
    volume: Volume
    lesions: list[Lesion]
    uncertainty: bool = False

    @property
    def maps(self) -> list[tuple[str, Heatmap]]:
        """The maps to write, by the name of their file."""
        made = self.proposal
        named = {
            "probability": made.probability,
            "heatmap": made.grad_cam,
            "uncertainty": made.uncertainty if self.uncertainty else None,
            "deviation": made.deviation,
            "normal": made.picture,
        }
        return [(name, one) for name, one in named.items() if one is not None]


def check_folder(out: Path) -> None:
    """Make the folder where it is missing.

    Raises
    ------
    BadInput, WorldFailed
        Where it is a file, or cannot be written to.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise BadInput("The output must be a folder, but this is a file", str(out)) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WorldFailed(f"The output folder cannot be made ({reason})", str(out)) from error
    if not os.access(out, os.W_OK):
        raise WorldFailed("Writing is not allowed here", str(out), "Choose another folder")


def as_dicom(volume: Volume, out: Path) -> Volume:
    """The volume itself, or where it has no DICOM images to point to, a copy that has."""
    from imaging.dicom.writing.references import imported_as_dicom, referable

    if referable(volume):
        return volume
    return imported_as_dicom(volume, next_version(out / "images"))


def write_answer(
    out: Path, formats: tuple[str, ...], answered: Answered, advance: Advance
) -> dict[str, list[str]]:
    """Write everything under free names; nothing is overwritten."""
    jobs = [
        *_tables(out, answered),
        *(_nifti(out, answered) if NIFTI in formats else ()),
        *(_dicom(out, answered) if DICOM_SEG in formats else ()),
    ]
    files: dict[str, list[str]] = {}
    for n, (name, write) in enumerate(jobs):
        advance(n / len(jobs), name)
        files[name] = [str(file) for file in write()]
    return files


def _tables(out: Path, answered: Answered) -> list[_Job]:
    from imaging.storage.table import write_table

    mask, facts = answered.proposal.segmentation, answered.proposal.facts
    jobs: list[_Job] = []
    if mask is not None and not mask.anatomical:
        rows = [lesion_row(mask, lesion, accepted=False) for lesion in answered.lesions]
        jobs.append(("lesions", lambda: write_table(_free(out, "lesions.csv"), TABLE_HEADER, rows)))
    if facts:
        jobs.append(("facts", lambda: [write_json(out / "facts.json", facts)]))
    return jobs


def _nifti(out: Path, answered: Answered) -> list[_Job]:
    from imaging.storage import nifti

    mask = answered.proposal.segmentation
    jobs: list[_Job] = []
    if mask is not None:
        jobs.append(("mask", lambda: nifti.write_labels(_free(out, "mask.nii.gz"), mask)))
    jobs += [
        (name, lambda n=name, m=one: nifti.write_heatmap(_free(out, f"{n}.nii.gz"), m))
        for name, one in answered.maps
    ]
    return jobs


def _dicom(out: Path, answered: Answered) -> list[_Job]:
    from imaging.dicom.writing.parametric_map import write_parametric_map
    from imaging.dicom.writing.seg import write_seg

    mask, volume = answered.proposal.segmentation, answered.volume
    jobs: list[_Job] = []

    def seg() -> list[Path]:
        assert mask is not None
        report = write_seg(_free(out, "segmentation.dcm"), mask, volume)
        return [report.path, *report.images]

    if mask is not None:
        jobs.append(("dicom_seg", seg))
    jobs += [
        (
            f"dicom_{name}",
            lambda n=name, m=one: write_parametric_map(_free(out, f"{n}.dcm"), m, volume),
        )
        for name, one in answered.maps
    ]
    return jobs


def _free(out: Path, name: str) -> Path:
    return next_version(out / name)


def write_json(path: Path, values: Mapping[str, Any]) -> Path:
    """Write values under a free name near this one, and read them back.

    Raises
    ------
    WorldFailed
        Where the disk refuses, or what is read back differs.
    """
    text = json.dumps(dict(values), indent=2, ensure_ascii=False) + "\n"
    target = next_version(path)

    def write(aside: Path) -> None:
        aside.write_text(text, encoding="utf-8")

    def verify(aside: Path) -> None:
        if aside.read_text(encoding="utf-8") != text:
            raise WorldFailed("The file read back differs from what was written", str(target))

    return write_atomic(target, write, verify)
