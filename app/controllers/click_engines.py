"""Who looks at what was pointed at: the network in the worker or the classic engine in a thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PySide6.QtCore import QObject, QTimer, Signal

from app.messages import sentence
from app.tasks import Tasks, Ticket
from imaging.analysis.proposal import Proposal
from imaging.errors import ImagingError
from imaging.geometry import Box
from imaging.volume import Volume

NETWORK, CLASSIC = "network", "classic"
ENGINES = (NETWORK, CLASSIC)
#: A network that has not answered by then is asked no longer, and the classic engine answers (ms).
PATIENCE_MS = 4000
_CLASSIC = ("Classic click engine", "2")


class Answer(NamedTuple):
    """What an engine found in the part it looked at.

    Parameters
    ----------
    view : Box
        The part.
    found : ndarray of bool, shape of the part
    engine : str
        Who answered, in words.
    made_by : tuple of str
        Name and version for the label.
    because : str
        Why another engine answered than the chosen one; empty where it did not.
    """

    view: Box
    found: np.ndarray
    engine: str
    made_by: tuple[str, str]
    because: str = ""


class ClickEngines(QObject):
    """Asks the chosen engine, and the classic one where the network cannot answer now.

    Signals
    -------
    answered(Answer)
        To the newest question; late answers to older ones are dropped.
    said(str)
        A sentence for the status line.
    changed()
        Another engine was chosen.
    """

    answered = Signal(object)
    said = Signal(str)
    changed = Signal()

    def __init__(self, tasks: Tasks, ask_network: Callable[[], tuple[Any, Any] | str]) -> None:
        super().__init__()
        self._tasks, self._ask_network = tasks, ask_network
        self.chosen = ""
        self._asked: tuple[Proposal, Volume] | None = None
        self._run: Any = None
        self._ticket: Ticket | None = None
        self._question = 0
        self._warm: tuple[Any, int | None] | None = None
        self.patience = QTimer(self, interval=PATIENCE_MS, singleShot=True)
        self.patience.timeout.connect(self._too_slow)

    @property
    def busy(self) -> bool:
        """True while an engine is looking."""
        return self._run is not None or self._ticket is not None

    def choose(self, engine: str) -> None:
        """Let the network or the classic engine look from now on."""
        if engine in ENGINES and engine != self.chosen:
            self.chosen = engine
            self.warm_up()
            self.changed.emit()

    def choose_default(self) -> None:
        """Where nobody has chosen: the network where it was better than the classic engine."""
        if not self.chosen:
            asked = self._ask_network()
            better = not isinstance(asked, str) and asked[1].card.training.get("gate") == "passed"
            self.chosen = NETWORK if better else CLASSIC
            self.changed.emit()

    def look(self, proposal: Proposal, volume: Volume) -> None:
        """Ask the chosen engine; whoever was asked before need not answer any more."""
        ours = self._run is not None and not self._run.ended
        self.forget()
        self._asked = (proposal, volume)
        if self.chosen == NETWORK:
            why_not = self._ask(ours)
            if why_not:
                self._look_classic(why_not)
        else:
            self._look_classic("")

    def forget(self) -> None:
        """No answer is waited for any more."""
        self._stop()
        self._question += 1
        self._asked = None

    def close(self) -> None:
        """Ask nobody any more."""
        self._stop()
        self.patience.stop()

    def warm_up(self) -> None:
        """Have the network loaded before it is needed."""
        if self.chosen != NETWORK:
            return
        asked = self._ask_network()
        if isinstance(asked, str):
            return
        client, model = asked
        if self._is_warm(client) or client.busy:
            return

        def loaded(answer: Any) -> None:
            self._warm = (client, client.worker_pid) if hasattr(answer, "words") else None

        def end(answer: Any) -> None:
            self._tasks.post(lambda: loaded(answer))

        try:
            client.load(model, on_end=end)
        except ImagingError as error:
            self.said.emit(sentence(error))

    def _is_warm(self, client: Any) -> bool:
        """Whether the worker that loaded the network is the one that would be asked now."""
        return self._warm is not None and self._warm == (client, client.worker_pid)

    def _stop(self) -> None:
        run, self._run = self._run, None
        ticket, self._ticket = self._ticket, None
        if run is not None:
            run.cancel()
        if ticket is not None:
            ticket.cancel()

    # --- the network -------------------------------------------------------------------------
    def _ask(self, ours: bool) -> str:
        """Ask the network; returns why that is not possible now.

        ``ours``: what keeps the worker busy is an earlier question of ours, which ends at once.
        """
        asked = self._ask_network()
        if isinstance(asked, str):
            return asked
        client, model = asked
        if not self._is_warm(client):
            self.warm_up()
            return "The network is starting"
        if client.busy and not ours:
            return "The worker is busy"
        assert self._asked is not None
        proposal, volume = self._asked
        question, view, hints = self._question, proposal.view, proposal.hints
        points = [(*p, 1) for p in hints.wanted] + [(*p, -1) for p in hints.unwanted]
        try:
            self._run = client.click(
                volume,
                model,
                view,
                points,
                box=hints.box,
                previous=proposal.before(view),
                on_end=lambda end: self._tasks.post(lambda: self._ended(question, view, end)),
            )
        except ImagingError as error:
            return sentence(error)
        self.patience.start()
        return ""

    def _ended(self, question: int, view: Box, end: Any) -> None:
        if question != self._question or self._asked is None:
            if self._warm is None:
                # What was too slow has ended: only now can its worker be made ready again.
                self.warm_up()
            return
        self._run = None
        self.patience.stop()
        if not hasattr(end, "mask"):
            self._warm = None
            self._look_classic(getattr(end, "sentence", "The network gave no answer"))
            return
        source = end.provenance
        made_by = (source.algorithm, source.version)
        self.answered.emit(Answer(view, end.mask, "network", made_by))

    def _too_slow(self) -> None:
        if self._run is not None:
            self._stop()
            self._question += 1
            # A worker that does not stop is killed: the next one has to load before it is asked.
            self._warm = None
            self._look_classic("The network took too long")
            self.warm_up()

    # --- the classic engine ------------------------------------------------------------------
    def _look_classic(self, because: str) -> None:
        from imaging.analysis.click import classic_mask

        assert self._asked is not None
        proposal, volume = self._asked
        question, view = self._question, proposal.view
        hints = proposal.hints.moved(view.start, view.shape)
        before = proposal.before(view)

        def work(_ticket: Ticket) -> np.ndarray:
            return classic_mask(_real(volume, view), proposal.spacing, hints, before)

        def then(found: np.ndarray) -> None:
            if question == self._question:
                self._ticket = None
                self.answered.emit(Answer(view, found, "classic engine", _CLASSIC, because))

        self._ticket = self._tasks.run(work, then, self._failed)

    def _failed(self, error: BaseException) -> None:
        self._ticket = None
        self.said.emit(sentence(error))


def _real(volume: Volume, view: Box) -> np.ndarray:
    """Real values of a part of an image, padding counted as no signal."""
    from imaging.volume import filled_padding

    stored = filled_padding(volume.voxels[view.slices], volume.padding, volume.inverted)
    return np.asarray(stored, np.float32) * np.float32(volume.slope) + np.float32(volume.intercept)
