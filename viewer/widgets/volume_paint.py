"""The six letters around the head in a 3D view."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPointF, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter

from viewer.rendering.orbit import Orbit
from viewer.widgets import slice_paint as marks

LETTER_GAP_MM = 12.0
#: Letters of an axis that is seen end on would lie on the head; they are left out.
END_ON = 0.96
FAR_ALPHA = 110

_AXES = (("L", "R", (1, 0, 0)), ("P", "A", (0, 1, 0)), ("S", "I", (0, 0, 1)))


def paint_letters(
    painter: QPainter, orbit: Orbit, corners: np.ndarray, size: QSize, sides_known: bool = True
) -> None:
    """The sides of the patient where a camera sees them; the far ones are dimmer.

    Parameters
    ----------
    corners : ndarray, shape (8, 3)
        Of the head, LPS mm.
    sides_known : bool
        False: each letter gets a question mark.
    """
    painter.setFont(marks.font(marks.LETTER_PIXELS, bold=True))
    for letter, spot, depth in letter_places(orbit, corners, size):
        colour, words = QColor(marks.LETTER), letter if sides_known else f"{letter}?"
        colour.setAlpha(255 if depth < orbit.distance * 1.01 else FAR_ALPHA)
        box = QRectF(spot.x() - 16, spot.y() - 12, 32, 24)
        marks.haloed(
            painter,
            box,
            Qt.AlignmentFlag.AlignCenter,
            words,
            colour,
        )


def letter_places(
    orbit: Orbit, corners: np.ndarray, size: QSize
) -> list[tuple[str, QPointF, float]]:
    """Letter, place in the widget and depth in mm."""
    low, high = corners.min(axis=0), corners.max(axis=0)
    middle, reach = (low + high) / 2.0, (high - low) / 2.0 + LETTER_GAP_MM
    places = []
    for positive, negative, axis in _AXES:
        if abs(float(np.dot(orbit.axes[2], axis))) > END_ON:
            continue
        ends = np.array([middle + reach * axis, middle - reach * axis])
        spots = orbit.projected(ends, size.width(), size.height())
        for letter, (x, y, depth) in zip((positive, negative), spots, strict=True):
            if depth > 0:
                places.append((letter, QPointF(x, y), float(depth)))
    return places
