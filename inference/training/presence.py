"""Train the small classifier that says whether a head FLAIR holds white-matter lesions at all.

``python -m inference.training.presence --pool DIR --restorer DIR --out DIR --budget 5 --minutes 6``
trains a piece (`inference.training.small_run`); the pool comes from
`inference.training.whole_heads`, the restoring network from a run of
`inference.training.deviation`.

Each step sees one head twice: as it is, and with lesions planted; load, brightness and number
vary from far below what a reader would see to far above. Look-alikes (bright spots at the rim of
the brain) are put into both, so only the lesions tell the two apart. While it learns, an extra
output, which does not ship, says of every 8 mm cell whether a lesion is in it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch import nn
from torch.nn import functional

from inference.plugins.presence import LAYERS, Sorter
from inference.plugins.unet import UNet
from inference.training.deviation import load_restorer
from inference.training.small_run import CHECKPOINT, Plan, SmallRun
from inference.training.whole_heads import (
    STEP_MM,
    Head,
    Pool,
    load_pool,
    smooth_field,
    through_slices,
)

__all__ = ["ARGUMENTS", "Pairs", "lesion_load", "load_classifier", "thinned"]

Array = npt.NDArray[np.float32]
ARGUMENTS: dict[str, Any] = {
    "inputs": 2,
    "outputs": 1,
    "block": "basic",
    "layers": [1, 1, 1, 1],
    "block_inplanes": [12, 24, 48, 64],
    "conv1_t_size": 3,
    "conv1_t_stride": 2,
    "no_max_pool": True,
}
LEAST_ML = 0.05
"""A planted load below this is no example of either kind and is drawn anew."""


def lesion_load(share: Array) -> float:
    """Volume of a lesion share at 2 mm, ml."""
    return float((share > 0.4).sum()) * STEP_MM**3 / 1000


def thinned(rng: np.random.Generator, share: Array, wanted_ml: float) -> Array:
    """Some of the lesions of a share, whole, until about so many ml are reached."""
    pieces, count = ndimage.label(share > 0.15, np.ones((3, 3, 3)))
    sizes = np.bincount(pieces.ravel(), (share > 0.4).ravel(), count + 1) * STEP_MM**3 / 1000
    kept = np.zeros(count + 1, bool)
    total = 0.0
    for number in rng.permutation(np.arange(1, count + 1)):
        if total >= wanted_ml:
            break
        if 0 < sizes[number] <= max(1.3 * (wanted_ml - total), 0.02):
            kept[number] = True
            total += float(sizes[number])
    return (share * kept[pieces]).astype(np.float32)


def lit(rng: np.random.Generator, head: Head, share: Array, strength: float | None = None) -> Array:
    """A head with these lesions, as bright as FLAIR shows them."""
    if strength is None:
        strength = float(np.clip(rng.lognormal(np.log(0.32), 0.45), 0.1, 0.9))
    shape = (share.shape[0], share.shape[1], share.shape[2])
    light = (
        share * np.float32(strength) * np.clip(1 + 0.25 * smooth_field(rng, shape, 14), 0.5, 1.6)
    )
    light = ndimage.gaussian_filter(light, rng.uniform(0.2, 0.5))
    for axis, width in enumerate(head.thick):
        light = through_slices(light, axis, width)
    return np.clip(head.image + light, -1, 2).astype(np.float32)


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


class Pairs:
    """Batches and loss: the same head with and without lesions.

    Parameters
    ----------
    pool : Pool
        Only its FLAIR heads are used.
    """

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self.numbers = [n for n, c in enumerate(pool.contrasts) if c == "FLAIR"]

    def __call__(self, network: nn.Module, rng: np.random.Generator) -> torch.Tensor:
        """Loss of one pair."""
        *pictures, share = self.pair(rng)
        batch = torch.from_numpy(np.stack(pictures)[:, None])
        answer, cells = network(batch.contiguous(memory_format=torch.channels_last_3d))
        entropy = functional.binary_cross_entropy_with_logits
        whole = entropy(answer[:, 0], torch.tensor([0.03, 0.97]))
        lesion = torch.from_numpy(np.ascontiguousarray(share))[None, None]
        filled = functional.adaptive_avg_pool3d(lesion, cells.shape[2:])
        truth = torch.cat([torch.zeros_like(filled), (filled > 0.03).float()])
        return whole + 2 * entropy(cells, truth, pos_weight=torch.tensor(4.0))

    def pair(self, rng: np.random.Generator) -> tuple[Array, Array, Array]:
        """A head without and with lesions, and their share."""
        head = self.pool[self.numbers[int(rng.integers(len(self.numbers)))]]
        share = head.lesions[int(rng.integers(len(head.lesions)))]
        wanted = float(np.exp(rng.uniform(np.log(0.15), np.log(40))))
        chosen = thinned(rng, share, wanted)
        if lesion_load(chosen) < LEAST_ML:
            chosen = share
        spots = _lookalikes(rng, head)
        gain, lift = rng.normal(1, 0.05), rng.normal(0, 0.02)
        flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
        pictures = []
        for image in (head.image, lit(rng, head, chosen)):
            light = image + spots + 1
            pictures.append(np.clip(light * gain + lift * (light > 0.1) - 1, -1, 2)[..., flip])
        return pictures[0].astype(np.float32), pictures[1].astype(np.float32), chosen[..., flip]


class Taught(nn.Module):
    """The classifier with the extra output that it learns by.

    Parameters
    ----------
    restorer, arguments : mapping
        As under ``[network.arguments]`` of the card.
    """

    def __init__(self, restorer: Mapping[str, Any], arguments: Mapping[str, Any]) -> None:
        super().__init__()
        self.sorter = Sorter(restorer, arguments)
        self.cells = nn.Conv3d(arguments["block_inplanes"][1], 1, 1)
        assert self.cells.bias is not None
        nn.init.constant_(self.cells.bias, -3.0)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Logit of the head ``(n, 1)`` and of its 8 mm cells."""
        kept: list[torch.Tensor] = []
        layer = self.sorter.get_submodule(LAYERS["fine"])
        handle = layer.register_forward_hook(lambda _m, _i, output: kept.append(output))
        try:
            answer = self.sorter(x)
        finally:
            handle.remove()
        return answer, self.cells(kept[0])


