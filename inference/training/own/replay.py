"""Pieces of the old task among those of the new one, so that an adapted model does not forget.

The old task is white-matter lesions on FLAIR, and its pieces are made up anew from the MNI template
with lesions planted (:mod:`inference.training.lesions.synthesis`); what is right on them the old
model says itself. Where the template or the lesion masks are not at hand, nothing is replayed, and
agreement on the user's own images has to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from inference.training.own.bases import Base
from inference.training.own.choices import Choices
from inference.training.own.loop import Batches

if TYPE_CHECKING:
    from inference.training.lesions.synthesis import Synthesiser

__all__ = ["ASK_THE_OLD", "WithReplay", "old_task"]

#: Label of a piece on which the old model's own answer counts.
ASK_THE_OLD = -1.0
#: One piece of every so many batches is of the old task.
EVERY = 2
#: So many patients' masks are enough as shapes and places.
_MASKS = 6


def old_task(base: Base, choices: Choices) -> Synthesiser | None:
    """Where pieces of the old task come from; None where they cannot be made here."""
    from inference.training.shared.cases import (
        MASK_PATIENTS,
        data_root,
        lesion_bank,
        template_anatomy,
        template_tissues,
    )

    card = base.card
    fits = (
        card.required[0].sequence == "FLAIR"
        and choices.sequence in ("", "FLAIR")
        and card.spacing_mm == 1.0
        and choices.dims == "3"
    )
    needed = (data_root() / "normal_templates_mni", data_root() / "ms_open_mni")
    if not fits or not all(folder.is_dir() for folder in needed):
        return None
    from inference.training.lesions.synthesis import Synthesiser

    anatomy = template_anatomy(template_tissues(), ())
    return Synthesiser(
        [anatomy], lesion_bank(MASK_PATIENTS[:_MASKS]), choices.seed, {anatomy.kind: 1.0}
    )


class WithReplay:
    """Batches in which now and then one piece is of the old task.

    Parameters
    ----------
    source : Batches
        Of the new task.
    old : Synthesiser
    seed, run : int
        The old pieces, too, depend on seed, run and step alone.
    """

    def __init__(self, source: Batches, old: Synthesiser, seed: int, run: int) -> None:
        self._source, self._old, self._seed = source, old, (seed, run)

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Images and labels; :data:`ASK_THE_OLD` all over an old piece."""
        images, labels = self._source.batch(step)
        if step % EVERY:
            return images, labels
        self._old.rng = np.random.default_rng([*self._seed, step, 9])
        k, j, i = images.shape[2:]
        piece = self._old.sample((k, j, i))
        images, labels = images.copy(), labels.copy()
        images[0] = 0.0
        images[0, 0] = piece.image
        if piece.others is not None and len(images[0]) == 1 + len(piece.others):
            images[0, 1:] = piece.others
        labels[0] = ASK_THE_OLD
        return images, labels
