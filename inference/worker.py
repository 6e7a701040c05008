"""The other side of the wall: a polite child process in which torch lives.

Started by :mod:`inference.client` as ``python -m inference.worker``. It reads requests from
standard input and answers on standard output, one JSON line each; whatever libraries print goes to
standard error. It ends with its standard input, so it never outlives the window.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import os
import queue
import sys
import threading
import time
from pathlib import Path
from typing import TextIO

from imaging.quiet import hush
from inference.messages import (
    Beat,
    CancelRequest,
    ClickRequest,
    DeviceRequest,
    ExplainRequest,
    LoadRequest,
    Message,
    SegmentRequest,
    decode,
    encode,
)

#: Seconds between two signs of life.
BEAT_S = 0.5
_NICE = 10
_OOM_SCORE = 800

_Work = SegmentRequest | ExplainRequest | ClickRequest | LoadRequest | DeviceRequest


class Link:
    """The way back to the window's process; may be used from any thread."""

    def __init__(self, stream: TextIO) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def send(self, message: Message) -> None:
        """Write one line. Where nobody listens any more, the process ends."""
        try:
            with self._lock:
                self._stream.write(encode(message) + "\n")
                self._stream.flush()
        except (OSError, ValueError):
            os._exit(0)


class Inbox:
    """Requests as they come, read on a thread of its own so that a cancel is seen at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._waiting: queue.Queue[_Work] = queue.Queue()
        self._cancelled: set[str] = set()
        threading.Thread(target=self._read, name="inbox", daemon=True).start()

    def next(self) -> _Work:
        """Wait for the next piece of work."""
        return self._waiting.get()

    def is_cancelled(self, ticket: str) -> bool:
        """Whether this run is to stop."""
        return ticket in self._cancelled

    def _read(self) -> None:
        for line in self._stream:
            message = decode(line)
            if isinstance(message, CancelRequest):
                self._cancelled.add(message.ticket)
            elif isinstance(message, _Work):
                self._waiting.put(message)
        os._exit(0)  # the window is gone or wants us gone; nothing here is worth keeping


def serve(link: Link, inbox: Inbox) -> None:
    """One request after the other, for ever."""
    from inference.engine import Engine, TicketReport, answer  # after the first sign of life

    engine = Engine()
    while True:
        request = inbox.next()
        ticket = request.ticket
        report = TicketReport(ticket, link.send, lambda ticket=ticket: inbox.is_cancelled(ticket))
        link.send(answer(engine, request, report))


def be_polite() -> None:
    """Let the window go first, and be the first to go when memory is short."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(_NICE)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(_OOM_SCORE))


def private_output() -> TextIO:
    """Standard output for us alone; what others print goes to standard error."""
    ours = os.dup(1)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(ours, "w", encoding="utf-8")


def main() -> None:
    """Run the worker until its standard input ends."""
    link = Link(private_output())
    threading.Thread(target=_beat, args=(link,), name="beat", daemon=True).start()
    faulthandler.enable()
    be_polite()
    hush()
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    serve(link, Inbox(sys.stdin))


def _beat(link: Link) -> None:
    while True:
        link.send(Beat(os.getpid()))
        time.sleep(BEAT_S)


if __name__ == "__main__":
    main()
