"""``isocenter models``: what is installed, what it is for, and whether it can run here."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from app.cli.output import Output
from app.model_words import Pace, cost_words, paces
from inference.model import CLICK, DEVIATION, LESIONS, PRESENCE, TISSUE
from inference.registry import InstalledModel, installed_models, user_folder

#: What each kind of model does, in words.
KIND_WORDS = {
    LESIONS: "marks findings",
    TISSUE: "splits a head into tissues",
    DEVIATION: "shows what differs from normal",
    CLICK: "follows clicks in the window",
    PRESENCE: "says whether anything is there",
}


def models(output: Output) -> None:
    """List all models with a readable card."""
    installed = installed_models()
    if not installed:
        output.say(f"No model is installed. Models can be put into {user_folder()}.")
    pace = paces(model.card for model in installed)
    for model in installed:
        _say(model, pace.get(model.card.id), output)
    output.result({"models": [_plain(model, pace.get(model.card.id)) for model in installed]})


def _say(model: InstalledModel, pace: Pace | None, output: Output) -> None:
    card = model.card
    inputs = ", ".join(
        f"{need.sequence}{'' if need.required else ' (optional)'}" for need in card.inputs
    )
    labels = ", ".join(label.name for label in card.labels)
    which = f"  ({pace.word}; {pace.other_word}: {pace.other.id})" if pace else ""
    output.say(f"{card.id}  {card.name} {card.version}{which}")
    output.say(f"  can run: {'yes' if model.available else 'no. ' + model.reason}")
    output.say(f"  kind: {card.kind}, {KIND_WORDS[card.kind]}{_members(model)}")
    threshold = "" if card.kind in (TISSUE, PRESENCE) else f"; threshold {card.threshold:g}"
    output.say(f"  input: {inputs}; gives: {labels}{threshold}")
    what = "a click" if card.kind == CLICK else "a whole head"
    output.say(f"  size: {_size(card.weights_bytes)}; {what}: {cost_words(card.cost)}")
    output.say(f"  for: {card.intended_use}")
    output.say(f"  not for: {card.not_for}")
    output.say(f"  licence: {card.licence}")


def _members(model: InstalledModel) -> str:
    members = ", ".join(member.id for member in model.card.members)
    return f"; asks {members}" if members else ""


def _size(weights: int) -> str:
    return f"{weights / 1e6:.1f} MB" if weights else "no weights of its own"


def _plain(model: InstalledModel, pace: Pace | None) -> dict[str, Any]:
    return {
        "id": model.card.id,
        "kind": model.card.kind,
        "pace": pace.word if pace else "",
        "available": model.available,
        "reason": model.reason,
        "folder": str(model.folder),
        "card": asdict(model.card),
    }
