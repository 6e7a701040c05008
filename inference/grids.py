"""Blocks of a model grid and the source blocks that belong to them.

Most of a head holds no finding. Working on the block that matters keeps the way back to the
source grid short, also for a source of a hundred million voxels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from imaging.geometry import Box, Geometry
from inference.preprocess import ModelGrid, resample_to_model, to_source_grid

#: Source voxels brought back in one go; between two blocks the run can be cancelled.
BLOCK_VOXELS = 6_000_000
#: Voxels a block is widened by, so that interpolation finds its neighbours.
BORDER = 2


def sub_grid(grid: ModelGrid, source: Box | None = None, model: Box | None = None) -> ModelGrid:
    """The same pair of grids, cut to a block of either."""
    changes: dict[str, object] = {}
    if source is not None:
        part = Geometry(grid.source_shape, grid.source_affine).cropped(source)
        changes |= {"source_shape": part.shape, "source_affine": part.affine}
    if model is not None:
        part = Geometry(grid.shape, grid.affine).cropped(model)
        changes |= {"shape": part.shape, "affine": part.affine}
    return replace(grid, **changes)  # type: ignore[arg-type]


def source_box(grid: ModelGrid, model: Box) -> Box:
    """The source block that covers a model block; empty where they do not meet."""
    source = Geometry(grid.source_shape, grid.source_affine)
    return _covering(Geometry(grid.shape, grid.affine).cropped(model), source)


def model_box(grid: ModelGrid, source: Box) -> Box:
    """The model block that covers a source block; empty where they do not meet."""
    part = Geometry(grid.source_shape, grid.source_affine).cropped(source)
    return _covering(part, Geometry(grid.shape, grid.affine))


def _covering(part: Geometry, grid: Geometry) -> Box:
    """The block of ``grid`` that covers all voxels (not only centres) of ``part``."""
    k, j, i = (np.array([-0.5, n - 0.5]) for n in part.shape)
    corners = np.stack(np.meshgrid(k, j, i, indexing="ij"), axis=-1).reshape(-1, 3)
    index = grid.index(part.world(corners))
    start = np.floor(index.min(axis=0)).astype(int) - BORDER
    stop = np.ceil(index.max(axis=0)).astype(int) + 1 + BORDER
    return Box(_triple(start), _triple(stop)).clipped(grid.shape)


def into_source(
    block: np.ndarray,
    model: Box,
    grid: ModelGrid,
    out: np.ndarray,
    step: Callable[[float], None] = lambda fraction: None,
) -> None:
    """Bring a block of the model grid back into an array of the source grid.

    Parameters
    ----------
    block : ndarray
        float32, the content of ``model``.
    model : Box
        Where it lies on the model grid.
    out : ndarray, shape ``grid.source_shape``
        Written where the block lies; the rest stays as it is.
    step : callable
        Told the fraction done after each part; what it raises ends the work.
    """
    target = source_box(grid, model)
    if target.empty:
        return
    parts = _parts(target)
    for number, part in enumerate(parts, 1):
        near = _covering(
            Geometry(grid.source_shape, grid.source_affine).cropped(part),
            Geometry(grid.shape, grid.affine).cropped(model),
        )
        if not near.empty:
            near_model = _shifted(near, model.start)
            pair = sub_grid(grid, part, near_model)
            # A contiguous copy: the resampling may keep a view of what it is given.
            out[part.slices] = to_source_grid(np.ascontiguousarray(block[near.slices]), pair)
        step(number / len(parts))


def _shifted(box: Box, by: tuple[int, int, int]) -> Box:
    return Box(
        _triple(a + b for a, b in zip(box.start, by, strict=True)),
        _triple(a + b for a, b in zip(box.stop, by, strict=True)),
    )


def _parts(box: Box) -> list[Box]:
    """A block cut along its first axis into parts of a bounded size."""
    _, j, i = box.shape
    thick = max(1, BLOCK_VOXELS // max(1, j * i))
    return [
        Box((a, *box.start[1:]), (min(a + thick, box.stop[0]), *box.stop[1:]))
        for a in range(box.start[0], box.stop[0], thick)
    ]


def target_on_model(target: np.ndarray, start: tuple[int, int, int], grid: ModelGrid) -> np.ndarray:
    """Marked voxels of the source as marked voxels of the model grid.

    Parameters
    ----------
    target : ndarray
        bool, a block of the source grid.
    start : tuple of int
        Its first index ``(k, j, i)``.

    Returns
    -------
    ndarray
        bool, ``grid.shape``. A finding that touches the model grid keeps at least one voxel,
        also where the model's voxels are larger than the finding.
    """
    result = np.zeros(grid.shape, bool)
    border = _border_of(grid)
    padded = np.pad(target, [(b, b) for b in border]).astype(np.float32)
    first = tuple(a - b for a, b in zip(start, border, strict=True))
    source = Box(_triple(first), _triple(a + n for a, n in zip(first, padded.shape, strict=True)))
    model = model_box(grid, source)
    if model.empty or not target.any():
        return result
    share = resample_to_model(padded, sub_grid(grid, source, model), order=1, fill=0.0)
    highest = float(share.max())
    if highest > 0:
        result[model.slices] = share >= min(0.5, 0.99 * highest)
    return result


def _border_of(grid: ModelGrid) -> tuple[int, int, int]:
    """Source voxels around a block that a model voxel inside it may take its value from."""
    spacing = np.linalg.norm(grid.source_affine[:3, :3], axis=0)
    return _triple(np.ceil(2 * grid.spacing_mm / spacing).astype(int) + 1)


def _triple(values: Iterable[int]) -> tuple[int, int, int]:
    a, b, c = (int(v) for v in values)
    return a, b, c
