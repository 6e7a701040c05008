"""Compressed series against pydicom and SimpleITK, transfer syntax by transfer syntax, in one run.

Run with ``python benchmarks/bench_decode.py [--slices 120] [--size 256] [--rounds 3]``. Each reader
runs in a fresh process; files are made in a temporary folder and lie in the page cache. pydicom
decodes with its default plug-ins in one process; SimpleITK reads the series with its
ImageSeriesReader. ``first`` is the time from choosing the series, with workers warm from the header
scan as in the program, to its first image; ``cold`` the same when nothing has been started.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
FIRST_IMAGE_BUDGET_S = 0.3
_J = "1.2.840.10008.1.2.4."
SYNTAXES = {
    "RLE": "1.2.840.10008.1.2.5",
    "JPEG lossless": _J + "70",
    "JPEG-LS": _J + "80",
    "JPEG 2000": _J + "90",
    "deflated": "1.2.840.10008.1.2.1.99",
}
READERS = ("ours", "pydicom", "simpleitk")


def write_series(folder: Path, syntax: str, slices: int, size: int) -> None:
    """A head phantom with scanner noise, 12 bits in 16, one file per slice."""
    from dicom_phantoms import Maker, Plan, at_height
    from encoded_pixels import code_stream, describe, fill, save

    maker = Maker(folder)
    rng = np.random.default_rng(1)
    row, column = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    head = np.clip(1.0 - (row**2 + column**2), 0.0, None)
    for k in range(slices):
        texture = 1.0 + 0.3 * np.sin(9 * row + 0.1 * k) * np.cos(11 * column)
        values = 2600 * head * texture + np.abs(rng.normal(0, 25, head.shape))
        pixels = np.clip(values, 0, 4095).astype(np.uint16)
        data = maker.dataset(at_height(Plan(), 1.0 * k))
        describe(data, pixels, 12)
        data.PixelData = pixels.tobytes()
        if syntax == SYNTAXES["deflated"]:
            from pydicom.uid import UID

            data.file_meta.TransferSyntaxUID = UID(syntax)
        else:
            fill(data, syntax, [code_stream(syntax, pixels, 12)])
        save(data, folder / f"{k:04}.dcm")


def read_ours(folder: str) -> tuple[float, float, int]:
    """Seconds to the first image and for the whole series from choosing it; checksum."""
    from imaging.open import open_series, scan

    with scan([folder]) as found:
        (series,) = found.series
        if "warm" in sys.argv:
            time.sleep(1.0)  # a person takes longer to choose
        start = time.perf_counter()
        arrived: list[float] = []
        volume = open_series(series).load(on_slab=lambda _box: arrived.append(time.perf_counter()))
        end = time.perf_counter()
    return arrived[0] - start, end - start, int(volume.voxels.sum(dtype=np.int64))


def read_pydicom(folder: str) -> tuple[float, float, int]:
    """Every file with its default plug-ins into one array."""
    import pydicom

    start = time.perf_counter()
    slices = [pydicom.dcmread(file).pixel_array for file in sorted(Path(folder).iterdir())]
    voxels = np.stack(slices)
    return 0.0, time.perf_counter() - start, int(voxels.sum(dtype=np.int64))


def read_simpleitk(folder: str) -> tuple[float, float, int]:
    """ImageSeriesReader over the sorted files."""
    import SimpleITK as sitk

    start = time.perf_counter()
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames([str(file) for file in sorted(Path(folder).iterdir())])
    image = reader.Execute()
    voxels = sitk.GetArrayViewFromImage(image)
    return 0.0, time.perf_counter() - start, int(voxels.sum(dtype=np.int64))


def run_once(reader: str, folder: str) -> None:
    """Measure one reader in this process and print its figures."""
    if reader == "ours":
        import imaging.open  # noqa: F401
    elif reader == "pydicom":
        import pydicom.pixels.decoders  # noqa: F401
    else:
        import SimpleITK  # noqa: F401
    print(*globals()[f"read_{reader}"](folder))


def measure(reader: str, folder: str, *words: str) -> tuple[float, float, int]:
    """Figures of one reader in a fresh process."""
    command = [sys.executable, __file__, "--reader", reader, "--folder", folder, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROJECT)
    first, whole, total = done.stdout.split()
    return float(first), float(whole), int(total)


def main() -> int:
    """Print the table; 1 where a budget is missed or values differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=120)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reader", choices=READERS)
    parser.add_argument("--folder")
    parser.add_argument("word", nargs="?", choices=("warm", "cold"))
    options = parser.parse_args()
    sys.path[:0] = [str(PROJECT), str(PROJECT / "tests" / "imaging")]
    if options.reader:
        run_once(options.reader, options.folder)
        return 0
    print(
        f"{options.slices} x {options.size} x {options.size}, median of {options.rounds}, seconds"
    )
    print("syntax          ours   first    cold  pydicom  simpleitk  ours/pydicom  ours/simpleitk")
    return max(_row(name, syntax, options) for name, syntax in SYNTAXES.items())


def _row(name: str, syntax: str, options: argparse.Namespace) -> int:
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder), syntax, options.slices, options.size)
        rounds = [
            (
                measure("ours", folder, "warm"),
                measure("ours", folder, "cold"),
                measure("pydicom", folder),
                measure("simpleitk", folder),
            )
            for _ in range(options.rounds)
        ]
    ours, first, cold, pydicom, simpleitk = (
        statistics.median(r[n][m] for r in rounds)
        for n, m in ((0, 1), (0, 0), (1, 0), (2, 1), (3, 1))
    )
    same = len({figures[2] for each in rounds for figures in each}) == 1
    late = first > FIRST_IMAGE_BUDGET_S
    print(
        f"{name:14}{ours:6.2f}{first:8.3f}{cold:8.3f}{pydicom:9.2f}{simpleitk:11.2f}"
        f"{ours / pydicom:14.2f}{ours / simpleitk:16.2f}"
        f"{'  MISSED: first image' if late else ''}{'' if same else '  VALUES DIFFER'}"
    )
    return int(late or not same)


if __name__ == "__main__":
    sys.exit(main())
