"""Training patches made up on the fly from few real scans, templates and many real masks.

One patch takes these steps: anatomy and warp; lesions planted with real mask shapes at their
own MNI places (or ellipsoids); look-alikes that are not lesions; skull and scalp, or a badly
cut brain; and then what a scanner does (bias, thick slices, blur, noise, gain, gamma, a field
of view that ends). The background is -1, brain tissue about 0 (`inference.preprocess.normalise`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.preprocess import SMOOTHING
from inference.training.cases import Anatomy, components

__all__ = ["Patch", "Synthesiser", "lesion_free_brain"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Shape = tuple[int, int, int]

GREY_CONTRAST = (0.1, 0.2)
"""Grey above white matter where it was not measured (raw heads)."""
LABEL_LEVEL = 0.4
"""Share of lesion above which a voxel is labelled: readers draw a little outside half height."""


@dataclass(frozen=True, eq=False)
class Patch:
    """One training example; all arrays share one shape.

    Attributes
    ----------
    image : ndarray
        Normalised FLAIR.
    label : ndarray
        1 in lesions.
    weight : ndarray
        0 where the truth is unknown.
    """

    image: Array
    label: Array
    weight: Array


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
    """

    shares: Mapping[str, float] = {"real": 0.12, "inpainted": 0.3, "template": 0.26, "head": 0.32}

    def __init__(
        self,
        anatomies: Sequence[Anatomy],
        bank: Mapping[str, Mask],
        seed: int = 0,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        self.anatomies = list(anatomies)
        self.bank = [np.asarray(m, np.uint8) for m in bank.values()]
        self.places = [np.argwhere(m) for m in self.bank]
        self.gold = [_component_list(a.gold) for a in self.anatomies]
        self.contrast = [_grey_contrast(a) for a in self.anatomies]
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
        centre = self._centre(number, mask_picks)
        size = 1 / float(np.mean(np.diag(anatomy.to_mni)[:3])) if anatomy.image is None else 1.0
        points = _warped_points(rng, shape, centre, size)
        points = _grown_ventricles(rng, anatomy, points)
        place = _look(anatomy.place, points)
        distance = _look(anatomy.brain, points, 45.0)
        grey = float(rng.uniform(*GREY_CONTRAST))
        if anatomy.image is None:
            grey = float(rng.uniform(-0.03, 0.26))
            image = _template_image(rng, anatomy, points, place, grey)
        else:
            image = _look(anatomy.image, points, -1.0)
            image += _field(rng, shape, 5) * np.float32(rng.uniform(0, 0.06)) * (distance < 0)
            if "grey" in anatomy.extra:
                grey = self.contrast[number]
                if rng.random() < 0.75:
                    grey = float(rng.uniform(0.0, 0.34))
                    shift = grey - self.contrast[number]
                    shift = shift + rng.uniform(0, 0.16) * _field(rng, shape, 6)
                    image += _look(anatomy.extra["grey"], points) * shift.astype(np.float32)
        image = _tight_sulci(rng, anatomy, points, image, distance)
        lesion = _look(anatomy.gold.view(np.uint8), points)
        planted = self._plant(anatomy, mask_picks, points, place, shape)
        planted *= np.clip((image + 0.45) * 6, 0, 1)
        image += _lesion_light(rng, planted, grey)
        image = _distract(rng, image, distance, place)
        soft = np.maximum(lesion, planted)
        known = _look(anatomy.unknown.view(np.uint8), points) < 0.1
        weight = (known | (planted > 0.3)).astype(np.float32)
        if anatomy.kind != "head":
            image, soft = _surround(rng, image, soft, distance)
        image, soft = _scan(rng, image, soft, thick=0.15 if anatomy.kind == "head" else 0.45)
        return Patch(image, (soft > LABEL_LEVEL).astype(np.float32), weight)

    def _pick_masks(self, anatomy: Anatomy) -> list[int]:
        """Masks whose lesions are planted; real images are mostly left as they are."""
        none = 0.85 if anatomy.kind == "real" else 0.12
        if self.rng.random() < none:
            return []
        count = int(self.rng.choice([1, 2, 3], p=[0.6, 0.3, 0.1]))
        return [int(n) for n in self.rng.integers(0, len(self.bank), count)]

    def _centre(self, number: int, picks: list[int]) -> npt.NDArray[np.float64]:
        """Middle of the patch: mostly near a lesion, sometimes anywhere in or near the brain."""
        rng, anatomy = self.rng, self.anatomies[number]
        jitter = rng.uniform(-14, 14, 3)
        if rng.random() < 0.6:
            if picks:
                spot = self.places[picks[0]][rng.integers(len(self.places[picks[0]]))]
                matrix = np.linalg.inv(anatomy.to_mni)
                return matrix[:3, :3] @ spot + matrix[:3, 3] + jitter
            if self.gold[number]:
                component = self.gold[number][rng.integers(len(self.gold[number]))]
                if rng.random() < 0.5:
                    component = np.concatenate(self.gold[number])
                return component[rng.integers(len(component))] + jitter
        limit = 25.0 if rng.random() < 0.35 or anatomy.kind == "head" else 0.0
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
        base = np.einsum("ab,bkji->akji", anatomy.to_mni[:3, :3].astype(np.float32), points)
        base += anatomy.to_mni[:3, 3].astype(np.float32)[:, None, None, None]
        for pick in picks:
            mask = self.bank[pick]
            at = base.copy()
            if rng.random() < 0.5:
                at[2] = mask.shape[2] - 1 - at[2]
            at += rng.normal(0, 1.5, 3).astype(np.float32)[:, None, None, None]
            for axis in range(3):
                at[axis] += _field(rng, shape, 6) * np.float32(rng.uniform(0, 2.0))
            soft = np.maximum(soft, _look(mask, at))
        if picks and rng.random() < 0.35:
            soft *= _field(rng, shape, 5) > rng.normal(0, 0.7)
        if anatomy.kind != "real" and rng.random() < 0.3:
            soft = np.maximum(soft, _ellipsoids(rng, place))
        if anatomy.kind != "real" and rng.random() < 0.35:
            soft = np.maximum(soft, _periventricular(rng, anatomy, points))
        if not soft.any():
            return soft
        soft = ndimage.gaussian_filter(soft, rng.uniform(0.5, 1.0))
        level, ramp = rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.7)
        soft = np.clip((soft - level) / ramp + 0.5, 0, 1)
        return (soft * np.clip(place * 3 - 0.2, 0, 1)).astype(np.float32)


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
    image = wm * white + gm * (grey + 0.03 * _field(rng, shape, 12)) + csf * rng.uniform(-0.9, -0.6)
    image -= 1 - np.clip(gm + wm + csf, 0, 1)
    light = (image + 1) * np.exp(0.04 * _field(rng, shape, 3))
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
    if anatomy.image is None or "grey" not in anatomy.extra:
        return 0.0
    grey, white = anatomy.extra["grey"] > 0.8, anatomy.place > 0.9
    white &= anatomy.extra["grey"] < 0.1
    return float(np.median(anatomy.image[grey]) - np.median(anatomy.image[white]))


