"""Leave-one-patient-out figures, through the same steps as in the application.

``python -m inference.training.evaluate`` loads the fold networks stored beside the shipped
weights (or ``--runs DIR``: the checkpoints of training runs), and prints each left-out
patient's figures beside classical baselines computed by this very script. Every threshold is
fixed beforehand: 0.5 for the network, the other patient's best threshold for a baseline.
"""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from inference.plugins.unet import UNet, fold_batchnorm, load_unet
from inference.preprocess import normalise, to_model_grid, to_source_grid
from inference.training import cases
from inference.training.cases import FOLDS, LabelledCase, data_root, load_labelled
from inference.training.synthesis import lesion_free_brain

__all__ = ["Figures", "compare", "drop_small", "predict"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

THRESHOLD = 0.9
"""Chosen on the demo head (`imaging.demo`), which no training picture comes from."""
MIN_VOLUME_MM3 = 5.0


@dataclass(frozen=True)
class Figures:
    """How far a mask agrees with the gold mask.

    Lesions are 26-connected components; a lesion counts as found, and a marked one as true,
    when at least one voxel overlaps.
    """

    dice: float
    lesion_f1: float
    lesion_sensitivity: float
    lesion_ppv: float
    sensitivity: float
    ppv: float
    volume_ratio: float
    lesions: int
    marked: int
    gold_ml: float
    found_ml: float


def compare(found: Mask, gold: Mask, voxel_mm3: float = 1.0) -> Figures:
    """Measure a mask against the gold mask of the same grid."""
    both = float((found & gold).sum())
    gold_pieces, lesions = cases.components(gold)
    found_pieces, marked = cases.components(found)
    hit = len(np.unique(gold_pieces[found & gold]))
    true = len(np.unique(found_pieces[found & gold]))
    recall, precision = hit / max(lesions, 1), true / max(marked, 1)
    return Figures(
        dice=2 * both / max(float(found.sum() + gold.sum()), 1.0),
        lesion_f1=2 * recall * precision / max(recall + precision, 1e-9),
        lesion_sensitivity=recall,
        lesion_ppv=precision,
        sensitivity=both / max(float(gold.sum()), 1.0),
        ppv=both / max(float(found.sum()), 1.0),
        volume_ratio=float(found.sum()) / max(float(gold.sum()), 1.0),
        lesions=lesions,
        marked=marked,
        gold_ml=float(gold.sum()) * voxel_mm3 / 1000,
        found_ml=float(found.sum()) * voxel_mm3 / 1000,
    )


def drop_small(mask: Mask, voxel_mm3: float, minimum_mm3: float = MIN_VOLUME_MM3) -> Mask:
    """Remove 26-connected components below a volume."""
    pieces, _ = cases.components(mask)
    keep = np.bincount(pieces.ravel()) * voxel_mm3 >= minimum_mm3
    keep[0] = False
    return keep[pieces]


def predict(network: UNet, voxels: npt.NDArray[Any], affine: npt.ArrayLike) -> Array:
    """Lesion probability on the source grid: preprocess, one pass, and back."""
    model, grid = to_model_grid(voxels, affine, multiple=network.multiple)
    image = torch.from_numpy(normalise(model))[None, None]
    image = image.contiguous(memory_format=torch.channels_last_3d)
    with torch.inference_mode():
        chance = torch.sigmoid(network(image))[0, 0].numpy()
    return to_source_grid(chance, grid)


def segment(network: UNet, voxels: npt.NDArray[Any], affine: npt.ArrayLike) -> Mask:
    """Mask on the source grid at the fixed threshold."""
    volume = float(abs(np.linalg.det(np.asarray(affine)[:3, :3])))
    return drop_small(predict(network, voxels, affine) > THRESHOLD, volume)


def load_run(folder: Path) -> UNet:
    """Averaged and folded network of a training run."""
    state = torch.load(folder / "checkpoint.pt", weights_only=True)
    settings = json.loads(state["settings"])
    network = UNet(channels=settings["channels"], thin=settings["thin"])
    network.load_state_dict(state["averaged"])
    return fold_batchnorm(network).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]


def shipped_network(name: str) -> UNet:
    """Network stored with the product: a fold by patient, or ``all``."""
    import tomllib

    folder = Path(__file__).resolve().parents[2] / "resources" / "models" / "flair-wml"
    card = tomllib.loads((folder / "card.toml").read_text(encoding="utf-8"))
    file = card["weights"]["file"] if name == "all" else f"folds/without-{name}.safetensors"
    return load_unet(folder / file, card["network"]["arguments"])


# Classical baselines --------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Features:
    """Maps of one patient that the baselines use; ``inner`` is the eroded brain."""

    gold: Mask
    inner: Mask
    flair: Array
    smooth: Array
    others: tuple[Array, ...]
    prior: Array


