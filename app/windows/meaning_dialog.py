"""What a label means: a list of coded meanings that typing narrows down, and a side."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, Qt, Signal
from PySide6.QtGui import QKeyEvent
from PySide6.QtWidgets import (
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QWidget,
)

from app.windows.controls import button, column, field, row, sentence
from imaging.dicom.codes import (
    LABEL_CODES,
    LEFT,
    RIGHT,
    LabelCode,
    code_for,
    search_codes,
    side_for,
)
from imaging.segmentation import Code, Segment

_SIDES: tuple[tuple[str, Code | None], ...] = (
    ("Not said", None), ("Left", LEFT), ("Right", RIGHT),
)  # fmt: skip
_SCHEMES = {"SCT": "SNOMED CT", "DCM": "DICOM", "NCIt": "NCI Thesaurus"}
_MOVES = (Qt.Key.Key_Up, Qt.Key.Key_Down, Qt.Key.Key_PageUp, Qt.Key.Key_PageDown)


class MeaningDialog(QDialog):
    """Typing narrows the list, arrows move in it, Return or a double-click chooses.

    Parameters
    ----------
    segment : Segment
        The label; its meaning is chosen at first, or what its name suggests where nobody has
        said more than "lesion".

    Signals
    -------
    meant(LabelCode, Code or None)
        The meaning and the side that were chosen.
    """

    meant = Signal(object, object)

    def __init__(self, segment: Segment, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle(f"Meaning of “{segment.name}”")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.resize(420, 460)
        self._own = _own_code(segment)
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search, for example: oedema, csf, hippocampus")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._fill)
        self.search.installEventFilter(self)
        self.list = QListWidget()
        self.list.setAccessibleName("Meanings")
        self.list.currentItemChanged.connect(self._tell)
        self.list.itemDoubleClicked.connect(self._choose)
        self.nothing = sentence("No meaning matches. Try another word.")
        self.side = QComboBox()
        for words, code in _SIDES:
            self.side.addItem(words, code)
        side = segment.modifier or side_for(segment.name)
        self.side.setCurrentIndex(next((n for n, (_, c) in enumerate(_SIDES) if c == side), 0))
        self.code = sentence()
        self._arrange()
        self._fill("")
        self._choose_row(self._first(segment))
        self.search.setFocus()

    def _arrange(self) -> None:
        self.take = button("Choose", "Give the label this meaning (can be undone)", role="primary")
        self.take.clicked.connect(self._choose)
        self.take.setDefault(True)
        close = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        close.rejected.connect(self.reject)
        layout = column(self)
        layout.addWidget(sentence("Written into DICOM files, so that other programs know it."))
        layout.addWidget(self.search)
        layout.addWidget(self.list, 1)
        layout.addWidget(self.nothing)
        layout.addWidget(self.code)
        layout.addLayout(field("Side", self.side, 40))
        layout.addLayout(row(1, close, self.take))

    @property
    def current(self) -> LabelCode | None:
        """The meaning that is chosen in the list."""
        item = self.list.currentItem()
        return item.data(Qt.ItemDataRole.UserRole) if item is not None else None

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """Arrows in the search field move in the list."""
        key = event if isinstance(event, QKeyEvent) else None
        if key is not None and key.type() == QEvent.Type.KeyPress and key.key() in _MOVES:
            self.list.keyPressEvent(key)
            return True
        return super().eventFilter(watched, event)

    def _first(self, segment: Segment) -> LabelCode:
        """What to start from: the label's meaning, or a better one that its name says."""
        guess = code_for(segment.name)
        return guess if guess is not None and self._own == LABEL_CODES[0] else self._own

    def _fill(self, text: str) -> None:
        before = self.current
        self.list.clear()
        found = search_codes(text)
        if self._own not in LABEL_CODES and not text.strip():
            found = [self._own, *found]
        for entry in found:
            item = QListWidgetItem(entry.name)
            item.setData(Qt.ItemDataRole.UserRole, entry)
            self.list.addItem(item)
        self.nothing.setVisible(not found)
        if text.strip() or before is None:
            self.list.setCurrentRow(0)
        else:
            self._choose_row(before)

    def _choose_row(self, entry: LabelCode) -> None:
        for number in range(self.list.count()):
            item = self.list.item(number)
            if item.data(Qt.ItemDataRole.UserRole) == entry:
                self.list.setCurrentItem(item)
                self.list.scrollToItem(item)
                return

    def _tell(self, *_items: QListWidgetItem | None) -> None:
        entry = self.current
        self.take.setEnabled(entry is not None)
        if entry is None:
            self.code.setText("")
            return
        scheme = _SCHEMES.get(entry.type.scheme, entry.type.scheme)
        self.code.setText(f"{entry.category.meaning} · {scheme} {entry.type.value}")

    def _choose(self, *_item: QListWidgetItem) -> None:
        entry = self.current
        if entry is not None:
            self.meant.emit(entry, self.side.currentData())
            self.accept()


def _own_code(segment: Segment) -> LabelCode:
    """The meaning a label has: of the table, or as it was read from a file."""
    same = (entry for entry in LABEL_CODES if entry.type[:2] == segment.type[:2])
    return next(same, LabelCode(segment.type.meaning, segment.category, segment.type))
