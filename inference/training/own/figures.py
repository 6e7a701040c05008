"""From cases to figures with intervals: means over patients, bootstrap over patients.

A patient with several cases counts once (the mean of them). Intervals are percentile bootstrap
intervals of 95 % over patients, drawn from a fixed seed; with fewer than :data:`ENOUGH` patients
there are none, because they would look like knowledge. AUC of a yes-or-no model and calibration
pool the cases.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from typing import Any

import numpy as np

from imaging.analysis.probability_metrics import ChanceTable, chance_table
from imaging.analysis.segmentation_metrics import SIZE_BINS_MM3
from inference.training.own.judge import Judged

__all__ = ["ENOUGH", "Figure", "Figures", "figures_of", "plain"]

ENOUGH = 5
_RESAMPLES = 1000
#: Means over patients, in the order of a report.
MEANS = (
    "dice", "lesion_f1", "lesion_sensitivity", "lesion_ppv", "matched_f1", "sensitivity", "ppv",
    "hd95_mm", "nsd", "volume_error_ml", "false_ml", "auc", "average_precision", "accuracy",
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A figure, its interval where there is one, and of how many patients."""

    value: float
    low: float | None
    high: float | None
    n: int

    @property
    def text(self) -> str:
        """``0.62 (0.48 to 0.75)``."""
        if self.low is None or self.high is None:
            return f"{self.value:.3g}"
        return f"{self.value:.3g} ({self.low:.3g} to {self.high:.3g})"


@dataclass(frozen=True)
class Figures:
    """All figures of some cases.

    Parameters
    ----------
    patients, cases : int
    named : dict of str to Figure
    sizes : tuple of (str, int, int)
        Size class of lesions, how many there are, how many were found.
    table : ChanceTable or None
        Of all voxels in doubt together.
    """

    patients: int
    cases: int
    named: dict[str, Figure]
    sizes: tuple[tuple[str, int, int], ...]
    table: ChanceTable | None


def figures_of(rows: Sequence[Judged]) -> Figures:
    """Figures of some cases together."""
    by_patient: dict[str, list[Judged]] = {}
    for row in rows:
        by_patient.setdefault(row.patient, []).append(row)
    groups = list(by_patient.values())
    named: dict[str, Figure] = {}
    for name in MEANS:
        values = [
            float(np.mean(known))
            for group in groups
            if (known := [row.figures[name] for row in group if name in row.figures])
        ]
        if values:
            named[name] = _with_interval(values, lambda some: float(np.mean(some)))
    for name, figure in (("volume_correlation", _correlation), ("ece", _ece), ("auc", _auc)):
        if name not in named and (known := figure(groups)) is not None:
            named[name] = _pooled(groups, figure, known)
    sizes = _sizes(rows)
    table = _together([rows]) if rows else None
    return Figures(len(groups), len(rows), named, sizes, table)


def _together(groups: Sequence[Sequence[Judged]]) -> ChanceTable:
    """All voxels in doubt (or all answers) of some patients."""
    nothing = chance_table(np.zeros(0), np.zeros(0))
    return reduce(ChanceTable.__add__, (row.table for group in groups for row in group), nothing)


def _with_interval(values: list[float], mean: Callable[[list[float]], float]) -> Figure:
    return _pooled(values, mean, mean(values))


def _pooled(groups: list[Any], figure: Callable[[list[Any]], float | None], value: float) -> Figure:
    if len(groups) < ENOUGH:
        return Figure(value, None, None, len(groups))
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(_RESAMPLES):
        picks = rng.integers(0, len(groups), len(groups))
        if (one := figure([groups[n] for n in picks])) is not None:
            drawn.append(one)
    low, high = (float(v) for v in np.percentile(drawn, (2.5, 97.5)))
    return Figure(value, low, high, len(groups))


def _correlation(groups: list[list[Judged]]) -> float | None:
    """Pearson, of the volumes of all cases."""
    rows = [row.figures for group in groups for row in group if "gold_ml" in row.figures]
    if len(rows) < 3:
        return None
    gold, found = ([row[name] for row in rows] for name in ("gold_ml", "found_ml"))
    if np.ptp(gold) == 0 or np.ptp(found) == 0:
        return None
    return float(np.corrcoef(gold, found)[0, 1])


def _ece(groups: list[list[Judged]]) -> float | None:
    table = _together(groups)
    total = int(table.true.sum() + table.other.sum())
    return table.reliability().error if total else None


def _auc(groups: list[list[Judged]]) -> float | None:
    """Of answers, one per case."""
    if any("probability" not in row.figures for group in groups for row in group):
        return None
    return _together(groups).auc


def _sizes(rows: Sequence[Judged]) -> tuple[tuple[str, int, int], ...]:
    sized = [row.by_size for row in rows if row.by_size]
    if not sized:
        return ()
    bounds = [f"{b:g}" for b in SIZE_BINS_MM3]
    names = [f"up to {bounds[0]} mm³"]
    names += [f"{a} to {b} mm³" for a, b in pairwise(bounds)]
    names.append(f"above {bounds[-1]} mm³")
    totals = np.sum(sized, axis=0)
    return tuple((name, int(a), int(b)) for name, (a, b) in zip(names, totals, strict=True))


def plain(figures: Figures) -> dict[str, Any]:
    """As JSON: name to ``value``, ``low``, ``high``, ``n``."""
    return {
        name: {
            "value": round(one.value, 5),
            "low": None if one.low is None else round(one.low, 5),
            "high": None if one.high is None else round(one.high, 5),
            "n": one.n,
        }
        for name, one in figures.named.items()
    }
