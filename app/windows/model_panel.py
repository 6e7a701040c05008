"""Ask a model: for which task, on which images, on which device; progress and the last result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QLabel, QProgressBar, QSizePolicy, QWidget

from app.model_words import paces, run_words
from app.windows.controls import allow, button, check_box, column, field, row, scrolling, sentence
from app.windows.jobs_bar import time_left
from app.windows.listening import listen
from app.windows.model_card_view import ModelCardView
from app.windows.model_choice import NOT_RUN, ModelChoice
from app.windows.model_inputs import CAPTION, ModelInputs
from app.windows.theme import GAP, set_role
from app.workspace import Workspace

if TYPE_CHECKING:
    from inference.registry import InstalledModel

DEVICES = (
    ("auto", "Automatic (GPU, else CPU)"),
    ("cuda", "GPU only"),
    ("cpu", "CPU only"),
)
#: What a run adds with Grad-CAM, and why some kinds of models have none.
EXPLAIN_ADDS = (
    "Adds a map of the evidence for the whole finding, and time to the run. "
    "The Explain panel makes it later too."
)
EXPLAINED = frozenset({"lesions", "presence"})
NOT_EXPLAINED = "This kind of model answers everywhere: there is no single evidence to show"


class ModelPanel(QWidget):
    """The card of a model, its images, and the run.

    Signals
    -------
    run_requested(model_id, volume_id, device, explain, others, anyway)
        ``device`` is ``auto``, ``cuda`` or ``cpu``; ``others`` maps the card's name for a further
        image to the id of a volume; ``anyway`` is True where the user has read that the series
        does not fit.
    cancel_requested()
        The running model shall stop.
    """

    run_requested = Signal(str, str, str, bool, object, bool)
    cancel_requested = Signal()

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._models: dict[str, InstalledModel] | None = None
        self._running = False
        self.model = ModelChoice()
        self.model.currentIndexChanged.connect(self._show_model)
        self.card = ModelCardView()
        self.cost = sentence()
        self.unavailable = sentence(role="danger")
        self.inputs = ModelInputs(workspace)
        self.series, self.fit = self.inputs.series, self.inputs.fit
        self.inputs.changed.connect(self._show_buttons)
        self.device = _combo("Where the model runs")
        for key, words in DEVICES:
            self.device.addItem(words, key)
        self.explain = check_box("Also explain (Grad-CAM)")
        self.explain_adds = sentence(EXPLAIN_ADDS)
        self.run = button("Run", "", "run", "primary")
        self.cancel = button("Cancel", "Stop the run; nothing is changed", "stop")
        self.run.clicked.connect(self.start)
        self.cancel.clicked.connect(self._cancel)
        self.stage, self.left = QLabel(), QLabel()
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setRange(0, 1000)
        self.result = sentence(role="text")
        self._arrange()
        listen(self, workspace.case_changed, self._on_case)
        listen(self, workspace.display_changed, self._on_display)
        self._show_model()
        self.set_idle("")

    def _arrange(self) -> None:
        set_role(self.left, "dim")
        inner = QWidget()
        upper = column(inner, margin=0)
        upper.addLayout(field("Model", self.model, CAPTION))
        upper.addWidget(self.unavailable)
        upper.addWidget(self.card)
        upper.addWidget(self.cost)
        upper.addWidget(self.inputs)
        upper.addLayout(field("Device", self.device, CAPTION))
        upper.addWidget(self.explain)
        upper.addWidget(self.explain_adds)
        upper.addStretch(1)
        buttons = row(self.run, self.cancel, gap=GAP)
        buttons.setStretch(0, 1)
        layout = column(self)
        layout.addWidget(scrolling(inner), 1)
        layout.addLayout(row(self.stage, 1, self.left))
        layout.addWidget(self.bar)
        layout.addWidget(self.result)
        layout.addLayout(buttons)

    # --- from outside ------------------------------------------------------------------------
    def set_models(self, models: Sequence[InstalledModel]) -> None:
        """List these models; the one chosen before stays chosen."""
        listed = [model for model in models if model.card.kind not in NOT_RUN]
        self._models = {model.card.id: model for model in listed}
        self.model.set_models(listed)
        self._show_model()
        self.inputs.choose_fitting()

    def prefer(self, device: str, explain: bool) -> None:
        """Start from what was chosen last time."""
        self.device.setCurrentIndex(max(0, self.device.findData(device)))
        self.explain.setChecked(explain)

    def choose_series(self, volume_id: str) -> None:
        """Name the image that a run looks at, where it is another than the one chosen."""
        self.inputs.choose(volume_id)

    def warn(self, words: str) -> None:
        """Say what speaks against a run on the series chosen now."""
        self.inputs.warn(words)

    def set_progress(self, stage: str, fraction: float, seconds_left: float | None = None) -> None:
        """A run is on; ``fraction`` is 0 to 1, or below 0 where it is not known yet."""
        if not self._running:
            self._running = True
            self._show_buttons()
        if self.cancel.isEnabled():
            self.stage.setText(stage)
        self.bar.setRange(0, 1000 if fraction >= 0 else 0)
        if fraction >= 0:
            self.bar.setValue(round(1000 * min(1.0, fraction)))
        self.left.setText(time_left(seconds_left))

    def set_idle(self, sentence: str) -> None:
        """No run is on; say how the last one ended (empty: say nothing)."""
        self._running = False
        self.stage.clear()
        self.left.clear()
        self.result.setText(sentence)
        self.result.setVisible(bool(sentence))
        self._show_buttons()

    def start(self) -> None:
        """Ask for a run of what is shown, as the button does."""
        if self._why_not():
            self.result.setText(self._why_not())
            self.result.setVisible(True)
            return
        device, explain = str(self.device.currentData()), self.explains
        # Behind another page nobody has read the warning.
        anyway = self.isVisible() and self.inputs.wrong
        others = self.inputs.others
        self.run_requested.emit(self.model_id, self.volume_id, device, explain, others, anyway)

    # --- what is chosen ----------------------------------------------------------------------
    @property
    def model_id(self) -> str:
        """Id of the chosen model; empty where there is none."""
        return self.model.model_id

    @property
    def volume_id(self) -> str:
        """Id of the chosen volume; empty where there is none."""
        return self.inputs.volume_id

    @property
    def explains(self) -> bool:
        """Whether a run shall also make a Grad-CAM map."""
        return self.explain.isChecked() and self.explain.isEnabled()

    def _installed(self) -> InstalledModel | None:
        return (self._models or {}).get(self.model_id)

    def _why_not(self) -> str:
        """Why no run can be started now, or nothing."""
        if self._running:
            return "A model is running: cancel it or wait"
        if self._models is None:
            return "Looking for installed models …"
        model = self._installed()
        if model is None:
            return "No model is installed. Put a model folder into the user data folder"
        if not model.available:
            return model.reason
        if not self.volume_id and not self.inputs.why_not:
            return "Open a study first: the model needs an image"
        return self.inputs.why_not

    # --- showing -----------------------------------------------------------------------------
    def _show_model(self, *_index: int) -> None:
        model = self._installed()
        self.card.setVisible(model is not None)
        if model is not None:
            self.card.show_model(model)
        self.cost.setVisible(model is not None)
        if model is not None:
            pace = paces(one.card for one in (self._models or {}).values())
            self.cost.setText(run_words(model.card, pace.get(model.card.id)))
        reason = model.reason if model is not None and not model.available else ""
        self.unavailable.setText(f"Cannot run here: {reason}" if reason else "")
        self.unavailable.setVisible(bool(reason))
        explained = model is None or model.card.kind in EXPLAINED
        allow(self.explain, EXPLAIN_ADDS, "" if explained else NOT_EXPLAINED)
        self.explain_adds.setVisible(explained)
        self.inputs.set_card(model.card if model is not None else None)
        self._show_buttons()

    def _show_buttons(self) -> None:
        doubt = self.inputs.wrong
        on = f" on {self.inputs.sequence}" if self.inputs.sequence else ""
        self.run.setText(f" Run anyway{on}" if doubt else f" Run{on}")
        self.run.setAccessibleName(self.run.text().strip())
        tip = (
            "The series does not look like what the model was made for; see the sentence above"
            if doubt
            else "Run this model on this series in the background"
        )
        allow(self.run, tip, self._why_not())
        allow(
            self.cancel,
            "Stop the run; nothing is changed",
            "" if self._running else "No model is running",
        )
        for part in (self.bar, self.stage, self.left):
            part.setVisible(self._running)
        if self._running:
            self.result.hide()

    def _cancel(self) -> None:
        self.cancel.setEnabled(False)
        self.cancel.setToolTip("The run is being stopped")
        self.stage.setText("Cancelling …")
        self.cancel_requested.emit()

    def _on_case(self, changes, origin) -> None:
        if origin == "repeat":
            self.inputs.refresh()
        if origin == "sequence":
            self.inputs.choose_fitting()
            self.inputs.refresh()
        if any(change.parts & {"added", "removed"} for change in changes):
            before, coming = self.series.opened, bool(self.series.key)
            self.inputs.refresh()
            if self.series.opened > before and not coming:
                self.inputs.choose_fitting()

    def _on_display(self, old, new) -> None:
        """The series that the active cell shows now is the one meant, if it fits."""
        cell, before = new.cell(new.active), old.cell(old.active)
        shown = (old.active, before.volume_id if before else "")
        if cell is None or shown == (new.active, cell.volume_id):
            return
        if self.inputs.fit_of(cell.volume_id)[0]:
            self.choose_series(cell.volume_id)
        self.inputs.look_again()


def _combo(tip: str) -> QComboBox:
    combo = QComboBox()
    combo.setToolTip(tip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    combo.setMinimumContentsLength(12)
    combo.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
    return combo
