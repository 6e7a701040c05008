"""Raw heads whose lesion labels come from two networks that agree (`planes.teach`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from inference.training.shared.cases import Anatomy

__all__ = ["LESION", "UNKNOWN", "read_taught", "taught_heads"]

LESION, UNKNOWN = 1, 2
"""Numbers in a taught map; 0 is free of lesion."""

Labels = npt.NDArray[np.uint8]


def taught_heads(drawn_from: list[Anatomy], taught: Mapping[int, Labels]) -> list[Anatomy]:
    """The anatomies of a fold with their raw heads labelled.

    Parameters
    ----------
    drawn_from : list of Anatomy
        As `cases.anatomies` gives them.
    taught : mapping of int to ndarray
        Labels by number of the anatomy (`read_taught`).
    """
    changed = list(drawn_from)
    for number, labels in taught.items():
        changed[number] = replace(
            drawn_from[number], gold=labels == LESION, unknown=labels == UNKNOWN
        )
    return changed


def read_taught(path: Path) -> dict[int, Labels]:
    """Labels by number of the anatomy, as `planes.teach` wrote them."""
    with np.load(path, allow_pickle=False) as store:
        return {int(name): store[name] for name in store.files}
