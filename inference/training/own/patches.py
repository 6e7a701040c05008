"""What a run learns from at each step: pieces of prepared cases, varied.

Every piece comes from a seed made of (seed of the training, number of the run, step, place in the
batch) and nothing else. A run that was stopped therefore goes on exactly as it would have.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import local

import numpy as np
import numpy.typing as npt

from inference.training.own.augment import Augmenter
from inference.training.own.choices import SLICES, Choices
from inference.training.own.prepared import PreparedCase

__all__ = ["PatchSource", "cut_block"]

Array = npt.NDArray[np.float32]
#: Share of pieces that lie on something marked (as nnU-Net); more makes networks over-mark.
ON_TARGET = 0.33
#: An image that is only helpful is left out so often, that the network does without it, too.
DROPPED = 0.3
#: Background of normalised images.
_AIR = -1.0


class PatchSource:
    """Pieces of some cases.

    Parameters
    ----------
    cases : sequence of PreparedCase
    choices : Choices
    run : int
        Number of the run: other runs see other pieces.
    ahead : int
        So many batches are prepared by threads while the device works; 0 for none.
    """

    def __init__(
        self, cases: Sequence[PreparedCase], choices: Choices, run: int, ahead: int = 0
    ) -> None:
        self._cases, self._choices, self._run = list(cases), choices, run
        self._images = [case.image for case in self._cases]
        self._masks = [case.mask for case in self._cases]
        self._centres = [case.centres for case in self._cases]
        self._per_thread = local()
        self._ahead, self._pool = ahead, ThreadPoolExecutor(min(ahead, 4)) if ahead else None
        self._coming: dict[int, Future[tuple[Array, Array]]] = {}

    def batch(self, step: int) -> tuple[Array, Array]:
        """Images ``(n, c, ...)`` and labels ``(n, 1, ...)`` (or ``(n, 1)`` for yes or no)."""
        if self._pool is None:
            return self._batch(step)
        for coming in range(step, step + self._ahead):
            if coming not in self._coming:
                self._coming[coming] = self._pool.submit(self._batch, coming)
        return self._coming.pop(step).result()

    def close(self) -> None:
        """End the threads."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)

    def _batch(self, step: int) -> tuple[Array, Array]:
        recipe = self._choices.recipe
        seeds = [[self._choices.seed, self._run, step, place] for place in range(recipe.batch)]
        make = self._whole if recipe.classifies else self._piece
        images, labels = zip(*(make(np.random.default_rng(s)) for s in seeds), strict=True)
        if recipe.classifies:
            images = _of_one_size(images, recipe.multiple)
        return np.stack(images), np.stack(labels)

    def _piece(self, rng: np.random.Generator) -> tuple[Array, Array]:
        number = int(rng.integers(len(self._cases)))
        marked, inside = self._centres[number]
        places = marked if len(marked) and rng.random() < ON_TARGET else inside
        image, mask = self._images[number], self._masks[number]
        centre = places[rng.integers(len(places))] if len(places) else np.array(mask.shape) // 2
        planes, edge = self._choices.dims == "2.5", self._choices.recipe.patch
        augmenter = self._augmenter((edge,) * (2 if planes else 3))
        size = (SLICES, *augmenter.cut) if planes else augmenter.cut
        jitter = 0 if planes else edge // 4
        away = rng.integers(-(edge // 4), edge // 4 + 1, 3)
        centre = centre + np.where(np.arange(3) == 0, np.clip(away, -jitter, jitter), away)
        start = [int(c) - n // 2 for c, n in zip(centre, size, strict=True)]
        block, label = cut_block(image, start, size, _AIR), cut_block(mask[None], start, size, 0)
        self._drop(block, rng)
        if planes:
            block, label = block.reshape(-1, *size[1:]), label[:, SLICES // 2]
        return self._varied(augmenter, block, label, rng)

    def _whole(self, rng: np.random.Generator) -> tuple[Array, Array]:
        wanted = bool(rng.random() < 0.5)
        fitting = [n for n, case in enumerate(self._cases) if case.positive == wanted]
        number = int(rng.choice(fitting or range(len(self._cases))))
        block = np.array(self._images[number], np.float32)
        self._drop(block, rng)
        augmenter = self._augmenter(block.shape[1:], gentle=True)
        image, _ = self._varied(augmenter, block, np.zeros_like(block[:1]), rng)
        shift = rng.integers(-2, 3, 3)
        image = np.roll(image, shift, (1, 2, 3))
        return image, np.array([self._cases[number].positive], np.float32)

    def _varied(
        self, augmenter: Augmenter, block: Array, label: Array, rng: np.random.Generator
    ) -> tuple[Array, Array]:
        missing = ~block.any(axis=tuple(range(1, block.ndim)))
        image, label = augmenter(block, label, int(rng.integers(2**31)))
        image[missing] = 0.0
        return image, label

    def _drop(self, block: Array, rng: np.random.Generator) -> None:
        for channel in range(1, len(block)):
            if rng.random() < DROPPED:
                block[channel] = 0.0

    def _augmenter(self, shape: tuple[int, ...], gentle: bool = False) -> Augmenter:
        """One for each thread and size: MONAI's transforms remember their random numbers."""
        known = self._per_thread.__dict__.setdefault("known", {})
        gentle = gentle or self._choices.few_shot
        if (shape, gentle) not in known:
            known[shape, gentle] = Augmenter(shape, gentle)
        return known[shape, gentle]


def cut_block(image: np.ndarray, start: Sequence[int], size: Sequence[int], fill: float) -> Array:
    """A block ``(c, *size)`` of ``(c, k, j, i)`` that may reach beyond the image; float32."""
    block = np.full((len(image), *size), fill, np.float32)
    source, target = [slice(None)], [slice(None)]
    for first, n, whole in zip(start, size, image.shape[1:], strict=True):
        low, high = max(first, 0), min(first + n, whole)
        if low >= high:
            return block
        source.append(slice(low, high))
        target.append(slice(low - first, high - first))
    block[tuple(target)] = image[tuple(source)]
    return block


def _of_one_size(images: Sequence[Array], multiple: int) -> list[Array]:
    """Padded with air to the largest of the batch."""
    largest = np.max([image.shape[1:] for image in images], axis=0)
    size = [int(-(-n // multiple) * multiple) for n in largest]
    return [
        cut_block(
            image, [-((n - m) // 2) for n, m in zip(size, image.shape[1:], strict=True)], size, _AIR
        )
        for image in images
    ]
