"""The answer about the study above the findings: sentences, and numbers that lead to lesions."""

from __future__ import annotations

from PySide6.QtCore import QEvent, QObject, QSize, Qt, Signal
from PySide6.QtGui import QResizeEvent
from PySide6.QtWidgets import (
    QFrame,
    QGridLayout,
    QLabel,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from app.study_answer import GUESS, AnswerLine, PlaceRow, StudyAnswer
from app.windows.controls import column, keyboard_stays, row, scrolling, sentence
from app.windows.icons import icon
from app.windows.theme import SMALL_GAP, set_role

TITLE = "Answer for the study"
HOW_TOLD = "How places were told"
ACTIONS = {
    GUESS: ("Compare", "Compare the image with the guess of normal"),
}
WHY_WORDS = ("Why?", "Show the evidence (Grad-CAM) over the image")


class AnswerCard(QFrame):
    """Unfolds under the number that counts; hidden while there is nothing to say.

    It is as high as its content; the panel around it says how much room there is at most.

    Signals
    -------
    lesions_wanted(numbers)
        A place was clicked: go to these lesions, one after the other.
    action_wanted(action, item)
        A button of a sentence was pressed.
    unfolded(on)
        The card was opened or closed: its content is worth the work, or not.
    resized()
        It wants more or less room than before.
    """

    lesions_wanted = Signal(tuple)
    action_wanted = Signal(str, str)
    unfolded = Signal(bool)
    resized = Signal()

    def __init__(self) -> None:
        super().__init__()
        set_role(self, "card")
        self.title = QToolButton()
        self.title.setText(TITLE)
        self.title.setCheckable(True)
        self.title.setChecked(True)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.title.setToolTip(f"{TITLE}: what its masks and maps add up to")
        self.title.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        set_role(self.title, "link")
        keyboard_stays(self.title)
        self.title.toggled.connect(self._unfold)
        self.title.pressed.connect(self._by_hand)  # before it opens or closes
        self.chosen = False  #: a hand has opened or closed it
        self.places: dict[str, QToolButton] = {}
        self.buttons: dict[str, QToolButton] = {}
        self._inner = QWidget()
        self._inner.installEventFilter(self)
        self._list = column(self._inner, margin=0, gap=2)
        self.area = scrolling(self._inner)
        self.area.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Ignored)
        layout = column(self, margin=SMALL_GAP, gap=2)
        layout.addWidget(self.title)
        layout.addWidget(self.area)
        self._answer = StudyAnswer()
        self._room = 0
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
        return "\n".join([self.title.text(), *(x.text() for x in labels if not x.isHidden())])

    def _unfold(self, on: bool) -> None:
        self._show()
        self.unfolded.emit(on)

    def _show(self) -> None:
        self.title.setIcon(icon("up" if self.open else "down"))
        self.title.setText(self._answer.headline or TITLE)
        self.title.setAccessibleName(f"{TITLE}: {self.title.text()}")
        if self._answer.empty:
            self.chosen = False
        self.setVisible(not self._answer.empty)
        self.area.setVisible(self.open)
        self._resize()

    def _resize(self) -> None:
        self.updateGeometry()
        self.resized.emit()

    def _by_hand(self) -> None:
        self.chosen = True

    @property
    def wanted(self) -> int:
        """Height in px at which nothing has to be scrolled; 0 while it is hidden."""
        if self._answer.empty:
            return 0
        return self._least + (self._content_height() + 4 if self.open else 0)

    @property
    def _least(self) -> int:
        """Height of the headline alone."""
        return self.title.sizeHint().height() + 2 * SMALL_GAP + 2 * self.frameWidth()

    def set_room(self, height: int) -> None:
        """So many px it may take; what does not fit scrolls."""
        if height != self._room:
            self._room = height
            self.updateGeometry()

    def sizeHint(self) -> QSize:
        """As high as its content, as far as there is room."""
        wanted = min(self.wanted, self._room) if self._room else self.wanted
        return QSize(super().sizeHint().width(), max(self._least, wanted))

    def minimumSizeHint(self) -> QSize:
        """The headline: a low window is not kept high by a long answer."""
        return QSize(super().minimumSizeHint().width(), self._least)

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """New lines take room only once they are laid out."""
        if event.type() == QEvent.Type.LayoutRequest:
            self._resize()
        return super().eventFilter(watched, event)

    def _content_height(self) -> int:
        wide = max(160, self.area.viewport().width())
        wanted = self._list.heightForWidth(wide) if self._list.hasHeightForWidth() else 0
        return max(wanted, self._list.minimumSize().height())

    def resizeEvent(self, event: QResizeEvent) -> None:
        """Lines wrap anew."""
        super().resizeEvent(event)
        if event.size().width() != event.oldSize().width():
            self._resize()

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
            self._list.addWidget(self._how_told(self._answer.basis))

    def _line(self, line: AnswerLine) -> QWidget:
        label = sentence(line.text, line.role)
        label.setToolTip(line.source)
        if not line.action:
            return label
        words, tip = ACTIONS.get(line.action, WHY_WORDS)
        more = _link(words, tip)
        more.clicked.connect(lambda: self.action_wanted.emit(line.action, line.item))
        self.buttons[line.action] = more
        both = QWidget()
        inside = row(label, more)
        inside.setStretch(0, 1)
        inside.setAlignment(more, Qt.AlignmentFlag.AlignTop)
        both.setLayout(inside)
        return both

    def _how_told(self, basis: str) -> QWidget:
        """Where the places come from: one line that opens."""
        words = sentence(basis)
        words.hide()
        more = _link(HOW_TOLD, basis)
        more.setCheckable(True)
        more.pressed.connect(self._by_hand)
        more.toggled.connect(words.setVisible)
        more.toggled.connect(lambda _on: self._resize())
        self.how_told = more
        both = QWidget()
        inside = column(both, margin=0, gap=0)
        inside.addWidget(more)
        inside.addWidget(words)
        return both

    def _rows(self, places: tuple[PlaceRow, ...]) -> QWidget:
        inner = QWidget()
        grid = QGridLayout(inner)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(2 * SMALL_GAP)
        grid.setVerticalSpacing(0)
        grid.setColumnStretch(0, 1)
        for n, place in enumerate(places):
            told = f"{place.volume_ml:.2f} ml" if place.told else "not told"
            name, volume = QLabel(place.name), QLabel(told)
            set_role(name, "dim" if not place.lesions else "text")
            set_role(volume, "dim")
            volume.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
            for column_number, part in enumerate((name, self._number(place), volume)):
                grid.addWidget(part, n, column_number)
        return inner

    def _number(self, place: PlaceRow) -> QToolButton:
        made = QToolButton()
        made.setText(str(len(place.lesions)) if place.told else "–")
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
            if place.told
            else "The image does not show enough to tell"
        )
        made.clicked.connect(lambda: self.lesions_wanted.emit(place.lesions))
        self.places[place.name] = made
        return made


def _link(words: str, tip: str) -> QToolButton:
    """Words to click that take little room."""
    made = QToolButton()
    made.setText(words)
    made.setToolTip(tip)
    set_role(made, "link")
    return keyboard_stays(made)
