"""Train the click network: a picture, clicks and the mask so far in, the thing meant out.

``python -m inference.training.clicks.train --out DIR --minutes 25`` trains; ``--piece 6 --resume``
does six of those minutes and can be called again until all are spent. Patients 07 and 19 are never
seen, so the one set of weights has held-out figures.

An example stays for up to eight clicks: each pass sees the clicks and the network's own earlier
answer, then the largest error of the new answer gets the next click. No pass is made only to
find where to click.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage
from torch.nn import functional

from inference.click_input import CHANNELS, stacked
from inference.plugins.unet import UNet
from inference.training.clicks.hand import Click, first_click, next_click
from inference.training.clicks.synthesis import Room, Thing, Things, banks, rooms
from inference.training.shared.learning import (
    average,
    descend,
    learning_mode,
    learning_state,
    set_rate,
    take_learning_state,
    write_checkpoint,
)

__all__ = ["Example", "Settings", "Trainer", "click_loss"]

Array = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Settings:
    """Everything that decides a run besides the data.

    ``edges`` and ``batches`` go together: cubes of 32 voxels come eight at a time, of 64 alone.
    From step ``settle`` on batch normalisation keeps its averaged statistics.
    """

    channels: tuple[int, ...] = (16, 32, 48, 64)
    thin: int = 8
    edges: tuple[int, ...] = (32, 48, 64)
    batches: tuple[int, ...] = (8, 3, 1)
    shares: tuple[float, ...] = (0.35, 0.5, 0.15)
    waiting: tuple[int, ...] = (48, 24, 8)
    rate: float = 3e-3
    weight_decay: float = 1e-2
    warmup: int = 50
    average: float = 0.99
    settle: int = 900
    clip: float = 1.0
    most_clicks: int = 8
    wrong: float = 0.05
    seed: int = 0


@dataclass(eq=False)
class Example:
    """A picture on its way through its clicks."""

    thing: Thing
    wanted: list[tuple[int, int, int]] = field(default_factory=list)
    unwanted: list[tuple[int, int, int]] = field(default_factory=list)
    previous: Array | None = None
    box: Array | None = None
    lives: int = 3

    def add(self, click: Click) -> None:
        """One more click."""
        (self.wanted if click.wanted else self.unwanted).append(click.at)

    @property
    def clicks(self) -> int:
        """How many there are."""
        return len(self.wanted) + len(self.unwanted)

    def channels(self) -> Array:
        """What the network sees."""
        return stacked(self.thing.image, self.wanted, self.unwanted, self.previous, self.box)


def click_loss(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Cross-entropy plus soft Dice of each picture, so that small things count like large ones.

    Parameters
    ----------
    logits, truth : Tensor, shape (n, 1, k, j, i)
    """
    axes = (1, 2, 3, 4)
    entropy = functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    size = truth.sum(axes)
    # Summed over the picture and compared with the thing's size: small outlines count.
    entropy = entropy.sum(axes) / (5 * size + 1000)
    chance = torch.sigmoid(logits)
    overlap = (2 * (chance * truth).sum(axes) + 4) / (chance.sum(axes) + size + 4)
    return (entropy + 1 - overlap).mean()


