"""How a training goes: the loss falls, the Dice on held-back cases rises, folds side by side."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPointF, QRect, QRectF, QSize, Qt
from PySide6.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from PySide6.QtWidgets import QSizePolicy, QWidget

from app.training_events import Step
from app.windows.theme import DARK, GAP

LEFT, RIGHT, TOP, BOTTOM = 44, 32, 26, 22  #: px around the curves
WAITING = "The curve begins with the first measured step."


class LossCurve(QWidget):
    """Training loss (left scale) and Dice of held-back cases (right scale, 0 to 1) over steps."""

    def __init__(self) -> None:
        super().__init__()
        self._steps: list[Step] = []
        self.setMinimumHeight(180)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.show_steps(())

    def sizeHint(self) -> QSize:
        """Room for the curve and its scales."""
        return QSize(480, 240)

    def show_steps(self, steps: Sequence[Step]) -> None:
        """Draw these, in the order they came."""
        self._steps = list(steps)
        self.setAccessibleName(curve_words(self._steps))
        self.setToolTip(curve_words(self._steps))
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """Ground, scales, folds, both curves."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.fillRect(self.rect(), QColor(DARK.black))
        if len(self._steps) < 2:
            painter.setPen(QColor(DARK.dim))
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, WAITING)
        else:
            self._draw(painter)
        painter.end()

    def _draw(self, painter: QPainter) -> None:
        room = QRectF(self.rect().adjusted(LEFT, TOP, -RIGHT, -BOTTOM))
        at = _places(self._steps)
        last = max(at) or 1.0
        highest = max(step.loss for step in self._steps) or 1.0

        def spot(x: float, share: float) -> QPointF:
            bounded = min(1.0, max(0.0, share))
            return QPointF(
                room.left() + room.width() * x / last, room.bottom() - room.height() * bounded
            )

        self._draw_scales(painter, room, highest)
        self._draw_folds(painter, room, at, last)
        for fold in sorted({step.fold for step in self._steps}):
            mine = [(x, s) for x, s in zip(at, self._steps, strict=True) if s.fold == fold]
            loss = QPolygonF([spot(x, s.loss / highest) for x, s in mine])
            painter.setPen(QPen(QColor(DARK.accent), 1.6))
            painter.drawPolyline(loss)
            if len(mine) == 1:  # a line of one point is not seen
                painter.setBrush(QColor(DARK.accent))
                painter.drawEllipse(loss.first(), 2.5, 2.5)
            held = [(x, s.validation) for x, s in mine if s.validation is not None]
            painter.setPen(QPen(QColor(DARK.good), 1.6))
            painter.setBrush(QColor(DARK.good))
            points = [spot(x, dice) for x, dice in held]
            painter.drawPolyline(QPolygonF(points))
            for point in points:
                painter.drawEllipse(point, 2.5, 2.5)
        self._draw_legend(painter)

    def _draw_scales(self, painter: QPainter, room: QRectF, highest: float) -> None:
        for share in (0.0, 0.5, 1.0):
            y = round(room.bottom() - room.height() * share)
            painter.setPen(QColor(DARK.line))
            painter.drawLine(round(room.left()), y, round(room.right()), y)
            middle = Qt.AlignmentFlag.AlignVCenter
            painter.setPen(QColor(DARK.accent_hover))
            left = QRect(0, y - 10, LEFT - 6, 20)
            painter.drawText(left, Qt.AlignmentFlag.AlignRight | middle, f"{share * highest:.2g}")
            painter.setPen(QColor(DARK.good))
            right = QRect(round(room.right()) + 6, y - 10, RIGHT - 6, 20)
            painter.drawText(right, Qt.AlignmentFlag.AlignLeft | middle, f"{share:g}")

    def _draw_folds(self, painter: QPainter, room: QRectF, at: list[float], last: float) -> None:
        below = round(room.bottom()) + 2
        painter.setPen(QColor(DARK.dim))
        if not any(step.folds for step in self._steps):
            words = f"{self._steps[-1].step} of {self._steps[-1].steps or '…'} steps"
            line = QRect(round(room.left()), below, round(room.width()), BOTTOM - 2)
            painter.drawText(line, Qt.AlignmentFlag.AlignHCenter, words)
            return
        runs = sorted({step.fold: step.run_words for step in self._steps}.items())
        for number, (fold, words) in enumerate(runs):
            mine = [x for x, s in zip(at, self._steps, strict=True) if s.fold == fold]
            start = room.left() + room.width() * mine[0] / last
            stop = room.left() + room.width() * mine[-1] / last
            if number:
                painter.setPen(QPen(QColor(DARK.line), 1, Qt.PenStyle.DashLine))
                painter.drawLine(
                    round(start), round(room.top()), round(start), round(room.bottom())
                )
                painter.setPen(QColor(DARK.dim))
            if stop - start <= painter.fontMetrics().horizontalAdvance(words):
                words = str(fold) if fold <= self._steps[0].folds else "all"
            line = QRect(round(start), below, max(16, round(stop - start)), BOTTOM - 2)
            painter.drawText(line, Qt.AlignmentFlag.AlignHCenter, words)

    def _draw_legend(self, painter: QPainter) -> None:
        x = LEFT
        for colour, words in (
            (DARK.accent, "Training loss (left)"),
            (DARK.good, "Dice on cases held back (right)"),
        ):
            painter.setPen(QPen(QColor(colour), 2))
            painter.drawLine(x, 13, x + 16, 13)
            painter.setPen(QColor(DARK.text))
            width = painter.fontMetrics().horizontalAdvance(words)
            middle = Qt.AlignmentFlag.AlignVCenter
            painter.drawText(QRect(x + 22, 2, width + 4, 22), middle, words)
            x += 22 + width + 3 * GAP


def curve_words(steps: Sequence[Step]) -> str:
    """The curve in words, for a tooltip and for readers who do not see it."""
    if not steps:
        return WAITING
    last = steps[-1]
    held = [step.validation for step in steps if step.validation is not None]
    dice = f", Dice on cases held back {held[-1]:.2f}" if held else ""
    where = f"{last.run_words}, step" if last.folds else "Step"
    return f"{where} {last.step}, training loss {last.loss:.3g}{dice}"


def _places(steps: Sequence[Step]) -> list[float]:
    """Where each step lies on the common axis: the folds follow each other."""
    lengths: dict[int, int] = {}
    for step in steps:
        lengths[step.fold] = max(lengths.get(step.fold, 0), step.step)
    before, so_far = 0, {}
    for fold in sorted(lengths):
        so_far[fold] = before
        before += lengths[fold]
    return [float(so_far[step.fold] + step.step) for step in steps]
