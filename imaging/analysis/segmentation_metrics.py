"""How far a mask agrees with a reference mask: voxels, lesions, surfaces, volumes.

One place, so that every report counts in the same way. Where the reference is empty there is
nothing to overlap with: shares are then None and only the wrongly marked volume and count are
given, never a Dice of 1.

Definitions. Voxel Dice, sensitivity, positive predictive value: as everywhere. Lesions are
26-connected components. Two rules say which are found, both named in the reports because figures
of one cannot be compared with figures of the other:

- *touch*: a lesion is found, and a marked piece is true, where one voxel overlaps.
- *match*: pieces are paired one to one, best first, where intersection over union is at least
  :data:`MATCH_IOU`.

HD95 and normalised surface Dice (Nikolov et al. 2021, 10.2196/26151) count voxels of the surface
(those that a 6-neighbour erosion takes away), distances in mm, the larger of the two directed 95th
percentiles: the same as ``monai.metrics`` without subvoxels, by which the tests judge them. Other
tools differ (Podobnik and Vrtovec 2024, arXiv 2410.02630).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from imaging.geometry import Box

__all__ = ["MATCH_IOU", "SIZE_BINS_MM3", "Agreement", "LesionCount", "agreement", "surfaces"]

Mask = npt.NDArray[np.bool_]

#: Pieces overlap well enough to be one lesion (rule *match*).
MATCH_IOU = 0.1
#: Upper bounds of the size classes of lesions in mm³; the last class has none.
SIZE_BINS_MM3 = (10.0, 50.0, 200.0)
#: Surfaces closer than this agree (normalised surface Dice), mm.
TOLERANCE_MM = 2.0


@dataclass(frozen=True)
class LesionCount:
    """Lesions found by one rule.

    Parameters
    ----------
    lesions, marked : int
        Pieces of the reference and of the mask.
    found, true : int
        Those of each that have a counterpart.
    """

    lesions: int
    marked: int
    found: int
    true: int

    @property
    def sensitivity(self) -> float | None:
        """Share of the lesions that were found."""
        return self.found / self.lesions if self.lesions else None

    @property
    def ppv(self) -> float | None:
        """Share of the marked pieces that are lesions; None where nothing is marked."""
        return self.true / self.marked if self.marked else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of both; 0 where there are lesions and nothing was marked."""
        if not self.lesions:
            return None
        recall, precision = self.sensitivity or 0.0, self.ppv or 0.0
        return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


@dataclass(frozen=True)
class Agreement:
    """A mask against a reference.

    Parameters
    ----------
    dice, sensitivity, ppv : float or None
        Over voxels; None where the reference is empty.
    gold_ml, found_ml : float
    volume_error : float or None
        (found - reference) / reference.
    touch, match : LesionCount
        By the two rules.
    found_by_size : tuple of (int, int)
        Per class of :data:`SIZE_BINS_MM3`: lesions, and how many of them were touched.
    hd95_mm, nsd : float or None
        None where either mask is empty.
    false_ml : float
        Marked outside the reference.
    """

    dice: float | None
    sensitivity: float | None
    ppv: float | None
    gold_ml: float
    found_ml: float
    volume_error: float | None
    touch: LesionCount
    match: LesionCount
    found_by_size: tuple[tuple[int, int], ...]
    hd95_mm: float | None
    nsd: float | None
    false_ml: float


def agreement(
    found: npt.NDArray[Any],
    gold: npt.NDArray[Any],
    spacing_mm: Sequence[float],
    tolerance_mm: float = TOLERANCE_MM,
) -> Agreement:
    """Measure a mask.

    Parameters
    ----------
    found, gold : ndarray, shape (k, j, i)
        Non-zero where marked, on one grid.
    spacing_mm : sequence of float
        Of the voxels along ``k, j, i``.
    tolerance_mm : float
        For the normalised surface Dice.

    Raises
    ------
    ValueError
        Where the grids differ.
    """
    if found.shape != gold.shape:
        raise ValueError(f"the masks lie on different grids, {found.shape} and {gold.shape}")
    a, b = found != 0, gold != 0
    box = Box.around(a | b)
    if not box.empty:
        a, b = a[box.slices], b[box.slices]
    both, marked, real = int((a & b).sum()), int(a.sum()), int(b.sum())
    voxel_ml = float(np.prod(spacing_mm)) / 1000.0
    pairs = _Pieces(a, b)
    hd95, nsd = surfaces(a, b, spacing_mm, tolerance_mm)
    return Agreement(
        dice=2 * both / (marked + real) if real else None,
        sensitivity=both / real if real else None,
        ppv=both / marked if real and marked else None,
        gold_ml=real * voxel_ml,
        found_ml=marked * voxel_ml,
        volume_error=(marked - real) / real if real else None,
        touch=pairs.touch(),
        match=pairs.match(),
        found_by_size=pairs.by_size(voxel_ml * 1000.0),
        hd95_mm=hd95,
        nsd=nsd,
        false_ml=(marked - both) * voxel_ml,
    )


