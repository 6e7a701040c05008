"""The camera of the 3D view as a value: it turns about a point with the head kept upright.

Pure arithmetic in LPS mm, no VTK, so that dragging, picking and the letters can be tested alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

VIEW_ANGLE_DEG = 30.0
DEGREES_PER_PIXEL = 0.5
NEAREST_MM, FARTHEST_MM = 20.0, 20000.0

#: Azimuth and elevation from which each side of the patient is seen.
SIDES = {
    "A": (0.0, 0.0),
    "L": (90.0, 0.0),
    "P": (180.0, 0.0),
    "R": (270.0, 0.0),
    "S": (180.0, 90.0),
    "I": (0.0, -90.0),
}


@dataclass(frozen=True)
class Orbit:
    """Where the eye is.

    Parameters
    ----------
    focal : tuple of float
        The point in the middle of the picture, LPS mm.
    azimuth : float
        Degrees about the S axis; 0 looks from anterior, 90 from the patient's left.
    elevation : float
        Degrees above the axial plane, -90 to 90.
    distance : float
        From the eye to the focal point, mm.
    """

    focal: tuple[float, float, float] = (0.0, 0.0, 0.0)
    azimuth: float = 30.0
    elevation: float = 20.0
    distance: float = 500.0

    @property
    def axes(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Unit vectors in LPS: right of the screen, up, and forward into it."""
        a, e = np.radians([self.azimuth, self.elevation])
        back = np.array([np.sin(a) * np.cos(e), -np.cos(a) * np.cos(e), np.sin(e)])
        up = np.array([-np.sin(a) * np.sin(e), np.cos(a) * np.sin(e), np.cos(e)])
        return np.cross(-back, up), up, -back

    @property
    def eye(self) -> np.ndarray:
        """Position of the eye, LPS mm."""
        return np.asarray(self.focal) - self.axes[2] * self.distance

    def turned(self, dx: float, dy: float) -> Orbit:
        """The picture follows a drag of so many pixels (right, down)."""
        elevation = float(np.clip(self.elevation + dy * DEGREES_PER_PIXEL, -90.0, 90.0))
        return replace(
            self, azimuth=(self.azimuth - dx * DEGREES_PER_PIXEL) % 360.0, elevation=elevation
        )

    def panned(self, dx: float, dy: float, height: float) -> Orbit:
        """The picture follows a drag in a view of this height, all in pixels."""
        right, up, _ = self.axes
        step = self.mm_per_pixel(height)
        focal = np.asarray(self.focal) - right * dx * step + up * dy * step
        return replace(self, focal=_point(focal))

    def zoomed(self, factor: float) -> Orbit:
        """Nearer by a factor (above 1 enlarges)."""
        distance = float(np.clip(self.distance / factor, NEAREST_MM, FARTHEST_MM))
        return replace(self, distance=distance)

    def seen_from(self, letter: str) -> Orbit:
        """Look from a side of the patient: one of ``A P L R S I``."""
        azimuth, elevation = SIDES[letter]
        return replace(self, azimuth=azimuth, elevation=elevation)

    def framing(self, corners: np.ndarray, aspect: float = 1.0) -> Orbit:
        """The whole of a set of points (n, 3) in the picture; ``aspect`` is width / height."""
        low, high = corners.min(axis=0), corners.max(axis=0)
        radius = float(np.linalg.norm(high - low)) / 2.0
        half = np.radians(VIEW_ANGLE_DEG / 2.0)
        half = min(half, np.arctan(np.tan(half) * max(aspect, 1e-3)))
        distance = float(np.clip(radius / np.sin(half), NEAREST_MM, FARTHEST_MM))
        return replace(self, focal=_point((low + high) / 2.0), distance=distance)

    def mm_per_pixel(self, height: float) -> float:
        """Size of a pixel at the focal point, for a view of this height."""
        return 2.0 * self.distance * np.tan(np.radians(VIEW_ANGLE_DEG / 2.0)) / max(height, 1.0)

    def projected(self, points: np.ndarray, width: float, height: float) -> np.ndarray:
        """Where points appear.

        Parameters
        ----------
        points : ndarray, shape (n, 3)
            LPS mm.

        Returns
        -------
        ndarray, shape (n, 3)
            Pixels right and down from the corner, and the depth in mm in front of the eye.
        """
        right, up, forward = self.axes
        offset = np.asarray(points, float) - self.eye
        depth = offset @ forward
        scale = height / (2.0 * np.tan(np.radians(VIEW_ANGLE_DEG / 2.0))) / np.maximum(depth, 1e-6)
        x = width / 2.0 + (offset @ right) * scale
        y = height / 2.0 - (offset @ up) * scale
        return np.stack([x, y, depth], axis=1)

    def ray(self, x: float, y: float, width: float, height: float) -> tuple[np.ndarray, np.ndarray]:
        """The eye and the unit direction of the ray through a pixel, LPS mm."""
        right, up, forward = self.axes
        scale = 2.0 * np.tan(np.radians(VIEW_ANGLE_DEG / 2.0)) / max(height, 1.0)
        direction = forward + right * (x - width / 2.0) * scale - up * (y - height / 2.0) * scale
        return self.eye, direction / np.linalg.norm(direction)


def _point(values: np.ndarray) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z
