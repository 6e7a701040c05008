"""Large lesion shapes from stroke masks: the shapes only, no picture belongs to them.

Patients with multiple sclerosis have few lesions above some millilitres. A network that never saw
a large bright region leaves out its middle, so a minority of the patches gets one of these.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from inference.training.shared.cases import MNI_AFFINE, data_root, read_nifti

__all__ = ["LargeShape", "large_shapes"]

SMALLEST_ML, LARGEST_ML = 2.0, 90.0


@dataclass(frozen=True, eq=False)
class LargeShape:
    """A stroke mask with the way to it.

    Attributes
    ----------
    mask : ndarray
        uint8 ``(k, j, i)`` on its own grid.
    from_mni : ndarray
        4 x 4, index of the MNI grid (as turned in `cases`) to index of ``mask``.
    inside : ndarray
        Indices of its voxels, every ninth, on the MNI grid.
    """

    mask: npt.NDArray[np.uint8]
    from_mni: npt.NDArray[np.float64]
    inside: npt.NDArray[np.float64]


def large_shapes(soop: int = 16, lesymap: int = 8) -> list[LargeShape]:
    """Some masks of acute (SOOP) and chronic (LESYMAP) strokes, evenly picked by file name.

    Parameters
    ----------
    soop, lesymap : int
        How many of each source.
    """
    root = data_root()
    folders = (root / "soop_stroke_flair" / "masks_mni", root / "stroke_lesymap_masks")
    shapes: list[LargeShape] = []
    for folder, count in zip(folders, (soop, lesymap), strict=True):
        files = sorted(folder.glob("*.nii.gz"))
        found: list[LargeShape] = []
        for file in files[:: max(1, len(files) // (4 * count))]:
            mask, affine = read_nifti(file)
            mask = np.ascontiguousarray(mask > 0).view(np.uint8)
            if SMALLEST_ML < mask.sum() / 1000 < LARGEST_ML and len(found) < count:
                found.append(_shape(mask, affine))
        shapes += found
    return shapes


def _shape(mask: npt.NDArray[np.uint8], affine: npt.NDArray[np.float64]) -> LargeShape:
    from_mni = np.asarray(np.linalg.inv(affine) @ np.asarray(MNI_AFFINE), np.float64)
    to_mni = np.linalg.inv(from_mni)
    inside = np.argwhere(mask)[::9] @ to_mni[:3, :3].T + to_mni[:3, 3]
    return LargeShape(mask, from_mni, inside)
