"""Pointing at things: keeps the proposal and its hints, shows it, takes it in.

One proposal at a time. It is shown as a rehearsed layer of its own, an outline in every view that
no label, list or file holds; what is pointed at next refines the same proposal. Only Enter paints.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QObject, QTimer, Signal

from app.click_words import millilitres, proposal_words
from app.controllers.click_engines import Answer, ClickEngines
from app.tasks import Tasks
from app.workspace import Workspace
from imaging.errors import EditRefused
from imaging.segmentation import Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from app.controllers.tools import ToolController
    from imaging.analysis.proposal import Proposal
    from imaging.edits.edit import Edit
    from viewer.tools.click import Pointed

TOOL = "click"
#: Scribbles longer than this are thinned to so many points.
MOST_POINTS = 40


@dataclass(frozen=True)
class _Step:
    """A proposal after a hint; ``made_by`` is empty until an engine has answered."""

    proposal: Proposal
    made_by: tuple[str, str] | None = None


class ClickController(QObject):
    """What the hand points at becomes a proposal, and a proposal becomes part of a label.

    Signals
    -------
    said(str)
        A sentence for the status line.
    changed()
        There is a proposal now, or no longer, or another engine was chosen.
    """

    said = Signal(str)
    changed = Signal()

    def __init__(
        self,
        workspace: Workspace,
        tasks: Tasks,
        tools: ToolController,
        ask_network: Callable[[], tuple[Any, Any] | str],
        accept_lesion: Callable[[], None],
        why_not_whole: Callable[[str], str],
    ) -> None:
        """Join the parts.

        Parameters
        ----------
        ask_network : callable
            The worker's client and the installed click model, or a sentence why there is none
            at the moment.
        accept_lesion : callable
            What Enter does where there is no proposal.
        why_not_whole : callable
            Why an image, by its id, cannot be searched now: it is still loading, say; else "".
        """
        super().__init__()
        self._workspace, self._tools = workspace, tools
        self._accept_lesion, self._why_not_whole = accept_lesion, why_not_whole
        self.engines = ClickEngines(tasks, ask_network)
        self.engines.answered.connect(self._take)
        self.engines.said.connect(self.said)
        self.engines.changed.connect(self.changed)
        self._steps: list[_Step] = []
        self._undone: list[_Step] = []
        self._volume: Volume | None = None
        self._mask_id, self._label = "", 1
        self._note = ""
        self._own = False
        self._framed = False
        workspace.case_changed.connect(self._case_changed)
        workspace.display_changed.connect(self._display_changed)
        tools.undo_first_with(self._undo, self._redo)

    # --- what others ask ---------------------------------------------------------------------
    @property
    def pending(self) -> bool:
        """True while a proposal waits for Enter or Esc."""
        return bool(self._steps)

    @property
    def redoable(self) -> bool:
        """True where a hint that was taken back can be given again."""
        return bool(self._undone)

    @property
    def busy(self) -> bool:
        """True while an engine is looking."""
        return self.engines.busy

    @property
    def engine(self) -> str:
        """The chosen engine; empty before anything was pointed at."""
        return self.engines.chosen

    @property
    def proposal(self) -> Proposal | None:
        """The proposal now."""
        return self._steps[-1].proposal if self._steps else None

    def choose_engine(self, engine: str) -> None:
        """Let the network or the classic engine look from now on."""
        self.engines.choose(engine)

    # --- the hand ----------------------------------------------------------------------------
    def point_out(self, pointed: Pointed | None) -> None:
        """Take a hint; the hand has changed its mind where there is none."""
        self._take_frame_away()
        if pointed is None:
            return
        try:
            target = self._target(pointed.cell)
        except EditRefused as refusal:
            self.said.emit(str(refusal))
            return
        if target is None:
            self.said.emit("Point at an image")
            return
        volume, mask = target
        if not pointed.done:
            self._show_frame(pointed, mask)
            return
        self.engines.choose_default()
        hinted = self._hinted(pointed, volume)
        if hinted is None:
            return
        first = not self._steps
        if first:
            self._volume, self._mask_id = volume, mask.id
            self._label = self._workspace.display.brush.label
            self._note = self._reveal(mask)
        self._steps.append(_Step(hinted))
        self._undone.clear()
        self.engines.look(hinted, self._volume or volume)
        if first:
            self.changed.emit()

    def accept(self) -> None:
        """Enter: take the proposal into the label; without one, accept the chosen lesion."""
        proposal, mask = self.proposal, self._mask()
        if proposal is None:
            self._accept_lesion()
            return
        if self.busy:
            self.said.emit("Wait for the answer, then press Enter")
            return
        if proposal.empty:
            self.said.emit("Nothing was found to accept: point at the thing, or press Esc")
            return
        if mask is not None and (note := self._reveal(mask)):
            self.said.emit(f"{note}Look at it and press Enter again to accept")
            return
        self._own = True
        try:
            self._workspace.rehearse(None)
            edit = None if mask is None else self._edit(mask, proposal)
            if edit is not None:
                self._workspace.execute(edit)
        except EditRefused as refusal:
            self._refused(refusal)
            return
        finally:
            self._own = False
        name = self._label_name(mask)
        self._forget()
        if edit is None:
            self.said.emit("Nothing new: all of it has this label already")
        else:
            self.said.emit(f"Accepted: {millilitres(proposal)} in {name}")

    def drop(self) -> None:
        """Esc: throw the proposal away."""
        if self._steps:
            self._withdraw()
            self.said.emit("The proposal was thrown away")

    def _undo(self) -> bool:
        """Undo takes back what was done last: the newest hint of an open proposal."""
        if not self._steps:
            return False
        self._undone.append(self._steps.pop())
        if not self._steps:
            self._withdraw()
            self.said.emit("The proposal was taken back with its first hint")
            return True
        self._step_shown("Last hint taken back")
        return True

    def _redo(self) -> bool:
        """Redo gives the hint again that was taken back."""
        if not self._undone:
            return False
        self._steps.append(self._undone.pop())
        self._step_shown("Hint given again")
        return True

    def _step_shown(self, what: str) -> None:
        """Show the step that is the newest now; look again where nobody has answered it."""
        self.engines.forget()
        step = self._steps[-1]
        if step.made_by is None and self._volume is not None:
            self._note = f"{what}. "
            self.engines.look(step.proposal, self._volume)
        elif self._show():
            self.said.emit(f"{what} (Ctrl+Z, Ctrl+Shift+Z): Enter accepts, Esc throws away")

    def close(self) -> None:
        """Ask nobody any more."""
        self.engines.close()

    # --- where -------------------------------------------------------------------------------
    def _target(self, cell_id: str) -> tuple[Volume, Segmentation] | None:
        display, case = self._workspace.display, self._workspace.case
        cell = display.cell(cell_id)
        volume = case.items.get(cell.volume_id if cell else "")
        if not isinstance(volume, Volume):
            return None
        if self._steps and self._volume is not None:
            if volume.id != self._volume.id and not _same_place(volume, self._volume):
                raise EditRefused(
                    "The proposal lies on another image", self._volume.name,
                    "Accept it with Enter or throw it away with Esc first",
                )  # fmt: skip
            mask = self._mask()
            return None if mask is None else (self._volume, mask)
        if not volume.even:
            raise EditRefused(
                "This image has slices at uneven distances", volume.name,
                "Make an even volume and point at things in that",
            )  # fmt: skip
        if reason := self._why_not_whole(volume.id):
            raise EditRefused(reason)
        mask = self._tools.mask_on(volume)
        segment = mask.segment(display.brush.label)
        if segment is not None and segment.locked and mask.id == display.brush.segmentation_id:
            raise EditRefused("The label is locked", segment.name, "Unlock it first")
        return volume, mask

    def _mask(self) -> Segmentation | None:
        found = self._workspace.case.items.get(self._mask_id)
        return found if isinstance(found, Segmentation) else None

    def _hinted(self, pointed: Pointed, volume: Volume) -> Proposal | None:
        from imaging.analysis.proposal import Proposal

        geometry = volume.geometry
        proposal = self.proposal or Proposal(geometry.shape, geometry.spacing)
        if pointed.kind == "box":
            box = pointed.box_in(geometry)
            if box.empty:
                self.said.emit("The box lies outside the image")
                return None
            return proposal.boxed(box)
        path = pointed.path[:: max(1, len(pointed.path) // MOST_POINTS)]
        points = [p for p in (_index(geometry.index(at)) for at in path) if _inside(p, geometry)]
        if not points:
            self.said.emit("The place clicked lies outside the image")
            return None
        if not self._steps and not pointed.wanted:
            self.said.emit("Click the thing first; what does not belong to it comes after")
            return None
        return proposal.pointed(points, pointed.wanted)

    def _take(self, answer: Answer) -> None:
        """What an engine has found becomes the proposal."""
        if not self._steps:
            return
        found = self._steps[-1].proposal.found(answer.view, answer.found)
        self._steps[-1] = _Step(found, answer.made_by)
        note, self._note = self._note, ""
        if self._show():
            words = proposal_words(found, answer.found, answer.engine, answer.because)
            self.said.emit(f"{note}{words}")

    # --- showing -----------------------------------------------------------------------------
    def _edit(self, mask: Segmentation, proposal: Proposal) -> Edit | None:
        from imaging.edits.proposal import proposal_edit

        algorithm, version = self._steps[-1].made_by or ("", "")
        return proposal_edit(
            mask, self._label, proposal.box, proposal.mask, "Point at a thing", algorithm, version
        )

    def _show(self) -> bool:
        """Show the proposal as a layer of its own; what has no mask any more is let go."""
        from app.controllers.click_layer import layer_edit, with_layer_look

        mask, proposal, volume = self._mask(), self.proposal, self._volume
        if mask is None or proposal is None or volume is None:
            return False
        self._own = True
        try:
            self._workspace.show(with_layer_look(self._workspace.display))
            self._workspace.rehearse(lambda: layer_edit(volume, proposal))
        finally:
            self._own = False
        return True

    def _refused(self, refusal: EditRefused) -> None:
        """Enter was refused: the proposal is seen again and waits."""
        if self._show():
            self.said.emit(f"Not accepted, the proposal still waits. {refusal}")

    def _reveal(self, mask: Segmentation) -> str:
        """Show the label that Enter would paint where it is hidden; returns what was done."""
        from app.controllers.click_layer import revealed

        shown = revealed(self._workspace.display, mask.id, self._label)
        if shown == self._workspace.display:
            return ""
        self._workspace.show(shown)
        return f"{self._label_name(mask)} was hidden and is shown now. "

    def _show_frame(self, pointed: Pointed, mask: Segmentation) -> None:
        """Draw the box that the hand is opening."""
        from app.controllers.click_layer import frame

        box = pointed.box_in(mask.geometry)
        if not box.empty:
            self._framed = True
            label = self._workspace.display.brush.label
            self._tools.preview(frame(mask, box, pointed.normal, label))

    def _take_frame_away(self) -> None:
        if self._framed:
            self._framed = False
            self._tools.preview(None)

    def _withdraw(self) -> None:
        self._own = True
        try:
            self._workspace.rehearse(None)
        finally:
            self._own = False
        self._forget()

    def _forget(self) -> None:
        self.engines.forget()
        self._steps, self._volume, self._note = [], None, ""
        self._undone.clear()
        self.changed.emit()

    def _label_name(self, mask: Segmentation | None) -> str:
        segment = mask.segment(self._label) if mask is not None else None
        return f"“{segment.name}”" if segment is not None else "the mask"

    # --- what happens around it --------------------------------------------------------------
    def _case_changed(self, changes, origin: str) -> None:
        if self._own or not self._steps:
            return
        if origin == "rehearsal":
            # Saving takes every rehearsal back for a moment; ours is shown again after it.
            QTimer.singleShot(0, self._show_again)
        elif origin in ("load", "repeat"):
            # Other voxels under the proposal; what comes in beside it does not matter.
            if self._volume is not None and any(c.item == self._volume.id for c in changes):
                self._withdraw()
                self.said.emit("The proposal was let go because its image is another one now")
        elif origin == "edit" and self._beside(changes):
            QTimer.singleShot(0, self._show_again)
        elif origin in ("edit", "undo", "redo", "close", "open"):
            self._withdraw()
            if origin in ("edit", "undo", "redo"):
                self.said.emit("The proposal was let go because the case was changed")

    def _beside(self, changes) -> bool:
        """True for what only comes in, as a model's answer: it touches nothing of the proposal."""
        under = {self._mask_id, self._volume.id if self._volume else ""}
        return all("added" in c.parts and c.item not in under for c in changes)

    def _show_again(self) -> None:
        if self._steps and not self._workspace.rehearsing:
            self._show()

    def _display_changed(self, old, new) -> None:
        if old.tool != new.tool:
            if new.tool == TOOL:
                self.engines.choose_default()
                self.engines.warm_up()
            else:
                # Other tools paint on what they see, and must not see what is only rehearsed.
                self.drop()
        elif self._steps and new.brush.segmentation_id == self._mask_id:
            # Q and W choose where Enter puts it, also while it waits.
            self._label = new.brush.label


def _same_place(one: Volume, other: Volume) -> bool:
    """True where a point of one image is surely the same point in the other.

    Two unknown frames of reference may be anything: then only the same grid will do.
    """
    frame = one.geometry.frame_of_reference
    known = bool(frame) and frame == other.geometry.frame_of_reference
    return known or one.geometry.same_grid(other.geometry)


def _index(values: np.ndarray) -> tuple[float, float, float]:
    k, j, i = (float(v) for v in values)
    return k, j, i


def _inside(point: tuple[float, float, float], geometry) -> bool:
    return all(-0.5 <= x < n - 0.5 for x, n in zip(point, geometry.shape, strict=True))
