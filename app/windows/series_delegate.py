"""Paints the study list: a series with its picture and four lines, an object with its icon."""

from __future__ import annotations

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontMetrics, QPainter
from PySide6.QtWidgets import QStyle, QStyledItemDelegate, QStyleOptionViewItem

from app.windows.icons import icon
from app.windows.series_text import (
    images_text,
    kind_text,
    object_text,
    size_text,
    spacing_text,
    warning_text,
)
from app.windows.theme import DARK, GAP, SMALL_GAP

SERIES_ROLE = Qt.ItemDataRole.UserRole
PICTURE_ROLE = Qt.ItemDataRole.UserRole + 1
CURRENT_ROLE = Qt.ItemDataRole.UserRole + 2
OBJECT_ROLE = Qt.ItemDataRole.UserRole + 3
#: The icon of a mask, map or report, by its kind.
OBJECT_ICONS = {
    "segmentation": "layers",
    "structure set": "contours",
    "parametric map": "heatmap",
    "report": "report",
    "labels": "layers",
}
PICTURE, ICON = 52, 22
#: Names of one study often begin alike, and their ends tell them apart; of counts and sizes the
#: first ones are the important ones.
NAMES, NUMBERS = Qt.TextElideMode.ElideMiddle, Qt.TextElideMode.ElideRight
_Index = QModelIndex | QPersistentModelIndex


def row_size(metrics: QFontMetrics) -> QSize:
    """Tall enough for the picture and four lines.

    Stored in the item: a list of a thousand rows asks for it far too often to ask Python.
    """
    return QSize(160, max(PICTURE, 4 * metrics.height()) + 2 * GAP)


def object_row_size(metrics: QFontMetrics) -> QSize:
    """Tall enough for two lines."""
    return QSize(160, 2 * metrics.height() + 2 * GAP)


class SeriesDelegate(QStyledItemDelegate):
    """Rows with neither a series nor an object (patients, studies) are drawn as usual."""

    def paint(self, painter: QPainter, option: QStyleOptionViewItem, index: _Index) -> None:
        """Ground, picture, text, warning sign."""
        series, found = index.data(SERIES_ROLE), index.data(OBJECT_ROLE)
        if series is None and found is None:
            super().paint(painter, option, index)
            return
        area: QRect = option.rect.adjusted(2, 2, -2, -2)  # type: ignore[attr-defined]
        painter.save()
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        self._ground(painter, option, area, bool(index.data(CURRENT_ROLE)))
        if series is not None:
            self._picture(painter, area, index)
            self._text(painter, area, series)
        else:
            self._object(painter, area, found, bool(index.data(CURRENT_ROLE)))
        painter.restore()

    def _object(self, painter: QPainter, area: QRect, found, shown: bool) -> None:
        """An icon, the title, and what it is."""
        spot = QRect(area.left() + 8, area.center().y() - ICON // 2, ICON, ICON)
        name = OBJECT_ICONS.get(found.kind, "file")
        icon(name, DARK.accent if shown else DARK.dim).paint(painter, spot)
        bold = QFont(painter.font())
        bold.setWeight(QFont.Weight.DemiBold)
        left = spot.right() + GAP
        width, step = area.right() - left - SMALL_GAP, painter.fontMetrics().height()
        top = area.top() + (area.height() - 2 * step) // 2
        rows = ((found.title, bold, DARK.text), (object_text(found), painter.font(), DARK.dim))
        for number, (words, font, colour) in enumerate(rows):
            self._line(painter, QRect(left, top + number * step, width, step), words, font, colour)

    def _line(
        self,
        painter: QPainter,
        place: QRect,
        words: str,
        font: QFont,
        colour: str,
        tail: str = "",
    ) -> None:
        painter.setFont(font)
        painter.setPen(QColor(colour))
        metrics = painter.fontMetrics()
        if tail:  # a count is never cut
            wide = metrics.horizontalAdvance(tail)
            end = QRect(place.right() + 1 - wide, place.top(), wide, place.height())
            room = place.width() - wide
            end.moveLeft(place.left() + min(room, metrics.horizontalAdvance(words)))
            painter.drawText(end, Qt.AlignmentFlag.AlignVCenter, tail)
            place = place.adjusted(0, 0, -wide, 0)
        bold = font.weight() > QFont.Weight.Normal
        words = metrics.elidedText(words, NAMES if bold else NUMBERS, place.width())
        painter.drawText(place, Qt.AlignmentFlag.AlignVCenter, words)

    def _ground(self, painter, option, area: QRect, current: bool) -> None:
        state = option.state
        colour = DARK.panel
        if state & QStyle.StateFlag.State_Selected:
            colour = DARK.selected
        elif state & QStyle.StateFlag.State_MouseOver:
            colour = DARK.hover
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(colour))
        painter.drawRoundedRect(area, 4, 4)
        if current:
            painter.setBrush(QColor(DARK.accent))
            painter.drawRoundedRect(QRect(area.left(), area.top(), 3, area.height()), 1, 1)

    def _picture(self, painter: QPainter, area: QRect, index: _Index) -> None:
        place = QRect(area.left() + 6, area.center().y() - PICTURE // 2, PICTURE, PICTURE)
        painter.fillRect(place, QColor("black"))
        picture = index.data(PICTURE_ROLE)
        if picture is not None:
            size = picture.size().scaled(place.size(), Qt.AspectRatioMode.KeepAspectRatio)
            target = QRect(place.topLeft(), size)
            target.moveCenter(place.center())
            painter.drawImage(target, picture)

    def _text(self, painter: QPainter, area: QRect, series) -> None:
        left = area.left() + PICTURE + 6 + GAP
        width = area.right() - left - SMALL_GAP
        metrics = painter.fontMetrics()
        step = max(metrics.height(), (area.height() - 2 * SMALL_GAP) // 4)
        warning = warning_text(series)
        bold = QFont(painter.font())
        bold.setWeight(QFont.Weight.DemiBold)
        shown = DARK.text if series.viewable else DARK.disabled
        lines = (
            (series.description or "Series without a name", bold, shown),
            (kind_text(series), painter.font(), DARK.text if series.viewable else DARK.disabled),
            (size_text(series, count=False), painter.font(), DARK.dim),
            (spacing_text(series), painter.font(), DARK.dim),
        )
        for number, (words, font, colour) in enumerate(lines):
            if metrics.horizontalAdvance(words) > width:
                words = words.removesuffix(" mm")  # rather than a digit
            room = width - (22 if warning and number == 1 else 0)
            line = QRect(left, area.top() + SMALL_GAP + number * step, room, step)
            tail = images_text(series) if number == 2 else ""
            self._line(painter, line, words, font, colour, tail)
        if warning:
            spot = QRect(area.right() - 22, area.top() + SMALL_GAP + step, 18, step)
            icon("warning", DARK.warning).paint(painter, spot)
