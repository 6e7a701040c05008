"""The rows of the study list: what a click, Enter and a drag do with them."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QMimeData, QModelIndex, QPersistentModelIndex, QRect, Qt, Signal
from PySide6.QtGui import QDrag, QKeyEvent, QPainter, QPixmap
from PySide6.QtWidgets import QAbstractItemView, QTreeWidget, QTreeWidgetItem

from app.windows.series_delegate import OBJECT_ROLE, PICTURE_ROLE, SERIES_ROLE, SeriesDelegate
from viewer.state.display import SERIES_MIME


class SeriesTree(QTreeWidget):
    """Patient, study, series and objects; a series can be dragged out by its key.

    Signals
    -------
    chosen(key)
        A series was clicked, or Enter pressed on it.
    object_chosen(key)
        A mask, map or report was clicked, or Enter pressed on it.
    """

    chosen = Signal(str)
    object_chosen = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.setHeaderHidden(True)
        self.setIndentation(6)
        self.setRootIsDecorated(False)
        self.setExpandsOnDoubleClick(False)
        self.setMouseTracking(True)
        self.setDragEnabled(True)
        self.setDragDropMode(QAbstractItemView.DragDropMode.DragOnly)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setVerticalScrollMode(QAbstractItemView.ScrollMode.ScrollPerPixel)
        self.setItemDelegate(SeriesDelegate(self))
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.itemClicked.connect(lambda item, _column: self._choose(item))

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Enter shows the current series or object."""
        if event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
            self._choose(self.currentItem())
            return
        super().keyPressEvent(event)

    def drawBranches(
        self, painter: QPainter, rect: QRect, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """A chosen row is marked where it is drawn, not in the margin before it."""
        if index.data(SERIES_ROLE) is None and index.data(OBJECT_ROLE) is None:
            super().drawBranches(painter, rect, index)
        else:
            painter.fillRect(rect, self.palette().base())

    def mimeTypes(self) -> list[str]:
        """Only our own kind of thing can be dragged out."""
        return [SERIES_MIME]

    def mimeData(self, items: Sequence[QTreeWidgetItem]) -> QMimeData:
        """The key of the dragged series, UTF-8."""
        data = QMimeData()
        for item in items:
            series = item.data(0, SERIES_ROLE)
            if series is not None:
                data.setData(SERIES_MIME, series.key.encode())
        return data

    def startDrag(self, actions: Qt.DropAction) -> None:
        """Drag with the picture under the pointer."""
        item = self.currentItem()
        series = item.data(0, SERIES_ROLE) if item is not None else None
        if item is None or series is None or not series.viewable:
            return
        drag = QDrag(self)
        drag.setMimeData(self.mimeData([item]))
        picture = item.data(0, PICTURE_ROLE)
        if picture is not None:
            drag.setPixmap(QPixmap.fromImage(picture).scaledToHeight(64))
        drag.exec(Qt.DropAction.CopyAction)

    def _choose(self, item: QTreeWidgetItem | None) -> None:
        series = item.data(0, SERIES_ROLE) if item is not None else None
        found = item.data(0, OBJECT_ROLE) if item is not None else None
        if series is not None:
            self.chosen.emit(series.key)
        elif found is not None:
            self.object_chosen.emit(found.key)
