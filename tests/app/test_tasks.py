"""Slow work answers on the main thread, once, and never late."""

from __future__ import annotations

import threading

import pytest

from app.tasks import Tasks


@pytest.fixture
def tasks(qtbot):
    """Two threads that end with the test."""
    made = Tasks(workers=2)
    yield made
    made.close()


def test_work_runs_elsewhere_and_answers_here(tasks, qtbot) -> None:
    threads = []

    def work(_ticket):
        threads.append(threading.current_thread())
        return 42

    answers = []
    ticket = tasks.run(work, lambda n: answers.append((n, threading.current_thread())))
    qtbot.waitUntil(lambda: bool(answers), timeout=5000)
    assert answers == [(42, threading.main_thread())]
    assert threads[0] is not threading.main_thread()
    assert ticket.done()
    assert not ticket.cancelled()


def test_the_answer_of_cancelled_work_is_dropped(tasks, qtbot) -> None:
    go, answers, failures = threading.Event(), [], []

    def work(ticket):
        go.wait(5)
        if ticket.cancelled():
            raise ValueError
        return 1

    tickets = [tasks.run(work, answers.append, failures.append) for _ in range(4)]
    for ticket in tickets:
        ticket.cancel()
        assert ticket.done()
    go.set()
    qtbot.waitUntil(lambda: not tasks._tickets, timeout=5000)
    assert answers == failures == []


def test_an_answer_on_its_way_is_dropped_too(tasks, qtbot) -> None:
    done, answers = threading.Event(), []

    def work(_ticket):
        done.set()
        return 1

    ticket = tasks.run(work, answers.append)
    done.wait(5)
    ticket.cancel()
    qtbot.waitUntil(lambda: not tasks._tickets, timeout=5000)
    assert answers == []


def test_a_failure_comes_to_the_main_thread(tasks, qtbot) -> None:
    failures = []

    def work(_ticket):
        raise OSError("disk")

    tasks.run(work, None, lambda e: failures.append((type(e), threading.current_thread())))
    qtbot.waitUntil(lambda: bool(failures), timeout=5000)
    assert failures == [(OSError, threading.main_thread())]


def test_a_failure_nobody_takes_reaches_the_crash_hook(tasks, qtbot) -> None:
    def work(_ticket):
        raise ValueError("ours")

    with qtbot.captureExceptions() as caught:
        tasks.run(work)
        qtbot.waitUntil(lambda: bool(caught), timeout=5000)
    assert caught[0][0] is ValueError


def test_posts_come_in_order_from_any_thread(tasks, qtbot) -> None:
    seen = []

    def work(_ticket):
        for n in range(50):
            tasks.post(lambda n=n: seen.append(n))

    tasks.run(work, lambda _: seen.append("end"))
    qtbot.waitUntil(lambda: "end" in seen, timeout=5000)
    assert seen == [*range(50), "end"]


def test_closing_waits_for_what_runs_and_delivers_nothing(qtbot) -> None:
    tasks = Tasks(workers=1)
    begun, ended, answers = threading.Event(), [], []

    def work(ticket):
        begun.set()
        while not ticket.cancelled():
            threading.Event().wait(0.01)
        ended.append(True)
        return 1

    tasks.run(work, answers.append)
    begun.wait(5)
    tasks.close()
    assert ended == [True]
    qtbot.wait(50)
    assert answers == []


def test_closing_waits_for_writers_and_drops_the_rest(qtbot):
    import threading

    tasks, started, wrote = Tasks(1), threading.Event(), []

    def slow(_ticket):
        started.set()
        threading.Event().wait(0.2)

    tasks.run(slow)
    tasks.run(lambda _ticket: wrote.append("other"))
    tasks.run(lambda _ticket: wrote.append("file"), finish=True)
    assert started.wait(5)
    tasks.close()
    assert wrote == ["file"]
