"""Heads with known tissue, to train the tissue network from.

Two are MNI templates (averages, stripped). Two are real heads without labels, a sharp T2w and a
thick-sliced T1w: the template is laid over them, their brain is what is bright inside it, and
their tissues are a mixture of three classes with the template as prior. What lies around the brain
is sorted by brightness, so that a made-up image has the skull, eyes and neck of a real head.
Patients 07 and 19 and the raw longitudinal FLAIRs are in none of it: they are what the model is
judged on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from inference.plugins.atlas import Atlas, bright_brain, lay_over, moved
from inference.preprocess import normalise, resample_to_model, to_model_grid
from inference.training.shared.cases import data_root, read_nifti, signed_distance

__all__ = ["REAL_HEADS", "Head", "average_brain", "load_heads", "make_heads", "real_image"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

REAL_HEADS = {"arc": "T2w", "prone": "T1w"}
"""Real heads that training uses, and their sequence."""
PARTS = 7
"""Kinds of tissue told apart around the brain, by brightness."""


@dataclass(frozen=True, eq=False)
class Head:
    """A head whose tissue is known.

    Attributes
    ----------
    name : str
    csf, gm, wm : ndarray, shape (k, j, i)
        Shares of each tissue, 0 to 1; 0 outside the brain.
    distance : ndarray
        Signed distance to the brain's border in mm, negative inside.
    outer : ndarray
        uint8, kinds of tissue by brightness (0 air); only where there is an image.
    image : ndarray or None
        Brightness, background 0.
    share : float
        How often it is drawn from.
    """

    name: str
    csf: Array
    gm: Array
    wm: Array
    distance: Array
    outer: npt.NDArray[np.uint8]
    image: Array | None
    share: float


def real_image(name: str) -> tuple[Array, npt.NDArray[np.float64]]:
    """A real head on its 1 mm model grid, background 0, and the affine to LPS mm.

    Parameters
    ----------
    name : str
        ``arc`` (T2w), ``prone`` (T1w) or ``fpg`` (T2w).
    """
    if name == "prone":
        from imaging.open import load_series, scan

        with scan([data_root() / "dicom_siemens_prone" / "In"]) as found:
            volume = load_series(found.series[0])
        voxels, affine = volume.voxels, volume.geometry.affine
    else:
        places = {
            "arc": "stroke_unlabelled_t2_flair/arc_M2265_T2w.nii.gz",
            "fpg": "normal_t2_fpg/t2.nii.gz",
        }
        voxels, affine = read_nifti(data_root() / places[name])
    array, grid = to_model_grid(voxels, affine)
    return normalise(array, smoothing=0.0) + np.float32(1), grid.affine


def _icbm() -> tuple[dict[str, Array], npt.NDArray[np.float64]]:
    """T1 average and shares of the ICBM 2009a template, and the affine to LPS mm."""
    folder = data_root() / "normal_templates_mni" / "icbm152_2009a"
    files = {n: folder / f"mni_icbm152_{n}_tal_nlin_sym_09a_converted.nii.gz" for n in _ICBM}
    maps, affine = _on_one_grid(files, 255)
    brain = _filled(maps["t1"] > 0.08)
    maps["brain"] = np.asarray(brain, np.float32)
    maps["csf"] = np.clip(maps["brain"] - maps["gm"] - maps["wm"], 0, 1)
    return maps, affine


_ICBM = ("t1", "gm", "wm")


def _mni152() -> dict[str, Array]:
    """Shares of the sixth-generation MNI152 template."""
    folder = data_root() / "normal_templates_mni" / "mni152_6thgen_tissue"
    files = {"brain": folder / "MNI152_T1_1mm_Brain_Mask.nii.gz"}
    for number, name in enumerate(("csf", "gm", "wm")):
        files[name] = folder / f"MNI152_T1_1mm_Brain_FAST_pve_{number}.nii.gz"
    return _on_one_grid(files, 1)[0]


def _on_one_grid(
    files: dict[str, Path], scale: float
) -> tuple[dict[str, Array], npt.NDArray[np.float64]]:
    """Maps on the 1 mm model grid of the first one, divided by ``scale``."""
    loaded = {n: read_nifti(path) for n, path in files.items()}
    first, affine = next(iter(loaded.values()))
    _, grid = to_model_grid(np.asarray(first, np.float32), affine)
    maps = {
        n: resample_to_model(np.asarray(v, np.float32) / np.float32(scale), grid, fill=0.0)
        for n, (v, _) in loaded.items()
    }
    return maps, grid.affine


def _template(name: str, csf: Array, gm: Array, wm: Array, brain: Mask, share: float) -> Head:
    none = np.zeros(brain.shape, np.uint8)
    return Head(name, csf, gm, wm, signed_distance(brain), none, None, share)


def make_heads() -> list[Head]:
    """All heads at 1 mm; registration of the two real ones takes some seconds."""
    maps, affine = _icbm()
    inside = maps["brain"] > 0.5
    heads = [_template("icbm", maps["csf"], maps["gm"], maps["wm"], inside, 0.25)]
    other = _mni152()
    csf, gm, wm = other["csf"], other["gm"], other["wm"]
    heads.append(_template("mni152", csf, gm, wm, csf + gm + wm > 0.5, 0.25))
    heads += [_real_head(name, maps, affine) for name in REAL_HEADS]
    return heads


def _real_head(name: str, maps: dict[str, Array], template: npt.NDArray[np.float64]) -> Head:
    image, affine = real_image(name)
    t1 = np.asarray(ndimage.gaussian_filter(maps["t1"], 1.4), np.float32)
    atlas = Atlas(t1, maps["brain"], template)
    transform = lay_over(image, affine, atlas)
    prior = {n: moved(m, template, transform, image, affine) for n, m in maps.items()}
    close = 5 if REAL_HEADS[name] == "T1w" else 3
    brain = bright_brain(image, prior["brain"] > 0.5, close)
    csf, gm, wm = mixture(image, brain, prior)
    return Head(name, csf, gm, wm, signed_distance(brain), _parts(image, brain), image, 0.25)


def average_brain() -> Atlas:
    """The ICBM 2009a average at 2 mm, smooth: what ships inside the model."""
    maps, affine = _icbm()
    t1 = np.asarray(ndimage.gaussian_filter(maps["t1"], 1.4), np.float32)
    change = np.diag([2.0, 2.0, 2.0, 1.0])
    change[:3, 3] = 0.5
    return Atlas(_halved(t1), _halved(maps["brain"]), affine @ change)


def _halved(array: Array) -> Array:
    """Means of 2 x 2 x 2 voxels."""
    k, j, i = (n // 2 * 2 for n in array.shape)
    blocks = array[:k, :j, :i].reshape(k // 2, 2, j // 2, 2, i // 2, 2)
    return np.asarray(blocks.mean(axis=(1, 3, 5)), np.float32)


def mixture(image: Array, brain: Mask, prior: dict[str, Array]) -> tuple[Array, Array, Array]:
    """Shares of fluid, grey and white matter: three normal distributions and a prior of place.

    Parameters
    ----------
    image : ndarray, shape (k, j, i)
        1 mm.
    brain : ndarray
    prior : mapping
        ``csf``, ``gm`` and ``wm`` of the template, laid over the image.

    Notes
    -----
    Expectation maximisation after Ashburner and Friston, NeuroImage 26 (2005), without its
    bias and warp.
    """
    flat = _flattened(image, brain)[brain]
    chance = np.stack([ndimage.gaussian_filter(prior[n], 2.0)[brain] for n in ("csf", "gm", "wm")])
    chance = (chance + 0.12) / (chance + 0.12).sum(0)
    share = chance
    for _ in range(12):
        weight = share.sum(1)
        mean = share @ flat / weight
        spread = np.sqrt((share * (flat - mean[:, None]) ** 2).sum(1) / weight) + 0.02
        density = np.exp(-0.5 * ((flat - mean[:, None]) / spread[:, None]) ** 2) / spread[:, None]
        share = chance * (density + 1e-6)
        share /= share.sum(0)
    maps = np.zeros((3, *image.shape), np.float32)
    maps[:, brain] = share
    return maps[0], maps[1], maps[2]


def _closed(mask: Mask, voxels: int) -> Mask:
    return np.asarray(ndimage.binary_closing(mask, iterations=voxels), bool)


def _filled(mask: Mask) -> Mask:
    return np.asarray(ndimage.binary_fill_holes(mask), bool)


def _flattened(image: Array, brain: Mask) -> Array:
    """Brightness without its slow change over the brain's middle tissue."""
    low, high = np.percentile(image[brain], [15, 85])
    middle = (brain & (image > low) & (image < high)).astype(np.float32)
    weight = ndimage.gaussian_filter(middle[::2, ::2, ::2], 10) + 1e-3
    slow = ndimage.gaussian_filter((image * middle)[::2, ::2, ::2], 10) / weight
    slow = np.where(weight > 0.02, slow, np.median(image[brain]))
    wide = np.kron(slow, np.ones((2, 2, 2)))[tuple(slice(0, n) for n in image.shape)]
    return np.asarray(image * np.median(image[brain]) / np.maximum(wide, 0.2), np.float32)


