"""Letters, scale bar and traces of oblique planes, worked out from the vectors of the screen."""

from __future__ import annotations

import math

import numpy as np

from imaging.orientation import direction_letters, opposite_letters
from viewer.state.display import Cell, DisplayState, Plane
from viewer.state.planes import Way, cross, dot
from viewer.state.slice_plan import EdgeLetters, Line, PlaneTrace, ScaleBar


def edge_letters(way: Way, sides_known: bool = True) -> EdgeLetters:
    """Letters of the four edges from the vectors of the screen; ``"R?"`` where nobody knows."""
    right, bottom = (
        direction_letters(np.asarray(way.right)),
        direction_letters(np.asarray(way.down)),
    )
    edges = opposite_letters(right), right, opposite_letters(bottom), bottom
    return EdgeLetters(*(edge if sides_known else f"{edge}?" for edge in edges))


def scale_bar(mm_per_pixel: float, width: int) -> ScaleBar:
    """The roundest length (1, 2 or 5 times a power of ten) of at most a quarter of the width."""
    room = mm_per_pixel * width / 4.0
    power = 10.0 ** math.floor(math.log10(room))
    length = next(f * power for f in (5.0, 2.0, 1.0) if f * power <= room)
    return ScaleBar(length, length / mm_per_pixel)


def traces_in(
    display: DisplayState,
    cell: Cell,
    way: Way,
    crosshair: tuple[float, float],
    size: tuple[int, int],
) -> list[PlaneTrace]:
    """Where the oblique planes of other cells cut a view, lines through its crosshair."""
    traces = []
    for other in display.shown_cells:
        if other.plane != Plane.OBLIQUE or other.id == cell.id or other.normal is None:
            continue
        along = cross(way.normal, other.normal)
        dx, dy = dot(along, way.right), dot(along, way.down)
        length = math.hypot(dx, dy)
        if length > 0.05:
            traces.append(PlaneTrace(other.id, _through(crosshair, dx / length, dy / length, size)))
    return traces


def _through(middle: tuple[float, float], dx: float, dy: float, size: tuple[int, int]) -> Line:
    reach = float(size[0] + size[1])
    return (
        middle[0] - dx * reach, middle[1] - dy * reach,
        middle[0] + dx * reach, middle[1] + dy * reach,
    )  # fmt: skip
