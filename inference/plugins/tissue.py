"""Brain, and fluid, grey and white matter inside it, on one image of any contrast.

An average brain is laid over the head first (`inference.plugins.atlas`): that finds the brain in
any contrast. Inside it three normal distributions of brightness are fitted, and how deep each
lies says which is fluid, grey and white matter (:func:`fitted_classes`). The network sees no
brightness any more, only how well each voxel fits each class, at 1 mm, and the brain so far: to
it, all sequences look alike. It tells the tissues apart and draws the border of the brain anew.

Others who need the tissues inside the worker call :func:`brain_and_tissue`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import nn

from imaging.errors import BadInput
from imaging.geometry import Box
from inference.model import Found, Prepared, Report, SourceImage
from inference.plugins.atlas import Atlas, bright_brain, lay_over, moved
from inference.plugins.unet import UNet, fold_batchnorm
from inference.plugins.whole_head import WholeHead, softmax
from inference.preprocess import normalise, to_model_grid
from inference.reports import Part

__all__ = [
    "AtlasAndNetwork",
    "BrainTissue",
    "Classes",
    "Tissues",
    "brain_and_tissue",
    "class_channels",
    "fitted_classes",
    "whole_pieces",
]

Tensor = torch.Tensor
MARGIN = 6
"""Voxels around the brain that the network sees as well."""
REACH = 3
"""Voxels the network may move the border outwards."""
GUESS_BLUR = 1.2
"""Voxels: the brain so far is handed on with a soft border."""
LEAST_VOXELS = 2000
"""Less than this is no brain to fit tissues to."""
LEAST_ML = 150.0
"""Less brain than this is said to be none, or a small part of one."""
FAR = 16.0
"""Squared distances in spreads end here."""
ROUNDS = 25
ORDERS = ((0, 1, 2), (2, 1, 0), (0, 2, 1))
"""Place of fluid, grey and white matter from dark to bright: T1w; T2w and PD; FLAIR."""
LEAST_GAP = 0.08
"""On FLAIR grey matter is brighter than white matter by this share of its brightness at least."""
DEPTH_MM = (2.0, 4.0, 7.0, 11.0, 16.0, 23.0)
DEPTH_PRIOR = np.array(
    [
        [0.60, 0.35, 0.05],
        [0.42, 0.50, 0.08],
        [0.21, 0.62, 0.17],
        [0.10, 0.56, 0.34],
        [0.08, 0.48, 0.44],
        [0.07, 0.42, 0.51],
        [0.12, 0.34, 0.54],
    ]
)
"""Shares of fluid, grey and white matter by depth below the border of the brain: means over the
heads of `inference.training.tissue.heads`, rounded."""


@dataclass(frozen=True)
class Classes:
    """Brightness of fluid, grey and white matter in one image: mean and spread of each."""

    means: tuple[float, float, float]
    spreads: tuple[float, float, float]


def class_channels(image: Tensor, guess: Tensor, classes: Classes) -> Tensor:
    """What the network sees.

    Parameters
    ----------
    image, guess : Tensor, shape (k, j, i)
        Brightness, and the chance of brain.
    classes : Classes

    Returns
    -------
    Tensor, shape (3, k, j, i)
        How well fluid and grey matter fit against all three (0 to 1), and ``guess``. Far from
        all three, none is preferred.
    """
    means, spreads = (torch.tensor(v).reshape(3, 1, 1, 1) for v in (classes.means, classes.spreads))
    away = ((image[None] - means) / spreads) ** 2
    fit = torch.softmax(-0.5 * away.clamp(max=FAR) - spreads.log(), 0)
    return torch.stack([fit[0], fit[1], guess])


def fitted_classes(image: np.ndarray, brain: np.ndarray, spacing_mm: float) -> Classes:
    """Brightness of the three tissues by itself, for any sequence.

    A mixture of three normal distributions is fitted to the brain; the order of the tissues
    (T1w, T2w or FLAIR-like) is the one that agrees best with how deep below the brain's border
    each usually lies; then the mixture is fitted again with that depth as prior.

    Parameters
    ----------
    image : ndarray, shape (k, j, i)
    brain : ndarray of bool, shape (k, j, i)
        At least some hundred voxels.
    spacing_mm : float
    """
    inside = brain[::2, ::2, ::2]
    found = ndimage.distance_transform_edt(np.pad(inside, 1))
    depth = 2 * spacing_mm * np.asarray(found)[1:-1, 1:-1, 1:-1]
    values = image[::2, ::2, ::2][inside].astype(np.float64)
    prior = DEPTH_PRIOR[np.searchsorted(DEPTH_MM, depth[inside])].T
    low, high = np.percentile(values, [2, 98])
    values, least = np.clip(values, low, high), 0.03 * (high - low) + 1e-9
    free, means, spreads = _mixture(values, np.percentile(values, [8, 45, 85]), least)
    by_brightness = np.argsort(means)
    best, chosen = -np.inf, ORDERS[0]
    for order in ORDERS:
        share = free[by_brightness[list(order)]]
        score = float((share * np.log(prior)).sum())
        if score > best:
            best, chosen = score, order
    first, wide = (v[by_brightness[list(chosen)]] for v in (means, spreads))
    _, means, spreads = _mixture(values, first, least, prior)
    if means[0] > max(means[1:]) and means[1] < means[2]:
        means, spreads = first, wide  # bright fluid: white matter is darkest, the prior misled
    (a, b, c), (d, e, f) = means.tolist(), spreads.tolist()
    if a < min(b, c) and abs(b - c) < LEAST_GAP * (b - low):
        # Dark fluid and hardly any contrast besides: a FLAIR, whose grey and white matter melted
        # into one class. They are told apart by what is usual.
        middle, gap = (b + c) / 2, LEAST_GAP * ((b + c) / 2 - low)
        b, c, e, f = middle + gap / 2, middle - gap / 2, min(e, f), min(e, f)
    return Classes((a, b, c), (d, e, f))


def _mixture(
    values: np.ndarray, means: np.ndarray, least: float, prior: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shares ``(3, n)``, means and spreads after some rounds of expectation maximisation."""
    spreads = np.full(3, max(least, float(values.std()) / 3))
    weight = np.full((3, 1), 1 / 3) if prior is None else prior
    share = np.zeros((3, len(values)))
    for _ in range(ROUNDS):
        away = np.minimum(((values - means[:, None]) / spreads[:, None]) ** 2, FAR)
        share = weight * (np.exp(-0.5 * away) / spreads[:, None])
        share /= share.sum(axis=0)
        total = share.sum(axis=1) + 1e-9
        means = share @ values / total
        spread = np.sqrt((share * (values - means[:, None]) ** 2).sum(axis=1) / total)
        spreads = np.maximum(spread, least)
        if prior is None:
            weight = (total / total.sum())[:, None]
    return share, means, spreads


