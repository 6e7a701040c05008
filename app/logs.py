"""The log and the crash report: what happened, never to whom."""

from __future__ import annotations

import logging
import sys
import threading
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
    handler.setFormatter(Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in ("app", "viewer", "inference", "imaging"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
        logger.propagate = False


class Discreet(logging.Formatter):
    """Writes exceptions as types and places: their messages can quote headers and paths."""

    def formatException(self, ei) -> str:
        """One line instead of a trace with messages."""
        return "" if ei[1] is None else frames_of(ei[1])


def frames_of(error: BaseException) -> str:
    """Type and places of an exception and of what caused it, without their messages."""
    places = [
        f"{Path(f.filename).name}:{f.lineno} {f.name}"
        for f in traceback.extract_tb(error.__traceback__)
    ]
    words = f"{type(error).__name__} at " + " < ".join(reversed(places))
    cause = error.__cause__
    return words if cause is None else f"{words}; because of {frames_of(cause)}"


def catch_crashes(tell: Callable[[BaseException], None]) -> None:
    """Send every exception nobody caught to the log, and those of the main thread to the user."""
    log = logging.getLogger("app")

    def hook(kind, error, trace) -> None:
        if isinstance(error, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
            return
        log.error("not caught: %s", frames_of(error))
        sys.__excepthook__(kind, error, trace)
        tell(error)

    def thread_hook(args: threading.ExceptHookArgs) -> None:
        if args.exc_value is not None:
            name = args.thread.name if args.thread else "a thread"
            log.error("not caught in %s: %s", name, frames_of(args.exc_value))
        threading.__excepthook__(args)

    sys.excepthook = hook
    threading.excepthook = thread_hook
