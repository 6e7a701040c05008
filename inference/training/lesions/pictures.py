"""Pictures for the documentation: what the lesion network marks, right and wrong, on real heads.

``python -m inference.training.lesions.pictures --out docs/pictures`` draws with the fold networks
stored beside the shipped weights (``--runs DIR``: with those of training runs): each left-out
patient with hits, mistakes and misses, and the raw heads nobody labelled.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.plugins.unet import UNet
from inference.preprocess import normalise, resample_to_model, to_model_grid
from inference.training.lesions.behaviour import raw_head
from inference.training.lesions.evaluate import load_run, segment, shipped_network
from inference.training.shared.cases import load_labelled

__all__ = ["draw_left_out", "draw_raw_heads", "row"]

Mask = npt.NDArray[np.bool_]
Picture = npt.NDArray[np.uint8]

HIT, WRONG, MISSED = (60, 200, 90), (235, 70, 60), (70, 150, 255)
SLICES = 6
GREYS = 29


def draw_left_out(networks: dict[str, UNet]) -> Picture:
    """A row per patient: found (green), wrongly marked (red), missed (blue).

    Parameters
    ----------
    networks : dict of str to UNet
        By the patient each was trained without.
    """
    rows = []
    for patient, network in networks.items():
        case = load_labelled(patient)
        found = segment(network, case.flair, case.affine)
        image = normalise(case.flair)[:, ::-1]
        marks = {
            HIT: found & case.gold,
            WRONG: found & ~case.gold,
            MISSED: case.gold & ~found,
        }
        rows.append(row(image, {c: m[:, ::-1] for c, m in marks.items()}, found | case.gold))
    return _stacked(rows)


def draw_raw_heads(network: UNet) -> Picture:
    """A row per raw head with skull: outlines of what is marked (nobody labelled these)."""
    rows = []
    for patient in ("01", "03"):
        for study in (1, 2):
            voxels, affine, _ = raw_head(patient, study)
            mask = segment(network, voxels, affine)
            model, grid = to_model_grid(voxels, affine)
            marked = resample_to_model(mask, grid, fill=0.0) > 0.5
            rows.append(row(normalise(model), {WRONG: _outline(marked)}, marked))
    return _stacked(rows)


def row(image: npt.NDArray[Any], marks: dict[tuple[int, int, int], Mask], choose: Mask) -> Picture:
    """Axial slices side by side, the fullest of evenly spaced parts of the head.

    Parameters
    ----------
    image : ndarray, shape (k, j, i)
        Normalised; axis 0 to superior, 1 to posterior, 2 to the left.
    marks : dict
        Colour to mask.
    choose : ndarray
        Mask whose fullest slices are shown.
    """
    inside = np.flatnonzero((image > -0.5).mean(axis=(1, 2)) > 0.08)
    parts = np.array_split(inside[len(inside) // 5 : -len(inside) // 8], SLICES)
    fullness = choose.sum(axis=(1, 2))
    tiles = []
    for part in parts:
        k = int(part[np.argmax(fullness[part])])
        grey = np.clip((image[k] + 1) / 2.2, 0, 1) * 255
        tile = np.repeat(grey[:, :, None], 3, axis=2)
        for colour, mask in marks.items():
            tile[mask[k]] = colour
        tiles.append(tile.astype(np.uint8))
    return np.concatenate(tiles, axis=1)


def _outline(mask: Mask) -> Mask:
    inner = np.stack([ndimage.binary_erosion(plane) for plane in mask])
    return mask & ~inner.astype(bool)


def _stacked(rows: list[Picture]) -> Picture:
    width = max(r.shape[1] for r in rows)
    padded = []
    for picture in rows:
        left = (width - picture.shape[1]) // 2
        padded.append(np.pad(picture, ((0, 0), (left, width - picture.shape[1] - left), (0, 0))))
    return np.concatenate(padded)


def save(picture: Picture, path: Path) -> None:
    """Write a PNG of greys and the colours of the marks, at most 1400 pixels wide."""
    from PIL import Image

    drawn = Image.fromarray(picture)
    if drawn.width > 1400:
        size = (1400, round(drawn.height * 1400 / drawn.width))
        drawn = drawn.resize(size, Image.Resampling.NEAREST)
    colours = [(g, g, g) for g in np.linspace(0, 255, GREYS).round().astype(int).tolist()]
    palette = Image.new("P", (1, 1))
    palette.putpalette([v for colour in (*colours, HIT, WRONG, MISSED) for v in colour])
    drawn.quantize(palette=palette, dither=Image.Dither.NONE).save(path, optimize=True)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help="folder with the runs 07, 19 and all")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()

    def network(name: str) -> UNet:
        return load_run(given.runs / name) if given.runs else shipped_network(name)

    save(draw_left_out({p: network(p) for p in ("07", "19")}), given.out / "flair-wml-left-out.png")
    save(draw_raw_heads(network("all")), given.out / "flair-wml-raw-heads.png")


if __name__ == "__main__":
    main()
