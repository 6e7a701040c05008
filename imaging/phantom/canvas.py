"""Tissues, their signal in three contrasts, and the grid they are painted on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging.phantom.shapes import Point, Space

#: The grid on which the head is made.
HEAD = Space((-92, -122, -100), (184, 244, 200))
#: The part of it that holds brain.
BRAIN = Space((-78, -78, -76), (156, 190, 160))

#: Relative signal of each tissue: T1w, T2w, FLAIR (fat-suppressed). On FLAIR, cortex is a sixth
#: brighter than white matter and a lesion 1.7 times as bright, as on real scans (1.1 to 1.3 and
#: 1.2 to 1.7, measured on the two MS patients of the shared data).
TISSUES: dict[str, tuple[float, float, float]] = {
    "air": (0.0, 0.0, 0.0),
    "skin": (0.50, 0.42, 0.38),
    "fat": (0.98, 0.72, 0.30),
    "muscle": (0.42, 0.26, 0.34),
    "bone": (0.07, 0.05, 0.05),
    "marrow": (0.62, 0.42, 0.24),
    "csf": (0.17, 1.00, 0.06),
    "grey": (0.54, 0.56, 0.49),
    "white": (0.80, 0.38, 0.42),
    "stem": (0.74, 0.43, 0.43),
    "thalamus": (0.63, 0.46, 0.47),
    "striatum": (0.57, 0.47, 0.48),
    "pallidum": (0.70, 0.33, 0.43),
    "vessel": (0.14, 0.08, 0.10),
    "vitreous": (0.20, 0.97, 0.10),
    "lens": (0.48, 0.22, 0.30),
    "lesion": (0.50, 0.86, 0.72),
    "black hole": (0.33, 0.93, 0.66),
}


@dataclass(frozen=True)
class Head:
    """A finished head on the grid :data:`HEAD`.

    Parameters
    ----------
    contrasts : ndarray, shape (3, k, j, i)
        float32 signal of T1w, T2w and FLAIR, 0 to about 1.
    white : ndarray, shape (k, j, i)
        Fraction of cerebral white matter before lesions, float32 in [0, 1].
    depth : ndarray, shape (k, j, i)
        Distance in mm from the cortical surface into the brain, float32.
    """

    contrasts: np.ndarray
    white: np.ndarray
    depth: np.ndarray


class Canvas:
    """Three contrasts over one grid, painted with soft edges."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.values = np.zeros((3, *space.shape), np.float32)

    def paint(self, tissue: str, body: np.ndarray, part: Space | None = None, soft: float = 1.0):
        """Cover what lies inside a signed distance; the edge is ``soft`` mm wide."""
        self.blend(tissue, np.clip(0.5 - body / np.float32(soft), 0, 1), part)

    def blend(self, tissue: str, share: np.ndarray, part: Space | None = None) -> None:
        """Mix a tissue in by its share of each voxel."""
        where = self.space.slices(part or self.space)
        for channel, value in zip(self.values, TISSUES[tissue], strict=True):
            target = channel[where]
            target += share * (np.float32(value) - target)


def mirrored(point: Point) -> tuple[Point, Point]:
    """The same place on both sides."""
    x, y, z = point
    return (x, y, z), (-x, y, z)
