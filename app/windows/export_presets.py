"""The list of export presets: the usual ones, then the user's own, which can be renamed."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QKeyEvent, QShowEvent
from PySide6.QtWidgets import QAbstractItemView, QLabel, QListWidget, QListWidgetItem, QWidget

from app.export_choice import BUILT_IN, MAX_NAME, MAX_PRESETS, Preset
from app.windows.controls import allow, column, flat_button, row
from app.windows.theme import SMALL_GAP, set_role

_PRESET = Qt.ItemDataRole.UserRole
OWN_NAME = "My preset"
_CHANGED = "* "  #: in front, where a long name does not hide it
_USUAL_STAYS = "This one comes with the program: save it under a name of your own to change it"


class _List(QListWidget):
    """Delete removes, F2 renames."""

    delete_pressed = Signal()

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Delete is for the preset, everything else for the list."""
        if event.key() == Qt.Key.Key_Delete:
            self.delete_pressed.emit()
        else:
            super().keyPressEvent(event)


class PresetList(QWidget):
    """Choose, save, rename and delete presets.

    Signals
    -------
    chosen(preset)
        The user wants these kinds and options.
    changed(presets)
        The user's own presets are now these.
    save_wanted(name)
        The dialog shall answer with :meth:`keep`: under this name, or a new one where empty.
    """

    chosen = Signal(object)
    changed = Signal(object)
    save_wanted = Signal(str)

    def __init__(self, own: Sequence[Preset]) -> None:
        super().__init__()
        self.list = _List()
        self.list.setEditTriggers(QAbstractItemView.EditTrigger.EditKeyPressed)
        self.list.setAccessibleName("Presets")
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.new = flat_button("add", "Save what is ticked as a new preset")
        self.update_ = flat_button("save", "Save the changes in this preset")
        self.rename = flat_button("rename", "Rename this preset (F2)")
        self.remove = flat_button("bin", "Delete this preset (Del)")
        self._differs = False
        heading = QLabel("Presets")
        set_role(heading, "title")
        layout = column(self, margin=0, gap=SMALL_GAP)
        layout.addWidget(heading)
        layout.addWidget(self.list, 1)
        layout.addLayout(row(self.new, self.update_, self.rename, self.remove, 1))
        for preset in BUILT_IN:
            self._add(preset, own=False)
        for preset in own:
            self._add(preset, own=True)
        self.list.setCurrentRow(-1)
        self.list.currentItemChanged.connect(self._picked)
        self.list.itemClicked.connect(self._picked)
        self.list.itemChanged.connect(self._renamed)
        self.list.delete_pressed.connect(self._delete)
        self.new.clicked.connect(lambda: self.save_wanted.emit(""))
        self.update_.clicked.connect(lambda: self.save_wanted.emit(self.current_name))
        self.rename.clicked.connect(self._rename)
        self.remove.clicked.connect(self._delete)
        self._show_buttons()

    def showEvent(self, event: QShowEvent) -> None:
        """Heights of the rows are right only once the style is known."""
        super().showEvent(event)
        self.list.doItemsLayout()

    @property
    def own(self) -> tuple[Preset, ...]:
        """The user's presets in the order of the list."""
        return tuple(self._preset(item) for item in self._items() if self._is_own(item))

    @property
    def names(self) -> list[str]:
        """All names as they are shown."""
        return [self._preset(item).name for item in self._items()]

    @property
    def current_name(self) -> str:
        """The preset that is chosen; empty where none is."""
        item = self.list.currentItem()
        return self._preset(item).name if item else ""

    def select(self, name: str) -> bool:
        """Mark a preset without choosing it; False where there is none of that name."""
        found = [item for item in self._items() if self._preset(item).name == name]
        with QSignalBlocker(self.list):
            self.list.setCurrentItem(found[0] if found else None)  # type: ignore[arg-type]
        self._show_buttons()
        return bool(found)

    def current(self) -> Preset | None:
        """The preset that is marked, as it was saved."""
        item = self.list.currentItem()
        return self._preset(item) if item else None

    def set_differs(self, differs: bool) -> None:
        """Whether the dialog shows something else than the marked preset."""
        self._differs = differs
        with QSignalBlocker(self.list):
            for item in self._items():
                name = self._preset(item).name
                mark = differs and item is self.list.currentItem()
                if item.text() != (shown := f"{_CHANGED}{name}" if mark else name):
                    item.setText(shown)
        self._show_buttons()

    def keep(self, preset: Preset) -> None:
        """Put a preset into the list, in place of the one of the same name."""
        for item in self._items():
            if self._is_own(item) and self._preset(item).name == preset.name:
                item.setData(_PRESET, preset)
                break
        else:
            self._add(preset, own=True)
        self.select(preset.name)
        self.set_differs(False)
        self.changed.emit(self.own)

    def keep_new(self, preset: Preset) -> None:
        """Add a preset under a free name and let the user type a better one."""
        self.keep(Preset(self._free(preset.name or OWN_NAME), preset.kinds, preset.options))
        self._rename()

    def _free(self, name: str) -> str:
        taken = {known.casefold() for known in self.names}
        stem, number = name[: MAX_NAME - 4], 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem} {number}"
        return name

    def _add(self, preset: Preset, *, own: bool) -> None:
        item = QListWidgetItem(preset.name)
        item.setData(_PRESET, preset)
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        item.setFlags(flags | Qt.ItemFlag.ItemIsEditable if own else flags)
        item.setToolTip("" if own else _USUAL_STAYS)
        with QSignalBlocker(self.list):
            self.list.addItem(item)

    def _items(self) -> list[QListWidgetItem]:
        items = [self.list.item(n) for n in range(self.list.count())]
        return [item for item in items if item is not None]

    def _preset(self, item: QListWidgetItem) -> Preset:
        return item.data(_PRESET)

    def _is_own(self, item: QListWidgetItem) -> bool:
        return bool(item.flags() & Qt.ItemFlag.ItemIsEditable)

    def _picked(self, item: QListWidgetItem | None, *_before) -> None:
        if item is not None:
            self.chosen.emit(self._preset(item))

    def _rename(self) -> None:
        item = self.list.currentItem()
        if item is not None and self._is_own(item):
            with QSignalBlocker(self.list):
                item.setText(self._preset(item).name)
            self.list.editItem(item)

    def _renamed(self, item: QListWidgetItem) -> None:
        preset = self._preset(item)
        words = " ".join(item.text().removeprefix(_CHANGED).split())[:MAX_NAME]
        others = {one.casefold() for one in self.names} - {preset.name.casefold()}
        kept = words if words and words.casefold() not in others else preset.name
        with QSignalBlocker(self.list):
            item.setData(_PRESET, Preset(kept, preset.kinds, preset.options))
            item.setText(kept)
        self.set_differs(self._differs)
        if kept != preset.name:
            self.changed.emit(self.own)

    def _delete(self) -> None:
        item = self.list.currentItem()
        if item is None or not self._is_own(item):
            return
        with QSignalBlocker(self.list):
            self.list.takeItem(self.list.row(item))
            self.list.setCurrentRow(-1)
        self._show_buttons()
        self.changed.emit(self.own)

    def _show_buttons(self) -> None:
        item = self.list.currentItem()
        none = "Choose a preset first" if item is None else ""
        usual = none or ("" if item is not None and self._is_own(item) else _USUAL_STAYS)
        full = (
            f"There are {MAX_PRESETS} presets: delete one" if len(self.own) >= MAX_PRESETS else ""
        )
        same = "" if self._differs else "Nothing is changed"
        allow(self.new, "Save what is ticked as a new preset", full)
        allow(self.update_, "Save the changes in this preset", usual or same)
        allow(self.rename, "Rename this preset (F2)", usual)
        allow(self.remove, "Delete this preset (Del)", usual)
