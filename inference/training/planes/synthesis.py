"""Training patches of planes: real cortex as it is, lesions planted into it.

One patch takes these steps: a plane (`data`), turned and bent; lesions planted with slices
of real masks near their own place, bands along the ventricles and small round ones; skull and
scalp for some stripped planes; then what a scanner does. Two truths come with it, each with a
weight per pixel: bright white-matter lesion, and acute infarct.

The bright part of an acute infarct counts as lesion, with a third of the weight: a reader who
marks bright lesions would mark it, and it teaches large confluent shapes, but its outline was
drawn on diffusion. What of an infarct is not bright takes no part in the first truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.preprocess import SMOOTHING
from inference.training.planes.data import AXES, Plane, StrokePlanes, volume_plane
from inference.training.shared.cases import Anatomy
from inference.training.shared.fields import looked_up

__all__ = ["PlanePatch", "PlaneSynthesiser"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Shape = tuple[int, int]

LABEL_LEVEL = 0.4
"""Share of lesion above which a pixel is labelled."""
INFARCT_BRIGHT = 0.22
"""Pixels of an infarct above this are bright lesion as well."""
INFARCT_WEIGHT = 0.33
GREY_STEP = 4 / 160
"""One level of the stroke planes' coarse grey scale, in units of the tissue peak."""


@dataclass(frozen=True, eq=False)
class PlanePatch:
    """One training example.

    Attributes
    ----------
    image : ndarray, shape (rows, columns)
        Normalised FLAIR.
    label, weight : ndarray, shape (2, rows, columns)
        Truth and weight of lesion and of acute infarct; weight 0 where the truth is unknown.
    """

    image: Array
    label: Array
    weight: Array


