"""How a lesion model answers when the same head comes in another way.

``python -m inference.training.lesions.robustness --model flair-wml --out DIR`` writes JSON and a
table in Markdown for an installed lesion model. Patients 07 and 19 are marked by weights that did
not see them (``folds/`` beside the model; a model that never saw them is used as it is). Each head
is turned into all 48 storage orders, given thicker slices, half a field of view, another grey
scale, noise and shading, and the wrong sequence, which must make the program warn. Everything goes
the way of the application: `inference.pipeline`, on the grid of the altered image, with its gold
mask altered alike.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from imaging.geometry import Geometry
from imaging.volume import Source, Volume
from inference import pipeline
from inference.devices import CPU
from inference.engine import load_runner
from inference.model import CARD_NAME, LESIONS
from inference.registry import find_model, suitable
from inference.reports import Quiet
from inference.suitability import seen_in_pixels
from inference.training.lesions.evaluate import compare
from inference.training.shared import cases
from inference.training.shared.card_text import as_toml

__all__ = ["Alteration", "Head", "alterations", "fold_model", "mark", "robustness"]

Mask = npt.NDArray[np.bool_]
STORED_ORDERS = 48


@dataclass(frozen=True, eq=False)
class Head:
    """An image with its gold mask on one grid, affine to LPS mm."""

    voxels: npt.NDArray[Any]
    gold: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Alteration:
    """A way in which the same head may come."""

    group: str
    name: str
    change: Callable[[Head], Head]


# What is done to a head ---------------------------------------------------------------------------


def turned(head: Head, order: tuple[int, ...], flips: tuple[bool, ...]) -> Head:
    """Another storage order of the same head."""
    cut = tuple(slice(None, None, -1 if f else 1) for f in flips)
    change = np.zeros((4, 4))
    change[3, 3] = 1
    for new, (axis, flip) in enumerate(zip(order, flips, strict=True)):
        change[axis, new] = -1 if flip else 1
        change[axis, 3] = head.voxels.shape[axis] - 1 if flip else 0
    voxels, gold = (np.ascontiguousarray(a.transpose(order)[cut]) for a in (head.voxels, head.gold))
    return Head(voxels, gold, head.affine @ change)


def thick(head: Head, axis: int, width: int) -> Head:
    """Slices of so many voxels, averaged; the mask where lesion fills at least half."""
    size = head.voxels.shape[axis] // width
    cut = [slice(None)] * 3
    cut[axis] = slice(0, size * width)

    def averaged(array: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
        moved = np.moveaxis(array[tuple(cut)], axis, 0).astype(np.float32)
        mean = moved.reshape(size, width, *moved.shape[1:]).mean(1)
        return np.ascontiguousarray(np.moveaxis(mean, 0, axis))

    affine = head.affine.copy()
    affine[:3, 3] += head.affine[:3, axis] * (width - 1) / 2
    affine[:3, axis] *= width
    return Head(averaged(head.voxels), averaged(head.gold) >= 0.5, affine)


def half(head: Head, axis: int, upper: bool) -> Head:
    """Half the field of view along a patient axis (0 left, 1 posterior, 2 superior)."""
    array_axis = int(np.argmax(np.abs(head.affine[axis, :3])))
    away = head.affine[axis, array_axis] > 0
    middle = int(np.argwhere(head.voxels > 3)[:, array_axis].mean())
    cut = [slice(None)] * 3
    cut[array_axis] = slice(middle, None) if upper == away else slice(0, middle)
    affine = head.affine.copy()
    if upper == away:
        affine[:3, 3] += head.affine[:3, array_axis] * middle
    return Head(head.voxels[tuple(cut)], head.gold[tuple(cut)], affine)


def tilted(head: Head, degrees: float) -> Head:
    """Acquired obliquely: the same head on a grid turned about two axes."""
    angle = np.deg2rad(degrees)
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[1, 0, 0], [0, c, -s], [0, s, c]]) @ np.array(
        [[c, 0, -s], [0, 1, 0], [s, 0, c]]
    )
    middle = (np.array(head.voxels.shape) - 1) / 2
    shift: Any = middle - turn @ middle

    def sampled(array: npt.NDArray[Any]) -> Any:
        return ndimage.affine_transform(array.astype(np.float32), turn, shift, order=1)

    change = np.eye(4)
    change[:3, :3], change[:3, 3] = turn, shift
    return Head(sampled(head.voxels), sampled(head.gold) > 0.5, head.affine @ change)


def _light(head: Head, change: Callable[[npt.NDArray[np.float32]], npt.NDArray[Any]]) -> Head:
    """Another brightness: ``change`` gets values from 0 to about 1 at the main tissue."""
    level = float(np.median(head.voxels[head.voxels > 0.3 * np.percentile(head.voxels, 99)]))
    light = np.asarray(np.maximum(head.voxels, 0) / level, np.float32)
    return Head(np.asarray(change(light) * level, np.float32), head.gold, head.affine)


def _noisy(head: Head, level: float) -> Head:
    rng = np.random.default_rng(0)
    real, other = rng.normal(0, level, (2, *head.voxels.shape)).astype(np.float32)
    return _light(head, lambda light: np.hypot(light + real, other))


def _shaded(head: Head, strength: float) -> Head:
    grid = np.indices(head.voxels.shape).astype(np.float32)
    k, j, i = (g / n for g, n in zip(grid, head.voxels.shape, strict=True))
    field = np.sin(2.2 * k + 0.4) * np.cos(1.7 * j) + 0.6 * np.sin(2.9 * i)
    field = (field - field.mean()) / np.ptp(field)
    return _light(head, lambda light: light * (1 + 2 * strength * field))


def alterations(orders: int = STORED_ORDERS) -> list[Alteration]:
    """All ways, the plain one first.

    Parameters
    ----------
    orders : int
        So many of the 48 storage orders.
    """
    found = [Alteration("as stored", "as stored", lambda head: head)]
    every = list(product(permutations(range(3)), product((False, True), repeat=3)))
    for n in np.unique(np.linspace(0, len(every) - 1, min(orders, len(every))).astype(int)):
        order, flips = every[n]
        name = "".join(map(str, order)) + "".join("-" if f else "+" for f in flips)
        found.append(Alteration("storage order", name, lambda h, o=order, f=flips: turned(h, o, f)))
    for degrees in (10, 20):
        found.append(Alteration("oblique", f"{degrees} degrees", lambda h, d=degrees: tilted(h, d)))
    for axis, name in ((0, "axial"), (2, "sagittal")):
        found += [
            Alteration("slices", f"{mm} mm {name}", lambda h, a=axis, m=mm: thick(h, a, m))
            for mm in (2, 3, 4, 5)
        ]
    for axis, upper, name in ((2, True, "upper"), (2, False, "lower"), (0, True, "left")):
        found.append(Alteration("half the field", name, lambda h, a=axis, u=upper: half(h, a, u)))
    for gamma in (0.7, 1.4):
        found.append(
            Alteration("gamma", f"{gamma:g}", lambda h, g=gamma: _light(h, lambda x: x**g))
        )
    for level in (0.03, 0.06, 0.1):
        found.append(Alteration("noise", f"{level:.0%}", lambda h, n=level: _noisy(h, n)))
    for strength in (0.2, 0.4):
        found.append(Alteration("shading", f"{strength:.0%}", lambda h, s=strength: _shaded(h, s)))
    return found


# Marking as the application does ------------------------------------------------------------------


def mark(runner: Any, head: Head) -> Mask:
    """The mask that the application would show."""
    report = Quiet()
    name = runner.card.required[0].name
    prepared = pipeline.prepare(runner, {name: (head.voxels, head.affine, 1.0, 0.0)}, report)
    wanted = pipeline.Wanted(
        np.zeros(head.voxels.shape, np.float32), np.zeros(head.voxels.shape, np.uint8)
    )
    pipeline.segment(runner, prepared, wanted, "fine", report)
    return wanted.mask > 0


@contextmanager
def fold_model(folder: Path, patient: str) -> Iterator[tuple[Path, str]]:
    """A copy of a model whose weights (and those of its members) did not see a patient.

    Yields
    ------
    folder : path
    words : str
        Which weights those are.
    """
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        words = _copied(folder, root, patient)
        yield root / folder.name, words


def _copied(folder: Path, root: Path, patient: str) -> str:
    """Copy a model, and its members, with the weights of a fold; returns which those are."""
    target = root / folder.name
    target.mkdir(exist_ok=True)
    card = tomllib.loads((folder / CARD_NAME).read_text(encoding="utf-8"))
    words = []
    for member in card["network"].get("members", []):
        words.append(_copied(folder.parent / member["id"], root, patient))
        copy = tomllib.loads((root / member["id"] / CARD_NAME).read_text(encoding="utf-8"))
        member["sha256"] = copy["weights"]["sha256"]
    if "weights" in card:
        folds = card["training"].get("folds", [])
        fold = next((f for f in folds if f.get("left_out") == patient), None)
        source = folder / (fold["file"] if fold else card["weights"]["file"])
        shutil.copy(source, target / card["weights"]["file"])
        if fold:
            card["weights"]["sha256"] = fold["sha256"]
        words.append(f"{folder.name} " + (f"without {patient}" if fold else "as shipped"))
    (target / CARD_NAME).write_text(as_toml(card), encoding="utf-8")
    return ", ".join(words)


def robustness(folder: Path, patient: str, orders: int = STORED_ORDERS) -> dict[str, Any]:
    """Every alteration of one patient, and the wrong sequences.

    Returns
    -------
    dict
        ``rows`` with Dice and volumes, ``wrong_sequence`` with the warning.
    """
    case = cases.load_labelled(patient)
    plain = Head(case.flair, case.gold, case.affine)
    with fold_model(folder, patient) as (place, words):
        runner = load_runner(place, CPU, Quiet())
        rows = []
        for way in alterations(orders):
            head = way.change(plain)
            found = compare(mark(runner, head), head.gold)
            ml = float(abs(np.linalg.det(head.affine[:3, :3]))) / 1000
            rows.append(
                {
                    "group": way.group,
                    "name": way.name,
                    "dice": round(found.dice, 3),
                    "lesion_f1": round(found.lesion_f1, 3),
                    "gold_ml": round(float(head.gold.sum()) * ml, 2),
                    "found_ml": round(found.found_ml * ml * 1000, 2),
                }
            )
        wrong = [_wrong(runner, case, patient, sequence) for sequence in ("FLAIR", "T1", "T2")]
    return {"case": patient, "weights": words, "rows": rows, "sequences": wrong}


def _wrong(runner: Any, case: cases.LabelledCase, patient: str, sequence: str) -> dict[str, Any]:
    """What the program says, from the pixels alone, to a sequence given as FLAIR by mistake."""
    voxels = case.flair
    if sequence != "FLAIR":
        stored, _ = cases.read_nifti(cases.mni_file(patient, sequence))
        voxels = np.asarray(stored, np.float32)
    volume = Volume(
        "v", "image", voxels, Geometry(voxels.shape, case.affine), Source("nifti", modality="MR")
    )
    fits, sentence = suitable(runner.card, volume, seen_in_pixels(volume))
    found = compare(mark(runner, Head(voxels, case.gold, case.affine)), case.gold)
    return {
        "given": sequence,
        "warned": not fits,
        "sentence": sentence,
        "dice": round(found.dice, 3),
    }


def as_markdown(model: str, results: list[dict[str, Any]]) -> str:
    """The table for the documentation: one line for each group, worst and best named."""
    names = [r["case"] for r in results]
    lines = [
        f"Dice of `{model}` on the altered head ("
        + "; ".join(f"{r['case']}: {r['weights']}" for r in results)
        + ").",
        "",
        "| the same head | " + " | ".join(f"patient {n}" for n in names) + " |",
        "|---" * (len(names) + 1) + "|",
    ]
    for label, pick in _lines(results[0]["rows"]):
        cells = []
        for result in results:
            dices = [row["dice"] for row in result["rows"] if pick(row)]
            low, high = min(dices), max(dices)
            cells.append(f"{low:.2f}" if high - low < 0.005 else f"{low:.2f} to {high:.2f}")
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    for number, sequence in enumerate(r["given"] for r in results[0]["sequences"]):
        cells = [
            ("warned" if r["sequences"][number]["warned"] else "no warning")
            + f", Dice {r['sequences'][number]['dice']:.2f}"
            for r in results
        ]
        kind = "by its pixels" if sequence == "FLAIR" else "by mistake"
        lines.append(f"| {sequence} {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _lines(rows: list[dict[str, Any]]) -> list[tuple[str, Callable[[dict[str, Any]], bool]]]:
    """Lines of the table: storage orders together, everything else by itself."""
    orders = sum(row["group"] == "storage order" for row in rows)
    found: list[tuple[str, Callable[[dict[str, Any]], bool]]] = []
    for row in rows:
        group, name = row["group"], row["name"]
        if group == "storage order":
            label = f"{orders} storage orders"
            if all(label != known for known, _ in found):
                found.append((label, lambda r: r["group"] == "storage order"))
            continue
        label = name if group == name else f"{group}: {name}"
        found.append((label, lambda r, g=group, n=name: (r["group"], r["name"]) == (g, n)))
    return found


def main() -> None:
    """Command line."""
    import torch

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="id of an installed lesion model")
    parser.add_argument("--out", type=Path, required=True, help="folder for JSON and Markdown")
    parser.add_argument("--orders", type=int, default=STORED_ORDERS)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    model = find_model(given.model)
    if model.card.kind != LESIONS:
        parser.error(f"'{given.model}' does not mark lesions")
    results = []
    for patient in cases.IMAGE_PATIENTS:
        torch.set_num_threads(given.threads)
        results.append(robustness(model.folder, patient, given.orders))
    given.out.mkdir(parents=True, exist_ok=True)
    name = f"robustness-{given.model}"
    text = json.dumps(results, indent=1)
    (given.out / f"{name}.json").write_text(text, encoding="utf-8")
    table = as_markdown(given.model, results)
    (given.out / f"{name}.md").write_text(table, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
