"""How a verb speaks: results on stdout (text or JSON), progress and warnings on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

#: Told how far a long piece of work is: fraction 0 to 1 (negative: not known), and its stage.
Advance = Callable[[float, str], None]


class Output:
    """Where one verb writes.

    Parameters
    ----------
    as_json : bool
        One JSON object on stdout instead of text.
    """

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self._out = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self._err = Console(file=sys.stderr, highlight=False, soft_wrap=True)

    def say(self, sentence: str) -> None:
        """A line of text; nothing with ``--json``."""
        if not self.as_json:
            self._out.print(escape(sentence))

    def warn(self, sentence: str) -> None:
        """A line on stderr."""
        self._err.print(escape(sentence))

    def table(self, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table of text; nothing with ``--json``."""
        if self.as_json:
            return
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name in header:
            table.add_column(name, overflow="fold")
        for row in rows:
            table.add_row(*(escape(str(cell)) for cell in row))
        wide = Console(file=sys.stdout, highlight=False, width=None if self._tty else 200)
        wide.print(table)

    def result(self, values: Mapping[str, Any]) -> None:
        """The outcome as one JSON object; nothing as text."""
        if self.as_json:
            print(json.dumps(values, indent=2, ensure_ascii=False), file=sys.stdout)

    @contextmanager
    def progress(self, title: str) -> Iterator[Advance]:
        """A bar on stderr while the block runs; silent where stderr is not a terminal."""
        bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TaskProgressColumn(),
            TimeRemainingColumn(),
            console=self._err,
            transient=True,
            disable=not self._err.is_terminal,
        )
        with bar:
            task = bar.add_task(escape(title), total=None)

            def advance(fraction: float, stage: str) -> None:
                total = 1.0 if fraction >= 0 else None
                words = escape(f"{title}: {stage}" if stage else title)
                bar.update(task, total=total, completed=max(0.0, fraction), description=words)

            yield advance

    @property
    def _tty(self) -> bool:
        return self._out.is_terminal
