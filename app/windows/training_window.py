"""Train a model with one's own cases: choose and check, watch it learn, read how good it is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import (
    QDialog,
    QLabel,
    QProgressBar,
    QStackedWidget,
    QWidget,
)

from app.controllers.training import Phase, TrainingState, end_words
from app.training_events import Checked, Done, Failed, Stopped
from app.training_report import stored_end
from app.training_wish import FEW, TrainingWish, holds_training, stored_wish
from app.windows.controls import allow, button, column, row, rule, sentence
from app.windows.jobs_bar import time_left
from app.windows.listening import listen
from app.windows.loss_curve import LossCurve
from app.windows.theme import GAP, set_role
from app.windows.training_cases import TrainingCases
from app.windows.training_choices import TrainingChoices
from app.windows.training_report_page import TrainingReportPage
from app.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from inference.registry import InstalledModel

SHOWN_NOTES = 4
GOES_ON = (
    "It goes on when this window is closed. Stop, or closing the program, keeps what was learned; "
    "“Resume” goes on from there, also after days."
)
STOPS = "Finishes the step, keeps what was learned, and can be resumed"
BY_COMMAND = (
    "The training in this folder was begun on the command line: go on there (isocenter train …"
    " --resume), or choose another folder"
)
RESUMES = "Goes on from the checkpoint in the folder of results, as it was begun"
SHOWS = "Shows how the training in the folder of results ended"
STOPPED_HERE = "A stopped training lies in the folder of results: resume it, or choose another one"
DONE_HERE = "A finished training lies in the folder of results: choose another folder to start anew"


class TrainingWindow(QDialog):
    """A window beside the main one; reading goes on.

    Signals
    -------
    check_wanted(TrainingWish), start_wanted(TrainingWish), cancel_wanted(), install_wanted(Path),
    study_wanted(str)
        What the user asks for.
    """

    check_wanted = Signal(object)
    start_wanted = Signal(object)
    cancel_wanted = Signal()
    install_wanted = Signal(object)
    study_wanted = Signal(str)

    def __init__(self, workspace: Workspace, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._workspace = workspace
        self.setWindowTitle("Train a model")
        self.setModal(False)
        self.resize(980, 640)
        self._state = TrainingState()
        self._source: Callable[[], TrainingState] | None = None
        self._reported: Done | None = None
        self._listed: Checked | None = None
        self._known_patients = 0
        self.cases = TrainingCases()
        self.choices = TrainingChoices()
        self.state = sentence()
        self.check = button("Check the cases", "", "search")
        self.resume = button("Resume", "", "redo")
        self.start = button("Start", "", "run", "primary")
        self.stage, self.left = QLabel(), QLabel()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setRange(0, 1000)
        self.curve = LossCurve()
        self.notes = sentence()
        self.goes_on = sentence(GOES_ON)
        self.stop = button("Stop", STOPS, "stop")
        self.report = TrainingReportPage()
        self.close_button = button("Close", "Close this window (Esc)")
        self.pages = QStackedWidget()
        self._arrange()
        self._connect()
        listen(self, workspace.case_changed, self._on_case)
        self._show_study()
        self._refresh()

    # --- arrangement -------------------------------------------------------------------------
    def _arrange(self) -> None:
        self._prepare, self._run = self._preparing(), self._running()
        for page in (self._prepare, self._run, self.report):
            self.pages.addWidget(page)
        layout = column(self, margin=2 * GAP)
        layout.addWidget(self.pages, 1)
        layout.addWidget(rule())
        buttons = row(self.state, self.check, self.resume, self.start, self.stop,
                      self.close_button, gap=GAP)  # fmt: skip
        buttons.setStretch(0, 1)
        layout.addLayout(buttons)

    def _preparing(self) -> QWidget:
        page = QWidget()
        middle = row(self.cases, self.choices, gap=3 * GAP)
        middle.setStretch(0, 1)
        page.setLayout(middle)
        return page

    def _running(self) -> QWidget:
        page = QWidget()
        set_role(self.stage, "headline")
        set_role(self.left, "dim")
        layout = column(page, margin=0)
        layout.addLayout(row(self.stage, 1, self.left))
        layout.addWidget(self.bar)
        layout.addWidget(self.curve, 1)
        layout.addWidget(self.notes)
        layout.addWidget(self.goes_on)
        return page

    def _connect(self) -> None:
        self.cases.changed.connect(self._changed)
        self.choices.changed.connect(self._changed)
        self.check.clicked.connect(lambda: self.check_wanted.emit(self.wish()))
        self.start.clicked.connect(lambda: self.start_wanted.emit(self.wish()))
        self.resume.clicked.connect(self._go_on)
        self.stop.clicked.connect(self.cancel_wanted)
        self.close_button.clicked.connect(self.close)
        self.report.install_wanted.connect(self.install_wanted)
        self.report.again_wanted.connect(self._again)
        self.cases.study_wanted.connect(self.study_wanted)

    # --- from outside ------------------------------------------------------------------------
    def set_models(self, models: Sequence[InstalledModel]) -> None:
        """Models that a training may start from."""
        self.choices.set_models(models)

    def prefer(self, cases: str, out: str, minutes: int) -> None:
        """Start from what was chosen last time."""
        self.cases.source.setText(cases)
        self.cases.target.setText(out)
        self.choices.minutes.setValue(minutes)

    def follow(self, state: Callable[[], TrainingState]) -> None:
        """Where the newest state comes from; shown at once, and at each :meth:`show_now`."""
        self._source = state
        self.show_now()

    def show_now(self) -> None:
        """Show the newest state."""
        if self._source is not None:
            self.show_state(self._source())

    def show_state(self, state: TrainingState) -> None:
        """Show what goes on, or how it ended."""
        self._state = state
        if state.checked is not None and state.wish is not None and not self._same_checked():
            self.cases.show_checked(state.checked, state.wish.cases)
            self._listed = state.checked
        if isinstance(state.end, Done) and state.end is not self._reported:
            self._reported = state.end
            self.report.show_end(state.end)
        self._show_run(state)
        self._refresh()
        if isinstance(state.end, Failed | Stopped):
            role = "danger" if isinstance(state.end, Failed) else "warning"
            self._say(end_words(state.end), role)

    def show_installed(self, id: str) -> None:
        """The new model lies in the user's folder now."""
        self.report.show_installed(f"“{id}” is installed: choose it in the AI model panel.")

    def show_not_installed(self, reason: str) -> None:
        """The new model could not be put there."""
        self.report.show_installed(reason, "danger")

    # --- what is chosen ----------------------------------------------------------------------
    def wish(self) -> TrainingWish:
        """What is chosen now."""
        choices = self.choices
        return TrainingWish(
            cases=self.cases.path or Path(),
            out=self.cases.out or Path(),
            network=choices.network.currentData(),
            dimensions=choices.dimensions.currentData(),
            folds=choices.folds.value(),
            loss=choices.loss.currentData(),
            minutes=choices.minutes.value(),
            seed=choices.seed.value(),
            start_from=choices.start_from.currentData() or "",
            few_shot=choices.few_shot.isChecked(),
        )

    def _why_not_start(self) -> str:
        if reason := self.cases.why_not_start():
            return reason
        if self.cases.out and holds_training(self.cases.out):
            if stored_end(self.cases.out) is not None:
                return DONE_HERE
            return BY_COMMAND if stored_wish(self.cases.out) is None else STOPPED_HERE
        checked = self._state.checked
        if not self.cases.fresh or checked is None:
            return "Check the cases first"
        if not checked.usable:
            return "None of these cases can be used"
        if self.choices.few_shot.isChecked() and checked.usable > FEW:
            return f"For more than {FEW} cases train all layers instead"
        if self.choices.few_shot.isChecked() and checked.patients < 2:
            return "Adapting needs two patients: one is held back to compare old and new"
        return ""

    def _why_not_resume(self) -> str:
        out = self.cases.out
        if out is None:
            return "Choose the folder of results of a training that was stopped"
        if stored_wish(out) or stored_end(out):
            return ""
        return (
            BY_COMMAND if holds_training(out) else "There is no training in the folder of results"
        )

    # --- showing -----------------------------------------------------------------------------
    def _same_checked(self) -> bool:
        return self._state.checked is self._listed and self.cases.fresh

    def _show_run(self, state: TrainingState) -> None:
        self.stage.setText(state.words or "Training")
        known = state.fraction >= 0
        self.bar.setRange(0, 1000 if known else 0)
        if known:
            self.bar.setValue(round(1000 * state.fraction))
        self.left.setText(time_left(state.seconds_left))
        self.curve.show_steps(state.steps)
        self.notes.setText("\n".join(state.notes[-SHOWN_NOTES:]))
        self.notes.setVisible(bool(state.notes))

    def _page(self) -> QWidget:
        state = self._state
        if state.phase in (Phase.RUNNING, Phase.STOPPING):
            return self._run
        return self.report if isinstance(state.end, Done) and self._reported else self._prepare

    def _refresh(self) -> None:
        page, phase = self._page(), self._state.phase
        self._show_patients()
        self.pages.setCurrentWidget(page)
        preparing = page is self._prepare
        for part in (self.check, self.resume, self.start):
            part.setVisible(preparing)
        checking = phase is Phase.CHECKING
        self.stop.setVisible(checking or page is self._run)
        stopping = "It is stopping already" if phase is Phase.STOPPING else ""
        allow(self.stop, "Stop looking at the cases" if checking else STOPS, stopping)
        busy = "The cases are being looked at" if checking else ""
        start = self._why_not_start()
        allow(self.check, "Looks at every image and mask, writes nothing",
              busy or self.cases.why_not_check())  # fmt: skip
        allow(self.start, "Trains in the background, with less of the processor than your reading",
              busy or start)  # fmt: skip
        out = self.cases.out if preparing else None
        finished = out is not None and stored_end(out) is not None
        self.resume.setText(" Show its report" if finished else " Resume")
        allow(self.resume, SHOWS if finished else RESUMES, busy or self._why_not_resume())
        self._say(("Looking at the cases …" if checking else start) if preparing else "")

    def _say(self, words: str, role: str = "dim") -> None:
        set_role(self.state, role)
        self.state.setText(words)

    def _on_case(self, changes, origin) -> None:
        if any(change.parts & {"added", "removed"} for change in changes):
            self._show_study()

    def _show_study(self) -> None:
        masks = [m for m in self._workspace.case.segmentations if not m.anatomical]
        self.cases.show_study("" if masks else "Open a study and correct its mask first")

    def _changed(self) -> None:
        self._refresh()

    def _show_patients(self) -> None:
        checked = self._state.checked
        known = checked.patients if checked is not None and self.cases.fresh else 0
        if known != self._known_patients:
            self._known_patients = known
            self.choices.set_patients(known)

    def _go_on(self) -> None:
        """The training in the folder goes on as it was begun, whatever is chosen here now.

        Where it has ended, its end is shown.
        """
        if self.cases.out and (end := stored_end(self.cases.out)) is not None:
            self.show_state(replace(self._state, end=end))
            return
        wish = stored_wish(self.cases.out) if self.cases.out else None
        if wish is not None:
            self.cases.source.setText(str(wish.cases))
            self.choices.show_wish(wish)
            self.start_wanted.emit(wish)

    def _again(self) -> None:
        self._state = replace(self._state, end=None)
        self._refresh()
