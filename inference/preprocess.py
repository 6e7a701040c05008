"""Any head, any orientation: to the grid a network wants, and back to the source grid.

Arrays are ``(k, j, i)``; affines map ``(k, j, i, 1)`` to LPS millimetres. The model grid keeps
the source's own axes (a tilted acquisition follows the tilted head) but permutes and flips them
to the closest anatomical order: axis 0 runs to superior, axis 1 to posterior, axis 2 to the
patient's left. Spacing is isotropic, the field of view is cropped to the head, and every edge
is padded to a multiple of what the network needs.

Training, application and tests all use this file, so a volume can never be prepared in two ways.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

__all__ = [
    "ModelGrid",
    "normalise",
    "normalise_beside",
    "other_to_model",
    "resample_to_model",
    "to_model_grid",
    "to_source_grid",
]

FloatArray = npt.NDArray[np.float32]

DRIFT_TOLERANCE = 0.2
"""Voxels two grids may drift apart across the volume and still be resampled axis by axis."""
MARGIN_MM = 6.0
"""Air kept around the head box."""
HEAD_LEVEL = 0.12
"""Head against air, as a share of the 99th percentile above the background."""
SMOOTHING = 0.7
"""Gaussian, in model voxels: noise and the ringing of earlier resampling mislead a network that
learned from few scanners (measured: it lost half its Dice on sharp 1 mm scans without this)."""
SHELL_DEPTH = 3.0
"""Scalp and skull: this many samples (of four voxels) below the surface count little."""


@dataclass(frozen=True, eq=False)
class ModelGrid:
    """Where a model array lies and which source grid it came from.

    Attributes
    ----------
    source_shape : tuple of int
        ``(k, j, i)`` of the source.
    source_affine : ndarray
        4 x 4, source index to LPS mm.
    shape : tuple of int
        ``(k, j, i)`` of the model array.
    affine : ndarray
        4 x 4, model index to LPS mm.
    axes : tuple of int
        Source axis that became each model axis.
    flips : tuple of bool
        Whether that axis was reversed.
    spacing_mm : float
        Edge of the model's cubic voxel.
    background : float
        Source value used outside the source's field of view.
    """

    source_shape: tuple[int, int, int]
    source_affine: npt.NDArray[np.float64]
    shape: tuple[int, int, int]
    affine: npt.NDArray[np.float64]
    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]
    spacing_mm: float
    background: float

    @property
    def oriented_affine(self) -> npt.NDArray[np.float64]:
        """Index of the permuted and flipped source to LPS mm."""
        return _orient_affine(self.source_affine, self.source_shape, self.axes, self.flips)

    @property
    def oriented_shape(self) -> tuple[int, ...]:
        """Shape of the permuted source."""
        return tuple(self.source_shape[a] for a in self.axes)


def to_model_grid(
    voxels: npt.NDArray[Any],
    affine: npt.ArrayLike,
    spacing_mm: float = 1.0,
    multiple: int = 16,
) -> tuple[FloatArray, ModelGrid]:
    """Reorient, resample and crop a volume for a network.

    Parameters
    ----------
    voxels : ndarray
        Source ``(k, j, i)``, any numeric type.
    affine : array_like
        4 x 4, source index to LPS mm; may be oblique or sheared.
    spacing_mm : float
        Wanted isotropic spacing.
    multiple : int
        Every edge of the result is a multiple of this.

    Returns
    -------
    array : ndarray
        float32 on the model grid, intensities as in the source.
    grid : ModelGrid
        Needed for `to_source_grid` and `resample_to_model`.

    Raises
    ------
    ValueError
        If the volume is not three-dimensional or the affine cannot be inverted.
    """
    if voxels.ndim != 3 or min(voxels.shape) < 1:
        raise ValueError(f"expected a volume with three axes, got shape {voxels.shape}")
    matrix = np.array(affine, dtype=np.float64)
    determinant = float(np.linalg.det(matrix[:3, :3])) if matrix.shape == (4, 4) else 0.0
    if not np.isfinite(determinant) or abs(determinant) < 1e-9:
        raise ValueError("the affine must be an invertible 4 x 4 matrix")
    axes, flips = _closest_axes(matrix)
    oriented = _orient(voxels, axes, flips)
    oriented_affine = _orient_affine(matrix, voxels.shape, axes, flips)
    box, background = _head_box(oriented, oriented_affine)
    rotation = _nearest_rotation(oriented_affine[:3, :3])
    low, high = _extent(oriented_affine, rotation, box)
    counts = np.maximum(np.ceil((high - low) / spacing_mm - 1e-6).astype(int) + 1, 1)
    shape = np.ceil(counts / multiple).astype(int) * multiple
    start = low - (shape - counts) // 2 * spacing_mm
    model_affine = np.eye(4)
    model_affine[:3, :3] = rotation * spacing_mm
    model_affine[:3, 3] = rotation @ start
    grid = ModelGrid(
        source_shape=_triple(voxels.shape),
        source_affine=matrix,
        shape=_triple(shape),
        affine=model_affine,
        axes=axes,
        flips=flips,
        spacing_mm=float(spacing_mm),
        background=background,
    )
    return resample_to_model(voxels, grid), grid


def resample_to_model(
    array: npt.NDArray[Any], grid: ModelGrid, order: int = 1, fill: float | None = None
) -> FloatArray:
    """Bring another array of the source grid (a mask, a second map) to the model grid.

    Parameters
    ----------
    array : ndarray
        On the source grid.
    grid : ModelGrid
        From `to_model_grid`.
    order : int
        1 linear with area-aware smoothing, 0 nearest.
    fill : float, optional
        Value outside the source; the volume's background by default.
    """
    if array.shape != grid.source_shape:
        raise ValueError(f"array {array.shape} is not on the source grid {grid.source_shape}")
    oriented = _orient(array, grid.axes, grid.flips)
    value = grid.background if fill is None else fill
    return _resample(oriented, grid.oriented_affine, grid.affine, grid.shape, order, value)


def other_to_model(
    voxels: npt.NDArray[Any], affine: npt.ArrayLike, grid: ModelGrid, order: int = 1
) -> FloatArray:
    """Bring another image of the same patient position, on a grid of its own, to the model grid.

    Parameters
    ----------
    voxels : ndarray
        ``(k, j, i)``, for example the T1w image of the study.
    affine : array_like
        4 x 4, index to LPS mm, of the same frame of reference as the grid's source.
    grid : ModelGrid
        From `to_model_grid` of the first image.
    order : int
        1 linear with area-aware smoothing, 0 nearest.

    Returns
    -------
    ndarray
        float32, ``grid.shape``; outside the image its own background.
    """
    matrix = np.array(affine, dtype=np.float64)
    axes, flips = _closest_axes(matrix)
    oriented = _orient(voxels, axes, flips)
    source = _orient_affine(matrix, voxels.shape, axes, flips)
    _, background = _head_box(oriented, source)
    return _resample(oriented, source, grid.affine, grid.shape, order, background)


def to_source_grid(array: npt.NDArray[Any], grid: ModelGrid, order: int = 1) -> FloatArray:
    """Bring a model array back to the very grid the source came on.

    Parameters
    ----------
    array : ndarray
        On the model grid.
    grid : ModelGrid
        From `to_model_grid`.
    order : int
        1 linear with area-aware smoothing (probabilities), 0 nearest (labels).

    Returns
    -------
    ndarray
        float32, ``grid.source_shape``; 0 outside the model grid.
    """
    if array.shape != grid.shape:
        raise ValueError(f"array {array.shape} is not on the model grid {grid.shape}")
    shape = grid.oriented_shape
    oriented = _resample(array, grid.affine, grid.oriented_affine, shape, order, 0.0)
    flipped = oriented[tuple(slice(None, None, -1 if f else 1) for f in grid.flips)]
    return np.ascontiguousarray(flipped.transpose(np.argsort(grid.axes)))


def normalise(array: npt.NDArray[Any], smoothing: float = SMOOTHING) -> FloatArray:
    """Map intensities to a scale that does not depend on scanner or lesion load.

    The background goes to -1 and the main tissue peak of the brain to 0; above the peak one unit
    is the distance between the two. Beyond +1 (fat, vessels) the scale is halved, and everything
    ends at +2. The peak does not move with the lesion load, which a high percentile does. The
    finest texture is smoothed away, because it tells more about scanner and resampling than about
    tissue.

    Parameters
    ----------
    array : ndarray
        Model-grid intensities, whole head or stripped brain, any unit.
    smoothing : float
        Sigma in voxels of the model grid; 0 for pictures that training still has to blur.

    Returns
    -------
    ndarray
        float32 in [-1, 2].
    """
    low, peak = intensity_landmarks(array)
    result = np.subtract(array, low, dtype=np.float32)
    if smoothing > 0:
        result = np.asarray(ndimage.gaussian_filter(result, smoothing, truncate=2.5), np.float32)
    return _on_scale(result, peak - low)


def normalise_beside(
    array: npt.NDArray[Any], flair: FloatArray, smoothing: float = SMOOTHING
) -> FloatArray:
    """Map another sequence (T1w, T2w) of the same head to the scale of its normalised FLAIR.

    The background goes to -1, and the middle value of the tissue where FLAIR has its peak to 0.
    A histogram of a T2w has its highest peak in fluid or in tissue, depending on the head; the
    place of the tissue is known from FLAIR.

    Parameters
    ----------
    array : ndarray
        Intensities on the model grid of ``flair``.
    flair : ndarray
        From `normalise`.
    smoothing : float
        Sigma in voxels, as in `normalise`.

    Returns
    -------
    ndarray
        float32 in [-1, 2]; beyond +1 the scale is halved. Where ``array`` holds one value only:
        zeros, as for a missing image.
    """
    sample, guide = array[::2, ::2, ::2], flair[::2, ::2, ::2]
    low = float(np.percentile(np.asarray(sample, np.float32), 0.5))
    weights = _central_weights(guide > HEAD_LEVEL - 1)
    values = np.asarray(sample, np.float32)[guide > HEAD_LEVEL - 1]
    tissue = (np.abs(guide[guide > HEAD_LEVEL - 1]) < 0.15) & (weights > 0.3) & (values > low)
    peak = float(np.median(values[tissue])) if tissue.any() else low
    if not peak > low:
        return np.zeros(array.shape, np.float32)
    result = np.subtract(array, low, dtype=np.float32)
    if smoothing > 0:
        result = np.asarray(ndimage.gaussian_filter(result, smoothing, truncate=2.5), np.float32)
    return _on_scale(result, peak - low)


def _on_scale(above_background: FloatArray, peak: float) -> FloatArray:
    """Background -1, peak 0, halved beyond +1; changes the array."""
    result = above_background
    result *= np.float32(1.0 / max(peak, 1e-6))
    result -= np.float32(1.0)
    high = result > 1
    result[high] = np.float32(0.5) + np.float32(0.5) * result[high]
    return np.clip(result, -1.0, 2.0, out=result)


def intensity_landmarks(array: npt.NDArray[Any]) -> tuple[float, float]:
    """Background level and main tissue peak.

    The peak is sought above an Otsu threshold (fluid and muscle stay below it), in a histogram
    that weights the middle of the head more than its shell, so that scalp does not win.
    """
    sample = np.asarray(array[::2, ::2, ::2], dtype=np.float32)
    low, top = (float(v) for v in np.percentile(sample, (0.5, 99.8)))
    if not top > low:
        return low, low + 1.0
    inside = sample > low + HEAD_LEVEL * (top - low)
    values = sample[inside]
    weights = _central_weights(inside)
    counts, edges = np.histogram(values, bins=160, range=(low, top), weights=weights)
    centres = (edges[1:] + edges[:-1]) / 2
    smooth = ndimage.gaussian_filter1d(counts.astype(np.float64), 2.5)
    above = centres > _otsu(counts, centres)
    return low, float(centres[int(np.argmax(np.where(above, smooth, -1.0)))])


def _central_weights(inside: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Weight of each foreground voxel: little near the head's surface, most in its middle."""
    coarse = inside[::2, ::2, ::2]
    filled = ndimage.binary_fill_holes(np.pad(coarse, 1))
    depth = np.asarray(ndimage.distance_transform_edt(filled), np.float32)[1:-1, 1:-1, 1:-1]
    where = np.nonzero(inside)
    deep = depth[where[0] // 2, where[1] // 2, where[2] // 2] > SHELL_DEPTH
    total = np.where(deep, 0, 8).astype(np.float32)
    for axis in where:
        total += ((axis - axis.mean()) / (1.2 * axis.std() + 1e-3)).astype(np.float32) ** 2
    return np.exp(-0.5 * total)


def _otsu(counts: npt.NDArray[Any], centres: npt.NDArray[Any]) -> float:
    """Return the level that best separates a histogram into two classes."""
    weight = np.cumsum(counts) / max(float(np.sum(counts)), 1e-12)
    mean = np.cumsum(counts * centres) / max(float(np.sum(counts)), 1e-12)
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mean[-1] * weight - mean) ** 2 / (weight * (1 - weight))
    return float(centres[int(np.nanargmax(np.where(np.isfinite(between), between, -1.0)))])


