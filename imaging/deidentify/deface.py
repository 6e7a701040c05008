"""Where to cut off a face: a plane that touches the brain from below and in front.

The idea is Quickshear's (Schimke and Hale, "Quickshear Defacing for Neuroimages", HealthSec 2011):
an edge of the convex hull of the brain in the sagittal profile, moved away by a margin. The brain
lies behind every edge of its hull, so of those that look to the front and down the one is taken
that cuts off most of what juts out: nose, lips and chin. What lies before the plane goes, in every
series of the frame of reference.
"""

from __future__ import annotations

import numpy as np

from imaging.deidentify.brain import STEP_MM, HeadParts, find_head
from imaging.deidentify.plane import Plane
from imaging.errors import BadInput
from imaging.volume import Volume

#: Between the brain and the plane.
MARGIN_MM = 6.0
#: An edge must look so much to the front; the next ones would take the neck.
LEAST_FORWARD = 0.65
#: With less tissue before the plane the face is not in the image.
LEAST_FACE_ML = 15.0
NO_FACE = "The face is not in the field of view, so there is nothing to cut off"


def find_plane(volume: Volume) -> tuple[Plane, HeadParts]:
    """The plane that cuts off the face, and what it was found from.

    Raises
    ------
    BadInput
        Where no head, brain or face is found in the image.
    """
    parts = find_head(volume)
    plane = plane_of(parts)
    if face_ml(parts, plane) < LEAST_FACE_ML:
        raise BadInput(NO_FACE, volume.name)
    return plane, parts


def plane_of(parts: HeadParts) -> Plane:
    """The plane for a brain mask: of the edges of its hull the one that takes most of a face."""
    from scipy.spatial import ConvexHull

    places = np.argwhere(parts.brain.any(axis=2))  # (z, y) of the sagittal profile
    profile = parts.geometry.world(np.pad(places, ((0, 0), (0, 1))))[:, 1:]  # (y, z) in mm
    hull = ConvexHull(profile)
    planes = [
        Plane([0.0, float(y), float(z)], MARGIN_MM + STEP_MM / 2 - float(offset))
        for y, z, offset in hull.equations  # outward normals: to the front, and downwards
        if y < -LEAST_FORWARD and z <= 0
    ]
    if not planes:
        raise BadInput(NO_FACE)
    weight = _how_much_face(parts)
    return max(planes, key=lambda plane: float(weight[cut_mask(parts, plane)].sum()))


def _how_much_face(parts: HeadParts) -> np.ndarray:
    """A weight for each voxel: what juts out before the brain makes a face."""
    front = int(np.flatnonzero(parts.brain.any(axis=(0, 2)))[0])
    weight = np.where(np.arange(parts.head.shape[1]) < front, 1.0, 0.1)
    return parts.head * weight[None, :, None]


def cut_mask(parts: HeadParts, plane: Plane) -> np.ndarray:
    """True for the voxels of the coarse grid that are cut off, shape (k, j, i)."""
    affine, shape = parts.geometry.affine, parts.geometry.shape
    return np.stack(
        [
            plane.cut(
                (shape[1], shape[2]), parts.geometry.world((k, 0, 0)), affine[:3, 1], affine[:3, 2]
            )
            for k in range(shape[0])
        ]
    )


def face_ml(parts: HeadParts, plane: Plane) -> float:
    """Millilitres of head before the plane."""
    return float((cut_mask(parts, plane) & parts.head).sum()) * STEP_MM**3 / 1000.0


def profile_picture(parts: HeadParts, plane: Plane | None = None) -> np.ndarray:
    """A sagittal picture, nose to the left: the middle slice, and the head's outline as a relief.

    Returns
    -------
    ndarray of uint8, shape (h, 2 w)
        Left the middle slice, right the skin seen from the left side, lit from the front; with a
        plane both without what is cut off.
    """
    keep = np.ones(parts.head.shape, bool) if plane is None else ~cut_mask(parts, plane)
    middle = round(float(parts.geometry.index(parts.centre_mm)[2]))
    top = max(float(np.percentile(parts.grey[parts.head], 99)), 1e-6)
    grey = np.clip(parts.grey[:, :, middle] / top, 0, 1) * keep[:, :, middle]
    relief = _relief(parts.head & keep)
    return np.ascontiguousarray(np.rint(np.hstack([grey, relief])[::-1] * 255).astype(np.uint8))


def _relief(solid: np.ndarray) -> np.ndarray:
    """The surface of a mask seen from the patient's left, shaded by its slope."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(solid.astype(np.float32), 1.0) > 0.5
    from_left = smooth[:, :, ::-1]
    depth = np.where(smooth.any(axis=2), from_left.argmax(axis=2), solid.shape[2]).astype(float)
    back, up = np.gradient(gaussian_filter(depth, 0.8))[::-1]
    light = (0.75 + 0.45 * back - 0.25 * up) / np.sqrt(1 + back**2 + up**2)
    return np.clip(light, 0.12, 1.0) * smooth.any(axis=2)