def features(patient: str, exclude: tuple[str, ...]) -> Features:
    """Z-scores (median and MAD over the eroded brain) and the prior without ``exclude``."""
    case = load_labelled(patient)
    brain = ndimage.binary_fill_holes(ndimage.binary_closing(case.flair > 3, iterations=2))
    inner = np.asarray(ndimage.binary_erosion(brain, iterations=4), bool)
    names = ("FLAIR", "T1", "T2")
    images = [np.asarray(cases.read_nifti(cases._mni_file(patient, n))[0]) for n in names]
    flair, *others = [_robust_z(np.asarray(image, np.float32), inner) for image in images]
    masks = [m for p, m in _bank().items() if p not in exclude]
    share = np.mean(masks, axis=0, dtype=np.float32)
    prior = np.asarray(ndimage.gaussian_filter(share, 2.0), np.float32)
    smooth = np.asarray(ndimage.gaussian_filter(flair, 0.8), np.float32)
    return Features(case.gold, inner, flair, smooth, tuple(others), prior)


_BANK: dict[str, Mask] = {}


def _bank() -> dict[str, Mask]:
    if not _BANK:
        bank = cases.lesion_bank(cases.MASK_PATIENTS)
        _BANK.update({p: m[:, ::-1] for p, m in bank.items()})
    return _BANK


def _robust_z(image: Array, inner: Mask) -> Array:
    values = image[inner]
    middle = np.median(values)
    return ((image - middle) / (1.4826 * np.median(np.abs(values - middle)))).astype(np.float32)


def _score_a(f: Features) -> Array:
    return np.where(f.inner, f.flair, -9).astype(np.float32)


def _score_c(f: Features) -> Array:
    return np.where(f.prior > 0.01, _score_a(f), -9).astype(np.float32)


def _score_d(f: Features) -> Array:
    score = f.smooth + np.log(f.prior + 1e-3)
    return np.where(f.inner, score, -19).astype(np.float32)


def _best_threshold(score: Array, gold: Mask) -> float:
    """Threshold of the best Dice on a patient whose truth may be used."""
    candidates = np.unique(np.quantile(score[score > -8], np.linspace(0.5, 0.9999, 160)))
    dices = [compare_fast(score > t, gold) for t in candidates]
    return float(candidates[int(np.argmax(dices))])


def compare_fast(found: Mask, gold: Mask) -> float:
    """Voxel Dice alone."""
    return 2 * float((found & gold).sum()) / max(float(found.sum() + gold.sum()), 1.0)


def _stack_features(f: Features, where: Mask) -> torch.Tensor:
    maps = (f.flair, f.smooth, *f.others, np.log(f.prior + 1e-3) / 2)
    return torch.from_numpy(np.stack([m[where] for m in maps], 1))


def _score_e(train: Features, test: Features) -> Array:
    """Voxel perceptron on FLAIR, T1, T2 and prior, trained on the other patient."""
    torch.manual_seed(0)
    x, y = _stack_features(train, train.inner), torch.from_numpy(train.gold[train.inner]).float()
    lesion = torch.nonzero(y)[:, 0]
    healthy = torch.nonzero(y == 0)[:, 0]
    net = torch.nn.Sequential(
        torch.nn.Linear(x.shape[1], 24),
        torch.nn.ReLU(),
        torch.nn.Linear(24, 24),
        torch.nn.ReLU(),
        torch.nn.Linear(24, 1),
    )
    optimiser = torch.optim.Adam(net.parameters(), 5e-3)
    for _ in range(600):
        picks = torch.cat(
            [
                lesion[torch.randint(len(lesion), (400,))],
                healthy[torch.randint(len(healthy), (3600,))],
            ]
        )
        loss = torch.nn.functional.binary_cross_entropy_with_logits(net(x[picks])[:, 0], y[picks])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    result = np.full(test.gold.shape, -19, np.float32)
    with torch.inference_mode():
        result[test.inner] = net(_stack_features(test, test.inner))[:, 0].numpy()
    return result


def baselines(patient: str) -> dict[str, dict[str, float]]:
    """Dice of the classical rules on a patient, threshold from the other patient."""
    other = next(p for p in cases.IMAGE_PATIENTS if p != patient)
    test, train = features(patient, (patient,)), features(other, (patient, other))
    rules: dict[str, Callable[[Features], Array]] = {
        "A z-score": _score_a,
        "C z-score and prior": _score_c,
        "D smoothed z + log prior": _score_d,
        "E voxel perceptron, FLAIR T1 T2 prior": lambda f: _score_e(train, f),
    }
    result = {}
    for name, rule in rules.items():
        score, own = rule(test), rule(train)
        found = drop_small(score > _best_threshold(own, train.gold), 1.0, 3.0)
        result[name] = {
            "dice": compare_fast(found, test.gold),
            "best_dice": compare_fast(score > _best_threshold(score, test.gold), test.gold),
        }
    return result