def build(restorer: UNet, seed: int = 0) -> Taught:
    """New network around a trained restoring network (folded)."""
    torch.manual_seed(seed)
    network = Taught(restorer.arguments, ARGUMENTS)
    network.sorter.restorer.load_state_dict(restorer.state_dict())
    return network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def load_classifier(run: Path) -> tuple[Sorter, dict[str, Any]]:
    """Averaged network of a run (normalisation not folded), with its facts."""
    state = torch.load(run / CHECKPOINT, weights_only=True)
    facts = json.loads(state["facts"])
    network = Taught(facts["restorer"], facts["arguments"])
    network.load_state_dict(state["averaged"])
    facts |= {"steps": state["steps"], "cpu_minutes": round(state["cpu_seconds"] / 60, 1)}
    return network.sorter.eval(), facts


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pool", type=Path, required=True)
    parser.add_argument("--restorer", type=Path, required=True, help="run of the deviation model")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--budget", type=float, default=5.0, help="CPU minutes of all pieces")
    parser.add_argument("--minutes", type=float, default=6.0, help="length of this piece")
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    plan = Plan(given.budget, seed=given.seed)
    restorer, made = load_restorer(given.restorer)
    facts = {
        "arguments": ARGUMENTS,
        "restorer": restorer.arguments,
        "restorer_steps": made["steps"],
    }
    run = SmallRun(build(restorer, given.seed), plan, given.out, facts)
    run.go(Pairs(load_pool(given.pool)), given.minutes, given.steps)


if __name__ == "__main__":
    main()
