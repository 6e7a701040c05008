"""The answer about the study above the findings: sentences, and numbers that lead to lesions."""

from __future__ import annotations

from PySide6.QtCore import Qt, Signal
from PySide6.QtWidgets import QFrame, QGridLayout, QLabel, QPushButton, QToolButton, QWidget

from app.study_answer import GUESS, AnswerLine, PlaceRow, StudyAnswer
from app.windows.controls import button, column, keyboard_stays, row, scrolling, sentence
from app.windows.icons import icon
from app.windows.theme import SMALL_GAP, set_role

SHARE, LEAST = 0.3, 76  #: of the height of the panel, and px: the list needs the rest
ACTIONS = {
    GUESS: ("Compare", "Compare the image with the guess of normal"),
}
WHY_WORDS = ("Why?", "Show the evidence (Grad-CAM) over the image")


class AnswerCard(QFrame):
    """Unfolds under one line; hidden while there is nothing to say.

    Signals
    -------
    lesions_wanted(numbers)
        A place was clicked: go to these lesions, one after the other.
    action_wanted(action, item)
        A button of a sentence was pressed.
    unfolded(on)
        The card was opened or closed: its content is worth the work, or not.
    """

    lesions_wanted = Signal(tuple)
    action_wanted = Signal(str, str)
    unfolded = Signal(bool)

    def __init__(self) -> None:
        super().__init__()
        set_role(self, "card")
        self.title = QToolButton()
        self.title.setText("Answer for the study")
        self.title.setCheckable(True)
        self.title.setChecked(True)
        self.title.setToolTip("What the masks and maps of this study add up to")
        self.title.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        set_role(self.title, "link")
        keyboard_stays(self.title)
        self.title.toggled.connect(self._unfold)
        self.places: dict[str, QToolButton] = {}
        self.buttons: dict[str, QPushButton] = {}
        self._inner = QWidget()
        self._list = column(self._inner, margin=0, gap=2)
        self.area = scrolling(self._inner)
        layout = column(self, margin=SMALL_GAP, gap=2)
        layout.addWidget(self.title)
        layout.addWidget(self.area)
        self._answer = StudyAnswer()
        self._show()

    @property
    def open(self) -> bool:
        """True while its content is seen."""
        return self.title.isChecked()

    def show_answer(self, answer: StudyAnswer) -> None:
        """Show another answer."""
        if answer != self._answer:
            self._answer = answer
            self._fill()
        self._show()

    def text(self) -> str:
        """Everything the card says."""
        labels = self._inner.findChildren(QLabel)
        return "\n".join(x.text() for x in labels if not x.isHidden())

    def _unfold(self, on: bool) -> None:
        self._show()
        self.unfolded.emit(on)

    def _show(self) -> None:
        self.title.setIcon(icon("up" if self.open else "down"))
        self.setVisible(not self._answer.empty)
        self.area.setVisible(self.open)
        self._fit()

    def _fit(self) -> None:
        """As high as its content, up to a limit beyond which it scrolls."""
        wide = max(160, self.area.viewport().width())
        wanted = self._list.heightForWidth(wide) if self._list.hasHeightForWidth() else 0
        parent = self.parentWidget()
        highest = max(LEAST, round(SHARE * (parent.height() if parent is not None else 0)))
        self.area.setFixedHeight(min(highest, max(wanted, self._list.minimumSize().height())))

    def follow_height(self) -> None:
        """The panel around it is higher or lower now."""
        self._fit()

    def resizeEvent(self, event) -> None:
        """Lines wrap anew."""
        super().resizeEvent(event)
        self._fit()

    # --- filling -----------------------------------------------------------------------------
    def _fill(self) -> None:
        while (old := self._list.takeAt(0)) is not None:
            widget = old.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        self.places, self.buttons = {}, {}
        lines = list(self._answer.lines)
        for line in lines[:1]:
            self._list.addWidget(self._line(line))
        if self._answer.places:
            self._list.addWidget(self._rows(self._answer.places))
        for line in lines[1:]:
            self._list.addWidget(self._line(line))
        if self._answer.basis:
            self._list.addWidget(sentence(self._answer.basis))

    def _line(self, line: AnswerLine) -> QWidget:
        label = sentence(line.text, line.role)
        label.setToolTip(line.source)
        if not line.action:
            return label
        words, tip = ACTIONS.get(line.action, WHY_WORDS)
        more = button(words, tip)
        more.clicked.connect(lambda: self.action_wanted.emit(line.action, line.item))
        self.buttons[line.action] = more
        both = QWidget()
        inside = row(label, more)
        inside.setStretch(0, 1)
        inside.setAlignment(more, Qt.AlignmentFlag.AlignTop)
        both.setLayout(inside)
        return both

    def _rows(self, places: tuple[PlaceRow, ...]) -> QWidget:
        inner = QWidget()
        grid = QGridLayout(inner)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(2 * SMALL_GAP)
        grid.setVerticalSpacing(0)
        grid.setColumnStretch(0, 1)
        for n, place in enumerate(places):
            name, volume = QLabel(place.name), QLabel(f"{place.volume_ml:.2f} ml")
            set_role(name, "dim" if not place.lesions else "text")
            set_role(volume, "dim")
            volume.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            for column_number, part in enumerate((name, self._number(place), volume)):
                grid.addWidget(part, n, column_number)
        return inner

    def _number(self, place: PlaceRow) -> QToolButton:
        made = QToolButton()
        made.setText(str(len(place.lesions)))
        made.setMinimumWidth(36)
        set_role(made, "link")
        keyboard_stays(made)
        numbers = ", ".join(str(n) for n in place.lesions)
        made.setAccessibleName(f"{place.name}: {len(place.lesions)} lesions")
        made.setEnabled(bool(place.lesions))
        made.setToolTip(
            f"Lesion {numbers}: each click goes to the next one"
            if place.lesions
            else f"No lesion is {place.name.casefold()}"
        )
        made.clicked.connect(lambda: self.lesions_wanted.emit(place.lesions))
        self.places[place.name] = made
        return made
