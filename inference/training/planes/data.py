"""Planes of real and made-up heads for the 2-D networks, oriented like slices of the model grid.

Three sources: FLAIR planes of 956 stroke patients (brain-extracted, three planes each, acute
infarct drawn, everything else unlabelled), slices of four raw heads with skull, and slices of the
tissue templates. Patients 07 and 19 are in none of them, nor are their masks in the bank, so the
plane networks never saw either.

A plane runs along the model grid: axial ``(j, i)``, coronal ``(k, i)``, sagittal ``(k, j)``, with
``k`` to superior, ``j`` to posterior and ``i`` to the left.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.training.shared import cases
from inference.training.shared.cases import Anatomy, data_root

__all__ = [
    "AXES",
    "BANK_PATIENTS",
    "Plane",
    "StrokePlanes",
    "bank_places",
    "is_test",
    "plane_volumes",
    "volume_plane",
]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

AXES = {"axial": 0, "coronal": 1, "sagittal": 2}
"""Name of a plane -> axis of the model grid it is cut across."""
BANK_PATIENTS = tuple(p for p in cases.MASK_PATIENTS if p not in cases.IMAGE_PATIENTS)
"""Whose lesion masks are planted: neither of the two patients the figures are about."""
BRIGHT = 0.14
"""Unlabelled pixels above this may be lesions where white matter is expected."""
VERY_BRIGHT = 0.38
"""Broad unlabelled spots above this may be lesions anywhere."""

# Where the three planes stand on the stored strip (rows, columns), which way they are turned to
# run like the model grid, and the index of their first pixel on the grid of the MNI template.
_STRIP: dict[str, tuple[slice, slice, tuple[int, int], tuple[int, int, int]]] = {
    "axial": (slice(0, 189), slice(0, 157), (1, -1), (90, 15, 12)),
    "sagittal": (slice(53, 189), slice(157, 346), (-1, -1), (22, 15, 129)),
    "coronal": (slice(53, 189), slice(346, 503), (-1, -1), (22, 109, 12)),
}


@dataclass(frozen=True, eq=False)
class Plane:
    """One plane to draw training patches from; all arrays share one shape.

    Attributes
    ----------
    kind : str
        ``stroke``, ``head`` or ``template``.
    axis : int
        Axis of the model grid the plane is cut across.
    image : ndarray or None
        Normalised FLAIR, not smoothed; ``None`` where it is made up from tissues.
    infarct : ndarray
        Acute infarct (bool).
    brain, ventricles : ndarray
        Signed distance to the border in mm, negative inside.
    unknown : ndarray
        Bright pixels nobody labelled (bool).
    place : ndarray
        Where lesions may be planted: share of white matter.
    tissues : mapping
        ``gm`` and ``csf`` shares of a template.
    to_bank : ndarray
        4 x 4 from volume index (with this plane's own index filled in) to the bank's index.
    start : tuple of int
        Volume index of the first pixel.
    """

    kind: str
    axis: int
    image: Array | None
    infarct: Mask
    brain: Array
    ventricles: Array
    unknown: Mask
    place: Array
    to_bank: npt.NDArray[np.float64]
    start: tuple[int, int, int]
    tissues: Mapping[str, Array] = field(default_factory=dict)


def is_test(subject: str) -> bool:
    """Whether a stroke patient (``sub-N``) is held back: every fifth by md5, never trained on.

    The staged share was chosen by md5 modulo 3; dividing by 3 first keeps the two choices apart.
    """
    number = int(hashlib.md5(subject.encode(), usedforsecurity=False).hexdigest(), 16)
    return number // 3 % 5 == 0


class StrokePlanes:
    """Planes of the stroke patients, read when first wanted and kept.

    Parameters
    ----------
    test : bool
        The held-back patients instead of the training ones.
    tissues : mapping of str to ndarray, optional
        Template shares on the MNI grid (`cases.template_tissues`); without them, no pixel is
        known to be white matter and nothing can be planted.
    to_bank : ndarray, optional
        Index of the MNI grid to index of the lesion bank.
    """

    def __init__(
        self,
        test: bool = False,
        tissues: Mapping[str, Array] | None = None,
        to_bank: npt.NDArray[np.float64] | None = None,
    ) -> None:
        self.folder = data_root() / "soop_stroke_flair"
        names = sorted(p.stem for p in (self.folder / "flair_strips").glob("sub-*.png"))
        self.subjects = [n for n in names if is_test(n) == test]
        self._white = {}
        if tissues is not None:
            soft = np.asarray(ndimage.gaussian_filter(tissues["wm"], 1.0), np.float32)
            self._white = {name: _cut(soft, name) for name in _STRIP}
        self._to_bank = np.eye(4) if to_bank is None else to_bank
        self._kept: dict[tuple[str, str], Plane] = {}
        self._levels: dict[str, float] = {}

    def raw(self, subject: str, name: str) -> tuple[Array, Mask]:
        """Grey values (0 to 255) and infarct of one plane, turned like the model grid."""
        return _strip(self.folder / "flair_strips", subject, name), (
            _strip(self.folder / "mask_strips", subject, name) > 0
        )

    def level(self, subject: str) -> float:
        """Main tissue peak over the three planes of a patient."""
        if subject not in self._levels:
            planes = [self.raw(subject, name)[0] for name in _STRIP]
            self._levels[subject] = tissue_peak(planes)
        return self._levels[subject]

    def normalised(self, subject: str, name: str) -> tuple[Array, Mask]:
        """Background -1, tissue peak 0, as `inference.preprocess.normalise`; not smoothed."""
        grey, infarct = self.raw(subject, name)
        return to_units(grey, self.level(subject)), infarct

    def plane(self, subject: str, name: str) -> Plane:
        """One plane with all its maps."""
        key = (subject, name)
        if key not in self._kept:
            image, infarct = self.normalised(subject, name)
            self._kept[key] = self._described(name, image, infarct)
        return self._kept[key]

    def _described(self, name: str, image: Array, infarct: Mask) -> Plane:
        brain = distance(np.asarray(ndimage.binary_fill_holes(image > -0.97), bool))
        ventricles = ventricle_distance(image, brain, AXES[name])
        white = self._white.get(name, np.zeros(image.shape, np.float32))
        smooth = np.asarray(ndimage.gaussian_filter(image, 0.7), np.float32)
        broad = np.asarray(ndimage.gaussian_filter(image, 2.0), np.float32)
        unknown = (smooth > BRIGHT) & ((white > 0.45) | (ventricles < 12))
        # A moderately bright ribbon along a fold's fluid is cortex wherever the template says so
        # or not; this is what the volumes of so few patients cannot teach.
        fluid = (smooth < -0.25) & (ventricles > 3)
        ribbon = np.asarray(ndimage.binary_dilation(fluid, iterations=4), bool) & (broad < 0.3)
        unknown &= ~(ribbon & (ventricles > 8))
        unknown |= broad > VERY_BRIGHT
        unknown &= brain < 0
        tissue = ndimage.gaussian_filter(((image > -0.3) & (brain < -3)).astype(np.float32), 0.7)
        return Plane(
            kind="stroke",
            axis=AXES[name],
            image=image,
            infarct=infarct,
            brain=brain,
            ventricles=ventricles,
            unknown=np.asarray(ndimage.binary_dilation(unknown), bool),
            place=(white * tissue).astype(np.float32),
            to_bank=self._to_bank,
            start=_STRIP[name][3],
        )


def volume_plane(anatomy: Anatomy, axis: int, index: int) -> Plane:
    """A slice of a three-dimensional anatomy."""

    def cut(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.take(array, index, axis)

    start = [0, 0, 0]
    start[axis] = index
    image = None if anatomy.image is None else cut(anatomy.image)
    brain = cut(anatomy.brain)
    far = np.full(brain.shape, 45, np.float32)
    ventricles = anatomy.extra.get("ventricles")
    return Plane(
        kind=anatomy.kind,
        axis=axis,
        image=image,
        infarct=np.zeros(brain.shape, bool),
        brain=brain,
        ventricles=far if ventricles is None else cut(ventricles),
        unknown=cut(anatomy.unknown),
        place=cut(anatomy.place),
        to_bank=anatomy.to_mni,
        start=(start[0], start[1], start[2]),
        tissues={n: cut(anatomy.extra[n]) for n in ("gm", "csf") if n in anatomy.extra},
    )


def bank_places(brain: Mask) -> npt.NDArray[np.float64]:
    """Index of a head to index of the lesion bank, from how far the brain spreads.

    The patients' "MNI" scans keep their own size, about a fifth smaller than the template. Their
    mean spread comes from the brain masks of the bank's patients; the middle is the template's.
    """
    change = np.eye(4)
    tissues = cases.template_tissues()
    template = np.sum(list(tissues.values()), axis=0) > 0.5
    folder = data_root() / "ms_open_mni" / "flair_space_1mm"
    masks = [
        cases.read_nifti(folder / f"patient{p}" / "brainmask.nii.gz")[0] > 0 for p in BANK_PATIENTS
    ]
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        middle, spread = cases._moments(np.asarray(brain.sum(axis=others)))
        wanted = np.mean([cases._moments(m.sum(axis=others))[1] for m in masks])
        target, _ = cases._moments(np.asarray(template.sum(axis=others)))
        change[axis, axis] = wanted / spread
        change[axis, 3] = target - change[axis, axis] * middle
    return change


def plane_volumes() -> tuple[StrokePlanes, list[Anatomy]]:
    """Everything the plane networks are trained on: planes, raw heads, the template."""
    tissues = cases.template_tissues()
    brain = np.asarray(np.sum(list(tissues.values()), axis=0) > 0.5)
    to_bank = bank_places(brain)
    template = replace(cases.template_anatomy(tissues, [brain]), to_mni=to_bank)
    heads = [cases.raw_head(p, s, [brain]) for p in ("01", "03") for s in (1, 2)]
    placed = [replace(h, to_mni=bank_places(h.brain < 0)) for h in heads]
    return StrokePlanes(False, tissues, to_bank), [template, *placed]


def to_units(grey: Array, level: float) -> Array:
    """Grey values to background -1 and tissue peak 0; above +1 the scale is halved."""
    image = np.asarray(grey / max(level, 1e-6) - 1.0, np.float32)
    image = np.where(image > 1, 0.5 + 0.5 * image, image)
    return np.clip(image, -1.0, 2.0).astype(np.float32)


def tissue_peak(planes: Sequence[Array]) -> float:
    """Most frequent grey value of brain tissue over some planes (fluid lies below it)."""
    values = np.concatenate([p[p > 0] for p in planes]) if planes else np.zeros(0)
    if values.size < 50:
        return 1.0
    counts, edges = np.histogram(values, bins=64, range=(0, 256))
    smooth = ndimage.gaussian_filter1d(counts.astype(float), 1.2)
    centres = (edges[1:] + edges[:-1]) / 2
    return float(centres[int(np.argmax(np.where(centres > 60, smooth, -1)))])


def distance(mask: npt.NDArray[Any]) -> Array:
    """Signed distance to the border of a plane's mask in pixels, negative inside."""
    outer = np.asarray(ndimage.distance_transform_edt(~mask))
    inner = np.asarray(ndimage.distance_transform_edt(mask))
    return np.clip(outer - inner, -45, 45).astype(np.float32)


def ventricle_distance(image: Array, brain: Array, axis: int) -> Array:
    """Signed distance to larger pieces of deep fluid near the midline.

    The sagittal plane of the stroke data runs through the insula: its deep fluid is the fissure.
    """
    middle = image.shape[1] / 2
    near = np.abs(np.arange(image.shape[1]) - middle) < (0 if axis == AXES["sagittal"] else 32)
    deep = ndimage.binary_opening((image < -0.35) & (brain < -14) & near)
    pieces, _ = cases.components(np.asarray(deep, bool), diagonal=False)
    keep = np.bincount(pieces.ravel()) > 60
    keep[0] = False
    mask = keep[pieces]
    return distance(mask) if mask.any() else np.full(image.shape, 45, np.float32)


def _cut(volume: Array, name: str) -> Array:
    """The stored plane of a volume on the MNI grid, the size of the strip's plane."""
    rows, columns, _, start = _STRIP[name]
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    flat = np.take(volume, start[AXES[name]], AXES[name])
    first = [s for axis, s in enumerate(start) if axis != AXES[name]]
    part = flat[first[0] : first[0] + shape[0], first[1] : first[1] + shape[1]]
    missing = [(0, n - m) for n, m in zip(shape, part.shape, strict=True)]
    return np.pad(part, missing).astype(np.float32)


def _strip(folder: Path, subject: str, name: str) -> Array:
    from PIL import Image

    rows, columns, turn, _ = _STRIP[name]
    with Image.open(folder / f"{subject}.png") as picture:
        strip = np.asarray(picture, np.float32)
    return np.ascontiguousarray(strip[rows, columns][:: turn[0], :: turn[1]])
