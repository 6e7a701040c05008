"""Second opening of a big folder: what is remembered against reading every header again.

Run with ``python benchmarks/bench_index.py [--series 10] [--slices 400] [--rounds 5]``. Files are
made in a temporary folder, the index lies beside them. "cold" drops the page cache before each
opening, which only root may do on Linux; elsewhere those rows are left out. Every figure is the
median of the rounds.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(PROJECT), str(PROJECT / "benchmarks")]
FASTER_BUDGET = 10.0
_DROP = Path("/proc/sys/vm/drop_caches")


def make_tree(folder: Path, series: int, slices: int) -> None:
    """So many series, each in a folder of its own."""
    from bench_loading import write_series

    for number in range(series):
        sub = folder / f"series{number:02d}"
        sub.mkdir()
        write_series(sub, slices, 64, private=3000, seed=number)


def opened(folder: Path, place: Path | None) -> float:
    """Seconds of one scan; with what is remembered in ``place``, where one is given."""
    from imaging.open import scan
    from imaging.storage.header_index import HeaderIndex

    start = time.perf_counter()
    if place is None:
        with scan([folder]) as found:
            assert found.series
    else:
        with HeaderIndex(place, settled_s=0.0) as kept, scan([folder], remembered=kept) as found:
            assert found.series
    return time.perf_counter() - start


def drop_caches() -> bool:
    """Empty the page cache; False where that is not allowed."""
    try:
        os.sync()
        _DROP.write_text("3")
    except OSError:
        return False
    return True


def main() -> int:
    """Print the table; 1 where the budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=10)
    parser.add_argument("--slices", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home) / "tree"
        folder.mkdir()
        make_tree(folder, options.series, options.slices)
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        print(f"{len(files)} DICOM files in {options.series} folders, {options.rounds} rounds")
        return report(measure(folder, Path(home), files, options.rounds), len(files))


def measure(folder: Path, home: Path, files: list[Path], rounds: int) -> dict[str, float]:
    """Median seconds of each way to open the tree."""
    from imaging.storage.header_index import forget_all

    place = home / "index"
    opened(folder, place)  # imports

    def first() -> float:
        forget_all(place)
        return opened(folder, place)

    def changed() -> float:
        os.utime(files[len(files) // 2])
        return opened(folder, place)

    ways: dict[str, Callable[[], float]] = {
        "without index": lambda: opened(folder, None),
        "first": first,
        "second": lambda: opened(folder, place),
        "one file changed": changed,
    }
    times: dict[str, list[float]] = {}
    for _ in range(rounds):
        for name, way in ways.items():
            times.setdefault(name, []).append(way())
        opened(folder, place)
        for name in ("without index", "second"):
            if drop_caches():
                times.setdefault(f"{name}, cold", []).append(ways[name]())
    return {name: statistics.median(values) for name, values in times.items()}


def report(times: dict[str, float], files: int) -> int:
    """Print milliseconds and ratios; returns 1 where the budget is missed."""
    for name, seconds in times.items():
        print(f"{name:22} {seconds * 1e3:8.0f} ms  {seconds / files * 1e3:7.3f} ms/file")
    warm = times["without index"] / times["second"]
    print(f"second opening against the first, warm: {warm:.1f} times as fast")
    if "second, cold" in times:
        cold = times["without index, cold"] / times["second, cold"]
        print(f"second opening against the first, cold: {cold:.1f} times as fast")
    missed = warm < FASTER_BUDGET
    print(f"{'MISSED' if missed else 'met'}: second opening at least {FASTER_BUDGET:.0f} times")
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
