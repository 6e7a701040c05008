"""Does this image look like what a model was made for? Asked before a run, answered in sentences.

Two witnesses: what header and name say (:attr:`imaging.volume.Source.sequence`), and what the
pixels look like (:mod:`imaging.analysis.contrast`). A network does not notice a wrong sequence; it
marks bright fluid as lesion with full confidence. So the user is asked first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from imaging.series import SequenceGuess
from imaging.volume import Volume, filled_padding
from inference.model import InputNeed, ModelCard

#: An image with thicker slices than this (mm) is not volumetric enough to trust small findings.
THICK_SLICE_MM = 3.5
#: An image that covers less than this (mm) along an axis does not show a head.
SMALL_EXTENT_MM = 60.0


@dataclass(frozen=True)
class Doubts:
    """What speaks against a run, as sentences.

    Parameters
    ----------
    wrong : tuple of str
        The image is of another kind than the model's: ask before running.
    limits : tuple of str
        The kind may be right, but the answer will be worse, or nobody can tell: say it.
    """

    wrong: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """All of it as text; empty where nothing speaks against it."""
        return " ".join((*self.wrong, *self.limits))


def suitable(
    card: ModelCard, volume: Volume, seen: SequenceGuess | None = None
) -> tuple[bool, str]:
    """Whether a volume looks like what the model was made for.

    Parameters
    ----------
    seen : SequenceGuess, optional
        What the pixels look like, from :func:`seen_in_pixels`; None where nobody looked.

    Returns
    -------
    ok : bool
        False asks the UI to show the sentence before it runs; it may still be run.
    sentence : str
        What fits or what does not.
    """
    found = doubts(card, volume, seen)
    if found.words:
        return False, found.words
    first = card.required[0]
    if not first.sequences:
        return True, "This model takes any MR image of a head."
    wanted = " and ".join(need.sequence for need in card.required)
    return True, f"Looks like the {wanted} image this model expects."


def doubts(card: ModelCard, volume: Volume, seen: SequenceGuess | None = None) -> Doubts:
    """What speaks against running a model on a volume; see :func:`suitable`."""
    wrong, limits = _sequence_doubts(card.required[0], volume, seen)
    return Doubts(wrong, (*limits, *_grid_doubts(volume)))


def seen_in_pixels(volume: Volume) -> SequenceGuess:
    """What kind of image the pixels look like; no name where they do not tell. About 0.4 s."""
    from imaging.analysis.contrast import guess_contrast

    voxels = filled_padding(volume.voxels, volume.padding, volume.inverted)
    return guess_contrast(voxels, volume.geometry if volume.placed else None)


def pixel_doubt(need: InputNeed, seen: SequenceGuess) -> str:
    """The sentence where pixels clearly look like another sequence; else empty."""
    weightings = tuple(_weighting(name) for name in need.sequences)
    if not seen.name or not weightings or _weighting(seen.name) in weightings:
        return ""  # pixels do not tell whether contrast agent was given
    why = seen.why.removeprefix("in the pixels ")
    return f"The pixels look like {seen.name} ({why}), but the model was made for {need.sequence}."


def _sequence_doubts(
    need: InputNeed, volume: Volume, seen: SequenceGuess | None
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    said, wanted = volume.source.sequence, need.sequences
    if volume.source.modality not in ("MR", ""):
        return (f"This is not an MR image ({volume.source.modality}).",), ()
    if not wanted:
        return (), ()
    if said and not among(said, wanted):
        return (_other_than_asked(said, need),), ()
    if seen is not None and (other := pixel_doubt(need, seen)):
        return (other,), ()
    if not said and not (seen is not None and seen.name):
        unknown = "The kind of sequence is not known; the model was made for"
        return (), (f"{unknown} {need.sequence}.",)
    return (), ()


def among(name: str, wanted: Sequence[str]) -> bool:
    """Whether a sequence is one of these; with contrast agent (``+C``) it is another image."""
    return name.casefold() in {one.casefold() for one in wanted}


def _weighting(name: str) -> str:
    return name.casefold().removesuffix("+c")


def _other_than_asked(said: str, need: InputNeed) -> str:
    if _weighting(said) in {_weighting(name) for name in need.sequences}:
        given = "with" if said.casefold().endswith("+c") else "without"
        return (
            f"This looks like {said}, taken {given} contrast agent, but the model was made for "
            f"{need.sequence}."
        )
    return f"This looks like {said}, but the model was made for {need.sequence}."


def _grid_doubts(volume: Volume) -> list[str]:
    spacing = (volume.geometry.slice_mm, *volume.geometry.spacing[1:])
    extents = [s * n for s, n in zip(spacing, volume.geometry.shape, strict=True)]
    found = []
    if min(extents) < SMALL_EXTENT_MM:
        found.append(f"The image covers only {min(extents):.0f} mm along one axis.")
    if max(spacing) > THICK_SLICE_MM:
        found.append(f"Its slices are {max(spacing):.1f} mm apart; small lesions may be missed.")
    return found


def companions(card: ModelCard, volume: Volume, volumes: Sequence[Volume]) -> dict[str, Volume]:
    """The images of a study that a model can use beside the chosen one.

    Of the right sequence (with contrast agent it is another), and where patient coordinates are
    sure to agree: in the same known frame of reference, or on the very same grid. Of several the
    first.

    Returns
    -------
    dict of str to Volume
        By the card's name for each.
    """
    found: dict[str, Volume] = {}
    for need in card.inputs:
        if need.name == card.required[0].name:
            continue
        for other in volumes:
            fits = among(other.source.sequence, need.sequences) and other.even
            together = volume.geometry.surely_same_place(other.geometry)
            if fits and other.id != volume.id and together:
                found[need.name] = other
                break
    return found
