"""The parts of the running program, by name; made once by ``compose.py``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from app.collector import Collector
    from app.controllers.cases import CaseController
    from app.controllers.clicks import ClickController
    from app.controllers.deidentify import DeidentifyController
    from app.controllers.drawings import DrawingController
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
    from app.controllers.training import TrainingController
    from app.controllers.views import ViewController
    from app.controllers.window_memory import WindowMemory
    from app.settings import Settings
    from app.tasks import Tasks
    from app.windows.main_window import MainWindow
    from app.workspace import Workspace


@dataclass(eq=False)
class Program:
    """What a command may use."""

    collector: Collector
    workspace: Workspace
    tasks: Tasks
    settings: Settings
    cases: CaseController
    objects: ObjectController
    sequences: SequenceController
    names: NameController
    even: EvenController
    drawings: DrawingController
    views: ViewController
    tools: ToolController
    clicks: ClickController
    findings: FindingsController
    answer: StudyAnswerController
    models: ModelController
    export: ExportController
    deidentify: DeidentifyController
    training: TrainingController
    journal: CaseJournal
    window_memory: WindowMemory
    window: MainWindow
