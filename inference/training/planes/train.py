"""Train the plane network: bright white-matter lesion and acute infarct on one FLAIR plane.

``python -m inference.training.planes.train --out DIR --cpu-minutes 35`` trains; ``--piece 6`` stops
after so many minutes on the clock and a new start with the same words goes on from the
checkpoint. The learning rate follows the share of the processor minutes already spent.

Which patients: `data`. Patients 07 and 19 are in nothing, so the weights that ship have
held-out figures; every fifth stroke patient (`data.is_test`) is held back.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from inference.plugins.unet import UNet, fold_batchnorm
from inference.training.planes.data import BANK_PATIENTS, plane_volumes
from inference.training.planes.synthesis import PlanePatch, PlaneSynthesiser, varied
from inference.training.shared.cases import lesion_bank
from inference.training.shared.learning import (
    average,
    descend,
    learning_mode,
    learning_state,
    set_rate,
    take_learning_state,
    write_checkpoint,
)

__all__ = ["PlaneTrainer", "Settings", "load_run", "plane_loss"]


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run besides the data.

    Of the ``batch`` patches of a step ``fresh`` are new, the others come from the last
    ``memory`` ones. From step ``settle`` on, batch normalisation keeps its averaged statistics.
    """

    channels: tuple[int, ...] = (24, 48, 80, 112, 128)
    thin: int = 12
    patch: tuple[int, int] = (128, 128)
    batch: int = 10
    fresh: int = 4
    memory: int = 400
    rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup: int = 80
    average: float = 0.997
    settle: int = 1500
    clip: float = 1.0
    seed: int = 0


def plane_loss(logits: torch.Tensor, label: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy plus soft Dice over the batch, mean of both outputs.

    Parameters
    ----------
    logits, label, weight : Tensor, shape (n, outputs, rows, columns)
        Pixels of weight 0 do not count.
    """
    axes = (0, 2, 3)
    entropy = functional.binary_cross_entropy_with_logits(logits, label, reduction="none")
    entropy = (entropy * weight).sum(axes) / weight.sum(axes).clamp(min=1.0)
    chance, truth = torch.sigmoid(logits) * weight, label * weight
    overlap = (2 * (chance * label).sum(axes) + 20) / (chance.sum(axes) + truth.sum(axes) + 20)
    return (2 * entropy + 1 - overlap).mean()


class PlaneTrainer:
    """One run: network, running average, optimiser, patches.

    Parameters
    ----------
    source : PlaneSynthesiser
        Where patches come from.
    settings : Settings
        Frozen choices.
    """

    def __init__(self, source: PlaneSynthesiser, settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        self.source, self.settings = source, settings
        network = UNet(1, 2, settings.channels, settings.thin, dims=2)
        torch.nn.init.constant_(network.head.bias, -3.0)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), settings.rate, weight_decay=settings.weight_decay
        )
        self.remembered: list[PlanePatch] = []
        self.steps = 0
        self.cpu_seconds = 0.0

    def step(self, progress: float) -> float:
        """Make a batch, learn from it, return the loss; ``progress`` (0 to 1) sets the rate."""
        settings = self.settings
        image, label, weight = _stack(self._patches())
        set_rate(self.optimiser, settings.rate, settings.warmup, self.steps, progress)
        learning_mode(self.network, self.averaged, self.steps, settings.settle)
        loss = plane_loss(self.network(image), label, weight)
        descend(loss, self.network, self.optimiser, settings.clip)
        self.steps += 1
        average(self.averaged, self.network, self.steps, self.settings.average)
        return float(loss.detach())

    def _patches(self) -> list[PlanePatch]:
        settings, rng = self.settings, self.source.rng
        new = [self.source.sample(settings.patch) for _ in range(settings.fresh)]
        old = self.remembered or new
        picks = rng.integers(0, len(old), settings.batch - settings.fresh)
        again = [varied(old[n], rng) for n in picks]
        self.remembered = (self.remembered + new)[-settings.memory :]
        return new + again

    def save(self, path: Path) -> None:
        """Write a checkpoint that is whole or not there."""
        state = {
            **learning_state(self.network, self.averaged, self.optimiser),
            "settings": json.dumps(asdict(self.settings)),
            "steps": self.steps,
            "cpu_seconds": self.cpu_seconds,
        }
        write_checkpoint(state, path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint (the random numbers start anew from seed and step)."""
        state = torch.load(path, weights_only=True)
        self.averaged = take_learning_state(state, self.network, self.optimiser)
        self.steps, self.cpu_seconds = state["steps"], state["cpu_seconds"]
        self.source.rng = np.random.default_rng([self.settings.seed, self.steps])


def _stack(patches: list[PlanePatch]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    image = torch.from_numpy(np.stack([p.image for p in patches])[:, None])
    label = torch.from_numpy(np.stack([p.label for p in patches]))
    weight = torch.from_numpy(np.stack([p.weight for p in patches]))
    return image.contiguous(memory_format=torch.channels_last), label, weight


def run(trainer: PlaneTrainer, out: Path, cpu_minutes: float, piece: float, steps: int) -> None:
    """Train until processor minutes, minutes on the clock or steps are used up."""
    out.mkdir(parents=True, exist_ok=True)
    started, cpu = time.monotonic(), time.process_time() - trainer.cpu_seconds
    saved, recent = started, []
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        while (
            trainer.cpu_seconds < 60 * cpu_minutes
            and trainer.steps < steps
            and time.monotonic() - started < 60 * piece
        ):
            recent.append(trainer.step(trainer.cpu_seconds / (60 * cpu_minutes)))
            trainer.cpu_seconds = time.process_time() - cpu
            if len(recent) == 20:
                line: dict[str, Any] = {"steps": trainer.steps}
                line |= {"loss": round(float(np.mean(recent)), 4)}
                print(
                    json.dumps(line | {"cpu_s": round(trainer.cpu_seconds)}), file=log, flush=True
                )
                recent.clear()
            if time.monotonic() - saved > 120:
                trainer.save(out / "checkpoint.pt")
                saved = time.monotonic()
    trainer.save(out / "checkpoint.pt")


def load_run(folder: Path) -> UNet:
    """Averaged and folded network of a run."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    settings = json.loads(state["settings"])
    network = UNet(1, 2, settings["channels"], settings["thin"], dims=2)
    network.load_state_dict(state["averaged"])
    folded = fold_batchnorm(network).requires_grad_(False)
    return folded.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cpu-minutes", type=float, default=35.0)
    parser.add_argument("--piece", type=float, default=1e9, help="minutes on the clock")
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    checkpoint = given.out / "checkpoint.pt"
    strokes, volumes = plane_volumes()
    source = PlaneSynthesiser(strokes, volumes, lesion_bank(BANK_PATIENTS), given.seed)
    trainer = PlaneTrainer(source, Settings(seed=given.seed))
    if checkpoint.exists():
        trainer.load(checkpoint)
    run(trainer, given.out, given.cpu_minutes, given.piece, given.steps)


if __name__ == "__main__":
    main()
