"""The other side: a small process that calls one function after the other.

Started by :mod:`imaging.sandbox.process` as ``python -m imaging.sandbox.worker``. Jobs come on
standard input, answers go to standard output; what libraries print goes nowhere, because it may
quote a patient. It ends with its standard input, so it never outlives the program for long.
"""

from __future__ import annotations

import importlib
import io
import os
import sys
import threading
import types
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, BinaryIO

import msgspec

from imaging.errors import ImagingError
from imaging.quiet import hush
from imaging.sandbox import limits, pool
from imaging.sandbox.messages import (
    Done,
    Failed,
    Job,
    LinkBroken,
    Ready,
    read_job,
    write_message,
    write_value,
)

#: A worker with nothing to do for so long ends by itself.
IDLE_S = 180.0


def main() -> None:
    """Serve until standard input ends."""
    hush()
    pool.INSIDE = True
    jobs, answers = _private_streams()
    limits.settle()
    waiting: SimpleQueue[Job] = SimpleQueue()
    threading.Thread(target=_listen, args=(jobs, waiting), name="jobs", daemon=True).start()
    write_message(answers, Ready())
    answers.flush()
    while True:
        try:
            job = waiting.get(timeout=IDLE_S)
        except Empty:
            os._exit(0)
        _serve(job, answers)


def _private_streams() -> tuple[BinaryIO, BinaryIO]:
    """Standard input and output for us alone; what others print or read finds nothing."""
    jobs, answers = os.dup(0), os.dup(1)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    sys.stdin, sys.stdout, sys.stderr = io.StringIO(), io.StringIO(), io.StringIO()
    if sys.platform == "win32":
        import msvcrt

        for number in (jobs, answers):
            msvcrt.setmode(number, os.O_BINARY)
    return os.fdopen(jobs, "rb", 0), os.fdopen(answers, "wb", 1 << 16)


def _listen(jobs: BinaryIO, waiting: SimpleQueue[Job]) -> None:
    try:
        while True:
            waiting.put(read_job(jobs))
    except (LinkBroken, OSError, ValueError, msgspec.MsgspecError):
        os._exit(0)  # the program is gone or wants us gone


def _serve(job: Job, answers: BinaryIO) -> None:
    try:
        outcome = _run(job, answers)
        limits.set_alarm(0)
        limits.unlimit_memory()
        write_message(answers, outcome)
        answers.flush()
    except OSError:
        os._exit(0)


def _run(job: Job, answers: BinaryIO) -> Done | Failed:
    try:
        function = function_called(job.function)
        limits.limit_memory(job.memory)
        for value in _values(function, msgspec.msgpack.decode(job.arguments), job.seconds):
            write_value(answers, value)
    except ImagingError as error:
        return Failed("BadInput", error.what, error.advice)
    except BrokenPipeError:
        raise
    except BaseException as error:
        # Types only: the text of a library's exception may quote the patient.
        return Failed(type(error).__name__)
    return Done()


def _values(function: Callable[..., Any], arguments: list[Any], seconds: float) -> Iterator[Any]:
    """The results of a function, each made within its time."""
    limits.set_alarm(seconds)
    result = function(*arguments)
    if not isinstance(result, types.GeneratorType):
        limits.set_alarm(0)
        yield result
        return
    for value in result:
        limits.set_alarm(0)
        yield value
        limits.set_alarm(seconds)


def function_called(name: str) -> Callable[..., Any]:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


if __name__ == "__main__":
    # Loaded as __main__; the pool must see the one module that others import.
    from imaging.sandbox import worker

    worker.main()
