"""The line above the images: whose images these are, what the AI did, and what it is not for."""

from __future__ import annotations

from datetime import date

from PySide6.QtWidgets import QFrame, QLabel, QSizePolicy

from app.settings import NOTICE
from app.windows.controls import ElidedLabel, row
from app.windows.listening import REHEARSAL, listen
from app.windows.theme import GAP, SMALL_GAP, set_role
from app.workspace import Workspace
from imaging.folders import folder_words
from imaging.segmentation import AUTOMATIC, Segmentation
from imaging.volume import Source, Volume

UNKNOWN = "–"
UNKNOWN_PATIENT = "Patient unknown"
_SEXES = {"M": "male", "F": "female", "O": "other"}


def readable_date(date: str) -> str:
    """``"19870412"`` as ``"1987-04-12"``; anything else unchanged (PS3.5 6.2, DA)."""
    digits = date.strip()
    if len(digits) == 8 and digits.isdigit():
        return f"{digits[:4]}-{digits[4:6]}-{digits[6:]}"
    return digits


def readable_name(name: str) -> str:
    """``"DOE^JANE"`` as ``"DOE, JANE"`` (PS3.5 6.2.1: family, given, middle, prefix, suffix)."""
    family, *rest = name.split("=")[0].split("^")
    given = " ".join(part for part in rest if part)
    return f"{family}, {given}" if given else family


def patient_line(source: Source, image: str = "") -> tuple[str, str]:
    """Name in bold and the rest of the line: ID, birth date, sex, study date, description.

    Files that name no patient are told by their folder and the name of the image.
    """
    patient = source.patient
    if source.folder:
        return UNKNOWN_PATIENT, " · ".join(filter(None, (folder_words(source.folder), image)))
    rest = [
        patient.id and f"ID {patient.id}",
        patient.birth_date and f"born {readable_date(patient.birth_date)}",
        _SEXES.get(patient.sex.upper(), patient.sex),
        source.study_date and f"study {readable_date(source.study_date)}",
        source.study_description,
    ]
    name = readable_name(patient.name) or ("No name" if patient.id else UNKNOWN_PATIENT)
    return name, " · ".join(part for part in rest if part)


def review_state(answer: Segmentation) -> str:
    """How far a person has looked at the answer of a model.

    A draft counts as partly reviewed once it has the label that accepting a lesion makes. What an
    algorithm alone made and somebody opened from a file is not reviewed by that.
    """
    if not answer.draft:
        alone = any(segment.algorithm_type == AUTOMATIC for segment in answer.segments)
        if alone:
            return "opened, not reviewed" if answer.opened else "not reviewed"
        return "opened" if answer.opened else "reviewed"
    from imaging.edits.operations import ACCEPTED_NAME

    partly = any(segment.name == ACCEPTED_NAME for segment in answer.segments[1:])
    return "draft, partly reviewed" if partly else "draft, not reviewed"


def moment_text(created: str, today: str = "") -> str:
    """A moment in ISO 8601 as ``"15:28"``, with its day where that is not today."""
    day, clock = created[:10], created[11:16]
    today = today or date.today().isoformat()
    return clock if day == today else ", ".join(part for part in (day, clock) if part)


def ai_line(segmentations: list[Segmentation], active: str = "") -> tuple[str, str]:
    """The badge (what, when, state) and its tooltip; both empty where no model has answered.

    Parameters
    ----------
    active : str
        Id of the mask that is looked at; where no model made it, the newest answer is named.
    """
    answers = [s for s in segmentations if s.provenance.algorithm]
    if not answers:
        return "", ""
    newest = max(answers, key=lambda s: s.provenance.created)
    last = next((s for s in answers if s.id == active), newest)
    made = last.provenance
    what = f"{made.algorithm} {made.version}".strip()
    alone = any(segment.algorithm_type == AUTOMATIC for segment in last.segments)
    parts = [
        f"{'AI' if made.digest or alone else 'Made with'}: {what}",
        moment_text(made.created),
        review_state(last),
    ]
    tip = "\n".join(f"{s.name}: {s.provenance.sentence}" for s in answers)
    return " · ".join(part for part in parts if part), tip


class Banner(QFrame):
    """Patient on the left, AI badge and notice on the right; follows the active cell."""

    def __init__(self, workspace: Workspace, notice: str = NOTICE) -> None:
        super().__init__()
        self._workspace = workspace
        self._mask = ""  #: the mask that came last or was turned to last
        set_role(self, "banner")
        self.name, self.details = QLabel(), ElidedLabel()
        set_role(self.name, "title")
        self.details.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.ai = ElidedLabel()
        set_role(self.ai, "badge-ai")
        self.notice = QLabel(notice)
        set_role(self.notice, "warning")
        layout = row(self.name, self.details, self.ai, self.notice, gap=2 * GAP)
        layout.setStretch(1, 3)
        layout.setContentsMargins(GAP, SMALL_GAP, GAP, SMALL_GAP)
        self.setLayout(layout)
        self.setMinimumHeight(32)
        listen(self, workspace.case_changed, self._on_case)
        listen(self, workspace.display_changed, self._on_display)
        self.refresh()

    def set_notice(self, notice: str) -> None:
        """Another sentence of the site; empty takes it away."""
        self.notice.setText(notice)
        self.notice.setVisible(bool(notice))

    def refresh(self) -> None:
        """Read the case again."""
        volume = self._volume()
        name, rest = patient_line(volume.source, volume.name) if volume else ("No study open", "")
        self.name.setText(name)
        self.details.setText(rest)
        self.details.setToolTip(rest)
        text, tip = ai_line(self._workspace.case.segmentations, self._mask)
        self.ai.setText(text)
        self.ai.setToolTip(tip)
        self.ai.setVisible(bool(text))

    def _volume(self) -> Volume | None:
        display, case = self._workspace.display, self._workspace.case
        cell = display.cell(display.active)
        item = case.items.get(cell.volume_id) if cell else None
        if isinstance(item, Volume):
            return item
        return case.volumes[0] if case.volumes else None

    def _on_case(self, changes, origin) -> None:
        added = [change.item for change in changes if "added" in change.parts]
        masks = {mask.id for mask in self._workspace.case.segmentations}
        self._mask = next((id for id in reversed(added) if id in masks), self._mask)
        if origin != REHEARSAL and any(change.parts - {"voxels"} for change in changes):
            self.refresh()

    def _on_display(self, old, new) -> None:
        mask = new.brush.segmentation_id
        turned = mask != old.brush.segmentation_id and bool(mask)
        if turned:
            self._mask = mask
        if turned or old.active != new.active or old.cells != new.cells:
            self.refresh()
