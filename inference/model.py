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
from typing import Any, NoReturn, Protocol

import numpy as np

from imaging.errors import BadInput
from imaging.geometry import Box
from imaging.segmentation import LESION_CATEGORY, LESION_TYPE, PALETTE, Code

CARD_NAME = "card.toml"
_ID, _ID_WORDS = re.compile(r"[a-z0-9][a-z0-9._-]*"), "small letters, digits and dashes"

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
    network = read.table("network")
    members = tuple(_member(item) for item in _members(network))
    weights = _Reader(_of_members(members), where) if members else read.table("weights")
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
        weights_file="" if members else weights.text("file"),
        weights_sha256=weights.text("sha256").lower(),
        weights_bytes=int(weights.values.get("bytes", 0)),
        authors=_joined(table.get("authors", "")),
        credit=_joined(table.get("credit", "")),
        limits=_sentences(table.get("limits", ())),
        training=dict(table.get("training", {})),
        figures=tuple(dict(item) for item in table.get("figures", ())),
        kind=str(table.get("kind", LESIONS)),
        maps=tuple(str(name) for name in outputs.values.get("maps", ())),
        members=members,
        cost=dict(table.get("cost", {})),
    )
    _check(card, where)
    return card


def _check(card: ModelCard, where: str) -> None:
    rules = (
        (_ID.fullmatch(card.id), "id", _ID_WORDS),
        (0 < card.threshold < 1, "outputs.threshold", "between 0 and 1"),
        (card.min_component_voxels >= 0, "outputs.min_component_voxels", "zero or more"),
        (0.1 <= card.spacing_mm <= 10, "preprocess.spacing_mm", "between 0.1 and 10 mm"),
        (1 <= card.multiple <= 256, "preprocess.multiple", "between 1 and 256"),
        (re.fullmatch(r"[0-9a-f]{64}", card.weights_sha256), "weights.sha256", "64 hex digits"),
        (card.kind in KINDS, "kind", "one of " + ", ".join(KINDS)),
        (set(card.maps) <= set(MAPS), "outputs.maps", "a list out of " + ", ".join(MAPS)),
        (card.required, "inputs", "at least one required image"),
        (
            card.members or re.fullmatch(r"[\w][\w.-]*\.safetensors", card.weights_file),
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
    names = [need.name for need in card.inputs]
    if len(set(names)) != len(names):
        raise BadInput("Two inputs of the model card have the same name", where)


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

    def refuse(self, name: str, wanted: str) -> NoReturn:
        raise BadInput(f"The model card field '{self._prefix}{name}' must be {wanted}", self._where)

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


def _members(network: _Reader) -> list[_Reader]:
    return network.tables("members") if "members" in network.values else []


def _member(item: _Reader) -> Member:
    member = Member(item.text("id"), item.text("sha256").lower())
    if not _ID.fullmatch(member.id):  # it names a folder beside the ensemble, and nothing else
        item.refuse("id", _ID_WORDS)
    return member


def _of_members(members: tuple[Member, ...]) -> Mapping[str, Any]:
    """Digest of an ensemble: it changes with the weights of every member, not with their order."""
    lines = "\n".join(sorted(f"{member.id} {member.sha256}" for member in members))
    return {"sha256": hashlib.sha256(lines.encode()).hexdigest()}


def member_folder(folder: Path, member: Member) -> Path:
    """Where a member of an ensemble lies: beside the ensemble."""
    return folder.parent / member.id


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
        check_all_weights(card, folder)
    except BadInput as error:
        return False, str(error)
    return True, ""


def check_all_weights(card: ModelCard, folder: Path) -> None:
    """Compare the weights of a model, or those of all members of an ensemble, with the cards.

    Raises
    ------
    BadInput
        Where one is missing or not the one that was measured.
    """
    if not card.members:
        check_weights(card, folder)
    for member in card.members:
        beside = member_folder(folder, member)
        other = load_card(beside)
        if other.weights_sha256 != member.sha256:
            raise BadInput(
                f"'{card.name}' was measured with another version of '{other.name}'",
                str(beside),
                "Install both models again",
            )
        if (other.kind, other.spacing_mm) != (card.kind, card.spacing_mm):
            raise BadInput(
                f"'{other.name}' cannot be a member of '{card.name}': it is of another kind "
                "or works on voxels of another size",
                str(beside),
            )
        if {need.name for need in other.required} - {need.name for need in card.required}:
            raise BadInput(
                f"'{other.name}' cannot be a member of '{card.name}': it needs other images",
                str(beside),
            )
        check_weights(other, beside)
