"""``isocenter segment``: a model's finding as files, with what made them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.convert import loaded
from app.cli.one_image import one_image
from app.cli.output import Advance, Output
from app.cli.scan import chosen_series, found
from app.lesion_table import TABLE_HEADER, lesion_row
from app.messages import counted
from imaging.atomic import next_version, write_atomic
from imaging.errors import BadInput, WorldFailed
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.analysis.lesions import Lesion
    from inference.messages import SegmentAnswer
    from inference.postprocess import Proposal
    from inference.registry import InstalledModel

NIFTI, DICOM_SEG = "nifti", "dicom-seg"
#: So many lesions are named one by one in the text output; the table file has all.
LISTED_LESIONS = 20
RESEARCH_ONLY = "Research use - not for diagnosis. A draft by a model; a person has to review it."


@dataclass(frozen=True)
class Wish:
    """What the user asked for.

    Parameters
    ----------
    formats : tuple of str
        ``"nifti"`` and ``"dicom-seg"``; the latter also writes maps as DICOM Parametric Maps.
    threshold : float or None
        Instead of the one on the model's card.
    image : int
        Of a 4D series, from 1; 0 for the only one.
    even : bool
        Interpolate even slices where they lie at uneven distances.
    """

    model: str
    series: str = ""
    formats: tuple[str, ...] = (NIFTI,)
    device: str = "auto"
    explain: bool = False
    threshold: float | None = None
    image: int = 0
    even: bool = False

    def check(self) -> None:
        """Raise BadInput where a word or number is impossible."""
        unknown = [word for word in self.formats if word not in (NIFTI, DICOM_SEG)]
        if unknown:
            raise BadInput(f"The format must be nifti or dicom-seg, not '{unknown[0]}'")
        if self.device not in ("auto", "cuda", "cpu"):
            raise BadInput(f"The device must be auto, cuda or cpu, not '{self.device}'")
        if self.threshold is not None and not 0 < self.threshold < 1:
            raise BadInput(f"The threshold must lie between 0 and 1, not {self.threshold:g}")


def segment(path: Path, out: Path, wish: Wish, output: Output) -> None:
    """Open, run, measure, write and read back.

    Raises
    ------
    BadInput
        Where a wish cannot be met or the series is not fit for a model.
    WorldFailed
        Where the worker or the disk failed.
    """
    from inference.registry import find_model, suitable

    wish.check()
    model = find_model(wish.model)
    with found(path, output) as result:
        series = chosen_series(result, wish.series, path)
        if not series.volumetric and not (wish.even and series.geometry is not None):
            reason = " ".join(series.problems) or "It has too few slices or no known position."
            if not series.regular and series.geometry is not None:
                reason += " Add --even to have slices at even distances interpolated"
            raise BadInput(
                "This series is not a volume a model can use", series.description, reason
            )
        _check_folder(out)
        volume = one_image(loaded(series, output), wish.image, wish.even, output)
        fits, doubt = suitable(model.card, volume)
        answer = _asked(volume, model, wish, output)
        proposal = _cut(answer, volume, model, wish.threshold)
        lesions = _measured(proposal, volume)
        notes = [*([] if fits else [doubt]), *volume.notes, *answer.notes]
        with output.progress("Writing and reading back") as advance:
            if DICOM_SEG in wish.formats:
                volume = _as_dicom(volume, out)
            files = _write(out, wish, proposal, volume, lesions, advance)
        report = _report(model, volume, proposal, lesions, files, notes)
        report["files"]["report"] = [str(_write_report(out, report))]
    _present(report, lesions, proposal.segmentation, output)


def _check_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise BadInput("The output must be a folder, but this is a file", str(out)) from None
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WorldFailed(f"The output folder cannot be made ({reason})", str(out)) from error
    if not os.access(out, os.W_OK):
        raise WorldFailed("Writing is not allowed here", str(out), "Choose another folder")


def _asked(volume: Volume, model: InstalledModel, wish: Wish, output: Output) -> SegmentAnswer:
    from inference.client import WorkerClient
    from inference.messages import Failed, SegmentAnswer

    with WorkerClient() as client, output.progress(model.card.name) as advance:
        run = client.segment(
            volume,
            model,
            device=wish.device,
            explain=wish.explain,
            on_progress=lambda p: advance(p.fraction, p.stage),
        )
        try:
            while (outcome := run.wait(0.2)) is None:
                continue
        except KeyboardInterrupt:
            run.cancel()
            run.wait(2.0)
            raise
    if isinstance(outcome, SegmentAnswer):
        return outcome
    if isinstance(outcome, Failed):
        raise WorldFailed(outcome.what, advice=outcome.advice)
    raise WorldFailed("The run was cancelled")


def _cut(
    answer: SegmentAnswer, volume: Volume, model: InstalledModel, threshold: float | None
) -> Proposal:
    """The draft, at another threshold where one was asked for; the rule of the window's slider."""
    from imaging.case import Case
    from imaging.edits.operations import set_threshold
    from inference.postprocess import as_items

    proposal = as_items(answer, volume, model.card)
    if threshold is not None:
        mask = proposal.segmentation
        case = Case({mask.id: mask, proposal.probability.id: proposal.probability})
        set_threshold(mask, proposal.probability, threshold).apply(case)
    return proposal


