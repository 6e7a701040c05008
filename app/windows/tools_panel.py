"""Tools and the settings of the brush; what is masked or locked is always said."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from PySide6.QtCore import QSignalBlocker, QSize, Qt, Signal
from PySide6.QtWidgets import (
    QButtonGroup,
    QComboBox,
    QSizePolicy,
    QToolButton,
    QWidget,
)

from app.windows.controls import (
    ValueSlider,
    allow,
    check_box,
    column,
    field,
    keyboard_stays,
    row,
    scrolling,
    sentence,
)
from app.windows.icons import GLYPHS, icon, swatch
from app.windows.listening import REHEARSAL, listen
from app.windows.theme import SMALL_GAP, set_role
from app.workspace import Workspace
from imaging.segmentation import Segmentation
from viewer.state.display import Brush
from viewer.tools.brush import brush_target
from viewer.tools.table import TOOLS
from viewer.tools.tool import Tool

LONGEST = 30  #: letters of a name in the list of labels; longer ones lose their middle
MIN_MM, MAX_MM = 0.5, 40.0
NEW_MASK = "New mask at the first stroke"
POINTING = (
    "Click: this. Ctrl+click: not this. Drag: a box. Shift or Ctrl+drag: a scribble. "
    "Enter accepts, Esc throws away, Ctrl+Z takes the last hint back."
)


def middle_cut(words: str, longest: int = LONGEST) -> str:
    """A name with … in its middle where it is too long, so that both ends can be told apart."""
    if len(words) <= longest:
        return words
    head = longest // 2
    return f"{words[:head].rstrip()}…{words[head + 1 - longest :].lstrip()}"


class ToolsPanel(QWidget):
    """One button per tool with icon and number, its name below, brush size and shape, active label.

    Signals
    -------
    tool_requested(tool_id)
        A tool button was pressed. A controller may choose the tool (and make a mask for it);
        where none does, the panel chooses it itself.
    engine_chosen(engine)
        What is to find the things pointed at: ``network`` or ``classic``.
    """

    tool_requested = Signal(str)
    engine_chosen = Signal(str)

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self.buttons: dict[str, QToolButton] = {}
        self._targets: list[tuple[str, int]] = []
        self._shown_target = ("", 1)
        self._group = QButtonGroup(self)
        tools = [self._tool_button(number, tool) for number, tool in enumerate(TOOLS, 1)]
        self.title = sentence(role="text")
        self.radius = ValueSlider(MIN_MM, MAX_MM, 0.5, 1, " mm")
        self.radius.changing.connect(lambda value: self._brush(radius_mm=value))
        self.radius.settled.connect(lambda value: self._brush(radius_mm=value))
        self.disc, self.ball = self._shape_buttons()
        self.only_range = check_box("Only shown range")
        self.only_range.clicked.connect(lambda on: self._brush(only_range=on))
        self.label = QComboBox()
        self.label.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.label.setMinimumContentsLength(12)
        self.label.activated.connect(self._choose_label)
        self.engine = QComboBox()
        for words, engine in (("Classic", "classic"), ("Network", "network")):
            self.engine.addItem(words, engine)
        self.engine.setToolTip(
            "What finds the thing pointed at: the click network (in the worker) or the classic\n"
            "engine (sharpest outline and random walker, always there).\n"
            "Click: this. Ctrl+click: not this. Drag: a box. Shift+drag or Ctrl+drag: a scribble.\n"
            "Enter accepts, Esc throws away, Ctrl+Z takes the last hint back.\n"
            "Until Enter it is an outline that no list counts."
        )
        self.engine.activated.connect(
            lambda _row: self.engine_chosen.emit(str(self.engine.currentData()))
        )
        self.state = sentence()
        inner = QWidget()
        outer = column(self)
        outer.addWidget(scrolling(inner), 1)
        outer.addWidget(self.state)  # outside: what is masked must never be scrolled away
        layout = column(inner, margin=0, gap=SMALL_GAP)
        layout.addLayout(row(*tools, gap=SMALL_GAP // 2))  # all of them fit the narrowest column
        layout.addWidget(self.title)
        layout.addLayout(field("Radius", self.radius, 48))
        layout.addLayout(row(self.disc, self.ball, self.only_range, 1))
        layout.addLayout(field("Paints", self.label, 48))
        layout.addLayout(field("Finds", self.engine, 48))
        layout.addStretch(1)
        listen(self, workspace.display_changed, self._on_display)
        listen(self, workspace.case_changed, self._on_case)
        self.refresh()

    def refresh(self) -> None:
        """Read the display and the case again."""
        self._show_tool()
        self._show_labels()
        self._show_brush()

    def show_engine(self, engine: str) -> None:
        """Show what finds the things pointed at; nothing where that is not decided yet."""
        at = self.engine.findData(engine)
        if at >= 0:
            self.engine.setCurrentIndex(at)

    def _tool_button(self, number: int, tool: Tool) -> QToolButton:
        made = keyboard_stays(QToolButton())
        made.setCheckable(True)
        made.setText(str(number))
        made.setAccessibleName(tool.title)
        made.setIcon(icon(tool.id if tool.id in GLYPHS else "window"))
        made.setIconSize(QSize(16, 16))
        set_role(made, "tool")
        made.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextBesideIcon)
        made.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        kind = "changes the mask" if tool.editing else "changes nothing in the case"
        made.setToolTip(f"{tool.title} (key {number} while editing): {kind}")
        made.clicked.connect(lambda: self._choose_tool(tool.id))
        self._group.addButton(made)
        self.buttons[tool.id] = made
        return made

    def _shape_buttons(self) -> tuple[QToolButton, QToolButton]:
        group = QButtonGroup(self)
        made = []
        for shape, words, tip in (
            ("disc", "Disc", "Paint a disc in the plane of the view"),
            ("ball", "Ball", "Paint a ball through the neighbouring slices too"),
        ):
            one = keyboard_stays(QToolButton())
            one.setText(words)
            one.setToolTip(tip)
            one.setCheckable(True)
            one.clicked.connect(lambda _=False, s=shape: self._brush(shape=s))
            group.addButton(one)
            made.append(one)
        return made[0], made[1]

    def _choose_tool(self, tool: str) -> None:
        self.tool_requested.emit(tool)
        if self._workspace.display.tool != tool:
            self._workspace.show(self._workspace.display.but(tool=tool))
        self._show_tool()

    def _brush(self, **changes) -> None:
        display = self._workspace.display
        self._workspace.show(display.but(brush=replace(display.brush, **changes)))

    def _choose_label(self, row_number: int) -> None:
        mask, label = self._targets[row_number]
        self._brush(segmentation_id=mask, label=label)

    def _on_display(self, old, new) -> None:
        if old.tool != new.tool:
            self._show_tool()
        target = brush_target(self._workspace.case, new)
        if old.brush != new.brush or target != self._shown_target:
            self._show_labels()
            self._show_brush()
        if old.brush != new.brush or old.tool != new.tool or old.overlays != new.overlays:
            self._show_brush()
        if old.overlays_shown != new.overlays_shown:
            self._show_brush()

    def _on_case(self, changes, origin) -> None:
        if origin != REHEARSAL and any(change.parts - {"voxels"} for change in changes):
            self._show_labels()
            self._show_brush()

    def _show_tool(self) -> None:
        chosen = self.buttons.get(self._workspace.display.tool)
        self.title.setText(chosen.accessibleName() if chosen else "No tool of this row")
        if chosen is not None:
            chosen.setChecked(True)
            return
        self._group.setExclusive(False)
        for one in self.buttons.values():
            one.setChecked(False)
        self._group.setExclusive(True)

    def _show_labels(self) -> None:
        target = self._shown_target = brush_target(self._workspace.case, self._workspace.display)
        self._targets.clear()
        with QSignalBlocker(self.label):
            self.label.clear()
            masks = self._workspace.case.kept_segmentations
            names = Counter(segment.name for mask in masks for segment in mask.segments)
            for mask in masks:
                for segment in mask.segments:
                    dot = icon("lock") if segment.locked else swatch(segment.colour)
                    full = f"{segment.name} – {mask.name}"
                    words = full if names[segment.name] > 1 else segment.name
                    self.label.addItem(dot, middle_cut(words))
                    tip = Qt.ItemDataRole.ToolTipRole
                    self.label.setItemData(self.label.count() - 1, full, tip)
                    self._targets.append((mask.id, segment.number))
            if target not in self._targets:
                self.label.addItem(NEW_MASK)
                self._targets.append(("", 1))
                target = ("", 1)
            self.label.setCurrentIndex(self._targets.index(target))
        any_label = any(mask for mask, _ in self._targets)
        because = "" if any_label else "There is no mask with labels yet: paint one"
        full = self.label.currentData(Qt.ItemDataRole.ToolTipRole) or ""
        allow(self.label, f"{full}\nThe label the brush paints (Q and W change it)", because)

    def _show_brush(self) -> None:
        brush = self._workspace.display.brush
        self.radius.set_value(brush.radius_mm)
        self.radius.setToolTip("Radius of the brush in mm ([ and ], or Shift + wheel)")
        self.disc.setChecked(brush.shape == "disc")
        self.ball.setChecked(brush.shape == "ball")
        self.only_range.setChecked(brush.only_range)
        self.only_range.setToolTip(
            "Paint only voxels whose value lies inside the window shown (hold Alt for one stroke)"
        )
        words, role = self._restrictions(brush)
        self.state.setText(words)
        set_role(self.state, role)

    def _restrictions(self, brush: Brush) -> tuple[str, str]:
        """Everything that keeps the brush from painting, as sentences."""
        found = []
        pointing = self._workspace.display.tool == "click"
        mask_id, label = brush_target(self._workspace.case, self._workspace.display)
        mask = self._workspace.case.items.get(mask_id)
        if isinstance(mask, Segmentation):
            segment = mask.segment(label)
            if segment is not None and segment.locked:
                found.append(f"“{segment.name}” is locked and cannot be painted.")
            overlay = self._workspace.display.overlay(mask.id)
            if not overlay.visible or label in overlay.hidden_segments:
                found.append("This label is hidden: strokes will not be seen.")
        if not self._workspace.display.overlays_shown:
            key = "S" if self._workspace.display.editing else "Space"
            found.append(f"Overlays are off ({key}): strokes will not be seen.")
        if brush.only_range and not pointing:
            found.append("Only values inside the shown window are painted.")
        free = POINTING if pointing else "The brush paints everywhere."
        return " ".join(found) or free, "warning" if found else "dim"
