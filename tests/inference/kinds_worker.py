"""A worker whose models need no network: one of every kind, with answers that can be foretold."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from imaging.errors import BadInput
from inference import worker
from inference.model import Clicks, Found, ModelCard, Prepared, Report
from inference.plugins.whole_head import prepare_images
from inference.registry import PLUGINS


class Plain:
    """Bright voxels are found; what else is given is chosen by the card's arguments."""

    def __init__(self, card: ModelCard, folder: Path, device) -> None:
        self.card, self.device_words = card, device.words

    def prepare(self, images):
        return prepare_images(self.card, images)

    def find(self, prepared: Prepared, report: Report) -> Found:
        for step in range(int(self.card.arguments.get("slow", 0))):
            report.step(step / 1000)
            time.sleep(0.01)
        if self.card.arguments.get("greedy"):
            raise MemoryError
        bright = np.clip(prepared.array, 0, 1).astype(np.float32)
        brain = np.abs(prepared.array) < 0.3
        facts: dict = {n: float(np.median(one[brain])) for n, one in prepared.others.items()}
        facts["sentences"] = ["Told."]
        if self.card.kind == "tissue":
            inside = (prepared.array > -0.9).astype(np.float32)
            stack = np.stack([bright * inside, (1 - bright) * inside, 0 * bright])
            return Found(stack, facts=facts)
        picture = np.minimum(prepared.array, 0.2).astype(np.float32)
        return Found(bright, (bright * (1 - bright) * 4).astype(np.float32), picture, facts)

    def heat(self, prepared, target, layer, report):
        if self.card.kind == "tissue":
            raise BadInput("This model does not explain itself")
        return target.astype(np.float32), (0, 0, 0)


class Follower:
    """A click means the voxels near it that are about as bright as the place clicked."""

    def __init__(self, card: ModelCard, folder: Path, device) -> None:
        self.card, self.device_words = card, device.words

    def click(self, clicks: Clicks, report: Report) -> np.ndarray:
        voxels = clicks.image.voxels
        found = np.zeros(voxels.shape, np.float32)
        for k, j, i, sign in clicks.points:
            here = float(voxels[round(k), round(j), round(i)])
            found[np.abs(voxels - here) < 20] = 1.0 if sign > 0 else 0.0
        if clicks.previous is not None:
            found[clicks.previous] = 1.0
        if clicks.scribble is not None:
            found[clicks.scribble < 0] = 0.0
        if clicks.box is not None:
            kept = np.zeros(voxels.shape, bool)
            kept[clicks.box.slices] = True
            found[~kept] = 0.0
        report.step(1.0)
        return found


if __name__ == "__main__":
    import kinds_worker

    PLUGINS.update(plain="kinds_worker:Plain", follower="kinds_worker:Follower")
    assert kinds_worker.Plain
    worker.main()
