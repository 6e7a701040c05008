"""What every test may use: the shared real data, and Qt without a screen."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
if os.environ["QT_QPA_PLATFORM"] == "offscreen":
    os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real MRI beside the project; the test is skipped where it is missing."""
    if not SHARED_DATA.is_dir():
        pytest.skip("real data folder ../shared/data is not here")
    return SHARED_DATA
