"""Every window is tested as people see it: with the program's own look."""

from __future__ import annotations

import pytest

from app.windows import theme
from imaging.deidentify import key as keys


@pytest.fixture(autouse=True)
def _own_look(qapp) -> None:
    if not qapp.styleSheet():
        theme.apply(qapp)


@pytest.fixture
def fixed_key(tmp_path_factory, monkeypatch) -> None:
    """One key for pseudonyms, so that file names are known; nobody's own is made or used."""
    path = tmp_path_factory.mktemp("key") / "key.json"
    path.write_text(f'{{"secret": "{"5a" * 32}"}}')
    monkeypatch.setattr(keys, "default_key_path", lambda: path)
