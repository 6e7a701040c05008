"""The one door: any path the user drops becomes series, and any series a volume.

Read :func:`imaging.scanning.scan` first, then :func:`open_series`.
"""

from __future__ import annotations

import numpy as np

from imaging.dicom.stacks.load import DicomLoading, read_slice
from imaging.geometry import Geometry
from imaging.orientation import upright
from imaging.scanning import ScanResult, scan
from imaging.series import Loading, Series
from imaging.storage.grid_load import GridLoading, read_grid_slice
from imaging.volume import Volume, auto_window, filled_padding

__all__ = ["ScanResult", "load_series", "open_series", "scan", "thumbnail", "volume_thumbnail"]


def open_series(series: Series) -> Loading:
    """A volume at once (zeros) and the means to fill it.

    Raises
    ------
    BadInput
        Where the image would not fit into memory.
    """
    return DicomLoading(series) if series.kind == "dicom" else GridLoading(series)


def load_series(series: Series) -> Volume:
    """The whole volume of a series, for callers that have time.

    Raises
    ------
    BadInput
        Where the image cannot be read or would not fit into memory.
    """
    return open_series(series).load()


def thumbnail(series: Series, size: int = 96) -> np.ndarray:
    """A small picture of the middle slice with true proportions, in radiological convention.

    Parameters
    ----------
    series : Series
    size : int
        Longer edge in pixels.

    Returns
    -------
    ndarray of uint8, shape (h, w)
        0 is black.

    Raises
    ------
    BadInput
        Where the slice cannot be read.
    """
    middle = series.shape[0] // 2
    read = read_slice if series.kind == "dicom" else read_grid_slice
    inverted, padding = series.photometric == "MONOCHROME1", series.frames[0].encoding.padding
    picture = _picture(read(series, middle), _pixel_mm(series), size, inverted, padding)
    return np.ascontiguousarray(_upright(picture, series.geometry))


def volume_thumbnail(volume: Volume, size: int = 96) -> np.ndarray:
    """The same of a volume that is loaded; see :func:`thumbnail`."""
    middle = volume.voxels[volume.geometry.shape[0] // 2]
    pixel_mm = volume.geometry.spacing[1:]
    picture = _picture(middle, pixel_mm, size, volume.inverted, volume.padding)
    return np.ascontiguousarray(_upright(picture, volume.geometry))


def _picture(
    image: np.ndarray,
    pixel_mm: tuple[float, float],
    size: int,
    inverted: bool,
    padding: tuple[int, int] | None,
) -> np.ndarray:
    """A slice in grey, uint8, with true proportions."""
    image = filled_padding(image, padding, inverted)
    window = auto_window(image, inverted)
    image = np.nan_to_num(image.astype(np.float32), posinf=0.0, neginf=0.0)
    row_mm, column_mm = pixel_mm
    height, width = image.shape[0] * row_mm, image.shape[1] * column_mm
    scale = size / max(height, width)
    shape = max(1, round(height * scale)), max(1, round(width * scale))
    small = _resized(image, shape)
    grey = np.clip((small - window.low) / window.width, 0.0, 1.0)
    return np.rint((1.0 - grey if inverted else grey) * 255).astype(np.uint8)


def _upright(picture: np.ndarray, geometry: Geometry | None) -> np.ndarray:
    """Right on the left, front or head on top; as stored where nobody knows the place."""
    if geometry is None:
        return picture
    transposed, rows, columns = upright(geometry.directions)
    picture = picture.T if transposed else picture
    return picture[:: -1 if rows else 1, :: -1 if columns else 1]


def _pixel_mm(series: Series) -> tuple[float, float]:
    """Distance between rows and between columns; 1 mm where unknown."""
    if series.geometry is not None:
        return series.geometry.spacing[1:]
    return series.frames[0].spacing or (1.0, 1.0)


def _resized(image: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Block means where the picture shrinks, then linear interpolation."""
    for axis, target in enumerate(shape):
        image = np.moveaxis(image, axis, 0)
        block = max(1, len(image) // target)
        if block > 1:
            whole = image[: len(image) // block * block]
            image = whole.reshape(-1, block, image.shape[1]).mean(axis=1)
        at = (np.arange(target) + 0.5) * len(image) / target - 0.5
        at = np.clip(at, 0, len(image) - 1)
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, len(image) - 1)
        share = (at - low)[:, None]
        image = np.moveaxis(image[low] * (1 - share) + image[high] * share, 0, axis)
    return image
