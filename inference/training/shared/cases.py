"""The shared MRI data as arrays, and the bookkeeping of leave-one-patient-out.

Everything here is read by path from ``../shared/data`` beside the project (or from the folder
named by ``ISOCENTER_DATA``); nothing is copied. Arrays are ``(k, j, i)`` and run to superior,
posterior and left, as in `inference.preprocess`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.preprocess import normalise, normalise_beside, resample_to_model, to_model_grid

__all__ = [
    "FOLDS",
    "NO_PICTURE",
    "Anatomy",
    "Fold",
    "LabelledCase",
    "inpaint",
    "lesion_bank",
    "load_labelled",
    "mni_anatomy",
    "raw_head",
    "template_tissues",
]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

IMAGE_PATIENTS = ("07", "19")
MNI_AFFINE = ((0.0, 0.0, 1.0, -90.0), (0.0, 1.0, 0.0, -91.0), (1.0, 0.0, 0.0, -72.0), (0, 0, 0, 1))
"""Index of the MNI grid, as turned here, to LPS mm."""
UNSURE_MM = {"03": 16.0}
"""Bright voxels this far outside the brain mask still count as unknown: the brain mask of
patient 03 misses part of the frontal poles."""
LESION_LEVEL = 0.32
"""Unlabelled voxels above this may be lesions; moderately bright ones far from the ventricles
are taught as normal, since they are cortex nearly everywhere."""
MASK_PATIENTS = tuple(f"{n:02d}" for n in range(1, 21))


@dataclass(frozen=True)
class Fold:
    """Which patients a training run may see.

    Attributes
    ----------
    name : str
        The patient left out, or ``all``.
    images : tuple of str
        Patients whose FLAIR and mask are used.
    bank : tuple of str
        Patients whose masks give lesion shapes and places. The left-out patient is in neither.
    heads : tuple of str
        Longitudinal patients whose raw heads are used (never a lesion label of theirs).
    """

    name: str
    images: tuple[str, ...]
    bank: tuple[str, ...]
    heads: tuple[str, ...]


def _fold(left_out: str) -> Fold:
    keep = tuple(p for p in MASK_PATIENTS if p != left_out)
    images = tuple(p for p in IMAGE_PATIENTS if p != left_out)
    return Fold(left_out, images, keep, ("01", "03"))


FOLDS = {name: _fold(name) for name in (*IMAGE_PATIENTS, "all")}
"""A run for each left-out patient, and ``all`` for the weights that ship."""
NO_PICTURE = Fold("none", (), tuple(p for p in MASK_PATIENTS if p not in IMAGE_PATIENTS), ())
"""No real picture at all: tissue maps of the template, and masks of the other 18 patients."""
TEMPLATE_TO_BANK = ((0.81, 18.0), (0.83, 22.0), (0.88, 10.5))
"""Scale and shift from the template's index to that of the masks, by axis, where no patient's
brain may be looked at: the patients' scans keep their own size, smaller than the template."""


@dataclass(frozen=True, eq=False)
class LabelledCase:
    """A FLAIR with its gold mask on the source grid, affine to LPS mm."""

    patient: str
    flair: Array
    gold: Mask
    affine: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Anatomy:
    """What the generator draws patches from.

    Attributes
    ----------
    kind : str
        ``real`` (image and its own gold mask), ``inpainted`` (image without lesions),
        ``template`` (tissue maps, no image) or ``head`` (raw whole head).
    image : ndarray or None
        Normalised FLAIR.
    gold : ndarray
        Lesions present in the image.
    brain : ndarray
        Signed distance to the brain's border in mm, negative inside.
    unknown : ndarray
        Voxels whose label is not known (bright, inside the brain of an unlabelled head).
    place : ndarray
        Share of white matter, or another map of where lesions may be planted.
    to_mni : ndarray
        4 x 4 from this array's index to the index of the MNI grid that the bank is on.
    extra : mapping
        Tissue shares (``csf``, ``gm``, ``wm``) where they are known; ``ventricles``, the signed
        distance to them in mm; and the patient's normalised ``t1`` and ``t2``.
    """

    kind: str
    image: Array | None
    gold: Mask
    brain: Array
    unknown: Mask
    place: Array
    to_mni: npt.NDArray[np.float64]
    extra: Mapping[str, Array] = field(default_factory=dict)


def data_root() -> Path:
    """Folder of the shared data."""
    default = Path(__file__).resolve().parents[4] / "shared" / "data"
    return Path(os.environ.get("ISOCENTER_DATA", default))