def _measured(proposal: Proposal, volume: Volume) -> list[Lesion]:
    from imaging.analysis.lesions import find_lesions
    from imaging.analysis.place import find_head

    return find_lesions(proposal.segmentation, proposal.probability, find_head(volume))


def _as_dicom(volume: Volume, out: Path) -> Volume:
    """The volume itself, or where it has no DICOM images to point to, a copy that has."""
    from imaging.dicom.writing.references import imported_as_dicom, referable

    if referable(volume):
        return volume
    return imported_as_dicom(volume, next_version(out / "images"))


def _write(
    out: Path,
    wish: Wish,
    proposal: Proposal,
    volume: Volume,
    lesions: list[Lesion],
    advance: Advance,
) -> dict[str, list[str]]:
    """Write everything under free names; nothing is overwritten."""
    jobs = _jobs(out, wish, proposal, volume, lesions)
    files: dict[str, list[str]] = {}
    for n, (name, write) in enumerate(jobs):
        advance(n / len(jobs), name)
        files[name] = [str(file) for file in write()]
    return files


def _jobs(
    out: Path, wish: Wish, proposal: Proposal, volume: Volume, lesions: list[Lesion]
) -> list[tuple[str, Callable[[], list[Path]]]]:
    from imaging.dicom.writing.parametric_map import write_parametric_map
    from imaging.dicom.writing.seg import write_seg
    from imaging.storage import nifti
    from imaging.storage.table import write_table

    mask, maps = proposal.segmentation, _maps(proposal)
    rows = [lesion_row(mask, lesion, accepted=False) for lesion in lesions]

    def free(name: str) -> Path:
        return next_version(out / name)

    def seg() -> list[Path]:
        report = write_seg(free("segmentation.dcm"), mask, volume)
        return [report.path, *report.images]

    jobs: list[tuple[str, Callable[[], list[Path]]]] = [
        ("lesions", lambda: write_table(free("lesions.csv"), TABLE_HEADER, rows))
    ]
    if NIFTI in wish.formats:
        jobs.append(("mask", lambda: nifti.write_labels(free("mask.nii.gz"), mask)))
        jobs += [
            (name, lambda n=name, m=heat: nifti.write_heatmap(free(f"{n}.nii.gz"), m))
            for name, heat in maps
        ]
    if DICOM_SEG in wish.formats:
        jobs.append(("dicom_seg", seg))
        jobs += [
            (
                f"dicom_{name}",
                lambda n=name, m=heat: write_parametric_map(free(f"{n}.dcm"), m, volume),
            )
            for name, heat in maps
        ]
    return jobs


def _maps(proposal: Proposal) -> list[tuple[str, Heatmap]]:
    maps = [("probability", proposal.probability)]
    if proposal.grad_cam is not None:
        maps.append(("heatmap", proposal.grad_cam))
    return maps


def _report(
    model: InstalledModel,
    volume: Volume,
    proposal: Proposal,
    lesions: list[Lesion],
    files: dict[str, list[str]],
    notes: list[str],
) -> dict[str, Any]:
    mask = proposal.segmentation
    return {
        "notice": RESEARCH_ONLY,
        "model": {"id": model.card.id, **asdict(mask.provenance)},
        "intended_use": model.card.intended_use,
        "not_for": model.card.not_for,
        "study_uid": volume.source.study_uid,
        "series_uid": volume.source.series_uid,
        "series": volume.source.series_description or volume.name,
        "threshold": mask.threshold,
        "lesions": len(lesions),
        "volume_ml": round(sum(lesion.volume_ml for lesion in lesions), 4),
        "notes": notes,
        "files": files,
    }


def _write_report(out: Path, report: dict[str, Any]) -> Path:
    text = json.dumps(report, indent=2, ensure_ascii=False)
    target = next_version(out / "report.json")

    def write(aside: Path) -> None:
        aside.write_text(text + "\n", encoding="utf-8")

    def verify(aside: Path) -> None:
        if aside.read_text(encoding="utf-8") != text + "\n":
            raise WorldFailed("The report read back differs from what was written", str(target))

    return write_atomic(target, write, verify)


def _present(
    report: dict[str, Any], lesions: list[Lesion], mask: Segmentation, output: Output
) -> None:
    output.say(mask.provenance.sentence)
    for note in report["notes"]:
        output.warn(note)
    found_words = f"{counted(report['lesions'], 'lesion')}, {report['volume_ml']:.2f} ml"
    output.say(f"{found_words} above a probability of {report['threshold']:g}")
    output.table(
        ("#", "ml", "longest mm", "mean p", "place"),
        [
            (
                lesion.number,
                f"{lesion.volume_ml:.3f}",
                f"{lesion.longest_diameter_mm:.1f}",
                "" if lesion.mean_probability is None else f"{lesion.mean_probability:.2f}",
                lesion.place,
            )
            for lesion in lesions[:LISTED_LESIONS]
        ],
    )
    if len(lesions) > LISTED_LESIONS:
        output.say(f"… and {len(lesions) - LISTED_LESIONS} smaller ones in the table")
    for names in report["files"].values():
        output.say(f"  {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else ""))
    output.say(RESEARCH_ONLY)
    output.result(report)
