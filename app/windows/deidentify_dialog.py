"""De-identify a folder: what stays, what will happen, what a cut-off face looks like, and go."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PySide6.QtCore import Qt, Signal
from PySide6.QtGui import QImage, QPixmap
from PySide6.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QProgressBar,
    QSizePolicy,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from app.controllers.deidentify import DeidentifyWish, Rehearsal
from app.windows.controls import allow, button, caption, column, row, rule, sentence
from app.windows.theme import GAP, SMALL_GAP, set_role

if TYPE_CHECKING:
    from imaging.deidentify.choice import Choice
    from imaging.deidentify.faces import Face
    from imaging.deidentify.report import Report

CAPTION, PICTURE = 52, 130
DATES = (
    ("remove", "Remove dates", "Study and series dates become empty or a dummy date"),
    ("shift", "Move dates", "All dates of a patient move back by the same secret number of days, "
     "so the time between two visits stays; times of day stay exact"),
    ("keep", "Keep dates", "Study dates stay as they are; birth dates go in any case"),
)  # fmt: skip
#: Name of the option, words, explanation.
KEEPS = (
    ("keep_descriptions", "Known words of descriptions", "Of “t2 flair sag Mr Doe” stays “t2 flair "
     "sag”: only words of a list of sequences, anatomy and directions"),
    ("keep_private_safe", "Harmless vendor values", "b-values, true scaling and the layout of "
     "Siemens mosaics; without them mosaics are refused"),
    ("keep_characteristics", "Sex, age, size and weight", "Ages above 89 become 90"),
    ("keep_device", "Scanner identity", "Station name and serial number"),
    ("keep_institution", "Hospital", "Name and address of the institution"),
    ("keep_uids", "UIDs", "Otherwise each UID is replaced, the same one always by the same"),
)  # fmt: skip
PIXELS = (
    ("pixels_checked", "I have looked: no text in the pixels", "Lets images through that may have "
     "a name burned into the picture (captures, photographs, computed images)"),
    ("deface", "Cut off faces", "Nose, lips and chin of head images become black, in all series of "
     "a study in the same place; a face can otherwise be rebuilt from the skin"),
)  # fmt: skip
#: What is done to an attribute, for people.
ACTIONS = {
    "removed": "removed", "emptied": "emptied", "dummy": "replaced by a dummy",
    "new UID": "replaced by a new UID", "cleaned": "only known words stay",
    "shifted": "moved", "kept": "kept", "pseudonym": "replaced by a pseudonym",
}  # fmt: skip


class DeidentifyDialog(QDialog):
    """A window beside the main one; reading goes on.

    Signals
    -------
    rehearsal_wanted(DeidentifyWish), start_wanted(DeidentifyWish), cancel_wanted()
        What the user asks for.
    """

    rehearsal_wanted = Signal(object)
    start_wanted = Signal(object)
    cancel_wanted = Signal()

    def __init__(self, parent: QWidget | None = None, source: str = "") -> None:
        super().__init__(parent)
        self.setWindowTitle("De-identify a folder")
        self.setModal(False)
        self.resize(980, 640)
        self._busy = False
        self._rehearsed: DeidentifyWish | None = None
        self._faces: dict[str, Face] = {}
        self._members: dict[str, Choice] = {}
        self._faceless: set[str] = set()
        self.source, self.target = QLineEdit(source), QLineEdit()
        self.key, self.names = QLineEdit(), QLineEdit()
        self.key.setPlaceholderText("Your own key")
        self.key.setToolTip("Key file: the same key gives the same pseudonyms and UIDs")
        self.names.setPlaceholderText("None: ANON and eight letters")
        self.names.setToolTip("Table (CSV) of Patient ID and pseudonym, one patient a line")
        self.source.setPlaceholderText("Folder, file or zip archive with names in it")
        self.target.setPlaceholderText("A new or empty folder for the clean copies")
        self.dates = QComboBox()
        for value, words, tip in DATES:
            self.dates.addItem(words, value)
            self.dates.setItemData(self.dates.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
        self.boxes: dict[str, QCheckBox] = {}
        self.table = _table()
        self.files = sentence("", "text")
        self.face_choice = QComboBox()
        self.face_choice.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.face_choice.currentIndexChanged.connect(self._show_face)
        self.before, self.after = _picture(), _picture()
        self.why_no_face = sentence()
        self.no_face = QCheckBox("No face here, I have looked")
        self.no_face.setToolTip("Skull-stripped heads, other parts of the body: nothing is cut off")
        self.no_face.clicked.connect(self._say_no_face)
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.progress.setTextVisible(False)
        self.progress.setFixedHeight(6)
        self.state = sentence()
        self.look = button("Show what will happen", "Goes through the folder and writes nothing")
        self.start = button("De-identify", "", "export", "primary")
        self.stop = button("Stop", "Stop after the files that are just being written", "cancel")
        self.close_button = button("Close", "Close this window; nothing is lost")
        self._arrange()
        self._connect()
        self._refresh()

    # --- arrangement -------------------------------------------------------------------------
    def _arrange(self) -> None:
        layout = column(self, margin=2 * GAP)
        for words, line, ask in (
            ("From", self.source, self._ask_source),
            ("To", self.target, self._ask_target),
        ):
            browse = button("Choose …", "Choose the folder", "folder")
            browse.clicked.connect(ask)
            line_row = row(caption(words, CAPTION), line, browse)
            line_row.setStretch(1, 1)
            layout.addLayout(line_row)
        layout.addLayout(self._keys())
        layout.addWidget(rule())
        middle = QHBoxLayout()
        middle.setSpacing(3 * GAP)
        middle.addLayout(self._options())
        middle.addLayout(self._outcome(), 1)
        layout.addLayout(middle, 1)
        layout.addWidget(rule())
        layout.addWidget(self.progress)
        buttons = row(self.state, self.stop, self.look, self.start, self.close_button, gap=GAP)
        buttons.setStretch(0, 1)
        layout.addLayout(buttons)

    def _keys(self) -> QHBoxLayout:
        parts: list[QWidget | int] = []
        for words, line, ask in (
            ("Key", self.key, self._ask_key),
            ("Pseudonyms", self.names, self._ask_names),
        ):
            browse = button("Choose …", line.toolTip(), "folder")
            browse.clicked.connect(ask)
            parts += [caption(words, CAPTION if not parts else 84), line, browse]
        keys = row(*parts)
        keys.setStretch(1, 1)
        keys.setStretch(4, 1)
        return keys

    def _options(self) -> QVBoxLayout:
        inside = column(margin=0, gap=SMALL_GAP)
        inside.addWidget(_title("Always gone"))
        gone = sentence(
            "Names, patient numbers, birth dates, addresses, vendor attributes and free texts. "
            "Every copy is searched for the original values before it gets its name."
        )
        gone.setFixedWidth(300)
        inside.addWidget(gone)
        inside.addSpacing(GAP)
        inside.addWidget(_title("Dates"))
        inside.addWidget(self.dates)
        for title, options in (("May stay", KEEPS), ("Pictures", PIXELS)):
            inside.addSpacing(GAP)
            inside.addWidget(_title(title))
            for name, words, tip in options:
                box = QCheckBox(words)
                box.setToolTip(tip)
                box.toggled.connect(self._changed)
                self.boxes[name] = box
                inside.addWidget(box)
        inside.addStretch(1)
        return inside

    def _outcome(self) -> QVBoxLayout:
        inside = column(margin=0, gap=SMALL_GAP)
        self.what = _title("What will happen")
        inside.addWidget(self.what)
        inside.addWidget(self.files)
        inside.addWidget(self.table, 1)
        self.face_box = QWidget()
        faces = column(self.face_box, margin=0, gap=SMALL_GAP)
        head = row(_title("Faces"), self.face_choice, gap=GAP)
        head.setStretch(1, 1)
        faces.addLayout(head)
        faces.addWidget(self.why_no_face)
        pictures = QHBoxLayout()
        pictures.setContentsMargins(0, 0, 0, 0)
        for words, label in (("Before", self.before), ("After", self.after)):
            one = column(margin=0, gap=SMALL_GAP)
            words_label = QLabel(words)
            set_role(words_label, "dim")
            one.addWidget(words_label)
            one.addWidget(label)
            pictures.addLayout(one, 1)
        self.pictures = QWidget()
        self.pictures.setLayout(pictures)
        faces.addWidget(self.pictures)
        faces.addWidget(self.no_face)
        self.face_box.hide()
        inside.addWidget(self.face_box)
        return inside

    def _connect(self) -> None:
        for line in (self.source, self.target, self.key, self.names):
            line.textChanged.connect(self._changed)
        self.dates.currentIndexChanged.connect(self._changed)
        self.look.clicked.connect(lambda: self._go(self.rehearsal_wanted))
        self.start.clicked.connect(lambda: self._go(self.start_wanted))
        self.stop.clicked.connect(self.cancel_wanted)
        self.close_button.clicked.connect(self.close)

    # --- what is chosen ----------------------------------------------------------------------
    def wish(self) -> DeidentifyWish:
        """What is chosen now."""
        from imaging.deidentify.options import Options

        known = {field.name for field in fields(Options)}
        ticked = {name: box.isChecked() for name, box in self.boxes.items() if name in known}
        return DeidentifyWish(
            Path(self.source.text().strip()).expanduser(),
            Path(self.target.text().strip()).expanduser(),
            Options(dates=self.dates.currentData(), **ticked),
            _path(self.key),
            _path(self.names),
            self._without_face(),
        )

    def _without_face(self) -> Choice:
        from imaging.deidentify.choice import Choice

        said = [self._members[group] for group in self._faceless if group in self._members]
        return Choice(
            frozenset(uid for one in said for uid in one.series),
            names=frozenset(name for one in said for name in one.names),
        )

    def _why_not_look(self) -> str:
        if not self.source.text().strip():
            return "Choose the folder with the originals"
        if not Path(self.source.text().strip()).expanduser().exists():
            return "There is no such folder or file"
        if (names := _path(self.names)) is not None and not names.is_file():
            return "There is no such list of pseudonyms"
        return ""

    def _why_not_start(self) -> str:
        if reason := self._why_not_look():
            return reason
        if not self.target.text().strip():
            return "Choose a folder for the clean copies"
        from imaging.deidentify.folder import check_folders
        from imaging.errors import ImagingError

        wish = self.wish()
        try:
            check_folders(wish.source, wish.target)
        except ImagingError as error:
            return error.what
        except OSError:
            return "The target folder cannot be read"
        if wish.options.deface and not self._looked_at(wish):
            return "Look at the cut first: show what will happen"
        return ""

    def _looked_at(self, wish: DeidentifyWish) -> bool:
        """True where the last rehearsal was of the same source and options."""
        seen = self._rehearsed
        return seen is not None and replace(seen, target=wish.target, no_face=wish.no_face) == wish

    def _changed(self, *_values: object) -> None:
        if not self._busy:
            self._say("")
        self._refresh()

    def _refresh(self) -> None:
        look, start = self._why_not_look(), self._why_not_start()
        busy = "This goes on in the background; stop it first" if self._busy else ""
        allow(self.look, "Goes through the folder and writes nothing", busy or look)
        allow(self.start, "Writes clean copies; the originals stay as they are", busy or start)
        self.stop.setVisible(self._busy)
        self.progress.setVisible(self._busy)
        if not self._busy and not self.state.text():
            self._say(start)
        fresh = self._rehearsed is not None and self._looked_at(self.wish())
        self.table.setEnabled(fresh)
        if self._rehearsed is not None and not fresh:
            self.files.setText("The choice has changed: show again what will happen.")
        elif self._rehearsed is None:
            self.files.setText("“Show what will happen” goes through the folder first.")

    def _go(self, signal) -> None:
        wish = self.wish()
        if signal is self.rehearsal_wanted:
            wish = replace(wish, no_face=None)  # all heads are shown again, ticks stay
        self._busy = True
        self._say("Looking at the files …")
        self.progress.setValue(0)
        self._refresh()
        signal.emit(wish)

    # --- what comes back ---------------------------------------------------------------------
    def show_progress(self, words: str, share: float) -> None:
        """How far it is."""
        if self._busy:
            self._say(words)
            self.progress.setValue(round(1000 * share))

    def show_rehearsal(self, rehearsal: Rehearsal) -> None:
        """What would happen."""
        self._busy, self._rehearsed = False, rehearsal.wish
        report = rehearsal.report
        self._fill_table(report)
        faces = rehearsal.faces
        self._faces = dict(faces.found) if faces is not None else {}
        self._members = dict(faces.members) if faces is not None else {}
        self._faceless &= set(self._faces)
        self._fill_faces(rehearsal.wish.options.deface)
        self._say("")
        self._refresh()
        self.files.setText(_files(report))

    def show_end(self, report: Report) -> None:
        """How a run ended."""
        self._busy = False
        role = "warning" if report.refused or report.stopped else "good"
        self._fill_table(report)
        self._refresh()
        self.files.setText(_files(report))
        self._say(report.sentence(), role)

    def show_refusal(self, words: str) -> None:
        """Why nothing was done."""
        self._busy = False
        self._refresh()
        self._say(words, "warning")

    def _say(self, words: str, role: str = "dim") -> None:
        self.state.setText(words)
        set_role(self.state, role)

    def _fill_table(self, report: Report) -> None:
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        self.what.setText("What will happen" if report.dry else "What was done")
        times = "Times, estimated" if report.dry else "Times"
        self.table.setHorizontalHeaderLabels(["Attribute", self.what.text(), times])
        if (head := self.table.horizontalHeaderItem(2)) is not None:
            tip = "Counted in one file of each series, times the files of the series"
            head.setToolTip(tip if report.dry else "")
        rows = sorted(report.actions.items(), key=lambda one: (_order(one[0][1]), one[0][0]))
        self.table.setRowCount(len(rows))
        for n, ((title, action), count) in enumerate(rows):
            for column_number, text in enumerate((title, ACTIONS.get(action, action), str(count))):
                item = QTableWidgetItem(text)
                if column_number == 2:
                    item.setTextAlignment(right)
                self.table.setItem(n, column_number, item)

    # --- faces -------------------------------------------------------------------------------
    def _fill_faces(self, wanted: bool) -> None:
        self.face_box.setVisible(wanted)
        self.face_choice.clear()
        for n, (group, face) in enumerate(self._faces.items(), start=1):
            name = face.series or f"Head {n}"
            words = name if face.plane is not None else f"{n}: no face found"
            self.face_choice.addItem(words, group)
        self._show_face(self.face_choice.currentIndex())

    def _show_face(self, index: int) -> None:
        group = self.face_choice.itemData(index) if index >= 0 else None
        face = self._faces.get(group) if group is not None else None
        faceless = group in self._faceless
        self.no_face.setVisible(face is not None)
        self.no_face.setChecked(faceless)
        found = face is not None and face.plane is not None
        for label, pixels in (
            (self.before, face.before if found and face else None),
            (self.after, face.after if found and face else None),
        ):
            label.setPixmap(
                _pixmap(pixels, self._picture_width()) if pixels is not None else QPixmap()
            )
        self.pictures.setVisible(found)
        if faceless:
            words = "You say that there is no face here, so nothing is cut off."
        elif found:
            words = "Left the middle slice, right the skin. Look whether nose and chin are gone."
        elif face is not None:
            words = f"{face.why.rstrip('.')}. These images will be refused."
        else:
            words = "There is no image here that could show a face."
        self.why_no_face.setText(words)

    def _picture_width(self) -> int:
        return (self.table.width() - 2 * GAP) // 2

    def _say_no_face(self, ticked: bool) -> None:
        group = self.face_choice.currentData()
        (self._faceless.add if ticked else self._faceless.discard)(group)
        self._show_face(self.face_choice.currentIndex())

    # --- asking ------------------------------------------------------------------------------
    def _ask_source(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder to de-identify", self.source.text())
        if folder:
            self.source.setText(folder)

    def _ask_key(self) -> None:
        path, _kind = QFileDialog.getOpenFileName(self, "Key file", self.key.text(), "*.json")
        if path:
            self.key.setText(path)

    def _ask_names(self) -> None:
        path, _kind = QFileDialog.getOpenFileName(
            self, "List of pseudonyms", self.names.text(), "*.csv"
        )
        if path:
            self.names.setText(path)

    def _ask_target(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Clean copies into", self.target.text())
        if folder:
            self.target.setText(folder)


def _files(report: Report) -> str:
    """How many files go, and why others do not."""
    words = [f"{report.written} files " + ("will be written." if report.dry else "were written.")]
    if report.already:
        words.append(f"{report.already} were there already.")
    reasons = Counter(why.partition(". ")[0] for _, _, why in report.refused)
    words += [f"{n} refused: {why}." for why, n in reasons.most_common(4)]
    if len(reasons) > 4:
        words.append("Others for other reasons.")
    if report.others:
        words.append(f"{len(report.others)} other files stay behind.")
    return "\n".join([" ".join(words), *report.warnings[:2]])


def _path(line: QLineEdit) -> Path | None:
    text = line.text().strip()
    return Path(text).expanduser() if text else None


def _order(action: str) -> int:
    order = ("pseudonym", "kept", "cleaned", "shifted", "dummy", "new UID", "emptied", "removed")
    return order.index(action) if action in order else len(order)


def _title(words: str) -> QLabel:
    label = QLabel(words)
    set_role(label, "title")
    return label


def _table() -> QTableWidget:
    table = QTableWidget(0, 3)
    table.setHorizontalHeaderLabels(["Attribute", "What will happen", "Times"])
    table.verticalHeader().hide()
    table.setShowGrid(False)
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.verticalHeader().setDefaultSectionSize(22)
    header = table.horizontalHeader()
    header.setDefaultAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
    header.setSectionResizeMode(1, QHeaderView.ResizeMode.ResizeToContents)
    header.setSectionResizeMode(2, QHeaderView.ResizeMode.ResizeToContents)
    return table


def _picture() -> QLabel:
    """A place of one size, so that a picture that comes moves no button."""
    label = QLabel()
    label.setAlignment(Qt.AlignmentFlag.AlignLeft | Qt.AlignmentFlag.AlignVCenter)
    label.setMinimumSize(120, PICTURE)
    label.setMaximumHeight(PICTURE)
    label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
    return label


def _pixmap(grey: np.ndarray, width: int) -> QPixmap:
    image = QImage(
        grey.tobytes(), grey.shape[1], grey.shape[0], grey.shape[1], QImage.Format.Format_Grayscale8
    )
    smooth = Qt.TransformationMode.SmoothTransformation
    keep = Qt.AspectRatioMode.KeepAspectRatio
    return QPixmap.fromImage(image.copy()).scaled(max(120, width), PICTURE, keep, smooth)
