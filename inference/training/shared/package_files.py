"""What every package step writes alike: weights beside their digest, the card, whom to credit."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from inference.model import CARD_NAME
from inference.training.shared.card_text import as_toml

__all__ = [
    "CREDIT",
    "LESION",
    "MODELS",
    "WEIGHTS_NAME",
    "as_float16",
    "run_facts",
    "weights_row",
    "write_card",
    "write_weights",
]

MODELS = Path(__file__).resolve().parents[3] / "resources" / "models"
"""Where the shipped models lie, each in a folder named by its id."""
WEIGHTS_NAME = "model.safetensors"

CREDIT = {
    "heads": (
        "Raw heads (CC-BY): Lesjak Z, Pernus F, Likar B, Spiclin Z. Validation of White-Matter "
        "Lesion Change Detection Methods on a Novel Publicly Available MRI Image Database. "
        "Neuroinformatics (2016)."
    ),
    "masks and heads": (
        "Lesion masks (CC-BY): Lesjak et al., Neuroinformatics (2017), doi "
        "10.1007/s12021-017-9348-7. Raw heads (CC-BY): Lesjak et al., Neuroinformatics (2016)."
    ),
    "template": (
        "Tissue maps: MNI152 templates, (C) 1993-2004 Louis Collins, McConnell Brain Imaging "
        "Centre, Montreal Neurological Institute, McGill University."
    ),
}
"""Sentences that stand on several cards."""
LESION = {
    "number": 1,
    "name": "White-matter lesion",
    "category": ["49755003", "SCT", "Morphologically Abnormal Structure"],
    "type": ["301766008", "SCT", "Lesion of brain"],
}
"""The label of models of white-matter lesions."""


def as_float16(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state in float16, as weights are shipped."""
    return {name: value.half().contiguous() for name, value in state.items()}


def write_weights(state: Mapping[str, torch.Tensor], file: Path) -> dict[str, Any]:
    """Write tensors as safetensors; returns what the card says about the file."""
    from safetensors.torch import save_file

    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(state), str(file), metadata={"format": "pt"})
    file.chmod(0o644)
    return weights_row(file)


def weights_row(file: Path) -> dict[str, Any]:
    """What a card says about its weights: name, digest and size of the file beside it."""
    content = file.read_bytes()
    return {
        "file": file.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "dtype": "float16",
    }


def write_card(card: Mapping[str, Any], folder: Path) -> Path:
    """Write the card of a model into its folder.

    The measured cost of the card before stays, where the network is built the same way.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / CARD_NAME
    table = dict(card)
    if "cost" not in table and path.exists() and (cost := _cost_of(path, table)):
        table["cost"] = cost
    path.write_text(as_toml(table), encoding="utf-8")
    return path


def _cost_of(path: Path, table: Mapping[str, Any]) -> dict[str, Any]:
    """What a run of the old card cost; empty where nobody measured or the network is another."""
    old = tomllib.loads(path.read_text(encoding="utf-8"))
    before, now = _built(old), _built(table)
    alike = all(before.get(key) == now.get(key) for key in ("architecture", "arguments"))
    return dict(old.get("cost", {})) if alike else {}


def _built(table: Mapping[str, Any]) -> dict[str, Any]:
    """How the network of a card is built, as TOML would give it back.

    Three dimensions go without saying.
    """
    built = tomllib.loads(as_toml({"network": table.get("network", {})})).get("network", {})
    return {**built, "arguments": {"dims": 3, **built.get("arguments", {})}}


def run_facts(run: Path) -> dict[str, Any]:
    """Steps, processor minutes and seed of a run, from its checkpoint."""
    state = torch.load(run / "checkpoint.pt", weights_only=True)
    return {
        "steps": state["steps"],
        "cpu_minutes": round(state["cpu_seconds"] / 60, 1),
        "seed": json.loads(state["settings"])["seed"],
    }
