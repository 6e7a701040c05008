"""The log says what happened and where, never to whom."""

from __future__ import annotations

import logging
import stat
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app import logs

SECRET = "DOE^JANE"
OURS = ("app", "viewer", "inference", "imaging")


@pytest.fixture
def log_file(tmp_path, monkeypatch) -> Iterator[Path]:
    """The log of this test only; hooks and handlers are put back."""
    monkeypatch.setattr(logs, "log_folder", lambda: tmp_path)
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    monkeypatch.setattr(threading, "excepthook", threading.__excepthook__)
    before = {
        name: (list(logging.getLogger(name).handlers), logging.getLogger(name).level)
        for name in OURS
    }
    logs.start_log()
    yield tmp_path / "isocenter.log"
    for name, (handlers, level) in before.items():
        logger = logging.getLogger(name)
        for handler in set(logger.handlers) - set(handlers):
            logger.removeHandler(handler)
            handler.close()
        logger.setLevel(level)
        logger.propagate = True


def broken() -> None:
    raise ValueError(f"no such patient: {SECRET}")


def caught() -> BaseException:
    try:
        try:
            broken()
        except ValueError as error:
            raise RuntimeError(SECRET) from error
    except RuntimeError as error:
        return error
    raise AssertionError


def test_the_folder_is_for_the_owner_only(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    folder = logs.log_folder()
    assert folder.is_dir()
    if sys.platform == "linux":
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_places_and_causes_without_messages() -> None:
    words = logs.frames_of(caught())
    assert words.startswith("RuntimeError at test_logs.py:")
    assert "because of ValueError at test_logs.py:" in words
    assert "broken" in words
    assert SECRET not in words


def test_a_logged_exception_keeps_its_message_to_itself(log_file) -> None:
    logging.getLogger("imaging.storage").error("could not store a step", exc_info=caught())
    text = log_file.read_text()
    assert "could not store a step" in text
    assert "ValueError at test_logs.py:" in text
    assert SECRET not in text


def test_other_libraries_are_not_written(log_file) -> None:
    logging.getLogger("pydicom").error("bad value %s", SECRET)
    logging.getLogger("app").warning("ours")
    assert SECRET not in log_file.read_text()


def test_what_nobody_caught_reaches_log_and_user(log_file, capsys) -> None:
    told: list[BaseException] = []
    logs.catch_crashes(told.append)
    error = caught()
    sys.excepthook(type(error), error, error.__traceback__)
    assert told == [error]
    assert "not caught: RuntimeError" in log_file.read_text()
    assert SECRET not in log_file.read_text()
    capsys.readouterr()


def test_a_thread_that_fails_is_logged_and_touches_no_widget(log_file, capsys) -> None:
    told: list[BaseException] = []
    logs.catch_crashes(told.append)
    thread = threading.Thread(target=broken, name="writer")
    thread.start()
    thread.join()
    assert told == []
    assert "not caught in writer: ValueError at test_logs.py:" in log_file.read_text()
    assert SECRET not in log_file.read_text()
    capsys.readouterr()


def test_ctrl_c_is_no_crash(log_file, capsys) -> None:
    told: list[BaseException] = []
    logs.catch_crashes(told.append)
    sys.excepthook(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert told == []
    assert not log_file.exists()
    capsys.readouterr()
