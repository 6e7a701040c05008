"""Functions that misbehave, called by name in a worker process."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import time
from collections.abc import Iterator

import numpy as np

from imaging.errors import BadInput
from imaging.sandbox import limits


def echo(*values: object) -> list[object]:
    """What came."""
    return list(values)


def numbers(count: int) -> Iterator[list[object]]:
    """Arrays of growing size, each with its number."""
    for n in range(count):
        yield [n, np.full((n, 3), n, np.int16)]


_marked = False


def mark(seconds: float) -> None:
    """Takes a while to be ready."""
    global _marked
    time.sleep(seconds)
    _marked = True


def marked(seconds: float) -> list[int | bool]:
    """Which worker this is, and whether it is ready."""
    time.sleep(seconds)
    return [os.getpid(), _marked]


def pid() -> int:
    """Of the worker."""
    return os.getpid()


def refuses() -> None:
    """Says in our own words what is wrong."""
    raise BadInput("The file is of no use", "/secret/path", "Take another")


def raises() -> None:
    """Quotes a patient, as libraries do."""
    raise KeyError("Doe^Jane")


def crashes(after: int = 0) -> Iterator[int]:
    """Gives some results, then touches memory that is not there."""
    yield from range(after)
    ctypes.string_at(8)


def spins() -> None:
    """Never comes back and never looks up: holds the interpreter inside one C call."""
    ctypes.PyDLL(None).sleep(3600)


def sleeps(seconds: float) -> float:
    """Comes back in time, or not."""
    time.sleep(seconds)
    return seconds


def eats(megabytes: int) -> int:
    """Takes memory."""
    return len(b"\1" * (megabytes << 20))


def grows() -> None:
    """Takes memory step by step, without the limit that the system keeps."""
    limits.unlimit_memory()
    kept = []
    for _ in range(200):
        kept.append(b"\1" * (10 << 20))
        time.sleep(0.02)


def leaves() -> None:
    """Ends the process."""
    os._exit(3)


def retires() -> None:
    """Comes back, and ends the process of its own accord a little later."""
    threading.Timer(0.2, os._exit, (0,)).start()


def chatters() -> str:
    """Prints where the answers go."""
    print("not for you", flush=True)
    os.write(1, b"nor this")
    print("nor that", file=sys.stderr)
    return "heard"


def heavy_modules() -> list[str]:
    """Modules that have no place in a worker."""
    return [name for name in ("PySide6", "torch", "vtkmodules", "pyvista") if name in sys.modules]