def _look(array: npt.NDArray[Any], points: Array, outside: float = 0.0) -> Array:
    """Linear interpolation at index positions ``(3, k, j, i)``."""
    result = ndimage.map_coordinates(
        array, points, np.float32, order=1, mode="constant", cval=outside, prefilter=False
    )
    return np.asarray(result, np.float32)


def _field(rng: np.random.Generator, shape: Shape, cells: int) -> Array:
    """Smooth random field of mean 0 and spread about 1; ``cells`` knots along each axis."""
    result = rng.standard_normal((cells,) * 3).astype(np.float32)
    for axis, size in enumerate(shape):
        at = np.linspace(0, cells - 1, size)
        first = np.minimum(at.astype(int), cells - 2)
        share = at - first
        share = share * share * (3 - 2 * share)
        share = share.astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        result = (
            np.take(result, first, axis) * (1 - share) + np.take(result, first + 1, axis) * share
        )
    return result * np.float32(1.6)


def _warped_points(
    rng: np.random.Generator, shape: Shape, centre: npt.NDArray[np.float64], size: float = 1.0
) -> Array:
    """Source positions of a rotated, scaled, mirrored and bent patch."""
    angles = np.deg2rad(rng.normal(0, 7, 3))
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [n for n in range(3) if n != axis]
        step = np.eye(3)
        step[[a, a, b, b], [a, b, a, b]] = [
            np.cos(angle),
            -np.sin(angle),
            np.sin(angle),
            np.cos(angle),
        ]
        turn = turn @ step
    scale = size * rng.uniform(0.85, 1.15) * rng.uniform(0.95, 1.05, 3)
    if rng.random() < 0.5:
        scale[2] *= -1
    matrix = (turn * scale).astype(np.float32)
    axes = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    points = np.tensordot(matrix, grid, 1)
    points += centre.astype(np.float32)[:, None, None, None]
    if rng.random() < 0.7:
        strength = rng.uniform(0.3, 2.2)
        for axis in range(3):
            points[axis] += _field(rng, shape, 5) * np.float32(strength)
    return points.astype(np.float32)


