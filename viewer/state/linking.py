"""One cursor for everything inside one frame of reference, and one each for the others."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from imaging.geometry import Geometry
from viewer.state.display import DisplayState
from viewer.state.planes import point


def linked(display: DisplayState, geometry: Geometry) -> bool:
    """True where a volume follows the cursor: same frame of reference, or one of them unknown."""
    frame = geometry.frame_of_reference
    return not frame or not display.frame or frame == display.frame


def cursor_in(display: DisplayState, geometry: Geometry) -> np.ndarray:
    """Where the crosshair stands for a volume on this grid, LPS mm, shape (3,).

    The cursor of its frame of reference, or the voxel in the middle where there is none yet.
    """
    if linked(display, geometry):
        cursor = display.cursor
    else:
        cursor = display.cursors.get(geometry.frame_of_reference)
    return middle_voxel(geometry) if cursor is None else np.asarray(cursor, dtype=float)


def middle_voxel(geometry: Geometry) -> np.ndarray:
    """Centre of the voxel in the middle of the grid, LPS mm."""
    return geometry.world([n // 2 for n in geometry.shape])


def with_cursor(
    display: DisplayState, geometry: Geometry, world: np.ndarray | Sequence[float]
) -> DisplayState:
    """A copy with the crosshair at a point of a volume.

    Where that volume lies in another frame of reference, the old cursor is kept for the volumes
    of the old frame and the new one rules from now on.
    """
    target = point(np.asarray(world, dtype=float))
    if linked(display, geometry):
        return display.but(cursor=target, frame=display.frame or geometry.frame_of_reference)
    cursors = dict(display.cursors)
    if display.cursor is not None:
        cursors[display.frame] = display.cursor
    cursors.pop(geometry.frame_of_reference, None)
    return display.but(cursor=target, frame=geometry.frame_of_reference, cursors=cursors)
