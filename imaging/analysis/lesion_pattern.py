"""How many lesions, how much, and where: the study-level answer, from measured facts only.

The four places are those of the McDonald criteria 2017 (Thompson et al., Lancet Neurol 2018;
17: 162-173): *periventricular*, "abutting the lateral ventricles without white matter in
between"; *juxtacortical*, abutting the cortex; *infratentorial*, in brainstem, cerebellar
peduncles or cerebellum; and what is none of these, deep white matter. "Abutting" is a distance
here: at most :data:`ABUTTING_MM` and half the largest voxel edge between the centre of a voxel of
the lesion and the centre of a voxel of ventricle or cortex. A lesion is counted once:
infratentorial (at least half of it) before periventricular before juxtacortical before deep.

There is no atlas. What lies below the tentorium is told from the size and place of the brain
(:func:`standard_frame`) for a head that is not nodding by more than about 15 degrees; where the
field of view cuts the brain it is not told. Cortical lesions and lesions of the deep grey matter
cannot be told from their neighbours and are counted with them. A description, not a diagnosis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imaging.analysis.lesions import Lesion
from imaging.geometry import Box, Geometry
from imaging.volume import Volume, filled_padding

__all__ = [
    "PLACES",
    "BrainPlaces",
    "LesionPattern",
    "PlaceCount",
    "lesion_pattern",
    "places_from_image",
    "places_from_tissue",
]

Mask = npt.NDArray[np.bool_]
Map = npt.NDArray[np.float32]

PERIVENTRICULAR, JUXTACORTICAL = "periventricular", "juxtacortical"
DEEP, INFRATENTORIAL = "deep", "infratentorial"
#: Place -> what it is called, in the order of the sentences.
PLACES = {
    PERIVENTRICULAR: "Periventricular",
    JUXTACORTICAL: "Juxtacortical",
    DEEP: "Deep white matter",
    INFRATENTORIAL: "Infratentorial",
}
#: Distance of neighbouring centres, to which half the largest voxel edge is added, mm.
ABUTTING_MM = 1.5
#: The consensus on MRI criteria counts lesions of at least this length (Filippi et al., Brain
#: 2019; 142: 1858-1875), mm.
LONG_MM = 3.0
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


@dataclass(frozen=True)
class PlaceCount:
    """The lesions of one place.

    Parameters
    ----------
    place : str
        A key of :data:`PLACES`.
    lesions : tuple of int
        Their numbers in the list.
    """

    place: str
    lesions: tuple[int, ...]
    volume_ml: float

    @property
    def name(self) -> str:
        """What the place is called."""
        return PLACES[self.place]


@dataclass(frozen=True)
class LesionPattern:
    """What a mask of lesions says about the study.

    Parameters
    ----------
    largest : int or None
        Number of the largest lesion.
    long_enough : int
        Lesions at least :data:`LONG_MM` long.
    places : tuple of PlaceCount
        Each place that was judged, also empty ones; none where nothing was known of the brain.
    basis : str
        As in :class:`BrainPlaces`; empty where places are not told.
    not_told : tuple of str
        Places that could not be judged.
    """

    count: int
    total_ml: float
    largest: int | None
    largest_ml: float
    long_enough: int
    places: tuple[PlaceCount, ...]
    basis: str
    not_told: tuple[str, ...] = ()

    @property
    def regions(self) -> int:
        """How many of the brain regions of the McDonald criteria hold a lesion, 0 to 3."""
        return sum(bool(p.lesions) for p in self.places if p.place != DEEP)

    def place_of(self, number: int) -> str:
        """Place of a lesion by its number; empty where it is not told."""
        return next((p.place for p in self.places if number in p.lesions), "")

    def sentences(self) -> tuple[str, ...]:
        """The facts in words; every number is one of this value."""
        if not self.count:
            return ("No lesion is marked.",)
        told = [
            f"{_lesions(self.count)}, {self.total_ml:.2f} ml in all; the largest is lesion "
            f"{self.largest} with {self.largest_ml:.2f} ml.",
            f"At least {LONG_MM:g} mm long: {self.long_enough}.",
        ]
        for place in self.places:
            if place.lesions:
                numbers = ", ".join(str(n) for n in place.lesions)
                told.append(
                    f"{place.name}: {_lesions(len(place.lesions))}, {place.volume_ml:.2f} ml "
                    f"({numbers})."
                )
            else:
                told.append(f"{place.name}: none.")
        if not self.places:
            return (*told, "Places are not told: no brain was found in the image.")
        judged = 3 - sum(p != DEEP for p in self.not_told)
        told.append(
            f"Of {judged} judged brain regions of the McDonald criteria 2017, {self.regions} hold "
            "a lesion; this describes, it does not diagnose."
        )
        for place in self.not_told:
            told.append(f"{PLACES[place]} is not told: the image does not show the whole brain.")
        told.append(_BASIS[self.basis])
        return tuple(told)


_BASIS = {
    "tissue": "Places by distance to ventricles and cortex of the tissue map, without an atlas.",
    "distances": (
        "Places by distance to dark fluid and to the surface of the brain, roughly: "
        "there is no tissue map."
    ),
}


def _lesions(count: int) -> str:
    return f"{count} lesion" if count == 1 else f"{count} lesions"


def lesion_pattern(lesions: Sequence[Lesion], places: BrainPlaces | None) -> LesionPattern:
    """Count lesions by place.

    Parameters
    ----------
    lesions : sequence of Lesion
        As :func:`imaging.analysis.lesions.find_lesions` gives them.
    places : BrainPlaces or None
        May lie on another grid: lesions are looked up by their place in the patient.
    """
    found: dict[str, list[Lesion]] = {}
    if places is not None:
        for lesion in lesions:
            found.setdefault(_place(lesion, places), []).append(lesion)
    not_told = ()
    if places is not None and places.infratentorial is None:
        not_told = (INFRATENTORIAL,)
    judged = [p for p in PLACES if p not in not_told] if places is not None else []
    largest = max(lesions, key=lambda lesion: lesion.volume_ml, default=None)
    return LesionPattern(
        count=len(lesions),
        total_ml=float(sum(lesion.volume_ml for lesion in lesions)),
        largest=largest.number if largest else None,
        largest_ml=float(largest.volume_ml) if largest else 0.0,
        long_enough=sum(lesion.longest_diameter_mm >= LONG_MM for lesion in lesions),
        places=tuple(_counted(place, found.get(place, [])) for place in judged),
        basis=places.basis if places is not None else "",
        not_told=not_told,
    )


def _counted(place: str, lesions: Sequence[Lesion]) -> PlaceCount:
    numbers = tuple(sorted(lesion.number for lesion in lesions))
    return PlaceCount(place, numbers, float(sum(lesion.volume_ml for lesion in lesions)))


def _place(lesion: Lesion, places: BrainPlaces) -> str:
    """Where a lesion is counted."""
    index = places.geometry.index(lesion.geometry.world(lesion.indices))
    at = np.rint(index).astype(int)
    inside = np.all((at >= 0) & (at < places.geometry.shape), axis=1)
    k, j, i = at[inside].T
    if not k.size:
        return DEEP
    below = places.infratentorial
    if below is not None and below[k, j, i].mean() >= 0.5:
        return INFRATENTORIAL
    near = ABUTTING_MM + 0.5 * max(*lesion.geometry.spacing, *places.geometry.spacing)
    if places.ventricle_mm[k, j, i].min() <= near:
        return PERIVENTRICULAR
    if places.cortex_mm[k, j, i].min() <= near:
        return JUXTACORTICAL
    return DEEP


# Where ventricles, cortex and tentorium are -------------------------------------------------------


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
