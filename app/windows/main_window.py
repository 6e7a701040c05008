"""The main window: arrangement only. Panels are made here, controllers join them in compose.py."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from PySide6.QtCore import QByteArray, QEvent, QObject, QPoint, Qt, QUrl, Signal
from PySide6.QtGui import (
    QAction,
    QActionGroup,
    QCloseEvent,
    QDesktopServices,
    QDragEnterEvent,
    QDropEvent,
    QKeyEvent,
    QKeySequence,
)
from PySide6.QtWidgets import (
    QFileDialog,
    QMainWindow,
    QMenu,
    QSplitter,
    QStackedWidget,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from app.commands import COMMANDS, Command
from app.keys import Chosen, keys_of, sane
from app.windows.banner import Banner
from app.windows.empty_state import EmptyState
from app.windows.jobs_bar import JobsBar
from app.windows.notice import Notice
from app.windows.study_browser import StudyBrowser
from app.workspace import Workspace

if TYPE_CHECKING:
    from app.program import Program
    from viewer.widgets.view_grid import ViewGrid

MENUS = ("File", "Edit", "Lesion", "View", "3D", "AI", "Help")
_SEPARATOR_AFTER = {
    "file.demo",
    "file.save_as",
    "file.screenshot",
    "edit.redo",
    "edit.swap",
    "view.series",
    "view.plane_3d",
    "view.crosshair",
    "solid.fit",
    "view.cine",
    "ai.guess",
}


_VIEW_MENU = (
    "view.plane_acquired", "view.plane_axial", "view.plane_sagittal", "view.plane_coronal",
    "view.plane_oblique", "view.plane_3d", "", "view.maximise", "view.reset", "view.invert",
    "view.flip_h", "view.flip_v", "view.rotate", "", "solid.rendering", "view.cine", "",
    "view.even", "",
    "file.screenshot",
)  # fmt: skip


_CHECKPOINT = "The training is writing its checkpoint; then the window closes."
_TRAINING = (
    "A model is being trained. Closing stops it; what was learned is kept, and “Resume” in the "
    "training window goes on from there."
)
_NOT_WRITTEN = "The disk refuses your last edits: closing now would lose them."


class MainWindow(QMainWindow):
    """Banner, study list, views, panels and the jobs bar.

    Signals
    -------
    dropped(paths, add)
        Files were dropped; ``add`` with Shift held.
    closing()
        The window is about to close.
    keys_chosen(chosen)
        The user changed keys (see ``app.keys``); they hold already.
    headers_remembered(on)
        What is read of opened folders shall be kept, or deleted.
    """

    dropped = Signal(list, bool)
    closing = Signal()
    keys_chosen = Signal(dict)
    headers_remembered = Signal(bool)

    def __init__(self, workspace: Workspace) -> None:
        super().__init__()
        self.setWindowTitle("Isocenter")
        self.setAcceptDrops(True)
        self._workspace = workspace
        self._program: Program | None = None
        self._actions: dict[str, QAction] = {}
        self._menus: list[QMenu] = []
        self._keys: Chosen = {}
        self._held_overlays = False
        self._leaving = False
        self._without_checkpoint = False
        self.banner = Banner(workspace)
        self.notice = Notice()
        self.browser = StudyBrowser(workspace)
        self.jobs = JobsBar(workspace)
        self.empty = EmptyState()
        self._arrange()
        self._make_commands()

    def furnish(self, grid: ViewGrid) -> None:
        """Bring in the views and the panels on the right, which the first painting can spare."""
        from app.windows.explain_panel import ExplainPanel
        from app.windows.findings_panel import FindingsPanel
        from app.windows.model_panel import ModelPanel
        from app.windows.overlays_panel import OverlaysPanel
        from app.windows.repeat_bar import RepeatBar
        from app.windows.segments_panel import SegmentsPanel
        from app.windows.tools_panel import ToolsPanel

        workspace = self._workspace
        self.grid = grid
        self.findings = FindingsPanel(workspace)
        self.models = ModelPanel(workspace)
        self.explain = ExplainPanel(workspace)
        self.explain.guess.large_wanted.connect(self.show_guess)
        self.tools = ToolsPanel(workspace)
        self.segments = SegmentsPanel(workspace)
        self.overlays = OverlaysPanel(workspace)
        upper = (self.findings, self.models, self.explain)
        lower = (self.tools, self.segments, self.overlays)
        for tabs, panels in ((self._upper, upper), (self._lower, lower)):
            for index, panel in enumerate(panels):
                _fill_page(tabs.widget(index), panel)
        self.repeats = RepeatBar(workspace)
        self._views = QWidget()
        below = QVBoxLayout(self._views)
        below.setContentsMargins(0, 0, 0, 0)
        below.setSpacing(0)
        below.addWidget(grid, 1)
        below.addWidget(self.repeats)
        self._stack.addWidget(self._views)
        for row in COMMANDS:
            if row.scope in ("views", "lesions"):
                grid.addAction(self._actions[row.id])
            if row.scope == "lesions":
                self.findings.view.addAction(self._actions[row.id])
        grid.installEventFilter(self)
        self.segments.tree.installEventFilter(self)

    def _arrange(self) -> None:
        self._stack = QStackedWidget()
        self._stack.addWidget(self.empty)
        self._upper = _tabs("Findings", "AI model", "Explain")
        self._lower = _tabs("Tools", "Masks", "Overlays")
        self._right = QSplitter(Qt.Orientation.Vertical)
        self._right.addWidget(self._upper)
        self._right.addWidget(self._lower)
        self._right.setSizes([560, 340])
        self._columns = QSplitter(Qt.Orientation.Horizontal)
        for widget in (self.browser, self._stack, self._right):
            self._columns.addWidget(widget)
        self._columns.setSizes([260, 1000, 340])
        self._columns.setStretchFactor(1, 1)
        for index in (0, 2):
            self._columns.setCollapsible(index, False)
        page = QWidget()
        column = QVBoxLayout(page)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(0)
        for widget in (self.banner, self.notice):
            column.addWidget(widget)
        column.addWidget(self._columns, 1)
        column.addWidget(self.jobs)
        self.setCentralWidget(page)

    # --- commands ----------------------------------------------------------------------------
    def _make_commands(self) -> None:
        """Menus and shortcuts from the table of commands."""
        menus: dict[str, QMenu] = {name: self.menuBar().addMenu(name) for name in MENUS}
        for row in COMMANDS:
            action = self._action(row)
            if row.menu and row.group in menus:
                menus[row.group].addAction(action)
                if row.id in _SEPARATOR_AFTER:
                    menus[row.group].addSeparator()
        for menu in menus.values():
            menu.setToolTipsVisible(True)
            menu.aboutToShow.connect(lambda: self._grey_out(True))
            menu.aboutToHide.connect(lambda: self._grey_out(False))
        self._menus = list(menus.values())
        layouts = QActionGroup(self)
        for id in ("view.one", "view.one_three", "view.two_two"):
            self._actions[id].setCheckable(True)
            layouts.addAction(self._actions[id])
        self._actions["file.remember"].setCheckable(True)

    def _action(self, row: Command) -> QAction:
        action = QAction(row.title, self)
        action.setObjectName(row.id)
        action.setShortcuts(self._shortcuts(row))
        action.triggered.connect(lambda _checked=False, row=row: self._run(row))
        if row.scope in ("views", "lesions"):
            action.setShortcutContext(Qt.ShortcutContext.WidgetWithChildrenShortcut)
        else:
            self.addAction(action)
        self._actions[row.id] = action
        return action

    def _shortcuts(self, row: Command) -> list[QKeySequence]:
        return [QKeySequence(key) for key in keys_of(row, self._keys)]

    def set_keys(self, chosen: Chosen) -> None:
        """From now on commands answer to these keys; what makes no sense is left out."""
        self._keys, _problems = sane(COMMANDS, chosen)
        for row in COMMANDS:
            self._actions[row.id].setShortcuts(self._shortcuts(row))
        self._set_mode_keys()

    def _choose_keys(self, chosen: dict[str, str]) -> None:
        self.set_keys(chosen)
        self.keys_chosen.emit(dict(self._keys))

    def toggle_remembering(self) -> None:
        """Keep what is read of opened folders from now on, or keep nothing."""
        if self._program is not None:
            self.headers_remembered.emit(not self._program.settings.remember_headers)

    def bind(self, program: Program) -> None:
        """From now on commands work on this program."""
        self._program = program
        self._workspace.display_changed.connect(self._display_changed)
        self._workspace.case_changed.connect(self._case_changed)
        self.refresh_commands()

    def _run(self, row: Command) -> None:
        if self._program is None:
            return
        reason = row.why_not(self._program)
        if reason:
            self.jobs.say(reason)
            return
        row.run(self._program)

    def refresh_commands(self) -> None:
        """Which commands can be used now, and why not."""
        if self._program is None:
            return
        for row in COMMANDS:
            reason = row.why_not(self._program)
            self._actions[row.id].setToolTip(reason or row.title)
        history = self._workspace.history
        self._actions["edit.undo"].setText(f"Undo {history.undo_name or ''}".strip())
        self._actions["edit.redo"].setText(f"Redo {history.redo_name or ''}".strip())
        for id, layout in (("view.one", "1"), ("view.one_three", "1+3"), ("view.two_two", "2×2")):
            self._actions[id].setChecked(self._workspace.display.layout == layout)
        self._actions["file.remember"].setChecked(self._program.settings.remember_headers)
        self._set_mode_keys()

    def _grey_out(self, menu_open: bool) -> None:
        """Grey in an open menu what cannot be used; else keys stay alive and say why not."""
        self.refresh_commands()
        for row in COMMANDS:
            usable = self._program is not None and not row.why_not(self._program)
            self._actions[row.id].setEnabled(usable or not menu_open)

    def _set_mode_keys(self) -> None:
        """A key never means two things: rows of the other mode lose theirs."""
        if self._program is None:
            return
        mode = "edit" if self._program.tools.editing else "read"
        for row in COMMANDS:
            if row.mode != "any":
                keys = self._shortcuts(row) if row.mode == mode else []
                self._actions[row.id].setShortcuts(keys)

    def _case_changed(self, changes, _origin) -> None:
        if any(change.parts & {"added", "removed"} for change in changes):
            self.refresh_commands()

    def _display_changed(self, old, new) -> None:
        if old.editing != new.editing or old.layout != new.layout:
            self.refresh_commands()

    def eventFilter(self, watched: QObject, event: QEvent) -> bool:
        """In edit mode Space hides the masks for as long as it is held; Esc drops a proposal.

        In the list of masks, where a label is shown or hidden, Enter and Esc mean the proposal too.
        """
        in_views = watched is self.grid
        if (
            isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.KeyPress
            and self._program is not None
            and self._program.clicks.pending
        ):
            if event.key() == Qt.Key.Key_Escape:
                self._program.clicks.drop()
                return True
            if not in_views and event.key() in (Qt.Key.Key_Return, Qt.Key.Key_Enter):
                self._program.clicks.accept()
                return True
        if (
            in_views
            and isinstance(event, QKeyEvent)
            and event.key() == Qt.Key.Key_Space
            and not event.isAutoRepeat()
            and event.modifiers() == Qt.KeyboardModifier.NoModifier
            and self._program is not None
        ):
            if event.type() == QEvent.Type.KeyPress and self._program.tools.editing:
                self._held_overlays = True
                self._workspace.show(self._workspace.display.but(overlays_shown=False))
                return True
            if event.type() == QEvent.Type.KeyRelease and self._held_overlays:
                self._held_overlays = False
                self._workspace.show(self._workspace.display.but(overlays_shown=True))
                return True
        return super().eventFilter(watched, event)

    # --- arrangement -------------------------------------------------------------------------
    def show_views(self, shown: bool) -> None:
        """The views, or the page that says what to do."""
        self._stack.setCurrentWidget(self._views if shown else self.empty)

    def toggle_panels(self) -> None:
        """Collapse or bring back both side panels."""
        shown = self.browser.isVisible() or self._right.isVisible()
        self.browser.setVisible(not shown)
        self._right.setVisible(not shown)

    def show_findings(self) -> None:
        """Bring the lesion list to the front."""
        self._upper.setCurrentIndex(0)

    def show_explanations(self) -> None:
        """Bring the guess of normal and the evidence to the front."""
        self._upper.setCurrentIndex(2)

    def layout_state(self) -> tuple[str, str]:
        """Window place and splitters, for the settings."""
        columns, right = self._columns.saveState(), self._right.saveState()
        return _text(self.saveGeometry()), f"{_text(columns)} {_text(right)}"

    def restore_layout(self, geometry: str, state: str) -> None:
        """Take over what :meth:`layout_state` gave; nonsense is ignored."""
        if geometry:
            self.restoreGeometry(_raw(geometry))
        for splitter, part in zip((self._columns, self._right), state.split(), strict=False):
            splitter.restoreState(_raw(part))

    # --- asking ------------------------------------------------------------------------------
    def ask_folder(self, add: bool = False) -> None:
        """Choose a folder to open."""
        folder = QFileDialog.getExistingDirectory(self, "Open a folder of images")
        if folder:
            self.dropped.emit([folder], add)

    def ask_file(self) -> None:
        """Choose files to open."""
        files, _kind = QFileDialog.getOpenFileNames(
            self, "Open DICOM, NIfTI, zip or a saved case", "", "All files (*)"
        )
        if files:
            self.dropped.emit(files, False)

    def save(self) -> None:
        """Save the next version of the case; the first time ask where."""
        assert self._program is not None
        if self._program.cases.case_path is None:
            self.ask_save()
        else:
            self._program.cases.save()

    def ask_save(self) -> None:
        """Choose where to save the case."""
        assert self._program is not None
        cases = self._program.cases
        name, _kind = QFileDialog.getSaveFileName(
            self,
            "Save case",
            str(cases.case_path or cases.proposed_path),
            "Isocenter case (*.isocase)",
            options=QFileDialog.Option.DontConfirmOverwrite,  # nothing is ever overwritten
        )
        if name:
            cases.save(Path(name).with_suffix(".isocase"))

    def ask_export(self, preset: str = "", folder: str = "") -> None:
        """Open the export dialog, with a usual preset and a folder where they are given."""
        from app.export_choice import BUILT_IN
        from app.windows.export_dialog import ExportDialog

        assert self._program is not None
        export = self._program.export
        dialog = ExportDialog(
            self._workspace,
            self,
            folder=folder or export.last_folder,
            presets=export.presets,
            last=next((one for one in BUILT_IN if one.name == preset), export.last),
            why_not_written=export.why_not_written,
        )
        dialog.remember.connect(export.remember)
        dialog.export_requested.connect(export.export)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.open()

    def ask_deidentify(self) -> None:
        """Open the window that makes clean copies of a folder; reading goes on beside it."""
        from app.windows.deidentify_dialog import DeidentifyDialog

        assert self._program is not None
        work = self._program.deidentify
        dialog = DeidentifyDialog(self)
        dialog.rehearsal_wanted.connect(work.rehearse)
        dialog.start_wanted.connect(work.start)
        dialog.cancel_wanted.connect(work.cancel)
        work.progressed.connect(dialog.show_progress)
        work.rehearsed.connect(dialog.show_rehearsal)
        work.finished.connect(dialog.show_end)
        work.refused.connect(dialog.show_refusal)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.show()

    def ask_training(self) -> None:
        """Open the window that trains a model; there is only one, and reading goes on beside it."""
        from app.windows.training_window import TrainingWindow

        assert self._program is not None
        work, settings = self._program.training, self._program.settings
        for dialog in self.findChildren(TrainingWindow):
            dialog.raise_()
            dialog.activateWindow()
            return
        dialog = TrainingWindow(self._workspace, self)
        dialog.prefer(settings.training_cases, settings.training_folder, settings.training_minutes)
        dialog.set_models(self._program.models.installed)
        dialog.check_wanted.connect(work.check)
        dialog.start_wanted.connect(work.start)
        dialog.cancel_wanted.connect(work.cancel)
        dialog.install_wanted.connect(work.install)
        dialog.study_wanted.connect(lambda folder: self.ask_export("BIDS derivatives", folder))
        work.changed.connect(dialog.show_now)
        work.installed.connect(dialog.show_installed)
        work.not_installed.connect(dialog.show_not_installed)
        dialog.follow(lambda: work.state)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.show()

    def show_guess(self) -> None:
        """The guess of normal in a window of its own; there is only one."""
        from app.windows.guess_window import GuessWindow

        for dialog in self.findChildren(GuessWindow):
            dialog.raise_()
            dialog.activateWindow()
            return
        dialog = GuessWindow(self._workspace, self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.show()

    def ask_screenshot(self) -> None:
        """Choose a file for a picture of the views."""
        name, _kind = QFileDialog.getSaveFileName(self, "Save screenshot", "", "PNG (*.png)")
        if name and self._program is not None:
            self._program.export.screenshot(Path(name).with_suffix(".png"))

    def show_keys(self) -> None:
        """The list of all keys, to read and to change."""
        from app.windows.keys_dialog import KeysDialog

        dialog = KeysDialog(COMMANDS, self._keys, self)
        dialog.chosen_changed.connect(self._choose_keys)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.show()

    def show_about(self) -> None:
        """What this is, and what it is not."""
        from app.windows.about_dialog import AboutDialog

        dialog = AboutDialog(self)
        dialog.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        dialog.show()

    def open_logs(self) -> None:
        """Show the folder with the log."""
        from app.logs import log_folder

        QDesktopServices.openUrl(QUrl.fromLocalFile(str(log_folder())))

    def show_view_menu(self, cell_id: str, place: QPoint) -> None:
        """The right-click menu of a view."""
        self._workspace.show(self._workspace.display.but(active=cell_id))
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        menu.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        menu.aboutToShow.connect(lambda: self._grey_out(True))
        menu.aboutToHide.connect(lambda: self._grey_out(False))
        for id in _VIEW_MENU:
            if id:
                menu.addAction(self._actions[id])
            else:
                menu.addSeparator()
        menu.popup(place)

    # --- Qt ----------------------------------------------------------------------------------
    def dragEnterEvent(self, event: QDragEnterEvent) -> None:
        """Take files."""
        if event.mimeData().hasUrls():
            event.acceptProposedAction()

    def dropEvent(self, event: QDropEvent) -> None:
        """Open what was dropped; with Shift, beside what is open."""
        paths = [url.toLocalFile() for url in event.mimeData().urls() if url.isLocalFile()]
        if paths:
            add = bool(event.modifiers() & Qt.KeyboardModifier.ShiftModifier)
            self.dropped.emit(paths, add)
            event.acceptProposedAction()

    def closeEvent(self, event: QCloseEvent) -> None:
        """Say so before going; stay while the disk refuses the last edits."""
        program = self._program
        if program is not None and program.training.running and not self._without_checkpoint:
            event.ignore()
            self._ask_about_training(program)
            return
        if program is not None and not self._leaving and not program.journal.wait(5.0):
            event.ignore()
            if self.notice.text != _NOT_WRITTEN:
                self.notice.ask(
                    _NOT_WRITTEN,
                    ("Stay", lambda: None),
                    ("Save the case elsewhere…", self.ask_save),
                    ("Close and lose them", self._leave),
                    at_once=True,
                )
            return
        self.closing.emit()
        super().closeEvent(event)

    def _ask_about_training(self, program: Program) -> None:
        """Nobody loses a training by closing the window."""
        stopping = program.training.stopping
        words = _CHECKPOINT if stopping else _TRAINING
        if self.notice.text == words:
            return
        leave = ("Close without it", self._leave_training)
        stop = ("Stop it and close", lambda: self._stop_training(program))
        stay = ("Wait" if stopping else "Stay", lambda: None)
        self.notice.ask(words, stay, leave if stopping else stop, at_once=True)

    def _leave_training(self) -> None:
        self._without_checkpoint = True
        self.close()

    def _stop_training(self, program: Program) -> None:
        """Close as soon as the training has written its checkpoint."""

        def close_when_stopped() -> None:
            if not program.training.running:
                program.training.changed.disconnect(close_when_stopped)
                self.close()

        program.training.changed.connect(close_when_stopped)
        program.training.cancel()

    def _leave(self) -> None:
        self._leaving = True
        self.close()


def _tabs(*titles: str) -> QTabWidget:
    tabs = QTabWidget()
    tabs.setDocumentMode(True)
    for title in titles:
        tabs.addTab(QWidget(), title)
    return tabs


def _fill_page(page: QWidget | None, panel: QWidget) -> None:
    assert page is not None
    column = QVBoxLayout(page)
    column.setContentsMargins(0, 0, 0, 0)
    column.addWidget(panel)


def _text(data: QByteArray) -> str:
    return bytes(data.toBase64().data()).decode()


def _raw(text: str) -> QByteArray:
    return QByteArray.fromBase64(text.encode())
