"""Whether the weights of a model are there and are the ones that its card was measured with."""

from __future__ import annotations

import hashlib
import importlib.util
from functools import lru_cache
from pathlib import Path

from imaging.errors import BadInput
from inference.card_reading import load_card
from inference.model import Member, ModelCard

__all__ = ["availability", "check_all_weights", "check_weights", "member_folder"]


def member_folder(folder: Path, member: Member) -> Path:
    """Where a member of an ensemble lies: beside the ensemble."""
    return folder.parent / member.id


def check_weights(card: ModelCard, folder: Path) -> Path:
    """The weights file, after its SHA-256 was compared with the card.

    Neither safetensors nor torch notices a flipped bit, so nothing parses the file before this.

    Raises
    ------
    BadInput
        Where the file is missing, unreadable or not the one the card describes.
    """
    path = folder / card.weights_file
    try:
        stat = path.stat()
        digest = _digest(str(path), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise BadInput(
            f"The weights of '{card.name}' are missing", str(path), "Install the model again"
        ) from error
    if digest != card.weights_sha256:
        raise BadInput(
            f"The weights of '{card.name}' are not the ones its card describes",
            str(path),
            "Install the model again",
        )
    return path


@lru_cache(maxsize=64)
def _digest(path: str, size: int, modified: int) -> str:
    """SHA-256 of a file; size and time of change are only part of the key."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def availability(card: ModelCard, folder: Path) -> tuple[bool, str]:
    """Whether the model can run here, and if not, why; imports no torch.

    Returns
    -------
    available : bool
    reason : str
        One sentence; empty where it can run.
    """
    for package in ("torch", "safetensors"):
        if importlib.util.find_spec(package) is None:
            return False, (
                f"The Python package '{package}' is not installed. "
                "Install Isocenter with its 'ai' extra."
            )
    try:
        check_all_weights(card, folder)
    except BadInput as error:
        return False, str(error)
    return True, ""


def check_all_weights(card: ModelCard, folder: Path) -> None:
    """Compare the weights of a model, or those of all members of an ensemble, with the cards.

    Raises
    ------
    BadInput
        Where one is missing or not the one that was measured.
    """
    if not card.members:
        check_weights(card, folder)
    for member in card.members:
        beside = member_folder(folder, member)
        other = load_card(beside)
        if other.weights_sha256 != member.sha256:
            raise BadInput(
                f"'{card.name}' was measured with another version of '{other.name}'",
                str(beside),
                "Install both models again",
            )
        if (other.kind, other.spacing_mm) != (card.kind, card.spacing_mm):
            raise BadInput(
                f"'{other.name}' cannot be a member of '{card.name}': it is of another kind "
                "or works on voxels of another size",
                str(beside),
            )
        if {need.name for need in other.required} - {need.name for need in card.required}:
            raise BadInput(
                f"'{other.name}' cannot be a member of '{card.name}': it needs other images",
                str(beside),
            )
        check_weights(other, beside)
