"""A structured report to read: what was measured as rows, the whole of it as text to copy."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QGuiApplication
from PySide6.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QHeaderView,
    QLabel,
    QPlainTextEdit,
    QSplitter,
    QTreeWidget,
    QTreeWidgetItem,
    QWidget,
)

from app.windows.banner import readable_date, readable_name
from app.windows.controls import button, column, row, sentence
from app.windows.theme import set_role

if TYPE_CHECKING:
    from imaging.dicom.objects.read_report import MeasurementGroup, ReportText
    from imaging.volume import Patient

_GROUP = Qt.ItemDataRole.UserRole


class ReportView(QDialog):
    """Stays open beside the images; nothing in it can be changed.

    Parameters
    ----------
    patients : collection of Patient
        Whose images are open; the report of anybody else is named in a warning.

    Signals
    -------
    group_chosen(group)
        A row was clicked, or Enter pressed on it: show what it is about.
    """

    group_chosen = Signal(object)

    def __init__(
        self,
        report: ReportText,
        title: str,
        parent: QWidget | None = None,
        patients: Collection[Patient] = (),
    ) -> None:
        super().__init__(parent)
        self.report = report
        self.setWindowTitle(title)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setModal(False)
        self.resize(620, 640)
        headline = QLabel()
        headline.setTextFormat(Qt.TextFormat.PlainText)  # the words of a file are only words
        headline.setText(report.title)
        headline.setWordWrap(True)
        set_role(headline, "headline")
        words, role = patient_text(report.patient, patients)
        self.patient = sentence(words, role)
        self.patient.setTextFormat(Qt.TextFormat.PlainText)
        self.about = sentence(about_text(report))
        self.about.setTextFormat(Qt.TextFormat.PlainText)
        self.groups = self._tree()
        self.text = QPlainTextEdit(report.text)
        self.text.setReadOnly(True)
        self.text.setToolTip("The whole report, to read and to copy")
        self.copy = button("Copy all", "Copy the whole report as text", "copy")
        self.copy.clicked.connect(lambda: QGuiApplication.clipboard().setText(report.text))
        self.close_button = button("Close", "Close the report (Esc)")
        self.close_button.clicked.connect(self.close)
        parts = QSplitter(Qt.Orientation.Vertical)
        parts.addWidget(self.groups)
        parts.addWidget(self.text)
        rows = sum(1 + len(group.rows) for group in report.groups)
        parts.setSizes([min(60 + 24 * rows, 320), 320])
        parts.setChildrenCollapsible(False)
        self.groups.setVisible(bool(report.groups))
        layout = column(self, margin=16)
        layout.addWidget(self.patient)
        layout.addWidget(headline)
        layout.addWidget(self.about)
        layout.addWidget(parts, 1)
        layout.addLayout(row(self.copy, 1, self.close_button))

    def _tree(self) -> QTreeWidget:
        tree = QTreeWidget()
        tree.setHeaderLabels(["Measured", "Value"])
        tree.setRootIsDecorated(True)
        tree.setUniformRowHeights(True)
        tree.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        tree.setToolTip("Click a row to go to the lesion, where its mask is open")
        for group in self.report.groups:
            top = QTreeWidgetItem(tree, [group_title(group), group_text(group)])
            font = top.font(0)
            font.setBold(True)
            top.setFont(0, font)
            top.setData(0, _GROUP, group)
            for one in group.rows:
                value = f"{one.value} {one.unit}".strip()
                line = QTreeWidgetItem(top, [one.name, value])
                line.setData(0, _GROUP, group)
                if one.method:
                    line.setToolTip(0, one.method)
            top.setExpanded(True)
        header = tree.header()
        header.setStretchLastSection(True)
        header.setSectionResizeMode(0, QHeaderView.ResizeMode.Interactive)
        header.resizeSection(0, 270)
        tree.itemClicked.connect(lambda item, _column: self._choose(item))
        tree.itemActivated.connect(lambda item, _column: self._choose(item))
        return tree

    def _choose(self, item: QTreeWidgetItem) -> None:
        self.group_chosen.emit(item.data(0, _GROUP))


def patient_text(patient: Patient, shown: Collection[Patient]) -> tuple[str, str]:
    """Whom a report is about, and its look: a warning where that is not who is shown."""
    words = readable_name(patient.name) or "No name"
    words = f"{words} · ID {patient.id}" if patient.id else words
    if all(_same(patient, other) for other in shown):
        return words, "title"
    return f"{words}: not the patient whose images are open", "warning"


def _same(one: Patient, other: Patient) -> bool:
    if one.id or other.id:
        return one.id.strip() == other.id.strip()
    return readable_name(one.name).casefold() == readable_name(other.name).casefold()


def about_text(report: ReportText) -> str:
    """State, people and day in one line."""
    day = readable_date(report.created[:10].replace("-", "")) if report.created else ""
    by = f"by {' and '.join(report.observers)}" if report.observers else ""
    clock = report.created[11:16]
    made = f"{day}, {clock}" if day and clock else day
    return " · ".join(part for part in (report.state, by, made) if part)


def group_title(group: MeasurementGroup) -> str:
    """What people call it."""
    return group.title or group.finding or "Measurements"


def group_text(group: MeasurementGroup) -> str:
    """What and where it is, and what measured it."""
    finding = group.finding if group.finding != group_title(group) else ""
    return " · ".join(part for part in (finding, group.site, group.algorithm) if part)