def _grown_ventricles(rng: np.random.Generator, anatomy: Anatomy, points: Array) -> Array:
    """Widen or narrow the ventricles, pushing the tissue around them."""
    if "ventricles" not in anatomy.extra or rng.random() < 0.5:
        return points
    distance = _look(anatomy.extra["ventricles"], points, 45.0)
    if distance.min() > 25:
        return points
    shift = rng.uniform(-1.5, 4.5) * np.exp(-np.maximum(distance, 0) / 10)
    slopes = np.gradient(distance)
    signs = [np.sign(np.diff(points[axis], axis=axis).mean()) for axis in range(3)]
    steps = [slope * sign * shift for slope, sign in zip(slopes, signs, strict=True)]
    return (points - np.stack(steps)).astype(np.float32)


def _tight_sulci(
    rng: np.random.Generator, anatomy: Anatomy, points: Array, image: Array, distance: Array
) -> Array:
    """Sometimes fill the outer fluid, as in a young brain whose folds touch."""
    if "ventricles" not in anatomy.extra or rng.random() < 0.6:
        return image
    outer = _look(anatomy.extra["ventricles"], points, 45.0) > 5
    fluid = outer & (image < 0) & (distance < -2)
    share = ndimage.gaussian_filter(fluid.astype(np.float32), 0.5) * rng.uniform(0.3, 1.0)
    return (image - share * np.minimum(image, 0)).astype(np.float32)


def _periventricular(rng: np.random.Generator, anatomy: Anatomy, points: Array) -> Array:
    """Bands and caps of lesion along the ventricles, of uneven thickness."""
    shape = (points.shape[1], points.shape[2], points.shape[3])
    if "ventricles" not in anatomy.extra:
        return np.zeros(shape, np.float32)
    distance = _look(anatomy.extra["ventricles"], points, 45.0)
    thickness = rng.uniform(-1, 4.5) + rng.uniform(0.5, 3.5) * _field(rng, shape, 6)
    return np.clip(np.minimum(thickness, 11) - distance + 0.5, 0, 1).astype(np.float32)


def _template_image(
    rng: np.random.Generator, anatomy: Anatomy, points: Array, place: Array, grey: float
) -> Array:
    """FLAIR-like picture of the template; white matter is ``place``."""
    shape = (place.shape[0], place.shape[1], place.shape[2])
    gm = _look(anatomy.extra["gm"], points)
    csf = _look(anatomy.extra["csf"], points)
    total = np.clip(place + gm + csf, 0, 1)
    wm_level = rng.uniform(-0.15, 0.05)
    gm_level = wm_level + grey
    csf_level = rng.uniform(-0.95, -0.5)
    gm_map = gm_level + _field(rng, shape, 7) * np.float32(rng.uniform(0, 0.1))
    wm_map = wm_level + _field(rng, shape, 6) * np.float32(rng.uniform(0, 0.05))
    image = place * wm_map + gm * gm_map + csf * csf_level - (1 - total)
    if rng.random() < 0.6:
        rim = ndimage.gaussian_filter(csf, 1.2) * place * 4 * rng.uniform(0, 0.3)
        image += np.clip(rim * (0.5 + 0.5 * _field(rng, shape, 4)), 0, 0.35)
    if rng.random() < 0.5:
        choroid = (_field(rng, shape, 9) > 1.2) & (csf > 0.85)
        image += ndimage.gaussian_filter(choroid.astype(np.float32), 0.8) * rng.uniform(0.3, 1.0)
    rough = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), 0.7)
    image += rough * np.float32(rng.uniform(0.01, 0.07) / 0.25) * (total > 0.5)
    return image.astype(np.float32)


