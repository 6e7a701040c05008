"""The images of a 4D series under the views: echoes, b-values, time points."""

from __future__ import annotations

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QSlider, QWidget

from app.windows.controls import ElidedLabel, flat_button, keyboard_stays, row
from app.windows.icons import icon
from app.windows.listening import listen
from app.windows.theme import GAP
from app.workspace import Workspace
from imaging.volume import Volume
from viewer.state.text import repeat_text


class RepeatBar(QWidget):
    """A slider over the images of the active series; hidden where there is only one.

    Signals
    -------
    chosen(number)
        Image from 0.
    stepped(step)
        One image on or back.
    play_clicked()
        Start or stop to show them one after the other.
    """

    chosen = Signal(int)
    stepped = Signal(int)
    play_clicked = Signal()

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self.previous = flat_button("previous", "Previous image of this series")
        self.next = flat_button("next", "Next image of this series")
        self.play = flat_button("run", "Show the images one after the other, or stop")
        self.slider = keyboard_stays(QSlider(Qt.Orientation.Horizontal))
        self.slider.setPageStep(1)
        self.slider.setAccessibleName("Image of this series")
        self.label = ElidedLabel()
        self.label.setMinimumWidth(220)
        self.previous.clicked.connect(lambda: self.stepped.emit(-1))
        self.next.clicked.connect(lambda: self.stepped.emit(1))
        self.play.clicked.connect(lambda: self.play_clicked.emit())
        self.slider.valueChanged.connect(self.chosen)
        line = row(self.previous, self.slider, self.next, self.play, self.label, gap=GAP)
        line.setStretch(1, 1)
        line.setContentsMargins(GAP, 2, GAP, 2)
        self.setLayout(line)
        listen(self, workspace.case_changed, self._case_changed)
        listen(self, workspace.display_changed, self._display_changed)
        self._show()

    def set_playing(self, playing: bool) -> None:
        """The button stops what it started."""
        self.play.setIcon(icon("pause" if playing else "run"))

    def _case_changed(self, _changes, _origin) -> None:
        self._show()

    def _display_changed(self, old, new) -> None:
        if old.active != new.active or old.cells != new.cells:
            self._show()

    def _show(self) -> None:
        volume = self._active_volume()
        repeats = None if volume is None else volume.repeats
        self.setVisible(repeats is not None)
        if volume is None or repeats is None:
            return
        with QSignalBlocker(self.slider):
            self.slider.setRange(0, len(repeats) - 1)
            self.slider.setValue(volume.repeat)
        text = repeat_text(volume)
        self.label.setText(text)
        self.label.setToolTip(text)
        self.slider.setToolTip(text)

    def _active_volume(self) -> Volume | None:
        cell = self._workspace.display.cell(self._workspace.display.active)
        item = self._workspace.case.items.get(cell.volume_id) if cell else None
        return item if isinstance(item, Volume) else None
