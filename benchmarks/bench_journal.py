"""What the journal costs: per stroke until it is on the disk, and to come back after a crash.

``python benchmarks/bench_journal.py [--strokes 500] [--shape 192,256,256] [--folder DIR]`` prints
one JSON object. The folder should lie on the disk the journal will live on.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from imaging.case import Case  # noqa: E402
from imaging.edits.brush import Stroke  # noqa: E402
from imaging.edits.edit import AddItem, VoxelEdit  # noqa: E402
from imaging.geometry import Geometry  # noqa: E402
from imaging.heatmap import Heatmap  # noqa: E402
from imaging.segmentation import Segment, Segmentation  # noqa: E402
from imaging.storage.journal import EDITS_PER_BASE, Journal  # noqa: E402
from imaging.storage.recovery import recover  # noqa: E402


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--strokes", type=int, default=500)
    options.add_argument("--shape", default="192,256,256", help="k,j,i of the mask")
    options.add_argument("--folder", type=Path, help="where to write; a temporary one by default")
    chosen = options.parse_args()
    shape = tuple(int(n) for n in chosen.shape.split(","))
    with tempfile.TemporaryDirectory(dir=chosen.folder) as folder:
        print(json.dumps(measure(Path(folder), shape, chosen.strokes)))


def measure(folder: Path, shape: tuple[int, ...], strokes: int) -> dict[str, object]:
    """Milliseconds and bytes of everything the journal does."""
    geometry = Geometry(shape, np.diag([1.0, 1.0, 1.0, 1.0]))
    mask = Segmentation("mask", "Lesions", geometry, "v", (Segment(1, "Lesion", (1, 2, 3)),))
    case, result = Case(), {}
    start = time.perf_counter()
    journal = Journal.create(folder / "journals", "bench", case)
    journal.wait()
    result["create_ms"] = _since(start)
    result["add_mask_ms"] = _add(journal, case, mask)
    heat = Heatmap("map", "Map", _smooth(shape), "probability", geometry, "v")
    result["add_map_ms"] = _add(journal, case, heat)
    hand, disk, cpu = _strokes(journal, case, mask, strokes)
    for name, values in (("append_ms", hand), ("saved_ms", disk), ("cpu_ms", cpu)):
        p50, p95, p99 = (round(float(v), 2) for v in np.percentile(values, (50, 95, 99)))
        result[name] = {"p50": p50, "p95": p95, "p99": p99, "max": round(max(values), 2)}
    result["recover_ms"] = _recover(journal, folder / "a")
    start = time.perf_counter()
    journal.compact(case).wait()
    result["base_ms"] = _since(start)
    _strokes(journal, case, mask, EDITS_PER_BASE)
    result[f"recover_{EDITS_PER_BASE}_after_base_ms"] = _recover(journal, folder / "b")
    journal.close(discard=True)
    return result


def _strokes(
    journal: Journal, case: Case, mask: Segmentation, count: int
) -> tuple[list[float], list[float], list[float]]:
    """Milliseconds the hand waits, until saved, and of CPU (all threads), per stroke."""
    rng = np.random.default_rng(1)
    hand, disk, cpu = [], [], []
    while len(hand) < count:
        edit = _stroke(mask, rng, erase=len(hand) % 4 == 3)
        if edit is None:
            continue
        start, spent = time.perf_counter(), time.process_time()
        ticket = journal.append(edit, case)
        hand.append(_since(start))
        ticket.wait()
        disk.append(_since(start))
        cpu.append((time.process_time() - spent) * 1000)
        edit.apply(case)
    return hand, disk, cpu


def _stroke(mask: Segmentation, rng: np.random.Generator, erase: bool) -> VoxelEdit | None:
    stroke = Stroke(mask, 1, 6.0, erase=erase)
    point = rng.uniform(0.3, 0.7, 3) * mask.geometry.shape
    for _ in range(4):
        stroke.add(point)
        point = point + rng.normal(0, 8, 3)
    return stroke.finish("Brush")


def _add(journal: Journal, case: Case, item: Segmentation | Heatmap) -> dict[str, float]:
    edit = AddItem(item, "Add")
    start = time.perf_counter()
    ticket = journal.append(edit, case)
    hand = _since(start)
    edit.apply(case)
    ticket.wait()
    return {"append": hand, "saved": _since(start)}


def _smooth(shape: tuple[int, ...]) -> np.ndarray:
    """A probability map as a network gives it: near 0 almost everywhere, smooth blobs."""
    rng = np.random.default_rng(0)
    values = np.zeros(shape, np.float32)
    grids = np.ogrid[tuple(slice(0, n) for n in shape)]
    for _ in range(30):
        centre = rng.uniform(0.3, 0.7, 3) * shape
        squared = sum((g - c) ** 2 for g, c in zip(grids, centre, strict=True))
        values = np.maximum(values, np.exp(-squared / rng.uniform(20, 200)).astype(np.float32))
    return values


def _recover(journal: Journal, folder: Path) -> float:
    """Milliseconds to get everything back from a copy of the open file."""
    assert journal.path is not None
    shutil.copytree(journal.path.parent, folder)
    start = time.perf_counter()
    items, report = recover(folder / journal.path.name)
    assert items, report.sentence
    assert not report.damaged
    return _since(start)


def _since(start: float) -> float:
    return round((time.perf_counter() - start) * 1000, 3)


if __name__ == "__main__":
    main()
