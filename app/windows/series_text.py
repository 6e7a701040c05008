"""What the study list says about a series: pure text, from the series value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.windows.banner import UNKNOWN_PATIENT, readable_date, readable_name
from imaging.folders import folder_words

if TYPE_CHECKING:
    from imaging.series import FoundObject, Series


def patient_text(series: Series | FoundObject) -> str:
    """Name and ID of the patient."""
    patient = series.source.patient
    if not patient.name and not patient.id:
        return UNKNOWN_PATIENT
    name = readable_name(patient.name) or "No name"
    return f"{name} · {patient.id}" if patient.id else name


def study_text(series: Series | FoundObject) -> str:
    """Date and description of the study; the folder of files that say nothing of one."""
    source = series.source
    if source.folder:
        return folder_words(source.folder) or "The top folder"
    parts = [readable_date(source.study_date), source.study_description]
    return " · ".join(part for part in parts if part) or "Study without a date"


#: What a mask, map or report is called, by its kind: in the list, and in full.
OBJECT_WORDS = {
    "segmentation": ("Mask", "Mask (DICOM Segmentation)"),
    "structure set": ("Contours", "Contours (RT Structure Set)"),
    "parametric map": ("Map", "Parametric Map"),
    "report": ("Report", "Structured Report"),
    "labels": ("Mask", "Mask (label image)"),
}


def object_text(found: FoundObject) -> str:
    """What it is and how much of it, in one line: ``"Mask · 3 segments"``."""
    kind, _ = OBJECT_WORDS.get(found.kind, (found.kind, ""))
    return f"{kind} · {found.details}" if found.details else kind


def object_tooltip(found: FoundObject, shown: bool) -> str:
    """Everything about a mask, map or report, in lines."""
    number = f"Series {found.source.series_number}: " if found.source.series_number else ""
    opens = "Click to read it" if found.kind == "report" else "Click to open it over its images"
    again = "It is open: click to go there" if found.kind != "report" else "Click to read it again"
    _, kind = OBJECT_WORDS.get(found.kind, ("", found.kind))
    lines = (f"{number}{found.title}", kind, found.details, again if shown else opens)
    return "\n".join(line for line in lines if line)


def size_text(series: Series, count: bool = True) -> str:
    """Columns, rows, slices and images: ``"256×256×192 ×3 echoes"``."""
    k, j, i = series.shape
    return f"{i}×{j}×{k}{images_text(series) if count else ''}"


_IMAGES = {"echo time": "echoes", "echo": "echoes", "time point": "times",
           "b-value": "b-values"}  # fmt: skip


def images_text(series: Series) -> str:
    """How many images a 4D series has: ``" ×3 echoes"``; empty for an ordinary one."""
    count = len(series.repeats)
    return f" ×{count} {_IMAGES.get(series.repeat_axis, 'images')}" if count > 1 else ""


def spacing_text(series: Series) -> str:
    """Distances of voxels in mm along columns, rows and slices; "?" where slices are uneven."""
    if series.geometry is None:
        return "no position"
    k, (_, j, i) = series.geometry.slice_mm, series.geometry.spacing
    if not series.regular:
        return f"{mm_text(i)}×{mm_text(j)}×? mm"
    return f"{mm_text(i)}×{mm_text(j)}×{mm_text(k)} mm"


def mm_text(value: float) -> str:
    """A length with three digits and never an exponent: ``"3.25"``, ``"0.938"``, ``"650"``."""
    if value >= 99.95:
        return f"{value:.0f}"
    return f"{float(f'{value:.3g}'):.6f}".rstrip("0").rstrip(".")


def kind_text(series: Series) -> str:
    """Sequence and plane: ``"FLAIR · axial"``, ``"FLAIR?"`` where unsure, ``"FLAIR ✓"`` as told."""
    guess = series.guess
    mark = " ✓" if guess.confidence == 1.0 else "?" if guess.name and not guess.sure else ""
    name = f"{series.sequence}{mark}" if series.sequence else ""
    words = " · ".join(part for part in (name, series.plane) if part)
    return words or ("calculated" if series.kind == "made" else "unknown kind")


def guess_text(series: Series) -> str:
    """What the sequence is thought to be, how surely, and why."""
    guess = series.guess
    if not guess.name:
        return f"Kind of sequence not known ({guess.why})" if guess.why else ""
    sure = "" if guess.confidence == 1.0 else f", {100 * guess.confidence:.0f} % sure"
    return f"{guess.name}{sure}: {guess.why}" if guess.why else f"{guess.name}{sure}"


def warning_text(series: Series) -> str:
    """What is odd with the series, as sentences; empty where nothing is."""
    found = [text if text.endswith(".") else f"{text}." for text in series.problems]
    if not series.regular and not found:
        found.append("The slices lie at uneven distances: 3D and models need an even volume.")
    if not series.viewable and not found:
        found.append("It holds no image that can be shown.")
    return " ".join(found)


def tooltip_text(series: Series) -> str:
    """Everything, in lines."""
    number = f"Series {series.source.series_number}: " if series.source.series_number else ""
    lines = [
        f"{number}{series.description}",
        kind_text(series),
        guess_text(series),
        f"{size_text(series)} · {spacing_text(series)}",
        warning_text(series),
        "Click to show it, drag it into a view" if series.viewable else "Cannot be shown",
    ]
    return "\n".join(line for line in lines if line)
