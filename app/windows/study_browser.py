"""Patients, studies, series with pictures and objects, filling while headers are being read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import QPoint, Qt, Signal
from PySide6.QtGui import QImage
from PySide6.QtWidgets import QLabel, QMenu, QProgressBar, QTreeWidgetItem, QWidget

from app.told_sequences import NOT_SURE, WHY
from app.windows.controls import column, sentence
from app.windows.names_menu import names_menu
from app.windows.not_read import NotRead
from app.windows.series_delegate import (
    CURRENT_ROLE,
    OBJECT_ROLE,
    PICTURE_ROLE,
    SERIES_ROLE,
    object_row_size,
    row_size,
)
from app.windows.series_text import object_tooltip, patient_text, study_text, tooltip_text
from app.windows.series_tree import SeriesTree
from app.windows.theme import SMALL_GAP, set_role
from app.workspace import Workspace
from imaging.dicom.header.charsets import names_in_doubt
from imaging.series import SEQUENCES

if TYPE_CHECKING:
    from imaging.series import FoundObject, Series


class StudyBrowser(QWidget):
    """The list on the left of the window.

    Signals
    -------
    series_activated(key)
        The series shall be shown.
    object_activated(key)
        The mask, map or report shall be opened.
    mask_wanted(key)
        The series shall be opened as a mask over the images shown.
    sequence_told(key, name)
        The user says which sequence a series is; ``"?"``: not sure, empty: guess again.
    names_told(script)
        The user says in which script names are written where files do not say it.
    """

    series_activated = Signal(str)
    object_activated = Signal(str)
    mask_wanted = Signal(str)
    sequence_told = Signal(str, str)
    names_told = Signal(str)

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._groups: dict[tuple[str, ...], QTreeWidgetItem] = {}
        self._series: dict[str, QTreeWidgetItem] = {}
        self._objects: dict[str, QTreeWidgetItem] = {}
        self._pictures: dict[str, QImage] = {}
        self._current = ""
        self._names_as = ""
        self.progress = QLabel()
        set_role(self.progress, "dim")
        self.bar = QProgressBar()
        self.bar.setRange(0, 0)
        self.bar.setTextVisible(False)
        self.tree = SeriesTree()
        self.tree.chosen.connect(self._chosen)
        self.tree.object_chosen.connect(self.object_activated)
        self.tree.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        self.tree.customContextMenuRequested.connect(self._show_menu)
        self.empty = sentence("No study is open. Drop a folder, a file or a zip into the window.")
        self.empty.setAlignment(Qt.AlignmentFlag.AlignTop)
        self.not_read = NotRead()
        layout = column(self, margin=SMALL_GAP, gap=SMALL_GAP)
        for part in (self.progress, self.bar, self.tree, self.empty, self.not_read):
            layout.addWidget(part)
        layout.setStretch(2, 4)
        layout.setStretch(3, 1)
        self.setMinimumWidth(180)
        self.set_progress("")
        self._show_parts()

    def add_series(self, series: Series) -> None:
        """Show a series, or what is new about one that has grown."""
        item = self._series.get(series.key)
        if item is None:
            item = QTreeWidgetItem()
            item.setSizeHint(0, row_size(self.tree.fontMetrics()))
            self._series[series.key] = item
            study = self._study_item(series)
            study.insertChild(_first_object(study), item)
        known = item.data(0, SERIES_ROLE)
        if known is not None and _same_text(known, series):
            return
        item.setData(0, SERIES_ROLE, series)
        item.setToolTip(0, tooltip_text(series))
        item.setData(0, Qt.ItemDataRole.AccessibleTextRole, tooltip_text(series))
        item.setData(0, CURRENT_ROLE, series.key == self._current)
        if series.key in self._pictures:
            item.setData(0, PICTURE_ROLE, self._pictures[series.key])
        self._show_parts()

    def add_object(self, found: FoundObject) -> None:
        """Show a mask, map or report under its study, after the series."""
        if found.key in self._objects:
            return
        item = QTreeWidgetItem()
        item.setSizeHint(0, object_row_size(self.tree.fontMetrics()))
        item.setData(0, OBJECT_ROLE, found)
        self._objects[found.key] = item
        self._study_item(found).addChild(item)
        self.set_object_open(found.key, False)
        self._show_parts()

    def set_object_open(self, key: str, shown: bool) -> None:
        """Mark an object whose mask or map is in the case."""
        item = self._objects.get(key)
        if item is not None:
            words = object_tooltip(item.data(0, OBJECT_ROLE), shown)
            item.setData(0, CURRENT_ROLE, shown)
            item.setToolTip(0, words)
            item.setData(0, Qt.ItemDataRole.AccessibleTextRole, words)

    def set_thumbnail(self, key: str, picture: np.ndarray) -> None:
        """Give a series its picture.

        Parameters
        ----------
        picture : ndarray, shape (rows, columns)
            uint8 grey values.
        """
        grey = np.ascontiguousarray(picture, np.uint8)
        rows, columns = grey.shape
        image = QImage(grey.data, columns, rows, columns, QImage.Format.Format_Grayscale8).copy()
        self._pictures[key] = image
        item = self._series.get(key)
        if item is not None:
            item.setData(0, PICTURE_ROLE, image)

    def set_progress(self, words: str) -> None:
        """Say that files are being looked at; empty when that is over."""
        self.progress.setText(words)
        self.progress.setVisible(bool(words))
        self.bar.setVisible(bool(words))

    def add_problem(self, path: str, reason: str, damaged: bool = False) -> None:
        """List a file that could not be used; damaged ones stand first."""
        self.not_read.add(path, reason, damaged)

    def set_current(self, key: str) -> None:
        """Mark the series that the active view shows, and bring it into sight; empty for none."""
        for other in (self._current, key):
            item = self._series.get(other)
            if item is not None:
                item.setData(0, CURRENT_ROLE, other == key)
        self._current = key
        if key in self._series:
            self.tree.scrollToItem(self._series[key])

    def set_names_as(self, script: str) -> None:
        """Say in which script names are read where files do not say it; empty where none chose."""
        self._names_as = script

    def list_again(self, series: Iterable[Series]) -> None:
        """Show other words: all rows anew, without objects; pictures and unread files stay."""
        self._clear_rows()
        for one in series:
            self.add_series(one)
        self._show_parts()

    def _clear_rows(self) -> None:
        self.tree.clear()
        self._groups.clear()
        self._series.clear()
        self._objects.clear()

    def clear(self) -> None:
        """Take everything away, because the study was closed."""
        self._clear_rows()
        self._pictures.clear()
        self._current = ""
        self.not_read.clear()
        self.set_progress("")
        self._show_parts()

    @property
    def _patients(self) -> list[QTreeWidgetItem]:
        return [item for key, item in self._groups.items() if len(key) == 2]

    @property
    def keys(self) -> list[str]:
        """Keys of all series, in the order they were found."""
        return list(self._series)

    @property
    def object_keys(self) -> list[str]:
        """Keys of all masks, maps and reports, in the order they were found."""
        return list(self._objects)

    def _chosen(self, key: str) -> None:
        self.series_activated.emit(key)

    def _show_menu(self, place: QPoint) -> None:
        """The right-click menu of a row."""
        item = self.tree.itemAt(place)
        menu = self.menu_of(item) if item is not None else None
        if menu is not None:
            menu.aboutToHide.connect(menu.deleteLater)
            menu.popup(self.tree.viewport().mapToGlobal(place))

    def menu_of(self, item: QTreeWidgetItem) -> QMenu | None:
        """What can be done with a row; None where nothing can."""
        series: Series | None = item.data(0, SERIES_ROLE)
        found: FoundObject | None = item.data(0, OBJECT_ROLE)
        menu = QMenu(self)
        if found is not None:
            words = "Read report" if found.kind == "report" else "Open over its images"
            menu.addAction(words, lambda: self.object_activated.emit(found.key))
        elif series is not None and series.viewable:
            menu.addAction("Show", lambda: self.series_activated.emit(series.key))
            if may_be_mask(series):
                menu.addAction("Open as mask", lambda: self.mask_wanted.emit(series.key))
        if series is not None and series.kind != "made":
            menu.addMenu(self._sequence_menu(menu, series))
        if item in self._patients and (doubtful := _doubtful_name(item)):
            menu.addMenu(names_menu(menu, doubtful, self._names_as, self.names_told.emit))
        return menu if menu.actions() else None

    def _sequence_menu(self, parent: QMenu, series: Series) -> QMenu:
        """What the series is, the present opinion checked."""
        menu = QMenu("This is …", parent)
        told = series.guess.confidence == 1.0 and series.guess.why == WHY
        rows = [(name, name, name == series.sequence) for name in SEQUENCES]
        rows.append(("Not sure", NOT_SURE, told and not series.sequence))
        for words, name, checked in rows:
            if name == NOT_SURE:
                menu.addSeparator()
            action = menu.addAction(
                words, lambda name=name: self.sequence_told.emit(series.key, name)
            )
            action.setCheckable(True)
            action.setChecked(checked)
        menu.addSeparator()
        again = menu.addAction("Guess again", lambda: self.sequence_told.emit(series.key, ""))
        again.setEnabled(told)
        return menu

    def _study_item(self, series: Series | FoundObject) -> QTreeWidgetItem:
        source = series.source
        person = (source.patient.id, source.patient.name)
        patient = self._group(self.tree.invisibleRootItem(), person, patient_text(series))
        study = source.folder or source.study_uid or source.study_date
        return self._group(patient, (*person, study), study_text(series))

    def _group(self, parent: QTreeWidgetItem, key: tuple[str, ...], words: str) -> QTreeWidgetItem:
        item = self._groups.get(key)
        if item is None:
            item = QTreeWidgetItem(parent, [words])
            item.setFlags(Qt.ItemFlag.ItemIsEnabled)
            item.setToolTip(0, words)
            font = item.font(0)
            font.setBold(len(key) == 2)
            item.setFont(0, font)
            item.setExpanded(True)
            self._groups[key] = item
        return item

    def _show_parts(self) -> None:
        filled = bool(self._series or self._objects)
        self.tree.setVisible(filled)
        self.empty.setVisible(not filled)


def _doubtful_name(patient: QTreeWidgetItem) -> str:
    """The name of a patient whose files do not say how it is written; empty where they do."""
    for study in _rows(patient):
        for row in _rows(study):
            series: Series | None = row.data(0, SERIES_ROLE)
            if series is not None and names_in_doubt(series.problems):
                return series.source.patient.name
    return ""


def _rows(parent: QTreeWidgetItem) -> list[QTreeWidgetItem]:
    rows = (parent.child(n) for n in range(parent.childCount()))
    return [row for row in rows if row is not None]


def _first_object(study: QTreeWidgetItem) -> int:
    """Where the next series goes: before the objects."""
    rows = _rows(study)
    objects = (n for n, row in enumerate(rows) if row.data(0, OBJECT_ROLE) is not None)
    return next(objects, len(rows))


def may_be_mask(series: Series) -> bool:
    """True for one placed image whose numbers may be labels; opening it shows whether they are.

    Files often keep whole numbers as real ones, DICOM does not.
    """
    code = series.frames[0].encoding if series.frames else None
    if code is None or series.repeats or series.geometry is None or series.kind == "made":
        return False
    return series.kind != "dicom" or not (code.real or code.samples > 1 or code.lookup)


def _same_text(one: Series, other: Series) -> bool:
    """True where nothing new would be shown; a scan reports every series once more at its end."""
    return (tooltip_text(one), one.viewable) == (tooltip_text(other), other.viewable)
