"""The report of a training or an evaluation: ``report.json``, ``report.md``, ``report.svg``."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from inference.training.own.figures import ENOUGH, Figures, figures_of, plain
from inference.training.own.files import write_text
from inference.training.own.judge import Judged
from inference.training.own.picture import picture
from inference.training.own.words import WORDS

__all__ = ["Report", "write_report"]


@dataclass(frozen=True)
class Report:
    """What is reported.

    Parameters
    ----------
    title : str
    facts : mapping
        Words to words: how it was done.
    new : sequence of Judged
        Left-out cases, each judged by a model that had not seen its patient.
    old : sequence of Judged
        The same cases judged by the model it started from, where there is one.
    warnings : tuple of str
        What keeps the figures from meaning more than they do.
    verdict : mapping
        Of an adaptation: ``promoted`` and ``reason``.
    """

    title: str
    facts: Mapping[str, str]
    new: Sequence[Judged]
    old: Sequence[Judged] = ()
    warnings: tuple[str, ...] = ()
    verdict: Mapping[str, Any] = field(default_factory=dict)


def write_report(report: Report, folder: Path) -> dict[str, Any]:
    """Write the three files; returns what the JSON holds."""
    folder.mkdir(parents=True, exist_ok=True)
    new, old = figures_of(report.new), figures_of(report.old) if report.old else None
    groups = _groups(report.new)
    content: dict[str, Any] = {
        "title": report.title,
        "facts": dict(report.facts),
        "warnings": list(report.warnings),
        **({"verdict": dict(report.verdict)} if report.verdict else {}),
        "n": new.patients,
        "cases": new.cases,
        "new": plain(new),
        **({"old": plain(old)} if old else {}),
        "subgroups": {name: plain(figures_of(rows)) for name, rows in groups.items()},
        "sizes": [list(row) for row in new.sizes],
        "reliability": _reliability(new),
        "each": [row.plain() for row in report.new],
        "each_old": [row.plain() for row in report.old],
        "picture": "report.svg",
    }
    text = json.dumps(content, indent=1, ensure_ascii=False)
    write_text(folder / "report.json", text + "\n")
    write_text(folder / "report.md", _markdown(report, new, old, groups))
    write_text(folder / "report.svg", picture(report.new, new, report.old))
    return content


def _reliability(figures: Figures) -> list[list[float]]:
    if figures.table is None:
        return []
    curve = figures.table.reliability()
    return [
        [round(said, 4), round(true, 4), count]
        for said, true, count in zip(curve.said, curve.true, curve.voxels, strict=True)
    ]


def _groups(rows: Sequence[Judged]) -> dict[str, list[Judged]]:
    """By label of a tissue model, else by subgroup, where there is more than one."""
    found: dict[str, list[Judged]] = {}
    for row in rows:
        name = row.label or row.subgroup
        if name:
            found.setdefault(name, []).append(row)
    return found if len(found) > 1 or any(row.label for row in rows) else {}


def _markdown(
    report: Report, new: Figures, old: Figures | None, groups: Mapping[str, Sequence[Judged]]
) -> str:
    lines = [f"# {report.title}", ""]
    lines += [f"- {name}: {value}" for name, value in report.facts.items()]
    lines += [f"- Note: {sentence}" for sentence in report.warnings]
    if report.verdict:
        word = "Promoted" if report.verdict["promoted"] else "Refused"
        lines += ["", f"**{word}.** {report.verdict['reason']}"]
    if not report.new:
        return "\n".join([*lines, "", "No case was left out, so there are no figures.", ""])
    people = "1 patient" if new.patients == 1 else f"{new.patients} patients"
    count = "1 left-out case" if new.cases == 1 else f"{new.cases} left-out cases"
    lines += ["", f"## {count} of {people}", ""]
    lines += _table(new, old)
    if new.patients < ENOUGH:
        lines += ["", f"Fewer than {ENOUGH} patients: no intervals, they would mean nothing."]
    else:
        lines += ["", "Means over patients; in brackets 95 % bootstrap intervals over patients."]
    for name, rows in groups.items():
        some = figures_of(rows)
        lines += ["", f"### {name} (n = {some.patients})", "", *_table(some, None)]
    if new.sizes:
        lines += ["", "## Lesions found by size", "", "| Size | Lesions | Found |", "|---|---|---|"]
        lines += [f"| {name} | {count} | {found} |" for name, count, found in new.sizes]
    lines += ["", "## Case by case", "", *_cases(report)]
    lines += ["", "![Dice, volumes and calibration](report.svg)", ""]
    lines += [
        "A lesion counts as found, and a marked piece as true, where one voxel overlaps; pieces",
        "are 26-connected. Calibration is measured where there is doubt: within two voxels of the",
        "truth, or where the model says more than 2 %.",
    ]
    return "\n".join(lines) + "\n"


def _table(new: Figures, old: Figures | None) -> list[str]:
    head = "| Figure | Value |" if old is None else "| Figure | Old model | New model |"
    lines = [head, "|---|---|" + ("---|" if old else "")]
    for name, words in WORDS.items():
        if name not in new.named:
            continue
        cells = [words, new.named[name].text]
        if old is not None:
            cells.insert(1, old.named[name].text if name in old.named else "")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _cases(report: Report) -> list[str]:
    wanted = ("dice", "lesion_f1", "gold_ml", "found_ml", "hd95_mm", "probability", "answer")
    known = [name for name in wanted if any(name in row.figures for row in report.new)]
    before = {(row.case, row.label): row for row in report.old}
    head = ["Case", *(["Label"] if any(row.label for row in report.new) else []), *known]
    head += ["old dice"] if before else []
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in sorted(report.new, key=lambda r: r.figures.get("dice", 0.0)):
        cells = [row.case, *([row.label] if "Label" in head else [])]
        cells += [f"{row.figures[n]:.3g}" if n in row.figures else "" for n in known]
        if before:
            old = before.get((row.case, row.label))
            cells.append("" if old is None else f"{old.figures.get('dice', 0.0):.3g}")
        lines.append("| " + " | ".join(cells) + " |")
    return lines
