"""``isocenter segment``: a model's finding as files, with what made them."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.output import Output
from app.cli.segment_files import (
    DICOM_SEG,
    NIFTI,
    Answered,
    as_dicom,
    check_folder,
    write_answer,
    write_json,
)
from app.cli.segment_images import images_of, questions
from app.cli.segment_places import as_plain, pattern_of
from app.messages import counted
from app.study_answer import FACT_WORDS, brain_volumes
from imaging.errors import BadInput, WorldFailed
from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.analysis.lesions import Lesion
    from inference.messages import SegmentAnswer
    from inference.postprocess import Proposal
    from inference.registry import InstalledModel

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
        Interpolate even slices where they lie at uneven distances or are shifted.
    others : mapping of str to Path
        Further images by their sequence (``"T1w"``).
    thorough : bool
        Instead of the model the installed ensemble that it is a member of.
    uncertainty : bool
        Also write the map of uncertainty.
    places : bool
        Also say where in the brain the findings lie.
    yes : bool
        Run although the image does not look like what the model was made for.
    """

    model: str
    series: str = ""
    formats: tuple[str, ...] = (NIFTI,)
    device: str = "auto"
    explain: bool = False
    threshold: float | None = None
    image: int = 0
    even: bool = False
    others: dict[str, Path] = field(default_factory=dict)
    thorough: bool = False
    uncertainty: bool = False
    places: bool = False
    yes: bool = False

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
    """Open, ask where in doubt, run, measure, write and read back.

    Raises
    ------
    BadInput
        Where a wish cannot be met or the series is not fit for a model.
    Unsure
        Where the image does not look like the model's, and nobody is there to be asked.
    WorldFailed
        Where the worker or the disk failed.
    """
    wish.check()
    model = _model(wish)
    with ExitStack() as stack:
        volume, others = images_of(path, wish, model.card, output, stack)
        check_folder(out)
        limits = questions(model.card, volume, others, wish, output)
        answer = _asked(volume, others, model, wish, output)
        proposal = _cut(answer, volume, model, wish.threshold)
        lesions = _measured(proposal, volume)
        pattern = None
        if wish.places and "lesions" in _gives(proposal):
            plain = replace(wish, explain=False)
            pattern = pattern_of(
                volume, lesions, answer, lambda other: _asked(volume, {}, other, plain, output)
            )
        notes = list(dict.fromkeys([*limits, *volume.notes, *answer.notes]))
        with output.progress("Writing and reading back") as advance:
            if DICOM_SEG in wish.formats:
                volume = as_dicom(volume, out)
            given = Answered(proposal, volume, lesions, wish.uncertainty)
            files = write_answer(out, wish.formats, given, advance)
        report = _report(model, volume, answer, proposal, lesions, files, notes)
        if pattern is not None:
            report["pattern"] = as_plain(pattern)
        report["files"]["report"] = [str(write_json(out / "report.json", report))]
    _present(report, lesions, proposal, output)


def _model(wish: Wish) -> InstalledModel:
    """The model asked for, or the ensemble it belongs to."""
    from inference.model import CLICK, UNCERTAINTY
    from inference.registry import find_model, installed_models

    model = find_model(wish.model)
    if wish.thorough and not model.card.members:
        thorough = [
            one
            for one in installed_models()
            if any(member.id == model.card.id for member in one.card.members)
        ]
        if not thorough:
            raise BadInput(
                f"No thorough version of '{model.card.id}' is installed",
                advice="Leave --thorough out",
            )
        model = thorough[0]
    if model.card.kind == CLICK:
        raise BadInput(
            f"'{model.card.id}' follows clicks in the window; it does not search by itself"
        )
    if wish.uncertainty and UNCERTAINTY not in model.card.maps:
        raise BadInput(
            f"'{model.card.id}' does not say how sure it is",
            advice="Leave --uncertainty out, or add --thorough where there is such a version",
        )
    return model


