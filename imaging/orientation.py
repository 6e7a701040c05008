"""Patient directions and the letters that name them.

Inside Isocenter every coordinate is LPS millimetres: +x towards the patient's Left, +y Posterior,
+z Superior (DICOM PS3.3 C.7.6.2.1.1). Other conventions exist only at the doors.
"""

from __future__ import annotations

import numpy as np

#: Two grids agree when no corner differs by more than this.
GRID_TOLERANCE_MM = 1e-2
#: Slice positions may differ from an even step by this much and still count as regular.
SLICE_STEP_TOLERANCE_MM = 0.05
#: Largest dot product of two axes that still count as perpendicular.
ORTHOGONAL_TOLERANCE = 1e-3
#: A direction component smaller than this gets no letter of its own.
LETTER_THRESHOLD = 0.2

_POSITIVE = "LPS"
_NEGATIVE = "RAI"
#: Screen right and screen down of slices across L, P and S.
_SCREEN = tuple(
    (np.array(right, float), np.array(down, float))
    for right, down in (
        ((0, 1, 0), (0, 0, -1)),
        ((1, 0, 0), (0, 0, -1)),
        ((1, 0, 0), (0, 1, 0)),
    )
)
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def direction_letters(direction: np.ndarray, limit: int = 3) -> str:
    """Name the way a vector points, strongest component first.

    Parameters
    ----------
    direction : ndarray, shape (3,)
        A vector in LPS; need not be of unit length.
    limit : int
        At most so many letters.

    Returns
    -------
    str
        For example ``"L"``, ``"LA"`` or ``"SPL"``; empty for a zero vector.
    """
    vector = np.asarray(direction, dtype=float)
    length = np.linalg.norm(vector)
    if not np.isfinite(length) or length < 1e-12:
        return ""
    vector = vector / length
    order = np.argsort(-np.abs(vector), kind="stable")
    letters = [
        (_POSITIVE if vector[axis] > 0 else _NEGATIVE)[axis]
        for axis in order
        if abs(vector[axis]) >= LETTER_THRESHOLD
    ]
    return "".join(letters[:limit])


def opposite_letters(letters: str) -> str:
    """The letters of the opposite direction."""
    swap = dict(zip(_POSITIVE + _NEGATIVE, _NEGATIVE + _POSITIVE, strict=True))
    return "".join(swap[letter] for letter in letters)


def closest_patient_axes(directions: np.ndarray) -> tuple[tuple[int, int, int], tuple[int, ...]]:
    """Match array axes with patient axes.

    Parameters
    ----------
    directions : ndarray, shape (3, 3)
        Columns are the unit directions of the array axes in LPS.

    Returns
    -------
    axes : tuple of int
        For patient axis L, P, S in turn: the array axis that runs closest along it.
    signs : tuple of int
        ``+1`` where that array axis runs towards L, P, S, else ``-1``.
    """
    from itertools import permutations

    strength = np.abs(directions)
    best = max(permutations(range(3)), key=lambda p: sum(strength[w, p[w]] for w in range(3)))
    signs = tuple(1 if directions[w, best[w]] >= 0 else -1 for w in range(3))
    return (best[0], best[1], best[2]), signs


def upright(directions: np.ndarray) -> tuple[bool, bool, bool]:
    """How to lay the acquired slices out in radiological convention.

    Axial slices show the patient's right on the left and the front on top; coronal ones right on
    the left and the head on top; sagittal ones the face on the left and the head on top.

    Parameters
    ----------
    directions : ndarray, shape (3, 3)
        Columns are the unit directions of the array axes (k, j, i) in LPS.

    Returns
    -------
    transposed, rows_reversed, columns_reversed : bool
        Exchange rows and columns first, then reverse their order.
    """
    row, column = directions[:, 1], directions[:, 2]
    right, down = _SCREEN[int(np.abs(np.cross(column, row)).argmax())]
    straight = abs(column @ right) + abs(row @ down)
    transposed = bool(abs(row @ right) + abs(column @ down) > straight)
    across, along = (row, column) if transposed else (column, row)
    return transposed, bool(along @ down < 0), bool(across @ right < 0)
