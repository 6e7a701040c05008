"""Builds the program in order; the only file that knows all classes."""

from __future__ import annotations

import secrets
import sys
from threading import Lock
from typing import TYPE_CHECKING

from PySide6.QtCore import QTimer

from app.collector import Collector
from app.controllers.cases import CaseController
from app.controllers.clicks import ClickController
from app.controllers.deidentify import JOB as DEIDENTIFY_JOB
from app.controllers.deidentify import DeidentifyController
from app.controllers.drawings import DrawingController
from app.controllers.even import JOB as EVEN_JOB
from app.controllers.even import EvenController
from app.controllers.export import ExportController
from app.controllers.findings import FindingsController
from app.controllers.journal import CaseJournal
from app.controllers.models import ModelController
from app.controllers.names import NameController
from app.controllers.objects import ObjectController
from app.controllers.sequences import SequenceController
from app.controllers.study_answer import StudyAnswerController
from app.controllers.tools import ToolController
from app.controllers.training import JOB as TRAINING_JOB
from app.controllers.training import TrainingController
from app.controllers.views import ViewController
from app.controllers.window_memory import WindowMemory
from app.messages import sentence
from app.program import Program
from app.settings import Settings
from app.settings import save as save_settings
from app.tasks import Tasks
from app.windows.main_window import MainWindow
from app.workspace import Workspace
from imaging.errors import ImagingError
from imaging.heatmap import DEVIATION, PICTURE
from viewer.state.display import Brush, Layout
from viewer.widgets.view_grid import ViewGrid

if TYPE_CHECKING:
    from imaging.dicom.objects.read_report import ReportText

#: Python's usual 5 ms let a busy worker thread hold the window up at every call into numpy.
SWITCH_S = 0.0005


def compose(settings: Settings, workspace: Workspace, window: MainWindow) -> Program:
    """Make every other part and join them; nothing heavy is imported yet."""
    sys.setswitchinterval(SWITCH_S)
    collector = Collector()
    tasks = Tasks()
    tools = ToolController(workspace, new_id)
    grid = ViewGrid(workspace, tools, _volume_view)
    window.furnish(grid)
    views = ViewController(workspace, grid)
    cases = CaseController(workspace, tasks, window.browser)
    sequences = SequenceController(workspace, tasks, cases, settings.sequences)
    even = EvenController(workspace, tasks, cases)
    drawings = DrawingController(workspace, tasks, cases)
    findings = FindingsController(workspace, tasks, window.findings, views.jump)
    answer = StudyAnswerController(
        workspace, tasks, findings, window.findings.answer, window.findings.choose
    )
    objects = ObjectController(workspace, tasks, cases, window.browser, window.notice, views.jump)
    names = NameController(workspace, tasks, cases, objects, window.browser)
    models = ModelController(
        workspace,
        tasks,
        window.models,
        window.explain,
        lambda: (findings.mask, findings.chosen),
        cases.why_not_whole,
        even.needed_for_model,
    )
    clicks = ClickController(
        workspace, tasks, tools, models.clicker, findings.accept, cases.why_not_whole
    )
    export = ExportController(
        workspace, tasks, findings, lambda: grid.grab().toImage(), cases.why_not_written
    )
    export.last_folder, export.annotator = settings.export_folder, settings.annotator
    export.last, export.presets = settings.export_last, settings.export_presets
    journal = CaseJournal(workspace, tasks, cases, window.notice, window.jobs)
    window_memory = WindowMemory(workspace, settings.presets)
    program = Program(
        collector=collector,
        workspace=workspace,
        tasks=tasks,
        settings=settings,
        cases=cases,
        objects=objects,
        sequences=sequences,
        names=names,
        even=even,
        drawings=drawings,
        views=views,
        tools=tools,
        clicks=clicks,
        findings=findings,
        answer=answer,
        models=models,
        export=export,
        deidentify=DeidentifyController(tasks),
        training=TrainingController(tasks),
        journal=journal,
        window_memory=window_memory,
        window=window,
    )
    _join(program, grid)
    window.bind(program)
    brush = Brush(radius_mm=settings.brush_mm, shape=settings.brush_shape)
    workspace.show(workspace.display.but(layout=_layout_of(settings), brush=brush))
    QTimer.singleShot(0, lambda: _when_idle(program))
    return program


