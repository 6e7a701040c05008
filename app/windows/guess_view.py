"""A model's guess of normal beside the image it was made from: swipe, blend, or the difference."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import QPoint, QRect, QRectF, QSize, Qt, Signal
from PySide6.QtGui import QColor, QImage, QMouseEvent, QPainter, QPaintEvent, QPen
from PySide6.QtWidgets import QButtonGroup, QComboBox, QPushButton, QSizePolicy, QWidget

from app.windows.controls import ValueSlider, button, column, field, row, sentence
from app.windows.listening import REHEARSAL, listen
from app.windows.theme import DARK, SMALL_GAP
from app.workspace import Workspace
from imaging.heatmap import PICTURE, Heatmap
from imaging.volume import Volume
from viewer.state.display import Plane
from viewer.state.guess import BRIGHTER, DARKER, GuessPlane, Scale, guess_plane, guess_scale
from viewer.state.linking import cursor_in
from viewer.state.windows import shown_window

SWIPE, BLEND, DIFFERENCE = "swipe", "blend", "difference"
MODES = (
    (SWIPE, "Swipe", "Image on the left of the line, guess on the right; drag the line"),
    (BLEND, "Blend", "From the image to the guess and back"),
    (DIFFERENCE, "Difference", "Where the image is brighter or darker than the guess"),
)
PLANES = (Plane.AXIAL, Plane.CORONAL, Plane.SAGITTAL)
GUESS = (
    "A guess, not a measurement: what the model would expect here in a head without findings. "
    "A difference says “unlike what I learned”, not “ill”."
)


class GuessPicture(QWidget):
    """Paints both pictures of one plane; a drag moves the line or the mixture.

    Signals
    -------
    shared(share)
        The hand moved the line: so much of the width (0 to 1) shows the image.
    """

    shared = Signal(float)

    def __init__(self) -> None:
        super().__init__()
        self._plane: GuessPlane | None = None
        self._pictures: dict[str, QImage] = {}
        self.mode, self.share = SWIPE, 0.5
        policy = QSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        policy.setHeightForWidth(True)
        self.setSizePolicy(policy)
        self.setMinimumSize(160, 160)
        self.setCursor(Qt.CursorShape.SplitHCursor)

    def sizeHint(self) -> QSize:
        """A square that the panel can hold."""
        return QSize(300, 300)

    def heightForWidth(self, width: int) -> int:
        """Nearly square, whatever the plane, so that nothing jumps."""
        return width

    def show_plane(self, plane: GuessPlane | None) -> None:
        """Take over another plane."""
        self._plane, self._pictures = plane, {}
        if plane is not None:
            self._pictures = {
                "image": _grey(plane.image),
                "guess": _grey(plane.guess),
                DIFFERENCE: _rgb(plane.difference()),
            }
        self.update()

    def show_as(self, mode: str, share: float) -> None:
        """Swipe, blend or difference, and how much of the image is shown."""
        self.mode, self.share = mode, share
        dragged = Qt.CursorShape.SplitHCursor if mode == SWIPE else Qt.CursorShape.ArrowCursor
        self.setCursor(dragged)
        self.update()

    @property
    def room(self) -> QRect:
        """Where the pictures lie, their aspect kept, below what says which is which."""
        image = self._pictures.get("image")
        if image is None:
            return self.rect()
        free = self.rect().adjusted(0, self.fontMetrics().height() + 10, 0, 0)
        size = image.size().scaled(free.size(), Qt.AspectRatioMode.KeepAspectRatio)
        at = QPoint((free.width() - size.width()) // 2, (free.height() - size.height()) // 2)
        return QRect(free.topLeft() + at, size)

    def paintEvent(self, event: QPaintEvent) -> None:
        """Black ground, the pictures, the line, and what is what."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        painter.fillRect(self.rect(), QColor(DARK.black))
        if self._pictures:
            getattr(self, f"_paint_{self.mode}")(painter, self.room)
        painter.end()

    def _paint_swipe(self, painter: QPainter, room: QRect) -> None:
        line = room.left() + round(room.width() * self.share)
        painter.drawImage(room, self._pictures["guess"])
        painter.save()
        painter.setClipRect(QRect(room.topLeft(), QPoint(line - 1, room.bottom())))
        painter.drawImage(room, self._pictures["image"])
        painter.restore()
        painter.setPen(QPen(QColor(DARK.accent), 2))
        painter.drawLine(line, room.top(), line, room.bottom())
        self._tell(painter, "Image", left=True)
        self._tell(painter, "Guess of normal", left=False)

    def _paint_blend(self, painter: QPainter, room: QRect) -> None:
        painter.drawImage(room, self._pictures["guess"])
        painter.setOpacity(self.share)
        painter.drawImage(room, self._pictures["image"])
        painter.setOpacity(1.0)
        self._tell(painter, f"Image {self.share:.0%}", left=True)
        self._tell(painter, f"Guess of normal {1 - self.share:.0%}", left=False)

    def _paint_difference(self, painter: QPainter, room: QRect) -> None:
        painter.drawImage(room, self._pictures[DIFFERENCE])
        self._tell(painter, "Brighter than the guess", left=True, colour=QColor(*BRIGHTER))
        self._tell(painter, "Darker than it", left=False, colour=QColor(*DARKER))

    def _tell(
        self, painter: QPainter, words: str, left: bool, colour: QColor | None = None
    ) -> None:
        room = QRectF(self.rect()).adjusted(6, 4, -6, -4)
        metrics = painter.fontMetrics()
        width = metrics.horizontalAdvance(words) + 8
        x = room.left() if left else room.right() - width
        ground = QRectF(x, room.top(), width, metrics.height() + 2)
        painter.fillRect(ground, QColor(11, 12, 14, 190))
        painter.setPen(colour or QColor(DARK.text))
        painter.drawText(ground, Qt.AlignmentFlag.AlignCenter, words)

    def mousePressEvent(self, event: QMouseEvent) -> None:
        """Take the line to the hand."""
        self._drag(event)

    def mouseMoveEvent(self, event: QMouseEvent) -> None:
        """The line follows the hand."""
        if event.buttons() & Qt.MouseButton.LeftButton:
            self._drag(event)

    def _drag(self, event: QMouseEvent) -> None:
        if self.mode == SWIPE and event.buttons() & Qt.MouseButton.LeftButton:
            room = self.room
            share = (event.position().x() - room.left()) / max(1, room.width())
            self.shared.emit(min(1.0, max(0.0, share)))


