"""The lesion list as a table for Qt: what each column shows and how it sorts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QAbstractTableModel, QModelIndex, QPersistentModelIndex, Qt
from PySide6.QtGui import QColor

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
    text: Callable[[Lesion, bool], str]
    key: Callable[[Lesion, bool], Any]
    number: bool = True


def _probability(lesion: Lesion, _accepted: bool) -> str:
    return "–" if lesion.mean_probability is None else f"{lesion.mean_probability:.2f}"


COLUMNS: tuple[Column, ...] = (
    Column("#", "Number of the lesion", lambda x, a: str(x.number), lambda x, a: x.number),
    Column("ml", "Volume in millilitres", lambda x, a: f"{x.volume_ml:.2f}"
           if x.volume_ml >= 0.995 else f"{x.volume_ml:.3f}", lambda x, a: x.volume_ml),
    Column("mm", "Longest diameter in mm, in 3D", lambda x, a: f"{x.longest_diameter_mm:.1f}",
           lambda x, a: x.longest_diameter_mm),
    Column("p", "Mean probability the model gave its voxels", _probability,
           lambda x, a: -1.0 if x.mean_probability is None else x.mean_probability),
    Column("Place", "Where in the head", lambda x, a: x.place or "–", lambda x, a: x.place, False),
    Column("State", "Draft: proposed by a model. Accepted: checked by a person",
           lambda x, a: "✓" if a else "draft", lambda x, a: a, False),
)  # fmt: skip


class LesionTable(QAbstractTableModel):
    """Rows are lesions; equal rows are not announced again, so the view stays where it is."""

    def __init__(self) -> None:
        super().__init__()
        self._lesions: list[Lesion] = []
        self._accepted: frozenset[int] = frozenset()
        self._colours: dict[int, Colour] = {}
        self._dots: dict[Colour, Any] = {}

    @property
    def lesions(self) -> Sequence[Lesion]:
        """The lesions, in the order they were given."""
        return self._lesions

    def accepted(self, lesion: Lesion) -> bool:
        """Whether a person has taken it over."""
        return lesion.number in self._accepted

    def set_lesions(
        self, lesions: Sequence[Lesion], accepted: Collection[int], colours: Mapping[int, Colour]
    ) -> None:
        """Take over a list; where the numbers are the same the rows only change their text."""
        same = [x.number for x in lesions] == [x.number for x in self._lesions]
        new = list(lesions), frozenset(accepted), dict(colours)
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
        accepted = self.accepted(lesion)
        if role == Qt.ItemDataRole.DisplayRole:
            return column.text(lesion, accepted)
        if role == SORT_ROLE:
            return column.key(lesion, accepted)
        if role == LESION_ROLE:
            return lesion
        if role == Qt.ItemDataRole.ToolTipRole and column.title == "Place":
            return lesion.place
        if role == Qt.ItemDataRole.TextAlignmentRole and column.number:
            return Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        if role == Qt.ItemDataRole.ForegroundRole and column.title == "State":
            return QColor(DARK.good if accepted else DARK.dim)
        if role == Qt.ItemDataRole.DecorationRole and index.column() == 0:
            return self._dot(lesion.label)
        return None

    def _dot(self, label: int) -> Any:
        colour = self._colours.get(label, (128, 128, 128))
        if colour not in self._dots:
            self._dots[colour] = swatch(colour, 12)
        return self._dots[colour]
