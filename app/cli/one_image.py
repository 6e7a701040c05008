"""From a loaded series to the one even volume that a verb works on; nothing is done silently."""

from __future__ import annotations

from dataclasses import replace

from app.cli.output import Output
from imaging.errors import BadInput
from imaging.volume import Volume

#: So many images of a 4D series are named one by one.
NAMED_IMAGES = 12


def one_image(volume: Volume, image: int, even: bool, output: Output) -> Volume:
    """The chosen image of a series, made even where that was asked for.

    Parameters
    ----------
    image : int
        From 1; 0 where none was asked for.
    even : bool
        Whether uneven or sheared slices may be interpolated.

    Raises
    ------
    BadInput
        Where a 4D series needs a choice or has no such image, or where slices at uneven places
        would need to be made even and nobody asked for it.
    """
    volume = _chosen(volume, image)
    if even:
        return _even(volume, output)
    if volume.even:
        return volume
    raise BadInput(
        "The slices lie at uneven or unknown places, so the series is no volume", volume.title,
        "Add --even to have slices at even distances interpolated",
    )  # fmt: skip


def _chosen(volume: Volume, image: int) -> Volume:
    repeats = volume.repeats
    if repeats is None:
        if image > 1:
            raise BadInput("The series has only one image", volume.name)
        return volume
    if 1 <= image <= len(repeats):
        chosen = volume.at_repeat(image - 1)
        return replace(chosen, name=chosen.title, repeats=None)
    named = "; ".join(f"{n} = {label}" for n, label in enumerate(repeats.labels[:NAMED_IMAGES], 1))
    more = " …" if len(repeats) > NAMED_IMAGES else ""
    raise BadInput(
        f"The series holds {len(repeats)} images", volume.name,
        f"Choose one with --image: {named}{more}",
    )  # fmt: skip


def _even(volume: Volume, output: Output) -> Volume:
    from imaging.analysis.regularise import even_volume

    if volume.even and volume.geometry.orthogonal:
        return volume
    made = even_volume(volume)
    for note in made.notes:
        output.warn(note)
    return made
