"""A map of numbers over a grid: probability, uncertainty, Grad-CAM, deviation, guess of normal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging.errors import BadInput
from imaging.geometry import Geometry
from imaging.segmentation import Provenance

PROBABILITY, GRAD_CAM, UNCERTAINTY = "probability", "grad-cam", "uncertainty"
#: How far a place is from what a model expects there, and the picture it expects (grey, 0 to 1).
DEVIATION, PICTURE = "deviation", "picture"
#: What each kind of map is called in lists and legends.
NAMES = {
    PROBABILITY: "Probability",
    GRAD_CAM: "Grad-CAM",
    UNCERTAINTY: "Uncertainty",
    DEVIATION: "Deviation from normal",
    PICTURE: "Guess of normal",
}


@dataclass(frozen=True, eq=False)
class Heatmap:
    """Values in [0, 1] on a grid.

    Parameters
    ----------
    values : ndarray, shape (k, j, i)
        float32, read-only.
    meaning : str
        ``"probability"``, ``"grad-cam"``, ``"uncertainty"``, ``"deviation"`` or ``"picture"``.
    about : str
        What a Grad-CAM explains: ``"whole finding"`` or ``"lesion 3"``; else empty.
    """

    id: str
    name: str
    values: np.ndarray
    meaning: str
    geometry: Geometry
    volume_id: str
    provenance: Provenance = Provenance()
    about: str = ""

    @property
    def title(self) -> str:
        """A short name: ``"Probability"`` or ``"Grad-CAM · lesion 3"``."""
        name = NAMES.get(self.meaning, self.meaning)
        return f"{name} · {self.about}" if self.about else name

    def __post_init__(self) -> None:
        values = np.asarray(self.values, dtype=np.float32)
        if values.shape != self.geometry.shape:
            raise BadInput("The map is not on its own grid", self.name)
        if not np.isfinite(values).all() or values.min() < 0 or values.max() > 1:
            raise BadInput("The map holds values outside 0 to 1", self.name)
        values = values.view()
        values.flags.writeable = False
        object.__setattr__(self, "values", values)
