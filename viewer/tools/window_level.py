"""Window and level by dragging: right is wider, down raises the level (a darker picture)."""

from __future__ import annotations

from imaging.volume import Volume, Window
from viewer.state.windows import automatic_window, shown_window
from viewer.tools.tool import Gesture, PointerEvent, Scene, Tool

#: So many logical pixels change the width by the width of the automatic window.
PIXELS_PER_WINDOW = 300.0


def window_level(start: PointerEvent, scene: Scene) -> Gesture:
    """Change the window of the volume under the hand until the release."""
    cell = scene.display.cell(start.cell)
    volume = scene.case.items.get(cell.volume_id) if cell else None
    if not isinstance(volume, Volume):
        return
    begin = scene.display
    first = shown_window(volume, begin)
    per_pixel = automatic_window(volume).width / PIXELS_PER_WINDOW
    finished = False
    try:
        while True:
            event = yield
            across = (event.screen[0] - start.screen[0]) * per_pixel
            down = (event.screen[1] - start.screen[1]) * per_pixel
            window = Window(first.centre + down, max(first.width + across, per_pixel / 4.0))
            if event.screen != start.screen or scene.display.windows != begin.windows:
                scene.show(scene.display.with_window(volume.id, window))
            if event.kind == "release":
                finished = True
                return
    finally:
        if not finished:
            scene.show(scene.display.but(windows=begin.windows))


TOOL = Tool("window", "Window / level", False, window_level)