def new_id(kind: str) -> str:
    """A fresh id for an item of the case."""
    return f"{kind}-{secrets.token_hex(6)}"


def _layout_of(settings: Settings) -> Layout:
    return Layout(settings.layout) if settings.layout in set(Layout) else Layout.ONE_AND_THREE


def _volume_view():
    from viewer.widgets.volume_view import VolumeView

    return VolumeView()


def _join(program: Program, grid: ViewGrid) -> None:
    """Signals between parts that do not know each other."""
    window, views, cases = program.window, program.views, program.cases
    tools, models, findings = program.tools, program.models, program.findings
    objects = program.objects
    for part in (cases, objects, views, tools, program.clicks, findings, models, program.journal,
                 program.names, program.sequences, program.even, program.deidentify,
                 program.training):  # fmt: skip
        part.said.connect(window.jobs.say)
    program.export.said.connect(lambda words: window.jobs.say(words, stays=True))
    for part in (cases, objects, program.names, program.export, program.even, program.drawings,
                 program.deidentify, program.training):  # fmt: skip
        part.failed.connect(lambda words: window.jobs.say(words, "danger"))
    for part in (cases, objects, models, program.export, program.even, program.deidentify,
                 program.training):  # fmt: skip
        part.job.connect(lambda id, words, fraction: _show_job(window, id, words, fraction))
    window.jobs.cancel_requested.connect(lambda id: _cancel_job(program, id))
    window.segments.refused.connect(window.jobs.say)
    window.tools.tool_requested.connect(tools.choose)
    tools.show_previews_with(views.preview)
    tools.ask_even_with(program.even.needed)
    tools.point_with(program.clicks.point_out)
    program.clicks.changed.connect(lambda: window.tools.show_engine(program.clicks.engine))
    window.tools.engine_chosen.connect(program.clicks.choose_engine)
    for part in (program.even, models):
        part.asked.connect(
            lambda words, choices: window.notice.ask(words, *choices, at_once=True, of_study=True)
        )
    window.dropped.connect(objects.drop)
    objects.reported.connect(lambda report, title: _show_report(program, report, title))
    program.workspace.case_changed.connect(lambda _, origin: _forget_study(program, origin))
    window.empty.paths_dropped.connect(lambda paths: window.dropped.emit(paths, False))
    window.empty.folder_wanted.connect(window.ask_folder)
    window.empty.file_wanted.connect(window.ask_file)
    window.empty.demo_wanted.connect(cases.open_demo)
    window.empty.recent_chosen.connect(lambda path: window.dropped.emit([path], False))
    window.banner.set_notice(program.settings.notice)
    window.models.prefer(program.settings.device, program.settings.explain)
    cases.opened.connect(lambda paths: _remember(program, paths))
    cases.scan_ended.connect(lambda: _remember_decoders(program))
    cases.opened.connect(lambda _paths: program.journal.offer_recovery())
    workspace = program.workspace
    workspace.case_changed.connect(
        lambda _changes, _origin: window.show_views(bool(workspace.case.volumes))
    )
    workspace.selection_changed.connect(
        lambda lesion: views.highlight(findings.mask.id if findings.mask else "", lesion)
    )
    models.answered.connect(lambda id: _show_answer(program, id))
    models.study_told.connect(lambda *told: _hear_model(program, *told))
    program.answer.guess_wanted.connect(window.show_guess)
    window.closing.connect(lambda: _remember_layout(program))
    views.window_reset.connect(program.window_memory.forget)
    window.repeats.chosen.connect(views.show_repeat)
    window.repeats.stepped.connect(views.step_repeat)
    window.repeats.play_clicked.connect(views.toggle_play)
    views.repeats_playing.connect(window.repeats.set_playing)
    program.window_memory.changed.connect(lambda shares: _remember_windows(program, shares))
    window.headers_remembered.connect(lambda on: _remember_headers(program, on))
    window.keys_chosen.connect(lambda chosen: _remember_keys(program, chosen))
    program.export.remembered.connect(lambda: _remember_export(program))
    program.training.changed.connect(lambda: _remember_training(program))
    program.training.installed.connect(lambda _id: models.refresh())
    grid.hovered.connect(lambda at, id: window.jobs.set_place(views.describe(at, id)))
    cases.recent = lambda: program.settings.recent
    cases.names_as = lambda: program.settings.name_charset
    window.browser.set_names_as(program.settings.name_charset)
    program.names.changed.connect(lambda script: _remember_script(program, script))
    cases.remembers = lambda: program.settings.remember_headers
    window.browser.sequence_told.connect(program.sequences.tell)
    program.sequences.changed.connect(lambda told: _remember_sequences(program, told))
    for signal in (workspace.history_changed, workspace.case_changed):
        signal.connect(lambda *_: _name_window(program))
    cases.saved.connect(lambda _path: _name_window(program))
    inputs = window.models.inputs
    inputs.study = lambda: cases.series.values()
    inputs.series_of = cases.series_of
    inputs.why_not_loaded = cases.why_not_loaded
    inputs.load_wanted.connect(cases.load_beside)
    cases.not_loaded.connect(inputs.give_up)
    cases.whole.connect(lambda _key, _volume: inputs.refresh())
    cases.scan_ended.connect(inputs.refresh)
    cases.loading_changed.connect(grid.set_loading)
    grid.activated.connect(views.activate)
    grid.maximise_requested.connect(views.toggle_maximised)
    grid.jump_requested.connect(views.jump)
    grid.jump_requested.connect(findings.choose_at)
    grid.clicked.connect(findings.choose_at)
    grid.series_dropped.connect(cases.activate)
    grid.even_wanted.connect(program.even.make)
    grid.menu_requested.connect(window.show_view_menu)


