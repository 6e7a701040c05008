"""The labels of a mask as rows with a tick, their state and the code they go out with."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtGui import QColor, QShowEvent
from PySide6.QtWidgets import (
    QButtonGroup,
    QHeaderView,
    QRadioButton,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from app.export_reasons import accepted_labels, code_words, is_generic
from app.windows.controls import allow, column, row
from app.windows.icons import swatch
from app.windows.theme import DARK, GAP, SMALL_GAP
from imaging.segmentation import Segmentation

_NUMBER = Qt.ItemDataRole.UserRole
_NAME, _STATE, _CODE = range(3)
_WIDEST = 230  #: px, of a name, so that state and code have room
_BESIDE = 72  #: px, for tick, colour and margins
NOBODY = "No lesion of this mask is accepted yet: accept them in the list first"


class LabelChooser(QWidget):
    """Which labels of a mask are written: all, the accepted ones, or those that are ticked.

    Signals
    -------
    changed()
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._mask: Segmentation | None = None
        self.all_labels = QRadioButton("All labels")
        self.accepted_only = QRadioButton("Accepted only")
        self.chosen_only = QRadioButton("Ticked ones")
        self._which = QButtonGroup(self)
        for one in (self.all_labels, self.accepted_only, self.chosen_only):
            self._which.addButton(one)
            one.toggled.connect(self._rule_changed)
        self.list = QTreeWidget()
        self.list.setAccessibleName("Labels")
        self.list.setColumnCount(3)
        self.list.setHeaderHidden(True)
        self.list.setRootIsDecorated(False)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        header = self.list.header()
        header.setStretchLastSection(True)
        header.setSectionResizeMode(_NAME, QHeaderView.ResizeMode.Interactive)
        header.setSectionResizeMode(_STATE, QHeaderView.ResizeMode.ResizeToContents)
        self.list.itemChanged.connect(self._ticked)
        self.list.setMinimumHeight(64)
        layout = column(self, margin=0, gap=SMALL_GAP)
        layout.addLayout(row(self.all_labels, self.accepted_only, self.chosen_only, 1, gap=2 * GAP))
        layout.addWidget(self.list, 1)

    def showEvent(self, event: QShowEvent) -> None:
        """Heights of the rows are right only once the style is known."""
        super().showEvent(event)
        self.list.doItemsLayout()

    @property
    def numbers(self) -> tuple[int, ...]:
        """The labels that are ticked."""
        on = Qt.CheckState.Checked
        return tuple(
            item.data(0, _NUMBER) for item in self._items() if item.checkState(_NAME) == on
        )

    @property
    def prefers_accepted(self) -> bool:
        """Whether drafts shall be left out where there is something else."""
        return not self.all_labels.isChecked()

    def show_mask(self, mask: Segmentation | None, *, accepted_only: bool) -> None:
        """List the labels of a mask."""
        self._mask = mask
        accepted = accepted_labels(mask) if mask else ()
        reason = "" if accepted else NOBODY
        with QSignalBlocker(self.list), QSignalBlocker(self):
            self.list.clear()
            for segment in mask.segments if mask else ():
                finished = "opened" if mask and mask.opened else "accepted"
                state = finished if segment.number in accepted else "draft"
                item = QTreeWidgetItem([segment.name, state, code_words(segment)])
                item.setData(0, _NUMBER, segment.number)
                item.setIcon(_NAME, swatch(segment.colour))
                item.setToolTip(_NAME, segment.name)
                item.setForeground(_STATE, QColor(DARK.dim))
                item.setForeground(_CODE, QColor(DARK.warning if is_generic(segment) else DARK.dim))
                item.setToolTip(_CODE, _code_tip(segment.name, is_generic(segment)))
                item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable
                              | Qt.ItemFlag.ItemIsSelectable)  # fmt: skip
                item.setCheckState(_NAME, Qt.CheckState.Checked)
                self.list.addTopLevelItem(item)
            none = "" if mask and mask.segments else "There is no label"
            names = [segment.name for segment in mask.segments] if mask else []
            wide = max(map(self.list.fontMetrics().horizontalAdvance, names), default=0)
            self.list.header().resizeSection(_NAME, min(wide + _BESIDE, _WIDEST))
            allow(self.all_labels, "Drafts too; their files say that nobody has checked them", none)
            opened = mask is not None and mask.opened
            self.accepted_only.setText("Opened or accepted" if opened else "Accepted only")
            what = "Finished work of its maker, opened from a file, or taken over by a person"
            tip = what if opened else "Only what a person has taken over"
            allow(self.accepted_only, tip, none or reason)
            allow(self.chosen_only, "The labels that are ticked below", none)
            allow(self.list, "", none)
            first = (
                self.accepted_only if accepted_only and not (none or reason) else self.all_labels
            )
            first.setChecked(True)
        self._apply_rule()

    def _items(self) -> list[QTreeWidgetItem]:
        items = [self.list.topLevelItem(n) for n in range(self.list.topLevelItemCount())]
        return [item for item in items if item is not None]

    def _rule_changed(self, on: bool) -> None:
        if on:
            self._apply_rule()
            self.changed.emit()

    def _apply_rule(self) -> None:
        if self._mask is None or self.chosen_only.isChecked():
            return
        accepted = accepted_labels(self._mask)
        with QSignalBlocker(self.list):
            for item in self._items():
                on = self.all_labels.isChecked() or item.data(0, _NUMBER) in accepted
                item.setCheckState(_NAME, Qt.CheckState.Checked if on else Qt.CheckState.Unchecked)

    def _ticked(self, _item: QTreeWidgetItem, _column: int) -> None:
        with QSignalBlocker(self.chosen_only):
            self.chosen_only.setChecked(True)
        self.changed.emit()


def _code_tip(name: str, generic: bool) -> str:
    if generic:
        return f"No code fits the name “{name}”: it is written as a plain lesion"
    return "What the label means, in codes that other programs read"
