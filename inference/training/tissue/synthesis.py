"""Heads of any contrast made up from tissue maps, to train the tissue network.

One example takes these steps: a head (template or real) is turned, scaled and bent; each tissue
gets a brightness drawn at random, mostly in the order of a T1w, T2w, FLAIR or PD image; lesions
are planted; skull, scalp, eyes, neck and face are those of a real head in made-up brightness,
or made-up shells, or the brain is stripped with a bad margin; then comes what a scanner does.
What a voxel *is* stays known through all of it. After Billot et al., SynthSeg, Med. Image Anal.
86 (2023), and Hoopes et al., SynthStrip, NeuroImage 260 (2022).

Arrays are torch tensors ``(k, j, i)``, running to superior, posterior and left.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from inference.plugins.tissue import Classes, class_channels
from inference.training.tissue.heads import Head

__all__ = ["TISSUE", "Example", "HeadMaker", "Stage"]

Shape = tuple[int, ...]
Tensor = torch.Tensor
FAR = 40.0
"""Distances to the brain are known up to so many mm."""

#: Brightness of fluid, grey and white matter (low, high) in units of the brightest tissue.
ORDERS: dict[str, tuple[tuple[float, float], ...]] = {
    "T1w": ((0.05, 0.35), (0.45, 0.75), (0.75, 1.0)),
    "T2w": ((0.8, 1.3), (0.45, 0.7), (0.25, 0.5)),
    "FLAIR": ((0.02, 0.3), (0.6, 0.95), (0.5, 0.8)),
    "PD": ((0.6, 1.0), (0.65, 0.95), (0.45, 0.7)),
}
FREE = 0.15
"""Share of examples whose tissues may have any order."""
TRIES, LEAST_VOXELS = 4, 200
"""An example with fewer voxels of a tissue is made again, so many times."""
LEAST_CONTRAST = 0.08
"""Grey and white matter of an example with an order differ by this at least: what cannot be seen
cannot be learnt."""


@dataclass(frozen=True)
class Stage:
    """The network and its examples.

    Attributes
    ----------
    name : str
    spacing_mm : float
        Edge of a voxel.
    shape : tuple of int
        Edges of an example.
    inputs, outputs : int
        Of the network.
    channels : tuple of int
        Of the network.
    thin : int
        Of the network.
    again : int
        Remembered examples in a batch, beside the new one.
    """

    name: str
    spacing_mm: float
    shape: Shape
    inputs: int
    outputs: int
    channels: tuple[int, ...]
    thin: int
    again: int = 1


TISSUE = Stage("tissue", 1.0, (64, 80, 64), 3, 4, (16, 24, 32, 48), 8)


@dataclass(frozen=True, eq=False)
class Example:
    """One training example.

    Attributes
    ----------
    image : Tensor, shape (inputs, k, j, i)
        As the network gets it.
    label : Tensor, shape (k, j, i)
        0 outside, 1 fluid, 2 grey, 3 white matter.
    """

    image: Tensor
    label: Tensor


class HeadMaker:
    """Endless source of examples for one stage.

    Parameters
    ----------
    heads : sequence of Head
        On the spacing of the stage.
    stage : Stage
    seed : int
        Start of the random numbers.
    """

    def __init__(self, heads: Sequence[Head], stage: Stage, seed: int = 0) -> None:
        self.stage = stage
        self.heads = [_stacked(h) for h in heads]
        chance = np.array([h.share for h in heads])
        self.chance = chance / chance.sum()
        self.rng = np.random.default_rng(seed)

    def sample(self) -> Example:
        """Make one example."""
        image, shares, distance = self._head()
        for _ in range(TRIES):
            label = _labels(shares, distance)
            if all(int((label == n).sum()) >= LEAST_VOXELS for n in (1, 2, 3)):
                break
            image, shares, distance = self._head()
        label, guess = _labels(shares, distance), self._guess(distance)
        return Example(class_channels(image, guess, _classes(self.rng, image, label)), label)

    def _head(self) -> tuple[Tensor, Tensor, Tensor]:
        """Brightness, shares of the three tissues, and distance to the border in voxels."""
        rng, stage = self.rng, self.stage
        head = self.heads[int(rng.choice(len(self.heads), p=self.chance))]
        points = self._points(head)
        soft = _look(head.soft, points, "bilinear")
        shares, distance, image = soft[:3].clamp(0, 1), soft[3] + FAR, soft[4]
        if not head.real or rng.random() > 0.2:
            outer = _look(head.outer, points, "nearest")[0]
            shares = _folds(rng, shares, distance / stage.spacing_mm)
            image = self._paint(shares)
            image = _surround(rng, image, distance, outer, head.real)
        return _scanned(rng, image, stage.spacing_mm), shares, distance / stage.spacing_mm

    def _guess(self, distance: Tensor) -> Tensor:
        """The brain so far, as wrong as it may be."""
        rng = self.rng
        guess = distance + _field(rng, self.stage.shape, 6) * rng.uniform(0, 1.2)
        return torch.sigmoid(-(guess + rng.normal(0, 1.0)) / rng.uniform(0.7, 1.4))

    def _points(self, head: _Stacked) -> Tensor:
        """Positions ``(k, j, i, 3)`` in the head, as `grid_sample` wants them."""
        rng, shape = self.rng, self.stage.shape
        turn = _rotation(np.deg2rad(rng.normal(0, 9, 3)))
        scale = rng.uniform(0.85, 1.18) * rng.uniform(0.93, 1.07, 3)
        scale[2] *= rng.choice([-1, 1])
        size = np.array(head.soft.shape[2:])
        centre = head.middle + rng.uniform(-0.75, 0.75, 3) * head.reach
        axes = [torch.arange(n, dtype=torch.float32) - (n - 1) / 2 for n in shape]
        grid = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1)
        points = grid @ torch.from_numpy((turn * scale).T.astype(np.float32))
        points += torch.from_numpy(centre.astype(np.float32))
        strength = rng.uniform(0, 3.0) / self.stage.spacing_mm
        points += torch.stack([_field(rng, shape, 5) for _ in range(3)], -1) * strength
        return (2 * points / torch.from_numpy((size - 1).astype(np.float32)) - 1).flip(-1)

    def _paint(self, shares: Tensor) -> Tensor:
        """Brightness of the brain by tissue, with texture and lesions."""
        rng, shape = self.rng, self.stage.shape
        means = _means(rng)
        image = torch.zeros(shape)
        for share, mean in zip(shares, means, strict=True):
            local = mean * (1 + rng.uniform(0, 0.08) * _field(rng, shape, 7))
            image += share * local
        rough = torch.randn(shape, generator=_torch(rng))
        if rng.random() < 0.5:
            rough = _blur(rough, [rng.uniform(0.4, 1.0)] * 3) * 3
        image += rough * rng.uniform(0, 0.05) * (shares.sum(0) > 0.5)
        if rng.random() < 0.45:
            level = rng.uniform(1.0, 2.4)
            cells = int(rng.integers(4, 14))
            spots = torch.sigmoid((_field(rng, shape, cells) - level) * rng.uniform(5, 20))
            spots = spots * (shares[2] if rng.random() < 0.6 else shares[1] + shares[2])
            image += spots * (rng.uniform(0, 1.4) - image)
        return image


def _labels(shares: Tensor, distance: Tensor) -> Tensor:
    """The largest share in every voxel; in the brain never "outside", away from it always."""
    label = torch.cat([(1 - shares.sum(0)).clamp(min=0)[None], shares]).argmax(0)
    return torch.where(distance < 0, label.clamp(min=1), label * (distance < 1.5))


def _classes(rng: np.random.Generator, image: Tensor, label: Tensor) -> Classes:
    """Brightness of the tissues of an example, about as right as a fit to a whole head."""
    inside = image[label > 0]
    span = float(inside.std()) if inside.numel() > 1 else 1.0
    means, spreads = [], []
    for number in (1, 2, 3):
        values = image[label == number]
        values = values if values.numel() >= 20 else inside
        if not values.numel():
            values = image.flatten()
        middle = values.median()
        means.append(float(middle) + rng.normal(0, 0.1 * span))
        spread = 1.48 * float((values - middle).abs().median()) * rng.uniform(0.7, 1.6)
        spreads.append(max(spread, 0.08 * span, 1e-3))
    return Classes((means[0], means[1], means[2]), (spreads[0], spreads[1], spreads[2]))


def _means(rng: np.random.Generator) -> np.ndarray:
    """Brightness of fluid, grey and white matter, mostly in the order of a real sequence."""
    if rng.random() < FREE:
        return rng.uniform(0.05, 1.1, 3)
    name = str(rng.choice(list(ORDERS)))
    while True:
        means = np.array([rng.uniform(low, high) for low, high in ORDERS[name]])
        if (means[1] - means[2]) * (-1 if name == "T1w" else 1) >= LEAST_CONTRAST:
            return means


@dataclass(frozen=True, eq=False)
class _Stacked:
    soft: Tensor
    outer: Tensor
    middle: np.ndarray
    reach: np.ndarray
    real: bool


def _stacked(head: Head) -> _Stacked:
    """Maps of a head as images for `grid_sample`; distance less `FAR`, so that 0 is far away."""
    image = np.zeros_like(head.distance) if head.image is None else head.image
    maps = np.stack([head.csf, head.gm, head.wm, np.clip(head.distance, -FAR, FAR) - FAR, image])
    where = np.argwhere(head.distance < 0)
    low, high = where.min(0), where.max(0)
    return _Stacked(
        torch.from_numpy(maps.astype(np.float32))[None],
        torch.from_numpy(head.outer.astype(np.float32))[None, None],
        (low + high) / 2,
        (high - low) / 2,
        head.image is not None,
    )


def _torch(rng: np.random.Generator) -> torch.Generator:
    return torch.Generator().manual_seed(int(rng.integers(2**62)))


def _look(maps: Tensor, points: Tensor, mode: str) -> Tensor:
    found = functional.grid_sample(maps, points[None], mode, "zeros", align_corners=True)
    return found[0]


def _rotation(angles: np.ndarray) -> np.ndarray:
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = (n for n in range(3) if n != axis)
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[a, b], step[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    return turn


def _field(rng: np.random.Generator, shape: Shape, cells: int) -> Tensor:
    """Smooth random field of mean 0 and spread about 1; ``cells`` knots along each axis."""
    knots = torch.from_numpy(rng.standard_normal((1, 1, cells, cells, cells)).astype(np.float32))
    return 1.5 * functional.interpolate(knots, shape, mode="trilinear", align_corners=True)[0, 0]


def _blur(image: Tensor, sigmas: Iterable[float]) -> Tensor:
    """Gaussian, axis by axis; sigmas in voxels."""
    out = image[None, None]
    for axis, sigma in enumerate(sigmas):
        if sigma < 0.2:
            continue
        radius = max(1, int(2.5 * sigma + 0.5))
        at = torch.arange(-radius, radius + 1, dtype=torch.float32)
        kernel = torch.exp(-0.5 * (at / sigma) ** 2)
        size, pad = [1, 1, 1, 1, 1], [0, 0, 0]
        size[2 + axis], pad[axis] = len(at), radius
        out = functional.conv3d(out, (kernel / kernel.sum()).reshape(size), padding=pad)
    return out[0, 0]


def _folds(rng: np.random.Generator, shares: Tensor, distance: Tensor) -> Tensor:
    """Sharper tissue borders; wider or tighter sulci."""
    power = rng.uniform(1.0, 3.0)
    total = shares.sum(0)
    sharp = shares**power
    shares = sharp * (total / sharp.sum(0).clamp(min=1e-3))
    csf, gm, wm = shares
    choice = rng.random()
    if choice < 0.3:
        part = torch.sigmoid(2 * (distance + rng.uniform(1, 5))) * rng.uniform(0.3, 1.0)
        part = part * torch.sigmoid(4 * _field(rng, tuple(csf.shape), 12))
        csf, gm, wm = csf + part * (gm + wm), gm * (1 - part), wm * (1 - part)
    elif choice < 0.6:
        part = rng.uniform(0.2, 0.9) * ((distance < -2) & (distance > -16))
        csf, gm = csf * (1 - part), gm + csf * part
    return torch.stack([csf, gm, wm])


def _surround(
    rng: np.random.Generator, image: Tensor, mm: Tensor, outer: Tensor, real: bool
) -> Tensor:
    """What lies around the brain: a real head's parts, made-up shells, or nothing."""
    choice = rng.random()
    inside = torch.sigmoid(-4 * mm)
    if choice < 0.15:
        margin = rng.normal(1.0, 2.0) + rng.uniform(0, 1.5) * _field(rng, image.shape, 6)
        shell = torch.full_like(image, float(rng.uniform(0, 1.0)))
        return torch.where(mm < margin, image * inside + shell * (1 - inside), 0)
    around = _parts(rng, outer) if real and choice < 0.9 else _shells(rng, mm)
    return image * inside + around * (1 - inside)


