"""Training patches made up on the fly from few real scans, templates and many real masks.

One patch takes these steps: anatomy and warp; lesions planted with real mask shapes at their
own MNI places (or ellipsoids, or now and then a large stroke mask); look-alikes that are not
lesions; skull and scalp, or a badly cut brain; and then what a scanner does (bias, thick slices,
blur, noise, motion, gain, gamma, a field of view that ends). The background is -1, brain tissue
about 0 (`inference.preprocess.normalise`). Half of the patches that can have T1w and T2w get them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.training.lesions.channels import others_of
from inference.training.lesions.contrast import (
    distract,
    ellipsoids,
    lesion_light,
    periventricular,
    template_image,
    tight_sulci,
    uneven_cortex,
)
from inference.training.lesions.scanner import scanned, surround
from inference.training.lesions.shapes import LargeShape
from inference.training.shared.cases import Anatomy, components
from inference.training.shared.fields import (
    Shape,
    grown_ventricles,
    looked_up,
    smooth_field,
    warped_points,
)

__all__ = ["TISSUES", "Patch", "Synthesiser", "lesion_free_brain"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

GREY_CONTRAST = (0.1, 0.2)
"""Grey above white matter where it was not measured (raw heads)."""
LABEL_LEVEL = 0.4
"""Share of lesion above which a voxel is labelled: readers draw a little outside half height."""
TISSUES = ("other", "csf", "gm", "wm")
"""Meaning of the numbers in `Patch.tissue`; lesions count as white matter."""
NO_LESION = {"real": 0.85, "head": 0.45}
"""How often nothing is planted, by kind of anatomy; elsewhere ``NO_LESION_ELSE``."""
NO_LESION_ELSE = 0.3
LARGE = 0.05
"""How often a large stroke mask is planted."""


@dataclass(frozen=True, eq=False)
class Patch:
    """One training example; the arrays share one shape.

    Attributes
    ----------
    image : ndarray
        Normalised FLAIR.
    label : ndarray
        1 in lesions.
    weight : ndarray
        0 where the truth is unknown.
    tissue : ndarray or None
        int8 at every second voxel: number in `TISSUES`, or -1 where not known.
    others : ndarray or None
        T1w and T2w, ``(2, k, j, i)``.
    """

    image: Array
    label: Array
    weight: Array
    tissue: npt.NDArray[np.int8] | None = None
    others: Array | None = None


class Synthesiser:
    """Endless source of patches.

    Parameters
    ----------
    anatomies : sequence of Anatomy
        Drawn from by ``shares``.
    bank : mapping of str to ndarray
        Real lesion masks on the MNI grid.
    seed : int
        Start of the random numbers.
    shares : mapping of str to float
        How often each kind of anatomy is used.
    large : sequence of LargeShape
        Stroke masks for large lesions.

    Attributes
    ----------
    hard : dict of int to ndarray
        Voxels by number of the anatomy that the network marked wrongly; patches go there often.
    """

    shares: Mapping[str, float] = {"real": 0.22, "inpainted": 0.22, "template": 0.22, "head": 0.34}

    def __init__(
        self,
        anatomies: Sequence[Anatomy],
        bank: Mapping[str, Mask],
        seed: int = 0,
        shares: Mapping[str, float] | None = None,
        large: Sequence[LargeShape] = (),
    ) -> None:
        self.anatomies = list(anatomies)
        self.bank = [np.asarray(m, np.uint8) for m in bank.values()]
        self.places = [np.argwhere(m) for m in self.bank]
        self.gold = [_component_list(a.gold) for a in self.anatomies]
        self.contrast = [_grey_contrast(a) for a in self.anatomies]
        self.large = list(large)
        self.hard: dict[int, npt.NDArray[np.int64]] = {}
        wanted = shares or self.shares
        kinds = [a.kind for a in self.anatomies]
        chance = np.array([wanted[k] / kinds.count(k) for k in kinds])
        self.chance = chance / chance.sum()
        self.rng = np.random.default_rng(seed)

    def sample(self, shape: Shape) -> Patch:
        """Make one patch."""
        rng = self.rng
        number = int(rng.choice(len(self.anatomies), p=self.chance))
        anatomy = self.anatomies[number]
        mask_picks = self._pick_masks(anatomy)
        large = self._pick_large(anatomy)
        centre = self._centre(number, mask_picks, large)
        size = 1 / float(np.mean(np.diag(anatomy.to_mni)[:3])) if anatomy.image is None else 1.0
        points = warped_points(rng, shape, centre, size)
        points = grown_ventricles(rng, anatomy, points)
        place = looked_up(anatomy.place, points)
        distance = looked_up(anatomy.brain, points, 45.0)
        image, grey = self._picture(number, points, place, distance)
        image = tight_sulci(rng, anatomy, points, image, distance)
        lesion = looked_up(anatomy.gold.view(np.uint8), points)
        planted = self._plant(anatomy, mask_picks, points, place, shape)
        planted *= np.clip((image + 0.45) * 6, 0, 1)
        image += lesion_light(rng, planted, grey)
        if large is not None:
            whole = self._large_lesion(anatomy, large, points, distance)
            image += lesion_light(rng, whole, 0.3) * (1 - planted)
            planted = np.maximum(planted, whole)
        image = distract(rng, image, distance, place)
        soft = np.maximum(lesion, planted)
        tissue = _tissue(anatomy, points, soft, distance)
        known = looked_up(anatomy.unknown.view(np.uint8), points) < 0.1
        weight = (known | (planted > 0.3)).astype(np.float32)
        if anatomy.kind != "head":
            image, soft = surround(rng, image, soft, distance)
        others = None
        if rng.random() < 0.5:
            others = others_of(rng, anatomy, points, planted, image, distance)
        image, soft = scanned(rng, image, soft, thick=0.15 if anatomy.kind == "head" else 0.45)
        label = (soft > LABEL_LEVEL).astype(np.float32)
        return Patch(image, label, weight, tissue, others)

    def _picture(
        self, number: int, points: Array, place: Array, distance: Array
    ) -> tuple[Array, float]:
        """FLAIR before lesions, and how much brighter its grey matter is than its white."""
        rng, anatomy = self.rng, self.anatomies[number]
        shape = (place.shape[0], place.shape[1], place.shape[2])
        if anatomy.image is None:
            grey = float(rng.uniform(-0.03, 0.28))
            image = template_image(rng, anatomy, points, place, grey)
            return uneven_cortex(rng, image, looked_up(anatomy.extra["gm"], points)), grey
        grey = float(rng.uniform(*GREY_CONTRAST))
        image = looked_up(anatomy.image, points, -1.0)
        image += smooth_field(rng, shape, 5) * np.float32(rng.uniform(0, 0.06)) * (distance < 0)
        if "gm" not in anatomy.extra:
            return image, grey
        grey = self.contrast[number]
        if rng.random() < 0.7:
            grey = float(rng.uniform(0.0, 0.34))
            share = looked_up(anatomy.extra["gm"], points)
            shift = np.float32(grey - self.contrast[number])
            image += share * (
                shift + np.float32(rng.uniform(0, 0.16)) * smooth_field(rng, shape, 6)
            )
            image = uneven_cortex(rng, image, share)
        return image, grey

    def _pick_masks(self, anatomy: Anatomy) -> list[int]:
        """Masks whose lesions are planted; real images are mostly left as they are."""
        if self.rng.random() < NO_LESION.get(anatomy.kind, NO_LESION_ELSE):
            return []
        count = int(self.rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
        return [int(n) for n in self.rng.integers(0, len(self.bank), count)]

    def _pick_large(self, anatomy: Anatomy) -> LargeShape | None:
        if not self.large or anatomy.kind == "real" or self.rng.random() > LARGE:
            return None
        return self.large[int(self.rng.integers(len(self.large)))]

    def _centre(
        self, number: int, picks: list[int], large: LargeShape | None
    ) -> npt.NDArray[np.float64]:
        """Middle of the patch: near a lesion, near a known mistake, or anywhere in the brain."""
        rng, anatomy = self.rng, self.anatomies[number]
        jitter = rng.uniform(-14, 14, 3)
        from_mni = np.linalg.inv(anatomy.to_mni)
        if large is not None:
            spot = large.inside[rng.integers(len(large.inside))]
            return from_mni[:3, :3] @ spot + from_mni[:3, 3] + jitter
        hard = self.hard.get(number)
        if hard is not None and len(hard) and rng.random() < 0.35:
            return hard[rng.integers(len(hard))] + jitter
        if rng.random() < 0.6:
            if picks:
                spot = self.places[picks[0]][rng.integers(len(self.places[picks[0]]))]
                return from_mni[:3, :3] @ spot + from_mni[:3, 3] + jitter
            if self.gold[number]:
                component = self.gold[number][rng.integers(len(self.gold[number]))]
                if rng.random() < 0.5:
                    component = np.concatenate(self.gold[number])
                return component[rng.integers(len(component))] + jitter
        limit = 25.0 if rng.random() < 0.2 or anatomy.kind == "head" else 0.0
        spot = rng.integers(0, anatomy.brain.shape)
        for _ in range(40):
            if anatomy.brain[tuple(spot)] < limit:
                break
            spot = rng.integers(0, anatomy.brain.shape)
        return spot + jitter / 2

    def _plant(
        self,
        anatomy: Anatomy,
        picks: list[int],
        points: Array,
        place: Array,
        shape: Shape,
    ) -> Array:
        """Soft share of planted lesion in every voxel."""
        rng = self.rng
        soft = np.zeros(shape, np.float32)
        base = _on_mni(anatomy, points)
        for pick in picks:
            mask = self.bank[pick]
            at = base.copy()
            if rng.random() < 0.5:
                at[2] = mask.shape[2] - 1 - at[2]
            at += rng.normal(0, 1.5, 3).astype(np.float32)[:, None, None, None]
            for axis in range(3):
                at[axis] += smooth_field(rng, shape, 6) * np.float32(rng.uniform(0, 2.0))
            soft = np.maximum(soft, looked_up(mask, at))
        if picks and rng.random() < 0.35:
            soft *= smooth_field(rng, shape, 5) > rng.normal(0, 0.7)
        extra = bool(picks) and anatomy.kind != "real"
        if extra and rng.random() < 0.35:
            soft = np.maximum(soft, ellipsoids(rng, place))
        if extra and rng.random() < 0.4:
            soft = np.maximum(soft, periventricular(rng, anatomy, points))
        if not soft.any():
            return soft
        soft = ndimage.gaussian_filter(soft, rng.uniform(0.5, 1.0))
        level, ramp = rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.9)
        soft = np.clip((soft - level) / ramp + 0.5, 0, 1)
        return (soft * np.clip(place * 3 - 0.2, 0, 1)).astype(np.float32)

    def _large_lesion(
        self, anatomy: Anatomy, large: LargeShape, points: Array, distance: Array
    ) -> Array:
        """Soft share of a large stroke mask, in all of the brain's tissue."""
        rng = self.rng
        shape = (points.shape[1], points.shape[2], points.shape[3])
        at = np.einsum("ab,bkji->akji", large.from_mni[:3, :3], _on_mni(anatomy, points))
        at = (at + large.from_mni[:3, 3][:, None, None, None]).astype(np.float32)
        for axis in range(3):
            at[axis] += smooth_field(rng, shape, 6) * np.float32(rng.uniform(0, 2.0))
        soft = np.asarray(ndimage.gaussian_filter(looked_up(large.mask, at), 0.8))
        return (soft * (distance < -1)).astype(np.float32)