def _parts(image: Array, brain: Mask) -> npt.NDArray[np.uint8]:
    """Kinds of tissue around the brain by brightness; 0 is air, 1 is bone."""
    smooth = ndimage.gaussian_filter(image, 0.5)
    head = smooth > 0.12
    outside = head & ~brain
    edges = np.quantile(smooth[outside], np.linspace(0, 1, PARTS + 1)[1:-1])
    parts = (1 + np.digitize(smooth, edges)).astype(np.uint8)
    shut = _closed(head, 4) | brain
    filled = _filled(shut)
    return np.where(head, parts, filled.astype(np.uint8)).astype(np.uint8)


def load_heads(store: Path) -> list[Head]:
    """The heads, from a file beside the run once they were made."""
    if not store.exists():
        heads = make_heads()
        store.parent.mkdir(parents=True, exist_ok=True)
        arrays = {f"{h.name}.{n}": getattr(h, n) for h in heads for n in _MAPS if _has(h, n)}
        aside = store.with_suffix(".part.npz")
        np.savez(aside, **arrays)
        aside.replace(store)
        return heads
    with np.load(store) as kept:
        names = list(dict.fromkeys(key.split(".")[0] for key in kept.files))
        return [
            Head(
                name=name,
                share=0.25,
                **{n: kept.get(f"{name}.{n}") for n in _MAPS},
            )
            for name in names
        ]


_MAPS = ("csf", "gm", "wm", "distance", "outer", "image")


def _has(head: Head, name: str) -> bool:
    return getattr(head, name) is not None
