"""What a training is to do: every choice in one frozen value, written beside its results."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from imaging.errors import BadInput
from inference.card_reading import ID, ID_WORDS
from inference.model import LESIONS, ModelCard
from inference.training.own.files import read_table, write_text

__all__ = [
    "LOSSES",
    "OPTIMISERS",
    "RECIPES",
    "Choices",
    "Recipe",
    "can_learn_on",
    "few_shot_folds",
    "keep_choices",
]

LOSSES = ("dice-ce", "focal", "tversky")
OPTIMISERS = ("adamw", "sgd")
DEVICES = ("auto", "cuda", "cpu")
CHOICES_NAME = "choices.json"
#: What the main image is taken for where neither headers nor pixels say it.
USUAL_SEQUENCE = "FLAIR"


@dataclass(frozen=True)
class Recipe:
    """A network and how it is trained.

    Parameters
    ----------
    architecture : str
        As on a card.
    arguments : mapping
        Without ``inputs``, ``outputs`` and ``dims``.
    spacing_mm, multiple
        The grid, as on a card.
    patch : int
        Edge in voxels of what is learned from at once (a classifier sees the whole image).
    batch : int
    rate : float
        Learning rate of AdamW; SGD takes five times as much.
    classifies : bool
    """

    architecture: str
    arguments: Mapping[str, Any]
    spacing_mm: float = 1.0
    multiple: int = 16
    patch: int = 64
    batch: int = 2
    rate: float = 2e-3
    classifies: bool = False


#: Sizes that train on an ordinary computer; none is larger than 20 MB as a package.
RECIPES: dict[str, Recipe] = {
    "unet": Recipe("unet", {"channels": [16, 32, 64, 96], "thin": 8}),
    "basic-unet": Recipe("monai:BasicUNet", {"features": [8, 16, 32, 64, 96, 8]}),
    "attention-unet": Recipe(
        "monai:AttentionUnet", {"channels": [8, 16, 32, 64, 96], "strides": [2, 2, 2, 2]}
    ),
    "residual": Recipe(
        "monai:SegResNet", {"init_filters": 8, "blocks_down": [1, 2, 2, 4], "blocks_up": [1, 1, 1]}
    ),
    "resnet": Recipe(
        "monai:ResNet",
        {
            "block": "basic",
            "layers": [1, 1, 1, 1],
            "block_inplanes": [16, 32, 64, 128],
            "conv1_t_stride": 2,
            "no_max_pool": True,
        },
        spacing_mm=3.0,
        rate=1e-3,
        batch=4,
        classifies=True,
    ),
    "densenet": Recipe(
        "monai:DenseNet121",
        {"init_features": 16, "growth_rate": 8},
        spacing_mm=3.0,
        rate=1e-3,
        batch=4,
        classifies=True,
    ),
}
#: Slices that a network of planes sees at once: the one it marks and its neighbours.
SLICES = 3


@dataclass(frozen=True)
class Choices:
    """Everything that decides a training besides the cases.

    Parameters
    ----------
    cases : str
        CSV file or folder.
    out : str
        Folder of the results; made if missing.
    network : str
        Key of :data:`RECIPES`.
    dims : str
        ``"3"``, or ``"2.5"``: axial planes with their neighbours.
    folds : int
        Of the cross-validation by patient; 0 for none (then the report has no figures).
    steps, minutes
        Of all runs together for ``minutes``, of each for ``steps``; the one that is not 0 counts.
        With steps the same seed gives the same weights.
    sequence : str
        Of the main image; empty: as headers and pixels say.
    start_from : str
        Id or folder of a model, or the folder of a pretraining.
    few_shot : bool
        Adapt ``start_from`` a little instead of training all of it.
    held_out : str
        Further cases that only judge.
    label : int
        Value of the mask that counts; 0: every value but 0.
    changes : mapping
        Replaces fields of the recipe (the tests train small ones).
    """

    cases: str
    out: str
    network: str = "basic-unet"
    dims: str = "3"
    folds: int = 5
    loss: str = "dice-ce"
    optimiser: str = "adamw"
    steps: int = 0
    minutes: float = 0.0
    seed: int = 0
    sequence: str = ""
    start_from: str = ""
    few_shot: bool = False
    held_out: str = ""
    label: int = 0
    device: str = "auto"
    threads: int = 0
    id: str = ""
    name: str = ""
    changes: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        rules = (
            (self.network in RECIPES, f"The network must be one of {', '.join(RECIPES)}"),
            (self.dims in ("3", "2.5"), "The dimensions must be 3 or 2.5"),
            (self.folds == 0 or 2 <= self.folds <= 50, "There must be 0 or 2 to 50 folds"),
            (self.loss in LOSSES, f"The loss must be one of {', '.join(LOSSES)}"),
            (self.optimiser in OPTIMISERS, f"The optimiser must be {' or '.join(OPTIMISERS)}"),
            (self.steps >= 0 and self.minutes >= 0, "Steps and minutes must not be negative"),
            (not self.few_shot or self.start_from, "Adapting needs a model to start from (--from)"),
            (
                not self.id or ID.fullmatch(self.id),
                f"The id of the new model must be {ID_WORDS} (--id)",
            ),
            (self.device in DEVICES, f"The device must be {', '.join(DEVICES[:-1])} or cpu"),
            (not self.folder.is_file(), "The results need a folder, this is a file"),
            (
                self.dims == "3" or self.architecture_of_planes,
                f"The network {self.network} has no form for planes (2.5)",
            ),
        )
        for right, sentence in rules:
            if not right:
                raise BadInput(sentence)

    @property
    def architecture_of_planes(self) -> bool:
        """Whether the chosen network can work on planes."""
        recipe = RECIPES[self.network]
        return recipe.architecture.startswith("monai:") and not recipe.classifies

    @property
    def recipe(self) -> Recipe:
        """The network and how it is trained."""
        return replace(RECIPES[self.network], **self.changes)

    @property
    def folder(self) -> Path:
        """Where everything goes."""
        return Path(self.out)

    @property
    def model_id(self) -> str:
        """Id of the package that this training makes."""
        if self.id:
            return self.id
        stem = re.sub(r"[^a-z0-9]+", "-", self.folder.resolve().name.lower()).strip("-")
        return f"own-{stem or 'model'}"

    def arguments(self, inputs: int) -> dict[str, Any]:
        """Of the network, as on a card."""
        recipe = self.recipe
        known = {**recipe.arguments, "inputs": inputs, "outputs": 1}
        if self.dims == "2.5":
            known |= {"dims": 2, "slices": SLICES}
        return known


def can_learn_on(card: ModelCard) -> bool:
    """Whether a training may start from a model: one network that marks one label."""
    one = len(card.labels) == 1 and int(card.arguments.get("outputs", 1)) == 1
    family = card.architecture.partition(":")[0]
    return card.kind == LESIONS and family in ("unet", "monai") and one and not card.members


def few_shot_folds(patients: int) -> int:
    """Folds of an adaptation: up to six patients each by itself, above that five groups."""
    return patients if patients <= 6 else 5


def keep_choices(choices: Choices, resume: bool) -> None:
    """Write the choices down, or compare them with those that were.

    Raises
    ------
    BadInput
        Where the folder already holds a training and this is not its continuation, or what was
        chosen for it cannot be read.
    """
    file = choices.folder / CHOICES_NAME
    wanted = json.loads(json.dumps(asdict(choices)))
    if not file.exists():
        choices.folder.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(wanted, indent=1))
        return
    if not resume:
        raise BadInput(
            "This folder already holds a training", str(choices.folder),
            "Add --resume to go on with it, or choose another folder",
        )  # fmt: skip
    known = read_table(file)
    passing = ("device", "threads", "out")
    differ = [key for key in wanted if key not in passing and known.get(key) != wanted[key]]
    if differ:
        raise BadInput(
            f"The training in this folder was started with another choice of {differ[0]}",
            str(choices.folder), "Use the same options to go on, or choose another folder",
        )  # fmt: skip