class PlaneSynthesiser:
    """Endless source of patches.

    Parameters
    ----------
    strokes : StrokePlanes
        Planes of the stroke patients.
    volumes : sequence of Anatomy
        Raw heads and templates; a slice of any direction is drawn from them.
    bank : mapping of str to ndarray
        Real lesion masks on the MNI grid.
    seed : int
        Start of the random numbers.
    shares : mapping of str to float
        How often each kind of plane is used.
    """

    shares: Mapping[str, float] = {"stroke": 0.62, "head": 0.2, "template": 0.18}

    def __init__(
        self,
        strokes: StrokePlanes,
        volumes: Sequence[Anatomy],
        bank: Mapping[str, Mask],
        seed: int = 0,
        shares: Mapping[str, float] | None = None,
    ) -> None:
        self.strokes = strokes
        self.volumes = {k: [v for v in volumes if v.kind == k] for k in ("head", "template")}
        self.bank = [np.asarray(m, np.uint8) for m in bank.values()]
        self.places = [np.argwhere(m) for m in self.bank]
        chances = {**(shares or self.shares)}
        chances = {k: v for k, v in chances.items() if self.volumes.get(k, strokes.subjects)}
        self.kinds = list(chances)
        self.chance = np.array(list(chances.values())) / sum(chances.values())
        self.rng = np.random.default_rng(seed)

    def sample(self, shape: Shape) -> PlanePatch:
        """Make one patch."""
        rng = self.rng
        kind = self.kinds[int(rng.choice(len(self.kinds), p=self.chance))]
        plane = self._plane(kind)
        points = warped_points(rng, shape, self._centre(plane))
        distance = looked_up(plane.brain, points, 45.0)
        ventricles = looked_up(plane.ventricles, points, 45.0)
        place = looked_up(plane.place, points)
        image, grey = self._image(plane, points, place, distance)
        infarct = looked_up(plane.infarct.view(np.uint8), points) > 0.5
        unknown = looked_up(plane.unknown.view(np.uint8), points) > 0.1
        clean = rng.random() < (0.35 if kind == "stroke" else 0.15)
        soft = np.zeros(shape, np.float32)
        if not clean:
            soft = self._planted(plane, points, place, ventricles)
            soft *= np.clip((image + 0.45) * 6, 0, 1) * ~infarct
            image = image + lesion_light(rng, soft, grey)
        image = distract(rng, image, distance, place)
        if kind != "head":
            image, soft = surround(rng, image, soft, distance)
        image, soft = scan(rng, image, soft, plane.axis, kind)
        return _labelled(image, soft, infarct, unknown)

    def _plane(self, kind: str) -> Plane:
        rng = self.rng
        if kind == "stroke":
            subject = self.strokes.subjects[int(rng.integers(len(self.strokes.subjects)))]
            names = tuple(AXES)
            plane = self.strokes.plane(subject, names[int(rng.integers(3))])
            return plane
        anatomy = self.volumes[kind][int(rng.integers(len(self.volumes[kind])))]
        axis = int(rng.integers(3))
        inside = np.nonzero((anatomy.brain < 0).any(axis=tuple(a for a in range(3) if a != axis)))[
            0
        ]
        low, high = int(inside[0]), int(inside[-1])
        margin = 25 if kind == "head" else -3
        low, high = max(0, low - margin), min(anatomy.brain.shape[axis] - 1, high + margin)
        return volume_plane(anatomy, axis, int(rng.integers(low, high + 1)))

    def _centre(self, plane: Plane) -> npt.NDArray[np.float64]:
        """Middle of the patch: a pixel of an infarct, or anywhere in or near the brain."""
        rng = self.rng
        if plane.infarct.any() and rng.random() < 0.6:
            spots = np.argwhere(plane.infarct)
        else:
            spots = np.argwhere(plane.brain[::4, ::4] < -8) * 4
        if not len(spots):
            return rng.uniform(0.2, 0.8, 2) * plane.brain.shape
        middle = (np.array(plane.brain.shape) - 1) / 2
        spot = spots[int(rng.integers(len(spots)))]
        return spot * 0.6 + middle * 0.4 + rng.uniform(-12, 12, 2)

    def _image(
        self, plane: Plane, points: Array, place: Array, distance: Array
    ) -> tuple[Array, float]:
        """Picture before planting, and about how much brighter cortex is than white matter."""
        rng = self.rng
        shape = (points.shape[1], points.shape[2])
        if plane.image is None:
            return template_image(rng, plane, points, place)
        image = looked_up(plane.image, points, -1.0)
        if plane.kind == "stroke":
            # The stored scale is coarse: hide its steps, in and out of the masks alike.
            image = image + rng.uniform(-GREY_STEP, GREY_STEP, shape) * (image > -0.97)
        image = image + _field(rng, shape, 5) * rng.uniform(0, 0.06) * (distance < 0)
        return np.asarray(image, np.float32), float(rng.uniform(0.08, 0.22))

    def _planted(self, plane: Plane, points: Array, place: Array, ventricles: Array) -> Array:
        """Soft share of planted lesion in every pixel."""
        rng = self.rng
        shape = (points.shape[1], points.shape[2])
        soft = np.zeros(shape, np.float32)
        for _ in range(int(rng.choice([0, 1, 2, 3], p=[0.2, 0.45, 0.25, 0.1]))):
            soft = np.maximum(soft, self._from_bank(plane, points))
        if rng.random() < 0.4:
            soft *= _field(rng, shape, 6) > rng.normal(0, 0.7)
        if rng.random() < 0.5:
            soft = np.maximum(soft, _discs(rng, place))
        if rng.random() < 0.3:
            thickness = rng.uniform(-1.5, 4.5) + rng.uniform(0.5, 3.5) * _field(rng, shape, 6)
            band = np.clip(np.minimum(thickness, 11) - ventricles + 0.5, 0, 1)
            soft = np.maximum(soft, band.astype(np.float32))
        if not soft.any():
            return soft
        soft = ndimage.gaussian_filter(soft, rng.uniform(0.5, 1.0))
        level, ramp = rng.uniform(0.3, 0.6), rng.uniform(0.3, 0.7)
        soft = np.clip((soft - level) / ramp + 0.5, 0, 1)
        return (soft * np.clip(place * 3 - 0.2, 0, 1)).astype(np.float32)

    def _from_bank(self, plane: Plane, points: Array) -> Array:
        """A slice of a real mask near this place of the head, sometimes mirrored."""
        rng = self.rng
        pick = int(rng.integers(len(self.bank)))
        volume = np.empty((3, *points.shape[1:]), np.float32)
        along = [a for a in range(3) if a != plane.axis]
        for n, axis in enumerate(along):
            volume[axis] = points[n] + plane.start[axis]
        volume[plane.axis] = plane.start[plane.axis]
        matrix = plane.to_bank.astype(np.float32)
        at = np.tensordot(matrix[:3, :3], volume, 1) + matrix[:3, 3][:, None, None]
        if rng.random() < 0.5:
            at[2] = self.bank[pick].shape[2] - 1 - at[2]
        spots = self.places[pick]
        if rng.random() < 0.75:
            # Go through the mask near one of its lesions, not too far from this plane.
            spot = spots[int(rng.integers(len(spots)))][plane.axis]
            here = float(at[plane.axis].mean())
            at[plane.axis] += np.clip(spot - here, -22, 22)
        shape = (points.shape[1], points.shape[2])
        at += rng.normal(0, 1.5, 3).astype(np.float32)[:, None, None]
        for axis in along:
            at[axis] += _field(rng, shape, 6) * np.float32(rng.uniform(0, 2.0))
        return looked_up(self.bank[pick], at)


