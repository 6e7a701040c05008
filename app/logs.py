"""The log and the crash report: what happened, never to whom."""

from __future__ import annotations

import logging
import sys
import traceback
from collections.abc import Callable
from logging.handlers import RotatingFileHandler
from pathlib import Path


def log_folder() -> Path:
    """The folder with the log of this user, made if needed, readable by the owner only."""
    from platformdirs import user_log_path

    folder = user_log_path("isocenter", appauthor=False)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    return folder


def start_log() -> None:
    """Log warnings and worse to a rotating file.

    pydicom and its relatives quote header values in their messages, so only our own loggers are
    written.
    """
    handler = RotatingFileHandler(
        log_folder() / "isocenter.log", maxBytes=5_000_000, backupCount=9, delay=True
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("app", "viewer", "inference", "imaging"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False


def frames_of(error: BaseException) -> str:
    """Type and places of an exception, without its message, which could quote a header."""
    places = [
        f"{Path(f.filename).name}:{f.lineno} {f.name}"
        for f in traceback.extract_tb(error.__traceback__)
    ]
    return f"{type(error).__name__} at " + " < ".join(reversed(places))


def catch_crashes(tell: Callable[[BaseException], None]) -> None:
    """Send every exception nobody caught to the log and to the user."""

    def hook(_kind, error, trace) -> None:
        if isinstance(error, KeyboardInterrupt):
            sys.__excepthook__(_kind, error, trace)
            return
        logging.getLogger("app").error("not caught: %s", frames_of(error))
        sys.__excepthook__(_kind, error, trace)
        tell(error)

    sys.excepthook = hook
