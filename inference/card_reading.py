"""A model card from its TOML: every field checked, the first wrong one named."""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from imaging.errors import BadInput
from imaging.segmentation import LESION_CATEGORY, LESION_TYPE, PALETTE, Code
from inference.model import (
    CARD_NAME,
    KINDS,
    LESIONS,
    MAPS,
    InputNeed,
    Member,
    ModelCard,
    OutputLabel,
)

__all__ = ["card_from_table", "load_card"]

ID, ID_WORDS = re.compile(r"[a-z0-9][a-z0-9._-]*"), "small letters, digits and dashes"


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
        (ID.fullmatch(card.id), "id", ID_WORDS),
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
    if not ID.fullmatch(member.id):  # it names a folder beside the ensemble, and nothing else
        item.refuse("id", ID_WORDS)
    return member


def _of_members(members: tuple[Member, ...]) -> Mapping[str, Any]:
    """Digest of an ensemble: it changes with the weights of every member, not with their order."""
    lines = "\n".join(sorted(f"{member.id} {member.sha256}" for member in members))
    return {"sha256": hashlib.sha256(lines.encode()).hexdigest()}


def _code(value: Any, default: Code) -> Code:
    if isinstance(value, dict) and {"value", "scheme", "meaning"} <= set(value):
        return Code(str(value["value"]), str(value["scheme"]), str(value["meaning"]))
    if isinstance(value, list) and len(value) == 3:
        return Code(*(str(v) for v in value))
    return default