def _parts(rng: np.random.Generator, outer: Tensor) -> Tensor:
    """The parts of a real head in made-up brightness."""
    count = int(outer.max()) + 1
    levels = rng.uniform(0, 1.3, count)
    if rng.random() < 0.5:
        levels = np.sort(levels) * rng.uniform(0.5, 1.6)
    levels[0] = rng.uniform(0, 0.03)
    levels[1] *= rng.choice([0.15, 1.0])
    around = torch.from_numpy(levels.astype(np.float32))[outer.long()]
    around = around * (1 + rng.uniform(0, 0.25) * _field(rng, tuple(outer.shape), 8))
    return around + torch.randn(outer.shape, generator=_torch(rng)) * 0.04 * (outer > 0)


def _shells(rng: np.random.Generator, mm: Tensor) -> Tensor:
    """Fluid, skull with marrow, muscle and fat in layers; sometimes face and neck; open ends."""
    shape = mm.shape
    edge = mm + _field(rng, shape, 6) * rng.uniform(0.3, 2.0)
    ends = np.cumsum([rng.uniform(0.3, 4), rng.uniform(2.5, 9), rng.uniform(3, 14)])
    rough = _field(rng, shape, 11)
    fine = torch.randn(shape, generator=_torch(rng))
    scalp = rng.uniform(0.2, 1.5) + 0.25 * rough + rng.uniform(0, 0.1) * fine
    skull = torch.full(shape, float(rng.uniform(0, 0.25)))
    if rng.random() < 0.5:
        marrow = (edge - (ends[0] + ends[1]) / 2).abs() < (ends[1] - ends[0]) / 4
        skull = torch.where(marrow, float(rng.uniform(0.2, 1.0)), skull)
    around = torch.where(edge < ends[2], scalp, 0.0)
    around = torch.where(edge < ends[1], skull, around)
    around = torch.where(edge < ends[0], float(rng.uniform(0.02, 1.0)), around)
    if rng.random() < 0.6:
        face = (0.5 * rough + 0.1 * fine + rng.uniform(0, 0.9)).clamp(0, 1.4)
        spots = _field(rng, shape, 7) * 12 + rng.uniform(0, 12)
        low = torch.linspace(-1, 1, shape[0])[:, None, None] > rng.uniform(-0.6, 0.3)
        front = torch.linspace(1, -1, shape[1])[None, :, None] > rng.uniform(-0.4, 0.6)
        around = torch.where((edge > ends[0] + spots) & (edge < 60) & ~low & front, face, around)
    if rng.random() < 0.15:
        around = torch.where(edge < rng.uniform(0, 8), around, 0.0)
    return around.clamp(min=0)


