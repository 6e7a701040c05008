"""Train the white-matter lesion network on made-up patches.

``python -m inference.training.train --fold 07 --out DIR --minutes 80`` trains without patient 07.
A checkpoint is written every two minutes; ``--resume`` goes on from it. The learning rate
follows the share of the minutes already spent, so a run always ends annealed and on time.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from inference.plugins.unet import UNet
from inference.training.cases import FOLDS, anatomies, components, lesion_bank
from inference.training.synthesis import Patch, Synthesiser

__all__ = ["Settings", "Trainer", "lesion_loss"]


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run besides the data.

    From step ``settle`` on, batch normalisation keeps its averaged statistics: three patches say
    little about a whole head, and the network then trains as it will be used. Of the ``batch``
    patches of a step ``fresh`` are new, the others come from the last ``memory`` ones.
    """

    channels: tuple[int, ...] = (16, 32, 64, 96)
    thin: int = 8
    patch: tuple[int, int, int] = (48, 64, 48)
    batch: int = 3
    fresh: int = 1
    memory: int = 90
    rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup: int = 60
    average: float = 0.995
    settle: int = 1000
    clip: float = 1.0
    seed: int = 0
    plain: bool = False


def small_lesion_weight(label: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Weight of each voxel: up to 1.5 in small lesions, 1 elsewhere."""
    pieces, count = components(label > 0.5)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1).astype(np.float32)
    table = np.clip(np.sqrt(200.0 / np.maximum(sizes, 1)), 1.0, 1.5)
    table[0] = 1.0
    return table[pieces].astype(np.float32)


def lesion_loss(logits: torch.Tensor, label: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Weighted cross-entropy plus soft Dice over the batch.

    Parameters
    ----------
    logits, label, weight : Tensor
        All of one shape; voxels of weight 0 do not count.
    """
    entropy = functional.binary_cross_entropy_with_logits(logits, label, weight, reduction="sum")
    entropy = entropy / weight.sum().clamp(min=1.0)
    known = (weight > 0).float()
    chance = torch.sigmoid(logits) * known
    truth = label * known
    overlap = (2 * (chance * truth).sum() + 20) / (chance.sum() + truth.sum() + 20)
    return 2 * entropy + 1 - overlap


class Trainer:
    """One run: network, running average, optimiser, patches.

    Parameters
    ----------
    source : Synthesiser
        Where patches come from.
    settings : Settings
        Frozen choices.
    """

    def __init__(self, source: Synthesiser, settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        self.source = source
        self.settings = settings
        network = UNet(channels=settings.channels, thin=settings.thin)
        assert network.head.bias is not None
        torch.nn.init.constant_(network.head.bias, -3.0)
        self.network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.averaged = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), settings.rate, weight_decay=settings.weight_decay
        )
        self.remembered: list[Patch] = []
        self.steps = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0

    def step(self, progress: float) -> float:
        """Make a batch, learn from it, return the loss.

        Parameters
        ----------
        progress : float
            Share of the run already done, 0 to 1; sets the learning rate.
        """
        settings = self.settings
        image, label, weight = _stack(self._patches(), settings.plain)
        rate = settings.rate * min(1.0, (self.steps + 1) / settings.warmup)
        rate *= 0.5 + 0.5 * float(np.cos(np.pi * min(progress, 1.0)))
        for group in self.optimiser.param_groups:
            group["lr"] = max(rate, 1e-6)
        self._normalisation()
        loss = lesion_loss(self.network(image), label, weight)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), settings.clip)
        self.optimiser.step()
        self.steps += 1
        self._average()
        return float(loss.detach())

    def _patches(self) -> list[Patch]:
        """Some new patches and some remembered ones, those mirrored and in another brightness."""
        settings, rng = self.settings, self.source.rng
        new = [self.source.sample(settings.patch) for _ in range(settings.fresh)]
        while len(self.remembered) < settings.batch:
            self.remembered.append(self.source.sample(settings.patch))
        picks = rng.integers(0, len(self.remembered), settings.batch - settings.fresh)
        old = [_varied(self.remembered[n], rng) for n in picks]
        self.remembered = (self.remembered + new)[-settings.memory :]
        return new + old

    @torch.no_grad()
    def _normalisation(self) -> None:
        """Training mode; settled statistics once it is time."""
        self.network.train()
        if self.steps == self.settings.settle:
            for name, value in self.network.named_buffers():
                value.copy_(self.averaged[name])
        if self.steps >= self.settings.settle:
            for module in self.network.modules():
                if isinstance(module, torch.nn.BatchNorm3d):
                    module.eval()

    @torch.no_grad()
    def _average(self) -> None:
        keep = min(self.settings.average, (1 + self.steps) / (10 + self.steps))
        for name, value in self.network.state_dict().items():
            if value.is_floating_point():
                self.averaged[name].lerp_(value, 1 - keep)
            else:
                self.averaged[name].copy_(value)

    def save(self, path: Path, **more: Any) -> None:
        """Write a checkpoint that is whole or not there."""
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged,
            "optimiser": self.optimiser.state_dict(),
            "settings": json.dumps(asdict(self.settings)),
            "steps": self.steps,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            **more,
        }
        aside = path.with_suffix(".part")
        torch.save(state, aside)
        os.replace(aside, path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint (the random numbers start anew from seed and step)."""
        state = torch.load(path, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.averaged = state["averaged"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.steps = state["steps"]
        self.seconds = state["seconds"]
        self.cpu_seconds = state["cpu_seconds"]
        self.source.rng = np.random.default_rng([self.settings.seed, self.steps])


def _varied(patch: Patch, rng: np.random.Generator) -> Patch:
    flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
    gain, lift = rng.normal(1, 0.05), rng.normal(0, 0.02)
    light = patch.image[..., flip] + 1
    image = np.clip(light * gain + lift * (light > 0.1) - 1, -1, 2)
    return Patch(image.astype(np.float32), patch.label[..., flip], patch.weight[..., flip])


def _stack(patches: list[Patch], plain: bool) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    def tensor(arrays: list[npt.NDArray[np.float32]]) -> torch.Tensor:
        return torch.from_numpy(np.stack(arrays)[:, None])

    weights = [p.weight if plain else p.weight * small_lesion_weight(p.label) for p in patches]
    image = tensor([p.image for p in patches]).contiguous(memory_format=torch.channels_last_3d)
    return image, tensor([p.label for p in patches]), tensor(weights)


def run(trainer: Trainer, out: Path, minutes: float, steps: int, **more: Any) -> None:
    """Train until the minutes or the steps are used up, with a checkpoint every two minutes."""
    out.mkdir(parents=True, exist_ok=True)
    started, cpu = time.monotonic() - trainer.seconds, time.process_time() - trainer.cpu_seconds
    saved, recent = time.monotonic(), []
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        while trainer.seconds < 60 * minutes and trainer.steps < steps:
            recent.append(trainer.step(trainer.seconds / (60 * minutes)))
            trainer.seconds = time.monotonic() - started
            trainer.cpu_seconds = time.process_time() - cpu
            if len(recent) == 20:
                line = {"steps": trainer.steps, "loss": round(float(np.mean(recent)), 4)}
                line |= {"s": round(trainer.seconds), "cpu_s": round(trainer.cpu_seconds)}
                print(json.dumps(line), file=log, flush=True)
                recent.clear()
            if time.monotonic() - saved > 120:
                trainer.save(out / "checkpoint.pt", **more)
                saved = time.monotonic()
    trainer.save(out / "checkpoint.pt", **more)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", choices=sorted(FOLDS), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=80.0)
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument(
        "--finish",
        action="store_true",
        help="with --resume: a last phase of --minutes at a third of the rate, in which every "
        "voxel counts the same, so that the probability is one",
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    fold = FOLDS[given.fold]
    source = Synthesiser(anatomies(fold), lesion_bank(fold.bank), given.seed)
    settings = Settings(seed=given.seed)
    if given.finish:
        settings = replace(settings, rate=settings.rate / 3, plain=True)
    trainer = Trainer(source, settings)
    if given.resume and (given.out / "checkpoint.pt").exists():
        trainer.load(given.out / "checkpoint.pt")
    if given.finish:
        trainer.seconds = 0.0
    run(trainer, given.out, given.minutes, given.steps, fold=given.fold)


if __name__ == "__main__":
    main()
