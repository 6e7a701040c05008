"""The files that could not be used, folded away under the study list."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QAbstractItemView, QToolButton, QTreeWidget, QTreeWidgetItem, QWidget

from app.windows.controls import column
from app.windows.icons import icon
from app.windows.theme import SMALL_GAP, set_role


class NotRead(QWidget):
    """A collapsed list of files that could not be used, grouped by reason."""

    def __init__(self) -> None:
        super().__init__()
        self._count = 0
        self._reasons: dict[str, QTreeWidgetItem] = {}
        self.toggle = QToolButton()
        self.toggle.setCheckable(True)
        self.toggle.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.toggle.setToolTip("Files that could not be used, and why")
        set_role(self.toggle, "flat")
        self.list = QTreeWidget()
        self.list.setHeaderHidden(True)
        self.list.setIndentation(12)
        self.list.setMaximumHeight(140)
        self.list.setSizeAdjustPolicy(QAbstractItemView.SizeAdjustPolicy.AdjustToContents)
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        layout = column(self, margin=0, gap=SMALL_GAP)
        layout.addWidget(self.toggle)
        layout.addWidget(self.list)
        self.toggle.toggled.connect(self._unfold)
        self.clear()

    def add(self, path: str, reason: str) -> None:
        """One more file."""
        self._count += 1
        group = self._reasons.get(reason)
        if group is None:
            group = QTreeWidgetItem([reason])
            group.setToolTip(0, reason)
            self._reasons[reason] = group
            self.list.addTopLevelItem(group)
        child = QTreeWidgetItem([Path(path).name or path])
        child.setToolTip(0, f"{path}\n{reason}")
        group.addChild(child)
        group.setText(0, f"{group.childCount()} × {reason}")
        self._show()

    def clear(self) -> None:
        """Forget all."""
        self._count = 0
        self._reasons.clear()
        self.list.clear()
        self.toggle.setChecked(False)
        self._unfold(False)
        self._show()

    def _show(self) -> None:
        self.toggle.setText(f"Not read ({self._count})")
        self.setVisible(self._count > 0)

    def _unfold(self, open_: bool) -> None:
        self.toggle.setIcon(icon("down" if open_ else "next"))
        self.list.setVisible(open_)
