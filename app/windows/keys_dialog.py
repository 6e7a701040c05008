"""All keys in one table that can be searched and changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PySide6.QtCore import QEvent, QModelIndex, QObject, QPersistentModelIndex, Qt, Signal
from PySide6.QtGui import QKeyEvent, QKeySequence
from PySide6.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHeaderView,
    QKeySequenceEdit,
    QLabel,
    QLineEdit,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from app.commands import Command
from app.keys import from_text, to_text, with_keys, words_of
from app.messages import sentence
from app.windows.controls import button, column, row
from app.windows.theme import set_role
from imaging.errors import ImagingError

HOW = "Double-click a key to change it; press up to four keys for one command."
_KEYS, _TITLE, _WHERE = range(3)
_ORDER = ("read", "any", "edit")  #: modes, in the order people meet them
#: What the mouse does in a view: gesture, what it does, mode.
MOUSE: tuple[tuple[str, str, str], ...] = (
    ("Wheel", "Next and previous slice", "Mouse"),
    ("Shift + wheel", "Ten slices at a time", "Mouse · Reading"),
    ("Ctrl + wheel", "Zoom", "Mouse"),
    ("Left drag", "Window: sideways its width, up and down its level", "Mouse · Reading"),
    ("Middle drag", "Pan", "Mouse"),
    ("Right drag", "Zoom about the point pressed", "Mouse"),
    ("Right click", "Menu of the view", "Mouse"),
    ("Shift + move", "Crosshair: every view goes to that place", "Mouse · Reading"),
    ("Double-click", "Maximise the view, and back", "Mouse"),
    ("Left drag", "Paint", "Mouse · Editing"),
    ("Ctrl + drag", "Erase with the brush", "Mouse · Editing"),
    ("Ctrl + click", "Take the label under the pointer", "Mouse · Editing"),
    ("Alt + drag", "Paint only values inside the shown window", "Mouse · Editing"),
    ("Shift + wheel", "Size of the brush", "Mouse · Editing"),
)
_FILES = "Keys (*.json);;All files (*)"


class KeysDialog(QDialog):
    """What mouse and keys do, reading first; typing filters, a double-click on a key changes it.

    Parameters
    ----------
    rows : sequence of Command
        The table of commands; order is kept within a mode.
    chosen : mapping
        Keys that are not the usual ones, see :mod:`app.keys`.

    Signals
    -------
    chosen_changed(dict)
        The user chose other keys; they hold from now on.
    """

    chosen_changed = Signal(dict)

    def __init__(
        self,
        rows: Sequence[Command],
        chosen: Mapping[str, str] | None = None,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self.setWindowTitle("Keys and mouse")
        self.resize(680, 640)
        self._rows = tuple(sorted(rows, key=lambda one: _ORDER.index(one.mode)))
        self._chosen = dict(chosen or {})
        self._before: list[dict[str, str]] = []
        self.search = QLineEdit()
        self.search.setPlaceholderText("Search, for example: window, brush, Ctrl")
        self.search.setClearButtonEnabled(True)
        self.search.textChanged.connect(self._filter)
        self.table = _table(self._rows)
        self.table.setItemDelegateForColumn(_KEYS, KeyDelegate(self.table, self._edited))
        self.nothing = QLabel("No key or command matches.")
        set_role(self.nothing, "dim")
        self.nothing.hide()
        self.state = QLabel(HOW)
        self.state.setWordWrap(True)
        self._arrange()
        self._show_keys()
        self.search.setFocus()

    def _arrange(self) -> None:
        self.usual = button("Usual keys", "All commands get back the keys they came with")
        self.undo = button("Undo", "Take back the last change of keys")
        self.export = button("Export…", "Write all keys to a file")
        self.import_ = button("Import…", "Read keys from a file")
        self.usual.clicked.connect(lambda: self._take({}, "All commands have their usual keys."))
        self.undo.clicked.connect(self._undo)
        self.export.clicked.connect(self._ask_export)
        self.import_.clicked.connect(self._ask_import)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.reject)
        for one in (self.usual, self.undo, self.export, self.import_, *buttons.buttons()):
            one.setAutoDefault(False)  # type: ignore[attr-defined]  # Return belongs to the search
        layout = column(self)
        layout.addWidget(self.search)
        layout.addWidget(self.table, 1)
        layout.addWidget(self.nothing)
        layout.addWidget(self.state)
        layout.addLayout(row(self.usual, self.undo, self.export, self.import_, 1, buttons))

    @property
    def chosen(self) -> dict[str, str]:
        """The keys that are not the usual ones, as they hold now."""
        return dict(self._chosen)

    def shown_titles(self) -> list[str]:
        """Titles of the rows that match the search."""
        rows = range(self.table.rowCount())
        items = [self.table.item(n, _TITLE) for n in rows if not self.table.isRowHidden(n)]
        return [item.text() for item in items if item is not None]

    def row_of(self, id: str) -> int:
        """The line of the table a command stands in; ValueError where it is not listed."""
        return len(MOUSE) + [one.id for one in self._rows].index(id)

    # --- changes -----------------------------------------------------------------------------
    def _edited(self, number: int, keys: Sequence[str]) -> None:
        one = self._rows[number - len(MOUSE)]
        try:
            chosen = with_keys(self._rows, self._chosen, one, keys)
        except ImagingError as error:
            self._say(sentence(error), "warning")
            return
        self._take(chosen, f"{one.title}: {words_of(one, chosen) or 'no key'}")

    def _take(self, chosen: dict[str, str], words: str) -> None:
        if chosen != self._chosen:
            self._before.append(self._chosen)
            self._change(chosen)
        self._say(words)

    def _undo(self) -> None:
        if self._before:
            self._change(self._before.pop())
            self._say("The last change of keys was taken back.")

    def _change(self, chosen: dict[str, str]) -> None:
        self._chosen = chosen
        self._show_keys()
        self.chosen_changed.emit(dict(chosen))

    def _show_keys(self) -> None:
        for number, one in enumerate(self._rows, len(MOUSE)):
            item = self.table.item(number, _KEYS)
            assert item is not None
            item.setText(words_of(one, self._chosen) or "–")
            font = item.font()
            font.setBold(one.id in self._chosen)
            item.setFont(font)
            usual = ", ".join(one.keys) or "none"
            item.setToolTip(f"Double-click to change it. Usual: {usual}")
        self.undo.setEnabled(bool(self._before))
        self.usual.setEnabled(bool(self._chosen))

    def _say(self, words: str, role: str = "") -> None:
        self.state.setText(words)
        set_role(self.state, role)

    # --- files -------------------------------------------------------------------------------
    def _ask_export(self) -> None:
        name, _kind = QFileDialog.getSaveFileName(self, "Export keys", "keys.json", _FILES)
        if name:
            self.export_to(Path(name))

    def export_to(self, path: Path) -> None:
        """Write all keys to a file; a file that is there was confirmed by the user."""
        from imaging.atomic import write_atomic

        text = to_text(self._rows, self._chosen)
        try:
            write_atomic(path, lambda aside: _write(aside, text))
        except (ImagingError, OSError) as error:
            self._say(sentence(error), "warning")
            return
        self._say(f"All keys were written to {path.name}.")

    def _ask_import(self) -> None:
        name, _kind = QFileDialog.getOpenFileName(self, "Import keys", "", _FILES)
        if name:
            self.import_from(Path(name))

    def import_from(self, path: Path) -> None:
        """Take over the keys of a file as far as they make sense, and say what was left out."""
        try:
            chosen, problems = from_text(self._rows, path.read_text(encoding="utf-8-sig"))
        except UnicodeDecodeError:
            self._say(f"{path.name} is no file of keys.", "warning")
            return
        except (ImagingError, OSError) as error:
            self._say(sentence(error), "warning")
            return
        words = f"Keys were read from {path.name}."
        more = f" And {len(problems) - 3} more." if len(problems) > 3 else ""
        self._take(chosen, " ".join([words, *problems[:3]]) + more)

    # --- search ------------------------------------------------------------------------------
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


class KeyDelegate(QStyledItemDelegate):
    """Opens a key recorder in the key column and hands over what was pressed."""

    def __init__(self, parent: QWidget, done: Callable[[int, Sequence[str]], None]) -> None:
        super().__init__(parent)
        self._done = done

    def createEditor(
        self,
        parent: QWidget,
        option: QStyleOptionViewItem,
        index: QModelIndex | QPersistentModelIndex,
    ) -> QWidget:
        """An editor that closes by itself a moment after the last key."""
        made = QKeySequenceEdit(parent)
        made.setClearButtonEnabled(True)
        made.setToolTip("Press the key; Esc leaves it as it was")
        made.editingFinished.connect(lambda: self._finish(made))
        return made

    def _finish(self, editor: QKeySequenceEdit) -> None:
        editor.blockSignals(True)  # losing the focus on closing would end it again
        self.commitData.emit(editor)
        self.closeEditor.emit(editor)

    def setEditorData(self, editor: QWidget, index: QModelIndex | QPersistentModelIndex) -> None:
        """Start from the keys of now."""
        assert isinstance(editor, QKeySequenceEdit)
        keys = str(index.data()).split(", ")
        known = [key for key in keys[:4] if not QKeySequence(key).isEmpty()]
        editor.setKeySequence(QKeySequence(", ".join(known)))
        editor.setProperty("before", editor.keySequence().toString())

    def setModelData(
        self, editor: QWidget, model: object, index: QModelIndex | QPersistentModelIndex
    ) -> None:
        """Hand over the keys; the dialog decides."""
        assert isinstance(editor, QKeySequenceEdit)
        sequence = editor.keySequence()
        if sequence.toString() == editor.property("before"):
            return
        text = QKeySequence.SequenceFormat.PortableText
        chords = [QKeySequence(sequence[n]) for n in range(sequence.count())]  # type: ignore[index]
        self._done(index.row(), [chord.toString(text) for chord in chords])

    def eventFilter(self, editor: QObject, event: QEvent) -> bool:
        """Return and the like are recorded; Esc closes the editor."""
        if isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress:
            if event.key() != Qt.Key.Key_Escape:
                return False
            self.closeEditor.emit(editor)
            return True
        return super().eventFilter(editor, event)


def _table(rows: Sequence[Command]) -> QTableWidget:
    table = QTableWidget(len(MOUSE) + len(rows), 3)
    table.setHorizontalHeaderLabels(["Key", "Does", "Where"])
    table.verticalHeader().hide()
    table.setShowGrid(False)
    edit = QTableWidget.EditTrigger
    table.setEditTriggers(edit.DoubleClicked | edit.EditKeyPressed)
    table.setSelectionBehavior(QTableWidget.SelectionBehavior.SelectRows)
    seen = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
    lines = [*MOUSE, *(("", one.title, where(one)) for one in rows)]
    for number, line in enumerate(lines):
        for column_number, text in enumerate(line):
            item = QTableWidgetItem(text)
            editable = column_number == _KEYS and number >= len(MOUSE)
            item.setFlags(seen | Qt.ItemFlag.ItemIsEditable if editable else seen)
            table.setItem(number, column_number, item)
    header = table.horizontalHeader()
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    header.setSectionResizeMode(_KEYS, QHeaderView.ResizeMode.ResizeToContents)
    header.setMinimumSectionSize(90)
    header.setSectionResizeMode(_TITLE, QHeaderView.ResizeMode.Stretch)
    header.setSectionResizeMode(_WHERE, QHeaderView.ResizeMode.ResizeToContents)
    return table


def where(row: Command) -> str:
    """The menu and the mode of a command."""
    mode = {"read": "Reading", "edit": "Editing", "any": ""}[row.mode]
    return f"{row.group} · {mode}" if mode else row.group


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
