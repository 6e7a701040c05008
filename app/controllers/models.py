"""Asking a model: joins the model panel, the worker client and the case."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from PySide6.QtCore import QObject, Signal

from app.logs import frames_of
from app.messages import is_ours, sentence
from app.tasks import Tasks
from app.workspace import Workspace
from imaging.edits.edit import AddItem, Group
from imaging.errors import ImagingError
from imaging.heatmap import GRAD_CAM, PROBABILITY, Heatmap
from imaging.segmentation import Segmentation

log = logging.getLogger(__name__)


class ModelController(QObject):
    """Runs one model at a time in the worker process and brings the answer in as a draft.

    Signals
    -------
    said(str)
        A sentence for the status line.
    job(str, str, float)
        Id, words, fraction of the run.
    answered(str)
        Id of the new draft mask.
    """

    said = Signal(str)
    job = Signal(str, str, float)
    answered = Signal(str)

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
        self._installed: dict[str, Any] = {}
        workspace.case_changed.connect(self._case_changed)
        panel.run_requested.connect(self.run)
        panel.cancel_requested.connect(self.cancel)
        explain_panel.explain_requested.connect(self.explain)
        explain_panel.cancel_requested.connect(self.cancel)

    @property
    def running(self) -> bool:
        """True while the worker works for us."""
        return self._run is not None

    @property
    def installed(self) -> list[Any]:
        """The models that were found, in the order of the list."""
        return list(self._installed.values())

    @property
    def worker_pid(self) -> int | None:
        """Process id of the worker, while there is one."""
        return None if self._client is None else self._client.worker_pid

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
            Ids of further images by the card's name for them.
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
        model = self._installed[model_id]
        volume = self._workspace.case.volume(volume_id)
        given = {
            name: self._workspace.case.volume(id)
            for name, id in (others or {}).items()
            if id in self._workspace.case.items and id != volume_id
        }
        self._panel.choose_series(volume_id)
        self._panel.set_progress("Starting", -1.0, None)
        self._run = self._start(
            lambda client: client.segment(
                volume,
                model,
                device=device,
                explain=explain,
                others=given,
                on_progress=self._progress_from_thread,
                on_end=lambda end: self._tasks.post(
                    lambda: self._answered(self._segmented, end, volume, model)
                ),
            )
        )

    def explain(self, target: str, layer: str = "") -> None:
        """Ask why: ``target`` is ``"lesion"`` (the chosen one) or ``"finding"`` (all of it)."""
        if self.running:
            self.said.emit("A model is already running: cancel it or wait")
            return
        listed, lesion = self._listed()
        answers = [s for s in self._workspace.case.segmentations if s.provenance.algorithm]
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
        self._explain.set_busy(f"Explaining {about}…")
        self._run = self._start(
            lambda client: client.explain(
                volume,
                model,
                wanted,
                about=about,
                **({"layer": layer} if layer else {}),
                on_progress=self._progress_from_thread,
                on_end=lambda end: self._tasks.post(
                    lambda: self._answered(self._explained, end, volume, model, about)
                ),
            )
        )

    def explain_lesion(self) -> None:
        """Grad-CAM for the chosen lesion."""
        self.explain("lesion")

    def cancel(self) -> None:
        """Stop the run; what is open stays as it is."""
        if self._run is not None:
            self._run.cancel()

    def _case_changed(self, _changes, origin: str) -> None:
        if origin != "close":
            return
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
            proposal = as_items(end, volume, model.card, taken)
            return proposal, int(np.count_nonzero(proposal.segmentation.labels))

        self._tasks.run(
            work,
            lambda made: self._answered(self._proposed, end, volume, model, *made),
            lambda error: self._answered(_again, error),
        )

    def _proposed(self, end, volume, model, proposal, found: int) -> None:
        if volume.id not in self._workspace.case.items:
            self._ended("The study was closed before the model ended; its answer was dropped")
            return
        mask, probability, heat = proposal
        items = [item for item in (probability, heat, mask) if item is not None]
        self._workspace.execute(
            Group.of(f"Run {model.card.name}", [AddItem(i, f"Add {i.name}") for i in items])
        )
        self._present(mask, probability, heat)
        notes = " ".join(end.notes)
        volume_ml = found * mask.geometry.voxel_ml
        words = (
            f"{model.card.name} found {volume_ml:.2f} ml in {end.provenance.seconds:.1f} s "
            f"on {end.provenance.device}"
            if found
            else f"{model.card.name} found no lesion above the threshold"
        )
        self._ended(f"{words}. {notes}".strip())
        self.answered.emit(mask.id)

    def _present(self, mask: Segmentation, probability: Heatmap, heat: Heatmap | None) -> None:
        """Show the new mask; maps are there to be switched on."""
        display = self._workspace.display.with_overlay(mask.id, opacity=0.45)
        display = display.with_overlay(
            probability.id, visible=False, colour_table="viridis", low=0.05
        )
        if heat is not None:
            # Two fills on top of each other tell nothing: the mask steps back to its outline.
            display = display.with_overlay(heat.id, colour_table="inferno", low=0.15)
            display = display.with_overlay(mask.id, outline=True)
        for other in self._workspace.case.segmentations:
            if other.draft and other.id != mask.id and other.volume_id == mask.volume_id:
                display = display.with_overlay(other.id, visible=False)
        self._workspace.show(display.but(overlays_shown=True))

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
        self._workspace.execute(AddItem(heat, f"Explain {about}"))
        display = self._workspace.display
        for other in self._workspace.case.heatmaps:
            if other.meaning in (GRAD_CAM, PROBABILITY):
                display = display.with_overlay(other.id, visible=False)
        for mask in self._workspace.case.segmentations:
            if mask.volume_id == volume.id:  # two fills on top of each other tell nothing
                display = display.with_overlay(mask.id, outline=True)
        self._workspace.show(
            display.with_overlay(heat.id, visible=True, colour_table="inferno", low=0.15)
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
