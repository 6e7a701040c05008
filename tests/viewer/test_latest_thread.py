"""The worker behind the 3D view: newest request first, nothing lost that was wanted."""

from __future__ import annotations

import threading

import pytest

from viewer.rendering.latest_thread import LatestThread


@pytest.fixture
def gate():
    """Lets the worker go on; opened at the end so that no thread stays behind."""
    event = threading.Event()
    yield event
    event.set()


def test_a_waiting_request_is_replaced_by_a_newer_one_of_its_key(gate):
    begun = threading.Event()

    def work(request):
        begun.set()
        assert gate.wait(5)
        return request

    worker = LatestThread("t", work, lambda: None)
    worker.ask("a", 1)
    assert begun.wait(5)
    for n in (2, 3, 4):
        worker.ask("a", n)
    worker.ask("b", 9)
    assert worker.collect() == []
    assert not worker.idle
    gate.set()
    assert worker.wait_idle(5)
    assert worker.collect() == [("a", 1, None), ("a", 4, None), ("b", 9, None)]
    worker.close()


def test_an_error_is_an_outcome_and_the_worker_goes_on():
    def work(request):
        if request == "bad":
            raise ValueError("no")
        return request

    rung = []
    worker = LatestThread("t", work, lambda: rung.append(1))
    worker.ask("a", "bad")
    assert worker.wait_idle(5)
    worker.ask("a", "good")
    assert worker.wait_idle(5)
    (_, none, error), good = worker.collect()
    assert none is None
    assert isinstance(error, ValueError)
    assert good == ("a", "good", None)
    assert len(rung) == 2
    worker.close()


def test_it_finishes_in_the_thread_it_worked_in_and_takes_nothing_afterwards():
    places = []
    worker = LatestThread(
        "t",
        lambda _: places.append(threading.current_thread()),
        lambda: None,
        lambda: places.append(threading.current_thread()),
    )
    worker.ask("a", 1)
    assert worker.wait_idle(5)
    worker.close()
    assert len(places) == 2
    assert places[0] is places[1] is not threading.current_thread()
    assert not places[0].is_alive()
    worker.ask("a", 2)
    worker.close()
    assert len(places) == 2


def test_closing_drops_what_waits(gate):
    begun, done = threading.Event(), []

    def work(request):
        begun.set()
        gate.wait(5)
        done.append(request)

    worker = LatestThread("t", work, lambda: None)
    worker.ask("a", 1)
    assert begun.wait(5)
    worker.ask("b", 2)
    worker.close(timeout_s=0.0)
    gate.set()
    worker.close()
    assert done == [1]


def test_a_worker_that_was_never_asked_has_no_thread():
    before = threading.active_count()
    worker = LatestThread("t", lambda r: r, lambda: None)
    assert threading.active_count() == before
    assert worker.wait_idle(0.1)
    worker.close()
