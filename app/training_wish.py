"""What the user wants trained, and how that reads on the command line of ``isocenter train``."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path

#: Key on the command line, words for people, one line what it is.
NETWORKS = (
    ("basic-unet", "U-Net", "The usual choice: five scales, few weights, learns from few cases"),
    ("unet", "Small U-Net", "Begins at half resolution: five times faster on a CPU; 3D only"),
    ("attention-unet", "Attention U-Net", "A U-Net that learns where to look; a little slower"),
    ("residual", "Residual encoder", "Deeper, for 30 cases and more; slower"),
    ("resnet", "3D ResNet (yes or no)", "Says whether something is there, draws nothing"),
    ("densenet", "3D DenseNet (yes or no)", "Says whether something is there, draws nothing"),
)
LOSSES = (
    ("dice-ce", "Dice and cross-entropy", "The usual choice"),
    ("focal", "Focal", "Where few voxels are hard"),
    ("tversky", "Tversky", "Where missing a small lesion is worse than marking too much"),
)
DIMENSIONS = (
    ("3", "3D", "Blocks of the volume: thin slices"),
    ("2.5", "2.5D", "A slice and its neighbours: thick slices"),
)
#: Networks that see blocks only.
ONLY_3D = frozenset({"unet", "resnet", "densenet"})
#: Networks that say yes or no and draw nothing.
CLASSIFIERS = frozenset({"resnet", "densenet"})
#: The file of a training that says what was wanted.
CHOICES_NAME = "choices.json"
FEW = 20  #: so many cases at most are few enough for adapting an installed model


@dataclass(frozen=True)
class TrainingWish:
    """Everything a training needs.

    Parameters
    ----------
    cases : Path
        A list (CSV) or a folder of images with their masks.
    out : Path
        Folder of checkpoints, log, report and package.
    minutes : int
        How long the training itself may take, all folds together.
    start_from : str
        Id of the installed model whose weights it starts from; empty for random ones.
    few_shot : bool
        Adapt only the last layers of ``start_from``.
    resume : bool
        Go on from the checkpoint in ``out``.
    """

    cases: Path
    out: Path
    network: str = "basic-unet"
    dimensions: str = "3"
    folds: int = 5
    loss: str = "dice-ce"
    minutes: int = 60
    seed: int = 0
    start_from: str = ""
    few_shot: bool = False
    resume: bool = False

    def arguments(self, check_only: bool = False) -> list[str]:
        """The words after ``isocenter``."""
        words = ["train", "--json", "--cases", str(self.cases), "--out", str(self.out)]
        if check_only:
            return [*words, "--check"]
        if self.start_from:
            words += ["--from", self.start_from]
        if self.few_shot:
            words += ["--few-shot"]
        else:
            words += ["--network", self.network, "--dims", self.dimensions]
            words += ["--folds", str(self.folds), "--loss", self.loss]
        words += ["--minutes", str(self.minutes), "--seed", str(self.seed)]
        return [*words, "--resume"] if self.resume else words


def own_command() -> list[str]:
    """How this program starts itself without a window."""
    if getattr(sys, "frozen", False):
        return [sys.executable]
    return [sys.executable, "-m", "app"]


def holds_training(out: Path) -> bool:
    """Whether a training was begun in this folder: a new one needs another folder."""
    return (out / CHOICES_NAME).is_file()


def stored_wish(out: Path) -> TrainingWish | None:
    """What was wanted of the training in a folder, to go on with it; None where that is not known.

    It is only read as plain values; the training itself compares and refuses what differs.
    """
    try:
        table = json.loads((out / CHOICES_NAME).read_text(encoding="utf-8"))
        if not float(table["minutes"]) > 0:
            return None  # begun by steps, on the command line
        return TrainingWish(
            cases=Path(str(table["cases"])),
            out=out,
            network=str(table["network"]),
            dimensions=str(table["dims"]),
            folds=int(table["folds"]),
            loss=str(table["loss"]),
            minutes=max(1, round(float(table["minutes"]))),
            seed=int(table["seed"]),
            start_from=str(table["start_from"]),
            few_shot=table["few_shot"] is True,
            resume=True,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
