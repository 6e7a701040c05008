"""The plane that cuts off a face, as plain numbers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Plane:
    """Everything before a plane, in patient space.

    Parameters
    ----------
    normal : list of float
        Unit vector, LPS, pointing out of the head: towards the face.
    distance_mm : float
        A point ``x`` lies before the plane where ``normal @ x > distance_mm``.
    """

    normal: list[float] = field(default_factory=lambda: [0.0, -1.0, 0.0])
    distance_mm: float = 0.0

    def before(self, points: np.ndarray) -> np.ndarray:
        """True for each point (..., 3) in LPS mm that is cut off."""
        return points @ np.asarray(self.normal) > self.distance_mm

    def cut(self, shape: tuple[int, int], corner, along_column, along_row) -> np.ndarray:
        """True for the pixels of one slice that are cut off, shape ``(rows, columns)``.

        Parameters
        ----------
        corner : array_like, shape (3,)
            LPS mm of the first pixel.
        along_column, along_row : array_like, shape (3,)
            LPS mm from one row, and from one column, to the next.
        """
        normal = np.asarray(self.normal)
        rows = np.arange(shape[0])[:, None] * float(normal @ np.asarray(along_column))
        columns = np.arange(shape[1])[None, :] * float(normal @ np.asarray(along_row))
        return rows + columns + float(normal @ np.asarray(corner)) > self.distance_mm

    def table(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)