def _on_mni(anatomy: Anatomy, points: Array) -> Array:
    base = np.einsum("ab,bkji->akji", anatomy.to_mni[:3, :3].astype(np.float32), points)
    return base + anatomy.to_mni[:3, 3].astype(np.float32)[:, None, None, None]


def _tissue(anatomy: Anatomy, points: Array, soft: Array, distance: Array) -> npt.NDArray[np.int8]:
    """Tissue at every second voxel; only the outside is known where there are no shares."""
    coarse = points[:, ::2, ::2, ::2]
    far = distance[::2, ::2, ::2]
    if not all(name in anatomy.extra for name in TISSUES[1:]):
        return np.where(far > 6, 0, -1).astype(np.int8)
    shares = [looked_up(anatomy.extra[name], coarse) for name in TISSUES[1:]]
    shares = [np.clip(1 - sum(shares), 0, 1), *shares]
    tissue = np.argmax(np.stack(shares), axis=0)
    tissue = np.where(far > 1, 0, tissue)
    return np.where(soft[::2, ::2, ::2] > LABEL_LEVEL, 3, tissue).astype(np.int8)


def lesion_free_brain(tissues: Mapping[str, Array], seed: int) -> Array:
    """Whole made-up FLAIR of the template on the MNI grid, stripped, without any lesion.

    Parameters
    ----------
    tissues : mapping
        ``csf``, ``gm`` and ``wm`` shares on the MNI grid.
    seed : int
        Decides contrast, texture, blur and noise.
    """
    rng = np.random.default_rng([seed, 5])
    gm, wm, csf = (np.asarray(tissues[n], np.float32) for n in ("gm", "wm", "csf"))
    shape = (wm.shape[0], wm.shape[1], wm.shape[2])
    white = rng.uniform(-0.1, 0.0)
    grey = white + rng.uniform(0.02, 0.15)
    image = (
        wm * white
        + gm * (grey + 0.03 * smooth_field(rng, shape, 12))
        + csf * rng.uniform(-0.9, -0.6)
    )
    image -= 1 - np.clip(gm + wm + csf, 0, 1)
    light = (image + 1) * np.exp(0.04 * smooth_field(rng, shape, 3))
    light += rng.normal(0, rng.uniform(0.02, 0.05), shape) * (gm + wm + csf > 0.5)
    light = ndimage.gaussian_filter(light, rng.uniform(0.3, 0.8))
    return np.clip(light - 1, -1, 2).astype(np.float32)


def _component_list(mask: Mask) -> list[npt.NDArray[np.int64]]:
    """Voxel indices of each connected piece."""
    labels, count = components(mask)
    boxes = ndimage.find_objects(labels)
    pieces = []
    for number in range(count):
        box = boxes[number]
        pieces.append(np.argwhere(labels[box] == number + 1) + [s.start for s in box])
    return pieces


def _grey_contrast(anatomy: Anatomy) -> float:
    """How much brighter grey matter is than white matter."""
    if anatomy.image is None or "gm" not in anatomy.extra:
        return 0.0
    grey, white = anatomy.extra["gm"] > 0.8, anatomy.place > 0.9
    white &= anatomy.extra["gm"] < 0.1
    return float(np.median(anatomy.image[grey]) - np.median(anatomy.image[white]))
