"""Which model: grouped by the task it does, with what a run of it costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import QSignalBlocker, Qt
from PySide6.QtGui import QColor, QStandardItem, QStandardItemModel
from PySide6.QtWidgets import QComboBox, QSizePolicy

from app.model_words import QUICK, THOROUGH, Pace, choice_words, paces, run_words
from app.windows.theme import DARK

if TYPE_CHECKING:
    from inference.model import ModelCard
    from inference.registry import InstalledModel

LESIONS, INFARCT, TISSUE, DEVIATION, PRESENCE = (
    "Find lesions",
    "Acute infarct",
    "Brain and tissue",
    "What differs from normal",
    "Is anything there?",
)
TASKS = (LESIONS, INFARCT, TISSUE, DEVIATION, PRESENCE)
_OF_KIND = {"tissue": TISSUE, "deviation": DEVIATION, "presence": PRESENCE}
#: Kinds that are asked by another way than a run: clicks belong to a tool.
NOT_RUN = frozenset({"click"})
FIRST = "flair-wml"  #: what most readers want first


def task_of(card: ModelCard) -> str:
    """The group a model belongs to."""
    if card.kind in _OF_KIND:
        return _OF_KIND[card.kind]
    infarct = any("infarct" in label.name.casefold() for label in card.labels)
    return INFARCT if infarct else LESIONS


class ModelChoice(QComboBox):
    """A list of models under the headings of their tasks; a heading cannot be chosen."""

    def __init__(self) -> None:
        super().__init__()
        self.setToolTip("Installed models")
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    @property
    def model_id(self) -> str:
        """Id of the chosen model; empty where there is none."""
        return self.currentData() or ""

    def set_models(self, models: Sequence[InstalledModel]) -> None:
        """List these; the one chosen before stays chosen."""
        chosen = self.model_id
        with QSignalBlocker(self):
            self.clear()
            rows, pace = self.model(), paces(model.card for model in models)
            assert isinstance(rows, QStandardItemModel)
            for task in TASKS:
                mine = [model for model in models if task_of(model.card) == task]
                if mine:
                    rows.appendRow(_heading(task))
                for model in sorted(mine, key=lambda one: _rank(one, pace)):
                    rows.appendRow(_row(model, pace.get(model.card.id)))
            self.setCurrentIndex(self.findData(chosen) if self.findData(chosen) >= 0 else 1)


def _rank(model: InstalledModel, pace: Mapping[str, Pace]) -> int:
    """The quick one first, the thorough one beside it."""
    id = model.card.id
    word = pace[id].word if id in pace else ""
    return 0 if id == FIRST else {QUICK: 1, THOROUGH: 2}.get(word, 3)


def _heading(task: str) -> QStandardItem:
    item = QStandardItem(task)
    item.setFlags(Qt.ItemFlag.NoItemFlags)
    item.setForeground(QColor(DARK.dim))
    return item


def _row(model: InstalledModel, pace: Pace | None) -> QStandardItem:
    card = model.card
    item = QStandardItem(choice_words(card, pace))
    item.setData(card.id, Qt.ItemDataRole.UserRole)
    cost = run_words(card, pace)
    item.setToolTip("\n".join(part for part in (card.summary, cost, model.reason) if part))
    return item
