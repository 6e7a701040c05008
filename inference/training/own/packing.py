"""A run becomes a package: weights as tensors, and a card that the run itself fills in."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from imaging.errors import BadInput, WorldFailed
from inference.card_reading import card_from_table
from inference.model import CARD_NAME, LESIONS, PRESENCE, ModelCard
from inference.training.own.choices import Choices
from inference.training.shared.card_text import as_toml

__all__ = ["card_of", "network_of", "new_card_table", "write_package"]

WEIGHTS = "model.safetensors"
#: Fixed before any figure was seen.
THRESHOLD = 0.5
MIN_VOLUME_MM3 = 5.0


def new_card_table(choices: Choices, sequence: str, optional: Sequence[str]) -> dict[str, Any]:
    """The card of a model that is still to be trained: everything but weights and figures.

    Parameters
    ----------
    sequence : str
        Of the main image.
    optional : sequence of str
        Further images that some cases have (``T1w``, ``T2w``).
    """
    recipe = choices.recipe
    answer = recipe.classifies
    name = choices.name or f"Own model ({choices.folder.resolve().name})"
    described = {sequence: f"The {sequence} of a head, like those it was trained on."}
    described |= {word: f"The {word} of the same session, if there is one." for word in optional}
    inputs = [
        {"name": word, "sequence": word, "required": word == sequence, "description": words}
        for word, words in described.items()
    ]
    label = "Finding present" if answer else "Lesion"
    return {
        "id": choices.model_id,
        "name": name,
        "version": "1.0.0",
        "kind": PRESENCE if answer else LESIONS,
        "summary": (
            "Says whether a head holds what its training cases showed."
            if answer
            else "Marks what was marked in its training cases."
        ),
        "intended_use": "A first draft on images like its training cases, to be checked by a "
        "reader. Research and teaching.",
        "not_for": "Diagnosis, treatment decisions or unchecked volumes; other sequences, scanners "
        "or diseases than those it was trained on.",
        "licence": "Made by you from your own cases; their terms apply",
        "authors": ["A training with own cases"],
        "inputs": inputs,
        "outputs": {
            "threshold": THRESHOLD,
            "min_component_voxels": max(1, round(MIN_VOLUME_MM3 / recipe.spacing_mm**3)),
            "labels": [{"number": 1, "name": label}],
        },
        "preprocess": {"spacing_mm": recipe.spacing_mm, "multiple": recipe.multiple},
        "network": {
            "architecture": recipe.architecture,
            "arguments": choices.arguments(len(inputs)),
        },
    }


def card_of(table: Mapping[str, Any]) -> ModelCard:
    """The card before it has weights."""
    return card_from_table({**table, "weights": {"file": WEIGHTS, "sha256": "0" * 64}})


def network_of(table: Mapping[str, Any]) -> nn.Module:
    """A fresh network as the card says."""
    from inference.plugins.monai_nets import PREFIX, build
    from inference.plugins.unet import UNet

    network = table["network"]
    arguments = dict(network["arguments"])
    if network["architecture"].startswith(PREFIX):
        arguments["inputs"] *= arguments.pop("slices", 1)
        made = build(network["architecture"], arguments)
    else:
        made = UNet(**arguments)
    _begin_with_rare(made)
    return made


def _begin_with_rare(network: nn.Module) -> None:
    """The last layer begins by saying that findings are rare; hundreds of steps are saved."""
    last = [m for m in network.modules() if isinstance(m, (nn.Conv2d, nn.Conv3d))][-1]
    if last.out_channels == 1 and last.bias is not None and last.kernel_size[0] == 1:
        nn.init.constant_(last.bias, -3.0)


def store_weights(network: nn.Module, file: Path) -> None:
    """Weights of a network of :func:`network_of`, as its plug-in reads them."""
    from inference.plugins.monai_nets import store
    from inference.plugins.unet import UNet, fold_batchnorm

    store(fold_batchnorm(network) if isinstance(network, UNet) else network, file)


def write_package(
    table: Mapping[str, Any],
    network: nn.Module,
    folder: Path,
    training: Mapping[str, Any],
    figures: Sequence[Mapping[str, Any]],
    limits: Sequence[str],
) -> Path:
    """Write card and weights into a folder; what was there before is replaced.

    Parameters
    ----------
    table : mapping
        From :func:`new_card_table`.
    training, figures, limits
        What the run knows about itself; see :class:`inference.model.ModelCard`.
    """
    aside = folder.with_name(folder.name + ".part")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    store_weights(network, aside / WEIGHTS)
    content = (aside / WEIGHTS).read_bytes()
    weights = {
        "file": WEIGHTS,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
    }
    card = {**table, "limits": list(limits), "weights": weights, "training": dict(training)}
    if figures:
        card["figures"] = list(figures)
    card_from_table(json.loads(json.dumps(card)), str(folder))  # refuse what could not be read
    (aside / CARD_NAME).write_text(as_toml(card), encoding="utf-8")
    _put_in_place(aside, folder)
    return folder


def _put_in_place(aside: Path, folder: Path) -> None:
    """The new package under its name; the one before is thrown away only then."""
    before = folder.with_name(folder.name + ".before")
    try:
        if folder.exists():
            shutil.rmtree(before, ignore_errors=True)
            folder.rename(before)
        try:
            aside.rename(folder)
        except OSError:
            if before.exists():
                before.rename(folder)
            raise
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise WorldFailed(f"The package cannot be written ({reason})", folder.name) from error
    shutil.rmtree(before, ignore_errors=True)


def check_free(id: str) -> None:
    """Refuse the id of a model that is installed: nothing old is ever replaced.

    Raises
    ------
    BadInput
        Where it is taken.
    """
    from inference.registry import installed_models

    if any(model.card.id == id for model in installed_models()):
        raise BadInput("A model with this id is installed already", id, "Choose another with --id")
