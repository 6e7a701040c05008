"""One dark theme: near-black around images, soft white text, one accent colour.

``apply(application)`` sets the Fusion style, the palette, the font and the stylesheet of
``resources/themes/dark.qss``. Widgets say what they are with ``set_role`` and pick up the look.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from string import Template

from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication, QWidget

import resources

FONT_PIXELS = 13
GAP = 8  #: px between groups of controls
SMALL_GAP = 4  #: px between things that belong together


@dataclass(frozen=True)
class Colours:
    """The colours of the window, as ``#rrggbb``; contrast of text on each ground is 4.5 or more."""

    black: str = "#0b0c0e"
    window: str = "#15171a"
    panel: str = "#1b1e22"
    control: str = "#272b31"
    hover: str = "#323840"
    line: str = "#363c44"
    text: str = "#d8dbdf"
    dim: str = "#9aa2ab"
    disabled: str = "#6c747d"
    accent: str = "#4c9be8"
    accent_hover: str = "#6fb0ee"
    selected: str = "#234a70"
    warning: str = "#e3b04b"
    danger: str = "#e8776a"
    good: str = "#62c28a"


DARK = Colours()


def contrast(first: str, second: str) -> float:
    """Contrast ratio of two colours, 1 to 21.

    Source: WCAG 2.2, relative luminance and contrast ratio.
    """
    light, dark = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def stylesheet(colours: Colours = DARK) -> str:
    """The stylesheet with the colours filled in."""
    folder = Path(resources.__path__[0]) / "themes"
    source = (folder / "dark.qss").read_text(encoding="utf-8")
    return Template(source).substitute(asdict(colours), folder=folder.as_posix())


def palette(colours: Colours = DARK) -> QPalette:
    """The palette that Fusion draws combos, spin boxes and check boxes from."""
    role, made = QPalette.ColorRole, QPalette()
    for kind, colour in {
        role.Window: colours.window, role.WindowText: colours.text,
        role.Base: colours.black, role.AlternateBase: colours.window,
        role.Text: colours.text, role.PlaceholderText: colours.dim,
        role.Button: colours.control, role.ButtonText: colours.text,
        role.BrightText: colours.danger, role.Highlight: colours.accent,
        role.HighlightedText: colours.black, role.Link: colours.accent,
        role.ToolTipBase: colours.control, role.ToolTipText: colours.text,
        role.Light: colours.hover, role.Midlight: colours.control, role.Mid: colours.line,
        role.Dark: colours.panel, role.Shadow: colours.black,
    }.items():  # fmt: skip
        made.setColor(kind, QColor(colour))
    for kind in (role.WindowText, role.Text, role.ButtonText, role.HighlightedText):
        made.setColor(QPalette.ColorGroup.Disabled, kind, QColor(colours.disabled))
    made.setColor(QPalette.ColorGroup.Disabled, role.Highlight, QColor(colours.line))
    return made


def apply(application: QApplication) -> None:
    """Give the whole program the theme."""
    application.setStyle("Fusion")
    application.setPalette(palette())
    font = application.font()
    font.setPixelSize(FONT_PIXELS)
    application.setFont(font)
    application.setStyleSheet(stylesheet())


def set_role(widget: QWidget, role: str) -> None:
    """Say what a widget is (``"dim"``, ``"primary"``, ``"badge-edit"`` …) and restyle it."""
    if widget.property("role") == role:
        return
    widget.setProperty("role", role)
    widget.style().unpolish(widget)
    widget.style().polish(widget)
    widget.updateGeometry()


def _luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
