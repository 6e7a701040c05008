"""The brush: which voxels a stamp covers, and a stroke that previews before it is an edit.

Everything is measured in LPS millimetres, so a ball is round on thick slices and a disc lies in
an oblique plane. Between two pointer samples the brush *sweeps*: a voxel is covered when it is
closer than the radius to the line between them, so a fast drag leaves no gap.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from imaging.edits.edit import VoxelEdit
from imaging.errors import EditRefused
from imaging.geometry import Box, Geometry
from imaging.segmentation import Segmentation
from imaging.volume import Volume

Shape = Literal["disc", "ball"]

#: A voxel this little beyond the rim still counts as on it (rounding of the affine).
_RIM_MM = 1e-6


def stamp_box(
    geometry: Geometry, centre_world: ArrayLike, radius_mm: float, normal: ArrayLike | None = None
) -> Box:
    """The block of voxels that one stamp can touch, clipped to the grid.

    Parameters
    ----------
    centre_world : array_like, shape (3,)
        LPS mm.
    radius_mm : float
        Radius of the ball or disc.
    normal : array_like, shape (3,), optional
        Normal of the disc's plane in LPS; a ball without it.
    """
    return sweep_box(geometry, centre_world, centre_world, radius_mm, normal)


def sweep_box(
    geometry: Geometry,
    start: ArrayLike,
    end: ArrayLike,
    radius_mm: float,
    normal: ArrayLike | None = None,
) -> Box:
    """The block of voxels that a stamp moved from ``start`` to ``end`` can touch."""
    rows = geometry.inverse[:3, :3]
    reach = radius_mm * np.linalg.norm(rows, axis=1)
    if normal is not None:
        unit = _unit(normal)
        along = rows @ unit
        in_plane = np.sqrt(np.maximum(0.0, (rows * rows).sum(axis=1) - along * along))
        reach = radius_mm * in_plane + half_step(geometry, unit) * np.abs(along)
    ends = geometry.index(np.stack([np.asarray(start, float), np.asarray(end, float)]))
    # A voxel that merely holds the centre is covered too, however small the brush.
    low = np.minimum(np.ceil(ends.min(axis=0) - reach - _RIM_MM), np.floor(ends.min(axis=0) + 0.5))
    high = np.maximum(
        np.floor(ends.max(axis=0) + reach + _RIM_MM), np.floor(ends.max(axis=0) + 0.5)
    )
    k0, j0, i0 = (int(v) for v in low)
    k1, j1, i1 = (int(v) + 1 for v in high)
    return Box((k0, j0, i0), (k1, j1, i1)).clipped(geometry.shape)


def half_step(geometry: Geometry, normal: ArrayLike) -> float:
    """How far from a plane the centre of a voxel can be that the plane cuts, in mm.

    Half the slice step where the plane is one of the grid's own, more where it is oblique.
    """
    return 0.5 * float(np.abs(_unit(normal) @ geometry.affine[:3, :3]).sum())


def ball_mask(
    geometry: Geometry, centre_world: ArrayLike, radius_mm: float, box: Box | None = None
) -> np.ndarray:
    """The voxels whose centres lie in a ball; bool, of the shape of the box.

    Parameters
    ----------
    box : Box, optional
        The block to answer for; the stamp's own block by default.
    """
    return sweep_mask(geometry, centre_world, centre_world, radius_mm, None, box)


def disc_mask(
    geometry: Geometry,
    centre_world: ArrayLike,
    radius_mm: float,
    normal: ArrayLike,
    box: Box | None = None,
) -> np.ndarray:
    """The voxels cut by a plane and, seen along its normal, in a disc; bool, box-shaped.

    Parameters
    ----------
    centre_world : array_like, shape (3,)
        Centre of the disc, a point of the plane; LPS mm.
    normal : array_like, shape (3,)
        Normal of the plane in LPS, of any length.
    box : Box, optional
        The block to answer for; the stamp's own block by default.
    """
    return sweep_mask(geometry, centre_world, centre_world, radius_mm, normal, box)


def sweep_mask(
    geometry: Geometry,
    start: ArrayLike,
    end: ArrayLike,
    radius_mm: float,
    normal: ArrayLike | None = None,
    box: Box | None = None,
) -> np.ndarray:
    """The voxels that a ball or disc covers while it moves straight from ``start`` to ``end``.

    The voxels that hold the points of the way are always covered, however small the radius.

    Parameters
    ----------
    start, end : array_like, shape (3,)
        LPS mm; for a disc both lie in its plane.
    normal : array_like, shape (3,), optional
        Normal of the disc's plane; a ball without it.
    box : Box, optional
        The block to answer for.

    Returns
    -------
    ndarray of bool
        Shape of the box, ``(k, j, i)``.
    """
    begin, stop = np.asarray(start, dtype=float), np.asarray(end, dtype=float)
    block = sweep_box(geometry, begin, stop, radius_mm, normal) if box is None else box
    if block.empty:
        return np.zeros(block.shape, bool)
    offsets = _offsets(geometry, block, begin)
    distance = _squared_length(offsets)
    limit = (radius_mm + _RIM_MM) ** 2
    way = stop - begin
    depth = None
    if normal is not None:
        unit = _unit(normal)
        depth = _dot(offsets, unit)
        distance = distance - depth * depth
        way = way - unit * float(unit @ way)
    length = float(way @ way)
    if length > 0:
        share = np.clip(_dot(offsets, way) / length, 0.0, 1.0)
        distance = distance + share * (share * length - 2.0 * _dot(offsets, way))
    mask = distance <= limit
    if normal is not None and depth is not None:
        thick = half_step(geometry, normal)
        mask &= (depth >= -thick + _RIM_MM) & (depth < thick + _RIM_MM)
    _mark_way(mask, geometry, block, begin, stop)
    return mask


def _offsets(geometry: Geometry, box: Box, origin: np.ndarray) -> list[np.ndarray]:
    """Per axis the steps from ``origin`` in mm, shape (n, 3); a voxel's offset is their sum."""
    matrix = geometry.affine
    steps = [np.arange(a, b)[:, None] * matrix[:3, axis] for axis, (a, b) in enumerate(
        zip(box.start, box.stop, strict=True))]  # fmt: skip
    steps[0] = steps[0] + (matrix[:3, 3] - origin)
    return steps


