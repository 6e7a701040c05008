"""Head and brain of a head MR, roughly, whatever the contrast: good enough to place a plane.

Classical steps on a coarse grid along the patient's axes: the head is what is brighter than air,
filled; the largest ball that fits into it lies in the skull; around its centre the brain is what is
left when thin bridges to scalp and face are eroded away, grown back and closed. Nothing here is
meant for measuring.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.volume import Volume

STEP_MM = 2.5
#: Radii of the largest ball inside adult and child heads, with scalp.
BALL_MM = (48.0, 105.0)
_BRAIN_ML = (800.0, 2600.0)
_USUAL_ML = 1900.0
#: Quartiles of the middle of a head, as a share of its median: 0.1 to 0.8 in T1, T2 and FLAIR.
_MOST_SPREAD = 0.85
_EDGE_MM = 8.0
#: How far a brain goes from the middle of the ball, as shares of its radius: to the sides, to front
#: and back, upwards, downwards.
_REACH = (1.22, 1.55, 1.45, 1.15)
#: Bone is 0.3 to 0.66 as bright as brain in every contrast; without skull no layer is so dark.
_BRIGHTEST_SKULL = 0.7
NO_SKIN = "Skull and skin are not in this image, so there is no face to cut off"
NO_HEAD = "No head was found in this image, so there is no face to cut off"


@dataclass(frozen=True, eq=False)
class HeadParts:
    """Masks on a grid along the patient's axes, LPS, arrays ``(z, y, x)`` with even steps.

    Parameters
    ----------
    geometry : Geometry
    head, brain : ndarray of bool, shape (k, j, i)
    centre_mm : ndarray, shape (3,)
        Middle of the largest ball inside the head, LPS.
    radius_mm : float
    """

    geometry: Geometry
    grey: np.ndarray
    head: np.ndarray
    brain: np.ndarray
    centre_mm: np.ndarray
    radius_mm: float


def find_head(volume: Volume) -> HeadParts:
    """Find head and brain.

    Raises
    ------
    BadInput
        Where there is none that looks like one.
    """
    geometry, grey = on_patient_axes(volume)
    head = _head(grey)
    centre, radius = _largest_ball(head)
    if not BALL_MM[0] <= radius <= BALL_MM[1]:
        raise BadInput(NO_HEAD, volume.name)
    brain = _brain(grey, head, centre, radius)
    millilitres = brain.sum() * STEP_MM**3 / 1000.0
    if not _BRAIN_ML[0] <= millilitres <= _BRAIN_ML[1]:
        raise BadInput("No brain was found in this image, so no face can be cut off", volume.name)
    return HeadParts(geometry, grey, head, brain, geometry.world(centre), radius)


def on_patient_axes(volume: Volume, step_mm: float = STEP_MM) -> tuple[Geometry, np.ndarray]:
    """The image on an even grid along left, posterior and superior; 0 outside the image."""
    from scipy.ndimage import affine_transform, uniform_filter

    low, high = volume.geometry.corners.min(0), volume.geometry.corners.max(0)
    shape = np.ceil((high - low) / step_mm).astype(int) + 1
    affine = np.zeros((4, 4))
    affine[0, 2] = affine[1, 1] = affine[2, 0] = step_mm
    affine[:3, 3], affine[3, 3] = low, 1.0
    geometry = Geometry(tuple(int(n) for n in shape[::-1]), affine)
    size: Any = [max(1, round(step_mm / s)) for s in volume.geometry.spacing]
    smooth = uniform_filter(np.nan_to_num(volume.voxels.astype(np.float32)), size)
    grey = affine_transform(
        smooth, volume.geometry.inverse @ geometry.affine, output_shape=geometry.shape, order=1
    )
    return geometry, np.abs(grey)


def _head(grey: np.ndarray) -> np.ndarray:
    """The largest thing that is brighter than air, with its dark inside."""
    from scipy.ndimage import binary_fill_holes

    bright = grey > _air_threshold(grey)
    solid = largest(_grown(_shrunk(bright, 3.0), 3.0))
    closed = _closed(solid, 10.0)
    for axis in range(3):
        for plane in range(closed.shape[axis]):
            where: list = [slice(None)] * 3
            where[axis] = plane
            closed[tuple(where)] = binary_fill_holes(closed[tuple(where)])
    return closed


def _air_threshold(grey: np.ndarray) -> float:
    """Otsu's threshold on the logarithm, which sees air as one hump and all tissue as the other."""
    values = grey[grey > 0]
    if values.size < 1000:
        raise BadInput(NO_HEAD)
    top = np.percentile(values, 99.5)
    if top <= 0:
        raise BadInput(NO_HEAD)
    scaled = np.log1p(np.clip(values / top, 0, 1) * 60.0)
    counts, edges = np.histogram(scaled, 128)
    middles = (edges[1:] + edges[:-1]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    mean_below = np.cumsum(counts * middles) / np.maximum(below, 1)
    mean_above = (np.sum(counts * middles) - np.cumsum(counts * middles)) / np.maximum(above, 1)
    best = int(np.argmax(below * above * (mean_below - mean_above) ** 2.0))
    return float(np.expm1(middles[best]) / 60.0 * top)


def _largest_ball(head: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (array index) and radius in mm of the largest ball inside head and image; of balls of
    nearly the same size the highest, since a neck may be as wide as a skull."""
    depth = _depth(np.pad(head, 1))[1:-1, 1:-1, 1:-1]
    places = np.argwhere(depth >= 0.95 * depth.max())
    top = places[places[:, 0] >= places[:, 0].max() - 2]
    best = top[int(np.argmax(depth[tuple(top.T)]))]
    return best, float(depth[tuple(best)])


def _brain(grey: np.ndarray, head: np.ndarray, centre: np.ndarray, radius: float) -> np.ndarray:
    from scipy.ndimage import binary_fill_holes

    k, j, i = np.ogrid[: grey.shape[0], : grey.shape[1], : grey.shape[2]]
    offsets = [(axis - c) * STEP_MM for axis, c in zip((k, j, i), centre, strict=True)]
    near = sum(np.square(o) for o in offsets) <= (0.6 * radius) ** 2
    inside = grey[near & head]
    typical = max(float(np.median(inside)), 1e-6)
    spread = float(np.subtract(*np.percentile(inside, (75, 25)))) / typical
    if spread > _MOST_SPREAD:
        raise BadInput("This is no plain picture of a head (a phase, a difference, a map)")
    low, high = 0.35 * typical, float(np.percentile(inside, 99)) * 1.6
    if _skull(grey, head, centre, typical) > _BRIGHTEST_SKULL:
        raise BadInput(NO_SKIN)
    up_or_down = np.where(offsets[0] > 0, _REACH[2], _REACH[3])
    reach = sum(
        np.square(o / (radius * r))
        for o, r in zip(offsets, (up_or_down, _REACH[1], _REACH[0]), strict=True)
    )
    depth = _depth(np.pad(head, 1, mode="edge"))[1:-1, 1:-1, 1:-1]
    tissue = (grey > low) & (grey < high) & head & (depth > _EDGE_MM) & (reach <= 1.0)
    brain = tissue
    for reach_mm in (6.0, 8.0, 10.0, 12.0, 15.0, 18.0):  # bridges to the face may be thick
        core = component_at(_shrunk(tissue, reach_mm), centre)
        grown = _grown(core, reach_mm + 2.0) & head & (depth > _EDGE_MM / 2)
        brain = np.asarray(binary_fill_holes(_closed(grown, 10.0)))
        if brain.sum() * STEP_MM**3 / 1000.0 <= _USUAL_ML:
            break
    return brain


def _skull(grey: np.ndarray, head: np.ndarray, centre: np.ndarray, typical: float) -> float:
    """How bright the darkest layer under the skin is, as a share of the brain, above the ears."""
    depth = _depth(np.pad(head, 1, mode="edge"))[1:-1, 1:-1, 1:-1]
    above = head.copy()
    above[: int(centre[0] + 10 / STEP_MM)] = False
    layers = (above & (depth > low) & (depth <= low + 2.5) for low in (5.0, 7.5, 10.0, 12.5, 15.0))
    return min((float(np.median(grey[one])) / typical for one in layers if one.any()), default=0.0)


def component_at(mask: np.ndarray, centre: np.ndarray) -> np.ndarray:
    """The connected part nearest to a place."""
    numbers, count = _parts(mask)
    if not count:
        return mask
    places = np.argwhere(mask)
    nearest = places[int(np.argmin(((places - centre) ** 2).sum(axis=1)))]
    return numbers == numbers[tuple(nearest)]


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest connected part."""
    numbers, count = _parts(mask)
    if count < 2:
        return mask
    sizes = np.bincount(numbers.ravel())
    sizes[0] = 0
    return numbers == int(np.argmax(sizes))


def _parts(mask: np.ndarray) -> tuple[np.ndarray, int]:
    from scipy.ndimage import label

    found: Any = label(mask)
    return found[0], int(found[1])


def _depth(mask: np.ndarray) -> np.ndarray:
    """Distance of each voxel inside a mask to the next one outside, mm."""
    from scipy.ndimage import distance_transform_edt

    return np.asarray(distance_transform_edt(mask)) * STEP_MM


def _grown(mask: np.ndarray, reach_mm: float) -> np.ndarray:
    """Everything so near to a mask; by distance, which is fast for any size."""
    return _depth(~mask) <= reach_mm if mask.any() else mask


def _shrunk(mask: np.ndarray, reach_mm: float) -> np.ndarray:
    """What lies deeper; the edge of the image does not count."""
    return _depth(mask) > reach_mm if not mask.all() else mask


def _closed(mask: np.ndarray, reach_mm: float) -> np.ndarray:
    """A mask without gaps narrower than twice so much."""
    edge = int(reach_mm / STEP_MM) + 2
    wide = _shrunk(_grown(np.pad(mask, edge), reach_mm), reach_mm)
    return wide[edge:-edge, edge:-edge, edge:-edge] | mask
