"""Undo and redo over edits, bounded by bytes."""

from __future__ import annotations

from imaging.edits.edit import Edit


class History:
    """Two stacks of edits.

    Parameters
    ----------
    limit_bytes : int
        The oldest steps go when the kept ones hold more than this; the newest always stays.
    """

    def __init__(self, limit_bytes: int = 512 * 1024 * 1024) -> None:
        self._done: list[Edit] = []
        self._undone: list[Edit] = []
        self._limit = limit_bytes

    @property
    def undo_name(self) -> str | None:
        """What undo would take back."""
        return self._done[-1].name if self._done else None

    @property
    def redo_name(self) -> str | None:
        """What redo would do again."""
        return self._undone[-1].name if self._undone else None

    @property
    def steps(self) -> int:
        """How many steps can be undone."""
        return len(self._done)

    def knows(self, edit: Edit) -> bool:
        """True where this very edit can still be undone or done again."""
        return any(known is edit for known in (*self._done, *self._undone))

    def record(self, edit: Edit) -> None:
        """Remember an edit that was just applied; what was undone is forgotten."""
        self._undone.clear()
        self._done.append(edit)
        self._trim()

    def step_back(self) -> Edit:
        """The edit to undo; raises IndexError where there is none."""
        edit = self._done.pop()
        self._undone.append(edit)
        return edit

    def step_forward(self) -> Edit:
        """The edit to redo; raises IndexError where there is none."""
        edit = self._undone.pop()
        self._done.append(edit)
        return edit

    def clear(self) -> None:
        """Forget everything."""
        self._done.clear()
        self._undone.clear()

    def _trim(self) -> None:
        size = sum(edit.nbytes for edit in self._done)
        while size > self._limit and len(self._done) > 1:
            size -= self._done.pop(0).nbytes
