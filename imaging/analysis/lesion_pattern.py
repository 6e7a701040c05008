"""How many lesions, how much, and where: the study-level answer, from measured facts only.

The four places are those of the McDonald criteria 2017 (Thompson et al., Lancet Neurol 2018;
17: 162-173): *periventricular*, "abutting the lateral ventricles without white matter in
between"; *juxtacortical*, abutting the cortex; *infratentorial*, in brainstem, cerebellar
peduncles or cerebellum; and what is none of these, deep white matter. "Abutting" is a distance
here: at most :data:`ABUTTING_MM` and half the largest voxel edge between the centre of a voxel of
the lesion and the centre of a voxel of ventricle or cortex. A lesion is counted once:
infratentorial (at least half of it) before periventricular before juxtacortical before deep.

Where ventricles, cortex and tentorium lie is told by :mod:`imaging.analysis.brain_places`, without
an atlas. Cortical lesions and lesions of the deep grey matter cannot be told from their neighbours
and are counted with them. A description, not a diagnosis.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from imaging.analysis.brain_places import BrainPlaces
from imaging.analysis.lesions import Lesion

__all__ = [
    "PLACES",
    "LesionPattern",
    "PlaceCount",
    "lesion_pattern",
]

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
            f"Of {judged} judged brain regions of the McDonald criteria 2017, {self.regions} "
            f"{'holds' if self.regions == 1 else 'hold'} a lesion; this describes, it does not "
            "diagnose."
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
