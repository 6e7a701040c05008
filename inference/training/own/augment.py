"""What may happen to a patch: MONAI's transforms, and a movement of the head during the scan.

Geometry first (one resampling for turn, shift and size), then what scanners do to brightness.
Images are normalised (background -1, tissue 0); brightness changes see them one higher, so that
background is 0. Everything is drawn from one seed per patch, so a run can be repeated exactly and
goes on after a stop as if there had been none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["Augmenter", "moved_during_scan"]

Array = npt.NDArray[np.float32]
#: A patch is cut this much larger, so that turns bring no empty corners in.
MARGIN = 1.25


class Augmenter:
    """Varies patches of one size.

    Parameters
    ----------
    shape : sequence of int
        Of the patches it gives, ``(k, j, i)`` or ``(j, i)``.
    gentle : bool
        Only flips and brightness (for adapting with few cases and for yes-or-no models).
    """

    def __init__(self, shape: Sequence[int], gentle: bool = False) -> None:
        from monai import transforms

        t: Any = (
            transforms  # MONAI's names come by star imports, which the type checker does not see
        )
        dims, both = len(shape), ("image", "label")
        turn = (0.26,) * (3 if dims == 3 else 1)
        flip = dims - 1  # left and right; a head stands on no other side
        geometry: list[Any] = [t.RandFlipd(both, prob=0.5, spatial_axis=flip)]
        if not gentle:
            geometry.append(
                t.RandAffined(
                    both, prob=0.6, spatial_size=tuple(shape), rotate_range=turn,
                    scale_range=(0.15,) * dims, translate_range=(4.0,) * dims,
                    mode=("bilinear", "nearest"), padding_mode="border",
                )
            )  # fmt: skip
            # a coarse field of shifts, enlarged: as elastic as Rand3DElastic, fifteen times cheaper
            geometry.insert(
                1,
                t.RandSmoothDeformd(
                    both, spatial_size=self._cut(shape), rand_size=(5,) * dims, prob=0.2,
                    def_range=0.06, grid_mode=("bilinear", "nearest"), grid_padding_mode="border",
                ),
            )  # fmt: skip
        geometry.append(t.CenterSpatialCropd(both, tuple(shape)))
        image = ("image",)
        scanner: list[Any] = [
            t.RandBiasFieldd(image, prob=0.3, degree=2, coeff_range=(0.0, 0.12)),
            t.RandAdjustContrastd(image, prob=0.3, gamma=(0.75, 1.35)),
            t.RandScaleIntensityd(image, factors=0.12, prob=0.4),
        ]
        if not gentle:
            scanner += [
                t.RandSimulateLowResolutiond(
                    image, prob=0.15, zoom_range=(0.35, 0.9),
                    downsample_mode="nearest",
                    upsample_mode="bilinear" if dims == 2 else "trilinear",
                ),
                t.RandGaussianSmoothd(
                    image, (0.3, 0.9), (0.3, 0.9), (0.3, 0.9), prob=0.15
                ),
                t.RandGaussianNoised(image, prob=0.25, std=0.06),
                t.RandRicianNoised(image, prob=0.15, std=0.06, relative=False),
                t.RandKSpaceSpikeNoised(image, prob=0.04, intensity_range=(5.5, 7.5)),
            ]  # fmt: skip
        self.shape = tuple(shape)
        self._geometry, self._scanner = t.Compose(geometry), t.Compose(scanner)
        self._motion = 0.0 if gentle else 0.08
        self.margin = 1.0 if gentle else MARGIN

    @property
    def cut(self) -> tuple[int, ...]:
        """Size of the block it wants."""
        return self._cut(self.shape) if self.margin > 1 else self.shape

    @staticmethod
    def _cut(shape: Sequence[int]) -> tuple[int, ...]:
        return tuple(int(np.ceil(n * MARGIN)) for n in shape)

    def __call__(self, image: Array, label: Array, seed: int) -> tuple[Array, Array]:
        """Vary one block.

        Parameters
        ----------
        image : ndarray, shape (c, ...)
            Of :attr:`cut` size.
        label : ndarray, shape (1, ...)
        seed : int
            Everything random comes from it.
        """
        import torch

        rng = np.random.default_rng(seed)
        self._geometry.set_random_state(int(rng.integers(2**31)))
        self._scanner.set_random_state(int(rng.integers(2**31)))
        both: Mapping[str, Any] = {
            "image": torch.from_numpy(np.ascontiguousarray(image)),
            "label": torch.from_numpy(np.ascontiguousarray(label)),
        }
        both = self._geometry(both)  # type: ignore[assignment]
        light = both["image"].clone() + 1.0
        if rng.random() < self._motion:
            light = torch.from_numpy(moved_during_scan(light.numpy(), rng))
        light = self._scanner({"image": light})["image"]  # type: ignore[index]
        varied = np.clip(np.asarray(light, np.float32) - 1.0, -1.0, 2.0)
        return varied, (np.asarray(both["label"], np.float32) > 0.5).astype(np.float32)


def moved_during_scan(image: Array, rng: np.random.Generator) -> Array:
    """A head that moves: lines of k-space from a shifted picture among those of the still one.

    Parameters
    ----------
    image : ndarray, shape (c, ...)
        Background 0.
    """
    axis = int(rng.integers(1, image.ndim))
    shift = float(rng.uniform(0.6, 2.5)) * (1 if rng.random() < 0.5 else -1)
    size = image.shape[axis]
    space = np.fft.fft(image, axis=axis)
    frequency = np.fft.fftfreq(size).reshape([-1 if a == axis else 1 for a in range(image.ndim)])
    moved = space * np.exp(-2j * np.pi * frequency * shift)
    begin = int(rng.integers(size // 8, size // 2))
    disturbed = np.zeros(size, bool)
    disturbed[begin : begin + int(rng.integers(size // 16 + 1, size // 4 + 2))] = True
    where = disturbed.reshape(frequency.shape)
    return np.abs(np.fft.ifft(np.where(where, moved, space), axis=axis)).astype(np.float32)
