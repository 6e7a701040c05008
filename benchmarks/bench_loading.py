"""Header scan, first image and whole series against other readers, in one run.

Run with ``python benchmarks/bench_loading.py [--slices 400] [--size 512] [--rounds 3]``. Files are
made in a temporary folder; the page cache is warm for every reader, and each reading happens in a
process of its own. Against us: pydicom with ``frombuffer`` into one array, SimpleITK's
ImageSeriesReader and, where it is installed, dcm2niix (which also writes the volume to disk).
``bench_grid_files.py`` does the same for NIfTI, NRRD and MetaImage, ``bench_index.py`` for the
second opening of a big folder.
"""

from __future__ import annotations

import argparse
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).resolve().parents[1]
HEADER_BUDGET_MS, FIRST_IMAGE_BUDGET_S, MEMORY_BUDGET = 2.0, 0.3, 1.3
PYDICOM_BUDGET = 1.3


def write_series(folder: Path, slices: int, size: int, private: int = 51200, seed: int = 1) -> None:
    """An uncompressed explicit little endian MR series with a private element of 50 kB."""
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 4000, (size, size), dtype=np.uint16)
    study, series, frame = generate_uid(), generate_uid(), generate_uid()
    for k in range(slices):
        data = Dataset()
        data.file_meta = FileMetaDataset()
        data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        data.SOPClassUID, data.SOPInstanceUID = MRImageStorage, generate_uid()
        data.StudyInstanceUID, data.SeriesInstanceUID = study, series
        data.FrameOfReferenceUID, data.Modality = frame, "MR"
        data.PatientName, data.PatientID = "Bench^Mark", "B"
        data.SeriesDescription, data.InstanceNumber = "benchmark", k + 1
        data.ImagePositionPatient = [-120.0, -120.0, 0.5 * k]
        data.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        data.PixelSpacing, data.SliceThickness = [0.5, 0.5], 0.5
        data.Rows = data.Columns = size
        data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
        data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
        data.PixelRepresentation = 0
        data.private_block(0x0029, "BENCH", create=True).add_new(0x10, "OB", bytes(private))
        data.PixelData = np.roll(noise, k, axis=1).tobytes()
        data.save_as(folder / f"{rng.integers(1 << 60):x}.dcm", enforce_file_format=True)


def read_ours(folder: str) -> dict[str, float]:
    """Seconds for the header scan, to the first image and for the whole series."""
    from imaging.open import open_series, scan

    start = time.perf_counter()
    with scan([folder]) as found:
        scanned = time.perf_counter()
        (series,) = found.series
        arrived: list[float] = []
        loading = open_series(series)
        loading.load(on_slab=lambda _box: arrived.append(time.perf_counter()))
        end = time.perf_counter()
    return {"headers": scanned - start, "first": arrived[0] - scanned, "whole": end - start}


def read_simpleitk(folder: str) -> dict[str, float]:
    """The same with SimpleITK's ImageSeriesReader."""
    import SimpleITK as sitk

    start = time.perf_counter()
    names = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(folder)
    scanned = time.perf_counter()
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(names)
    image = reader.Execute()
    array = sitk.GetArrayViewFromImage(image)
    assert array.any()
    return {"headers": scanned - start, "whole": time.perf_counter() - start}


def read_pydicom(folder: str) -> dict[str, float]:
    """The same with pydicom and ``frombuffer``."""
    import pydicom

    start = time.perf_counter()
    heads = [
        (float(pydicom.dcmread(f, stop_before_pixels=True).ImagePositionPatient[2]), f)
        for f in Path(folder).iterdir()
    ]
    scanned = time.perf_counter()
    whole: np.ndarray | None = None
    for k, (_, file) in enumerate(sorted(heads)):
        data = pydicom.dcmread(file)
        if whole is None:
            whole = np.empty((len(heads), data.Rows, data.Columns), "<u2")
        whole[k] = np.frombuffer(data.PixelData, "<u2").reshape(data.Rows, data.Columns)
    return {"headers": scanned - start, "whole": time.perf_counter() - start}


def read_dcm2niix(folder: str) -> dict[str, float]:
    """dcm2niix without compression, to a temporary folder on the same disk."""
    with tempfile.TemporaryDirectory() as out:
        start = time.perf_counter()
        command = ["dcm2niix", "-z", "n", "-b", "n", "-o", out, folder]
        subprocess.run(command, check=True, capture_output=True)
        return {"headers": 0.0, "whole": time.perf_counter() - start}


