"""What the objects that we write have in common: planes, people, algorithms, checks."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from imaging.dicom.codes import ARTIFICIAL_INTELLIGENCE, concept
from imaging.dicom.writing.write import SOFTWARE, SOFTWARE_VERSION, cut_text, decimals
from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.orientation import ORTHOGONAL_TOLERANCE
from imaging.segmentation import MANUAL, Provenance, Segment, Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from highdicom import (
        AlgorithmIdentificationSequence,
        PixelMeasuresSequence,
        PlaneOrientationSequence,
        PlanePositionSequence,
    )


class Algorithm(NamedTuple):
    """What made a label: name and version for the header, and how it was run."""

    name: str
    version: str
    parameters: dict[str, str]


def algorithm_of(
    segment: Segment, made_by: Provenance, threshold: float | None = None
) -> Algorithm | None:
    """What made a label, kept through all edits by hand; None for one drawn by hand alone."""
    if segment.algorithm_type == MANUAL:
        return None
    if segment.algorithm and segment.algorithm != made_by.algorithm:
        return Algorithm(segment.algorithm[:64], (segment.algorithm_version or "unknown")[:64], {})
    name, version = made_by.algorithm or SOFTWARE, made_by.version or SOFTWARE_VERSION
    return Algorithm(name[:64], version[:64], _parameters(made_by, threshold))


def _parameters(made_by: Provenance, threshold: float | None) -> dict[str, str]:
    """Weights and settings in the form of Algorithm Parameters: no commas, no equals signs."""
    pairs = [("weights", made_by.digest), ("device", made_by.device), ("created", made_by.created)]
    if threshold is not None:
        pairs.append(("threshold", f"{threshold:g}"))
    pairs += [pair for pair in made_by.settings if pair[0] not in dict(pairs)]
    clean = str.maketrans({",": ";", "=": ":", "\\": "/"})
    return {k.translate(clean): v.translate(clean) for k, v in pairs if v}


def algorithm_sequence(algorithm: Algorithm) -> AlgorithmIdentificationSequence:
    """The item that names a model (PS3.3 10.16), as highdicom wants it."""
    from highdicom import AlgorithmIdentificationSequence

    return AlgorithmIdentificationSequence(
        name=algorithm.name,
        family=concept(ARTIFICIAL_INTELLIGENCE),
        version=algorithm.version,
        parameters=algorithm.parameters or None,
    )


def segment_label(segment: Segment) -> str:
    """The name of a label as it fits into a header."""
    return cut_text(segment.name) or f"Label {segment.number}"


def chosen_segments(
    segmentation: Segmentation, numbers: object, *, advice: str = "Add a label first"
) -> list[Segment]:
    """The segments of these numbers (of all for None), by number.

    Raises
    ------
    BadInput
        Where one is not there, or there is none at all.
    """
    wanted = None if numbers is None else {int(n) for n in numbers}  # type: ignore[attr-defined]
    known = sorted(segmentation.segments, key=lambda s: s.number)
    missing = (wanted or set()) - {s.number for s in known}
    if missing:
        raise BadInput(f"The mask has no label {min(missing)}", segmentation.name)
    chosen = [s for s in known if wanted is None or s.number in wanted]
    if not chosen:
        raise BadInput("The mask has no labels to write", segmentation.name, advice)
    return chosen


def person_name(text: str) -> str | None:
    """A person's name with its components told apart (PS3.5 6.2.1); None where empty."""
    words = text.replace("=", " ").replace("\\", " ").strip()[:64]
    return (words if "^" in words else f"{words}^") if words else None


def check_writable(geometry: Geometry, volume: Volume, name: str, *, sheared: bool = False) -> None:
    """Raise BadInput where a grid cannot be told in a DICOM object that other programs read right.

    Parameters
    ----------
    geometry : Geometry
        The grid of what is to be written.
    volume : Volume
        The image it belongs to.
    sheared : bool
        Whether slices that are shifted against each other can be told: each one has a place of
        its own in contours and single images, but programs build a straight box from a SEG.
    """
    if not geometry.same_frame(volume.geometry):
        raise BadInput(f"{name} and its image are in different frames of reference", volume.name)
    if not volume.placed:
        raise BadInput(
            "The image does not say where its slices lie, so nothing on them can be written",
            volume.name,
            "Save a screenshot instead",
        )
    if volume.places is not None:
        raise BadInput(
            "The slices of this image lie at uneven distances, so nothing on them can be written",
            volume.name,
            "Make an even volume of it first",
        )
    check_plane(geometry, name, "Save it as NIfTI")
    if not sheared and not geometry.orthogonal:
        raise BadInput(
            "The slices are shifted against each other (a tilted gantry), and other programs would "
            "set them straight",
            name,
            "Save it as NIfTI, which keeps the shift",
        )


def check_plane(geometry: Geometry, name: str, advice: str) -> None:
    """Raise BadInput where rows and columns are not perpendicular."""
    if abs(float(geometry.directions[:, 1] @ geometry.directions[:, 2])) > ORTHOGONAL_TOLERANCE:
        raise BadInput(
            "Rows and columns are not perpendicular, and DICOM cannot place such a slice",
            name,
            advice,
        )


def plane_groups(
    geometry: Geometry,
) -> tuple[list[PlanePositionSequence], PlaneOrientationSequence, PixelMeasuresSequence]:
    """Positions, orientation and spacing of the slices of a grid, as highdicom sequences."""
    from highdicom import PixelMeasuresSequence, PlaneOrientationSequence, PlanePositionSequence

    step_k, step_j, step_i = geometry.spacing
    normal = np.cross(geometry.directions[:, 2], geometry.directions[:, 1])
    between = abs(float(geometry.affine[:3, 0] @ normal))
    positions = [
        PlanePositionSequence("PATIENT", image_position=decimals(geometry.world((k, 0, 0))))
        for k in range(geometry.shape[0])
    ]
    cosines = [*geometry.directions[:, 2], *geometry.directions[:, 1]]
    orientation = PlaneOrientationSequence("PATIENT", image_orientation=decimals(cosines))
    measures = PixelMeasuresSequence(
        pixel_spacing=decimals((step_j, step_i)),
        slice_thickness=decimals([step_k])[0],
        spacing_between_slices=decimals([between])[0],
    )
    return positions, orientation, measures
