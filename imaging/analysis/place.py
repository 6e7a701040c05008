"""Where in the head a point lies, in words that can be checked with a ruler.

There is no atlas here, so no lobe and no gyrus is named. Said are the side and the distance from
the plane of mirror symmetry, the third of the head from front to back, and the distance below the
vertex; what the field of view cuts off is not said.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from imaging.volume import Volume, filled_padding

#: Nearer than this to the plane of symmetry a point is called midline.
MIDLINE_MM = 4.0
#: Mirror images that agree less than this (correlation) give no plane; the middle is used.
SYMMETRY_FLOOR = 0.5
#: Step of the coarse copy of the image on which the head is looked for.
_COARSE_MM = 4.0


@dataclass(frozen=True)
class HeadFrame:
    """The head in an image, as far as the image shows it.

    Parameters
    ----------
    midpoint : tuple of float
        A point of the mid-sagittal plane, LPS mm.
    left : tuple of float
        Unit normal of that plane, towards the patient's left.
    front_mm, back_mm : float or None
        Most anterior and posterior extent as LPS y; None where the field of view cuts the head.
    vertex_mm : float or None
        Highest point as LPS z; None where the field of view cuts the head.
    symmetry : float
        Correlation of the head with its mirror image, at most 1.
    sides_known : bool
        False where the file does not say how the image lies: every word gets a question mark.
    """

    midpoint: tuple[float, float, float]
    left: tuple[float, float, float]
    front_mm: float | None
    back_mm: float | None
    vertex_mm: float | None
    symmetry: float
    sides_known: bool = True

    def from_midline_mm(self, world: ArrayLike) -> float:
        """Signed distance from the mid-sagittal plane, positive to the patient's left."""
        return float((np.asarray(world, float) - self.midpoint) @ np.asarray(self.left))

    def place(self, world: ArrayLike) -> str:
        """A point (LPS mm) in words, such as ``"Left, 23 mm from midline · front third"``.

        Where the sides are not known: ``"Left?, 23 mm from midline · front third?"``.
        """
        point = np.asarray(world, dtype=float)
        words = [self._side(point), self._third(point), self._height(point)]
        return " · ".join(word for word in words if word)

    def _side(self, point: np.ndarray) -> str:
        off = self.from_midline_mm(point)
        if abs(off) < MIDLINE_MM:
            return f"Midline{self._doubt}"
        return f"{'Left' if off > 0 else 'Right'}{self._doubt}, {abs(off):.0f} mm from midline"

    def _third(self, point: np.ndarray) -> str:
        if self.front_mm is None or self.back_mm is None or self.back_mm <= self.front_mm:
            return ""
        share = (point[1] - self.front_mm) / (self.back_mm - self.front_mm)
        third = ("front third", "middle third", "back third")[int(np.clip(share * 3, 0, 2))]
        return f"{third}{self._doubt}"

    def _height(self, point: np.ndarray) -> str:
        if self.vertex_mm is None:
            return ""
        return f"{max(0.0, self.vertex_mm - point[2]):.0f} mm below vertex{self._doubt}"

    @property
    def _doubt(self) -> str:
        return "" if self.sides_known else "?"