def _triple(values: npt.ArrayLike) -> tuple[int, int, int]:
    a, b, c = (int(v) for v in np.asarray(values))
    return a, b, c


def _closest_axes(
    affine: npt.NDArray[np.float64],
) -> tuple[tuple[int, int, int], tuple[bool, bool, bool]]:
    """Source axis and direction closest to superior, posterior and left."""
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    score = np.abs(directions)[::-1]
    best = max(permutations(range(3)), key=lambda p: sum(score[m, p[m]] for m in range(3)))
    flips = tuple(bool(directions[2 - m, best[m]] < 0) for m in range(3))
    return _triple(best), (flips[0], flips[1], flips[2])


def _orient(
    array: npt.NDArray[Any], axes: tuple[int, ...], flips: tuple[bool, ...]
) -> npt.NDArray[Any]:
    return array.transpose(axes)[tuple(slice(None, None, -1 if f else 1) for f in flips)]


def _orient_affine(
    affine: npt.NDArray[np.float64],
    shape: tuple[int, ...],
    axes: tuple[int, ...],
    flips: tuple[bool, ...],
) -> npt.NDArray[np.float64]:
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for new, (old, flip) in enumerate(zip(axes, flips, strict=True)):
        change[old, new] = -1 if flip else 1
        change[old, 3] = shape[old] - 1 if flip else 0
    return affine @ change


