"""Going through slices and pointing at places. Display state in, display state out."""

from __future__ import annotations

import numpy as np

from imaging.case import Case
from imaging.geometry import Geometry
from imaging.volume import Volume
from viewer.state.display import Cell, DisplayState, Plane
from viewer.state.linking import cursor_in, with_cursor
from viewer.state.plan import slice_position
from viewer.state.planes import array_cut, extent, way_of


def scrolled(case: Case, display: DisplayState, cell_id: str, steps: int) -> DisplayState:
    """Go ``steps`` slices on (back where negative), stopping at the ends of the volume."""
    found = _slice_cell(case, display, cell_id)
    if found is None or steps == 0:
        return display
    cell, geometry = found
    now = slice_position(geometry, cell, cursor_in(display, geometry)).number
    return _at_slice(display, cell, geometry, now + steps)


def at_slice(case: Case, display: DisplayState, cell_id: str, number: int) -> DisplayState:
    """Show the slice with a one-based number, the nearest end where there is none such."""
    found = _slice_cell(case, display, cell_id)
    return display if found is None else _at_slice(display, *found, number)


def first_slice(case: Case, display: DisplayState, cell_id: str) -> DisplayState:
    """Show the first slice."""
    return at_slice(case, display, cell_id, 1)


def last_slice(case: Case, display: DisplayState, cell_id: str) -> DisplayState:
    """Show the last slice."""
    return at_slice(case, display, cell_id, 1_000_000)


def pointed_at(case: Case, display: DisplayState, cell_id: str, world: np.ndarray) -> DisplayState:
    """Move the crosshair to a point seen in a cell; it stays inside that cell's volume."""
    found = _slice_cell(case, display, cell_id)
    if found is None:
        return display
    geometry = found[1]
    index = np.clip(geometry.index(world), -0.5, np.asarray(geometry.shape) - 0.5)
    return with_cursor(display, geometry, geometry.world(index))


def _slice_cell(case: Case, display: DisplayState, cell_id: str) -> tuple[Cell, Geometry] | None:
    cell = display.cell(cell_id)
    if cell is None or cell.plane == Plane.VOLUME:
        return None
    volume = case.items.get(cell.volume_id)
    return (cell, volume.geometry) if isinstance(volume, Volume) else None


def _at_slice(display: DisplayState, cell: Cell, geometry: Geometry, number: int) -> DisplayState:
    cursor = cursor_in(display, geometry)
    normal = np.asarray(way_of(cell, geometry).normal)
    target = _position_of(cell, geometry, cursor, number)
    return with_cursor(display, geometry, cursor + normal * (target - float(normal @ cursor)))


def _position_of(cell: Cell, geometry: Geometry, cursor: np.ndarray, number: int) -> float:
    """Where a slice lies along the normal of the cell's plane, in mm."""
    way = way_of(cell, geometry)
    normal = np.asarray(way.normal)
    stack = slice_position(geometry, cell, cursor)
    number = min(max(number, 1), stack.count)
    cut = array_cut(geometry, way, cursor)
    if cut is None:
        low, high = extent(geometry, way.normal)
        return (low + high) / 2.0 + (number - 1 - (stack.count - 1) / 2.0) * stack.step_mm
    along = float(geometry.affine[:3, cut.axis] @ normal)
    forward = cell.plane == Plane.ACQUIRED or along > 0
    index = [0, 0, 0]
    index[cut.axis] = number - 1 if forward else stack.count - number
    return float(geometry.world(index) @ normal)