class GuessView(QWidget):
    """The newest guess of normal of the case, on the plane through the crosshair.

    Signals
    -------
    large_wanted()
        Show it in a window of its own.
    """

    large_wanted = Signal()

    def __init__(self, workspace: Workspace, large: bool = False) -> None:
        super().__init__()
        self._workspace = workspace
        self._scales: dict[str, Scale] = {}
        self.picture = GuessPicture()
        self.picture.shared.connect(self._shared)
        self.plane = QComboBox()
        self.plane.setToolTip("The plane through the crosshair")
        for plane in PLANES:
            self.plane.addItem(plane.value.capitalize(), plane)
        self.plane.currentIndexChanged.connect(self.refresh)
        self.modes: dict[str, QPushButton] = {}
        self._group = QButtonGroup(self)
        for mode, words, tip in MODES:
            one = button(words, tip)
            one.setCheckable(True)
            one.clicked.connect(self._show_mode)
            self._group.addButton(one)
            self.modes[mode] = one
        self.modes[SWIPE].setChecked(True)
        self.share = ValueSlider(0.0, 1.0, 0.01)
        self.share.set_value(0.5)
        self.share.setToolTip("How much of the image is shown")
        self.share.changing.connect(lambda _value: self._show_mode())
        self.about = sentence(GUESS)
        self.large = button("Larger", "The same in a window of its own", "layout-one")
        self.large.clicked.connect(self.large_wanted)
        self.large.setVisible(not large)
        self._arrange(large)
        listen(self, workspace.case_changed, self._on_case)
        listen(self, workspace.display_changed, self._on_display)
        self.refresh()

    def _arrange(self, large: bool) -> None:
        layout = column(self, margin=0, gap=SMALL_GAP)
        layout.addLayout(row(*self.modes.values()))
        layout.addWidget(self.picture, 1 if large else 0)
        layout.addLayout(field("Image", self.share, 48))
        layout.addLayout(row(self.plane, 1, self.large))
        layout.addWidget(self.about)

    @property
    def mode(self) -> str:
        """Swipe, blend or difference."""
        return next(mode for mode, one in self.modes.items() if one.isChecked())

    @property
    def guess(self) -> Heatmap | None:
        """The newest guess of normal; None where there is none."""
        maps = [m for m in self._workspace.case.heatmaps if m.meaning == PICTURE]
        return maps[-1] if maps else None

    def refresh(self, *_index: int) -> None:
        """Cut image and guess anew."""
        guess = self.guess
        volume = self._workspace.case.items.get(guess.volume_id) if guess is not None else None
        if guess is None or not isinstance(volume, Volume) or not self.isVisible():
            self.picture.show_plane(None)
            return
        if guess.id not in self._scales:
            self._scales[guess.id] = guess_scale(volume, guess)
        display = self._workspace.display
        self.picture.show_plane(
            guess_plane(
                volume,
                guess,
                self._scales[guess.id],
                shown_window(volume, display),
                self.plane.currentData(),
                cursor_in(display, volume.geometry),
            )
        )
        self._show_mode()

    def showEvent(self, event) -> None:
        """It is cut only while it is seen."""
        super().showEvent(event)
        self.refresh()

    def _shared(self, share: float) -> None:
        self.share.set_value(share)
        self._show_mode()

    def _show_mode(self, *_checked: bool) -> None:
        self.share.setEnabled(self.mode != DIFFERENCE)
        self.picture.show_as(self.mode, self.share.value)

    def _on_case(self, changes, origin) -> None:
        if origin != REHEARSAL and any(change.parts & {"added", "removed"} for change in changes):
            known = self._workspace.case.items
            self._scales = {id: scale for id, scale in self._scales.items() if id in known}
            self.refresh()

    def _on_display(self, old, new) -> None:
        moved = old.cursor != new.cursor or old.cursors != new.cursors
        if self.isVisible() and (moved or old.windows != new.windows):
            self.refresh()


def _grey(values: np.ndarray) -> QImage:
    grey = np.ascontiguousarray(np.round(255 * values).astype(np.uint8))
    high, wide = grey.shape
    return QImage(grey.tobytes(), wide, high, wide, QImage.Format.Format_Grayscale8).copy()


def _rgb(values: np.ndarray) -> QImage:
    pixels = np.ascontiguousarray(values)
    high, wide, _three = pixels.shape
    return QImage(pixels.tobytes(), wide, high, 3 * wide, QImage.Format.Format_RGB888).copy()
