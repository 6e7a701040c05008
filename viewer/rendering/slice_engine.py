"""Arrays and a plan in, pictures out: pure functions on numpy arrays, no Qt.

Planes of the array are cut as views; other planes, and masks on another grid, are looked up by
patient coordinates (``viewer.rendering.reslice``). Pictures are premultiplied ARGB uint32 of shape
(rows, columns) as on screen; those of images are opaque.
"""

from __future__ import annotations

import numpy as np

from imaging.geometry import Box
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.volume import Volume
from viewer.rendering.lookup import (
    MAP_STEPS,
    map_table,
    mask_table,
    opaque_grey,
    shade,
    window_table,
)
from viewer.state.planes import ArrayCut
from viewer.state.slice_plan import DrawingLayer, MapLayer, MaskLayer, SlicePlan

#: The colour of what files draw over their slices: a pale yellow that no label has.
DRAWING = np.uint32(0xFFF4E9A8)


def cut_array(array: np.ndarray, cut: ArrayCut) -> np.ndarray:
    """A plane of a ``(k, j, i)`` array as seen on screen: a view, shape (rows, columns)."""
    index: list[int | slice] = [slice(None)] * 3
    index[cut.axis] = cut.index
    return oriented(array[tuple(index)], cut)


def oriented(plane: np.ndarray, cut: ArrayCut) -> np.ndarray:
    """A slice with its two array axes in array order, turned as seen on screen."""
    if cut.column_axis < cut.row_axis:
        plane = plane.T
    return plane[:: cut.row_step, :: cut.column_step]


def stored_slice(volume: Volume, plan: SlicePlan) -> np.ndarray:
    """Stored values under the pixels of a plan; shape (rows, columns)."""
    if plan.cut is not None:
        return cut_array(volume.voxels, plan.cut)
    from viewer.rendering.reslice import reslice

    index_map = plan.grid.index_map(volume.geometry)
    outside = darkest(volume.voxels.dtype, plan.inverted != (volume.slope < 0))
    return reslice(
        volume.voxels, index_map, plan.grid.columns, plan.grid.rows, linear=True, outside=outside
    )


def darkest(dtype: np.dtype, highest: bool) -> float:
    """A stored value that every window shows black, for pixels that miss the volume."""
    if dtype.kind == "f":
        return 1e30 if highest else -1e30
    limits = np.iinfo(dtype)
    return float(limits.max if highest else limits.min)


def grey_picture(
    stored: np.ndarray, volume: Volume, plan: SlicePlan, out: np.ndarray | None = None
) -> np.ndarray:
    """Window and level: stored values to opaque grey; uint32, written to ``out`` if it fits."""
    dtype = stored.dtype
    if dtype.kind not in "iu" or dtype.itemsize > 2 or not dtype.isnative:
        grey = shade(stored, volume.slope, volume.intercept, plan.window, plan.inverted)
        return opaque_grey(np.ascontiguousarray(grey))
    table = window_table(dtype, volume.slope, volume.intercept, plan.window, plan.inverted)
    bits = np.ascontiguousarray(stored).view(f"u{dtype.itemsize}")
    return _take(table, bits, out)


def _take(table: np.ndarray, index: np.ndarray, out: np.ndarray | None) -> np.ndarray:
    if out is None or out.shape != index.shape:
        out = np.empty(index.shape, table.dtype)
    return np.take(table, index, out=out, mode="clip")


def label_slice(segmentation: Segmentation, layer: MaskLayer, plan: SlicePlan) -> np.ndarray:
    """Label numbers under the pixels of a plan; uint8, may be a view."""
    if layer.cut is not None:
        return cut_array(segmentation.labels, layer.cut)
    from viewer.rendering.reslice import nearest

    index_map = plan.grid.index_map(segmentation.geometry)
    return nearest(segmentation.labels, index_map, plan.grid.columns, plan.grid.rows, outside=0)


def mask_picture(labels: np.ndarray, layer: MaskLayer, out: np.ndarray | None = None) -> np.ndarray:
    """Label numbers to colours; uint32, written to ``out`` if it fits."""
    return _take(mask_table(layer), labels, out)


def map_slice(heatmap: Heatmap, layer: MapLayer, plan: SlicePlan) -> np.ndarray:
    """Map values under the pixels of a plan; float32, 0 outside the map."""
    if layer.cut is not None:
        return cut_array(heatmap.values, layer.cut)
    from viewer.rendering.reslice import reslice

    index_map = plan.grid.index_map(heatmap.geometry)
    return reslice(
        heatmap.values,
        index_map,
        plan.grid.columns,
        plan.grid.rows,
        linear=not plan.coarse,
        outside=0.0,
    )


def map_picture(values: np.ndarray, layer: MapLayer, out: np.ndarray | None = None) -> np.ndarray:
    """Map values to colours; uint32, written to ``out`` if it fits."""
    steps = np.multiply(values, np.float32(MAP_STEPS - 1), dtype=np.float32, order="C")
    index = np.empty(steps.shape, np.uint16)
    np.add(steps, np.float32(0.5), out=index, casting="unsafe")
    return _take(map_table(layer), index, out)


def drawing_picture(volume: Volume, layer: DrawingLayer) -> np.ndarray:
    """What files draw over a slice, in one colour; uint32, shape (rows, columns)."""
    assert volume.drawings is not None
    marked = volume.drawings.mask(layer.names, layer.image, layer.slice)
    return np.where(oriented(marked, layer.cut), DRAWING, np.uint32(0))


def over(below: np.ndarray, above: np.ndarray) -> np.ndarray:
    """One premultiplied picture laid over another of the same shape; uint32."""
    alpha = 255 - (above >> 24)
    result = np.zeros_like(above)
    for shift in (0, 8, 16, 24):
        part = (below >> shift) & 0xFF
        result |= (((above >> shift) & 0xFF) + (part * alpha + 127) // 255) << shift
    return result


def compose(plan: SlicePlan, items: dict) -> np.ndarray:
    """The whole slice picture: image, maps, masks, drawings of the files.

    Premultiplied ARGB uint32 of shape (rows, columns).

    For export and for tests; the view draws the same layers one by one, scaled by Qt.

    Parameters
    ----------
    items : dict
        The items of the case by id.
    """
    from viewer.rendering.outline import outlined

    volume: Volume = items[plan.volume_id]
    picture = grey_picture(stored_slice(volume, plan), volume, plan)
    for layer in plan.maps:
        picture = over(picture, map_picture(map_slice(items[layer.item_id], layer, plan), layer))
    for layer in plan.masks:
        labels = label_slice(items[layer.item_id], layer, plan)
        labels = outlined(labels) if layer.outline else labels
        picture = over(picture, mask_picture(labels, layer))
    if plan.drawing is not None:
        picture = over(picture, drawing_picture(volume, plan.drawing))
    return picture


def box_on_cut(box: Box, cut: ArrayCut, shape: tuple[int, int, int]) -> tuple[slice, slice] | None:
    """Rows and columns of the screen picture that a block of voxels covers.

    None where the plane does not meet the block.
    """
    if box.empty or not box.start[cut.axis] <= cut.index < box.stop[cut.axis]:
        return None
    rows = _span(box, cut.row_axis, cut.row_step, shape)
    return rows, _span(box, cut.column_axis, cut.column_step, shape)


def _span(box: Box, axis: int, step: int, shape: tuple[int, int, int]) -> slice:
    start, stop = box.start[axis], box.stop[axis]
    return slice(start, stop) if step > 0 else slice(shape[axis] - stop, shape[axis] - start)
