"""What lies over the images but masks: maps with their colours, drawings of the files on or off."""

from __future__ import annotations

from PySide6.QtCore import QRect, QSignalBlocker, QSize, Qt
from PySide6.QtGui import QImage, QPainter, QPaintEvent
from PySide6.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFrame,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from app.windows.controls import (
    ValueSlider,
    check_box,
    column,
    field,
    flat_button,
    row,
    scrolling,
    sentence,
)
from app.windows.listening import listen
from app.windows.theme import DARK, GAP, SMALL_GAP, set_role
from app.windows.tools_panel import middle_cut
from app.workspace import Workspace
from imaging.edits.edit import RemoveItem
from imaging.errors import EditRefused
from imaging.heatmap import DEVIATION, GRAD_CAM, PICTURE, PROBABILITY, UNCERTAINTY, Heatmap
from imaging.volume import Volume
from viewer.state.colour_tables import COLOUR_TABLES, colours
from viewer.state.display import DisplayState, Overlay, drawing_id

MEANINGS = {
    PROBABILITY: "Probability of the finding, as the model gives it",
    GRAD_CAM: "Bright = evidence that moved the model towards “finding”; not a measure of truth",
    UNCERTAINTY: "Bright = the model is unsure here: it may be wrong in either direction",
    DEVIATION: "Bright = unlike what the model expects at this place; it does not say “ill”",
    PICTURE: "A guess, not a measurement: what the model would expect in a head without findings",
}
#: What the two ends of a legend stand for.
ENDS = {
    UNCERTAINTY: ("sure", "unsure"),
    DEVIATION: ("as expected", "unlike"),
    PICTURE: ("dark", "bright"),
}
SMALLEST_RANGE = 0.01
LONGEST_NAME = 32  #: letters; what tells maps of the same kind apart stands at the end


class Legend(QWidget):
    """The colours of a map from its low to its high value, with both numbers."""

    def __init__(self, ends: tuple[str, str] = ("0", "1")) -> None:
        super().__init__()
        self._overlay = Overlay()
        self._ends = ends
        self.setMinimumHeight(34)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """Wide enough for both numbers."""
        return QSize(200, 34)

    def show_overlay(self, overlay: Overlay) -> None:
        """Take over the colours and the range."""
        self._overlay = overlay
        self.setAccessibleName(f"Legend {overlay.colour_table} {overlay.low} to {overlay.high}")
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:
        """A bar whose transparent part is dark, and under it the numbers and what the ends mean."""
        painter = QPainter(self)
        bar = QRect(0, 2, self.width(), 12)
        painter.fillRect(bar, Qt.GlobalColor.black)
        left = round(self._overlay.low * bar.width())
        right = max(left + 1, round(self._overlay.high * bar.width()))
        ramp = colours(self._overlay.colour_table)
        image = QImage(ramp.data, len(ramp), 1, 3 * len(ramp), QImage.Format.Format_RGB888)
        painter.drawImage(QRect(left, 2, right - left, 12), image)
        last = QImage(image.copy(len(ramp) - 1, 0, 1, 1))
        painter.drawImage(QRect(right, 2, bar.width() - right, 12), last)
        painter.setPen(DARK.dim)
        under = QRect(0, 16, self.width(), 18)
        painter.drawText(under, Qt.AlignmentFlag.AlignLeft, self._ends[0])
        painter.drawText(under, Qt.AlignmentFlag.AlignRight, self._ends[1])
        wide = [painter.fontMetrics().horizontalAdvance(words) + 24 for words in self._ends]
        for value, at in ((self._overlay.low, left), (self._overlay.high, right)):
            if 0.08 < value < 0.94 and wide[0] < at < self.width() - wide[1]:
                spot = QRect(at - 24, 16, 48, 18)
                painter.drawText(spot, Qt.AlignmentFlag.AlignHCenter, f"{value:.2f}")
        painter.end()


