"""Which series a model looks at: those that are open, and those of the study that are not yet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QComboBox, QSizePolicy, QWidget

from app.windows.controls import button, row, sentence
from app.windows.tools_panel import middle_cut
from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.series import Series

#: A series by the id of its image, or by its key where it is not open; and what it is called.
Named = tuple[tuple[str, str], str]
_KEY = Qt.ItemDataRole.UserRole + 1
NOT_OPENED = "not opened yet"
LONGEST, SHORTER = 22, 14  #: letters of a title beside its sequence, and beside "not opened yet"


def series_words(sequence: str, title: str, longest: int = LONGEST) -> str:
    """``"FLAIR · Sag 3D brain"``; what the series is stands first, the title loses its middle."""
    short = middle_cut(title, longest)
    return f"{sequence} · {short}" if sequence else short


def fitting(
    wanted: Sequence[str], volumes: Iterable[Volume], waiting: Iterable[Series]
) -> Named | None:
    """The first of these images, else the first series of a wanted sequence; None: neither."""
    from inference.suitability import among

    for volume in volumes:
        return (volume.id, ""), series_words(volume.source.sequence, volume.title)
    for series in waiting:
        if among(series.sequence, wanted):
            return ("", series.key), series_words(series.sequence, series.description)
    return None


class SeriesChoice(QComboBox):
    """A list of series; one that is not open yet can be chosen as well."""

    def __init__(self) -> None:
        super().__init__()
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.opened = 0  #: how many of the list are open

    @property
    def volume_id(self) -> str:
        """Id of the chosen image; empty where there is none, or where it is not open yet."""
        return self.currentData() or ""

    @property
    def key(self) -> str:
        """Key of the chosen series where it is not open yet; else empty."""
        return self.currentData(_KEY) or ""

    def show_series(self, volumes: Iterable[Volume], waiting: Iterable[Series]) -> None:
        """List these, without a signal; the chosen one stays chosen, else the first."""
        chosen = (self.volume_id, self.key)
        with QSignalBlocker(self):
            self.clear()
            for volume in volumes:
                self._add(series_words(volume.source.sequence, volume.title), volume.id, "")
                self.setItemData(self.count() - 1, volume.title, Qt.ItemDataRole.ToolTipRole)
            self.opened = self.count()
            for series in waiting:
                words = series_words(series.sequence, series.description, SHORTER)
                self._add(f"{words} ({NOT_OPENED})", "", series.key)
                tip = f"{series.description}\nChoosing it opens it; no view changes"
                self.setItemData(self.count() - 1, tip, Qt.ItemDataRole.ToolTipRole)
            self.setCurrentIndex(max(0, self._find(*chosen)))

    def choose(self, volume_id: str = "", key: str = "") -> None:
        """Choose an image that is open, or a series that is not, where it is listed."""
        at = self._find(volume_id, key)
        if at >= 0:
            self.setCurrentIndex(at)

    def _add(self, words: str, volume_id: str, key: str) -> None:
        self.addItem(words, volume_id)
        self.setItemData(self.count() - 1, key, _KEY)

    def _find(self, volume_id: str, key: str) -> int:
        return self.findData(key, _KEY) if key else self.findData(volume_id) if volume_id else -1


class SeriesOffer(QWidget):
    """One line that names another series, and the click that takes it.

    Signals
    -------
    taken()
        The button was pressed.
    """

    taken = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.words = sentence()
        self.take = button("Use it", "")
        self.take.clicked.connect(self.taken)
        layout = row(self.words, self.take)
        layout.setStretch(0, 1)
        self.setLayout(layout)
        self.offer("")

    def offer(self, words: str, tip: str = "") -> None:
        """Name a series; empty: there is nothing to offer."""
        self.words.setText(words)
        self.take.setToolTip(tip)
        self.take.setAccessibleName(f"{self.take.text()}: {words}")
        self.setVisible(bool(words))
