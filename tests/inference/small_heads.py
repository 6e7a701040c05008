"""Heads at 2 mm made by code, for the tests of the deviation and presence networks."""

from __future__ import annotations

import numpy as np

from inference.training.shared.whole_heads import Head

SHAPE = (48, 64, 48)


def make_head_at_2mm(seed: int = 0, contrast: str = "FLAIR") -> Head:
    """An egg of white matter in grey, dark fluid in the middle, and two sets of lesions."""
    rng = np.random.default_rng(seed)
    axes = [np.linspace(-1, 1, n) for n in SHAPE]
    k, j, i = np.meshgrid(*axes, indexing="ij")
    radius = np.sqrt((k / 0.85) ** 2 + (j / 0.85) ** 2 + (i / 0.8) ** 2)
    brain = radius < 1
    place = (radius < 0.85).astype(np.float32)
    fluid = (np.abs(k) < 0.2) & (np.abs(j) < 0.4) & (np.abs(np.abs(i) - 0.2) < 0.12)
    image = np.where(brain, np.where(place > 0, 0.0, 0.15), -1.0)
    image = np.where(fluid, -0.8, image) + rng.normal(0, 0.02, SHAPE) * brain
    lesions = []
    for _ in range(2):
        share = np.zeros(SHAPE, np.float32)
        for _ in range(5):
            spot = [int(rng.integers(n // 4, 3 * n // 4)) for n in SHAPE]
            size = int(rng.integers(2, 5))
            share[tuple(slice(s, s + size) for s in spot)] = 1
        lesions.append(share * (place > 0) * ~fluid)
    return Head(
        image.astype(np.float32),
        place,
        brain,
        np.ones(SHAPE, bool),
        tuple(lesions),
        contrast,
        (1.0, 1.0, 1.0),
    )


class ListPool(list):
    """Heads in a list, as a pool."""

    @property
    def contrasts(self) -> list[str]:
        """Of each head."""
        return [head.contrast for head in self]