def _dot(offsets: list[np.ndarray], vector: np.ndarray) -> np.ndarray:
    """Offset of every voxel times a vector, shape of the box."""
    k, j, i = (steps @ vector for steps in offsets)
    return k[:, None, None] + j[None, :, None] + i


def _squared_length(offsets: list[np.ndarray]) -> np.ndarray:
    """Squared length of every voxel's offset, shape of the box; right for sheared grids too."""
    k, j, i = offsets
    plane = (k * k).sum(1)[:, None] + (j * j).sum(1) + 2.0 * (k @ j.T)
    row = (i * i).sum(1)
    if np.abs(k @ i.T).max() < 1e-9 and np.abs(j @ i.T).max() < 1e-9:
        return plane[:, :, None] + row
    return plane[:, :, None] + (row + 2.0 * (k @ i.T))[:, None, :] + 2.0 * (j @ i.T)


def _mark_way(
    mask: np.ndarray, geometry: Geometry, box: Box, begin: np.ndarray, stop: np.ndarray
) -> None:
    """Set the voxels of the block that hold points of the way."""
    length = float(np.linalg.norm(stop - begin))
    count = 1 + math.ceil(length / (0.5 * min(geometry.spacing)))
    points = begin + np.linspace(0.0, 1.0, count)[:, None] * (stop - begin)
    index = np.floor(geometry.index(points) + 0.5).astype(int)
    inside = ((index >= box.start) & (index < box.stop)).all(axis=1)
    k, j, i = (index[inside] - box.start).T
    mask[k, j, i] = True


def _unit(vector: ArrayLike) -> np.ndarray:
    direction = np.asarray(vector, dtype=float)
    return direction / np.linalg.norm(direction)


