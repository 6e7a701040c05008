"""Cyclic garbage is collected on the main thread, and nowhere else.

Python collects in whatever thread happens to allocate. A widget or other Qt object in a garbage
cycle would then be destroyed off the main thread, which Qt answers with a crash now and then.
"""

from __future__ import annotations

import gc

from PySide6.QtCore import QObject, QTimer

#: How often the main thread looks; a stroke or a scroll makes far less garbage than a threshold.
INTERVAL_MS = 250


class Collector(QObject):
    """Takes over from Python's own collector until :meth:`close`."""

    def __init__(self) -> None:
        super().__init__()
        self._was_enabled = gc.isenabled()
        self._thresholds = gc.get_threshold()
        gc.disable()
        self._timer = QTimer(self)
        self._timer.setInterval(INTERVAL_MS)
        self._timer.timeout.connect(self.collect)
        self._timer.start()

    def collect(self) -> None:
        """Collect the oldest generation that is due, as Python itself would."""
        counts = gc.get_count()
        for generation in (2, 1, 0):
            if counts[generation] > self._thresholds[generation]:
                gc.collect(generation)
                return

    def close(self) -> None:
        """Leave collecting to Python again."""
        self._timer.stop()
        if self._was_enabled:
            gc.enable()
