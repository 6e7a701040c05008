"""Siemens mosaics: one file holds all slices of a volume as tiles of one sheet.

Source: the arithmetic of nibabel's ``MosaicWrapper`` (``nicom/dicomwrappers.py``), which agrees
with dcm2niix on real data.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace

import numpy as np

from imaging.dicom.header.tags import Header
from imaging.errors import BadInput
from imaging.series import Frame


def read_mosaic(header: Header, sheet: Frame) -> list[Frame]:
    """One record per tile; empty where the header does not describe a mosaic.

    Parameters
    ----------
    header : Header
        With the private Siemens elements.
    sheet : Frame
        The stored image with all tiles.

    Raises
    ------
    BadInput
        Where the sheet cannot be cut into the tiles that the header promises.
    """
    count, normal = _mosaic_layout(header)
    if count < 1 or not sheet.placed:
        return []
    across = math.ceil(math.sqrt(count))
    rows, columns = sheet.shape
    if rows % across or columns % across:
        raise BadInput(f"{count} tiles do not fit the mosaic of {columns} × {rows}", header.path)
    height, width = rows // across, columns // across
    axes = np.asarray(sheet.orientation, dtype=float).reshape(2, 3)
    row_mm, column_mm = sheet.spacing or (1.0, 1.0)
    first = np.asarray(sheet.position, dtype=float)
    first = (
        first + axes[1] * row_mm * (rows - height) / 2 + axes[0] * column_mm * (columns - width) / 2
    )
    if normal is None:
        normal = np.cross(axes[0], axes[1])
    step = normal * (sheet.thickness or 1.0)
    return [
        replace(
            sheet,
            shape=(height, width),
            tile=(tile // across * height, tile % across * width),
            position=tuple(float(v) for v in first + tile * step),
            kind=tuple(word for word in sheet.kind if word != "MOSAIC"),
        )
        for tile in range(count)
    ]


def _mosaic_layout(header: Header) -> tuple[int, np.ndarray | None]:
    """Number of tiles and the direction in which they are stacked (LPS)."""
    count, normal = header.integer(0x0019100A), None
    raw = header.values.get(0x00291010)
    if raw and header.text(0x00290010) == "SIEMENS CSA HEADER":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from nibabel.nicom import csareader

        try:
            csa = csareader.read(raw)
            count = csareader.get_n_mosaic(csa) or count
            vector = np.array(csareader.get_slice_normal(csa), dtype=float)
        except Exception:  # nibabel raises many kinds on damaged private data
            return 0, None
        if vector.shape == (3,) and np.linalg.norm(vector) > 0.5:
            normal = vector / np.linalg.norm(vector)
    return (count if count <= 4096 else 0), normal
