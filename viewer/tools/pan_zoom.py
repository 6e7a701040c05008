"""Pan with the middle button, zoom about the pressed point with the right one."""

from __future__ import annotations

from viewer.state.cameras import panned, zoomed
from viewer.tools.motion import in_motion
from viewer.tools.tool import Gesture, PointerEvent, Scene

#: A drag of so many logical pixels doubles (up) or halves (down) the picture.
PIXELS_PER_DOUBLING = 120.0


def pan(start: PointerEvent, scene: Scene) -> Gesture:
    """The picture sticks to the hand."""
    begin = scene.display.cell(start.cell)
    if begin is None:
        return
    with in_motion(scene):
        while True:
            event = yield
            right = (event.screen[0] - start.screen[0]) * start.mm_per_pixel
            down = (event.screen[1] - start.screen[1]) * start.mm_per_pixel
            scene.show(panned(scene.display.with_cell(begin), start.cell, right, down))
            if event.kind == "release":
                return


def zoom(start: PointerEvent, scene: Scene) -> Gesture:
    """Up enlarges, down shrinks; the pressed point stays where it is."""
    begin = scene.display.cell(start.cell)
    if begin is None:
        return
    about = about_mm(start)
    with in_motion(scene):
        while True:
            event = yield
            doublings = (start.screen[1] - event.screen[1]) / PIXELS_PER_DOUBLING
            display = scene.display.with_cell(begin)
            scene.show(zoomed(display, start.cell, 2.0**doublings, about))
            if event.kind == "release":
                return


def about_mm(event: PointerEvent) -> tuple[float, float]:
    """Where the pointer is from the middle of its cell, (right, down) in mm."""
    return (
        (event.screen[0] - event.size[0] / 2.0) * event.mm_per_pixel,
        (event.screen[1] - event.size[1] / 2.0) * event.mm_per_pixel,
    )
