"""How a training goes about it: from which weights, which network, how long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Qt, Signal
from PySide6.QtWidgets import QCheckBox, QComboBox, QLabel, QSpinBox, QWidget

from app.training_wish import CLASSIFIERS, DIMENSIONS, FEW, LOSSES, NETWORKS, ONLY_3D
from app.windows.controls import allow, check_box, column, field, sentence
from app.windows.theme import GAP, SMALL_GAP, set_role
from inference.training.own.choices import can_learn_on, few_shot_folds

if TYPE_CHECKING:
    from app.training_wish import TrainingWish
    from inference.registry import InstalledModel

WIDTH = 300
CAPTION = 84
SCRATCH = "Nothing (random weights)"
NO_MODEL = "Choose a model to start from first"
ITS_OWN = "An adapted model keeps the network it has"


class TrainingChoices(QWidget):
    """Starting point, network, loss, folds, time and seed.

    Signals
    -------
    changed()
        Something else was chosen.
    """

    changed = Signal()

    def __init__(self) -> None:
        super().__init__()
        self.setFixedWidth(WIDTH)
        self.start_from = QComboBox()
        self.start_from.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.start_from.setMinimumContentsLength(12)
        self.few_shot: QCheckBox = check_box("Adapt its last layers only")
        self.few_about = sentence()
        self.network = _combo(NETWORKS)
        self.network_about = sentence()
        self.dimensions = _combo(DIMENSIONS)
        self.loss = _combo(LOSSES)
        self.folds = _spin(2, 10, 5, "", "Each patient is held back once and judged by a network "
                           "that never saw it")  # fmt: skip
        self.minutes = _spin(1, 10080, 60, " min", "How long the training may take, all folds "
                             "together; the steps are fitted to it")  # fmt: skip
        self.minutes.setSingleStep(15)
        self.effort = sentence()
        self._patients = 0
        self.seed = _spin(0, 999_999, 0, "", "The same seed gives the same weights")
        self._arrange()
        for box in (self.start_from, self.network, self.dimensions, self.loss):
            box.currentIndexChanged.connect(self._changed)
        self.few_shot.toggled.connect(self._changed)
        for spin in (self.folds, self.minutes, self.seed):
            spin.valueChanged.connect(self._changed)
        self.set_models(())

    def _arrange(self) -> None:
        layout = column(self, margin=0, gap=SMALL_GAP)
        layout.addWidget(_title("Start from"))
        for part in (self.start_from, self.few_shot, self.few_about):
            layout.addWidget(part)
        layout.addSpacing(GAP)
        layout.addWidget(_title("Network"))
        layout.addWidget(self.network)
        layout.addWidget(self.network_about)
        layout.addLayout(field("Dimensions", self.dimensions, CAPTION))
        layout.addLayout(field("Loss", self.loss, CAPTION))
        layout.addSpacing(GAP)
        layout.addWidget(_title("Effort"))
        layout.addLayout(field("Time", self.minutes, CAPTION))
        layout.addLayout(field("Folds", self.folds, CAPTION))
        layout.addLayout(field("Seed", self.seed, CAPTION))
        layout.addWidget(self.effort)
        layout.addStretch(1)

    def set_models(self, models: Sequence[InstalledModel]) -> None:
        """Offer those that can go on learning as a start; the one chosen before stays chosen."""
        chosen = self.start_from.currentData()
        with QSignalBlocker(self.start_from):
            self.start_from.clear()
            self.start_from.addItem(SCRATCH, "")
            for model in models:
                card = model.card
                if model.available and can_learn_on(card):
                    self.start_from.addItem(f"{card.name} {card.version}", card.id)
            self.start_from.setCurrentIndex(max(0, self.start_from.findData(chosen)))
        self._refresh()

    def show_wish(self, wish: TrainingWish) -> None:
        """Show what a training was begun with."""
        self.choose_model(wish.start_from)
        self.few_shot.setChecked(wish.few_shot)
        for combo, key in (
            (self.network, wish.network),
            (self.dimensions, wish.dimensions),
            (self.loss, wish.loss),
        ):
            combo.setCurrentIndex(max(0, combo.findData(key)))
        for spin, value in (
            (self.folds, wish.folds),
            (self.minutes, wish.minutes),
            (self.seed, wish.seed),
        ):
            spin.setValue(value)

    def set_patients(self, patients: int) -> None:
        """So many people are there to learn from; 0 where nobody has looked yet."""
        self._patients = patients
        self._refresh()

    def choose_model(self, id: str) -> None:
        """Start from this model, if it is offered."""
        self.start_from.setCurrentIndex(max(0, self.start_from.findData(id)))

    def _changed(self, *_value: object) -> None:
        self._refresh()
        self.changed.emit()

    def _refresh(self) -> None:
        scratch = not self.start_from.currentData()
        if scratch and self.few_shot.isChecked():
            with QSignalBlocker(self.few_shot):
                self.few_shot.setChecked(False)
        few = self.few_shot.isChecked()
        allow(self.start_from, "The weights that the training begins with")
        allow(
            self.few_shot,
            f"Minutes instead of hours, for 2 to {FEW} corrected cases; old and new are compared "
            "on cases held back, and the new one is refused where it is not better",
            NO_MODEL if scratch else "",
        )
        self.few_about.setText(
            f"For 2 to {FEW} corrected cases of at least two patients. The new model is offered "
            "only where it is better on cases held back; the old one stays."
            if few
            else "All layers learn."
        )
        allow(self.network, "What the network looks like", ITS_OWN if few else "")
        blocks = self.network.currentData() in ONLY_3D
        if blocks:
            with QSignalBlocker(self.dimensions):
                self.dimensions.setCurrentIndex(0)
        only = "This network sees blocks only" if blocks else ""
        allow(self.dimensions, "Blocks of the volume or single slices", ITS_OWN if few else only)
        classifies = self.network.currentData() in CLASSIFIERS and not few
        no_loss = "A network that says yes or no is judged by cross-entropy" if classifies else ""
        allow(self.loss, "What counts as a mistake", ITS_OWN if few else no_loss)
        leave_out = "Few cases are held back one at a time" if few else ""
        allow(self.folds, self.folds.statusTip(), leave_out)
        self.effort.setText(
            effort_words(self.folds.value(), self.minutes.value(), self._patients, few)
        )
        abouts = {key: about for key, _words, about in NETWORKS}
        self.network_about.setText(
            ITS_OWN + "." if few else abouts[self.network.currentData()] + "."
        )


def effort_words(folds: int, minutes: int, patients: int = 0, few: bool = False) -> str:
    """What folds and time come to: how many runs, and how long each may take.

    Parameters
    ----------
    patients : int
        People to learn from, 0 where not known.
    few : bool
        An installed model is adapted to few cases.
    """
    if few and not patients:
        return "Each patient is held back once; a last run learns from all cases."
    if patients:
        folds = few_shot_folds(patients) if few else min(folds, patients)
    if folds < 2:
        return "One patient: nobody can be held back, so there will be no figures."
    each = minutes / (folds + 1)
    time = f"{each:.0f} min" if each >= 1 else f"{60 * each:.0f} s"
    return (
        f"{folds} folds give the figures, then one run on all cases gives the model: "
        f"{folds + 1} runs of about {time}."
    )


def _combo(choices: Sequence[tuple[str, str, str]]) -> QComboBox:
    combo = QComboBox()
    for key, words, about in choices:
        combo.addItem(words, key)
        combo.setItemData(combo.count() - 1, about, Qt.ItemDataRole.ToolTipRole)
    return combo


def _spin(low: int, high: int, value: int, suffix: str, tip: str) -> QSpinBox:
    spin = QSpinBox()
    spin.setRange(low, high)
    spin.setValue(value)
    spin.setSuffix(suffix)
    spin.setToolTip(tip)
    spin.setStatusTip(tip)
    return spin


def _title(words: str) -> QLabel:
    label = QLabel(words)
    set_role(label, "title")
    return label
