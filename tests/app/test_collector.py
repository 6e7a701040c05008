"""Qt objects in garbage cycles end on the main thread."""

from __future__ import annotations

import gc
import threading
import weakref

from PySide6.QtCore import QObject

from app.collector import Collector


class Ring(QObject):
    """A Qt object that only the collector can end, and that says where it did."""

    def __init__(self, ended: list[str]) -> None:
        super().__init__()
        self.me = self
        weakref.finalize(self, lambda: ended.append(threading.current_thread().name))


def test_a_busy_thread_does_not_end_a_qt_object(qtbot) -> None:
    before = gc.isenabled()
    gc.enable()
    collector = Collector()
    ended: list[str] = []
    kept: list[list[int]] = []
    try:
        for _ in range(50):
            Ring(ended)
        worker = threading.Thread(target=lambda: kept.extend([n] for n in range(200_000)))
        worker.start()
        worker.join()
        assert ended == []
        qtbot.waitUntil(lambda: len(ended) == 50)
        assert set(ended) == {threading.main_thread().name}
    finally:
        collector.close()
        (gc.enable if before else gc.disable)()


def test_closing_gives_collecting_back() -> None:
    before = gc.isenabled()
    gc.enable()
    collector = Collector()
    assert not gc.isenabled()
    collector.close()
    assert gc.isenabled()
    if not before:
        gc.disable()
