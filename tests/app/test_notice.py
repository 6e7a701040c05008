"""The line that asks: what a click asks is seen at once, and nothing is asked twice."""

from __future__ import annotations

import pytest

from app.windows.notice import Notice


@pytest.fixture
def notice(qtbot) -> Notice:
    made = Notice()
    qtbot.addWidget(made)
    made.ask("Unsaved work is kept.", ("Restore", lambda: None), ("Later", lambda: None))
    return made


def shown_buttons(notice: Notice) -> list[str]:
    return [button.text() for button in notice._buttons]


def test_what_a_click_asks_goes_before_the_open_question_which_comes_back(notice) -> None:
    answers = []
    notice.ask("Make it even?", ("Make it", lambda: answers.append(1)), at_once=True)
    assert notice.text == "Make it even?"
    assert shown_buttons(notice) == ["Make it"]
    notice.choose("Make it")
    assert answers == [1]
    assert notice.text == "Unsaved work is kept."
    assert shown_buttons(notice) == ["Restore", "Later"]


def test_the_same_question_is_asked_once_however_often_it_is_clicked(notice) -> None:
    for _ in range(3):
        notice.ask("Make it even?", ("Cancel", lambda: None), at_once=True)
    notice.choose("Cancel")
    assert notice.text == "Unsaved work is kept."
    notice.choose("Later")
    assert notice.text == ""


def test_questions_about_a_study_go_with_it(notice) -> None:
    notice.ask("Make it even?", ("Cancel", lambda: None), at_once=True, of_study=True)
    notice.ask("Place it?", ("Cancel", lambda: None), of_study=True)
    notice.study_closed()
    assert notice.text == "Unsaved work is kept."
    notice.choose("Later")
    assert notice.text == ""


def test_a_question_that_nobody_clicked_for_waits(notice) -> None:
    notice.ask("More unsaved work is kept.", ("Later", lambda: None))
    assert notice.text == "Unsaved work is kept."
    notice.choose("Later")
    assert notice.text == "More unsaved work is kept."