class Trainer:
    """One run: network, running average, optimiser, examples in waiting.

    Parameters
    ----------
    source : Things
        Where pictures come from.
    settings : Settings
        Frozen choices.
    """

    def __init__(self, source: Things, settings: Settings) -> None:
        torch.manual_seed(settings.seed)
        self.source, self.settings = source, settings
        network = UNet(CHANNELS, 1, settings.channels, settings.thin)
        assert network.head.bias is not None
        torch.nn.init.constant_(network.head.bias, -4.0)
        self.network = network.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.averaged = {k: v.clone() for k, v in self.network.state_dict().items()}
        self.optimiser = torch.optim.AdamW(
            self.network.parameters(), settings.rate, weight_decay=settings.weight_decay
        )
        self.waiting: dict[int, list[Example]] = {edge: [] for edge in settings.edges}
        self.steps = 0
        self.seconds = 0.0

    def step(self, progress: float) -> float:
        """Learn from a few examples, then click on them; returns the loss.

        Parameters
        ----------
        progress : float
            Share of the run already done, 0 to 1; sets the learning rate.
        """
        settings = self.settings
        examples = self._examples()
        image, truth = tensors(examples)
        set_rate(self.optimiser, settings.rate, settings.warmup, self.steps, progress)
        learning_mode(self.network, self.averaged, self.steps, settings.settle)
        logits = self.network(image)
        loss = click_loss(logits, truth)
        descend(loss, self.network, self.optimiser, settings.clip)
        self.steps += 1
        average(self.averaged, self.network, self.steps, self.settings.average)
        answers = torch.sigmoid(logits.detach())[:, 0].numpy()
        for example, answer in zip(examples, answers, strict=True):
            self._go_on(example, answer)
        return float(loss.detach())

    def _examples(self) -> list[Example]:
        settings, rng = self.settings, self.source.rng
        size = int(rng.choice(len(settings.edges), p=settings.shares))
        edge, batch = settings.edges[size], settings.batches[size]
        waiting = self.waiting[edge]
        while len(waiting) < settings.waiting[size]:
            waiting.append(begun(self.source.sample(edge), rng))
        picks = rng.choice(len(waiting), batch, replace=False)
        return [waiting[n] for n in picks]

    def _go_on(self, example: Example, answer: Array) -> None:
        """Place the next click, or let the example go."""
        rng, settings = self.source.rng, self.settings
        found = answer > 0.5
        click = next_click(example.thing.truth, found, rng, 0.6, settings.wrong)
        good = np.count_nonzero(found ^ example.thing.truth) < 3
        waiting = self.waiting[example.thing.image.shape[0]]
        if click is None or good or example.clicks >= settings.most_clicks or rng.random() < 0.18:
            at = next(n for n, other in enumerate(waiting) if other is example)
            del waiting[at]
            if example.lives > 1:
                waiting.append(begun(varied(example.thing, rng), rng, example.lives - 1))
            return
        example.previous = answer
        example.add(click)

    def save(self, path: Path) -> None:
        """Write a checkpoint that is whole or not there."""
        state = {
            **learning_state(self.network, self.averaged, self.optimiser),
            "settings": json.dumps(asdict(self.settings)),
            "steps": self.steps,
            "seconds": self.seconds,
        }
        write_checkpoint(state, path)

    def load(self, path: Path) -> None:
        """Go on from a checkpoint (the random numbers start anew from seed and step)."""
        state = torch.load(path, weights_only=True)
        self.averaged = take_learning_state(state, self.network, self.optimiser)
        self.steps, self.seconds = state["steps"], state["seconds"]
        self.source.rng = np.random.default_rng([self.settings.seed, self.steps])


def begun(thing: Thing, rng: np.random.Generator, lives: int = 3) -> Example:
    """An example before its first pass: a click, a scribble, a box, or a wrong mask to mend."""
    example = Example(thing, lives=lives)
    choice = rng.random()
    if choice < 0.15:
        example.box = loose_box(thing.truth, rng)
        if rng.random() < 0.6:
            return example
    elif choice < 0.25:
        inside = np.argwhere(thing.truth)
        start, end = inside[rng.integers(0, len(inside), 2)]
        path = np.linspace(start, end, 8)
        on = [p for p in np.rint(path).astype(int) if thing.truth[tuple(p)]]
        example.wanted = [(int(k), int(j), int(i)) for k, j, i in on]
        return example
    elif choice < 0.33:
        draft = spoilt(thing.truth, rng)
        click = next_click(thing.truth, draft, rng, 0.6)
        if click is not None:
            example.previous = draft.astype(np.float32)
            example.add(click)
            return example
    example.add(first_click(thing.truth, rng, float(rng.uniform(0.3, 1.0))))
    return example


def loose_box(truth: npt.NDArray[np.bool_], rng: np.random.Generator) -> Array:
    """1 inside a box that a hand might draw around the thing."""
    box = ndimage.find_objects(truth.astype(np.uint8))[0]
    loose = np.zeros(truth.shape, np.float32)
    sides = []
    for side, size in zip(box, truth.shape, strict=True):
        slack = rng.integers(-1, 4, 2)
        first = min(max(0, side.start - int(slack[0])), size - 2)
        sides.append(slice(first, max(first + 2, min(size, side.stop + int(slack[1])))))
    loose[tuple(sides)] = 1
    return loose


