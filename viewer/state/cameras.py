"""Zoom, pan, flips and turns of one cell. Display state in, display state out."""

from __future__ import annotations

from dataclasses import replace

from viewer.state.display import Camera, Cell, DisplayState

ZOOM_RANGE = (0.2, 40.0)


def zoomed(
    display: DisplayState,
    cell_id: str,
    factor: float,
    about_mm: tuple[float, float] = (0.0, 0.0),
) -> DisplayState:
    """Enlarge the picture of a cell.

    Parameters
    ----------
    about_mm : tuple of float
        The point that stays where it is, (right, down) in mm from the middle of the view at the
        scale before zooming.
    """
    cell = display.cell(cell_id)
    if cell is None:
        return display
    zoom = min(max(cell.camera.zoom * factor, ZOOM_RANGE[0]), ZOOM_RANGE[1])
    change = cell.camera.zoom / zoom - 1.0
    right, down = cell.camera.pan_mm
    pan = (right + about_mm[0] * change, down + about_mm[1] * change)
    return _with_camera(display, cell, zoom=zoom, pan_mm=pan)


def panned(display: DisplayState, cell_id: str, right_mm: float, down_mm: float) -> DisplayState:
    """Shift the picture of a cell."""
    cell = display.cell(cell_id)
    if cell is None:
        return display
    right, down = cell.camera.pan_mm
    return _with_camera(display, cell, pan_mm=(right + right_mm, down + down_mm))


def flipped(display: DisplayState, cell_id: str, horizontal: bool) -> DisplayState:
    """Mirror the picture as it is on screen, whatever its turns."""
    cell = display.cell(cell_id)
    if cell is None:
        return display
    camera = cell.camera
    right, down = camera.pan_mm
    pan = (-right, down) if horizontal else (right, -down)
    if horizontal == (camera.quarter_turns % 2 == 0):
        return _with_camera(display, cell, flip_horizontal=not camera.flip_horizontal, pan_mm=pan)
    return _with_camera(display, cell, flip_vertical=not camera.flip_vertical, pan_mm=pan)


def rotated(display: DisplayState, cell_id: str, quarter_turns: int = 1) -> DisplayState:
    """Turn the picture clockwise about the middle of the view."""
    cell = display.cell(cell_id)
    if cell is None:
        return display
    right, down = cell.camera.pan_mm
    for _ in range(quarter_turns % 4):
        right, down = -down, right
    turns = (cell.camera.quarter_turns + quarter_turns) % 4
    return _with_camera(display, cell, quarter_turns=turns, pan_mm=(right, down))


def _with_camera(display: DisplayState, cell: Cell, **changes) -> DisplayState:
    camera: Camera = replace(cell.camera, **changes)
    return display.with_cell(replace(cell, camera=camera))
