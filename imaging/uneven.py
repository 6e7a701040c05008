"""Grids of slices that do not lie at even distances: true places, slice by slice.

An affine cannot describe them. :class:`UnevenGeometry` gives the rows and columns of every slice
their true place in the patient; its affine is only a mean step and must not place anything.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from imaging.errors import BadInput
from imaging.geometry import Geometry

#: Slices this close along the normal lie at the same place.
SAME_PLACE_MM = 0.02
#: A slice speaks for the tissue up to this share of the usual step away from it.
REACH = 0.75
#: Steps that differ by less are called even.
SAME_STEP_MM = 0.05
#: A step longer than so many usual ones is a gap.
GAP_STEPS = 1.5
#: More than this share of made-up slices makes no image of the patient.
MADE_UP_SHARE = 1 / 3
_ALONE = "alone:"


class UnevenGeometry(Geometry):
    """A stack whose slices have places of their own.

    Whole numbers along ``k`` are slices; between two of them a place is a share of the way.

    Parameters
    ----------
    mean : Geometry
        Shape, in-plane axes and frame of reference.
    places : array_like, shape (k, 3)
        Centre of the first voxel of each slice, LPS mm, rising along the normal.

    Raises
    ------
    BadInput
        Where the places do not rise or are not one for each slice.
    """

    places: np.ndarray

    def __init__(self, mean: Geometry, places: ArrayLike) -> None:
        super().__init__(mean.shape, mean.affine, mean.frame_of_reference)
        points = np.array(places, dtype=np.float64)
        points.flags.writeable = False
        normal = slice_normal(mean)
        heights = points @ normal if points.shape == (mean.shape[0], 3) else np.zeros(1)
        if len(heights) < 2 or not np.isfinite(heights).all() or np.diff(heights).min() <= 0:
            raise BadInput("The slices do not lie at places of their own")
        object.__setattr__(self, "places", points)
        object.__setattr__(self, "_normal", normal)
        object.__setattr__(self, "_heights", heights)
        object.__setattr__(self, "_usual", usual_step(heights))

    def world(self, index: ArrayLike) -> np.ndarray:
        """Array indices ``(..., 3)`` to LPS mm; past the ends the last step goes on."""
        points = np.asarray(index, dtype=np.float64)
        return self._origin(points[..., 0]) + points[..., 1:] @ self.affine[:3, 1:3].T

    def index(self, world: ArrayLike) -> np.ndarray:
        """LPS mm ``(..., 3)`` to fractional array indices."""
        points = np.asarray(world, dtype=np.float64)
        heights = self._heights  # type: ignore[attr-defined]
        height = points @ self._normal  # type: ignore[attr-defined]
        low = np.clip(np.searchsorted(heights, height, side="right") - 1, 0, len(heights) - 2)
        k = low + (height - heights[low]) / (heights[low + 1] - heights[low])
        inside = (points - self._origin(k)) @ self.directions[:, 1:3]
        return np.concatenate([k[..., None], inside / np.asarray(self.spacing[1:])], axis=-1)

    @property
    def voxel_ml(self) -> float:
        """Volume of a voxel: as thick as the usual step, for nothing was seen in a gap."""
        usual = float(self._usual)  # type: ignore[attr-defined]
        return self.spacing[1] * self.spacing[2] * usual / 1000.0

    @property
    def centre(self) -> np.ndarray:
        """Half way between the first and the last slice, LPS mm."""
        middle = (np.asarray(self.shape) - 1) / 2.0
        return (self.places[0] + self.places[-1]) / 2.0 + self.affine[:3, 1:3] @ middle[1:]

    def nearest(self, world: ArrayLike) -> tuple[int, int, int] | None:
        """The voxel that holds a point; None outside, and between slices that lie far apart."""
        index = np.floor(self.index(world) + 0.5).astype(int)
        if (index < 0).any() or (index >= self.shape).any() or not self.reaches(world):
            return None
        return int(index[0]), int(index[1]), int(index[2])

    def away(self, world: ArrayLike) -> float:
        """Distance of a point from the nearest slice, mm."""
        height = float(np.asarray(world, dtype=np.float64) @ self._normal)  # type: ignore[attr-defined]
        return float(np.abs(self._heights - height).min())  # type: ignore[attr-defined]

    def reaches(self, world: ArrayLike) -> bool:
        """False where a point lies in a gap or past the ends, where nothing was measured."""
        return self.away(world) <= REACH * self._usual  # type: ignore[attr-defined]

    def same_grid(self, other: Geometry, tolerance_mm: float = 1e-2) -> bool:
        """True only for another stack with the same places."""
        if not isinstance(other, UnevenGeometry) or not super().same_grid(other, tolerance_mm):
            return False
        return bool(np.abs(self.places - other.places).max() <= tolerance_mm)

    def _origin(self, k: np.ndarray) -> np.ndarray:
        low = np.clip(np.floor(k).astype(int), 0, len(self.places) - 2)
        step = self.places[low + 1] - self.places[low]
        return self.places[low] + (np.asarray(k) - low)[..., None] * step


def slice_normal(geometry: Geometry) -> np.ndarray:
    """Unit normal of the slices in LPS, towards growing ``k``; shape (3,)."""
    normal = np.cross(geometry.directions[:, 2], geometry.directions[:, 1])
    normal = normal / np.linalg.norm(normal)
    return normal if normal @ geometry.affine[:3, 0] >= 0 else -normal


def usual_step(heights: ArrayLike) -> float:
    """The distance of neighbours that is met most, mm; 1 where all lie at one place."""
    steps = np.diff(np.sort(np.asarray(heights, dtype=np.float64)))
    steps = steps[steps > SAME_PLACE_MM]
    return float(np.median(steps)) if steps.size else 1.0


def mostly_made_up(heights: ArrayLike, step: float | None = None) -> str:
    """Why gaps are too long to be filled, in a phrase; empty where they are not.

    Made up is what would lie in a gap, not what lies between two neighbours.

    Parameters
    ----------
    heights : array_like, shape (n,)
        Places of the slices along their normal, rising, mm.
    step : float, optional
        Distance of the new slices; the usual one by default.

    Returns
    -------
    str
        ``"161 of the 165 slices of an even volume would be made up"``.
    """
    places = np.asarray(heights, dtype=np.float64)
    usual = usual_step(places)
    step = step or usual
    steps = np.diff(places)
    gaps = steps[steps > GAP_STEPS * usual]
    made_up = int((np.ceil(gaps / step - SAME_PLACE_MM) - 1).clip(0).sum())
    count = int(np.floor((places[-1] - places[0]) / step + 0.5)) + 1
    if made_up <= MADE_UP_SHARE * count:
        return ""
    return f"{made_up} of the {count} slices of an even volume would be made up"


def uneven_words(geometry: Geometry, places: np.ndarray) -> str:
    """What slices do, to follow "the slices": ``"lie at uneven distances (3.0 to 9.0 mm)"``.

    Parameters
    ----------
    geometry : Geometry
        Gives the normal.
    places : ndarray, shape (k, 3)
    """
    steps = np.diff(np.sort(places @ slice_normal(geometry)))
    low, high = (float(steps.min()), float(steps.max())) if steps.size else (0.0, 0.0)
    if high <= SAME_PLACE_MM:
        return "all lie at one place"
    if low <= SAME_PLACE_MM:
        return "partly lie at the same places"
    if high - low > SAME_STEP_MM:
        return f"lie at uneven distances ({low:.1f} to {high:.1f} mm)"
    return "lie at even distances but not on a straight line"


def gap_words(geometry: Geometry, places: np.ndarray, k: int) -> str:
    """The gaps beside a slice of an uneven stack: ``"gap of 12 mm (to slice 7)"``; else empty.

    Parameters
    ----------
    geometry : Geometry
        Gives the normal.
    places : ndarray, shape (k, 3)
    """
    heights = places @ slice_normal(geometry)
    wide = GAP_STEPS * usual_step(heights)
    beside = [n for n in (k - 1, k + 1) if 0 <= n < len(heights)]
    gaps = [(abs(float(heights[n] - heights[k])), n + 1) for n in beside]
    return " · ".join(f"gap of {mm:.3g} mm (to slice {n})" for mm, n in gaps if mm > wide)


def true_place(geometry: Geometry, places: np.ndarray, world: ArrayLike) -> np.ndarray:
    """Where a point seen on a slice of an uneven stack lies in the patient, LPS mm, shape (3,).

    Other than ``world`` only where the geometry is a stand-in, because slices share places.
    """
    if isinstance(geometry, UnevenGeometry):
        return np.asarray(world, dtype=np.float64)
    index = geometry.index(world)
    k = int(np.clip(np.floor(index[0] + 0.5), 0, len(places) - 1))
    return places[k] + geometry.affine[:3, 1:3] @ index[1:]


def uneven_geometry(mean: Geometry, places: np.ndarray, key: str) -> Geometry:
    """The grid of an uneven stack: true places where every slice has one of its own.

    Where slices share a place no point of the patient can tell them apart: then the grid is a
    stand-in to leaf through, in a frame of reference of its own, so that nothing is linked to it.

    Parameters
    ----------
    mean : Geometry
        The stand-in with a mean step.
    places : ndarray, shape (k, 3)
        Centre of the first voxel of each slice, LPS mm.
    key : str
        Tells this stack from all others.
    """
    heights = places @ slice_normal(mean)
    if len(places) > 1 and np.diff(heights).min() > SAME_PLACE_MM:
        return UnevenGeometry(mean, places)
    frame = private_frame(key, mean.frame_of_reference)
    return Geometry(mean.shape, mean.affine, frame)


def private_frame(key: str, frame_of_reference: str = "") -> str:
    """A frame of reference that no image but this one lies in; it keeps the true one in mind."""
    return f"{_ALONE}{key}:{frame_of_reference}"


def true_frame(geometry: Geometry) -> str:
    """The Frame of Reference UID that the header gave, for private frames too."""
    frame = geometry.frame_of_reference
    return frame.rpartition(":")[2] if frame.startswith(_ALONE) else frame
