"""Stored values through a lookup table of their file: modality tables and colour palettes.

Called in a worker process: pydicom reads the tables.

Source: DICOM PS3.3 C.11.1 (modality LUT) and C.7.6.3.1.5 (palette colour).
"""

from __future__ import annotations

import numpy as np

from imaging.dicom.header.read import open_data, read_header, read_sequences
from imaging.dicom.header.tags import MODALITY_LUT
from imaging.errors import BadInput
from imaging.series import Frame

_PALETTE_TAGS = tuple(
    0x00280000 | element
    for element in (0x1101, 0x1102, 0x1103, 0x1201, 0x1202, 0x1203, 0x1221, 0x1222, 0x1223)
)
_PIXEL_TAGS = (0x00280002, 0x00280004, 0x00280100, 0x00280101, 0x00280103)


def looked_up(pixels: np.ndarray, frame: Frame) -> np.ndarray:
    """Values behind the table, uint16, shape (rows, columns).

    Parameters
    ----------
    pixels : ndarray, shape (rows, columns)
        Stored values.
    frame : Frame
        Its encoding says which table counts.

    Raises
    ------
    BadInput
        Where the table is damaged.
    """
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut

    header = read_header(frame.file)
    tags = (MODALITY_LUT,) if frame.encoding.lookup == "modality" else _PALETTE_TAGS
    try:
        with open_data(header) as source:
            data = read_sequences(header, source, (*tags, *_PIXEL_TAGS))
        if frame.encoding.lookup == "modality":
            values = apply_modality_lut(pixels, data)
        else:
            colours = apply_color_lut(pixels, data)[..., :3].astype(np.float32)
            values = np.rint(colours @ np.array([0.299, 0.587, 0.114], np.float32))
    except MemoryError:
        raise
    except Exception:  # pydicom raises many kinds on damaged tables
        raise BadInput("The lookup table of the image is damaged", frame.file) from None
    if values.shape != pixels.shape:
        raise BadInput("The lookup table of the image is damaged", frame.file)
    return np.clip(values, 0, 0xFFFF).astype(np.uint16)
