"""Who is left out when: folds by patient, never by image."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from inference.training.own.prepared import PreparedCase

__all__ = ["make_folds"]


def make_folds(cases: Sequence[PreparedCase], folds: int, seed: int) -> list[frozenset[str]]:
    """Patients left out together, one set per fold; empty where nobody can be left out.

    Parameters
    ----------
    folds : int
        Wanted; never more than there are patients. Where the list of cases names folds, those
        count instead.

    Notes
    -----
    Patients with findings and those without are dealt out apart, so that each fold has both
    where there are enough.
    """
    named = {case.patient: case.fold for case in cases if case.fold}
    if named:
        groups: dict[str, set[str]] = {}
        for case in cases:
            groups.setdefault(named.get(case.patient, "(none)"), set()).add(case.patient)
        return [frozenset(group) for _, group in sorted(groups.items())] if len(groups) > 1 else []
    positive = {case.patient for case in cases if case.positive}
    patients = sorted({case.patient for case in cases})
    count = min(folds, len(patients))
    if count < 2:
        return []
    rng = np.random.default_rng(seed)
    order = [patients[n] for n in rng.permutation(len(patients))]
    order.sort(key=lambda patient: patient not in positive)
    return [frozenset(order[n::count]) for n in range(count)]
