"""The status bar: mode badge, position under the cursor, jobs with cancel, state of the journal."""

from __future__ import annotations

from PySide6.QtCore import Qt, QTimer, Signal
from PySide6.QtWidgets import QHBoxLayout, QLabel, QProgressBar, QSizePolicy, QStatusBar, QWidget

from app.windows.controls import ElidedLabel, flat_button, row
from app.windows.listening import listen
from app.windows.theme import GAP, SMALL_GAP, set_role
from app.workspace import Workspace

HEIGHT = 38
FADE_MS = 12_000  #: how long a sentence stands that asks for nothing
LASTING = frozenset({"warning", "danger"})  #: roles of sentences that stay until the next one
SAVED, SAVING, NOT_SAVED = "saved", "saving", "NOT SAVED"
BACKED_UP, BACKING_UP, NOT_BACKED_UP = "backed up", "backing up", "NOT BACKED UP"
_JOURNAL = {
    SAVED: (BACKED_UP, "good"),
    SAVING: (BACKING_UP, "warning"),
    NOT_SAVED: (NOT_BACKED_UP, "danger"),
}
_WORDS = {words: state for state, (words, _role) in _JOURNAL.items()}
JOURNAL_TIP = (
    "Backup: every finished stroke is written to the disk at once and comes back after a crash. "
    "This is not the case file: save the case to keep it."
)


def time_left(seconds: float | None) -> str:
    """A time in words: ``"12 s left"``, ``"3 min left"``; empty where unknown."""
    if seconds is None or seconds < 0:
        return ""
    if seconds < 90:
        return f"{max(1, round(seconds))} s left"
    return f"{round(seconds / 60)} min left"


class JobRow(QWidget):
    """One job: words, bar, time left, cancel."""

    cancelled = Signal()

    def __init__(self, words: str, cancellable: bool) -> None:
        super().__init__()
        # Three long names at once must not make the window wider.
        self.words, self.left = ElidedLabel(words), QLabel()
        set_role(self.left, "dim")
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedWidth(120)
        self.bar.setRange(0, 1000)
        self.cancel = flat_button("cancel", f"Cancel: {words}")
        self.cancel.setVisible(cancellable)
        self.cancel.clicked.connect(self._cancel)
        self.setLayout(row(self.words, self.bar, self.left, self.cancel, gap=GAP))

    def show_progress(self, words: str, fraction: float | None, seconds_left: float | None) -> None:
        """Take over new figures; ``fraction`` None means that the share is not known."""
        self.words.setText(words)
        self.bar.setRange(0, 0 if fraction is None else 1000)
        if fraction is not None:
            self.bar.setValue(round(1000 * min(1.0, max(0.0, fraction))))
        self.left.setText(time_left(seconds_left))

    def _cancel(self) -> None:
        self.cancel.setEnabled(False)
        self.cancel.setToolTip("Being cancelled")
        self.words.setText("Cancelling …")
        self.cancelled.emit()