class AtlasAndNetwork(nn.Module):
    """The average brain and the tissue network in one file of weights.

    Parameters
    ----------
    atlas_shape : sequence of int
        ``(k, j, i)`` of the average brain.
    tissue : mapping
        Arguments of :class:`~inference.plugins.unet.UNet`.
    """

    def __init__(self, atlas_shape: Sequence[int], tissue: Mapping[str, Any]) -> None:
        super().__init__()
        self.tissue = fold_batchnorm(UNet(**tissue))
        self.t1: Tensor
        self.brain: Tensor
        self.affine: Tensor
        self.register_buffer("t1", torch.zeros(tuple(atlas_shape)))
        self.register_buffer("brain", torch.zeros(tuple(atlas_shape)))
        self.register_buffer("affine", torch.eye(4))

    @property
    def multiple(self) -> int:
        """Each edge of the 1 mm grid must be a multiple of this."""
        return self.tissue.multiple

    @property
    def atlas(self) -> Atlas:
        """The average brain."""
        t1, brain, affine = (t.cpu().numpy() for t in (self.t1, self.brain, self.affine))
        return Atlas(t1, brain, affine.astype(np.float64))

    def forward(self, x: Tensor) -> Tensor:
        """Logits of outside, fluid, grey and white matter."""
        return self.tissue(x)


@dataclass(frozen=True, eq=False)
class Tissues:
    """What a head is made of, on its 1 mm model grid.

    Attributes
    ----------
    shares : ndarray, shape (3, k, j, i)
        Chance of fluid, grey and white matter, float32; 0 outside the brain, adding up to 1 in it.
    brain : ndarray, shape (k, j, i)
        One piece without holes.
    cut : bool
        Whether the brain reaches the end of the field of view at the top or a side.
    """

    shares: np.ndarray
    brain: np.ndarray
    cut: bool

    @property
    def labels(self) -> np.ndarray:
        """uint8: 0 outside, 1 fluid, 2 grey matter, 3 white matter."""
        return np.where(self.brain, self.shares.argmax(axis=0) + 1, 0).astype(np.uint8)

    def facts(self, spacing_mm: float) -> dict[str, Any]:
        """Volumes in ml and the share of the brain that is not fluid."""
        counts = np.bincount(self.labels.ravel(), minlength=4)[1:] * spacing_mm**3 / 1000
        fluid, grey, white = (round(float(n), 1) for n in counts)
        whole = float(counts.sum())
        solid = round((whole - float(counts[0])) / whole, 3) if whole else 0.0
        return {
            "csf_ml": fluid,
            "grey_matter_ml": grey,
            "white_matter_ml": white,
            "brain_ml": round(whole, 1),
            "brain_parenchymal_fraction": solid,
            "brain_cut": self.cut,
        }


