"""What the program remembers between starts: one frozen value, one small JSON file.

A file from an older program is brought up to date one step at a time (``_STEPS``); values a newer
program wrote are kept and written back; a file that cannot be read is set aside, never overwritten.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import partial
from math import isfinite
from pathlib import Path
from types import MappingProxyType
from typing import Any

from app.export_choice import MAX_PRESETS, Preset
from app.told_sequences import is_told
from imaging.atomic import write_atomic
from imaging.dicom.header.charsets import NAME_CHARSETS
from imaging.errors import WorldFailed

VERSION = 1  #: number of the file layout
MAX_RECENT = 12
NOTICE = "Research use - not for diagnosis"


@dataclass(frozen=True)
class Settings:
    """Everything the user or the site chose; see :func:`load` and :func:`save`.

    Parameters
    ----------
    notice : str
        Stands in the window and in every exported report; a site may say otherwise.
    recent : tuple of str
        Paths of studies and cases opened last, newest first.
    layout : str
        Name of the last cell layout.
    window_geometry, window_state : str
        What Qt gave for the main window, base64.
    presets : mapping
        Sequence name to the last ``(centre, width)`` as shares of the image's automatic window.
    keys : mapping
        Command id to the keys the user chose instead of the usual ones, as ``app.keys`` joins them.
    device : str
        ``auto``, ``cuda`` or ``cpu``.
    explain : bool
        Whether a run also makes the Grad-CAM map, which costs time.
    annotator : str
        Name written into exported masks; may be empty.
    name_charset : str
        Script of names in files that do not say it, as :data:`NAME_CHARSETS` calls it; or empty.
    remember_headers : bool
        Whether what was read of opened folders is kept for the next opening; patient text is in it.
    compressed : bool
        Whether the study opened last holds compressed images: their decoders then start with the
        program.
    sequences : mapping
        What the user said a series is, by a token that holds no text of a header.
    export_folder : str
        Where the last export went.
    export_presets : tuple of Preset
        The user's own; the usual ones are not in here.
    export_last : Preset or None
        What the export dialog was left with; named after the preset it came from.
    training_cases, training_folder : str
        Cases and results of the last training, so that it can go on.
    training_minutes : int
        How long it was allowed to take.
    unknown : mapping
        Values of a newer program, kept for it.
    """

    notice: str = NOTICE
    recent: tuple[str, ...] = ()
    layout: str = "1+3"
    window_geometry: str = ""
    window_state: str = ""
    presets: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    keys: Mapping[str, str] = field(default_factory=dict)
    device: str = "auto"
    explain: bool = False
    annotator: str = ""
    name_charset: str = ""
    remember_headers: bool = True
    compressed: bool = False
    sequences: Mapping[str, str] = field(default_factory=dict)
    export_folder: str = ""
    export_presets: tuple[Preset, ...] = ()
    export_last: Preset | None = None
    training_cases: str = ""
    training_folder: str = ""
    training_minutes: int = 60
    brush_mm: float = 4.0
    brush_shape: str = "disc"
    unknown: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("presets", "keys", "sequences", "unknown"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def but(self, **changes) -> Settings:
        """A copy with some values replaced."""
        return replace(self, **changes)

    def opened(self, path: str) -> Settings:
        """A copy where a path is the newest of the recent ones."""
        others = tuple(p for p in self.recent if p != path)
        return self.but(recent=(path, *others)[:MAX_RECENT])

    def forgot(self, path: str) -> Settings:
        """A copy without a recent path that is gone."""
        return self.but(recent=tuple(p for p in self.recent if p != path))


def default_path() -> Path:
    """Where the settings lie for this user."""
    import platformdirs

    return Path(platformdirs.user_config_dir("isocenter", appauthor=False)) / "settings.json"


def load(path: Path | None = None) -> tuple[Settings, str]:
    """Read the settings; never fails.

    Returns
    -------
    settings : Settings
        The defaults where there is no file, and for every value that makes no sense.
    problem : str
        A sentence for the user; empty where all is well.
    """
    path = path or default_path()
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(table, dict):
            raise ValueError("not a table")
    except FileNotFoundError:
        return Settings(), ""
    except OSError as error:
        return Settings(), f"The settings could not be read ({error.strerror}); defaults are used."
    except ValueError:
        return Settings(), _set_aside(path)
    return _from_table(_migrated(table)), ""


def save(settings: Settings, path: Path | None = None) -> None:
    """Write the settings; the file is whole before or after, never between.

    Raises
    ------
    WorldFailed
        Where the folder refuses; the old file is untouched.
    """
    path = path or default_path()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorldFailed("The settings folder cannot be made", str(path.parent)) from error
    text = json.dumps(_to_table(settings), indent=2, ensure_ascii=False, sort_keys=True) + "\n"
    write_atomic(path, partial(_write, text))


def _write(text: str, path: Path) -> None:
    path.write_text(text, encoding="utf-8")


def _from_table(table: Mapping[str, Any]) -> Settings:
    known: dict[str, Any] = {}
    unknown = {name: value for name, value in table.items() if name != "version"}
    for name, read in _READERS.items():
        if name not in unknown:
            continue
        try:
            known[name] = read(unknown.pop(name))
        except (TypeError, ValueError):
            continue
    return Settings(**known, unknown=unknown)


def _to_table(settings: Settings) -> dict[str, Any]:
    table: dict[str, Any] = dict(settings.unknown)
    for one in fields(Settings):
        value = getattr(settings, one.name)
        if one.name != "unknown":
            table[one.name] = _plain(value)
    return {**table, "version": VERSION}


def _plain(value: Any) -> Any:
    """The value as JSON can hold it."""
    if isinstance(value, Preset):
        return value.table()
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return dict(value) if isinstance(value, Mapping) else value


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _one_of(*words: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if value not in words:
            raise ValueError
        return value

    return read


def _between(low: float, high: float) -> Callable[[Any], float]:
    def read(value: Any) -> float:
        number = float(value)
        if not low <= number <= high:
            raise ValueError
        return number

    return read


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(_text(v) for v in value)[:MAX_RECENT]


def _keys(value: Any) -> dict[str, str]:
    return {_text(k): _text(v) for k, v in dict(value).items()}


def _sequences(value: Any) -> dict[str, str]:
    return {_text(k): v for k, v in dict(value).items() if is_told(_text(v))}


def _presets(value: Any) -> dict[str, tuple[float, float]]:
    pairs = {_text(k): tuple(float(x) for x in v) for k, v in dict(value).items()}
    return {
        k: (v[0], v[1])
        for k, v in pairs.items()
        if len(v) == 2 and v[1] > 0 and all(map(isfinite, v))
    }


def _export_presets(value: Any) -> tuple[Preset, ...]:
    """Those that make sense, each name once."""
    found: dict[str, Preset] = {}
    for table in list(value)[:MAX_PRESETS]:
        try:
            preset = Preset.read(table)
        except (TypeError, ValueError, KeyError):
            continue
        found.setdefault(preset.name, preset)
    return tuple(found.values())


def _export_last(value: Any) -> Preset | None:
    try:
        return None if value is None else Preset.read(value)
    except KeyError as error:
        raise ValueError from error


_READERS: dict[str, Callable[[Any], Any]] = {
    "notice": _text,
    "recent": _texts,
    "layout": _text,
    "window_geometry": _text,
    "window_state": _text,
    "presets": _presets,
    "keys": _keys,
    "device": _one_of("auto", "cuda", "cpu"),
    "explain": _flag,
    "annotator": _text,
    "name_charset": _one_of("", *NAME_CHARSETS),
    "remember_headers": _flag,
    "compressed": _flag,
    "sequences": _sequences,
    "export_folder": _text,
    "export_presets": _export_presets,
    "export_last": _export_last,
    "training_cases": _text,
    "training_folder": _text,
    "training_minutes": lambda value: round(_between(1, 10080)(value)),
    "brush_mm": _between(0.1, 100.0),
    "brush_shape": _one_of("disc", "ball"),
    "unknown": dict,
}


def _first_layout(table: dict[str, Any]) -> dict[str, Any]:
    """0 -> 1: files without a number called the recent studies ``recent_studies``."""
    if "recent_studies" in table:
        table["recent"] = table.pop("recent_studies")
    return table


#: Step ``n`` brings a table from layout ``n`` to ``n + 1``.
_STEPS: tuple[Callable[[dict[str, Any]], dict[str, Any]], ...] = (_first_layout,)


def _migrated(table: dict[str, Any]) -> dict[str, Any]:
    number = table.get("version", 0)
    start = number if isinstance(number, int) and number >= 0 else 0
    for step in _STEPS[start:VERSION]:
        table = step(table)
    return table


def _set_aside(path: Path) -> str:
    aside = path.with_name(f"{path.name}.unreadable")
    try:
        os.replace(path, aside)
    except OSError:
        return "The settings file is damaged; defaults are used."
    return f"The settings file was damaged; defaults are used and the old file is kept as {aside}."
