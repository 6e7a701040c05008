"""The model that a training starts from: an installed one, a package, or a pretraining."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from imaging.errors import BadInput
from inference.card_reading import load_card
from inference.model import CARD_NAME, ModelCard
from inference.training.own.choices import RECIPES, Choices, can_learn_on
from inference.weights import check_weights

__all__ = ["PRETRAINING", "Base", "fitted", "load_pretrained", "model_base"]

PRETRAINING = "pretraining.json"
ENCODER = "encoder.safetensors"
#: So much of a network's weights must come from the pretraining, else it was another network.
_MOST = 0.5


@dataclass(frozen=True)
class Base:
    """A model to start from.

    Parameters
    ----------
    table : dict
        Its card, as TOML gives it.
    """

    card: ModelCard
    folder: Path
    table: dict[str, Any]

    def network(self) -> nn.Module:
        """Its network with its weights, ready to learn on."""
        from safetensors.torch import load_file

        from inference.plugins.monai_nets import PREFIX, build
        from inference.plugins.unet import load_unet

        file = check_weights(self.card, self.folder)
        arguments = dict(self.card.arguments)
        if self.card.architecture.startswith(PREFIX):
            arguments.setdefault("inputs", len(self.card.inputs))
            arguments["inputs"] *= arguments.pop("slices", 1)
            network = build(self.card.architecture, arguments)
            state = load_file(str(file))
            network.load_state_dict(
                {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
            )
        else:
            network = load_unet(file, arguments)
        return network.requires_grad_(True)


def model_base(start: str) -> Base | None:
    """The model named by id or folder; None where the folder holds a pretraining.

    Raises
    ------
    BadInput
        Where there is no such model, or none that can go on learning.
    """
    from inference.registry import find_model

    folder = Path(start)
    if (folder / PRETRAINING).is_file():
        return None
    if not (folder / CARD_NAME).is_file():
        folder = find_model(start).folder
    card = load_card(folder)
    if not can_learn_on(card):
        raise BadInput(
            f"'{card.name}' cannot go on learning here", card.id,
            "Start from a model with one network that marks one label",
        )  # fmt: skip
    table = tomllib.loads((folder / CARD_NAME).read_text(encoding="utf-8"))
    return Base(card, folder, table)


def fitted(choices: Choices, base: Base) -> Choices:
    """Choices with the grid and network of the model to start from, and a calmer rate."""
    card = base.card
    changes = {
        "spacing_mm": card.spacing_mm,
        "multiple": card.multiple,
        "architecture": card.architecture,
        "rate": 1e-3,
        **choices.changes,
    }
    known = (name for name, recipe in RECIPES.items() if recipe.architecture == card.architecture)
    planes = card.arguments.get("dims", 3) == 2
    return replace(
        choices,
        changes=changes,
        network=next(known, "basic-unet"),
        dims="2.5" if planes else "3",
    )


def load_pretrained(network: nn.Module, folder: Path) -> float:
    """Put the weights of a pretraining into a network; the last layer stays fresh.

    Returns
    -------
    float
        Share of the network's weights that came from there.

    Raises
    ------
    BadInput
        Where they belong to another network.
    """
    from safetensors.torch import load_file

    try:
        facts = json.loads((folder / PRETRAINING).read_text(encoding="utf-8"))
        given = load_file(str(folder / ENCODER))
    except (OSError, ValueError) as error:
        raise BadInput("The pretraining cannot be read", str(folder)) from error
    state = network.state_dict()
    fitting = {
        name: value.float() if value.is_floating_point() else value
        for name, value in given.items()
        if name in state and state[name].shape == value.shape
    }
    share = sum(v.numel() for v in fitting.values()) / sum(v.numel() for v in state.values())
    if share < _MOST:
        raise BadInput(
            f"The pretraining was of the network {facts.get('network', '?')}, not of this one",
            folder.name, "Choose the same --network and --dims",
        )  # fmt: skip
    network.load_state_dict({**state, **fitting})
    return share
