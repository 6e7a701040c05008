"""Asking a model: joins the model panel, the worker client and the case."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from PySide6.QtCore import QObject, Signal

from app.controllers.model_answers import explained, found_words, shown
from app.logs import frames_of
from app.messages import is_ours, sentence
from app.tasks import Tasks, Ticket
from app.workspace import Workspace
from imaging.edits.edit import AddItem, Group
from imaging.errors import ImagingError
from imaging.segmentation import Segmentation
from imaging.volume import Volume

log = logging.getLogger(__name__)


class _Wish(NamedTuple):
    """Which model, on which images, how."""

    model_id: str
    volume_id: str
    device: str
    explain: bool
    others: Mapping[str, str] | None


class ModelController(QObject):
    """Runs one model at a time in the worker process and brings the answer in as a draft.

    Signals
    -------
    said(str)
        A sentence for the status line.
    job(str, str, float)
        Id, words, fraction of the run.
    answered(str)
        Id of the new mask, or of a map where there is no mask; empty where there is neither.
    study_told(str, str, object)
        Id of the volume, id of the model, and what it said about the study (a mapping).
    asked(str, list)
        A question and its choices, each a title and what it does.
    """

    said = Signal(str)
    job = Signal(str, str, float)
    answered = Signal(str)
    study_told = Signal(str, str, object)
    asked = Signal(str, list)

    def __init__(
        self,
        workspace: Workspace,
        tasks: Tasks,
        panel: Any,
        explain_panel: Any,
        listed: Callable[[], tuple[Segmentation | None, Any]],
        why_not: Callable[[str], str],
        needs_even: Callable[[str, Callable[[str], None]], bool] = lambda _id, _then: False,
    ) -> None:
        super().__init__()
        self._workspace = workspace
        self._tasks = tasks
        self._panel = panel
        self._explain = explain_panel
        self._listed = listed
        self._why_not = why_not
        self._needs_even = needs_even
        self._client = None
        self._run = None
        self._looking: Ticket | None = None
        self._installed: dict[str, Any] = {}
        self._used: dict[str, dict[str, str]] = {}
        workspace.case_changed.connect(self._case_changed)
        panel.run_requested.connect(self.run)
        panel.cancel_requested.connect(self.cancel)
        explain_panel.explain_requested.connect(self.explain)
        explain_panel.cancel_requested.connect(self.cancel)

    @property
    def running(self) -> bool:
        """True while an image is looked at for a run, or the worker works for us."""
        return self._run is not None or self._looking is not None

    @property
    def installed(self) -> list[Any]:
        """The models that were found, in the order of the list."""
        return list(self._installed.values())

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker, while there is one."""
        return None if self._client is None else self._client.worker_pid

    def clicker(self) -> tuple[Any, Any] | str:
        """The worker's client and the model that follows clicks, or why there is none now."""
        from inference.model import CLICK

        model = next((m for m in self._installed.values() if m.card.kind == CLICK), None)
        if model is None:
            return "No click network is installed"
        if not model.available:
            return model.reason
        if self.running:
            return "The worker is busy with another model"
        if self._client is None:
            from inference.client import WorkerClient

            self._client = WorkerClient()
        return self._client, model

    def refresh(self) -> None:
        """Look for installed models in the background."""
        self._tasks.run(lambda _ticket: _installed(), self._set_installed, self._tell)

    def _set_installed(self, models: list) -> None:
        self._installed = {m.card.id: m for m in models}
        self._panel.set_models(models)

    # --- runs --------------------------------------------------------------------------------
    def run(
        self,
        model_id: str = "",
        volume_id: str = "",
        device: str = "auto",
        explain: bool = False,
        others: Mapping[str, str] | None = None,
        anyway: bool = False,
    ) -> None:
        """Start a model on a volume; without arguments, what the panel shows.

        Parameters
        ----------
        others : mapping of str to str, optional
            Ids of further images by the card's name for them; None takes those of the study that
            lie in the same frame of reference.
        anyway : bool
            The user has read that the volume does not fit.
        """
        if not model_id:
            self._panel.start()
            return
        if self.running:
            self.said.emit("A model is already running: cancel it or wait")
            return
        if self._needs_even(
            volume_id,
            lambda even: self.run(model_id, even, device, explain, others, anyway),
        ):
            return
        if reason := self._why_not(volume_id):
            self._ended(reason)
            return
        self._panel.choose_series(volume_id)
        wish = _Wish(model_id, volume_id, device, explain, others)
        if anyway:
            self._begin(wish)
        else:
            self._look(wish)

    def _look(self, wish: _Wish) -> None:
        """Ask header and pixels whether the image is of the right kind, before the run."""
        card = self._installed[wish.model_id].card
        volume = self._workspace.case.volume(wish.volume_id)
        self._panel.set_progress("Looking at the image", -1.0, None)

        def work(_ticket):
            from inference.suitability import doubts, seen_in_pixels

            needs = card.required[0].sequences
            return doubts(card, volume, seen_in_pixels(volume) if needs else None)

        self._looking = self._tasks.run(work, lambda found: self._looked(wish, found), self._failed)

    def _looked(self, wish: _Wish, found) -> None:
        if self._looking is None:  # cancelled meanwhile
            return
        self._looking = None
        if wish.volume_id not in self._workspace.case.items:
            self._ended("The study was closed before the model began")
        elif found.wrong:
            self._ended("")
            self._panel.warn(found.words)
            choices = [("Run anyway", lambda: self._go_on(wish)), ("Cancel", lambda: None)]
            title = self._workspace.case.volume(wish.volume_id).title
            self.asked.emit(f"{title}: {' '.join(found.wrong)}", choices)
        else:
            self._begin(wish)

    def _go_on(self, wish: _Wish) -> None:
        if wish.volume_id in self._workspace.case.items:
            self.run(*wish, anyway=True)

    def _failed(self, error: BaseException) -> None:
        self._looking = None
        self._ended(sentence(error))
        if is_ours(error):
            raise error

    def _begin(self, wish: _Wish) -> None:
        model = self._installed[wish.model_id]
        volume = self._workspace.case.volume(wish.volume_id)
        others = self._others(model.card, volume, wish.others)
        self._panel.set_progress("Starting", -1.0, None)
        self._run = self._start(
            lambda client: client.segment(
                volume,
                model,
                others=others,
                device=wish.device,
                explain=wish.explain,
                on_progress=self._progress_from_thread,
                on_end=lambda end: self._tasks.post(
                    lambda: self._answered(self._segmented, end, volume, model)
                ),
            )
        )

    def _others(self, card, volume, wanted: Mapping[str, str] | None) -> dict[str, Volume]:
        """Further images of the study: those that were ticked, or all that fit."""
        from inference.suitability import companions

        whole = [one for one in self._workspace.case.volumes if not self._why_not(one.id)]
        fitting = companions(card, volume, whole)
        if wanted is None:
            return fitting
        return {name: one for name, one in fitting.items() if wanted.get(name) == one.id}

    def explain(self, target: str, layer: str = "") -> None:
        """Ask why: ``target`` is ``"lesion"`` (the chosen one) or ``"finding"`` (all of it)."""
        if self.running:
            self.said.emit("A model is already running: cancel it or wait")
            return
        listed, lesion = self._listed()
        masks = self._workspace.case.segmentations
        answers = [s for s in masks if s.provenance.algorithm and not s.anatomical]
        mask = listed if listed in answers else (answers[-1] if answers else None)
        if mask is None or (target == "lesion" and (lesion is None or mask is not listed)):
            self.said.emit("Choose a lesion of a model's answer first")
            return
        model = next((m for m in self._installed.values() if _made(m, mask)), None)
        if model is None:
            self.said.emit("The model that made this mask is not installed any more")
            return
        volume = self._workspace.case.volume(mask.volume_id)
        if target == "lesion":
            wanted = np.zeros(mask.geometry.shape, bool)
            wanted[lesion.box.slices] = mask.labels[lesion.box.slices] == lesion.label
            about = f"lesion {lesion.number}"
        else:
            wanted = mask.labels > 0
            about = "whole finding"
        others = self._others_of(mask, model.card, volume)
        self._explain.set_busy(f"Explaining {about}…")
        self._run = self._start(
            lambda client: client.explain(
                volume,
                model,
                wanted,
                others=others,
                about=about,
                **({"layer": layer} if layer else {}),
                on_progress=self._progress_from_thread,
                on_end=lambda end: self._tasks.post(
                    lambda: self._answered(self._explained, end, volume, model, about)
                ),
            )
        )

    def _others_of(self, mask: Segmentation, card, volume: Volume) -> dict[str, Volume]:
        """The further images that took part when a mask was made."""
        used = self._used.get(mask.id)
        if used is not None:
            items = self._workspace.case.items
            kept = {name: items.get(id) for name, id in used.items() if id != volume.id}
            return {name: one for name, one in kept.items() if isinstance(one, Volume)}
        names = dict(mask.provenance.settings).get("images", "").split(" + ")
        fitting = self._others(card, volume, None)
        return {name: one for name, one in fitting.items() if name in names}

    def explain_lesion(self) -> None:
        """Grad-CAM for the chosen lesion."""
        self.explain("lesion")

    def cancel(self) -> None:
        """Stop the run; what is open stays as it is."""
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None
            self._ended("The run was cancelled; nothing was changed")
        elif self._run is not None:
            self._run.cancel()

    def _case_changed(self, _changes, origin: str) -> None:
        if origin != "close":
            return
        self._used.clear()
        if self.running:  # nobody waits for this answer any more
            self.cancel()
        else:  # how the last run ended is no news of the next study
            self._panel.set_idle("")
            self._explain.set_idle("")

    def close(self) -> None:
        """Stop the worker process."""
        if self._client is not None:
            self._client.close()

    def _start(self, ask: Callable[[Any], Any]):
        from inference.client import WorkerClient

        if self._client is None:
            self._client = WorkerClient()
        try:
            run = ask(self._client)
        except ImagingError as error:
            self._ended(sentence(error))
            return None
        self.job.emit("model", "Model starting", -1.0)
        return run

    def _progress_from_thread(self, progress) -> None:
        self._tasks.post(lambda: self._progress(progress))

    def _progress(self, progress) -> None:
        if not self.running:
            return
        self._panel.set_progress(progress.stage, progress.fraction, progress.seconds_left)
        left = progress.seconds_left
        words = f"{progress.stage} · {left:.0f} s left" if left is not None else progress.stage
        self.job.emit("model", words, min(progress.fraction, 0.99))

    def _ended(self, words: str) -> None:
        self._run = None
        self.job.emit("model", "", 1.0)
        self._panel.set_idle(words)
        self._explain.set_idle(words)
        if words:
            self.said.emit(words)

    # --- answers -----------------------------------------------------------------------------
    def _answered(self, take: Callable[..., None], *answer) -> None:
        """Take an answer in; whatever happens to it, the run is over."""
        try:
            take(*answer)
        except Exception as error:
            self._ended(sentence(error))
            if is_ours(error):
                raise

    def _segmented(self, end, volume, model) -> None:
        from inference.messages import SegmentAnswer
        from inference.postprocess import as_items

        if not isinstance(end, SegmentAnswer):
            self._ended(_end_words(end))
            return
        if volume.id not in self._workspace.case.items:
            self._ended("The study was closed before the model ended; its answer was dropped")
            return
        taken = frozenset(self._workspace.case.items)

        if volume.repeats is not None:  # which image of the series the model has looked at
            kept = end.provenance
            settings = (*kept.settings, ("image", volume.repeats.labels[volume.repeat]))
            end = replace(end, provenance=replace(kept, settings=settings))

        def work(_ticket):
            return as_items(end, volume, model.card, taken), found_words(end, model.card, volume)

        self._tasks.run(
            work,
            lambda made: self._answered(self._proposed, end, volume, model, *made),
            lambda error: self._answered(_again, error),
        )

    def _proposed(self, end, volume, model, proposal, words: str) -> None:
        if volume.id not in self._workspace.case.items:
            self._ended("The study was closed before the model ended; its answer was dropped")
            return
        proposal = proposal.told_apart(self._workspace.case)
        items = proposal.items
        for item in items:
            self._used[item.id] = dict(end.used)
        if items:
            self._workspace.execute(
                Group.of(f"Run {model.card.name}", [AddItem(i, f"Add {i.name}") for i in items]),
                lambda display: shown(display, self._workspace.case, proposal),
            )
        self._ended(words)
        if proposal.facts:
            self.study_told.emit(volume.id, model.card.id, dict(proposal.facts))
        self.answered.emit(items[-1].id if items else "")

    def _explained(self, end, volume, model, about: str) -> None:
        from inference.messages import ExplainAnswer
        from inference.postprocess import explanation_item

        if not isinstance(end, ExplainAnswer):
            self._ended(_end_words(end))
            return
        if volume.id not in self._workspace.case.items:
            self._ended("The study was closed before the explanation ended; it was dropped")
            return
        heat = explanation_item(end, volume, model.card, self._workspace.case.items)
        (heat,) = self._workspace.case.told_apart([heat])
        self._workspace.execute(
            AddItem(heat, f"Explain {about}"),
            lambda display: explained(display, self._workspace.case, heat),
        )
        self._ended(f"Grad-CAM of {about} in {end.provenance.seconds:.1f} s")

    def _tell(self, error: BaseException) -> None:
        log.error("models could not be listed: %s", frames_of(error))
        self.said.emit(sentence(error))


def _installed() -> list:
    from inference.registry import installed_models

    return list(installed_models())


def _again(error: BaseException) -> None:
    raise error


def _made(model, mask: Segmentation) -> bool:
    return model.card.weights_sha256 == mask.provenance.digest


def _end_words(end) -> str:
    from inference.messages import Cancelled

    if isinstance(end, Cancelled):
        return "The run was cancelled; nothing was changed"
    return end.sentence
