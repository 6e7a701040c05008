"""What a model says about itself, and what it must be able to do.

A model presents itself as data: a folder with ``card.toml`` and weights without code. Reading the
card needs neither torch nor the plug-in. The plug-in named by the card's architecture (see
:mod:`inference.registry`) gives a :class:`Runner` inside the worker process.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from imaging.errors import BadInput
from imaging.segmentation import LESION_CATEGORY, LESION_TYPE, PALETTE, Code

CARD_NAME = "card.toml"


@dataclass(frozen=True)
class InputNeed:
    """One image a model wants: what the user calls it, and the sequence it was trained on."""

    name: str
    sequence: str
    required: bool = True
    description: str = ""


@dataclass(frozen=True)
class OutputLabel:
    """One label a model draws."""

    number: int
    name: str
    colour: tuple[int, int, int]
    category: Code = LESION_CATEGORY
    type: Code = LESION_TYPE


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
        A file beside the card and its digest in lower-case hex.
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
class Prepared:
    """A volume as the network sees it.

    Parameters
    ----------
    array : ndarray, shape (k, j, i)
        float32, normalised, on the model grid.
    grid : inference.preprocess.ModelGrid
        The way back.
    """

    array: np.ndarray
    grid: Any


class Runner(Protocol):
    """A loaded model on a device. Lives in the worker process only."""

    card: ModelCard

    @property
    def device_words(self) -> str:
        """Where the last pass ran, in words."""
        ...

    def prepare(self, voxels: np.ndarray, affine: np.ndarray) -> Prepared:
        """Bring real values ``(k, j, i)`` (affine to LPS mm) to the model grid."""
        ...

    def probability(self, prepared: Prepared, report: Report) -> np.ndarray:
        """Probability of a finding on the model grid, float32 in [0, 1]."""
        ...

    def heat(
        self, prepared: Prepared, target: np.ndarray, layer: str, report: Report
    ) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Evidence for the target voxels (bool, model grid).

        Returns a float32 block in [0, 1] of the model grid and its first index ``(k, j, i)``.
        """
        ...


