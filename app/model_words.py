"""Quick or thorough, and what a run costs: the same words in the window and on the command line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from app.messages import counted

if TYPE_CHECKING:
    from inference.model import ModelCard

QUICK, THOROUGH = "quick", "thorough"
NOT_MEASURED = "time not measured"
GIGABYTE = 2**30


@dataclass(frozen=True)
class Pace:
    """One of two models that answer the same question, and the other one.

    Parameters
    ----------
    word : str
        :data:`QUICK` or :data:`THOROUGH`.
    other : ModelCard
        The slower one of a quick model, the quicker one of a thorough model.
    """

    word: str
    other: ModelCard

    @property
    def other_word(self) -> str:
        """What the other one is."""
        return THOROUGH if self.word == QUICK else QUICK


def paces(cards: Iterable[ModelCard]) -> dict[str, Pace]:
    """Ids of the models between which a reader chooses by time.

    A model that asks several is thorough; the first one that it asks is its quick choice.
    """
    known = {card.id: card for card in cards}
    found: dict[str, Pace] = {}
    for thorough in known.values():
        quick = known.get(thorough.members[0].id) if thorough.members else None
        if quick is not None:
            found[thorough.id] = Pace(THOROUGH, quick)
            found.setdefault(quick.id, Pace(QUICK, thorough))
    return found


def seconds_words(cost: Mapping[str, Any]) -> str:
    """``"1.7 s"``, ``"12 s"``, or that nobody has measured it."""
    seconds = cost.get("cpu_seconds")
    if not isinstance(seconds, int | float):
        return NOT_MEASURED
    return f"{seconds:.0f} s" if seconds >= 10 else f"{seconds:.1f} s"


def cost_words(cost: Mapping[str, Any]) -> str:
    """Time and memory of one run, as measured: ``"1.7 s on 1 CPU core, 0.8 GB of memory"``."""
    threads, peak = cost.get("cpu_threads"), cost.get("peak_bytes")
    words = seconds_words(cost)
    if words != NOT_MEASURED:
        words += f" on {counted(threads, 'CPU core')}" if isinstance(threads, int) else " on a CPU"
    if isinstance(peak, int | float):
        words += f", {peak / GIGABYTE:.1f} GB of memory"
    return words


def choice_words(card: ModelCard, pace: Pace | None) -> str:
    """A model in a list to choose from: what tells it from its neighbours stands first."""
    seconds = seconds_words(card.cost)
    if pace is None:
        return f"{card.name} {card.version} · {seconds}"
    name = card.name.removesuffix(f", {THOROUGH}")
    return f"{pace.word.capitalize()}, {seconds} · {name} {card.version}"


def run_words(card: ModelCard, pace: Pace | None) -> str:
    """What one run costs, and what the other choice would, as a sentence."""
    measured = seconds_words(card.cost) != NOT_MEASURED
    words = f"about {cost_words(card.cost)} for a head" if measured else cost_words(card.cost)
    if card.members:
        words = f"asks {len(card.members)} models, {words}"
    if pace is None:
        return f"{words[:1].upper()}{words[1:]}."
    return (
        f"{pace.word.capitalize()}: {words}; {pace.other_word}: {seconds_words(pace.other.cost)}."
    )
