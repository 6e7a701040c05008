"""Joins the workspace and the grid of views: changes go in as plans, the hand comes out."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from PySide6.QtCore import QObject, QTimer, Signal

from app.workspace import Workspace
from imaging.case import Change
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.uneven import true_place
from imaging.volume import Volume
from viewer.state.cameras import flipped, rotated
from viewer.state.display import Camera, Cell, DisplayState, Layout, Plane
from viewer.state.linking import with_cursor
from viewer.state.navigation import PRESET_NAMES, plane_cells, presets, with_plane
from viewer.state.windows import automatic_window, forget
from viewer.tools.scroll import scrolled
from viewer.tools.tool import Preview

CINE_MS = 80
#: Between two images of a 4D series that are played.
REPEAT_MS = 160


class ViewController(QObject):
    """What the user can do to the picture.

    Signals
    -------
    said(str)
        A sentence for the status line.
    window_reset(volume_id)
        The window of a volume goes back to what nobody chose.
    repeats_playing(bool)
        The images of a 4D series are shown one after the other, or no longer.
    """

    said = Signal(str)
    window_reset = Signal(str)
    repeats_playing = Signal(bool)

    def __init__(self, workspace: Workspace, grid: Any) -> None:
        super().__init__()
        self._workspace = workspace
        self._grid = grid
        self._cine = QTimer(self, interval=CINE_MS)
        self._cine.timeout.connect(self._cine_step)
        self._cine_way = 1
        self._player = QTimer(self, interval=REPEAT_MS)
        self._player.timeout.connect(self._play_step)
        workspace.case_changed.connect(self._case_changed)
        workspace.display_changed.connect(self._display_changed)

    # --- drawing -----------------------------------------------------------------------------
    def _case_changed(self, changes: tuple[Change, ...], origin: str) -> None:
        if origin == "load":
            for change in changes:
                item = self._workspace.case.items.get(change.item)
                if isinstance(item, Volume):
                    forget(item)
        self._grid.apply(self._workspace.case, self._workspace.display, changes)

    def _display_changed(self, _old: DisplayState, new: DisplayState) -> None:
        self._grid.apply(self._workspace.case, new, ())

    def preview(self, preview: Preview | None) -> None:
        """Draw a preview in every view, or take it away."""
        self._grid.preview(preview)

    # --- cells -------------------------------------------------------------------------------
    @property
    def _display(self) -> DisplayState:
        return self._workspace.display

    def _active(self) -> tuple[Cell, Volume] | None:
        cell = self._display.cell(self._display.active)
        if cell is None:
            return None
        volume = self._workspace.case.items.get(cell.volume_id)
        return (cell, volume) if isinstance(volume, Volume) else None

    def activate(self, cell_id: str) -> None:
        """Make a cell the active one."""
        self._workspace.show(self._display.but(active=cell_id))

    def set_layout(self, layout: Layout) -> None:
        """One view, one and three, or two by two."""
        self._workspace.show(self._display.but(layout=layout, maximised=""))

    def toggle_maximised(self, cell_id: str = "") -> None:
        """Fill the grid with a cell, or bring the others back."""
        wanted = cell_id or self._display.active
        self._workspace.show(
            self._display.but(maximised="" if self._display.maximised else wanted, active=wanted)
        )

    def planes(self) -> None:
        """All planes of the active series."""
        if active := self._active():
            self._workspace.show(self._display.but(cells=plane_cells(active[1]), maximised=""))

    def set_plane(self, plane: str) -> None:
        """Another plane in the active cell."""
        if active := self._active():
            cell, volume = active
            self._workspace.show(with_plane(self._display, cell.id, Plane(plane), volume.geometry))

    def toggle(self, field: str) -> None:
        """Switch a yes-or-no of the display."""
        self._workspace.show(self._display.but(**{field: not getattr(self._display, field)}))

    # --- moving ------------------------------------------------------------------------------
    def scroll(self, steps: int) -> None:
        """Slices on or back in the active view."""
        if active := self._active():
            display = scrolled(self._workspace.case, self._display, active[0].id, steps)
            self._workspace.show(display)

    def jump(self, world: np.ndarray, volume_id: str = "") -> None:
        """Bring every linked view to a patient position (LPS mm)."""
        volume = self._workspace.case.items.get(volume_id)
        if not isinstance(volume, Volume):
            active = self._active()
            if active is None:
                return
            volume = active[1]
        self._workspace.show(with_cursor(self._display, volume.geometry, world))

    def toggle_cine(self) -> None:
        """Run through the slices, back and forth, until told to stop."""
        if self._cine.isActive():
            self._cine.stop()
        else:
            self._cine.start()
        self.said.emit("Cine on (C stops it)" if self._cine.isActive() else "Cine off")

    def _cine_step(self) -> None:
        before = self._display.cursor
        self.scroll(self._cine_way)
        if self._display.cursor == before:
            self._cine_way = -self._cine_way
            self.scroll(self._cine_way)
        if self._display.cursor == before:
            self._cine.stop()

    # --- images of a 4D series -----------------------------------------------------------------
    @property
    def has_repeats(self) -> bool:
        """True where the active view shows a series of several images."""
        active = self._active()
        return active is not None and active[1].repeats is not None

    def show_repeat(self, number: int) -> None:
        """Another image of the active series, from 0; at the ends it goes round."""
        active = self._active()
        if active is not None and active[1].repeats is not None:
            self._workspace.show_repeat(active[1].id, number % len(active[1].repeats))

    def step_repeat(self, step: int) -> None:
        """The next or previous image of the active series."""
        if active := self._active():
            self.show_repeat(active[1].repeat + step)

    def toggle_play(self) -> None:
        """Show the images of the active series one after the other, until told to stop."""
        self._play(not self._player.isActive())

    def _play(self, on: bool) -> None:
        if on == self._player.isActive():
            return
        if on:
            self._player.start()
        else:
            self._player.stop()
        self.repeats_playing.emit(on)

    def _play_step(self) -> None:
        if self.has_repeats:
            self.step_repeat(1)
        else:
            self._play(False)

    # --- grey values -------------------------------------------------------------------------
    def preset(self, number: int) -> None:
        """Window of a digit key: 0 automatic, 1-2 from the header, 3 and more around it."""
        if not (active := self._active()):
            return
        volume = active[1]
        if number == 0:
            forget(volume)  # of a 4D series: from the image that is shown now
        automatic = automatic_window(volume)
        header = volume.windows or ((volume.window,) if volume.window else ())
        window = automatic if number == 0 else presets(automatic, header)[number - 1]
        self._workspace.show(self._display.with_window(volume.id, window))
        name = "automatic" if number == 0 else PRESET_NAMES[number - 1]
        self.said.emit(f"Window {name}: {window.width:.0f}, level {window.centre:.0f}")

    def invert(self) -> None:
        """Bright becomes dark for the active series."""
        if active := self._active():
            wanted = self._display.inverted ^ {active[1].id}
            self._workspace.show(self._display.but(inverted=frozenset(wanted)))

    # --- camera ------------------------------------------------------------------------------
    def flip(self, way: str) -> None:
        """Mirror the active view; the letters follow."""
        if active := self._active():
            self._workspace.show(flipped(self._display, active[0].id, way == "horizontal"))

    def rotate(self) -> None:
        """A quarter turn of the active view."""
        if active := self._active():
            self._workspace.show(rotated(self._display, active[0].id))

    def reset(self) -> None:
        """Fit every view, take back flips and turns, automatic window."""
        cells = tuple(replace(cell, camera=Camera()) for cell in self._display.cells)
        windows = dict(self._display.windows)
        if active := self._active():
            windows.pop(active[1].id, None)
        self._workspace.show(self._display.but(cells=cells, windows=windows))
        if active:
            self.window_reset.emit(active[1].id)

    def step_opacity(self, step: float) -> None:
        """All visible masks more or less opaque."""
        display = self._display
        for item in self._workspace.case:
            if isinstance(item, Segmentation):
                opacity = min(1.0, max(0.0, display.overlay(item.id).opacity + step))
                display = display.with_overlay(item.id, opacity=round(opacity, 2))
        self._workspace.show(display)

    # --- 3D ----------------------------------------------------------------------------------
    @property
    def shows_3d(self) -> bool:
        """True where a 3D view is on screen."""
        return any(cell.plane == Plane.VOLUME for cell in self._display.shown_cells)

    def look_from(self, letter: str) -> None:
        """Turn every 3D view to look from A, P, L, R, S or I."""
        for view in self._grid.volume_views().values():
            view.look_from(letter)

    def fit_3d(self) -> None:
        """The whole head in every 3D view."""
        for view in self._grid.volume_views().values():
            view.fit()

    def highlight(self, segmentation_id: str, lesion: object) -> None:
        """Mark the chosen lesion in 3D."""
        for view in self._grid.volume_views().values():
            view.highlight(segmentation_id, lesion)

    # --- uneven stacks -------------------------------------------------------------------------
    @property
    def active_volume_id(self) -> str:
        """The volume of the active view; empty where there is none."""
        active = self._active()
        return active[1].id if active else ""

    # --- words -------------------------------------------------------------------------------
    def describe(self, world: np.ndarray | None, volume_id: str) -> str:
        """Position in mm, value, label and map values under the pointer."""
        volume = self._workspace.case.items.get(volume_id)
        if world is None or not isinstance(volume, Volume):
            return ""
        words = [_place_words(volume, world)]
        value = volume.value_at(world)
        if value is not None:
            words.append(f"{value:.4g} {volume.unit}".strip())
        for item in self._workspace.case:
            words += _under(item, world, volume, self._display)
        return "   ".join(words)


def _place_words(volume: Volume, world: np.ndarray) -> str:
    """Where a point lies in the patient, as far as that is known."""
    if not volume.placed:
        return "place not known"
    if volume.places is not None:
        world = true_place(volume.geometry, volume.places, world)
    x, y, z = world
    words = f"{_side(x, 'L', 'R')} {_side(y, 'P', 'A')} {_side(z, 'S', 'I')} mm"
    return words if volume.sides_known else f"{words} (sides may be wrong)"


def _side(value: float, positive: str, negative: str) -> str:
    return f"{positive if value >= 0 else negative}{abs(value):.1f}"


def _under(item, world: np.ndarray, volume: Volume, display: DisplayState) -> list[str]:
    if not isinstance(item, Segmentation | Heatmap) or not display.overlay(item.id).visible:
        return []
    if not item.geometry.same_frame(volume.geometry):
        return []
    index = item.geometry.nearest(world)
    if index is None:
        return []
    if isinstance(item, Heatmap):
        return [f"{item.meaning} {item.values[index]:.2f}"]
    segment = item.segment(int(item.labels[index]))
    return [segment.name] if segment else []
