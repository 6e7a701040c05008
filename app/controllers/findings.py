"""The lesion list: joins the measured lesions of the listed mask, the panel and the views."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QObject, Signal

from app.tasks import Tasks, Ticket
from app.workspace import Workspace
from imaging.case import ADDED, HEADER, REMOVED, VOXELS, Change
from imaging.edits.edit import Edit
from imaging.errors import EditRefused
from imaging.geometry import Box
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from imaging.analysis.lesions import Lesion
    from imaging.analysis.place import HeadFrame

#: Changes of at most so many voxels are measured at once; larger ones in a thread.
_SMALL_BOX = 48**3


class FindingsController(QObject):
    """Keeps the list true while the mask changes, and turns buttons into edits.

    Signals
    -------
    said(str)
        A sentence for the status line.
    listed()
        The list is another one, or true again.
    """

    said = Signal(str)
    listed = Signal()

    def __init__(
        self, workspace: Workspace, tasks: Tasks, panel: Any, jump: Callable[..., None]
    ) -> None:
        super().__init__()
        self._workspace = workspace
        self._tasks = tasks
        self._panel = panel
        self._jump_to = jump
        self._lesions: list[Lesion] = []
        self._known: dict[int, Lesion] = {}
        self._listed = ""
        self._heads: dict[str, HeadFrame | None] = {}
        self._ticket: Ticket | None = None
        panel.mask_chosen.connect(lambda _id: self.measure())
        panel.jump.connect(self.jump)
        panel.threshold_changed.connect(self.set_threshold)
        panel.accept_requested.connect(self.accept)
        panel.delete_requested.connect(self.delete)
        workspace.case_changed.connect(self._case_changed)

    # --- the list ----------------------------------------------------------------------------
    @property
    def lesions(self) -> list[Lesion]:
        """The lesions of the listed mask, by number."""
        return list(self._lesions)

    @property
    def mask(self) -> Segmentation | None:
        """The listed mask."""
        item = self._workspace.case.items.get(self._panel.segmentation_id)
        return item if isinstance(item, Segmentation) else None

    @property
    def chosen(self) -> Lesion | None:
        """The chosen lesion."""
        selection: Any = self._workspace.selection
        return selection

    def accepted(self, mask: Segmentation, lesion: Lesion) -> bool:
        """Whether a person has taken a lesion over: it does not lie in a draft's own label.

        What was opened from a file is the work of its maker; nobody has accepted it here.
        """
        if mask.opened:
            return False
        return not (mask.draft and mask.segments and lesion.label == mask.segments[0].number)

    def probability(self, mask: Segmentation) -> Heatmap | None:
        """The map a mask was cut from."""
        item = self._workspace.case.items.get(mask.probability_id)
        return item if isinstance(item, Heatmap) else None

    def measure(self) -> None:
        """Measure the listed mask anew, in a thread."""
        if self._ticket:
            self._ticket.cancel()
        mask = self.mask
        if mask is None:
            self._take("", [])
            return
        self._list(mask.id)
        revision, segments = mask.revision, mask.segments
        probability, previous = self.probability(mask), tuple(self._lesions)
        volume = self._workspace.case.items.get(mask.volume_id)
        head = self._heads.get(mask.volume_id)
        self._panel.set_measuring()

        def work(ticket: Ticket):
            from imaging.analysis.lesions import find_lesions

            # The copy may meet an edit half-way; the revision is another one then.
            frozen = Segmentation.from_labels(
                mask.id, mask.name, mask.geometry, mask.volume_id, mask.labels, segments=segments
            )
            frame = head or _head_frame(volume)
            lesions = (
                [] if ticket.cancelled() else find_lesions(frozen, probability, frame, previous)
            )
            for lesion in lesions:
                if ticket.cancelled():
                    break
                _ = lesion.longest_diameter_mm  # worked out once, here and not in the list
            return frame, lesions

        self._ticket = self._tasks.run(
            work, lambda result: self._measured(mask.id, mask.volume_id, revision, result)
        )

    def _measured(self, mask_id: str, volume_id: str, revision: int, result) -> None:
        head, lesions = result
        self._heads[volume_id] = head
        mask = self.mask
        if mask is None or mask.id != mask_id:
            return
        if mask.revision != revision:
            self.measure()
            return
        self._take(mask_id, lesions)

    def _list(self, mask_id: str) -> None:
        """Another mask is listed: its numbers have nothing to do with those before."""
        if mask_id != self._listed:
            self._listed, self._lesions = mask_id, []
            self._known.clear()
            mask = self.mask
            if mask is not None and mask.lesion_numbers:
                from imaging.analysis.lesions import anchored_lesions

                kept = anchored_lesions(mask.geometry, mask.lesion_numbers)
                self._known |= {lesion.number: lesion for lesion in kept}
            self._workspace.select(None)

    def _take(self, mask_id: str, lesions: list[Lesion]) -> None:
        self._list(mask_id)
        lesions = kept_numbers(lesions, self._lesions, self._known)
        self._lesions = lesions
        chosen = self.chosen
        mask = self.mask
        if mask is not None and mask_id:
            mask.lesion_numbers = _anchors(lesions, self._known)
        accepted = {x.number for x in lesions if mask and self.accepted(mask, x)}
        if chosen is not None:
            again = next((x for x in lesions if x.number == chosen.number), None)
            self._workspace.select(again)
        if mask_id:
            self._panel.set_lesions(mask_id, lesions, accepted)
        self.listed.emit()

    def _case_changed(self, changes: tuple[Change, ...], origin: str) -> None:
        for change in changes:
            if REMOVED in change.parts:
                self._heads.pop(change.item, None)
        mask = self.mask
        mine = [c for c in changes if mask is not None and c.item == mask.id]
        if mask is None:
            self._take("", [])
            self._workspace.select(None)
        elif any(c.parts & {ADDED} for c in mine):
            self.measure()
        elif any(c.parts & {VOXELS} for c in mine):
            self._voxels_changed(mask, mine)
        elif any(c.parts & {HEADER} for c in mine):
            self._take(mask.id, self._lesions)

    def _voxels_changed(self, mask: Segmentation, changes: list[Change]) -> None:
        box = Box((0, 0, 0), (0, 0, 0))
        for change in changes:
            if VOXELS in change.parts:
                box = box.union(change.box or Box.whole(mask.geometry.shape))
        k, j, i = box.shape
        if k * j * i > _SMALL_BOX or self.measuring:
            self.measure()
            return
        from imaging.analysis.lesions import update_lesions

        head = self._heads.get(mask.volume_id)
        self._take(mask.id, update_lesions(self._lesions, mask, box, self.probability(mask), head))

    @property
    def measuring(self) -> bool:
        """True while the list is that of a moment ago."""
        return self._ticket is not None and not self._ticket.done()

    # --- the hand ----------------------------------------------------------------------------
    def step(self, by: int) -> None:
        """Next or previous lesion."""
        self._panel.step(by)

    def jump(self, lesion: Lesion) -> None:
        """Bring every view to a lesion."""
        mask = self.mask
        self._jump_to(lesion.peak_world, mask.volume_id if mask else "")
        if mask is not None:
            # Whoever goes to a lesion and takes the brush means this label of this mask.
            display = self._workspace.display
            brush = replace(display.brush, segmentation_id=mask.id, label=lesion.label)
            self._workspace.show(display.but(brush=brush))

    def choose_at(self, world: np.ndarray, _volume_id: str = "") -> None:
        """Choose the listed lesion at a patient position (LPS mm), if there is one."""
        mask = self.mask
        index = mask.geometry.nearest(world) if mask else None
        if mask is None or index is None or not mask.labels[index]:
            return
        for lesion in self._lesions:
            offset = tuple(i - s for i, s in zip(index, lesion.box.start, strict=True))
            inside = all(0 <= o < n for o, n in zip(offset, lesion.mask.shape, strict=True))
            if inside and lesion.mask[offset]:
                self._workspace.select(lesion)
                self._jump_to(world, mask.volume_id)
                return

    def accept(self, lesion: Lesion | None = None) -> None:
        """Take a lesion over as checked and go to the next one."""
        lesion, mask = lesion or self.chosen, self.mask
        if lesion is None or mask is None or mask.opened or self.accepted(mask, lesion):
            return
        from imaging.edits.operations import accept_lesion

        if self._do(lambda: accept_lesion(mask, lesion)):
            self.said.emit(f"Lesion {lesion.number} accepted (Ctrl+Z takes it back)")
            self._panel.step(1)

    def accept_all(self) -> None:
        """Take over every lesion of the listed draft in one step."""
        mask = self.mask
        drafts = []
        if mask is not None and not mask.opened:
            drafts = [x for x in self._lesions if not self.accepted(mask, x)]
        if mask is None or not drafts:
            self.said.emit("There is no draft lesion to accept")
            return
        from imaging.edits.acceptance import accept_lesions

        if self._do(lambda: accept_lesions(mask, drafts)):
            self.said.emit(f"{len(drafts)} lesions accepted")

    def delete(self, lesion: Lesion | None = None) -> None:
        """Remove a lesion and go to the next one."""
        lesion, mask = lesion or self.chosen, self.mask
        if lesion is None or mask is None:
            return
        from imaging.edits.operations import delete_lesion

        if self._do(lambda: delete_lesion(mask, lesion)):
            self.said.emit(f"Lesion {lesion.number} deleted (Ctrl+Z brings it back)")
            self._panel.step(1)

    def set_threshold(self, mask_id: str, value: float, final: bool) -> None:
        """Cut the draft at another probability; untouched voxels follow, corrections stay."""
        from imaging.edits.operations import set_threshold

        mask = self._workspace.case.segmentation(mask_id)
        probability = self.probability(mask)
        if probability is None or mask.threshold is None:
            return
        if final:
            self._do(lambda: set_threshold(mask, probability, value))
        else:
            self._workspace.rehearse(lambda: set_threshold(mask, probability, value))

    def _do(self, make: Callable[[], Edit | None]) -> bool:
        """Make an edit from what is, not from what is only rehearsed, and take it."""
        try:
            self._workspace.rehearse(None)
            edit = make()
            if edit is None:
                return False
            self._workspace.execute(edit)
        except EditRefused as refusal:
            self.said.emit(str(refusal))
            return False
        return True


def kept_numbers(
    lesions: Sequence[Lesion], before: Sequence[Lesion], known: dict[int, Lesion]
) -> list[Lesion]:
    """Give a lesion that comes back (by undo, by the threshold) the number it had.

    Parameters
    ----------
    before : sequence of Lesion
        The list so far; lesions that stay in it have their numbers already.
    known : dict
        Every lesion seen in this mask by number; brought up to date.
    """
    staying = {lesion.number for lesion in before}
    taken: set[int] = set()
    result = []
    for lesion in sorted(lesions, key=lambda lesion: lesion.number not in staying):
        number = lesion.number
        if known and (number not in staying or number in taken):
            number = _number_of(lesion, known, taken)
        if number != lesion.number:
            lesion = replace(lesion, number=number)
        taken.add(number)
        known[number] = lesion
        result.append(lesion)
    return sorted(result, key=lambda lesion: lesion.number)


def _anchors(
    lesions: Sequence[Lesion], known: dict[int, Lesion]
) -> tuple[tuple[int, int, int, int], ...]:
    """What the mask keeps of its list: the lesions that are there first, then those gone."""
    if not known:
        return ()
    from imaging.analysis.lesions import lesion_anchors

    there = {lesion.number for lesion in lesions}
    return lesion_anchors([*lesions, *(x for n, x in known.items() if n not in there)])


def _number_of(lesion: Lesion, known: dict[int, Lesion], taken: set[int]) -> int:
    """The number of a lesion of the past that it shares voxels with, else a fresh one."""
    gone = (n for n, old in known.items() if n not in taken and _share(old, lesion))
    again = next(gone, None)
    if again is not None:
        return again
    free = lesion.number not in known and lesion.number not in taken
    return lesion.number if free else max([*known, *taken]) + 1


def _share(a: Lesion, b: Lesion) -> bool:
    """True where two lesions of one grid have a voxel in common."""
    start = np.maximum(a.box.start, b.box.start)
    stop = np.minimum(a.box.stop, b.box.stop)
    if (stop <= start).any():
        return False

    def part(lesion: Lesion) -> np.ndarray:
        low, high = start - lesion.box.start, stop - lesion.box.start
        return lesion.mask[low[0] : high[0], low[1] : high[1], low[2] : high[2]]

    return bool((part(a) & part(b)).any())


def _head_frame(volume: object) -> HeadFrame | None:
    from imaging.analysis.place import find_head

    return find_head(volume) if isinstance(volume, Volume) else None
