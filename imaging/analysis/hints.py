"""What a person has said about one thing by pointing at it: clicks, scribbles and a box."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from imaging.geometry import Box

__all__ = ["Hints", "Point", "around", "point_of", "steps_for", "triple", "view_box", "voxels"]

Point = tuple[float, float, float]

#: Edge of the cube around the last click that is looked at (mm).
VIEW_MM = 64.0


@dataclass(frozen=True)
class Hints:
    """What a person has said about the thing meant.

    Parameters
    ----------
    wanted, unwanted : tuple of (k, j, i)
        Voxels that belong to it and that do not, in the order they were given; a scribble is
        many points.
    box : Box or None
        A block that holds the thing.
    """

    wanted: tuple[Point, ...] = ()
    unwanted: tuple[Point, ...] = ()
    box: Box | None = field(default=None)

    def moved(self, start: Sequence[int], shape: Sequence[int]) -> Hints:
        """The same hints in indices of a block that begins at ``start``; what is outside goes."""

        def inside(points: tuple[Point, ...]) -> tuple[Point, ...]:
            shifted = (point_of(np.subtract(p, start)) for p in points)
            return tuple(
                p
                for p in shifted
                if all(-0.5 <= x < n - 0.5 for x, n in zip(p, shape, strict=True))
            )

        box = None
        if self.box is not None:
            first, last = (np.subtract(end, start) for end in self.box)
            box = Box(triple(first), triple(last)).clipped(shape)
        return Hints(inside(self.wanted), inside(self.unwanted), box)

    @property
    def empty(self) -> bool:
        """True where nothing says what is meant."""
        return not self.wanted and (self.box is None or self.box.empty)


def view_box(
    shape: Sequence[int], spacing: Sequence[float], hints: Hints, last: Point | None = None
) -> Box:
    """The block to look at: a cube of `VIEW_MM` around the last click, and all of a drawn box.

    Parameters
    ----------
    shape, spacing : sequence
        Of the volume, ``(k, j, i)``, mm.
    last : (k, j, i), optional
        The newest click; the middle of the box, or the last "this", where it is not given.
    """
    reach = np.array([VIEW_MM / 2 / s for s in spacing])
    at = last or (hints.wanted[-1] if hints.wanted else None)
    box = hints.box
    if at is None:
        assert box is not None, "nothing says where to look"
        at = point_of((np.array(box.start) + np.array(box.stop) - 1) / 2)
    start, stop = np.floor(np.array(at) - reach), np.ceil(np.array(at) + reach) + 1
    view = Box(triple(start), triple(stop))
    if box is not None:
        margin = np.array([max(2.0, 6.0 / s) for s in spacing])
        first, past = np.array(box.start) - margin, np.array(box.stop) + margin
        view = view.union(Box(triple(np.floor(first)), triple(np.ceil(past))))
    return view.clipped(shape)


def voxels(points: Sequence[Point], shape: Sequence[int]) -> npt.NDArray[np.int64]:
    """Nearest voxels, clipped into the array, shape ``(n, 3)``."""
    if not points:
        return np.zeros((0, 3), np.int64)
    nearest = np.floor(np.asarray(points, np.float64) + 0.5).astype(np.int64)
    return np.clip(nearest, 0, np.array(shape) - 1)


def around(at: npt.ArrayLike, reach: Sequence[int], shape: Sequence[int]) -> Box:
    middle = np.asarray(at)
    box = Box(triple(middle - reach), triple(middle + reach + np.array(1)))
    return box.clipped(shape)


def point_of(values: npt.ArrayLike) -> Point:
    a, b, c = (float(v) for v in np.asarray(values))
    return a, b, c


def triple(values: npt.ArrayLike) -> tuple[int, int, int]:
    a, b, c = (int(v) for v in np.asarray(values))
    return a, b, c


def steps_for(shape: Sequence[int], spacing: Sequence[float], most: int) -> tuple[int, int, int]:
    """In which steps a block holds at most so many voxels: the finest axis is thinned first."""
    steps = [1, 1, 1]
    while np.prod([-(-n // s) for n, s in zip(shape, steps, strict=True)]) > most:
        steps[int(np.argmin([s * n for s, n in zip(spacing, steps, strict=True)]))] += 1
    return triple(steps)
