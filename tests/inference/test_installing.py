"""A new model reaches the user's folder whole, once, and never in the place of another."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from imaging.errors import BadInput
from inference.installing import install_model
from inference.registry import installed_models, shipped_folder


@pytest.fixture
def package(tmp_path) -> Path:
    """The shipped model under another name, with something that is no part of a model."""
    folder = tmp_path / "package"
    shutil.copytree(shipped_folder() / "flair-wml", folder, ignore=shutil.ignore_patterns("folds"))
    card = folder / "card.toml"
    text = card.read_text(encoding="utf-8")
    card.write_text(text.replace('id = "flair-wml"', 'id = "mine"', 1), encoding="utf-8")
    (folder / "run.py").write_text("print('never run')")
    return folder


def test_it_is_listed_and_only_data_came_along(package, tmp_path) -> None:
    root = tmp_path / "models"
    made = install_model(package, root)
    assert made.card.id == "mine"
    assert made.available
    assert [model.card.id for model in installed_models([root])] == ["mine"]
    assert sorted(p.name for p in made.folder.iterdir()) == ["card.toml", "model.safetensors"]
    assert [p.name for p in root.iterdir()] == ["mine"]


def test_nothing_is_overwritten(package, tmp_path) -> None:
    install_model(package, tmp_path / "models")
    with pytest.raises(BadInput, match="installed already"):
        install_model(package, tmp_path / "models")


def test_a_shipped_id_is_taken(tmp_path) -> None:
    with pytest.raises(BadInput, match="installed already"):
        install_model(shipped_folder() / "flair-wml", tmp_path / "models")


def test_spoiled_weights_are_refused_and_leave_nothing(package, tmp_path) -> None:
    weights = package / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(BadInput, match="not the ones"):
        install_model(package, tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_what_no_code_of_this_program_runs_is_refused(package, tmp_path) -> None:
    card = package / "card.toml"
    text = card.read_text(encoding="utf-8").replace('architecture = "unet"', 'architecture = "x"')
    card.write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match="cannot run this model"):
        install_model(package, tmp_path / "models")
