"""What made a mask, map or image, as a JSON file beside it or as words for a header.

No name, id or date of a patient goes in: what is said is the program, the algorithm, its weights,
the threshold, whether a person edited the labels, and that this is for research only.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from imaging.atomic import write_atomic
from imaging.dicom.writing.write import RESEARCH_ONLY, SOFTWARE, SOFTWARE_VERSION
from imaging.errors import BadInput, WorldFailed
from imaging.heatmap import Heatmap
from imaging.segmentation import (
    AUTOMATIC,
    MANUAL,
    SEMIAUTOMATIC,
    Code,
    Provenance,
    Segment,
    Segmentation,
)
from imaging.volume import Volume

#: How the work of a person shows in a label, by its algorithm type (PS3.3 C.8.20.4).
_EDITED = {AUTOMATIC: "no", MANUAL: "made by hand"}


def edited_words(mask: Segmentation, segment: Segment) -> str:
    """``"no"``, ``"no, only accepted"``, ``"checked or edited by hand"`` or ``"made by hand"``."""
    if segment.algorithm_type == SEMIAUTOMATIC and segment.unchanged:
        return "no" if mask.proposes(segment) else "no, only accepted"
    return _EDITED.get(segment.algorithm_type, "checked or edited by hand")


def algorithm_of(segment: Segment, made_by: Provenance) -> tuple[str, str]:
    """Name and version of what made a label, kept through edits; empty for one drawn by hand."""
    if segment.algorithm_type == MANUAL:
        return "", ""
    if segment.algorithm:
        return segment.algorithm, segment.algorithm_version
    return made_by.algorithm, made_by.version


def made_by_run(segment: Segment, made_by: Provenance) -> bool:
    """Whether the run that a mask's provenance tells of made this label."""
    if segment.algorithm_type == MANUAL:
        return False
    return segment.algorithm in ("", made_by.algorithm)


def mask_facts(
    segmentation: Segmentation, numbers: Collection[int] | None = None
) -> dict[str, Any]:
    """What made a mask, with its labels, codes and voxel counts, ready for JSON.

    Parameters
    ----------
    numbers : collection of int, optional
        Only these labels; all where not given.
    """
    counts = np.bincount(segmentation.labels.ravel(), minlength=256)
    segments = [s for s in segmentation.segments if numbers is None or s.number in numbers]
    made_by = segmentation.provenance
    if segments and all(s.algorithm_type == MANUAL for s in segments):
        made_by = Provenance(created=made_by.created)
    by_run = any(made_by_run(s, segmentation.provenance) for s in segments) or not segments
    return {
        **_made_with(made_by),
        "name": segmentation.name,
        "threshold": segmentation.threshold if by_run else None,
        "draft": _holds_draft(segmentation, segments),
        "labels": [_label(segmentation, s, int(counts[s.number])) for s in segments],
    }


def _holds_draft(segmentation: Segmentation, segments: Collection[Segment]) -> bool:
    """Whether the model's own label, the first of a draft, is among those told of."""
    none = not segmentation.segments
    return segmentation.draft and (none or any(map(segmentation.proposes, segments)))


def map_facts(heatmap: Heatmap) -> dict[str, Any]:
    """What made a map and what its numbers mean, ready for JSON."""
    return {
        **_made_with(heatmap.provenance),
        "name": heatmap.name,
        "meaning": heatmap.meaning,
        "about": heatmap.about,
        "range": [0, 1],
    }


def image_facts(volume: Volume, *, every_image: bool = False) -> dict[str, Any]:
    """What an image is, and for a 4D series what tells its images apart, ready for JSON."""
    facts: dict[str, Any] = {
        "notice": RESEARCH_ONLY,
        "written_by": {"name": SOFTWARE, "version": SOFTWARE_VERSION},
        "sequence": volume.source.sequence,
        "unit": volume.unit,
    }
    if volume.repeats is not None and every_image:
        facts["images"] = {"axis": volume.repeats.axis, "labels": list(volume.repeats.labels)}
    elif volume.repeats is not None:
        label = volume.repeats.labels[volume.repeat]
        facts["image"] = {"axis": volume.repeats.axis, "label": label}
    return facts


def write_json(path: Path, body: Mapping[str, Any], *, replace: bool = False) -> Path:
    """Write a JSON file (UTF-8), then read it back and compare.

    Parameters
    ----------
    replace : bool
        True for the description of a data set, which grows with it.

    Raises
    ------
    WorldFailed
        Where a file has the name, the disk refuses or what was read back differs.
    """
    if not replace:
        check_free(path)
    text = json.dumps(body, indent=2, ensure_ascii=False) + "\n"
    meant = json.loads(text)

    def write(aside: Path) -> None:
        # a lone surrogate cannot be UTF-8 and must not stop the export
        aside.write_text(text, encoding="utf-8", errors="replace", newline="\n")

    def verify(aside: Path) -> None:
        if json.loads(aside.read_text(encoding="utf-8")) != _storable(meant):
            raise WorldFailed("The file read back differs from what was written", path.name)

    return write_atomic(path, write, verify)


def check_free(path: Path) -> None:
    """Raise WorldFailed where a file has this name already."""
    if path.exists():
        raise WorldFailed(
            "There is already a file with this name", str(path), "Choose another name"
        )


def must_be_even(volume: Volume) -> None:
    """Raise BadInput where the slices lie at uneven or unknown places: no grid could place them."""
    if not volume.placed:
        raise BadInput(
            "The header does not say where the slices lie, and a file would claim to know",
            volume.name,
            "Save a screenshot instead",
        )
    if not volume.even:
        raise BadInput(
            "The slices of this image lie at uneven places, and one grid cannot hold them",
            volume.name,
            "Make an even volume of it first",
        )


def _storable(value: Any) -> Any:
    """The same with every text as UTF-8 can hold it."""
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode("utf-8")
    if isinstance(value, dict):
        return {_storable(k): _storable(v) for k, v in value.items()}
    return [_storable(v) for v in value] if isinstance(value, list) else value


def _made_with(made_by: Provenance) -> dict[str, Any]:
    # A draft's threshold may have been moved since: that of the run must not pass for it.
    names = {"threshold": "threshold_of_run"}
    return {
        "notice": RESEARCH_ONLY,
        "written_by": {"name": SOFTWARE, "version": SOFTWARE_VERSION},
        "algorithm": {
            "name": made_by.algorithm or "none (made by hand)",
            "version": made_by.version,
            "weights_sha256": made_by.digest,
            "device": made_by.device,
            "created": made_by.created,
            "settings": {names.get(key, key): value for key, value in made_by.settings},
        },
    }


def _label(mask: Segmentation, segment: Segment, voxels: int) -> dict[str, Any]:
    algorithm, version = algorithm_of(segment, mask.provenance)
    return {
        "number": segment.number,
        "name": segment.name,
        "colour": list(segment.colour),
        "voxels": voxels,
        "type": _code(segment.type),
        "category": _code(segment.category),
        **({"modifier": _code(segment.modifier)} if segment.modifier else {}),
        **({"region": _code(segment.region)} if segment.region else {}),
        "algorithm": algorithm,
        "algorithm_version": version,
        "algorithm_type": segment.algorithm_type,
        "edited_by_hand": edited_words(mask, segment),
        "tracking_uid": segment.tracking_uid,
    }


def _code(code: Code) -> dict[str, str]:
    return {"value": code.value, "scheme": code.scheme, "meaning": code.meaning}
