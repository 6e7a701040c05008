"""Train the white-matter lesion network on made-up patches.

``python -m inference.training.lesions.train --fold 07 --out DIR --steps 3000 --warm FILE`` trains
without patient 07, starting from folded weights of an earlier version. The learning rate follows
the share of the steps done; ``--minutes`` ends a piece of the run early, and ``--resume`` goes on
from its checkpoint. A checkpoint is written every two minutes.

Beside the lesion, the network learns which tissue every 2 mm voxel is (a head that exists in
training only): what lies in cortex is then less often taken for lesion. Now and then the network
looks at whole training heads, and patches go where it was wrong.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn import functional

from inference.plugins.unet import UNet, fold_batchnorm
from inference.preprocess import SMOOTHING
from inference.training.lesions.channels import CHANNELS, dropped
from inference.training.lesions.shapes import large_shapes
from inference.training.lesions.synthesis import TISSUES, Patch, Synthesiser
from inference.training.lesions.taught import read_taught, taught_heads
from inference.training.shared.cases import FOLDS, NO_PICTURE, anatomies, components, lesion_bank
from inference.training.shared.learning import (
    average,
    descend,
    learning_state,
    set_rate,
    take_learning_state,
    write_checkpoint,
)

__all__ = ["Settings", "Trainer", "lesion_loss", "tissue_loss", "warm_network"]

Array = npt.NDArray[np.float32]

SMALL_LESIONS = 2.5
"""Most that a voxel of a small lesion counts: most lesions are below 50 mm³, and the loss of
a single missed one would hardly be felt."""


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run besides the data.

    Of the ``batch`` patches of a step ``fresh`` are new, the others come from the last ``memory``
    ones. The network has no normalisation layers: it starts from weights that are folded already
    (`warm_network`), so it trains as it will be used. From ``plain_from`` (share of the steps) on
    every voxel counts the same, so that the probability is one. Every ``look`` steps the network
    looks for its mistakes.
    """

    channels: tuple[int, ...] = (16, 32, 64, 96)
    thin: int = 8
    inputs: int = 1 + len(CHANNELS)
    patch: tuple[int, int, int] = (48, 64, 48)
    batch: int = 3
    fresh: int = 1
    memory: int = 120
    steps: int = 3000
    rate: float = 1e-3
    weight_decay: float = 1e-2
    warmup: int = 60
    average: float = 0.997
    clip: float = 1.0
    seed: int = 0
    tissue: float = 0.3
    plain_from: float = 0.75
    look: int = 400


def small_lesion_weight(label: Array) -> Array:
    """Weight of each voxel: up to `SMALL_LESIONS` in small lesions, 1 elsewhere."""
    pieces, count = components(label > 0.5)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1).astype(np.float32)
    table = np.clip(np.sqrt(200.0 / np.maximum(sizes, 1)), 1.0, SMALL_LESIONS)
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


