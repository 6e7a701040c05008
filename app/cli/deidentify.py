"""``isocenter deidentify``: clean copies of everything under a path, and a report."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from app.cli.output import Output
from imaging.deidentify.choice import read_choice
from imaging.deidentify.faces import find_faces
from imaging.deidentify.folder import check_folders, rehearse, run
from imaging.deidentify.key import Key, default_key_path, load_key, new_key
from imaging.deidentify.options import Options
from imaging.deidentify.report import Report
from imaging.deidentify.survey import Survey, look
from imaging.errors import BadInput

#: So many refused files are named one by one in the text output.
NAMED = 20


@dataclass(frozen=True)
class Wish:
    """What the user asked for."""

    options: Options
    key: Path | None = None
    pseudonyms: Path | None = None
    dry: bool = False
    checked: tuple[str, ...] = ()
    no_face: tuple[str, ...] = ()


def deidentify(source: Path, target: Path, wish: Wish, output: Output) -> bool:
    """Write clean copies, or say what would be done.

    Returns
    -------
    bool
        False where a file was refused.

    Raises
    ------
    BadInput
        Where source, target or key cannot be used, or there is nothing to do.
    WorldFailed
        Where the disk refuses.
    """
    check_folders(source, target)
    checked, no_face = read_choice(wish.checked), read_choice(wish.no_face)
    with output.progress("Looking") as advance:
        survey = look(
            source,
            wish.options,
            lambda done, total, stage: advance(done / max(total, 1), stage),
            checked=checked,
            no_face=no_face,
        )
    try:
        report = _go(survey, source, target, wish, output)
    finally:
        survey.close()
    _tell(report, target, output)
    return not report.refused


def _go(survey: Survey, source: Path, target: Path, wish: Wish, output: Output) -> Report:
    if not survey.items and not survey.refused:
        raise BadInput("There is nothing here that can be de-identified", str(source))
    key = _key(wish, output)
    with output.progress("De-identifying") as advance:

        def told(done: int, total: int, stage: str) -> None:
            advance(done / max(total, 1), f"{stage}, {done} of {total}")

        faces = find_faces(survey, told) if wish.options.deface else None
        if wish.dry:
            return rehearse(survey, wish.options, key, told, faces=faces)
        return run(survey, target, wish.options, key, faces, told)


def _key(wish: Wish, output: Output) -> Key:
    """The key that was named, or the user's own; a rehearsal makes no file."""
    path = wish.key or default_key_path()
    if wish.dry and not path.exists():
        return new_key()
    fresh = not path.exists()
    key = load_key(path, wish.pseudonyms)
    if fresh:
        output.warn(f"A new key was made: {path}. Keep it, keep it secret, never send it along.")
    return key


def _tell(report: Report, target: Path, output: Output) -> None:
    output.say(report.sentence())
    for sentence in report.warnings:
        output.warn(sentence)
    for _number, name, why in report.refused[:NAMED]:
        output.say(f"  refused: {name}: {why.rstrip('.')}.")
    if len(report.refused) > NAMED:
        output.say(f"  and {len(report.refused) - NAMED} more:")
        for why, count in Counter(why for _, _, why in report.refused).most_common():
            output.say(f"  {count:6d}  {why}")
    if report.dry:
        output.table(
            ("Attribute", "What would be done", "Times, from one file of each series"),
            [(title, action, count) for (title, action), count in sorted(report.actions.items())],
        )
    else:
        output.say(f"Report: {report.saved or target}")
    output.result({**report.table(names=True), "target": str(target)})
