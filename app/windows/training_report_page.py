"""How a training ended: is the new model better, by how much, how sure is that, take it or not."""

from __future__ import annotations

from pathlib import Path

from PySide6.QtCore import QByteArray, QRectF, Qt, QUrl, Signal
from PySide6.QtGui import QColor, QDesktopServices, QPainter, QPaintEvent
from PySide6.QtSvg import QSvgRenderer
from PySide6.QtWidgets import (
    QAbstractItemView,
    QHeaderView,
    QLabel,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from app.messages import counted
from app.training_events import Done
from app.training_report import Row, TrainingReport, read_report
from app.windows.controls import allow, button, column, row, sentence
from app.windows.theme import DARK, SMALL_GAP, set_role
from imaging.errors import BadInput

FEW_PATIENTS = 10  #: below this an interval says little
NOT_MEASURED = "–"
NEXT_TO_NOTHING = 0.1  #: a Dice below this is no draft to correct


class TrainingReportPage(QWidget):
    """Verdict, figures, picture, and what can be done with the new model.

    Signals
    -------
    install_wanted(package)
        Put the new model into the user's model folder.
    again_wanted()
        Back to the choice of cases.
    """

    install_wanted = Signal(object)
    again_wanted = Signal()

    def __init__(self) -> None:
        super().__init__()
        self._end: Done | None = None
        self._report: TrainingReport | None = None
        self.verdict = QLabel()
        self.verdict.setWordWrap(True)
        self.reason = sentence(role="text")
        self.about = sentence()
        self.table = _table()
        self.picture = _Picture()
        self.ended = sentence()
        self.install = button("Install the new model", "", "add", "primary")
        self.open = button("Open the report", "", "report")
        self.again = button("Train again", "Back to the cases and choices", "undo")
        self.install.clicked.connect(self._install)
        self.open.clicked.connect(self._open)
        self.again.clicked.connect(self.again_wanted)
        self._arrange()

    def _arrange(self) -> None:
        set_role(self.verdict, "headline")
        layout = column(self, margin=0)
        layout.addWidget(self.verdict)
        layout.addWidget(self.reason)
        layout.addWidget(self.table, 5)
        layout.addWidget(self.picture, 4)
        layout.addWidget(self.about)
        layout.addWidget(self.ended)
        buttons = row(self.again, 1, self.open, self.install, gap=SMALL_GAP)
        layout.addLayout(buttons)

    def show_end(self, end: Done) -> None:
        """Show how a training ended."""
        self._end, self._report = end, None
        problem = ""
        if end.report:
            try:
                self._report = read_report(Path(end.report))
            except BadInput as error:
                problem = str(error)
        self.verdict.setText(verdict(end, self._report))
        self.reason.setText(end.reason or end.sentence)
        self.reason.setVisible(bool(self.reason.text()))
        self.ended.setText(problem)
        self.ended.setVisible(bool(problem))
        set_role(self.ended, "warning")
        self._fill()
        self._show_buttons()

    def show_installed(self, words: str, role: str = "good") -> None:
        """Say what became of the wish to install."""
        set_role(self.ended, role)
        self.ended.setText(words)
        self.ended.setVisible(True)
        self._show_buttons("It is installed already" if role == "good" else "")

    def _fill(self) -> None:
        report = self._report
        rows = list(report.rows) if report else []
        compared = any(one.old is not None for one in rows)
        self.table.setColumnHidden(1, not compared)
        new = "New" if compared else "Mean (95 % interval)" if _bounded(report) else "Mean"
        titles = ["Figure", "Before", new]
        self.table.setHorizontalHeaderLabels(titles)
        groups = [(name, part) for name, part in (report.subgroups.items() if report else ())]
        self.table.setRowCount(len(rows) + sum(1 + len(part) for _name, part in groups))
        at = 0
        for one in rows:
            self._fill_row(at, one)
            at += 1
        for name, part in groups:
            self.table.setItem(at, 0, _cell(f"Only {name}", strong=True))
            at += 1
            for one in part:
                self._fill_row(at, one)
                at += 1
        self.table.setVisible(bool(rows))
        self.about.setText(about_words(report) if report else "")
        path = report.picture if report is not None else None
        self.picture.show_file(path)

    def _fill_row(self, at: int, one: Row) -> None:
        figures = (one.old, one.new)
        self.table.setItem(at, 0, _cell(one.words))
        for column_number, figure in enumerate(figures, start=1):
            text = figure.text if figure is not None else NOT_MEASURED
            self.table.setItem(at, column_number, _cell(text))

    def _show_buttons(self, done: str = "") -> None:
        end, report = self._end, self._report
        reason = done
        if end is None or not end.package:
            reason = reason or "No new model was made"
        elif not end.promoted:
            reason = reason or "It is not better than the old model, so it is not offered"
        allow(self.install, "Copy it into your model folder; the old model stays", reason)
        text = report.text if report else None
        allow(self.open, "The whole report, as text", "" if text else "There is no report to read")

    def _install(self) -> None:
        if self._end is not None:
            self.install_wanted.emit(Path(self._end.package))

    def _open(self) -> None:
        if self._report is not None and self._report.text is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._report.text)))