def _labelled(image: Array, soft: Array, infarct: Mask, unknown: Mask) -> PlanePatch:
    """Both truths with their weights."""
    lesion = soft > LABEL_LEVEL
    bright = infarct & (image > INFARCT_BRIGHT)
    near = infarct
    if infarct.any():
        near = np.asarray(ndimage.binary_dilation(infarct, iterations=2), bool)
    weight = np.where(unknown | near, 0.0, 1.0)
    weight = np.where(bright, INFARCT_WEIGHT, weight)
    weight = np.where(soft > 0.3, 1.0, weight)
    label = np.stack([lesion | bright, infarct])
    # Chronic lesions near an infarct may be part of it to a reader; they count less there.
    weights = np.stack([weight, np.where(soft > 0.1, 0.4, 1.0)])
    return PlanePatch(image, label.astype(np.float32), weights.astype(np.float32))


def varied(patch: PlanePatch, rng: np.random.Generator) -> PlanePatch:
    """A remembered patch, mirrored and in another brightness."""
    flip = slice(None, None, -1 if rng.random() < 0.5 else 1)
    light = patch.image[..., flip] + 1
    light = light * rng.normal(1, 0.05) + rng.normal(0, 0.02) * (light > 0.1)
    image = np.clip(light - 1, -1, 2).astype(np.float32)
    return replace(patch, image=image, label=patch.label[..., flip], weight=patch.weight[..., flip])


def warped_points(rng: np.random.Generator, shape: Shape, centre: npt.NDArray[np.float64]) -> Array:
    """Source positions ``(2, rows, columns)`` of a turned, scaled, mirrored and bent patch."""
    angle = np.deg2rad(rng.normal(0, 9))
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    scale = rng.uniform(0.85, 1.25) * rng.uniform(0.94, 1.06, 2)
    if rng.random() < 0.5:
        scale[1] *= -1
    axes = [np.arange(n, dtype=np.float32) - (n - 1) / 2 for n in shape]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"))
    points = np.tensordot((turn * scale).astype(np.float32), grid, 1)
    points += centre.astype(np.float32)[:, None, None]
    if rng.random() < 0.8:
        strength = np.float32(rng.uniform(0.3, 2.5))
        for axis in range(2):
            points[axis] += _field(rng, shape, 5) * strength
    return points.astype(np.float32)


