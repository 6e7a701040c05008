"""One worker thread that always works on the newest request and forgets the older ones."""

from __future__ import annotations

import atexit
import threading
from collections.abc import Callable, Hashable
from queue import Empty, SimpleQueue
from typing import Any

Outcome = tuple[Hashable, Any, BaseException | None]


class LatestThread:
    """Requests by key in, outcomes out; a waiting request is replaced by a newer one of its key.

    What the work creates (an OpenGL context, say) is born, used and closed in the same thread.

    Parameters
    ----------
    name : str
        Of the thread.
    work : callable
        ``work(request) -> result``, runs in the thread.
    bell : callable
        Called in the thread when an outcome waits in :meth:`collect`; must not block.
    finish : callable or None
        Runs in the thread when it closes.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Any], Any],
        bell: Callable[[], None],
        finish: Callable[[], None] | None = None,
    ) -> None:
        self._work, self._bell, self._finish = work, bell, finish
        self._waiting: dict[Hashable, Any] = {}
        self._outcomes: SimpleQueue[Outcome] = SimpleQueue()
        self._changed = threading.Condition()
        self._busy = False
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._started = False

    def ask(self, key: Hashable, request: Any) -> None:
        """Do this next; an older request of the same key that still waits is dropped."""
        with self._changed:
            if self._closed:
                return
            self._waiting[key] = request
            if not self._started:
                self._started = True
                atexit.register(self.close)
                self._thread.start()
            self._changed.notify_all()

    def collect(self) -> list[Outcome]:
        """All outcomes since the last call, oldest first."""
        outcomes = []
        while True:
            try:
                outcomes.append(self._outcomes.get_nowait())
            except Empty:
                return outcomes

    @property
    def idle(self) -> bool:
        """True where nothing waits and nothing runs."""
        with self._changed:
            return not self._waiting and not self._busy

    def wait_idle(self, timeout_s: float) -> bool:
        """Block until all is done; False where it took longer."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._closed or (not self._waiting and not self._busy), timeout_s
            )

    def close(self, timeout_s: float = 3.0) -> None:
        """Finish what runs, drop what waits, and end the thread."""
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()
        if self._started and threading.current_thread() is not self._thread:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._busy = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._closed or self._waiting)
                if self._closed:
                    break
                key = next(iter(self._waiting))
                request = self._waiting.pop(key)
                self._busy = True
            self._outcomes.put(self._outcome(key, request))
            del request
            self._bell()
        if self._finish is not None:
            self._finish()
        atexit.unregister(self.close)

    def _outcome(self, key: Hashable, request: Any) -> Outcome:
        try:
            return key, self._work(request), None
        except BaseException as error:  # handed to the main thread, which decides
            return key, None, error
