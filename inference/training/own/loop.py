"""One run: a network, its running average, an optimiser, and a checkpoint that is always whole.

The folder of a run holds ``checkpoint.pt`` (tensors and plain values only), ``log.csv`` and, where
TensorBoard is installed, its events. With a number of steps the same seed gives the same weights
on a CPU, also after a stop in the middle.
"""

from __future__ import annotations

import csv
import math
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from imaging.errors import BadInput
from inference.training.own.choices import Choices
from inference.training.own.losses import Loss, make_loss
from inference.training.own.progress import Speaker, Stopped
from inference.training.shared.learning import average, write_checkpoint

__all__ = ["Batches", "Run", "Until"]

CHECKPOINT, LOG = "checkpoint.pt", "log.csv"
#: Seconds between two checkpoints, and between two lines of progress.
SAVE_S, TELL_S = 60.0, 1.0
#: The averaged weights forget with this time constant, in steps.
AVERAGE = 0.995
CLIP = 1.0
#: Shares of a run at which a left-out case is looked at.
MARKS = (0.2, 0.4, 0.6, 0.8)
WARMUP = 20


class Batches(Protocol):
    """Where a run gets what it learns from."""

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels of a step."""
        ...


@dataclass(frozen=True)
class Until:
    """When a run ends: after steps, or after seconds; the other is 0."""

    steps: int = 0
    seconds: float = 0.0

    def share(self, steps: int, seconds: float) -> float:
        """How much of the run is behind, 0 to 1."""
        return min(1.0, steps / self.steps if self.steps else seconds / max(self.seconds, 1e-6))

    def expected(self, steps: int, seconds: float) -> int:
        """Steps of the whole run, as far as can be said."""
        share = self.share(steps, seconds)
        return self.steps or (round(steps / share) if share > 0.01 else 0)


class Run:
    """Training of one network.

    Parameters
    ----------
    network : nn.Module
        Fresh or pretrained; moved to the device.
    choices : Choices
    folder : Path
        Of this run.
    number, runs : int
        For the progress, from 1.
    device : str
        ``"cpu"`` or ``"cuda"``.
    learned : iterable of Parameter, optional
        What may change; everything by default.
    loss : callable, optional
        Of logits, labels and images; by default the chosen loss.
    calm : bool
        Batch normalisation keeps the statistics it came with (few cases say little about heads).
    """

    def __init__(
        self,
        network: nn.Module,
        choices: Choices,
        folder: Path,
        number: int = 1,
        runs: int = 1,
        device: str = "cpu",
        learned: Iterable[nn.Parameter] | None = None,
        loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor] | None = None,
        calm: bool = False,
    ) -> None:
        self.folder, self.number, self.runs, self.device = folder, number, runs, device
        self.network = network.to(device)
        self._calm = calm
        plain: Loss = make_loss(choices.loss, choices.recipe.classifies)
        self._loss = loss or (lambda logits, label, image: plain(logits, label))
        given = network.parameters() if learned is None else learned
        self._learned = [parameter for parameter in given if parameter.requires_grad]
        self._rate = choices.recipe.rate
        self._optimiser: torch.optim.Optimizer
        if choices.optimiser == "sgd":
            self._rate *= 5
            self._optimiser = torch.optim.SGD(
                self._learned, self._rate, momentum=0.95, nesterov=True, weight_decay=1e-4
            )
        else:
            self._optimiser = torch.optim.AdamW(self._learned, self._rate, weight_decay=1e-2)
        self.averaged = {k: v.detach().clone() for k, v in network.state_dict().items()}
        self.steps, self.seconds = 0, 0.0
        half = device == "cuda" and not torch.cuda.is_bf16_supported()
        self._precision = torch.float16 if half else torch.bfloat16
        self._scaler = torch.amp.GradScaler(device, enabled=half)

    # --- the loop ---

    def train(
        self,
        source: Batches,
        until: Until,
        speaker: Speaker,
        validate: Callable[[], float | None] | None = None,
    ) -> None:
        """Go on until the end.

        Parameters
        ----------
        validate : callable, optional
            A figure of a left-out case, asked for a few times (:data:`MARKS`) and written into
            the log; nothing is chosen by it.

        Raises
        ------
        Stopped
            Where the speaker was asked to stop; the checkpoint is written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        begun, saved, told = time.monotonic() - self.seconds, time.monotonic(), 0.0
        recent: list[float] = []
        marks = [m for m in MARKS if m > until.share(self.steps, self.seconds)] if validate else []
        with _Log(self.folder) as log:
            while until.share(self.steps, self.seconds) < 1.0:
                if speaker.stopping:
                    self.save()
                    raise Stopped
                recent.append(self.step(source, until.share(self.steps, self.seconds)))
                self.seconds = time.monotonic() - begun
                figure = None
                if validate and marks and until.share(self.steps, self.seconds) >= marks[0]:
                    marks.pop(0)
                    figure = validate()
                now = time.monotonic()
                if now - told > TELL_S or figure is not None or self.steps == until.steps:
                    loss, told = float(np.mean(recent)), now
                    recent.clear()
                    done = until.share(self.steps, self.seconds)
                    expected = until.expected(self.steps, self.seconds)
                    log.row(self.steps, self.seconds, loss, self._optimiser, figure)
                    run = self.number, self.runs
                    speaker.step(self.steps, expected, run, loss, done, figure)
                if now - saved > SAVE_S:
                    self.save()
                    saved = now
        self.save()

    def step(self, source: Batches, progress: float) -> float:
        """Learn from one batch; returns the loss.

        Raises
        ------
        BadInput
            Where the loss or its slope is no finite number; nothing was learned from it.
        """
        image, label = (torch.from_numpy(a).to(self.device) for a in source.batch(self.steps))
        warm = min(1.0, (self.steps + 1) / WARMUP)
        rate = self._rate * warm * (0.5 + 0.5 * math.cos(math.pi * progress))
        for group in self._optimiser.param_groups:
            group["lr"] = max(rate, 1e-6)
        self.network.train(not self._calm)
        self._optimiser.zero_grad(set_to_none=True)
        with torch.autocast(self.device, self._precision, enabled=self.device == "cuda"):
            logits = self.network(image)
        loss = self._loss(logits.float(), label, image)
        self._finite(loss)
        self._scaler.scale(loss).backward()
        self._scaler.unscale_(self._optimiser)
        length = nn.utils.clip_grad_norm_(self._learned, CLIP)
        if not self._scaler.is_enabled():  # with half precision such a step is left out
            self._finite(length)
        self._scaler.step(self._optimiser)
        self._scaler.update()
        self.steps += 1
        average(self.averaged, self.network, self.steps, AVERAGE)
        return float(loss.detach())

    def _finite(self, value: torch.Tensor) -> None:
        """Stop before a step that would spoil the weights; the last checkpoint stays as it is."""
        if not bool(torch.isfinite(value).all()):
            raise BadInput(
                f"The training went astray: at step {self.steps} the loss is no number any more",
                "", "Look at the images and masks, or start anew with a smaller rate (--recipe)",
            )  # fmt: skip

    # --- checkpoints ---

    def save(self) -> None:
        """Write the checkpoint aside, then rename: whole or the one before."""
        state = {
            "network": self.network.state_dict(),
            "averaged": self.averaged,
            "optimiser": self._optimiser.state_dict(),
            "scaler": self._scaler.state_dict(),
            "steps": self.steps,
            "seconds": self.seconds,
        }
        write_checkpoint(state, self.folder / CHECKPOINT)

    def resume(self) -> bool:
        """Go on from the checkpoint; False where there is none."""
        file = self.folder / CHECKPOINT
        if not file.exists():
            return False
        state = torch.load(file, weights_only=True, map_location=self.device)
        self.network.load_state_dict(state["network"])
        self.averaged = state["averaged"]
        self._optimiser.load_state_dict(state["optimiser"])
        self._scaler.load_state_dict(state["scaler"])
        self.steps, self.seconds = state["steps"], state["seconds"]
        return True

    def result(self, into: nn.Module) -> nn.Module:
        """The averaged weights in another network of the same form."""
        into.load_state_dict(self.averaged)
        return into.eval()


class _Log:
    """``log.csv``, and TensorBoard's events where it is installed."""

    _HEADER = ("step", "seconds", "loss", "rate", "validation")

    def __init__(self, folder: Path) -> None:
        self._file = (folder / LOG).open("a", newline="", encoding="utf-8")
        self._rows = csv.writer(self._file)
        if self._file.tell() == 0:
            self._rows.writerow(self._HEADER)
        self._board: Any = None
        with suppress(ImportError):
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(folder))

    def row(self, step: int, seconds: float, loss: float, optimiser, figure: float | None) -> None:
        rate = optimiser.param_groups[0]["lr"]
        shown = "" if figure is None else round(figure, 4)
        self._rows.writerow((step, round(seconds, 1), round(loss, 5), f"{rate:.3g}", shown))
        self._file.flush()
        if self._board is not None:
            self._board.add_scalar("loss", loss, step)
            if figure is not None:
                self._board.add_scalar("validation", figure, step)

    def __enter__(self) -> _Log:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()
