"""The answer for the study: counted anew when the masks change, and its numbers lead to lesions."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from panel_cases import GRID, MADE, SHAPE, add_answer, draft, grad_cam, open_workspace
from PySide6.QtCore import Qt

from app.controllers.findings import FindingsController
from app.controllers.study_answer import StudyAnswerController, _places
from app.study_answer import (
    GUESS,
    WHY,
    AnswerLine,
    StudyAnswer,
    fact_lines,
    likely_words,
    pattern_answer,
    tissue_line,
    tissue_volumes,
)
from app.tasks import Tasks
from app.windows.answer_card import AnswerCard
from app.windows.findings_panel import FindingsPanel
from imaging.analysis.lesion_pattern import LesionPattern, PlaceCount
from imaging.edits.edit import AddItem
from imaging.edits.operations import delete_lesion
from imaging.geometry import Geometry
from imaging.segmentation import AUTOMATIC, Code, Segment, Segmentation

LEFT = Qt.MouseButton.LeftButton
TISSUE = Code("85756007", "SCT", "Tissue")
PATTERN = LesionPattern(
    3, 4.5, 1, 4.0, 2,
    (PlaceCount("periventricular", (1, 3), 4.2), PlaceCount("juxtacortical", (2,), 0.3),
     PlaceCount("deep", (), 0.0)),
    "tissue", ("infratentorial",),
)  # fmt: skip


def tissues() -> Segmentation:
    """Fluid in the middle, white around it, grey at the edge."""
    k, j, i = np.indices(SHAPE)
    away = np.sqrt((1.6 * (k - 10)) ** 2 + (j - 20) ** 2 + (i - 20) ** 2)
    labels = np.select([away < 5, away < 12, away < 15], [1, 3, 2], 0).astype(np.uint8)
    names = ((1, "CSF"), (2, "Grey matter"), (3, "White matter"))
    segments = tuple(
        Segment(n, name, (10 * n, 0, 0), TISSUE, Code(str(n), "99T", name), AUTOMATIC)
        for n, name in names
    )
    return Segmentation.from_labels(
        "tissue", "Brain and tissue", GRID, "flair", labels, segments=segments, provenance=MADE
    )


@pytest.fixture
def desk(qtbot, qapp):
    """Findings and answer joined as in the program."""
    workspace, tasks = open_workspace(), Tasks()
    panel = FindingsPanel(workspace)
    qtbot.addWidget(panel)
    panel.resize(340, 620)
    panel.show()
    gone: list = []
    findings = FindingsController(workspace, tasks, panel, lambda *at: gone.append(at))
    answer = StudyAnswerController(workspace, tasks, findings, panel.answer, panel.choose)

    def settled() -> None:
        qtbot.waitUntil(
            lambda: (
                not findings.measuring
                and not answer._quiet.isActive()
                and (answer._ticket is None or answer._ticket.done())
            ),
            timeout=20_000,
        )

    def says(words: str) -> None:
        qtbot.waitUntil(lambda: words in panel.answer.text(), timeout=20_000)

    yield SimpleNamespace(
        workspace=workspace,
        panel=panel,
        card=panel.answer,
        findings=findings,
        answer=answer,
        says=says,
        settled=settled,
        qtbot=qtbot,
    )
    answer._quiet.stop()
    tasks.close()


def test_without_masks_there_is_no_answer(desk) -> None:
    desk.settled()
    assert not desk.card.isVisible()


def test_an_answer_of_a_model_is_counted(desk) -> None:
    add_answer(desk.workspace)
    desk.settled()
    assert desk.card.isVisible()
    assert desk.card.text().startswith("3 lesions, ")
    lesion = desk.findings.lesions[1]
    desk.workspace.execute(delete_lesion(desk.findings.mask, lesion))
    desk.says("2 lesions, ")
    desk.workspace.undo()
    desk.says("3 lesions, ")


def test_tissues_give_volumes_and_are_not_listed_as_lesions(desk) -> None:
    desk.workspace.execute(AddItem(tissues(), "Add"))
    desk.settled()
    assert desk.panel.mask_choice.count() == 0
    assert "Grey matter" in desk.card.text()
    volumes = dict(tissue_volumes(tissues()))
    expected = np.count_nonzero(tissues().labels == 3) * GRID.voxel_ml
    assert volumes["White matter"] == pytest.approx(expected)


def test_tissues_of_another_head_place_no_lesion(desk) -> None:
    listed = draft()
    same = replace(tissues(), volume_id="other")

    moved = GRID.affine.copy()
    moved[:3, 3] += 7
    far = replace(tissues(), volume_id="other", geometry=Geometry(SHAPE, moved))
    assert _places(listed, far, None) is None
    assert _places(listed, same, None) is not None
    assert _places(listed, replace(far, volume_id=listed.volume_id), None) is not None
    desk.workspace.execute(AddItem(tissues(), "Add"))
    add_answer(desk.workspace)
    desk.workspace.execute(AddItem(replace(far, id="far"), "Add"))
    desk.settled()
    assert desk.answer.tissues.id == "tissue"


def test_folded_it_costs_nothing(desk) -> None:
    desk.card.title.setChecked(False)
    add_answer(desk.workspace)
    desk.qtbot.waitUntil(lambda: desk.card.isVisible(), timeout=20_000)
    assert desk.answer._ticket is None
    assert not desk.card.area.isVisible()
    desk.qtbot.mouseClick(desk.card.title, LEFT)
    desk.says("The largest is lesion")


def test_each_number_is_a_click_to_the_lesions(desk) -> None:
    add_answer(desk.workspace)
    desk.settled()
    desk.card.show_answer(pattern_answer(PATTERN, draft()))
    number = desk.card.places["Periventricular"]
    assert number.text() == "2"
    for wanted in (1, 3, 1):
        desk.qtbot.mouseClick(number, LEFT)
        assert desk.findings.chosen.number == wanted
    assert not desk.card.places["Deep white matter"].isEnabled()


def test_what_a_model_said_goes_with_what_it_made(desk) -> None:
    desk.workspace.execute(AddItem(grad_cam(), "Add"))
    desk.workspace.show(desk.workspace.display.with_overlay("cam", visible=False))
    facts = {"probability": 0.87}
    desk.answer.hear(("presence", facts, "Presence 1.0", {"grad-cam": "cam"}))
    desk.settled()
    assert "likely (0.87)" in desk.card.text()
    desk.qtbot.mouseClick(desk.card.buttons[WHY], LEFT)
    assert desk.workspace.display.overlay("cam").visible
    desk.workspace.undo()
    desk.settled()
    assert not desk.card.isVisible()


def test_words_about_another_mask_do_not_stand_beside_the_listed_one(desk) -> None:
    add_answer(desk.workspace)
    facts = {"sentences": ["Confidence in the whole mask is high."]}
    desk.answer.hear(("lesions", facts, "Thorough 1.0", {"mask": "draft"}))
    desk.says("Confidence")
    desk.workspace.execute(AddItem(tissues(), "Run another model"))
    desk.answer.hear(("lesions", facts, "Thorough 1.0", {"mask": "tissue"}))
    desk.says("3 lesions, ")
    desk.qtbot.waitUntil(lambda: "Confidence" not in desk.card.text())


def test_a_new_study_has_no_answer_of_the_old_one(desk) -> None:
    from imaging.case import Case

    desk.answer.hear(("presence", {"probability": 0.5}, "", {}))
    desk.settled()
    assert desk.card.isVisible()
    desk.workspace.replace_case(Case(), desk.workspace.display, "close")
    desk.settled()
    assert not desk.card.isVisible()


def test_a_difference_leads_to_the_guess(qtbot) -> None:
    card = AnswerCard()
    qtbot.addWidget(card)
    facts = {
        "deviating_ml": 4.2, "brighter_ml": 3.9, "darker_ml": 0.3, "share_of_brain": 0.2,
        "deviating_and_unlike_other_side_ml": 2.0,
    }  # fmt: skip
    lines = fact_lines("deviation", facts, "Deviation 1.0", {"picture": "g"})
    card.show_answer(StudyAnswer(lines))
    assert "4.2 ml of the brain" in card.text()
    assert "image as a whole is unusual" in card.text()
    with qtbot.waitSignal(card.action_wanted) as asked:
        card.buttons[GUESS].click()
    assert asked.args == [GUESS, "g"]


@pytest.mark.parametrize("facts", [{}, {"probability": "high"}, {"probability": 7}])
def test_facts_that_make_no_sense_are_left_out(facts) -> None:
    assert fact_lines("presence", facts, "", {}) == ()
    assert fact_lines("deviation", facts, "", {}) == ()
    assert fact_lines("lesions", {"sentences": [3, "Yes."]}, "", {}) == (AnswerLine("Yes."),)


def test_what_a_model_says_in_its_own_words_is_said_once() -> None:
    facts = {"probability": 0.87, "sentences": ["Probably present (probability 87%)."]}
    assert [x.text for x in fact_lines("presence", facts, "", {})] == facts["sentences"]
    assert fact_lines("lesions", {"sentences": ["In doubt."]}, "", {})[0].text == "In doubt."
    assert fact_lines("lesions", {"sentences": "In doubt."}, "", {}) == ()
    [line] = fact_lines("tissue", {"brain_cut": True}, "", {})
    assert line.role == "warning"
    assert fact_lines("tissue", {"brain_cut": False}, "", {}) == ()


def test_what_was_not_judged_and_how_is_said() -> None:
    answer = pattern_answer(PATTERN, draft())
    assert "Infratentorial is not told" in answer.basis
    assert "tissue map" in answer.basis
    assert [row.lesions for row in answer.places] == [(1, 3), (2,), (), ()]
    assert [row.told for row in answer.places] == [True, True, True, False]
    assert answer.headline == "3 lesions, 4.50 ml"
    assert "largest is lesion 1" in answer.lines[0].text
    assert "McDonald" in answer.lines[1].text


@pytest.mark.parametrize(
    ("chance", "words"),
    [(0.0, "very unlikely"), (0.5, "open"), (0.68, "rather likely"), (1, "very")],
)
def test_a_probability_has_words_and_its_number(chance, words) -> None:
    assert words in likely_words(chance)
    assert f"({chance:.2f})" in likely_words(chance)


def test_a_mask_without_voxels_has_no_share(qtbot) -> None:
    empty = replace(tissue_line([("CSF", 0.0)], tissues()))
    assert empty.text == "CSF 0 ml."


def test_where_no_place_can_be_told_that_is_read_at_once() -> None:
    answer = pattern_answer(replace(PATTERN, places=(), not_told=(), basis=""), draft())
    assert answer.places == ()
    assert "no brain was found" in answer.lines[-1].text
    assert answer.basis == ""


def test_it_is_said_which_brain_volume_holds_the_fluid() -> None:
    line = tissue_line([("CSF", 100.0), ("Grey matter", 500.0), ("White matter", 400.0)], tissues())
    assert line.text == (
        "Brain without fluid 900 ml, Brain with fluid 1000 ml: "
        "CSF 100 ml, Grey matter 500 ml, White matter 400 ml."
    )


# --- room ------------------------------------------------------------------------------------


def say_much(desk) -> None:
    """An answer of all models at once."""
    lines = tuple(AnswerLine(f"Sentence {n} of a long answer of many models.") for n in range(6))
    answer = pattern_answer(PATTERN, draft())
    desk.answer._quiet.stop()
    desk.card.show_answer(replace(answer, lines=(*answer.lines, *lines)))


def fits(card: AnswerCard) -> bool:
    """Nothing of it has to be scrolled."""
    return card.area.verticalScrollBar().maximum() == 0


def test_answer_and_list_stand_below_each_other_where_there_is_room(desk) -> None:
    add_answer(desk.workspace)
    desk.settled()
    desk.panel.resize(340, 900)
    desk.qtbot.waitUntil(lambda: desk.card.open and fits(desk.card), timeout=20_000)
    assert desk.panel.view.isVisible()


def test_without_room_it_folds_to_its_number_and_opens_over_the_list(desk) -> None:
    add_answer(desk.workspace)
    desk.settled()
    desk.panel.resize(300, 360)
    say_much(desk)
    desk.qtbot.waitUntil(lambda: not desk.card.open, timeout=20_000)
    desk.says("3 lesions, ")
    assert desk.panel.view.isVisible()
    desk.qtbot.mouseClick(desk.card.title, LEFT)
    desk.settled()
    say_much(desk)
    assert desk.card.open
    desk.qtbot.waitUntil(lambda: not desk.panel.view.isVisible(), timeout=20_000)
    desk.qtbot.mouseClick(desk.card.title, LEFT)
    assert desk.panel.view.isVisible()


def test_how_places_were_told_can_be_read(desk) -> None:
    add_answer(desk.workspace)
    desk.settled()
    desk.panel.resize(340, 900)
    desk.card.show_answer(pattern_answer(PATTERN, draft()))
    assert "tissue map" not in desk.card.text()
    desk.qtbot.mouseClick(desk.card.how_told, LEFT)
    assert "tissue map" in desk.card.text()


def test_the_number_is_true_before_the_places_are_told(desk) -> None:
    """Beside a list of lesions the card never says that none is marked."""
    add_answer(desk.workspace)
    desk.settled()
    places = list(desk.card.places)
    mask = desk.findings.mask
    desk.workspace.execute(delete_lesion(mask, desk.findings.lesions[1]))
    assert desk.card.title.text().startswith("2 lesions, ")
    assert list(desk.card.places) == places, "what takes longer stays until it is told anew"
    for lesion in desk.findings.lesions:
        desk.workspace.execute(delete_lesion(mask, lesion))
    assert "lesions, " not in desk.card.title.text()
    desk.says("No lesion is marked")
    desk.workspace.undo()
    assert desk.card.title.text().startswith("1 lesion, ")
    assert "No lesion" not in desk.card.text()
