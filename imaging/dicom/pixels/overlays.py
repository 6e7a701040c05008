"""Overlay planes: one-bit drawings that a file carries over its image.

Source: DICOM PS3.3 C.9.2 (overlay plane) and C.9.3 (multi-frame overlay), PS3.5 section 8.1.2 and
8.3 (packing; planes in unused bits of the pixels, retired).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from imaging.dicom.header.read import open_data, read_header, read_sequences
from imaging.dicom.header.tags import (
    OVERLAY_DESCRIPTION,
    OVERLAY_GROUPS,
    OVERLAY_LABEL,
    OVERLAY_ROWS,
    Header,
)
from imaging.dicom.header.vetting import MAX_EDGE
from imaging.dicom.pixels.encoding import carries_overlays
from imaging.drawings import Drawings
from imaging.errors import BadInput
from imaging.series import Frame

_COLUMNS, _FRAMES, _ORIGIN, _FRAME_ORIGIN, _BIT, _DATA = 0x11, 0x15, 0x50, 0x51, 0x102, 0x3000
_ELEMENTS = (OVERLAY_ROWS, _COLUMNS, _FRAMES, OVERLAY_DESCRIPTION, _ORIGIN, _FRAME_ORIGIN, _BIT,
             OVERLAY_LABEL, _DATA)  # fmt: skip
#: So many frames of a file are asked for at once.
_AT_ONCE = 64


class Overlay(NamedTuple):
    """A drawing over an image.

    Parameters
    ----------
    name : str
        Its label or description, else ``"overlay 1"``.
    mask : ndarray of bool, shape (rows, columns)
        Of the frame it belongs to.
    """

    name: str
    mask: np.ndarray


def read_overlays(frame: Frame) -> list[Overlay]:
    """The overlay planes over one frame; empty where there are none.

    Raises
    ------
    BadInput
        Where they are damaged.
    """
    return _read_file([frame])[0]


def read_drawings(
    frames: Sequence[Frame], slices: int, middle: int
) -> Iterator[Drawings | BadInput]:
    """The overlay planes of a series, growing: after the middle slice, then after every file.

    Parameters
    ----------
    frames : sequence of Frame
        As in :class:`imaging.series.Series`: all slices of the first image, then of the next.
    slices : int
        Slices of each image.
    middle : int
        The file of this slice is read first.

    Yields
    ------
    Drawings or BadInput
        All planes so far; or why those of a file could not be read.
    """
    files: dict[str, list[int]] = {}
    for place, frame in enumerate(frames):
        if carries_overlays(frame.encoding):
            files.setdefault(frame.file, []).append(place)
    packed: dict[tuple[str, int, int], np.ndarray] = {}
    for places in sorted(files.values(), key=lambda places: middle not in places):
        for start in range(0, len(places), _AT_ONCE):
            some = places[start : start + _AT_ONCE]
            try:
                found = _read_file([frames[place] for place in some])
            except BadInput as error:
                yield error
                break
            for place, overlays in zip(some, found, strict=True):
                for overlay in overlays:
                    if overlay.mask.any():
                        key = (overlay.name, *divmod(place, slices))
                        packed[key] = np.packbits(overlay.mask)
        if packed:
            yield Drawings(frames[0].shape, dict(packed))


def _read_file(frames: Sequence[Frame]) -> list[list[Overlay]]:
    """The overlay planes over some frames of one file."""
    from imaging import sandbox

    lean = [replace(frame, windows=(), marks=(), kind=()) for frame in frames]
    found = sandbox.run_limited(
        "imaging.dicom.pixels.overlays:overlays_in_worker",
        lean,
        where=frames[0].file,
        kind=list[list[tuple[str, np.ndarray]]],
    )
    return [[Overlay(name, mask) for name, mask in one] for one in found]


def overlays_in_worker(given: list[dict[str, Any]]) -> list[list[tuple[str, np.ndarray]]]:
    """The other side of :func:`read_overlays`: names and masks for each frame."""
    import msgspec

    frames = msgspec.convert(given, list[Frame])
    header = read_header(frames[0].file)
    tags = tuple(group << 16 | element for group in OVERLAY_GROUPS for element in _ELEMENTS)
    with open_data(header) as source:
        data = read_sequences(header, source, tags)
    return [_over_frame(frame, header, data) for frame in frames]


def _over_frame(frame: Frame, header: Header, data: Any) -> list[tuple[str, np.ndarray]]:
    found: dict[str, np.ndarray] = {}
    for number, group in enumerate(OVERLAY_GROUPS, 1):
        if group << 16 | OVERLAY_ROWS not in data:
            continue
        mask = _Plane(data, group, frame, header.little).mask()
        if mask is not None:
            name = header.human(group << 16 | OVERLAY_LABEL)
            name = name or header.human(group << 16 | OVERLAY_DESCRIPTION) or f"overlay {number}"
            found[f"{name} ({number})" if name in found else name] = mask
    return list(found.items())


class _Plane:
    """One overlay group of a file."""

    def __init__(self, data: Any, group: int, frame: Frame, little: bool) -> None:
        self.data, self.group, self.frame, self.little = data, group, frame, little

    def value(self, element: int, default: Any = None) -> Any:
        found = self.data.get(self.group << 16 | element)
        return default if found is None or found.value in (None, "", b"") else found.value

    def mask(self) -> np.ndarray | None:
        """The plane over the slice; None where it lies over other frames."""
        mask, tile = self._over_the_frame(), self.frame.tile
        if mask is None or tile is None:
            return mask
        (row, column), (rows, columns) = tile, self.frame.shape
        return np.ascontiguousarray(mask[row : row + rows, column : column + columns])

    def _over_the_frame(self) -> np.ndarray | None:
        raw = self.value(_DATA)
        if raw is None:
            return self._in_the_pixels() if self.value(_BIT, 0) else None
        rows, columns = int(self.value(OVERLAY_ROWS, 0)), int(self.value(_COLUMNS, 0))
        if not (1 <= rows <= MAX_EDGE and 1 <= columns <= MAX_EDGE):
            raise BadInput("The overlay plane has no sensible size", self.frame.file)
        first = int(self.value(_FRAME_ORIGIN, 1))
        at = max(1, self.frame.number) - first
        if not 0 <= at < int(self.value(_FRAMES, 1)):
            return None
        drawing = self._unpacked(bytes(raw), at * rows * columns, rows * columns)
        return self._over_the_image(drawing.reshape(rows, columns))

    def _unpacked(self, raw: bytes, start: int, count: int) -> np.ndarray:
        if len(raw) < math.ceil((start + count) / 8):
            raise BadInput("The overlay plane is cut off", self.frame.file)
        part = np.frombuffer(raw, np.uint8)
        if not self.little and self.data[self.group << 16 | _DATA].VR == "OW":
            part = part[: len(part) // 2 * 2].view("u2").byteswap().view(np.uint8)
        first = start // 8
        bits = np.unpackbits(part[first : math.ceil((start + count) / 8)], bitorder="little")
        return bits[start - 8 * first :][:count].astype(bool)

    def _over_the_image(self, drawing: np.ndarray) -> np.ndarray:
        """The drawing where it belongs; its origin may lie outside the image."""
        origin = [int(v) - 1 for v in self.value(_ORIGIN, (1, 1))]
        code = self.frame.encoding
        mask = np.zeros((code.rows, code.columns), bool)
        to, come = [], []
        for shift, size, room in zip(origin, drawing.shape, mask.shape, strict=True):
            low, high = max(0, shift), min(room, shift + size)
            if low >= high:
                return mask
            to.append(slice(low, high))
            come.append(slice(low - shift, high - shift))
        mask[tuple(to)] = drawing[tuple(come)]
        return mask

    def _in_the_pixels(self) -> np.ndarray | None:
        """The plane in an unused bit of uncompressed pixels."""
        code, bit = self.frame.encoding, int(self.value(_BIT, 0))
        if code.encapsulated or code.samples != 1 or not 0 <= bit < code.bits_allocated:
            return None
        from imaging.dicom.pixels.read import read_frame

        # All bits of the pixel as an unsigned number, nothing masked off.
        plain = replace(code, bits_stored=code.bits_allocated, signed=False, lookup="")
        stored = read_frame(replace(self.frame, encoding=plain))
        return (stored >> np.array(bit, stored.dtype)) & 1 != 0
