"""The lesion list of one mask, with its threshold and what can be done to a lesion."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QItemSelectionModel, QModelIndex, QSignalBlocker, QSize, Qt, Signal
from PySide6.QtCore import QSortFilterProxyModel as SortModel
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import QComboBox, QHeaderView, QLabel, QSizePolicy, QTableView, QWidget

from app.windows.answer_card import AnswerCard
from app.windows.controls import (
    ValueSlider,
    allow,
    button,
    column,
    field,
    flat_button,
    row,
    sentence,
)
from app.windows.findings_model import COLUMNS, LESION_ROLE, SORT_ROLE, LesionTable, PlaceDelegate
from app.windows.listening import REHEARSAL, listen
from app.windows.theme import GAP, SMALL_GAP, set_role
from app.windows.tools_panel import middle_cut
from app.workspace import Workspace
from imaging.segmentation import Segmentation

if TYPE_CHECKING:
    from imaging.analysis.lesions import Lesion

#: Height of the list in px below which the answer takes its place: its head and three lesions.
LEAST_LIST = 110
#: The widest text of each column that does not stretch, and what stands beside it in px.
_WIDEST = {
    "#": ("888", 22), "ml": ("888.8", 8), "mm": ("888.8", 8), "p": ("0.88", 8), "✓": ("✓", 8),
}  # fmt: skip


def totals(lesions: Sequence[Lesion], accepted: int, opened: bool = False) -> str:
    """One line about all lesions: ``"7 lesions · 4.31 ml · 2 accepted"``."""
    count = f"{len(lesions)} lesion{'' if len(lesions) == 1 else 's'}"
    volume = sum(lesion.volume_ml for lesion in lesions)
    state = "opened from a file" if opened else f"{accepted} accepted"
    return f"{count} · {volume:.2f} ml · {state}"


def list_name(mask: Segmentation) -> str:
    """The name of a mask, with the word draft where it is one."""
    known = "draft" in mask.name.casefold()
    return f"{mask.name} (draft)" if mask.draft and not known else mask.name


class FindingsPanel(QWidget):
    """Shows lesions it is given, and says what the user wants done.

    Signals
    -------
    mask_chosen(segmentation_id)
        Another mask shall be listed; answer with :meth:`set_lesions`.
    jump(lesion)
        A lesion was chosen here: the views shall go there.
    threshold_changed(segmentation_id, value, final)
        ``final`` is False while the slider moves (at most once a frame).
    accept_requested(lesion), delete_requested(lesion)
        A button was pressed for the chosen lesion.
    """

    mask_chosen = Signal(str)
    jump = Signal(object)
    threshold_changed = Signal(str, float, bool)
    accept_requested = Signal(object)
    delete_requested = Signal(object)

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._listed = ""
        self._waiting: set[str] = set()  # new masks by hand, not listed before their first voxel
        self._measuring = False
        self._jumped = False
        self._covered = False  # the answer is read in the place of the list
        self._wanted_list = False
        self._last_row = 0
        self.mask_choice = QComboBox()
        self.mask_choice.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.mask_choice.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.mask_choice.setMinimumContentsLength(12)
        self.mask_choice.activated.connect(self._mask_picked)
        self.threshold = ValueSlider(0.01, 0.99, 0.01)
        self.threshold.changing.connect(lambda value: self._tell_threshold(value, False))
        self.threshold.settled.connect(lambda value: self._tell_threshold(value, True))
        self.answer = AnswerCard()
        self.table = LesionTable()
        self.sorted = SortModel(self)
        self.sorted.setSourceModel(self.table)
        self.sorted.setSortRole(SORT_ROLE)
        self.view = self._table_view()
        self.empty = sentence()
        self.place = sentence()
        self.totals = QLabel()
        set_role(self.totals, "title")
        self.previous = flat_button("previous", "Previous lesion (P)")
        self.next = flat_button("next", "Next lesion (N)")
        self.accept = button("Accept", "", "accept")
        self.delete = button("Delete", "", "bin")
        self.previous.clicked.connect(lambda: self.step(-1))
        self.next.clicked.connect(lambda: self.step(1))
        self.accept.clicked.connect(lambda: self._ask(self.accept_requested))
        self.delete.clicked.connect(lambda: self._ask(self.delete_requested))
        self._arrange()
        self.answer.resized.connect(self._share_room)
        listen(self, workspace.case_changed, self._on_case)
        listen(self, workspace.selection_changed, self._on_selection)
        self._show_masks()

    def _arrange(self) -> None:
        self.buttons = QWidget()
        self.buttons.setLayout(row(self.previous, self.next, 1, self.accept, self.delete))
        layout = column(self)
        layout.setContentsMargins(SMALL_GAP, GAP, SMALL_GAP, GAP)  # the table needs the width
        layout.addWidget(self.mask_choice)
        layout.addLayout(field("Threshold", self.threshold, 72))
        layout.addWidget(self.answer)
        layout.addWidget(self.view, 1)
        layout.addWidget(self.empty)
        layout.addStretch()
        layout.addWidget(self.place)
        layout.addWidget(self.totals)
        layout.addWidget(self.buttons)

    def _table_view(self) -> QTableView:
        view = QTableView()
        view.setModel(self.sorted)
        view.setSelectionBehavior(QTableView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QTableView.SelectionMode.SingleSelection)
        view.setSortingEnabled(True)
        view.sortByColumn(0, Qt.SortOrder.AscendingOrder)
        view.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)  # what is left
        view.setShowGrid(False)
        view.setWordWrap(False)
        view.setTabKeyNavigation(False)
        view.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        view.verticalHeader().hide()
        view.verticalHeader().setDefaultSectionSize(26)
        header = view.horizontalHeader()
        header.setHighlightSections(False)
        header.setMinimumSectionSize(20)
        view.setIconSize(QSize(9, 9))
        view.ensurePolished()
        for number, one in enumerate(COLUMNS):
            if one.title in _WIDEST:
                widest, beside = _WIDEST[one.title]
                wide = view.fontMetrics().horizontalAdvance(widest) + beside
                header.setSectionResizeMode(number, QHeaderView.ResizeMode.Interactive)
                header.resizeSection(number, wide)
            else:
                header.setSectionResizeMode(number, QHeaderView.ResizeMode.Stretch)
                view.setItemDelegateForColumn(number, PlaceDelegate(view))
        view.selectionModel().currentRowChanged.connect(self._row_chosen)
        view.clicked.connect(self._row_clicked)
        return view

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Answer and list share the room anew."""
        super().resizeEvent(event)
        self._share_room()

    def _share_room(self) -> None:
        """Answer and list stand below each other where both fit; else one of them is read.

        What does not fit folds to its headline by itself; opened by hand, it takes the place of
        the list, so that nobody has to scroll in a narrow strip.
        """
        room = self.height() - self._taken_by_others()
        controls = self._below_list()
        least = LEAST_LIST if self._wanted_list else 0
        both = self.answer.wanted + least + controls <= room
        if not both and self.answer.open and not self.answer.chosen and self.isVisible():
            self.answer.title.setChecked(False)
            return
        self._covered = self.answer.open and not both and self.answer.wanted > 0
        self.answer.set_room(room if self._covered else max(1, room - least - controls))
        self._show_list()

    def _taken_by_others(self) -> int:
        """Height in px of everything but answer, list and what works on it, with the gaps."""
        layout = self.layout()
        assert layout is not None
        margins = layout.contentsMargins()
        shared = (self.answer, self.view, self.totals, self.buttons)
        items = [item for n in range(layout.count()) if (item := layout.itemAt(n)) is not None]
        others = [item for item in items if item.widget() not in shared and not item.isEmpty()]
        heights = sum(item.sizeHint().height() for item in others)
        gaps = layout.spacing() * (len(others) + 1)
        return heights + gaps + margins.top() + margins.bottom()

    def _below_list(self) -> int:
        """Height in px of what goes with the list, with the gaps."""
        layout = self.layout()
        assert layout is not None
        parts = (self.totals, self.buttons)
        return sum(part.sizeHint().height() + layout.spacing() for part in parts)

    # --- from outside ------------------------------------------------------------------------
    @property
    def segmentation_id(self) -> str:
        """Id of the mask that is listed; empty where there is none."""
        return self.mask_choice.currentData() or ""

    @property
    def lesions(self) -> list[Lesion]:
        """The lesions in the order of the screen."""
        rows = range(self.sorted.rowCount())
        return [self.sorted.index(n, 0).data(LESION_ROLE) for n in rows]

    def set_lesions(
        self, segmentation_id: str, lesions: Sequence[Lesion], accepted: Collection[int] = ()
    ) -> None:
        """Show the lesions of a mask; a late list of another mask is ignored.

        Parameters
        ----------
        accepted : collection of int
            Numbers of the lesions a person has taken over.
        """
        mask = self._mask()
        if mask is None or mask.id != segmentation_id:
            return
        self._listed, self._measuring = segmentation_id, False
        colours = {segment.number: segment.colour for segment in mask.segments}
        with QSignalBlocker(self.view.selectionModel()):
            self.table.set_lesions(lesions, accepted, colours, mask.opened)
        self._on_selection(self._workspace.selection)
        self._show_state()

    def set_measuring(self) -> None:
        """A list is being made; what is shown is that of a moment ago."""
        self._measuring = True
        self._show_state()

    def step(self, by: int) -> None:
        """Choose the next (1) or previous (-1) lesion of the list, round the ends."""
        count = self.sorted.rowCount()
        if not count:
            return
        if self.chosen is not None:
            target = self._last_row + by
        else:
            # The lesion that stood here was deleted: the next one has moved up to its row.
            target = self._last_row if by > 0 else self._last_row - 1
        self._jumped = False
        self.view.selectRow(target % count)
        self._row_clicked(self.view.currentIndex())

    def choose(self, number: int) -> None:
        """Choose the lesion of this number and go there."""
        rows = [n for n, lesion in enumerate(self.lesions) if lesion.number == number]
        if rows:
            self._jumped = False
            self.view.selectRow(rows[0])
            self._row_clicked(self.view.currentIndex())

    @property
    def chosen(self) -> Lesion | None:
        """The lesion of the chosen row."""
        rows = self.view.selectionModel().selectedRows()
        return rows[0].data(LESION_ROLE) if rows else None

    # --- the hand ----------------------------------------------------------------------------
    def _mask_picked(self, _index: int) -> None:
        self.table.set_lesions((), (), {})
        self._listed = ""
        self._show_mask()
        self.mask_chosen.emit(self.segmentation_id)

    def _row_chosen(self, index: QModelIndex, _before: QModelIndex) -> None:
        lesion = index.data(LESION_ROLE) if index.isValid() else None
        if lesion is not None:
            self._jumped, self._last_row = True, index.row()
            self._workspace.select(lesion)
            self.jump.emit(lesion)
        self._show_buttons()

    def _row_clicked(self, index: QModelIndex) -> None:
        """A click on the row that was chosen before jumps again."""
        lesion = index.data(LESION_ROLE) if index.isValid() else None
        if lesion is not None and not self._jumped:
            self._workspace.select(lesion)
            self.jump.emit(lesion)
        self._jumped = False

    def _ask(self, signal) -> None:
        if self.chosen is not None:
            signal.emit(self.chosen)

    def _tell_threshold(self, value: float, final: bool) -> None:
        if self.segmentation_id:
            self.threshold_changed.emit(self.segmentation_id, value, final)

    # --- showing -----------------------------------------------------------------------------
    def _mask(self) -> Segmentation | None:
        item = self._workspace.case.items.get(self.segmentation_id)
        return item if isinstance(item, Segmentation) else None

    def _with_findings(self) -> list[Segmentation]:
        """Masks that can hold a finding; parts of a body have volumes, not lesions."""
        return [mask for mask in self._workspace.case.kept_segmentations if not mask.anatomical]

    def _on_case(self, changes, origin) -> None:
        if origin == REHEARSAL:
            return
        masks = {mask.id: mask for mask in self._with_findings()}
        added = {c.item for c in changes if "added" in c.parts}
        self._waiting = (self._waiting | added) & masks.keys()
        filled = {i for i in self._waiting if masks[i].draft or masks[i].labels.any()}
        self._waiting -= filled
        if filled or any(change.parts & {"added", "removed", "header"} for change in changes):
            newest = [mask_id for mask_id in masks if mask_id in filled]
            self._show_masks(newest[-1] if newest else "")

    def _show_masks(self, prefer: str = "") -> None:
        before = self.segmentation_id
        with QSignalBlocker(self.mask_choice):
            self.mask_choice.clear()
            for mask in self._with_findings():
                self.mask_choice.addItem(middle_cut(list_name(mask)), mask.id)
                whole = f"{list_name(mask)}\n{mask.provenance.sentence}"
                last = self.mask_choice.count() - 1
                self.mask_choice.setItemData(last, whole, Qt.ItemDataRole.ToolTipRole)
            last = self.mask_choice.count() - 1
            at = self.mask_choice.findData(prefer or before)
            self.mask_choice.setCurrentIndex(at if at >= 0 else last)
        if self.segmentation_id != before:
            self._mask_picked(self.mask_choice.currentIndex())
        else:
            self._show_mask()

    def _show_mask(self) -> None:
        mask = self._mask()
        allow(self.mask_choice, "The mask that is listed", "" if mask else "There is no mask yet")
        reason = self._why_no_threshold(mask)
        allow(self.threshold, "Probability above which a voxel is marked", reason)
        if mask is not None and mask.threshold is not None:
            self.threshold.set_value(mask.threshold)
        self._show_state()

    def _why_no_threshold(self, mask: Segmentation | None) -> str:
        if mask is None:
            return "There is no mask yet"
        if mask.threshold is None or mask.probability_id not in self._workspace.case.items:
            return "This mask was not cut from a probability map: it has no threshold"
        return ""

    def _on_selection(self, lesion) -> None:
        """Show the row of a lesion that was chosen elsewhere; no jump comes back."""
        number = getattr(lesion, "number", None)
        selection = self.view.selectionModel()
        with QSignalBlocker(selection):
            rows = [n for n, one in enumerate(self.lesions) if one.number == number]
            if rows:
                index = self.sorted.index(rows[0], 0)
                flags = QItemSelectionModel.SelectionFlag
                selection.setCurrentIndex(index, flags.ClearAndSelect | flags.Rows)
                self.view.scrollTo(index)
                self._last_row = rows[0]
            else:
                selection.clear()
        self.view.viewport().update()
        self._show_buttons()

    def _show_state(self) -> None:
        mask, lesions = self._mask(), self.table.lesions
        accepted = sum(self.table.accepted(lesion) for lesion in lesions)
        opened = mask is not None and mask.opened
        words = totals(lesions, accepted, opened) if mask else ""
        if (
            mask is not None and self._measuring
        ):  # "0 lesions" would be wrong before the first count
            words = f"{words} · measuring …" if lesions else "Measuring …"
        self.totals.setText(words)
        if mask is None:
            self.empty.setText("No findings yet. Run a model (AI model), or paint a mask (Tools).")
        elif mask.threshold is not None:
            self.empty.setText("No voxel is above the threshold. Lower it to see weaker findings.")
        else:
            self.empty.setText("This mask is empty. Choose the brush and paint a lesion.")
        listed = bool(mask) and self._listed == mask.id and not self._measuring if mask else True
        self._wanted_list = bool(lesions) or not listed
        self.empty.setVisible(not lesions and listed)
        self._show_buttons()
        self._share_room()

    def _show_list(self) -> None:
        self.view.setVisible(self._wanted_list and not self._covered)
        for part in (self.totals, self.buttons):
            part.setVisible(not self._covered)

    def _show_buttons(self) -> None:
        lesion = self.chosen
        words = f"Lesion {lesion.number}: {lesion.place}" if lesion and lesion.place else ""
        self.place.setText(words)
        self.place.setVisible(bool(words))
        none = "" if self.table.lesions else "There is no lesion in the list"
        chosen = none or ("" if lesion else "Choose a lesion in the list first")
        already = "It is accepted already" if lesion and self.table.accepted(lesion) else ""
        mask = self._mask()
        if lesion and mask is not None and mask.opened:
            already = "The mask was opened from a file: it is the finished work of its maker"
        allow(self.previous, "Previous lesion (P)", none)
        allow(self.next, "Next lesion (N)", none)
        allow(self.accept, "Take this lesion over as checked (Enter)", chosen or already)
        allow(self.delete, "Remove this lesion from the mask, can be undone (Del)", chosen)