def _asked(
    volume: Volume,
    others: dict[str, Volume],
    model: InstalledModel,
    wish: Wish,
    output: Output,
) -> SegmentAnswer:
    from inference.client import WorkerClient
    from inference.messages import Failed, SegmentAnswer

    with WorkerClient() as client, output.progress(model.card.name) as advance:
        run = client.segment(
            volume,
            model,
            others=others,
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
    mask, probability = proposal.segmentation, proposal.probability
    if threshold is None:
        return proposal
    if mask is None or probability is None or not mask.probability_id:
        raise BadInput(f"'{model.card.id}' cuts nothing at a threshold", advice="Leave it out")
    case = Case({mask.id: mask, probability.id: probability})
    set_threshold(mask, probability, threshold).apply(case)
    return proposal


def _measured(proposal: Proposal, volume: Volume) -> list[Lesion]:
    """The lesions of a finding; none where the labels are parts of the body."""
    from imaging.analysis.lesions import find_lesions
    from imaging.analysis.place import find_head

    mask = proposal.segmentation
    if mask is None or _gives(proposal) != "lesions":
        return []
    return find_lesions(mask, proposal.probability, find_head(volume))


def _gives(proposal: Proposal) -> str:
    """``"lesions"``, ``"tissues"``, or nothing where there is no mask."""
    mask = proposal.segmentation
    return "" if mask is None else "tissues" if mask.anatomical else "lesions"


def _report(
    model: InstalledModel,
    volume: Volume,
    answer: SegmentAnswer,
    proposal: Proposal,
    lesions: list[Lesion],
    files: dict[str, list[str]],
    notes: list[str],
) -> dict[str, Any]:
    mask = proposal.segmentation
    report = {
        "notice": RESEARCH_ONLY,
        "model": {"id": model.card.id, **asdict(answer.provenance)},
        "intended_use": model.card.intended_use,
        "not_for": model.card.not_for,
        "study_uid": volume.source.study_uid,
        "series_uid": volume.source.series_uid,
        "series": volume.source.series_description or volume.name,
        "images": [name for name, _ in answer.used],
        "facts": dict(answer.facts),
        "notes": notes,
        "files": files,
    }
    if _gives(proposal) == "tissues":
        report["volumes_ml"] = volumes = _label_volumes(proposal)
        brain = brain_volumes(tuple(volumes.items()))
        report["brain_volumes_ml"] = {name: round(ml, 2) for name, ml in brain}
    elif mask is not None:
        report["threshold"] = mask.threshold
        report["lesions"] = len(lesions)
        report["volume_ml"] = round(sum(lesion.volume_ml for lesion in lesions), 4)
    return report


def _label_volumes(proposal: Proposal) -> dict[str, float]:
    import numpy as np

    mask = proposal.segmentation
    assert mask is not None
    counts = np.bincount(mask.labels.ravel(), minlength=256)
    return {s.name: round(counts[s.number] * mask.geometry.voxel_ml, 2) for s in mask.segments}


def _present(
    report: dict[str, Any], lesions: list[Lesion], proposal: Proposal, output: Output
) -> None:
    made_by = next((item.provenance.sentence for item in proposal.items), "")
    if made_by:
        output.say(made_by)
    for note in report["notes"]:
        output.warn(note)
    _present_facts(report["facts"], output, "volumes_ml" in report)
    if "volumes_ml" in report:
        parts = {**report["volumes_ml"], **report["brain_volumes_ml"]}
        output.table(("part", "ml"), [(n, f"{v:.1f}") for n, v in parts.items()])
    for sentence in report.get("pattern", {}).get("sentences", ()):
        output.say(sentence)
    if "lesions" in report:
        _present_lesions(report, lesions, output)
    for names in report["files"].values():
        output.say(f"  {names[0]}" + (f" and {len(names) - 1} more" if len(names) > 1 else ""))
    output.say(RESEARCH_ONLY)
    output.result(report)


def _present_facts(facts: dict[str, Any], output: Output, measured: bool) -> None:
    """What the model says about the study: its sentences, else its plain numbers and words.

    Parameters
    ----------
    measured : bool
        Volumes are told by their own table.
    """
    sentences = facts.get("sentences", ())
    for sentence in sentences:
        output.say(sentence)
    plain = [
        (FACT_WORDS.get(name, name.replace("_", " ")), value)
        for name, value in facts.items()
        if isinstance(value, int | float | str) and not (measured and name.endswith("_ml"))
    ]
    if plain and not sentences:
        output.table(("the model says", ""), plain)


def _present_lesions(report: dict[str, Any], lesions: list[Lesion], output: Output) -> None:
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