class _Picture(QWidget):
    """The figure of a report, as large as fits, in the colours of the window."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Ignored)
        self._drawing: QSvgRenderer | None = None

    def show_file(self, path: Path | None) -> None:
        """Show this figure; nothing where there is none."""
        self._drawing = QSvgRenderer(_dark(path)) if path is not None else None
        self.setVisible(self._drawing is not None and self._drawing.isValid())
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """The whole figure, at the top left."""
        if self._drawing is None or not self._drawing.isValid():
            return
        keep = Qt.AspectRatioMode.KeepAspectRatio
        size = self._drawing.defaultSize().scaled(self.size(), keep)
        room = QRectF(0, 0, size.width(), size.height())
        painter = QPainter(self)
        painter.fillRect(room, QColor(DARK.panel))  # the figure's own ground fills a part only
        self._drawing.render(painter, room)
        painter.end()


def verdict(end: Done, report: TrainingReport | None) -> str:
    """The end in one line."""
    if not end.promoted:
        return "The new model is not better: the old one stays"
    if report is not None and any(one.old for one in report.rows):
        return "The new model is better on cases held back"
    dice = report.figure("Dice") if report is not None else None
    if dice is not None and dice.value < NEXT_TO_NOTHING:
        return "The model is trained, but on cases held back it found next to nothing"
    return "The model is trained"


def about_words(report: TrainingReport) -> str:
    """What the figures rest on."""
    words = [f"Measured on {counted(report.n, 'patient')} that the network had not seen."]
    if any(warning.startswith("Measured on") for warning in report.warnings):
        words = []
    if _bounded(report):
        words.append("In brackets the 95 % interval by bootstrap over patients.")
    if not report.warnings and 0 < report.n < FEW_PATIENTS:
        words.append("So few patients say little about the next one.")
    return " ".join((*words, *report.warnings))


def _bounded(report: TrainingReport | None) -> bool:
    """Whether the figures have intervals."""
    rows = report.rows if report is not None else ()
    return any(one.new is not None and one.new.low is not None for one in rows)


def _dark(path: Path) -> QByteArray:
    """The picture of a report in the colours of the window: it is made for white paper."""
    text = path.read_text(encoding="utf-8")
    for paper, window in (("#ffffff", DARK.panel), ("#2b2f33", DARK.text)):
        text = text.replace(paper, window)
    return QByteArray(text.encode())


def _cell(text: str, strong: bool = False) -> QTableWidgetItem:
    item = QTableWidgetItem(text)
    item.setToolTip(text)
    if strong:
        font = item.font()
        font.setBold(True)
        item.setFont(font)
    return item


def _table() -> QTableWidget:
    table = QTableWidget(0, 3)
    table.verticalHeader().hide()
    table.setShowGrid(False)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.verticalHeader().setDefaultSectionSize(24)
    header = table.horizontalHeader()
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.ResizeToContents)
    for number in (1, 2):
        header.setSectionResizeMode(number, QHeaderView.ResizeMode.Stretch)
    return table
