"""The crosshair follows the hand: every linked view cuts through that patient position."""

from __future__ import annotations

from viewer.tools.motion import in_motion
from viewer.tools.scroll import pointed_at
from viewer.tools.tool import Gesture, PointerEvent, Scene, Tool


def crosshair(start: PointerEvent, scene: Scene) -> Gesture:
    """Move the cursor to the press and along with the drag; where it is stays on cancel."""
    event = start
    with in_motion(scene):
        while True:
            scene.show(pointed_at(scene.case, scene.display, event.cell, event.world))
            if event.kind == "release":
                return
            event = yield


TOOL = Tool("crosshair", "Crosshair", False, crosshair)