class JobsBar(QStatusBar):
    """What the window says at its lower edge.

    Signals
    -------
    cancel_requested(job_id)
        The cross of a job was pressed.
    """

    cancel_requested = Signal(str)

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self._workspace = workspace
        self._jobs: dict[str, JobRow] = {}
        self.setSizeGripEnabled(False)
        self.mode = QLabel()
        self.mode.setSizePolicy(QSizePolicy.Policy.Fixed, QSizePolicy.Policy.Fixed)
        self.place = QLabel()
        self.place.setMinimumWidth(280)
        self._lasting = False
        self._lasting = False
        self.message = ElidedLabel()
        self.message.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.journal = QLabel()
        self._job_rows = QHBoxLayout()
        self._job_rows.setContentsMargins(0, 0, 0, 0)
        self._job_rows.setSpacing(GAP)
        jobs = QWidget()
        jobs.setLayout(self._job_rows)
        line = QWidget()
        layout = row(self.mode, self.place, self.message, jobs, self.journal, gap=2 * GAP)
        layout.setStretch(2, 1)
        layout.setContentsMargins(GAP, SMALL_GAP, GAP, SMALL_GAP)
        line.setLayout(layout)
        line.setFixedHeight(HEIGHT)  # so that a job that comes and goes moves nothing
        self.addPermanentWidget(line, 1)
        self._fade = QTimer(self)
        self._fade.setSingleShot(True)
        self._fade.timeout.connect(lambda: self._write("", "dim"))
        self.set_journal("")
        self._show_mode(workspace.display.editing)
        listen(self, workspace.display_changed, self._on_display)

    def set_place(self, text: str) -> None:
        """Position in mm, value and label under the cursor, as one line."""
        self.place.setText(text)

    def say(self, sentence: str, role: str = "dim", *, stays: bool = False) -> None:
        """The last thing that happened: done, cancelled, or failed because …

        A sentence fades after ``FADE_MS``; a warning or a failure stays until the next sentence,
        and so does one that ``stays``.
        """
        self._write(sentence, role)
        if sentence and role not in LASTING and not stays:
            self._fade.start(FADE_MS)
        else:
            self._fade.stop()

    def forget_failure(self) -> None:
        """Take a warning or failure away, because the study it was about is closed."""
        if self._lasting:
            self.say("")

    def _write(self, sentence: str, role: str) -> None:
        self._lasting = bool(sentence) and role in LASTING
        set_role(self.message, role)
        self.message.setText(sentence)
        self.message.setToolTip(sentence)

    def set_job(
        self,
        job_id: str,
        words: str,
        fraction: float | None = None,
        seconds_left: float | None = None,
        cancellable: bool = True,
    ) -> None:
        """Show a job, or what is new about it.

        Parameters
        ----------
        fraction : float or None
            0 to 1; None where the share is not known.
        """
        job = self._jobs.get(job_id)
        if job is None:
            job = JobRow(words, cancellable)
            job.cancelled.connect(lambda: self.cancel_requested.emit(job_id))
            self._jobs[job_id] = job
            self._job_rows.addWidget(job)
        if job.cancel.isEnabled():
            job.show_progress(words, fraction, seconds_left)

    def end_job(self, job_id: str, sentence: str = "", role: str = "dim") -> None:
        """Take a job away and say how it ended."""
        job = self._jobs.pop(job_id, None)
        if job is not None:
            self._job_rows.removeWidget(job)
            job.hide()
            job.deleteLater()
        if sentence:
            self.say(sentence, role)

    @property
    def jobs(self) -> tuple[str, ...]:
        """Ids of the jobs shown."""
        return tuple(self._jobs)

    def set_journal(self, state: str, tip: str = "") -> None:
        """Say whether finished edits are on the disk.

        Parameters
        ----------
        state : str
            ``saved``, ``saving`` or ``NOT SAVED`` as the journal calls it, or the words shown;
            empty where no study is open, which hides it.
        tip : str
            What the journal itself has to say.
        """
        self.journal.setVisible(bool(state))
        if not state:
            self.journal.clear()
            return
        words, role = _JOURNAL[_WORDS.get(state, state)]
        set_role(self.journal, role)
        self.journal.setText(f"● {words}")
        self.journal.setToolTip("\n".join(part for part in (tip, JOURNAL_TIP) if part))
        self.journal.setAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def _on_display(self, old, new) -> None:
        if old.editing != new.editing:
            self._show_mode(new.editing)

    def _show_mode(self, editing: bool) -> None:
        set_role(self.mode, "badge-edit" if editing else "badge-read")
        self.mode.setText("EDIT" if editing else "READ")
        self.mode.setToolTip(
            "Editing: keys 1-9 choose tools, Q and W labels, [ and ] the brush size"
            if editing
            else "Reading: keys 0-9 set the window, nothing can be changed by the mouse"
        )