def _scanned(rng: np.random.Generator, image: Tensor, spacing_mm: float) -> Tensor:
    """Bias, gamma, thick slices, blur, noise, a field of view that ends."""
    shape = tuple(image.shape)
    light = image.clamp(min=0) * torch.exp(_field(rng, shape, 3) * rng.uniform(0, 0.18))
    light = light ** rng.uniform(0.75, 1.3)
    if rng.random() < 0.7:
        light = _blur(light, rng.uniform(0.2, 0.9, 3) / spacing_mm)
    if rng.random() < 0.55:
        axis = int(rng.choice(3, p=[0.6, 0.2, 0.2]))
        size = list(shape)
        size[axis] = max(4, int(size[axis] * spacing_mm / rng.uniform(2, 6)))
        if size[axis] < shape[axis]:
            thick = functional.interpolate(light[None, None], size, mode="area")
            light = functional.interpolate(thick, shape, mode="trilinear")[0, 0]
    level = max(0.0, rng.normal(0.02, 0.025))
    noise = torch.randn((2, *shape), generator=_torch(rng)) * level
    light = torch.sqrt((light + noise[0]) ** 2 + noise[1] ** 2)
    if rng.random() < 0.25:
        axis = int(rng.integers(3))
        depth = int(rng.integers(2, max(3, shape[axis] // 4)))
        start = 0 if rng.random() < 0.5 else shape[axis] - depth
        light = light.clone()
        light.narrow(axis, start, depth).zero_()
    return light
