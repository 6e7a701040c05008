"""Ask why: Grad-CAM for the whole finding or for the chosen lesion, and what the map means."""

from __future__ import annotations

import numpy as np
from PySide6.QtCore import Signal
from PySide6.QtWidgets import QComboBox, QLabel, QProgressBar, QWidget

from app.windows.controls import allow, button, column, field, rule, scrolling, sentence
from app.windows.guess_view import GuessView
from app.windows.listening import listen
from app.windows.theme import set_role
from app.workspace import Workspace
from imaging.heatmap import GRAD_CAM, Heatmap
from imaging.segmentation import Segmentation

WHOLE, LESION = "finding", "lesion"
LAYERS = (
    ("fine", "Fine (last decoder stage)"),
    ("coarse", "Coarse (bottleneck)"),
)
MEANING = (
    "Bright = evidence that moved the model towards “lesion” here; it is not a measure of truth."
)
CAUTION = (
    "Fine maps: part of their shape comes from the lesion's own outline; maps of the same network "
    "with random weights correlate with them (0.6 on a phantom). Compare with Coarse."
)
_SAMPLE = 2_000_000  #: voxels looked at when the share inside the mask is estimated


def evidence_share(heatmap: Heatmap, mask: Segmentation) -> float | None:
    """Share of the bright voxels (0.5 and more) of a map that lie inside a mask, 0 to 1.

    Estimated on every n-th slice of a large map; None where nothing is bright or grids differ.
    """
    if not heatmap.geometry.same_grid(mask.geometry):
        return None
    step = max(1, heatmap.values.size // _SAMPLE)
    bright = heatmap.values[::step] >= 0.5
    count = int(np.count_nonzero(bright))
    return int(np.count_nonzero(bright & (mask.labels[::step] > 0))) / count if count else None


def result_sentence(heatmap: Heatmap, share: float | None) -> str:
    """What a Grad-CAM map shows, who made it, where and how fast."""
    made = heatmap.provenance
    name = f"{made.algorithm} {made.version}".strip() or "the model"
    how = f" in {made.seconds:.1f} s" if made.seconds else ""
    where = f" on {made.device}" if made.device else ""
    inside = ""
    if share is not None:
        inside = f" About {share:.0%} of the bright voxels (0.5 and more) lie inside the mask."
    about = heatmap.about or "whole finding"
    return f"Grad-CAM of the {about} by {name}{where}{how}.{inside} {MEANING}"


class ExplainPanel(QWidget):
    """Two buttons, a choice of layer, and the last explanation in words.

    Signals
    -------
    explain_requested(target, layer)
        ``target`` is ``"finding"`` or ``"lesion"`` (the chosen one), ``layer`` a name the model
        knows.
    cancel_requested()
        The explanation under way shall stop.
    """

    explain_requested = Signal(str, str)
    cancel_requested = Signal()

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._busy = False
        self._explained = ""
        self.whole = button("Explain whole finding", "", "explain")
        self.lesion = button("Explain chosen lesion", "", "explain")
        self.cancel = button("Cancel", "Stop; nothing is changed", "stop")
        self.whole.clicked.connect(lambda: self._ask(WHOLE))
        self.lesion.clicked.connect(lambda: self._ask(LESION))
        self.cancel.clicked.connect(self._cancel)
        self.layer = QComboBox()
        self.layer.setToolTip("Which layer of the network is asked")
        for key, words in LAYERS:
            self.layer.addItem(words, key)
        self.layer.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.layer.setMinimumContentsLength(12)
        self.caution = sentence(CAUTION)
        self.layer.currentIndexChanged.connect(self._show_caution)
        self.why_not = sentence()
        self.stage = sentence(role="text")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setRange(0, 0)
        self.result = sentence(role="text")
        self.ended = sentence()
        self.guess_title = QLabel("What the model takes for normal")
        set_role(self.guess_title, "title")
        self.guess = GuessView(workspace)
        self._arrange()
        listen(self, workspace.case_changed, self._on_case)
        listen(self, workspace.selection_changed, self._on_selection)
        self.set_idle("")
        self._show_guess()
        self._show_result()

    def _arrange(self) -> None:
        inner = QWidget()
        column(self, margin=0).addWidget(scrolling(inner))
        layout = column(inner)
        layout.addWidget(self.guess_title)
        layout.addWidget(self.guess)
        self.guess_rule = rule()
        layout.addWidget(self.guess_rule)
        layout.addWidget(
            sentence(
                "Grad-CAM shows which parts of the image moved the model towards its answer. "
                "The map is added as a new overlay and can be undone."
            )
        )
        layout.addWidget(self.whole)
        layout.addWidget(self.lesion)
        layout.addLayout(field("Layer", self.layer, 48))
        layout.addWidget(self.caution)
        layout.addWidget(self.why_not)
        layout.addWidget(self.stage)
        layout.addWidget(self.bar)
        layout.addWidget(self.cancel)
        layout.addWidget(self.ended)
        layout.addWidget(rule())
        layout.addWidget(self.result)
        layout.addStretch(1)

    def _show_caution(self) -> None:
        self.caution.setVisible(self.layer.currentData() == LAYERS[0][0])

    def set_busy(self, words: str) -> None:
        """An explanation is being made."""
        self._busy = True
        self.stage.setText(words)
        self.ended.clear()
        self.cancel.setEnabled(True)
        self._show_buttons()

    def set_idle(self, words: str) -> None:
        """Nothing is being explained; say how the last try ended."""
        self._busy = False
        self.ended.setText(words)
        self._show_buttons()

    def _ask(self, target: str) -> None:
        self.explain_requested.emit(target, str(self.layer.currentData()))

    def _cancel(self) -> None:
        self.cancel.setEnabled(False)
        self.stage.setText("Cancelling …")
        self.cancel_requested.emit()

    def _answers(self) -> list[Segmentation]:
        masks = self._workspace.case.segmentations
        return [s for s in masks if s.provenance.algorithm and not s.anatomical]

    def _show_buttons(self) -> None:
        busy = "An explanation is being made: cancel it or wait" if self._busy else ""
        answer = "" if self._answers() else "Run a model first: only its answer can be explained"
        chosen = (
            ""
            if self._workspace.selection is not None
            else "Choose a lesion in the findings list first"
        )
        allow(self.whole, "Why did the model mark all this?", busy or answer)
        allow(self.lesion, "Why did the model mark this one?", busy or answer or chosen)
        allow(self.layer, "Which layer of the network is asked", answer)
        self.why_not.setText(answer or chosen)
        self.why_not.setVisible(bool(answer or chosen) and not self._busy)
        for part in (self.stage, self.bar, self.cancel):
            part.setVisible(self._busy)
        self.ended.setVisible(bool(self.ended.text()) and not self._busy)

    def _show_guess(self) -> None:
        known = self.guess.guess is not None
        for part in (self.guess_title, self.guess, self.guess_rule):
            part.setVisible(known)

    def _show_result(self) -> None:
        maps = [m for m in self._workspace.case.heatmaps if m.meaning == GRAD_CAM]
        self.result.setVisible(bool(maps))
        if not maps:
            self._explained = ""
            return
        last = maps[-1]
        if last.id == self._explained:
            return
        self._explained = last.id
        masks = [s for s in self._answers() if s.volume_id == last.volume_id]
        share = evidence_share(last, masks[-1]) if masks else None
        self.result.setText(result_sentence(last, share))

    def _on_case(self, changes, origin) -> None:
        if any(change.parts & {"added", "removed"} for change in changes):
            self._show_buttons()
            self._show_guess()
            self._show_result()

    def _on_selection(self, lesion) -> None:
        self._show_buttons()
