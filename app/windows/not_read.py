"""The files that could not be used, folded away under the study list."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QModelIndex, QPersistentModelIndex, QRect, QSize, Qt
from PySide6.QtGui import QPainter
from PySide6.QtWidgets import (
    QAbstractItemView,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QToolButton,
    QTreeView,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from app.messages import files_text
from app.windows.controls import column
from app.windows.icons import icon
from app.windows.theme import SMALL_GAP, set_role

_WRAPPED = int(Qt.TextFlag.TextWordWrap | Qt.AlignmentFlag.AlignVCenter)


class _Wrapped(QStyledItemDelegate):
    """Rows as high as their sentence needs in the width there is."""

    def __init__(self, view: QTreeView) -> None:
        super().__init__(view)
        self._view = view

    def initStyleOption(
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        super().initStyleOption(option, index)
        option.text = ""  # pyright: ignore[reportAttributeAccessIssue]

    def paint(
        self,
        painter: QPainter,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> None:
        """The row without its words, and these over it: a style cuts them after one line."""
        super().paint(painter, option, index)
        painter.setPen(self._view.palette().text().color())
        place = self._view.visualRect(index).adjusted(SMALL_GAP, 0, -SMALL_GAP, 0)
        painter.drawText(place, _WRAPPED, str(index.data() or ""))

    def sizeHint(
        self, option: QStyleOptionViewItem, index: QModelIndex | QPersistentModelIndex
    ) -> QSize:
        size = super().sizeHint(option, index)
        depth = 2 if index.parent().isValid() else 1
        room = self._view.viewport().width() - depth * self._view.indentation() - 4 * SMALL_GAP
        words = str(index.data() or "")
        needed = self._view.fontMetrics().boundingRect(
            QRect(0, 0, max(40, room), 1 << 14), _WRAPPED, words
        )
        return QSize(size.width(), max(size.height(), needed.height() + SMALL_GAP))


class NotRead(QWidget):
    """A collapsed list of files that could not be used, grouped by reason; damaged ones first."""

    def __init__(self) -> None:
        super().__init__()
        self._count = [0, 0]  # other files, damaged ones
        self._reasons: dict[tuple[bool, str], QTreeWidgetItem] = {}
        self.toggle = QToolButton()
        self.toggle.setCheckable(True)
        self.toggle.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.toggle.setToolTip("Files that could not be used, and why")
        set_role(self.toggle, "flat")
        self.list = QTreeWidget()
        self.list.setHeaderHidden(True)
        self.list.setIndentation(12)
        self.list.setMinimumHeight(140)
        self.list.setMaximumHeight(280)
        self.list.setItemDelegate(_Wrapped(self.list))
        self.list.header().sectionResized.connect(lambda *_: self.list.scheduleDelayedItemsLayout())
        self.list.setSizeAdjustPolicy(QAbstractItemView.SizeAdjustPolicy.AdjustToContents)
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = column(self, margin=0, gap=SMALL_GAP)
        layout.addWidget(self.toggle)
        layout.addWidget(self.list)
        self.toggle.toggled.connect(self._unfold)
        self.clear()

    def add(self, path: str, reason: str, damaged: bool = False) -> None:
        """One more file."""
        self._count[damaged] += 1
        group = self._reasons.get((damaged, reason))
        if group is None:
            group = QTreeWidgetItem([reason])
            group.setToolTip(0, reason)
            before = sum(kind for kind, _ in self._reasons) if damaged else len(self._reasons)
            self._reasons[damaged, reason] = group
            self.list.insertTopLevelItem(before, group)
        child = QTreeWidgetItem([Path(path).name or path])
        child.setToolTip(0, f"{path}\n{reason}")
        group.addChild(child)
        group.setText(0, f"{group.childCount()} × {reason}")
        self._show()

    def clear(self) -> None:
        """Forget all."""
        self._count = [0, 0]
        self._reasons.clear()
        self.list.clear()
        self.toggle.setChecked(False)
        self._unfold(False)
        self._show()

    def _show(self) -> None:
        other, damaged = self._count
        self.toggle.setText(f"Not read: {files_text(damaged, other)}")
        self.setVisible(other + damaged > 0)

    def _unfold(self, open_: bool) -> None:
        self.toggle.setIcon(icon("down" if open_ else "next"))
        self.list.setVisible(open_)
