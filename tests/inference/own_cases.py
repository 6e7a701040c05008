"""Small phantom heads with bright balls as NIfTI pairs: cases for trainings in the tests."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np

from imaging.geometry import Geometry

#: Numbers of a recipe that train in seconds.
SMALL = {
    "spacing_mm": 3.0,
    "patch": 32,
    "batch": 2,
    "rate": 4e-3,
    "arguments": {"features": [4, 4, 8, 8, 8, 4]},
}


def write_nifti(path: Path, array: np.ndarray, geometry: Geometry) -> Path:
    """An array ``(k, j, i)`` as NIfTI."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ geometry.affine[:, [2, 1, 0, 3]]
    nib.save(nib.Nifti1Image(array.T, affine), path)  # type: ignore[attr-defined]
    return path


def write_head(
    folder: Path, number: int, contrast: float = 290.0, balls: int = 4, shape=(32, 36, 32)
) -> tuple[Path, Path]:
    """Image and mask of one head; another number is another head."""
    rng = np.random.default_rng(number)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]]) * 3.5
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    geometry = Geometry(shape, affine)
    world = geometry.world(np.moveaxis(np.indices(shape), 0, -1))
    image = rng.normal(0, 8, shape)
    image[((world / np.array([46.0, 54.0, 50.0])) ** 2).sum(-1) < 1] += 300
    truth = np.zeros(shape, bool)
    for _ in range(balls):
        centre = rng.uniform(-1, 1, 3) * np.array([24.0, 30.0, 26.0])
        truth |= ((world - centre) ** 2).sum(-1) < rng.uniform(8, 12) ** 2
    image[truth] += contrast
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"head{number}_FLAIR"
    return (
        write_nifti(folder / f"{stem}.nii.gz", np.round(image).astype(np.int16), geometry),
        write_nifti(folder / f"{stem}_mask.nii.gz", truth.astype(np.uint8), geometry),
    )


def write_list(folder: Path, heads: int, contrast: float = 290.0, first: int = 0) -> Path:
    """A list of heads, each of another patient."""
    rows = ["image,mask,patient,subgroup"]
    for number in range(first, first + heads):
        image, mask = write_head(folder, number, contrast)
        rows.append(f"{image.name},{mask.name},p{number},{['even', 'odd'][number % 2]}")
    path = folder / "cases.csv"
    path.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return path