def spoilt(truth: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """A draft as a hurried hand or another model leaves it."""
    steps = int(rng.integers(1, 3))
    change = ndimage.binary_dilation if rng.random() < 0.5 else ndimage.binary_erosion
    draft = np.asarray(change(truth, iterations=steps), bool)
    axis, cut = int(rng.integers(3)), float(rng.uniform(0.3, 0.7))
    if rng.random() < 0.5:
        where = np.argwhere(truth)[:, axis]
        rows: list[slice] = [slice(None)] * 3
        rows[axis] = slice(int(np.quantile(where, cut)), None)
        draft[tuple(rows)] = False
    return draft


def varied(thing: Thing, rng: np.random.Generator) -> Thing:
    """The same example turned another way, a little lighter or darker."""
    order = tuple(int(a) for a in rng.permutation(3))
    flips = tuple(slice(None, None, -1 if rng.random() < 0.5 else 1) for _ in range(3))
    image, truth = thing.image.transpose(order)[flips], thing.truth.transpose(order)[flips]
    image = np.clip(image * rng.uniform(0.85, 1.1) + rng.normal(0, 0.05), -1.5, 1.5)
    return Thing(np.ascontiguousarray(image, np.float32), np.ascontiguousarray(truth))


def tensors(examples: Sequence[Example]) -> tuple[torch.Tensor, torch.Tensor]:
    """Channels and truth of a batch."""
    image = torch.from_numpy(np.stack([e.channels() for e in examples]))
    truth = torch.from_numpy(np.stack([e.thing.truth for e in examples])[:, None]).float()
    return image.contiguous(memory_format=torch.channels_last_3d), truth


def prepared(out: Path) -> tuple[list[Room], list[list[npt.NDArray[np.uint8]]]]:
    """Rooms and masks, remembered beside the run: making them takes a minute."""
    path = out / "prepared.npz"
    if not path.exists():
        _remember(path, rooms(), banks())
    with np.load(path, allow_pickle=False) as store:
        names = json.loads(str(store["names"]))
        found = []
        for n, (name, has_image, things) in enumerate(names["rooms"]):
            found.append(
                Room(
                    name,
                    store[f"image{n}"].astype(np.float32) if has_image else None,
                    store[f"spots{n}"],
                    None if has_image else store[f"tissues{n}"],
                    {t: store[f"thing{n}-{t}"] for t in things},
                )
            )
        masks = [[store[f"bank{b}-{m}"] for m in range(c)] for b, c in enumerate(names["banks"])]
    return found, masks


def _remember(path: Path, found: list[Room], masks: list[list[npt.NDArray[np.uint8]]]) -> None:
    arrays: dict[str, Any] = {}
    names = {
        "rooms": [(r.name, r.image is not None, list(r.things)) for r in found],
        "banks": [len(b) for b in masks],
    }
    for n, room in enumerate(found):
        arrays[f"spots{n}"] = room.spots
        if room.image is not None:
            arrays[f"image{n}"] = room.image.astype(np.float16)
        else:
            arrays[f"tissues{n}"] = room.tissues
        arrays |= {f"thing{n}-{t}": m for t, m in room.things.items()}
    for b, bank in enumerate(masks):
        arrays |= {f"bank{b}-{m}": mask for m, mask in enumerate(bank)}
    np.savez(path, names=json.dumps(names), **arrays)


def run(trainer: Trainer, out: Path, minutes: float, piece: float, steps: int) -> None:
    """Train until this piece, all minutes (of one processor) or the steps are used up."""
    started, begin = time.process_time() - trainer.seconds, time.monotonic()
    saved, recent = begin, []
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        while (
            trainer.seconds < 60 * minutes
            and time.monotonic() - begin < 60 * piece
            and trainer.steps < steps
        ):
            recent.append(trainer.step(trainer.seconds / (60 * minutes)))
            trainer.seconds = time.process_time() - started
            if len(recent) == 50:
                line = {"steps": trainer.steps, "loss": round(float(np.mean(recent)), 4)}
                print(json.dumps(line | {"s": round(trainer.seconds)}), file=log, flush=True)
                recent.clear()
            if time.monotonic() - saved > 120:
                trainer.save(out / "checkpoint.pt")
                saved = time.monotonic()
    trainer.save(out / "checkpoint.pt")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=25.0, help="of one processor, whole run")
    parser.add_argument(
        "--piece", type=float, default=1e9, help="minutes on the clock to spend now"
    )
    parser.add_argument("--steps", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(1)
    given.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(Things(*prepared(given.out), given.seed), Settings(seed=given.seed))
    if given.resume and (given.out / "checkpoint.pt").exists():
        trainer.load(given.out / "checkpoint.pt")
    run(trainer, given.out, given.minutes, given.piece, given.steps)


if __name__ == "__main__":
    main()
