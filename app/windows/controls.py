"""Controls several panels share: sentences, a slider with its number, disabled-because."""

from __future__ import annotations

from typing import TypeVar

from PySide6.QtCore import QSignalBlocker, QSize, Qt, QTimer, Signal
from PySide6.QtGui import QPaintEvent
from PySide6.QtWidgets import (
    QBoxLayout,
    QCheckBox,
    QDoubleSpinBox,
    QFrame,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QSlider,
    QStyle,
    QStyleOptionFrame,
    QStylePainter,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from app.windows.icons import icon
from app.windows.theme import GAP, SMALL_GAP, set_role

Control = TypeVar("Control", bound=QWidget)
FRAME_MS = 16  #: how often a moving slider reports at most
SETTLE_MS = 250  #: quiet time after keys or the wheel until a value counts as final


def allow(widget: QWidget, tip: str = "", because: str = "") -> None:
    """Enable a control with a tooltip, or disable it with the reason as its tooltip."""
    widget.setEnabled(not because)
    widget.setToolTip(because or tip)


def sentence(text: str = "", role: str = "dim") -> QLabel:
    """A label that wraps."""
    label = QLabel(text)
    label.setWordWrap(True)
    label.setTextFormat(Qt.TextFormat.PlainText)
    set_role(label, role)
    policy = QSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Minimum)
    policy.setHeightForWidth(True)
    label.setSizePolicy(policy)
    return label


def caption(words: str, width: int = 64) -> QLabel:
    """A short dim label of one width, so that the controls beside it line up."""
    label = QLabel(words)
    label.setFixedWidth(width)
    set_role(label, "dim")
    return label


def field(words: str, control: QWidget, width: int = 64) -> QHBoxLayout:
    """A caption and a control that takes the rest of the line."""
    label = caption(words, width)
    label.setBuddy(control)
    layout = row(label, control)
    layout.setStretch(1, 1)
    return layout


class ElidedLabel(QLabel):
    """A label that ends in … where there is no room, and then shows all of it as its tooltip."""

    def minimumSizeHint(self) -> QSize:
        """It may shrink to a few letters."""
        return QSize(min(48, super().minimumSizeHint().width()), super().minimumSizeHint().height())

    def paintEvent(self, event: QPaintEvent) -> None:
        """The style's ground, then the text as far as it goes."""
        option = QStyleOptionFrame()
        self.initStyleOption(option)
        painter = QStylePainter(self)
        painter.drawPrimitive(QStyle.PrimitiveElement.PE_Widget, option)
        room = self.contentsRect()
        words = self.fontMetrics().elidedText(
            self.text(), Qt.TextElideMode.ElideRight, room.width()
        )
        painter.setPen(self.palette().color(self.foregroundRole()))
        painter.drawText(room, Qt.AlignmentFlag.AlignVCenter, words)
        painter.end()


def check_box(text: str, tip: str = "") -> QCheckBox:
    """A check box that a click does not give the keyboard to."""
    made = QCheckBox(text)
    made.setToolTip(tip)
    return keyboard_stays(made)


def keyboard_stays(widget: Control) -> Control:
    """A click leaves the keyboard where it is (on the images); Tab still reaches the widget."""
    widget.setFocusPolicy(Qt.FocusPolicy.TabFocus)
    return widget


def button(text: str, tip: str, glyph: str = "", role: str = "") -> QPushButton:
    """A push button with an icon."""
    made = QPushButton(f" {text}" if text and glyph else text)
    made.setAccessibleName(text or tip)
    made.setToolTip(tip)
    if glyph:
        made.setIcon(icon(glyph, "#0b0c0e" if role == "primary" else "#d8dbdf"))
    if role:
        set_role(made, role)
    return keyboard_stays(made)


def flat_button(glyph: str, tip: str, checkable: bool = False) -> QToolButton:
    """A small button that is only an icon; the tooltip is also its accessible name."""
    made = QToolButton()
    made.setIcon(icon(glyph))
    made.setIconSize(QSize(18, 18))
    made.setToolTip(tip)
    made.setAccessibleName(tip)
    made.setCheckable(checkable)
    set_role(made, "flat")
    return keyboard_stays(made)


