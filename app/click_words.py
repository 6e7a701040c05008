"""What is said about a proposal: how large it is, who found it, and whether it leaked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from imaging.analysis.proposal import Proposal

__all__ = ["millilitres", "proposal_words"]

#: A proposal that fills more of a face of the block looked at than this was cut off there.
_LEAK_SHARE = 0.1


def proposal_words(proposal: Proposal, found: np.ndarray, engine: str, because: str) -> str:
    """The sentence of the status line after an engine has answered.

    Parameters
    ----------
    proposal : Proposal
        As it is now.
    found : ndarray of bool, shape (k, j, i)
        What the engine marked, on the block that it looked at.
    engine : str
        Who found it, in words.
    because : str
        Why it was not the engine that was chosen; empty where it was.
    """
    lead = f"{because.rstrip('.')}; the {engine} answered. " if because else ""
    if proposal.empty:
        return f"{lead}Nothing was found here ({engine}): click again, or press Esc"
    what = f"{lead}Proposal of {millilitres(proposal)} ({engine}, {_pointed(proposal)})"
    if _cut_off(found):
        return (
            f"{what} ends at the edge of the part looked at, so it probably leaked: Esc throws "
            "it away, Ctrl+click excludes, a box keeps it together, Enter accepts it anyway"
        )
    return f"{what}: Enter accepts, Esc throws away, Ctrl+click excludes"


def millilitres(proposal: Proposal) -> str:
    """Volume of a proposal, with its unit."""
    amount = np.count_nonzero(proposal.mask) * float(np.prod(proposal.spacing)) / 1000
    return f"{amount:.2f} ml" if amount < 10 else f"{amount:.0f} ml"


def _pointed(proposal: Proposal) -> str:
    """How much was pointed at: "box and 2 points"."""
    hints = proposal.hints
    count = len(hints.wanted) + len(hints.unwanted)
    points = f"{count} point{'' if count == 1 else 's'}" if count else ""
    return " and ".join(part for part in ("box" if hints.box else "", points) if part)


def _cut_off(found: np.ndarray) -> bool:
    """Whether a mask fills a good part of a face of its block, where a thing would have ended."""
    faces = [np.take(found, at, axis) for axis in range(3) for at in (0, -1)]
    return any(float(np.mean(face)) > _LEAK_SHARE for face in faces if face.size)
