"""Settings survive a restart, damage, older and newer programs."""

from __future__ import annotations

import json
import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.settings import MAX_RECENT, Settings, load, save
from imaging.errors import WorldFailed


def test_without_a_file_the_defaults_hold(tmp_path) -> None:
    assert load(tmp_path / "settings.json") == (Settings(), "")


@given(
    recent=st.lists(st.text(), max_size=MAX_RECENT),
    keys=st.dictionaries(st.text(), st.text(), max_size=4),
    device=st.sampled_from(["auto", "cuda", "cpu"]),
    brush=st.floats(0.1, 100),
    presets=st.dictionaries(st.text(), st.tuples(st.floats(0, 1), st.floats(0.1, 1)), max_size=3),
)
def test_what_is_saved_is_read_back(tmp_path_factory, recent, keys, device, brush, presets) -> None:
    path = tmp_path_factory.mktemp("config") / "settings.json"
    settings = Settings(
        recent=tuple(recent), keys=keys, device=device, brush_mm=brush, presets=presets
    )
    save(settings, path)
    assert load(path) == (settings, "")


def test_the_folder_is_made(tmp_path) -> None:
    path = tmp_path / "new" / "folder" / "settings.json"
    save(Settings(annotator="A. Reader"), path)
    assert load(path)[0].annotator == "A. Reader"


def test_a_damaged_file_is_kept_aside_and_said(tmp_path) -> None:
    path = tmp_path / "settings.json"
    path.write_text("{ broken", encoding="utf-8")
    settings, problem = load(path)
    assert settings == Settings()
    assert "damaged" in problem
    assert (tmp_path / "settings.json.unreadable").read_text(encoding="utf-8") == "{ broken"


@pytest.mark.parametrize("content", ["[]", "3", "null", ""])
def test_something_else_than_a_table_is_damage(tmp_path, content) -> None:
    path = tmp_path / "settings.json"
    path.write_text(content, encoding="utf-8")
    assert load(path)[0] == Settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("device", "quantum"),
        ("brush_mm", "thick"),
        ("brush_mm", -3),
        ("explain", "yes"),
        ("recent", [1, 2]),
        ("presets", {"FLAIR": [0.5]}),
        ("keys", ["x"]),
    ],
)
def test_one_bad_value_costs_only_itself(tmp_path, name, value) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"version": 1, name: value, "annotator": "me"}), encoding="utf-8")
    settings, problem = load(path)
    assert getattr(settings, name) == getattr(Settings(), name)
    assert settings.annotator == "me"
    assert problem == ""


def test_values_of_a_newer_program_are_written_back(tmp_path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"version": 9, "hologram": [1, 2]}), encoding="utf-8")
    save(load(path)[0].but(device="cpu"), path)
    assert json.loads(path.read_text(encoding="utf-8"))["hologram"] == [1, 2]


def test_an_old_file_is_brought_up_to_date(tmp_path) -> None:
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"recent_studies": ["/a"]}), encoding="utf-8")
    assert load(path)[0].recent == ("/a",)


def test_recent_studies_are_newest_first_once_and_few() -> None:
    settings = Settings()
    for number in range(MAX_RECENT + 5):
        settings = settings.opened(f"/study/{number}")
    settings = settings.opened("/study/10")
    assert settings.recent[0] == "/study/10"
    assert len(set(settings.recent)) == len(settings.recent) == MAX_RECENT
    assert "/study/10" not in settings.forgot("/study/10").recent


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_a_sentence(tmp_path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(WorldFailed, match="not allowed"):
        save(Settings(), tmp_path / "settings.json")


def test_a_folder_that_is_a_file_is_a_sentence(tmp_path) -> None:
    (tmp_path / "config").write_text("I am a file", encoding="utf-8")
    with pytest.raises(WorldFailed, match="folder"):
        save(Settings(), tmp_path / "config" / "settings.json")
    assert (tmp_path / "config").read_text(encoding="utf-8") == "I am a file"


def test_a_run_explains_only_where_it_was_asked_to(tmp_path) -> None:
    assert Settings().explain is False
    path = tmp_path / "settings.json"
    save(Settings(explain=True), path)
    assert load(path)[0].explain is True
