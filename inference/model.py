"""What a model says about itself, and what it must be able to do.

A model presents itself as data: a folder with ``card.toml`` (:mod:`inference.card_reading`) and
weights without code (:mod:`inference.weights`). Neither torch nor the plug-in is needed to read
them. The plug-in named by the card's architecture (see
:mod:`inference.registry`) gives a :class:`Runner` inside the worker process.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from imaging.geometry import Box
from imaging.segmentation import LESION_CATEGORY, LESION_TYPE, Code

CARD_NAME = "card.toml"

#: What a model answers: marks lesions, splits a head into tissues, shows where it differs from
#: normal, follows clicks, or says whether anything is there at all.
LESIONS, TISSUE, DEVIATION, CLICK, PRESENCE = "lesions", "tissue", "deviation", "click", "presence"
KINDS = (LESIONS, TISSUE, DEVIATION, CLICK, PRESENCE)
#: Maps a model may give beside its probability.
UNCERTAINTY, PICTURE = "uncertainty", "picture"
MAPS = (UNCERTAINTY, PICTURE)


@dataclass(frozen=True)
class InputNeed:
    """One image a model wants: what the user calls it, and the sequence it was trained on.

    Parameters
    ----------
    sequence : str
        ``"FLAIR"``, several as ``"T1w, T2w or FLAIR"``, or ``"any"``.
    """

    name: str
    sequence: str
    required: bool = True
    description: str = ""

    @property
    def sequences(self) -> tuple[str, ...]:
        """The sequences it may be of; empty for any."""
        if self.sequence.casefold().partition(" ")[0] == "any":
            return ()
        words = re.split(r"\s*(?:,|/|\bor\b|\band\b)\s*", self.sequence)
        return tuple(word for word in words if word)


@dataclass(frozen=True)
class OutputLabel:
    """One label a model draws."""

    number: int
    name: str
    colour: tuple[int, int, int]
    category: Code = LESION_CATEGORY
    type: Code = LESION_TYPE


@dataclass(frozen=True)
class Member:
    """A model that an ensemble asks: its id, and the digest its weights must have."""

    id: str
    sha256: str


@dataclass(frozen=True)
class ModelCard:
    """What a model is for, what it needs, how good it is, and where its weights are.

    Parameters
    ----------
    id, name, version : str
        ``id`` is also the name of its folder.
    intended_use, not_for : str
        Sentences the user reads before running it.
    labels : tuple of OutputLabel
        What it marks.
    threshold : float
        Probability above which a voxel is marked, fixed before the model was judged.
    min_component_voxels : int
        Findings with fewer voxels *of the model's own grid* are dropped (26-connectivity).
    spacing_mm : float
        Edge of the model's cubic voxel.
    multiple : int
        Every edge of the model's grid is a multiple of this.
    architecture : str
        Names code of this program (a key of ``registry.PLUGINS``), never code of the model.
    arguments : mapping
        Given to the architecture.
    weights_file, weights_sha256 : str
        A file beside the card and its digest in lower-case hex. An ensemble has no file of its
        own; its digest is the one of its members' digests.
    kind : str
        One of :data:`KINDS`.
    maps : tuple of str
        Maps beside the probability, of :data:`MAPS`.
    members : tuple of Member
        The models an ensemble asks; empty for all others.
    cost : mapping
        Measured: ``cpu_seconds``, ``cpu_threads``, ``peak_bytes``; empty where nobody measured.
    training : mapping
        How and on whom it was trained; free text by name.
    figures : tuple of mapping
        Measured results, as the card gives them.
    """

    id: str
    name: str
    version: str
    summary: str
    intended_use: str
    not_for: str
    licence: str
    inputs: tuple[InputNeed, ...]
    labels: tuple[OutputLabel, ...]
    threshold: float
    min_component_voxels: int
    spacing_mm: float
    multiple: int
    architecture: str
    arguments: Mapping[str, Any]
    weights_file: str
    weights_sha256: str
    weights_bytes: int = 0
    authors: str = ""
    credit: str = ""
    limits: tuple[str, ...] = ()
    training: Mapping[str, Any] = field(default_factory=dict)
    figures: tuple[Mapping[str, Any], ...] = ()
    kind: str = LESIONS
    maps: tuple[str, ...] = ()
    members: tuple[Member, ...] = ()
    cost: Mapping[str, Any] = field(default_factory=dict)

    @property
    def required(self) -> tuple[InputNeed, ...]:
        """The images it cannot do without, the one that gives the grid first."""
        return tuple(need for need in self.inputs if need.required)

    @property
    def optional(self) -> tuple[InputNeed, ...]:
        """The images that help where they are there."""
        return tuple(need for need in self.inputs if not need.required)

    def label_number(self, place: int) -> int:
        """Number of the label at a place (0, 1, ...) of the card's order."""
        return self.labels[place].number


