"""The tree of masks and labels: one row each, with an eye, a colour and a lock to click."""

from __future__ import annotations

from collections.abc import Sequence

from PySide6.QtCore import QPoint, QSignalBlocker, QSize, Qt, Signal
from PySide6.QtGui import QIcon, QKeyEvent
from PySide6.QtWidgets import QAbstractItemView, QHeaderView, QTreeWidget, QTreeWidgetItem

from app.windows.icons import icon, swatch
from app.windows.theme import DARK
from imaging.segmentation import AUTOMATIC, MANUAL, SEMIAUTOMATIC, Segment, Segmentation
from viewer.state.display import DisplayState

NAME, MADE, EYE, COLOUR, LOCK = range(5)
_MASK, _LABEL = Qt.ItemDataRole.UserRole, Qt.ItemDataRole.UserRole + 1
_MADE = {
    AUTOMATIC: ("AI", "Made by a model"),
    SEMIAUTOMATIC: ("AI, edited", "Made by a model, checked or corrected by hand"),
    MANUAL: ("hand", "Made by hand"),
}
_TIPS = ("Name", "How it was made", "Visible", "Colour", "Locked: the brush leaves it alone")


class SegmentTree(QTreeWidget):
    """Rows are updated in place, so that an open name editor survives a change elsewhere.

    Signals
    -------
    label_chosen(mask_id, number)
        A label became the current row: the brush shall paint it.
    eye_clicked(mask_id, number), lock_clicked(...), colour_clicked(...)
        ``number`` is 0 on the row of a mask.
    renamed(mask_id, number, text)
        A name was typed.
    menu_wanted(mask_id, number)
        The row of a label was clicked with the right button.
    """

    label_chosen = Signal(str, int)
    eye_clicked = Signal(str, int)
    lock_clicked = Signal(str, int)
    colour_clicked = Signal(str, int)
    renamed = Signal(str, int, str)
    menu_wanted = Signal(str, int)

    def __init__(self) -> None:
        super().__init__()
        self.setColumnCount(5)
        self.setHeaderLabels(["Mask / label", "Made", "", "", ""])
        self.setTextElideMode(Qt.TextElideMode.ElideMiddle)  # many names begin alike
        self.setRootIsDecorated(False)
        self.setIndentation(12)
        self.setUniformRowHeights(True)
        self.setIconSize(QSize(16, 16))
        self.setMinimumHeight(96)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.customContextMenuRequested.connect(self._menu)
        header = self.header()
        header.setStretchLastSection(False)
        header.setMinimumSectionSize(24)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        header.setSectionResizeMode(MADE, QHeaderView.ResizeMode.ResizeToContents)
        for narrow in (EYE, COLOUR, LOCK):
            header.setSectionResizeMode(narrow, QHeaderView.ResizeMode.Fixed)
            header.resizeSection(narrow, 28)
        for number, tip in enumerate(_TIPS):
            self.headerItem().setToolTip(number, tip)
        self.itemClicked.connect(self._clicked)
        self.itemChanged.connect(self._changed)
        self.currentItemChanged.connect(self._current_changed)

    def show_masks(self, masks: Sequence[Segmentation], display: DisplayState) -> None:
        """Show these masks; the row of the brush's label becomes the current one."""
        wanted = [(m.id, s) for m in masks for s in (0, *(x.number for x in m.segments))]
        with QSignalBlocker(self):
            if wanted != [_key(item) for item in self._items()]:
                self._rebuild(masks)
            rows = {_key(item): item for item in self._items()}
            for mask in masks:
                _show_mask(rows[mask.id, 0], mask, display)
                for segment in mask.segments:
                    _show_segment(rows[mask.id, segment.number], mask, segment, display)
            target = rows.get((display.brush.segmentation_id, display.brush.label))
            if target is not None and self._follows(target):
                self.setCurrentItem(target)

    def current(self) -> tuple[str, int]:
        """Mask id and label of the chosen row; ``("", 0)`` where there is none, 0 for a mask."""
        item = self.currentItem()
        return _key(item) if item is not None else ("", 0)

    def rename_current(self) -> None:
        """Open the name editor of the chosen row."""
        item = self.currentItem()
        if item is not None:
            self.editItem(item, NAME)

    def edit(self, index, *trigger_and_event):  # type: ignore[override]
        """Only names can be typed."""
        if trigger_and_event and index.column() != NAME:
            return False
        return super().edit(index, *trigger_and_event)

    def keyPressEvent(self, event: QKeyEvent) -> None:
        """Space works like a click on the eye of the current row."""
        if event.key() == Qt.Key.Key_Space and self.currentItem() is not None:
            self.eye_clicked.emit(*self.current())
            return
        super().keyPressEvent(event)

    def _follows(self, target: QTreeWidgetItem) -> bool:
        """True unless the user has chosen the mask's own row."""
        item = self.currentItem()
        return item is None or item.data(NAME, _LABEL) != 0 or item is not target.parent()

    def _items(self) -> list[QTreeWidgetItem]:
        items = []
        for number in range(self.topLevelItemCount()):
            top = self.topLevelItem(number)
            assert top is not None
            items += [top, *(top.child(n) for n in range(top.childCount()))]
        return items

    def _rebuild(self, masks: Sequence[Segmentation]) -> None:
        chosen = self.current()
        self.clear()
        for mask in masks:
            top = _row(mask.id, 0)
            self.addTopLevelItem(top)
            for segment in mask.segments:
                top.addChild(_row(mask.id, segment.number))
            top.setExpanded(True)
        rows = self._items()
        labels = [item for item in rows if item.data(NAME, _LABEL)]
        same = [item for item in rows if _key(item) == chosen]
        for item in (same or labels or rows)[:1]:
            self.setCurrentItem(item)

    def _clicked(self, item: QTreeWidgetItem, column: int) -> None:
        mask_id, number = _key(item)
        if column == EYE:
            self.eye_clicked.emit(mask_id, number)
        elif column == COLOUR and number:
            self.colour_clicked.emit(mask_id, number)
        elif column == LOCK and number:
            self.lock_clicked.emit(mask_id, number)

    def _menu(self, spot: QPoint) -> None:
        item = self.itemAt(spot) or self.currentItem()
        if item is not None and item.data(NAME, _LABEL):
            self.setCurrentItem(item)
            self.menu_wanted.emit(*_key(item))

    def _changed(self, item: QTreeWidgetItem, column: int) -> None:
        if column == NAME:
            self.renamed.emit(*_key(item), item.text(NAME))

    def _current_changed(self, item: QTreeWidgetItem | None, _before) -> None:
        if item is not None and item.data(NAME, _LABEL):
            self.label_chosen.emit(*_key(item))


