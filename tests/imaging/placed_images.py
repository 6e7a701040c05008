"""Images whose every voxel says where it lies, written by independent writers of other formats."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from dicom_phantoms import place_value

from imaging.geometry import Geometry
from imaging.open import load_series, scan
from imaging.series import Series
from imaging.volume import Volume


def placed_values(geometry: Geometry, dtype="int16") -> np.ndarray:
    """A whole number for each voxel, from its place in LPS mm; array order (k, j, i)."""
    index = np.stack(np.indices(geometry.shape), axis=-1)
    return np.rint(place_value(geometry.world(index))).astype(dtype)


def itk_image(geometry: Geometry, values: np.ndarray | None = None):
    """The same as a SimpleITK image."""
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(placed_values(geometry) if values is None else values)
    image.SetOrigin(geometry.origin.tolist())
    image.SetSpacing(geometry.spacing[::-1])
    image.SetDirection(geometry.directions[:, [2, 1, 0]].ravel().tolist())
    return image


def misplaced(volume: Volume) -> float:
    """How far the value of the worst voxel is from what its place says; 0.5 is rounding."""
    index = np.stack(np.indices(volume.voxels.shape), axis=-1)
    want = place_value(volume.geometry.world(index))
    return float(np.abs(volume.real(volume.voxels) - want).max())


def only_series(path: Path) -> Series:
    """The one series of a file, found by a scan that has nothing to complain of."""
    with scan([path]) as found:
        assert found.problems == ()
        (series,) = found.series
        return series


def loaded(path: Path) -> Volume:
    """The one volume of a file."""
    return load_series(only_series(path))


def refusal(path: Path) -> str:
    """Why a scan does not use a file."""
    with scan([path]) as found:
        assert found.series == ()
        assert found.objects == ()
        (problem,) = found.problems
        return problem.reason