def find_head(volume: Volume) -> HeadFrame | None:
    """Look for the head in an image: its extent and its plane of mirror symmetry.

    Returns
    -------
    HeadFrame or None
        None where nothing stands out from the background.
    """
    steps = [max(1, int(_COARSE_MM // s)) for s in volume.geometry.spacing]
    coarse = volume.voxels[:: steps[0], :: steps[1], :: steps[2]]
    coarse = filled_padding(coarse, volume.padding, volume.inverted).astype(np.float32)
    if volume.inverted:
        coarse = coarse.max() - coarse
    low, high = (float(v) for v in np.percentile(coarse, (0.5, 99.0)))
    head = coarse > low + 0.12 * (high - low)
    if not high > low or np.count_nonzero(head) < 27:
        return None
    grid = np.argwhere(head)
    world = volume.geometry.world(grid * steps)
    extent = np.array([_extent(world[:, axis], volume, steps) for axis in range(3)]).T
    middle, left, symmetry = _mirror_plane(np.clip(coarse, low, high), steps, volume, world)
    front, back, vertex = _uncut(volume, extent)
    return HeadFrame(middle, left, front, back, vertex, symmetry, volume.sides_known)


def _extent(places: np.ndarray, volume: Volume, steps: list[int]) -> tuple[float, float]:
    """First and last mm along a patient axis where a section of the head is more than specks."""
    step = 1.01 * max(s * n for s, n in zip(volume.geometry.spacing, steps, strict=True))
    low = float(places.min())
    sections = np.bincount(((places - low) // step).astype(int))
    filled = np.flatnonzero(sections >= max(3.0, 0.02 * sections.max()))
    if filled.size == 0:
        return low, float(places.max())
    inside = places[(places >= low + filled[0] * step) & (places < low + (filled[-1] + 1) * step)]
    return float(inside.min()), float(inside.max())


def _uncut(volume: Volume, extent: np.ndarray) -> tuple[float | None, float | None, float | None]:
    """Front, back and top of the head where the field of view leaves air beyond them."""
    corners = volume.geometry.corners
    room = np.array([extent[0] - corners.min(axis=0), corners.max(axis=0) - extent[1]])
    gap = max(_COARSE_MM, 1.5 * max(volume.geometry.spacing))
    front = float(extent[0, 1]) if room[0, 1] > gap else None
    back = float(extent[1, 1]) if room[1, 1] > gap else None
    vertex = float(extent[1, 2]) if room[1, 2] > gap else None
    return front, back, vertex


def _mirror_plane(
    coarse: np.ndarray, steps: list[int], volume: Volume, head: np.ndarray
) -> tuple[tuple[float, float, float], tuple[float, float, float], float]:
    """The plane near the middle of the head in which its mirror image agrees best."""
    from scipy import ndimage

    centre = (head.min(axis=0) + head.max(axis=0)) / 2.0
    points = np.random.default_rng(0).permutation(head)[:6000]
    smooth = ndimage.gaussian_filter(coarse, 0.7)

    def values(world: np.ndarray) -> np.ndarray:
        index = volume.geometry.index(world) / steps
        return ndimage.map_coordinates(smooth, index.T, order=1, mode="nearest")

    here = values(points)

    def agreement(offset: float, roll: float, yaw: float) -> float:
        normal = _normal(roll, yaw)
        distance = (points - centre) @ normal - offset
        there = values(points - 2.0 * distance[:, None] * normal)
        return float(np.corrcoef(here, there)[0, 1]) if there.std() > 0 else 0.0

    best, (offset, roll, yaw) = _climb(agreement)
    if not best >= SYMMETRY_FLOOR:
        offset, roll, yaw = 0.0, 0.0, 0.0
    normal = _normal(roll, yaw)
    x, y, z = (centre + offset * normal).tolist()
    a, b, c = normal.tolist()
    return (x, y, z), (a, b, c), best


def _normal(roll: float, yaw: float) -> np.ndarray:
    """Unit vector near patient left, turned by small angles (radians)."""
    vector = np.array([1.0, np.tan(yaw), np.tan(roll)])
    return vector / np.linalg.norm(vector)


def _climb(agreement) -> tuple[float, tuple[float, float, float]]:
    """Best (offset mm, roll, yaw) by search along one of them at a time in shrinking steps."""
    best = [0.0, 0.0, 0.0]
    offsets = np.arange(-20.0, 21.0, 4.0)
    scores = [agreement(float(offset), 0.0, 0.0) for offset in offsets]
    best[0], score = float(offsets[int(np.argmax(scores))]), float(np.max(scores))
    for step in (1.0, 0.5, 0.25):
        for _ in range(3):
            for axis, unit in enumerate((2.0, 0.06, 0.06)):
                for sign in (-1.0, 1.0):
                    trial = list(best)
                    trial[axis] += sign * step * unit
                    value = agreement(*trial)
                    if value > score and max(abs(trial[1]), abs(trial[2])) < 0.45:
                        best, score = trial, value
    return score, (best[0], best[1], best[2])
