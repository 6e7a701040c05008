"""How the marks on a slice look: letters, texts, crosshair, scale bar, legend, frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PySide6.QtCore import QLineF, QPointF, QRectF, Qt
from PySide6.QtGui import QColor, QFont, QFontMetricsF, QImage, QPainter, QPen, QRegion

from viewer.state.colour_tables import colours
from viewer.state.slice_plan import CornerTexts, EdgeLetters, Legend, ScaleBar, SlicePlan
from viewer.state.text import number

BACKGROUND = QColor("#000000")
TEXT = QColor("#c9ced4")
QUIET = QColor("#8d96a0")
HALO = QColor(0, 0, 0, 200)
#: Ground of words on a picture.
PLATE, PLATE_EDGE = QColor(0, 0, 0, 130), 4.0
LETTER = QColor("#e8c15a")
CROSSHAIR = QColor("#4a86b8")
TRACE = QColor(255, 150, 70, 210)
ACCENT = QColor("#4c9be8")
BRUSH = QColor(255, 255, 255, 220)
ERASE = QColor(255, 120, 110, 230)

TEXT_PIXELS = 13
SMALL_PIXELS = 12
MARGIN = 8.0
LETTER_PIXELS = 14
#: Half the width kept free for the letters in the middle of the top and bottom edge.
LETTER_ROOM = 20.0
#: A rim all round, for words that are drawn once and kept.
FULL_RIM = ((-1, -1), (1, 1), (-1, 1), (1, -1), (-1, 0), (1, 0), (0, -1), (0, 1))
#: Half the gap in the middle of the crosshair, logical pixels.
GAP = 9
#: A colour legend needs a view at least this large (logical pixels).
LEGEND_WIDTH, LEGEND_HEIGHT = 320, 320
LEGEND_BAR = (10, 110)
#: Least width and height of the picture of the scale bar, logical pixels.
SCALE_BAR = (64, 30)

_LEFT, _RIGHT = Qt.AlignmentFlag.AlignLeft, Qt.AlignmentFlag.AlignRight


@lru_cache(maxsize=8)
def font(pixels: int, bold: bool = False) -> QFont:
    """The application's font at a size in logical pixels."""
    made = QFont()
    made.setPixelSize(pixels)
    made.setBold(bold)
    return made


def haloed(
    painter: QPainter,
    rect: QRectF,
    flags: Qt.AlignmentFlag,
    text: str,
    colour: QColor,
    rim: tuple[tuple[int, int], ...] = ((-1, -1), (1, 1), (-1, 1), (1, -1)),
) -> None:
    """Text with a dark rim, readable on any picture; ``rim`` says where the dark copies go."""
    painter.setPen(HALO)
    for dx, dy in rim:
        painter.drawText(rect.translated(dx, dy), flags, text)
    painter.setPen(colour)
    painter.drawText(rect, flags, text)


@dataclass(frozen=True)
class _Line:
    """A line of a corner text, cut to its room, and how much of the room it takes."""

    text: str
    room: QRectF
    side: Qt.AlignmentFlag
    taken: QRectF


@lru_cache(maxsize=64)
def _laid_out(texts: CornerTexts, size: tuple[int, int]) -> tuple[_Line, ...]:
    """Where the corner texts go, each cut with an ellipsis before the letter."""
    width, height = size
    metrics = QFontMetricsF(font(TEXT_PIXELS))
    line, room = round(metrics.height()), width / 2.0 - MARGIN - LETTER_ROOM
    corners = (
        (texts.top_left, _LEFT, MARGIN),
        (texts.top_right, _RIGHT, MARGIN),
        (texts.bottom_left, _LEFT, height - MARGIN - line * len(texts.bottom_left)),
        (texts.bottom_right, _RIGHT, height - MARGIN - line * len(texts.bottom_right)),
    )
    made = []
    for lines, side, top in corners:
        left = MARGIN if side == _LEFT else width - MARGIN - room
        for n, text in enumerate(lines):
            shown = metrics.elidedText(text, Qt.TextElideMode.ElideRight, room)
            rect = QRectF(left, top + n * line, room, line)
            made.append(_Line(shown, rect, side, _taken(rect, side, shown, metrics)))
    return tuple(made)


def _taken(room: QRectF, side: Qt.AlignmentFlag, text: str, metrics: QFontMetricsF) -> QRectF:
    """The part of a room that a text at one of its sides takes, with a narrow edge."""
    wide = metrics.horizontalAdvance(text) if text else -2.0 * PLATE_EDGE
    left = room.left() if side == _LEFT else room.right() - wide
    return QRectF(left - PLATE_EDGE, room.top(), wide + 2.0 * PLATE_EDGE, room.height())


