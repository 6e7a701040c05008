"""Learning from images without masks: parts of a head are hidden, the network paints them again.

Masked-volume reconstruction (Chen et al. 2023, arXiv 2204.11716: blocks hidden, the loss counts
only there). What comes out are weights that a training may start from (``--from FOLDER``), not a
model: nothing is marked.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from imaging.errors import BadInput
from inference.training.own.bases import ENCODER, PRETRAINING
from inference.training.own.case_check import OpenCase
from inference.training.own.case_list import CaseFiles
from inference.training.own.choices import Choices, keep_choices
from inference.training.own.facts import until
from inference.training.own.files import write_text
from inference.training.own.loop import Run
from inference.training.own.packing import card_of, network_of, new_card_table
from inference.training.own.patches import PatchSource
from inference.training.own.prepared import PreparedCase, Store, anew_where_changed
from inference.training.own.progress import Speaker
from inference.training.own.training import start_torch

__all__ = ["Hidden", "pretrain"]

#: Edge of the blocks that are hidden, in voxels, and the share of them.
BLOCK, SHARE = 8, 0.5


class Hidden:
    """Batches of pieces with parts hidden, and what was there.

    Parameters
    ----------
    source : PatchSource
    seed : int
    """

    def __init__(self, source: PatchSource, seed: int) -> None:
        self._source, self._seed = source, seed

    def batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Images with holes, and whole ones."""
        whole, _ = self._source.batch(step)
        rng = np.random.default_rng([self._seed, step, 77])
        coarse = rng.random((len(whole), 1, *(-(-n // BLOCK) for n in whole.shape[2:]))) < SHARE
        for axis in range(2, whole.ndim):
            coarse = np.repeat(coarse, BLOCK, axis)
        cut = tuple(slice(None, n) for n in whole.shape[2:])
        holes = coarse[(slice(None), slice(None), *cut)]
        return np.where(holes, np.float32(0), whole).astype(np.float32), whole


def hidden_loss(painted: torch.Tensor, whole: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """Mean distance where something was hidden."""
    hidden = (seen != whole).float()
    return ((painted - whole).abs() * hidden).sum() / hidden.sum().clamp(min=1.0)


def pretrain(
    choices: Choices, images: Path, speaker: Speaker, resume: bool = False
) -> dict[str, Any]:
    """Learn from every volume under a folder; what ``done`` tells is returned as well.

    Raises
    ------
    BadInput
        Where there is no volume, or the network is one that answers yes or no.
    """
    if choices.recipe.classifies:
        raise BadInput("A yes-or-no network paints nothing; choose another for the pretraining")
    keep_choices(choices, resume)
    device = start_torch(choices)
    table = new_card_table(choices, choices.sequence or "any", ())
    inputs = table["network"]["arguments"].get("slices", 1)
    table["network"]["arguments"]["outputs"] = inputs
    speaker.stage("Preparing the images", 0.0, 0.2)
    cases = _prepared(images, Store(choices.folder, card_of(table)), speaker.inside)
    if not cases:
        raise BadInput("There is no volume to learn from", str(images))
    speaker.note(f"{len(cases)} volumes; nothing about them leaves this computer.")
    torch.manual_seed(choices.seed * 1000)
    run = Run(
        network_of(table), choices, choices.folder / "pretraining", device=device, loss=hidden_loss
    )
    if anew_where_changed(run.folder, cases):
        speaker.note("The images have changed since; it begins anew.")
    run.resume()
    speaker.stage("Painting what was hidden", 0.2, 0.78)
    source = PatchSource(cases, choices, 0, ahead=4 if device == "cuda" else 0)
    try:
        run.train(Hidden(source, choices.seed), until(choices, 1), speaker)
    finally:
        source.close()
    _write(run, choices, len(cases))
    done = {"promoted": True, "reason": "", "package": "", "report": ""}
    speaker.done(f"Start a training from it with --from {choices.folder}", **done)
    return done


def _prepared(images: Path, store: Store, progress: Callable[[float], None]) -> list[PreparedCase]:
    from imaging.open import load_series, scan
    from inference.training.own.case_check import CaseNote

    notes = []
    with scan([images]) as result:
        usable = [series for series in result.series if series.volumetric and not series.repeats]
        for number, series in enumerate(usable):
            progress(number / len(usable))
            volume = load_series(series)
            if not volume.even or volume.voxels.min() == volume.voxels.max():
                continue
            files = CaseFiles(f"image {number + 1}", images, None, patient=f"image {number + 1}")
            store.keep(OpenCase(files, volume, {}, None))
            notes.append(CaseNote(files, True))
    return store.cases(notes)


def _write(run: Run, choices: Choices, count: int) -> None:
    from safetensors.torch import save_file

    state = {k: v.detach().cpu().clone().contiguous() for k, v in run.averaged.items()}
    save_file(state, str(choices.folder / ENCODER), metadata={"format": "pt"})
    facts = {
        "network": f"{choices.network}, {choices.dims}-D",
        "images": count,
        "steps": run.steps,
        "seed": choices.seed,
        "method": f"masked volumes: {SHARE:.0%} of blocks of {BLOCK} voxels hidden",
    }
    write_text(choices.folder / PRETRAINING, json.dumps(facts, indent=1))
