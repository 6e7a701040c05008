"""What the user wants and the data that exist, worked out to frozen plans. No Qt, no VTK.

:func:`plan` is the one way from state to picture: views compare two plans and draw the difference.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from imaging.analysis.regularise import why_not_even
from imaging.case import Case
from imaging.geometry import Geometry
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.uneven import UnevenGeometry, gap_words
from imaging.volume import Volume
from viewer.state.display import Cell, DisplayState, Layout, Plane, Point, drawing_id
from viewer.state.linking import cursor_in, linked
from viewer.state.marks import edge_letters, scale_bar, traces_in
from viewer.state.planes import (
    ArrayCut,
    PixelGrid,
    Way,
    array_cut,
    cut_grid,
    dot,
    extent,
    point,
    turned,
    way_of,
)
from viewer.state.slice_plan import (
    CornerTexts,
    DrawingLayer,
    EdgeLetters,
    Legend,
    MapLayer,
    MaskLayer,
    PlaneTrace,
    SlicePlan,
    SlicePosition,
)
from viewer.state.text import ONE_PLANE, corner_texts, place_along, why_one_plane
from viewer.state.windows import shown_inverted, shown_window

#: Room left around a picture that fits its view.
FIT_MARGIN = 1.04
#: While something moves, resampled pictures have pixels so many times as large.
COARSE_FACTOR = 2.0
NO_IMAGE = "Drop a series here"
OUTSIDE = "The cursor lies outside this image"


@dataclass(frozen=True)
class ViewPlan:
    """What all shown cells shall show.

    Parameters
    ----------
    shown : tuple of str
        Ids of the cells on screen in layout order, 3D cells included.
    slices : mapping
        A :class:`SlicePlan` for each shown cell that is not 3D.
    """

    layout: Layout
    maximised: str
    shown: tuple[str, ...]
    slices: Mapping[str, SlicePlan]


def plan(case: Case, display: DisplayState, sizes: Mapping[str, tuple[int, int]]) -> ViewPlan:
    """Work out the picture of every shown cell.

    Parameters
    ----------
    sizes : mapping
        Cell id to width and height of its view in logical pixels; 256 by 256 where missing.
    """
    shown = display.shown_cells
    slices = {
        cell.id: slice_plan(case, display, cell, sizes.get(cell.id, (256, 256)))
        for cell in shown
        if cell.plane != Plane.VOLUME
    }
    return ViewPlan(display.layout, display.maximised, tuple(c.id for c in shown), slices)


def said_before(display: DisplayState, cell: Cell) -> bool:
    """Whether a cell before this one says already why the volume has one plane only."""
    for other in display.shown_cells:
        if other.id == cell.id:
            return False
        if other.volume_id == cell.volume_id and other.plane != Plane.ACQUIRED:
            return True
    return False


def slice_plan(case: Case, display: DisplayState, cell: Cell, size: tuple[int, int]) -> SlicePlan:
    """Work out the picture of one slice cell."""
    volume = case.items.get(cell.volume_id)
    active = cell.id == display.active and len(display.shown_cells) > 1
    if not isinstance(volume, Volume) or min(size) < 1:
        return SlicePlan(cell.id, cell.plane, size, active=active, message=NO_IMAGE)
    if not volume.even and cell.plane != Plane.ACQUIRED:
        said = said_before(display, cell)
        return SlicePlan(
            cell.id, cell.plane, size, active=active,
            message=ONE_PLANE if said else why_one_plane(volume),
            uneven="" if said or why_not_even(volume) else volume.id,
        )  # fmt: skip
    cursor = cursor_in(display, volume.geometry)
    frame = _frame(volume.geometry, cell, cursor, size)
    position, remark = _place_of(volume, cell, frame, cursor)
    grid, coarse = _grid(volume.geometry, frame, size, display.moving)
    maps = _maps(case, display, volume, frame.cut)
    window = shown_window(volume, display)
    follows = linked(display, volume.geometry)
    crosshair, traces = None, ()
    if display.crosshair_shown and (follows or cell.id == display.active) and not remark:
        crosshair, traces = _lines_of(display, cell, frame, cursor, size)
    scaled = display.text_shown and volume.placed  # else even the size of a pixel may be a guess
    texts = corner_texts(
        volume, cell.plane, position, window, cell.camera.zoom, frame.cut is None, size, follows,
        remark or _slice_note(volume, frame.cut), _slicewise(volume, frame.cut),
    )  # fmt: skip
    return SlicePlan(
        cell=cell.id,
        plane=cell.plane,
        size=size,
        volume_id=volume.id,
        way=frame.way,
        centre=frame.centre,
        mm_per_pixel=frame.mm_per_pixel,
        cut=frame.cut,
        grid=grid,
        inside=frame.inside,
        coarse=coarse,
        window=window,
        inverted=shown_inverted(volume, display),
        maps=maps,
        masks=_masks(case, display, volume, frame.cut),
        drawing=_drawing(display, volume, frame.cut),
        position=position,
        letters=edge_letters(frame.way, volume.sides_known) if volume.placed else EdgeLetters(),
        texts=texts if display.text_shown else CornerTexts(),
        legend=_legend(case, maps) if display.text_shown else None,
        scale_bar=scale_bar(frame.mm_per_pixel, size[0]) if scaled else None,
        crosshair=crosshair,
        traces=traces,
        active=active,
        message="" if frame.inside else OUTSIDE,
    )


@dataclass(frozen=True)
class _Frame:
    way: Way
    cut: ArrayCut | None
    centre: Point
    mm_per_pixel: float
    inside: bool


def _frame(geometry: Geometry, cell: Cell, cursor: np.ndarray, size: tuple[int, int]) -> _Frame:
    way = turned(way_of(cell, geometry), cell.camera)
    cut = array_cut(geometry, way, cursor)
    on_plane = point(cursor) if cut is None else cut_grid(geometry, cut).origin
    low, high = extent(geometry, way.normal)
    inside = low - 1e-6 <= dot(point(cursor), way.normal) <= high + 1e-6
    per_pixel = _fitting_mm_per_pixel(geometry, way, size) / cell.camera.zoom
    middle = point(geometry.centre)
    away = dot(on_plane, way.normal) - dot(middle, way.normal)
    pan_right, pan_down = cell.camera.pan_mm
    centre = (
        middle[0] + away * way.normal[0] - pan_right * way.right[0] - pan_down * way.down[0],
        middle[1] + away * way.normal[1] - pan_right * way.right[1] - pan_down * way.down[1],
        middle[2] + away * way.normal[2] - pan_right * way.right[2] - pan_down * way.down[2],
    )
    return _Frame(way, cut, centre, per_pixel, inside)


def _fitting_mm_per_pixel(geometry: Geometry, way: Way, size: tuple[int, int]) -> float:
    left, right = extent(geometry, way.right)
    top, bottom = extent(geometry, way.down)
    return FIT_MARGIN * max((right - left) / size[0], (bottom - top) / size[1])


def _grid(
    geometry: Geometry, frame: _Frame, size: tuple[int, int], moving: bool
) -> tuple[PixelGrid, bool]:
    if frame.cut is not None:
        return cut_grid(geometry, frame.cut), False
    step = max(min(geometry.spacing), frame.mm_per_pixel) * (COARSE_FACTOR if moving else 1.0)
    left, columns = _visible(geometry, frame, frame.way.right, size[0], step)
    top, rows = _visible(geometry, frame, frame.way.down, size[1], step)
    origin = tuple(
        c + left * r + top * d
        for c, r, d in zip(frame.centre, frame.way.right, frame.way.down, strict=True)
    )
    grid = PixelGrid((origin[0], origin[1], origin[2]), *frame.way, (step, step), columns, rows)
    return grid, moving


def _visible(
    geometry: Geometry, frame: _Frame, along: Point, pixels: int, step: float
) -> tuple[float, int]:
    """First pixel centre (mm from the middle of the view) and count along one screen axis."""
    low, high = extent(geometry, along)
    middle = dot(frame.centre, along)
    half = pixels * frame.mm_per_pixel / 2.0
    first = max(low - middle, -half)
    last = min(high - middle, half)
    start = (math.floor((first + middle) / step) + 0.5) * step - middle
    return start, max(1, math.ceil((last - start) / step + 0.5))


def _place_of(
    volume: Volume, cell: Cell, frame: _Frame, cursor: np.ndarray
) -> tuple[SlicePosition, str]:
    """Which slice is shown and where it lies in truth; and a remark where it misses the cursor."""
    position = slice_position(volume.geometry, cell, cursor)
    if not volume.placed:
        return replace(position, place=""), ""
    if not volume.sides_known:
        letters, _, mm = position.place.partition(" ")
        return replace(position, place=f"{letters}? {mm}"), ""
    if volume.places is None or frame.cut is None:
        return position, ""
    place = place_along(frame.way.normal, point(volume.places[frame.cut.index]))
    geometry, remark = volume.geometry, ""
    if isinstance(geometry, UnevenGeometry) and not geometry.reaches(cursor):
        remark = f"nearest slice, {geometry.away(cursor):.1f} mm from the crosshair"
    return replace(position, place=place), remark


def _slice_note(volume: Volume, cut: ArrayCut | None) -> str:
    """What an acquired slice lies beside, or what a made one is."""
    if cut is None or cut.axis != 0:
        return ""
    if volume.made_slices:
        return volume.made_slices[cut.index]
    return "" if volume.places is None else gap_words(volume.geometry, volume.places, cut.index)


def _slicewise(volume: Volume, cut: ArrayCut | None) -> bool:
    """True where the note of the slice says what was interpolated."""
    return bool(volume.made_slices) and cut is not None and cut.axis == 0


def slice_position(geometry: Geometry, cell: Cell, cursor: np.ndarray) -> SlicePosition:
    """Where a cell's slice is among all slices of its plane.

    The number of an acquired plane is that of the array; others are counted along the normal,
    which is the way that "next slice" goes.
    """
    way = way_of(cell, geometry)
    cut = array_cut(geometry, way, cursor)
    if cut is None:
        return _resampled_position(geometry, way, cursor)
    count = geometry.shape[cut.axis]
    along = geometry.affine[:3, cut.axis]
    step = abs(float(along @ np.asarray(way.normal)))
    forward = cell.plane == Plane.ACQUIRED or float(along @ np.asarray(way.normal)) > 0
    number = cut.index + 1 if forward else count - cut.index
    shown = place_along(way.normal, cut_grid(geometry, cut).origin)
    return SlicePosition(number, count, step, shown)


def _resampled_position(geometry: Geometry, way: Way, cursor: np.ndarray) -> SlicePosition:
    low, high = extent(geometry, way.normal)
    along = np.abs(np.asarray(way.normal) @ geometry.directions)
    step = (geometry.slice_mm, *geometry.spacing[1:])[int(along.argmax())]
    count = max(1, math.floor((high - low) / step))
    first = (low + high) / 2.0 - (count - 1) / 2.0 * step
    number = 1 + round((dot(point(cursor), way.normal) - first) / step)
    shown = place_along(way.normal, point(cursor))
    return SlicePosition(min(max(number, 1), count), count, step, shown)


def _layer_cut(geometry: Geometry, volume: Volume, cut: ArrayCut | None) -> ArrayCut | None:
    return cut if cut is not None and geometry.same_grid(volume.geometry) else None


def _masks(
    case: Case, display: DisplayState, volume: Volume, cut: ArrayCut | None
) -> tuple[MaskLayer, ...]:
    """From below to above: tissues under findings, whatever came first, so that these stand out."""
    drawn = (item for item in case.segmentations if _drawn(item, display, volume))
    return tuple(
        _mask_layer(item, display, _layer_cut(item.geometry, volume, cut))
        for item in sorted(drawn, key=lambda item: not item.anatomical)
    )


def _mask_layer(item: Segmentation, display: DisplayState, cut: ArrayCut | None) -> MaskLayer:
    overlay = display.overlay(item.id)
    colours = tuple((s.number, s.colour) for s in item.segments)
    return MaskLayer(
        item.id, cut, overlay.opacity, overlay.outline, colours, overlay.hidden_segments
    )


def _maps(
    case: Case, display: DisplayState, volume: Volume, cut: ArrayCut | None
) -> tuple[MapLayer, ...]:
    layers = []
    for item in case.heatmaps:
        if _drawn(item, display, volume):
            look = display.overlay(item.id)
            same = _layer_cut(item.geometry, volume, cut)
            layers.append(
                MapLayer(item.id, same, look.opacity, look.colour_table, look.low, look.high)
            )
    return tuple(layers)


def _drawn(item: Segmentation | Heatmap, display: DisplayState, volume: Volume) -> bool:
    overlay = display.overlay(item.id)
    seen = display.overlays_shown and overlay.visible and overlay.opacity > 0
    return seen and item.geometry.same_frame(volume.geometry)


def _drawing(display: DisplayState, volume: Volume, cut: ArrayCut | None) -> DrawingLayer | None:
    """Drawings mean pixels of acquired slices: no other plane shows them."""
    drawings = volume.drawings
    if drawings is None or cut is None or cut.axis != 0 or not display.overlays_shown:
        return None
    names = tuple(
        name
        for name in drawings.names_on(volume.repeat, cut.index)
        if display.overlay(drawing_id(volume.id, name)).visible
    )
    return DrawingLayer(names, volume.repeat, cut.index, cut) if names else None


def _legend(case: Case, maps: tuple[MapLayer, ...]) -> Legend | None:
    """The legend of the topmost map; one is enough to read the picture."""
    if not maps:
        return None
    top = maps[-1]
    titles = [case.heatmap(layer.item_id).title for layer in maps]
    alone = titles.count(titles[-1]) == 1
    name = titles[-1] if alone else case.heatmap(top.item_id).name
    return Legend(name, top.colour_table, top.low, top.high)


def _lines_of(
    display: DisplayState,
    cell: Cell,
    frame: _Frame,
    cursor: np.ndarray,
    size: tuple[int, int],
) -> tuple[tuple[float, float], tuple[PlaneTrace, ...]]:
    offset = tuple(c - m for c, m in zip(point(cursor), frame.centre, strict=True))
    x = size[0] / 2.0 + dot((offset[0], offset[1], offset[2]), frame.way.right) / frame.mm_per_pixel
    y = size[1] / 2.0 + dot((offset[0], offset[1], offset[2]), frame.way.down) / frame.mm_per_pixel
    return (x, y), tuple(traces_in(display, cell, frame.way, (x, y), size))
