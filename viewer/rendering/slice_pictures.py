"""What one view has drawn last, so that only what changed is made anew. numpy only, no Qt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple
from weakref import ref

import numpy as np

from imaging.case import Item
from imaging.geometry import Box, Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.volume import Volume
from viewer.rendering.lookup import mask_table
from viewer.rendering.slabs import Slabs
from viewer.rendering.slice_engine import (
    box_on_cut,
    cut_array,
    drawing_picture,
    grey_picture,
    label_slice,
    map_picture,
    map_slice,
    mask_picture,
    stored_slice,
)
from viewer.state.planes import PixelGrid
from viewer.state.slice_plan import MapLayer, MaskLayer, SlicePlan


class Patch(NamedTuple):
    """The rows and columns of a slice picture that were drawn anew."""

    rows: slice
    columns: slice


@dataclass(eq=False)
class MaskPicture:
    """A mask on the slice: label numbers and colours of shape (rows, columns), patched in place."""

    item: ref[Segmentation]
    layer: MaskLayer
    grid: PixelGrid
    revision: int
    labels: np.ndarray
    colours: np.ndarray

    def patch(self, block: np.ndarray, box: Box, geometry: Geometry) -> Patch | None:
        """Draw a block of labels; None where the slice does not meet it."""
        if self.layer.cut is not None:
            where = box_on_cut(box, self.layer.cut, geometry.shape)
            if where is None:
                return None
            cut = replace(
                self.layer.cut, index=self.layer.cut.index - box.start[self.layer.cut.axis]
            )
            self.labels[where] = cut_array(block, cut)
        else:
            where = self._patch_by_coordinates(block, box, geometry)
            if where is None:
                return None
        self.colours[where] = np.take(mask_table(self.layer), self.labels[where])
        return Patch(*where)

    def _patch_by_coordinates(
        self, block: np.ndarray, box: Box, geometry: Geometry
    ) -> tuple[slice, slice] | None:
        from viewer.rendering.reslice import nearest

        where = _pixels_of(box, geometry, self.grid)
        if where is None:
            return None
        rows, columns = where
        index_map = self.grid.index_map(geometry)
        index_map[:, 2] += index_map[:, :2] @ (columns.start, rows.start) - box.start
        count = columns.stop - columns.start, rows.stop - rows.start
        found = nearest(block.astype(np.int16), index_map, *count, outside=-1)
        np.copyto(self.labels[where], found.astype(np.uint8), where=found >= 0)
        return where


class SlicePictures:
    """The pictures of one view.

    Attributes
    ----------
    grey : ndarray, shape (rows, columns)
        uint32, opaque.
    maps : list of ndarray
        uint32, premultiplied, in drawing order.
    masks : list of MaskPicture
        In drawing order.
    drawing : ndarray or None
        uint32, transparent beside the lines.
    backdrop : int
        Grows whenever ``grey`` or ``maps`` hold other pixels.
    """

    def __init__(self) -> None:
        self.grey = np.zeros((0, 0), np.uint32)
        self.maps: list[np.ndarray] = []
        self.masks: list[MaskPicture] = []
        self.drawing: np.ndarray | None = None
        self.backdrop = 0
        self._drawing_key: object = None
        self._stored = np.zeros((0, 0), np.uint8)
        self._stored_key: object = None
        self._grey_key: object = None
        self._map_keys: list[object] = []
        self._slabs = Slabs()

    def make(self, plan: SlicePlan, items: Mapping[str, Item]) -> None:
        """Bring everything in line with a plan whose items exist."""
        volume = items[plan.volume_id]
        assert isinstance(volume, Volume)
        self._make_grey(plan, volume)
        self._make_maps(plan, items)
        self._make_masks(plan, items)
        self._make_drawing(plan, volume)

    def forget_voxels(self) -> None:
        """The voxels of the image have changed under the slice."""
        self._stored_key = None

    def forget_neighbours(self) -> None:
        """The voxels of the image have changed somewhere."""
        self._slabs.clear()

    def patch_mask(self, segmentation: Segmentation, block: np.ndarray, box: Box) -> Patch | None:
        """Draw other labels inside a block of one mask; None where nothing of it is seen."""
        for picture in self.masks:
            if picture.item() is segmentation:
                return picture.patch(block, box, segmentation.geometry)
        return None

    def mask_changed(self, segmentation: Segmentation, box: Box) -> Patch | None:
        """The labels inside a block have changed for good."""
        patch = self.patch_mask(segmentation, segmentation.labels[box.slices], box)
        for picture in self.masks:
            if picture.item() is segmentation:
                picture.revision = segmentation.revision
        return patch

    def _make_grey(self, plan: SlicePlan, volume: Volume) -> None:
        key = (ref(volume), plan.cut or (plan.grid, plan.inverted))
        if key != self._stored_key:
            if plan.cut is None:
                stored = stored_slice(volume, plan)
            else:
                stored = self._slabs.cut(volume.id, volume, 0, volume.voxels, plan.cut)
            self._stored = np.ascontiguousarray(stored)
            self._stored_key, self._grey_key = key, None
        look = (plan.window, plan.inverted)
        if look != self._grey_key:
            self.grey = grey_picture(self._stored, volume, plan, self.grey)
            self._grey_key = look
            self.backdrop += 1

    def _make_maps(self, plan: SlicePlan, items: Mapping[str, Item]) -> None:
        keys: list[object] = [
            (ref(items[layer.item_id]), layer, None if layer.cut else plan.grid)
            for layer in plan.maps
        ]
        if keys == self._map_keys:
            return
        known = dict(zip(self._map_keys, self.maps, strict=True))
        spare = [picture for key, picture in known.items() if key not in keys]
        self.maps = [
            known[key] if key in known else self._map(layer, plan, items, spare)
            for key, layer in zip(keys, plan.maps, strict=True)
        ]
        self._map_keys = keys
        self.backdrop += 1

    def _map(
        self, layer: MapLayer, plan: SlicePlan, items: Mapping[str, Item], spare: list[np.ndarray]
    ) -> np.ndarray:
        heatmap = items[layer.item_id]
        assert isinstance(heatmap, Heatmap)
        out = spare.pop() if spare else None
        if layer.cut is None:
            values = map_slice(heatmap, layer, plan)
        else:
            values = self._slabs.cut(heatmap.id, heatmap, 0, heatmap.values, layer.cut)
        return map_picture(values, layer, out)

    def _make_drawing(self, plan: SlicePlan, volume: Volume) -> None:
        key = (volume.drawings, plan.drawing)
        if key != self._drawing_key:
            self.drawing = plan.drawing and drawing_picture(volume, plan.drawing)
            self._drawing_key = key

    def _make_masks(self, plan: SlicePlan, items: Mapping[str, Item]) -> None:
        known = {picture.layer.item_id: picture for picture in self.masks}
        self.masks = [
            self._mask(layer, plan, items, known.get(layer.item_id)) for layer in plan.masks
        ]

    def _mask(
        self, layer: MaskLayer, plan: SlicePlan, items: Mapping[str, Item], old: MaskPicture | None
    ) -> MaskPicture:
        item = items[layer.item_id]
        assert isinstance(item, Segmentation)
        same_place = (
            old is not None
            and old.item() is item
            and old.revision == item.revision
            and old.layer.cut == layer.cut
            and old.grid == plan.grid
        )
        if old is None or not same_place:
            if layer.cut is None:
                labels = label_slice(item, layer, plan)
            else:
                labels = self._slabs.cut(item.id, item, item.revision, item.labels, layer.cut)
            labels = np.array(labels, order="C")
        elif old.layer == layer:
            return old
        else:
            labels = old.labels
        colours = mask_picture(labels, layer, None if old is None else old.colours)
        return MaskPicture(ref(item), layer, plan.grid, item.revision, labels, colours)


def _pixels_of(box: Box, geometry: Geometry, grid: PixelGrid) -> tuple[slice, slice] | None:
    """Rows and columns around all pixels whose nearest voxel can lie in a block."""
    if box.empty:
        return None
    faces = [(a - 0.5, b - 0.5) for a, b in zip(box.start, box.stop, strict=True)]
    corners = [(k, j, i) for k in faces[0] for j in faces[1] for i in faces[2]]
    world = geometry.world(corners)
    depth = (world - np.asarray(grid.origin)) @ np.cross(grid.right, grid.down)
    if depth.min() > 0 or depth.max() < 0:
        return None
    pixels = np.array([grid.pixel(corner) for corner in world])
    low = np.maximum(np.floor(pixels.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + 1, (grid.columns, grid.rows))
    if (high <= low).any():
        return None
    return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0]))
