"""``isocenter scan``: which series lie under a path, and which files could not be used."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from app.cli.output import Output
from app.messages import files_text
from app.settings import load as load_settings
from app.told_sequences import corrected
from imaging.dicom.header.charsets import NAME_CHARSETS
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.open import ScanResult
from imaging.open import scan as scan_paths
from imaging.series import LABELS, SURE, FoundObject, Series
from imaging.storage.label_images import as_series

#: So many unusable files are named one by one in the text output.
NAMED_PROBLEMS = 20


def scan(path: Path, output: Output, names_as: str = "") -> None:
    """List what is under a path.

    Parameters
    ----------
    names_as : str
        Script of text in DICOM files that do not say their character set.

    Raises
    ------
    BadInput
        Where there is neither a series nor a mask, map or report, or no such script.
    """
    if names_as and names_as not in NAME_CHARSETS:
        advice = f"Scripts: {', '.join(NAME_CHARSETS)}"
        raise BadInput(f"There is no script called '{names_as}'", "", advice)
    with found(path, output, or_objects=True, names_as=names_as) as result:
        listed = [described(series, name) for series, name in _named(result)]
        ordered = sorted(result.problems, key=lambda problem: not problem.damaged)
        problems = [{"file": p.path, "reason": p.reason, "damaged": p.damaged} for p in ordered]
        objects = [_described_object(found) for found in result.objects]
        if listed:
            output.table(
                ("#", "Series", "Kind", "Voxels i×j×k", "Spacing mm", "Axes i,j,k", "For --series"),
                [_row(n, series) for n, series in enumerate(listed, 1)],
            )
        if objects:
            output.table(
                ("Masks, maps and reports", "Kind", "Holds", "For --object"),
                [(o["title"], o["kind"], o["details"], o["id"][:12]) for o in objects],
            )
        for n, series in enumerate(listed, 1):
            for sentence in series["problems"]:
                output.say(f"  series {n}: {sentence}")
        _say_problems(problems, output)
        output.result(
            {"path": str(path), "series": listed, "objects": objects, "problems": problems}
        )


def found(path: Path, output: Output, or_objects: bool = False, names_as: str = "") -> ScanResult:
    """Scan with a progress bar.

    Parameters
    ----------
    or_objects : bool
        Content where there are masks, maps or reports but no series.

    Raises
    ------
    BadInput
        Where there is nothing that can be shown; the sentence gives the first reason.
    """
    with output.progress("Reading headers") as advance:
        result = scan_paths(
            [path],
            on_progress=lambda done, total: advance(done / max(total, 1), f"{done} of {total}"),
            names_as=names_as,
        )
    if not result.series and not (or_objects and result.objects):
        result.close()
        raise _nothing(path, result)
    told = load_settings()[0].sequences
    return replace(result, series=tuple(corrected(series, told) for series in result.series))


def _nothing(path: Path, result: ScanResult) -> BadInput:
    if not path.exists():
        return BadInput("There is no such file or folder", str(path))
    if result.objects:
        return BadInput(
            "There are only masks, maps or reports here, and no images", str(path),
            "Place one on its images: convert … --object ID --on IMAGES",
        )  # fmt: skip
    if not result.problems:
        advice = "Give DICOM, NIfTI, NRRD or MetaImage files"
        return BadInput("There are no images here", str(path), advice)
    reasons = Counter(p.reason for p in result.problems)
    reason, count = reasons.most_common(1)[0]
    every = len(result.problems)
    files = "The file" if every == 1 else f"{count} of {every} files"
    files = f"All {every} files" if count == every > 1 else files
    return BadInput("There is no series that can be used", str(path), f"{files}: {reason}")


def chosen_series(result: ScanResult, wanted: str, path: Path) -> Series:
    """The series named by its UID, its key or its number in the listing; else the only one.

    A label image is taken as an image where it is asked for by its key.

    Raises
    ------
    BadInput
        Where none or several fit; the sentence lists them.
    """
    for mask in result.objects:
        if wanted and mask.kind == LABELS and wanted == mask.key:
            return as_series(mask)
    everything = _named(result)
    fitting = [
        series
        for number, (series, name) in enumerate(everything, 1)
        if not wanted or wanted in (name, series.key, series.source.series_uid, str(number))
    ]
    if len(fitting) == 1:
        return fitting[0]
    names = "; ".join(f"{n} = {s.description or name}" for n, (s, name) in enumerate(everything, 1))
    if not fitting:
        raise BadInput(f"There is no series '{wanted}'", str(path), f"Series here: {names}")
    raise BadInput(
        f"There are {len(fitting)} series", str(path), f"Choose one with --series: {names}"
    )


def described(series: Series, name: str) -> dict[str, Any]:
    """A series as plain values; arrays in the order ``(i, j, k)``, positions in LPS mm."""
    grid = series.geometry
    return {
        "id": name,
        "series_uid": series.source.series_uid,
        "kind": series.kind,
        "description": series.description,
        "sequence": series.sequence,
        "sequence_confidence": series.guess.confidence,
        "sequence_why": series.guess.why,
        "plane": series.plane,
        "shape_ijk": list(reversed(series.shape)),
        "spacing_ijk_mm": None if grid is None else _spacing(series, grid),
        "axes_ijk": None if grid is None else grid.letters[::-1],
        "affine_kji_to_lps_mm": grid.affine.round(6).tolist() if grid and series.regular else None,
        "frame_of_reference": "" if grid is None else grid.frame_of_reference,
        "images": list(series.repeats),
        "images_differ_in": series.repeat_axis,
        "regular": series.regular,
        "usable_by_models": series.volumetric,
        "files": len(set(series.source.files)),
        "problems": list(series.problems),
    }


def _spacing(series: Series, grid: Geometry) -> list[float | None]:
    """Distances of voxels along (i, j, k) in mm; None between slices at uneven places.

    That of slices is along their normal, also where they are shifted against each other.
    """
    k, j, i = (round(step, 4) for step in (grid.slice_mm, *grid.spacing[1:]))
    return [i, j, k if series.regular else None]


def _described_object(found: FoundObject) -> dict[str, Any]:
    """A mask, map or report as plain values."""
    return {
        "id": found.key,
        "kind": found.kind,
        "title": found.title,
        "details": found.details,
        "file": found.path,
        "series_uids": list(found.series_uids),
        "frame_of_reference": found.frame_of_reference,
    }


def _named(result: ScanResult) -> list[tuple[Series, str]]:
    """Each series with a name that is unique here: its UID, or its key where a UID is shared."""
    uses = Counter(series.source.series_uid for series in result.series)
    named = []
    for series in result.series:
        uid = series.source.series_uid
        named.append((series, uid if uid and uses[uid] == 1 else series.key))
    return named


def _row(number: int, series: dict[str, Any]) -> tuple[object, ...]:
    spacing = series["spacing_ijk_mm"]
    doubt = "?" if series["sequence"] and series["sequence_confidence"] < SURE else ""
    kind = " ".join(word for word in (series["sequence"] + doubt, series["plane"]) if word)
    images = f" ×{len(series['images'])}" if series["images"] else ""
    return (
        number,
        series["description"] or "(no description)",
        kind or series["kind"],
        "×".join(map(str, series["shape_ijk"])) + images,
        "unknown" if spacing is None else "×".join(map(_step, spacing)),
        ",".join(series["axes_ijk"] or "?"),
        series["id"],
    )


def _step(mm: float | None) -> str:
    return "uneven" if mm is None else f"{mm:.3g}"


def _say_problems(problems: list[dict], output: Output) -> None:
    if problems:
        damaged = sum(problem["damaged"] for problem in problems)
        output.say(f"Could not be used: {files_text(damaged, len(problems) - damaged)}")
    for problem in problems[:NAMED_PROBLEMS]:
        output.say(f"  {problem['file']}: {problem['reason']}")
    if len(problems) > NAMED_PROBLEMS:
        output.say(f"  … and {len(problems) - NAMED_PROBLEMS} more (all of them with --json)")