def paint_texts(painter: QPainter, texts: CornerTexts, size: tuple[int, int]) -> None:
    """Lines in the four corners on a dark ground, so that they are read on bright tissue too."""
    painter.setFont(font(TEXT_PIXELS))
    for line in _laid_out(texts, size):
        painter.fillRect(line.taken, PLATE)
        haloed(painter, line.room, line.side, line.text, TEXT)


def _letter_places(
    letters: EdgeLetters, size: tuple[int, int]
) -> tuple[tuple[str, QRectF, Qt.AlignmentFlag], ...]:
    width, height = size
    high, wide, middle = 20.0, 48.0, Qt.AlignmentFlag.AlignCenter
    centre = Qt.AlignmentFlag.AlignVCenter
    row = (height - high) / 2.0
    column = (width - wide) / 2.0
    return (
        (letters.left, QRectF(MARGIN, row, wide, high), _LEFT | centre),
        (letters.right, QRectF(width - MARGIN - wide, row, wide, high), _RIGHT | centre),
        (letters.top, QRectF(column, MARGIN - 2.0, wide, high), middle),
        (letters.bottom, QRectF(column, height - MARGIN - high + 2.0, wide, high), middle),
    )


def paint_letters(painter: QPainter, letters: EdgeLetters, size: tuple[int, int]) -> None:
    """Patient directions in the middle of the four edges."""
    painter.setFont(font(LETTER_PIXELS, bold=True))
    for text, rect, flags in _letter_places(letters, size):
        haloed(painter, rect, flags, text, LETTER)


