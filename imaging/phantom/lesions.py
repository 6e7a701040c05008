"""White-matter lesions for the synthetic head, as a reader would describe them.

Places and sizes are wishes; juxtacortical ones are moved to where the depth below the cortical
surface is right, so that they sit on the ribbon whatever the folds do.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from imaging.geometry import Geometry
from imaging.phantom.canvas import HEAD, TISSUES, Head
from imaging.phantom.shapes import Noise, Point, Space, rotated_ellipsoid


class Lesion(NamedTuple):
    """An ovoid: centre in LPS mm, half axes in mm, direction of the first one."""

    place: str
    centre: Point
    radii: Point
    axis: Point
    tissue: str = "lesion"


#: Largest first; the number of a lesion is its place in this list, from 1.
WISHES: tuple[Lesion, ...] = (
    Lesion("periventricular", (19, -4, 25), (8.5, 5.0, 4.4), (0.75, 0.1, 0.65)),
    Lesion("periventricular", (-18, 6, 26), (7.5, 4.2, 3.8), (-0.8, 0.0, 0.6), "black hole"),
    Lesion("periventricular", (24, 22, 27), (6.8, 3.4, 3.1), (0.85, 0.2, 0.5)),
    Lesion("periventricular", (-25, 26, 26), (5.2, 2.6, 2.6), (-0.8, 0.25, 0.55)),
    Lesion("periventricular", (20, -38, 8), (4.6, 3.4, 3.2), (0.5, -0.85, 0.1)),
    Lesion("periventricular", (-34, 46, 9), (5.4, 3.0, 2.6), (-0.9, 0.4, 0.1)),
    Lesion("deep white matter", (30, 2, 36), (3.6, 3.0, 2.8), (1, 0, 0)),
    Lesion("deep white matter", (-27, -22, 30), (2.8, 2.4, 2.2), (0, 1, 0)),
    Lesion("juxtacortical", (40, -30, 34), (3.8, 2.6, 2.4), (0, 0.8, 0.6)),
    Lesion("juxtacortical", (-42, 40, 34), (3.2, 2.2, 2.2), (0, 1, 0.2)),
    Lesion("juxtacortical", (28, 62, 32), (2.8, 2.0, 2.0), (1, 0, 0)),
    Lesion("infratentorial", (-15, 38, -33), (3.4, 2.8, 2.6), (1, 0.3, 0)),
)


def place_lesions(head: Head) -> list[Lesion]:
    """The wishes, with the juxtacortical ones moved onto the cortex of this head."""
    return [_snap(w, head) if w.place == "juxtacortical" else w for w in WISHES]


def _snap(wish: Lesion, head: Head, search_mm: float = 12.0) -> Lesion:
    """Move a wish to the nearest place just below the cortical ribbon."""
    part = HEAD.around([wish.centre], search_mm)
    where = HEAD.slices(part)
    good = (np.abs(head.depth[where] - 5.0) < 0.6) & (head.white[where] > 0.9)
    z, y, x = np.nonzero(good)
    points = np.stack([x, y, z], axis=1) + np.asarray(part.low)
    best = points[np.argmin(np.linalg.norm(points - wish.centre, axis=1))]
    return wish._replace(centre=(float(best[0]), float(best[1]), float(best[2])))


def paint_lesions(head: Head, lesions: list[Lesion]) -> None:
    """Mix the lesions into the contrasts, with soft edges and a faint halo."""
    for number, lesion in enumerate(lesions):
        part = HEAD.around([lesion.centre], max(lesion.radii) + 6)
        where = HEAD.slices(part)
        distance = _body(lesion, number, part.geometry)
        core = np.clip(0.5 - distance / 1.8, 0, 1)
        halo = 0.22 * np.clip(1 - distance / 3.5, 0, 1) * head.white[where]
        share = np.maximum(core * np.maximum(head.white[where], 0.35), halo)
        for channel, value in zip(head.contrasts, TISSUES[lesion.tissue], strict=True):
            target = channel[where]
            target += share * (np.float32(value) - target)


def label_lesions(head: Head, lesions: list[Lesion], geometry: Geometry) -> np.ndarray:
    """The true lesion numbers on any grid.

    Returns
    -------
    ndarray, shape (k, j, i)
        uint8; 0 outside, else the one-based place in ``lesions``. A voxel counts where its centre
        lies inside the ovoid and at least half of the tissue there was white matter.
    """
    labels = np.zeros(geometry.shape, np.uint8)
    for number, lesion in enumerate(lesions):
        reach = max(lesion.radii) + 3
        corners = np.array(np.meshgrid(*([[-reach, reach]] * 3))).reshape(3, -1).T + lesion.centre
        index = geometry.index(corners)
        low = np.clip(np.floor(index.min(0)), 0, geometry.shape).astype(int)
        high = np.clip(np.ceil(index.max(0)) + 1, 0, geometry.shape).astype(int)
        grid = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high, strict=True)),
                                    indexing="ij"), axis=-1)  # fmt: skip
        if grid.size == 0:
            continue
        inside = _inside(lesion, number, geometry.world(grid), head)
        block = labels[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        block[inside & (block == 0)] = number + 1
    return labels


def _inside(lesion: Lesion, number: int, world: np.ndarray, head: Head) -> np.ndarray:
    from scipy.ndimage import map_coordinates

    part = HEAD.around([lesion.centre], max(lesion.radii) + 8)
    distance = _body(lesion, number, part.geometry)
    points = np.moveaxis(part.geometry.index(world), -1, 0)
    near = map_coordinates(distance, points, order=1, mode="nearest")
    white = map_coordinates(head.white[HEAD.slices(part)], points, order=1, mode="nearest")
    return (near < 0) & (white >= 0.5)


def _body(lesion: Lesion, number: int, geometry: Geometry) -> np.ndarray:
    x, y, z = (round(float(v)) for v in geometry.origin)
    k, j, i = geometry.shape
    space = Space((x, y, z), (i, j, k))
    body = rotated_ellipsoid(space, lesion.centre, lesion.radii, lesion.axis)
    return body + np.float32(0.45) * Noise(60 + number, 9).over(space)
