"""Classical rules that the lesion network has to beat, with a threshold from the other patient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from inference.training.lesions.evaluate import drop_small, voxel_dice
from inference.training.shared import cases
from inference.training.shared.cases import load_labelled

__all__ = ["baselines"]

Array = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


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
    images = [np.asarray(cases.read_nifti(cases.mni_file(patient, n))[0]) for n in names]
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
    dices = [voxel_dice(score > t, gold) for t in candidates]
    return float(candidates[int(np.argmax(dices))])


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
            "dice": voxel_dice(found, test.gold),
            "best_dice": voxel_dice(score > _best_threshold(score, test.gold), test.gold),
        }
    return result
