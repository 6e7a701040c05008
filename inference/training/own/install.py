"""A package into the user's folder of models. Knows no torch, so the window may use it."""

from __future__ import annotations

import shutil
from pathlib import Path

from imaging.errors import BadInput, WorldFailed
from inference.card_reading import load_card
from inference.model import CARD_NAME
from inference.registry import InstalledModel, installed_models, user_folder
from inference.weights import check_weights

__all__ = ["install_package"]


def install_package(package: Path, into: Path | None = None) -> InstalledModel:
    """Copy a package where the program finds it; older models stay as they are.

    Parameters
    ----------
    package : Path
        Folder with card and weights.
    into : Path, optional
        The user's folder of models by default.

    Raises
    ------
    BadInput
        Where it is no whole package, or its id is taken.
    WorldFailed
        Where the disk refuses.
    """
    card = load_card(package)
    weights = check_weights(card, package)
    root = into or user_folder()
    target = root / card.id
    if target.exists() or any(m.card.id == card.id for m in installed_models()):
        raise BadInput(
            "A model with this id is installed already", card.id,
            "Train again with another --id, or remove the old one first",
        )  # fmt: skip
    aside = root / f".{card.id}.part"
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        shutil.copyfile(package / CARD_NAME, aside / CARD_NAME)
        shutil.copyfile(weights, aside / weights.name)
        check_weights(card, aside)
        aside.rename(target)
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WorldFailed(f"The model cannot be installed ({reason})", str(root)) from error
    return InstalledModel(load_card(target), target)
