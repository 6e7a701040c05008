"""``isocenter models``: what is installed, what it is for, and whether it can run here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from app.cli.output import Output
from inference.registry import InstalledModel, installed_models, user_folder


def models(output: Output) -> None:
    """List all models with a readable card."""
    installed = installed_models()
    if not installed:
        output.say(f"No model is installed. Models can be put into {user_folder()}.")
    for model in installed:
        _say(model, output)
    output.result({"models": [_plain(model) for model in installed]})


def _say(model: InstalledModel, output: Output) -> None:
    card = model.card
    inputs = ", ".join(
        f"{need.sequence}{'' if need.required else ' (optional)'}" for need in card.inputs
    )
    labels = ", ".join(label.name for label in card.labels)
    output.say(f"{card.id}  {card.name} {card.version}")
    output.say(f"  can run: {'yes' if model.available else 'no. ' + model.reason}")
    output.say(f"  input: {inputs}; marks: {labels}; threshold {card.threshold:g}")
    output.say(f"  for: {card.intended_use}")
    output.say(f"  not for: {card.not_for}")
    output.say(f"  licence: {card.licence}")


def _plain(model: InstalledModel) -> dict[str, Any]:
    return {
        "id": model.card.id,
        "available": model.available,
        "reason": model.reason,
        "folder": str(model.folder),
        "card": asdict(model.card),
    }
