"""A model card as text a reader can use: what for, what not for, how good, on how many."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QLabel, QToolButton, QWidget

from app.windows.controls import column, sentence
from app.windows.icons import icon
from app.windows.theme import SMALL_GAP, set_role

if TYPE_CHECKING:
    from inference.model import InputNeed, ModelCard
    from inference.registry import InstalledModel

#: Figures of a card in the words of a reader; other numbers keep their own name.
WORDS = {
    "dice": "Dice",
    "lesion_f1": "lesion F1",
    "lesion_sensitivity": "lesion sensitivity",
    "lesion_ppv": "lesion precision",
    "sensitivity": "voxel sensitivity",
    "ppv": "voxel precision",
    "volume_ratio": "volume ratio",
    "gold_ml": "true volume (ml)",
}
_NOT_FIGURES = {"case", "name", "n", "threshold", "rule", "wall_s", "cpu_s"}
_HEADS = ("case", "name", "planes_as")
#: Of a part only these, where it has them; else so many of what it has.
_SHOWN_BELOW = {"dice", "lesion_f1", "volume_ratio"}
MOST_BELOW = 6


def input_words(need: InputNeed) -> str:
    """One image a model wants, as text."""
    optional = "" if need.required else " (optional)"
    what = f": {need.description}" if need.description else ""
    return f"{need.name}{optional}{what}"


def figure_line(figure: Mapping[str, Any]) -> str:
    """One row of figures: the case and its n first, then every number the card gives.

    Figures of a part (one direction, thick slices) stand below, a line each.
    """
    head = next((str(figure[name]) for name in _HEADS if name in figure), "")
    if "n" in figure:
        head = f"{head} (n = {figure['n']})".strip()
    parts = [part for name, value in figure.items() if (part := _part(name, value))]
    baselines = _numbers(figure.get("baselines"))
    if baselines:
        best = max(baselines, key=lambda name: baselines[name])
        parts.append(f"best classical baseline: Dice {baselines[best]:g} ({best})")
    line = f"{head}: {', '.join(parts)}" if head else ", ".join(parts)
    return "\n".join([line, *(_below(name, value) for name, value in _parts_of(figure))])


def _part(name: str, value: Any) -> str:
    """One figure in words; empty for what is no figure."""
    if name in _NOT_FIGURES:
        return ""
    if _is_number(value):
        return f"{_words(name)} {value:g}"
    if isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_number, value)):
        return f"{_words(name)} {value[0]:g} to {value[1]:g}"
    return ""


def _parts_of(figure: Mapping[str, Any]) -> list[tuple[str, dict[str, float]]]:
    found = [(name, _numbers(value)) for name, value in figure.items() if name != "baselines"]
    return [(name, numbers) for name, numbers in found if numbers]


def _below(name: str, numbers: Mapping[str, float]) -> str:
    told = ", ".join(f"{_words(one)} {n:g}" for one, n in numbers.items() if one in _SHOWN_BELOW)
    rest = ", ".join(f"{_words(one)} {n:g}" for one, n in list(numbers.items())[:MOST_BELOW])
    return f"   {_words(name)}: {told or rest}"


def _words(name: str) -> str:
    return WORDS.get(name, name.replace("_", " "))


def _numbers(value: Any) -> dict[str, float]:
    """The plain numbers of a table."""
    if not isinstance(value, Mapping):
        return {}
    return {str(name): one for name, one in value.items() if _is_number(one)}


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def figure_lines(card: ModelCard) -> str:
    """All figures, or a plain statement that there are none."""
    if not card.figures:
        return "The card gives no measured figures: treat every mark as unproven."
    return "\n".join(figure_line(figure) for figure in card.figures)


class ModelCardView(QFrame):
    """The card: purpose and warning always, the rest on demand."""

    def __init__(self) -> None:
        super().__init__()
        set_role(self, "card")
        self.summary = sentence(role="text")
        self.not_for = sentence(role="warning")
        self.more = QToolButton()
        self.more.setText("Details: figures, limits, licence")
        self.more.setCheckable(True)
        self.more.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        self.more.toggled.connect(self._unfold)
        set_role(self.more, "flat")
        self.details = QWidget()
        self._inside = column(self.details, margin=0, gap=SMALL_GAP)
        layout = column(self)
        for part in (self.summary, self.not_for, self.more, self.details):
            layout.addWidget(part)
        self._unfold(False)

    def show_model(self, model: InstalledModel) -> None:
        """Show another card."""
        card = model.card
        self.summary.setText(card.summary)
        self.not_for.setText(f"Not for: {card.not_for}")
        while (old := self._inside.takeAt(0)) is not None:
            widget = old.widget()
            if widget is not None:
                widget.hide()
                widget.deleteLater()
        for title, text in (
            ("For", card.intended_use),
            ("Needs", "\n".join(input_words(need) for need in card.inputs)),
            ("Figures", figure_lines(card)),
            ("Threshold", f"{card.threshold:g}, fixed before the figures were measured"),
            ("Limits", "\n".join(f"• {limit}" for limit in card.limits)),
            ("Version", f"{card.version}, weights {card.weights_sha256[:12]}"),
            ("Licence", card.licence),
            ("Credit", card.credit),
        ):
            if text:
                heading = QLabel(title)
                set_role(heading, "title")
                self._inside.addWidget(heading)
                self._inside.addWidget(sentence(text))

    def text(self) -> str:
        """Everything the card says, for search and tests."""
        labels = self.details.findChildren(QLabel)
        return "\n".join([self.summary.text(), self.not_for.text(), *(x.text() for x in labels)])

    def _unfold(self, open_: bool) -> None:
        self.more.setIcon(icon("up" if open_ else "down"))
        self.details.setVisible(open_)
