"""All keys in one table that can be searched."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import Qt
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QHeaderView,
    QLabel,
    QLineEdit,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from app.windows.controls import column
from app.windows.theme import set_role

Row = tuple[str, str, str]  #: title, shortcut, group


class KeysDialog(QDialog):
    """What every key does, by group; typing filters.

    Parameters
    ----------
    rows : sequence of (title, shortcut, group)
        From the table of commands and the list of mouse gestures; order is kept.
    """

    def __init__(self, rows: Sequence[Row], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys and mouse")
        self.resize(640, 600)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search, for example: window, brush, Ctrl")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._filter)
        self.table = _table(rows)
        self.nothing = QLabel("No key or command matches.")
        set_role(self.nothing, "dim")
        self.nothing.hide()
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        layout = column(self)
        layout.addWidget(self.search)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.nothing)
        layout.addWidget(buttons)
        self.search.setFocus()

    def shown_titles(self) -> list[str]:
        """Titles of the rows that match the search."""
        rows = range(self.table.rowCount())
        items = [self.table.item(n, 1) for n in rows if not self.table.isRowHidden(n)]
        return [item.text() for item in items if item is not None]

    def _filter(self, text: str) -> None:
        words = text.casefold().split()
        hits = 0
        for number in range(self.table.rowCount()):
            cells = [self.table.item(number, column) for column in range(3)]
            whole = " ".join(cell.text() for cell in cells if cell is not None).casefold()
            match = all(word in whole for word in words)
            self.table.setRowHidden(number, not match)
            hits += match
        self.nothing.setVisible(hits == 0)


def _table(rows: Sequence[Row]) -> QTableWidget:
    table = QTableWidget(len(rows), 3)
    table.setHorizontalHeaderLabels(["Key or gesture", "Does", "Where"])
    table.verticalHeader().hide()
    table.setShowGrid(False)
    table.setEditTriggers(QTableWidget.EditTrigger.NoEditTriggers)
    table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
    for number, (title, shortcut, group) in enumerate(rows):
        for column_number, text in enumerate((shortcut or "–", title, group)):
            item = QTableWidgetItem(text)
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable)
            table.setItem(number, column_number, item)
    header = table.horizontalHeader()
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(1, QHeaderView.ResizeMode.Stretch)
    header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)
    return table
