"""Looks for letters in pixels with ``tesseract``, where it is installed; only ever a warning.

Of a name drawn into a slice most is found when the slice is enlarged three times, and nothing in a
clean slice (measured); but what it does not find may still be there.
"""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

ENLARGED = 3
SECONDS = 20.0
_SURE = 60.0
_LETTERS = 4


def can_look() -> bool:
    """True where tesseract is installed."""
    return shutil.which("tesseract") is not None


def seems_written_on(picture: np.ndarray) -> bool:
    """True where tesseract is sure of some words in a grey picture.

    Parameters
    ----------
    picture : ndarray, shape (rows, columns)
    """
    program = shutil.which("tesseract")
    if program is None:
        return False
    low, high = (float(v) for v in np.percentile(picture, (1, 99.9)))
    grey = np.clip((picture - low) / max(high - low, 1e-9), 0, 1) * 255
    large = np.kron(grey.astype(np.uint8), np.ones((ENLARGED, ENLARGED), np.uint8))
    image = f"P5 {large.shape[1]} {large.shape[0]} 255\n".encode() + large.tobytes()
    try:
        done = subprocess.run(
            [program, "stdin", "stdout", "--psm", "11", "tsv"],
            input=image,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return False
    return _letters(done.stdout.decode("utf-8", "replace")) >= _LETTERS


def middle_picture(dataset: Dataset) -> np.ndarray | None:
    """The middle frame as grey values; None where the pixels cannot be read."""
    try:
        pixels = np.asarray(dataset.pixel_array, np.float32)
    except (ValueError, TypeError, AttributeError, RuntimeError, NotImplementedError, KeyError):
        return None
    if int(dataset.get("SamplesPerPixel") or 1) > 1:
        pixels = pixels.mean(axis=-1)
    return pixels[len(pixels) // 2] if pixels.ndim == 3 else pixels


def _letters(table: str) -> int:
    """Letters and digits of the words it is sure of."""
    count = 0
    for line in table.splitlines()[1:]:
        cells = line.split("\t")
        try:
            sure = float(cells[10])
        except (IndexError, ValueError):
            continue
        word = [c for c in cells[-1] if c.isalnum()]
        if sure >= _SURE and len(word) > 1:
            count += len(word)
    return count
