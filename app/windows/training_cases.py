"""The cases of a training: where they lie, where its results go, and what the check found."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QColor
from PySide6.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHeaderView,
    QLineEdit,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from app.messages import counted
from app.training_events import CaseCheck, Checked
from app.windows.controls import allow, button, caption, column, row, sentence
from app.windows.theme import DARK, GAP, SMALL_GAP, set_role

CAPTION = 52
TITLES = ("Case", "Patient", "Group", "What was found")
CASE, PATIENT, GROUP, FOUND = range(4)
NOT_NAMED = "Patients are not named, so each case counts as one."
FIRST = "“Check the cases” looks at every image and mask and says which can be used."
STALE = "The cases have changed: check them again."


class TrainingCases(QWidget):
    """Two paths, and a table with one sentence per case.

    Signals
    -------
    changed()
        A path is another one.
    study_wanted(folder)
        The open study shall become a case of this folder.
    """

    changed = Signal()
    study_wanted = Signal(str)

    def __init__(self) -> None:
        super().__init__()
        self.source, self.target = QLineEdit(), QLineEdit()
        self.source.setPlaceholderText("Folder with images and their masks, or a list (CSV)")
        self.source.setToolTip(
            "A folder that “Export” filled (nnU-Net, BIDS, NIfTI), or a table with the columns "
            "image and mask, and where they are known t1, t2, patient and subgroup"
        )
        self.target.setPlaceholderText("A new or empty folder for checkpoints, log and report")
        self.add = button("Add the open study …", "", "add")
        self.add.clicked.connect(lambda: self.study_wanted.emit(self.source.text().strip()))
        self.found = sentence(FIRST)
        self.table = _table()
        self._checked: Path | None = None
        for line in (self.source, self.target):
            line.textChanged.connect(self._changed)
        layout = column(self, margin=0, gap=SMALL_GAP)
        folder = button("Folder …", "Choose a folder of cases", "folder")
        listed = button("List …", "Choose a table of cases (CSV)", "file")
        results = button("Choose …", "Choose the folder for the results", "folder")
        folder.clicked.connect(self._ask_folder)
        listed.clicked.connect(self._ask_list)
        results.clicked.connect(self._ask_target)
        for words, parts in (
            ("Cases", (self.source, folder, listed)),
            ("Results", (self.target, results)),
        ):
            line = row(caption(words, CAPTION), *parts, gap=GAP)
            line.setStretch(1, 1)
            layout.addLayout(line)
        layout.addSpacing(GAP)
        found = row(self.found, self.add, gap=GAP)
        found.setStretch(0, 1)
        layout.addLayout(found)
        layout.addWidget(self.table, 1)

    @property
    def path(self) -> Path | None:
        """Where the cases lie."""
        return _path(self.source)

    @property
    def out(self) -> Path | None:
        """Where the results go."""
        return _path(self.target)

    @property
    def fresh(self) -> bool:
        """True where the table is about the cases that are chosen now."""
        return self._checked is not None and self._checked == self.path

    def why_not_check(self) -> str:
        """Why the cases cannot be looked at, or nothing."""
        if self.path is None:
            return "Choose the cases first: a folder or a list"
        return "" if self.path.exists() else "There is no such folder or list"

    def why_not_start(self) -> str:
        """Why no training can begin with these paths, or nothing."""
        if reason := self.why_not_check():
            return reason
        if self.out is None:
            return "Choose a folder for the results"
        if self.out.is_file():
            return "The results need a folder, this is a file"
        return ""

    def show_study(self, reason: str) -> None:
        """Whether the open study can be added, or why not."""
        tip = "Export image and mask into this folder (BIDS), where patients stay apart"
        allow(self.add, tip, reason)

    def show_checked(self, checked: Checked, source: Path) -> None:
        """List what was found."""
        self._checked = source
        cases = checked.cases
        self.table.setRowCount(len(cases))
        for n, case in enumerate(sorted(cases, key=lambda case: case.ok)):
            self._fill(n, case)
        self.table.setColumnHidden(GROUP, not any(case.subgroup for case in cases))
        usual = f"{checked.usable} of {counted(len(cases), 'case')} can be used"
        words = checked.sentence or f"{usual}, from {counted(checked.patients, 'patient')}"
        named = any(case.patient not in ("", case.case) for case in cases)
        words = words.rstrip(".") + "."
        all_good = bool(cases) and checked.usable == len(cases)
        set_role(self.found, "good" if all_good else "warning")
        self.found.setText(words if named or not cases else f"{words} {NOT_NAMED}")
        self.table.setEnabled(True)

    def _fill(self, n: int, case: CaseCheck) -> None:
        patient = case.patient or case.case
        texts = (case.case, patient, case.subgroup, case.sentence or "Can be used")
        for at, text in enumerate(texts):
            item = QTableWidgetItem(text)
            item.setToolTip(text)
            if at == FOUND:
                item.setForeground(QColor(DARK.dim if case.ok else DARK.warning))
            self.table.setItem(n, at, item)

    def _changed(self, *_text: object) -> None:
        self.table.setEnabled(self.fresh)
        if not self.fresh:
            set_role(self.found, "dim")
            self.found.setText(FIRST if self._checked is None else STALE)
        self.changed.emit()

    def _ask_folder(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder of cases", self.source.text())
        if folder:
            self.source.setText(folder)

    def _ask_list(self) -> None:
        path, _kind = QFileDialog.getOpenFileName(
            self, "List of cases", self.source.text(), "Table (*.csv)"
        )
        if path:
            self.source.setText(path)

    def _ask_target(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Results into", self.target.text())
        if folder:
            self.target.setText(folder)


def _path(line: QLineEdit) -> Path | None:
    text = line.text().strip()
    return Path(text).expanduser() if text else None


def _table() -> QTableWidget:
    table = QTableWidget(0, len(TITLES))
    table.setHorizontalHeaderLabels(list(TITLES))
    patient = QTableWidgetItem(TITLES[PATIENT])
    patient.setToolTip(
        "Cases of one patient are held back together, so that nobody is learned from and judged"
    )
    table.setHorizontalHeaderItem(PATIENT, patient)
    table.verticalHeader().hide()
    table.setShowGrid(False)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.verticalHeader().setSectionResizeMode(QHeaderView.ResizeMode.ResizeToContents)
    table.setEnabled(False)
    header = table.horizontalHeader()
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    for column_number, width in ((CASE, 150), (PATIENT, 90), (GROUP, 80)):
        header.setSectionResizeMode(column_number, QHeaderView.ResizeMode.Interactive)
        header.resizeSection(column_number, width)
    header.setSectionResizeMode(FOUND, QHeaderView.ResizeMode.Stretch)
    table.setColumnHidden(GROUP, True)
    return table
