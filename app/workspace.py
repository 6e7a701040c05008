"""The one mutable object: the open case, the display, the history and the journal.

No Qt, no VTK, no torch; main thread only. The case changes only through :meth:`Workspace.execute`
(and undo, redo), so nothing can forget the history or the journal.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Protocol

from psygnal import Signal

from app.header_words import Wording, reworded
from imaging.case import ADDED, HEADER, REMOVED, VOXELS, Case, Change, Item
from imaging.drawings import Drawings
from imaging.edits.edit import Edit
from imaging.edits.history import History
from imaging.errors import EditRefused
from imaging.geometry import Box
from imaging.volume import Volume
from viewer.state.display import DisplayState
from viewer.state.seen import SeenChange


class EditLog(Protocol):
    """Where finished edits go so that a crash loses none."""

    def prepare(self, case: Case) -> None:
        """Be ready for an edit of a case as it stands; raise EditRefused to forbid it."""
        ...

    def append(self, edit: Edit, case: Case, how: str) -> object:
        """Take a copy of an edit that was just applied; ``how``: do, undo or redo."""
        ...


class Workspace:
    """Holds the case and tells everyone what changed.

    Signals
    -------
    case_changed(changes, origin)
        A tuple of :class:`Change` and what caused it: ``edit``, ``undo``, ``redo``,
        ``rehearsal``, ``load``, ``repeat``, ``sequence``, ``words``, ``drawings``, ``open`` or
        ``close``.
    display_changed(old, new)
        The display state was replaced.
    history_changed()
        Undo or redo became possible or impossible, or their names changed.
    selection_changed(lesion)
        Another lesion (segmentation id, label, lesion number) was chosen, or None.
    """

    case_changed = Signal(tuple, str)
    display_changed = Signal(DisplayState, DisplayState)
    history_changed = Signal()
    selection_changed = Signal(object)

    def __init__(self) -> None:
        self._case = Case()
        self._display = DisplayState()
        self._selection: object = None
        self._rehearsed: Edit | None = None
        self._revision = 0
        self._seen: list[tuple[Edit, SeenChange]] = []
        self.history = History()
        self.journal: EditLog | None = None

    @property
    def case(self) -> Case:
        """The open case, to read."""
        return self._case

    @property
    def display(self) -> DisplayState:
        """The display state now."""
        return self._display

    @property
    def selection(self) -> object:
        """The chosen lesion, or None."""
        return self._selection

    @property
    def revision(self) -> int:
        """Grows with every edit, undo and redo, and when another case is opened."""
        return self._revision

    @property
    def rehearsing(self) -> bool:
        """True while the masks show something that is not an edit yet."""
        return self._rehearsed is not None

    def execute(
        self, edit: Edit, shown: Callable[[DisplayState], DisplayState] | None = None
    ) -> None:
        """Check, apply, journal and remember an edit.

        Parameters
        ----------
        shown : callable, optional
            Gives the display that belongs to the edit (what is new is shown, what it covers steps
            back). Undo brings back what was seen before, but for what the user chose meanwhile.

        Raises
        ------
        EditRefused
            Where the edit does not fit; nothing was changed.
        """
        self.rehearse(None)
        changes = self._apply(edit, "do")
        self.history.record(edit)
        self._announce(changes, "edit")
        if shown is not None:
            before = self._display
            self.show(shown(before))
            self._seen = [known for known in self._seen if self.history.knows(known[0])]
            self._seen.append((edit, SeenChange.between(before, self._display)))

    def rehearse(self, edit: Edit | Callable[[], Edit | None] | None) -> None:
        """Show what an edit would do, without history or journal; the next one replaces it.

        For things that follow the hand, a threshold slider say. None takes the last one back, and
        so does every real change. A function makes the edit from the case without the last one;
        everyone is told once.
        """
        changes: list[Change] = []
        if self._rehearsed is not None:
            changes += self._rehearsed.inverse().apply(self._case)
            self._rehearsed = None
        try:
            made = edit() if callable(edit) else edit
            if made is not None:
                made.check(self._case)
                changes += made.apply(self._case)
                self._rehearsed = made
        finally:
            if changes:
                self.case_changed.emit(tuple(changes), "rehearsal")

    def undo(self) -> str | None:
        """Take the last edit back; returns its name, or None where there is none."""
        self.rehearse(None)
        if self.history.undo_name is None:
            return None
        edit = self.history.step_back()
        try:
            changes = self._apply(edit.inverse(), "undo")
        except EditRefused:
            self.history.step_forward()
            raise
        self._announce(changes, "undo")
        for seen in self._seen_with(edit):
            self.show(seen.taken_back(self._display))
        return edit.name

    def redo(self) -> str | None:
        """Do the last undone edit again; returns its name, or None where there is none."""
        self.rehearse(None)
        if self.history.redo_name is None:
            return None
        edit = self.history.step_forward()
        try:
            changes = self._apply(edit, "redo")
        except EditRefused:
            self.history.step_back()
            raise
        self._announce(changes, "redo")
        for seen in self._seen_with(edit):
            self.show(seen.done_again(self._display))
        return edit.name

    def _seen_with(self, edit: Edit) -> list[SeenChange]:
        return [seen for known, seen in self._seen if known is edit]

    def show(self, display: DisplayState) -> None:
        """Replace the display state; nothing happens where it is equal."""
        old = self._display
        if display == old:
            return
        self._display = display
        self.display_changed.emit(old, display)

    def select(self, lesion: object) -> None:
        """Choose a lesion (see ``selection_changed``)."""
        if lesion == self._selection:
            return
        self._selection = lesion
        self.selection_changed.emit(lesion)

    def add_volume(self, volume: Volume) -> None:
        """Bring in a volume that was opened (not an edit: reading is not undone)."""
        self._case.items[volume.id] = volume
        self.case_changed.emit((Change(volume.id, frozenset({ADDED})),), "load")

    def adopt(self, items: Iterable[Item]) -> None:
        """Bring in masks and maps that come back from a journal or a case file (not an edit)."""
        changes = []
        for item in items:
            self._case.items[item.id] = item
            changes.append(Change(item.id, frozenset({ADDED})))
        self.case_changed.emit(tuple(changes), "open")

    def replace_volume(self, volume: Volume) -> None:
        """Take over an image that has more slices now; nothing may lie on its old grid.

        The image of a 4D series that was chosen stays chosen.
        """
        known = self._case.volume(volume.id)
        if volume.repeats is not None and known.repeat < len(volume.repeats):
            volume = volume.at_repeat(known.repeat)
        self._case.items[volume.id] = volume
        parts = frozenset({REMOVED, ADDED, VOXELS, HEADER})
        change = Change(volume.id, parts, Box.whole(volume.geometry.shape))
        self.case_changed.emit((change,), "load")

    def volume_filled(self, volume_id: str, box: Box) -> None:
        """Say that the loader has filled a block of a volume."""
        if volume_id in self._case.items:
            self.case_changed.emit((Change(volume_id, frozenset({VOXELS}), box),), "load")

    def volume_whole(self, volume: Volume) -> None:
        """Take over a volume that is fully loaded: same id and memory, with the loader's notes.

        The image of a 4D series that was chosen meanwhile stays chosen.
        """
        known = self._case.items.get(volume.id)
        if not isinstance(known, Volume):
            return
        if volume.repeats is not None:
            volume = volume.at_repeat(known.repeat)
        if known.drawings is not None:
            volume = replace(volume, drawings=known.drawings)
        self._case.items[volume.id] = volume
        box = Box.whole(volume.geometry.shape)
        change = Change(volume.id, frozenset({VOXELS, HEADER}), box)
        self.case_changed.emit((change,), "load")

    def show_repeat(self, volume_id: str, number: int) -> None:
        """Choose another image of a 4D series for views, models and files (display: not undone).

        Masks stay: all images of a series lie on one grid.

        Parameters
        ----------
        number : int
            From 0.

        Raises
        ------
        BadInput
            Where the series has no such image.
        """
        volume = self._case.volume(volume_id)
        if number == volume.repeat and volume.repeats is not None:
            return
        self._case.items[volume_id] = volume.at_repeat(number)
        change = Change(volume_id, frozenset({VOXELS, HEADER}))
        self.case_changed.emit((change,), "repeat")

    def name_sequence(self, volume_id: str, name: str) -> None:
        """Say which sequence an image is (reading, not an edit: not undone)."""
        volume = self._case.items.get(volume_id)
        if not isinstance(volume, Volume) or volume.source.sequence == name:
            return
        named = reworded(volume, lambda source: replace(source, sequence=name))
        self._case.items[volume_id] = named
        self.case_changed.emit((Change(volume_id, frozenset({HEADER})),), "sequence")

    def reword(self, volume_id: str, wording: Wording, name: str = "") -> None:
        """Give an image other words of its header (reading, not an edit: not undone)."""
        volume = self._case.items.get(volume_id)
        if isinstance(volume, Volume):
            self._case.items[volume_id] = reworded(volume, wording, name)
            self.case_changed.emit((Change(volume_id, frozenset({HEADER})),), "words")

    def replace_case(self, case: Case, display: DisplayState, origin: str = "open") -> None:
        """Close what is open and take over another case; the history starts empty."""
        self._rehearsed = None
        self._revision += 1
        removed = [Change(id, frozenset({REMOVED})) for id in self._case.items]
        self._case = case
        self.history.clear()
        self._seen.clear()
        self.select(None)
        added = [Change(id, frozenset({ADDED, HEADER})) for id in case.items]
        old, self._display = self._display, display
        self.case_changed.emit((*removed, *added), origin)
        self.display_changed.emit(old, display)
        self.history_changed.emit()

    def show_drawings(self, volume_id: str, drawings: Drawings) -> None:
        """Say what files draw over the slices of an image (reading, not an edit: not undone)."""
        volume = self._case.items.get(volume_id)
        if isinstance(volume, Volume):
            self._case.items[volume_id] = replace(volume, drawings=drawings)
            change = Change(volume_id, frozenset({HEADER}))
            self.case_changed.emit((change,), "drawings")

    def _apply(self, edit: Edit, how: str) -> list[Change]:
        edit.check(self._case)
        if self.journal is not None:
            self.journal.prepare(self._case)
        changes = edit.apply(self._case)
        self._revision += 1
        if self.journal is not None:
            self.journal.append(edit, self._case, how)
        return changes

    def _announce(self, changes: Iterable[Change], origin: str) -> None:
        self.case_changed.emit(tuple(changes), origin)
        self.history_changed.emit()