class MapCard(QFrame):
    """Controls of one map."""

    def __init__(self, workspace: Workspace, heatmap: Heatmap) -> None:
        super().__init__()
        self._workspace, self.map_id = workspace, heatmap.id
        set_role(self, "card")
        self.visible = check_box(heatmap.title)
        self.visible.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.visible.setToolTip(f"{heatmap.name}: lay this map over the images")
        self.visible.clicked.connect(lambda on: self._change(visible=on))
        self.remove = flat_button("bin", "Take this map out of the case (can be undone)")
        self.remove.clicked.connect(self._remove)
        about = f"{MEANINGS.get(heatmap.meaning, heatmap.meaning)}."
        self.table = QComboBox()
        self.table.addItems(list(COLOUR_TABLES))
        self.table.setToolTip("Colour table")
        self.table.textActivated.connect(lambda name: self._change(colour_table=name))
        self.legend = Legend(ENDS.get(heatmap.meaning, ("0", "1")))
        self.opacity = self._slider("Opacity of the map", "opacity")
        self.low = self._slider("Values below are transparent", "low")
        self.high = self._slider("Values above have the last colour", "high")
        self.provenance = sentence(heatmap.provenance.sentence)
        layout = column(self, gap=SMALL_GAP)
        head = row(self.visible, self.remove)
        head.setStretch(0, 1)
        layout.addLayout(head)
        layout.addWidget(sentence(about))
        layout.addWidget(self.legend)
        for words, control in (
            ("Colours", self.table),
            ("Opacity", self.opacity),
            ("From", self.low),
            ("To", self.high),
        ):
            layout.addLayout(field(words, control, 56))
        layout.addWidget(self.provenance)

    def name(self, words: str) -> None:
        """Bear this name."""
        self.visible.setText(words.replace("&", "&&"))

    def refresh(self) -> None:
        """Read the display again."""
        overlay = self._workspace.display.overlay(self.map_id)
        with QSignalBlocker(self.visible), QSignalBlocker(self.table):
            self.visible.setChecked(overlay.visible)
            self.table.setCurrentText(overlay.colour_table)
        self.opacity.set_value(overlay.opacity)
        self.low.set_value(overlay.low)
        self.high.set_value(overlay.high)
        self.legend.show_overlay(overlay)

    def _slider(self, tip: str, name: str) -> ValueSlider:
        slider = ValueSlider(0.0, 1.0, 0.01)
        slider.setToolTip(tip)
        slider.changing.connect(lambda value: self._move(name, value))
        slider.settled.connect(lambda value: self._move(name, value))
        return slider

    def _move(self, name: str, value: float) -> None:
        """Low and high push each other, so that the range never turns round."""
        overlay = self._workspace.display.overlay(self.map_id)
        if name == "low":
            value = min(value, 1.0 - SMALLEST_RANGE)
            self._change(low=value, high=max(overlay.high, value + SMALLEST_RANGE))
        elif name == "high":
            value = max(value, SMALLEST_RANGE)
            self._change(high=value, low=min(overlay.low, value - SMALLEST_RANGE))
        else:
            self._change(opacity=value)

    def _change(self, **changes) -> None:
        self._workspace.show(self._workspace.display.with_overlay(self.map_id, **changes))

    def _remove(self) -> None:
        item = self._workspace.case.items.get(self.map_id)
        if item is None:
            return
        try:
            self._workspace.execute(RemoveItem(item, f"Remove map “{item.name}”"))
        except EditRefused as refusal:
            self.provenance.setText(str(refusal))


