"""The way of a volume through a model, whatever the model: pure functions, no torch, no process.

Real values in, results on the very grid they came on. The stages carry the words the user reads.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from imaging.analysis.morphology import draft_mask
from imaging.errors import BadInput
from imaging.geometry import Box, Geometry
from inference.grids import into_source, target_on_model
from inference.model import (
    MAPS,
    PICTURE,
    PRESENCE,
    TISSUE,
    Found,
    ModelCard,
    Prepared,
    Report,
    Runner,
    SourceImage,
)
from inference.postprocess import FLOOR, IMAGE_SCALE, min_voxels
from inference.preprocess import ModelGrid
from inference.suitability import pixel_doubt

#: Shares of the stages below, added up for what a run consists of.
SHARES = {"prepare": 0.18, "segment": 0.77, "explain": 0.45, "segment+explain": 0.52 + 0.45}
#: What a picture shows where the model did not look: background, in normalised units.
PICTURE_OUTSIDE = -1.0


def real_values(voxels: np.ndarray, slope: float, intercept: float, report: Report) -> np.ndarray:
    """Stored values as real ones, finite; the array itself where nothing is to be done.

    Raises
    ------
    BadInput
        Where the image holds one value only (or nothing finite).
    """
    values = voxels
    if (slope, intercept) != (1.0, 0.0):
        values = voxels.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        finite = np.isfinite(values)
        lowest = float(values[finite].min()) if finite.any() else 0.0
        values = np.where(finite, values, np.asarray(lowest, values.dtype))
        report.note("Some voxels held no number; they were taken as background.")
    if values.min() == values.max():
        raise BadInput("All voxels of this image have the same value; there is nothing to find")
    return values


def prepare(
    runner: Runner,
    stored: Mapping[str, tuple[np.ndarray, np.ndarray, float, float]],
    report: Report,
) -> Prepared:
    """Stored volumes as the network sees them.

    Parameters
    ----------
    stored : mapping of str to (voxels, affine, slope, intercept)
        By the card's name for each input.
    """
    report.stage("Reading the image", 0.03)
    images = {}
    for done, (name, (voxels, affine, slope, intercept)) in enumerate(stored.items(), 1):
        images[name] = SourceImage(real_values(voxels, slope, intercept, report), affine)
        report.step(done / len(stored))
    _look_at(runner.card, images, report)
    report.stage(f"Resampling to {runner.card.spacing_mm:g} mm", 0.15)
    prepared = runner.prepare(images)
    report.step(1.0)
    return prepared


def _look_at(card: ModelCard, images: Mapping[str, SourceImage], report: Report) -> None:
    """Say in the answer where pixels look like another sequence than the one asked for."""
    from imaging.analysis.contrast import guess_contrast

    for need in card.inputs:
        image = images.get(need.name)
        if image is None or not need.sequences:
            continue
        geometry = Geometry(image.voxels.shape, image.affine)
        if doubt := pixel_doubt(need, guess_contrast(image.voxels, geometry)):
            report.note(doubt)


@dataclass(frozen=True, eq=False)
class Wanted:
    """Arrays of the source grid to be filled, all zeros; None: not wanted.

    Parameters
    ----------
    probability : ndarray, shape (k, j, i) or (labels, k, j, i)
        float32 or float16.
    mask : ndarray, shape (k, j, i)
        uint8.
    heatmap, uncertainty, picture : ndarray, shape (k, j, i), or None
        float32: Grad-CAM of the whole finding, and the maps the model may give.
    """

    probability: np.ndarray
    mask: np.ndarray
    heatmap: np.ndarray | None = None
    uncertainty: np.ndarray | None = None
    picture: np.ndarray | None = None


def segment(
    runner: Runner, prepared: Prepared, wanted: Wanted, layer: str, report: Report
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Find and mark.

    Returns
    -------
    facts : dict
        What the model says about the study.
    filled : tuple of str
        The maps that hold an answer.
    """
    heatmap = wanted.heatmap
    report.stage("Running the model", 0.6 if heatmap is None else 0.35)
    found = runner.find(prepared, report)
    report.stage("Back to the grid of the image", 0.12)
    filled = _bring_back(found, prepared.grid, wanted, report)
    report.stage("Cleaning up", 0.05)
    _mark(runner.card, prepared.grid, wanted)
    report.step(1.0)
    if heatmap is not None:
        _explain_all(runner, prepared, wanted.mask, heatmap, layer, report)
    facts = dict(found.facts)
    if PICTURE in filled and prepared.scale is not None:
        facts[IMAGE_SCALE] = list(prepared.scale)
    return facts, filled


def _bring_back(found: Found, grid: ModelGrid, wanted: Wanted, report: Report) -> tuple[str, ...]:
    """All maps of an answer onto the grid of the image."""
    several = found.probability.ndim == 4
    maps = (
        list(zip(found.probability, wanted.probability, strict=True))
        if several
        else [(found.probability, wanted.probability)]
    )
    filled = []
    for name in MAPS:
        given, place = getattr(found, name), getattr(wanted, name)
        if given is not None and place is not None:
            maps.append((given, place))
            filled.append(name)
    for number, (given, place) in enumerate(maps):
        place_map(
            given,
            grid,
            place,
            lambda share, number=number: report.step((number + share) / len(maps)),
            outside=PICTURE_OUTSIDE if place is wanted.picture else 0.0,
        )
    return tuple(filled)


