"""What the study list says about a series: pure text, from the series value."""

from __future__ import annotations

from typing import TYPE_CHECKING

from app.windows.banner import readable_date, readable_name

if TYPE_CHECKING:
    from imaging.series import Series


def patient_text(series: Series) -> str:
    """Name and ID of the patient."""
    patient = series.source.patient
    name = readable_name(patient.name) or "No name"
    return f"{name} · {patient.id}" if patient.id else name


def study_text(series: Series) -> str:
    """Date and description of the study."""
    source = series.source
    parts = [readable_date(source.study_date), source.study_description]
    return " · ".join(part for part in parts if part) or "Study without a date"


def size_text(series: Series) -> str:
    """Columns, rows, slices and images: ``"256×256×192 ×3 echoes"``."""
    k, j, i = series.shape
    return f"{i}×{j}×{k}{images_text(series)}"


_IMAGES = {"echo time": "echoes", "echo": "echoes", "time point": "time points",
           "b-value": "b-values"}  # fmt: skip


def images_text(series: Series) -> str:
    """How many images a 4D series has: ``" ×3 echoes"``; empty for an ordinary one."""
    count = len(series.repeats)
    return f" ×{count} {_IMAGES.get(series.repeat_axis, 'images')}" if count > 1 else ""


def spacing_text(series: Series) -> str:
    """Distances of voxels in mm along columns, rows and slices."""
    if series.geometry is None:
        return "no position"
    k, j, i = series.geometry.spacing
    if not series.regular:
        return f"{i:.2g}×{j:.2g} mm, uneven"
    return f"{i:.2g}×{j:.2g}×{k:.2g} mm"


def kind_text(series: Series) -> str:
    """Sequence and plane: ``"FLAIR · axial"``."""
    return " · ".join(part for part in (series.sequence, series.plane) if part) or "unknown kind"


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
        f"{size_text(series)} · {spacing_text(series)}",
        warning_text(series),
        "Click to show it, drag it into a view" if series.viewable else "Cannot be shown",
    ]
    return "\n".join(line for line in lines if line)
