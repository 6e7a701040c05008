"""Whole made-up and real heads at 2 mm, kept in a file, for the deviation and presence networks.

``python -m inference.training.shared.whole_heads --out DIR --heads 140 --seed 0`` writes a pool.
Sources are the MNI152 tissue maps in any contrast and the raw FLAIR heads of two patients (whatever
may be a lesion there is painted out and takes no part in training). Patients 07 and 19 are in
nothing: neither image nor mask. Each head carries lesion shares drawn from the masks of 18 other
patients at their own places, to be planted or not.

Intensities are those of `inference.preprocess.normalise`: background -1, tissue peak about 0.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.training.shared import cases
from inference.training.shared.cases import MASK_PATIENTS, Anatomy
from inference.training.shared.fields import looked_up, smooth_field

__all__ = ["BANK", "LEFT_OUT", "SHAPE", "STEP_MM", "Head", "HeadMaker", "load_pool"]

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]
Shape = tuple[int, int, int]

LEFT_OUT = ("07", "19")
"""Patients that take no part: not their images, not their masks."""
BANK = tuple(p for p in MASK_PATIENTS if p not in LEFT_OUT)
STEP_MM = 2.0
SHAPE: Shape = (80, 96, 80)
"""Voxels of a head, superior, posterior, left: 160 x 192 x 160 mm."""
DRAWS = 2
"""Lesion shares that each head carries."""
CONTRASTS = ("FLAIR", "T1w", "T2w", "free")
_CHANCES = (0.5, 0.2, 0.2, 0.1)
_BLUR = 0.9
"""Gaussian in mm before sampling every 2 mm: what the smoothing of the input and the averaging
of 2 x 2 x 2 voxels do at run time."""


@dataclass(frozen=True, eq=False)
class Head:
    """One whole head at 2 mm; all arrays ``(k, j, i)`` of :data:`SHAPE`.

    Attributes
    ----------
    image : ndarray
        Normalised, without planted lesions.
    place : ndarray
        Share of white matter, where lesions may be planted, 0 to 1.
    brain : ndarray
        Inside the brain.
    known : ndarray
        False where something real but unlabelled may lie.
    lesions : tuple of ndarray
        Soft lesion shares, 0 to 1.
    contrast : str
        One of :data:`CONTRASTS`.
    thick : tuple of float
        Slice thickness in voxels along each axis (1: none).
    """

    image: Array
    place: Array
    brain: Mask
    known: Mask
    lesions: tuple[Array, ...]
    contrast: str
    thick: tuple[float, float, float]


class HeadMaker:
    """Endless source of whole heads.

    Parameters
    ----------
    seed : int
        Start of the random numbers.
    patients : sequence of str
        Longitudinal patients whose raw heads take part.
    """

    def __init__(self, seed: int, patients: Sequence[str] = ("01", "03")) -> None:
        self.rng = np.random.default_rng([seed, 77])
        bank = cases.lesion_bank(BANK)
        self.bank = [np.asarray(m, np.uint8) for m in bank.values()]
        tissues = cases.template_tissues()
        fitted = fitted_to_bank(tissues["wm"], list(bank.values()))
        template = cases.template_anatomy(tissues, [_seen(tissues, fitted)])
        self.template = _blurred(template, fitted)
        reference = [_seen(tissues, fitted)]
        self.heads = [
            _cleaned(cases.raw_head(p, study, reference), self.rng)
            for p in patients
            for study in (1, 2)
        ]

    def head(self) -> Head:
        """Make one."""
        rng = self.rng
        real = bool(self.heads) and rng.random() < 0.4
        anatomy = self.heads[rng.integers(len(self.heads))] if real else self.template
        scale = float(np.mean(np.diag(anatomy.to_mni)[:3]))
        centre = np.argwhere(anatomy.brain[::4, ::4, ::4] < 0).mean(0) * 4 + rng.uniform(-8, 8, 3)
        size = STEP_MM if real else STEP_MM * 0.95 / scale
        points = warped_points(rng, SHAPE, centre, size)
        place = looked_up(anatomy.place, points)
        distance = looked_up(anatomy.brain, points, 45.0)
        known = looked_up(anatomy.unknown.view(np.uint8), points) < 0.1
        contrast = str(rng.choice(CONTRASTS, p=_CHANCES))
        if anatomy.image is not None:
            image = looked_up(anatomy.image, points, -1.0)
            if contrast != "FLAIR":
                contrast, image = "free", _recoloured(rng, image)
        else:
            image = _painted(rng, anatomy, points, place, contrast)
            image = _surround(rng, image, distance)
        base = np.einsum("ab,bkji->akji", anatomy.to_mni[:3, :3].astype(np.float32), points)
        base += anatomy.to_mni[:3, 3].astype(np.float32)[:, None, None, None]
        inner = np.clip(place * 3 - 0.2, 0, 1)
        lesions = tuple(self._lesions(base) * inner for _ in range(DRAWS))
        image, thick = _scanned(rng, image, 0.15 if real else 0.5)
        return Head(image, place, distance < 0, known, lesions, contrast, thick)

    def _lesions(self, base: Array) -> Array:
        """Share of lesion from one or two patients' masks, shifted and bent a little."""
        rng = self.rng
        soft = np.zeros(SHAPE, np.float32)
        for number in rng.integers(0, len(self.bank), int(rng.integers(1, 3))):
            mask = self.bank[number]
            at = base + rng.normal(0, 1.5, 3).astype(np.float32)[:, None, None, None]
            if rng.random() < 0.5:
                at[2] = mask.shape[2] - 1 - at[2]
            for axis in range(3):
                at[axis] += smooth_field(rng, SHAPE, 7) * np.float32(rng.uniform(0, 2.0))
            soft = np.maximum(soft, looked_up(mask, at))
        return ndimage.gaussian_filter(soft, 0.35)


