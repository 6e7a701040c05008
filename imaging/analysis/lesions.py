"""Lesions: the connected parts of a mask, measured, placed and numbered for the list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from imaging.analysis.measure import longest_diameter
from imaging.analysis.morphology import find_parts
from imaging.analysis.place import HeadFrame
from imaging.geometry import Box, Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation, mask_uid


@dataclass(frozen=True, eq=False)
class Lesion:
    """One connected part of a label.

    Parameters
    ----------
    number : int
        What the list shows; kept over edits as long as the lesion keeps voxels.
    label : int
        Segment number.
    box : Box
        The tight block around it.
    mask : ndarray of bool
        Its voxels inside ``box``, read-only.
    mean_probability : float or None
        Mean of the model's probability over its voxels; None without a map.
    peak_index : tuple of int
        Voxel of highest probability, else the voxel nearest to the centroid; always inside.
    place : str
        Where in the head, in words; empty where the head is not known.
    """

    number: int
    label: int
    geometry: Geometry
    box: Box
    mask: np.ndarray
    mean_probability: float | None
    peak_index: tuple[int, int, int]
    place: str = ""

    @cached_property
    def voxels(self) -> int:
        """How many voxels it has."""
        return int(np.count_nonzero(self.mask))

    @property
    def volume_ml(self) -> float:
        """Volume in millilitres."""
        return self.voxels * self.geometry.voxel_ml

    @cached_property
    def indices(self) -> np.ndarray:
        """Its voxels ``(k, j, i)``; int array of shape (n, 3)."""
        return np.argwhere(self.mask) + np.asarray(self.box.start)

    @cached_property
    def longest_diameter_mm(self) -> float:
        """Longest distance between two of its voxel corners, in 3D."""
        return longest_diameter(self.indices, self.geometry).length_mm

    @cached_property
    def centroid_world(self) -> np.ndarray:
        """Mean of its voxel centres in LPS mm; may lie outside a curved lesion."""
        point = self.geometry.world(self.indices.mean(axis=0))
        point.flags.writeable = False
        return point

    @property
    def peak_world(self) -> np.ndarray:
        """Where to jump to: centre of the peak voxel in LPS mm."""
        return self.geometry.world(self.peak_index)


def lesion_uid(segmentation: Segmentation, lesion: Lesion) -> str:
    """What says in every file that this is the same lesion, whatever its number in a list.

    It follows from the mask and from the lesion's deepest voxel, the one farthest from its border,
    so it is the same in two exports, after a case was opened again and after the lesion was
    accepted, and mostly after its border was corrected. Two lesions of a mask never share one.
    """
    from scipy.ndimage import distance_transform_edt

    deep = distance_transform_edt(np.pad(lesion.mask, 1), sampling=lesion.geometry.spacing)
    inner = np.round(np.asarray(deep)[1:-1, 1:-1, 1:-1], 6)
    deepest = np.unravel_index(int(inner.argmax()), inner.shape)
    k, j, i = (int(a + b) for a, b in zip(deepest, lesion.box.start, strict=True))
    created = segmentation.provenance.created
    return mask_uid(segmentation.id, lesion.geometry, created, f"lesion at {k} {j} {i}")


def lesion_anchors(lesions: Sequence[Lesion]) -> tuple[tuple[int, int, int, int], ...]:
    """The numbers of lesions, each with a voxel inside it: what a mask keeps of its list."""
    return tuple((lesion.number, *lesion.peak_index) for lesion in lesions)


def anchored_lesions(
    geometry: Geometry, numbers: Sequence[tuple[int, int, int, int]]
) -> list[Lesion]:
    """Lesions of one voxel for :func:`lesion_anchors`, which give their numbers to what lies there.

    Parameters
    ----------
    numbers : sequence of (number, k, j, i)
        A voxel outside the grid is left out.
    """
    voxel = np.ones((1, 1, 1), bool)
    voxel.flags.writeable = False
    found = []
    for number, *place in numbers:
        box = Box(_triple(np.array(place)), _triple(np.add(place, 1)))
        if box.clipped(geometry.shape) == box:
            found.append(Lesion(number, 0, geometry, box, voxel, None, box.start))
    return found


def numbered_as(
    lesions: Sequence[Lesion], numbers: Sequence[tuple[int, int, int, int]]
) -> list[Lesion]:
    """Lesions with the numbers that a mask kept for them; others come after all of those."""
    if not numbers or not lesions:
        return list(lesions)
    return _number(list(lesions), anchored_lesions(lesions[0].geometry, numbers))


def find_lesions(
    segmentation: Segmentation,
    probability: Heatmap | None = None,
    head: HeadFrame | None = None,
    previous: Sequence[Lesion] = (),
    labels: Sequence[int] | None = None,
) -> list[Lesion]:
    """All lesions of a mask.

    Parameters
    ----------
    probability : Heatmap, optional
        On the same grid; another grid is ignored.
    head : HeadFrame, optional
        Where the head lies, for the words of :attr:`Lesion.place`.
    previous : sequence of Lesion
        The list before an edit: lesions that share voxels with one of it keep its number.
    labels : sequence of int, optional
        Only these segment numbers; all by default.

    Returns
    -------
    list of Lesion
        By number. Without ``previous`` the largest is number 1.
    """
    array = segmentation.labels
    if labels is not None:
        array = np.where(np.isin(array, list(labels)), array, np.uint8(0))
    found = _measure(array, Box.whole(array.shape), segmentation.geometry, probability, head)
    return _number(found, previous)


def update_lesions(
    previous: Sequence[Lesion],
    segmentation: Segmentation,
    changed: Box,
    probability: Heatmap | None = None,
    head: HeadFrame | None = None,
) -> list[Lesion]:
    """The list after an edit that changed the voxels of one block only.

    Only parts that touch the block are measured again; all others are taken over as they are.

    Parameters
    ----------
    previous : sequence of Lesion
        The complete list before the edit, as :func:`find_lesions` or this function gave it.
    changed : Box
        The block of the edit.
    """
    shape = segmentation.geometry.shape
    reach = _grown(changed).clipped(shape)
    touched = [lesion for lesion in previous if _meet(lesion.box, reach)]
    kept = [lesion for lesion in previous if not _meet(lesion.box, reach)]
    area = reach
    for lesion in touched:
        area = area.union(lesion.box)
    block = segmentation.labels[area.slices].copy()
    # Parts that lie in the area but were not touched are left out of the new measurement.
    for lesion in kept:
        _blank(block, area, lesion)
    found = _measure(block, area, segmentation.geometry, probability, head)
    return _number(found, previous, kept)


def _measure(
    array: np.ndarray, area: Box, geometry: Geometry, heat: Heatmap | None, head: HeadFrame | None
) -> list[Lesion]:
    """Lesions, not yet numbered, of the labels of a block."""
    parts = find_parts(array)
    if parts.sizes.size == 0:
        return []
    order = np.argsort(parts.part, kind="stable")
    ends = np.cumsum(parts.sizes)
    positions = parts.positions[order]
    values = heat.values if heat is not None and geometry.same_grid(heat.geometry) else None
    lesions = []
    for start, end in zip(ends - parts.sizes, ends, strict=True):
        flat = positions[start:end]
        label = int(array.flat[flat[0]])
        indices = np.stack(np.unravel_index(flat, array.shape), axis=1) + np.asarray(area.start)
        lesions.append(_lesion(indices, label, geometry, values, head))
    return lesions


def _lesion(
    indices: np.ndarray,
    label: int,
    geometry: Geometry,
    values: np.ndarray | None,
    head: HeadFrame | None,
) -> Lesion:
    low, high = indices.min(axis=0), indices.max(axis=0) + 1
    box = Box(_triple(low), _triple(high))
    mask = np.zeros(box.shape, bool)
    mask[tuple((indices - low).T)] = True
    mask.flags.writeable = False
    mean, peak = None, _nearest_to_centroid(indices, geometry)
    if values is not None:
        inside = values[tuple(indices.T)]
        mean, peak = float(inside.mean(dtype=np.float64)), indices[int(inside.argmax())]
    place = "" if head is None else head.place(geometry.world(indices.mean(axis=0)))
    return Lesion(0, label, geometry, box, mask, mean, _triple(peak), place)


def _nearest_to_centroid(indices: np.ndarray, geometry: Geometry) -> np.ndarray:
    offset = (indices - indices.mean(axis=0)) * np.asarray(geometry.spacing)
    return indices[int((offset * offset).sum(axis=1).argmin())]


def _number(
    found: list[Lesion], previous: Sequence[Lesion], kept: Sequence[Lesion] = ()
) -> list[Lesion]:
    """Give numbers: the heir with most shared voxels keeps the old one, new ones come after."""
    claims = []
    taken = {lesion.number for lesion in kept}
    for new, lesion in enumerate(found):
        for old in previous:
            if old.number not in taken and _meet(old.box, lesion.box):
                claims.append((_shared(old, lesion), lesion.label == old.label, old.number, new))
    numbers: dict[int, int] = {}
    for voxels, _, number, new in sorted(claims, key=lambda c: (-c[0], not c[1], c[2], c[3])):
        if voxels and number not in taken and new not in numbers:
            numbers[new] = number
            taken.add(number)
    largest_first = sorted(range(len(found)), key=lambda n: (-found[n].voxels, found[n].box.start))
    following = max([lesion.number for lesion in previous], default=0) + 1
    for new in largest_first:
        if new not in numbers:
            numbers[new] = following
            following += 1
    fresh = [replace(lesion, number=numbers[new]) for new, lesion in enumerate(found)]
    return sorted([*kept, *fresh], key=lambda lesion: lesion.number)


def _shared(one: Lesion, other: Lesion) -> int:
    """How many voxels two lesions have in common."""
    start = np.maximum(one.box.start, other.box.start)
    stop = np.minimum(one.box.stop, other.box.stop)
    if (stop <= start).any():
        return 0
    return int(np.count_nonzero(_cut(one, start, stop) & _cut(other, start, stop)))


def _cut(lesion: Lesion, start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    a, b = (start - lesion.box.start).tolist(), (stop - lesion.box.start).tolist()
    return lesion.mask[a[0] : b[0], a[1] : b[1], a[2] : b[2]]


def _blank(block: np.ndarray, area: Box, lesion: Lesion) -> None:
    """Set the voxels of a lesion to 0 in an array that covers ``area``."""
    start = np.maximum(area.start, lesion.box.start)
    stop = np.minimum(area.stop, lesion.box.stop)
    if (stop <= start).any():
        return
    a, b = (start - area.start).tolist(), (stop - area.start).tolist()
    block[a[0] : b[0], a[1] : b[1], a[2] : b[2]][_cut(lesion, start, stop)] = 0


def _meet(one: Box, other: Box) -> bool:
    return all(
        a < d and c < b
        for a, b, c, d in zip(one.start, one.stop, other.start, other.stop, strict=True)
    )


def _grown(box: Box) -> Box:
    """One voxel more on every side: an edit there can join what was apart."""
    return Box(_triple(np.subtract(box.start, 1)), _triple(np.add(box.stop, 1)))


def _triple(values: np.ndarray) -> tuple[int, int, int]:
    k, j, i = (int(v) for v in values)
    return k, j, i
