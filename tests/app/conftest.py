"""Every window is tested as people see it: with the program's own look."""

from __future__ import annotations

import pytest

from app.windows import theme


@pytest.fixture(autouse=True)
def _own_look(qapp) -> None:
    if not qapp.styleSheet():
        theme.apply(qapp)
