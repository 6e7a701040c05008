"""Lesion labels for raw heads that nobody labelled: where two kinds of networks agree.

``python -m inference.training.planes.teach --fold 07 --out taught-07.npz`` asks the plane network
(which saw neither patient 07 nor 19) and the volume network of the fold (which did not see the
left-out patient) about every raw head of the fold. A voxel counts as lesion where both say so, as
unknown where the planes are in doubt, and as free of lesion elsewhere. The volume network alone
marks the caps and rims of the ventricles of these heads; the plane network has seen hundreds of
real heads and does not. Learning from agreement: noisy student, arXiv 1911.04252.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from inference.plugins.unet import UNet
from inference.preprocess import SMOOTHING
from inference.training.lesions.evaluate import shipped_network
from inference.training.lesions.taught import LESION, UNKNOWN, Labels
from inference.training.planes.calibration import answers
from inference.training.planes.evaluate import shipped_planes
from inference.training.shared.cases import FOLDS, Anatomy, anatomies

__all__ = ["agreed"]

SURE, DOUBT = 0.5, 0.1
"""Lesion where both networks are above the first; doubt where the planes are above the second."""
VERY_BRIGHT = 0.6
"""Unlabelled voxels of the brain that are this bright stay unknown."""

Array = npt.NDArray[np.float32]


def agreed(volumes: Array, planes: Array, bright: npt.NDArray[np.bool_]) -> Labels:
    """What two networks agree on.

    Parameters
    ----------
    volumes, planes : ndarray, shape (k, j, i)
        Lesion probability of the two kinds of network.
    bright : ndarray, shape (k, j, i)
        Voxels too bright to be called free of lesion on the word of one network.

    Returns
    -------
    ndarray
        `LESION`, `UNKNOWN` or 0.
    """
    lesion = (volumes > SURE) & (planes > SURE)
    unknown = (planes > DOUBT) | (bright & (volumes > SURE))
    return np.where(lesion, LESION, np.where(unknown, UNKNOWN, 0)).astype(np.uint8)


def head_labels(anatomy: Anatomy, volumes: Array, planes: Array) -> Labels:
    """`agreed` inside the brain of a raw head; outside nothing is a lesion."""
    assert anatomy.image is not None
    labels = agreed(volumes, planes, anatomy.image > VERY_BRIGHT)
    inside = anatomy.brain < 0
    labels[~inside] = 0
    labels[~inside & anatomy.unknown] = UNKNOWN
    return labels


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fold", choices=sorted(FOLDS), required=True)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    torch.set_num_threads(1)
    volumes, planes = shipped_network(given.fold), shipped_planes()
    labels = {}
    for number, anatomy in enumerate(anatomies(FOLDS[given.fold])):
        if anatomy.kind != "head" or anatomy.image is None:
            continue
        straight, mirrored, plane = _answers(volumes, planes, anatomy.image)
        found = head_labels(anatomy, (straight + mirrored) * np.float32(0.5), plane)
        labels[str(number)] = found
        print(number, f"{np.count_nonzero(found == LESION) / 1000:.1f} ml of lesion", flush=True)
    np.savez_compressed(given.out, **labels)  # type: ignore[arg-type]


def _answers(volumes: UNet, planes: UNet, image: Array) -> tuple[Array, ...]:
    """What the volume network, straight and mirrored, and the planes say."""
    multiple = volumes.multiple
    smooth = np.asarray(ndimage.gaussian_filter(image, SMOOTHING, truncate=2.5), np.float32)
    padded = np.pad(smooth, [(0, -n % multiple) for n in image.shape], constant_values=-1)
    full = np.zeros((volumes.arguments["inputs"], *padded.shape), np.float32)
    full[0] = padded
    k, j, i = image.shape
    return tuple(a[:k, :j, :i] for a in answers(volumes, planes, full))


if __name__ == "__main__":
    main()
