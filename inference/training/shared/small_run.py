"""One training run of a small network: running average, schedule by CPU time, checkpoints, log.

Made to be cut into pieces: ``minutes`` ends a piece, ``budget`` (CPU minutes of all pieces
together) decides the learning rate, and the next piece goes on from the checkpoint.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from inference.training.shared.learning import (
    average,
    descend,
    hold_statistics,
    learning_state,
    set_rate,
    settle,
    take_learning_state,
    write_checkpoint,
)

__all__ = ["Plan", "SmallRun"]

CHECKPOINT = "checkpoint.pt"
Learn = Callable[[nn.Module, np.random.Generator], torch.Tensor]


@dataclass(frozen=True)
class Plan:
    """What decides a run besides data and loss.

    Parameters
    ----------
    budget : float
        CPU minutes of all pieces together.
    settle : float
        Share of the budget after which batch normalisation keeps its averaged statistics.
    """

    budget: float
    rate: float = 2e-3
    weight_decay: float = 1e-2
    warmup: int = 40
    average: float = 0.995
    settle: float = 0.4
    clip: float = 1.0
    seed: int = 0


class SmallRun:
    """A network and everything that a checkpoint has to hold.

    Parameters
    ----------
    network : nn.Module
    plan : Plan
    out : path
        Folder of checkpoint and ``log.jsonl``; a checkpoint found there is gone on from.
    facts : mapping
        Kept in the checkpoint, such as the arguments of the network.
    """

    def __init__(self, network: nn.Module, plan: Plan, out: Path, facts: dict[str, Any]) -> None:
        self.network, self.plan, self.out, self.facts = network, plan, out, facts
        self.optimiser = torch.optim.AdamW(
            network.parameters(), plan.rate, weight_decay=plan.weight_decay
        )
        self.averaged = {k: v.clone() for k, v in network.state_dict().items()}
        self.steps, self.cpu_seconds, self.settled = 0, 0.0, False
        out.mkdir(parents=True, exist_ok=True)
        if (out / CHECKPOINT).exists():
            self._load()

    @property
    def progress(self) -> float:
        """Share of the budget already used."""
        return self.cpu_seconds / (60 * self.plan.budget)

    def go(self, learn: Learn, minutes: float, steps: int = 10**9) -> None:
        """Train until the piece, the steps or the budget are used up.

        Parameters
        ----------
        learn : callable
            Gives the loss of a new batch.
        minutes : float
            Wall-clock length of this piece.
        """
        begun, saved = time.monotonic(), time.monotonic()
        before = time.process_time() - self.cpu_seconds
        recent: list[float] = []
        rng = np.random.default_rng([self.plan.seed, self.steps])
        with (self.out / "log.jsonl").open("a", encoding="utf-8") as log:
            while self.progress < 1 and self.steps < steps:
                recent.append(self._step(learn, rng))
                self.cpu_seconds = time.process_time() - before
                if len(recent) == 20:
                    line = {"steps": self.steps, "loss": round(float(np.mean(recent)), 4)}
                    print(json.dumps(line | {"cpu_s": round(self.cpu_seconds)}), file=log)
                    log.flush()
                    recent.clear()
                now = time.monotonic()
                if now - saved > 120:
                    self.save()
                    saved = now
                if now - begun > 60 * minutes:
                    break
        self.save()

    def _step(self, learn: Learn, rng: np.random.Generator) -> float:
        plan = self.plan
        set_rate(self.optimiser, plan.rate, plan.warmup, self.steps, self.progress)
        self._normalisation()
        loss = learn(self.network, rng)
        descend(loss, self.network, self.optimiser, plan.clip)
        self.steps += 1
        average(self.averaged, self.network, self.steps, self.plan.average)
        return float(loss.detach())

    @torch.no_grad()
    def _normalisation(self) -> None:
        """Training mode; settled statistics once it is time, as the network will be used."""
        self.network.train()
        if self.progress < self.plan.settle:
            return
        if not self.settled:
            settle(self.network, self.averaged)
            self.settled = True
        hold_statistics(self.network)

    def save(self) -> None:
        """Write a checkpoint that is whole or not there."""
        state = {
            **learning_state(self.network, self.averaged, self.optimiser),
            "steps": self.steps,
            "cpu_seconds": self.cpu_seconds,
            "settled": self.settled,
            "facts": json.dumps(self.facts | {"seed": self.plan.seed}),
        }
        write_checkpoint(state, self.out / CHECKPOINT)

    def _load(self) -> None:
        state = torch.load(self.out / CHECKPOINT, weights_only=True)
        self.averaged = take_learning_state(state, self.network, self.optimiser)
        self.steps, self.cpu_seconds = state["steps"], state["cpu_seconds"]
        self.settled = state["settled"]