class Stroke:
    """One stroke of brush or eraser, from press to release.

    The stroke paints into its own copy of a growing block; the segmentation stays as it is until
    the edit of :meth:`finish` is executed.

    Parameters
    ----------
    segmentation : Segmentation
        What is painted on; must not change while the stroke lasts.
    label : int
        Number of a segment of it; ignored by the eraser.
    radius_mm : float
        Radius of the brush; may be changed between two points.
    shape : {"disc", "ball"}
        A disc paints in the plane through the point, a ball in depth too.
    normal : array_like, shape (3,), optional
        Normal of the disc's plane in LPS.
    erase : bool
        Set voxels to background instead.
    only_label : int, optional
        Touch only voxels that hold this label now (0 for background).
    intensity_range : tuple of float, optional
        Touch only voxels of ``volume`` whose real values lie in this range, ends included.
    volume : Volume, optional
        On the same grid; needed for ``intensity_range``.

    Raises
    ------
    EditRefused
        Where the label does not exist or is locked, or the range has no volume on this grid.
    """

    def __init__(
        self,
        segmentation: Segmentation,
        label: int,
        radius_mm: float,
        shape: Shape = "ball",
        normal: ArrayLike | None = None,
        erase: bool = False,
        only_label: int | None = None,
        intensity_range: tuple[float, float] | None = None,
        volume: Volume | None = None,
    ) -> None:
        if shape == "disc" and normal is None:
            raise ValueError("a disc needs the normal of its plane")
        self.segmentation = segmentation
        self.radius_mm = float(radius_mm)
        self._value = np.uint8(0 if erase else _paintable(segmentation, label))
        self._normal = None if shape == "ball" else np.asarray(normal, dtype=float)
        self._free = _free_labels(segmentation, only_label)
        self._range = _stored_range(segmentation, intensity_range, volume)
        self._stored = None if volume is None or self._range is None else volume.voxels
        self._last: np.ndarray | None = None
        self._room = Box((0, 0, 0), (0, 0, 0))
        self._scratch = np.zeros((0, 0, 0), np.uint8)
        self._touched = self._room

    @property
    def box(self) -> Box:
        """The block touched so far."""
        return self._touched

    def add(self, world: ArrayLike) -> Box:
        """Lead the brush to a point (LPS mm) and return the block that was painted on the way."""
        point = np.asarray(world, dtype=float)
        dirty = Box((0, 0, 0), (0, 0, 0))
        for begin, stop in self._pieces(point):
            dirty = dirty.union(self._sweep(begin, stop))
        self._last = point
        self._touched = self._touched.union(dirty)
        return dirty

    def view(self, box: Box) -> np.ndarray:
        """The labels of a block with the stroke applied; read-only uint8 of the box's shape."""
        labels = self.segmentation.labels[box.slices]
        shared = _overlap(box, self._touched)
        if not shared.empty:
            labels = labels.copy()
            labels[_inside(shared, box)] = self._scratch[_inside(shared, self._room)]
        labels.flags.writeable = False
        return labels

    def finish(self, name: str) -> VoxelEdit | None:
        """The stroke as an edit over the tight block it changed, or None where it changed nothing.

        Apply it through the workspace; the stroke itself changes nothing.
        """
        if self._touched.empty:
            return None
        before = self.segmentation.labels[self._touched.slices]
        after = self._scratch[_inside(self._touched, self._room)]
        tight = Box.around(before != after)
        if tight.empty:
            return None
        start = np.add(self._touched.start, tight.start)
        stop = np.add(self._touched.start, tight.stop)
        box = Box(tuple(start.tolist()), tuple(stop.tolist()))
        return VoxelEdit.between(
            self.segmentation.id, name, box, before[tight.slices], after[tight.slices]
        )

    def _pieces(self, point: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        """The way from the last point, cut so that no piece is long and its block stays small."""
        last = self._last
        if last is None or self._other_plane(last, point):
            return [(point, point)]
        longest = max(2.0 * self.radius_mm, 8.0 * min(self.segmentation.geometry.spacing))
        count = max(1, math.ceil(float(np.linalg.norm(point - last)) / longest))
        stops = last + np.linspace(0.0, 1.0, count + 1)[:, None] * (point - last)
        return [(stops[n], stops[n + 1]) for n in range(count)]

    def _other_plane(self, last: np.ndarray, point: np.ndarray) -> bool:
        """True where a disc has moved to another slice: it starts anew there."""
        if self._normal is None:
            return False
        drift = abs(float(_unit(self._normal) @ (point - last)))
        return drift > 1e-3 * min(self.segmentation.geometry.spacing)

    def _sweep(self, begin: np.ndarray, stop: np.ndarray) -> Box:
        geometry = self.segmentation.geometry
        box = sweep_box(geometry, begin, stop, self.radius_mm, self._normal)
        if box.empty:
            return box
        self._make_room(box)
        mask = sweep_mask(geometry, begin, stop, self.radius_mm, self._normal, box)
        mask &= self._free[self.segmentation.labels[box.slices]]
        if self._stored is not None and self._range is not None:
            stored = self._stored[box.slices]
            mask &= (stored >= self._range[0]) & (stored <= self._range[1])
        np.copyto(self._scratch[_inside(box, self._room)], self._value, where=mask)
        return box

    def _make_room(self, box: Box) -> None:
        """Let the scratch block hold ``box`` too, with slack on the sides that grew."""
        needed = self._room.union(box)
        if needed == self._room:
            return
        room = needed if self._room.empty else self._slack(needed)
        scratch = self.segmentation.labels[room.slices].copy()
        if not self._room.empty:
            scratch[_inside(self._room, room)] = self._scratch
        self._room, self._scratch = room, scratch

    def _slack(self, needed: Box) -> Box:
        start, stop = list(needed.start), list(needed.stop)
        for axis in range(3):
            extra = max(16, (stop[axis] - start[axis]) // 2)
            if start[axis] < self._room.start[axis]:
                start[axis] -= extra
            if stop[axis] > self._room.stop[axis]:
                stop[axis] += extra
        wide = Box((start[0], start[1], start[2]), (stop[0], stop[1], stop[2]))
        return wide.clipped(self.segmentation.geometry.shape)


def _paintable(segmentation: Segmentation, label: int) -> int:
    segment = segmentation.segment(label)
    if segment is None:
        raise EditRefused(f"The mask has no label {label}", segmentation.name, "Choose a label")
    if segment.locked:
        raise EditRefused("The label is locked", segment.name, "Unlock it to paint")
    return label


def _free_labels(segmentation: Segmentation, only_label: int | None) -> np.ndarray:
    """For each label number whether the brush may change voxels that hold it; bool, (256,)."""
    free = np.full(256, only_label is None)
    if only_label is not None:
        free[only_label] = True
    for segment in segmentation.segments:
        free[segment.number] &= not segment.locked
    return free


def _stored_range(
    segmentation: Segmentation, wanted: tuple[float, float] | None, volume: Volume | None
) -> tuple[float, float] | None:
    """A range of real values as a range of stored values."""
    if wanted is None:
        return None
    if volume is None or not volume.geometry.same_grid(segmentation.geometry):
        raise EditRefused(
            "The intensity range needs the image this mask lies on", segmentation.name
        )
    if volume.slope == 0:
        return (-math.inf, math.inf) if wanted[0] <= volume.intercept <= wanted[1] else (1.0, 0.0)
    a, b = ((value - volume.intercept) / volume.slope for value in wanted)
    return (min(a, b), max(a, b)) if wanted[0] <= wanted[1] else (1.0, 0.0)


def _overlap(one: Box, other: Box) -> Box:
    start = np.maximum(one.start, other.start).tolist()
    stop = np.minimum(one.stop, other.stop).tolist()
    return Box(tuple(start), tuple(stop))


def _inside(box: Box, room: Box) -> tuple[slice, slice, slice]:
    """The block as an index into an array that covers ``room``."""
    k, j, i = (slice(a - r, b - r) for a, b, r in zip(box.start, box.stop, room.start, strict=True))
    return k, j, i
