"""Remembers the window of each sequence: joins the hand's choices, new volumes and the settings."""

from __future__ import annotations

from collections.abc import Mapping

from PySide6.QtCore import QObject, QTimer, Signal

from app.workspace import Workspace
from imaging.case import ADDED, REMOVED, VOXELS, Change
from imaging.volume import Volume, Window
from viewer.state.display import DisplayState
from viewer.state.window_memory import (
    Share,
    chosen_windows,
    forgotten,
    remembered,
    window_of,
)
from viewer.state.windows import automatic_window

_QUIET_MS = 1000


class WindowMemory(QObject):
    """Opens a series with the window its sequence was last read with.

    Signals
    -------
    changed(shares)
        Another window is remembered, or none; at most once a second.
    """

    changed = Signal(dict)

    def __init__(self, workspace: Workspace, shares: Mapping[str, Share]) -> None:
        super().__init__()
        self._workspace = workspace
        self._shares: dict[str, Share] = dict(shares)
        self._given: dict[str, Window] = {}
        self._quiet = QTimer(self, interval=_QUIET_MS, singleShot=True)
        self._quiet.timeout.connect(lambda: self.changed.emit(self.shares))
        workspace.case_changed.connect(self._case_changed)
        workspace.display_changed.connect(self._display_changed)

    @property
    def shares(self) -> dict[str, Share]:
        """Sequence name to its window, see :mod:`viewer.state.window_memory`."""
        return dict(self._shares)

    def forget(self, volume_id: str) -> None:
        """Images of this volume's sequence open with the window of their header again."""
        self._given.pop(volume_id, None)
        if volume := self._volume(volume_id):
            self._take(forgotten(self._shares, volume.source.sequence))

    def close(self) -> None:
        """Tell nothing any more; :attr:`shares` still says what to store."""
        self._quiet.stop()

    def _display_changed(self, old: DisplayState, new: DisplayState) -> None:
        for id, window in chosen_windows(old, new).items():
            volume = self._volume(id)
            if volume is None or self._given.get(id) == window:
                continue
            self._given.pop(id, None)
            automatic = automatic_window(volume)
            self._take(remembered(self._shares, volume.source.sequence, window, automatic))

    def _case_changed(self, changes: tuple[Change, ...], origin: str) -> None:
        for change in changes:
            if REMOVED in change.parts:
                self._given.pop(change.item, None)
            volume = self._volume(change.item)
            if volume is not None and origin == "sequence" and not self._chosen(change.item):
                self._give(volume)
            if volume is None or origin != "load":
                continue
            # While voxels arrive the automatic window moves, and what is relative to it follows.
            if ADDED in change.parts or (VOXELS in change.parts and self._follows(change.item)):
                self._give(volume)

    def _chosen(self, volume_id: str) -> bool:
        """True where the hand has set the window that is shown now."""
        window = self._workspace.display.windows.get(volume_id)
        return window is not None and window != self._given.get(volume_id)

    def _follows(self, volume_id: str) -> bool:
        given = self._given.get(volume_id)
        return given is not None and self._workspace.display.windows.get(volume_id) == given

    def _give(self, volume: Volume) -> None:
        share = self._shares.get(volume.source.sequence)
        if share is None:
            return
        window = window_of(share, automatic_window(volume))
        self._given[volume.id] = window
        self._workspace.show(self._workspace.display.with_window(volume.id, window))

    def _take(self, shares: dict[str, Share]) -> None:
        if shares != self._shares:
            self._shares = shares
            self._quiet.start()

    def _volume(self, id: str) -> Volume | None:
        item = self._workspace.case.items.get(id)
        return item if isinstance(item, Volume) else None
