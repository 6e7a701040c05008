"""Opens DICOM objects that are no images (masks, contours, maps, reports) within limits.

Their content lies in nested sequences that only pydicom reads, so the size of the file and of what
a deflated one becomes are checked first, and too deep nesting ends in a sentence.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from imaging.dicom.header.read import inflate, read_header
from imaging.dicom.header.tags import DEFLATED_LE, EXPLICIT_BE, NATIVE_SYNTAXES
from imaging.dicom.header.vetting import (
    MAX_EDGE,
    MAX_FRAMES,
    MAX_INFLATED_BYTES,
    check_volume_bytes,
)
from imaging.dicom.pixels.read import read_frames
from imaging.dicom.stacks.frames import object_frames
from imaging.errors import BadInput
from imaging.segmentation import Provenance

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
MAP_CLASS = "1.2.840.10008.5.1.4.1.1.30"
STRUCTURE_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
REPORT_FAMILY = "1.2.840.10008.5.1.4.1.1.88."

_MB = 1 << 20
#: Largest files that are read, by what they are.
MAX_MASK_BYTES, MAX_CONTOUR_BYTES, MAX_REPORT_BYTES = 4096 * _MB, 256 * _MB, 32 * _MB
_PIXELS = ("FloatPixelData", "DoubleFloatPixelData", "PixelData")


def open_object(path: Path, limit: int) -> Dataset:
    """Read a whole DICOM object.

    Parameters
    ----------
    limit : int
        Largest file that is read, bytes.

    Raises
    ------
    BadInput
        Where the file is larger, is not DICOM, or cannot be followed.
    """
    try:
        header = read_header(str(path))
        size = Path(path).stat().st_size
    except (BadInput, OSError) as error:
        raise BadInput("This is not a readable DICOM file", str(path)) from error
    if size > limit:
        raise BadInput(
            f"The file has {size / _MB:.0f} MB; at most {limit / _MB:.0f} MB are read", str(path)
        )
    try:
        if header.syntax == DEFLATED_LE:
            return _open_deflated(path, header.start)
        return _quietly_read(path)
    except BadInput:
        raise
    except Exception as error:  # pydicom raises many kinds; none may end the program
        raise BadInput("The file is damaged or nested too deeply", str(path)) from error


def _quietly_read(source: Path | io.BytesIO) -> Dataset:
    from pydicom import dcmread

    _be_quiet()
    return dcmread(source, force=True)


def _be_quiet() -> None:
    """Warnings of pydicom quote header values, which may name the patient."""
    import logging

    from pydicom import config

    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.ERROR)


def _open_deflated(path: Path, start: int) -> Dataset:
    """Inflate within the limit, then read as explicit little endian."""
    from pydicom.dataset import FileMetaDataset
    from pydicom.filereader import read_dataset
    from pydicom.uid import ExplicitVRLittleEndian

    with open(path, "rb") as file:
        data, whole = inflate(file, start, str(path), MAX_INFLATED_BYTES)
    if not whole:
        raise BadInput("The compressed data of the file are larger than 1 GB", str(path))
    _be_quiet()
    ds = read_dataset(io.BytesIO(data), False, True)
    ds.file_meta = FileMetaDataset()
    ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return ds


def count_frames(ds: Dataset, path: Path) -> int:
    """The number of frames, after rows, columns, bits and their product were checked.

    Raises
    ------
    BadInput
        Where the pixels would pass a limit.
    """
    try:
        rows, columns = int(ds.Rows), int(ds.Columns)
        bits, frames = int(ds.get("BitsAllocated") or 32), int(ds.get("NumberOfFrames") or 1)
    except (AttributeError, TypeError, ValueError):
        raise BadInput("The file does not say how large its frames are", str(path)) from None
    if not (1 <= rows <= MAX_EDGE and 1 <= columns <= MAX_EDGE):
        raise BadInput(f"Frames of {columns} × {rows} pixels are not read", str(path))
    if not 1 <= frames <= MAX_FRAMES or bits not in (1, 8, 16, 32, 64):
        raise BadInput(f"{frames} frames of {bits} bits are not read", str(path))
    check_volume_bytes(rows * columns * frames * max(8, bits) // 8, str(path))
    if int(ds.get("SamplesPerPixel") or 1) != 1:
        raise BadInput("Frames in colour are not read here", str(path))
    return frames


def iter_frames(ds: Dataset, path: Path) -> Iterator[np.ndarray]:
    """The frames in file order, each (rows, columns), decoded one at a time.

    Raises
    ------
    BadInput
        Where pixels are missing or cannot be decoded.
    """
    frames = count_frames(ds, path)
    if not any(name in ds for name in _PIXELS):
        raise BadInput("The file holds no pixels", str(path))
    try:
        syntax = str(ds.file_meta.TransferSyntaxUID)
        if int(ds.get("BitsAllocated") or 0) == 1 and syntax in NATIVE_SYNTAXES:
            yield from _unpacked(ds, frames, syntax == EXPLICIT_BE)
            return
        if syntax not in NATIVE_SYNTAXES:
            yield from _decoded(path)
            return
        from pydicom.pixels.utils import iter_pixels

        yield from iter_pixels(ds, raw=True)
    except (BadInput, GeneratorExit):
        raise
    except Exception as error:
        raise BadInput("The pixels cannot be decoded", str(path)) from error


def _unpacked(ds: Dataset, frames: int, big_endian: bool) -> Iterator[np.ndarray]:
    """One bit per pixel, packed without gaps between frames (PS3.5 8.1.1)."""
    rows, columns = int(ds.Rows), int(ds.Columns)
    raw = np.frombuffer(ds.PixelData, np.uint8)
    if big_endian and ds["PixelData"].VR == "OW":
        raw = raw.view(">u2").astype("<u2").view(np.uint8)
    size = rows * columns
    if raw.size * 8 < frames * size:
        raise ValueError("too few pixels")
    for number in range(frames):
        first, skip = divmod(number * size, 8)
        part = raw[first : first + (skip + size + 7) // 8]
        bits = np.unpackbits(part, bitorder="little")[skip : skip + size]
        yield bits.reshape(rows, columns)


def _decoded(path: Path) -> Iterator[np.ndarray]:
    """Compressed frames, decoded in a worker process as those of images are."""
    for image in read_frames(object_frames(read_header(str(path)))):
        if isinstance(image, BadInput):
            raise image
        yield image


def first_item(ds: Dataset | None, name: str) -> Dataset | None:
    """The first item of a sequence, None where it is missing or empty."""
    sequence = ds.get(name) if ds is not None else None
    return sequence[0] if sequence else None


def clean(value: object, limit: int = 200) -> str:
    """A text of a file as one line for people: no control or direction marks, not endless."""
    text = "".join(c if c.isprintable() else " " for c in str(value or ""))
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def numbers(values: Iterable[object], count: int) -> np.ndarray | None:
    """So many finite numbers, None where they are not."""
    try:
        found = np.array([float(v) for v in values], float)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if found.shape == (count,) and np.isfinite(found).all() else None


def made_by(ds: Dataset, algorithms: list[tuple[str, str]]) -> Provenance:
    """What made an object: algorithms by name and version, the maker of the program, the time.

    Where no algorithm is named it was made by hand.
    """
    maker = [clean(ds.get(name), 64) for name in ("Manufacturer", "ManufacturerModelName")]
    if maker[1].casefold().startswith(maker[0].casefold()):
        maker = maker[1:]  # "Isocenter", "Isocenter" is one name
    alone = len(algorithms) == 1
    return Provenance(
        algorithm=", ".join(
            " ".join(pair).strip() if not alone else pair[0] for pair in algorithms
        ),
        version=algorithms[0][1] if alone else "",
        device=" ".join(part for part in maker if part),
        created=_moment(ds),
    )


def _moment(ds: Dataset) -> str:
    """When the content was made, ISO 8601; empty where the file does not say."""
    day, time = (str(ds.get(name) or "") for name in ("ContentDate", "ContentTime"))
    if len(day) < 8 or not day[:8].isdecimal():
        return ""
    clock = time[:6] if len(time) >= 6 and time[:6].isdecimal() else "000000"
    return f"{day[:4]}-{day[4:6]}-{day[6:8]}T{clock[:2]}:{clock[2:4]}:{clock[4:6]}"