class _Pieces:
    """26-connected pieces of two masks and how they overlap."""

    def __init__(self, found: Mask, gold: Mask) -> None:
        self.found, self.marked = _pieces(found)
        self.gold, self.lesions = _pieces(gold)
        both = found & gold
        code = self.gold[both].astype(np.int64) * (self.marked + 1) + self.found[both]
        codes, self.shared = np.unique(code, return_counts=True)
        self.pairs = np.stack(np.divmod(codes, self.marked + 1), axis=1)

    def touch(self) -> LesionCount:
        """Every overlap counts."""
        hit, true = (len(set(self.pairs[:, side].tolist())) for side in (0, 1))
        return LesionCount(self.lesions, self.marked, hit, true)

    def match(self) -> LesionCount:
        """One to one, best first."""
        gold_sizes = np.bincount(self.gold.ravel(), minlength=self.lesions + 1)
        found_sizes = np.bincount(self.found.ravel(), minlength=self.marked + 1)
        union = gold_sizes[self.pairs[:, 0]] + found_sizes[self.pairs[:, 1]] - self.shared
        iou = self.shared / np.maximum(union, 1)
        lesions: set[int] = set()
        marked: set[int] = set()
        for n in np.argsort(-iou, kind="stable"):
            lesion, piece = (int(v) for v in self.pairs[n])
            if iou[n] >= MATCH_IOU and lesion not in lesions and piece not in marked:
                lesions.add(lesion)
                marked.add(piece)
        return LesionCount(self.lesions, self.marked, len(lesions), len(marked))

    def by_size(self, voxel_mm3: float) -> tuple[tuple[int, int], ...]:
        """Lesions and touched ones per size class."""
        sizes = np.bincount(self.gold.ravel(), minlength=self.lesions + 1)[1:] * voxel_mm3
        hit = np.isin(np.arange(1, self.lesions + 1), self.pairs[:, 0])
        classes = np.digitize(sizes, SIZE_BINS_MM3)
        count = len(SIZE_BINS_MM3) + 1
        return tuple(
            (int((classes == n).sum()), int(hit[classes == n].sum())) for n in range(count)
        )


def _pieces(mask: Mask) -> tuple[npt.NDArray[np.int32], int]:
    from scipy import ndimage

    found: Any = ndimage.label(mask, np.ones((3, 3, 3)))
    return found


def surfaces(
    found: Mask, gold: Mask, spacing_mm: Sequence[float], tolerance_mm: float = TOLERANCE_MM
) -> tuple[float | None, float | None]:
    """HD95 in mm and normalised surface Dice; None for both where either mask is empty.

    Parameters
    ----------
    found, gold : ndarray of bool, shape (k, j, i)
    """
    from scipy import ndimage

    if not found.any() or not gold.any():
        return None, None
    wide = [np.pad(m, 1) for m in (found, gold)]
    edges = [m & ~np.asarray(ndimage.binary_erosion(m), bool) for m in wide]
    away = [np.asarray(ndimage.distance_transform_edt(~e, sampling=spacing_mm)) for e in edges]
    there, back = away[1][edges[0]], away[0][edges[1]]
    hd95 = max(float(np.percentile(there, 95)), float(np.percentile(back, 95)))
    near = int((there <= tolerance_mm).sum()) + int((back <= tolerance_mm).sum())
    return hd95, near / (there.size + back.size)
