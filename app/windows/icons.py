"""Icons by what they mean, drawn from the Material Design Icons font that qtawesome carries.

Importing qtawesome itself costs about 0.2 s of CPU, so only its font file is read, and only when
the first icon is painted. Without the font an icon paints nothing; text and tooltips remain.
"""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

from PySide6.QtCore import QPoint, QRect, QSize, Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QIcon, QIconEngine, QPainter, QPixmap

from app.windows.theme import DARK

#: Our name: the name in Material Design Icons 6 and its code point (stable between versions).
GLYPHS: dict[str, tuple[str, int]] = {
    "about": ("information-outline", 0xF02FD),
    "accept": ("check", 0xF012C),
    "add": ("plus", 0xF0415),
    "bin": ("delete-outline", 0xF09E7),
    "brain": ("brain", 0xF09D1),
    "brush": ("brush", 0xF00E3),
    "camera": ("camera-outline", 0xF0D5D),
    "cancel": ("close", 0xF0156),
    "cine": ("movie-open-outline", 0xF0FCF),
    "cube": ("cube-outline", 0xF01A7),
    "click": ("cursor-default-click-outline", 0xF0CFE),
    "contours": ("vector-polygon", 0xF0560),
    "copy": ("content-copy", 0xF018F),
    "crosshair": ("crosshairs", 0xF01A3),
    "demo": ("flask-outline", 0xF0096),
    "down": ("chevron-down", 0xF0140),
    "eraser": ("eraser", 0xF01FE),
    "explain": ("lightbulb-on-outline", 0xF06E9),
    "export": ("export-variant", 0xF0B93),
    "eye": ("eye-outline", 0xF06D0),
    "eye-off": ("eye-off-outline", 0xF06D1),
    "fill": ("circle", 0xF0765),
    "file": ("file-outline", 0xF0224),
    "flip-horizontal": ("flip-horizontal", 0xF10E7),
    "flip-vertical": ("flip-vertical", 0xF10E8),
    "folder": ("folder-open-outline", 0xF0DCF),
    "heatmap": ("gradient-horizontal", 0xF174A),
    "help": ("help-circle-outline", 0xF0625),
    "invert": ("invert-colors", 0xF0301),
    "keyboard": ("keyboard-outline", 0xF097B),
    "label": ("label-outline", 0xF0316),
    "layers": ("layers-outline", 0xF09FE),
    "layout": ("view-grid-outline", 0xF11D9),
    "layout-one": ("square-outline", 0xF0763),
    "layout-one-three": ("view-compact-outline", 0xF0E6C),
    "list": ("format-list-bulleted", 0xF0279),
    "lock": ("lock", 0xF033E),
    "lock-open": ("lock-open-variant-outline", 0xF0FC7),
    "merge": ("call-merge", 0xF00F8),
    "split": ("call-split", 0xF00FB),
    "next": ("chevron-right", 0xF0142),
    "previous": ("chevron-left", 0xF0141),
    "oblique": ("axis-arrow", 0xF0D49),
    "outline": ("circle-outline", 0xF0766),
    "pan": ("hand-back-right-outline", 0xF182D),
    "pause": ("pause", 0xF03E4),
    "palette": ("palette-outline", 0xF0E0C),
    "rename": ("pencil-outline", 0xF0CB6),
    "redo": ("redo", 0xF044E),
    "report": ("file-document-outline", 0xF09EE),
    "rotate": ("rotate-right", 0xF0467),
    "ruler": ("ruler", 0xF046D),
    "run": ("play", 0xF040A),
    "save": ("content-save-outline", 0xF0818),
    "search": ("magnify", 0xF0349),
    "settings": ("cog-outline", 0xF08BB),
    "stop": ("stop", 0xF04DB),
    "text": ("format-text", 0xF0284),
    "undo": ("undo", 0xF054C),
    "up": ("chevron-up", 0xF0143),
    "warning": ("alert-outline", 0xF002A),
    "window": ("contrast-circle", 0xF0197),
    "zoom": ("magnify-plus-outline", 0xF06ED),
}


def icon(name: str, colour: str = DARK.text) -> QIcon:
    """The icon with one of our names; raises KeyError for a name that is not in ``GLYPHS``."""
    return QIcon(_Glyph(GLYPHS[name][1], colour))


def swatch(colour: tuple[int, int, int], pixels: int = 14) -> QIcon:
    """A round dot in the colour of a segment; the same colour in a selected or disabled row."""
    pixmap = QPixmap(2 * pixels, 2 * pixels)
    pixmap.setDevicePixelRatio(2)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    painter.setPen(QColor(DARK.black))
    painter.setBrush(QColor(*colour))
    painter.drawEllipse(1, 1, pixels - 3, pixels - 3)
    painter.end()
    dot = QIcon()
    for mode in (QIcon.Mode.Normal, QIcon.Mode.Selected, QIcon.Mode.Disabled):
        dot.addPixmap(pixmap, mode)
    return dot


@cache
def font_family() -> str:
    """Family of the icon font, loaded at the first call; empty where it is not installed."""
    spec = importlib.util.find_spec("qtawesome")
    if spec is None or spec.origin is None:
        return ""
    files = sorted((Path(spec.origin).parent / "fonts").glob("materialdesignicons6*.ttf"))
    number = QFontDatabase.addApplicationFont(str(files[-1])) if files else -1
    families = QFontDatabase.applicationFontFamilies(number) if number >= 0 else []
    return families[0] if families else ""


class _Glyph(QIconEngine):
    """Paints one character of the icon font, sharp at every size."""

    def __init__(self, code: int, colour: str) -> None:
        super().__init__()
        self._code, self._colour = code, colour

    def clone(self) -> QIconEngine:
        return _Glyph(self._code, self._colour)

    def paint(self, painter: QPainter, rect: QRect, mode: QIcon.Mode, state: QIcon.State) -> None:
        family = font_family()
        if not family:
            return
        font = QFont(family)
        font.setPixelSize(max(1, min(rect.width(), rect.height())))
        painter.save()
        painter.setFont(font)
        dead = mode == QIcon.Mode.Disabled
        painter.setPen(QColor(DARK.disabled if dead else self._colour))
        painter.drawText(rect, Qt.AlignmentFlag.AlignCenter, chr(self._code))
        painter.restore()

    def pixmap(self, size: QSize, mode: QIcon.Mode, state: QIcon.State) -> QPixmap:
        pixmap = QPixmap(size)
        pixmap.fill(Qt.GlobalColor.transparent)
        painter = QPainter(pixmap)
        self.paint(painter, QRect(QPoint(0, 0), size), mode, state)
        painter.end()
        return pixmap
