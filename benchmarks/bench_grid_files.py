"""NIfTI, NRRD and MetaImage files against nibabel, gzip, SimpleITK and pynrrd, in one run.

Run with ``python benchmarks/bench_grid_files.py [--slices 240] [--size 384]``. A file of each kind
is made in a temporary folder; the page cache is warm for every reader, and each reads in a process
of its own, so that peak memory can be told. SimpleITK brings a fast inflater of its own; the budget
is to be faster than nibabel, gzip and pynrrd.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
FIRST_IMAGE_BUDGET_S, MEMORY_BUDGET = 0.3, 1.3


def make_files(folder: Path, slices: int, size: int) -> dict[str, Path]:
    """A head with noise, int16, as each kind of file."""
    import SimpleITK as sitk

    rng = np.random.default_rng(0)
    k, j, i = (np.linspace(-1.3, 1.3, n, dtype=np.float32) for n in (slices, size, size))
    away = k[:, None, None] ** 2 + j[:, None] ** 2 + i**2
    voxels = (900 * (away < 1) * (1.2 - away)).astype(np.int16)
    voxels += rng.integers(0, 40, voxels.shape, dtype=np.int16) * (away < 1.2)
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.5, 0.5, 0.7))
    files = {}
    for name, packed in (
        ("head.nii.gz", True), ("head.nii", False), ("head.nrrd", True), ("head.mha", True),
    ):  # fmt: skip
        files[name] = folder / name
        sitk.WriteImage(image, str(files[name]), packed)
    return files


def read_ours(path: str) -> dict[str, float]:
    """Through the scan, as the program does: all voxels, and the first picture."""
    from imaging.open import open_series, scan

    start = time.perf_counter()
    with scan([path]) as found:
        loading = open_series(found.series[0])
        arrived: list[float] = []
        loading.load(on_slab=lambda _box: arrived.append(time.perf_counter()))
    return {"whole": time.perf_counter() - start, "first": arrived[0] - start}


def read_nibabel(path: str) -> dict[str, float]:
    """nibabel, stored values."""
    import nibabel as nib

    start = time.perf_counter()
    image = nib.load(path)
    np.array(image.dataobj.get_unscaled())  # type: ignore[attr-defined]  # a map is no voxels yet
    return {"whole": time.perf_counter() - start}


def read_gzip(path: str) -> dict[str, float]:
    """The standard library alone: inflate and look at it as an array."""
    import gzip

    start = time.perf_counter()
    with gzip.open(path) as file:
        np.frombuffer(file.read(), "<i2", offset=352)
    return {"whole": time.perf_counter() - start}


def read_simpleitk(path: str) -> dict[str, float]:
    """SimpleITK."""
    import SimpleITK as sitk

    start = time.perf_counter()
    sitk.GetArrayViewFromImage(sitk.ReadImage(path))
    return {"whole": time.perf_counter() - start}


def read_pynrrd(path: str) -> dict[str, float]:
    """pynrrd."""
    import nrrd

    start = time.perf_counter()
    nrrd.read(path, index_order="C")
    return {"whole": time.perf_counter() - start}


READERS: dict[str, Callable[[str], dict[str, float]]] = {
    "ours": read_ours, "nibabel": read_nibabel, "gzip": read_gzip, "simpleitk": read_simpleitk,
    "pynrrd": read_pynrrd,
}  # fmt: skip
OTHERS = {
    "head.nii.gz": ("nibabel", "gzip", "simpleitk"),
    "head.nii": ("nibabel", "simpleitk"),
    "head.nrrd": ("pynrrd", "simpleitk"),
    "head.mha": ("simpleitk",),
}


def _warm(reader: str) -> None:
    """Import what the reader needs, so that it is not timed."""
    if reader == "ours":
        import isal.igzip_lib  # noqa: F401
        import nibabel  # noqa: F401
        import nrrd  # noqa: F401

        import imaging.open  # noqa: F401
    elif reader == "simpleitk":
        import SimpleITK  # noqa: F401
    elif reader in ("nibabel", "pynrrd"):
        __import__({"nibabel": "nibabel", "pynrrd": "nrrd"}[reader])


def _child(reader: str, path: str) -> None:
    """Read once and print what it took; memory is what the process grew by."""
    _warm(reader)
    resident = memory_bytes("VmRSS")
    took = READERS[reader](path)
    took["memory"] = memory_bytes("VmHWM") - resident
    print(json.dumps(took))


def memory_bytes(name: str) -> int:
    """A figure of ``/proc/self/status``; 0 on systems without it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return 1024 * next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def measured(reader: str, path: Path) -> dict[str, float]:
    """One reading in a process of its own."""
    command = [sys.executable, __file__, "--child", reader, str(path)]
    told = subprocess.run(command, capture_output=True, text=True, check=True, cwd=PROJECT)
    return json.loads(told.stdout)


def compare(name: str, path: Path, rounds: int, voxel_bytes: int) -> bool:
    """Print the readers of one file, best of the rounds; True where budgets are kept."""
    results: dict[str, dict[str, float]] = {}
    for _ in range(rounds):  # in turn, so that a busy moment hits everybody
        for reader in ("ours", *OTHERS[name]):
            new = measured(reader, path)
            old = results.get(reader, new)
            results[reader] = {key: min(old[key], value) for key, value in new.items()}
    ours = results["ours"]
    memory = ours["memory"] / voxel_bytes
    print(f"{name}: {path.stat().st_size / 1e6:.0f} MB on disk")
    print(f"  ours       {ours['whole']:6.3f} s, first picture {ours['first']:.3f} s, "
          f"memory {memory:.2f} × the voxels")  # fmt: skip
    for reader in OTHERS[name]:
        other = results[reader]
        print(f"  {reader:10s} {other['whole']:6.3f} s = {other['whole'] / ours['whole']:.2f} × "
              f"ours, memory {other['memory'] / voxel_bytes:.2f} ×")  # fmt: skip
    judged = [reader for reader in OTHERS[name] if reader != "simpleitk"]
    kept = memory <= MEMORY_BUDGET and ours["first"] <= FIRST_IMAGE_BUDGET_S
    faster = all(ours["whole"] <= results[reader]["whole"] for reader in judged)
    return kept and (faster or name == "head.nii")  # nothing can be faster than a plain copy


def main() -> int:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=240)
    parser.add_argument("--size", type=int, default=384)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", nargs=2)
    options = parser.parse_args()
    sys.path.insert(0, str(PROJECT))
    if options.child:
        _child(*options.child)
        return 0
    voxel_bytes = options.slices * options.size**2 * 2
    print(f"{options.slices} × {options.size} × {options.size} int16, {voxel_bytes / 1e6:.0f} MB")
    with tempfile.TemporaryDirectory(prefix="isocenter-bench-") as folder:
        files = make_files(Path(folder), options.slices, options.size)
        kept = [compare(name, path, options.rounds, voxel_bytes) for name, path in files.items()]
    print("budgets kept" if all(kept) else "over a budget")
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
