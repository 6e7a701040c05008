"""Train the network that paints "what normal would look like" on whole heads at 2 mm.

``python -m inference.training.deviation.train --pool DIR --out DIR --budget 8 --minutes 6`` trains
a piece of six minutes; the same command goes on until 8 CPU minutes are used. ``DIR`` of the pool
comes from `inference.training.shared.whole_heads`.

A head gets things planted that do not belong there: lesion shapes, round and ragged blobs of any
brightness, patches of strange texture, and coarse noise (Kascenas, Pugeault and O'Neil, Denoising
autoencoders for unsupervised anomaly detection in brain MRI, MIDL 2022). The network sees that
and has to give back the head as it was. What it changes in a scan is what it takes for strange.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional

from inference.plugins.unet import UNet, fold_batchnorm
from inference.training.shared.fields import smooth_field
from inference.training.shared.small_run import CHECKPOINT, Plan, SmallRun
from inference.training.shared.whole_heads import (
    Head,
    Pool,
    load_pool,
    through_slices,
)

__all__ = ["CROP", "Restoration", "load_restorer", "plant"]

Array = npt.NDArray[Any]
CROP = (48, 64, 48)
CHANNELS, THIN = (16, 32, 64, 96), 8
OUTPUTS = 2
"""What is to be added to the picture, and the logit of brain: what lies outside says nothing."""


def plant(rng: np.random.Generator, head: Head) -> tuple[Array, Array]:
    """Put things into a head that do not belong there.

    Returns
    -------
    image : ndarray
        Head with the strange things, normalised units.
    changed : ndarray
        Where, 0 to 1.
    """
    light = np.zeros_like(head.image)
    share = np.zeros_like(head.image)
    if rng.random() < 0.55:
        soft = head.lesions[rng.integers(len(head.lesions))]
        light += soft * _strength(rng, head.contrast)
        share = np.maximum(share, soft)
    for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.25, 0.35, 0.25, 0.15]))):
        soft = _blob(rng, head)
        light += soft * _strength(rng, "free")
        share = np.maximum(share, soft)
    image = head.image
    if rng.random() < 0.2:
        soft = _blob(rng, head)
        image = image * (1 - soft) + _strange_texture(rng, image) * soft
        share = np.maximum(share, soft)
    if rng.random() < 0.25:
        noise = smooth_field(rng, _shape(image), int(rng.integers(10, 24)))
        noise *= np.float32(rng.uniform(0.05, 0.2)) * head.brain
        light += noise
        share = np.maximum(share, np.clip(np.abs(noise) * 2 - 0.05, 0, 0.3))
    rough = 1 + np.float32(rng.uniform(0, 0.3)) * smooth_field(rng, _shape(image), 14)
    light *= np.clip(rough, 0.3, 1.7)
    light = ndimage.gaussian_filter(light, rng.uniform(0.2, 0.5))
    for axis, width in enumerate(head.thick):
        light = through_slices(light, axis, width)
        share = through_slices(share, axis, width)
    return np.clip(image + light, -1, 2).astype(np.float32), share.astype(np.float32)


def _strength(rng: np.random.Generator, contrast: str) -> np.float32:
    """Brightness that something strange adds: mostly bright, on T1w mostly dark."""
    size = float(np.clip(rng.lognormal(np.log(0.3), 0.5), 0.08, 1.2))
    bright = {"FLAIR": 0.95, "T2w": 0.95, "T1w": 0.1}.get(contrast, 0.65)
    return np.float32(size if rng.random() < bright else -size)


def _blob(rng: np.random.Generator, head: Head) -> Array:
    """Soft share of ragged pieces inside the brain, of a size drawn from 3 to 30 mm."""
    shape = _shape(head.image)
    field = smooth_field(rng, shape, int(np.exp(rng.uniform(np.log(5), np.log(34)))))
    where = smooth_field(rng, shape, 4)
    field = np.where(where > np.quantile(where[::4, ::4, ::4], rng.uniform(0.3, 0.9)), field, -9)
    sample = field[::3, ::3, ::3][head.brain[::3, ::3, ::3]]
    if sample.size == 0:
        return np.zeros(shape, np.float32)
    level = np.quantile(sample, 1 - np.exp(rng.uniform(np.log(0.001), np.log(0.05))))
    soft = np.clip((field - level) * rng.uniform(1.5, 6), 0, 1) * (field > -5)
    return (soft * head.brain).astype(np.float32)


def _strange_texture(rng: np.random.Generator, image: Array) -> Array:
    """The picture blurred, shuffled from elsewhere, or flat."""
    choice = rng.random()
    if choice < 0.4:
        return ndimage.gaussian_filter(image, rng.uniform(1.5, 4))
    if choice < 0.7:
        shift = [int(v) for v in rng.integers(-20, 20, 3)]
        return np.roll(image, shift, (0, 1, 2))
    noise = ndimage.gaussian_filter(rng.standard_normal(image.shape), rng.uniform(0, 1))
    return (rng.uniform(-0.6, 0.8) + 0.2 * noise / noise.std()).astype(np.float32)


def _shape(array: Array) -> tuple[int, int, int]:
    k, j, i = array.shape
    return k, j, i


class Restoration:
    """Batches and loss: planted head in, head as it was out.

    Parameters
    ----------
    pool : Pool
    crop : tuple of int
        Voxels of a training picture.
    """

    def __init__(self, pool: Pool, crop: tuple[int, int, int] = CROP) -> None:
        self.pool, self.crop = pool, crop

    def __call__(self, network: nn.Module, rng: np.random.Generator) -> torch.Tensor:
        """Loss of one new head."""
        image, target, weight, changed, brain = (
            torch.from_numpy(np.ascontiguousarray(a))[None, None] for a in self._example(rng)
        )
        image = image.contiguous(memory_format=torch.channels_last_3d)
        output = network(image)
        wrong = (image + output[:, :1] - target).abs()
        everywhere = (wrong * weight).sum() / weight.sum().clamp(min=1)
        there = weight * changed
        where = functional.binary_cross_entropy_with_logits(output[:, 1:], brain)
        return everywhere + (wrong * there).sum() / (there.sum() + 50) + 0.2 * where

    def _example(self, rng: np.random.Generator) -> tuple[Array, ...]:
        head = self.pool[int(rng.integers(len(self.pool)))]
        image, changed = plant(rng, head)
        weight = np.where(head.brain, np.float32(1), np.float32(0.2))
        weight *= np.where(head.known, np.float32(1), np.float32(0.15))
        starts = [int(rng.integers(n - c + 1)) for n, c in zip(image.shape, self.crop, strict=True)]
        box = tuple(slice(s, s + c) for s, c in zip(starts, self.crop, strict=True))
        gain, lift = rng.normal(1, 0.05), rng.normal(0, 0.02)
        flip = slice(None, None, -1 if rng.random() < 0.5 else 1)

        def lit(array: Array) -> Array:
            light = array[box] + 1
            return np.clip(light * gain + lift * (light > 0.1) - 1, -1, 2).astype(np.float32)

        brain = (head.brain & (head.image > -0.97)).astype(np.float32)
        pictures = (lit(image), lit(head.image), weight[box], changed[box], brain[box])
        return tuple(p[..., flip] for p in pictures)


def build(seed: int = 0) -> UNet:
    """New network that at first changes nothing."""
    torch.manual_seed(seed)
    network = UNet(outputs=OUTPUTS, channels=CHANNELS, thin=THIN)
    nn.init.zeros_(network.head.weight)
    assert network.head.bias is not None
    nn.init.zeros_(network.head.bias)
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def load_restorer(run: Path) -> tuple[UNet, dict[str, Any]]:
    """Averaged and folded network of a run, with its facts."""
    state = torch.load(run / CHECKPOINT, weights_only=True)
    facts = json.loads(state["facts"])
    network = UNet(**facts["arguments"])
    network.load_state_dict(state["averaged"])
    facts |= {"steps": state["steps"], "cpu_minutes": round(state["cpu_seconds"] / 60, 1)}
    folded = fold_batchnorm(network).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
    return folded, facts


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=8.0, help="CPU minutes of all pieces")
    parser.add_argument("--minutes", type=float, default=6.0, help="length of this piece")
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    network = build(given.seed)
    plan = Plan(given.budget, seed=given.seed)
    run = SmallRun(network, plan, given.out, {"arguments": network.arguments})
    run.go(Restoration(load_pool(given.pool)), given.minutes, given.steps)


if __name__ == "__main__":
    main()