def _row(mask_id: str, number: int) -> QTreeWidgetItem:
    item = QTreeWidgetItem()
    item.setData(NAME, _MASK, mask_id)
    item.setData(NAME, _LABEL, number)
    item.setFlags(item.flags() | Qt.ItemFlag.ItemIsEditable)
    return item


def _key(item: QTreeWidgetItem) -> tuple[str, int]:
    return item.data(NAME, _MASK), item.data(NAME, _LABEL)


def _show_mask(item: QTreeWidgetItem, mask: Segmentation, display: DisplayState) -> None:
    font = item.font(NAME)
    font.setBold(True)
    item.setFont(NAME, font)
    item.setText(NAME, mask.name)
    item.setText(MADE, "draft" if mask.draft else "")
    item.setToolTip(NAME, f"{mask.name}\n{mask.provenance.sentence}")
    shown = display.overlay(mask.id).visible
    _show_eye(item, shown, "this mask")


def _show_segment(
    item: QTreeWidgetItem, mask: Segmentation, segment: Segment, display: DisplayState
) -> None:
    overlay, brush = display.overlay(mask.id), display.brush
    painting = (brush.segmentation_id, brush.label) == (mask.id, segment.number)
    item.setText(NAME, segment.name)
    item.setIcon(NAME, icon("brush", DARK.accent) if painting else QIcon())
    target = "The brush paints this label" if painting else "Click: paint this label"
    side = f", {segment.modifier.meaning.lower()}" if segment.modifier else ""
    means = f"Means: {segment.type.meaning}{side} (right click to change)"
    item.setToolTip(NAME, f"{segment.number}: {segment.name}\n{means}\n{target}")
    made, how = _made(mask, segment)
    item.setText(MADE, made)
    item.setToolTip(MADE, how)
    _show_eye(item, segment.number not in overlay.hidden_segments, "this label")
    item.setIcon(COLOUR, swatch(segment.colour))
    item.setToolTip(COLOUR, "Change the colour")
    item.setIcon(
        LOCK, icon("lock", DARK.warning) if segment.locked else icon("lock-open", DARK.dim)
    )
    item.setToolTip(LOCK, "Locked: click to unlock" if segment.locked else "Click to lock")


def _made(mask: Segmentation, segment: Segment) -> tuple[str, str]:
    """How a label was made, short and as a sentence."""
    if segment.algorithm_type == SEMIAUTOMATIC and segment.unchanged:
        if mask.proposes(segment):
            return _MADE[AUTOMATIC]
        return "AI, accepted", "Made by a model, accepted by hand without a change"
    return _MADE.get(segment.algorithm_type, ("unknown", "Nothing says how it was made"))


def _show_eye(item: QTreeWidgetItem, shown: bool, what: str) -> None:
    item.setIcon(EYE, icon("eye") if shown else icon("eye-off", DARK.dim))
    item.setToolTip(EYE, f"Hide {what}" if shown else f"Show {what}")