class BrainTissue(WholeHead):
    """The model of kind ``tissue``."""

    def build(self, weights: Path) -> AtlasAndNetwork:
        """Network and average brain."""
        from safetensors.torch import load_file

        network = AtlasAndNetwork(**self.card.arguments)
        state = {name: value.float() for name, value in load_file(str(weights)).items()}
        network.load_state_dict(state, strict=True)
        network.requires_grad_(False)
        network.tissue.to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return network.eval()

    def prepare(self, images: Mapping[str, SourceImage]) -> Prepared:
        """Resample to 1 mm; normalised, nothing smoothed."""
        name = self.card.required[0].name
        if name not in images:
            raise BadInput(f"'{self.card.name}' needs an image of a head")
        image = images[name]
        card = self.card
        array, grid = to_model_grid(image.voxels, image.affine, card.spacing_mm, card.multiple)
        return Prepared(normalise(array, smoothing=0.0), grid)

    def find(self, prepared: Prepared, report: Report) -> Found:
        """Chance of each tissue, and the volumes as facts."""
        found = brain_and_tissue(self, prepared, report)
        facts = found.facts(self.card.spacing_mm)
        if facts["brain_ml"] < LEAST_ML:
            report.note(
                f"Only {facts['brain_ml']:.0f} ml were taken for brain: the image may hold no "
                "brain, or a small part of one."
            )
        elif found.cut:
            report.note("The brain reaches the end of the image: its volumes are too small.")
        return Found(found.shares, facts=facts)

    def heat(
        self, prepared: Prepared, target: np.ndarray, layer: str, report: Report
    ) -> tuple[np.ndarray, tuple[int, int, int]]:
        """Tissues are seen, not argued for."""
        raise BadInput("The tissues are not explained by Grad-CAM: compare them with the image")


def brain_and_tissue(model: BrainTissue, prepared: Prepared, report: Report) -> Tissues:
    """Brain and tissues of a prepared head.

    Parameters
    ----------
    model : BrainTissue
        Loaded, for example by ``inference.engine.load_runner``.
    prepared : Prepared
        From ``model.prepare``.
    """
    light = prepared.array + np.float32(1)
    inside = _atlas_brain(model, light, prepared.grid.affine, Part(report, 0.0, 0.5))
    shares = np.zeros((3, *inside.shape), np.float32)
    if inside.sum() < LEAST_VOXELS:
        return Tissues(shares, np.zeros(inside.shape, bool), False)
    chance = np.asarray(ndimage.gaussian_filter(inside.astype(np.float32), GUESS_BLUR), np.float32)
    box = _lattice_box(Box.around(inside), inside.shape, model.network.multiple)
    block, guess = light[box.slices], chance[box.slices]
    classes = fitted_classes(block, guess > 0.5, model.card.spacing_mm)
    channels = class_channels(torch.from_numpy(block), torch.from_numpy(guess), classes)
    output = model.logits(channels.numpy(), Part(report, 0.5, 0.5))
    chances = softmax(output)
    near = ndimage.binary_dilation(guess > 0.5, iterations=REACH)
    brain = np.zeros(chance.shape, bool)
    brain[box.slices] = whole_pieces((chances[0] < 0.5) & near)
    parts = chances[1:] / np.maximum(chances[1:].sum(axis=0), 1e-6)
    shares[(slice(None), *box.slices)] = parts * brain[box.slices]
    return Tissues(shares, brain, _cut(brain, prepared))


def _atlas_brain(model: BrainTissue, light: np.ndarray, affine: np.ndarray, report: Report) -> Any:
    """The brain by the average brain and brightness, bool ``(k, j, i)``."""
    atlas = model.network.atlas
    transform = lay_over(light, affine, atlas, report)
    prior = moved(atlas.brain, atlas.affine, transform, light, affine) > 0.5
    return bright_brain(light, prior)


def whole_pieces(mask: np.ndarray) -> np.ndarray:
    """The largest piece of a mask, holes filled; thin bridges do not join pieces.

    Parameters
    ----------
    mask : ndarray of bool, shape (k, j, i)
    """
    core = ndimage.binary_erosion(mask, iterations=2)
    if not core.any():
        core = mask
    pieces, _ = ndimage.label(core)  # type: ignore[misc]
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    if not sizes.any():
        return mask
    kept = ndimage.binary_dilation(pieces == sizes.argmax(), iterations=3) & mask
    return np.asarray(ndimage.binary_fill_holes(kept), bool)


def _lattice_box(box: Box, shape: tuple[int, ...], multiple: int) -> Box:
    """A box with margin whose edges are multiples of what the network needs."""
    start = [max(0, (a - MARGIN) // multiple * multiple) for a in box.start]
    stop = [
        min(n, -(-(b + MARGIN) // multiple) * multiple)
        for b, n in zip(box.stop, shape, strict=True)
    ]
    (a, b, c), (d, e, f) = start, stop
    return Box((a, b, c), (d, e, f))


def _cut(brain: np.ndarray, prepared: Prepared) -> bool:
    """Whether much of the brain lies at the end of the image, other than at the neck."""
    grid = prepared.grid
    where = np.argwhere(brain[::4, ::4, ::4]) * 4
    if not len(where):
        return False
    to_source = np.linalg.inv(grid.source_affine) @ grid.affine
    index = where @ to_source[:3, :3].T + to_source[:3, 3]
    last = np.array(grid.source_shape) - 1
    outward = np.minimum(index, last - index)
    step = 4 * grid.spacing_mm / np.linalg.norm(grid.source_affine[:3, :3], axis=0)
    at_end = (outward < 0.25 * step + 0.5).any(axis=1)
    high = where[:, 0] > np.percentile(where[:, 0], 25)
    return bool((at_end & high).mean() > 0.01)