def tissue_loss(logits: torch.Tensor, tissue: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of the tissue where it is known.

    Parameters
    ----------
    logits : Tensor, shape (n, 4, k, j, i)
        In the order of `TISSUES`.
    tissue : Tensor, shape (n, k, j, i)
        Number of the tissue, -1 where not known.
    """
    if not bool((tissue >= 0).any()):
        return logits.sum() * 0
    return functional.cross_entropy(logits, tissue.long(), ignore_index=-1)


def warm_network(settings: Settings, weights: Path | None = None) -> UNet:
    """A folded network, new or from folded weights with fewer input channels.

    Parameters
    ----------
    settings : Settings
        Its shape.
    weights : path, optional
        A safetensors file; channels it does not know start at zero, so at first the network
        answers as the old one did.
    """
    torch.manual_seed(settings.seed)
    network = UNet(inputs=settings.inputs, channels=settings.channels, thin=settings.thin)
    assert network.head.bias is not None
    torch.nn.init.constant_(network.head.bias, -3.0)
    fold_batchnorm(network)
    if weights is None:
        return network
    from safetensors.torch import load_file

    state = network.state_dict()
    for name, value in load_file(str(weights)).items():
        wanted = state[name]
        if wanted.shape != value.shape:
            fewer = torch.zeros_like(wanted)
            fewer[:, : value.shape[1]] = value.float()
            value = fewer
        state[name] = value.float()
    network.load_state_dict(state)
    return network


class Trainer:
    """One run: network, running average, optimiser, patches.

    Parameters
    ----------
    source : Synthesiser
        Where patches come from.
    settings : Settings
        Frozen choices.
    weights : path, optional
        Folded weights to start from.
    """

    def __init__(
        self, source: Synthesiser, settings: Settings, weights: Path | None = None
    ) -> None:
        self.source = source
        self.settings = settings
        network = warm_network(settings, weights)
        self.network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.tissue = torch.nn.Conv3d(settings.channels[0], len(TISSUES), 1)
        self._features: list[torch.Tensor] = []
        network.decoder[-1].register_forward_hook(self._keep_features)
        self.averaged = {k: v.clone() for k, v in self.network.state_dict().items()}
        parameters = [*self.network.parameters(), *self.tissue.parameters()]
        self.optimiser = torch.optim.AdamW(
            parameters, settings.rate, weight_decay=settings.weight_decay
        )
        self.remembered: list[Patch] = []
        self.steps = self.next_look = 0
        self.seconds = 0.0
        self.cpu_seconds = 0.0

    def _keep_features(self, module: torch.nn.Module, inputs: Any, output: Any) -> None:
        self._features.append(output)

    def step(self) -> float:
        """Make a batch, learn from it, return the loss."""
        settings = self.settings
        progress = min(1.0, self.steps / settings.steps)
        patches = self._patches()
        image, label, weight, tissue = _stack(
            patches, self.source.rng, settings.inputs, progress >= settings.plain_from
        )
        set_rate(self.optimiser, settings.rate, settings.warmup, self.steps, progress)
        self._features.clear()
        loss = lesion_loss(self.network(image), label, weight)
        if settings.tissue:
            (features,) = self._features
            loss = loss + settings.tissue * tissue_loss(self.tissue(features), tissue)
        descend(loss, self.network, self.optimiser, settings.clip)
        self.steps += 1
        average(self.averaged, self.network, self.steps, self.settings.average)
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
    def look_for_mistakes(self, most: int = 4000) -> dict[int, tuple[int, int]]:
        """Mark whole training heads and remember what is marked wrongly or missed.

        As many missed voxels as wrong ones are remembered, so that going to mistakes does not
        teach the network to mark less.

        Returns
        -------
        dict
            Wrongly marked and missed voxels by number of the anatomy.
        """
        counts = {}
        self.next_look = self.steps + self.settings.look
        for number, anatomy in enumerate(self.source.anatomies):
            if anatomy.image is None:
                continue
            chance = self._chance(anatomy.image)
            wrong = (chance > 0.3) & ~anatomy.unknown
            wrong &= ~np.asarray(ndimage.binary_dilation(anatomy.gold, iterations=2), bool)
            spots = np.argwhere(wrong)
            missed = np.argwhere((chance < 0.5) & anatomy.gold & ~anatomy.unknown)
            counts[number] = (len(spots), len(missed))
            kept = [s[self.source.rng.permutation(len(s))] for s in (spots, missed)]
            share = most if not len(missed) else max(200, min(len(s) for s in kept))
            self.source.hard[number] = np.concatenate([s[: min(share, most)] for s in kept])
        return counts

    def _chance(self, image: Array) -> Array:
        multiple = self.network.multiple
        smooth = np.asarray(ndimage.gaussian_filter(image, SMOOTHING, truncate=2.5), np.float32)
        extra = [(0, -n % multiple) for n in image.shape]
        padded = np.pad(smooth, extra, constant_values=-1)
        full = np.zeros((1, self.settings.inputs, *padded.shape), np.float32)
        full[0, 0] = padded
        logits = self.network(torch.from_numpy(full))[0, 0]
        self._features.clear()
        k, j, i = image.shape
        return torch.sigmoid(logits).numpy()[:k, :j, :i]

    def save(self, path: Path, **more: Any) -> None:
        """Write a checkpoint that is whole or not there."""
        state = {
            **learning_state(self.network, self.averaged, self.optimiser),
            "tissue": self.tissue.state_dict(),
            "settings": json.dumps(asdict(self.settings)),
            "steps": self.steps,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            **more,
        }
        write_checkpoint(state, path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint (the random numbers start anew from seed and step)."""
        state = torch.load(path, weights_only=True)
        self.averaged = take_learning_state(state, self.network, self.optimiser)
        self.tissue.load_state_dict(state["tissue"])
        self.steps = state["steps"]
        self.seconds = state["seconds"]
        self.cpu_seconds = state["cpu_seconds"]
        self.source.rng = np.random.default_rng([self.settings.seed, self.steps])


def _varied(patch: Patch, rng: np.random.Generator) -> Patch:
    flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
    gain, lift = rng.normal(1, 0.05), rng.normal(0, 0.02)
    light = patch.image[..., flip] + 1
    image = np.clip(light * gain + lift * (light > 0.1) - 1, -1, 2)
    return Patch(
        image.astype(np.float32),
        patch.label[..., flip],
        patch.weight[..., flip],
        None if patch.tissue is None else patch.tissue[..., flip],
        None if patch.others is None else patch.others[..., flip],
    )


def _stack(
    patches: list[Patch], rng: np.random.Generator, inputs: int, plain: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Image, label, weight and tissue of a batch."""
    shape = patches[0].image.shape
    image = np.zeros((len(patches), inputs, *shape), np.float32)
    tissue = np.full((len(patches), *(n // 2 for n in shape)), -1, np.int8)
    for number, patch in enumerate(patches):
        image[number, 0] = patch.image
        if patch.others is not None and inputs > 1:
            image[number, 1:] = dropped(rng, patch.others)
        if patch.tissue is not None:
            tissue[number] = patch.tissue
    weights = [p.weight if plain else p.weight * small_lesion_weight(p.label) for p in patches]
    label, weight = (
        torch.from_numpy(np.stack(arrays)[:, None])
        for arrays in ([p.label for p in patches], weights)
    )
    pictures = torch.from_numpy(image).contiguous(memory_format=torch.channels_last_3d)
    return pictures, label, weight, torch.from_numpy(tissue)


def run(trainer: Trainer, out: Path, minutes: float = np.inf, **more: Any) -> bool:
    """Train until the steps are done or this piece's minutes are over.

    Returns
    -------
    bool
        Whether the run is complete.
    """
    out.mkdir(parents=True, exist_ok=True)
    steps, recent = trainer.settings.steps, []
    begun, saved, cpu_begun = time.monotonic(), time.monotonic(), time.process_time()
    before, cpu_before = trainer.seconds, trainer.cpu_seconds
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        while trainer.seconds - before < 60 * minutes and trainer.steps < steps:
            if trainer.steps >= trainer.next_look:
                line = {"steps": trainer.steps, "wrong": trainer.look_for_mistakes()}
                print(json.dumps(line), file=log, flush=True)
            recent.append(trainer.step())
            trainer.seconds = before + time.monotonic() - begun
            trainer.cpu_seconds = cpu_before + time.process_time() - cpu_begun
            if len(recent) == 20:
                line = {"steps": trainer.steps, "loss": round(float(np.mean(recent)), 4)}
                line |= {"s": round(trainer.seconds), "cpu_s": round(trainer.cpu_seconds)}
                print(json.dumps(line), file=log, flush=True)
                recent.clear()
            if time.monotonic() - saved > 120:
                trainer.save(out / "checkpoint.pt", **more)
                saved = time.monotonic()
    trainer.save(out / "checkpoint.pt", **more)
    return trainer.steps >= steps


def main() -> None:
    """Command line; exit status 3 while steps are left."""
    folds = {**FOLDS, NO_PICTURE.name: NO_PICTURE}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", choices=sorted(folds), required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--minutes", type=float, default=np.inf)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=Settings.rate)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--warm", type=Path, help="folded weights to start from")
    parser.add_argument("--taught", type=Path, help="labels of the raw heads (`taught`)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    fold = folds[given.fold]
    drawn_from = anatomies(fold)
    if given.taught:
        drawn_from = taught_heads(drawn_from, read_taught(given.taught))
    source = Synthesiser(drawn_from, lesion_bank(fold.bank), given.seed, large=large_shapes())
    settings = Settings(seed=given.seed, steps=given.steps, rate=given.rate)
    trainer = Trainer(source, settings, given.warm)
    if given.resume and (given.out / "checkpoint.pt").exists():
        trainer.load(given.out / "checkpoint.pt")
    complete = run(trainer, given.out, given.minutes, fold=given.fold)
    raise SystemExit(0 if complete else 3)


if __name__ == "__main__":
    main()
