"""Pointing at one thing: a click, a scribble or a box becomes a hint; an engine finds the mask.

The tool only says what the hand meant, in patient space. Who listens (:meth:`Scene.point_out`)
keeps the proposal, draws it and accepts or drops it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from imaging.geometry import Box, Geometry
from viewer.tools.tool import Gesture, PointerEvent, Scene, Tool

#: A press that moves less than this (logical pixels) is a click.
CLICK_PIXELS = 4.0


@dataclass(frozen=True, eq=False)
class Pointed:
    """What the hand has pointed at.

    Parameters
    ----------
    cell : str
        In which view.
    kind : str
        ``point``, ``scribble`` or ``box``.
    wanted : bool
        Whether it belongs to the thing meant.
    path : ndarray, shape (n, 3)
        LPS mm: the point, the way of the hand, or two opposite corners on the view's plane.
    right, down, normal : ndarray, shape (3,)
        Unit vectors of the view's plane.
    done : bool
        False while the hand still moves: something to draw, nothing to find.
    """

    cell: str
    kind: str
    wanted: bool
    path: np.ndarray
    right: np.ndarray
    down: np.ndarray
    normal: np.ndarray
    done: bool = True

    def box_in(self, geometry: Geometry) -> Box:
        """The drawn rectangle as a block of voxels, as deep as it is wide on the mean."""
        start, end = self.path[0], self.path[-1]
        across = float((end - start) @ self.right) * self.right
        along = float((end - start) @ self.down) * self.down
        depth = (np.linalg.norm(across) + np.linalg.norm(along)) / 4
        corners = [
            start + a * across + b * along + c * depth * self.normal
            for a in (0, 1)
            for b in (0, 1)
            for c in (-1, 1)
        ]
        index = geometry.index(np.stack(corners))
        low = np.floor(index.min(axis=0) + 0.5).astype(int)
        high = np.floor(index.max(axis=0) + 0.5).astype(int) + 1
        return Box(tuple(low.tolist()), tuple(high.tolist())).clipped(geometry.shape)


def click(start: PointerEvent, scene: Scene) -> Gesture:
    """Click: this. Ctrl or Alt: not this. Drag: a box; with Shift or Ctrl a scribble."""
    wanted = not {"ctrl", "alt"} & start.modifiers
    drag = "box" if wanted and "shift" not in start.modifiers else "scribble"
    path, kind, finished = [start.world], "point", False
    try:
        while True:
            event = yield
            if kind != "point" or _moved(start, event):
                kind = drag
            if kind == "scribble":
                path.append(event.world)
            elif kind == "box":
                path = [start.world, event.world]
            if event.kind == "release":
                break
            if kind == "box":
                scene.point_out(_pointed(start, kind, wanted, path, done=False))
        finished = True
        scene.point_out(_pointed(start, kind, wanted, path))
    finally:
        if not finished:
            scene.point_out(None)


def _pointed(
    start: PointerEvent, kind: str, wanted: bool, path: list[np.ndarray], done: bool = True
) -> Pointed:
    way = np.stack(path)
    return Pointed(start.cell, kind, wanted, way, start.right, start.down, start.normal, done)


def _moved(a: PointerEvent, b: PointerEvent) -> bool:
    return float(np.hypot(a.screen[0] - b.screen[0], a.screen[1] - b.screen[1])) >= CLICK_PIXELS


TOOL = Tool("click", "Point at a thing", True, click)
