"""Keys the user chose: they hold at once, in menus too, and after a restart."""

from __future__ import annotations

from PySide6.QtCore import Qt

from app.settings import Settings, load
from app.windows.keys_dialog import KeysDialog


def test_a_changed_key_holds_at_once_and_after_a_restart(hand, demo, qapp):
    window = hand.program.window
    hand.open(demo)
    hand.key(Qt.Key.Key_Question)
    dialog = window.findChild(KeysDialog)
    dialog._edited(dialog.row_of("view.invert"), ["J"])
    dialog.close()
    hand.key(Qt.Key.Key_I)
    assert not hand.view().plan.inverted
    hand.key(Qt.Key.Key_J)
    assert hand.view().plan.inverted
    assert window._actions["view.invert"].shortcut().toString() == "J"
    hand.key(Qt.Key.Key_B)  # while editing, keys of reading rest
    hand.key(Qt.Key.Key_J)
    assert hand.view().plan.inverted
    hand.wait(lambda: load()[0].keys, 20)
    settings, problem = load()
    assert (settings.keys, problem) == ({"view.invert": "J"}, "")

    from app.first_window import first_window

    _workspace, again = first_window(qapp, settings)
    assert again._actions["view.invert"].shortcut().toString() == "J"
    again.deleteLater()


def test_settings_that_clash_lose_only_the_clash(qapp):
    from app.first_window import first_window

    chosen = {"view.invert": "H", "view.cine": "F8", "gone": "K"}
    _workspace, window = first_window(qapp, Settings(keys=chosen))
    assert window._actions["view.invert"].shortcut().toString() == "I"
    assert window._actions["view.cine"].shortcut().toString() == "F8"
    window.deleteLater()
