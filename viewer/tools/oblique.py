"""Turning oblique planes around the cursor: a drag in any slice view turns like a handle."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from imaging.volume import Volume
from viewer.state.display import Cell, DisplayState, Plane
from viewer.state.linking import cursor_in
from viewer.state.planes import point
from viewer.tools.motion import in_motion
from viewer.tools.tool import Gesture, PointerEvent, Scene, Tool

#: Nearer to the cursor than this (logical pixels) a direction means nothing.
DEAD_PIXELS = 6.0


def tilted(cell: Cell, axis: np.ndarray, angle: float) -> Cell:
    """An oblique cell turned around an axis through the cursor.

    Parameters
    ----------
    axis : ndarray, shape (3,)
        Direction in LPS, of any length.
    angle : float
        In radians, right-handed about the axis.
    """
    if cell.normal is None or cell.right is None:
        return cell
    unit = np.asarray(axis, dtype=float) / np.linalg.norm(axis)
    normal = _turned(np.asarray(cell.normal), unit, angle)
    normal = normal / np.linalg.norm(normal)
    right = _turned(np.asarray(cell.right), unit, angle)
    right = right - (right @ normal) * normal
    return replace(cell, normal=point(normal), right=point(right / np.linalg.norm(right)))


def oblique(start: PointerEvent, scene: Scene) -> Gesture:
    """Turn the oblique planes with the hand around the cursor; where they are stays on cancel.

    In another view the trace of the oblique plane follows the hand; in the oblique view itself
    the picture turns in its plane.
    """
    if not any(cell.plane == Plane.OBLIQUE for cell in scene.display.cells):
        scene.say("Show an oblique plane in one of the views first")
        return
    middle = _middle(start, scene)
    before = _angle(start, middle)
    with in_motion(scene):
        while True:
            event = yield
            now = _angle(event, middle)
            if before is not None and now is not None:
                scene.show(_turn(scene.display, start, now - before))
            before = now if now is not None else before
            if event.kind == "release":
                return


def _turn(display: DisplayState, start: PointerEvent, angle: float) -> DisplayState:
    pressed = display.cell(start.cell)
    own = pressed is not None and pressed.plane == Plane.OBLIQUE
    if own and pressed is not None:
        # The picture follows the hand, so the plane's axes go the other way.
        return display.with_cell(tilted(pressed, start.normal, -angle))
    for cell in display.cells:
        if cell.plane == Plane.OBLIQUE:
            display = display.with_cell(tilted(cell, start.normal, angle))
    return display


def _middle(event: PointerEvent, scene: Scene) -> tuple[float, float]:
    """Where the cursor is on the screen of the pressed cell, logical pixels."""
    cell = scene.display.cell(event.cell)
    volume = scene.case.items.get(cell.volume_id) if cell else None
    if not isinstance(volume, Volume):
        return event.screen
    offset = cursor_in(scene.display, volume.geometry) - event.world
    return (
        event.screen[0] + float(offset @ event.right) / event.mm_per_pixel,
        event.screen[1] + float(offset @ event.down) / event.mm_per_pixel,
    )


def _angle(event: PointerEvent, middle: tuple[float, float]) -> float | None:
    """Direction from the cursor to the hand, clockwise on screen; None too near to tell."""
    x, y = event.screen[0] - middle[0], event.screen[1] - middle[1]
    return None if math.hypot(x, y) < DEAD_PIXELS else math.atan2(y, x)


def _turned(vector: np.ndarray, axis: np.ndarray, angle: float) -> np.ndarray:
    """Rodrigues' rotation."""
    return (
        vector * math.cos(angle)
        + np.cross(axis, vector) * math.sin(angle)
        + axis * float(axis @ vector) * (1.0 - math.cos(angle))
    )


TOOL = Tool("oblique", "Turn oblique plane", False, oblique)
