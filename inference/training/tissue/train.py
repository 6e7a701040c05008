"""Train the tissue network on made-up heads.

``python -m inference.training.tissue.train --out DIR --minutes 6`` trains the network that tells
fluid, grey and white matter apart. ``--piece 3`` stops after three minutes and ``--resume`` goes
on; the learning rate follows the share of the minutes already spent, so a run always ends annealed.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from inference.plugins.unet import UNet
from inference.training.shared.learning import (
    average,
    descend,
    hold_statistics,
    learning_state,
    set_rate,
    take_learning_state,
    write_checkpoint,
)
from inference.training.tissue.heads import load_heads
from inference.training.tissue.synthesis import TISSUE, Example, HeadMaker

__all__ = ["AnatomyTrainer", "anatomy_loss"]

RATE, WEIGHT_DECAY, WARMUP, CLIP = 3e-3, 1e-2, 30, 1.0
AVERAGE = 0.99
SETTLE = 0.4
"""From this share of the run on, batch normalisation keeps its averaged statistics."""
MEMORY = 60
"""Examples kept to be used again, mirrored and in another brightness."""
SAVE_SECONDS = 60.0


def anatomy_loss(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus soft Dice, averaged over the labels.

    Parameters
    ----------
    logits : Tensor, shape (n, outputs, k, j, i)
        Of "outside" and of each label.
    label : Tensor, shape (n, k, j, i)
        The number of the output.
    """
    entropy = functional.cross_entropy(logits, label.long())
    chance = logits.softmax(1)[:, 1:]
    truth = functional.one_hot(label.long(), logits.shape[1]).movedim(-1, 1)[:, 1:].float()
    axes = (0, 2, 3, 4)
    overlap = (2 * (chance * truth).sum(axes) + 20) / (chance.sum(axes) + truth.sum(axes) + 20)
    return entropy + 1 - overlap.mean()


class AnatomyTrainer:
    """One run: network, running average, optimiser, examples.

    Parameters
    ----------
    source : HeadMaker
        Where examples come from.
    seed : int
        Of the weights and of the examples.
    """

    def __init__(self, source: HeadMaker, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.source, self.seed, stage = source, seed, source.stage
        self.network = UNet(stage.inputs, stage.outputs, stage.channels, stage.thin)
        self.network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.averaged = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), RATE, weight_decay=WEIGHT_DECAY
        )
        self.remembered: list[Example] = []
        self.steps, self.seconds = 0, 0.0

    def step(self, progress: float) -> float:
        """Learn from a new example and remembered ones; return the loss.

        Parameters
        ----------
        progress : float
            Share of the run already done, 0 to 1; sets the learning rate.
        """
        batch = self._examples()
        image = torch.stack([e.image for e in batch])
        image = image.contiguous(memory_format=torch.channels_last_3d)
        label = torch.stack([e.label for e in batch])
        set_rate(self.optimiser, RATE, WARMUP, self.steps, progress)
        self._normalisation(progress >= SETTLE)
        loss = anatomy_loss(self.network(image), label)
        descend(loss, self.network, self.optimiser, CLIP)
        self.steps += 1
        average(self.averaged, self.network, self.steps, AVERAGE)
        return float(loss.detach())

    def _examples(self) -> list[Example]:
        batch = [self.source.sample()]
        self.remembered = [*self.remembered, *batch][-MEMORY:]
        rng = self.source.rng
        for _ in range(self.source.stage.again):
            old = self.remembered[int(rng.integers(len(self.remembered)))]
            image = old.image.flip(-1).clone()
            image[0] *= float(rng.normal(1, 0.06))
            batch.append(Example(image, old.label.flip(-1)))
        return batch

    @torch.no_grad()
    def _normalisation(self, settled: bool) -> None:
        """Training mode; averaged statistics from `SETTLE` on."""
        self.network.train()
        if settled:
            hold_statistics(self.network)

    def save(self, path: Path) -> None:
        """Write a checkpoint that is whole or not there."""
        state = {
            **learning_state(self.network, self.averaged, self.optimiser),
            "steps": self.steps,
            "seconds": self.seconds,
        }
        write_checkpoint(state, path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint (the random numbers start anew from seed and step)."""
        state = torch.load(path, weights_only=True)
        self.averaged = take_learning_state(state, self.network, self.optimiser)
        self.steps, self.seconds = state["steps"], state["seconds"]
        self.source.rng = np.random.default_rng([self.seed, self.steps])


def run(trainer: AnatomyTrainer, out: Path, minutes: float, piece: float, steps: int) -> bool:
    """Train; CPU-minutes count. True once the whole run is done."""
    out.mkdir(parents=True, exist_ok=True)
    started = time.process_time() - trainer.seconds
    first, saved, recent = trainer.seconds, time.monotonic(), []
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        while trainer.seconds < 60 * minutes and trainer.steps < steps:
            recent.append(trainer.step(trainer.seconds / (60 * minutes)))
            trainer.seconds = time.process_time() - started
            if len(recent) == 10:
                line = {"steps": trainer.steps, "loss": round(float(np.mean(recent)), 4)}
                print(json.dumps(line | {"cpu_s": round(trainer.seconds)}), file=log, flush=True)
                recent.clear()
            if time.monotonic() - saved > SAVE_SECONDS:
                trainer.save(out / "checkpoint.pt")
                saved = time.monotonic()
            if trainer.seconds - first > 60 * piece:
                break
    trainer.save(out / "checkpoint.pt")
    return trainer.seconds >= 60 * minutes or trainer.steps >= steps


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--minutes", type=float, default=6.0, help="CPU-minutes of the whole run")
    parser.add_argument("--piece", type=float, default=1e9, help="stop after so many CPU-minutes")
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    source = HeadMaker(load_heads(given.out / "heads.npz"), TISSUE, given.seed)
    trainer = AnatomyTrainer(source, given.seed)
    if given.resume and (given.out / "checkpoint.pt").exists():
        trainer.load(given.out / "checkpoint.pt")
    done = run(trainer, given.out, given.minutes, given.piece, given.steps)
    print("done" if done else "more to do: run again with --resume")


if __name__ == "__main__":
    main()
