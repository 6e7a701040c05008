"""What was done to a folder, in numbers: nothing in it points to a person or a file name."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imaging.atomic import write_atomic
from imaging.deidentify.options import CODES, Options
from imaging.dicom.writing.write import SOFTWARE, SOFTWARE_VERSION

JSON_NAME, TEXT_NAME = "deidentification-report.json", "deidentification-report.txt"


@dataclass
class Report:
    """Counts of a run.

    Parameters
    ----------
    key : str
        Fingerprint of the key: which one, not what it is.
    refused : list of tuple
        ``(number, name, reason)``: the place of the file among all files of the source, by name;
        what the user calls it; one sentence. Names go to the user's screen, never into the report.
    others : list of tuple
        The same for files that are no images and were not copied.
    actions : Counter
        ``(attribute, what was done)`` to how often.
    defaced : int
        Files in which a face was cut off.
    checked, unmasked : int
        Files of which somebody has said that there is no text in their pixels, or no face.
    dry : bool
        True where nothing was written.
    """

    options: Options
    key: str
    written: int = 0
    already: int = 0
    patients: set[str] = field(default_factory=set)
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    others: list[tuple[int, str, str]] = field(default_factory=list)
    actions: Counter[tuple[str, str]] = field(default_factory=Counter)
    defaced: int = 0
    checked: int = 0
    unmasked: int = 0
    warnings: list[str] = field(default_factory=list)
    dry: bool = False
    stopped: bool = False
    saved: Path | None = None

    def add(self, actions: list[list[Any]], files: int = 1) -> None:
        """Count what was done to one more file, or to some that are like it."""
        for title, action, count in actions:
            self.actions[title, action] += count * files

    def table(self, names: bool = False) -> dict[str, Any]:
        """As plain values; ``names`` adds the files' names, for the user's own screen only."""
        codes = {*self.options.codes, *(["113102"] if self.defaced else [])}
        codes |= {"113101"} if self.checked else set()
        return {
            "program": f"{SOFTWARE} {SOFTWARE_VERSION}",
            "dry_run": self.dry,
            "stopped": self.stopped,
            "options": self.options.table(),
            "codes": {code: CODES[code] for code in sorted(codes)},
            "key": self.key,
            "patients": len(self.patients),
            "written": self.written,
            "already_there": self.already,
            "defaced": self.defaced,
            "said_to_hold_no_text": self.checked,
            "said_to_show_no_face": self.unmasked,
            "refused": _listed(self.refused, names),
            "not_copied": _listed(self.others, names),
            "warnings": self.warnings,
            "actions": [
                {"attribute": title, "action": action, "count": count}
                for (title, action), count in sorted(self.actions.items())
            ],
        }

    def sentence(self) -> str:
        """How it ended, for people."""
        if self.dry:
            parts = [f"{self.written} files would be written"]
        else:
            parts = [f"{self.written} files were written, read back and searched"]
        if self.already:
            parts.append(f"{self.already} were there already")
        if self.refused:
            parts.append(f"{len(self.refused)} were refused")
        if self.others:
            parts.append(f"{len(self.others)} other files were left behind")
        if self.defaced:
            parts.append(f"the face was cut off in {self.defaced}")
        if self.unmasked:
            parts.append(f"{self.unmasked} were said to show no face")
        start = "Stopped: " if self.stopped else ""
        return start + "; ".join(parts) + "."

    def text(self) -> str:
        """A page for people."""
        lines = [f"De-identification by {SOFTWARE} {SOFTWARE_VERSION}", "", self.sentence(), ""]
        lines += [f"{code} {CODES[code]}" for code in sorted(self.table()["codes"])]
        lines += ["", *self.warnings] if self.warnings else []
        reasons = Counter(why for _, _, why in self.refused)
        if reasons:
            lines += ["", "Refused:"]
            lines += [f"{count:7d}  {why}" for why, count in reasons.most_common()]
        lines += ["", "What was done to which attribute:"]
        lines += [
            f"{count:7d}  {action:9s} {title}"
            for (title, action), count in sorted(self.actions.items())
        ]
        return "\n".join(lines) + "\n"

    def save(self, folder: Path) -> Path:
        """Write both forms into the target folder, beside those of earlier runs, and number them.

        Returns
        -------
        Path
            The page for people.

        Raises
        ------
        WorldFailed
            Where the disk refuses.
        """
        content = json.dumps(self.table(), indent=2, ensure_ascii=False) + "\n"
        number = 1
        while any((folder / _numbered(name, number)).exists() for name in (JSON_NAME, TEXT_NAME)):
            number += 1
        for name, text in ((JSON_NAME, content), (TEXT_NAME, self.text())):
            path = folder / _numbered(name, number)
            write_atomic(path, lambda aside, text=text: _write(aside, text))
        self.saved = folder / _numbered(TEXT_NAME, number)
        return self.saved


def _listed(rows: list[tuple[int, str, str]], names: bool) -> list[dict[str, Any]]:
    return [
        {"file_number": number, **({"file": name} if names else {}), "why": why}
        for number, name, why in rows
    ]


def _numbered(name: str, number: int) -> str:
    stem, dot, ending = name.rpartition(".")
    return name if number == 1 else f"{stem}-{number}{dot}{ending}"


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
