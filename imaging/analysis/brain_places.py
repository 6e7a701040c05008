"""Where ventricles, cortex and tentorium are: what gives a lesion its place.

There is no atlas. What lies below the tentorium is told from the size and place of the brain
(:func:`standard_frame`) for a head that is not nodding by more than about 15 degrees; where the
field of view cuts the brain it is not told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imaging.geometry import Box, Geometry
from imaging.volume import Volume, filled_padding

__all__ = ["BrainPlaces", "places_from_image", "places_from_tissue", "standard_frame"]

Mask = npt.NDArray[np.bool_]
Map = npt.NDArray[np.float32]

#: Maps are made on a grid about this fine, mm.
STEP_MM = 1.4
#: The same where only brightness is known, mm.
ROUGH_MM = 2.0
#: Ventricles are pieces of fluid at least so large, ml.
VENTRICLE_ML = 0.5
#: Cortex hangs together in pieces at least so large, ml; smaller grey specks are something else.
CORTEX_ML = 3.0
#: Grey matter deeper than this below the brain's outline is not taken for cortex, mm: of the folds
#: only the outer part is, and the insula is not.
FOLD_MM = 8.0
#: Without a tissue map the cortex is the outermost part of the brain, mm.
CORTEX_MM = 4.0
#: Length of the standard brain from front to back, and how far its top and front lie from the
#: origin of its coordinates (MNI152), mm.
_LENGTH, _TOP, _FRONT = 177.0, 79.0, 73.0


@dataclass(frozen=True, eq=False)
class BrainPlaces:
    """Distances to what gives a lesion its place, on a grid of their own.

    Parameters
    ----------
    ventricle_mm, cortex_mm : ndarray, shape (k, j, i)
        Distance to the next voxel of ventricle and of cortex; infinite where there is none.
    infratentorial : ndarray of bool, or None
        None where it cannot be told.
    basis : str
        ``"tissue"`` (from a tissue map) or ``"distances"`` (from brightness alone).
    """

    geometry: Geometry
    ventricle_mm: Map
    cortex_mm: Map
    infratentorial: Mask | None
    basis: str


def places_from_tissue(
    csf: Mask, grey: Mask, white: Mask, geometry: Geometry, lesions: Mask | None = None
) -> BrainPlaces:
    """Places from a tissue map.

    Parameters
    ----------
    csf, grey, white : ndarray of bool, shape (k, j, i)
        On ``geometry``.
    lesions : ndarray of bool, optional
        On the same grid. Lesions are often taken for grey matter by a tissue map; what lies in
        them or touches them and is cut off from the cortex does not count as cortex.
    """
    from scipy import ndimage

    steps, coarse = _coarse(geometry, csf | grey | white)
    grey, white = np.asarray(grey[steps], bool), np.asarray(white[steps], bool)
    brain = np.asarray(ndimage.binary_fill_holes(csf[steps] | grey | white), bool)
    standard = standard_frame(brain, coarse, geometry)
    depth = _distance(~brain, coarse)
    cortex = grey & ~_deep_nuclei(standard, depth)
    found = np.zeros_like(cortex) if lesions is None else np.asarray(lesions[steps], bool)
    apart = cortex & ~np.asarray(ndimage.binary_dilation(found), bool)
    apart = _large_pieces(apart, coarse, CORTEX_ML)
    cortex = np.asarray(ndimage.binary_dilation(apart), bool) & cortex & ~found
    # Around lesions a tissue map says grey where no cortex is, so depth decides as well.
    cortex &= depth <= FOLD_MM
    ventricles = _ventricles(brain & ~grey & ~white, standard, depth, coarse)
    return BrainPlaces(
        coarse,
        _distance(ventricles, coarse),
        _distance(cortex, coarse),
        _below_tentorium(standard),
        "tissue",
    )


def places_from_image(volume: Volume) -> BrainPlaces | None:
    """Places from the brightness of a FLAIR or T1w alone: fluid is dark, cortex is at the surface.

    Returns
    -------
    BrainPlaces or None
        None where no brain was found.
    """
    from scipy import ndimage

    steps, coarse = _coarse(volume.geometry, step_mm=ROUGH_MM)
    values = filled_padding(volume.voxels[steps], volume.padding, volume.inverted)
    values = np.asarray(values, np.float32)
    low, high = (float(v) for v in np.percentile(values, (0.5, 99.0)))
    if not high > low:
        return None
    tissue = float(np.median(values[values > low + 0.3 * (high - low)]))
    bright = values > low + 0.45 * (tissue - low)
    core = _largest(_distance(~bright, coarse) > 4.0)
    if core.sum() * coarse.voxel_ml < 200:
        return None
    brain = (_distance(core, coarse) < 5.0) & bright
    closed = _distance(~(_distance(brain, coarse) < 7.0), coarse) > 7.0
    hull = np.asarray(ndimage.binary_fill_holes(closed | brain), bool)
    depth = _distance(~hull, coarse)
    standard = standard_frame(hull, coarse, volume.geometry)
    fluid = hull & ~bright
    ventricles = _ventricles(fluid, standard, depth, coarse)
    return BrainPlaces(
        coarse,
        _distance(ventricles, coarse),
        np.maximum(depth - np.float32(CORTEX_MM), 0),
        _below_tentorium(standard),
        "distances",
    )


def standard_frame(brain: Mask, geometry: Geometry, image: Geometry) -> Map | None:
    """Coordinates of a standard brain for every voxel, from where this brain begins and ends.

    Scaled by its length from front to back and hung up at its front and top; left and right from
    its middle. Turned heads are not turned back.

    Parameters
    ----------
    brain : ndarray of bool, shape (k, j, i)
        On ``geometry``.
    image : Geometry
        The whole field of view.

    Returns
    -------
    ndarray, shape (3, k, j, i), or None
        mm to the left, to the front and up from the origin of MNI152; None where the field of view
        cuts the brain in front, behind or above.
    """
    if not brain.any():
        return None
    world = geometry.world(np.argwhere(brain))
    corners = image.corners
    x, y, z = world.T
    front, back = (float(v) for v in np.percentile(y, (0.02, 99.98)))
    top = float(np.percentile(z, 99.98))
    gap = max(geometry.spacing)
    cut = (
        front - corners[:, 1].min() < gap
        or corners[:, 1].max() - back < gap
        or corners[:, 2].max() - top < gap
    )
    if cut or back - front < 100:
        return None
    scale = _LENGTH / (back - front)
    upper = z > top - 70 / scale
    middle = float(np.median(x[upper])) if upper.any() else float(np.median(x))
    grid = geometry.world(np.indices(brain.shape).reshape(3, -1).T)
    standard = np.stack(
        [
            (grid[:, 0] - middle) * scale,
            _FRONT - (grid[:, 1] - front) * scale,
            _TOP - (top - grid[:, 2]) * scale,
        ]
    )
    return standard.reshape(3, *brain.shape).astype(np.float32)


def _below_tentorium(standard: Map | None) -> Mask | None:
    """Cerebellum and brainstem: below a tent that falls to both sides and to the back."""
    if standard is None:
        return None
    x, y, z = np.abs(standard[0]), standard[1], standard[2]
    tent = -8 - 0.35 * x - 0.25 * np.maximum(-50 - y, 0)
    cerebellum = (y < -36) & (z < tent) & (x < 58)
    stem = (x < 17) & (y < -12) & (y >= -36) & (z < -12)
    return np.asarray(cerebellum | stem)


def _deep_nuclei(standard: Map | None, depth: Map) -> Mask:
    """Where grey matter is not cortex."""
    if standard is None:
        return np.asarray(depth > 18)
    x, y, z = np.abs(standard[0]), standard[1], standard[2]
    return np.asarray((x < 32) & (y < 26) & (y > -42) & (z < 24) & (z > -22) & (depth > 12))


def _ventricles(fluid: Mask, standard: Map | None, depth: Map, geometry: Geometry) -> Mask:
    """The lateral ventricles: large pieces of fluid deep in the brain near its middle."""
    from scipy import ndimage

    where = fluid & (depth > 14)
    if standard is not None:
        x, y, z = np.abs(standard[0]), standard[1], standard[2]
        where &= (x < np.where(y > -25, 30, 42)) & (y < 52) & (y > -82) & (z < 42)
        where &= (z > -2) | ((x > 20) & (z > -20) & (y < -5))
        fissure = (x < 4) & ((y > 28) | (y < -36) | (z > 28))
        cisterns = (x < 14) & (y < -28) & (z < 8)
        where &= ~fissure & ~cisterns
    thick = max(geometry.spacing) > 1.5  # opening would remove what is two slices thick
    opened = where if thick else np.asarray(ndimage.binary_opening(where), bool)
    kept = _large_pieces(opened, geometry, VENTRICLE_ML)
    return np.asarray(ndimage.binary_dilation(kept, mask=where), bool)


def _large_pieces(mask: Mask, geometry: Geometry, least_ml: float) -> Mask:
    from scipy import ndimage

    found: Any = ndimage.label(mask)
    pieces = found[0]
    keep = np.bincount(pieces.ravel()) * geometry.voxel_ml >= least_ml
    keep[0] = False
    return keep[pieces]


def _largest(mask: Mask) -> Mask:
    from scipy import ndimage

    found: Any = ndimage.label(mask)
    pieces, count = found
    if not count:
        return mask
    return np.asarray(pieces == 1 + int(np.argmax(np.bincount(pieces.ravel())[1:])))


def _distance(mask: Mask, geometry: Geometry) -> Map:
    """Distance of every voxel to the next one of a mask, mm; infinite where there is none."""
    from scipy import ndimage

    if not mask.any():
        return np.full(mask.shape, np.inf, np.float32)
    distance = ndimage.distance_transform_edt(~mask, sampling=geometry.spacing)
    return np.asarray(distance, np.float32)


def _coarse(
    geometry: Geometry, around: Mask | None = None, step_mm: float = STEP_MM
) -> tuple[tuple[slice, slice, slice], Geometry]:
    """Every so many-th voxel of a fine grid, of the block around a mask."""
    box = Box.whole(geometry.shape) if around is None else Box.around(around)
    if box.empty:
        box = Box.whole(geometry.shape)
    steps = [max(1, int(step_mm // s)) for s in geometry.spacing]
    first, last = box.start, box.stop
    k, j, i = (slice(max(0, a - n), b + n, n) for a, b, n in zip(first, last, steps, strict=True))
    shape = [len(range(*s.indices(n))) for s, n in zip((k, j, i), geometry.shape, strict=True)]
    affine = geometry.affine @ np.diag([*steps, 1.0])
    affine[:3, 3] = geometry.world((k.start, j.start, i.start))
    return (k, j, i), Geometry(shape, affine)
