"""The views side by side: layouts, maximising, and who gets told what.

Widgets are made once per cell and then only shown, hidden and moved; a 3D view is made when it is
first shown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

from PySide6.QtCore import QPoint, QRect, Signal
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QWidget

from imaging.case import ADDED, REMOVED, VOXELS, Case, Change
from imaging.geometry import Box
from imaging.segmentation import Segmentation
from imaging.volume import Volume
from viewer.state.display import SERIES_MIME, Cell, DisplayState, Layout, Plane
from viewer.state.plan import ViewPlan, plan
from viewer.tools.tool import Preview, Scene
from viewer.widgets.slice_view import SliceView

#: Space between views, logical pixels.
GAP = 2
#: What shows between views.
GROUND = QColor("#23272c")


class Readable(Protocol):
    """Where the grid looks up the state when only its own size has changed."""

    @property
    def case(self) -> Case:
        """The open case."""
        ...

    @property
    def display(self) -> DisplayState:
        """The display state."""
        ...


class ViewGrid(QWidget):
    """All views of the case.

    Parameters
    ----------
    workspace : Readable
        Case and display, to read.
    scene : Scene
        What the hand's gestures work in.
    volume_view : callable
        Makes a 3D view: a QWidget with ``apply(case, display, cell, changes)``.

    Signals
    -------
    hovered(world, volume_id)
        The point under the pointer (LPS mm) in a slice view; ``(None, "")`` when it leaves.
    activated(cell), maximise_requested(cell)
        The hand pressed, double-clicked.
    menu_requested(cell, place)
        Right click at a global screen position.
    jump_requested(world, volume_id)
        A point was picked in 3D.
    series_dropped(key, cell)
        A series was dropped on a view.
    clicked(world, volume_id)
        A left click without a drag on a slice while reading (LPS mm).
    even_wanted(volume_id)
        The offer of a view to make an even volume was taken.
    """

    hovered = Signal(object, str)
    activated = Signal(str)
    maximise_requested = Signal(str)
    menu_requested = Signal(str, QPoint)
    jump_requested = Signal(object, str)
    series_dropped = Signal(str, str)
    clicked = Signal(object, str)
    even_wanted = Signal(str)

    def __init__(
        self,
        workspace: Readable,
        scene: Scene,
        volume_view: Callable[[], QWidget],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self._scene = scene
        self._make_volume_view = volume_view
        self._slices: dict[str, SliceView] = {}
        self._volumes: dict[str, QWidget] = {}
        self._places: dict[str, QRect] = {}
        self._previewed: dict[str, Box] = {}
        self._loading: dict[str, str] = {}
        self.setAcceptDrops(True)
        self.setMinimumSize(200, 160)
        self.setAutoFillBackground(True)
        palette = self.palette()
        palette.setColor(QPalette.ColorRole.Window, GROUND)
        self.setPalette(palette)

    # --- told ---------------------------------------------------------------------------------
    def apply(self, case: Case, display: DisplayState, changes: Sequence[Change] = ()) -> None:
        """Show the case as the display says; ``changes`` names the voxels that are new."""
        self._arrange(display)
        made = plan(case, display, {id: _size(rect) for id, rect in self._places.items()})
        self._tell_slices(case, made, changes)
        for cell in display.shown_cells:
            if cell.plane == Plane.VOLUME:
                self._volumes[cell.id].apply(case, display, cell, changes)  # type: ignore[attr-defined]

    def preview(self, preview: Preview | None) -> None:
        """Draw a preview in every slice view that meets it, or take all previews back."""
        if preview is not None:
            known = self._previewed.get(preview.item)
            self._previewed[preview.item] = known.union(preview.box) if known else preview.box
            for view in self._shown_slices():
                view.preview(preview)
            return
        previewed, self._previewed = self._previewed, {}
        for id, box in previewed.items():
            for view in self._shown_slices():
                view.voxels_changed(self._workspace.case.items.get(id), box)

    def set_loading(self, volume_id: str, sentence: str) -> None:
        """Say in every view of a volume that more is coming; empty takes it back."""
        self._loading[volume_id] = sentence
        for view in self._slices.values():
            if view.plan.volume_id == volume_id:
                view.set_loading(sentence)

    def cancel_gesture(self) -> bool:
        """Close the gesture that is going on; True where there was one."""
        return any([view.hand.cancel() for view in self._slices.values()])

    def slice_view(self, cell: str) -> SliceView | None:
        """The slice view of a cell, if it has been shown."""
        return self._slices.get(cell)

    def volume_views(self) -> Mapping[str, QWidget]:
        """The 3D views made so far, by cell."""
        return self._volumes

    # --- arrangement --------------------------------------------------------------------------
    def resizeEvent(self, event) -> None:
        """Arrange anew at the new size."""
        super().resizeEvent(event)
        self.apply(self._workspace.case, self._workspace.display)

    def _arrange(self, display: DisplayState) -> None:
        shown = display.shown_cells
        rects = rectangles(display.layout, len(shown), self.width(), self.height())
        self._places = {cell.id: rect for cell, rect in zip(shown, rects, strict=True)}
        widgets = {cell.id: self._widget(cell) for cell in shown}
        for widget in (*self._slices.values(), *self._volumes.values()):
            if widget not in widgets.values():
                widget.hide()
        for id, widget in widgets.items():
            if widget.geometry() != self._places[id]:
                widget.setGeometry(self._places[id])
            if widget.isHidden():
                widget.show()

    def _widget(self, cell: Cell) -> QWidget:
        if cell.plane == Plane.VOLUME:
            return self._volumes.get(cell.id) or self._new_volume_view(cell.id)
        return self._slices.get(cell.id) or self._new_slice_view(cell.id)

    def _new_slice_view(self, id: str) -> SliceView:
        view = SliceView(id, self._scene, self)
        view.hovered.connect(self.hovered)
        view.clicked.connect(self.clicked)
        view.even_wanted.connect(self.even_wanted)
        view.activated.connect(self._activate)
        view.maximise_requested.connect(self.maximise_requested)
        view.menu_requested.connect(self.menu_requested)
        self._slices[id] = view
        return view

    def _new_volume_view(self, id: str) -> QWidget:
        view = self._make_volume_view()
        view.setParent(self)
        self._volumes[id] = view
        for name, slot in (
            ("activated", lambda: self._activate(id)),
            ("maximise_requested", lambda: self.maximise_requested.emit(id)),
            ("menu_requested", lambda at: self.menu_requested.emit(id, view.mapToGlobal(at))),
            ("even_wanted", self.even_wanted.emit),
            ("picked", lambda world: self.jump_requested.emit(world, self._volume_of(id))),
        ):
            if hasattr(view, name):
                getattr(view, name).connect(slot)
        return view

    def _volume_of(self, id: str) -> str:
        cell = self._workspace.display.cell(id)
        return cell.volume_id if cell else ""

    def _activate(self, id: str) -> None:
        if self._workspace.display.active != id:
            self.activated.emit(id)

    # --- telling ------------------------------------------------------------------------------
    def _shown_slices(self) -> list[SliceView]:
        return [view for id, view in self._slices.items() if id in self._places]

    def _tell_slices(self, case: Case, made: ViewPlan, changes: Sequence[Change]) -> None:
        for id, slice_plan in made.slices.items():
            view = self._slices[id]
            view.apply(slice_plan, case)
            view.set_loading(self._loading.get(slice_plan.volume_id, ""))
            for change in changes:
                if change.parts & {ADDED, REMOVED}:
                    view.update()
                item = case.items.get(change.item)
                if VOXELS in change.parts and isinstance(item, Volume | Segmentation):
                    view.voxels_changed(item, change.box)

    # --- drops --------------------------------------------------------------------------------
    def dragEnterEvent(self, event) -> None:
        """Take a series; files are for the window."""
        if event.mimeData().hasFormat(SERIES_MIME):
            event.acceptProposedAction()
        else:
            event.ignore()

    def dropEvent(self, event) -> None:
        """A series was dropped on the view under the pointer."""
        if not event.mimeData().hasFormat(SERIES_MIME):
            event.ignore()
            return
        place = event.position().toPoint()
        cell = next((id for id, rect in self._places.items() if rect.contains(place)), "")
        key = bytes(event.mimeData().data(SERIES_MIME).data()).decode("utf-8")
        event.acceptProposedAction()
        self.series_dropped.emit(key, cell)


def rectangles(layout: Layout, count: int, width: int, height: int) -> list[QRect]:
    """Where ``count`` views go: one alone; one large beside a column; or two by two."""
    if count <= 1:
        return [QRect(0, 0, width, height)] * count
    if layout == Layout.ONE_AND_THREE:
        return _one_and_column(count, width, height)
    columns, rows = 2, (count + 1) // 2
    return [_tile(n % columns, n // columns, columns, rows, 0, width, height) for n in range(count)]


def _one_and_column(count: int, width: int, height: int) -> list[QRect]:
    rest = count - 1
    # Small views are about square, but never take more than two fifths of the width.
    column = min(height // rest, width * 2 // 5)
    large = QRect(0, 0, width - column - GAP, height)
    small = [_tile(0, n, 1, rest, width - column, column, height) for n in range(rest)]
    return [large, *small]


def _tile(
    column: int, row: int, columns: int, rows: int, left: int, width: int, height: int
) -> QRect:
    x0, x1 = (width + GAP) * column // columns, (width + GAP) * (column + 1) // columns - GAP
    y0, y1 = (height + GAP) * row // rows, (height + GAP) * (row + 1) // rows - GAP
    return QRect(left + x0, y0, x1 - x0, y1 - y0)


def _size(rect: QRect) -> tuple[int, int]:
    return rect.width(), rect.height()
