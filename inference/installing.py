"""Puts a model package (a folder with a card and weights) into the user's model folder.

Only the card and the weights it names are copied; whatever else lies in the package stays behind.
The model is whole in its place or not there at all, and nothing is overwritten.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from imaging.errors import BadInput, WorldFailed
from inference.model import CARD_NAME, availability, check_weights, load_card
from inference.registry import PLUGINS, InstalledModel, installed_models, user_folder


def install_model(package: Path, root: Path | None = None) -> InstalledModel:
    """Copy a package into ``root`` (by default the user's model folder).

    Raises
    ------
    BadInput
        Where it is no model of this program, its weights are not those of its card, or a model
        with this id is installed already.
    WorldFailed
        Where the folder refuses.
    """
    card = load_card(package)
    if card.architecture.partition(":")[0] not in {name.partition(":")[0] for name in PLUGINS}:
        raise BadInput(
            "This version of Isocenter cannot run this model", card.architecture, "Update Isocenter"
        )
    weights = check_weights(card, package)
    root = root or user_folder()
    known = {model.card.id for model in installed_models()}
    if card.id in known or (root / card.id).exists():
        raise BadInput(
            "A model with this id is installed already",
            card.id,
            "Give the new one another id on its card",
        )
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".coming-", dir=root) as aside:
            coming = Path(aside) / card.id
            coming.mkdir()
            for path in (package / CARD_NAME, weights):
                shutil.copyfile(path, coming / path.name)
            check_weights(card, coming)
            coming.rename(root / card.id)
    except OSError as error:
        raise WorldFailed("The model folder refuses the new model", str(root)) from error
    return InstalledModel(card, root / card.id, *availability(card, root / card.id))
