"""The thing pointed at: clicks, scribbles, a box and the mask so far become a mask.

The cut-out is brought to cubic voxels along its own axes (the network was trained in every
orientation), goes through the network once, and the answer comes back to the cut-out's grid.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from inference.click_input import local_scale, stacked
from inference.model import Clicks, Report
from inference.plugins.whole_head import WholeHead, sigmoid

__all__ = ["ClickNet"]

#: Cut-outs longer than this (voxels of the network) are looked at in coarser voxels.
LONGEST = 96
#: Points of a scribble that are told to the network; more say nothing new.
MOST_POINTS = 60
#: A picture of one plane is repeated so often, for a network that looks in all directions.
LEAST = 16


class ClickNet(WholeHead):
    """A loaded click network; see :class:`inference.model.ClickRunner`."""

    def click(self, clicks: Clicks, report: Report) -> np.ndarray:
        """Probability of the thing meant, float32 on the grid of the cut-out."""
        grid = _Cubic(
            clicks.image.voxels.shape,
            np.linalg.norm(clicks.image.affine[:3, :3], axis=0),
            self.card.spacing_mm,
            self.card.multiple,
        )
        image = local_scale(grid.bring(np.asarray(clicks.image.voxels, np.float32)))
        wanted, unwanted = _points(clicks)
        previous = box = None
        if clicks.previous is not None and clicks.previous.any():
            previous = np.clip(grid.bring(clicks.previous.astype(np.float32)), 0, 1)
        if clicks.box is not None and not clicks.box.empty:
            block = np.zeros(clicks.image.voxels.shape, np.float32)
            block[clicks.box.slices] = 1
            box = (grid.bring(block) > 0.5).astype(np.float32)
        channels = stacked(image, grid.at(wanted), grid.at(unwanted), previous, box)
        return grid.take_back(sigmoid(self.logits(channels, report)[0]))


def _points(clicks: Clicks) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Positions that belong to the thing and that do not, ``(n, 3)`` each."""
    found = []
    for sign in (1, -1):
        points = [p[:3] for p in clicks.points if p[3] * sign > 0]
        if clicks.scribble is not None:
            drawn = np.argwhere(clicks.scribble * sign > 0)
            points += drawn[:: max(1, len(drawn) // MOST_POINTS)].tolist()
        found.append(np.array(points, np.float64).reshape(-1, 3))
    return found[0], found[1]


class _Cubic:
    """Between a cut-out and cubic voxels along the same axes.

    Parameters
    ----------
    shape, spacing : sequence
        Of the cut-out ``(k, j, i)``, mm.
    edge_mm : float
        Of the network's voxel; larger where the cut-out is longer than `LONGEST` of them.
    multiple : int
        The network's grid has edges that are multiples of it.
    """

    def __init__(
        self, shape: Sequence[int], spacing: Sequence[float], edge_mm: float, multiple: int
    ) -> None:
        extent = np.array([n * s for n, s in zip(shape, spacing, strict=True)])
        edge = max(edge_mm, float(extent.max()) / LONGEST)
        self.shape = tuple(int(n) for n in shape)
        least = np.maximum(np.ceil(extent / edge - 1e-6), LEAST)
        self.cubes = tuple(int(n) for n in np.ceil(least / multiple).astype(int) * multiple)
        self._step = edge / np.asarray(spacing, np.float64)

    def _from(self, axis: int) -> npt.NDArray[np.float64]:
        """Position in the cut-out of each cube along an axis, both about their middles."""
        n, cubes = self.shape[axis], self.cubes[axis]
        return (np.arange(cubes) - (cubes - 1) / 2) * self._step[axis] + (n - 1) / 2

    def at(self, points: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Points of the cut-out in cubes."""
        middle = (np.array(self.shape) - 1) / 2
        return (points - middle) / self._step + (np.array(self.cubes) - 1) / 2

    def bring(self, array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """The cut-out in cubes; what lies outside repeats its border."""
        for axis in range(3):
            rows = _weights(self._from(axis), self.shape[axis], float(self._step[axis]))
            array = _along(array, axis, rows)
        return array

    def take_back(self, array: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Cubes on the grid of the cut-out."""
        for axis in range(3):
            n, cubes = self.shape[axis], self.cubes[axis]
            at = (np.arange(n) - (n - 1) / 2) / self._step[axis] + (cubes - 1) / 2
            array = _along(array, axis, _weights(at, cubes, 1.0 / float(self._step[axis])))
        return np.ascontiguousarray(array)


def _weights(at: npt.NDArray[np.float64], size: int, step: float) -> npt.NDArray[np.float32]:
    """Rows of weights that sample ``size`` values at positions ``at``.

    Linear where the new grid is as fine as the old one or finer; where it is coarser each new
    value is a mean over what it covers (a tent as wide as the step).
    """
    width = max(1.0, step)
    inside = np.clip(at, 0, size - 1)
    rows = np.clip(1 - np.abs(inside[:, None] - np.arange(size)) / width, 0, None)
    return (rows / rows.sum(1, keepdims=True)).astype(np.float32)


def _along(
    array: npt.NDArray[np.float32], axis: int, rows: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    return np.moveaxis(np.tensordot(array, rows, ([axis], [1])), -1, axis)
