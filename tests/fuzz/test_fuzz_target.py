"""The fuzz target itself: whole files open, old findings stay mended, the watch sees an escape."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from seeds import SEEDS, make_seeds
from target import WATCH, Escaped, open_like_the_window

HERE = Path(__file__).resolve().parent

REGRESSIONS = sorted((HERE / "regressions").iterdir())


@pytest.fixture(scope="module")
def seeds(tmp_path_factory) -> dict[str, bytes]:
    made = make_seeds(tmp_path_factory.mktemp("seeds"))
    for data in made.values():
        open_like_the_window(data, watched=False)
    return made


@pytest.mark.parametrize("name", [name for name in SEEDS if name != "DICOMDIR"])
def test_whole_files_give_something(seeds, name: str) -> None:
    assert open_like_the_window(seeds[name]) >= 1


@pytest.mark.parametrize("finding", REGRESSIONS, ids=lambda file: file.name)
def test_what_was_found_once_is_mended(seeds, finding: Path) -> None:
    open_like_the_window(finding.read_bytes())


def test_a_file_beside_the_folder_is_seen(tmp_path: Path) -> None:
    inside, beside = tmp_path / "inside", tmp_path / "beside"
    inside.mkdir()
    with WATCH.only(str(inside)):
        (inside / "allowed").write_text("x")
    with pytest.raises(Escaped, match="beside"), WATCH.only(str(inside)):
        beside.write_text("x")


def test_a_new_program_is_seen(tmp_path: Path) -> None:
    import subprocess

    with pytest.raises(Escaped, match="Popen"), WATCH.only(str(tmp_path)):
        subprocess.run([sys.executable, "-c", ""], check=True)
