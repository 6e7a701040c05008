"""Whatever happens in a worker, the caller gets a result or one sentence; the next is served."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from imaging import sandbox
from imaging.errors import BadInput
from imaging.sandbox import limits
from imaging.sandbox.pool import run_limited, stream_limited

HERE = Path(__file__).parent
ROOT = HERE.parents[1]


@pytest.fixture(autouse=True)
def _jobs(monkeypatch: pytest.MonkeyPatch):
    """Workers that find the jobs beside this file."""
    monkeypatch.setenv("PYTHONPATH", str(HERE))
    sandbox.close()
    yield
    sandbox.close()


def call(name: str, *arguments: object, **limit: float):
    return run_limited(f"sandbox_jobs:{name}", *arguments, where="a file", **limit)


def test_plain_values_and_arrays_come_back_as_they_were() -> None:
    assert call("echo", 1, 2.5, "three", b"four", [5], {"six": None}) == [
        1, 2.5, "three", b"four", [5], {"six": None},
    ]  # fmt: skip
    results = list(stream_limited("sandbox_jobs:numbers", 4))
    assert [number for number, _ in results] == [0, 1, 2, 3]
    for number, array in results:
        assert array.dtype == np.int16
        assert array.shape == (number, 3)
        assert (array == number).all()


def test_what_a_library_prints_does_not_disturb() -> None:
    assert call("chatters") == "heard"
    assert call("echo", 1) == [1]


def test_our_own_refusal_keeps_its_words_and_names_the_file() -> None:
    with pytest.raises(BadInput) as caught:
        call("refuses")
    assert str(caught.value) == "The file is of no use: a file. Take another."


def test_a_library_s_exception_is_told_without_its_text(caplog) -> None:
    with pytest.raises(BadInput, match="cannot be understood") as caught:
        call("raises")
    assert "Doe" not in str(caught.value) + caplog.text
    assert "KeyError" in str(caught.value)


@pytest.mark.parametrize("name", ["crashes", "leaves"])
def test_a_crash_is_one_sentence_and_the_next_call_is_served(name: str) -> None:
    with pytest.raises(BadInput, match="made the reader fail and was put aside: a file"):
        call(name)
    assert call("echo", 1) == [1]


def test_results_before_a_crash_are_kept() -> None:
    results = stream_limited("sandbox_jobs:crashes", 3)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(BadInput, match="put aside"):
        next(results)


@pytest.mark.skipif(sys.platform == "win32", reason="uses the C library's sleep")
def test_an_endless_job_is_stopped_even_inside_c_code() -> None:
    with pytest.raises(BadInput, match="took too long"):
        call("spins", seconds=0.3)
    assert call("echo", 1) == [1]


def test_time_is_for_each_result_not_for_the_caller() -> None:
    for _ in stream_limited("sandbox_jobs:numbers", 3, seconds=0.5):
        time.sleep(0.4)


def test_memory_is_limited_and_given_back() -> None:
    with pytest.raises(BadInput, match="more memory"):
        call("eats", 400, memory=200 << 20)
    assert call("eats", 100, memory=200 << 20) == 100 << 20
    assert call("eats", 400, memory=600 << 20) == 400 << 20


def test_memory_is_watched_where_the_system_does_not_limit_it(monkeypatch) -> None:
    monkeypatch.setattr(limits, "SYSTEM_LIMITS_MEMORY", False)
    with pytest.raises(BadInput, match="more memory"):
        call("grows", memory=150 << 20)
    assert call("echo", 1) == [1]


def test_calls_from_many_threads_use_all_workers_and_no_more() -> None:
    pids: list[int] = []

    def work() -> None:
        call("sleeps", 0.1)
        pids.append(call("pid"))

    threads = [threading.Thread(target=work) for _ in range(3 * sandbox.workers())]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(pids) == len(threads)
    children = [p for p in psutil.Process().children() if "sandbox" in " ".join(p.cmdline())]
    assert len(children) == sandbox.workers()


def test_workers_know_no_qt_and_no_torch() -> None:
    assert call("heavy_modules") == []


def test_warming_starts_workers_without_waiting() -> None:
    start = time.monotonic()
    sandbox.warm("sandbox_jobs:sleeps", 0.5)
    assert time.monotonic() - start < 0.5
    assert call("echo", 1) == [1]


def _children() -> set[int]:
    """Workers that live; one that has just ended may still be in the table of processes."""
    found = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if "sandbox" in " ".join(child.cmdline()):
                found.add(child.pid)
    return found


def test_every_worker_is_warmed_once_and_who_asks_meanwhile_waits_for_a_ready_one() -> None:
    alone = call("pid")  # one is there already and is warmed, too
    sandbox.warm("sandbox_jobs:mark", 0.3)
    time.sleep(0.1)
    assert call("marked", 0.0)[1]
    waited = time.monotonic() + 20
    while len(_children()) < sandbox.workers() and time.monotonic() < waited:
        time.sleep(0.05)
    seen: list[list] = []
    threads = [
        threading.Thread(target=lambda: seen.append(call("marked", 0.5)))
        for _ in range(sandbox.workers())
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(ready for _pid, ready in seen)
    assert {pid for pid, _ready in seen} == _children()
    assert alone in _children()


def test_warming_that_fails_leaves_working_workers() -> None:
    sandbox.warm("sandbox_jobs:raises")
    assert call("echo", 1) == [1]
    sandbox.warm("sandbox_jobs:crashes", 0)
    assert call("echo", 2) == [2]
    assert len(_children()) <= sandbox.workers()


def test_closing_ends_the_processes_and_the_next_call_starts_new_ones() -> None:
    old = call("pid")
    sandbox.close()
    assert not psutil.pid_exists(old)
    assert call("pid") != old


def test_a_worker_that_has_ended_while_idle_is_replaced() -> None:
    old = call("pid")
    call("retires")
    psutil.wait_procs([psutil.Process(old)], timeout=20)
    assert call("pid") != old


@pytest.mark.parametrize("end", ["pass", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"])
def test_no_worker_outlives_its_program(end: str) -> None:
    """However the program ends, and though its worker is busy."""
    program = (
        "import threading, time\n"
        "from imaging.sandbox import run_limited\n"
        "print(run_limited('sandbox_jobs:pid'), flush=True)\n"
        "job = ('sandbox_jobs:sleeps', 600)\n"
        "threading.Thread(target=run_limited, args=job, daemon=True).start()\n"
        f"time.sleep(0.3)\n{end}\n"
    )
    paths = f"{ROOT}{os.pathsep}{HERE}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    worker = int(done.stdout)
    for _ in range(100):
        if not psutil.pid_exists(worker) or _is_dead(worker):
            return
        time.sleep(0.1)
    pytest.fail("the worker is still there")


def _is_dead(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def test_the_program_in_one_file_starts_itself_as_a_worker(monkeypatch) -> None:
    from imaging.sandbox import process

    monkeypatch.setattr(sys, "frozen", True, raising=False)
    python, word = process._command()
    monkeypatch.setattr(process, "_command", lambda: [python, "-m", "app", word])
    assert call("echo", 1) == [1]
