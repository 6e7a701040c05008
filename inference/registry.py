"""Which models there are: every one as a card, a folder and a reason why it cannot run here.

Listing imports no plug-in and no torch. Models lie in two places: those shipped with the program
and those the user put into the data folder. A user's folder brings data only; the code that runs
it is always one of :data:`PLUGINS`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from imaging.errors import BadInput
from inference.card_reading import load_card
from inference.model import CARD_NAME, ModelCard
from inference.suitability import suitable
from inference.weights import availability

__all__ = [
    "PLUGINS",
    "InstalledModel",
    "find_model",
    "installed_models",
    "plugin_name",
    "shipped_folder",
    "suitable",
    "user_folder",
]

#: Architecture named on a card (what stands before a colon) -> the class that runs it, as
#: ``"module:name"``.
PLUGINS: dict[str, str] = {
    "unet": "inference.plugins.flair_wml:FlairLesions",
    "monai": "inference.plugins.monai_runner:make_runner",
    "planes": "inference.plugins.planes:Planes",
    "click": "inference.plugins.click:ClickNet",
    "ensemble": "inference.plugins.ensemble:Ensemble",
    "tissue": "inference.plugins.tissue:BrainTissue",
    "deviation": "inference.plugins.deviation:Deviation",
    "presence": "inference.plugins.presence:Presence",
}

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class InstalledModel:
    """A model that can be listed.

    Parameters
    ----------
    available : bool
        Whether it can run on this computer.
    reason : str
        Why not, as a sentence; empty where it can.
    """

    card: ModelCard
    folder: Path
    available: bool = True
    reason: str = ""


def shipped_folder() -> Path:
    """Where the program keeps its own models."""
    import resources

    return Path(next(iter(resources.__path__))) / "models"


def user_folder() -> Path:
    """Where the user may put further models (each in a folder of its own); need not exist."""
    import platformdirs

    return Path(platformdirs.user_data_dir("isocenter", appauthor=False)) / "models"


def installed_models(folders: Iterable[Path] | None = None) -> list[InstalledModel]:
    """Every model with a readable card, shipped ones first, each id once.

    Parameters
    ----------
    folders : iterable of Path, optional
        Folders that hold model folders; by default the shipped one and the user's.
    """
    found: dict[str, InstalledModel] = {}
    for root in folders if folders is not None else (shipped_folder(), user_folder()):
        for path in sorted(root.glob(f"*/{CARD_NAME}")):
            model = _listed(path.parent)
            if model is not None:
                found.setdefault(model.card.id, model)
    return list(found.values())


def find_model(id: str, folders: Iterable[Path] | None = None) -> InstalledModel:
    """The installed model with this id.

    Raises
    ------
    BadInput
        Where there is none; the sentence lists those there are.
    """
    models = installed_models(folders)
    for model in models:
        if model.card.id == id:
            return model
    known = ", ".join(m.card.id for m in models) or "none"
    raise BadInput("No model with this id is installed", id, f"Installed models: {known}")


def _listed(folder: Path) -> InstalledModel | None:
    try:
        card = load_card(folder)
    except BadInput as error:
        _log.warning("model left out: %s", error)
        return None
    if _family(card) not in PLUGINS:
        reason = f"This version of Isocenter does not know the architecture '{card.architecture}'."
        return InstalledModel(card, folder, False, reason)
    return InstalledModel(card, folder, *availability(card, folder))


def plugin_name(card: ModelCard) -> str:
    """``"module:name"`` of the class that runs a card; imports nothing.

    Raises
    ------
    BadInput
        Where this program has no such architecture.
    """
    try:
        return PLUGINS[_family(card)]
    except KeyError:
        raise BadInput(
            f"The architecture '{card.architecture}' is not part of this program", card.id
        ) from None


def _family(card: ModelCard) -> str:
    """The plug-in's key: ``"monai"`` of ``"monai:UNet"``, ``"unet"`` of ``"unet"``."""
    return card.architecture.partition(":")[0]
