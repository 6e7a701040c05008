"""Cases on the network's grid, kept as plain arrays in the folder of the training.

They are made once, then read piece by piece (mapped, not loaded), so a hundred heads need little
memory. What the application prepares and what training sees comes from the same function.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.model import ModelCard
from inference.training.own.case_check import OpenCase
from inference.training.own.files import read_table, write_text

__all__ = ["PreparedCase", "Store", "anew_where_changed"]

#: So many marked voxels, and others inside the head, are remembered as centres of patches.
_CENTRES = 4000


@dataclass(frozen=True)
class PreparedCase:
    """A case that a run may learn from.

    Parameters
    ----------
    folder : Path
        Holds ``image.npy`` (float16, ``(c, k, j, i)``) and ``mask.npy`` (uint8, ``(k, j, i)``).
    positive : bool
        Whether anything is marked, or the answer is yes.
    digest : str
        Of images, mask and answer: a corrected mask is another case.
    """

    name: str
    patient: str
    subgroup: str
    fold: str
    folder: Path
    positive: bool
    digest: str = ""

    @property
    def image(self) -> npt.NDArray[np.float16]:
        """``(c, k, j, i)``, mapped."""
        return np.load(self.folder / "image.npy", mmap_mode="r")

    @property
    def mask(self) -> npt.NDArray[np.uint8]:
        """``(k, j, i)``, mapped; all 0 for a yes-or-no case without a mask."""
        return np.load(self.folder / "mask.npy", mmap_mode="r")

    @property
    def centres(self) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
        """Marked places, and places inside the head, each ``(n, 3)``."""
        with np.load(self.folder / "centres.npz") as stored:
            return stored["marked"], stored["inside"]


class Store:
    """The prepared cases of one training.

    Parameters
    ----------
    folder : Path
        Of the training.
    card : ModelCard
        Says which images, at which spacing.
    """

    def __init__(self, folder: Path, card: ModelCard, label: int = 0) -> None:
        self.folder, self._card, self._label = folder / "cases", card, label

    def keep(self, case: OpenCase) -> None:
        """Prepare and write one case; nothing is done where the very same is there already.

        Raises
        ------
        ImagingError
            Where it cannot be prepared, or the disk refuses.
        """
        from inference.plugins.whole_head import as_channels, prepare_images
        from inference.preprocess import resample_to_model

        place, digest = self._place(case.files.name), case.digest
        if (place / "done").exists():
            if read_table(place / "done").get("digest") == digest:
                return
            (place / "done").unlink()
        place.mkdir(parents=True, exist_ok=True)
        first = self._card.required[0].name
        known = {need.name for need in self._card.inputs}
        images = {n: i for n, i in case.images(first).items() if n in known}
        prepared = prepare_images(self._card, images)
        channels = as_channels(self._card, prepared).astype(np.float16)
        mask = np.zeros(prepared.array.shape, np.uint8)
        if case.mask is not None:
            marked = case.marked(self._label).astype(np.float32)
            mask = (resample_to_model(marked, prepared.grid, fill=0.0) > 0.5).astype(np.uint8)
        np.save(place / "image.npy", channels)
        np.save(place / "mask.npy", mask)
        marked, inside = _centres(prepared.array, mask)
        np.savez(place / "centres.npz", marked=marked, inside=inside)
        positive = case.answer if self._card.kind == "presence" else bool(mask.any())
        write_text(place / "done", json.dumps({"positive": positive, "digest": digest}))

    def cases(self, notes: Sequence[Any]) -> list[PreparedCase]:
        """Those of the checked cases that can be used and are stored."""
        found = []
        for note in notes:
            place = self._place(note.files.name)
            if not note.ok or not (place / "done").exists():
                continue
            facts, files = read_table(place / "done"), note.files
            known = files.name, files.patient, files.subgroup, files.fold, place
            told = bool(facts.get("positive")), str(facts.get("digest", ""))
            found.append(PreparedCase(*known, *told))
        return found

    def _place(self, name: str) -> Path:
        from hashlib import blake2b

        return self.folder / blake2b(name.encode(), digest_size=8).hexdigest()


def anew_where_changed(folder: Path, cases: Sequence[PreparedCase]) -> bool:
    """Throw a run's checkpoint away where it learned from other cases than these.

    Parameters
    ----------
    folder : Path
        Of the run; what it learns from is written down in it.

    Returns
    -------
    bool
        Whether there was such a checkpoint.
    """
    from inference.training.own.loop import CHECKPOINT, LOG

    known = folder / "learned.json"
    wanted = {"cases": {case.name: case.digest for case in cases}}
    if known.exists() and read_table(known) == wanted:
        return False
    stale = (folder / CHECKPOINT).exists()
    for name in (CHECKPOINT, LOG):
        (folder / name).unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_text(known, json.dumps(wanted))
    return stale


def _centres(
    image: npt.NDArray[np.float32], mask: npt.NDArray[np.uint8]
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.int16]]:
    rng = np.random.default_rng(0)

    def some(where: npt.NDArray[np.bool_]) -> npt.NDArray[np.int16]:
        places = np.flatnonzero(where)
        if len(places) > _CENTRES:
            places = np.sort(rng.choice(places, _CENTRES, replace=False))
        return np.stack(np.unravel_index(places, where.shape), axis=1).astype(np.int16)

    return some(mask > 0), some(image > -0.8)