def template_image(
    rng: np.random.Generator, plane: Plane, points: Array, place: Array
) -> tuple[Array, float]:
    """FLAIR-like plane of the template, and how much brighter grey matter is."""
    shape = (points.shape[1], points.shape[2])
    gm, csf = looked_up(plane.tissues["gm"], points), looked_up(plane.tissues["csf"], points)
    total = np.clip(place + gm + csf, 0, 1)
    grey, white = float(rng.uniform(-0.03, 0.28)), float(rng.uniform(-0.15, 0.05))
    gm_map = white + grey + _field(rng, shape, 7) * rng.uniform(0, 0.1)
    wm_map = white + _field(rng, shape, 6) * rng.uniform(0, 0.05)
    image = place * wm_map + gm * gm_map + csf * rng.uniform(-0.95, -0.5) - (1 - total)
    if rng.random() < 0.6:
        rim = ndimage.gaussian_filter(csf, 1.2) * place * 4 * rng.uniform(0, 0.3)
        image += np.clip(rim * (0.5 + 0.5 * _field(rng, shape, 4)), 0, 0.35)
    if rng.random() < 0.5:
        choroid = (_field(rng, shape, 9) > 1.2) & (csf > 0.85)
        image += ndimage.gaussian_filter(choroid.astype(np.float32), 0.8) * rng.uniform(0.3, 1.0)
    rough = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), 0.7)
    image += rough * np.float32(rng.uniform(0.01, 0.07) / 0.35) * (total > 0.5)
    return image.astype(np.float32), grey


def lesion_light(rng: np.random.Generator, soft: Array, grey: float) -> Array:
    """Brightness that planted lesions add; they are brighter than grey matter."""
    if not soft.any():
        return soft
    shape = (soft.shape[0], soft.shape[1])
    strength = max(0.08, grey) + np.clip(rng.lognormal(np.log(0.16), 0.5), 0.03, 0.6)
    changing = np.clip(1 + 0.25 * _field(rng, shape, 8), 0.5, 1.6) * strength
    rough = ndimage.gaussian_filter(rng.standard_normal(shape).astype(np.float32), 0.8)
    core = soft * (1 - 0.3 * rng.random() + 0.3 * ndimage.gaussian_filter(soft, 1.5))
    light = core * (changing + rough * np.float32(rng.uniform(0, 0.15)))
    light += ndimage.gaussian_filter(soft, 3) * (strength * rng.uniform(0, 0.25)) * (1 - soft)
    return light.astype(np.float32)


def distract(rng: np.random.Generator, image: Array, distance: Array, place: Array) -> Array:
    """Small bright spots that are no lesions: vessels, meninges, flow."""
    where = np.argwhere((distance > -7) & (distance < 2) & (place < 0.2))
    if rng.random() < 0.6 or not len(where):
        return image
    spots = np.zeros(image.shape, np.float32)
    for spot in where[rng.integers(0, len(where), int(rng.integers(1, 8)))]:
        spots[tuple(spot)] = rng.uniform(2, 12)
    spots = ndimage.gaussian_filter(spots, rng.uniform(0.7, 1.4, 2))
    return (image + np.clip(spots, 0, rng.uniform(0.2, 0.9))).astype(np.float32)


def surround(
    rng: np.random.Generator, image: Array, soft: Array, distance: Array
) -> tuple[Array, Array]:
    """Put skull and scalp around a stripped plane, or cut the brain badly."""
    shape = (image.shape[0], image.shape[1])
    choice = rng.random()
    if choice < 0.6:
        return image, soft
    edge = distance + _field(rng, shape, 6) * np.float32(rng.uniform(0.2, 1.2))
    if choice < 0.68:
        keep = edge < -rng.uniform(0.5, 3.5)
        return np.where(keep, image, np.float32(-1)), soft * keep
    ends = np.cumsum([rng.uniform(0.5, 5), rng.uniform(2.5, 8), rng.uniform(3, 14)])
    rough = _field(rng, shape, 11)
    scalp = rng.uniform(-0.4, 1.2) + 0.25 * rough
    shell = np.full(shape, -1, np.float32)
    shell = np.where(edge < ends[2], scalp, shell)
    shell = np.where(edge < ends[1], np.float32(rng.uniform(-0.98, -0.4)), shell)
    shell = np.where(edge < ends[0], np.float32(rng.uniform(-0.95, -0.5)), shell)
    outside = np.clip(distance + 0.5, 0, 1)
    return (image * (1 - outside) + np.maximum(image, shell) * outside).astype(np.float32), soft