def paint_scale_bar(painter: QPainter, bar: ScaleBar, size: tuple[int, int]) -> None:
    """A length over the bottom letter."""
    ratio = painter.device().devicePixelRatioF()
    image = _scale_bar_image(bar.mm, round(bar.pixels), ratio)
    wide, high = (v / ratio for v in (image.width(), image.height()))
    painter.drawImage(QPointF(size[0] // 2 - wide // 2, size[1] - MARGIN - 20.0 - high), image)


def paint_legend(painter: QPainter, legend: Legend, size: tuple[int, int]) -> None:
    """A colour bar with the name and the range of a map, at the right edge over the letter."""
    if size[0] < LEGEND_WIDTH or size[1] < LEGEND_HEIGHT:
        return
    ratio = painter.device().devicePixelRatioF()
    image = _legend_image(legend, size[0] // 2, min(LEGEND_BAR[1], size[1] // 4), ratio)
    wide, high = (v / ratio for v in (image.width(), image.height()))
    top = max(size[1] / 2.0 - 20.0 - high, 64.0)
    painter.drawImage(QPointF(size[0] - MARGIN - wide, round(top)), image)


@lru_cache(maxsize=16)
def _scale_bar_image(mm: float, length: int, ratio: float) -> QImage:
    words = f"{mm / 10:g} cm" if mm >= 10 else f"{mm:g} mm"
    wide, high = max(length + 4, SCALE_BAR[0]), SCALE_BAR[1]
    image = _clear(wide, high, ratio)
    painter = QPainter(image)
    middle, y = wide // 2, high - 6
    left = middle - length // 2
    lines = ((left, y, length, 1), (left, y - 4, 1, 9), (left + length, y - 4, 1, 9))
    for grow, colour in ((1, HALO), (0, TEXT)):
        for x, top, across, down in lines:
            painter.fillRect(x - grow, top - grow, across + 2 * grow, down + 2 * grow, colour)
    painter.setFont(font(SMALL_PIXELS))
    rect = QRectF(0.0, 1.0, 2.0 * middle, 17.0)
    haloed(painter, rect, Qt.AlignmentFlag.AlignCenter, words, TEXT, FULL_RIM)
    painter.end()
    return image


@lru_cache(maxsize=16)
def _legend_image(legend: Legend, room: int, high: int, ratio: float) -> QImage:
    image = _clear(room, high + 40, ratio)
    painter = QPainter(image)
    painter.setFont(font(SMALL_PIXELS))
    flags = _RIGHT | Qt.AlignmentFlag.AlignVCenter
    metrics = QFontMetricsF(painter.font())
    name = metrics.elidedText(legend.name, Qt.TextElideMode.ElideRight, room - 10.0)
    title = QRectF(0.0, 0.0, room - 1.0 - PLATE_EDGE, 18.0)
    painter.fillRect(_taken(title, _RIGHT, name, metrics), PLATE)
    haloed(painter, title, flags, name, TEXT, FULL_RIM)
    wide = LEGEND_BAR[0]
    bar = QRectF(room - wide - 1, 29.0, wide, high)
    painter.fillRect(bar.adjusted(-1.0, -1.0, 1.0, 1.0), HALO)
    painter.drawImage(bar, _gradient(legend.colour_table))
    for value, y in ((legend.high, bar.top()), (legend.low, bar.bottom())):
        place = QRectF(0.0, y - 9.0, bar.left() - 6.0, 18.0)
        painter.fillRect(_taken(place, _RIGHT, number(value), metrics), PLATE)
        haloed(painter, place, flags, number(value), TEXT, FULL_RIM)
    painter.end()
    return image


def _clear(width: int, height: int, ratio: float) -> QImage:
    image = QImage(
        round(width * ratio), round(height * ratio), QImage.Format.Format_ARGB32_Premultiplied
    )
    image.setDevicePixelRatio(ratio)
    image.fill(Qt.GlobalColor.transparent)
    return image


def paint_crosshair(painter: QPainter, plan: SlicePlan) -> None:
    """Lines through the cursor with a gap in the middle, and where oblique planes cut."""
    if plan.crosshair is None:
        return
    x, y = (math.floor(v) for v in plan.crosshair)
    width, height = plan.size
    painter.save()
    painter.setClipRegion(_free(plan))
    for left, right in ((0, x - GAP), (x + GAP + 1, width)):
        painter.fillRect(left, y, right - left, 1, CROSSHAIR)
    for top, bottom in ((0, y - GAP), (y + GAP + 1, height)):
        painter.fillRect(x, top, 1, bottom - top, CROSSHAIR)
    if plan.traces:
        painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
        painter.setPen(QPen(TRACE, 1.2, Qt.PenStyle.DashLine))
        painter.drawLines([QLineF(*trace.line) for trace in plan.traces])
    painter.restore()


def _free(plan: SlicePlan) -> QRegion:
    """The view without the places of words, letters and the scale bar: no line crosses them."""
    width, height = plan.size
    free = QRegion(0, 0, width, height)
    for line in _laid_out(plan.texts, plan.size):
        free -= QRegion(line.taken.toAlignedRect())
    metrics = QFontMetricsF(font(LETTER_PIXELS, bold=True))
    for text, rect, flags in _letter_places(plan.letters, plan.size):
        taken = metrics.boundingRect(rect, int(flags), text)
        free -= QRegion(taken.adjusted(-MARGIN, -MARGIN, MARGIN, MARGIN).toAlignedRect())
    if plan.scale_bar is not None:
        wide = max(round(plan.scale_bar.pixels) + 4, SCALE_BAR[0])
        top = height - round(MARGIN) - 20 - SCALE_BAR[1]
        free -= QRegion((width - wide) // 2, top, wide, height - top)
    return free


def paint_brush(painter: QPainter, at: QPointF, radius: float, erase: bool) -> None:
    """A circle of the brush's true size; dark rim so that it is seen on bright and dark."""
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    painter.setBrush(Qt.BrushStyle.NoBrush)
    for pen in (QPen(HALO, 2.5), QPen(ERASE if erase else BRUSH, 1.2)):
        painter.setPen(pen)
        painter.drawEllipse(at, radius, radius)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)


def paint_frame(painter: QPainter, size: tuple[int, int], active: bool) -> None:
    """A thin line around the active cell."""
    if active:
        width, height = size
        for edge in ((0, 0, width, 1), (0, height - 1, width, 1), (0, 0, 1, height)):
            painter.fillRect(*edge, ACCENT)
        painter.fillRect(width - 1, 0, 1, height, ACCENT)


def paint_message(painter: QPainter, text: str, size: tuple[int, int]) -> None:
    """A quiet sentence in the middle of an empty view."""
    painter.setFont(font(TEXT_PIXELS + 1))
    rect = QRectF(MARGIN, MARGIN, size[0] - 2 * MARGIN, size[1] - 2 * MARGIN)
    flags = Qt.AlignmentFlag.AlignCenter.value | Qt.TextFlag.TextWordWrap.value
    painter.setPen(QUIET)
    painter.drawText(rect, flags, text)


def paint_pill(painter: QPainter, text: str, size: tuple[int, int]) -> None:
    """A small note on a dark ground under the top letter, such as that slices are loading."""
    painter.setFont(font(SMALL_PIXELS))
    wide = QFontMetricsF(painter.font()).horizontalAdvance(text) + 20.0
    rect = QRectF((size[0] - wide) / 2.0, 32.0, wide, 22.0)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, True)
    painter.setPen(Qt.PenStyle.NoPen)
    painter.setBrush(QColor(20, 24, 29, 215))
    painter.drawRoundedRect(rect, 11.0, 11.0)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing, False)
    painter.setPen(TEXT)
    painter.drawText(rect, Qt.AlignmentFlag.AlignCenter, text)


@lru_cache(maxsize=8)
def _gradient(colour_table: str) -> QImage:
    table = colours(colour_table)[::-1].astype(np.uint32)
    pixels = (0xFF << 24) | (table[:, 0] << 16) | (table[:, 1] << 8) | table[:, 2]
    column = np.ascontiguousarray(pixels.astype(np.uint32)[:, None])
    return QImage(column.data, 1, len(column), 4, QImage.Format.Format_RGB32).copy()
