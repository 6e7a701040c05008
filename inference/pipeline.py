"""The way of a volume through a model, whatever the model: pure functions, no torch, no process.

Real values in, results on the very grid they came on. The stages carry the words the user reads.
"""

from __future__ import annotations

import numpy as np

from imaging.analysis.morphology import draft_mask
from imaging.errors import BadInput
from imaging.geometry import Box, Geometry
from inference.grids import into_source, target_on_model
from inference.model import Prepared, Report, Runner
from inference.postprocess import FLOOR, min_voxels

#: Shares of the stages below, added up for what a run consists of.
SHARES = {"prepare": 0.18, "segment": 0.77, "explain": 0.45, "segment+explain": 0.52 + 0.45}


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
    voxels: np.ndarray,
    affine: np.ndarray,
    slope: float,
    intercept: float,
    report: Report,
) -> Prepared:
    """A stored volume as the network sees it."""
    report.stage("Reading the image", 0.03)
    values = real_values(voxels, slope, intercept, report)
    report.step(1.0)
    report.stage(f"Resampling to {runner.card.spacing_mm:g} mm", 0.15)
    prepared = runner.prepare(values, affine)
    report.step(1.0)
    return prepared


def segment(
    runner: Runner,
    prepared: Prepared,
    probability: np.ndarray,
    mask: np.ndarray,
    heatmap: np.ndarray | None,
    layer: str,
    report: Report,
) -> None:
    """Find and mark.

    Parameters
    ----------
    probability, mask : ndarray, shape (k, j, i) of the source grid
        float32 and uint8 zeros to be filled.
    heatmap : ndarray or None
        float32 zeros to be filled with the Grad-CAM of the whole finding; None: not wanted.
    """
    card, grid = runner.card, prepared.grid
    report.stage("Running the model", 0.6 if heatmap is None else 0.35)
    found = runner.probability(prepared, report)
    report.stage("Back to the grid of the image", 0.12)
    block = Box.around(found >= FLOOR)
    if not block.empty:
        into_source(found[block.slices], block, grid, probability, report.step)
    np.clip(probability, 0.0, 1.0, out=probability)
    probability[probability < FLOOR] = 0.0
    report.stage("Cleaning up", 0.05)
    geometry = Geometry(grid.source_shape, grid.source_affine)
    mask[...] = draft_mask(probability, card.threshold, min_voxels(card, geometry))
    report.step(1.0)
    if heatmap is None:
        return
    if not mask.any():
        report.note("Nothing was found, so there is nothing to explain.")
        return
    explain(runner, prepared, mask, (0, 0, 0), heatmap, layer, report)


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
