"""The 3D view: a plain widget that shows frames made elsewhere and reports what the hand does.

No native OpenGL widget: frames come from an off-screen window as pixels, so the view works on
every Qt platform, can be grabbed, and never makes the window wait.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from time import monotonic

import numpy as np
from PySide6.QtCore import QObject, QPoint, QPointF, QRectF, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QImage, QMouseEvent, QPainter, QWheelEvent
from PySide6.QtWidgets import QWidget

from imaging.analysis.lesions import Lesion
from imaging.analysis.regularise import why_not_even
from imaging.case import VOXELS, Case, Change
from imaging.errors import ImagingError
from imaging.volume import Volume, Window
from viewer.rendering.frame_maker import Frame, FrameMaker, FrameRequest
from viewer.rendering.framing import head_corners
from viewer.rendering.lesion_bodies import LesionBodies
from viewer.rendering.orbit import Orbit
from viewer.rendering.picking import first_hit, into_label
from viewer.rendering.ray_cast import can_cast
from viewer.rendering.volume_scene import SceneState
from viewer.state.display import Cell, DisplayState
from viewer.state.linking import cursor_in
from viewer.state.plan import said_before
from viewer.state.text import ONE_PLANE, why_one_plane
from viewer.state.windows import automatic_window, shown_inverted, shown_window
from viewer.widgets import slice_paint as marks
from viewer.widgets.offer import even_offer
from viewer.widgets.volume_paint import paint_letters

log = logging.getLogger(__name__)

CLICK_PIXELS = 4  #: a press that moves less is a click
REFINE_MS = 300  #: pause after an edit before surfaces are built in full
REFRAME_MS = 500  #: between looks for the head while a series is loading
STILL_MS = 200  #: pause after a drag before the careful frame
SHORTEST_GAP_MS, LONGEST_GAP_MS = 60, 600  #: between frames that follow the other views
#: The sphere around a head's box is larger than the head.
FILLING = 1.15
ZOOM_PER_NOTCH, ZOOM_PER_PIXEL = 1.15, 1.01
NO_SERIES = "No series in this view"
UNEXPECTED = "3D cannot be shown on this machine. The other views and all tools work without it."


class _Bell(QObject):
    """Carries a ring from a worker thread to the main thread."""

    rung = Signal()


class VolumeView(QWidget):
    """Surfaces, three slices or a translucent head, seen from a camera that the mouse turns.

    Left drag turns, middle drag pans, right drag and wheel zoom, a click on a lesion picks it,
    a double-click asks for the whole grid.

    Signals
    -------
    activated()
        A mouse button went down here.
    picked(world)
        A lesion was clicked; centre of the voxel under the pointer, ndarray (3,), LPS mm.
    maximise_requested()
        Double-click.
    menu_requested(position)
        Right click (not drag); QPoint in this widget.
    even_wanted(volume_id)
        The offer to make an even volume was taken.
    """

    activated = Signal()
    picked = Signal(object)
    maximise_requested = Signal()
    menu_requested = Signal(QPoint)
    even_wanted = Signal(str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_OpaquePaintEvent)
        self.setMinimumSize(80, 80)
        self.setAccessibleName("3D view")
        self._case = Case()
        self._display = DisplayState()
        self._active = False
        self._volume: Volume | None = None
        self._filled = 0
        self._corners: np.ndarray | None = None
        self._touched = False
        self._orbit = Orbit()
        self._state = SceneState()
        self._frame: Frame | None = None
        self._image = QImage()
        self._failure = ""
        self._message = NO_SERIES
        self._uneven = ""
        self._offer = even_offer(self)
        self._offer.clicked.connect(lambda: self.even_wanted.emit(self._uneven))
        self._press: QPointF | None = None
        self._last = QPointF()
        self._dragged = False
        self._asked_at = 0.0
        bell = _Bell()
        bell.rung.connect(self._collect, Qt.ConnectionType.QueuedConnection)
        self._bell = bell
        self._frames = FrameMaker(bell.rung.emit)
        self._bodies = LesionBodies(bell.rung.emit)
        self._soon = _single_shot(self, self._ask_following, SHORTEST_GAP_MS)
        self._reframe = _single_shot(self, self._find_head, REFRAME_MS)
        self._still = _single_shot(self, self._ask_still, STILL_MS)
        self._refine = _single_shot(self, self._bodies.builder.refine, REFINE_MS)
        frames, surfaces = self._frames, self._bodies.builder
        self.destroyed.connect(lambda: (frames.close(0.0), surfaces.close(0.0)))

    # --- what to show ------------------------------------------------------------------------
    def apply(
        self, case: Case, display: DisplayState, cell: Cell, changes: Sequence[Change] = ()
    ) -> None:
        """Show a cell of the display; ``changes`` tells which voxels have arrived since."""
        volume = case.items.get(cell.volume_id)
        volume = volume if isinstance(volume, Volume) else None
        said = said_before(display, cell)
        self._message = NO_SERIES
        if volume is not None:
            self._message = ONE_PLANE if said else why_one_plane(volume)
        self._uneven = ""
        if volume is not None and not volume.even:
            self._uneven = "" if said or why_not_even(volume) else volume.id
            volume = None
        self._offer.place(bool(self._uneven))
        self._case, self._display = case, display
        active = display.active == cell.id
        if active != self._active:
            self._active = active
            self.update()
        known, self._volume = self._volume, volume
        if not _same_grid(known, volume):
            self._frame, self._touched = None, False
            self.fit()
        elif volume is not known:  # another image of a 4D series, or notes of the loader
            self._filled += 1
        elif any(c.item == cell.volume_id and VOXELS in c.parts for c in changes):
            self._filled += 1
            if not self._reframe.isActive():
                self._reframe.start()
        if self._bodies.follow(case, volume):
            self._refine.start()
        self._refresh()

    def highlight(self, segmentation_id: str, lesion: Lesion | None) -> None:
        """Make one lesion stand out, or none."""
        self._bodies.highlight(segmentation_id, lesion)
        self._refresh()

    def look_from(self, letter: str) -> None:
        """Look from a side of the patient: ``A``, ``P``, ``L``, ``R``, ``S`` or ``I``."""
        self._orbit = self._orbit.seen_from(letter)
        self._ask_still()

    def fit(self) -> None:
        """The whole head in the picture; the direction stays."""
        self._touched = False
        self._find_head()

    def _find_head(self) -> None:
        if self._volume is None or self._touched:
            return
        self._corners = head_corners(self._volume)
        self._frame_head()
        self._ask_still()

    def _frame_head(self) -> None:
        if self._corners is not None and not self._touched:
            aspect = self.width() / max(self.height(), 1)
            self._orbit = self._orbit.framing(self._corners, aspect).zoomed(FILLING)

    @property
    def orbit(self) -> Orbit:
        """Where the camera is."""
        return self._orbit

    @property
    def failure(self) -> str:
        """Why there is no 3D picture; empty where there is one."""
        return self._failure

    def picture(self, timeout_s: float = 20.0) -> QImage:
        """The view as an image with everything in it that was asked for so far; waits for it.

        Returns
        -------
        QImage
            In device pixels.
        """
        self._bodies.builder.wait(timeout_s)
        self._collect()
        self._request(moving=False)
        self._frames.wait(timeout_s)
        self._collect()
        return self.grab().toImage()

    def _refresh(self) -> None:
        volume = self._volume
        if volume is None:
            self._state = SceneState()
            self.update()
            return
        cursor = None
        if not self._display.volume_rendering:
            x, y, z = (float(v) for v in cursor_in(self._display, volume.geometry))
            cursor = x, y, z
        state = SceneState(
            volume,
            self._window_of(volume),
            shown_inverted(volume, self._display),
            cursor,
            self._bodies.shown(self._display),
            self._display.volume_rendering,
            self._filled,
        )
        if state != self._state:
            self._state = state
            self._follow()
        else:
            self.update()

    def _window_of(self, volume: Volume) -> Window:
        """The translucent head keeps its own: a narrow window of the slices would hide it."""
        if self._display.volume_rendering and can_cast(volume):
            return automatic_window(volume)
        return shown_window(volume, self._display)

    # --- frames ------------------------------------------------------------------------------
    def _follow(self) -> None:
        """Ask for a frame, but leave most of the machine's time to the other views."""
        if self._soon.isActive():
            return
        took = 0.0 if self._frame is None else self._frame.seconds * 1000.0
        gap = min(max(SHORTEST_GAP_MS, 4.0 * took), LONGEST_GAP_MS)
        self._soon.start(max(0, round(gap - (monotonic() - self._asked_at) * 1000.0)))

    def _ask_still(self) -> None:
        if self.isVisible():
            self._request(moving=False)

    def _ask_following(self) -> None:
        if self._state.ray_cast:
            self._ask_moving()
        else:
            self._ask_still()

    def _ask_moving(self) -> None:
        self._still.start()
        if self.isVisible():
            self._request(moving=True)

    def _request(self, moving: bool) -> None:
        if self._failure or self._volume is None:
            return
        ratio = self.devicePixelRatioF()
        size = round(self.width() * ratio), round(self.height() * ratio)
        self._asked_at = monotonic()
        self._frames.ask(FrameRequest(self._state, self._orbit, size, moving))

    def _collect(self) -> None:
        """Something is ready: newer surfaces, or a frame."""
        if self._bodies.builder.collect():
            self._refresh()
        for outcome in self._frames.collect():
            if isinstance(outcome, Frame):
                self._show(outcome)
            else:
                self._fail(outcome)

    def _show(self, frame: Frame) -> None:
        if not _same_grid(frame.request.state.volume, self._volume):
            return
        self._frame = frame
        height, width = frame.pixels.shape[:2]
        self._image = QImage(
            frame.pixels.data, width, height, 4 * width, QImage.Format.Format_RGBX8888
        )
        self.update()

    def _fail(self, error: BaseException) -> None:
        self._failure = str(error) if isinstance(error, ImagingError) else UNEXPECTED
        log.error("3D view failed", exc_info=error)
        self.update()

    # --- Qt events ---------------------------------------------------------------------------
    def sizeHint(self) -> QSize:
        """A quarter of a usual window."""
        return QSize(480, 400)

    def showEvent(self, event) -> None:
        """The first frame is made now, not before; voxels may have arrived while hidden."""
        super().showEvent(event)
        self._filled += 1
        self._find_head()
        self._refresh()

    def resizeEvent(self, event) -> None:
        """Frames follow the size."""
        super().resizeEvent(event)
        self._offer.place(bool(self._uneven))
        self._frame_head()
        self._ask_moving()

    def paintEvent(self, event) -> None:
        """The last frame, the letters, or a sentence."""
        painter = QPainter(self)
        painter.fillRect(self.rect(), marks.BACKGROUND)
        size = self.width(), self.height()
        if self._failure or self._volume is None:
            marks.paint_message(painter, self._failure or self._message, size)
        elif self._frame is not None:
            painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
            painter.drawImage(QRectF(self.rect()), self._image)
            if self._display.text_shown and self._corners is not None:
                orbit = self._frame.request.orbit
                known = self._volume.sides_known
                paint_letters(painter, orbit, self._corners, self.size(), known)
        else:
            marks.paint_message(painter, "Building the 3D view …", size)
        marks.paint_frame(painter, size, self._active)
        painter.end()

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Start a drag or a click."""
        self.activated.emit()
        self._press = self._last = event.position()
        self._dragged = False

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """Turn, pan or zoom."""
        if self._press is None:
            return
        if not self._dragged:
            moved = event.position() - self._press
            if abs(moved.x()) + abs(moved.y()) < CLICK_PIXELS:
                return
            self._dragged = True
        step = event.position() - self._last
        self._last = event.position()
        self._touched = True
        self._orbit = _dragged(self._orbit, event.buttons(), step, self.height())
        self._ask_moving()

    def mouseReleaseEvent(self, event: QMouseEvent) -> None:
        """End of a drag, or a click."""
        pressed, self._press = self._press, None
        if pressed is None or self._dragged:
            return
        if event.button() == Qt.MouseButton.LeftButton:
            self._pick(event.position())
        elif event.button() == Qt.MouseButton.RightButton:
            self.menu_requested.emit(event.position().toPoint())

    def mouseDoubleClickEvent(self, event: QMouseEvent) -> None:
        """Fill the grid, or go back."""
        if event.button() == Qt.MouseButton.LeftButton:
            self.maximise_requested.emit()

    def wheelEvent(self, event: QWheelEvent) -> None:
        """Zoom; touchpads too, which send small steps."""
        self._touched = True
        self._orbit = self._orbit.zoomed(ZOOM_PER_NOTCH ** (event.angleDelta().y() / 120.0))
        event.accept()
        self._ask_moving()

    def _pick(self, position: QPointF) -> None:
        bodies = self._state.bodies
        origin, direction = self._orbit.ray(position.x(), position.y(), self.width(), self.height())
        hit = first_hit([body.surface for body in bodies], origin, direction)
        if hit is None:
            return
        mask, label = self._bodies.owner(bodies[hit[0]])
        self.picked.emit(into_label(mask.labels, mask.geometry, label, hit[1], direction))


def _same_grid(one: Volume | None, other: Volume | None) -> bool:
    """True for the same item, seen from where it is seen now."""
    if one is None or other is None:
        return one is other
    return one.id == other.id and one.geometry is other.geometry


def _single_shot(parent: QObject, slot, interval_ms: int) -> QTimer:
    timer = QTimer(parent, singleShot=True, interval=interval_ms)
    timer.timeout.connect(slot)
    return timer


def _dragged(orbit: Orbit, buttons: Qt.MouseButton, step: QPointF, height: int) -> Orbit:
    if buttons & Qt.MouseButton.LeftButton:
        return orbit.turned(step.x(), step.y())
    if buttons & Qt.MouseButton.MiddleButton:
        return orbit.panned(step.x(), step.y(), height)
    if buttons & Qt.MouseButton.RightButton:
        return orbit.zoomed(ZOOM_PER_PIXEL ** -step.y())
    return orbit
