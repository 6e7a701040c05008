"""Training by hand: check, start, watch, stop, go on, read the end; closing loses nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from PySide6.QtCore import Qt

from app.controllers.training import Phase, TrainingController, told_frames
from app.settings import Settings, load, save
from app.tasks import Tasks
from app.training_events import (
    CaseCheck,
    Checked,
    Done,
    Failed,
    Note,
    Stage,
    Step,
    Stopped,
    read_event,
)
from app.training_report import read_report, stored_end
from app.training_wish import TrainingWish, holds_training, stored_wish
from app.windows.loss_curve import LossCurve, curve_words
from app.windows.training_cases import FOUND, GROUP, PATIENT, TrainingCases
from app.windows.training_choices import effort_words
from app.windows.training_report_page import TrainingReportPage, about_words, verdict
from app.windows.training_window import TrainingWindow
from app.workspace import Workspace
from imaging.errors import BadInput

LEFT = Qt.MouseButton.LeftButton
FAKE = Path(__file__).with_name("fake_training.py")


@pytest.fixture
def desk(qtbot, qapp, tmp_path):
    """The window joined to its controller, whose child only speaks."""
    tasks, mode = Tasks(), {"word": "good"}
    work = TrainingController(tasks, lambda: [sys.executable, str(FAKE), mode["word"]])
    window = TrainingWindow(Workspace())
    qtbot.addWidget(window)
    window.check_wanted.connect(work.check)
    window.start_wanted.connect(work.start)
    window.cancel_wanted.connect(work.cancel)
    work.changed.connect(window.show_now)
    window.follow(lambda: work.state)
    window.show()
    (tmp_path / "cases").mkdir()
    said: list[str] = []
    work.said.connect(said.append)
    work.failed.connect(said.append)
    jobs: list[str] = []
    work.job.connect(lambda _id, words, _share: jobs.append(words))

    def click(button) -> None:
        qtbot.mouseClick(button, LEFT)

    def idle() -> None:
        qtbot.waitUntil(lambda: not work.state.busy, timeout=20_000)

    def checked() -> None:
        window.cases.source.setText(str(tmp_path / "cases"))
        window.cases.target.setText(str(tmp_path / "out"))
        click(window.check)
        idle()

    yield SimpleNamespace(window=window, work=work, mode=mode, said=said, jobs=jobs, click=click,
                          idle=idle, checked=checked, out=tmp_path / "out",
                          qtbot=qtbot)  # fmt: skip
    work.close()
    tasks.close()


def test_every_button_says_why_it_cannot_be_used(desk) -> None:
    window = desk.window
    assert "Choose the cases" in window.check.toolTip()
    assert not window.start.isEnabled()
    window.cases.source.setText("/no/such/place")
    assert "no such folder" in window.check.toolTip()
    window.cases.source.setText(str(desk.out.parent / "cases"))
    assert window.check.isEnabled()
    assert "folder for the results" in window.start.toolTip()
    window.cases.target.setText(str(desk.out))
    assert "Check the cases" in window.start.toolTip()
    assert "no training" in window.resume.toolTip()


def test_the_check_names_every_case_and_what_is_wrong(desk) -> None:
    desk.checked()
    table = desk.window.cases.table
    assert [table.item(n, 0).text() for n in range(2)] == ["b", "a"]
    assert [table.item(n, PATIENT).text() for n in range(2)] == ["2", "1"]
    assert table.isColumnHidden(GROUP)
    assert "another grid" in table.item(0, FOUND).text()
    assert "1 of 2 cases can be used" in desk.window.cases.found.text()
    assert desk.window.start.isEnabled()


def test_groups_are_listed_and_patients_nobody_named_are_mentioned(qtbot) -> None:
    cases = TrainingCases()
    qtbot.addWidget(cases)
    both = Checked((CaseCheck("a", True, "", "p1", "3 T"), CaseCheck("b", True, "", "p1")))
    cases.show_checked(both, Path("x"))
    assert cases.table.item(0, GROUP).text() == "3 T"
    assert not cases.table.isColumnHidden(GROUP)
    assert "from 1 patient." in cases.found.text()
    cases.show_checked(Checked((CaseCheck("a", True, "", "a"), CaseCheck("b", True))), Path("x"))
    assert "each case counts as one" in cases.found.text()
    assert cases.table.isColumnHidden(GROUP)


def test_other_cases_have_to_be_checked_again(desk) -> None:
    desk.checked()
    desk.window.cases.source.setText(str(desk.out.parent))
    assert not desk.window.start.isEnabled()
    assert "check them again" in desk.window.cases.found.text()


def test_a_training_is_watched_and_its_figures_are_read(desk) -> None:
    desk.checked()
    desk.click(desk.window.start)
    assert desk.window.pages.currentWidget() is not desk.window.report
    desk.idle()
    window = desk.window
    assert window.pages.currentWidget() is window.report
    assert window.report.verdict.text() == "The new model is better on cases held back"
    cells = {
        window.report.table.item(n, 0).text(): window.report.table.item(n, 2).text()
        for n in range(window.report.table.rowCount())
        if window.report.table.item(n, 2) is not None
    }
    assert cells["Calibration error"] == "0.03"
    assert window.report.table.item(0, 1).text() == "0.55 (0.4 to 0.7)"
    assert "4 patients" in window.report.about.text()
    assert [step.loss for step in desk.work.state.steps] == [0.9, 0.5]
    assert desk.work.state.notes == ["Case a has no lesion."]
    desk.click(window.report.again)
    assert window.start.isVisible()


def test_what_is_not_better_is_not_offered(desk) -> None:
    desk.mode["word"] = "worse"
    desk.checked()
    desk.click(desk.window.start)
    desk.idle()
    report = desk.window.report
    assert "not better" in report.verdict.text()
    assert "fell by 0.03" in report.reason.text()
    assert not report.install.isEnabled()
    assert "not better" in report.install.toolTip()


def test_a_stop_keeps_a_checkpoint_and_the_same_choice_goes_on(desk) -> None:
    desk.mode["word"] = "slow"
    desk.checked()
    desk.click(desk.window.start)
    desk.qtbot.waitUntil(lambda: len(desk.work.state.steps) == 2)
    desk.click(desk.window.stop)
    assert desk.work.state.phase is Phase.STOPPING
    assert not desk.window.stop.isEnabled()
    assert desk.window.stage.text().startswith("Stopping")
    assert not desk.window.left.text()  # nobody waits for the end of a training that is stopped
    assert desk.jobs[-1] == "Training: stopping"
    desk.idle()
    assert "“Resume” goes on" in desk.window.state.text()
    assert "--resume" not in desk.window.state.text()
    assert "resume it" in desk.window.start.toolTip()
    desk.mode["word"] = "good"
    desk.click(desk.window.resume)
    desk.idle()
    words = json.loads((desk.out / "arguments.json").read_text())
    assert "--resume" in words
    assert words[words.index("--network") + 1] == "residual"  # as it was begun
    assert desk.window.choices.folds.value() == 3


def test_the_end_of_a_training_can_be_read_again(desk) -> None:
    desk.checked()
    desk.click(desk.window.start)
    desk.idle()
    desk.click(desk.window.report.again)
    assert desk.window.resume.text().strip() == "Resume"  # not known yet what lies there
    (desk.out / "choices.json").write_text("{}")
    assert stored_end(desk.out) is None  # stopped before the package was written
    (desk.out / "package").mkdir()
    (desk.out / "package" / "card.toml").write_text("")
    desk.window._refresh()
    assert desk.window.resume.text().strip() == "Show its report"
    assert "finished" in desk.window.start.toolTip()
    desk.click(desk.window.resume)
    assert desk.window.pages.currentWidget() is desk.window.report
    assert desk.window.report.install.isEnabled()
    assert not desk.work.running


def test_the_end_of_a_refused_adaptation_offers_nothing(tmp_path) -> None:
    (tmp_path / "choices.json").write_text("{}")
    for text in ("[]", '{"verdict": 3}', "{"):
        (tmp_path / "report.json").write_text(text)
        assert stored_end(tmp_path) is None
    said = {"verdict": {"promoted": False, "reason": "Too few."}}
    (tmp_path / "report.json").write_text(json.dumps(said))
    end = stored_end(tmp_path)
    assert end is not None
    assert (end.package, end.promoted, end.reason) == ("", False, "Too few.")


@pytest.mark.parametrize(
    ("folds", "patients", "few", "words"),
    [
        (5, 0, False, "5 folds"),
        (
            5,
            3,
            False,
            "3 folds give the figures, then one run on all cases gives the model: 4 runs",
        ),
        (5, 1, False, "no figures"),
        (2, 4, True, "4 folds"),
        (2, 9, True, "5 folds"),
        (5, 0, True, "Each patient"),
    ],
)
def test_folds_and_time_are_told_as_runs(folds, patients, few, words) -> None:
    assert words in effort_words(folds, 60, patients, few)
    assert effort_words(2, 3).endswith("3 runs of about 1 min.")
    assert effort_words(2, 2).endswith("3 runs of about 40 s.")


@pytest.mark.parametrize(("mode", "words"), [("dies", "unexpectedly"), ("fails", "disk is full")])
def test_a_training_that_fails_says_so_and_leaves_the_choice(desk, mode, words) -> None:
    desk.mode["word"] = mode
    desk.checked()
    desk.click(desk.window.start)
    desk.idle()
    assert words in desk.window.state.text()
    assert words in desk.said[-1]
    assert desk.window.start.isVisible()


def test_a_command_that_is_not_there_is_a_sentence(qtbot) -> None:
    tasks = Tasks()
    work = TrainingController(tasks, lambda: ["/no/such/program"])
    work.check(TrainingWish(Path("a"), Path("b")))
    assert isinstance(work.state.end, Failed)
    assert "could not be started" in work.state.end.sentence
    tasks.close()


def test_closing_the_window_does_not_end_the_training(desk, qtbot) -> None:
    desk.mode["word"] = "slow"
    desk.checked()
    desk.click(desk.window.start)
    desk.qtbot.waitUntil(lambda: len(desk.work.state.steps) == 2)
    desk.window.close()
    assert desk.work.running
    again = TrainingWindow(Workspace())
    qtbot.addWidget(again)
    again.follow(lambda: desk.work.state)
    again.show()
    assert again.stop.isVisible()
    assert again.stage.text() == "Training fold 1 of 2"
    assert "0.5" in again.curve.accessibleName()


def test_a_program_that_ends_leaves_no_child(desk) -> None:
    desk.mode["word"] = "slow"
    desk.checked()
    desk.click(desk.window.start)
    desk.qtbot.waitUntil(lambda: len(desk.work.state.steps) == 2)
    child = desk.work._child
    desk.work.close()
    assert not child.alive
    assert holds_training(desk.out)


def test_a_folder_that_says_nonsense_is_no_training_to_go_on_with(tmp_path) -> None:
    assert stored_wish(tmp_path) is None
    (tmp_path / "choices.json").write_text('{"cases": 3, "folds": "many"}')
    assert stored_wish(tmp_path) is None


def test_a_training_begun_by_steps_goes_on_where_it_began(desk) -> None:
    desk.checked()
    desk.out.mkdir()
    (desk.out / "choices.json").write_text('{"cases": "c", "minutes": 0, "steps": 5}')
    desk.window.cases.target.setText(str(desk.out / ""))
    desk.window._refresh()
    for button in (desk.window.start, desk.window.resume):
        assert not button.isEnabled()
        assert "command line" in button.toolTip()


def test_the_log_gets_places_and_kinds_but_no_words_of_a_child() -> None:
    words = """Reading /media/anna/MUELLER.nii