def fitted_to_bank(white: Array, bank: Sequence[Mask]) -> npt.NDArray[np.float64]:
    """Template index to the bank's index, so that lesions fall on white matter.

    The patients' "MNI" scans keep their own size, a fifth smaller than the template. No patient's
    image is looked at: shift and scale are those that put most lesion voxels on white matter.
    """
    lesions = np.concatenate([np.argwhere(m)[::11] for m in bank]).astype(np.float64)
    middle = lesions.mean(0)
    soft = ndimage.gaussian_filter(white, 2.0)

    def share(values: npt.NDArray[np.float64]) -> float:
        at = (lesions - middle - values[1:]) / values[0] + target
        return float(ndimage.map_coordinates(soft, at.T, order=1).mean())

    weight = soft[::3, ::3, ::3]
    target = np.array(ndimage.center_of_mass(weight)) * 3
    best, score = np.array([0.84, 0.0, 0.0, 0.0]), -1.0
    for width in (6.0, 3.0, 1.5, 0.75):
        improved = True
        while improved:
            improved = False
            for axis in range(4):
                for sign in (-1, 1):
                    trial = best.copy()
                    trial[axis] += sign * width * (0.005 if axis == 0 else 1.0)
                    trial[0] = np.clip(trial[0], 0.78, 0.92)
                    value = share(trial)
                    if value > score + 1e-6:
                        best, score, improved = trial, value, True
    change = np.eye(4)
    change[:3, :3] *= best[0]
    change[:3, 3] = middle + best[1:] - best[0] * target
    return change


def _seen(tissues: dict[str, Array], change: npt.NDArray[np.float64]) -> Mask:
    """The template's brain on the grid of the bank."""
    brain = (tissues["csf"] + tissues["gm"] + tissues["wm"]) > 0.5
    back: Any = np.linalg.inv(change)
    moved = ndimage.affine_transform(
        brain.astype(np.float32), back[:3, :3], back[:3, 3], brain.shape, order=1
    )
    return np.asarray(moved > 0.5)


def _blurred(anatomy: Anatomy, to_mni: npt.NDArray[np.float64]) -> Anatomy:
    extra: dict[str, Any] = {
        n: ndimage.gaussian_filter(anatomy.extra[n], 0.6) for n in ("gm", "csf", "wm")
    }
    return Anatomy(
        "template",
        None,
        anatomy.gold,
        anatomy.brain,
        anatomy.unknown,
        extra["wm"],
        to_mni,
        extra,
    )


def _cleaned(anatomy: Anatomy, rng: np.random.Generator) -> Anatomy:
    """A raw head without what may be lesions, smoothed for sampling every 2 mm."""
    assert anatomy.image is not None
    clean = cases.inpaint(anatomy.image, anatomy.unknown, anatomy.place, rng)
    image = np.asarray(ndimage.gaussian_filter(clean, _BLUR), np.float32)
    return Anatomy(
        "head",
        image,
        anatomy.gold,
        anatomy.brain,
        anatomy.unknown,
        anatomy.place,
        anatomy.to_mni,
    )


