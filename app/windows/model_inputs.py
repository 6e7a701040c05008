"""The images a model looks at: the one it needs, and those that help where the study has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QSizePolicy, QWidget

from app.windows.controls import allow, check_box, column, field, sentence
from app.windows.theme import SMALL_GAP, set_role
from app.workspace import Workspace
from imaging.volume import Volume

if TYPE_CHECKING:
    from inference.model import InputNeed, ModelCard

CAPTION = 48


class ModelInputs(QWidget):
    """A list of series, a box for each further image, and whether the series fits.

    Signals
    -------
    changed()
        Another series was chosen, or the study has changed.
    """

    changed = Signal()

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._card: ModelCard | None = None
        self._left_out: set[str] = set()
        self._companions: Mapping[str, Volume] = {}
        self.series = QComboBox()
        self.series.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.series.setMinimumContentsLength(12)
        self.series.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.series.currentIndexChanged.connect(self._chosen)
        self.boxes: dict[str, QCheckBox] = {}
        self._rows = column(margin=0, gap=SMALL_GAP)
        self.fit = sentence()
        self.wrong = False  #: the series is of another kind than the one asked for
        self._warning = ""
        layout = column(self, margin=0, gap=SMALL_GAP)
        layout.addLayout(field("Series", self.series, CAPTION))
        layout.addLayout(self._rows)
        layout.addWidget(self.fit)
        self.refresh()

    # --- what is chosen ----------------------------------------------------------------------
    @property
    def volume_id(self) -> str:
        """Id of the chosen volume; empty where there is none."""
        return self.series.currentData() or ""

    @property
    def others(self) -> dict[str, str]:
        """Further images that take part: the card's name for them and the id of the volume."""
        return {
            name: volume.id
            for name, volume in self._companions.items()
            if name not in self._left_out
        }

    def choose(self, volume_id: str) -> None:
        """Look at this volume, if it is there."""
        self.series.setCurrentIndex(max(0, self.series.findData(volume_id)))

    def set_card(self, card: ModelCard | None) -> None:
        """From now on this model asks."""
        self._card = card
        self._make_boxes()
        self._chosen()

    def warn(self, words: str) -> None:
        """Say what speaks against the series chosen now, found out in another way."""
        self._warning = words
        self._show_fit()
        self.changed.emit()

    # --- showing -----------------------------------------------------------------------------
    def refresh(self) -> None:
        """The study has other images now; the chosen one stays chosen."""
        chosen = self.volume_id
        with QSignalBlocker(self.series):
            self.series.clear()
            for volume in self._workspace.case.volumes:
                self.series.addItem(volume.title, volume.id)
            self.series.setCurrentIndex(max(0, self.series.findData(chosen)))
        none = "" if self.series.count() else "Open a study first"
        allow(self.series, "The series the model looks at", none)
        self._chosen()

    def choose_fitting(self) -> None:
        """Prefer a series the card asks for over one that merely came first."""
        ids = [volume.id for volume in self._workspace.case.volumes]
        if ids and self._card is not None:
            self.choose(max(ids, key=lambda id: (self._rank(id), id == self.volume_id)))

    def fit_of(self, volume_id: str) -> tuple[bool, str]:
        """Whether a volume is what the model was made for, and the sentence about it."""
        if self._card is None or volume_id not in self._workspace.case.items:
            return False, ""
        from inference.registry import suitable

        return suitable(self._card, self._workspace.case.volume(volume_id))

    def _rank(self, volume_id: str) -> int:
        """2 where the series fits, 1 where at least its sequence is the one asked for."""
        if self._card is None or self.fit_of(volume_id)[0]:
            return 2
        wanted = {need.sequence.casefold() for need in self._card.required}
        return int(self._workspace.case.volume(volume_id).source.sequence.casefold() in wanted)

    def _chosen(self, *_index: int) -> None:
        self._warning = ""
        self._find_companions()
        self._show_fit()
        self.changed.emit()

    def _show_fit(self) -> None:
        fits, words = self.fit_of(self.volume_id)
        self.wrong = self._is_wrong()
        if self._warning:
            fits, self.wrong, words = False, True, self._warning
        self.fit.setText(words)
        self.fit.setVisible(bool(words))
        set_role(self.fit, "good" if fits else "warning")

    def _is_wrong(self) -> bool:
        if self._card is None or self.volume_id not in self._workspace.case.items:
            return False
        from inference.suitability import doubts

        return bool(doubts(self._card, self._workspace.case.volume(self.volume_id)).wrong)

    # --- further images ----------------------------------------------------------------------
    def _make_boxes(self) -> None:
        for box in self.boxes.values():
            self._rows.removeWidget(box)
            box.hide()
            box.deleteLater()
        self._left_out.clear()
        optional = self._card.optional if self._card is not None else ()
        self.boxes = {need.name: self._box(need) for need in optional}
        for box in self.boxes.values():
            self._rows.addWidget(box)

    def _box(self, need: InputNeed) -> QCheckBox:
        box = check_box(need.name)
        box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        box.clicked.connect(lambda on: self._take(need.name, on))
        return box

    def _take(self, name: str, on: bool) -> None:
        (self._left_out.discard if on else self._left_out.add)(name)
        self.changed.emit()

    def _find_companions(self) -> None:
        volume = self._workspace.case.items.get(self.volume_id)
        self._companions = {}
        if self._card is not None and isinstance(volume, Volume):
            from inference.suitability import companions

            self._companions = companions(self._card, volume, self._workspace.case.volumes)
        needs = {need.name: need for need in (self._card.optional if self._card else ())}
        for name, box in self.boxes.items():
            other = self._companions.get(name)
            with QSignalBlocker(box):
                box.setChecked(other is not None and name not in self._left_out)
            title = other.title if other is not None else "not in this study"
            box.setText(f"Also {needs[name].sequence}: {title}".replace("&", "&&"))
            why_not = (
                ""
                if other is not None
                else f"No {needs[name].sequence} image of this study lies in the same frame of "
                "reference; the model does without"
            )
            allow(box, needs[name].description or "Helps where it is there", why_not)
