"""Every row of the command table can be run and answers for itself."""

from __future__ import annotations

from types import SimpleNamespace
from unittest.mock import create_autospec

import pytest
from panel_cases import open_workspace

from app.commands import COMMANDS, command
from app.controllers.cases import CaseController
from app.controllers.clicks import ClickController
from app.controllers.even import EvenController
from app.controllers.export import ExportController
from app.controllers.findings import FindingsController
from app.controllers.journal import CaseJournal
from app.controllers.models import ModelController
from app.controllers.tools import ToolController
from app.controllers.views import ViewController
from app.windows.main_window import MENUS, MainWindow
from app.workspace import Workspace

PARTS = {
    "cases": CaseController, "views": ViewController, "tools": ToolController,
    "findings": FindingsController, "models": ModelController, "export": ExportController,
    "journal": CaseJournal, "window": MainWindow, "even": EvenController,
    "clicks": ClickController,
}  # fmt: skip
IDS = [row.id for row in COMMANDS]


@pytest.fixture
def program(qapp) -> SimpleNamespace:
    """Parts that know the real methods and their signatures, and do nothing."""
    parts = {name: create_autospec(kind, instance=True) for name, kind in PARTS.items()}
    return SimpleNamespace(workspace=open_workspace(), settings=None, tasks=None, **parts)


def calls(program: SimpleNamespace) -> list:
    return [call for name in PARTS for call in getattr(program, name).mock_calls]


def test_ids_are_unique_and_found() -> None:
    assert len(set(IDS)) == len(IDS)
    for row in COMMANDS:
        assert command(row.id) is row
    with pytest.raises(KeyError):
        command("no.such")


@pytest.mark.parametrize("row", COMMANDS, ids=IDS)
def test_every_command_does_one_thing_that_exists(row, program) -> None:
    row.run(program)
    assert len(calls(program)) == 1, "a command calls one method of one part"


@pytest.mark.parametrize("row", COMMANDS, ids=IDS)
def test_every_command_can_say_why_not(row, program) -> None:
    for workspace in (program.workspace, Workspace()):
        program.workspace = workspace
        reason = row.why_not(program)
        assert isinstance(reason, str)
        assert not reason.endswith(".")


@pytest.mark.parametrize("row", COMMANDS, ids=IDS)
def test_every_row_is_filled_in(row) -> None:
    assert row.title
    assert row.group in MENUS or not row.menu
    assert row.mode in ("any", "read", "edit")
    assert row.scope in ("window", "views", "lesions")
    assert row.menu or row.keys, "neither in a menu nor on a key: nobody can reach it"


def test_without_a_study_nothing_that_needs_one_can_run(program) -> None:
    program.workspace = Workspace()
    for id in ("file.save", "file.export", "view.reset", "edit.mode", "lesion.next"):
        assert command(id).why_not(program), id
    for id in ("file.open", "file.demo", "file.quit", "help.keys"):
        assert not command(id).why_not(program), id