def warped_points(
    rng: np.random.Generator, shape: Shape, centre: npt.NDArray[np.float64], size: float
) -> Array:
    """Source positions of a turned, scaled, mirrored and bent head; ``size`` voxels a step."""
    turn = np.eye(3)
    for axis, angle in enumerate(np.deg2rad(rng.normal(0, 7, 3))):
        a, b = (n for n in range(3) if n != axis)
        step = np.eye(3)
        step[a, a] = step[b, b] = np.cos(angle)
        step[a, b], step[b, a] = -np.sin(angle), np.sin(angle)
        turn = turn @ step
    scale = size * rng.uniform(0.88, 1.14) * rng.uniform(0.95, 1.05, 3)
    if rng.random() < 0.5:
        scale[2] *= -1
    axes = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    points = np.tensordot((turn * scale).astype(np.float32), grid, 1)
    points += centre.astype(np.float32)[:, None, None, None]
    for cells, strength in ((5, 4.0), (10, 2.0), (18, 1.2)):
        amount = rng.uniform(0, strength)
        for axis in range(3):
            points[axis] += smooth_field(rng, shape, cells) * np.float32(amount)
    return points.astype(np.float32)


def _painted(
    rng: np.random.Generator, anatomy: Anatomy, points: Array, white: Array, contrast: str
) -> Array:
    """Picture of the template in a contrast."""
    grey, fluid = (looked_up(anatomy.extra[n], points) for n in ("gm", "csf"))
    levels = {
        "FLAIR": ((-0.15, 0.05), (0.0, 0.25), (-0.95, -0.5)),
        "T1w": ((-0.05, 0.05), (-0.45, -0.1), (-0.95, -0.6)),
        "T2w": ((-0.35, 0.0), (0.0, 0.4), (0.5, 1.9)),
        "free": ((-0.5, 0.4), (-0.5, 0.5), (-0.9, 1.5)),
    }[contrast]
    wm, gm, csf = (rng.uniform(*level) for level in levels)
    if contrast in ("FLAIR", "T2w"):
        gm += wm
    maps = [
        level + smooth_field(rng, SHAPE, cells) * np.float32(rng.uniform(0, spread))
        for level, cells, spread in ((wm, 6, 0.05), (gm, 9, 0.1), (csf, 5, 0.1))
    ]
    total = np.clip(white + grey + fluid, 0, 1)
    image = white * maps[0] + grey * maps[1] + fluid * maps[2] - (1 - total)
    rough = ndimage.gaussian_filter(rng.standard_normal(SHAPE).astype(np.float32), 0.5)
    image += rough * np.float32(rng.uniform(0.0, 0.05) / 0.4) * (total > 0.5)
    if contrast == "FLAIR" and rng.random() < 0.5:
        rim = ndimage.gaussian_filter(fluid, 0.8) * white * 4 * rng.uniform(0, 0.25)
        image += np.clip(rim * (0.5 + 0.5 * smooth_field(rng, SHAPE, 5)), 0, 0.25)
    return image.astype(np.float32)


def _recoloured(rng: np.random.Generator, image: Array) -> Array:
    """A real picture in another contrast: its grey levels through a random curve."""
    knots = np.array([-1.0, -0.6, -0.15, 0.05, 0.25, 0.7, 2.0])
    values = np.cumsum([0, *rng.uniform(-0.5, 0.7, 6)]) - 1.0
    values[1:] = np.clip(values[1:], -0.9, 1.6)
    values = values - values[3] * (np.arange(7) > 0)
    values[0] = -1
    return np.interp(image, knots, values).astype(np.float32)


def _surround(rng: np.random.Generator, image: Array, distance: Array) -> Array:
    """Skull and scalp around a stripped brain, a badly cut brain, or nothing."""
    choice = rng.random()
    if choice < 0.4:
        return image
    edge = distance + smooth_field(rng, SHAPE, 6) * np.float32(rng.uniform(0.2, 1.2))
    if choice < 0.5:
        return np.where(edge < -rng.uniform(0.5, 3.5), image, np.float32(-1))
    ends = np.cumsum([rng.uniform(0.5, 5), rng.uniform(2.5, 8), rng.uniform(3, 14)])
    rough = smooth_field(rng, SHAPE, 14)
    scalp = rng.uniform(-0.4, 1.2) + 0.25 * rough
    shell = np.where(edge < ends[2], scalp, np.float32(-1))
    shell = np.where(edge < ends[1], np.float32(rng.uniform(-0.98, -0.6)), shell)
    shell = np.where(edge < ends[0], np.float32(rng.uniform(-0.95, -0.5)), shell)
    shell = ndimage.gaussian_filter(shell, 0.4)
    outside = np.clip(distance / 2 + 0.5, 0, 1)
    return (image * (1 - outside) + np.maximum(image, shell) * outside).astype(np.float32)


