"""A line under the banner for something the user should decide, never a modal dialog."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget


@dataclass(frozen=True)
class _Question:
    """What is asked, and whether it is void once the study is closed."""

    sentence: str
    choices: tuple[tuple[str, Callable[[], None]], ...]
    of_study: bool


class Notice(QWidget):
    """One sentence with buttons; hidden while there is nothing to decide."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._row = QHBoxLayout(self)
        self._row.setContentsMargins(12, 6, 12, 6)
        self._label = QLabel()
        self._label.setWordWrap(True)
        self._row.addWidget(self._label, 1)
        self._buttons: list[QPushButton] = []
        self._shown: _Question | None = None
        self._waiting: list[_Question] = []
        self.hide()

    @property
    def text(self) -> str:
        """The sentence that is shown, empty while hidden."""
        return self._label.text() if not self.isHidden() else ""

    def ask(
        self,
        sentence: str,
        *choices: tuple[str, Callable[[], None]],
        at_once: bool = False,
        of_study: bool = False,
    ) -> None:
        """Show a sentence with one button per choice; any button closes it.

        Parameters
        ----------
        at_once : bool
            The answer to a click: it goes before the question that is open, which comes back
            after it. The same question asked again takes the place of the one before. Else a
            second question waits until the first is answered.
        of_study : bool
            It is dropped when the study is closed.
        """
        question = _Question(sentence, choices, of_study)
        if at_once:
            others = [self._shown, *self._waiting] if self._shown is not None else self._waiting
            self._waiting = [one for one in others if one.sentence != sentence]
            self._show(question)
        elif self._shown is None:
            self._show(question)
        else:
            self._waiting.append(question)

    def study_closed(self) -> None:
        """Drop the questions that were about the study."""
        self._waiting = [one for one in self._waiting if not one.of_study]
        if self._shown is not None and self._shown.of_study:
            self.dismiss()

    def choose(self, title: str) -> None:
        """Press the button with this title."""
        next(button for button in self._buttons if button.text() == title).click()

    def dismiss(self) -> None:
        """Close it and show the next question."""
        self._clear()
        if self._waiting:
            self._show(self._waiting.pop(0))

    def _show(self, question: _Question) -> None:
        self._clear()
        self._shown = question
        self._label.setText(question.sentence)
        for title, run in question.choices:
            button = QPushButton(title)
            button.clicked.connect(lambda _checked=False, run=run: self._answer(run))
            self._row.addWidget(button)
            self._buttons.append(button)
        self.show()

    def _clear(self) -> None:
        for button in self._buttons:
            self._row.removeWidget(button)
            button.hide()
            button.deleteLater()
        self._buttons.clear()
        self._label.clear()
        self._shown = None
        self.hide()

    def _answer(self, run: Callable[[], None]) -> None:
        self.dismiss()
        run()
