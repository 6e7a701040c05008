"""Numbers to colours by table: window and level, labels, maps. numpy only.

A colour is one uint32 as Qt's ``Format_ARGB32_Premultiplied`` has it: alpha, red, green, blue from
the highest byte to the lowest, the three colours already multiplied by alpha.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from imaging.segmentation import PALETTE
from imaging.volume import Window
from viewer.state.colour_tables import colours
from viewer.state.slice_plan import MapLayer, MaskLayer

#: A map value is looked up with so many steps between 0 and 1.
MAP_STEPS = 1024


def premultiplied(rgb: np.ndarray, alpha: np.ndarray | float) -> np.ndarray:
    """Colours of shape (n, 3), 0 to 255, and alpha (n,) in 0 to 1 as uint32 of shape (n,)."""
    alpha = np.broadcast_to(np.asarray(alpha, dtype=float), rgb.shape[:1])
    parts = np.round(rgb * alpha[:, None]).astype(np.uint32)
    opaque = np.round(alpha * 255.0).astype(np.uint32)
    return (opaque << 24) | (parts[:, 0] << 16) | (parts[:, 1] << 8) | parts[:, 2]


@lru_cache(maxsize=8)
def window_table(
    dtype: np.dtype, slope: float, intercept: float, window: Window, inverted: bool
) -> np.ndarray:
    """For every stored value of an 8- or 16-bit type the opaque grey it is shown with.

    Returns
    -------
    ndarray, shape (256,) or (65536,)
        uint32 colours; the index is the stored value's bits read as an unsigned number.
    """
    unsigned = np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
    stored = unsigned.view(dtype.newbyteorder("="))
    return opaque_grey(shade(stored, slope, intercept, window, inverted))


def opaque_grey(grey: np.ndarray) -> np.ndarray:
    """uint8 grey as opaque uint32 colours, same shape."""
    return grey.astype(np.uint32) * np.uint32(0x010101) + np.uint32(0xFF000000)


def shade(
    stored: np.ndarray, slope: float, intercept: float, window: Window, inverted: bool
) -> np.ndarray:
    """The grey of stored values of any type, by arithmetic; uint8, same shape.

    Linear between ``window.low`` and ``window.high`` (LINEAR_EXACT).

    Source: DICOM PS3.3 C.11.2.1.3.2.
    """
    scale = 255.0 / max(window.width, 1e-30)
    grey = np.multiply(stored, np.float32(slope * scale), dtype=np.float32)
    grey += np.float32((intercept - window.low) * scale + 0.5)
    if not np.isfinite(grey).all():
        np.nan_to_num(grey, copy=False, nan=0.0, posinf=255.0, neginf=0.0)
    np.clip(grey, 0.0, 255.0, out=grey)
    result = grey.astype(np.uint8)
    return np.subtract(255, result, out=result) if inverted else result


def mask_table(layer: MaskLayer) -> np.ndarray:
    """For every label number its colour in the layer; uint32, shape (256,), 0 is transparent.

    A number without a segment gets a palette colour: a marked voxel is never invisible.
    """
    return _mask_table(layer._replace(cut=None, item_id=""))


@lru_cache(maxsize=32)
def _mask_table(layer: MaskLayer) -> np.ndarray:
    rgb = np.array([PALETTE[(n - 1) % len(PALETTE)] for n in range(256)], dtype=float)
    for number, colour in layer.colours:
        rgb[number] = colour
    alpha = np.full(256, 1.0 if layer.outline else layer.opacity)
    alpha[[0, *layer.hidden]] = 0.0
    return premultiplied(rgb, alpha)


def map_table(layer: MapLayer) -> np.ndarray:
    """For every step of a map value its colour; uint32, shape (MAP_STEPS,).

    Below ``layer.low`` nothing is drawn, above ``layer.high`` the last colour.
    """
    return _map_table(layer._replace(cut=None, item_id=""))


@lru_cache(maxsize=16)
def _map_table(layer: MapLayer) -> np.ndarray:
    values = np.arange(MAP_STEPS) / (MAP_STEPS - 1)
    table = colours(layer.colour_table)
    place = np.clip((values - layer.low) / max(layer.high - layer.low, 1e-6), 0.0, 1.0)
    rgb = table[np.round(place * (len(table) - 1)).astype(int)].astype(float)
    return premultiplied(rgb, np.where(values >= layer.low, layer.opacity, 0.0))