Traceback (most recent call last):
  File "/opt/x/inference/training/own/loop.py", line 12, in train
    raise ValueError("MUELLER")
  File "/media/anna/MUELLER.py", line 3, in run
RuntimeError: cannot read /media/anna/MUELLER.nii
"""
    assert told_frames(words) == "loop.py:12 > RuntimeError"
    assert told_frames("MUELLER is gone") == "no traceback"


def test_the_open_study_can_become_a_case_once_it_has_a_mask(qtbot) -> None:
    from panel_cases import add_answer, open_workspace

    workspace = open_workspace()
    window = TrainingWindow(workspace)
    qtbot.addWidget(window)
    assert "correct its mask" in window.cases.add.toolTip()
    add_answer(workspace)
    window.cases.source.setText("/data/own")
    with qtbot.waitSignal(window.study_wanted) as asked:
        window.cases.add.click()
    assert asked.args == ["/data/own"]


def test_a_network_of_blocks_has_no_slices(desk) -> None:
    choices = desk.window.choices
    choices.dimensions.setCurrentIndex(choices.dimensions.findData("2.5"))
    choices.network.setCurrentIndex(choices.network.findData("unet"))
    assert choices.dimensions.currentData() == "3"
    assert "blocks only" in choices.dimensions.toolTip()


def test_adapting_needs_a_model_and_few_cases(desk) -> None:
    from inference.registry import installed_models

    choices = desk.window.choices
    assert not choices.few_shot.isEnabled()
    choices.set_models(installed_models())
    offered = [choices.start_from.itemData(n) for n in range(choices.start_from.count())]
    assert offered == ["", "flair-wml"]  # the others cannot go on learning here
    choices.choose_model("flair-wml")
    choices.few_shot.setChecked(True)
    assert not choices.network.isEnabled()
    desk.checked()
    assert "two patients" in desk.window.start.toolTip()  # only one of both cases can be used
    words = desk.window.wish().arguments()
    assert words[words.index("--from") + 1] == "flair-wml"
    assert "--few-shot" in words
    assert "--network" not in words
    choices.choose_model("")
    assert not choices.few_shot.isChecked()


@pytest.mark.parametrize(
    ("line", "event"),
    [
        ("no json", None),
        ('["a list"]', None),
        ('{"kind": "of tomorrow"}', None),
        ('{"kind": "step", "loss": "low"}', None),
        ('{"kind": "step", "loss": NaN}', None),
        ('{"kind": "step", "loss": 1, "step": 3, "steps": 9}', Step(3, 9, 1.0)),
        ('{"kind": "stage", "words": "Folds", "fraction": 7}', Stage("Folds", 1.0)),
        ('{"kind": "note", "sentence": "So."}', Note("So.")),
        ('{"kind": "stopped"}', Stopped()),
        ('{"kind": "cases", "cases": "none"}', Checked(())),
        ('{"kind": "done", "promoted": false}', Done(promoted=False)),
        ('{"error": "No such file."}', Failed("No such file.")),
    ],
)
def test_lines_are_read_or_passed_by(line, event) -> None:
    assert read_event(line) == event


def test_a_report_points_to_no_file_elsewhere(tmp_path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"n": 2, "new": {"dice": 1}, "picture": "../../etc/passwd"}))
    assert read_report(path).picture is None
    path.write_text("[]")
    with pytest.raises(BadInput):
        read_report(path)


def test_the_picture_of_a_report_is_drawn_for_a_dark_room(qtbot, tmp_path) -> None:
    figure = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20">'
    figure += '<rect width="40" height="20" fill="#ffffff"/></svg>'
    (tmp_path / "report.svg").write_text(figure)
    report = {"n": 3, "new": {"dice": {"value": 0.5}}, "picture": "report.svg",
              "warnings": ["One hospital only."]}  # fmt: skip
    (tmp_path / "report.json").write_text(json.dumps(report))
    page = TrainingReportPage()
    qtbot.addWidget(page)
    page.resize(800, 500)
    page.show()
    page.show_end(Done(report=str(tmp_path / "report.json")))
    qtbot.wait(10)
    assert page.picture.isVisible()
    middle = page.picture.grab().toImage().pixelColor(20, 10)
    assert middle.lightness() < 60
    assert "interval" not in page.about.text()
    assert "One hospital only." in page.about.text()


def test_a_refused_install_is_told_beside_its_button(desk) -> None:
    desk.checked()
    desk.click(desk.window.start)
    desk.idle()
    desk.window.show_not_installed("A model with this id is installed already.")
    assert "already" in desk.window.report.ended.text()
    assert desk.window.report.install.isEnabled()


def test_a_model_that_finds_nothing_is_not_just_called_trained(tmp_path) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({"n": 4, "new": {"dice": {"value": 0.02}},
                                "warnings": ["Measured on 4 patients only."]}))  # fmt: skip
    report = read_report(path)
    assert "next to nothing" in verdict(Done(), report)
    assert about_words(report) == "Measured on 4 patients only."


def test_without_an_old_model_nothing_is_called_better() -> None:
    assert verdict(Done(), None) == "The model is trained"


def test_the_curve_speaks(qtbot) -> None:
    curve = LossCurve()
    qtbot.addWidget(curve)
    curve.resize(400, 200)
    curve.show_steps([Step(5, 10, 0.8, 1, 2), Step(10, 10, 0.4, 1, 2, 0.5), Step(5, 10, 0.6, 2, 2)])
    assert curve.accessibleName().startswith("Fold 2 of 2, step 5")
    curve.show_steps([Step(5, 10, 0.8, 1, 2), Step(10, 10, 0.4, 2, 2), Step(5, 10, 0.6, 3, 2)])
    assert curve.accessibleName().startswith("All cases, step 5")
    assert not curve.grab().isNull()
    curve.show_steps([Step(5, 10, 0.8), Step(10, 10, 0.4)])
    assert curve.accessibleName().startswith("Step 10,")
    assert not curve.grab().isNull()
    assert "first measured step" in curve_words([])


def test_the_last_training_is_remembered(tmp_path) -> None:
    chosen = Settings(training_cases="/a.csv", training_folder="/out", training_minutes=90)
    save(chosen, tmp_path / "settings.json")
    assert load(tmp_path / "settings.json")[0].training_minutes == 90
