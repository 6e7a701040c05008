"""The table of keys: change, refuse, take back, carry to another machine."""

from __future__ import annotations

import pytest
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest
from PySide6.QtWidgets import QKeySequenceEdit

from app.commands import COMMANDS
from app.windows.keys_dialog import MOUSE, KeysDialog


class Reader:
    """A person in front of the dialog."""

    def __init__(self, dialog: KeysDialog, qtbot) -> None:
        self.dialog, self.qtbot = dialog, qtbot
        self.told: list[dict[str, str]] = []
        dialog.chosen_changed.connect(self.told.append)

    def cell(self, id: str):
        return self.dialog.table.item(self.dialog.row_of(id), 0)

    def press(self, id: str, *keys) -> None:
        """Double-click on the key of a command, press keys, wait until it is taken."""
        table = self.dialog.table
        table.scrollToItem(self.cell(id))
        place = table.visualItemRect(self.cell(id)).center()
        QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
        QTest.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
        editor = self.dialog.findChild(QKeySequenceEdit)
        assert editor is not None
        for key in keys:
            QTest.keyClick(editor, *(key if isinstance(key, tuple) else (key,)))
        self.qtbot.waitUntil(lambda: self.dialog.findChild(QKeySequenceEdit) is None, timeout=4000)


@pytest.fixture
def reader(qtbot) -> Reader:
    dialog = KeysDialog(COMMANDS)
    qtbot.addWidget(dialog)
    dialog.show()
    return Reader(dialog, qtbot)


def test_a_double_click_and_a_key_change_it(reader):
    reader.press("view.invert", Qt.Key.Key_J)
    assert reader.told == [{"view.invert": "J"}]
    assert reader.cell("view.invert").text() == "J"


def test_modifiers_several_keys_and_return_are_recorded(reader):
    control = Qt.KeyboardModifier.ControlModifier
    reader.press("view.cine", (Qt.Key.Key_J, control), Qt.Key.Key_F8)
    assert reader.cell("view.cine").text() == "Ctrl+J, F8"
    reader.press("lesion.accept", (Qt.Key.Key_Return, Qt.KeyboardModifier.AltModifier))
    assert reader.cell("lesion.accept").text() == "Alt+Return"


def test_a_key_that_means_something_else_is_refused_in_one_sentence(reader):
    reader.press("view.invert", Qt.Key.Key_H)
    assert reader.told == []
    assert reader.cell("view.invert").text() == "I"
    assert reader.dialog.state.text().count(".") == 1
    assert "Flip horizontally" in reader.dialog.state.text()


def test_escape_leaves_everything_as_it_was(reader):
    reader.press("view.invert", Qt.Key.Key_Escape)
    assert reader.told == []
    assert reader.dialog.isVisible()
    assert reader.cell("view.invert").text() == "I"


def test_usual_keys_come_back_and_even_that_can_be_undone(reader):
    reader.press("view.invert", Qt.Key.Key_J)
    reader.dialog.usual.click()
    assert reader.told[-1] == {}
    assert reader.cell("view.invert").text() == "I"
    reader.dialog.undo.click()
    assert reader.told[-1] == {"view.invert": "J"}
    reader.dialog.undo.click()
    assert reader.told[-1] == {}
    assert not reader.dialog.undo.isEnabled()


def test_keys_travel_in_a_file(reader, qtbot, tmp_path):
    reader.press("view.invert", Qt.Key.Key_J)
    reader.dialog.export_to(tmp_path / "keys.json")
    assert "keys.json" in reader.dialog.state.text()
    other = Reader(KeysDialog(COMMANDS), qtbot)
    qtbot.addWidget(other.dialog)
    other.dialog.import_from(tmp_path / "keys.json")
    assert other.told == [{"view.invert": "J"}]


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00", b"[]"])
def test_a_file_of_something_else_changes_nothing(reader, tmp_path, content):
    (tmp_path / "other.json").write_bytes(content)
    reader.dialog.import_from(tmp_path / "other.json")
    reader.dialog.import_from(tmp_path / "gone.json")
    assert reader.told == []
    assert reader.dialog.state.property("role") == "warning"


def test_mouse_and_reading_come_first(reader):
    table = reader.dialog.table
    places = [table.item(n, 2).text() for n in range(table.rowCount())]
    assert all(place.startswith("Mouse") for place in places[: len(MOUSE)])
    modes = ["Reading" in place for place in places[len(MOUSE) :]]
    assert modes == sorted(modes, reverse=True)
    editing = ["Editing" in place for place in places[len(MOUSE) :]]
    assert editing == sorted(editing)


def test_the_mouse_can_be_searched_and_not_changed(reader, qtbot):
    qtbot.keyClicks(reader.dialog.search, "wheel brush")
    assert reader.dialog.shown_titles() == ["Size of the brush"]
    reader.dialog.search.clear()
    table = reader.dialog.table
    place = table.visualItemRect(table.item(0, 0)).center()
    QTest.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    QTest.mouseDClick(table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert reader.dialog.findChild(QKeySequenceEdit) is None