def _ellipsoids(rng: np.random.Generator, place: Array) -> Array:
    """A few round lesions in white matter."""
    soft = np.zeros(place.shape, np.float32)
    spots = np.argwhere(place > 0.5)
    if not len(spots):
        return soft
    for _ in range(int(rng.integers(1, 6))):
        spot = spots[rng.integers(len(spots))]
        radii = rng.uniform(1.0, 4.0) * rng.uniform(0.6, 1.5, 3)
        low = np.maximum(spot - 8, 0)
        high = np.minimum(spot + 9, place.shape)
        axes = [np.arange(a, b) - s for a, b, s in zip(low, high, spot, strict=True)]
        squares = [(x / r) ** 2 for x, r in zip(axes, radii, strict=True)]
        ball = squares[0][:, None, None] + squares[1][None, :, None] + squares[2] < 1
        box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
        soft[box] = np.maximum(soft[box], ball)
    return soft


def _lesion_light(rng: np.random.Generator, soft: Array, grey: float) -> Array:
    """Brightness that planted lesions add; lesions are brighter than grey matter (``grey``)."""
    if not soft.any():
        return soft
    shape = (soft.shape[0], soft.shape[1], soft.shape[2])
    strength = max(0.08, grey) + np.clip(rng.lognormal(np.log(0.16), 0.5), 0.03, 0.6)
    varied = np.clip(1 + 0.25 * _field(rng, shape, 8), 0.5, 1.6) * strength
    rough = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), 0.8)
    core = soft * (1 - 0.3 * rng.random() + 0.3 * ndimage.gaussian_filter(soft, 1.5))
    light = core * (varied + rough * np.float32(rng.uniform(0, 0.15)))
    light += ndimage.gaussian_filter(soft, 3) * (strength * rng.uniform(0, 0.25)) * (1 - soft)
    return light.astype(np.float32)


def _distract(rng: np.random.Generator, image: Array, distance: Array, place: Array) -> Array:
    """Bright spots that are not lesions: vessels, meninges, cortex, flow."""
    if rng.random() < 0.5:
        return image
    shape = (image.shape[0], image.shape[1], image.shape[2])
    spots = np.zeros(shape, np.float32)
    where = np.argwhere((distance > -7) & (distance < 2) & (place < 0.2))
    if len(where):
        for spot in where[rng.integers(0, len(where), int(rng.integers(1, 12)))]:
            spots[tuple(spot)] = rng.uniform(2, 15)
    spots = ndimage.gaussian_filter(spots, rng.uniform(0.7, 1.4, 3))
    return image + np.clip(spots, 0, rng.uniform(0.2, 0.9)).astype(np.float32)


