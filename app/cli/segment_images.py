"""Which images a model gets on the command line, and what is asked before it runs."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from app.cli.convert import loaded
from app.cli.one_image import one_image
from app.cli.output import Output
from app.cli.scan import chosen_series, found
from imaging.errors import BadInput
from imaging.volume import Volume

if TYPE_CHECKING:
    from app.cli.segment import Wish
    from inference.model import ModelCard


class Unsure(BadInput):
    """Nobody was there to be asked: the work was not done, and nothing was written."""


def images_of(
    path: Path, wish: Wish, card: ModelCard, output: Output, stack: ExitStack
) -> tuple[Volume, dict[str, Volume]]:
    """The image with the grid, and the further ones by the card's name for them.

    Raises
    ------
    BadInput
        Where the series is no volume, or the model has no use for another image or lacks one.
    """
    others = {_input_of(card, sequence): file for sequence, file in wish.others.items()}
    first = card.required[0].name
    for need in card.required:
        if need.name not in (first, *others):
            raise BadInput(f"'{card.id}' also needs the {need.sequence} image of this patient")
    volume = _volume(path, wish.series, wish.image, wish.even, output, stack)
    given = {name: _volume(file, "", 0, wish.even, output, stack) for name, file in others.items()}
    return volume, given


def _input_of(card: ModelCard, sequence: str) -> str:
    """The card's name for a further image of this sequence."""
    for need in card.inputs:
        if need.name != card.required[0].name and sequence in need.sequences:
            return need.name
    raise BadInput(f"'{card.id}' has no use for a {sequence} image", advice="Leave it out")


def _volume(
    path: Path, wanted: str, image: int, even: bool, output: Output, stack: ExitStack
) -> Volume:
    result = stack.enter_context(found(path, output))
    series = chosen_series(result, wanted, path)
    if not series.volumetric and not (even and series.geometry is not None):
        reason = " ".join(series.problems) or "It has too few slices or no known position."
        if not series.regular and series.geometry is not None:
            reason += " Add --even to have slices at even distances interpolated"
        raise BadInput("This series is not a volume a model can use", series.description, reason)
    return one_image(loaded(series, output), image, even, output)


def questions(
    card: ModelCard, volume: Volume, others: dict[str, Volume], wish: Wish, output: Output
) -> list[str]:
    """Ask what has to be asked before a run, and give what is only to be said.

    Returns
    -------
    list of str
        Sentences for the notes of the answer, those of the questions among them.

    Raises
    ------
    Unsure
        Where the answer was no, or nobody sits at the terminal and ``--yes`` was not given.
    """
    from inference.suitability import doubts, seen_in_pixels

    needs = card.required[0].sequences
    found_doubts = doubts(card, volume, seen_in_pixels(volume) if needs else None)
    asked = list(found_doubts.wrong)
    if not volume.geometry.orthogonal:
        asked.append(
            "The slices are shifted against each other (a sheared stack); "
            "--even resamples them perpendicular for the model."
        )
    asked += [
        _apart(name, other)
        for name, other in others.items()
        if not volume.geometry.surely_same_place(other.geometry)
    ]
    if asked and not wish.yes:
        _agree(asked, output)
    return [*asked, *found_doubts.limits]


def _apart(name: str, other: Volume) -> str:
    return (
        f"Nothing says that the {name} image ({other.title}) was taken in the same position: it "
        "has another grid and no common frame of reference. It is placed by its own coordinates."
    )


def _agree(asked: list[str], output: Output) -> None:
    words = " ".join(asked)
    if output.as_json or not sys.stdin.isatty():
        raise Unsure(words, advice="Add --yes to run anyway")
    if not typer.confirm(f"{words}\nRun anyway?", default=False, err=True):
        raise Unsure(words, advice="Nothing was run")
