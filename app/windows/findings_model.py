"""The lesion list as a table for Qt: what each column shows and how it sorts."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor
from PySide6.QtWidgets import QStyledItemDelegate, QStyleOptionViewItem

from app.windows.icons import swatch
from app.windows.theme import DARK

if TYPE_CHECKING:
    from imaging.analysis.lesions import Lesion

SORT_ROLE = Qt.ItemDataRole.UserRole
LESION_ROLE = Qt.ItemDataRole.UserRole + 1
_Index = QModelIndex | QPersistentModelIndex
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Column:
    """One column: heading, tooltip, text, value to sort by."""

    title: str
    tip: str
    text: Callable[[Lesion, str], str]
    key: Callable[[Lesion, str], Any]
    number: bool = True


#: How far a lesion is, and its sign in the list.
ACCEPTED, OPENED, DRAFT = "accepted", "opened", "draft"
_SIGNS = {ACCEPTED: "✓", OPENED: "○", DRAFT: "–"}
_STATES = {
    ACCEPTED: "Accepted: checked by a person",
    OPENED: "Opened from a file: the work of its maker, nobody has checked it here",
    DRAFT: "Draft: nobody has checked it yet",
}
HAND_BELOW = 0.01  #: mean probability below which a lesion cannot be the model's work
_NARROW = ((" mm", ""), ("Midline", "Mid"), ("middle", "mid"))
_SIDE = re.compile(r"^([LR])(?:eft|ight)(\??), (\d+ mm)")


def short_place(words: str) -> str:
    """A place for a narrow column: ``"L 23 mm · front"``, ``"Midline · back"``.

    Parameters
    ----------
    words : str
        As :meth:`imaging.analysis.place.HeadFrame.place` says it; the height is left out.
    """
    side, *rest = words.split(" · ")
    match = _SIDE.match(side)
    if match is not None:
        side = f"{match[1]}{match[2]} {match[3]}"
    thirds = (part.removesuffix("?") for part in rest)
    third = next((part.removesuffix(" third") for part in thirds if part.endswith(" third")), "")
    return f"{side} · {third}" if third else side


def short_ml(volume: float) -> str:
    """A volume in at most five characters: ``"0.346"``, ``"6.21"``, ``"132.5"``, ``"1402"``."""
    for limit, digits in ((0.995, 3), (99.995, 2), (999.95, 1)):
        if volume < limit:
            return f"{volume:.{digits}f}"
    return f"{volume:.0f}"


def _by_hand(lesion: Lesion) -> bool:
    return lesion.mean_probability is not None and lesion.mean_probability < HAND_BELOW


def _probability(lesion: Lesion, _state: str) -> str:
    if lesion.mean_probability is None or _by_hand(lesion):
        return "–"
    return f"{lesion.mean_probability:.2f}"


def _tip(title: str, lesion: Lesion, state: str) -> str:
    """What a cell has to say beyond its text."""
    if title == "Place":
        return lesion.place
    if title == "✓":
        return _STATES[state]
    if title == "p" and _by_hand(lesion):
        return "Painted by hand: the model gave these voxels a probability below 1 %"
    if title == "p" and lesion.mean_probability is None:
        return "This mask has no probability map"
    return ""


COLUMNS: tuple[Column, ...] = (
    Column("#", "Number of the lesion", lambda x, a: str(x.number), lambda x, a: x.number),
    Column("ml", "Volume in millilitres", lambda x, a: short_ml(x.volume_ml),
           lambda x, a: x.volume_ml),
    Column("mm", "Longest diameter in mm, in 3D", lambda x, a: f"{x.longest_diameter_mm:.1f}",
           lambda x, a: x.longest_diameter_mm),
    Column("p", "Mean probability the model gave its voxels", _probability,
           lambda x, a: -1.0 if x.mean_probability is None else x.mean_probability),
    Column("Place", "Where in the head: side, mm from the midline, third from front to back",
           lambda x, a: short_place(x.place) or "–",
           lambda x, a: x.place, False),
    Column("✓", "✓ accepted: checked by a person. – draft: proposed, nobody has checked it yet. "
           "○ opened from a file",
           lambda x, a: _SIGNS[a], lambda x, a: (DRAFT, OPENED, ACCEPTED).index(a), False),
)  # fmt: skip


class PlaceDelegate(QStyledItemDelegate):
    """Leaves the unit of a place out, and shortens it, where the column is too narrow."""

    MARGIN = 8  #: px the style keeps free beside the text

    def initStyleOption(self, option: QStyleOptionViewItem, index: _Index) -> None:
        """The text as it fits."""
        super().initStyleOption(option, index)
        words: str = option.text  # type: ignore[attr-defined]
        room: int = option.rect.width() - self.MARGIN  # type: ignore[attr-defined]
        metrics = option.fontMetrics  # type: ignore[attr-defined]
        if metrics.horizontalAdvance(words) > room:
            for long, short in _NARROW:
                words = words.replace(long, short)
            if metrics.horizontalAdvance(words) > room:
                words = words.replace(" · ", " ")
            option.text = words  # type: ignore[attr-defined]


class LesionTable(QAbstractTableModel):
    """Rows are lesions; equal rows are not announced again, so the view stays where it is."""

    def __init__(self) -> None:
        super().__init__()
        self._lesions: list[Lesion] = []
        self._accepted: frozenset[int] = frozenset()
        self._opened = False
        self._colours: dict[int, Colour] = {}
        self._dots: dict[Colour, Any] = {}

    @property
    def lesions(self) -> Sequence[Lesion]:
        """The lesions, in the order they were given."""
        return self._lesions

    def accepted(self, lesion: Lesion) -> bool:
        """Whether a person has taken it over."""
        return lesion.number in self._accepted

    def state(self, lesion: Lesion) -> str:
        """``"accepted"``, ``"opened"`` (finished work from a file) or ``"draft"``."""
        return ACCEPTED if self.accepted(lesion) else OPENED if self._opened else DRAFT

    def set_lesions(
        self,
        lesions: Sequence[Lesion],
        accepted: Collection[int],
        colours: Mapping[int, Colour],
        opened: bool = False,
    ) -> None:
        """Take over a list; where the numbers are the same the rows only change their text."""
        same = [x.number for x in lesions] == [x.number for x in self._lesions]
        new = list(lesions), frozenset(accepted), dict(colours)
        self._opened = opened
        if same:
            self._lesions, self._accepted, self._colours = new
            if lesions:
                last = self.index(len(lesions) - 1, len(COLUMNS) - 1)
                self.dataChanged.emit(self.index(0, 0), last)
            return
        self.beginResetModel()
        self._lesions, self._accepted, self._colours = new
        self.endResetModel()

    def rowCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008
        """One row per lesion."""
        return 0 if parent.isValid() else len(self._lesions)

    def columnCount(self, parent: _Index = QModelIndex()) -> int:  # noqa: B008
        """As many as ``COLUMNS``."""
        return 0 if parent.isValid() else len(COLUMNS)

    def headerData(
        self, section: int, orientation: Qt.Orientation, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Headings and their tooltips."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return COLUMNS[section].title
        if role == Qt.ItemDataRole.ToolTipRole:
            return COLUMNS[section].tip
        if role == Qt.ItemDataRole.TextAlignmentRole:
            side = "AlignRight" if COLUMNS[section].number else "AlignLeft"
            return Qt.AlignmentFlag[side] | Qt.AlignmentFlag.AlignVCenter
        return None

    def data(self, index: _Index, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Text, sort value, dot of the label's colour, alignment."""
        lesion, column = self._lesions[index.row()], COLUMNS[index.column()]
        state = self.state(lesion)
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(lesion, state)
        if role == SORT_ROLE:
            return column.key(lesion, state)
        if role == LESION_ROLE:
            return lesion
        if role == Qt.ItemDataRole.ToolTipRole:
            return _tip(column.title, lesion, state) or None
        if role == Qt.ItemDataRole.TextAlignmentRole and column.number:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ForegroundRole and column.title == "✓":
            return QColor(DARK.good if state == ACCEPTED else DARK.dim)
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 0:
            return self._dot(lesion.label)
        return None

    def _dot(self, label: int) -> Any:
        colour = self._colours.get(label, (128, 128, 128))
        if colour not in self._dots:
            self._dots[colour] = swatch(colour, 12)
        return self._dots[colour]
