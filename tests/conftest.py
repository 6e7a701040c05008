"""What every test may use: the shared real data, and Qt without a screen."""

from __future__ import annotations

import gc
import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
if os.environ["QT_QPA_PLATFORM"] == "offscreen":
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

#: Python's own collector might end a Qt object in another thread; see app/collector.py.
gc.disable()
_COLLECT_EVERY = 40
_TESTS = itertools.count(1)

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real MRI beside the project; the test is skipped where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real data folder ../shared/data is not here")
    return SHARED_DATA


@pytest.fixture(autouse=True)
def _collect_here() -> Iterator[None]:
    """Garbage goes between tests, on the main thread."""
    yield
    if next(_TESTS) % _COLLECT_EVERY == 0:
        gc.collect()
