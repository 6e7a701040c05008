"""Where the frames of a multi-frame object lie (masks and maps), from its functional groups.

Source: DICOM PS3.3 C.7.6.16.2.1 (pixel measures), C.7.6.16.2.3 (plane position), C.7.6.16.2.4
(plane orientation).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imaging.dicom.objects.object_file import first_item, numbers
from imaging.dicom.objects.placing import Plane
from imaging.errors import BadInput

if TYPE_CHECKING:
    from pydicom.dataset import Dataset


def group(own: Dataset, shared: Dataset | None, name: str) -> Dataset | None:
    """The item of a functional group, of the frame itself or shared by all."""
    return first_item(own, name) or first_item(shared, name)


def plane_of_frame(
    own: Dataset, shared: Dataset | None, rows: int, columns: int, what: str, path: Path
) -> Plane:
    """Where a frame of a multi-frame object lies.

    Raises
    ------
    BadInput
        Where position, direction or size of its pixels is missing or no number.
    """
    place = group(own, shared, "PlanePositionSequence")
    axes = group(own, shared, "PlaneOrientationSequence")
    sizes = group(own, shared, "PixelMeasuresSequence")
    if place is None or axes is None or sizes is None:
        raise BadInput(f"{what} does not say where its frames lie", str(path))
    position = numbers(place.get("ImagePositionPatient") or (), 3)
    cosines = numbers(axes.get("ImageOrientationPatient") or (), 6)
    spacing = numbers(sizes.get("PixelSpacing") or (), 2)
    if position is None or cosines is None or spacing is None or spacing.min() <= 0:
        raise BadInput(f"{what} does not say where its frames lie", str(path))
    right, down = cosines[:3], cosines[3:]
    lengths = np.linalg.norm(right), np.linalg.norm(down)
    if max(abs(lengths[0] - 1), abs(lengths[1] - 1), abs(right @ down)) > 1e-2:
        raise BadInput("Rows and columns of a frame are not perpendicular", str(path))
    return Plane(position, down * spacing[0], right * spacing[1], rows, columns)


def check_one_direction(planes: list[Plane], what: str, path: Path) -> None:
    """Refuse frames that lie in several directions."""
    steps = np.array([(plane.down, plane.right) for plane in planes])
    if np.abs(steps - steps[0]).max() > 1e-3 * np.abs(steps[0]).max():
        raise BadInput(f"The slices of {what[0].lower()}{what[1:]} lie in different directions",
                       str(path))  # fmt: skip


def stated_step(ds: Dataset) -> float:
    """Distance between slices as the first frame says, mm; 0 where it does not."""
    shared = first_item(ds, "SharedFunctionalGroupsSequence")
    own = first_item(ds, "PerFrameFunctionalGroupsSequence")
    sizes = first_item(own, "PixelMeasuresSequence") or first_item(shared, "PixelMeasuresSequence")
    for name in ("SpacingBetweenSlices", "SliceThickness"):
        value = numbers((sizes.get(name),), 1) if sizes is not None else None
        if value is not None and value[0] > 0:
            return float(value[0])
    return 0.0