def read_nifti(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Voxels ``(k, j, i)`` and affine to LPS mm."""
    image = nib.load(path)  # type: ignore[attr-defined]
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine  # type: ignore[attr-defined]
    voxels = np.asarray(image.dataobj)  # type: ignore[attr-defined]
    return voxels.T, affine[:, [2, 1, 0, 3]]


def mni_file(patient: str, start: str) -> Path:
    folder = data_root() / "ms_open_mni" / "MNI" / f"patient{patient}"
    return next(iter(sorted(folder.glob(f"{start}_*.nii.gz"))))


def load_labelled(patient: str) -> LabelledCase:
    """FLAIR and gold mask of one patient, exactly as stored."""
    flair, affine = read_nifti(mni_file(patient, "FLAIR"))
    gold, _ = read_nifti(mni_file(patient, "GOLD_STANDARD"))
    return LabelledCase(patient, np.asarray(flair, np.float32), gold > 0, affine)


def _mni(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """MNI file order (anterior last) to superior, posterior, left."""
    return np.ascontiguousarray(array[:, ::-1])


def lesion_bank(patients: tuple[str, ...]) -> dict[str, Mask]:
    """Gold masks on the MNI grid, by patient."""
    masks = ((p, read_nifti(mni_file(p, "GOLD_STANDARD"))[0]) for p in patients)
    return {p: np.asarray(_mni(m) > 0) for p, m in masks}


def template_tissues() -> dict[str, Array]:
    """Partial volumes ``csf``, ``gm``, ``wm`` of the MNI152 template on the MNI grid."""
    folder = data_root() / "normal_templates_mni" / "mni152_6thgen_tissue"
    names = {"csf": "pve_0", "gm": "pve_1", "wm": "pve_2"}
    return {
        tissue: np.asarray(
            _mni(read_nifti(folder / f"MNI152_T1_1mm_Brain_FAST_{name}.nii.gz")[0]), np.float32
        )
        for tissue, name in names.items()
    }


def signed_distance(mask: Mask, limit_mm: float = 45.0) -> Array:
    """Distance to the border of a mask in voxels, negative inside."""
    coarse = mask[::2, ::2, ::2]
    outer, inner = (ndimage.distance_transform_edt(m) for m in (~coarse, coarse))
    distance = np.asarray(outer) - np.asarray(inner)
    grid = [(np.arange(n) / 2).astype(np.float32) for n in mask.shape]
    fine = np.asarray(2 * distance, np.float32)
    for axis, at in enumerate(grid):
        first = np.minimum(at.astype(int), fine.shape[axis] - 1)
        second = np.minimum(first + 1, fine.shape[axis] - 1)
        share = (at - first).reshape([-1 if a == axis else 1 for a in range(3)])
        fine = np.take(fine, first, axis) * (1 - share) + np.take(fine, second, axis) * share
    return np.clip(fine, -limit_mm, limit_mm).astype(np.float32)


def brain_of(image: Array) -> Mask:
    """Filled foreground of a stripped, normalised image."""
    mask = ndimage.binary_closing(image > -0.97, iterations=2)
    return np.asarray(ndimage.binary_fill_holes(mask), bool)


def components(mask: Mask, diagonal: bool = True) -> tuple[npt.NDArray[np.int32], int]:
    """Number the connected pieces of a mask: 26 neighbours, or 6 without ``diagonal``."""
    found: Any = ndimage.label(mask, np.ones((3, 3, 3)) if diagonal else None)
    return found


def _grown(mask: Mask, voxels: int = 2) -> Mask:
    return np.asarray(ndimage.binary_dilation(mask, iterations=voxels), bool)


def inpaint(image: Array, lesions: Mask, place: Array, rng: np.random.Generator) -> Array:
    """Replace lesions by smoothed healthy white matter around them, with texture.

    Parameters
    ----------
    image : ndarray
        Normalised FLAIR.
    lesions : ndarray
        Mask to remove; a two-voxel halo goes with it.
    place : ndarray
        White-matter share, to prefer healthy white matter as the source.
    rng : Generator
        Texture.
    """
    hole = _grown(lesions)
    healthy = (~hole & (image > -0.35) & (image < 0.16)) * (0.1 + place)
    healthy = healthy.astype(np.float32)
    smooth = np.zeros_like(image)
    total = np.zeros_like(image)
    for sigma, weight in ((2.5, 1.0), (7.0, 0.02)):
        total += weight * ndimage.gaussian_filter(healthy, sigma)
        smooth += weight * ndimage.gaussian_filter(healthy * image, sigma)
    smooth /= np.maximum(total, 1e-6)
    rough = ndimage.gaussian_filter(rng.standard_normal(image.shape).astype(np.float32), 0.8)
    smooth += rough * np.float32(0.035 / rough.std())
    blend = ndimage.gaussian_filter(hole.astype(np.float32), 0.7)
    keep_dark = np.where(image < -0.3, 0.0, 1.0).astype(np.float32)
    blend *= ndimage.gaussian_filter(np.maximum(keep_dark, lesions), 0.5)
    return (image * (1 - blend) + smooth * blend).astype(np.float32)


def mni_anatomy(patient: str, healthy: bool, seed: int = 0) -> Anatomy:
    """Anatomy of a labelled patient, as it is or with its lesions inpainted."""
    case = load_labelled(patient)
    image = normalise(np.asarray(_mni(case.flair)), smoothing=0.0)
    gold = np.asarray(_mni(case.gold))
    brain = brain_of(image)
    distance = signed_distance(brain)
    parenchyma = ndimage.gaussian_filter(((image > -0.3) & brain).astype(np.float32), 0.7)
    tissues = t1_tissues(patient, _grown(gold))
    others = {name: other_image(patient, name, image) for name in ("t1", "t2")}
    place = np.maximum(tissues["wm"], 0.35 * parenchyma) * parenchyma
    ventricles = ventricle_distance((image < -0.35) & (distance < -20))
    if healthy:
        image = inpaint(image, gold, tissues["wm"], np.random.default_rng(seed))
        others = {
            name: inpaint(other, gold, tissues["wm"], np.random.default_rng(seed))
            for name, other in others.items()
        }
        gold = np.zeros_like(gold)
    return Anatomy(
        kind="inpainted" if healthy else "real",
        image=image,
        gold=gold,
        brain=distance,
        unknown=np.zeros_like(gold),
        place=place.astype(np.float32),
        to_mni=np.eye(4),
        extra={**tissues, **others, "ventricles": ventricles},
    )


def other_image(patient: str, name: str, flair: Array) -> Array:
    """Normalised ``t1`` or ``t2`` of a labelled patient, unsmoothed, turned like ``flair``."""
    voxels, _ = read_nifti(mni_file(patient, name.upper()))
    return normalise_beside(np.asarray(_mni(voxels), np.float32), flair, smoothing=0.0)


def tissue_anatomy(patient: str) -> Anatomy:
    """Tissue shares from a labelled patient's T1: real folds, made-up contrast, no lesion."""
    case = load_labelled(patient)
    gold = _grown(_mni(case.gold))
    tissues = t1_tissues(patient, gold)
    brain = brain_of(normalise(np.asarray(_mni(case.flair))))
    return _from_tissues(tissues, brain, np.eye(4))


def _from_tissues(
    tissues: dict[str, Array], brain: Mask, to_mni: npt.NDArray[np.float64]
) -> Anatomy:
    none = np.zeros_like(brain)
    distance = signed_distance(brain)
    ventricles = ventricle_distance((tissues["csf"] > 0.6) & (distance < -20))
    return Anatomy(
        kind="template",
        image=None,
        gold=none,
        brain=distance,
        unknown=none,
        place=tissues["wm"],
        to_mni=to_mni,
        extra={**tissues, "ventricles": ventricles},
    )


def ventricle_distance(deep_fluid: Mask) -> Array:
    """Signed distance to the ventricles: larger, thick pieces of deep fluid near the midline."""
    middle = deep_fluid.shape[2] // 2
    near = np.abs(np.arange(deep_fluid.shape[2]) - middle) < 32
    pieces, _ = components(ndimage.binary_opening(deep_fluid) & near, diagonal=False)
    keep = np.bincount(pieces.ravel()) > 300
    keep[0] = False
    mask = keep[pieces]
    return signed_distance(mask) if mask.any() else np.full(mask.shape, 45, np.float32)


def t1_tissues(patient: str, lesions: Mask) -> dict[str, Array]:
    """Rough shares ``csf``, ``gm``, ``wm`` from the patient's T1 (three means).

    Parameters
    ----------
    patient : str
        A patient with images.
    lesions : ndarray
        Taken as white matter: lesions look like grey matter on T1.
    """
    t1 = np.asarray(_mni(read_nifti(mni_file(patient, "T1"))[0]), np.float32)
    t1 = np.maximum(t1, 0)
    values = t1[t1 > 0.05 * t1.max()][::7]
    levels = np.percentile(values, [15, 45, 85])
    for _ in range(30):
        nearest = np.abs(values[:, None] - levels).argmin(1)
        levels = np.array([values[nearest == n].mean() for n in range(3)])
    fluid, grey, white = levels
    inside = t1 > 0.2 * fluid
    wm = np.clip((t1 - grey) / (white - grey), 0, 1)
    csf = np.clip(1.2 * (grey - t1) / (grey - fluid), 0, 1) * inside
    wm, csf = np.where(lesions, 1, wm), np.where(lesions, 0, csf)
    gm = (1 - wm - csf) * inside
    return {n: np.asarray(m, np.float32) for n, m in (("csf", csf), ("gm", gm), ("wm", wm))}


def template_anatomy(tissues: dict[str, Array], references: Sequence[Mask]) -> Anatomy:
    """Anatomy of the template; its image is made up anew for every patch.

    The patients' "MNI" scans keep their own size, about a fifth smaller than the template, so
    the template is matched to the brains of the training patients.
    """
    brain = (tissues["csf"] + tissues["gm"] + tissues["wm"]) > 0.5
    if references:
        return _from_tissues(tissues, brain, match_moments(brain, references))
    to_bank = np.eye(4)
    for axis, (scale, shift) in enumerate(TEMPLATE_TO_BANK):
        to_bank[axis, [axis, 3]] = scale, shift
    return _from_tissues(tissues, brain, to_bank)


def raw_head(patient: str, study: int, references: Sequence[Mask]) -> Anatomy:
    """Raw whole head of a longitudinal patient: no lesion label, but a known outside.

    Voxels inside the brain that may be lesions (very bright, or bright near the ventricles) are
    marked unknown and take no part in training; voxels outside the brain are certain negatives.
    """
    import SimpleITK as sitk

    folder = data_root() / "ms_open_longitudinal" / "raw" / f"patient{patient}"
    path = folder / f"study{study}_FLAIR.nii.gz"
    transform = sitk.ReadTransform(str(folder / f"study{study}_FLAIR_to_common_space.txt"))
    common = sitk.ReadImage(str(folder / "brainmask.nii.gz"), sitk.sitkFloat32)
    native = sitk.ReadImage(str(path))
    brain = sitk.GetArrayFromImage(
        sitk.Resample(common, native, transform.GetInverse(), sitk.sitkLinear, 0.0)
    )
    voxels, affine = read_nifti(path)
    model, grid = to_model_grid(voxels, affine)
    image = normalise(model, smoothing=0.0)
    inside = resample_to_model(brain, grid, fill=0.0) > 0.5
    distance = signed_distance(inside)
    ventricles = ventricle_distance((image < -0.3) & (distance < -20))
    lesion_like = ndimage.gaussian_filter(image, 0.7) > LESION_LEVEL
    unknown = (distance < UNSURE_MM.get(patient, 4.0)) & (image > 0.14)
    unknown &= lesion_like | (ventricles < 12)
    unknown = _grown(unknown, 1)
    parenchyma = ((image > -0.25) & (image < 0.25) & (distance < -4)).astype(np.float32)
    place = ndimage.gaussian_filter(parenchyma, 0.7) * (distance < -4)
    none = np.zeros(image.shape, bool)
    to_mni = match_moments(inside, references)
    return Anatomy(
        kind="head",
        image=image,
        gold=none,
        brain=distance,
        unknown=unknown,
        place=np.asarray(place, np.float32),
        to_mni=to_mni,
        extra={"ventricles": ventricles},
    )


def match_moments(moving: Mask, references: Sequence[Mask]) -> npt.NDArray[np.float64]:
    """Index map from one brain to the mean of others by centre and spread along each axis."""
    change = np.eye(4)
    for axis in range(3):
        others = tuple(a for a in range(3) if a != axis)
        centre, spread = _moments(moving.sum(axis=others))
        wanted = np.mean([_moments(m.sum(axis=others)) for m in references], axis=0)
        change[axis, axis] = wanted[1] / spread
        change[axis, 3] = wanted[0] - change[axis, axis] * centre
    return change


def _moments(profile: npt.NDArray[Any]) -> tuple[float, float]:
    at = np.arange(len(profile))
    mean = float(np.average(at, weights=profile))
    return mean, float(np.sqrt(np.average((at - mean) ** 2, weights=profile)))


def anatomies(fold: Fold) -> list[Anatomy]:
    """Everything a fold may draw from."""
    tissues = template_tissues()
    patients = [mni_anatomy(p, healthy) for p in fold.images for healthy in (False, True)]
    made_up = [tissue_anatomy(p) for p in fold.images]
    references = [a.brain < 0 for a in patients]
    heads = [raw_head(p, s, references) for p in fold.heads for s in (1, 2)]
    return [template_anatomy(tissues, references), *made_up, *patients, *heads]
