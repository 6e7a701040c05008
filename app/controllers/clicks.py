"""Pointing at things: keeps the proposal, asks the network or the classic engine, takes it in.

One proposal at a time. It is shown as a rehearsal of the edit that Enter would make, so it is in
every view and in no file; what is pointed at next refines the same proposal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PySide6.QtCore import QObject, QTimer, Signal

from app.messages import sentence
from app.tasks import Tasks, Ticket
from app.workspace import Workspace
from imaging.errors import EditRefused, ImagingError
from imaging.segmentation import Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from app.controllers.tools import ToolController
    from imaging.analysis.click import Hints
    from imaging.analysis.proposal import Proposal
    from imaging.edits.edit import Edit
    from imaging.geometry import Box
    from viewer.tools.click import Pointed

NETWORK, CLASSIC = "network", "classic"
ENGINES = (NETWORK, CLASSIC)
TOOL = "click"
#: A network that has not answered by then is asked no longer, and the classic engine answers (ms).
PATIENCE_MS = 4000
#: Scribbles longer than this are thinned to so many points.
MOST_POINTS = 40
_CLASSIC_NAME = "Classic click engine"
#: A proposal that fills more of a face of the block looked at than this was cut off there.
_LEAK_SHARE = 0.1


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
        self._workspace, self._tasks, self._tools = workspace, tasks, tools
        self._ask_network, self._accept_lesion = ask_network, accept_lesion
        self._why_not_whole = why_not_whole
        self.engine = ""
        self._proposal: Proposal | None = None
        self._volume: Volume | None = None
        self._mask_id, self._label = "", 1
        self._made_by = ("", "")
        self._run: Any = None
        self._ticket: Ticket | None = None
        self._question = 0
        self._warm: tuple[Any, int | None] | None = None
        self._own = False
        self._framed = False
        self._patience = QTimer(self, interval=PATIENCE_MS, singleShot=True)
        self._patience.timeout.connect(self._too_slow)
        workspace.case_changed.connect(self._case_changed)
        workspace.display_changed.connect(self._display_changed)
        tools.undo_first_with(self._undo)

    # --- what others ask ---------------------------------------------------------------------
    @property
    def pending(self) -> bool:
        """True while a proposal waits for Enter or Esc."""
        return self._proposal is not None

    @property
    def busy(self) -> bool:
        """True while an engine is looking."""
        return self._run is not None or self._ticket is not None

    @property
    def proposal(self) -> Proposal | None:
        """The proposal now."""
        return self._proposal

    def choose_engine(self, engine: str) -> None:
        """Let the network or the classic engine look from now on."""
        if engine in ENGINES and engine != self.engine:
            self.engine = engine
            self._warm_up()
            self.changed.emit()

    def default_engine(self) -> str:
        """The network where one is installed that was better than the classic engine."""
        asked = self._ask_network()
        if isinstance(asked, str):
            return CLASSIC
        return NETWORK if asked[1].card.training.get("gate") == "passed" else CLASSIC

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
        if not self.engine:
            self.engine = self.default_engine()
            self.changed.emit()
        before = self._proposal
        hinted = self._hinted(pointed, volume)
        if hinted is None:
            return
        if before is None:
            self._volume, self._mask_id = volume, mask.id
            self._label = self._workspace.display.brush.label
        self._proposal = hinted
        self._look()
        if before is None:
            self.changed.emit()

    def accept(self) -> None:
        """Enter: take the proposal into the label; without one, accept the chosen lesion."""
        proposal = self._proposal
        if proposal is None:
            self._accept_lesion()
            return
        if self.busy:
            self.said.emit("Wait for the answer, then press Enter")
            return
        if proposal.empty:
            self.said.emit("Nothing was found to accept: point at the thing, or press Esc")
            return
        mask = self._mask()
        self._own = True
        try:
            self._workspace.rehearse(None)
            edit = None if mask is None else self._edit(mask, proposal, "Point at a thing")
            if edit is not None:
                self._workspace.execute(edit)
        except EditRefused as refusal:
            self._refused(refusal)
            return
        finally:
            self._own = False
        volume = np.count_nonzero(proposal.mask) * float(np.prod(proposal.spacing)) / 1000
        self._forget()
        if edit is None:
            self.said.emit("Nothing new: all of it has this label already")
        else:
            self.said.emit(f"Accepted: {_millilitres(volume)} more in {self._label_name(mask)}")

    def drop(self) -> None:
        """Esc: throw the proposal away."""
        if self._proposal is None:
            return
        self._withdraw()
        self.said.emit("The proposal was thrown away")

    def _undo(self) -> bool:
        """Undo takes back what was done last: an open proposal, before any edit."""
        if self._proposal is None:
            return False
        self.drop()
        return True

    def close(self) -> None:
        """Ask nobody any more."""
        self._stop_asking()
        self._patience.stop()

    # --- where -------------------------------------------------------------------------------
    def _target(self, cell_id: str) -> tuple[Volume, Segmentation] | None:
        display, case = self._workspace.display, self._workspace.case
        cell = display.cell(cell_id)
        volume = case.items.get(cell.volume_id if cell else "")
        if not isinstance(volume, Volume):
            return None
        if self._proposal is not None and self._volume is not None:
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
        return volume, self._tools.mask_on(volume)

    def _mask(self) -> Segmentation | None:
        found = self._workspace.case.items.get(self._mask_id)
        return found if isinstance(found, Segmentation) else None

    def _hinted(self, pointed: Pointed, volume: Volume) -> Proposal | None:
        from imaging.analysis.proposal import Proposal

        geometry = volume.geometry
        proposal = self._proposal or Proposal(geometry.shape, geometry.spacing)
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
        if self._proposal is None and not pointed.wanted:
            self.said.emit("Click the thing first; what does not belong to it comes after")
            return None
        return proposal.pointed(points, pointed.wanted)

    # --- looking -----------------------------------------------------------------------------
    def _look(self) -> None:
        """Ask the chosen engine; whoever was asked before need not answer any more."""
        ours = self._run is not None and not self._run.ended
        self._stop_asking()
        self._question += 1
        if self.engine == NETWORK:
            why_not = self._ask(ours)
            if not why_not:
                return
            self._look_classic(why_not)
        else:
            self._look_classic("")

    def _ask(self, ours: bool) -> str:
        """Ask the network; returns why that is not possible now.

        ``ours``: what keeps the worker busy is an earlier question of ours, which ends at once.
        """
        asked = self._ask_network()
        if isinstance(asked, str):
            return asked
        client, model = asked
        if not self._is_warm(client):
            self._warm_up()
            return "The network is starting"
        if client.busy and not ours:
            return "The worker is busy"
        proposal, question = self._proposal, self._question
        assert proposal is not None
        view = proposal.view
        hints = proposal.hints
        points = [(*p, 1) for p in hints.wanted] + [(*p, -1) for p in hints.unwanted]
        try:
            self._run = client.click(
                self._volume,
                model,
                view,
                points,
                box=hints.box,
                previous=proposal.before(view),
                on_end=lambda end: self._tasks.post(lambda: self._answered(question, view, end)),
            )
        except ImagingError as error:
            return sentence(error)
        self._patience.start()
        return ""

    def _answered(self, question: int, view: Box, end: Any) -> None:
        if question != self._question or self._proposal is None:
            if self._warm is None:
                # What was too slow has ended: only now can its worker be made ready again.
                self._warm_up()
            return
        self._run = None
        self._patience.stop()
        if not hasattr(end, "mask"):
            self._warm = None
            self._look_classic(getattr(end, "sentence", "The network gave no answer"))
            return
        source = end.provenance
        self._made_by = (source.algorithm, source.version)
        self._take(view, end.mask, "network", "")

    def _too_slow(self) -> None:
        if self._run is not None:
            self._stop_asking()
            self._question += 1
            # A worker that does not stop is killed: the next one has to load before it is asked.
            self._warm = None
            self._look_classic("The network took too long")
            self._warm_up()

    def _look_classic(self, because: str) -> None:
        """The classic engine, in a thread."""
        from imaging.analysis.click import classic_mask

        proposal, volume, question = self._proposal, self._volume, self._question
        assert proposal is not None
        assert volume is not None
        view = proposal.view
        hints: Hints = proposal.hints.moved(view.start, view.shape)
        before = proposal.before(view)

        def work(_ticket: Ticket) -> np.ndarray:
            values = _real(volume, view)
            return classic_mask(values, proposal.spacing, hints, before)

        def then(found: np.ndarray) -> None:
            if question == self._question and self._proposal is not None:
                self._ticket = None
                self._made_by = (_CLASSIC_NAME, "1")
                self._take(view, found, "classic engine", because)

        self._ticket = self._tasks.run(work, then, self._failed)

    def _failed(self, error: BaseException) -> None:
        self._ticket = None
        self.said.emit(sentence(error))

    def _take(self, view: Box, found: np.ndarray, engine: str, because: str) -> None:
        assert self._proposal is not None
        self._proposal = self._proposal.found(view, found)
        if not self._show() or self._proposal is None:
            return
        lead = f"{because.rstrip('.')}; the {engine} answered. " if because else ""
        if self._proposal.empty:
            self.said.emit(f"{lead}Nothing was found here ({engine}): click again, or press Esc")
            return
        size = np.count_nonzero(self._proposal.mask) * float(np.prod(self._proposal.spacing))
        what = f"{lead}Proposal of {_millilitres(size / 1000)} ({engine}, {_said(self._proposal)})"
        if _cut_off(found):
            self.said.emit(
                f"{what} ends at the edge of the part looked at, so it probably leaked: Esc throws "
                "it away, Ctrl+click excludes, a box keeps it together, Enter accepts it anyway"
            )
            return
        self.said.emit(f"{what}: Enter accepts, Esc throws away, Ctrl+click excludes")

    def _warm_up(self) -> None:
        """Have the network loaded before it is needed."""
        if self.engine != NETWORK:
            return
        asked = self._ask_network()
        if isinstance(asked, str):
            return
        client, model = asked
        if self._is_warm(client) or client.busy:
            return

        def loaded(answer: Any) -> None:
            self._warm = (client, client.worker_pid) if _loaded(answer) else None

        def end(answer: Any) -> None:
            self._tasks.post(lambda: loaded(answer))

        try:
            client.load(model, on_end=end)
        except ImagingError as error:
            self.said.emit(sentence(error))

    def _is_warm(self, client: Any) -> bool:
        """Whether the worker that loaded the network is the one that would be asked now."""
        return self._warm is not None and self._warm == (client, client.worker_pid)

    def _stop_asking(self) -> None:
        run, self._run = self._run, None
        ticket, self._ticket = self._ticket, None
        if run is not None:
            run.cancel()
        if ticket is not None:
            ticket.cancel()

    # --- showing -----------------------------------------------------------------------------
    def _edit(self, mask: Segmentation, proposal: Proposal, name: str) -> Edit | None:
        from imaging.edits.proposal import proposal_edit

        algorithm, version = self._made_by
        return proposal_edit(
            mask, self._label, proposal.box, proposal.mask, name, algorithm, version
        )

    def _show(self) -> bool:
        """Rehearse what Enter would do; what cannot be shown is let go (then False)."""
        mask, proposal = self._mask(), self._proposal
        if mask is None or proposal is None:
            return False
        self._own = True
        try:
            self._workspace.rehearse(
                lambda: None if proposal.empty else self._edit(mask, proposal, "Proposal")
            )
        except EditRefused as refusal:
            self._forget()
            self.said.emit(f"The proposal was let go. {refusal}")
            return False
        finally:
            self._own = False
        return True

    def _refused(self, refusal: EditRefused) -> None:
        """Enter was refused: the proposal is seen again and waits, or goes."""
        if self._show():
            self.said.emit(f"Not accepted, the proposal still waits. {refusal}")

    def _show_frame(self, pointed: Pointed, mask: Segmentation) -> None:
        """Draw the box that the hand is opening."""
        from viewer.tools.tool import Preview

        box = pointed.box_in(mask.geometry)
        if box.empty:
            return
        labels = mask.labels[box.slices].copy()
        frame = np.ones(box.shape, bool)
        thickness = [n > 2 for n in box.shape]
        # Edges of the block, so that the plane shows a rectangle: border in two axes at least.
        rims = np.zeros(box.shape, np.uint8)
        for axis, thick in enumerate(thickness):
            rim = np.zeros(box.shape[axis], np.uint8)
            rim[[0, -1]] = 1
            if thick and axis != _across(pointed.normal, mask):
                rims += rim.reshape([-1 if a == axis else 1 for a in range(3)])
        frame &= rims > 0
        labels[frame] = self._workspace.display.brush.label
        self._framed = True
        self._tools.preview(Preview(mask.id, box, labels, box))

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
        self._stop_asking()
        self._question += 1
        self._proposal, self._volume = None, None
        self.changed.emit()

    def _label_name(self, mask: Segmentation | None) -> str:
        segment = mask.segment(self._label) if mask is not None else None
        return f"“{segment.name}”" if segment is not None else "the mask"

    # --- what happens around it --------------------------------------------------------------
    def _case_changed(self, changes, origin: str) -> None:
        if self._own or self._proposal is None:
            return
        if origin == "rehearsal":
            # Saving takes every rehearsal back for a moment; ours is shown again after it.
            QTimer.singleShot(0, self._show_again)
        elif origin in ("load", "repeat"):
            # Other voxels under the proposal; what comes in beside it does not matter.
            if self._volume is not None and any(c.item == self._volume.id for c in changes):
                self._withdraw()
                self.said.emit("The proposal was let go because its image is another one now")
        elif origin in ("edit", "undo", "redo", "close", "open"):
            self._withdraw()
            if origin in ("edit", "undo", "redo"):
                self.said.emit("The proposal was let go because the case was changed")

    def _show_again(self) -> None:
        if self._proposal is not None and not self._workspace.rehearsing:
            self._show()

    def _display_changed(self, old, new) -> None:
        if old.tool != new.tool:
            if new.tool == TOOL:
                if not self.engine:
                    self.engine = self.default_engine()
                    self.changed.emit()
                self._warm_up()
            else:
                # Other tools paint on what they see, and must not see what is only rehearsed.
                self.drop()


def _said(proposal: Proposal) -> str:
    """How much was pointed at: "box and 2 points"."""
    hints = proposal.hints
    count = len(hints.wanted) + len(hints.unwanted)
    points = f"{count} point{'' if count == 1 else 's'}" if count else ""
    return " and ".join(part for part in ("box" if hints.box else "", points) if part)


def _same_place(one: Volume, other: Volume) -> bool:
    """True where a point of one image is surely the same point in the other.

    Two unknown frames of reference may be anything: then only the same grid will do.
    """
    frame = one.geometry.frame_of_reference
    known = bool(frame) and frame == other.geometry.frame_of_reference
    return known or one.geometry.same_grid(other.geometry)


def _loaded(answer: Any) -> bool:
    return hasattr(answer, "words")


def _index(values: np.ndarray) -> tuple[float, float, float]:
    k, j, i = (float(v) for v in values)
    return k, j, i


def _inside(point: tuple[float, float, float], geometry) -> bool:
    return all(-0.5 <= x < n - 0.5 for x, n in zip(point, geometry.shape, strict=True))


def _across(normal: np.ndarray, mask: Segmentation) -> int:
    """The axis of the grid that runs most along a plane's normal."""
    return int(np.abs(mask.geometry.directions.T @ np.asarray(normal)).argmax())


def _real(volume: Volume, view: Box) -> np.ndarray:
    """Real values of a part of an image, padding counted as no signal."""
    from imaging.volume import filled_padding

    stored = filled_padding(volume.voxels[view.slices], volume.padding, volume.inverted)
    return np.asarray(stored, np.float32) * np.float32(volume.slope) + np.float32(volume.intercept)


def _millilitres(amount: float) -> str:
    return f"{amount:.2f} ml" if amount < 10 else f"{amount:.0f} ml"


def _cut_off(found: np.ndarray) -> bool:
    """Whether a mask fills a good part of a face of its block, where a thing would have ended."""
    faces = [np.take(found, at, axis) for axis in range(3) for at in (0, -1)]
    return any(float(np.mean(face)) > _LEAK_SHARE for face in faces if face.size)
