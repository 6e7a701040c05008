"""A tiny model like the shipped one, its weights set by hand so that it sees bright balls."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from imaging.geometry import Geometry
from imaging.volume import Source, Volume

ARGUMENTS = {"inputs": 1, "outputs": 1, "channels": [4, 6, 8, 8], "thin": 4}


def card_text(digest: str, **changes: object) -> str:
    """A complete card; ``changes`` replace top-level lines."""
    top = {
        "id": "tiny",
        "name": "Bright balls",
        "version": "0.1",
        "summary": "Marks bright balls in a phantom.",
        "intended_use": "Tests.",
        "not_for": "Patients.",
        "licence": "Apache-2.0",
        "authors": ["The tests"],
    } | changes
    lines = [f"{name} = {json.dumps(value)}" for name, value in top.items()]
    arguments = ", ".join(f"{k} = {v}" for k, v in ARGUMENTS.items())
    return (
        "\n".join(lines)
        + f"""
[[inputs]]
name = "FLAIR"
sequence = "FLAIR"
[outputs]
threshold = 0.5
min_component_voxels = 3
[[outputs.labels]]
number = 1
name = "Lesion"
[preprocess]
spacing_mm = 2.0
multiple = 16
[network]
architecture = "unet"
arguments = {{ {arguments} }}
[weights]
file = "model.safetensors"
sha256 = "{digest}"
"""
    )


def write_model(folder: Path, state: dict, **changes: object) -> Path:
    """A model folder with a card and weights."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, str(folder / "model.safetensors"))
    digest = hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    (folder / "card.toml").write_text(card_text(digest, **changes), encoding="utf-8")
    return folder


def seeing_state(**changes: object) -> dict:
    """Weights set by hand: one channel carries the brightness through every stage.

    Half of each decoder stage comes from the coarser one, and the last block weighs it against
    the raw voxel, so each layer has evidence to show. The logit is 0 halfway between the brain (0)
    and a ball (1) on the normalised scale.
    """
    import torch

    from inference.plugins.unet import UNet, fold_batchnorm

    network = fold_batchnorm(UNet(**(ARGUMENTS | changes)))  # type: ignore[arg-type]
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        network.stem[0].conv.weight[0, 0] = 1 / 8
        network.stem[1].conv.weight[0, 0, 1, 1, 1] = 1
        for stage in [*network.encoder, network.bottleneck]:
            stage[0].conv.weight[0, 0, 1:, 1:, 1:] = 1 / 8
            stage[1].conv.weight[0, 0, 1, 1, 1] = 1
        for stage in network.decoder:
            stage.up.weight[0, 0] = 1
            joined = stage.refine.conv.weight
            joined[0, 0, 1, 1, 1] = joined[0, joined.shape[1] // 2, 1, 1, 1] = 0.5
        network.up.weight[0, 0] = 1
        last = network.full_resolution.conv.weight
        last[0, 0, 1, 1, 1], last[0, -1, 1, 1, 1] = 0.3, 0.7
        network.head.weight[0, 0], network.head.bias[0] = 20, -9
    return {name: value.contiguous() for name, value in network.state_dict().items()}


BALLS_MM = ((-18.0, 6.0, 10.0, 8.0), (22.0, -14.0, -6.0, 6.0))


def make_head(
    shape: tuple[int, int, int] = (64, 72, 60),
    spacing: tuple[float, float, float] = (2.0, 2.0, 2.0),
    directions: np.ndarray | None = None,
    sequence: str = "FLAIR",
    slope: float = 1.0,
    intercept: float = 0.0,
) -> tuple[Volume, np.ndarray]:
    """An ellipsoid of 'brain' centred at the LPS origin, with :data:`BALLS_MM` in it.

    Parameters
    ----------
    directions : ndarray, shape (3, 3), optional
        Columns: where k, j, i run in LPS; default superior, posterior, left.

    Returns
    -------
    volume : Volume
        int16 stored values.
    truth : ndarray
        bool on the same grid.
    """
    if directions is None:
        directions = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]], float)
    affine = np.eye(4)
    affine[:3, :3] = directions * np.asarray(spacing)
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    geometry = Geometry(shape, affine)
    world = geometry.world(np.moveaxis(np.indices(shape), 0, -1))
    image = np.random.default_rng(1).normal(0, 8, shape)
    inside = ((world / np.array([50.0, 60.0, 54.0])) ** 2).sum(-1) < 1
    image[inside] += 300
    truth = np.zeros(shape, bool)
    for x, y, z, radius in BALLS_MM:
        truth |= ((world - np.array([x, y, z])) ** 2).sum(-1) < radius**2
    image[truth] += 290
    stored = np.round((image - intercept) / slope).astype(np.int16)
    source = Source("memory", sequence=sequence)
    return Volume("v1", "Head", stored, geometry, source, slope, intercept), truth


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Overlap of two masks."""
    a, b = a > 0, b > 0
    return 2.0 * float((a & b).sum()) / max(1, int(a.sum() + b.sum()))
