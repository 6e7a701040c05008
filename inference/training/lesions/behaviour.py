"""What the lesion network does elsewhere: raw heads, brains without lesion, thick slices."""

from __future__ import annotations

import time
from dataclasses import asdict
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from inference.plugins.unet import UNet
from inference.training.lesions.channels import CHANNELS
from inference.training.lesions.evaluate import (
    Figures,
    Image,
    compare,
    drop_small,
    predict,
    segment,
    voxel_dice,
)
from inference.training.lesions.synthesis import lesion_free_brain
from inference.training.shared import cases
from inference.training.shared.cases import LabelledCase, data_root

__all__ = [
    "demo_report",
    "demo_thresholds",
    "healthy_report",
    "raw_head",
    "raw_head_report",
    "thick_slices",
    "without_flair",
]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


def raw_head(patient: str, study: int) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64], Mask]:
    """A raw longitudinal FLAIR with skull: voxels, affine to LPS mm, and its brain."""
    import SimpleITK as sitk

    folder = data_root() / "ms_open_longitudinal" / "raw" / f"patient{patient}"
    path = folder / f"study{study}_FLAIR.nii.gz"
    voxels, affine = cases.read_nifti(path)
    transform = sitk.ReadTransform(str(folder / f"study{study}_FLAIR_to_common_space.txt"))
    native = sitk.ReadImage(str(path))
    common = sitk.ReadImage(str(folder / "brainmask.nii.gz"), sitk.sitkFloat32)
    brain = sitk.Resample(common, native, transform.GetInverse(), sitk.sitkLinear, 0.0)
    return voxels, affine, sitk.GetArrayFromImage(brain) > 0.5


def raw_head_report(network: UNet, patient: str, study: int) -> dict[str, float]:
    """Marked volume inside and outside the brain of a raw head (total load is not labelled)."""
    voxels, affine, brain = raw_head(patient, study)
    started = time.perf_counter()
    mask = segment(network, voxels, affine)
    seconds = time.perf_counter() - started
    ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    return {
        "marked_in_brain_ml": float((mask & brain).sum()) * ml,
        "marked_outside_ml": float((mask & ~brain).sum()) * ml,
        "wall_s": seconds,
    }


def healthy_report(network: UNet, patient: str) -> dict[str, float]:
    """Marked volume where there is nothing: made-up brains, and the patient inpainted."""
    tissues = cases.template_tissues()
    result = {}
    for seed in range(4):
        image = lesion_free_brain(tissues, seed)
        affine = np.array(cases.MNI_AFFINE) @ np.diag([0.84, 0.84, 0.84, 1.0])
        mask = segment(network, image + 1, affine)
        result[f"template {seed}"] = float(mask.sum()) * 0.84**3 / 1000
    if patient != "all":
        clean = cases.mni_anatomy(patient, healthy=True)
        assert clean.image is not None
        mask = segment(network, clean.image + 1, np.array(cases.MNI_AFFINE))
        result["patient inpainted"] = float(mask.sum()) / 1000
    return result


def thick_slices(network: UNet, case: LabelledCase, slice_mm: float = 4.0) -> Figures:
    """The same patient as 4 mm slices: mask compared on the thick-slice grid."""
    step = int(slice_mm)
    depth = case.flair.shape[0] // step
    shape = (depth, step, *case.flair.shape[1:])
    thick = case.flair[: depth * step].reshape(shape).mean(1)
    gold = case.gold[: depth * step].reshape(shape).mean(1) > 0.5
    affine = case.affine @ np.diag([step, 1.0, 1.0, 1.0])
    affine[:3, 3] += case.affine[:3, 0] * (step - 1) / 2
    return compare(segment(network, thick, affine), gold, slice_mm)


def without_flair(network: UNet, patient: str) -> dict[str, float]:
    """Volume marked where another sequence is given as FLAIR by mistake, in ml."""
    files = {name: cases.mni_file(patient, name) for name in ("T1", "T2", "T1POST")}
    files["T2 of a stroke"] = data_root() / "stroke_unlabelled_t2_flair" / "arc_M2265_T2w.nii.gz"
    result = {}
    for name, file in files.items():
        voxels, affine = cases.read_nifti(file)
        ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
        result[name] = float(segment(network, voxels, affine).sum()) * ml
    return result


@lru_cache(maxsize=1)
def _demo_head() -> tuple[list[Image], Mask, float]:
    """FLAIR, T1w and T2w of the demo head, its lesions, and mm³ of a FLAIR voxel."""
    from imaging.demo import demo_truth, scan, sequences
    from imaging.phantom.head import make_head
    from imaging.phantom.lesions import paint_lesions, place_lesions

    head = make_head()
    paint_lesions(head, place_lesions(head))
    images: list[Image] = [(scan(head, s), s.geometry.affine) for s in sequences()]
    labels, geometry = demo_truth()
    return images, labels > 0, geometry.voxel_ml * 1000


def demo_report(network: UNet) -> dict[str, dict[str, Any]]:
    """Figures on the drawn demo head, which no training picture comes from.

    Returns
    -------
    dict
        `Figures` as a dict for ``FLAIR alone`` and ``with T1w and T2w``; the three have grids of
        their own.
    """
    (flair, *rest), truth, volume = _demo_head()
    others: dict[str, Image] = dict(zip(CHANNELS, rest, strict=True))
    return {
        way: asdict(compare(segment(network, *flair, images), truth, volume))
        for way, images in (("FLAIR alone", None), ("with T1w and T2w", others))
    }


def demo_thresholds(network: UNet) -> dict[str, float]:
    """Dice on the demo head, FLAIR alone, by threshold: what the threshold is chosen by."""
    (flair, *_), truth, volume = _demo_head()
    chance = predict(network, *flair)
    return {
        f"{t:.1f}": round(voxel_dice(drop_small(chance > t, volume), truth), 3)
        for t in (0.3, 0.5, 0.7, 0.8, 0.9)
    }
