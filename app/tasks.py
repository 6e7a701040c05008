"""Slow work: a function goes to a thread, its answer comes back on the main thread.

Tickets make late answers harmless: what was cancelled is never delivered.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from weakref import WeakSet

from PySide6.QtCore import QObject, Qt, Signal, Slot

log = logging.getLogger(__name__)


class Ticket:
    """One piece of slow work; cancel it and its answer is dropped."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._done = threading.Event()

    def cancel(self) -> None:
        """Ask the work to stop; its answer will not be delivered."""
        self._cancelled.set()

    def cancelled(self) -> bool:
        """True once cancelled; long work asks now and then."""
        return self._cancelled.is_set()

    def done(self) -> bool:
        """True once the answer was delivered or dropped."""
        return self._done.is_set() or self._cancelled.is_set()


class Tasks(QObject):
    """Runs functions in worker threads and posts calls to the main thread."""

    _posted = Signal(object)

    def __init__(self, workers: int = 3) -> None:
        super().__init__()
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="isocenter")
        self._tickets: set[Ticket] = set()
        self._finishing: WeakSet[Ticket] = WeakSet()
        self._posted.connect(self._call, Qt.ConnectionType.QueuedConnection)

    def run(
        self,
        function: Callable[[Ticket], Any],
        then: Callable[[Any], None] | None = None,
        failed: Callable[[BaseException], None] | None = None,
        *,
        finish: bool = False,
    ) -> Ticket:
        """Run ``function(ticket)`` in a thread, then ``then(result)`` on the main thread.

        Parameters
        ----------
        failed : callable
            Gets the exception on the main thread. Without it the exception is raised there, so
            that the crash report sees it.
        finish : bool
            Writers: :meth:`close` waits for them instead of cancelling them.
        """
        ticket = Ticket()
        if finish:
            self._finishing.add(ticket)
        self._tickets.add(ticket)
        self._pool.submit(self._work, ticket, function, then, failed)
        return ticket

    def post(self, function: Callable[[], None]) -> None:
        """Call a function on the main thread soon; safe from any thread."""
        self._posted.emit(function)

    def close(self) -> None:
        """Let writers finish, cancel everything else, and wait for the threads."""
        for ticket in self._tickets - set(self._finishing):
            ticket.cancel()
        self._pool.shutdown(wait=True)

    def _work(self, ticket, function, then, failed) -> None:
        if ticket.cancelled():
            self.post(lambda: self._tickets.discard(ticket))
            return
        try:
            result = function(ticket)
        except BaseException as error:
            caught = error
            self.post(lambda: self._fail(ticket, failed, caught))
        else:
            self.post(lambda: self._deliver(ticket, then, result))

    def _deliver(self, ticket: Ticket, then, result) -> None:
        self._tickets.discard(ticket)
        ticket._done.set()
        if then is not None and not ticket.cancelled():
            then(result)

    def _fail(self, ticket: Ticket, failed, error: BaseException) -> None:
        self._tickets.discard(ticket)
        ticket._done.set()
        if ticket.cancelled():
            return
        if failed is None:
            raise error
        failed(error)

    @Slot(object)
    def _call(self, function: Callable[[], None]) -> None:
        function()
