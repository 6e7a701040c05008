"""What one slice view shall show, worked out to the pixel: frozen values that can be compared."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from imaging.volume import Window
from viewer.state.display import Plane, Point
from viewer.state.planes import ArrayCut, PixelGrid, Way

Colour = tuple[int, int, int]  #: red, green, blue, 0 to 255
Line = tuple[float, float, float, float]  #: x0, y0, x1, y1 in logical pixels


class MaskLayer(NamedTuple):
    """A mask over the slice.

    Parameters
    ----------
    cut : ArrayCut or None
        Plane of the mask's own array, where it lies on the grid of the volume; else its labels
        are looked up by patient coordinates at the pixels of ``SlicePlan.grid``.
    colours : tuple
        ``(number, colour)`` of every segment that is drawn.
    hidden : frozenset of int
        Numbers that are not drawn; others without a segment get a palette colour.
    """

    item_id: str
    cut: ArrayCut | None
    opacity: float
    outline: bool
    colours: tuple[tuple[int, Colour], ...]
    hidden: frozenset[int]


class MapLayer(NamedTuple):
    """A heat map over the slice; ``cut`` as for :class:`MaskLayer`."""

    item_id: str
    cut: ArrayCut | None
    opacity: float
    colour_table: str
    low: float
    high: float


class DrawingLayer(NamedTuple):
    """What the files draw over the slice as acquired.

    Parameters
    ----------
    names : tuple of str
        Of the drawings that are shown; empty for none.
    image, slice : int
        Which image of a 4D series and which slice of it.
    cut : ArrayCut
        How the slice lies on the screen.
    """

    names: tuple[str, ...]
    image: int
    slice: int
    cut: ArrayCut


class Legend(NamedTuple):
    """Explains the colours of a map."""

    name: str
    colour_table: str
    low: float
    high: float


@dataclass(frozen=True)
class SlicePosition:
    """Where in the stack the slice is.

    Parameters
    ----------
    number, count : int
        One-based number among the slices of this plane.
    step_mm : float
        Distance of neighbouring slices.
    place : str
        Position along the normal, such as ``"S 23.5 mm"``.
    """

    number: int = 1
    count: int = 1
    step_mm: float = 1.0
    place: str = ""


class EdgeLetters(NamedTuple):
    """Patient directions of the four edges of the screen."""

    left: str = ""
    right: str = ""
    top: str = ""
    bottom: str = ""


class CornerTexts(NamedTuple):
    """Lines of text in the four corners."""

    top_left: tuple[str, ...] = ()
    top_right: tuple[str, ...] = ()
    bottom_left: tuple[str, ...] = ()
    bottom_right: tuple[str, ...] = ()


class ScaleBar(NamedTuple):
    """A length in mm and how many logical pixels it takes."""

    mm: float
    pixels: float


class PlaneTrace(NamedTuple):
    """Where the oblique plane of another cell cuts this one."""

    cell: str
    line: Line


_NO_PIXELS = PixelGrid((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (1.0, 1.0), 0, 0)
_NO_LETTERS, _NO_TEXTS = EdgeLetters(), CornerTexts()
_UNIT_WINDOW, _AXIAL = Window(0.5, 1.0), Way((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


@dataclass(frozen=True)
class SlicePlan:
    """Everything a slice view needs to draw itself, but the voxels.

    Parameters
    ----------
    size : tuple of int
        Of the view in logical pixels.
    way : Way
        Screen right and down in LPS, after flips and turns.
    centre : Point
        The point of the plane at the middle of the view, LPS mm.
    mm_per_pixel : float
        Size of a logical pixel.
    cut : ArrayCut or None
        The array plane that is shown; None where the slice is resampled at ``grid``.
    grid : PixelGrid
        Where the pixels of the slice picture lie.
    inside : bool
        False where the plane misses the volume.
    coarse : bool
        True where fewer pixels are resampled because something moves.
    crosshair : tuple of float or None
        Its centre in logical pixels.
    message : str
        Shown instead of a picture: why there is none.
    uneven : str
        Id of the volume whose slices would have to be made even for this picture; the view offers
        it.
    """

    cell: str
    plane: Plane
    size: tuple[int, int]
    volume_id: str = ""
    way: Way = _AXIAL
    centre: Point = (0.0, 0.0, 0.0)
    mm_per_pixel: float = 1.0
    cut: ArrayCut | None = None
    grid: PixelGrid = _NO_PIXELS
    inside: bool = True
    coarse: bool = False
    window: Window = _UNIT_WINDOW
    inverted: bool = False
    maps: tuple[MapLayer, ...] = ()
    masks: tuple[MaskLayer, ...] = ()
    drawing: DrawingLayer | None = None
    position: SlicePosition = SlicePosition()
    letters: EdgeLetters = _NO_LETTERS
    texts: CornerTexts = _NO_TEXTS
    legend: Legend | None = None
    scale_bar: ScaleBar | None = None
    crosshair: tuple[float, float] | None = None
    traces: tuple[PlaneTrace, ...] = ()
    active: bool = False
    message: str = ""
    uneven: str = ""

    @property
    def normal(self) -> Point:
        """Unit vector into the screen, LPS."""
        return self.way.normal

    def world(self, x: float, y: float) -> np.ndarray:
        """The point of the plane under a place of the view (logical pixels); LPS mm, (3,)."""
        u = (x - self.size[0] / 2.0) * self.mm_per_pixel
        v = (y - self.size[1] / 2.0) * self.mm_per_pixel
        right, down = self.way
        return np.array(
            [c + u * r + v * d for c, r, d in zip(self.centre, right, down, strict=True)]
        )

    def screen(self, world: np.ndarray) -> tuple[float, float]:
        """Where a point, seen along the normal, lies in the view; logical pixels."""
        offset = [float(w) - c for w, c in zip(world, self.centre, strict=True)]
        right, down = self.way
        u = sum(o * r for o, r in zip(offset, right, strict=True))
        v = sum(o * d for o, d in zip(offset, down, strict=True))
        return self.size[0] / 2.0 + u / self.mm_per_pixel, self.size[
            1
        ] / 2.0 + v / self.mm_per_pixel

    def depth(self, world: np.ndarray) -> float:
        """Signed distance of a point from the plane in mm, positive behind it."""
        return sum(
            (float(w) - c) * n for w, c, n in zip(world, self.centre, self.normal, strict=True)
        )

    @property
    def picture(self) -> tuple[float, float, float, float]:
        """Left, top, width and height of the slice picture in the view, logical pixels."""
        x, y = self.screen(np.asarray(self.grid.origin))
        width = self.grid.spacing[0] / self.mm_per_pixel
        height = self.grid.spacing[1] / self.mm_per_pixel
        return x - width / 2, y - height / 2, width * self.grid.columns, height * self.grid.rows
