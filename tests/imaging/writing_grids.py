"""Small grids in every orientation, and how a judge's answer is compared in patient space."""

from __future__ import annotations

import shutil
import subprocess
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest

from imaging.geometry import Geometry
from imaging.volume import Source, Volume

SHAPE = (4, 5, 11)  # the width is no multiple of 8
SPACING = (3.0, 1.1, 0.7)

#: All 48 ways to permute and flip the axes of an array in the patient.
ORIENTATIONS = [
    (order, signs) for order in permutations(range(3)) for signs in product((1, -1), repeat=3)
]
NAMES = ["".join("xyz"[o] + "+-"[s < 0] for o, s in zip(*way, strict=True)) for way in ORIENTATIONS]


def rotation(degrees=(11.0, -7.0, 23.0)) -> np.ndarray:
    """An oblique turn of the patient axes."""
    a, b, c = np.deg2rad(degrees)
    x = [[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]]
    y = [[np.cos(b), 0, np.sin(b)], [0, 1, 0], [-np.sin(b), 0, np.cos(b)]]
    z = [[np.cos(c), -np.sin(c), 0], [np.sin(c), np.cos(c), 0], [0, 0, 1]]
    return np.array(x) @ np.array(y) @ np.array(z)


def grid(way=((2, 1, 0), (1, 1, 1)), *, shape=SHAPE, oblique=True, frame="") -> Geometry:
    """An anisotropic grid whose array axes run along the given patient axes."""
    order, signs = way
    axes = np.zeros((3, 3))
    for column, (axis, sign) in enumerate(zip(order, signs, strict=True)):
        axes[axis, column] = sign
    affine = np.eye(4)
    affine[:3, :3] = (rotation() if oblique else np.eye(3)) @ axes * SPACING
    affine[:3, 3] = (-31.25, 12.5, 47.0)
    return Geometry(shape, affine, frame)


def volume(geometry: Geometry, dtype="int16", **rest) -> Volume:
    """Random voxels over a grid, as if read from NIfTI."""
    rng = np.random.default_rng(3)
    voxels = rng.integers(0, 200, geometry.shape).astype(dtype)
    return Volume("v", "T1 demo", voxels, geometry, Source("nifti", ("t1.nii",)), **rest)


def assert_same_in_patient(
    geometry: Geometry, values: np.ndarray, judged: np.ndarray, to_judged: np.ndarray
) -> None:
    """Every voxel must be found at its place: ``judged`` is indexed by ``to_judged @ LPS``."""
    index = np.stack(np.meshgrid(*map(np.arange, geometry.shape), indexing="ij"), -1).reshape(-1, 3)
    world = np.c_[geometry.world(index), np.ones(len(index))]
    found = (world @ to_judged.T)[:, :3]
    assert np.abs(found - np.rint(found)).max() < 2e-3
    nearest = np.rint(found).astype(int)
    assert ((nearest >= 0) & (nearest < judged.shape)).all()
    np.testing.assert_array_equal(judged[tuple(nearest.T)], values[tuple(index.T)])


def itk_judge(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """What SimpleITK reads: array indexed (i, j, k), and the matrix from LPS to that index."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(path))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), np.linalg.inv(affine)


def dicom_complaints(*paths: Path, new: bool = True) -> list[str]:
    """Errors that dciodvfy finds; skips where the tool is missing."""
    tool = shutil.which("dciodvfy")
    if tool is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    found = []
    for path in paths:
        command = [tool, "-new", str(path)] if new else [tool, str(path)]
        told = subprocess.run(command, capture_output=True, text=True, check=False)
        assert told.returncode >= 0, "dciodvfy crashed"
        found += [x for x in (told.stdout + told.stderr).splitlines() if x.startswith("Error")]
    return found
