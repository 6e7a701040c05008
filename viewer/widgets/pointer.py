"""Qt's mouse becomes gestures: events with patient coordinates, sent to a generator.

The hand does not decide what a gesture means; it finds the tool, sends press, moves and release,
and closes the generator on Esc or when the focus goes.
"""

from __future__ import annotations

from typing import Literal

from PySide6.QtCore import QPointF, Qt
from PySide6.QtGui import QMouseEvent, QWheelEvent

from imaging.errors import ImagingError
from viewer.state.cameras import zoomed
from viewer.state.slice_plan import SlicePlan
from viewer.tools.brush import brush_sized
from viewer.tools.pan_zoom import about_mm, pan, zoom
from viewer.tools.scroll import pointed_at, scrolled
from viewer.tools.table import tool_of
from viewer.tools.tool import Gesture, GestureFunction, PointerEvent, Scene

#: One notch of a mouse wheel in Qt's eighths of a degree.
NOTCH = 120
#: A right press that moves less than this (logical pixels) is a click.
CLICK_PIXELS = 4.0
FAST_STEPS = 10
ZOOM_PER_NOTCH = 1.15

_BUTTONS = {
    Qt.MouseButton.LeftButton: "left",
    Qt.MouseButton.MiddleButton: "middle",
    Qt.MouseButton.RightButton: "right",
}
_MODIFIERS = {
    Qt.KeyboardModifier.ShiftModifier: "shift",
    Qt.KeyboardModifier.ControlModifier: "ctrl",
    Qt.KeyboardModifier.AltModifier: "alt",
}


def modifiers_of(held: Qt.KeyboardModifier) -> frozenset[str]:
    """Qt's modifiers as words."""
    return frozenset(word for flag, word in _MODIFIERS.items() if held & flag)


def pointer_event(
    kind: Literal["press", "move", "release"],
    position: QPointF,
    plan: SlicePlan,
    button: str,
    modifiers: frozenset[str],
) -> PointerEvent:
    """A place in a view as a point of its plane."""
    import numpy as np

    x, y = position.x(), position.y()
    right, down = plan.way
    return PointerEvent(
        kind=kind,
        cell=plan.cell,
        world=plan.world(x, y),
        screen=(x, y),
        size=(float(plan.size[0]), float(plan.size[1])),
        normal=np.array(plan.normal),
        right=np.array(right),
        down=np.array(down),
        mm_per_pixel=plan.mm_per_pixel,
        button=button,
        modifiers=modifiers,
    )


class Hand:
    """One hand over one view: at most one gesture at a time.

    Parameters
    ----------
    scene : Scene
        What gestures look at and ask.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self._gesture: Gesture | None = None
        self._button = ""
        self._pressed = QPointF()
        self._wheel = 0

    @property
    def busy(self) -> bool:
        """True between press and release."""
        return self._gesture is not None

    def press(self, event: QMouseEvent, plan: SlicePlan) -> None:
        """Begin the gesture of the pressed button; a second button cancels it."""
        if self.busy:
            self.cancel()
            return
        button = _BUTTONS.get(event.button(), "")
        gesture = self._gesture_of(button)
        if gesture is None or not plan.volume_id:
            return
        held = modifiers_of(event.modifiers())
        self._button, self._pressed = button, event.position()
        self._begin(gesture, pointer_event("press", event.position(), plan, button, held))

    def move(self, event: QMouseEvent, plan: SlicePlan) -> None:
        """Send a move, or let the crosshair follow while Shift is held without a button."""
        held = modifiers_of(event.modifiers())
        if self.busy:
            self._send(pointer_event("move", event.position(), plan, self._button, held))
        elif "shift" in held and not event.buttons() and plan.volume_id and not self._editing:
            world = plan.world(event.position().x(), event.position().y())
            self.scene.show(pointed_at(self.scene.case, self.scene.display, plan.cell, world))

    def is_click(self, event: QMouseEvent) -> bool:
        """True where the left button is let go where it was pressed, while reading."""
        way = event.position() - self._pressed
        return (
            self._button == "left"
            and _BUTTONS.get(event.button(), "") == "left"
            and abs(way.x()) + abs(way.y()) < CLICK_PIXELS
            and not self._editing
        )

    def release(self, event: QMouseEvent, plan: SlicePlan) -> bool:
        """End the gesture; True where it was a right click, which asks for a menu."""
        if not self.busy or _BUTTONS.get(event.button(), "") != self._button:
            return False
        way = event.position() - self._pressed
        clicked = self._button == "right" and abs(way.x()) + abs(way.y()) < CLICK_PIXELS
        if clicked:
            self.cancel()
            return True
        held = modifiers_of(event.modifiers())
        self._send(pointer_event("release", event.position(), plan, self._button, held))
        self.cancel()
        return False

    def wheel(self, event: QWheelEvent, plan: SlicePlan) -> None:
        """Slices, or zoom with Ctrl, or brush size with Shift while editing."""
        turn = event.angleDelta().y() or event.angleDelta().x()
        if self._wheel * turn < 0:
            self._wheel = 0
        self._wheel += turn
        notches, rest = divmod(abs(self._wheel), NOTCH)
        sign = 1 if self._wheel > 0 else -1
        self._wheel = sign * rest
        if notches and plan.volume_id and not self.busy:
            self._turn(sign * notches, event, plan)

    def cancel(self) -> bool:
        """Close the gesture without finishing it; True where there was one."""
        gesture, self._gesture = self._gesture, None
        self._button = ""
        if gesture is None:
            return False
        gesture.close()
        return True

    @property
    def _editing(self) -> bool:
        return tool_of(self.scene.display.tool).editing

    def _turn(self, notches: int, event: QWheelEvent, plan: SlicePlan) -> None:
        held = modifiers_of(event.modifiers())
        display = self.scene.display
        if "ctrl" in held:
            here = pointer_event("move", event.position(), plan, "", held)
            factor = ZOOM_PER_NOTCH**notches
            self.scene.show(zoomed(display, plan.cell, factor, about_mm(here)))
        elif "shift" in held and self._editing:
            self.scene.show(brush_sized(display, notches))
        else:
            steps = -notches * (FAST_STEPS if "shift" in held else 1)
            self.scene.show(scrolled(self.scene.case, display, plan.cell, steps))

    def _gesture_of(self, button: str) -> GestureFunction | None:
        if button == "left":
            return tool_of(self.scene.display.tool).gesture
        return {"middle": pan, "right": zoom}.get(button)

    def _begin(self, function: GestureFunction, event: PointerEvent) -> None:
        gesture = function(event, self.scene)
        try:
            next(gesture)
        except StopIteration:
            return
        except ImagingError as error:
            self.scene.say(str(error))
            return
        self._gesture = gesture

    def _send(self, event: PointerEvent) -> None:
        gesture = self._gesture
        if gesture is None:
            return
        try:
            gesture.send(event)
        except StopIteration:
            self._gesture = None
        except ImagingError as error:
            self._gesture = None
            self.scene.say(str(error))