class DrawingRows(QWidget):
    """A switch for each drawing that the files of the active image bring along."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._shown: tuple[str, tuple[str, ...]] = ("", ())
        self.boxes: dict[str, QCheckBox] = {}
        self._list = column(self, margin=0, gap=SMALL_GAP)
        self._list.addWidget(sentence("Overlay planes in the file:"))

    def refresh(self) -> None:
        """Read the case and the display again."""
        display = self._workspace.display
        volume = _active_volume(self._workspace)
        drawings = volume.drawings if volume is not None else None
        names = drawings.names if drawings is not None else ()
        shown = (volume.id if volume is not None else "", names)
        if shown != self._shown:
            self._shown = shown
            self._make_boxes(shown[0], volume.title if volume is not None else "", names)
        for name, box in self.boxes.items():
            with QSignalBlocker(box):
                box.setChecked(display.overlay(drawing_id(shown[0], name)).visible)
        self.setVisible(bool(names))

    def _make_boxes(self, volume_id: str, title: str, names: tuple[str, ...]) -> None:
        for box in self.boxes.values():
            self._list.removeWidget(box)
            box.deleteLater()
        self.boxes = {name: self._box(volume_id, title, name) for name in names}
        for box in self.boxes.values():
            self._list.addWidget(box)

    def _box(self, volume_id: str, title: str, name: str) -> QCheckBox:
        box = check_box(name.replace("&", "&&"))
        box.setToolTip(
            f"Overlay planes in the file: {name}\nThe files of “{title}” draw this over their "
            "slices. It is shown over the plane as acquired only, never in other planes or 3D."
        )
        box.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        id = drawing_id(volume_id, name)
        box.clicked.connect(
            lambda on: self._workspace.show(self._workspace.display.with_overlay(id, visible=on))
        )
        return box


def _active_volume(workspace: Workspace) -> Volume | None:
    """The image of the active view."""
    cell = workspace.display.cell(workspace.display.active)
    volume = workspace.case.items.get(cell.volume_id) if cell else None
    return volume if isinstance(volume, Volume) else None


def _active_image(display: DisplayState) -> str:
    cell = display.cell(display.active)
    return cell.volume_id if cell else ""


class OverlaysPanel(QWidget):
    """One card per map, the drawings of the files, and one switch for all overlays."""

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self.cards: dict[str, MapCard] = {}
        self.all = check_box("Show overlays")
        self.all.setToolTip("Masks, maps and overlay planes on or off (Space)")
        self.all.clicked.connect(
            lambda on: workspace.show(workspace.display.but(overlays_shown=on))
        )
        self.drawings = DrawingRows(workspace)
        self.empty = sentence(
            "No maps yet. A model adds its probability map and, if asked, a Grad-CAM map here."
        )
        inner = QWidget()
        self._list = QVBoxLayout(inner)
        self._list.setContentsMargins(0, 0, 0, 0)
        self._list.setSpacing(GAP)
        self._list.addWidget(self.empty)
        self._list.addStretch(1)
        self.scroll_area = scrolling(inner)
        layout = column(self)
        layout.addWidget(self.all)
        layout.addWidget(self.drawings)
        layout.addWidget(self.scroll_area, 1)
        listen(self, workspace.case_changed, self._on_case)
        listen(self, workspace.display_changed, self._on_display)
        self.refresh()

    def refresh(self) -> None:
        """Read the case and the display again."""
        maps = {item.id: item for item in self._workspace.case.heatmaps}
        titles = [item.title for item in maps.values()]
        for gone in [key for key in self.cards if key not in maps]:
            card = self.cards.pop(gone)
            self._list.removeWidget(card)
            card.hide()
            card.deleteLater()
        for key, item in maps.items():
            if key not in self.cards:
                self.cards[key] = MapCard(self._workspace, item)
                self._list.insertWidget(self._list.count() - 1, self.cards[key])
            alone = titles.count(item.title) == 1
            self.cards[key].name(item.title if alone else middle_cut(item.name, LONGEST_NAME))
            self.cards[key].refresh()
        self.empty.setVisible(not maps)
        self.drawings.refresh()
        with QSignalBlocker(self.all):
            self.all.setChecked(self._workspace.display.overlays_shown)

    def _on_case(self, changes, origin) -> None:
        if any(change.parts - {"voxels"} for change in changes):
            self.refresh()

    def _on_display(self, old, new) -> None:
        if old.overlays != new.overlays or old.overlays_shown != new.overlays_shown:
            self.refresh()
        elif _active_image(old) != _active_image(new):
            self.drawings.refresh()