def _show_answer(program: Program, id: str) -> None:
    """The page that an answer is read on: a guess of normal is compared, all else is listed."""
    item = program.workspace.case.items.get(id)
    if getattr(item, "meaning", "") in (DEVIATION, PICTURE):
        program.window.show_explanations()
    else:
        program.window.show_findings()


def _hear_model(program: Program, volume_id: str, model_id: str, facts: dict) -> None:
    """What a model said about the study goes into the answer above the findings."""
    for model in program.models.installed:
        if model.card.id == model_id:
            program.answer.hear_model(volume_id, model.card, facts)


def _name_window(program: Program) -> None:
    """The case file and whether it holds everything; never a patient's name."""
    cases, workspace = program.cases, program.workspace
    if not workspace.case.volumes:
        program.window.setWindowTitle("Isocenter")
        return
    name = cases.case_path.name if cases.case_path else "case not saved yet"
    changed = "*" if workspace.revision != cases.saved_revision else ""
    program.window.setWindowTitle(f"{name}{changed} – Isocenter")


def _when_idle(program: Program) -> None:
    """What the first painted window did not need."""
    program.tasks.run(lambda _ticket: _warm(program.settings.compressed))
    program.models.refresh()
    program.journal.offer_recovery()


def _warm(compressed: bool) -> None:
    """Load what the first stroke, lesion list and oblique plane need, off the hand's time.

    And what the first picture needs, where images were compressed the last time.
    """
    from importlib import import_module

    if compressed:
        from imaging.dicom.pixels.read import prepare_worker

        prepare_worker()

    for name in (
        "scipy.ndimage",
        "scipy.spatial",
        "vtkmodules.vtkImagingCore",
        "imaging.edits.operations",
        "imaging.storage.journal",
        "viewer.widgets.volume_view",
    ):
        import_module(name)


def _show_job(window: MainWindow, id: str, words: str, fraction: float) -> None:
    if fraction >= 1.0:
        window.jobs.end_job(id, words)
    else:
        window.jobs.set_job(id, words, fraction if fraction >= 0 else None)


def _show_report(program: Program, report: ReportText, title: str) -> None:
    from app.windows.report_view import ReportView

    for view in program.window.findChildren(ReportView):
        if view.report == report:
            view.raise_()
            view.activateWindow()
            return
    patients = {volume.source.patient for volume in program.workspace.case.volumes}
    view = ReportView(report, title, program.window, patients)
    view.group_chosen.connect(program.objects.go_to)
    view.show()


