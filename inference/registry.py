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
from imaging.volume import Volume
from inference.model import CARD_NAME, ModelCard, availability, load_card

#: Architecture named on a card (what stands before a colon) -> the class that runs it, as
#: ``"module:name"``.
PLUGINS: dict[str, str] = {
    "unet": "inference.plugins.flair_wml:FlairLesions",
}

#: An image with thicker slices than this (mm) is not volumetric enough to trust small findings.
THICK_SLICE_MM = 3.5
#: An image that covers less than this (mm) along an axis does not show a head.
SMALL_EXTENT_MM = 60.0

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


def suitable(card: ModelCard, volume: Volume) -> tuple[bool, str]:
    """Whether a volume looks like what the model was made for.

    Returns
    -------
    ok : bool
        False asks the UI to show the sentence before it runs; it may still be run.
    sentence : str
        What fits or what does not.
    """
    doubts = [*_sequence_doubt(card, volume), *_grid_doubts(volume)]
    if doubts:
        return False, " ".join(doubts)
    wanted = " and ".join(need.sequence for need in card.inputs if need.required)
    return True, f"Looks like the {wanted} image this model expects."


def _sequence_doubt(card: ModelCard, volume: Volume) -> list[str]:
    wanted = [need.sequence for need in card.inputs if need.required]
    guess = volume.source.sequence
    if volume.source.modality not in ("MR", ""):
        return [f"This is not an MR image ({volume.source.modality})."]
    if not guess:
        return [f"The kind of sequence is not known; the model was made for {wanted[0]}."]
    if guess.upper() not in {w.upper() for w in wanted}:
        return [f"This looks like {guess}, but the model was made for {wanted[0]}."]
    return []


def _grid_doubts(volume: Volume) -> list[str]:
    spacing = (volume.geometry.slice_mm, *volume.geometry.spacing[1:])
    extents = [s * n for s, n in zip(spacing, volume.geometry.shape, strict=True)]
    doubts = []
    if min(extents) < SMALL_EXTENT_MM:
        doubts.append(f"The image covers only {min(extents):.0f} mm along one axis.")
    if max(spacing) > THICK_SLICE_MM:
        doubts.append(f"Its slices are {max(spacing):.1f} mm apart; small lesions may be missed.")
    return doubts