def rule() -> QFrame:
    """A thin horizontal line."""
    line = QFrame()
    set_role(line, "rule")
    return line


def column(parent: QWidget | None = None, margin: int = GAP, gap: int = GAP) -> QVBoxLayout:
    """A vertical layout with the spacing of the theme."""
    return _spaced(QVBoxLayout(parent) if parent else QVBoxLayout(), margin, gap)  # type: ignore[return-value]


def scrolling(inner: QWidget) -> QScrollArea:
    """Let a page be lower than its content; it never scrolls sideways."""
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(inner)
    return area


def row(*parts: QWidget | int, gap: int = SMALL_GAP) -> QHBoxLayout:
    """A horizontal layout; an integer stands for a stretch of that weight."""
    layout = QHBoxLayout()
    _spaced(layout, 0, gap)
    for part in parts:
        if isinstance(part, int):
            layout.addStretch(part)
        else:
            layout.addWidget(part)
    return layout


def _spaced(layout: QBoxLayout, margin: int, gap: int) -> QBoxLayout:
    layout.setContentsMargins(margin, margin, margin, margin)
    layout.setSpacing(gap)
    return layout


class ValueSlider(QWidget):
    """A slider with its number beside it.

    Signals
    -------
    changing(value)
        While it moves, at most once per frame, always the newest value.
    settled(value)
        The hand let go, or keys and wheel have been quiet for a moment.
    """

    changing = Signal(float)
    settled = Signal(float)

    def __init__(
        self, low: float, high: float, step: float, decimals: int = 2, suffix: str = ""
    ) -> None:
        super().__init__()
        self._step, self._pending = step, False
        self.slider = keyboard_stays(QSlider(Qt.Orientation.Horizontal))
        self.slider.setRange(round(low / step), round(high / step))
        self.slider.setPageStep(max(1, round((high - low) / step / 10)))
        self.spin = QDoubleSpinBox()
        self.spin.setRange(low, high)
        self.spin.setSingleStep(step)
        self.spin.setDecimals(decimals)
        self.spin.setSuffix(suffix)
        self.spin.setKeyboardTracking(False)
        self.spin.lineEdit().setTextMargins(SMALL_GAP, 0, 0, 0)
        layout = row(self.slider, self.spin, gap=GAP)
        layout.setStretch(0, 1)
        self.setLayout(layout)
        self.setFocusProxy(self.slider)
        self._frame = _single_shot(self, FRAME_MS, self._report)
        self._quiet = _single_shot(self, SETTLE_MS, self._settle)
        self.slider.valueChanged.connect(self._slid)
        self.slider.sliderReleased.connect(self._settle)
        self.spin.valueChanged.connect(self._typed)

    @property
    def value(self) -> float:
        """The number shown."""
        return self.spin.value()

    def set_value(self, value: float) -> None:
        """Show another number without a signal; a hand on the slider is left alone."""
        if self.slider.isSliderDown() or self._pending:
            return
        with QSignalBlocker(self.slider), QSignalBlocker(self.spin):
            self.spin.setValue(value)
            self.slider.setValue(round(value / self._step))

    def setToolTip(self, text: str) -> None:
        """The same tooltip on both halves."""
        super().setToolTip(text)
        self.slider.setToolTip(text)
        self.spin.setToolTip(text)

    def _slid(self, position: int) -> None:
        with QSignalBlocker(self.spin):
            self.spin.setValue(position * self._step)
        self._moved()

    def _typed(self, value: float) -> None:
        with QSignalBlocker(self.slider):
            self.slider.setValue(round(value / self._step))
        self._moved()

    def _moved(self) -> None:
        self._pending = True
        if not self._frame.isActive():
            self._frame.start()
        if not self.slider.isSliderDown():
            self._quiet.start()

    def _report(self) -> None:
        self.changing.emit(self.value)

    def _settle(self) -> None:
        if not self._pending or self.slider.isSliderDown():
            return
        self._pending = False
        self._frame.stop()
        self._quiet.stop()
        self.settled.emit(self.value)


def _single_shot(parent: QWidget, milliseconds: int, function) -> QTimer:
    timer = QTimer(parent)
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.timeout.connect(function)
    return timer
