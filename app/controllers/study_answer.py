"""Keeps the answer about the study true: counts by place, volumes of tissues, words of models."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import QObject, QTimer, Signal

from app.study_answer import (
    GUESS,
    AnswerLine,
    StudyAnswer,
    brain_volumes,
    fact_lines,
    lesion_headline,
    pattern_answer,
    tissue_line,
    tissue_volumes,
)
from app.tasks import Tasks, Ticket
from app.workspace import Workspace
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.volume import Volume

if TYPE_CHECKING:
    from app.controllers.findings import FindingsController
    from imaging.analysis.brain_places import BrainPlaces
    from inference.model import ModelCard

SETTLE_MS = 400  #: so long nothing may change before the answer is made anew
#: What a model said about a study: kind of the model, facts, who says so, and the ids of what came
#: with it, by meaning of a map or ``"mask"``.
Told = tuple[str, Mapping[str, Any], str, Mapping[str, str]]


class StudyAnswerController(QObject):
    """Watches the listed mask and the tissues; counts in a thread.

    Signals
    -------
    changed()
        A new answer is shown.
    guess_wanted()
        The image shall be compared with the guess of normal.
    """

    changed = Signal()
    guess_wanted = Signal()

    def __init__(
        self,
        workspace: Workspace,
        tasks: Tasks,
        findings: FindingsController,
        card: Any,
        choose: Callable[[int], None],
    ) -> None:
        super().__init__()
        self._workspace, self._tasks, self._findings = workspace, tasks, findings
        self._card, self._choose = card, choose
        self._heard: list[Told] = []
        self._places: tuple[tuple, BrainPlaces | None] | None = None
        self._ticket: Ticket | None = None
        self._shown, self._about = StudyAnswer(), ""  # and the id of the mask it is about
        self._last = 0
        self._quiet = QTimer(self)
        self._quiet.setSingleShot(True)
        self._quiet.setInterval(SETTLE_MS)
        self._quiet.timeout.connect(self.refresh)
        card.destroyed.connect(self._quiet.stop)  # a closed window is told nothing more
        card.lesions_wanted.connect(self.walk)
        card.action_wanted.connect(self.act)
        card.unfolded.connect(lambda on: self._quiet.start() if on else None)
        findings.listed.connect(self._listed)
        workspace.case_changed.connect(self._case_changed)

    # --- the hand ----------------------------------------------------------------------------
    def walk(self, numbers: tuple[int, ...]) -> None:
        """Go to the next of these lesions; round the end."""
        if not numbers:
            return
        later = [n for n in numbers if n > self._last] if self._last in numbers else []
        self._last = later[0] if later else numbers[0]
        self._choose(self._last)

    def act(self, action: str, item: str) -> None:
        """Show what is behind a sentence."""
        if action == GUESS:
            self.guess_wanted.emit()
        elif item in self._workspace.case.items:
            display = self._workspace.display.with_overlay(item, visible=True)
            self._workspace.show(display.but(overlays_shown=True))

    def hear(self, told: Told) -> None:
        """A model has spoken about the study; of one kind of model the last word counts."""
        self._heard = [one for one in self._heard if one[0] != told[0]] + [told]
        self._quiet.start()

    def hear_model(self, volume_id: str, card: ModelCard, facts: Mapping[str, Any]) -> None:
        """What a model that just answered said, with the masks and maps it made."""
        ids: dict[str, str] = {}
        source = f"{card.name} {card.version}"
        for item in self._workspace.case.items.values():
            if isinstance(item, Volume) or item.volume_id != volume_id:
                continue
            if item.provenance.digest == card.weights_sha256:
                ids[item.meaning if isinstance(item, Heatmap) else "mask"] = item.id
                source = item.provenance.sentence or source
        self.hear((card.kind, facts, source, ids))

    # --- keeping it true ---------------------------------------------------------------------
    @property
    def tissues(self) -> Segmentation | None:
        """The newest mask of tissues, one of the same head as the listed mask before others."""
        found = [mask for mask in self._workspace.case.segmentations if mask.anatomical]
        listed = self._findings.mask
        fitting = [one for one in found if listed is not None and _of_one_head(one, listed)]
        return next(reversed(fitting or found), None)

    @property
    def told(self) -> list[Told]:
        """What models said and nobody took back: all that came with it is still in the case."""
        known = self._workspace.case.items
        return [one for one in self._heard if all(id in known for id in one[3].values())]

    def _listed(self) -> None:
        """The number is true at once, beside the list; what takes longer follows."""
        mask, headline = self._findings.mask, lesion_headline(self._findings.lesions)
        counted = bool(self._shown.places)
        if mask is not None and self._card.open and (headline or counted):
            if headline and counted and self._about == mask.id:
                self._show(replace(self._shown, headline=headline), mask.id)
            elif headline != self._shown.headline:
                self._show(StudyAnswer((AnswerLine("…"),), headline=headline), mask.id)
        self._quiet.start()

    def refresh(self) -> None:
        """Make the answer anew, in a thread; folded it costs nothing."""
        if self._ticket is not None:
            self._ticket.cancel()
        mask, tissues = self._findings.mask, self.tissues
        if not (mask or tissues or self.told):
            self._show(StudyAnswer())
            return
        if not self._card.open:
            headline = lesion_headline(self._findings.lesions) if mask is not None else ""
            self._show(StudyAnswer((AnswerLine("…"),), headline=headline))
            return
        if self._findings.measuring:
            return  # it tells when it is done
        lesions = self._findings.lesions
        volume = self._workspace.case.items.get(mask.volume_id) if mask is not None else None
        key = _key(mask, tissues)
        known = self._places if self._places is not None and self._places[0] == key else None
        spoken = [line for told in self.told if _about(told, mask) for line in fact_lines(*told)]

        def work(ticket: Ticket) -> tuple[StudyAnswer, BrainPlaces | None]:
            from imaging.analysis.lesion_pattern import lesion_pattern

            volumes = tissue_volumes(tissues) if tissues else ()
            after = (*([tissue_line(volumes, tissues)] if tissues else ()), *spoken)
            if mask is None or ticket.cancelled():
                brain = [f"{name} {ml:.0f} ml" for name, ml in brain_volumes(volumes)]
                return StudyAnswer(after, headline=brain[0] if brain else ""), None
            places = known[1] if known else (_places(mask, tissues, volume) if lesions else None)
            answer = pattern_answer(lesion_pattern(lesions, places), mask)
            first, dim = answer.lines[:1], answer.lines[1:]
            return replace(answer, lines=(*first, *after, *dim)), places

        self._ticket = self._tasks.run(work, lambda made: self._made(key, bool(lesions), *made))

    def _made(self, key: tuple, judged: bool, answer: StudyAnswer, places: Any) -> None:
        if judged:
            self._places = (key, places)
        self._show(answer, key[1])

    def _show(self, answer: StudyAnswer, about: str = "") -> None:
        if answer != self._shown:
            self._shown = answer
            self._card.show_answer(answer)
            self.changed.emit()
        self._about = about

    def _case_changed(self, changes, origin: str) -> None:
        if origin == "rehearsal":
            return
        if origin == "close":
            self._places, self._last, self._heard = None, 0, []
        added = any(change.parts & {"added", "removed"} for change in changes)
        mine = self.tissues
        if added or (mine is not None and any(change.item == mine.id for change in changes)):
            self._quiet.start()


def _about(told: Told, mask: Segmentation | None) -> bool:
    """Whether words of a model belong beside this mask: of lesions only those about this one."""
    from inference.model import LESIONS

    return told[0] != LESIONS or mask is None or told[3].get("mask", mask.id) == mask.id


def _key(mask: Segmentation | None, tissues: Segmentation | None) -> tuple:
    """What the places depend on; the listed mask only by its image, so that edits stay quick."""
    return (
        mask.volume_id if mask is not None else "",
        mask.id if mask is not None else "",
        tissues.id if tissues is not None else "",
        tissues.revision if tissues is not None else 0,
    )


def _places(mask: Segmentation, tissues: Segmentation | None, volume: object) -> BrainPlaces | None:
    """From the tissues where there are any of the same head, else from the image alone."""
    from imaging.analysis.brain_places import places_from_image, places_from_tissue

    if tissues is not None and _of_one_head(tissues, mask):
        of = {
            _tissue(segment.name): tissues.labels == segment.number for segment in tissues.segments
        }
        if {"csf", "grey", "white"} <= set(of):
            same = tissues.geometry.same_grid(mask.geometry)
            lesions = mask.labels > 0 if same else None
            return places_from_tissue(of["csf"], of["grey"], of["white"], tissues.geometry, lesions)
    return places_from_image(volume) if isinstance(volume, Volume) else None


def _of_one_head(tissues: Segmentation, mask: Segmentation) -> bool:
    """Whether the tissues are sure to be those around the lesions."""
    if tissues.volume_id == mask.volume_id:
        return True
    return tissues.geometry.surely_same_place(mask.geometry)


def _tissue(name: str) -> str:
    words = name.casefold()
    if "csf" in words or "fluid" in words:
        return "csf"
    if "white" in words:
        return "white"
    return "grey" if "grey" in words or "gray" in words else words
