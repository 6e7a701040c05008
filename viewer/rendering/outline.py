"""The edges of labels as pixels. numpy only."""

from __future__ import annotations

import numpy as np


def outlined(labels: np.ndarray, thickness: int = 1) -> np.ndarray:
    """Keep only those labelled pixels that touch another label or background.

    Parameters
    ----------
    labels : ndarray, shape (rows, columns)
        uint8 label numbers; beyond the border they go on as at the border, so that a mask cut
        off by the picture has no false edge.
    thickness : int
        Width of the edge in pixels, inwards.

    Returns
    -------
    ndarray, shape (rows, columns)
        uint8; 0 where there is no edge.
    """
    edge = np.zeros(labels.shape, bool)
    for shift in range(1, thickness + 1):
        down = labels[shift:] ^ labels[:-shift]
        across = labels[:, shift:] ^ labels[:, :-shift]
        edge[shift:] |= down.view(bool) if down.dtype == bool else down != 0
        edge[:-shift] |= down != 0
        edge[:, shift:] |= across != 0
        edge[:, :-shift] |= across != 0
    return np.where(edge, labels, np.uint8(0))


def enlarged(
    labels: np.ndarray, picture: tuple[float, float, float, float], size: tuple[int, int]
) -> np.ndarray:
    """Look up labels at the pixels of a view, so that edges are as thin as the screen allows.

    Parameters
    ----------
    labels : ndarray, shape (rows, columns)
        Label numbers of the slice picture.
    picture : tuple of float
        Left, top, width, height of the slice picture in the view, in device pixels.
    size : tuple of int
        Width and height of the view in device pixels.

    Returns
    -------
    ndarray, shape (height, width)
        Labels under the pixels of the view; 0 beside the picture.
    """
    left, top, width, height = picture
    columns = _lookup(size[0], left, width, labels.shape[1])
    rows = _lookup(size[1], top, height, labels.shape[0])
    result = labels[np.clip(rows, 0, labels.shape[0] - 1)]
    result = np.take(result, np.clip(columns, 0, labels.shape[1] - 1), axis=1)
    result[(rows < 0) | (rows >= labels.shape[0])] = 0
    result[:, (columns < 0) | (columns >= labels.shape[1])] = 0
    return result


def _lookup(pixels: int, start: float, length: float, count: int) -> np.ndarray:
    centres = np.arange(pixels) + 0.5
    return np.floor((centres - start) / length * count).astype(np.intp)
