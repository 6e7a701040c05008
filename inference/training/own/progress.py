"""What a training says while it goes on, and how it is asked to stop.

With ``--json`` every line of standard output is one JSON object with a ``kind``: ``cases``,
``stage``, ``step``, ``note``, ``done``, ``stopped`` or ``failed``. A line ``stop`` on standard
input, the end of a pipe there, SIGTERM or Ctrl-C ends it after a checkpoint.
"""

from __future__ import annotations

import json
import os
import signal
import stat
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, TextIO

__all__ = ["Speaker", "Stopped"]


class Stopped(Exception):
    """The user wants the training to end; its checkpoint is written."""


class Speaker:
    """Tells people or a window how far it is.

    Parameters
    ----------
    as_json : bool
        Lines of JSON instead of text.
    stream : file, optional
        Standard output by default.
    """

    def __init__(self, as_json: bool = False, stream: TextIO | None = None) -> None:
        self.as_json, self._stream = as_json, stream or sys.stdout
        self._stop = threading.Event()
        self._begin, self._share, self._words = 0.0, 1.0, ""
        self._first: tuple[float, float] | None = None  # when, and how much was done then

    # --- being asked to stop ---

    def listen(self) -> None:
        """From now on signals and a line ``stop`` are heeded; main thread only."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop.set())
        if self.as_json:
            threading.Thread(target=self._hear, name="stop", daemon=True).start()

    def _hear(self) -> None:
        with suppress(OSError, ValueError):  # nobody is there to say it
            for line in sys.stdin:
                if line.strip() == "stop":
                    self._stop.set()
                    return
            if stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
                self._stop.set()  # the window is gone: nobody would hear the end

    def stop(self) -> None:
        """End at the next step."""
        self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether somebody asked for the end."""
        return self._stop.is_set()

    def heed(self) -> None:
        """Raise Stopped where somebody asked for the end."""
        if self.stopping:
            raise Stopped

    # --- telling ---

    def cases(self, rows: Sequence[Mapping[str, Any]], sentence: str) -> None:
        """What was found about each case."""
        text = [f"  {row['case']}: {row['sentence']}" for row in rows if row["sentence"]]
        self._say("cases", "\n".join([sentence, *text]), cases=list(rows), sentence=sentence)

    def stage(self, words: str, begin: float, share: float) -> None:
        """A part of the work begins, which is this share of the whole."""
        self.heed()
        self._begin, self._share, self._words = begin, share, words
        self._say("stage", words, words=words, fraction=round(begin, 4))

    def inside(self, fraction: float, words: str = "") -> None:
        """So much of the stage is done."""
        self.heed()
        whole = round(self._begin + self._share * fraction, 4)
        if self.as_json:
            self._say("stage", "", words=words or self._words, fraction=whole)

    def step(self, step: int, steps: int, run: tuple[int, int], loss: float, done: float,
             validation: float | None = None) -> None:  # fmt: skip
        """How one run goes.

        Parameters
        ----------
        run : (int, int)
            Its number from 1, and how many there are; the last one learns from all cases.
        done : float
            Share of the run that is behind.
        """
        whole = self._begin + self._share * done
        left = self._left(whole)
        text = f"{self._words}: step {step}, loss {loss:.3f}"
        text += "" if validation is None else f", Dice of a left-out case {validation:.2f}"
        text += "" if left is None else f", {left / 60:.0f} min left"
        self._say(
            "step", text, step=step, steps=steps, fold=run[0], folds=run[1] - 1,
            loss=round(loss, 5), validation=validation, fraction=round(whole, 4),
            seconds_left=None if left is None else round(left),
        )  # fmt: skip

    def _left(self, whole: float) -> float | None:
        """Seconds to go; what an earlier start had done is no measure of speed."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, whole
        begun, before = self._first
        return (now - begun) * (1 - whole) / (whole - before) if whole - before > 0.01 else None

    def note(self, sentence: str) -> None:
        """Something the user should know."""
        self._say("note", sentence, sentence=sentence)

    def done(self, sentence: str, **values: Any) -> None:
        """The end."""
        self._say("done", sentence, sentence=sentence, **values)

    def stopped(self, sentence: str) -> None:
        """The end, for now."""
        self._say("stopped", sentence, sentence=sentence)

    def failed(self, what: str, advice: str = "") -> None:
        """It could not go on; as text this is told by the command line."""
        if self.as_json:
            self._say("failed", "", what=what, advice=advice)

    def _say(self, kind: str, text: str, **values: Any) -> None:
        line = json.dumps({"kind": kind, **values}, ensure_ascii=False) if self.as_json else text
        try:
            print(line, file=self._stream, flush=True)
        except OSError:
            if not self.as_json:
                raise
            self._stop.set()  # nobody listens any more; a checkpoint is still to be written