def _forget_study(program: Program, origin: str) -> None:
    """No report, question or failure of one study stays beside the images of another."""
    if origin == "close":
        from app.windows.report_view import ReportView

        program.window.notice.study_closed()
        program.window.jobs.forget_failure()
        for view in program.window.findChildren(ReportView):
            view.close()


def _cancel_job(program: Program, id: str) -> None:
    if id.startswith("object-"):
        program.objects.cancel(id)
    elif id == "model":
        program.models.cancel()
    elif id == "export":
        program.export.cancel()
    elif id == DEIDENTIFY_JOB:
        program.deidentify.cancel()
    elif id == TRAINING_JOB:
        program.training.cancel()
    elif id == EVEN_JOB:
        program.even.cancel()
    else:
        program.cases.cancel(id)


def _remember(program: Program, paths: list[str]) -> None:
    program.settings = program.settings.opened(paths[0])
    _save(program)
    program.window.empty.set_recent(program.settings.recent)


def _remember_keys(program: Program, chosen: dict[str, str]) -> None:
    program.settings = program.settings.but(keys=chosen)
    _save(program)


def _remember_export(program: Program) -> None:
    export = program.export
    program.settings = program.settings.but(
        export_folder=export.last_folder,
        export_last=export.last,
        export_presets=export.presets,
    )
    _save(program)


def _remember_training(program: Program) -> None:
    """The paths of the last training, so that it can go on after a new start."""
    wish, settings = program.training.state.wish, program.settings
    if wish is None or not program.training.running:
        return
    chosen = settings.but(
        training_cases=str(wish.cases),
        training_folder=str(wish.out),
        training_minutes=wish.minutes,
    )
    if chosen != settings:
        program.settings = chosen
        _save(program)


def _remember_sequences(program: Program, told: dict[str, str]) -> None:
    program.settings = program.settings.but(sequences=told)
    _save(program)


def _remember_decoders(program: Program) -> None:
    """Whether decoders were needed; a scan without any series says nothing about that."""
    from imaging.dicom.pixels.read import needs_worker

    frames = [s.frames[0] for s in program.cases.series.values() if s.kind == "dicom" and s.frames]
    compressed = any(needs_worker(frame.encoding) for frame in frames)
    if frames and compressed != program.settings.compressed:
        program.settings = program.settings.but(compressed=compressed)
        _save(program)


def _remember_script(program: Program, script: str) -> None:
    program.settings = program.settings.but(name_charset=script)
    _save(program)


def _remember_headers(program: Program, on: bool) -> None:
    """Keep what is read of opened folders for the next opening, or keep nothing and delete it."""
    program.settings = program.settings.but(remember_headers=on)
    _save(program)
    if not on:
        program.cases.forget_headers()


def _remember_windows(program: Program, shares: dict[str, tuple[float, float]]) -> None:
    program.settings = program.settings.but(presets=shares)
    _save(program)


def _remember_layout(program: Program) -> None:
    geometry, state = program.window.layout_state()
    brush = program.workspace.display.brush
    program.settings = program.settings.but(
        window_geometry=geometry,
        window_state=state,
        layout=program.workspace.display.layout.value,
        export_folder=program.export.last_folder,
        device=str(program.window.models.device.currentData()),
        explain=program.window.models.explain.isChecked(),
        brush_mm=brush.radius_mm,
        brush_shape=brush.shape,
        presets=program.window_memory.shares,
    )
    _save_now(program)


def _save(program: Program) -> None:
    """Write the settings off the hand's time; always the newest ones, whoever comes last."""

    def work(_ticket) -> None:
        with _one_writer:
            save_settings(program.settings)

    program.tasks.run(work, None, lambda error: _not_saved(program, error))


def _save_now(program: Program) -> None:
    """Write the settings before the program goes."""
    try:
        with _one_writer:
            save_settings(program.settings)
    except (ImagingError, OSError) as error:
        _not_saved(program, error)


def _not_saved(program: Program, error: BaseException) -> None:
    program.window.jobs.say(sentence(error))


_one_writer = Lock()


def quit_program(program: Program) -> None:
    """Stop the worker, let the journal finish, end the threads."""
    program.window_memory.close()
    program.clicks.close()
    program.models.close()
    program.training.close()
    program.cases.close()
    program.journal.close()
    program.tasks.close()
    program.collector.close()
