"""The brain of a head by laying an average brain over it: no training, any contrast.

An average T1w brain is moved onto the image by twelve parameters (mutual information, 4 mm), which
needs no likeness of brightness. What is brighter than bone in or near it, in one piece, is brain.
After Mattes et al., IEEE Trans. Med. Imaging 22 (2003), for the measure of likeness.

Arrays are ``(k, j, i)``, affines map their index to LPS mm; brightness has the background at 0 and
the main tissue at 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.model import Report

__all__ = ["Atlas", "bright_brain", "lay_over", "to_itk"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
Affine = npt.NDArray[np.float64]

ITERATIONS = 150
SHRINK = 4
NEAR_MM = 6.0
"""So far around the average brain the image is compared with it."""
LEAST_SIZE = 0.45
"""A brain is not so much smaller or larger (volume) than the average."""
UPPER_MM = 120
"""The brain is first sought in the middle of so much of the head's top."""


@dataclass(frozen=True, eq=False)
class Atlas:
    """An average brain.

    Attributes
    ----------
    t1, brain : ndarray, shape (k, j, i)
        Brightness, smooth, and share of brain.
    affine : ndarray, shape (4, 4)
        Index to LPS mm.
    """

    t1: Array
    brain: Array
    affine: Affine


def to_itk(array: npt.NDArray[Any], affine: Affine) -> Any:
    """An array as a SimpleITK image."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(np.asarray(array, np.float32))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing[::-1].tolist())
    image.SetDirection((affine[:3, :3] / spacing)[:, ::-1].ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


def lay_over(image: Array, affine: Affine, atlas: Atlas, report: Report | None = None) -> Any:
    """The transform from the image to the atlas, as SimpleITK's ``Resample`` wants it.

    Parameters
    ----------
    image : ndarray, shape (k, j, i)
        About 1 mm, superior, posterior, left.
    affine : ndarray
        Of the image.
    atlas : Atlas
    report : Report, optional
        Told of progress; what it raises ends the search and is raised again.
    """
    import SimpleITK as sitk

    small = sitk.BinShrink(to_itk(image, affine), [SHRINK] * 3)
    spacing = float(np.linalg.norm(atlas.affine[:3, 0]))
    near = _grown(atlas.brain > 0.5, max(1, round(NEAR_MM / spacing)))
    start = affine @ np.array([*_upper_middle(image), 1])
    middle = atlas.affine @ np.array([*np.argwhere(atlas.brain > 0.5).mean(0), 1])
    transform = sitk.AffineTransform(3)
    transform.SetCenter(start[:3].tolist())
    transform.SetTranslation((middle - start)[:3].tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetNumberOfThreads(1)  # the same sum in the same order: the same answer every time
    method.SetMetricAsMattesMutualInformation(40)
    method.SetMetricMovingMask(sitk.Cast(to_itk(near, atlas.affine), sitk.sitkUInt8))
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, ITERATIONS)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, True)
    raised: list[Exception] = []

    def tick() -> None:
        try:
            if report is not None:
                report.step(min(1.0, (method.GetOptimizerIteration() + 1) / ITERATIONS))
        except Exception as error:  # ITK would hide it: kept, and raised again below
            raised.append(error)
            method.StopRegistration()

    method.AddCommand(sitk.sitkIterationEvent, tick)
    method.Execute(small, to_itk(atlas.t1, atlas.affine))
    if raised:
        raise raised[0]
    size = float(np.linalg.det(np.reshape(transform.GetMatrix(), (3, 3))))
    if not LEAST_SIZE < size < 1 / LEAST_SIZE:
        # The search ran away, as it may on an image without a head: only moved, then.
        transform.SetMatrix(np.eye(3).ravel().tolist())
        transform.SetTranslation((middle - start)[:3].tolist())
    return transform


def moved(array: Array, place: Affine, transform: Any, image: Array, affine: Affine) -> Array:
    """A map of the atlas (affine ``place``) on the grid of an image."""
    import SimpleITK as sitk

    fixed = to_itk(image, affine)
    placed = sitk.Resample(to_itk(array, place), fixed, transform, sitk.sitkLinear, 0.0)
    return np.asarray(sitk.GetArrayFromImage(placed), np.float32)


def _upper_middle(image: Array) -> npt.NDArray[np.float64]:
    """Middle of the uppermost part of the head, in indices."""
    head = image > 0.4
    if not head.any():
        return (np.array(image.shape) - 1) / 2
    top = int(np.nonzero(head.any((1, 2)))[0].max())
    start = max(0, top - UPPER_MM)
    return np.argwhere(head[start : top + 1]).mean(0) + np.array([start, 0, 0])


def bright_brain(image: Array, prior: Mask, close: int = 3) -> Mask:
    """What is brighter than bone in or near the average brain, in one piece, holes filled.

    Parameters
    ----------
    image : ndarray, shape (k, j, i)
        1 mm.
    prior : ndarray
        The average brain on its grid.
    close : int
        Gaps of up to twice so many voxels (dark fluid in the folds) belong to the brain.
    """
    deep = _eroded(prior, 8)
    core = image[deep]
    if not core.size:
        return np.zeros(image.shape, bool)
    level = 0.55 * float(np.percentile(core, 25))
    bright = (ndimage.gaussian_filter(image, 0.6) > level) & _grown(prior, 4)
    opened = _eroded(bright, 4)
    pieces = np.asarray(ndimage.label(opened)[0])  # type: ignore[index]
    sizes = np.bincount(pieces[prior & opened].ravel(), minlength=2)
    sizes[0] = 0
    kept = bright
    if sizes.any():  # grown back within what is bright: it does not leap over bone
        piece = pieces == int(sizes.argmax())
        kept = np.asarray(ndimage.binary_dilation(piece, iterations=6, mask=bright), bool)
    closed = np.asarray(ndimage.binary_closing(np.pad(kept, close + 1), iterations=close), bool)
    inner = slice(close + 1, -close - 1)
    return np.asarray(ndimage.binary_fill_holes(closed[inner, inner, inner] | deep), bool)


def _eroded(mask: Mask, voxels: int) -> Mask:
    return np.asarray(ndimage.binary_erosion(mask, iterations=voxels), bool)


def _grown(mask: Mask, voxels: int) -> Mask:
    return np.asarray(ndimage.binary_dilation(mask, iterations=voxels), bool)