def place_map(
    given: np.ndarray,
    grid: ModelGrid,
    out: np.ndarray,
    step: Callable[[float], None],
    outside: float = 0.0,
) -> None:
    """One map of the model grid onto the grid of the image.

    Parameters
    ----------
    out : ndarray, shape ``grid.source_shape``
        Filled; what the model did not see becomes ``outside``.
    outside : float
        Other than 0 for a picture, whose background is not 0; the values of a map with 0 are kept
        within [0, 1] and tiny ones are dropped.
    """
    if outside:
        k, j, i = given.shape
        into_source(given - np.float32(outside), Box((0, 0, 0), (k, j, i)), grid, out, step)
        out += np.float32(outside)
        return
    block = Box.around(given >= FLOOR)
    if not block.empty:
        into_source(given[block.slices], block, grid, out, step)
    np.clip(out, 0.0, 1.0, out=out)
    out[out < FLOOR] = 0.0


def _mark(card: ModelCard, grid: ModelGrid, wanted: Wanted) -> None:
    """Numbers of the labels where the finding is."""
    geometry = Geometry(grid.source_shape, grid.source_affine)
    mask, probability = wanted.mask, wanted.probability
    if card.kind == PRESENCE:
        return  # it says whether, not where
    if card.kind == TISSUE:
        mark_largest(probability, [label.number for label in card.labels], mask)
        return
    smallest = min_voxels(card, geometry)
    several = probability if probability.ndim == 4 else probability[None]
    best = np.zeros(mask.shape, np.float32)
    for label, values in zip(card.labels, several, strict=False):
        marked = draft_mask(np.asarray(values, np.float32), card.threshold, smallest) & (
            values > best
        )
        mask[marked] = label.number
        if probability.ndim == 4:
            np.maximum(best, values, out=best)


def mark_largest(probability: np.ndarray, numbers: Sequence[int], mask: np.ndarray) -> None:
    """Each voxel to its likeliest label; "none of them" has what is left to 1.

    Parameters
    ----------
    probability : ndarray, shape (labels, k, j, i)
    numbers : sequence of int
        Number of each label.
    mask : ndarray, shape (k, j, i)
        uint8, filled.
    """
    values = np.array([0, *numbers], np.uint8)
    if probability.ndim == 3:
        probability = probability[None]
    for k in range(mask.shape[0]):  # by slices: the stack of maps may be large
        plane = probability[:, k].astype(np.float32)
        stack = np.concatenate([1.0 - plane.sum(axis=0, keepdims=True), plane])
        mask[k] = values[stack.argmax(axis=0)]


def _explain_all(
    runner: Runner,
    prepared: Prepared,
    mask: np.ndarray,
    heatmap: np.ndarray,
    layer: str,
    report: Report,
) -> None:
    """Grad-CAM of everything that was marked; a model that cannot explain says so in a note."""
    whole = runner.card.kind == PRESENCE
    if not whole and not mask.any():
        report.note("Nothing was found, so there is nothing to explain.")
        return
    target = np.ones(mask.shape, np.uint8) if whole else mask
    try:
        explain(runner, prepared, target, (0, 0, 0), heatmap, layer, report)
    except BadInput as error:
        report.note(error.what.rstrip(".") + ".")


def explain(
    runner: Runner,
    prepared: Prepared,
    target: np.ndarray,
    start: tuple[int, int, int],
    heatmap: np.ndarray,
    layer: str,
    report: Report,
) -> None:
    """Show what evidence moved the marked voxels.

    Parameters
    ----------
    target : ndarray
        Non-zero where to explain; a block of the source grid that begins at ``start``.
    heatmap : ndarray, shape (k, j, i) of the source grid
        float32 zeros to be filled; its largest value becomes 1.

    Raises
    ------
    BadInput
        Where the marked voxels lie outside what the model saw.
    """
    report.stage("Explaining the finding", 0.35)
    wanted = target_on_model(target != 0, start, prepared.grid)
    if not wanted.any():
        raise BadInput(
            "The marked place lies outside the part of the image the model looked at",
            advice="Choose a finding inside the head",
        )
    heat, first = runner.heat(prepared, wanted, layer, report)
    n = heat.shape
    block = Box(first, (first[0] + n[0], first[1] + n[1], first[2] + n[2]))
    report.stage("Back to the grid of the image", 0.1)
    into_source(heat, block, prepared.grid, heatmap, report.step)
    highest = float(heatmap.max())
    if highest > 0:
        heatmap /= highest
    else:
        report.note("The model's evidence for this place has no positive part in this layer.")
    np.clip(heatmap, 0.0, 1.0, out=heatmap)