# Behaviour outside the labelled brains ----------------------------------------------------------


def raw_head_report(network: UNet, patient: str, study: int) -> dict[str, float]:
    """Marked volume inside and outside the brain of a raw head (total load is not labelled)."""
    import SimpleITK as sitk

    folder = data_root() / "ms_open_longitudinal" / "raw" / f"patient{patient}"
    voxels, affine = cases.read_nifti(folder / f"study{study}_FLAIR.nii.gz")
    started = time.perf_counter()
    mask = segment(network, voxels, affine)
    seconds = time.perf_counter() - started
    transform = sitk.ReadTransform(str(folder / f"study{study}_FLAIR_to_common_space.txt"))
    native = sitk.ReadImage(str(folder / f"study{study}_FLAIR.nii.gz"))
    common = sitk.ReadImage(str(folder / "brainmask.nii.gz"), sitk.sitkFloat32)
    brain = sitk.Resample(common, native, transform.GetInverse(), sitk.sitkLinear, 0.0)
    inside = sitk.GetArrayFromImage(brain) > 0.5
    ml = float(abs(np.linalg.det(affine[:3, :3]))) / 1000
    return {
        "marked_in_brain_ml": float((mask & inside).sum()) * ml,
        "marked_outside_ml": float((mask & ~inside).sum()) * ml,
        "wall_s": seconds,
    }


def healthy_report(network: UNet, patient: str) -> dict[str, float]:
    """Marked volume where there is nothing: made-up brains, and the patient inpainted."""
    tissues = cases.template_tissues()
    result = {}
    for seed in range(4):
        image = lesion_free_brain(tissues, seed)
        affine = np.array(cases.MNI_AFFINE) @ np.diag([0.84, 0.84, 0.84, 1.0])
        mask = segment(network, image + 1, affine)
        result[f"template {seed}"] = float(mask.sum()) * 0.84**3 / 1000
    if patient != "all":
        clean = cases.mni_anatomy(patient, healthy=True)
        assert clean.image is not None
        mask = segment(network, clean.image + 1, np.array(cases.MNI_AFFINE))
        result["patient inpainted"] = float(mask.sum()) / 1000
    return result


def resolution_report(network: UNet, case: LabelledCase, slice_mm: float = 4.0) -> Figures:
    """The same patient as 4 mm slices: mask compared on the thick-slice grid."""
    step = int(slice_mm)
    depth = case.flair.shape[0] // step
    shape = (depth, step, *case.flair.shape[1:])
    thick = case.flair[: depth * step].reshape(shape).mean(1)
    gold = case.gold[: depth * step].reshape(shape).mean(1) > 0.5
    affine = case.affine @ np.diag([step, 1.0, 1.0, 1.0])
    affine[:3, 3] += case.affine[:3, 0] * (step - 1) / 2
    return compare(segment(network, thick, affine), gold, slice_mm)


def report(name: str, network: UNet, quick: bool = False) -> dict[str, Any]:
    """Everything about one left-out patient."""
    case = load_labelled(name)
    started, cpu = time.perf_counter(), time.process_time()
    chance = predict(network, case.flair, case.affine)
    wall, cpu = time.perf_counter() - started, time.process_time() - cpu
    found = drop_small(chance > THRESHOLD, 1.0)
    figures = compare(found, case.gold)
    sweep = {
        f"{t:.1f}": round(compare_fast(chance > t, case.gold), 3)
        for t in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
    }
    result: dict[str, Any] = {"case": name, "threshold": THRESHOLD, **asdict(figures)}
    result |= {"wall_s": wall, "cpu_s": cpu, "dice_by_threshold": sweep}
    if not quick:
        result["thick_slices"] = asdict(resolution_report(network, case))
        result["baselines"] = baselines(name)
        result["raw_heads"] = {
            f"03 study {study}": raw_head_report(network, "03", study) for study in (1, 2)
        }
        result["healthy"] = healthy_report(network, name)
    return result


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=Path, help="folder with the runs 07 and 19")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    parser.add_argument("--quick", action="store_true", help="only the network's own figures")
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    results = []
    for name in (n for n in FOLDS if n != "all"):
        network = load_run(given.runs / name) if given.runs else shipped_network(name)
        results.append(report(name, network, given.quick))
        print(json.dumps(results[-1], indent=1, default=lambda v: round(v, 3)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"peak memory of this process {peak:.2f} GB")
    if given.out:
        given.out.write_text(json.dumps(results, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