READERS = {"ours": read_ours, "simpleitk": read_simpleitk, "pydicom": read_pydicom}
if shutil.which("dcm2niix"):
    READERS["dcm2niix"] = read_dcm2niix


def _imports(reader: str) -> None:
    if reader == "ours":
        import imaging.open  # noqa: F401
    elif reader == "simpleitk":
        import SimpleITK  # noqa: F401
    elif reader == "pydicom":
        import pydicom.pixels  # noqa: F401


def run_once(reader: str, folder: str) -> None:
    """Measure one reader in this process and print its figures."""
    _imports(reader)
    resident = memory_kib("VmRSS")
    before = resource.getrusage(resource.RUSAGE_SELF)
    times = READERS[reader](folder)
    peak = memory_kib("VmHWM")
    after = resource.getrusage(resource.RUSAGE_SELF)
    child = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (
        child.ru_utime
        + child.ru_stime
        + after.ru_utime
        + after.ru_stime
        - before.ru_utime
        - before.ru_stime
    )
    memory = (peak - resident) / 1024
    print(times.get("headers"), times.get("first", 0), times["whole"], cpu, memory)


def memory_kib(name: str) -> int:
    """A figure of ``/proc/self/status`` in KiB; 0 on systems without it."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) for line in lines if line.startswith(name)), 0)


def measure(reader: str, folder: str) -> list[float]:
    """Figures of one reader in a fresh process."""
    command = [sys.executable, __file__, "--reader", reader, "--folder", folder]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=PROJECT)
    return [float(part) for part in done.stdout.split()]


def main() -> int:
    """Print the table; 1 where a budget is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=400)
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--reader", choices=READERS)
    parser.add_argument("--folder")
    options = parser.parse_args()
    sys.path.insert(0, str(PROJECT))
    if options.reader:
        run_once(options.reader, options.folder)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        write_series(Path(folder), options.slices, options.size)
        rounds = [
            {reader: measure(reader, folder) for reader in READERS} for _ in range(options.rounds)
        ]
    return report(rounds, options.slices, options.size)


def report(rounds: list[dict[str, list[float]]], slices: int, size: int) -> int:
    """Print medians and ratios; returns 1 where a budget is missed."""
    middle = {
        reader: [statistics.median(r[reader][n] for r in rounds) for n in range(5)]
        for reader in rounds[0]
    }

    def ratio(other: str) -> float:
        return statistics.median(r["ours"][2] / r[other][2] for r in rounds)

    voxels_mib = slices * size * size * 2 / (1 << 20)
    print(f"{slices} x {size} x {size} uint16, {voxels_mib:.0f} MiB, median of {len(rounds)}")
    print("reader     headers ms/file  first image s  whole s   CPU s  peak MiB  whole: ours/this")
    for reader, (headers, first, whole, cpu, memory) in middle.items():
        shown = f"{first:13.3f}" if first else " " * 12 + "-"
        head = f"{headers / slices * 1e3:15.3f}" if headers else " " * 14 + "-"
        print(
            f"{reader:10} {head}  {shown}  {whole:7.2f} {cpu:7.2f}"
            f" {memory:9.0f}  {ratio(reader):16.2f}"
        )
    headers, first, _, _, memory = middle["ours"]
    faults = {
        "header scan at most 2 ms a file": headers / slices * 1e3 > HEADER_BUDGET_MS,
        "first image within 0.3 s": first > FIRST_IMAGE_BUDGET_S,
        "at most 1.3 times pydicom with frombuffer": ratio("pydicom") > PYDICOM_BUDGET,
        "faster than SimpleITK's ImageSeriesReader": ratio("simpleitk") > 1.0,
        "memory at most 1.3 times the voxels": memory > MEMORY_BUDGET * voxels_mib,
    }
    if "dcm2niix" in middle:
        faults["faster than dcm2niix"] = ratio("dcm2niix") > 1.0
    for name, missed in faults.items():
        print(f"{'MISSED' if missed else 'met'}: {name}")
    return int(any(faults.values()))


if __name__ == "__main__":
    sys.exit(main())