def scan(
    rng: np.random.Generator, image: Array, soft: Array, axis: int, kind: str
) -> tuple[Array, Array]:
    """What the scanner does to the picture, and to what can be seen of a lesion."""
    shape = (image.shape[0], image.shape[1])
    light = np.clip(image + 1, 0, 3.5)
    light = light * np.exp(_field(rng, shape, 3) * np.float32(rng.uniform(0, 0.06)))
    light = light ** np.float32(rng.uniform(0.85, 1.2)) * np.float32(rng.normal(1, 0.07))
    if rng.random() < 0.4:
        light = ndimage.gaussian_filter(light, rng.uniform(0.2, 0.9, 2))
    if axis != AXES["axial"] and rng.random() < (0.1 if kind == "head" else 0.4):
        width, start = rng.uniform(2, 5), rng.random()
        light, soft = thick_slices(light, width, start), thick_slices(soft, width, start)
    level = max(0.0, rng.normal(0.02, 0.025))
    noise = rng.standard_normal((2, *shape)).astype(np.float32) * np.float32(level)
    light = np.sqrt((light + noise[0]) ** 2 + noise[1] ** 2) - 0.9 * level
    # What preprocessing does to every picture before the network sees it.
    light = ndimage.gaussian_filter(light, SMOOTHING, truncate=2.5)
    return np.clip(light - 1, -1, 2).astype(np.float32), soft


def thick_slices(array: Array, width: float, start: float) -> Array:
    """Average the rows over slices of ``width`` pixels and interpolate back."""
    size = array.shape[0]
    smooth = np.asarray(ndimage.gaussian_filter1d(array, 0.36 * width, 0), np.float32)
    slices = np.arange(start * width, size - 1, width)
    coarse = _rows(smooth, slices)
    at = np.clip((np.arange(size) - slices[0]) / width, 0, len(slices) - 1)
    return _rows(coarse, at).astype(np.float32)


def _rows(array: Array, at: npt.NDArray[Any]) -> Array:
    below = np.minimum(at.astype(int), max(array.shape[0] - 2, 0))
    above = np.minimum(below + 1, array.shape[0] - 1)
    share = (at - below).astype(np.float32)[:, None]
    return np.asarray(array[below] * (1 - share) + array[above] * share, np.float32)


def _discs(rng: np.random.Generator, place: Array) -> Array:
    """A few round lesions in white matter."""
    soft = np.zeros(place.shape, np.float32)
    spots = np.argwhere(place > 0.5)
    if not len(spots):
        return soft
    rows, columns = np.ogrid[: place.shape[0], : place.shape[1]]
    for _ in range(int(rng.integers(1, 7))):
        row, column = spots[int(rng.integers(len(spots)))]
        a, b = rng.uniform(1.0, 4.0) * rng.uniform(0.6, 1.5, 2)
        soft[((rows - row) / a) ** 2 + ((columns - column) / b) ** 2 < 1] = 1
    return soft


def _field(rng: np.random.Generator, shape: Shape, cells: int) -> Array:
    """Smooth random field of mean 0 and spread about 1; ``cells`` knots along each axis."""
    result = rng.standard_normal((cells, cells)).astype(np.float32)
    for axis, size in enumerate(shape):
        at = np.linspace(0, cells - 1, size)
        first = np.minimum(at.astype(int), cells - 2)
        share = (at - first).astype(np.float32)
        share = (share * share * (3 - 2 * share)).reshape([-1 if a == axis else 1 for a in (0, 1)])
        low, high = np.take(result, first, axis), np.take(result, first + 1, axis)
        result = low * (1 - share) + high * share
    return result * np.float32(1.4)
