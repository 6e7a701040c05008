"""A line under the banner for something the user should decide, never a modal dialog."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtWidgets import QHBoxLayout, QLabel, QPushButton, QWidget


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
        self._waiting: list[tuple[str, tuple[tuple[str, Callable[[], None]], ...]]] = []
        self.hide()

    @property
    def text(self) -> str:
        """The sentence that is shown, empty while hidden."""
        return self._label.text() if not self.isHidden() else ""

    def ask(self, sentence: str, *choices: tuple[str, Callable[[], None]]) -> None:
        """Show a sentence with one button per choice; any button closes it.

        A second question waits until the first is answered.
        """
        if not self.isHidden():
            self._waiting.append((sentence, choices))
            return
        self._label.setText(sentence)
        for title, run in choices:
            button = QPushButton(title)
            button.clicked.connect(lambda _checked=False, run=run: self._answer(run))
            self._row.addWidget(button)
            self._buttons.append(button)
        self.show()

    def choose(self, title: str) -> None:
        """Press the button with this title."""
        next(button for button in self._buttons if button.text() == title).click()

    def dismiss(self) -> None:
        """Close it and show the next question."""
        for button in self._buttons:
            self._row.removeWidget(button)
            button.deleteLater()
        self._buttons.clear()
        self._label.clear()
        self.hide()
        if self._waiting:
            sentence, choices = self._waiting.pop(0)
            self.ask(sentence, *choices)

    def _answer(self, run: Callable[[], None]) -> None:
        self.dismiss()
        run()
