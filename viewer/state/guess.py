"""The image and a model's guess of normal on one patient plane, in the same grey values.

The guess comes in the units of its model. Nearly everywhere it is the image itself, so a straight
line through the two tells how its units become grey values of the image. No Qt, no VTK.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.volume import Volume, Window, filled_padding
from viewer.state.display import Plane
from viewer.state.planes import PATIENT_PLANES

#: So many voxels at most are looked at for the straight line.
_SAMPLE = 60_000
#: Twice the line is drawn anew without the worst tenth: where image and guess really differ.
_ROUNDS, _KEPT = 2, 0.9
#: Differences of so much of the window have no colour, and full colour: a guess is never exact, and
#: without the first all of the head would be tinted.
NO_DIFFERENCE, FULL_DIFFERENCE = 0.15, 0.45
#: The image steps back to so much of its brightness, so that the colours are what is seen.
BACKGROUND = 0.7
#: Brighter than the guess, darker than the guess: told apart by people who see no red or green.
BRIGHTER, DARKER = (230, 159, 0), (86, 180, 233)

Grey = NDArray[np.float32]


@dataclass(frozen=True)
class Scale:
    """``real = slope * guess + intercept``."""

    slope: float
    intercept: float


@dataclass(frozen=True, eq=False)
class GuessPlane:
    """Both pictures of one plane.

    Parameters
    ----------
    image, guess : ndarray, shape (rows, columns)
        float32 in [0, 1] of the window; radiological convention.
    mm_per_pixel : float
        Square pixels.
    """

    image: Grey
    guess: Grey
    mm_per_pixel: float

    def difference(self) -> NDArray[np.uint8]:
        """The image in grey, coloured where it is brighter or darker than the guess.

        Returns
        -------
        ndarray, shape (rows, columns, 3)
        """
        change = self.image - self.guess
        beyond = (np.abs(change) - NO_DIFFERENCE) / (FULL_DIFFERENCE - NO_DIFFERENCE)
        share = np.clip(beyond, 0, 1)[..., None]
        grey = 255 * BACKGROUND * self.image[..., None] * np.ones(3, np.float32)
        colour = np.where(
            change[..., None] > 0, np.array(BRIGHTER, np.float32), np.array(DARKER, np.float32)
        )
        return np.round(grey * (1 - share) + colour * share).astype(np.uint8)


def guess_scale(volume: Volume, picture: Heatmap) -> Scale:
    """How grey values of a guess become real values of the image it was made from.

    Least squares on a sample of the voxels, twice anew without those that fit worst.
    """
    steps = max(1, int(np.ceil((picture.values.size / _SAMPLE) ** (1 / 3))))
    some = (slice(None, None, steps),) * 3
    stored = filled_padding(volume.voxels[some], volume.padding, volume.inverted)
    real = volume.real(stored).astype(np.float64).ravel()
    guess = picture.values[some].astype(np.float64).ravel()
    inside = (guess > guess.min()) & (guess < guess.max()) & np.isfinite(real)
    real, guess = real[inside], guess[inside]
    if guess.size < 16 or not guess.std() > 0:
        return Scale(1.0, 0.0)
    slope, intercept = np.polyfit(guess, real, 1)
    for _ in range(_ROUNDS):
        off = np.abs(real - slope * guess - intercept)
        near = off <= np.quantile(off, _KEPT)
        slope, intercept = np.polyfit(guess[near], real[near], 1)
    return Scale(float(slope), float(intercept))


def guess_plane(
    volume: Volume,
    picture: Heatmap,
    scale: Scale,
    window: Window,
    plane: Plane,
    through: ArrayLike,
    pixels: int = 256,
) -> GuessPlane:
    """Cut both through a patient position (LPS mm).

    Parameters
    ----------
    plane : Plane
        Axial, coronal or sagittal.
    pixels : int
        Of the longer side.
    """
    from scipy.ndimage import map_coordinates

    right, down = (np.asarray(way) for way in PATIENT_PLANES[plane])
    low, high = _extent(volume.geometry, right, down)
    size = high - low
    step = float(max(size)) / max(2, pixels - 1)
    columns, rows = (max(2, int(n // step) + 1) for n in size)
    point = np.asarray(through, float)
    normal = np.cross(right, down)
    origin = right * low[0] + down * low[1] + normal * (point @ normal)
    across = origin + np.arange(columns)[:, None] * step * right
    world = (across[None] + (np.arange(rows) * step)[:, None, None] * down).reshape(-1, 3)
    index = volume.geometry.index(world).T

    def cut(values: np.ndarray, fill: float) -> np.ndarray:
        flat = map_coordinates(values, index, np.float32, order=1, cval=fill)
        return np.asarray(flat).reshape(rows, columns)

    stored = filled_padding(volume.voxels, volume.padding, volume.inverted)
    image = volume.real(cut(stored, float(stored.min())))
    guess = scale.slope * cut(picture.values, float(picture.values.min())) + scale.intercept
    return GuessPlane(_windowed(image, window), _windowed(guess, window), step)


def _extent(
    geometry: Geometry, right: np.ndarray, down: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """First and last mm of the volume along screen right and screen down."""
    spots = geometry.corners @ np.stack([right, down], axis=1)
    return spots.min(axis=0), spots.max(axis=0)


def _windowed(real: np.ndarray, window: Window) -> Grey:
    return np.clip((real - window.low) / max(window.width, 1e-6), 0, 1).astype(np.float32)
