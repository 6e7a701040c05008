"""Takes what lies before a plane out of the pixels of a DICOM file, frame by frame."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from imaging.deidentify.plane import Plane
from imaging.errors import BadInput
from imaging.series import Frame

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

_EXPLICIT = "1.2.840.10008.1.2.1"


def frame_place(frame: Frame) -> dict[str, Any]:
    """Where a frame lies, as plain numbers for another process.

    Raises
    ------
    BadInput
        Where the header does not say it.
    """
    if frame.position is None or frame.orientation is None or frame.spacing is None:
        raise BadInput("The header does not say where the slice lies, so no face can be cut off")
    axes, (row_mm, column_mm) = np.asarray(frame.orientation), frame.spacing
    return {
        "number": frame.number,
        "shape": list(frame.shape),
        "tile": list(frame.tile) if frame.tile is not None else [0, 0],
        "corner": [float(v) for v in frame.position],
        "along_row": [float(v) for v in axes[:3] * column_mm],
        "along_column": [float(v) for v in axes[3:] * row_mm],
    }


def wipe_frames(dataset: Dataset, plane: Plane, frames: Sequence[Mapping[str, Any]]) -> bool:
    """Overwrite the pixels before a plane with black; the data set then holds plain pixels.

    Parameters
    ----------
    dataset : pydicom Dataset
        Changed in place.
    frames : sequence of mapping
        From :func:`frame_place`.

    Returns
    -------
    bool
        True where a pixel was overwritten or could have been: the whole file was gone through.

    Raises
    ------
    BadInput
        Where the pixels cannot be decoded.
    """
    pixels = _pixels(dataset)
    stack = pixels if _frames_of(dataset) > 1 else pixels[None]
    black = _black(dataset, pixels)
    for frame in frames:
        sheet = stack[max(0, int(frame["number"]) - 1)]
        (rows, columns), (top, left) = frame["shape"], frame["tile"]
        before = plane.cut(
            (rows, columns), frame["corner"], frame["along_column"], frame["along_row"]
        )
        sheet[top : top + rows, left : left + columns][before] = black
    _put_back(dataset, pixels)
    return True


def _pixels(dataset: Dataset) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return np.array(dataset.pixel_array)
    except MemoryError:
        raise
    except Exception as error:  # decoders raise many kinds, with header texts in them
        raise BadInput("The pixels cannot be decoded, so no face can be cut off") from error


def _frames_of(dataset: Dataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _black(dataset: Dataset, pixels: np.ndarray) -> Any:
    if str(dataset.get("PhotometricInterpretation")) == "MONOCHROME1":
        return pixels.max()
    return min(pixels.dtype.type(0), pixels.min())


def _put_back(dataset: Dataset, pixels: np.ndarray) -> None:
    from pydicom.dataelem import DataElement
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID

    if pixels.ndim == 4 or (pixels.ndim == 3 and _frames_of(dataset) == 1):
        dataset.PlanarConfiguration = 0
        if str(dataset.PhotometricInterpretation).startswith("YBR"):
            raise BadInput("A colour image like this one cannot be cut")
    vr = "OB" if pixels.itemsize == 1 else "OW"
    data = np.ascontiguousarray(pixels, pixels.dtype.newbyteorder("<")).tobytes()
    dataset.add(DataElement(0x7FE00010, vr, data + b"\0" * (len(data) % 2)))
    for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths"):
        if keyword in dataset:
            del dataset[keyword]
    if getattr(dataset, "file_meta", None) is None:
        dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(_EXPLICIT)