class RunCancelled(Exception):
    """The user took the run back; raised by :meth:`Report.step`."""


class Report(Protocol):
    """How a running model tells where it is."""

    def stage(self, words: str, share: float) -> None:
        """Begin a stage that takes about this share (0 to 1) of the whole run."""
        ...

    def step(self, fraction: float) -> None:
        """So much (0 to 1) of the stage is done; raises RunCancelled where it must stop."""
        ...

    def note(self, sentence: str) -> None:
        """Something the user should know about this run."""
        ...


@dataclass(frozen=True, eq=False)
class SourceImage:
    """An image as it was stored on disk, its padding and slope already dealt with.

    Parameters
    ----------
    voxels : ndarray, shape (k, j, i)
        Real values, finite.
    affine : ndarray, shape (4, 4)
        Index ``(k, j, i, 1)`` to LPS mm.
    """

    voxels: np.ndarray
    affine: np.ndarray


@dataclass(frozen=True, eq=False)
class Prepared:
    """A volume as the network sees it.

    Parameters
    ----------
    array : ndarray, shape (k, j, i)
        float32, normalised, on the model grid: the first required image.
    grid : inference.preprocess.ModelGrid
        The way back.
    others : mapping of str to ndarray
        The other images by the card's name for them, on the same grid; what was not given is not
        in it.
    scale : (float, float) or None
        Values of the first image that became -1 and 0: background and main tissue peak; needed
        where a picture is given back.
    """

    array: np.ndarray
    grid: Any
    others: Mapping[str, np.ndarray] = field(default_factory=dict)
    scale: tuple[float, float] | None = None


@dataclass(frozen=True, eq=False)
class Found:
    """A model's answer on its own grid.

    Parameters
    ----------
    probability : ndarray, shape (k, j, i) or (labels, k, j, i)
        float32 in [0, 1]; with several labels in the card's order. Of a deviation model the
        deviation, scaled to [0, 1].
    uncertainty : ndarray, shape (k, j, i), or None
        float32 in [0, 1].
    picture : ndarray, shape (k, j, i), or None
        What normal would look like, in the normalised units of :class:`Prepared`.
    facts : mapping
        What the model says about the whole study; small, of plain numbers and text (JSON).
    """

    probability: np.ndarray
    uncertainty: np.ndarray | None = None
    picture: np.ndarray | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Clicks:
    """What a person pointed at, on a cut-out of an image.

    Parameters
    ----------
    image : SourceImage
        The cut-out (real values) and where it lies.
    points : tuple of (float, float, float, int)
        ``(k, j, i)`` of the cut-out, and +1 for "this" or -1 for "not this".
    box : Box or None
        Drawn around the thing, in indices of the cut-out.
    scribble : ndarray, shape (k, j, i), or None
        int8: +1 "this", -1 "not this", 0 nothing said.
    previous : ndarray, shape (k, j, i), or None
        bool: the mask so far.
    """

    image: SourceImage
    points: tuple[tuple[float, float, float, int], ...] = ()
    box: Box | None = None
    scribble: np.ndarray | None = None
    previous: np.ndarray | None = None


class ClickRunner(Protocol):
    """A loaded click model (kind ``"click"``). Lives in the worker process only."""

    card: ModelCard

    @property
    def device_words(self) -> str:
        """Where the last pass ran, in words."""
        ...

    def click(self, clicks: Clicks, report: Report) -> np.ndarray:
        """Probability of the thing meant, float32 in [0, 1] on the grid of the cut-out."""
        ...


class Runner(Protocol):
    """A loaded model on a device. Lives in the worker process only."""

    card: ModelCard

    @property
    def device_words(self) -> str:
        """Where the last pass ran, in words."""
        ...

    def prepare(self, images: Mapping[str, SourceImage]) -> Prepared:
        """Bring the images, by the card's names for them, to the model grid.

        The first required one gives the grid, the others are resampled to it by patient
        coordinates.
        """
        ...

    def find(self, prepared: Prepared, report: Report) -> Found:
        """Find and mark on the model grid."""
        ...

    def heat(
        self, prepared: Prepared, target: np.ndarray, layer: str, report: Report
    ) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Evidence for the target voxels (bool, model grid).

        Returns a float32 block in [0, 1] of the model grid and its first index ``(k, j, i)``.
        A model that cannot explain itself raises BadInput with a sentence that says so.
        """
        ...
