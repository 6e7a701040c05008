"""The case file: what a person saves and opens again. It refers to the images, never copies them.

A zip without compression of its own: ``manifest.json`` (format, references to the images, every
mask and map without its voxels, the display) and ``arrays/<digest>`` (packed voxels, named by the
SHA-256 of their content). Reading runs no code, trusts no size and refuses a newer format.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from imaging.atomic import write_atomic
from imaging.case import Case
from imaging.errors import BadInput, ImagingError, WorldFailed
from imaging.heatmap import Heatmap
from imaging.segmentation import Segmentation
from imaging.storage import codec
from imaging.storage.codec import VolumeRef
from imaging.volume import Volume

SUFFIX = ".isocase"
#: 2: what was not known in format 1 (images of 4D series, uneven grids, meanings of labels) may be
#: missing and then has its default, so files of format 1 are read as they are.
FORMAT = 2
_NAME = "isocenter-case"
_MANIFEST = "manifest.json"
_MAX_MANIFEST = 64 << 20
_MAX_ENTRIES = 4096
_VERSION = re.compile(r"^(?P<stem>.*?)-(?P<number>\d{3,})$")

Items = list[Segmentation | Heatmap]


@dataclass(frozen=True, eq=False)
class CaseFile:
    """What a case file holds, read and checked.

    Parameters
    ----------
    path : Path
    written : str
        ISO 8601 in UTC.
    volumes : tuple of VolumeRef
        The images to open; paths that moved along with the case file are corrected.
    display : dict
        As it was given to :func:`save_case`.
    exports : int
        See :class:`imaging.case.Case`.
    """

    path: Path
    written: str
    volumes: tuple[VolumeRef, ...]
    display: dict[str, Any]
    _items: tuple[codec.Body, ...]
    _arrays: dict[str, bytes]
    exports: int = 0

    def build(self, lookup: Callable[[VolumeRef], Volume | None]) -> tuple[Items, list[str]]:
        """The masks and maps, on the reopened images.

        Parameters
        ----------
        lookup : callable
            Gives the open volume of a reference, or None where it could not be opened.

        Returns
        -------
        items : list
            New objects, in the order they were added to the case.
        problems : list of str
            Sentences about images that are missing or have changed; their masks are still there.

        Raises
        ------
        BadInput
            Where the voxels of a mask or map are damaged.
        """
        ids: dict[str, str] = {}
        problems = []
        for ref in self.volumes:
            volume = lookup(ref)
            if volume is None:
                problems.append(f"The image {ref.name} was not found.")
            elif not ref.fits(volume):
                problems.append(f"The image {ref.name} is not the one this case was made on.")
            if volume is not None and ref.geometry.same_grid(volume.geometry):
                ids[ref.id] = volume.id
        items = [_item(body, self._fetch, self.path) for body in self._items]
        return [codec.on_volume(i, ids.get(i.volume_id, i.volume_id)) for i in items], problems

    def _fetch(self, name: str, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
        if name not in self._arrays:
            raise BadInput("The voxels of a mask or map are missing")
        array = codec.unpack(self._arrays[name], dtype, shape)
        if codec.digest(array) != name:
            raise BadInput("The voxels of a mask or map are damaged")
        return array


def snapshot(case: Case) -> Case:
    """A copy of a case to save in the background while the case itself is edited on."""
    return Case({item.id: codec.frozen_item(item) for item in case}, case.exports)


def save_case(path: Path, case: Case, display: dict[str, Any] | None = None) -> Path:
    """Write a case file, read it back and compare; an existing file is never overwritten.

    Parameters
    ----------
    path : Path
        Where to; ``.isocase`` is added where missing. Where that exists the next free version is
        written: ``name-002.isocase``, ``name-003.isocase``, …
    case : Case
        Must not change meanwhile: give a :func:`snapshot` to another thread.
    display : dict, optional
        The state of the views, plain JSON.

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    WorldFailed
        Where the disk refuses or what was read back differs; nothing is left behind then.
    """
    target = next_version(Path(path))
    arrays: codec.Arrays = {}
    items = [codec.item_body(i, arrays) for i in case if not isinstance(i, Volume)]
    manifest = {
        "format": _NAME,
        "version": FORMAT,
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
        "volumes": [_volume_body(volume, target.parent) for volume in case.volumes],
        "items": items,
        "display": display or {},
        "exports": case.exports,
    }
    text = json.dumps(manifest, allow_nan=False, ensure_ascii=False)
    write_atomic(
        target,
        lambda aside: _write(aside, text, arrays),
        lambda aside: _verify(aside, text, case),
    )
    return target


def next_version(path: Path) -> Path:
    """The path itself where it is free, else the next free ``name-002.isocase``."""
    if path.suffix.lower() != SUFFIX:
        path = path.with_name(path.name + SUFFIX)
    found = _VERSION.match(path.stem)
    stem, number = (found["stem"], int(found["number"])) if found else (path.stem, 1)
    while os.path.lexists(path):
        number += 1
        path = path.with_name(f"{stem}-{number:03d}{SUFFIX}")
    return path


def load_case(path: Path) -> CaseFile:
    """Read a case file.

    Raises
    ------
    BadInput
        Where it is no case file, is damaged, or was written by a newer program.
    WorldFailed
        Where it cannot be read at all.
    """
    path = Path(path)
    try:
        with zipfile.ZipFile(path) as archive:
            text, arrays = _read(archive, path)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise BadInput("This is not a case file, or it is damaged", str(path)) from error
    except OSError as error:
        raise WorldFailed("The case file cannot be read", str(path)) from error
    manifest = _manifest(text, path)
    try:
        volumes = tuple(_read_volume(body, path.parent) for body in manifest["volumes"])
        items = tuple(dict(body) for body in manifest["items"])
        display, written = dict(manifest["display"]), str(manifest["written"])
        exports = max(0, int(manifest.get("exports", 0)))  # files of early versions have none
        ids = [str(body["id"]) for body in items] + [ref.id for ref in volumes]
    except (ImagingError, LookupError, TypeError, ValueError) as error:
        raise _damaged(path) from error
    if len(set(ids)) != len(ids):
        raise _damaged(path)
    return CaseFile(path, written, volumes, display, items, arrays, exports)


def _write(aside: Path, text: str, arrays: codec.Arrays) -> None:
    with zipfile.ZipFile(aside, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(_MANIFEST, text)
        for name, array in arrays.items():
            archive.writestr(f"arrays/{name}", codec.pack(array, level=3))


def _verify(aside: Path, text: str, case: Case) -> None:
    """Raise where the file on the disk would not give back the very same case."""
    manifest = json.loads(text)
    try:
        read = load_case(aside)
        items, _ = read.build(lambda ref: None)
    except BadInput as error:
        raise WorldFailed("The file read back is damaged", str(aside.parent)) from error
    kept = [item for item in case if not isinstance(item, Volume)]
    again: codec.Arrays = {}
    same = [codec.item_body(item, again) for item in items] == manifest["items"]
    same = same and read.display == manifest["display"] and len(items) == len(kept)
    same = same and [ref.id for ref in read.volumes] == [v.id for v in case.volumes]
    for one, other in zip(items, kept, strict=False):
        same = same and np.array_equal(_array(one), _array(other))
    if not same:
        raise WorldFailed("The file read back differs from the case", str(aside.parent))


def _array(item: object) -> np.ndarray:
    return item.labels if isinstance(item, Segmentation) else item.values  # type: ignore[union-attr]


def _volume_body(volume: Volume, folder: Path) -> codec.Body:
    ref = VolumeRef.of(volume, sampled=True)
    return {**ref.body(), "relative": [_relative(file, folder) for file in ref.files]}


def _relative(file: str, folder: Path) -> str:
    try:
        return Path(os.path.relpath(file, folder)).as_posix()
    except ValueError:  # another drive on Windows
        return ""


def _read_volume(body: codec.Body, folder: Path) -> VolumeRef:
    relative = [str(path) for path in body["relative"]]
    ref = VolumeRef.read({key: value for key, value in body.items() if key != "relative"})
    files = tuple(
        str(folder / moved) if moved and not Path(file).exists() and (folder / moved).exists()
        else file
        for file, moved in zip(ref.files, relative, strict=True)
    )  # fmt: skip
    return replace(ref, files=files)


def _read(archive: zipfile.ZipFile, path: Path) -> tuple[bytes, dict[str, bytes]]:
    """Manifest and packed arrays; nothing here is unpacked yet."""
    entries = archive.infolist()
    room = path.stat().st_size
    if len(entries) > _MAX_ENTRIES or sum(entry.file_size for entry in entries) > room:
        raise _damaged(path)
    if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
        raise _damaged(path)
    names = {entry.filename: entry for entry in entries}
    if _MANIFEST not in names or names[_MANIFEST].file_size > _MAX_MANIFEST:
        raise _damaged(path)
    arrays = {
        name.removeprefix("arrays/"): archive.read(name)
        for name in names
        if name.startswith("arrays/")
    }
    return archive.read(_MANIFEST), arrays


def _manifest(text: bytes, path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _damaged(path) from error
    if not isinstance(manifest, dict) or manifest.get("format") != _NAME:
        raise BadInput("This is not a case file of Isocenter", str(path))
    version = manifest.get("version")
    if not isinstance(version, int) or version < 1:
        raise _damaged(path)
    if version > FORMAT:
        raise BadInput(
            f"This case file has format {version}, this program reads up to {FORMAT}",
            str(path),
            "Open it with a newer version of Isocenter",
        )
    return manifest


def _item(body: codec.Body, fetch: codec.Fetch, path: Path) -> Segmentation | Heatmap:
    try:
        return codec.read_item(body, fetch)
    except (ImagingError, LookupError, TypeError, ValueError, MemoryError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> BadInput:
    return BadInput("The case file is damaged", str(path), "Open an earlier version of it")
