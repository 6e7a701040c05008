"""Where the head lies in an image, so that the camera can fill the picture with it."""

from __future__ import annotations

import numpy as np

from imaging.volume import Volume, filled_padding

#: A voxel counts as tissue above this share of the way from the darkest to the 99.5th percentile.
TISSUE_SHARE = 0.12
#: A plane of the image counts as part of the head where this share of it is tissue.
PLANE_SHARE = 0.01
SAMPLES = 64  #: voxels along an axis that are looked at


def head_corners(volume: Volume) -> np.ndarray:
    """Corners of the block of the grid that holds tissue, in LPS mm, shape (8, 3).

    The corners of the whole grid where nothing stands out (an empty image, one still loading).
    """
    steps = [-(-n // SAMPLES) for n in volume.voxels.shape]
    sample = volume.voxels[tuple(slice(None, None, s) for s in steps)]
    sample = volume.real(filled_padding(sample, volume.padding, volume.inverted))
    sample = np.nan_to_num(-sample if volume.inverted else sample)
    low, high = float(sample.min()), float(np.percentile(sample, 99.5))
    tissue = sample > low + TISSUE_SHARE * (high - low)
    ends = []
    for axis, step in enumerate(steps):
        share = tissue.mean(axis=tuple(a for a in range(3) if a != axis))
        planes = np.flatnonzero(share > PLANE_SHARE) * step
        if planes.size == 0:
            return volume.geometry.corners
        last = min(int(planes[-1]) + step, volume.voxels.shape[axis]) - 1
        ends.append((int(planes[0]), last))
    grid = np.stack(np.meshgrid(*ends, indexing="ij"), axis=-1).reshape(-1, 3)
    return volume.geometry.world(grid)