def _nearest_rotation(matrix: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Orthonormal directions closest to the columns (the columns themselves without shear)."""
    u, _, v = np.linalg.svd(matrix / np.linalg.norm(matrix, axis=0))
    return u @ v


def _head_box(
    oriented: npt.NDArray[Any], affine: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.float64], float]:
    """First and last index of the head along each axis (with margin), and the background."""
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    steps = [max(1, int(2.0 // s)) for s in spacing]
    sample = np.asarray(oriented[tuple(slice(None, None, s) for s in steps)], dtype=np.float32)
    background, top = (float(v) for v in np.percentile(sample, (0.5, 99)))
    head = sample > background + HEAD_LEVEL * (top - background)
    box = np.array([[0.0, 0.0, 0.0], [n - 1.0 for n in oriented.shape]])
    for axis in range(3):
        share = head.mean(axis=tuple(a for a in range(3) if a != axis))
        found = np.nonzero(share > 0.004)[0]
        if len(found):
            margin = MARGIN_MM / spacing[axis]
            box[0, axis] = max(0.0, np.floor(found[0] * steps[axis] - margin))
            last = np.ceil((found[-1] + 1) * steps[axis] + margin)
            box[1, axis] = min(oriented.shape[axis] - 1.0, last)
    return box, background


def _extent(
    affine: npt.NDArray[np.float64],
    rotation: npt.NDArray[np.float64],
    box: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Smallest and largest millimetre along each rotated axis of an index box."""
    picks = np.array(np.meshgrid([0, 1], [0, 1], [0, 1], indexing="ij")).reshape(3, -1)
    corners = np.stack([box[picks[a], a] for a in range(3)])
    points = rotation.T @ (affine[:3, :3] @ corners + affine[:3, 3:])
    return points.min(axis=1), points.max(axis=1)


def _resample(
    array: npt.NDArray[Any],
    source: npt.NDArray[np.float64],
    target: npt.NDArray[np.float64],
    shape: tuple[int, ...],
    order: int,
    fill: float,
) -> FloatArray:
    """Sample ``array`` (affine ``source``) on a grid (affine ``target``, ``shape``)."""
    matrix = np.linalg.inv(source) @ target
    steps = np.linalg.norm(matrix[:3, :3], axis=1)
    sigmas = 0.42 * np.sqrt(np.maximum(steps**2 - 1.0, 0.0)) if order else np.zeros(3)
    off_axis = matrix[:3, :3] - np.diag(np.diag(matrix[:3, :3]))
    drift = np.abs(off_axis) @ (np.array(shape) - 1.0)
    if np.all(drift < DRIFT_TOLERANCE):
        return _resample_separable(array, matrix, shape, sigmas, order, fill)
    smooth = np.asarray(array, dtype=np.float32)
    for axis in range(3):
        if sigmas[axis] > 0.1:
            smooth = ndimage.gaussian_filter1d(smooth, sigmas[axis], axis, mode="nearest")
    result = ndimage.affine_transform(
        smooth,
        matrix,
        output_shape=shape,
        output=np.float32,
        order=order,
        mode="grid-constant",
        cval=fill,
    )
    return np.asarray(result, np.float32)


def _resample_separable(
    array: npt.NDArray[Any],
    matrix: npt.NDArray[np.float64],
    shape: tuple[int, ...],
    sigmas: npt.NDArray[np.float64],
    order: int,
    fill: float,
) -> FloatArray:
    """Axis by axis, those that shrink the array most come first."""
    result = array
    for axis in sorted(range(3), key=lambda a: shape[a] / array.shape[a]):
        centre = matrix[axis, :3] @ ((np.array(shape) - 1) / 2) + matrix[axis, 3]
        at = centre + matrix[axis, axis] * (np.arange(shape[axis]) - (shape[axis] - 1) / 2)
        if order and sigmas[axis] > 0.1:
            result = ndimage.gaussian_filter1d(
                np.asarray(result, dtype=np.float32), sigmas[axis], axis, mode="nearest"
            )
        result = _sample_axis(result, axis, at, order, fill)
    return np.ascontiguousarray(result, dtype=np.float32)


def _sample_axis(
    array: npt.NDArray[Any],
    axis: int,
    at: npt.NDArray[np.float64],
    order: int,
    fill: float,
) -> FloatArray:
    """Interpolate along one axis at fractional indices; ``fill`` beyond half a voxel outside."""
    size = array.shape[axis]
    along = [-1 if a == axis else 1 for a in range(3)]
    if order == 0:
        near = np.clip(np.floor(at + 0.5).astype(int), 0, size - 1)
        result = np.asarray(np.take(array, near, axis), dtype=np.float32)
    else:
        inside = np.clip(at, 0, size - 1)
        first = np.minimum(inside.astype(int), max(size - 2, 0))
        share = (inside - first).astype(np.float32).reshape(along)
        result = np.asarray(np.take(array, first, axis), dtype=np.float32)
        if np.any(share > 0):
            other = np.asarray(np.take(array, np.minimum(first + 1, size - 1), axis), np.float32)
            other -= result
            other *= share
            result = result + other
    outside = (at < -0.5 - 1e-6) | (at > size - 0.5 + 1e-6)
    if np.any(outside):
        where: list[slice | npt.NDArray[np.bool_]] = [slice(None)] * 3
        where[axis] = outside
        result[tuple(where)] = fill
    return result