def load_card(folder: Path) -> ModelCard:
    """Read ``card.toml`` of a model folder.

    Raises
    ------
    BadInput
        Where the card is missing, not TOML, incomplete or says something impossible.
    """
    path = folder / CARD_NAME
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput("The model has no readable card", str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadInput("The model card is not valid TOML", str(path)) from error
    return card_from_table(table, str(path))


def card_from_table(table: Mapping[str, Any], where: str = "") -> ModelCard:
    """Build a card from the parsed TOML.

    Raises
    ------
    BadInput
        Naming the first field that is missing or impossible.
    """
    read = _Reader(table, where)
    outputs, preprocess = read.table("outputs"), read.table("preprocess")
    network, weights = read.table("network"), read.table("weights")
    card = ModelCard(
        id=read.text("id"),
        name=read.text("name"),
        version=read.text("version"),
        summary=read.text("summary"),
        intended_use=read.text("intended_use"),
        not_for=read.text("not_for"),
        licence=read.text("licence"),
        inputs=tuple(_input(item) for item in read.tables("inputs")),
        labels=tuple(_label(n, item) for n, item in enumerate(outputs.tables("labels"), 1)),
        threshold=outputs.number("threshold"),
        min_component_voxels=int(outputs.number("min_component_voxels")),
        spacing_mm=preprocess.number("spacing_mm"),
        multiple=int(preprocess.number("multiple")),
        architecture=network.text("architecture"),
        arguments=dict(network.values.get("arguments", {})),
        weights_file=weights.text("file"),
        weights_sha256=weights.text("sha256").lower(),
        weights_bytes=int(weights.values.get("bytes", 0)),
        authors=_joined(table.get("authors", "")),
        credit=_joined(table.get("credit", "")),
        limits=_sentences(table.get("limits", ())),
        training=dict(table.get("training", {})),
        figures=tuple(dict(item) for item in table.get("figures", ())),
    )
    _check(card, where)
    return card


def _check(card: ModelCard, where: str) -> None:
    rules = (
        (re.fullmatch(r"[a-z0-9][a-z0-9._-]*", card.id), "id", "small letters, digits and dashes"),
        (0 < card.threshold < 1, "outputs.threshold", "between 0 and 1"),
        (card.min_component_voxels >= 0, "outputs.min_component_voxels", "zero or more"),
        (0.1 <= card.spacing_mm <= 10, "preprocess.spacing_mm", "between 0.1 and 10 mm"),
        (1 <= card.multiple <= 256, "preprocess.multiple", "between 1 and 256"),
        (re.fullmatch(r"[0-9a-f]{64}", card.weights_sha256), "weights.sha256", "64 hex digits"),
        (
            re.fullmatch(r"[\w][\w.-]*\.safetensors", card.weights_file),
            "weights.file",
            "the name of a .safetensors file beside the card",
        ),
    )
    for right, name, wanted in rules:
        if not right:
            raise BadInput(f"The model card field '{name}' must be {wanted}", where)
    numbers = [label.number for label in card.labels]
    if len(set(numbers)) != len(numbers):
        raise BadInput("Two labels of the model card have the same number", where)


class _Reader:
    """Fields of a TOML table, refused by name where missing or of the wrong kind."""

    def __init__(self, values: Mapping[str, Any], where: str, prefix: str = "") -> None:
        self.values, self._where, self._prefix = values, where, prefix

    def _get(self, name: str, kinds: tuple[type, ...], wanted: str) -> Any:
        value = self.values.get(name)
        wrong = isinstance(value, bool) or not isinstance(value, kinds)
        if wrong or (isinstance(value, (str, list)) and not value):
            raise BadInput(f"The model card lacks '{self._prefix}{name}' ({wanted})", self._where)
        return value

    def text(self, name: str) -> str:
        value = self._get(name, (str, list), "text")
        return _joined(value)

    def number(self, name: str) -> float:
        return float(self._get(name, (int, float), "a number"))

    def table(self, name: str) -> _Reader:
        value = self._get(name, (dict,), "a table")
        return _Reader(value, self._where, f"{self._prefix}{name}.")

    def tables(self, name: str) -> list[_Reader]:
        items = self._get(name, (list,), "a list of tables")
        prefix = f"{self._prefix}{name}."
        if not all(isinstance(item, dict) for item in items):
            raise BadInput(f"'{prefix[:-1]}' of the model card must be tables", self._where)
        return [_Reader(item, self._where, prefix) for item in items]


def _joined(value: Any) -> str:
    return " ".join(str(v) for v in value).strip() if isinstance(value, list) else str(value)


def _sentences(value: Any) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(str(v) for v in value)


def _input(item: _Reader) -> InputNeed:
    values = item.values
    name = item.text("name")
    return InputNeed(
        name=name,
        sequence=str(values.get("sequence", name)),
        required=bool(values.get("required", True)),
        description=str(values.get("description", "")),
    )


def _label(number: int, item: _Reader) -> OutputLabel:
    values = item.values
    colour = values.get("colour", PALETTE[(number - 1) % len(PALETTE)])
    return OutputLabel(
        number=int(values.get("number", number)),
        name=item.text("name"),
        colour=(int(colour[0]), int(colour[1]), int(colour[2])),
        category=_code(values.get("category"), LESION_CATEGORY),
        type=_code(values.get("type"), LESION_TYPE),
    )


def _code(value: Any, default: Code) -> Code:
    if isinstance(value, dict) and {"value", "scheme", "meaning"} <= set(value):
        return Code(str(value["value"]), str(value["scheme"]), str(value["meaning"]))
    if isinstance(value, list) and len(value) == 3:
        return Code(*(str(v) for v in value))
    return default


def check_weights(card: ModelCard, folder: Path) -> Path:
    """The weights file, after its SHA-256 was compared with the card.

    Neither safetensors nor torch notices a flipped bit, so nothing parses the file before this.

    Raises
    ------
    BadInput
        Where the file is missing, unreadable or not the one the card describes.
    """
    path = folder / card.weights_file
    try:
        stat = path.stat()
        digest = _digest(str(path), stat.st_size, stat.st_mtime_ns)
    except OSError as error:
        raise BadInput(
            f"The weights of '{card.name}' are missing", str(path), "Install the model again"
        ) from error
    if digest != card.weights_sha256:
        raise BadInput(
            f"The weights of '{card.name}' are not the ones its card describes",
            str(path),
            "Install the model again",
        )
    return path


@lru_cache(maxsize=64)
def _digest(path: str, size: int, modified: int) -> str:
    """SHA-256 of a file; size and time of change are only part of the key."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def availability(card: ModelCard, folder: Path) -> tuple[bool, str]:
    """Whether the model can run here, and if not, why; imports no torch.

    Returns
    -------
    available : bool
    reason : str
        One sentence; empty where it can run.
    """
    for package in ("torch", "safetensors"):
        if importlib.util.find_spec(package) is None:
            return False, (
                f"The Python package '{package}' is not installed. "
                "Install Isocenter with its 'ai' extra."
            )
    try:
        check_weights(card, folder)
    except BadInput as error:
        return False, str(error)
    return True, ""
