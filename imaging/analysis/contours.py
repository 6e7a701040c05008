"""Outlines of marked pixels along the edges of the pixels: they enclose exactly those, no more.

A hole is joined to its outline by a line walked to and fro (a keyhole), so that one closed line
holds what belongs together and every way of filling it, even-odd, winding or exclusive or, gives
the same pixels back. Source: DICOM PS3.3 C.8.8.6.3 (inner and outer contours).
"""

from __future__ import annotations

import numpy as np

#: Steps along the lattice of pixel corners: right, down, left, up, as (row, column).
_STEPS = ((0, 1), (1, 0), (0, -1), (-1, 0))
_Loop = list[tuple[int, int]]


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Closed outlines of the marked pixels of an image.

    Parameters
    ----------
    mask : ndarray of bool, shape (j, i)

    Returns
    -------
    list of ndarray, shape (n, 2)
        Corners ``(j, i)`` in pixels, where whole numbers are pixel centres; the last point joins
        the first. One for each set of pixels that touch along an edge; they do not overlap, and
        their areas add up to the number of marked pixels.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if rows.size == 0:
        return []
    loops = _loops(mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    shift = np.array([rows[0], columns[0]]) - 0.5
    return [np.array(_corners(loop), float) + shift for loop in _joined(loops)]


def area(outline: np.ndarray) -> float:
    """Area that a closed outline encloses, in pixels; positive for outlines made here."""
    y, x = outline.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2.0


def _loops(mask: np.ndarray) -> list[_Loop]:
    """Border lines over all corners, the marked pixels to the right of the way; outlines and holes.

    Where two marked pixels touch in a corner only, the way turns right: they stay apart.
    """
    wide = np.pad(mask.astype(bool), 1)
    inside, above, left = wide[1:-1, 1:-1], wide[:-2, 1:-1], wide[1:-1, :-2]
    below, right = wide[2:, 1:-1], wide[1:-1, 2:]
    starts: set[tuple[int, int, int]] = set()
    for direction, (border, down, along) in enumerate(
        ((above, 0, 0), (right, 0, 1), (below, 1, 1), (left, 1, 0))
    ):
        j, i = np.nonzero(inside & ~border)
        corners = zip((j + down).tolist(), (i + along).tolist(), strict=True)
        starts.update((*corner, direction) for corner in corners)
    loops = []
    while starts:
        j, i, direction = first = starts.pop()
        loop: _Loop = [(j, i)]
        while True:
            down, along = _STEPS[direction]
            j, i = j + down, i + along
            # Right, straight on, left: the first way there is, or the loop is closed.
            for turn in (1, 0, 3):
                ahead = (j, i, (direction + turn) % 4)
                if ahead in starts or ahead == first:
                    break
            if ahead == first:
                break
            starts.remove(ahead)
            direction = ahead[2]
            loop.append((j, i))
        loops.append(loop)
    return loops


def _joined(loops: list[_Loop]) -> list[_Loop]:
    """Outlines with their holes joined to them."""
    outer = [loop for loop in loops if _area(loop) > 0]
    holes = [loop for loop in loops if _area(loop) < 0]
    if not holes:
        return outer
    owner: dict[tuple[int, int], list[int]] = {}
    lines: dict[int, _Loop] = {}
    group: dict[int, int] = {}
    for number, loop in enumerate([*outer, *holes]):
        lines[number], group[number] = loop, number
        for point in loop:
            owner.setdefault(point, []).append(number)
    # From left to right: what lies left of a hole's leftmost corner is joined already.
    order = sorted(range(len(outer), len(loops)), key=lambda n: _leftmost(lines[n]))
    for number in order:
        i, j = _leftmost(lines[number])
        at = i - 1
        while (j, at) not in owner:
            at -= 1
        target = group[owner[j, at][0]]
        line, hole = lines[target], lines.pop(number)
        turn, place = hole.index((j, i)), line.index((j, at))
        # Lattice points between the two lie on no border, so the bridge is one straight line.
        round_trip = [*hole[turn:], *hole[:turn], (j, i), (j, at)]
        lines[target] = [*line[: place + 1], *round_trip, *line[place + 1 :]]
        for other, owned in group.items():
            if owned == number:
                group[other] = target
    return list(lines.values())


def _leftmost(loop: _Loop) -> tuple[int, int]:
    """Column and row of the leftmost, then topmost corner."""
    return min((i, j) for j, i in loop)


def _area(loop: _Loop) -> float:
    return area(np.array(loop, float))


def _corners(loop: _Loop) -> _Loop:
    """Only the points where the way turns."""
    points = np.array(loop)
    before, after = points - np.roll(points, 1, 0), np.roll(points, -1, 0) - points
    straight = np.sign(before) == np.sign(after)
    return points[~straight.all(1)].tolist()
