"""How good and how honest a probability map is: ROC, precision and recall, calibration.

A :class:`ChanceTable` counts voxels by probability, true ones and others apart. Tables of several
patients add up, so that nothing larger than two thousand numbers is kept of a map. With
:data:`BINS` classes the area under the ROC curve is right to about 0.001.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["BINS", "ChanceTable", "Reliability", "chance_table"]

#: Classes of probability in a table.
BINS = 1000


@dataclass(frozen=True)
class Reliability:
    """What was said against what was true.

    Parameters
    ----------
    said, true : tuple of float
        Mean probability and share of true voxels, per class that holds any.
    voxels : tuple of int
        How many each class holds.
    error : float
        Expected calibration error (Guo et al. 2017, arXiv 1706.04599): mean distance of both,
        weighted by voxels.
    """

    said: tuple[float, ...]
    true: tuple[float, ...]
    voxels: tuple[int, ...]
    error: float


@dataclass(frozen=True, eq=False)
class ChanceTable:
    """Voxels by probability.

    Parameters
    ----------
    true, other : ndarray of int64, shape (BINS,)
        Class ``n`` holds probabilities from ``n / BINS`` on; 1 belongs to the last.
    """

    true: npt.NDArray[np.int64]
    other: npt.NDArray[np.int64]

    def __add__(self, more: ChanceTable) -> ChanceTable:
        return ChanceTable(self.true + more.true, self.other + more.other)

    @property
    def auc(self) -> float | None:
        """Area under the ROC curve; None where there are only true voxels or none."""
        true, other = int(self.true.sum()), int(self.other.sum())
        if not true or not other:
            return None
        below = np.cumsum(self.other) - self.other
        wins = (self.true * (below + self.other / 2.0)).sum()
        return float(wins / (float(true) * other))

    @property
    def average_precision(self) -> float | None:
        """Area under the curve of precision over recall; None where nothing is true."""
        total = int(self.true.sum())
        if not total:
            return None
        true, every = np.cumsum(self.true[::-1]), np.cumsum((self.true + self.other)[::-1])
        precision = true / np.maximum(every, 1)
        return float((precision * self.true[::-1]).sum() / total)

    def reliability(self, classes: int = 10) -> Reliability:
        """What was said against what was true, in even classes of probability."""
        said = (np.arange(BINS) + 0.5) / BINS
        true, every = (
            counts.reshape(classes, -1).sum(1) for counts in (self.true, self.true + self.other)
        )
        weighted = (said * (self.true + self.other)).reshape(classes, -1).sum(1)
        kept = every > 0
        mean, share = weighted[kept] / every[kept], true[kept] / every[kept]
        gap = float((np.abs(mean - share) * every[kept]).sum() / max(int(every.sum()), 1))
        return Reliability(
            tuple(float(v) for v in mean),
            tuple(float(v) for v in share),
            tuple(int(v) for v in every[kept]),
            gap,
        )


def chance_table(
    probability: npt.NDArray[Any],
    truth: npt.NDArray[Any],
    where: npt.NDArray[np.bool_] | None = None,
) -> ChanceTable:
    """Count the voxels of a map.

    Parameters
    ----------
    probability : ndarray
        In [0, 1].
    truth : ndarray
        Non-zero where true, of the same shape.
    where : ndarray of bool, optional
        Only voxels inside this count.
    """
    chance, real = (a if where is None else a[where] for a in (probability, truth != 0))
    place = np.minimum((np.clip(chance, 0, 1) * BINS).astype(np.int64), BINS - 1)
    true = np.bincount(place[real], minlength=BINS)
    return ChanceTable(true, np.bincount(place.ravel(), minlength=BINS) - true)


def doubtful(
    probability: npt.NDArray[Any], truth: npt.NDArray[Any], reach: int = 2
) -> npt.NDArray[np.bool_]:
    """Where calibration is worth asking: near the truth, or where the map says more than 2 %.

    Without this the millions of voxels that nobody doubts make every model look calibrated.
    """
    from scipy import ndimage

    near = ndimage.binary_dilation(truth != 0, np.ones((3, 3, 3)), iterations=reach)
    return np.asarray(near, bool) | (probability > 0.02)