def _scanned(
    rng: np.random.Generator, image: Array, thick: float
) -> tuple[Array, tuple[float, float, float]]:
    """What a scanner does: shading, gamma, gain, thick slices, noise, an end of the field."""
    light = np.clip(image + 1, 0, 3.5)
    light *= np.exp(smooth_field(rng, SHAPE, 3) * np.float32(rng.uniform(0, 0.08)))
    light = light ** np.float32(rng.uniform(0.85, 1.2)) * np.float32(rng.normal(1, 0.05))
    width = [1.0, 1.0, 1.0]
    if rng.random() < thick:
        axis = int(rng.choice(3, p=[0.7, 0.15, 0.15]))
        width[axis] = rng.uniform(1.2, 2.8)
        light = through_slices(light, axis, width[axis])
    if rng.random() < 0.3:
        light = ndimage.gaussian_filter(light, rng.uniform(0.2, 0.5))
    level = max(0.0, rng.normal(0.012, 0.012))
    noise = rng.standard_normal((2, *SHAPE)).astype(np.float32) * np.float32(level)
    light = np.sqrt((light + noise[0]) ** 2 + noise[1] ** 2) - 0.9 * level
    if rng.random() < 0.12:
        axis = int(rng.integers(3))
        cut = [slice(None)] * 3
        depth = int(rng.integers(4, SHAPE[axis] // 2))
        cut[axis] = slice(0, depth) if rng.random() < 0.5 else slice(-depth, None)
        light[tuple(cut)] = 0
    light = light - 1
    high = light > 1
    light[high] = 0.5 + 0.5 * light[high]
    return np.clip(light, -1, 2).astype(np.float32), (width[0], width[1], width[2])


def through_slices(array: Array, axis: int, width: float) -> Array:
    """What slices of ``width`` voxels leave of a picture, interpolated back."""
    if width <= 1:
        return array
    smooth = ndimage.gaussian_filter1d(array, 0.36 * width, axis)
    size = array.shape[axis]
    centres = np.arange(width / 2 - 0.5, size - 1 + 1e-6, width)
    at = np.clip((np.arange(size) - centres[0]) / width, 0, len(centres) - 1)
    coarse = _along(smooth, axis, centres)
    return _along(coarse, axis, at)


def _along(array: Array, axis: int, at: npt.NDArray[np.float64]) -> Array:
    """Linear interpolation along one axis at fractional indices inside the array."""
    first = np.clip(at.astype(int), 0, max(array.shape[axis] - 2, 0))
    above = np.minimum(first + 1, array.shape[axis] - 1)
    share = (at - first).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
    return np.take(array, first, axis) * (1 - share) + np.take(array, above, axis) * share


# A pool on disk -----------------------------------------------------------------------------------


def write_pool(maker: HeadMaker, out: Path, count: int) -> None:
    """Write heads as plain arrays that are read without loading all."""
    out.mkdir(parents=True, exist_ok=True)
    images = np.lib.format.open_memmap(out / "images.npy", "w+", np.float16, (count, *SHAPE))
    shares = np.lib.format.open_memmap(
        out / "shares.npy", "w+", np.uint8, (count, 3 + DRAWS, *SHAPE)
    )
    contrasts, thick = [], []
    for number in range(count):
        head = maker.head()
        images[number] = head.image
        maps = (head.place, head.brain, head.known, *head.lesions)
        shares[number] = [np.round(np.clip(m, 0, 1) * np.float32(255)) for m in maps]
        contrasts.append(head.contrast)
        thick.append(head.thick)
    images.flush()
    shares.flush()
    np.savez(out / "facts.npz", contrasts=np.array(contrasts), thick=np.array(thick))


def load_pool(folder: Path) -> Pool:
    """The pool that :func:`write_pool` wrote."""
    return Pool(folder)


class Pool:
    """Heads of a file, read when asked for."""

    def __init__(self, folder: Path) -> None:
        self._images = np.load(folder / "images.npy", mmap_mode="r")
        self._shares = np.load(folder / "shares.npy", mmap_mode="r")
        facts = np.load(folder / "facts.npz")
        self.contrasts = [str(c) for c in facts["contrasts"]]
        self._thick = facts["thick"]

    def __len__(self) -> int:
        return len(self._images)

    def __getitem__(self, number: int) -> Head:
        image = np.asarray(self._images[number], np.float32)
        maps = np.asarray(self._shares[number], np.float32) / 255
        a, b, c = (float(v) for v in self._thick[number])
        return Head(
            image,
            maps[0],
            maps[1] > 0.5,
            maps[2] > 0.5,
            tuple(maps[3:]),
            self.contrasts[number],
            (a, b, c),
        )

    def __iter__(self) -> Iterator[Head]:
        return (self[n] for n in range(len(self)))


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--heads", type=int, default=140)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write_pool(HeadMaker(given.seed), given.out, given.heads)


if __name__ == "__main__":
    main()
