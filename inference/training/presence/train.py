"""Train the small classifier that says whether a head FLAIR holds white-matter lesions at all.

``python -m inference.training.presence.train --pool DIR --restorer DIR --out DIR --budget 8
--minutes 6`` trains a piece (`inference.training.shared.small_run`); the pool comes from
`inference.training.shared.whole_heads`, the restoring network from a run of
`inference.training.deviation.train`.

Each example is one head twice: as it is, and with lesions planted; load, brightness and number
vary from far below what a reader would see to far above. Look-alikes (bright spots at the rim of
the brain) are put into both, so only the lesions tell the two apart. What the restoring network
shows of each pair is made once and kept beside the checkpoint.
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

from inference.plugins.presence import Sorter
from inference.plugins.unet import UNet
from inference.training.deviation.train import load_restorer
from inference.training.shared.lesion_load import lesion_load, lit, thinned
from inference.training.shared.small_run import CHECKPOINT, Plan, SmallRun
from inference.training.shared.whole_heads import Head, Pool, load_pool

__all__ = ["ARGUMENTS", "Pairs", "examples", "load_classifier", "pair"]

Array = npt.NDArray[Any]
ARGUMENTS: dict[str, Any] = {
    "inputs": 3,
    "outputs": 1,
    "block": "basic",
    "layers": [1, 1, 1, 1],
    "block_inplanes": [12, 16, 24, 32],
    "conv1_t_size": 3,
    "conv1_t_stride": 2,
    "no_max_pool": True,
}
LEAST_ML = 0.05
"""A planted load below this is no example of either kind and is drawn anew."""
LEAST_LIGHT = 0.3
"""The same for what is left of a load: brightness times cells of 4 mm."""


def _lookalikes(rng: np.random.Generator, head: Head) -> Array:
    """Bright spots where lesions are not: vessels and meninges at the rim, cortex."""
    light = np.zeros_like(head.image)
    rim = head.brain & (head.place < 0.1)
    if rng.random() < 0.6:
        spots = np.argwhere(rim)
        if len(spots):
            for k, j, i in spots[rng.integers(0, len(spots), int(rng.integers(1, 14)))]:
                light[k, j, i] = rng.uniform(0.5, 4)
            light = np.clip(ndimage.gaussian_filter(light, rng.uniform(0.4, 0.8)), 0, 0.7)
    return light.astype(np.float32)


def pair(rng: np.random.Generator, head: Head) -> tuple[Array, Array, float]:
    """A head without and with lesions, and their load in ml."""
    share = head.lesions[int(rng.integers(len(head.lesions)))]
    wanted = float(np.exp(rng.uniform(np.log(0.2), np.log(40))))
    chosen = thinned(rng, share, wanted)
    if lesion_load(chosen) < LEAST_ML:
        chosen = share
    spots = _lookalikes(rng, head)
    gain, lift = rng.normal(1, 0.05), rng.normal(0, 0.02)
    flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
    pictures = []
    for image in (head.image, lit(rng, head, chosen)):
        light = image + spots + 1
        picture = np.clip(light * gain + lift * (light > 0.1) - 1, -1, 2)[..., flip]
        pictures.append(np.ascontiguousarray(picture, np.float32))
    return pictures[0], pictures[1], lesion_load(chosen)


def examples(sorter: Sorter, pool: Pool, count: int, seed: int) -> npt.NDArray[np.float16]:
    """What the residual network sees of so many pairs, ``(count, 2, 2, k, j, i)``.

    Made once, because the restoring network, which is not trained, is most of the work.
    """
    rng = np.random.default_rng([seed, 3])
    numbers = [n for n, c in enumerate(pool.contrasts) if c == "FLAIR"]
    found = []
    for n in range(count):
        both = pair(rng, pool[numbers[n % len(numbers)]])[:2]
        with torch.inference_mode():
            seen = [sorter.seen(torch.from_numpy(p)[None, None])[0].numpy() for p in both]
        found.append(np.stack(seen).astype(np.float16))
    return np.stack(found)


class Pairs:
    """Batches and loss: the same heads with and without lesions.

    Each time a head is mirrored, shifted a little and made brighter or darker, and often only the
    lesions of one side of a drawn plane are left in: low loads are common and no two batches alike.

    Parameters
    ----------
    seen : ndarray
        From :func:`examples`.
    """

    def __init__(self, seen: npt.NDArray[np.float16], count: int = 4) -> None:
        self.seen, self.count = seen, count

    def __call__(self, network: nn.Module, rng: np.random.Generator) -> torch.Tensor:
        """Loss of one batch: each head by itself, and with lesions above without."""
        assert isinstance(network, Sorter)
        picks = rng.integers(0, len(self.seen), self.count)
        batch = np.stack([_varied(rng, self.seen[n].astype(np.float32)) for n in picks])
        heads = torch.from_numpy(batch.reshape(-1, *batch.shape[2:]))
        truth = torch.tensor([0.03, 0.97]).repeat(self.count)
        logits = network.net(heads)[:, 0]
        alone = functional.binary_cross_entropy_with_logits(logits, truth)
        return alone + functional.softplus(logits[::2] - logits[1::2]).mean()


def _varied(rng: np.random.Generator, both: Array) -> Array:
    """A pair ``(2, c, k, j, i)`` in another way, the same for both heads but for their lesions."""
    if rng.random() < 0.5:
        both = both.copy()
        both[1] = _fewer(rng, both[0], both[1])
    if rng.random() < 0.5:
        both = np.flip(both, -1)
    for axis in (-3, -2, -1):
        both = np.roll(both, int(rng.integers(-2, 3)), axis)
    gain = rng.normal(1, 0.08, (1, both.shape[1], 1, 1, 1)).astype(np.float32)
    return np.ascontiguousarray(both * gain + np.float32(rng.normal(0, 0.02)))


def _fewer(rng: np.random.Generator, without: Array, lesions: Array) -> Array:
    """Lesions only on one side of a plane; all where hardly any would be left."""
    normal = rng.normal(size=3)
    normal /= np.linalg.norm(normal)
    axes = np.meshgrid(*(np.arange(n) - n / 2 for n in without.shape[1:]), indexing="ij")
    far = sum(a * c for a, c in zip(axes, normal, strict=True)) - rng.uniform(-8, 16)
    share = (1 / (1 + np.exp(-np.clip(2 * far, -30, 30)))).astype(np.float32)
    mixed = without + share * (lesions - without)
    return mixed if (mixed - without)[0].sum() > LEAST_LIGHT else lesions


def build(restorer: UNet, seed: int = 0) -> Sorter:
    """New network around a trained restoring network (folded)."""
    torch.manual_seed(seed)
    network = Sorter(restorer.arguments, ARGUMENTS)
    network.restorer.load_state_dict(restorer.state_dict())
    return network


def load_classifier(run: Path) -> tuple[Sorter, dict[str, Any]]:
    """Averaged network of a run (normalisation not folded), with its facts."""
    state = torch.load(run / CHECKPOINT, weights_only=True)
    facts = json.loads(state["facts"])
    network = Sorter(facts["restorer"], facts["arguments"])
    network.load_state_dict(state["averaged"])
    facts |= {"steps": state["steps"], "cpu_minutes": round(state["cpu_seconds"] / 60, 1)}
    return network.eval(), facts


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--restorer", type=Path, required=True, help="run of the deviation model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=8.0, help="CPU minutes of all pieces")
    parser.add_argument("--minutes", type=float, default=6.0, help="length of this piece")
    parser.add_argument("--examples", type=int, default=230, help="pairs of heads to learn from")
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    plan = Plan(given.budget, settle=0.4, seed=given.seed)
    restorer, made = load_restorer(given.restorer)
    facts = {
        "arguments": ARGUMENTS,
        "restorer": restorer.arguments,
        "restorer_steps": made["steps"],
    }
    sorter = build(restorer, given.seed)
    run = SmallRun(sorter, plan, given.out, facts)
    kept = given.out / "examples.npy"
    if not kept.exists():
        np.save(kept, examples(sorter, load_pool(given.pool), given.examples, given.seed))
    run.go(Pairs(np.load(kept)), given.minutes, given.steps)


if __name__ == "__main__":
    main()
