"""Asking a model and asking why: cards in words, suitability, progress, honest refusals."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from panel_cases import GRID, add_answer, draft, grad_cam, open_workspace, volume
from PySide6.QtCore import Qt
from PySide6.QtTest import QTest

from app.windows.explain_panel import ExplainPanel, evidence_share, result_sentence
from app.windows.model_card_view import figure_line
from app.windows.model_panel import ModelPanel
from app.workspace import Workspace
from imaging.analysis.lesions import find_lesions
from inference.model import InputNeed, Member, ModelCard, OutputLabel
from inference.registry import InstalledModel

CARD = ModelCard(
    id="test-model",
    name="Test lesions",
    version="2.1",
    summary="Marks test lesions.",
    intended_use="Trying out the panel.",
    not_for="Real patients.",
    licence="CC0",
    inputs=(InputNeed("FLAIR", "FLAIR"),),
    labels=(OutputLabel(1, "Lesion", (230, 159, 0)),),
    threshold=0.5,
    min_component_voxels=3,
    spacing_mm=1.0,
    multiple=16,
    architecture="unet",
    arguments={},
    weights_file="model.safetensors",
    weights_sha256="ab" * 32,
    limits=("Seen on phantoms only.",),
    figures=(
        {"case": "19", "n": 1, "dice": 0.612, "baselines": {"Otsu": 0.2, "LST": 0.41}},
    ),
)  # fmt: skip
MODEL = InstalledModel(CARD, Path("model"))
BROKEN = InstalledModel(
    replace(CARD, id="broken", name="Broken"), Path("broken"), False, "Its weights are missing."
)


@pytest.fixture
def workspace() -> Workspace:
    return open_workspace()


@pytest.fixture
def panel(qtbot, workspace) -> ModelPanel:
    panel = ModelPanel(workspace)
    qtbot.addWidget(panel)
    panel.resize(340, 620)
    panel.show()
    return panel


@pytest.fixture
def ready(panel) -> ModelPanel:
    panel.set_models([MODEL, BROKEN])
    return panel


def test_before_the_models_are_known_nothing_can_run(panel) -> None:
    assert not panel.run.isEnabled()
    assert "Looking" in panel.run.toolTip()


def test_without_a_model_it_says_so(panel) -> None:
    panel.set_models([])
    assert "No model is installed" in panel.run.toolTip()


def test_the_card_says_what_for_what_not_and_how_good(ready) -> None:
    text = ready.card.text()
    for words in ("Marks test lesions", "Not for: Real patients", "Trying out", "CC0", "(n = 1)"):
        assert words in text
    assert "Dice 0.612" in text
    assert "best classical baseline: Dice 0.41 (LST)" in text


def test_a_card_without_figures_admits_it(panel) -> None:
    panel.set_models([InstalledModel(replace(CARD, figures=()), Path("x"))])
    assert "no measured figures" in panel.card.text()


def test_a_figure_without_a_case_is_only_numbers() -> None:
    assert figure_line({"dice": 0.5, "threshold": 0.4}) == "Dice 0.5"


def test_figures_of_every_shape_become_words() -> None:
    line = figure_line(
        {"case": "test", "n": 40, "auc": 0.91, "auc_ci": [0.85, 0.96], "rule": "any",
         "marked_ml": {"template": 0.02, "why": "nothing"}, "baselines": {"Otsu": {"dice": 0.1}},
         "failed": True}
    )  # fmt: skip
    first, second = line.splitlines()
    assert first == "test (n = 40): auc 0.91, auc ci 0.85 to 0.96"
    assert second.strip() == "marked ml: template 0.02"


def test_details_unfold(qtbot, ready) -> None:
    assert not ready.card.details.isVisible()
    qtbot.mouseClick(ready.card.more, Qt.MouseButton.LeftButton)
    assert ready.card.details.isVisible()


def test_the_series_the_card_asks_for_is_chosen(ready) -> None:
    assert ready.volume_id == "flair"
    assert "expects" in ready.fit.text()


def test_a_series_that_is_named_anew_is_taken_where_it_fits(ready, workspace) -> None:
    workspace.name_sequence("flair", "SWI")
    assert "SWI" in ready.fit.text()
    workspace.name_sequence("t1", "FLAIR")
    assert ready.volume_id == "t1"
    assert "expects" in ready.fit.text()


def test_the_series_that_comes_into_the_active_view_is_meant_where_it_fits(ready, workspace):
    cell = workspace.display.cell(workspace.display.active)
    workspace.show(workspace.display.with_cell(replace(cell, volume_id="t1")))
    ready.choose_series("t1")
    workspace.show(workspace.display.with_cell(replace(cell, volume_id="flair")))
    assert ready.volume_id == "flair"


def test_what_is_shown_and_not_run_is_said_and_one_click_away(qtbot, ready, workspace) -> None:
    inputs = ready.inputs
    assert not inputs.offer.isVisible()
    cell = workspace.display.cell(workspace.display.active)
    workspace.show(workspace.display.with_cell(replace(cell, volume_id="t1")))
    assert ready.volume_id == "flair"
    assert "Shown now: T1w" in inputs.offer.words.text()
    assert ready.run.text().strip() == "Run on FLAIR"
    qtbot.mouseClick(inputs.offer.take, Qt.MouseButton.LeftButton)
    assert ready.volume_id == "t1"
    assert "T1w" in ready.fit.text()
    assert ready.run.text().strip() == "Run anyway on T1w"
    assert "Fits better: FLAIR" in inputs.offer.words.text()
    qtbot.mouseClick(inputs.offer.take, Qt.MouseButton.LeftButton)
    assert ready.volume_id == "flair"


def test_another_series_is_doubted_in_words_but_may_run(qtbot, ready) -> None:
    ready.series.setCurrentIndex(ready.series.findData("t1"))
    assert "T1w" in ready.fit.text()
    with qtbot.waitSignal(ready.run_requested) as asked:
        qtbot.mouseClick(ready.run, Qt.MouseButton.LeftButton)
    assert asked.args[1] == "t1"
    assert asked.args[5]


def test_a_doubt_is_read_before_the_run(ready) -> None:
    assert ready.run.text().strip() == "Run on FLAIR"
    ready.series.setCurrentIndex(ready.series.findData("t1"))
    assert ready.run.text().strip() == "Run anyway on T1w"
    ready.choose_series("flair")
    assert ready.run.text().strip() == "Run on FLAIR"
    ready.warn("The pixels look like T2w.")
    assert ready.fit.text() == "The pixels look like T2w."
    assert ready.run.text().strip() == "Run anyway on FLAIR"


def test_behind_another_page_nobody_has_read_the_doubt(qtbot, ready) -> None:
    ready.series.setCurrentIndex(ready.series.findData("t1"))
    ready.hide()
    with qtbot.waitSignal(ready.run_requested) as asked:
        ready.start()
    assert not asked.args[5]


# --- several models, several images ---------------------------------------------------------------
MANY = [
    replace(CARD, id="presence", name="Anything there", kind="presence"),
    replace(CARD, id="tissue", name="Brain and tissue", kind="tissue"),
    replace(CARD, id="click", name="Click", kind="click"),
    replace(
        CARD, id="thorough", name="Lesions, thorough", version="1.0",
        members=(Member("quick", "0"), Member("b", "1")),
        cost={"cpu_seconds": 11.6, "cpu_threads": 2, "peak_bytes": 1.5 * 2**30},
    ),
    replace(CARD, id="quick", name="Lesions", cost={"cpu_seconds": 2.25, "cpu_threads": 2}),
    replace(CARD, id="infarct", labels=(OutputLabel(1, "Acute infarct", (230, 159, 0)),)),
]  # fmt: skip
HELPED = replace(
    CARD, inputs=(InputNeed("FLAIR", "FLAIR"), InputNeed("T1w", "T1w", False, "Dark lesions."),
                  InputNeed("T2w", "T2w", False)),
)  # fmt: skip


def test_models_stand_under_their_task_and_a_heading_is_no_model(panel) -> None:
    panel.set_models([InstalledModel(card, Path(card.id)) for card in MANY])
    rows = [(panel.model.itemText(n), panel.model.itemData(n)) for n in range(panel.model.count())]
    assert [words for words, id in rows if id is None] == [
        "Find lesions", "Acute infarct", "Brain and tissue", "Is anything there?",
    ]  # fmt: skip
    assert [id for _words, id in rows if id] == [
        "quick", "thorough", "infarct", "tissue", "presence",
    ]  # fmt: skip
    assert panel.model_id == "quick"
    panel.model.setFocus()
    QTest.keyClick(panel.model, Qt.Key.Key_Up)
    assert panel.model_id == "quick"


def test_what_a_run_costs_is_seen_before_it(panel) -> None:
    panel.set_models([InstalledModel(card, Path(card.id)) for card in MANY])
    assert panel.cost.text() == "Quick: about 2.2 s on 2 CPU cores for a head; thorough: 12 s."
    panel.model.setCurrentIndex(panel.model.findData("thorough"))
    assert panel.cost.text() == (
        "Thorough: asks 2 models, about 12 s on 2 CPU cores, 1.5 GB of memory for a head; "
        "quick: 2.2 s."
    )
    panel.model.setCurrentIndex(panel.model.findData("tissue"))
    assert panel.cost.text() == "Time not measured."


def test_quick_and_thorough_stand_first_with_their_seconds_in_the_choice(panel) -> None:
    panel.set_models([InstalledModel(card, Path(card.id)) for card in MANY])
    words = {panel.model.itemData(n): panel.model.itemText(n) for n in range(panel.model.count())}
    assert words["quick"] == "Quick, 2.2 s · Lesions 2.1"
    assert words["thorough"] == "Thorough, 12 s · Lesions 1.0"
    assert words["tissue"] == "Brain and tissue 2.1 · time not measured"
    alone = [InstalledModel(card, Path(card.id)) for card in MANY if card.id != "thorough"]
    panel.set_models(alone)
    assert "Quick" not in panel.model.itemText(panel.model.findData("quick"))


def test_a_model_that_answers_everywhere_has_no_evidence_map(qtbot, panel) -> None:
    panel.set_models([InstalledModel(card, Path(card.id)) for card in MANY])
    panel.prefer("auto", True)
    panel.model.setCurrentIndex(panel.model.findData("tissue"))
    assert not panel.explain.isEnabled()
    with qtbot.waitSignal(panel.run_requested) as asked:
        panel.start()
    assert asked.args[3] is False
    panel.model.setCurrentIndex(panel.model.findData("presence"))
    assert panel.explains


def test_images_that_help_are_taken_along_and_can_be_left_out(qtbot, panel) -> None:
    panel.set_models([InstalledModel(HELPED, Path("helped"))])
    box = panel.inputs.boxes["T1w"]
    assert box.text() == "Also T1w: T1w image"
    assert box.isChecked()
    assert not panel.inputs.boxes["T2w"].isEnabled()
    assert "does without" in panel.inputs.boxes["T2w"].toolTip()
    with qtbot.waitSignal(panel.run_requested) as asked:
        panel.start()
    assert asked.args[4] == {"T1w": "t1"}
    spot = box.rect().center()
    spot.setX(8)
    qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=spot)
    with qtbot.waitSignal(panel.run_requested) as asked:
        panel.start()
    assert asked.args[4] == {}


def test_run_hands_over_every_choice(qtbot, ready) -> None:
    ready.device.setCurrentIndex(ready.device.findData("cpu"))
    spot = ready.explain.rect().center()
    spot.setX(8)
    qtbot.mouseClick(ready.explain, Qt.MouseButton.LeftButton, pos=spot)
    with qtbot.waitSignal(ready.run_requested) as asked:
        qtbot.mouseClick(ready.run, Qt.MouseButton.LeftButton)
    assert asked.args == ["test-model", "flair", "cpu", True, {}, False]


def test_explaining_costs_time_and_is_a_choice(ready) -> None:
    assert not ready.explain.isChecked()
    assert "map of the evidence" in ready.explain_adds.text()
    assert "time" in ready.explain_adds.text()


def test_the_last_device_can_be_brought_back(qtbot, ready) -> None:
    ready.prefer("cpu", False)
    with qtbot.waitSignal(ready.run_requested) as asked:
        ready.start()
    assert asked.args[2:4] == ["cpu", False]
    ready.prefer("a device of tomorrow", True)
    assert ready.device.currentData() == "auto"


def test_a_model_that_cannot_run_says_why(qtbot, ready) -> None:
    ready.model.setCurrentIndex(ready.model.findData("broken"))
    assert "weights are missing" in ready.unavailable.text()
    assert not ready.run.isEnabled()
    assert ready.run.toolTip() == "Its weights are missing."
    with qtbot.assertNotEmitted(ready.run_requested):
        ready.start()
    assert ready.result.text() == "Its weights are missing."


def test_without_a_study_nothing_runs(qtbot) -> None:
    panel = ModelPanel(Workspace())
    qtbot.addWidget(panel)
    panel.set_models([MODEL])
    assert "Open a study" in panel.run.toolTip()


def test_progress_has_stage_share_and_time(qtbot, ready) -> None:
    ready.set_progress("Looking for lesions", 0.4, 12.0)
    assert ready.stage.text() == "Looking for lesions"
    assert ready.bar.value() == 0.4 * ready.bar.maximum()
    assert ready.left.text() == "12 s left"
    assert not ready.run.isEnabled()
    ready.set_progress("Starting", -1.0, None)
    assert ready.bar.maximum() == 0
    assert ready.left.text() == ""


def test_cancel_is_asked_once_and_shown(qtbot, ready) -> None:
    ready.set_progress("Looking for lesions", 0.4, 12.0)
    with qtbot.waitSignal(ready.cancel_requested):
        qtbot.mouseClick(ready.cancel, Qt.MouseButton.LeftButton)
    assert not ready.cancel.isEnabled()
    ready.set_progress("Looking for lesions", 0.5, 10.0)
    assert "Cancelling" in ready.stage.text()
    ready.set_idle("The run was cancelled; nothing was changed")
    assert ready.result.isVisible()
    assert ready.run.isEnabled()
    assert not ready.bar.isVisible()


def test_listing_models_again_keeps_the_choice(ready) -> None:
    ready.model.setCurrentIndex(ready.model.findData("broken"))
    ready.set_models([MODEL, BROKEN])
    assert ready.model_id == "broken"


def test_a_series_that_fits_is_taken_when_it_arrives(qtbot) -> None:
    workspace = Workspace()
    panel = ModelPanel(workspace)
    qtbot.addWidget(panel)
    panel.set_models([MODEL])
    workspace.add_volume(volume("t1", "T1w"))
    assert panel.volume_id == "t1"
    workspace.add_volume(volume())
    assert panel.volume_id == "flair"


def test_of_two_doubtful_series_the_right_sequence_is_taken(qtbot) -> None:
    from imaging.geometry import Geometry

    thick = Geometry(GRID.shape, GRID.affine @ [[2, 0, 0, 0], *([0, *r] for r in
                     ((1, 0, 0), (0, 1, 0), (0, 0, 1)))])  # fmt: skip
    workspace = Workspace()
    panel = ModelPanel(workspace)
    qtbot.addWidget(panel)
    workspace.add_volume(volume("t1", "T1w"))
    workspace.add_volume(replace(volume(), geometry=thick))
    panel.set_models([MODEL])
    assert panel.volume_id == "flair"
    assert "6.4 mm apart" in panel.fit.text()


# --- why ----------------------------------------------------------------------------------------
@pytest.fixture
def why(qtbot, workspace) -> ExplainPanel:
    panel = ExplainPanel(workspace)
    qtbot.addWidget(panel)
    panel.resize(340, 460)
    panel.show()
    return panel


def test_without_an_answer_nothing_can_be_explained(why) -> None:
    for control in (why.whole, why.lesion):
        assert not control.isEnabled()
        assert "Run a model first" in control.toolTip()
    assert "Run a model first" in why.why_not.text()


def test_the_whole_finding_and_the_layer_are_asked_for(qtbot, why, workspace) -> None:
    add_answer(workspace)
    why.layer.setCurrentIndex(why.layer.findData("coarse"))
    with qtbot.waitSignal(why.explain_requested) as asked:
        qtbot.mouseClick(why.whole, Qt.MouseButton.LeftButton)
    assert asked.args == ["finding", "coarse"]


def test_the_caution_stands_beside_the_fine_layer_only(why, workspace) -> None:
    add_answer(workspace)
    assert why.layer.currentData() == "fine"
    assert "random weights" in why.caution.text()
    assert why.caution.isVisible()
    why.layer.setCurrentIndex(why.layer.findData("coarse"))
    assert not why.caution.isVisible()


def test_one_lesion_has_to_be_chosen_first(qtbot, why, workspace) -> None:
    add_answer(workspace)
    assert "Choose a lesion" in why.lesion.toolTip()
    workspace.select(find_lesions(workspace.case.segmentation("draft"))[0])
    with qtbot.waitSignal(why.explain_requested) as asked:
        qtbot.mouseClick(why.lesion, Qt.MouseButton.LeftButton)
    assert asked.args == ["lesion", "fine"]


def test_while_busy_only_cancel_works(qtbot, why, workspace) -> None:
    add_answer(workspace)
    why.set_busy("Explaining lesion 1 …")
    assert not why.whole.isEnabled()
    with qtbot.waitSignal(why.cancel_requested):
        qtbot.mouseClick(why.cancel, Qt.MouseButton.LeftButton)
    assert not why.cancel.isEnabled()
    why.set_idle("The run was cancelled")
    assert why.ended.text() == "The run was cancelled"
    assert why.whole.isEnabled()


def test_the_result_names_model_device_time_and_meaning(why, workspace) -> None:
    add_answer(workspace)
    text = why.result.text()
    for words in ("lesion 1", "Test model 1.0", "CPU (2 threads)", "2.5 s", "not a measure"):
        assert words in text
    workspace.undo()
    assert not why.result.isVisible()


def test_the_share_inside_the_mask_is_counted() -> None:
    heat, mask = grad_cam(), draft()
    inside = (mask.labels[8:12, 18:22, 18:22] > 0).mean()
    assert evidence_share(heat, mask) == pytest.approx(inside)
    assert f"About {inside:.0%}" in result_sentence(heat, inside)


def test_a_dark_map_has_no_share() -> None:
    heat = replace(grad_cam(), values=grad_cam().values * 0.1)
    assert evidence_share(heat, draft()) is None
    assert "About" not in result_sentence(heat, None)
    assert heat.geometry is GRID
