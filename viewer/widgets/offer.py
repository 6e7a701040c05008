"""A button in an empty view: the way on where a picture cannot be had as things are."""

from __future__ import annotations

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QPushButton, QWidget

#: How far under the middle of the view it stands, logical pixels.
BELOW = 34


class Offer(QPushButton):
    """Hidden until something is offered."""

    def __init__(self, words: str, tip: str, parent: QWidget) -> None:
        super().__init__(words, parent)
        self.setToolTip(tip)
        self.setCursor(Qt.CursorShape.PointingHandCursor)
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.hide()

    def place(self, offered: bool) -> None:
        """Show it under the middle of its view, or hide it."""
        view = self.parentWidget()
        self.setVisible(offered)
        if offered and view is not None:
            self.adjustSize()
            left = (view.width() - self.width()) // 2
            self.move(max(4, left), min(view.height() // 2 + BELOW, view.height() - self.height()))


def even_offer(parent: QWidget) -> Offer:
    """Offers an even volume."""
    return Offer(
        "Make an even volume",
        "Interpolate slices at even distances; the images as acquired stay as they are",
        parent,
    )