def _surround(
    rng: np.random.Generator, image: Array, soft: Array, distance: Array
) -> tuple[Array, Array]:
    """Put skull and scalp around a stripped brain, or cut the brain badly."""
    shape = (image.shape[0], image.shape[1], image.shape[2])
    choice = rng.random()
    if choice < 0.5:
        return image, soft
    edge = distance + _field(rng, shape, 6) * np.float32(rng.uniform(0.2, 1.2))
    if choice < 0.6:
        keep = edge < -rng.uniform(0.5, 3.5)
        return np.where(keep, image, np.float32(-1)), soft * keep
    ends = np.cumsum([rng.uniform(0.5, 5), rng.uniform(2.5, 8), rng.uniform(3, 14)])
    rough = _field(rng, shape, 11)
    fine = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), 1.0) * 4
    skull = rng.uniform(-0.98, -0.6)
    if rng.random() < 0.5:
        marrow = rng.uniform(-0.5, 0.6)
        middle = np.abs(edge - (ends[0] + ends[1]) / 2) < (ends[1] - ends[0]) / 4
        skull = np.where(middle, np.float32(marrow), np.float32(skull))
    scalp = rng.uniform(-0.4, 1.2) + 0.25 * rough + rng.uniform(0, 0.12) * fine
    shell = np.full(shape, -1, np.float32)
    shell = np.where(edge < ends[2], scalp, shell)
    shell = np.where(edge < ends[1], skull, shell)
    shell = np.where(edge < ends[0], np.float32(rng.uniform(-0.95, -0.5)), shell)
    if rng.random() < 0.35:
        face = 0.5 * rough + 0.2 * fine + rng.uniform(-0.8, 0.3)
        shell = np.where(edge > ends[0] + 2 * rough, np.clip(face, -1, 1.4), shell)
    if rng.random() < 0.3:
        shell = np.where(edge < rng.uniform(0, 8), shell, -1)
    outside = np.clip(distance + 0.5, 0, 1)
    return (image * (1 - outside) + np.maximum(image, shell) * outside).astype(np.float32), soft


def _scan(rng: np.random.Generator, image: Array, soft: Array, thick: float) -> tuple[Array, Array]:
    """What the scanner does to the picture, and to what can be seen of a lesion."""
    shape = (image.shape[0], image.shape[1], image.shape[2])
    light = np.clip(image + 1, 0, 3.5)
    light *= np.exp(_field(rng, shape, 3) * np.float32(rng.uniform(0, 0.06)))
    light = light ** np.float32(rng.uniform(0.85, 1.2)) * np.float32(rng.normal(1, 0.06))
    if rng.random() < 0.4:
        light = ndimage.gaussian_filter(light, rng.uniform(0.2, 0.8, 3))
    if rng.random() < thick:
        axis = int(rng.choice(3, p=[0.7, 0.15, 0.15]))
        width, start = rng.uniform(2, 5), rng.random()
        light = _thick_slices(light, axis, width, start)
        soft = _thick_slices(soft, axis, width, start)
    level = max(0.0, rng.normal(0.02, 0.02))
    noise = rng.standard_normal((2, *shape)).astype(np.float32) * np.float32(level)
    light = np.sqrt((light + noise[0]) ** 2 + noise[1] ** 2) - (0.9 * level)
    if rng.random() < 0.08:
        axis = int(rng.integers(3))
        cut = [slice(None)] * 3
        depth = int(rng.integers(4, shape[axis] // 2))
        cut[axis] = slice(0, depth) if rng.random() < 0.5 else slice(-depth, None)
        light[tuple(cut)] = 0
        soft = soft.copy()
        soft[tuple(cut)] = 0
    # What preprocessing does to every picture before the network sees it.
    light = ndimage.gaussian_filter(light, SMOOTHING, truncate=2.5)
    return np.clip(light - 1, -1, 2).astype(np.float32), soft


def _thick_slices(array: Array, axis: int, width: float, start: float) -> Array:
    """Average over slices of ``width`` voxels and interpolate back to the fine grid."""
    smooth = ndimage.gaussian_filter1d(array, 0.36 * width, axis)
    size = array.shape[axis]
    slices = np.arange(start * width, size - 1, width)
    along = [-1 if a == axis else 1 for a in range(3)]
    below = np.minimum(slices.astype(int), size - 2)
    share = (slices - below).astype(np.float32).reshape(along)
    coarse = np.take(smooth, below, axis) * (1 - share) + np.take(smooth, below + 1, axis) * share
    at = np.clip((np.arange(size) - slices[0]) / width, 0, len(slices) - 1)
    below = np.minimum(at.astype(int), max(len(slices) - 2, 0))
    above = np.minimum(below + 1, len(slices) - 1)
    share = (at - below).astype(np.float32).reshape(along)
    return np.take(coarse, below, axis) * (1 - share) + np.take(coarse, above, axis) * share
