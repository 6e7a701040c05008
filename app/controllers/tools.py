"""The hand: which tool is active, and the scene a gesture works in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from PySide6.QtCore import QObject, Signal

from app.workspace import Workspace
from imaging.case import Case
from imaging.edits.edit import AddItem, Edit
from imaging.errors import EditRefused
from imaging.segmentation import Segment, Segmentation
from imaging.uneven import UnevenGeometry
from imaging.volume import Volume
from viewer.state.display import DisplayState
from viewer.tools.brush import BRUSH_RANGE_MM, brush_target
from viewer.tools.click import Pointed
from viewer.tools.table import TOOLS
from viewer.tools.tool import Preview


class ToolController(QObject):
    """Chooses tools and is the :class:`~viewer.tools.tool.Scene` of every gesture.

    Signals
    -------
    said(str)
        A sentence for the status line.
    """

    said = Signal(str)

    def __init__(self, workspace: Workspace, new_id: Callable[[str], str]) -> None:
        super().__init__()
        self._workspace = workspace
        self._new_id = new_id
        self._previous = "brush"
        self._show_preview: Callable[[Preview | None], None] = lambda _preview: None
        self._point_out: Callable[[Pointed | None], None] = lambda _pointed: None
        self._needs_even: Callable[[str, Callable[[str], None]], bool] = lambda _id, _then: False
        self._undo_first: Callable[[], bool] = lambda: False
        self._redo_first: Callable[[], bool] = lambda: False
        #: The mask that a tool took because nobody had chosen one.
        self._unasked = ""
        workspace.case_changed.connect(self._keep_target)
        workspace.display_changed.connect(self._chosen)

    # --- Scene -------------------------------------------------------------------------------
    @property
    def case(self) -> Case:
        """The open case."""
        return self._workspace.case

    @property
    def display(self) -> DisplayState:
        """The display state now."""
        return self._workspace.display

    def show(self, display: DisplayState) -> None:
        """Replace the display state."""
        self._workspace.show(display)

    def execute(self, edit: Edit) -> None:
        """Change the case; a refusal becomes a sentence."""
        try:
            self._workspace.execute(edit)
        except EditRefused as refusal:
            self.said.emit(str(refusal))

    def preview(self, preview: Preview | None) -> None:
        """Draw a preview in every view, or take it away."""
        self._show_preview(preview)

    def point_out(self, pointed: Pointed | None) -> None:
        """Say what was pointed at, or that the hand has changed its mind."""
        self._point_out(pointed)

    def say(self, sentence: str) -> None:
        """Tell the user something."""
        self.said.emit(sentence)

    def show_previews_with(self, function: Callable[[Preview | None], None]) -> None:
        """Who draws previews."""
        self._show_preview = function

    def point_with(self, function: Callable[[Pointed | None], None]) -> None:
        """Who listens to what is pointed at."""
        self._point_out = function

    def ask_even_with(self, function: Callable[[str, Callable[[str], None]], bool]) -> None:
        """Who asks before something is painted on slices at uneven distances."""
        self._needs_even = function

    def undo_first_with(self, undo: Callable[[], bool], redo: Callable[[], bool]) -> None:
        """Who takes back, or does again, something before the last edit; true where it did."""
        self._undo_first, self._redo_first = undo, redo

    # --- tools -------------------------------------------------------------------------------
    def choose(self, id: str) -> None:
        """Make a tool active; an editing tool gets a mask to work on."""
        tool = next((t for t in TOOLS if t.id == id), None)
        if tool is None:
            return
        if tool.editing and self._needs_even(self._painted_id(), lambda _id: self.choose(id)):
            return
        try:
            ready = not tool.editing or self._ensure_target(id)
        except EditRefused as refusal:
            self.said.emit(str(refusal))
            return
        if not ready:
            self.said.emit("Open a study before painting")
            return
        display = self.display
        if display.tool != id:
            self._previous = display.tool
        self.show(self.display.but(tool=id, editing=tool.editing or display.editing))

    def choose_number(self, number: int) -> None:
        """Make the tool with this number active."""
        if 1 <= number <= len(TOOLS):
            self.choose(TOOLS[number - 1].id)

    def swap(self) -> None:
        """Back to the tool used before."""
        self.choose(self._previous)

    def toggle_mode(self) -> None:
        """Between reading and the brush."""
        if self.editing:
            self._previous = self.display.tool
            self.show(self.display.but(tool="window", editing=False))
        else:
            self.choose("brush")

    @property
    def editing(self) -> bool:
        """True in edit mode."""
        return self.display.editing

    def scale_brush(self, factor: float) -> None:
        """Make the brush larger or smaller."""
        radius = self.display.brush.radius_mm * factor
        radius = min(max(radius, BRUSH_RANGE_MM[0]), BRUSH_RANGE_MM[1])
        self.show(self.display.but(brush=replace(self.display.brush, radius_mm=radius)))

    def step_label(self, step: int) -> None:
        """Next or previous label of the mask that is painted."""
        brush = self.display.brush
        item = self.case.items.get(brush.segmentation_id)
        if not isinstance(item, Segmentation) or not item.segments:
            return
        numbers = [s.number for s in item.segments]
        at = numbers.index(brush.label) if brush.label in numbers else -step
        label = numbers[(at + step) % len(numbers)]
        self.show(self.display.but(brush=replace(brush, label=label)))
        segment = item.segment(label)
        self.said.emit(f"Label: {segment.name}" if segment else "")

    # --- history -----------------------------------------------------------------------------
    def undo(self) -> None:
        """Take the last step back and say which; what is only proposed goes first."""
        if self._undo_first():
            return
        self._step(self._workspace.undo, "Undone", "Nothing to undo")

    def redo(self) -> None:
        """Do it again and say which; a hint that was taken back goes first."""
        if self._redo_first():
            return
        self._step(self._workspace.redo, "Done again", "Nothing to redo")

    def _step(self, verb: Callable[[], str | None], done: str, nothing: str) -> None:
        try:
            name = verb()
        except EditRefused as refusal:
            self.said.emit(str(refusal))
            return
        self.said.emit(f"{done}: {name}" if name else nothing)

    # --- the mask that is painted ------------------------------------------------------------
    def _ensure_target(self, tool: str) -> bool:
        brush = self.display.brush
        target = self.case.items.get(brush.segmentation_id)
        if isinstance(target, Segmentation) and not isinstance(target.geometry, UnevenGeometry):
            return True
        display = self.display
        cell = display.cell(display.active)
        volume_id = cell.volume_id if cell else ""
        volume = self.case.items.get(volume_id) or next(iter(self.case.volumes), None)
        if volume is None:
            return False
        if isinstance(volume, Volume) and not volume.even:
            return False
        if tool == "click" and isinstance(volume, Volume):
            self.mask_on(volume)
            return True
        fresh = replace(display, brush=replace(brush, segmentation_id=""))
        mask_id, label = brush_target(self.case, fresh)
        mask_id = mask_id or self._new_mask(volume).id
        brush = replace(brush, segmentation_id=mask_id, label=label)
        self.show(self.display.but(brush=brush))
        self._unasked = mask_id
        return True

    def _chosen(self, old: DisplayState, new: DisplayState) -> None:
        before, now = old.brush, new.brush
        if (before.segmentation_id, before.label) != (now.segmentation_id, now.label):
            self._unasked = ""

    def mask_on(self, volume: Volume) -> Segmentation:
        """The mask that takes what is found on an image: the chosen one where it fits the grid,
        else the newest work by hand on it, else a new one. It is chosen from then on.

        What a model drafted and masks of tissues or other parts of the body are left alone unless
        somebody has chosen them: that the brush took one by itself does not count.
        """
        brush, case = self.display.brush, self.case
        chosen = case.items.get(brush.segmentation_id)
        if isinstance(chosen, Segmentation) and chosen.geometry.same_grid(volume.geometry):
            asked = chosen.id != self._unasked
            if asked or not (chosen.draft or chosen.anatomical):
                return chosen
        fitting = [
            mask
            for mask in case.segmentations
            if mask.geometry.same_grid(volume.geometry) and not (mask.draft or mask.anatomical)
        ]
        mask = fitting[-1] if fitting else self._new_mask(volume)
        label = mask.segments[0].number if mask.segments else 1
        self.show(self.display.but(brush=replace(brush, segmentation_id=mask.id, label=label)))
        return mask

    def _painted_id(self) -> str:
        """The image of the active view, on which a new mask would lie."""
        cell = self.display.cell(self.display.active)
        return cell.volume_id if cell else ""

    def _new_mask(self, volume) -> Segmentation:
        mask = Segmentation(
            self._new_id("mask"),
            self.case.free_name("My mask"),
            volume.geometry,
            volume.id,
            segments=(Segment(1, "Lesion", self.case.free_colour()),),
        )
        self._workspace.execute(AddItem(mask, "New mask"))
        return mask

    def _keep_target(self, _changes, _origin) -> None:
        """A mask that is gone cannot be painted on: fall back to reading."""
        brush = self.display.brush
        if brush.segmentation_id and brush.segmentation_id not in self.case.items:
            self.show(
                self.display.but(
                    brush=replace(brush, segmentation_id=""), tool="window", editing=False
                )
            )
