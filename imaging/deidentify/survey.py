"""What lies under a path: which files, whose they are, and the names of their clean copies."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from imaging.deidentify.checks import LOOK
from imaging.deidentify.choice import NONE, Choice
from imaging.deidentify.key import Key
from imaging.deidentify.options import Options
from imaging.deidentify.volume_names import safe_name, volume_targets
from imaging.errors import BadInput
from imaging.sandbox import stream_limited, workers
from imaging.storage.archive import Unpacked, is_zip, unpack

_AT_ONCE = 100
NO_IMAGE = "No image of a kind that can be de-identified"
OnProgress = Callable[[int, int, str], None]


@dataclass(frozen=True)
class Item:
    """One file that may leave.

    Parameters
    ----------
    number : int
        Its place among all files of the source, from 1.
    path : str
        On disk.
    shown : str
        What the user calls it; for the screen only.
    kind : str
        ``"dicom"`` or as in :mod:`imaging.deidentify.volume_files`.
    patient, study, series, frame, instance : str
        As the header has them; ``frame`` is the frame of reference.
    image : bool
        True for DICOM files with pixels of a patient, not of a mask or map.
    checked, no_face : bool
        Somebody has looked: no text in the pixels of this file; no face in it.
    """

    number: int
    path: str
    shown: str = field(repr=False)
    kind: str
    patient: str = field(repr=False, default="")
    study: str = field(repr=False, default="")
    series: str = field(repr=False, default="")
    frame: str = field(repr=False, default="")
    instance: str = field(repr=False, default="")
    order: int = 0
    image: bool = False
    checked: bool = False
    no_face: bool = False


@dataclass
class Survey:
    """Everything under a path. Close it: unpacked archives go with it."""

    items: list[Item] = field(default_factory=list)
    refused: list[tuple[int, str, str]] = field(default_factory=list)
    others: list[tuple[int, str, str]] = field(default_factory=list)
    archives: list[Unpacked] = field(default_factory=list, repr=False)

    def close(self) -> None:
        """Delete what was unpacked; may be called twice."""
        for archive in self.archives:
            archive.close()

    def series(self) -> dict[tuple[str, str, str], list[Item]]:
        """DICOM files by patient, study and series, in the order of their numbers."""
        groups: dict[tuple[str, str, str], list[Item]] = {}
        for item in self.items:
            if item.kind == "dicom":
                groups.setdefault((item.patient, item.study, item.series), []).append(item)
        for group in groups.values():
            group.sort(key=lambda item: (item.order, item.number))
        return groups


def look(
    source: Path,
    options: Options,
    on_progress: OnProgress | None = None,
    cancelled: Callable[[], bool] | None = None,
    *,
    checked: Choice = NONE,
    no_face: Choice = NONE,
) -> Survey:
    """Look at every file under a path, in limited processes.

    Parameters
    ----------
    checked, no_face : Choice
        Files of which somebody says that their pixels hold no text, or no face.

    Raises
    ------
    BadInput
        Where there is no such path, or a zip archive cannot be unpacked.
    """
    if not source.exists():
        raise BadInput("There is no such file or folder", str(source))
    survey = Survey()
    try:
        files = _files(source, survey, cancelled or (lambda: False))
        spoken_for = {"checked": checked, "no_face": no_face}
        _look_at_all(files, survey, options, on_progress, cancelled or (lambda: False), spoken_for)
    except BaseException:
        survey.close()
        raise
    return survey


def _files(source: Path, survey: Survey, cancelled) -> list[tuple[str, str]]:
    """Path on disk and name for people of each file; archives are unpacked."""
    found: list[tuple[str, str]] = []
    for path in _walked(source):
        shown = os.path.relpath(path, source if source.is_dir() else source.parent)
        if is_zip(path):
            unpacked = unpack(path, cancelled)
            survey.archives.append(unpacked)
            found += [(member, f"{shown} › {name}") for member, name in unpacked.members]
        else:
            found.append((path, shown))
    return found


def _walked(source: Path) -> Iterator[str]:
    if source.is_file():
        yield str(source)
        return
    for folder, folders, names in os.walk(source):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = os.path.join(folder, name)
            if not name.startswith(".") and not os.path.islink(path):
                yield path


def _look_at_all(
    files, survey: Survey, options: Options, on_progress, cancelled, spoken_for: dict[str, Choice]
) -> None:
    chunks = [files[at : at + _AT_ONCE] for at in range(0, len(files), _AT_ONCE)]
    done, seen = 0, set()
    with ThreadPoolExecutor(workers()) as pool:
        looked = pool.map(lambda chunk: [] if cancelled() else _looked(chunk, options), chunks)
        for chunk, facts in zip(chunks, looked, strict=True):
            for (path, shown), fact in zip(chunk, facts, strict=False):
                done += 1
                one = (path, shown, fact.get("series", ""))
                said = {name: one in choice for name, choice in spoken_for.items()}
                _take(survey, done, path, shown, fact, seen, said)
            if on_progress is not None:
                on_progress(done, len(files), "Looking at the files")


def _looked(chunk: list[tuple[str, str]], options: Options) -> list[dict[str, Any]]:
    """Facts of each file; one that makes the reader fail says so and the rest goes on."""
    facts: list[dict[str, Any]] = []
    paths = [path for path, _shown in chunk]
    while len(facts) < len(paths):
        try:
            facts += stream_limited(
                "imaging.deidentify.worker:look_at",
                paths[len(facts) :],
                options.table(),
                kind=dict[str, Any],
            )
            break
        except BadInput as error:
            facts.append({"kind": "", "why": error.what})
    return facts


def _take(
    survey: Survey, number: int, path: str, shown: str, fact, seen: set[str], said: dict[str, bool]
) -> None:
    kind, why, burned = fact["kind"], fact["why"], fact.get("burned", "")
    if not why and burned and not said["checked"]:
        why = f"{burned}. {LOOK}"
    if not kind:
        survey.others.append((number, shown, NO_IMAGE))
        return
    if why:
        survey.refused.append((number, shown, why))
        return
    if kind == "dicom" and fact["instance"] in seen:
        survey.others.append((number, shown, "The same image is there twice"))
        return
    names = ("patient", "study", "series", "frame", "instance")
    texts = {name: fact.get(name, "") for name in names}
    order, image = fact.get("number", 0), fact.get("image", False)
    item = Item(number, path, shown, kind, **texts, order=order, image=image,
                checked=said["checked"], no_face=said["no_face"])  # fmt: skip
    seen.add(item.instance)
    survey.items.append(item)


def targets(survey: Survey, key: Key) -> dict[int, Path]:
    """Number of each item to the relative path of its clean copy.

    Pseudonyms, the number that stands in the header and keyed tokens: the same image always has the
    same name, and another one never.
    """
    named: dict[int, Path] = {}
    for (patient, study, series), items in survey.series().items():
        folder = Path(
            safe_name(key.pseudonym(patient)),
            f"study-{key.token('study', study, 6)}",
            f"series-{key.token('series', series, 6)}",
        )
        for item in items:
            token = key.token("instance", item.instance, 12)
            named[item.number] = folder / f"{max(0, item.order):04d}-{token}.dcm"
    named.update(volume_targets(survey, key))
    return named
